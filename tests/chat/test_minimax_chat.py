"""MiniMax's own chat interface: what is asked of it, what it cannot do, and its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from gateway.dialects.chat import form
from gateway.dialects.chat.conversion import ChatConversion, Read, read
from gateway.dialects.chat.dialect import Aim, Told
from gateway.dialects.chat.form import ChatRequest, Format, Message, Reasoning, Text, Thought, Tool, ToolChoice
from gateway.dialects.minimax_chat import VENDOR
from gateway.dialects.openai_chat import SURFACE
from gateway.errors import Unsupported
from gateway.types import Features, Usage
from tests.chat.minimax_chat_schema import check
from tests.chat.openai_chat_recorded import RECORDED
from tests.chat.openai_chat_requests import SCHEMA, requests

CONVERSION = ChatConversion(SURFACE, VENDOR, "minimax.chat")
HELLO = Message(form.USER, (Text("hello"),))
TOOLS = (Tool("tide", "When.", SCHEMA), Tool("time"))
RECORDINGS = {each.name: each for each in RECORDED if each.name.startswith("minimax")}


def sent(*messages: Message, features: Features | None = None, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = ChatRequest(model="mine", messages=messages or (HELLO,), **fields)
    found = CONVERSION.request(Read(request, ()), Aim("theirs", features or Features()))
    body = json.loads(found.body)
    check(body, request.stream)
    return body, found.dropped


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"max_output": 9}, {"max_completion_tokens": 9}),
        ({"temperature": 1.5, "top_p": 0}, {"temperature": 1, "top_p": 0.01}),
        ({"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5, "top_p": 0.5}),
        ({"tool_choice": ToolChoice("none"), "parallel_tools": True}, {}),
        (
            {"format": Format(SCHEMA, "my-form", "d", True)},
            {"response_format": {"type": "json_schema", "json_schema": {
                "name": "my_form", "schema": SCHEMA, "description": "d"}}},
        ),
    ],
)  # fmt: skip
def test_settings_are_written(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    body, dropped = sent(**fields)
    assert body == {"model": "theirs", "messages": [{"role": "user", "content": "hello"}]} | expected
    assert dropped == ()


def test_tools_have_all_that_must_be_there() -> None:
    body, dropped = sent(tools=TOOLS, tool_choice=ToolChoice("none"), parallel_tools=False)
    assert [tool["function"] for tool in body["tools"]] == [
        {"name": "tide", "description": "When.", "parameters": SCHEMA},
        {"name": "time", "description": "", "parameters": {"type": "object", "properties": {}}},
    ]
    assert body["tool_choice"] == "none"
    assert dropped == ("parallel_tool_calls",)
    body, _ = sent(tools=TOOLS, tool_choice=ToolChoice("auto", ("time",)))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["time"]


def test_a_turn_that_has_calls_only_has_content_all_the_same() -> None:
    turn = Message(form.ASSISTANT, (form.ToolCall("c1", "tide"),))
    body, _ = sent(HELLO, turn, Message(form.USER, (form.ToolResult("c1", "", (Text("noon"),)),)))
    assert body["messages"][1]["content"] == ""


def test_hints_are_dropped_and_named() -> None:
    _, dropped = sent(
        seed=1, top_k=2, presence_penalty=1, frequency_penalty=1, user="u", reasoning=Reasoning(effort="low"),
        extras={"service_tier": "flex"},
    )  # fmt: skip
    assert set(dropped) == {
        "seed", "top_k", "presence_penalty", "frequency_penalty", "user", "reasoning_effort", "service_tier",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": ("x",)}, "stop"),
        ({"logprobs": 0}, "logprobs"),
        ({"logprobs": 2}, "logprobs"),
        ({"format": Format()}, "response_format"),
        ({"format": Format(SCHEMA), "features": Features(json_schema=False)}, "response_format"),
        ({"tools": TOOLS, "tool_choice": ToolChoice("required")}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": ToolChoice("required", ("tide",))}, "tool_choice"),
        ({"tool_choice": ToolChoice("required")}, "tool_choice"),
    ],
)
def test_what_the_vendor_does_not_have_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        sent(**fields)
    assert caught.value.param == param


@settings(max_examples=100, deadline=None)
@given(requests())
def test_what_is_sent_is_legal(body: dict[str, Any]) -> None:
    asked = read(SURFACE, body, "mine")
    try:
        found = CONVERSION.request(asked, Aim("theirs", Features(reasoning_echo=True)))
    except Unsupported as exc:
        assert body.keys() & {exc.param}  # noqa: PT017
        return
    check(json.loads(found.body), asked.request.stream)


@pytest.mark.parametrize(
    "change", [{"odd": 1}, {"temperature": 0}, {"tool_choice": "required"}, {"messages": [{"role": "user"}]}]
)
def test_the_check_itself_tells_what_is_wrong(change: dict[str, Any]) -> None:
    good = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    check(good)
    with pytest.raises((AssertionError, ValidationError)):
        check(good | change)


def test_an_answer() -> None:
    answer = VENDOR.read(RECORDINGS["minimax.response.json"].body, "seed")
    assert answer.parts == (Thought("greet", origin="minimax.chat"), Text("Hi!"))
    assert (answer.id, answer.finish) == ("mm1", form.STOP)


def test_a_stream_is_told_once() -> None:
    told = Told("mine", "req", 5, ChatRequest(model="mine", messages=(HELLO,)))
    transform = CONVERSION.stream(told, "seed")
    out = transform.feed(RECORDINGS["minimax.stream.usage.sse"].body) + transform.finish(Usage(38, output=2))
    chunks = [json.loads(line[6:]) for line in out.decode().splitlines() if line.startswith("data: {")]
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in chunks) == "海浪"
    assert [each["choices"][0]["finish_reason"] for each in chunks] == [None, None, None, "stop"]
