"""Requests that Gemini takes, out of the neutral form, held against the SDK's types."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.chat import conversion, form
from gateway.dialects.chat.conversion import ChatConversion
from gateway.dialects.chat.dialect import Aim, Sent
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import (
    ChatRequest,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.gemini_generate import SURFACE, VENDOR
from gateway.errors import Unsupported
from gateway.types import Features
from tests.chat.gemini_generate_requests import PNG, requests
from tests.chat.gemini_generate_schema import check, check_count

OWN = "gemini.generate"
FOREIGN = base64.b64encode(b"skip_thought_signature_validator").decode()
THREE, TWO = Aim("gemini-3-pro-preview", account="here"), Aim("gemini-2.5-flash", account="here")
HELLO = Message(form.USER, (Text("hi"),))


def sent(request: ChatRequest, aim: Aim = THREE) -> Sent:
    """With what was dropped, under the names of the neutral form."""
    lost = Lost({"*": "dropped: no"}, {})
    found = VENDOR.write(request, aim, lost)
    return Sent(found.body, tuple(lost.dropped), found.method)


def body(request: ChatRequest, aim: Aim = THREE) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(sent(request, aim).body)
    check(value)
    return value


def asked(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=messages or (HELLO,), **fields)


def parts(*messages: Message, aim: Aim = THREE) -> list[list[dict[str, Any]]]:
    return [content["parts"] for content in body(asked(*messages), aim)["contents"]]


def config(aim: Aim = THREE, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = body(asked(**fields), aim).get("generationConfig", {})
    return found


# -- conversations -----------------------------------------------------------------------------------------------------


def test_a_small_request_says_nothing_that_the_client_did_not_say() -> None:
    assert body(asked()) == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def test_the_method_is_in_the_path() -> None:
    assert sent(asked()).method == ":generateContent"
    assert sent(asked(stream=True)).method == ":streamGenerateContent?alt=sse"


def test_system_and_neighbours() -> None:
    value = body(
        asked(
            HELLO,
            Message(form.SYSTEM, (Text("be brief"),)),
            Message(form.USER, (Text(""), Text("well?"))),
            Message(form.ASSISTANT, (Text("a"),)),
            Message(form.ASSISTANT, (Refusal("b"), Text(""))),
            Message(form.USER, (Text(""),)),
            system=(Text("be kind"), Text(""), Text("be wise")),
        )
    )
    assert value["systemInstruction"] == {"parts": [{"text": "be kind"}, {"text": "be wise"}]}
    assert value["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "be brief"}, {"text": "well?"}]},
        {"role": "model", "parts": [{"text": "a"}, {"text": "b"}]},
    ]


def test_instructions_alone_are_asked() -> None:
    value = body(ChatRequest(model="m", messages=(), system=(Text("write a poem"),)))
    assert value == {"contents": [{"role": "user", "parts": [{"text": "write a poem"}]}]}
    with pytest.raises(Unsupported, match="messages"):
        sent(ChatRequest(model="m", messages=(Message(form.USER, (Text(""),)),)))


def turn(*calls: Part) -> tuple[Message, Message]:
    results = (ToolResult(call.id, "", (Text("ok"),)) for call in calls if isinstance(call, ToolCall))
    return Message(form.ASSISTANT, calls), Message(form.USER, tuple(results))


def test_results_follow_their_calls_in_order_and_know_their_functions() -> None:
    _, model, user = parts(
        HELLO,
        Message(
            form.ASSISTANT, (Text("t"), ToolCall("x", "f", '{"a": 1}'), ToolCall("y", "g"), ToolCall("z", "f", "[1"))
        ),
        Message(form.USER, (Text("and?"), ToolResult("z", "", (Text("3"), Text("4"))))),
        Message(form.USER, (ToolResult("x", "f", (Text("1"), Image(data=PNG, media_type="image/png"))),)),
        Message(form.USER, (ToolResult("y", "", (), failed=True),)),
    )
    assert [part["functionCall"] for part in model[1:]] == [
        {"id": "x", "name": "f", "args": {"a": 1}},
        {"id": "y", "name": "g", "args": {}},
        {"id": "z", "name": "f", "args": {"_raw": "[1"}},
    ]
    assert user == [
        {"functionResponse": {"id": "x", "name": "f", "response": {"result": "1"}}},
        {"functionResponse": {"id": "y", "name": "g", "response": {"error": ""}}},
        {"functionResponse": {"id": "z", "name": "f", "response": {"result": "3\n4"}}},
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"text": "and?"},
    ]


def test_a_result_without_its_call_is_refused() -> None:
    with pytest.raises(Unsupported, match="result"):
        sent(asked(HELLO, Message(form.USER, (ToolResult("x", "f"),))))


@pytest.mark.parametrize(
    ("call", "aim", "signature"),
    [
        (ToolCall("x", "f", "", "c2ln", OWN, "here"), THREE, "c2ln"),
        (ToolCall("x", "f", "", "c2ln", OWN, "here"), TWO, "c2ln"),
        (ToolCall("x", "f", "", "c2ln", OWN), THREE, "c2ln"),
        (ToolCall("x", "f", "", "c2ln", OWN, "there"), THREE, FOREIGN),
        (ToolCall("x", "f", "", "c2ln", "anthropic.messages", "here"), THREE, FOREIGN),
        (ToolCall("x", "f"), THREE, FOREIGN),
        (ToolCall("x", "f"), Aim("gemini-flash-latest"), FOREIGN),
        (ToolCall("x", "f"), Aim("models/gemini-10-pro"), FOREIGN),
        (ToolCall("x", "f"), TWO, None),
        (ToolCall("x", "f"), Aim("gemini-2-flash"), None),
        (ToolCall("x", "f"), Aim("gemma-4"), None),
        (ToolCall("x", "f", "", "c2ln", OWN, "there"), TWO, None),
    ],
)
def test_signatures_go_back_to_who_made_them(call: ToolCall, aim: Aim, signature: str | None) -> None:
    _, model, _ = parts(HELLO, *turn(call, ToolCall("y", "g")), aim=aim)
    assert [part.get("thoughtSignature") for part in model] == [signature, None]


def test_thoughts_go_back_only_where_they_are_signed_and_own() -> None:
    thoughts = (
        Thought("a", "c2ln", origin=OWN, account="here"),
        Thought("", "bW9yZQ==", origin=OWN),
        Thought("b", "c2ln", origin=OWN, account="there"),
        Thought("c", "c2ln", origin="anthropic.messages"),
        Thought("d", origin=OWN),
        Thought(redacted="e", origin="anthropic.messages"),
    )
    _, model, _ = parts(HELLO, Message(form.ASSISTANT, (*thoughts, Text("t"))), HELLO)
    assert model == [
        {"text": "a", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "", "thoughtSignature": "bW9yZQ=="},
        {"text": "t"},
    ]


DATA, URL = Image(data=PNG, media_type="image/png"), Image(url="https://x.example/a.jpg?b")


@pytest.mark.parametrize(
    ("images", "data", "url"),
    [
        (None, True, True),
        ("url+base64", True, True),
        ("url", False, True),
        ("base64", True, False),
        ("none", False, False),
    ],
)
def test_pictures_in_the_forms_that_the_model_takes(images: str | None, data: bool, url: bool) -> None:
    aim = Aim("gemini-3-pro", Features(images=images))
    written = {
        DATA: {"inlineData": {"mimeType": "image/png", "data": PNG}},
        URL: {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x.example/a.jpg?b"}},
    }
    for picture, good in ((DATA, data), (URL, url)):
        message = Message(form.USER, (Text("what is it?"), picture))
        if good:
            assert parts(message, aim=aim)[0][1] == written[picture]
        else:
            with pytest.raises(Unsupported, match="takes no pictures"):
                sent(asked(message), aim)


def test_details_of_pictures_are_dropped() -> None:
    assert sent(asked(Message(form.USER, (Image(data=PNG, media_type="image/png", detail="low"),)))).dropped == (
        "detail",
    )
    plain = Message(form.USER, (Image(url="https://x.example/a", detail="auto"),))
    assert sent(asked(plain)).dropped == ()
    assert parts(plain) == [[{"fileData": {"fileUri": "https://x.example/a"}}]]


# -- tools and configuration -------------------------------------------------------------------------------------------

TOOLS = (Tool("f", "does", {"type": "object", "properties": {"$a": {"oneOf": [{}]}}}), Tool("g"))


def test_tools() -> None:
    empty = {"type": "object", "properties": {}, "additionalProperties": False}
    loose = {"type": "object", "additionalProperties": True}
    value = body(asked(tools=(*TOOLS, Tool("h", parameters=empty), Tool("i", parameters=loose))))
    assert value["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "does", "parametersJsonSchema": TOOLS[0].parameters},
                {"name": "g"},
                {"name": "h"},
                {"name": "i", "parametersJsonSchema": loose},
            ]
        }
    ]
    assert "toolConfig" not in value


@pytest.mark.parametrize(
    ("choice", "calling", "names"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}, ["f", "g"]),
        (ToolChoice("none"), {"mode": "NONE"}, ["f", "g"]),
        (ToolChoice("required"), {"mode": "ANY"}, ["f", "g"]),
        (ToolChoice("required", ("g",)), {"mode": "ANY", "allowedFunctionNames": ["g"]}, ["f", "g"]),
        (ToolChoice("auto", ("g",)), {"mode": "AUTO"}, ["g"]),
    ],
)
def test_choices_of_tools(choice: ToolChoice, calling: Any, names: list[str]) -> None:
    value = body(asked(tools=TOOLS, tool_choice=choice))
    assert value["toolConfig"] == {"functionCallingConfig": calling}
    assert [declared["name"] for declared in value["tools"][0]["functionDeclarations"]] == names


def test_configuration() -> None:
    found = config(
        temperature=0.5, top_p=0.9, top_k=4, max_output=10, stop=("a", "b"), seed=0, presence_penalty=0.5,
        frequency_penalty=-0.5, logprobs=3,
    )  # fmt: skip
    assert found == {
        "temperature": 0.5, "topP": 0.9, "topK": 4, "maxOutputTokens": 10, "stopSequences": ["a", "b"], "seed": 0,
        "presencePenalty": 0.5, "frequencyPenalty": -0.5, "responseLogprobs": True, "logprobs": 3,
    }  # fmt: skip
    assert config(logprobs=0) == {"responseLogprobs": True}


def test_forms_of_the_answer() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}, "additionalProperties": False}
    assert config(format=Format()) == {"responseMimeType": "application/json"}
    assert config(format=Format(schema, "n", strict=True)) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }
    described = config(format=Format(schema, description="what"))["responseJsonSchema"]
    assert described == {**schema, "description": "what"}
    loose = Aim("gemini-3-pro", Features(json_schema=False))
    assert config(loose, format=Format()) == {"responseMimeType": "application/json"}
    with pytest.raises(Unsupported):
        sent(asked(format=Format(schema)), loose)


def by(thinking: str | None, model: str = "m") -> Aim:
    return Aim(model, Features(thinking=thinking))


SHOWN = {"includeThoughts": True}


@pytest.mark.parametrize(
    ("aim", "reasoning", "expected"),
    [
        (by("effort"), Reasoning(effort="minimal"), {"thinkingLevel": "MINIMAL", **SHOWN}),
        (by("effort"), Reasoning(effort="low"), {"thinkingLevel": "LOW", **SHOWN}),
        (by("effort"), Reasoning(effort="max", shown=False), {"thinkingLevel": "HIGH"}),
        (by("effort"), Reasoning(effort="xhigh", shown=True), {"thinkingLevel": "HIGH", **SHOWN}),
        (by("effort"), Reasoning(effort="none"), {"thinkingLevel": "MINIMAL"}),
        (by("effort"), Reasoning(on=False), {"thinkingLevel": "MINIMAL"}),
        (by("effort"), Reasoning(budget=2000), {"thinkingLevel": "MEDIUM", **SHOWN}),
        (by("effort"), Reasoning(), SHOWN),
        (by("budget"), Reasoning(effort="medium"), {"thinkingBudget": 8192, **SHOWN}),
        (by("budget"), Reasoning(effort="none"), {"thinkingBudget": 0}),
        (by("budget"), Reasoning(budget=2000), {"thinkingBudget": 2000, **SHOWN}),
        (by("budget"), Reasoning(budget=100_000, shown=False), {"thinkingBudget": 24576}),
        (by("budget"), Reasoning(shown=False), None),
        (by("none"), Reasoning(effort="high"), None),
        (by("effort", "gemini-3.1-pro-preview"), Reasoning(effort="none"), {"thinkingLevel": "LOW"}),
        (by("effort", "gemini-3-flash"), Reasoning(effort="none"), {"thinkingLevel": "MINIMAL"}),
        (by("budget", "gemini-2.5-pro"), Reasoning(effort="none"), {"thinkingBudget": 128}),
        (by("budget", "gemini-2.5-flash"), Reasoning(effort="none"), {"thinkingBudget": 0}),
        (by(None, "gemini-3-pro"), Reasoning(effort="high"), {"thinkingLevel": "HIGH", **SHOWN}),
        (by(None, "my-tuned-one"), Reasoning(effort="high"), {"thinkingLevel": "HIGH", **SHOWN}),
        (by(None, "gemini-2.5-pro"), Reasoning(effort="high"), {"thinkingBudget": 24576, **SHOWN}),
    ],
)
def test_thinking(aim: Aim, reasoning: Reasoning, expected: Any) -> None:
    assert config(aim, reasoning=reasoning).get("thinkingConfig") == expected


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"seed": 2**31}, ("seed",)),
        ({"tools": TOOLS, "parallel_tools": False}, ("parallel_tools",)),
        ({"tools": TOOLS, "parallel_tools": True}, ()),
        ({"tools": (Tool("f", strict=True),)}, ("strict",)),
        ({"reasoning": Reasoning(effort="low")}, ("reasoning",)),
        ({"reasoning": Reasoning(effort="none")}, ()),
    ],
)
def test_hints_that_have_no_place_are_named(fields: Any, dropped: tuple[str, ...]) -> None:
    assert sent(asked(**fields), by("none")).dropped == dropped


def test_too_many_stops_are_refused() -> None:
    with pytest.raises(Unsupported, match="at most 5"):
        sent(asked(stop=tuple("abcdef")))


# -- counting ----------------------------------------------------------------------------------------------------------


def test_the_question_for_the_number_of_tokens_holds_the_whole_request() -> None:
    request = asked(system=(Text("be kind"),), tools=TOOLS)
    question = VENDOR.count(request, THREE, Lost({"*": "dropped: no"}, {}))
    assert question is not None
    assert question.method == ":countTokens"
    value = json.loads(question.body)
    check_count(value)
    assert value["generateContentRequest"] == {"model": "models/gemini-3-pro-preview", **body(request)}
    assert VENDOR.counted(b'{"totalTokens": 31, "promptTokensDetails": [{"modality": "TEXT"}]}') == 31


# -- whatever is asked -------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(requests(), st.sampled_from([THREE, TWO, by("budget"), by("none"), by("effort")]))
def test_whatever_is_asked_gemini_takes_it(given: dict[str, Any], aim: Aim) -> None:
    read = conversion.read(SURFACE, json.loads(json.dumps(given)), "m")
    written = json.loads(ChatConversion(SURFACE, VENDOR, OWN).request(read, aim).body)
    check(written)
