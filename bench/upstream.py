"""The far side of the comparison: besides JSON and SSE also files both ways, held streams and a WebSocket echo."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import httptools

from gateway.benchmark.calls import ANSWER_HEAD, CHAT, COMPLETION, REQUEST_HEAD, STREAM, Call, chunked
from gateway.benchmark.far_side import SSE_HEAD, FarSide, complete, serve

MIB = 1 << 20
PIECE = 64 * 1024
LARGE = 256 * MIB
STALL = 0.3  # seconds that the receiver of a large body does not read, so that a proxy which hoards would show it
BLOB = random.Random(1).randbytes(8 * MIB)  # no two places alike: a piece lost, doubled or moved is seen
PIECES = [BLOB[at : at + PIECE] for at in range(0, len(BLOB), PIECE)]
STORED = b'{"id":"file-bench","object":"file","bytes":8388608}'


def frame(payload: bytes, mask: bytes = b"") -> bytes:
    """A WebSocket text frame of 126 to 65,535 bytes of payload."""
    start = b"\x81" + bytes([0x7E | (0x80 if mask else 0)]) + len(payload).to_bytes(2)
    return start + mask + masked(payload, mask) if mask else start + payload


def masked(payload: bytes, mask: bytes) -> bytes:
    whole = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(whole)).to_bytes(len(payload))


MESSAGE = frame(b'{"type":"response.output_audio.delta","event_id":"event_1","delta":"%b"}' % (b"QUJD" * 40))
# The key and its answer are the example of RFC 6455: the clients here always send this key.
WEBSOCKET_HEAD = (
    "Host: api.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

UNARY_CHUNKED = Call(CHAT + "?answer=chunked", COMPLETION)
IDLE = Call(CHAT + "?sse=idle", STREAM[0])
DOWN = Call("/v1/files/blob", BLOB, method="GET", body=b"")
DOWN_CHUNKED = Call("/v1/files/blob?answer=chunked", BLOB, method="GET", body=b"")
UP = Call("/v1/files", STORED, body=BLOB, head=REQUEST_HEAD.replace("json", "octet-stream"))
LARGE_DOWN = Call("/v1/files/large", b"", method="GET", body=b"")
LARGE_UP = Call("/v1/files?stall", STORED, body=b"", head=f"{UP.head}Content-Length: {LARGE}\r\n")
REALTIME = Call("/v1/realtime?model=bench", MESSAGE, units=2, method="GET", body=b"", head=WEBSOCKET_HEAD)


def file_head(framing: str) -> bytes:
    return f"{ANSWER_HEAD}Content-Type: application/octet-stream\r\n{framing}\r\n\r\n".encode()


class Vendor(FarSide):
    unary_chunked: ClassVar[bytes] = (
        complete(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + chunked(COMPLETION) + b"0\r\n\r\n"
    )
    idle: ClassVar[bytes] = SSE_HEAD + chunked(STREAM[0])
    blob: ClassVar[list[bytes]] = [file_head(f"Content-Length: {len(BLOB)}"), *PIECES]
    blob_chunked: ClassVar[list[bytes]] = [
        file_head("Transfer-Encoding: chunked"), *map(chunked, PIECES), b"0\r\n\r\n",
    ]  # fmt: skip
    large_head: ClassVar[bytes] = file_head(f"Content-Length: {LARGE}")
    stored: ClassVar[bytes] = complete(STORED)
    refused: ClassVar[bytes] = b"HTTP/1.1 400 Wrong Bytes\r\nContent-Length: 0\r\n\r\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(MIB)
        self.paused = False
        self.pieces: Iterator[bytes] = iter(())
        self.frames: bytes | None = None  # what has come of the next frame, once this is a WebSocket

    def data_received(self, data: bytes) -> None:
        if self.frames is not None:
            return self.echo(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.frames = b""
            self.echo(data[upgrade.args[0] :])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.received, self.right = 0, True

    def on_body(self, body: bytes) -> None:
        if self.target == UP.target.encode():
            self.right &= body == BLOB[self.received : self.received + len(body)]
        elif not self.received and self.target == LARGE_UP.target.encode():
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(STALL, self.transport.resume_reading)
        else:
            super().on_body(body)
        self.received += len(body)

    def answer_unary_chunked(self) -> None:
        self.transport.write(self.unary_chunked)

    def answer_idle(self) -> None:
        self.transport.write(self.idle)

    def answer_blob(self) -> None:
        self.pour(iter(self.blob))

    def answer_blob_chunked(self) -> None:
        self.pour(iter(self.blob_chunked))

    def answer_large(self) -> None:
        pieces = itertools.chain.from_iterable(itertools.repeat(PIECES, LARGE // len(BLOB)))
        self.pour(itertools.chain([self.large_head], pieces))

    def answer_upload(self) -> None:
        self.transport.write(self.stored if self.right and self.received in (len(BLOB), LARGE) else self.refused)

    def answer_websocket(self) -> None:
        self.transport.write(SWITCHING)

    def pour(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.flow()

    def flow(self) -> None:
        while not self.paused and (piece := next(self.pieces, None)) is not None:
            self.transport.write(piece)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.flow()

    def echo(self, data: bytes) -> None:
        """Sends back each frame of the clients here (masked text of 126 to 65,535 bytes); a close ends it."""
        frames = (self.frames or b"") + data
        while len(frames) >= 8 and len(frames) >= (size := 8 + int.from_bytes(frames[2:4])):
            if frames[0] != 0x81:
                return self.transport.close()
            self.transport.write(frame(masked(frames[8:size], frames[4:8])))
            frames = frames[size:]
        self.frames = frames
        return None

    answers: ClassVar[Mapping[bytes, Callable[[Any], None]]] = {
        **FarSide.answers,
        UNARY_CHUNKED.target.encode(): answer_unary_chunked,
        IDLE.target.encode(): answer_idle,
        DOWN.target.encode(): answer_blob,
        DOWN_CHUNKED.target.encode(): answer_blob_chunked,
        LARGE_DOWN.target.encode(): answer_large,
        UP.target.encode(): answer_upload,
        LARGE_UP.target.encode(): answer_upload,
        REALTIME.target.encode(): answer_websocket,
    }


if __name__ == "__main__":
    serve(Vendor)
