"""A vendor as cheap as can be, as a process of its own: `python -m gateway.benchmark.far_side` prints its port."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, cast

import httptools
import uvloop

from gateway.benchmark.calls import ANSWER_HEAD, BURST, COMPLETION, HOST, PACED, STREAM, UNARY, chunked

PACE = 0.010  # seconds between the events of a paced stream


def complete(body: bytes) -> bytes:
    head = f"{ANSWER_HEAD}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


SSE_HEAD = (ANSWER_HEAD + "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").encode()


class FarSide(asyncio.Protocol):
    """A vendor as cheap as can be: the request's target chooses the answer, every answer is made beforehand."""

    plain: ClassVar[bytes] = complete(COMPLETION)
    burst: ClassVar[bytes] = SSE_HEAD + b"".join(map(chunked, STREAM)) + b"0\r\n\r\n"
    events: ClassVar[list[bytes]] = [*map(chunked, STREAM), b"0\r\n\r\n"]

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

    def on_message_complete(self) -> None:
        self.answers.get(self.target, FarSide.answer_unknown)(self)

    def answer_plain(self) -> None:
        self.transport.write(self.plain)

    def answer_unknown(self) -> None:
        self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def answer_burst(self) -> None:
        self.transport.write(self.burst)

    def answer_paced(self) -> None:
        self.transport.write(SSE_HEAD)
        self.next_event(iter(self.events))

    def next_event(self, events: Iterator[bytes]) -> None:
        if (event := next(events, None)) is not None and not self.transport.is_closing():
            self.transport.write(event)
            asyncio.get_running_loop().call_later(PACE, self.next_event, events)

    answers: ClassVar[Mapping[bytes, Callable[[Any], None]]] = {
        UNARY.target.encode(): answer_plain,
        BURST.target.encode(): answer_burst,
        PACED.target.encode(): answer_paced,
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
