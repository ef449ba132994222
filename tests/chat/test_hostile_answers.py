"""Vendors' answers with any value in any place: read, or one named error; what was read is good for every client."""

from __future__ import annotations

import contextlib
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects import conversion, scan
from gateway.dialects.answers import judge
from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import Answer, ChatRequest, Reasoning
from gateway.dialects.chat.transform import Transform
from gateway.dialects.streams import Stream
from gateway.errors import BadUpstreamReply
from gateway.types import Usage
from tests.chat.accepting import DOCUMENTS, STREAMS
from tests.chat.hostile import NASTY, encoded, exhaust, mutated, places
from tests.chat.recordings import VENDORS, Event, documents, streams

_MANY = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
_KNOWN = (BadUpstreamReply, *scan.UNREADABLE)
USAGE = Usage(input=10, output=5)
each_vendor = pytest.mark.parametrize("vendor", VENDORS)


def told(shown: bool = True) -> Told:
    request = ChatRequest(model="alias", messages=(), stream=True, reasoning=Reasoning(on=True, shown=shown))
    return Told(model="alias", request_id="req1", created=1, request=request, input_tokens=7, wants_usage=True)


def check_answer(vendor: str, body: bytes) -> bool:
    """Read, it can be told to all clients; whether it was."""
    try:
        found = conversion.VENDORS[vendor].read(body, "seed")
    except _KNOWN:
        return False
    check_neutral(found)
    for surface, ours in conversion.SURFACES.items():
        DOCUMENTS[surface](json.loads(ours.write(found, USAGE, told())))
    return True


def check_neutral(answer: Answer) -> None:
    assert answer.finish in form.FINISHES
    calls = [part for part in answer.parts if isinstance(part, form.ToolCall)]
    assert all(call.id for call in calls)


def transformed(surface: str, vendor: str, pieces: list[bytes]) -> bytes | None:
    """What a client gets of a whole stream; None: an error that is told."""
    writer = conversion.SURFACES[surface].stream(told())
    transform = Transform(conversion.VENDORS[vendor], writer, "seed", vendor)
    try:
        out = b"".join(map(transform.feed, pieces)) + transform.last(b"")
        return out + transform.finish(USAGE)
    except BadUpstreamReply:
        return None


def check_finish(vendor: str, events: list[Event]) -> None:
    """An answer finishes at most once, and nothing is told behind that but signatures, which no client is shown."""
    reader = conversion.VENDORS[vendor].stream("seed")
    kinds: list[type[form.Event]] = []
    with contextlib.suppress(*_KNOWN):
        for event in events:
            if event.value is not None:
                kinds += map(type, reader.read(json.dumps(event.value).encode(), event.name))
    shown = [kind for kind in kinds if kind not in (form.CallSigned, form.ThoughtEnded)]
    assert form.Finished not in shown[:-1], shown


def check_stream(vendor: str, events: list[Event]) -> int:
    """To every client the stream is whole or failed. Returns to how many it was whole."""
    check_finish(vendor, events)
    pieces = [event.raw for event in events]
    whole = 0
    for surface, accepts in STREAMS.items():
        out = transformed(surface, vendor, pieces)
        if out is not None:
            accepts(out)
            whole += 1
    return whole


@each_vendor
@_MANY
@given(data=st.data())
def test_any_value_in_any_place_of_an_answer(vendor: str, data: st.DataObject) -> None:
    check_answer(vendor, encoded(data.draw(st.sampled_from(documents(vendor)).flatmap(mutated))))


@each_vendor
def test_every_place_of_an_answer_takes_every_wrong_type(vendor: str) -> None:
    read = 0
    for value in documents(vendor):
        body = json.loads(json.dumps(value))
        for container, key in places(body):
            kept = container[key]
            for wrong in (*NASTY[:26], [], {}, [None], [[]], [{}], {"type": None}):
                container[key] = wrong
                read += check_answer(vendor, encoded(body))
            container[key] = kept
    assert read > 50  # most fields are of no interest


@each_vendor
@pytest.mark.parametrize("body", [
    b"", b" ", b"{}", b"[]", b"null", b'"a"', b"1", b"{", b"\xff", b"<html></html>", b"[" * 100_000, b'{"a":' * 100_000,
    b'{"choices":[]}', b'{"choices":null}', b'{"choices":[null]}', b'{"choices":[{}]}', b'{"output":[]}',
    b'{"output":{}}',
    b'{"content":[]}', b'{"content":[null]}', b'{"candidates":[]}', b'{"candidates":[null]}', b'{"candidates":[{}]}',
    b'{"output":{"choices":[]}}', b'{"output":{"choices":[{}]}}', b'{"output":[{}]}', b'{"output":[null]}',
])  # fmt: skip
def test_what_is_no_answer(vendor: str, body: bytes) -> None:
    check_answer(vendor, body)
    reader = conversion.VENDORS[vendor].stream("seed")
    with contextlib.suppress(*_KNOWN):
        exhaust(reader.read(body, b""))


@each_vendor
@_MANY
@given(data=st.data())
def test_any_value_in_any_event_and_any_order(vendor: str, data: st.DataObject) -> None:
    events = list(data.draw(st.sampled_from(streams(vendor))).events)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(events) - 1))
        way = data.draw(st.sampled_from(("mutate", "mutate", "drop", "repeat", "move", "name")))
        event = events[at]
        if way == "mutate" and event.value is not None:
            events[at] = Event(event.name, data.draw(mutated(event.value)))
        elif way == "drop" and len(events) > 1:
            del events[at]
        elif way == "repeat":
            events[at:at] = [event] * data.draw(st.integers(1, 3))
        elif way == "move":
            events.insert(data.draw(st.integers(0, len(events) - 1)), events.pop(at))
        else:
            events[at] = Event(
                data.draw(st.sampled_from([b"", b"error", b"ping", b"message_stop", b"\xff"])), event.value
            )
    check_stream(vendor, events)


@each_vendor
def test_events_in_any_order_and_from_other_streams(vendor: str) -> None:
    """Deltas for what never began, two answers in one, everything twice, backwards."""
    chance = random.Random(vendor)
    for one in streams(vendor):
        check_stream(vendor, one.events[::-1])
        check_stream(vendor, one.events * 2)
        check_stream(vendor, [event for event in one.events for _ in range(2)])
        for _ in range(6):
            mixed = [*one.events, *chance.choice(streams(vendor)).events]
            chance.shuffle(mixed)
            check_stream(vendor, mixed)
            check_stream(vendor, mixed[: len(mixed) // 2])


@pytest.mark.parametrize(
    "rest", [b"", b"data: {", b"data: [DO", b'event: x\r\ndata: {"choices":[', b"data: " + b"[" * 5000, b"\n"]
)
def test_what_is_cut_behind_the_finish_does_no_harm(rest: bytes) -> None:
    body = streams("openai.chat")[0].body.partition(b"data: [DONE]")[0]
    whole = passed("anthropic.messages", "openai.chat", body)
    assert whole is not None
    assert passed("anthropic.messages", "openai.chat", body + rest) == whole


@pytest.mark.parametrize("vendor", ["openai.chat", "dashscope.generation"])
def test_calls_without_a_name_are_not_held_for_ever(vendor: str) -> None:
    reader = conversion.VENDORS[vendor].stream("seed")

    def fragment(number: int) -> bytes:
        message = {"tool_calls": [{"index": number, "function": {"arguments": "x" * 10_000}}]}
        choice = {"index": 0, "delta": message, "message": message, "finish_reason": None}
        return encoded({"choices": [choice], "output": {"choices": [choice]}})

    with pytest.raises(BadUpstreamReply):
        exhaust(each for number in range(20_000) for each in reader.read(fragment(number), b""))


@each_vendor
def test_recorded_streams_are_whole_for_every_client(vendor: str) -> None:
    """Else the tests above would see errors only."""
    assert streams(vendor)
    for one in streams(vendor):
        if "failed" not in one.name:
            assert check_stream(vendor, one.events) == len(STREAMS), one.name


@each_vendor
@_MANY
@given(data=st.data())
def test_what_the_judge_lets_pass_can_be_told(vendor: str, data: st.DataObject) -> None:
    """Judge and transform in a row, as in a call: what the judge calls finished is whole for the client or an error."""
    one = data.draw(st.sampled_from(streams(vendor)))
    body = bytearray(one.body)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from(
                [b"", b"\x00", b"\xff", b'"', b"{", b"}", b"[", b"]", b"\n\n", b"\r", b"null", b"-1", b"9" * 30]
            )
        )
    for surface, accepts in STREAMS.items():
        if surface != vendor and (out := passed(surface, vendor, bytes(body))) is not None:
            accepts(out)


def passed(surface: str, vendor: str, body: bytes, size: int = 97) -> bytes | None:
    """What the client gets of a stream that finished; None: it did not, or failed."""
    judged = Stream(vendor)
    transform = Transform(conversion.VENDORS[vendor], conversion.SURFACES[surface].stream(told()), "seed", vendor)
    out = b""
    try:
        for start in range(0, len(body), size):
            piece = judged.feed(body[start : start + size])
            if piece:
                out += transform.feed(piece)
            if judged.error is not None:
                return None
        judged.end()
        if judged.error is not None or not judged.finished:
            return None
        return out + transform.last(judged.finish()) + transform.finish(judged.usage() or Usage())
    except BadUpstreamReply:
        return None


@each_vendor
@_MANY
@given(data=st.data())
def test_what_the_judge_calls_an_answer_is_read_or_refused(vendor: str, data: st.DataObject) -> None:
    body = encoded(data.draw(st.sampled_from(documents(vendor)).flatmap(mutated)))
    if judge(vendor, body).error is None:
        check_answer(vendor, body)
