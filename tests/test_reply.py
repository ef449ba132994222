"""An attempt's answer as it comes in: when it may go to the client, and what is told of one that may not."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from gateway.errors import BadUpstreamReply, GatewayError
from gateway.types import Usage
from gateway.unified.reply import MAX_DOCUMENT, Reply, VendorRefused
from gateway.wire.decompress import decompressor
from gateway.wire.head import Response, parse_response
from gateway.wire.waiting import Wait, Walk

FIRST = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'


def head(status: int = 200, kind: bytes = b"text/event-stream", more: bytes = b"") -> Response:
    return parse_response(b"HTTP/1.1 %d X\r\nContent-Type: %b\r\n%b\r\n" % (status, kind, more))


class Lab:
    """A reply of the chat dialect; `client` is what went there."""

    def __init__(self, hide_usage: bool = False) -> None:
        self.client = b""
        self.seen = 0
        self.reply = Reply("openai.chat", hide_usage, 1, decompressor, self._write, self._see)

    def _write(self, data: bytes) -> None:
        self.client += data

    def _see(self) -> None:
        self.seen += 1

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.reply.piece(piece)


def result(wait: Wait) -> Any:
    """What a wait that has happened gives; raises its error."""
    found: list[Any] = []

    async def walk() -> None:
        try:
            found.append(await wait)
        except GatewayError as error:
            found.append(error)

    coroutine: Coroutine[Any, Any, None] = walk()
    Walk(coroutine, found.append).go()
    assert found, "it has not happened"
    return found[0]


def test_a_stream_is_held_back_until_it_has_begun_well() -> None:
    lab = Lab()
    lab.reply.head(head())
    lab.feed(b": keep-alive\n\n")
    assert not lab.reply.begun.done
    lab.feed(FIRST)
    assert lab.reply.begun.done
    assert lab.client == b""
    assert lab.reply.go_live() == b": keep-alive\n\n" + FIRST
    lab.feed(TEXT)
    assert lab.client == TEXT


def test_the_end_waits_for_the_charge() -> None:
    lab = Lab()
    lab.reply.head(head())
    lab.feed(FIRST)
    lab.reply.go_live()
    lab.feed(TEXT, LAST + USAGE + DONE)
    assert lab.reply.over.done
    assert DONE not in lab.client
    tail = lab.reply.pass_on(Usage())
    assert lab.client + tail == TEXT + LAST + USAGE + DONE
    lab.feed(b"\n")
    assert lab.client.endswith(b"\n")
    assert not lab.reply.closed.done
    lab.reply.finished()
    assert lab.reply.closed.done


def test_an_error_before_the_first_event_never_reaches_the_client() -> None:
    lab = Lab()
    lab.reply.head(head())
    lab.feed(ERROR)
    error = result(lab.reply.begun)
    assert isinstance(error, VendorRefused)
    assert error.hidden
    assert "overloaded" in error.message
    assert lab.client == b""


def test_an_error_in_the_middle_ends_it() -> None:
    lab = Lab()
    lab.reply.head(head())
    lab.feed(FIRST)
    lab.reply.go_live()
    lab.feed(TEXT, ERROR)
    assert lab.client == TEXT
    assert lab.reply.over.done
    assert isinstance(lab.reply.broken_by, VendorRefused)


@pytest.mark.parametrize("pieces", [[], [b": only comments\n\n"]])
def test_a_stream_that_ends_before_it_begins_is_an_error(pieces: list[bytes]) -> None:
    lab = Lab()
    lab.reply.head(head())
    lab.feed(*pieces)
    lab.reply.finished()
    assert isinstance(result(lab.reply.begun), GatewayError)


def test_a_cut_before_and_after_the_begin() -> None:
    lab, cut = Lab(), BadUpstreamReply("cut")
    lab.reply.broken(cut)
    assert result(lab.reply.begun) is cut
    lab = Lab()
    lab.reply.head(head())
    lab.feed(FIRST)
    lab.reply.broken(cut)
    assert result(lab.reply.begun) is None
    assert (lab.reply.over.done, lab.reply.closed.done, lab.reply.broken_by) == (True, True, cut)


def test_an_error_answer_is_read_even_if_it_is_cut() -> None:
    for cut in (False, True):
        lab = Lab()
        lab.reply.head(head(429, b"application/json", b"Retry-After: 7\r\n"))
        lab.feed(b'{"error":{"message":"slow ', b'down","type":"requests","code":"rate_limit_exceeded"}}')
        if cut:
            lab.reply.broken(BadUpstreamReply("cut"))
        else:
            lab.reply.finished()
        error = result(lab.reply.begun)
        assert isinstance(error, VendorRefused)
        assert (error.status, error.retry_after, error.hidden) == (429, 7.0, False)
        assert "slow down" in error.message


def test_a_document_is_whole_before_it_is_given() -> None:
    lab = Lab()
    lab.reply.head(head(kind=b"application/json"))
    lab.feed(b'{"a":', b"1}")
    assert not lab.reply.begun.done
    lab.reply.finished()
    assert lab.reply.begun.done
    assert lab.reply.document() == b'{"a":1}'
    assert lab.seen == 1


def test_what_is_compressed_is_read() -> None:
    import gzip

    lab = Lab()
    lab.reply.head(head(kind=b"application/json", more=b"Content-Encoding: gzip\r\n"))
    data = gzip.compress(b'{"a":1}' * 1000)
    lab.feed(data[:10], data[10:])
    lab.reply.finished()
    assert lab.reply.document() == b'{"a":1}' * 1000


def test_an_unknown_encoding_is_an_error() -> None:
    lab = Lab()
    lab.reply.head(head(more=b"Content-Encoding: x-mystery\r\n"))
    assert isinstance(result(lab.reply.begun), BadUpstreamReply)


def test_memory_is_bounded() -> None:
    lab = Lab()
    lab.reply.head(head(kind=b"application/json"))
    for _ in range(MAX_DOCUMENT // (1 << 20) + 1):
        lab.feed(bytes(1 << 20))
    assert isinstance(result(lab.reply.begun), BadUpstreamReply)
    lab = Lab()
    lab.reply.head(head(500, b"text/plain"))
    for _ in range(100):
        lab.feed(b"x" * 100_000)
    lab.reply.finished()
    assert isinstance(result(lab.reply.begun), VendorRefused)


def test_nothing_follows_a_hole() -> None:
    """A piece that could not be turned is missing: what comes behind it must not look like the rest."""
    lab = Lab()

    class Turning:
        def feed(self, data: bytes) -> bytes:
            if b"hole" in data:
                raise BadUpstreamReply("not readable")
            return data

        last = feed

    lab.reply.transform = Turning()  # type: ignore[assignment]
    lab.reply.head(head())
    lab.feed(FIRST)
    assert result(lab.reply.begun) is None
    lab.client += lab.reply.go_live()
    lab.feed(TEXT.replace(b"hi", b"hole"), TEXT, LAST, DONE)
    lab.reply.finished()
    assert result(lab.reply.over) is None
    assert lab.reply.failed
    assert lab.client == FIRST
    assert lab.reply.stream is not None
    assert not lab.reply.stream.finished


def test_our_own_mistake_ends_the_call_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    lab.reply.head(head())
    assert lab.reply.stream is not None

    class Broken:
        error = None
        begun = ended = finished = False

        def feed(self, data: bytes) -> bytes:
            raise LookupError(data)

    lab.reply.stream = Broken()  # type: ignore[assignment]
    lab.feed(b"secret of the client")
    error = result(lab.reply.begun)
    assert isinstance(error, GatewayError)
    assert error.code == "internal"
    assert "LookupError" in caplog.text
    assert "secret" not in caplog.text
