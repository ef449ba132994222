"""Gemini's stream that is one JSON array: the same promises as those of a stream of events."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.array_stream import ArrayStream
from gateway.types import Usage
from tests.test_streams_judged import Outcome, every_cut
from tests.test_streams_native import (
    BLOCKED,
    BY_FILE,
    CALL,
    GEMINI,
    GOOGLE_ERROR,
    NO_TEXT,
    RAIN,
    THOUGHT,
    candidate,
    picture,
)
from tests.test_usage_fixtures import body_of, cut


class ArrayOutcome(Outcome):
    """The same of a stream that is one array."""

    def __init__(self, pieces: Iterable[bytes], **options: Any) -> None:
        stream = ArrayStream(GEMINI, **options)
        self.early = b"".join(map(stream.feed, pieces))
        stream.end()
        self.bytes = self.early + stream.finish()
        self.begun, self.ended, self.finished = stream.begun, stream.ended, stream.finished
        self.filtered, self.error = stream.filtered, stream.error
        self.usage, self.zero = stream.usage(), stream.zero
        self.estimate = stream.output_tokens_estimate()


ITEMS = [
    candidate(THOUGHT), candidate(RAIN), candidate({"text": 'a "quoted" \\ } ] { [ line\n'}), candidate(CALL),
    candidate({"functionCall": {"name": "f", "args": {"x": [[1, {"y": ["}", "\\"]}], []]}}}),
]  # fmt: skip
LAST = candidate(NO_TEXT, finish="STOP")


def array(items: list[Any], between: bytes = b"\n,\r\n", **options: Any) -> bytes:
    return b"[" + between.join(json.dumps(item, **options).encode() for item in items) + b"\n]"


def every_piece(body: bytes) -> list[list[bytes]]:
    return [[body], *every_cut(body)]


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"separators": (",", ":"), "ensure_ascii": False}])
def test_an_array_passes_item_by_item(options: dict[str, Any]) -> None:
    body = array([*ITEMS, LAST], **options)
    for pieces in every_piece(body):
        found = ArrayOutcome(pieces)
        assert found.bytes == body
        assert found.early == body[: body.rindex(b",\r\n") - 1]
        assert (found.begun, found.finished, found.ended) == (True, True, True)
        assert (found.error, found.filtered) == (None, False)
        assert (found.usage, found.estimate) == (Usage(5, output=2), ArrayOutcome([body]).estimate)
    stream = ArrayStream(GEMINI)
    seen = [stream.feed(bytes([byte])) for byte in body]
    assert [piece.strip(b"[,\r\n") for piece in seen if piece] == [
        json.dumps(item, **options).encode() for item in ITEMS
    ]


def test_the_fixture_of_an_array() -> None:
    body = body_of(BY_FILE["gemini.stream.json_array.json"])
    for pieces in every_piece(body):
        found = ArrayOutcome(pieces)
        assert (found.bytes, found.finished, found.usage) == (body, True, Usage(11, output=4))
    for end in range(len(ArrayOutcome([body]).early)):
        assert not ArrayOutcome([body[:end]]).finished


def test_an_array_that_ends_early() -> None:
    open_array = array(ITEMS)[:-2]
    for body in (array(ITEMS), open_array, open_array + b"\n,\r\n{", b"[" + json.dumps(ITEMS[0]).encode()):
        for pieces in every_piece(body):
            found = ArrayOutcome(pieces)
            assert (found.finished, found.begun, found.error, found.bytes) == (False, True, None, body)
    tight = json.dumps([*ITEMS, LAST], separators=(",", ":")).encode()
    assert (ArrayOutcome([tight]).finished, ArrayOutcome([tight]).ended) == (True, True)
    finished = array([*ITEMS, LAST])[:-2]  # the bracket is not what finishes an answer
    assert ArrayOutcome([finished]).finished


@pytest.mark.parametrize(("body", "status"), [
    (array([GOOGLE_ERROR]), 503), (array([ITEMS[1], GOOGLE_ERROR]), 503), (json.dumps(GOOGLE_ERROR).encode(), 503),
    (array([ITEMS[1], candidate(finish="SAFETY"), GOOGLE_ERROR]), 503), (array([candidate(finish="OTHER")]), 502),
    (b"[]", 502), (b"[\n]", 502), (b"", 502), (b"  \n", 502), (b"[1]", 502), (b"[[{}]]", 502), (b"<html>", 502),
    (b"[{]", 502), (b'[{"a" 1}]', 502), (b'["x"]', 502), (b"{}", 502), (b"[{", 502), (b"]", 502),
    (b"[" + b'{"a":' * 5000 + b"}" * 5000 + b"]", 502), (b"[" + b"[" * 5000, 502),
])  # fmt: skip
def test_an_array_that_fails(body: bytes, status: int) -> None:
    for pieces in every_piece(body):
        found = ArrayOutcome(pieces)
        assert found.error is not None
        assert (found.error.status, found.finished) == (status, False)
        good = array([ITEMS[1]])[:-2]
        assert found.bytes == (good if body.startswith(good) else b"")


def test_an_array_that_was_filtered() -> None:
    for items in ([ITEMS[1], candidate(finish="SAFETY")], [BLOCKED]):
        found = ArrayOutcome([array(items)])
        assert (found.filtered, found.finished, found.error, found.bytes) == (True, True, None, array(items))


def test_several_candidates_in_an_array() -> None:
    items = [candidate(RAIN, finish="STOP"), candidate(RAIN, index=1), candidate(finish="STOP", index=1)]
    assert ArrayOutcome([array(items)], choices=2).early == array(items[:2])[:-2]
    assert ArrayOutcome([array(items)], choices=2).finished
    assert not ArrayOutcome([array(items[:2])], choices=2).finished


def test_a_picture_in_one_item_hides_no_finish() -> None:
    body = array([candidate(RAIN), candidate(picture(12 << 20), finish="STOP")])
    tracemalloc.start()
    found = ArrayOutcome(cut(body, range(60_000, len(body), 60_000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.bytes == body, found.finished, found.early) == (True, True, array([candidate(RAIN)])[:-2])
    assert peak < 8 * len(body)


def test_an_object_where_an_array_was_asked_for() -> None:
    body = json.dumps(candidate(RAIN, finish="STOP"), indent=1).encode()
    for pieces in every_piece(body):
        found = ArrayOutcome(pieces)
        assert (found.bytes, found.early, found.finished, found.error) == (body, b"", True, None)
        assert found.usage == Usage(5, output=2)


ANY = st.sampled_from([*ITEMS, LAST, BLOCKED, {}, {"usageMetadata": {}}, GOOGLE_ERROR])


@given(st.lists(ANY, max_size=6), st.sampled_from([b",", b"\n,\r\n", b" , ,"]), st.data())
@settings(max_examples=200, deadline=None)
def test_any_array_at_any_cut(items: list[Any], between: bytes, data: st.DataObject) -> None:
    body = array(items, between, indent=data.draw(st.none() | st.just(1)))
    body += data.draw(st.sampled_from([b"", b"\n", b"\n\n]", b"x"]))
    pieces = cut(body, data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    whole = ArrayOutcome([body])
    assert ArrayOutcome(pieces).key() == whole.key()
    if whole.error is None:
        assert whole.bytes == body


@given(st.binary(max_size=60) | st.text('{}[]",:\\ab1 \n', max_size=60).map(str.encode), st.data())
@settings(max_examples=300, deadline=None)
def test_garbage_in_an_array(body: bytes, data: st.DataObject) -> None:
    body = data.draw(st.sampled_from([b"", b"[", b"[{"])) + body
    pieces = cut(body, data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    assert ArrayOutcome(pieces).key() == ArrayOutcome([body]).key()


def test_memory_of_an_array_is_bounded() -> None:
    limit = 34 << 20
    for begin, piece in ((b"[", b"   " * 20_000), (b"[{", b'"a":1,' * 10_000), (b'[{"a":"', b"x" * 60_000),
                         (b"", b" " * 60_000), (array([LAST]), b"z" * 60_000), (b"[{", b"[" * 60_000)):  # fmt: skip
        stream = ArrayStream(GEMINI)
        tracemalloc.start()
        stream.feed(begin)
        for _ in range(700):
            stream.feed(piece)
        stream.end()
        assert tracemalloc.get_traced_memory()[1] < 3 * limit
        tracemalloc.stop()
