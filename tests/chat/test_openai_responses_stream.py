"""Streams of Responses: what the official client makes of ours, and what is told of a vendor's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.events import Collector, events_of
from gateway.dialects.chat.form import (
    Began,
    CallBegan,
    CallPiece,
    CallSigned,
    ChatRequest,
    Citation,
    Cited,
    Event,
    Finished,
    Image,
    ImageGiven,
    Logprob,
    Message,
    RedactedThought,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    Thought,
    ThoughtEnded,
    ThoughtPiece,
    ToolCall,
)
from gateway.dialects.chat.transform import Transform
from gateway.dialects.openai_responses import SURFACE, VENDOR, growing, reader
from gateway.errors import BadUpstreamReply
from gateway.types import Usage
from tests.chat.openai_responses_client import accumulated, payloads

FIXTURES = Path(__file__).parent.parent / "fixtures" / "chat" / "openai_responses"
STREAMS = sorted(FIXTURES.glob("*.sse"))
PIXEL = "iVBORw0KGgo="
USAGE = Usage(input=30, cached_input=10, output=20, reasoning=5)
TOLD = Told("astra", "r1", 1_790_000_000, ChatRequest(model="astra", messages=(Message("user", (Text("hi"),)),)))


def streamed(*events: Event) -> bytes:
    writer = SURFACE.stream(TOLD)
    return b"".join([*map(writer.write, events), writer.end(USAGE)])


def kinds(stream: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in payloads(stream)]


# -- ours --------------------------------------------------------------------------------------------------------------


def test_the_order_of_the_events_of_a_text() -> None:
    stream = streamed(Began("resp_9", 7), TextPiece("Sa"), TextPiece(""), TextPiece("lt"), Finished(form.STOP))
    assert kinds(stream) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    response = accumulated(stream)
    assert (response.output_text, response.id, response.created_at) == ("Salt", "resp_9", 7)
    assert response.usage is not None
    assert (response.usage.total_tokens, response.usage.output_tokens_details.reasoning_tokens) == (50, 5)


def test_the_order_of_the_events_of_a_thought_and_a_call() -> None:
    stream = streamed(
        ThoughtPiece("hm"), ThoughtEnded("signed", "rs_5"), CallBegan(0, "c", "f", "signed"), CallPiece(0, '{"a":'),
        CallPiece(0, "1}"), CallSigned(0, "signed"), Finished(form.TOOL_CALLS),
    )  # fmt: skip
    assert kinds(stream) == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert b"signed" not in stream
    accumulated(stream)
    assert payloads(stream)[-1]["response"]["output"][1] == {
        "id": "fc_r1_1", "type": "function_call", "status": "completed", "call_id": "c", "name": "f",
        "arguments": '{"a":1}',
    }  # fmt: skip


def test_interleaved_calls_are_told_as_they_come() -> None:
    events: list[Event] = [
        CallBegan(0, "a", "f"),
        CallBegan(1, "b", "g"),
        CallPiece(1, "{"),
        CallPiece(0, "[0"),
        CallPiece(1, "}"),
    ]
    stream = streamed(*events, TextPiece("and"), CallPiece(0, "]"), Finished(form.TOOL_CALLS))
    deltas = [(event["output_index"], event["delta"]) for event in payloads(stream) if "delta" in event]
    assert deltas == [(1, "{"), (0, "[0"), (1, "}"), (2, "and"), (0, "]")]
    found = accumulated(stream)
    assert [item.type for item in found.output] == ["function_call", "function_call", "message"]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    item = accumulated(streamed(CallBegan(0, "a", "f"), CallPiece(0, ""))).output[0]
    assert item.type == "function_call"
    assert item.arguments == "{}"


def test_a_number_that_is_used_again_begins_another_call() -> None:
    stream = streamed(CallBegan(0, "a", "f"), CallPiece(0, "1"), CallBegan(0, "b", "f"), CallPiece(0, "2"))
    output = accumulated(stream).to_dict()["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [("a", "1"), ("b", "2")]  # type: ignore


def test_a_refusal_is_a_part_of_the_message() -> None:
    response = accumulated(streamed(TextPiece("Well"), RefusalPiece("I "), RefusalPiece("won't"), TextPiece("!")))
    content = response.to_dict()["output"][0]["content"]  # type: ignore
    assert [part.get("text", part.get("refusal")) for part in content] == ["Well", "I won't", "!"]


def test_sources_of_a_text() -> None:
    stream = streamed(
        Cited(Citation("https://none.org")), TextPiece("abc"), Cited(Citation("https://x.org", "X", start=1, end=2)),
        Cited(Citation("https://y.org")), CallBegan(0, "a", "f"), Cited(Citation("https://late.org")),
    )  # fmt: skip
    part = payloads(stream)[-1]["response"]["output"][0]["content"][0]
    assert [(note["url"], note["start_index"], note["end_index"]) for note in part["annotations"]] == [
        ("https://x.org", 1, 2),
        ("https://y.org", 0, 3),
    ]
    accumulated(stream)


def test_logprobs() -> None:
    pieces = [TextPiece("a", (Logprob("a", -0.5, [97]),)), TextPiece("", (Logprob("", -1.0),))]
    events = payloads(streamed(*pieces))
    deltas = [event["logprobs"] for event in events if event["type"] == "response.output_text.delta"]
    assert [[one["token"] for one in each] for each in deltas] == [["a"], [""]]
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [*deltas[0], *deltas[1]]


def test_pictures() -> None:
    stream = streamed(TextPiece("See "), ImageGiven(Image(data=PIXEL, media_type="image/png")),
                      ImageGiven(Image("https://x.org/a.png")))  # fmt: skip
    output = accumulated(stream).to_dict()["output"]
    assert [item["type"] for item in output] == ["message", "image_generation_call", "message"]  # type: ignore
    assert output[1]["result"] == PIXEL  # type: ignore
    assert output[2]["content"][0]["text"] == "![](https://x.org/a.png)"  # type: ignore


@pytest.mark.parametrize(("finish", "reason"), [(form.LENGTH, "max_output_tokens"), (form.FILTERED, "content_filter")])
def test_an_answer_that_was_cut(finish: str, reason: str) -> None:
    stream = streamed(TextPiece("a"), CallBegan(0, "c", "f"), CallPiece(0, "{"), Finished(finish))
    last = payloads(stream)[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": reason}
    assert [item["status"] for item in last["response"]["output"]] == ["completed", "incomplete"]
    accumulated(stream)


def test_nothing_at_all() -> None:
    assert kinds(streamed()) == ["created", "in_progress", "completed"]
    assert kinds(streamed(Began(), RedactedThought("x"), ThoughtEnded("s"), Finished(form.STOP)))[2:] == ["completed"]


def test_the_answer_that_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "_LIMIT", 20_000)
    floods: list[list[Event]] = [
        [TextPiece("x" * 1000)],
        [TextPiece("x")],
        [TextPiece("x", (Logprob("x", -1.0),))],
        [ThoughtPiece("x"), ThoughtEnded()],
        [CallBegan(0, "c", "f")],
        [CallBegan(0, "c" * 500, "f")],
        [TextPiece("x"), Cited(Citation("u"))],
        [ImageGiven(Image(data="x" * 100, media_type="image/png"))],
    ]
    for flood in floods:
        with pytest.raises(BadUpstreamReply):
            streamed(*flood * 400)


_words = st.text(st.characters(codec="utf-8"), max_size=5)
_citations = st.builds(Citation, st.just("https://x.org"), _words, start=st.integers(0, 3), end=st.integers(3, 9))


@st.composite
def _answers(draw: st.DrawFn) -> list[Event]:
    """An answer's events in any order that vendors may produce."""
    events: list[Event] = [Began(draw(st.sampled_from(["", "resp_8", "chatcmpl-1"])), 5)]
    calls = 0
    for kind in draw(st.lists(st.sampled_from(["text", "thought", "end", "call", "piece", "refusal", "image"]))):
        if kind == "text":
            events.append(TextPiece(draw(_words)))
            if events[-1] != TextPiece(""):
                events += map(Cited, draw(st.lists(_citations, max_size=1)))
        elif kind == "call":
            events.append(CallBegan(calls, f"call_{calls}", draw(st.sampled_from(["f", "g"]))))
            calls += 1
        elif kind == "piece" and calls:
            events.append(CallPiece(draw(st.integers(0, calls - 1)), draw(_words)))
        elif kind == "thought":
            events.append(ThoughtPiece(draw(_words)))
        elif kind == "end" and isinstance(events[-1], ThoughtPiece) and events[-1].text:
            events.append(ThoughtEnded())
        elif kind == "refusal":
            events.append(RefusalPiece(draw(_words)))
        elif kind == "image":
            events.append(ImageGiven(Image(data=PIXEL, media_type="image/png")))
    events = [event for event in events if event not in (TextPiece(""), ThoughtPiece(""), RefusalPiece(""))]
    return [*events, Finished(draw(st.sampled_from(form.FINISHES)))]


@given(_answers())
@settings(max_examples=150, deadline=None)
def test_a_stream_ends_with_the_response_that_a_whole_answer_gives(events: list[Event]) -> None:
    stream = streamed(*events)
    accumulated(stream)
    collector = Collector()
    collector.take(events)
    whole = msgspec.json.decode(SURFACE.write(collector.answer(), USAGE, TOLD))
    told = payloads(stream)[-1]["response"]
    whole["created_at"] = told["created_at"]  # a collector knows it only beside an id
    assert told == whole


@given(_answers())
@settings(max_examples=100, deadline=None)
def test_what_was_written_is_read_again(events: list[Event]) -> None:
    """Our own stream, read as a vendor's."""
    collector = Collector("openai.responses")
    vendor = VENDOR.stream("s")
    for payload in payloads(streamed(*events)):
        collector.take(vendor.read(json.dumps(payload).encode(), b""))
    said = Collector("openai.responses")
    said.take(events)
    assert _content(collector) == _content(said)


def _content(collector: Collector) -> list[Any]:
    """Without what has another name on the way, and with empty arguments as they are written."""
    found: list[Any] = []
    for part in collector.answer().parts:
        if isinstance(part, ToolCall):
            part = ToolCall(part.id, part.name, part.arguments or "{}")
        found.append(part.text if isinstance(part, Thought) else part)
    return found


# -- a vendor's --------------------------------------------------------------------------------------------------------


def told(*payloads: dict[str, Any]) -> list[Event]:
    vendor = VENDOR.stream("seed")
    return [event for payload in payloads for event in vendor.read(json.dumps(payload).encode(), b"")]


def recorded(name: str) -> list[Event]:
    vendor = VENDOR.stream("seed")
    blocks = (FIXTURES / f"stream.{name}.sse").read_bytes().strip().split(b"\n\n")
    data = [block.split(b"data: ", 1)[1] for block in blocks]
    return [event for payload in data if payload != b"[DONE]" for event in vendor.read(payload, b"")]


def test_recorded_streams() -> None:
    began = Began("resp_fx10", 1793000200)
    assert recorded("usage") == [
        began, TextPiece("Salt"), TextPiece(" melts"), TextPiece(" ice."), Finished(form.STOP)
    ]  # fmt: skip
    assert recorded("tool_calls") == [
        began,
        CallBegan(0, "call_r1", "weather"), CallPiece(0, '{"city":"'), CallPiece(0, 'Lyon"}'),
        CallBegan(1, "call_r2", "weather"), CallPiece(1, '{"city":"'), CallPiece(1, 'Nice"}'),
        Finished(form.TOOL_CALLS),
    ]  # fmt: skip
    assert recorded("incomplete") == [began, TextPiece("Half"), Finished(form.LENGTH)]
    assert recorded("ark") == [began, ThoughtPiece("查"), TextPiece("多云"), Finished(form.STOP)]


MESSAGE: dict[str, Any] = {
    "type": "message", "id": "msg_1",
    "content": [
        {"type": "output_text", "text": "Hi", "annotations": [{"type": "url_citation", "url": "u"}]},
        {"type": "refusal", "refusal": "no"},
    ],
}  # fmt: skip
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"text": "a"}, {"text": "b"}], "encrypted_content": "gA"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
EVENTS: list[Event] = [
    ThoughtPiece("a\n\nb"), ThoughtEnded("gA", "rs_1"), TextPiece("Hi"), Cited(Citation("u")), RefusalPiece("no"),
    CallBegan(0, "c", "f"), CallPiece(0, "{}"),
]  # fmt: skip
OUTPUT: list[Any] = [THOUGHT, MESSAGE, CALL]
COMPLETED = {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": OUTPUT}}
END = Finished(form.TOOL_CALLS)


def done(index: int, item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def test_a_stream_of_the_last_event_only() -> None:
    assert told(COMPLETED) == [Began("resp_1"), *EVENTS, END]


def test_a_stream_of_whole_items() -> None:
    assert told(*map(done, range(3), OUTPUT), COMPLETED) == [Began(), *EVENTS, END]


def test_a_stream_of_whole_items_without_their_places() -> None:
    items = [{"type": "response.output_item.done", "item": item} for item in OUTPUT]
    assert told(*items, COMPLETED) == [Began(), *EVENTS, END]


def test_pieces_are_not_told_twice() -> None:
    def event(kind: str, index: int, **fields: Any) -> dict[str, Any]:
        return {"type": f"response.{kind}", "output_index": index, **fields}

    events = told(
        event("reasoning_summary_text.delta", 0, summary_index=0, delta="a"),
        event("reasoning_summary_text.done", 0, summary_index=0, text="a"),
        event("reasoning_summary_text.done", 0, summary_index=1, text="b"),
        event("reasoning_text.delta", 0, content_index=0, delta="in full"),
        event("reasoning_text.done", 0, content_index=0, text="in full"),
        done(0, THOUGHT),
        event("output_text.delta", 1, content_index=0, delta="Hi"),
        event("output_text.done", 1, content_index=0, text="Hi"),
        event("output_text.annotation.added", 1, annotation={"type": "url_citation", "url": "u"}),
        event("refusal.delta", 1, content_index=1, delta="no"),
        event("refusal.done", 1, content_index=1, refusal="no"),
        done(1, MESSAGE),
        event("output_item.added", 2, item={**CALL, "arguments": ""}),
        event("function_call_arguments.done", 2, arguments="{}"),
        done(2, CALL),
        COMPLETED,
    )
    assert events == [
        Began(), ThoughtPiece("a"), ThoughtPiece("\n\nb"), *EVENTS[1:], END
    ]  # fmt: skip


def test_texts_that_come_only_when_they_are_done() -> None:
    text = {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hi"}
    assert told(text, done(0, {**MESSAGE, "content": MESSAGE["content"][:1]})) == [
        Began(), TextPiece("Hi"), Cited(Citation("u"))
    ]  # fmt: skip


def test_thoughts_in_full() -> None:
    pieces = [{"type": "response.reasoning_text.delta", "output_index": 0, "delta": word} for word in ("so ", "what")]
    last = {"type": "response.reasoning_text.done", "output_index": 0, "content_index": 1, "text": "next"}
    assert told(*pieces, last) == [Began(), ThoughtPiece("so "), ThoughtPiece("what"), ThoughtPiece("\n\nnext")]


def test_arguments_of_a_call_that_was_not_announced() -> None:
    piece = {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"}
    assert told(piece, done(0, CALL)) == [Began(), CallBegan(0, "c", "f"), CallPiece(0, "{}")]


def test_a_picture() -> None:
    item = {"type": "image_generation_call", "result": PIXEL, "output_format": "x/y"}
    assert told(done(0, item), done(0, item)) == [
        Began(), ImageGiven(Image(data=PIXEL, media_type="image/png"))
    ]  # fmt: skip


def test_the_name_counts_where_there_is_no_type() -> None:
    vendor = VENDOR.stream("seed")
    found = list(vendor.read(b'{"delta":"a"}', b"response.output_text.delta"))
    assert found == [Began(), TextPiece("a")]


def test_events_of_hosted_tools_are_of_no_interest() -> None:
    assert told({"type": "response.audio.delta", "delta": {}, "output_index": "x"}, {"type": "response.x"}, {}) == []


def test_items_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_MOST_ITEMS", 100)
    for part in ("output_index", "content_index"):
        events = [{"type": "response.output_text.delta", part: number, "delta": "a"} for number in range(200)]
        with pytest.raises(BadUpstreamReply):
            told(*events)


_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(st.tuples(st.sampled_from([*reader._EVENTS, "response.x"]), st.data())), st.data())
@settings(max_examples=300, deadline=None)
def test_odd_events_give_events_or_an_error(kinds: list[tuple[str, Any]], data: st.DataObject) -> None:
    """Whatever is made of them can be written."""
    transform = Transform(VENDOR, SURFACE.stream(TOLD), "seed")
    fields: dict[str, Any] = {
        "output_index": 0, "content_index": 1, "delta": "a", "text": "b", "arguments": "{}", "item_id": "x",
        "logprobs": [{"token": "a"}], "annotation": {"type": "url_citation", "url": "u"}, "refusal": "no",
        "response": COMPLETED["response"],
    }  # fmt: skip
    for kind, _ in kinds:
        event = {"type": kind, "item": data.draw(st.sampled_from(OUTPUT)), **fields}
        if data.draw(st.booleans()):
            event[data.draw(st.sampled_from(sorted(event)))] = data.draw(_values)
        try:
            transform.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
        except BadUpstreamReply:
            return
    transform.finish(USAGE)


# -- both --------------------------------------------------------------------------------------------------------------


def transformed(pieces: list[bytes]) -> bytes:
    transform = Transform(VENDOR, SURFACE.stream(TOLD), "seed")
    out = [transform.feed(piece) for piece in pieces]
    return b"".join([*out, transform.last(b""), transform.finish(USAGE)])


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_stream_may_be_cut_anywhere(path: Path) -> None:
    data = path.read_bytes()
    whole = transformed([data])
    accumulated(whole)
    assert transformed([data[at : at + 1] for at in range(len(data))]) == whole
    dice = random.Random(7)
    for _ in range(20):
        cuts = [0, *sorted(dice.sample(range(len(data)), 9)), len(data)]
        assert transformed([data[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]) == whole


def test_a_document_where_a_stream_was_asked_for() -> None:
    answer = (FIXTURES / "response.json").read_bytes()
    text = "Paris has 20 arrondissements."
    assert accumulated(transformed([answer])).output_text == text


def test_a_whole_answer_as_a_stream() -> None:
    parts = (Thought("hm"), Text("a", (Citation("https://x.org", start=0, end=1),)), Refusal("no"), ToolCall("c", "f"))
    answer = form.Answer(parts=parts, finish=form.TOOL_CALLS)
    events = list(events_of(answer))
    whole = msgspec.json.decode(SURFACE.write(answer, USAGE, TOLD))
    assert payloads(streamed(*events))[-1]["response"] == whole
