"""Streams that are none, that are too long, and those of every vendor of the sandbox over a socket."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from gateway.dialects.streams import EVENT_LIMIT, Stream
from gateway.sandbox.app import Running, start
from gateway.types import Usage
from tests.test_streams_judged import (
    CHAT,
    COUNTS,
    CREATED,
    DELTA,
    DONE,
    FINISH,
    RESPONSES,
    TEXT,
    Outcome,
    chunk,
    completed,
    every_cut,
)  # fmt: skip

# -- documents in place of a stream ------------------------------------------------------------------------------------


def test_an_answer_that_is_no_stream_though_one_was_asked_for() -> None:
    body = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": COUNTS}).encode()
    for pieces in ([body], [b"\n\n", body], *every_cut(body)):
        found = Outcome(pieces)
        assert (found.early.strip(), found.bytes.strip(), found.error) == (b"", body, None)
        assert (found.begun, found.finished, found.usage) == (False, True, Usage(5, output=2))
    silent = Outcome([json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "sensitive"}]}).encode()])
    assert (silent.filtered, silent.usage, silent.estimate) == (True, None, 1)
    huge = Outcome([b"{" + b" " * 1_000_000] * 10)
    assert huge.error is not None
    assert "too large" in huge.error.message


# -- bounds ------------------------------------------------------------------------------------------------------------


def piece_by_piece(body: bytes, size: int = 50_000) -> list[bytes]:
    return [body[i : i + size] for i in range(0, len(body), size)]


@pytest.mark.parametrize("line_end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("size", [EVENT_LIMIT // 2, EVENT_LIMIT * 3])
def test_events_too_long_to_read_pass(size: int, line_end: bytes) -> None:
    long = chunk({"content": "x" * size}, end=line_end)
    body = TEXT + long + TEXT + FINISH + DONE
    for pieces in ([body], piece_by_piece(body), [TEXT, long, TEXT, FINISH + DONE]):
        found = Outcome(pieces)
        assert found.bytes == body
        assert (found.finished, found.error, found.begun) == (True, None, True)


def test_a_long_last_response_is_held_and_counted() -> None:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "y" * EVENT_LIMIT * 2}]}]
    body = CREATED + DELTA + completed(output=output)
    for pieces in ([body], piece_by_piece(body), piece_by_piece(body, 7919)):
        found = Outcome(pieces, RESPONSES)
        assert found.bytes == body
        assert (found.finished, found.ended, found.error) == (True, True, None)
        assert found.usage == Usage(5, output=2)
        assert len(found.early) < len(body)  # the client cannot have all of it yet
    failed = Outcome(piece_by_piece(CREATED + completed("response.failed", output=output)), RESPONSES)
    assert failed.error is not None


@pytest.mark.parametrize("make", [
    lambda: [TEXT[:-2], *[b"x" * 50_000] * 400], lambda: [b": " + b"x" * 50_000] * 400,
    lambda: [TEXT, FINISH, *[TEXT] * 30_000],
    lambda: [TEXT, FINISH, DONE, *[b"z" * 50_000] * 400], lambda: [chunk(index=i) for i in range(30_000)],
    lambda: [b"{", *[b"x" * 50_000] * 400], lambda: [b"data: {%b}\r" % (b" " * 99) * 500] * 24,
    lambda: [b"\r"] * 30_000, lambda: [chunk({"content": "x" * 40})] * 30_000,
])  # fmt: skip
def test_memory_is_bounded(make: Callable[[], list[bytes]]) -> None:
    pieces = make()
    stream = Stream(CHAT)
    tracemalloc.start()
    try:
        for piece in pieces:
            stream.feed(piece)
        stream.finish()
        assert tracemalloc.get_traced_memory()[1] < 20 * EVENT_LIMIT
    finally:
        tracemalloc.stop()


# -- all vendors of the sandbox, over a socket -------------------------------------------------------------------------

PLACES = {
    "ali": "/compatible-mode/v1/chat/completions", "baidu": "/v2/chat/completions",
    "bytedance": "/api/v3/chat/completions", "deepseek": "/chat/completions",
    "gemini": "/v1beta/openai/chat/completions", "lingyi": "/v1/chat/completions",
    "minimax": "/v1/text/chatcompletion_v2", "moonshot": "/v1/chat/completions", "openai": "/v1/chat/completions",
    "siliconflow": "/v1/chat/completions", "stepfun": "/v1/chat/completions", "tencent": "/v1/chat/completions",
    "xunfei": "/v1/chat/completions", "zhipu": "/api/paas/v4/chat/completions",
}  # fmt: skip


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()


async def test_every_vendor_of_the_sandbox(sandbox: Running) -> None:
    async def ask(vendor: str, **directives: str) -> tuple[Outcome, bytes]:
        body = {"model": "model-250615", "messages": [{"role": "user", "content": "hello there"}], "stream": True}
        headers = {"Authorization": "Bearer k"} | {f"x-sandbox-{key}": value for key, value in directives.items()}
        url = sandbox.base_url(vendor) + PLACES[vendor]
        async with session.post(url, json=body, headers=headers) as answer:
            assert answer.status == 200
            pieces = [piece async for piece in answer.content.iter_any()]
        return Outcome(pieces), b"".join(pieces)

    async with aiohttp.ClientSession() as session:
        for vendor in PLACES:
            good, raw = await ask(vendor)
            assert (good.error, good.finished, good.filtered, good.bytes) == (None, True, False, raw), vendor
            broken, raw = await ask(vendor, error200="2")
            assert broken.error is not None, vendor
            assert broken.error.status >= 500, vendor
            assert raw.startswith(broken.bytes), vendor
            assert len(broken.bytes) < len(raw), vendor
            early, _ = await ask(vendor, error200="0")
            assert early.error is not None, vendor
            assert (early.begun, early.bytes.replace(b": keep-alive\n\n", b"")) == (False, b""), vendor
            short, raw = await ask(vendor, end="2")
            assert (short.error, short.finished, short.bytes) == (None, False, raw), vendor
            if vendor != "xunfei":  # knows no finish reasons: a filter shows before the answer only
                filtered, _ = await ask(vendor, filter="after")
                assert filtered.filtered or filtered.error, vendor
            if vendor not in ("minimax", "lingyi"):
                silent, _ = await ask(vendor, no_usage="1")
                assert (silent.usage, silent.zero, silent.finished) == (None, False, True), vendor
