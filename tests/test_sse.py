"""Splitting server-sent events on bytes, whole and piecewise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.sse import (
    LongEvent,
    first_payload,
    last_event_end,
    last_event_end_of_any_kind,
    payloads,
    payloads_with,
)

LINES = st.sampled_from([
    b"data: one", b"data:two", b"data", b"data:", b"database: x", b": comment", b":", b"event: x", b"id:1", b"", b"dat",
    b"retry: 5", b"\xef\xbb", b"data:\xe4\xb8", b"\x00",
])  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def by_lines(body: bytes) -> list[bytes]:
    """The plainest reading of the standard, which the others are held against."""
    events: list[bytes] = []
    lines: list[bytes] = []
    for line in [*body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), b""]:
        if line.startswith(b"data:"):
            lines.append(line[5:])
        elif not line and lines:
            events.append(b"\n".join(lines))
            lines = []
    return events


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'data: {"a":1}\n\n', [b'{"a":1}']),
        (b'data:{"a":1}\r\n\r\ndata: [DONE]\r\n\r\n', [b'{"a":1}', b"[DONE]"]),
        (b"data: 1\nevent: x\n\n: ping\n\nid: 5\ndata: 2\ndata: 3\n\n", [b"1", b"2\n 3"]),
        (b"data: 1\r\rdata: 2\n\r\ndata: 3", [b"1", b"2", b"3"]),
        (b"event: data:\nx: data: 1\n\n", []),
        (b"data: one\n:\n", [b"one"]),  # cut: a comment follows on a line of its own
        (b"", []),
    ],
)
def test_payloads(body: bytes, expected: list[bytes]) -> None:
    assert [payload.strip() for payload in payloads(body)] == expected


@given(st.lists(st.tuples(LINES, ENDS), max_size=12))
@settings(max_examples=500)
def test_payloads_are_those_of_the_standard(lines: list[tuple[bytes, bytes]]) -> None:
    body = b"".join(line + end for line, end in lines)
    assert [payload.rstrip(b"\r\n") for payload in payloads(body)] == [event.rstrip(b"\n") for event in by_lines(body)]


USAGE = st.sampled_from([b'data: {"usage":1}', b'data: {"usage":null}', b'data: "usage', b": usage", b"data:"])


@given(st.lists(st.tuples(LINES | USAGE, ENDS), max_size=16), st.sampled_from([None, b"\n", b"\r\n"]))
@settings(max_examples=1000)
def test_only_events_of_interest_are_cut_out(lines: list[tuple[bytes, bytes]], only: bytes | None) -> None:
    body = b"".join(line + (only or end) for line, end in lines)
    wanted = [p for p in payloads(body) if p.count(b'usage"') != p.count(b'usage":null')]
    found = [p for p in payloads_with(body, b'usage"', b'usage":null') if p.count(b'usage"') != p.count(b'usage":null')]
    assert [payload.rstrip(b"\r\n") for payload in found] == [payload.rstrip(b"\r\n") for payload in wanted]
    first = next(payloads(body), None)
    assert (first_payload(body) or b"").rstrip(b"\r\n") == (first or b"").rstrip(b"\r\n")


@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.data())
@settings(max_examples=500)
def test_an_end_is_a_true_end(lines: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    body = b"".join(line + end for line, end in lines)
    for find in (last_event_end, last_event_end_of_any_kind):
        end = find(body)
        assert by_lines(body[:end]) + by_lines(body[end:]) == by_lines(body)
    assert last_event_end(body) <= max(last_event_end_of_any_kind(body), last_event_end(body))


@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.lists(st.integers(0, 100), max_size=8))
@settings(max_examples=800)
def test_a_long_event_gives_the_same_at_any_cuts(lines: list[tuple[bytes, bytes]], offsets: list[int]) -> None:
    lines = [(line, end) for line, end in lines if line]  # a blank line would end it
    body = b"".join(line + end for line, end in lines) + b"\rdata: next"
    found = bytearray()
    event = LongEvent(found.extend)
    places = [0, *sorted(min(offset, len(body)) for offset in offsets), len(body)]
    rest = None
    for start, end in zip(places, places[1:], strict=False):
        rest = event.feed(body[start:end]) if rest is None else rest + body[start:end]
    assert rest is not None
    assert rest == b"data: next"
    assert [bytes(found)] == (by_lines(body.removesuffix(b"data: next")) or [b""])


def test_a_long_event_does_not_hold_its_line() -> None:
    sizes: list[int] = []
    event = LongEvent(lambda piece: sizes.append(len(piece)))
    event.feed(b"data: ")
    for _ in range(100):
        assert event.feed(b"A" * 1000) is None
    assert sizes == [1, *[1000] * 100]
