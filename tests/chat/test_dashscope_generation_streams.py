"""DashScope's streams: pieces or texts that grow, calls in fragments, at any cut, and whatever else may come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.chat import form
from gateway.dialects.chat.events import Collector
from gateway.dialects.chat.form import Answer, Event, Text, Thought, ToolCall
from gateway.dialects.chat.transform import Transform
from gateway.dialects.dashscope_generation import VENDOR
from gateway.errors import BadUpstreamReply
from gateway.types import Usage

FOLDER = Path(__file__).parent.parent / "fixtures" / "usage"


def event(thought: str | None = None, text: Any = "", calls: Any = None, finish: str = "null") -> bytes:
    message = {"role": "assistant", "content": text}
    if thought is not None:
        message["reasoning_content"] = thought
    if calls is not None:
        message["tool_calls"] = calls
    choice = {"message": message, "finish_reason": finish}
    return json.dumps({"output": {"choices": [choice]}, "request_id": "r"}).encode()


def call(arguments: str | None, id: str = "", name: str | None = None, index: int | None = 0) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"id": id, "type": "function", "function": function} | ({} if index is None else {"index": index})


def events(*payloads: bytes) -> list[Event]:
    reader = VENDOR.stream("s")
    return [each for payload in payloads for each in reader.read(payload, b"result")]


def collected(*payloads: bytes) -> Answer:
    collector = Collector("dashscope.generation")
    collector.take(events(*payloads))
    return collector.answer()


def said(*payloads: bytes) -> tuple[str, str]:
    parts = collected(*payloads).parts
    thoughts = [part.text for part in parts if isinstance(part, Thought)]
    return "".join(thoughts), "".join([part.text for part in parts if isinstance(part, Text)])


END = event(finish="stop")


def test_pieces() -> None:
    assert said(event("hm"), event(" so", ""), event("", "a"), event("", "b"), END) == ("hm so", "ab")
    assert said(event(None, [{"text": "a"}]), event(None, []), event(None, [{"text": "b"}]), END) == ("", "ab")
    assert said(event("t", ""), event("", "x"), event("", "xy", finish="stop")) == ("t", "xxy")
    first = events(event(None, "a"))
    assert first == [form.Began("r"), form.TextPiece("a")]  # at once


@pytest.mark.parametrize("pieces", [
    ["ha", "ha", "ha", "!"], ["1", "10", "1", "1"], ["1", "10", "2"], ["a", "ab"], ["-", "--", "x"], ["哈", "哈"],
    ["a", "b", "ab"], ["x"],
])  # fmt: skip
def test_pieces_that_look_like_growth(pieces: list[str]) -> None:
    assert said(*[event(None, piece) for piece in pieces], END) == ("", "".join(pieces))
    thoughts = [event(piece, "") for piece in pieces]
    assert said(*thoughts, *[event("", piece) for piece in pieces], END) == ("".join(pieces), "".join(pieces))


WORD = st.text(min_size=1, max_size=3)


@given(st.lists(WORD, max_size=5), st.lists(WORD, min_size=1, max_size=5))
@settings(max_examples=300, deadline=None)
def test_texts_that_grow(thoughts: list[str], texts: list[str]) -> None:
    """The old way: all of it in each event."""
    payloads = [event("".join(thoughts[: count + 1]), "") for count in range(len(thoughts))]
    thought, text = "".join(thoughts), "".join(texts)
    payloads += [event(thought, "".join(texts[: count + 1])) for count in range(len(texts))]
    last = event(thought, text, finish="stop")
    for seen in (payloads, payloads[:-1], payloads[-1:], []):
        assert said(*seen, last) == (thought, text)


def test_bare_texts_that_grow() -> None:
    payloads = [
        json.dumps({"output": {"text": text, "finish_reason": finish}}).encode()
        for text, finish in (("a", "null"), ("ab", "null"), ("abc", "null"), ("abcd", "stop"))
    ]
    assert said(*payloads) == ("", "abcd")
    assert events(*payloads)[-1] == form.Finished(form.STOP)


def test_calls() -> None:
    fragments = [
        call('{"k": "', "c1", "lookup"), call('a"}'), call(None), call("{}", "c2", "other", 1), call("", index=1),
    ]  # fmt: skip
    found = collected(*[event(calls=[each]) for each in fragments], event(finish="tool_calls"))
    assert found.parts == (ToolCall("c1", "lookup", '{"k": "a"}'), ToolCall("c2", "other", "{}"))
    assert found.finish == form.TOOL_CALLS
    mixed = [call('{"a', "c1", "f"), call('{"b', "c2", "g", 1), call('": 1}'), call('": 2}', index=1)]
    for each in ([event(calls=[one]) for one in mixed], [event(calls=mixed[:2]), event(calls=mixed[2:])]):
        assert collected(*each, event(finish="stop")).parts == (
            ToolCall("c1", "f", '{"a": 1}'), ToolCall("c2", "g", '{"b": 2}'),
        )  # fmt: skip
    assert collected(event(calls=[call(None, "", "f")]), END).parts == (ToolCall("call_s_0", "f"),)


def test_calls_in_the_old_way_and_odd_ones() -> None:
    grows = [call(said, "c1", "f") for said in ('{"k', '{"k": 1', '{"k": 1}', '{"k": 1}')]
    assert collected(*[event(None, "", [each]) for each in grows], END).parts == (ToolCall("c1", "f", '{"k": 1}'),)
    spoken = [event(None, "ok", [each]) for each in grows]
    assert collected(event(None, "ok"), *spoken).parts == (Text("ok"), ToolCall("c1", "f", '{"k": 1}'))
    unnumbered = [call('{"k', "c1", "f", None), call('": 1}', "", None, None), call("{}", "c2", "g", None)]
    assert collected(*[event(calls=[each]) for each in unnumbered], END).parts == (
        ToolCall("c1", "f", '{"k": 1}'), ToolCall("c2", "g", "{}"),
    )  # fmt: skip
    late = [call('{"k', ""), call('": 1}', "c1", "f")]
    assert collected(*[event(calls=[each]) for each in late], END).parts == (ToolCall("c1", "f", '{"k": 1}'),)
    assert collected(event(calls=[{"index": 0}]), END).parts == ()


def test_nothing_comes_behind_the_finish() -> None:
    assert events(event(None, "a"), END, event(None, "b"), END) == events(event(None, "a"), END)
    assert events(b'{"usage": {"input_tokens": 1}}', b'{"output": null}') == []


EXPECTED = {
    "dashscope_native.stream.usage.sse": ("嗯", "春风"), "dashscope_native.stream.full_text.sse": ("", "春风十里"),
    "dashscope_native.stream.tool_calls.sse": ("", ""),
}  # fmt: skip


class Writer:
    """Notes events as they come."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def write(self, event: Event) -> bytes:
        self.events.append(event)
        return repr(event).encode()

    def end(self, usage: Usage) -> bytes:
        return b"."


@pytest.mark.parametrize("file", EXPECTED)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_fixtures_at_any_cut(file: str, data: st.DataObject) -> None:
    body = (FOLDER / file).read_bytes()
    whole = Writer()
    out = Transform(VENDOR, whole, "s").feed(body)
    collector = Collector()
    collector.take(whole.events)
    parts = collector.answer().parts
    thought = "".join([part.text for part in parts if isinstance(part, Thought)])
    assert (thought, "".join([part.text for part in parts if isinstance(part, Text)])) == EXPECTED[file]
    drawn = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=20)))
    for places in (drawn, list(range(len(body)))):
        transform = Transform(VENDOR, Writer(), "s")
        pieces = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]
        assert b"".join(map(transform.feed, pieces)) == out


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            """output choices message content text reasoning_content tool_calls function name arguments id index
            finish_reason logprobs request_id""".split()
        ), inner, max_size=5,
    ),
)  # fmt: skip


@given(VALUES, VALUES)
@settings(max_examples=500, deadline=None)
def test_anything_is_read_or_is_no_answer(value: Any, message: Any) -> None:
    bodies = [value, {"output": value}, {"output": {"choices": [{"message": message, "finish_reason": "stop"}]}}]
    for body in (json.dumps(each).encode() for each in bodies):
        reader = VENDOR.stream("s")
        for read in (lambda body: VENDOR.read(body, "s"), lambda body: list(reader.read(body, b""))):  # noqa: B023
            try:
                read(body)
                read(body)
            except (BadUpstreamReply, msgspec.MsgspecError, RecursionError):
                pass
