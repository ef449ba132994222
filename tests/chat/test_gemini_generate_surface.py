"""Requests of Gemini's clients into the neutral form, and answers as these clients expect them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.chat import conversion, form
from gateway.dialects.chat.form import (
    ChatRequest,
    Format,
    Image,
    Message,
    Reasoning,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.gemini_generate import SURFACE
from gateway.dialects.losses import left_behind
from gateway.errors import BadRequest, Unsupported
from tests.chat.gemini_generate_requests import PNG, requests


def read(**body: Any) -> ChatRequest:
    return conversion.read(SURFACE, {"contents": "?"} | body, "m").request


def asked(*parts: Any, **body: Any) -> ChatRequest:
    return read(contents=[{"role": "user", "parts": list(parts) or [{"text": "hi"}]}], **body)


def dropped(**body: Any) -> tuple[str, ...]:
    given = conversion.read(SURFACE, {"contents": {"parts": {"text": "hi"}}} | body, "m")
    return (*given.dropped, *left_behind(given.request.extras, (), SURFACE.LOSSES))


def test_a_whole_request_in_either_spelling() -> None:
    camel = {
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]},
        ],
        "systemInstruction": {"parts": [{"text": "be kind"}]},
        "tools": [
            {"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "temperature": 0.5, "topP": 0.9, "topK": 40.0, "maxOutputTokens": 10, "stopSequences": ["x"], "seed": -7,
            "presencePenalty": 1, "frequencyPenalty": -1, "responseLogprobs": True, "logprobs": 3,
            "responseMimeType": "application/json", "responseJsonSchema": {"type": "array"},
            "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "high"}, "responseModalities": ["TEXT"],
        },
    }  # fmt: skip
    snake = {
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}, {"inline_data": {"mime_type": "image/png", "data": PNG}}]},
        ],
        "system_instruction": {"parts": [{"text": "be kind"}]},
        "tools": [
            {"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]},
        ],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
        "generation_config": {
            "temperature": 0.5, "top_p": 0.9, "top_k": 40.0, "max_output_tokens": 10, "stop_sequences": ["x"],
            "seed": -7, "presence_penalty": 1, "frequency_penalty": -1, "response_logprobs": True, "logprobs": 3,
            "response_mime_type": "application/json", "response_json_schema": {"type": "array"},
            "thinking_config": {"include_thoughts": True, "thinking_level": "high"}, "response_modalities": ["TEXT"],
        },
    }  # fmt: skip
    expected = ChatRequest(
        model="m",
        messages=(Message(form.USER, (Text("hi"), Image(data=PNG, media_type="image/png"))),),
        system=(Text("be kind"),),
        tools=(Tool("f", None, {"type": "object"}),),
        tool_choice=ToolChoice("required", ("f",)),
        temperature=0.5, top_p=0.9, top_k=40, max_output=10, stop=("x",), seed=-7, presence_penalty=1,
        frequency_penalty=-1, logprobs=3, format=Format({"type": "array"}),
        reasoning=Reasoning(effort="high", shown=True),
    )  # fmt: skip
    assert read(**camel) == expected
    assert read(**snake) == expected


def test_a_name_in_both_spellings_is_refused() -> None:
    with pytest.raises(BadRequest, match="twice") as told:
        asked(generationConfig={"topP": 1, "top_p": 0.5})
    assert told.value.param == "generationConfig.topP"


def test_results_are_matched_with_calls_by_id_else_by_name_and_order() -> None:
    request = read(
        contents=[
            {"role": "user", "parts": [{"text": "go"}]},
            {"role": "model", "parts": [
                {"functionCall": {"name": "a", "args": {"n": 1}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "b", "id": "own"}},
                {"functionCall": {"name": "a"}},
                {"functionCall": {"name": "c"}},
            ]},
            {"role": "function", "parts": [{"functionResponse": {"name": "a", "response": {"result": "first"}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "b", "id": "own", "response": {"error": "broken"}}},
                {"functionResponse": {"name": "a", "response": {"x": 1}}},
                {"functionResponse": {"name": "c", "response": {"name": "c", "content": "as Vercel's SDK does"}}},
                {"text": "and now?"},
            ]},
        ]
    )  # fmt: skip
    assert request.messages[1].parts == (
        ToolCall("call_1_0", "a", '{"n":1}', "c2ln", "gemini.generate"),
        ToolCall("own", "b", "{}"),
        ToolCall("call_1_2", "a", "{}"),
        ToolCall("call_1_3", "c", "{}"),
    )
    assert request.messages[2].parts == (
        ToolResult("call_1_0", "a", (Text("first"),)),
        ToolResult("own", "b", (Text("broken"),), failed=True),
        ToolResult("call_1_2", "a", (Text('{"x":1}'),)),
        ToolResult("call_1_3", "c", (Text("as Vercel's SDK does"),)),
        Text("and now?"),
    )
    assert len(request.messages) == 3


def test_pieces_of_a_streamed_turn_are_one_turn() -> None:
    request = read(
        contents=[
            {"parts": {"text": "go"}},
            {"role": "model", "parts": [{"text": "hm", "thought": True}]},
            {"role": "model", "parts": [{"text": ", well", "thought": True, "thoughtSignature": "c2ln"}]},
            {"role": "model", "parts": [{"text": "Os"}]},
            {"role": "model", "parts": [{"text": "lo", "thoughtSignature": "c2ln"}]},
            {"role": "model", "parts": [{"text": ""}]},
            {"role": "user", "parts": [{"text": "more"}]},
        ]
    )
    assert request.messages == (
        Message(form.USER, (Text("go"),)),
        Message(form.ASSISTANT, (Thought("hm, well", "c2ln", origin="gemini.generate"), Text("Oslo"))),
        Message(form.USER, (Text("more"),)),
    )


def test_pictures() -> None:
    loose = PNG.translate(str.maketrans("+/", "-_")).rstrip("=")
    request = asked(
        {"inlineData": {"mimeType": "image/png", "data": loose}},
        {"inlineData": {"mimeType": "IMAGE/JPEG", "data": "YQ"}},
        {"fileData": {"fileUri": "https://x.example/a.webp?b=c"}},
        {"fileData": {"fileUri": "http://x.example/a", "mimeType": "image/gif"}},
    )
    assert request.messages[0].parts == (
        Image(data=PNG, media_type="image/png"),
        Image(data="YQ==", media_type="image/jpeg"),
        Image(url="https://x.example/a.webp?b=c", media_type="image/webp"),
        Image(url="http://x.example/a", media_type="image/gif"),
    )


def test_pictures_of_results() -> None:
    request = read(
        contents=[
            {"role": "user", "parts": [{"text": "go"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "a"}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "a", "response": {"output": "seen"}, "parts": [
                {"inlineData": {"mimeType": "image/png", "data": PNG, "displayName": "p"}}]}}]},
        ]
    )  # fmt: skip
    assert request.messages[2].parts[0].parts == (Text("seen"), Image(data=PNG, media_type="image/png"))  # type: ignore[union-attr]


OLD = {
    "type": "OBJECT",
    "properties": {
        "any_of": {"type": "STRING", "format": "enum", "enum": ["a"], "nullable": True},
        "list": {"type": "ARRAY", "items": {"type": "NUMBER"}, "min_items": "2", "maxItems": 3, "example": [1]},
        "either": {"anyOf": [{"type": "INTEGER"}, {"ref": "#/$defs/x"}], "nullable": True},
    },
    "propertyOrdering": ["list", "gone"],
    "required": ["list"],
    "defs": {"x": {"type": "BOOLEAN"}},
    "additionalProperties": False,
}
NEW = {
    "type": "object",
    "properties": {
        "list": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3, "examples": [[1]]},
        "any_of": {"type": ["string", "null"], "enum": ["a", None]},
        "either": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/x"}, {"type": "null"}]},
    },
    "required": ["list"],
    "$defs": {"x": {"type": "boolean"}},
    "additionalProperties": False,
}


def test_schemas_of_the_old_style() -> None:
    declared = {"name": "f", "parameters": OLD}
    config = {"responseMimeType": "application/json", "responseSchema": OLD}
    request = asked(tools=[{"functionDeclarations": [declared]}], generationConfig=config)
    for schema in (request.tools[0].parameters, request.format and request.format.schema):
        assert schema == NEW
        assert list(schema["properties"]) == ["list", "any_of", "either"]


@pytest.mark.parametrize(
    ("config", "reasoning"),
    [
        ({}, None),
        ({"includeThoughts": False}, None),
        ({"includeThoughts": True}, Reasoning(shown=True)),
        ({"thinkingLevel": "MINIMAL"}, Reasoning(effort="minimal")),
        ({"thinkingLevel": "xhigh", "includeThoughts": False}, Reasoning(effort="xhigh", shown=False)),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None),
        ({"thinkingBudget": 0}, Reasoning(budget=0)),
        ({"thinkingBudget": -1}, Reasoning(on=True)),
        ({"thinkingBudget": 2000, "includeThoughts": True}, Reasoning(budget=2000, shown=True)),
    ],
)
def test_thinking(config: Any, reasoning: Reasoning | None) -> None:
    assert asked(generationConfig={"thinkingConfig": config}).reasoning == reasoning


@pytest.mark.parametrize(
    ("calling", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto")),
        ({}, ToolChoice("auto")),
        ({"mode": "NONE"}, ToolChoice("none")),
        ({"mode": "ANY"}, ToolChoice("required")),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, ToolChoice("auto", ("f",))),
    ],
)
def test_choices_of_tools(calling: Any, choice: ToolChoice) -> None:
    tools = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]
    assert asked(tools=tools, toolConfig={"functionCallingConfig": calling}).tool_choice == choice
    assert asked(toolConfig={"functionCallingConfig": {"mode": "NONE"}}).tool_choice is None


@pytest.mark.parametrize(
    "given", ["be kind", {"parts": {"text": "be kind"}}, {"role": "system", "parts": [{"text": "be kind"}]}]
)
def test_instructions(given: Any) -> None:
    assert asked(systemInstruction=given).system == (Text("be kind"),)


def test_a_question_for_the_number_of_tokens_may_be_a_whole_request() -> None:
    inner = {"model": "models/x", "contents": [{"parts": [{"text": "hi"}]}], "systemInstruction": "s"}
    assert read(generateContentRequest=inner).system == (Text("s"),)
    assert json.loads(SURFACE.count(31)) == {"totalTokens": 31}


def test_what_means_nothing_is_not_lost() -> None:
    config = {"candidateCount": 1, "responseMimeType": "text/plain", "responseModalities": ["Text"], "seed": None}
    assert dropped(generationConfig=config, store=False, model="models/x", safetySettings=None) == ()


def test_hints_are_dropped_and_named() -> None:
    names = dropped(
        contents=[
            {"parts": [{"text": "a", "mediaResolution": {}}, {"text": "b", "mediaResolution": {}, "partMetadata": {}}]}
        ],
        safetySettings=[], store=True, labels={"a": "b"}, service_tier="flex", what="?",
        generationConfig={"mediaResolution": "LOW", "enableEnhancedCivicAnswers": True},
        tools=[{"functionDeclarations": [{"name": "f", "behavior": "BLOCKING", "response": {}}]}],
        toolConfig={"retrievalConfig": {}},
    )  # fmt: skip
    assert set(names) == {
        "contents.parts.mediaResolution", "contents.parts.partMetadata", "safetySettings", "store", "labels",
        "serviceTier", "what", "generationConfig.mediaResolution", "generationConfig.enableEnhancedCivicAnswers",
        "tools.functionDeclarations.behavior", "tools.functionDeclarations.response", "toolConfig.retrievalConfig",
    }  # fmt: skip


CALL = [{"parts": [{"text": "go"}]}, {"role": "model", "parts": [{"functionCall": {"name": "a"}}]}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"cachedContent": "cachedContents/x"}, "cachedContent"),
        ({"generationConfig": {"candidateCount": 2}}, "generationConfig.candidateCount"),
        ({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}, "generationConfig.responseModalities"),
        ({"generationConfig": {"speechConfig": {}}}, "generationConfig.speechConfig"),
        ({"generationConfig": {"image_config": {}}}, "generationConfig.imageConfig"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "generationConfig.responseMimeType"),
        ({"tools": [{"googleSearch": {}}]}, "tools[0].googleSearch"),
        ({"tools": [{"functionDeclarations": []}, {"code_execution": {}}]}, "tools[1].codeExecution"),
        ({"tools": [{"somethingNew": {}}]}, "tools[0].somethingNew"),
        ({"contents": [{"role": "narrator", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"executableCode": {"code": "1"}}]}]}, "contents[0].parts[0].executableCode"),
        ({"contents": [{"parts": [{"hologram": {}}]}]}, "contents[0].parts[0].hologram"),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "YQ=="}}]}]},
            "contents[0].parts[0].inlineData.mimeType",
        ),
        (
            {"contents": [{"parts": [{"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a.png"}}]}]},
            "contents[0].parts[0].fileData.fileUri",
        ),
        (
            {"contents": [{"parts": [{"fileData": {"mimeType": "image/png", "fileUri":
                "https://generativelanguage.googleapis.com/v1beta/files/x"}}]}]},
            "contents[0].parts[0].fileData.fileUri",
        ),
        ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "systemInstruction.parts[0]"),
        (
            {"contents": [*CALL, {"parts": [{"functionResponse": {"name": "a", "willContinue": True}}]}]},
            "contents[2].parts[0].functionResponse.willContinue",
        ),
        (
            {"contents": [*CALL, {"parts": [{"functionResponse": {"name": "a", "scheduling": "SILENT"}}]}]},
            "contents[2].parts[0].functionResponse.scheduling",
        ),
    ],
)  # fmt: skip
def test_what_would_change_the_meaning_is_refused_by_name(body: Any, param: str) -> None:
    with pytest.raises(Unsupported) as told:
        dropped(**body)
    assert told.value.param == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"contents": "hi"}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": [{"role": "user"}]}, "contents[0].parts"),
        ({"contents": [{"parts": []}]}, "contents[0].parts"),
        ({"contents": [{"parts": [{"text": ""}]}]}, "contents"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 7}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": ["hi"]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": "a", "functionCall": {"name": "f"}}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"functionCall": {"name": "f"}}]}]}, "contents[0].parts[0].functionCall"),
        ({"contents": [{"role": "model", "parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        (
            {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": []}}]}]},
            "contents[0].parts[0].functionCall.args",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]},
            "contents[0].parts[0].functionResponse",
        ),
        (
            {"contents": [*CALL, {"parts": [{"functionResponse": {"name": "a", "id": "other"}},
                                            {"functionResponse": {"name": "a"}}]}]},
            "contents[2].parts[1].functionResponse",
        ),
        (  # the client has an id of its own for the call
            {"contents": [{"parts": [{"text": "go"}]},
                          {"role": "model", "parts": [{"functionCall": {"name": "a", "id": "own"}}]},
                          {"parts": [{"functionResponse": {"name": "a", "id": "other"}}]}]},
            "contents[2].parts[0].functionResponse",
        ),
        (  # the call is of an earlier turn
            {"contents": [*CALL, {"parts": [{"text": "no"}]}, {"role": "model", "parts": [{"text": "well"}]},
                          {"parts": [{"functionResponse": {"name": "a"}}]}]},
            "contents[4].parts[0].functionResponse",
        ),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "a$"}}]}]},
            "contents[0].parts[0].inlineData.data",
        ),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "abcde"}}]}]},
            "contents[0].parts[0].inlineData.data",
        ),
        ({"generationConfig": []}, "generationConfig"),
        ({"generationConfig": {"temperature": 2.5}}, "generationConfig.temperature"),
        ({"generationConfig": {"temperature": True}}, "generationConfig.temperature"),
        ({"generationConfig": {"stopSequences": [1]}}, "generationConfig.stopSequences"),
        ({"generationConfig": {"logprobs": 3}}, "generationConfig.logprobs"),
        ({"generationConfig": {"responseSchema": {"type": "STRING"}}}, "generationConfig.responseMimeType"),
        (
            {"generationConfig": {"responseSchema": {}, "responseJsonSchema": {}}},
            "generationConfig.responseSchema",
        ),
        ({"generationConfig": {"responseSchema": 1}}, "generationConfig.responseSchema"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}},
            "generationConfig.thinkingConfig",
        ),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "SOME"}}},
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"tools": [{"functionDeclarations": [{"name": "f", "parameters": {}, "parametersJsonSchema": {}}]}]},
            "tools[0].functionDeclarations[0].parameters"),
        ({"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"properties": []}}]}]},
            "tools[0].functionDeclarations[0].parameters.properties"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOMETIMES"}}}, "toolConfig.functionCallingConfig.mode"),
    ],
)  # fmt: skip
def test_mistakes_are_named_by_their_place(body: Any, param: str) -> None:
    with pytest.raises(BadRequest) as told:
        dropped(**body)
    assert not isinstance(told.value, Unsupported)
    assert told.value.param == param


def test_schemas_nested_too_deep_are_refused() -> None:
    schema: dict[str, Any] = {"type": "STRING"}
    for _ in range(200):
        schema = {"items": schema}
    with pytest.raises(BadRequest):
        dropped(tools=[{"functionDeclarations": [{"name": "f", "parameters": schema}]}])


@settings(max_examples=100, deadline=None)
@given(requests())
def test_whatever_clients_may_send_is_read(body: dict[str, Any]) -> None:
    body = json.loads(json.dumps(body))
    request = conversion.read(SURFACE, body, "m").request
    assert request.messages[0].role == form.USER
    roles = [message.role for message in request.messages]
    assert all(a != b for a, b in zip(roles, roles[1:], strict=False))
    calls = [part.id for message in request.messages for part in message.parts if isinstance(part, ToolCall)]
    results = [part.id for message in request.messages for part in message.parts if isinstance(part, ToolResult)]
    assert len(set(calls)) == len(calls)
    assert sorted(calls) == sorted(results)
    assert conversion.read(SURFACE, body, "m").request == request  # ids depend on nothing else


_WORDS = """
    contents role parts text inlineData fileData functionCall functionResponse id name args response mimeType data
    fileUri thought thoughtSignature systemInstruction tools functionDeclarations parameters parametersJsonSchema
    toolConfig functionCallingConfig mode generationConfig responseMimeType responseSchema thinkingConfig stopSequences
    user model type properties items anyOf enum nullable propertyOrdering application/json generateContentRequest
    top_p topP
""".split()
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(_WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4),
    max_leaves=20,
)


@st.composite
def _mutilated(draw: st.DrawFn) -> Any:
    """A legal request with something else somewhere in it."""
    body = json.loads(json.dumps(draw(requests())))  # its parts may be shared with other examples
    at: Any = body
    while True:
        keys = list(range(len(at))) if isinstance(at, list) else list(at)
        key = draw(st.sampled_from(keys)) if keys else "x"
        if isinstance(at, list) and not keys:
            at.append(draw(_JSON))
            return body
        below = at.get(key) if isinstance(at, dict) else at[key]
        if not isinstance(below, list | dict) or draw(st.integers(0, 3)) == 0:
            at[key] = draw(_JSON)
            return body
        at = below


@settings(max_examples=200, deadline=None)
@given(_mutilated() | _JSON)
def test_whatever_else_comes_is_read_or_refused(body: Any) -> None:
    with contextlib.suppress(BadRequest):
        conversion.read(SURFACE, json.loads(json.dumps(body)), "m")


def test_requests_nested_too_deep_are_refused() -> None:
    for depth in (200, *range(900, 1000, 3)):
        deep: dict[str, Any] = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 0}}}]}
        inner: Any = 0
        for _ in range(depth):
            inner = [inner]
        deep["parts"][0]["functionCall"]["args"]["a"] = inner
        try:
            read(contents=[{"parts": [{"text": "go"}]}, deep])
        except BadRequest:
            assert depth > 800
