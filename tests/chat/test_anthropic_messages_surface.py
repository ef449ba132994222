"""Messages requests of clients, read into the neutral form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.anthropic_messages import SURFACE
from gateway.dialects.chat import conversion
from gateway.dialects.chat.conversion import Read
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
from gateway.errors import BadRequest, Unsupported
from tests.chat.anthropic_messages_requests import PNG, questions, requests
from tests.chat.anthropic_messages_schema import check, check_count

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
WEATHER = {"name": "weather", "input_schema": {"type": "object"}}
_EASY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(messages: Any = HELLO, **fields: Any) -> Read:
    body = {"model": "claude", "max_tokens": 100, "messages": messages, **fields}
    return conversion.read(SURFACE, json.loads(json.dumps(body)), "claude")


def asked(messages: Any = HELLO, **fields: Any) -> ChatRequest:
    return read(messages, **fields).request


def said(role: str, *blocks: Any) -> list[dict[str, Any]]:
    return [{"role": role, "content": list(blocks)}]


def test_a_conversation_with_tools_pictures_and_thoughts() -> None:
    request = asked(
        [
            {"role": "user", "content": [{"type": "text", "text": "look"},
                                         {"type": "image", "source": {"type": "url", "url": "https://a.example/b"}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "b3Bh"},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "t2", "name": "clock", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t2", "content": "noon"},
                {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": [
                    {"type": "text", "text": "no"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                ]},
                {"type": "text", "text": "and?"},
            ]},
            {"role": "system", "content": "be quick"},
        ],
        system=[{"type": "text", "text": "you are"}, {"type": "text", "text": "kind"}],
    )  # fmt: skip
    assert request.system == (Text("you are"), Text("kind"))
    own = "anthropic.messages"
    assert request.messages == (
        Message("user", (Text("look"), Image(url="https://a.example/b"))),
        Message("assistant", (
            Thought("hm", "c2ln", origin=own), Thought(redacted="b3Bh", origin=own),
            ToolCall("t1", "weather", '{"city":"Rome"}'), ToolCall("t2", "clock", "{}"),
        )),
        Message("user", (
            ToolResult("t2", "clock", (Text("noon"),)),
            ToolResult("t1", "weather", (Text("no"), Image(data=PNG, media_type="image/png")), failed=True),
            Text("and?"),
        )),
        Message("system", (Text("be quick"),)),
    )  # fmt: skip


def test_plain_fields() -> None:
    fields = {"stop_sequences": ["END"], "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stream": True,
              "metadata": {"user_id": "u"}, "system": "be"}  # fmt: skip
    request = asked(**fields)
    assert (request.stop, request.temperature, request.top_p, request.top_k) == (("END",), 0.5, 0.9, 5)
    assert (request.stream, request.user, request.max_output) == (True, "u", 100)
    assert request.system == (Text("be"),)
    assert read(**fields).dropped == ()


def test_a_thought_without_a_signature_is_just_text() -> None:
    request = asked(HELLO + said("assistant", {"type": "thinking", "thinking": "hm", "signature": ""}))
    assert request.messages[1].parts == (Thought("hm"),)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "any"}, ToolChoice("required")),
        ({"type": "none"}, ToolChoice("none")),
        ({"type": "tool", "name": "weather"}, ToolChoice("required", ("weather",))),
    ],
)
def test_tool_choices(given: dict[str, Any], meant: ToolChoice) -> None:
    request = asked(tools=[WEATHER], tool_choice=given)
    assert (request.tool_choice, request.parallel_tools) == (meant, None)
    if meant.mode != "none":
        assert asked(tools=[WEATHER], tool_choice={**given, "disable_parallel_tool_use": True}).parallel_tools is False


def test_tools() -> None:
    tool = {**WEATHER, "type": "custom", "description": "tells it", "strict": True, "allowed_callers": ["direct"]}
    given = read(tools=[WEATHER, tool])
    plain = Tool("weather", None, {"type": "object"})
    assert given.request.tools == (plain, Tool("weather", "tells it", {"type": "object"}, True))
    assert given.dropped == ()


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Reasoning(on=True, budget=2000)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Reasoning(on=True, shown=False)),
        ({"thinking": {"type": "disabled"}}, Reasoning(on=False)),
        ({"thinking": {"type": "between_tools"}}, Reasoning(on=False)),
        ({"output_config": {"effort": "max"}}, Reasoning(effort="max")),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
            Reasoning(on=True, effort="low", shown=True),
        ),
        ({}, None),
    ],
)
def test_thinking(fields: dict[str, Any], meant: Reasoning | None) -> None:
    assert asked(**fields).reasoning == meant


@pytest.mark.parametrize("place", ["output_config", "output_format"])
def test_a_schema_for_the_answer(place: str) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    fields = {"output_config": {"format": wanted}} if place == "output_config" else {place: wanted}
    assert asked(**fields).format == Format({"type": "object"})


CACHED = {"cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"system": [{"type": "text", "text": "a", **CACHED}], "tools": [{**WEATHER, **CACHED}], **CACHED},
         ("cache_control",)),
        ({"messages": said("user", {"type": "text", "text": "a", **CACHED})}, ("cache_control",)),
        ({"service_tier": "standard_only", "speed": "fast", "inference_geo": "eu"},
         ("service_tier", "speed", "inference_geo")),
        ({"service_tier": "auto", "speed": "standard", "container": None, "mcp_servers": []}, ()),
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}, ()),
        ({"tools": [{**WEATHER, "defer_loading": True, "input_examples": [{}], "eager_input_streaming": False}]},
         ("tools.defer_loading", "tools.input_examples")),
        ({"metadata": {"team": "a"}}, ("metadata.team",)),
        ({"seed": 5}, ("seed",)),
        ({"output_config": {"task_budget": {}}}, ("output_config.task_budget",)),
        ({"messages": HELLO + said("assistant", {"type": "text", "text": "a", "citations": [{"type": "x"}]})},
         ("messages.content.citations",)),
        ({"messages": HELLO + said("assistant", {"type": "tool_use", "id": "a", "name": "b", "input": {},
                                                 "caller": {"type": "code_execution_20250825"}})},
         ("messages.content.caller",)),
    ],
)  # fmt: skip
def test_hints_are_dropped_and_named(fields: dict[str, Any], named: tuple[str, ...]) -> None:
    given = read(**{"messages": HELLO, **fields})
    assert set(given.dropped) == set(named)
    assert len(given.dropped) == len(named)
    assert given.request.extras == {}


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"messages": said("user", {"type": kind, **fields})}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"url": "https://a.example"}]}, "mcp_servers"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management"),
        ({"thread": {"id": "t"}}, "thread"),
        ({"compaction": {"type": "x"}}, "compaction"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
        ({"tools": [{**WEATHER, "allowed_callers": ["code_execution_20250825"]}]}, "tools[0].allowed_callers"),
        (block("document", source={}), "messages[0].content[0]"),
        (block("search_result"), "messages[0].content[0]"),
        (block("web_search_tool_result"), "messages[0].content[0]"),
        (block("hologram"), "messages[0].content[0]"),
        (block("image", source={"type": "file", "file_id": "f"}), "messages[0].content[0].source"),
        (block("tool_result", tool_use_id="a", content=[{"type": "document"}]), "messages[0].content[0].content[0]"),
        ({"messages": [{"role": "narrator", "content": "a"}]}, "messages[0].role"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unsupported) as refused:
        read(**{"messages": HELLO, **fields})
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (block("text"), "messages[0].content[0].text"),
        (block("tool_use", id="a", name="b", input={}), "messages[0].content[0]"),
        (block("image", source={"type": "url", "url": "file:///etc/passwd"}), "messages[0].content[0].source"),
        (block("image", source={"type": "base64", "media_type": "image/bmp", "data": "AA=="}),
         "messages[0].content[0].source.media_type"),
        (block("image", source={"type": "base64", "data": "AA=="}), "messages[0].content[0].source.media_type"),
        (block("image"), "messages[0].content[0].source"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"stop_sequences": [5]}, "stop_sequences"),
        ({"system": 5}, "system"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1000}}, "thinking.budget_tokens"),
        ({"thinking": {}}, "thinking.type"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format"),
        ({"metadata": 5}, "metadata"),
        ({"stream": "yes"}, "stream"),
    ],
)  # fmt: skip
def test_mistakes_are_named_by_their_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as wrong:
        read(**{"messages": HELLO, **fields})
    assert not isinstance(wrong.value, Unsupported)
    assert wrong.value.param == param


@_EASY
@given(requests())
def test_every_legal_request_is_read(body: dict[str, Any]) -> None:
    check(body, body.get("stream") is True)
    request = conversion.read(SURFACE, conversion.decoded(json.dumps(body).encode()), "m").request
    assert len(request.messages) == len(body["messages"])
    assert request.max_output == body["max_tokens"]


@_EASY
@given(questions())
def test_so_is_every_question_for_tokens(body: dict[str, Any]) -> None:
    check_count(body)
    assert conversion.read(SURFACE, body, "m").request.max_output is None


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = st.sampled_from(
    "messages system tools tool_choice thinking output_config metadata stop_sequences container max_tokens top_k "
    "context_management output_format cache_control".split()
)


def clear(body: dict[str, Any]) -> bool:
    """Whether a body is read, or refused with the name of what is wrong."""
    try:
        conversion.read(SURFACE, body, "m")
    except BadRequest as exc:
        return exc.param is not None
    return True


@_EASY
@given(requests(), _FIELDS, _JSON)
def test_garbage_gives_a_clear_error_or_is_read(body: dict[str, Any], name: str, value: Any) -> None:
    assert clear(body | {name: value})


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a value: its container and key."""
    if not isinstance(value, dict | list):
        return []
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [(value, key) for key, _ in items] + [place for _, inner in items for place in _places(inner)]


@_EASY
@given(requests(), st.data())
def test_so_does_garbage_deep_inside(body: dict[str, Any], data: st.DataObject) -> None:
    body = json.loads(json.dumps(body))
    container, key = data.draw(st.sampled_from(_places(body["messages"])))
    container[key] = data.draw(_JSON)
    assert clear(body)


def test_the_count_of_tokens() -> None:
    assert json.loads(SURFACE.count(7)) == {"input_tokens": 7}
