"""Answers and streams of Anthropic, and of vendors that are nearly compatible with it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import scan
from gateway.dialects.anthropic_messages import SURFACE, VENDOR
from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.events import Collector
from gateway.dialects.chat.form import Answer, ChatRequest, Citation, Text, Thought, ToolCall
from gateway.dialects.chat.transform import Transform
from gateway.errors import BadUpstreamReply
from gateway.types import Usage

USAGE_FIXTURES = Path(__file__).parent.parent / "fixtures" / "usage"
FIXTURES = Path(__file__).parent.parent / "fixtures" / "chat" / "anthropic_messages"
OWN = "anthropic.messages"
TOLD = Told("alias", "req1", 1, ChatRequest(model="alias", messages=()))

# Stream -> what it says.
STREAMS = {
    USAGE_FIXTURES / "anthropic_messages.stream.usage.sse": Answer(id="msg_01Fixture", parts=(Text("Bees hum."),)),
    USAGE_FIXTURES / "anthropic_messages.stream.late_input.sse": Answer(id="msg_01Fixture", parts=(Text("OK"),)),
    USAGE_FIXTURES / "anthropic_messages.stream.tool_calls.sse": Answer(
        id="msg_01Fixture",
        parts=(
            Thought("Need both cities.", "U2lnbmF0dXJlMQ==", origin=OWN),
            ToolCall("toolu_f1", "weather", '{"city": "Rome"}'),
            ToolCall("toolu_f2", "clock"),
        ),
        finish=form.TOOL_CALLS,
    ),
    FIXTURES / "compatible.sse": Answer(
        id="0123",
        parts=(
            Thought("Let me see.", origin=OWN),
            Text("It is warm."),
            ToolCall("call_a", "weather", '{"city":"Oslo"}'),
            ToolCall("toolu_seed_1", "clock", '{"zone": 1}'),
        ),
        finish=form.TOOL_CALLS,
    ),
    FIXTURES / "search.sse": Answer(
        id="msg_2",
        parts=(
            Thought(redacted="b3BhcXVl", origin=OWN),
            Thought("", "c2ln", origin=OWN),
            Text("Blue.", (Citation("https://sky.example", "Sky", "the sky is blue"),)),
        ),
        stop_sequence="END",
    ),
}


def collected(body: bytes) -> Answer:
    reader = VENDOR.stream("seed")
    collector = Collector(OWN)
    for event in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        name, data = b"", b""
        for line in event.splitlines():
            if line.startswith(b"event:"):
                name = line[6:].strip()
            elif line.startswith(b"data:"):
                data = line[5:].strip()
        if data:
            collector.take(reader.read(data, name))
    return collector.answer()


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_what_streams_say(path: Path) -> None:
    assert collected(path.read_bytes()) == STREAMS[path]


def transformed(pieces: list[bytes]) -> bytes:
    transform = Transform(VENDOR, SURFACE.stream(TOLD), "seed", OWN)
    return b"".join(map(transform.feed, pieces)) + transform.last(b"") + transform.finish(Usage(5, 0, 0, 3))


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_streams_in_pieces(path: Path) -> None:
    body = path.read_bytes()
    whole = transformed([body])
    assert b"message_stop" in whole
    assert transformed([body[at : at + 1] for at in range(len(body))]) == whole
    cuts = random.Random(7)
    for _ in range(20):
        ends = sorted(cuts.sample(range(len(body)), 5))
        pieces = [body[a:b] for a, b in zip([0, *ends], [*ends, len(body)], strict=True)]
        assert transformed(pieces) == whole


def answered(*blocks: dict[str, Any], **fields: Any) -> Answer:
    return VENDOR.read(json.dumps({"id": "msg_1", "content": list(blocks), **fields}).encode(), "seed")


def test_a_whole_answer() -> None:
    answer = VENDOR.read((USAGE_FIXTURES / "anthropic_messages.response.thinking.json").read_bytes(), "seed")
    assert answer == Answer(
        id="msg_01Fixture",
        parts=(
            Thought("7*6=42", "RXhhbXBsZVNpZw==", origin=OWN),
            Thought(redacted="b3BhcXVl", origin=OWN),
            Text("42"),
        ),
    )


def test_calls_keep_their_arguments_as_they_came() -> None:
    body = b'{"content":[{"type":"tool_use","name":"f","input":{"n": 1.0}},{"type":"tool_use","id":"b","name":"g"}]}'
    assert VENDOR.read(body, "seed") == Answer(
        parts=(ToolCall("toolu_seed_0", "f", '{"n": 1.0}'), ToolCall("b", "g")), finish=form.TOOL_CALLS
    )


def test_sources_and_the_vendors_own_tools() -> None:
    sources = [{"type": "x", "url": "https://a.example", "title": None, "cited_text": "q"}, {"type": "page_location"}]
    own = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
    result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "https://a.example"}]}
    answer = answered(own, result, {"type": "text", "text": "a", "citations": sources}, stop_reason="end_turn")
    assert answer.parts == (Text("a", (Citation("https://a.example", quote="q"),)),)
    assert answer.finish == form.STOP


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", form.STOP),
        ("stop_sequence", form.STOP),
        ("pause_turn", form.STOP),
        ("tool_use", form.STOP),  # of no tool that the client has
        ("max_tokens", form.LENGTH),
        ("model_context_window_exceeded", form.LENGTH),
        ("refusal", form.FILTERED),
        ("novelty", form.STOP),
        (None, form.STOP),
    ],
)
def test_why_it_ended(reason: str | None, finish: str) -> None:
    assert answered(stop_reason=reason).finish == finish
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    assert answered(call, stop_reason=reason).finish == (form.TOOL_CALLS if finish == form.STOP else finish)


def test_the_end_is_told_once() -> None:
    reader = VENDOR.stream("seed")
    end = b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}'
    assert list(reader.read(b'{"type":"message_delta","usage":{"output_tokens":1}}', b"")) == []
    assert list(reader.read(end, b"")) == [form.Finished(form.STOP)]
    assert list(reader.read(end, b"")) == []


@pytest.mark.parametrize("kind", ["ping", "message_stop", "error", "novelty", ""])
def test_events_of_no_interest(kind: str) -> None:
    assert list(VENDOR.stream("seed").read(json.dumps({"type": kind, "index": 3}).encode(), b"")) == []


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_BLOCKS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "tool_use", "redacted_thinking", "x"])},
    optional=dict.fromkeys(["text", "thinking", "signature", "data", "id", "name", "input", "citations"], _JSON),
)
_EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["message_start", "content_block_start", "content_block_delta", "content_block_stop",
                              "message_delta", "x"])},
    optional={
        "index": st.integers(0, 2) | _JSON,
        "message": _JSON,
        "content_block": _BLOCKS | _JSON,
        "delta": st.fixed_dictionaries(
            {"type": st.sampled_from(["text_delta", "thinking_delta", "input_json_delta", "signature_delta", "x"])},
            optional=dict.fromkeys(["text", "thinking", "partial_json", "signature", "citation", "stop_reason"], _JSON),
        )
        | _JSON,
    },
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(_EVENTS | _JSON, max_size=6))
def test_garbage_in_streams(events: list[Any]) -> None:
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    transform = Transform(VENDOR, SURFACE.stream(TOLD), "seed", OWN)
    try:
        transform.feed(body)
    except BadUpstreamReply:
        return
    transform.finish(Usage())


@settings(deadline=None)
@given(st.lists(_BLOCKS | _JSON, max_size=4), _JSON)
def test_garbage_in_answers(blocks: list[Any], reason: Any) -> None:
    body = json.dumps({"content": blocks, "stop_reason": reason}).encode()
    try:
        answer = VENDOR.read(body, "seed")
    except scan.UNREADABLE:
        return
    assert answer.finish in form.FINISHES


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'"x"', b'{"content": 5}', b"\xff", b'{"content":[{"text":"\xff"}]}']
)
def test_answers_that_are_none(body: bytes) -> None:
    with pytest.raises(scan.UNREADABLE):
        VENDOR.read(body, "seed")


def test_answers_that_are_nested_too_deep() -> None:
    body = b'{"content":[{"type":"tool_use","id":"a","name":"f","input":%b}]}' % (b"[" * 50_000 + b"]" * 50_000)
    with pytest.raises(scan.UNREADABLE):
        VENDOR.read(body, "seed")


@pytest.mark.parametrize("body", [b"{}", b'{"input_tokens": "9"}', b"[]"])
def test_counts_that_are_none(body: bytes) -> None:
    with pytest.raises(scan.UNREADABLE):
        VENDOR.counted(body)
