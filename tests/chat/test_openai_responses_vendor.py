"""Responses as vendors speak it: the requests that they get, and what is read of their answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from gateway.dialects.chat import form
from gateway.dialects.chat.conversion import ChatConversion, Read, read
from gateway.dialects.chat.dialect import Aim
from gateway.dialects.chat.form import (
    Answer,
    ChatRequest,
    Citation,
    Format,
    Image,
    Logprob,
    Message,
    Reasoning,
    Refusal,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.openai_responses import SURFACE, VENDOR
from gateway.errors import BadUpstreamReply, Unsupported
from gateway.types import Features
from tests.chat.openai_responses_requests import requests
from tests.chat.openai_responses_schema import check

FIXTURES = Path(__file__).parent.parent / "fixtures" / "chat" / "openai_responses"
PIXEL = "iVBORw0KGgo="
CONVERSION = ChatConversion(SURFACE, VENDOR, "openai.responses")
ENCRYPTED = ["reasoning.encrypted_content"]
HI = (Message("user", (Text("hi"),)),)


def asking(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(model="astra", messages=messages or HI, **fields)


def sent(request: ChatRequest, dropped: tuple[str, ...] = (), **features: Any) -> dict[str, Any]:
    """The vendor's request, which is a legal one."""
    found = CONVERSION.request(Read(request, ()), Aim("gpt-6", Features(**features), "acct"))
    assert found.dropped == dropped
    body: dict[str, Any] = json.loads(found.body)
    check(body, request.stream)
    return body


def items(*messages: Message, **features: Any) -> list[Any]:
    found: list[Any] = sent(asking(*messages), **features)["input"]
    return found


# -- requests ----------------------------------------------------------------------------------------------------------


def test_the_least() -> None:
    assert sent(asking()) == {
        "model": "gpt-6",
        "input": [{"type": "message", "role": "user", "content": "hi"}],
        "store": False,
        "include": ENCRYPTED,
    }


def test_all_that_is_carried() -> None:
    schema = {"type": "object"}
    request = asking(
        system=(Text("be"), Text("brief")),
        stream=True,
        tools=(Tool("f", "d", schema, True), Tool("g")),
        tool_choice=ToolChoice("required", ("f",)),
        parallel_tools=False,
        max_output=99,
        temperature=0.5,
        top_p=1,
        format=Format(schema, "n", "d", False),
        reasoning=Reasoning(effort="high", shown=True),
        logprobs=3,
        user="u",
        extras={"metadata": {"a": "b"}, "verbosity": "low", "service_tier": "flex"},
    )
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    body = sent(request)
    del body["model"], body["input"], body["store"]
    assert body == {
        "instructions": "be\n\nbrief",
        "stream": True,
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": True},
            {"type": "function", "name": "g", "parameters": nothing, "strict": False},
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "max_output_tokens": 99,
        "temperature": 0.5,
        "top_p": 1,
        "text": {
            "format": {"type": "json_schema", "name": "n", "description": "d", "schema": schema, "strict": False},
            "verbosity": "low",
        },
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": [*ENCRYPTED, "message.output_text.logprobs"],
        "top_logprobs": 3,
        "user": "u",
        "metadata": {"a": "b"},
        "service_tier": "flex",
    }


def test_the_least_maximum() -> None:
    assert sent(asking(max_output=1), ("max_output_tokens",))["max_output_tokens"] == 16
    assert sent(asking(max_output=16))["max_output_tokens"] == 16


def test_models_that_reason_are_not_tuned() -> None:
    reasons = {"thinking": "effort", "max_tokens_field": "max_completion_tokens"}
    body = sent(asking(temperature=0, top_p=0.5), ("temperature", "top_p"), **reasons)
    assert not {"temperature", "top_p"} & body.keys()
    body = sent(asking(temperature=0, top_p=0.5, reasoning=Reasoning(on=False)), **reasons)
    assert (body["temperature"], body["top_p"]) == (0, 0.5)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tool_choice": ToolChoice("none")}, {"tool_choice": "none"}),
        (
            {"tool_choice": ToolChoice("auto", ("f",)), "tools": (Tool("f"), Tool("g"))},
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
        ),
        ({"format": Format()}, {"text": {"format": {"type": "json_object"}}}),
        (
            {"format": Format({"type": "object"})},
            {"text": {"format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}}},
        ),
        ({"logprobs": 0}, {"include": [*ENCRYPTED, "message.output_text.logprobs"]}),
        ({"reasoning": Reasoning()}, {}),
        ({"reasoning": Reasoning(on=False, summary="auto")}, {"reasoning": {"effort": "none"}}),
        ({"reasoning": Reasoning(budget=3000)}, {"reasoning": {"effort": "high"}}),
        ({"reasoning": Reasoning(summary="detailed")}, {"reasoning": {"summary": "detailed"}}),
    ],
)
def test_variants(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    body = sent(asking(**fields))
    known = {"include": ENCRYPTED, **expected}
    assert {name: body.get(name) for name in (*known, "reasoning")} == {"reasoning": None, **known}


def test_a_switch_for_thinking() -> None:
    assert sent(asking(reasoning=Reasoning(effort="low")), thinking="switch")["thinking"] == {"type": "enabled"}
    assert sent(asking(reasoning=Reasoning(on=False)), thinking="switch")["thinking"] == {"type": "disabled"}


def test_a_model_that_cannot_be_asked_to_think() -> None:
    body = sent(asking(reasoning=Reasoning(effort="low")), ("reasoning",), thinking="none")
    assert "include" not in body
    assert "reasoning" not in body


def test_hints_without_a_place_are_dropped() -> None:
    named = Message("user", (Text("hi"),), name="Ada")
    request = asking(named, top_k=5, seed=1, presence_penalty=0.0, frequency_penalty=1.5)
    body = sent(request, ("top_k", "seed", "presence_penalty", "frequency_penalty", "messages.name"))
    assert body.keys() == {"model", "input", "store", "include"}


@pytest.mark.parametrize(
    ("fields", "features", "param"),
    [
        ({"stop": ("END",)}, {}, "stop"),
        ({"format": Format({})}, {"json_schema": False}, "text.format"),
        ({"messages": (Message("user", (Image("https://x.org"),)),)}, {"images": "base64"}, "input"),
        ({"messages": (Message("user", (Image(data=PIXEL, media_type="image/png"),)),)}, {"images": "url"}, "input"),
        ({"messages": (Message("user", (Image("https://x.org"),)),)}, {"images": "none"}, "input"),
        ({"messages": (Message("assistant", (Image(data=PIXEL, media_type="image/png"),)),)}, {}, "input"),
    ],
)
def test_what_would_change_the_meaning_is_refused(fields: Any, features: dict[str, Any], param: str) -> None:
    request = ChatRequest(**{"model": "astra", "messages": HI, **fields})
    with pytest.raises(Unsupported) as caught:
        sent(request, **features)
    assert caught.value.param == param


def test_a_turn_of_the_model_is_taken_apart() -> None:
    own, other = (
        Thought("hm", "gAAA", id="rs_1", origin="openai.responses"),
        Thought("x", "s", origin="gemini.generate"),
    )
    turn = Message(
        "assistant",
        (
            other,
            own,
            Text("a"),
            Text("b", (Citation("https://x.org", "X", start=0, end=1),)),
            Refusal("no"),
            Thought("", "gBBB", origin="openai.responses", account="acct"),
            ToolCall("c1", "f", '{"a":1}'),
            Thought("", "gCCC", origin="openai.responses", account="another"),
            ToolCall("c2", "g"),
            Text(""),
            own,
        ),
    )
    results = Message("user", (ToolResult("c1", "f", (Text("1"),)), ToolResult("c2", "g"), Text("go on")))
    note = {"type": "url_citation", "url": "https://x.org", "title": "X", "start_index": 0, "end_index": 1}
    assert items(*HI, turn, results)[1:] == [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
         "encrypted_content": "gAAA"},
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": "a", "annotations": []},
            {"type": "output_text", "text": "b", "annotations": [note]},
            {"type": "refusal", "refusal": "no"},
        ]},
        {"type": "reasoning", "summary": [], "encrypted_content": "gBBB"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": ""},
        {"type": "message", "role": "user", "content": "go on"},
    ]  # fmt: skip


def test_results_with_pictures_and_failures() -> None:
    picture = Image(data=PIXEL, media_type="image/png", detail="high")
    shown = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "high"}
    calls = Message("assistant", tuple(ToolCall(str(number), "f") for number in range(4)))
    results = (
        ToolResult("0", "f", (Text("look"), picture)),
        ToolResult("1", "f", (picture,)),
        ToolResult("2", "f", (Text("no such city"), picture), failed=True),
        ToolResult("3", "f", failed=True),
    )

    def text(text: str) -> dict[str, Any]:
        return {"type": "input_text", "text": text}

    assert [item["output"] for item in items(*HI, calls, Message("user", results))[5:]] == [
        [text("look"), shown],
        [shown],
        [text("Error: no such city"), shown],
        "Error",
    ]


def test_a_user_speaks_between_results() -> None:
    calls = Message("assistant", (ToolCall("1", "f"), ToolCall("2", "f")))
    answer = Message("user", (ToolResult("1", "f"), Text("and"), Image("https://x.org"), ToolResult("2", "f")))
    picture = {"type": "input_image", "image_url": "https://x.org"}
    found = items(*HI, calls, answer)[3:]
    assert [item["type"] for item in found] == ["function_call_output", "message", "function_call_output"]
    assert found[1]["content"] == [{"type": "input_text", "text": "and"}, picture]


def test_the_system_speaks_within_the_conversation() -> None:
    assert items(*HI, Message("system", (Text("now"),)))[1] == {"type": "message", "role": "system", "content": "now"}


@given(requests())
@settings(max_examples=200, deadline=None)
def test_there_and_back(body: dict[str, Any]) -> None:
    """A request of the same dialect comes out as it went in, but for thoughts without a signature."""
    asked = read(SURFACE, body, "astra")
    again = CONVERSION.request(asked, Aim("astra"))
    written = json.loads(again.body)
    check(written, asked.request.stream)
    back = read(SURFACE, written, "astra").request

    def said(request: ChatRequest) -> list[Any]:
        parts = [(message.role, part) for message in request.messages for part in message.parts]
        return [part for part in parts if not isinstance(part[1], Thought) or part[1].signature]

    assert said(back) == said(asked.request)
    for name in ("tool_choice", "max_output", "temperature", "top_p", "format", "user", "stream", "parallel_tools"):
        assert getattr(back, name) == getattr(asked.request, name)


def test_the_question_for_tokens() -> None:
    request = asking(system=(Text("s"),), tools=(Tool("f"),), max_output=5, temperature=1, stream=True)
    question = VENDOR.count(request, Aim("gpt-6"), CONVERSION._losing(Read(request, ())))
    assert question is not None
    assert question.method == "/input_tokens"
    assert json.loads(question.body).keys() == {"model", "input", "instructions", "tools"}
    assert VENDOR.counted(b'{"object":"response.input_tokens","input_tokens":11}') == 11


# -- whole answers -----------------------------------------------------------------------------------------------------


def answer(*output: Any, **fields: Any) -> Answer:
    body = {"id": "resp_1", "created_at": 5, "status": "completed", "output": output, **fields}
    return CONVERSION.answer(json.dumps(body).encode(), "seed")


def said(*content: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


def test_the_recorded_answer() -> None:
    found = CONVERSION.answer((FIXTURES / "response.json").read_bytes(), "seed")
    thought = Thought("", "gAAA", id="rs_fx1", origin="openai.responses")
    parts = (thought, Text("Paris has 20 arrondissements."))
    assert found == Answer(id="resp_fx10", created=1793000200, parts=parts)


def test_the_items_of_an_answer() -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2}]}
    notes = [{"type": "url_citation", "url": "https://x.org", "start_index": 0, "end_index": 1}, {"type": "file_path"}]
    found = answer(
        {"type": "reasoning", "id": "rs_1", "summary": [{"text": "one"}, {"text": "two"}]},
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "so"}]},
        {"type": "reasoning", "id": "rs_3", "summary": []},
        said(
            {"type": "output_text", "text": "a", "annotations": notes, "logprobs": [token]},
            {"type": "refusal", "refusal": "no"},
        ),
        {"type": "web_search_call", "id": "ws_1", "content": 7, "result": {}},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{"},
        {"type": "function_call", "name": "g"},
        {"type": "image_generation_call", "result": PIXEL, "output_format": "webp"},
    )
    assert found == Answer(
        id="resp_1",
        created=5,
        parts=(
            Thought("one\n\ntwo", id="rs_1", origin="openai.responses"),
            Thought("so", id="rs_2", origin="openai.responses"),
            Text("a", (Citation("https://x.org", start=0, end=1),)),
            Refusal("no"),
            ToolCall("c1", "f", "{"),
            ToolCall("call_seed_1", "g"),
            Image(data=PIXEL, media_type="image/webp"),
        ),
        finish=form.TOOL_CALLS,
        logprobs=(Logprob("a", -0.5, [97], (Logprob("b", -2),)),),
    )


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({}, form.STOP),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, form.LENGTH),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, form.FILTERED),
        ({"status": "incomplete"}, form.LENGTH),
        ({"status": None, "incomplete_details": {"reason": "max_output_tokens"}}, form.LENGTH),
        ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, form.LENGTH),
    ],
)
def test_why_it_ended(fields: dict[str, Any], finish: str) -> None:
    assert answer(said({"type": "output_text", "text": "a"}), **fields).finish == finish


def test_an_answer_of_nulls() -> None:
    assert answer({"type": "message", "content": None}, id=None, created_at=None, status=None) == Answer()
    assert CONVERSION.answer(b"{}", "s") == Answer()


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"output": 1}',
        b'{"output": [{"type": "message", "content": [1]}]}',
        b'{"output": [{"type": "function_call", "arguments": {}}]}',
        b'{"output": [{"type": "image_generation_call", "result": 1}]}',
        b'{"output": [{"type": "message", "content": [{"annotations": [{"start_index": -1}]}]}]}',
        b'{"output": [{"type": "reasoning", "summary": [' + b'{"logprobs": [{"top_logprobs": [' * 3000,
    ],
)
def test_what_cannot_be_read(body: bytes) -> None:
    with pytest.raises(BadUpstreamReply):
        CONVERSION.answer(body, "s")


def test_numbers_out_of_range_are_none() -> None:
    for number in ("1e300", "-1", "1e17"):
        assert CONVERSION.answer(b'{"output": [], "created_at": %b}' % number.encode(), "s").created is None
