"""Requests of chat completions: what becomes of each field on its way into the neutral form."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.chat import form
from gateway.dialects.chat.conversion import ChatConversion, Read, read
from gateway.dialects.chat.dialect import Aim
from gateway.dialects.chat.form import (
    ChatRequest,
    Format,
    Image,
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
from gateway.dialects.minimax_chat import VENDOR as MINIMAX
from gateway.dialects.openai_chat import SURFACE
from gateway.errors import BadRequest, Unsupported
from tests.chat.openai_chat_requests import PNG, SCHEMA, requests
from tests.chat.openai_chat_schema import exhaust, strict

HELLO = {"role": "user", "content": "hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"port":"Brest"}'}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"type": "function", "function": {"name": "tide", "parameters": SCHEMA}}


def asked(*messages: dict[str, Any], **fields: Any) -> Read:
    body = {"model": "m", "messages": list(messages) or [HELLO], **fields}
    return read(SURFACE, json.loads(json.dumps(body)), "m")


def neutral(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    return asked(*messages, **fields).request


def lost(**fields: Any) -> tuple[str, ...]:
    """What a vendor of another family does not hear of."""
    return ChatConversion(SURFACE, MINIMAX, "minimax.chat").request(asked(**fields), Aim("m")).dropped


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({}, "model", "m"),
        ({"stream": True, "stream_options": {"include_usage": True}}, "stream", True),
        ({"max_tokens": 5}, "max_output", 5),
        ({"max_tokens": 5, "max_completion_tokens": 7}, "max_output", 7),
        ({"temperature": 0}, "temperature", 0),
        ({"temperature": 1.5}, "temperature", 1.5),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"top_k": 40}, "top_k", 40),
        ({"top_k": -1}, "top_k", None),
        ({"seed": -(2**63)}, "seed", -(2**63)),
        ({"presence_penalty": -2}, "presence_penalty", -2),
        ({"frequency_penalty": 0.5}, "frequency_penalty", 0.5),
        ({"stop": "end"}, "stop", ("end",)),
        ({"stop": ["a", "b"]}, "stop", ("a", "b")),
        ({"stop": None}, "stop", ()),
        ({"user": "u1"}, "user", "u1"),
        ({"logprobs": True}, "logprobs", 0),
        ({"logprobs": True, "top_logprobs": 3}, "logprobs", 3),
        ({"logprobs": False, "top_logprobs": 0}, "logprobs", None),
        ({"parallel_tool_calls": False}, "parallel_tools", False),
        ({"response_format": {"type": "text"}}, "format", None),
        ({"response_format": {"type": "json_object"}}, "format", Format()),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
            "format",
            Format(SCHEMA, "n"),
        ),
        ({"reasoning_effort": "low"}, "reasoning", Reasoning(effort="low")),
        ({"enable_thinking": False}, "reasoning", Reasoning(on=False)),
        ({"enable_thinking": True, "thinking_budget": 99}, "reasoning", Reasoning(on=True, budget=99)),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "reasoning", Reasoning(on=True, budget=5)),
        ({"thinking": {"type": "disabled"}}, "reasoning", Reasoning(on=False)),
        ({"thinking": {"type": "auto"}}, "reasoning", Reasoning()),
        ({"tools": [TOOL]}, "tools", (Tool("tide", None, SCHEMA),)),
        ({"tool_choice": "required"}, "tool_choice", ToolChoice("required")),
        (
            {"tool_choice": {"type": "function", "function": {"name": "tide"}}},
            "tool_choice",
            ToolChoice("required", ("tide",)),
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {
                "mode": "auto", "tools": [{"type": "function", "function": {"name": "tide"}}]}}},
            "tool_choice",
            ToolChoice("auto", ("tide",)),
        ),
        ({"service_tier": "flex", "odd": 1}, "extras", {"service_tier": "flex", "odd": 1}),
        ({"n": 1, "store": False, "modalities": ["text"], "functions": []}, "extras", {}),
    ],
)  # fmt: skip
def test_a_field_is_carried(fields: dict[str, Any], name: str, value: object) -> None:
    found = asked(**fields)
    assert getattr(found.request, name) == value
    assert found.dropped == ()


DATA = f"data:image/png;base64,{PNG}"


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "a"}, (Text("a"),)),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, (Text("a"), Text("b"))),
        (
            {"content": [{"type": "image_url", "image_url": {"url": DATA, "detail": "low"}}]},
            (Image(data=PNG, media_type="image/png", detail="low"),),
        ),
        ({"content": [{"type": "image_url", "image_url": "HTTPS://x.y/a"}]}, (Image(url="HTTPS://x.y/a"),)),
        (
            {"content": [{"type": "image_url", "image_url": {"url": "data:image/jpeg;charset=x;base64,_-A"}}]},
            (Image(data="/+A=", media_type="image/jpeg"),),
        ),
    ],
)
def test_what_a_user_says(message: dict[str, Any], parts: tuple[form.Part, ...]) -> None:
    assert neutral({"role": "user", **message}).messages == (Message(form.USER, parts),)


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "a"}, (Text("a"),)),
        ({"content": ""}, (Text(""),)),
        ({"content": "", "tool_calls": [CALL]}, (ToolCall("c1", "tide", '{"port":"Brest"}'),)),
        ({"content": "a", "reasoning_content": "t"}, (Thought("t"), Text("a"))),
        ({"content": "a", "reasoning": "t", "reasoning_content": "t"}, (Thought("t"), Text("a"))),
        ({"content": None, "refusal": "no"}, (Refusal("no"),)),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, (Refusal("no"),)),
        ({"content": "a", "annotations": [], "audio": None, "partial": False}, (Text("a"),)),
        (
            {"content": None, "images": [{"type": "image_url", "image_url": {"url": DATA}}]},
            (Image(data=PNG, media_type="image/png"),),
        ),
    ],
)
def test_what_the_model_said(message: dict[str, Any], parts: tuple[form.Part, ...]) -> None:
    found = asked({"role": "assistant", **message})
    assert found.request.messages == (Message(form.ASSISTANT, parts),)
    assert found.dropped == ()


def test_the_system_speaks_first_or_later() -> None:
    first = {"role": "system", "content": "be kind"}
    second = {"role": "developer", "content": [{"type": "text", "text": "be short"}]}
    found = neutral(first, second, HELLO, {"role": "system", "content": "now be long"})
    assert found.system == (Text("be kind"), Text("be short"))
    assert found.messages[1] == Message(form.SYSTEM, (Text("now be long"),))


def test_results_that_follow_each_other_are_one_turn_and_know_their_tools() -> None:
    other = CALL | {"id": "c2", "function": {"name": "time", "arguments": ""}}
    results = [{"role": "tool", "tool_call_id": id, "content": f"of {id}"} for id in ("c1", "c2")]
    found = neutral(HELLO, CALLED | {"tool_calls": [CALL, other]}, *results, HELLO)
    assert [message.role for message in found.messages] == [form.USER, form.ASSISTANT, form.USER, form.USER]
    assert found.messages[2].parts == (
        ToolResult("c1", "tide", (Text("of c1"),)),
        ToolResult("c2", "time", (Text("of c2"),)),
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"enable_search": True}, "enable_search"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [TOOL, {"type": "web_search", "web_search": {}}]}, "tools[1].type"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice.type"),
        ({"messages": [{"role": "function", "name": "f", "content": "1"}]}, "messages[0].role"),
        ({"messages": [{"role": "critic", "content": "1"}]}, "messages[0].role"),
        ({"messages": [HELLO, {"role": "assistant", "audio": {"id": "a"}, "content": "x"}]}, "messages[1].audio"),
        ({"messages": [{"role": "assistant", "content": "x", "prefix": True}]}, "messages[0].prefix"),
        (
            {"messages": [{"role": "assistant", "content": "x", "function_call": {"name": "f", "arguments": ""}}]},
            "messages[0].function_call",
        ),
        *[
            ({"messages": [{"role": "user", "content": [{"type": kind, kind: {}}]}]}, "messages[0].content[0].type")
            for kind in ("input_audio", "file", "video_url")
        ],
    ],
)
def test_what_would_change_the_meaning_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        lost(**{"messages": [HELLO]} | fields)
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"metadata": {"a": "b"}, "logit_bias": {"1": 2}}, ("metadata", "logit_bias")),
        ({"store": True, "prediction": {}, "moderation": {}}, ("store", "prediction", "moderation")),
        ({"service_tier": "flex", "verbosity": "low", "made_up": 0}, ("service_tier", "verbosity", "made_up")),
        ({"stream_options": {"chunk_include_usage": True}}, ("stream_options.chunk_include_usage",)),
        ({"seed": 3, "user": "u"}, ("seed", "user")),
        ({"tools": [TOOL | {"cache_control": {"type": "ephemeral"}}]}, ("tools.cache_control",)),
        ({"messages": [{"role": "system", "name": "x", "content": "s"}, HELLO]}, ("messages.name",)),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}]},
            ("messages.content.cache_control",),
        ),
        ({"messages": [HELLO, {"role": "assistant", "content": "x", "annotations": [{}]}]}, ("messages.annotations",)),
        ({"reasoning_effort": "low"}, ("reasoning_effort",)),
    ],
)
def test_hints_are_dropped_and_named(fields: dict[str, Any], names: tuple[str, ...]) -> None:
    assert lost(**{"messages": [HELLO]} | fields) == names


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [CALLED | {"tool_calls": [{"id": "c"}]}]}, "messages[0].tool_calls[0].function"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": True}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [1]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"thinking": {"type": "maybe"}}, "thinking.type"),
        ({"thinking": True}, "thinking"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "x", "strict": 1}}]}, "tools[0].function.strict"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice.allowed_tools.mode"),
    ],
)  # fmt: skip
def test_mistakes_are_named_by_their_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(**fields)
    assert caught.value.param == param
    assert not isinstance(caught.value, Unsupported)


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x/a.png", "AAAA", "data:image/png;base64,", "data:image/png,abc", "data:;base64,AAAA",
     "data:text/plain;base64,AA", "data:image/png;base64,ÄÄ", "data:" + "x" * 500],
)  # fmt: skip
def test_what_is_no_picture_is_refused(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(BadRequest) as caught:
        asked({"role": "user", "content": [part]})
    assert caught.value.param == "messages[0].content[0].image_url.url"
    assert len(caught.value.message) < 200


# -- anything that clients may send ------------------------------------------------------------------------------------

_TYPES = strict(*[
    getattr(__import__("openai.types.chat.completion_create_params", fromlist=["x"]), f"CompletionCreateParams{kind}")
    for kind in ("NonStreaming", "Streaming")
])  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(requests())
def test_legal_requests_are_read(body: dict[str, Any]) -> None:
    exhaust(_TYPES.validate_python(copy.deepcopy(body)))
    found = read(SURFACE, body, "m").request
    assert found.stream == body.get("stream", False)
    assert len(found.tools) == len(body.get("tools", ()))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """All (container, key) in a value."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


@settings(max_examples=200, deadline=None)
@given(requests(), st.data())
def test_whatever_stands_anywhere_is_read_or_refused(body: dict[str, Any], data: st.DataObject) -> None:
    body = copy.deepcopy(body)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(_places(body)))
        container[key] = data.draw(_JSON)
    refused = _refused(body)
    assert refused is None or (refused.param is not None and len(refused.message) < 2000)


def _refused(body: dict[str, Any]) -> BadRequest | None:
    try:
        read(SURFACE, body, "m")
    except BadRequest as exc:
        return exc
    return None
