"""A vendor as cheap as can be, as a process of its own: `python -m gateway.benchmark.far_side` prints its port."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, cast

import httptools
import uvloop

from gateway.benchmark.calls import ANSWER_HEAD, CHAT, COMPLETION, HOST, STREAM, chunked
from gateway.benchmark.converted import MESSAGE, MESSAGE_STREAM, MESSAGES

PACE = 0.010  # seconds between the events of a paced stream
SSE_HEAD = (ANSWER_HEAD + "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").encode()

Answer = Callable[["FarSide"], None]


def complete(body: bytes) -> bytes:
    head = f"{ANSWER_HEAD}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def whole(answer: bytes) -> Answer:
    return lambda far_side: far_side.transport.write(answer)


def burst(events: list[bytes]) -> bytes:
    return SSE_HEAD + b"".join(map(chunked, events)) + b"0\r\n\r\n"


def paced(events: list[bytes]) -> Answer:
    pieces = [*map(chunked, events), b"0\r\n\r\n"]

    def begin(far_side: FarSide) -> None:
        far_side.transport.write(SSE_HEAD)
        far_side.next_event(iter(pieces))

    return begin


_UNKNOWN = whole(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
_BURST, _PACED = b"?sse=burst", b"?sse=paced"
_STREAMS = ((b'"burst', _BURST), (b'"paced', _PACED))  # a gateway may add to the model's name
_BY_MODEL = frozenset((CHAT.encode(), MESSAGES.encode()))


class FarSide(asyncio.Protocol):
    """A vendor as cheap as can be: the request's target chooses the answer, every answer is made beforehand. A stream
    may also be asked for by the model's name, for gateways that have paths of their own.
    """

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.target = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, body: bytes) -> None:
        if self.target in _BY_MODEL and b"stream" in body:
            self.target += next((query for model, query in _STREAMS if model in body), b"")

    def on_message_complete(self) -> None:
        self.answers.get(self.target, _UNKNOWN)(self)

    def next_event(self, events: Iterator[bytes]) -> None:
        if (event := next(events, None)) is not None and not self.transport.is_closing():
            self.transport.write(event)
            asyncio.get_running_loop().call_later(PACE, self.next_event, events)

    answers: ClassVar[Mapping[bytes, Callable[[Any], None]]] = {
        CHAT.encode(): whole(complete(COMPLETION)),
        CHAT.encode() + _BURST: whole(burst(STREAM)),
        CHAT.encode() + _PACED: paced(STREAM),
        MESSAGES.encode(): whole(complete(MESSAGE)),
        MESSAGES.encode() + _BURST: whole(burst(MESSAGE_STREAM)),
        MESSAGES.encode() + _PACED: paced(MESSAGE_STREAM),
    }


def serve(protocol: type[FarSide]) -> None:
    """Runs until told to end; the port is the first line on stdout."""

    async def until_ended() -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        server = await loop.create_server(protocol, HOST, 0, backlog=4096)
        print(server.sockets[0].getsockname()[1], flush=True)
        await ended.wait()

    uvloop.run(until_ended())


if __name__ == "__main__":
    serve(FarSide)
