"""Huge answers: memory stays below 1 MiB, and the work grows with the size and no faster."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from gateway.dialects import reader_for
from gateway.types import Usage

JSON, SSE = b"application/json", b"text/event-stream"
MIB = 1 << 20
PIECE = 64 * 1024
CHAT = b'{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}'
FAKE = rb"\"usage\":{\"total_tokens\":999}, "
GEMINI = b'"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5}'
RESPONSE = b'data: {"type":"response.completed","response":{"instructions":"%s","tools":[{"usage":{"total_tokens":9}}],'


def filled(size: int, begin: bytes, fill: bytes, end: bytes) -> Iterator[bytes]:
    """A body of about this size, one piece of it at a time."""
    yield begin
    piece = fill * (PIECE // len(fill))
    for _ in range(size // len(piece)):
        yield piece
    yield end


# Each: dialect, content type, begin, what is repeated, end. All carry the same usage, before or behind the bulk.
HUGE: dict[str, tuple[str, bytes, bytes, bytes, bytes]] = {
    "base64 before usage": ("openai.images", JSON, b'{"data":[{"b64_json":"', b"A", b'"}],"usage":' + CHAT + b"}"),
    "base64 behind usage": ("openai.images", JSON, b'{"usage":' + CHAT + b',"data":[{"b64_json":"', b"A", b'"}]}'),
    "escapes": ("openai.chat", JSON, b'{"x":"', rb"\"\\", b'","usage":' + CHAT + b"}"),
    "fake usage in text": ("openai.chat", JSON, b'{"x":"', FAKE, b'","usage":' + CHAT + b"}"),
    "vectors": ("openai.chat", JSON, b'{"x":[', b"[0.125,-1e-9],", b'0],"usage":' + CHAT + b"}"),
    "objects": ("openai.chat", JSON, b'{"x":[', b'{"a":{"usage":[1,"]"]}},', b'0],"usage":' + CHAT + b"}"),
    "choices": ("openai.chat", JSON, b'{"choices":[', b'{"a":1},', b'0],"usage":' + CHAT + b"}"),
    "keys": ("openai.chat", JSON, b"{", b'"abc":1,', b'"usage":' + CHAT + b"}"),
    "one key": ("openai.chat", JSON, b'{"', b"k", b'":1,"usage":' + CHAT + b"}"),
    "white space": ("openai.chat", JSON, b'{"usage":', b" \n", CHAT + b"}"),
    "responses stream": ("openai.responses", SSE, RESPONSE % FAKE, b'"a":"AAAA",', b'"usage":' + CHAT + b"}}\n\n"),
    "responses body": ("openai.responses", JSON, b'{"output":[{"result":"', b"A", b'"}],"usage":' + CHAT + b"}"),
    "usage before output": (
        "openai.responses", SSE, b'data:{"response":{"usage":' + CHAT + b',"output":"', b"A", b'"}}\n\n',
    ),
    "gemini image in a stream": (
        "gemini.generate", SSE, b'data: {"candidates":[{"inlineData":{"data":"', b"A", b'"}}],' + GEMINI + b"}\r\n\r\n",
    ),
    "gemini image in an array": (
        "gemini.generate", JSON, b'[{"candidates":[{"inlineData":{"data":"', b"A", b'"}}],' + GEMINI + b"}\n,\n{}]",
    ),
    "gemini array of many": ("gemini.generate", JSON, b"[", b'{"candidates":[]},', b"{" + GEMINI + b"}]"),
    "events": ("openai.chat", SSE, b"", b'data: {"usage":null}\n\n', b'data: {"usage":' + CHAT + b"}\n\n"),
    "events with CR": ("openai.chat", SSE, b"", b'data: {"usage":null}\r\r', b'data: {"usage":' + CHAT + b"}\r\r"),
    "a comment without end": ("openai.chat", SSE, b'data: {"usage":' + CHAT + b"}\n\n:", b"a", b""),
    "an event of many lines": (
        "openai.chat", SSE, b'data: {"x":[\n', b"data: 1,\n", b'data: 0],\ndata: "usage":' + CHAT + b"}\n\n",
    ),
    "blank lines": ("openai.chat", SSE, b"", b"\n", b'data: {"usage":' + CHAT + b"}\n\n"),
    "spaces before JSON": ("openai.chat", b"", b"", b" ", b'{"usage":' + CHAT + b"}"),
}  # fmt: skip
# And these carry none that could be read.
HOPELESS: dict[str, tuple[str, bytes, bytes, bytes, bytes]] = {
    "openers": ("openai.chat", JSON, b'{"x":', b"[", b""),
    "objects in objects": ("openai.chat", JSON, b"", b'{"a":', b""),
    "gemini openers": ("gemini.generate", JSON, b"", b"[", b""),
    "closers": ("openai.chat", JSON, b"", b"]}", b""),
    "quotes": ("openai.chat", JSON, b"{", b'"', b""),
    "usage too large": ("openai.chat", JSON, b'{"usage":{"x":"', b"A", b'"}}'),
    "usage of many parts": ("openai.chat", JSON, b'{"usage":[', b"[],", b"[]]}"),
    "model too large": ("openai.chat", JSON, b'{"model":"', b"A", b'"}'),
    "many usages": ("openai.chat", SSE, b'data: {"choices":[', b'{"usage":[{}]},', b""),
    "binary": ("openai.chat", b"", b"\x00\xff", bytes(range(256)), b""),
}


def feed_all(dialect: str, content_type: bytes, pieces: Iterable[bytes]) -> Usage | None:
    reader = reader_for(dialect, content_type)
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def peak_of(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        action()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", HUGE)
def test_usage_is_found_beside_the_bulk_without_keeping_it(name: str) -> None:
    dialect, content_type, parts = HUGE[name][0], HUGE[name][1], HUGE[name][2:]
    found: list[Usage | None] = []
    pieces = list(filled(3 * MIB // 2, *parts))
    assert peak_of(lambda: found.append(feed_all(dialect, content_type, pieces))) < MIB
    assert found[0] is not None
    assert (found[0].input, found[0].output) == (10, 5)


@pytest.mark.parametrize("name", ["base64 before usage", "usage before output", "gemini image in a stream", "vectors"])
def test_a_body_of_thirty_megabytes_in_one_piece(name: str) -> None:
    dialect, content_type, parts = HUGE[name][0], HUGE[name][1], HUGE[name][2:]
    body = [b"".join(filled(30 * MIB, *parts))]
    found: list[Usage | None] = []
    assert peak_of(lambda: found.append(feed_all(dialect, content_type, body))) < MIB
    assert found[0] is not None
    assert (found[0].input, found[0].output) == (10, 5)


@pytest.mark.parametrize("name", HOPELESS)
def test_hopeless_bodies_cost_no_memory_either(name: str) -> None:
    dialect, content_type, parts = HOPELESS[name][0], HOPELESS[name][1], HOPELESS[name][2:]
    found: list[Usage | None] = []
    pieces = list(filled(MIB // 4, *parts))
    assert peak_of(lambda: found.append(feed_all(dialect, content_type, pieces))) < MIB
    assert found == [None]


@pytest.mark.parametrize("size", [15_000, 17_000, 60_000])
def test_a_usage_full_of_parts_stays_bounded(size: int) -> None:
    usage = b'{"total_tokens":7,"x":[' + b"{}," * (size // 3) + b"0]}"
    unary, stream = b'{"usage":' + usage + b"}", (b'data:{"usage":' + usage + b"}\n\n") * 3
    assert peak_of(lambda: feed_all("openai.chat", JSON, [unary])) < MIB
    assert peak_of(lambda: feed_all("openai.chat", SSE, [stream])) < MIB


def work_of(action: Callable[[], object]) -> int:
    """The number of calls, Python's and C's, that an action makes; each touches a bounded piece."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("step", [5, 1000])
@pytest.mark.parametrize("name", [*HUGE, *HOPELESS])
def test_work_grows_with_the_size_and_no_faster(name: str, step: int) -> None:
    dialect, content_type, begin, fill, end = {**HUGE, **HOPELESS}[name]

    def work(size: int) -> int:
        body = begin + fill * (size // len(fill)) + end
        pieces = [body[start : start + step] for start in range(0, len(body), step)]
        return work_of(lambda: feed_all(dialect, content_type, pieces))

    # The first 16 KiB cost next to nothing, so it is the later growth that is compared.
    first, second, third = (work(size) for size in (20_000, 40_000, 60_000))
    assert third - second < 1.3 * (second - first) + 300
