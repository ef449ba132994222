"""Loads beyond requests and streams: WebSocket messages in a closed loop, held streams, one very large body."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httptools

from bench.upstream import BLOB, IDLE, LARGE, LARGE_DOWN, LARGE_UP, MESSAGE, MIB, PIECE, STALL, STORED, frame
from gateway.benchmark.calls import HOST, Target, WrongAnswer
from gateway.benchmark.load import Load
from gateway.benchmark.processes import family

MASKED = frame(MESSAGE[4:], mask=b"\x1f\x2e\x3d\x4c")


class WebSocketClient(asyncio.Protocol):
    """Sends a message, checks its echo, sends the next."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self.load = load
        self.head = b""
        self.switched = False
        self.seen = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        if not self.switched:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return
            self.switched = True
            if not self.head.startswith(b"HTTP/1.1 101 ") or not self.head.endswith(b"\r\n\r\n"):
                self.load.fail(f"no WebSocket: {self.head[:200]!r}")
            self.transport.write(MASKED)
            return
        end = self.seen + len(data)
        if self.load.call.answer[self.seen : end] != data:
            self.load.fail(f"wrong frame: {data[:200]!r}")
        self.load.bytes += len(data)
        self.seen = end
        if end == len(self.load.call.answer) and not self.load.closed:
            self.seen = 0
            self.transport.write(MASKED)

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.fail(f"connection lost: {exc}")


def memory(pid: int, field: str) -> int:
    """Bytes of a family's resident memory: `VmRSS` now, or `VmHWM` at its highest since `forget_peak`."""
    lines = (line for member in family(pid) for line in Path(f"/proc/{member}/status").read_text().splitlines())
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def forget_peak(pid: int) -> None:
    for member in family(pid):
        Path(f"/proc/{member}/clear_refs").write_text("5")


async def idle_streams(target: Target, count: int) -> float:
    """Bytes of memory that each open stream takes which has answered its first event and says nothing more."""

    async def held(streams: int) -> int:
        load = Load(IDLE, target)
        try:
            await load.open(target.port, streams)
            deadline = time.monotonic() + 10
            while load.units < streams and time.monotonic() < deadline:
                await load.run(0.05)
            if load.units != streams:
                raise WrongAnswer(f"{load.units} of {streams} streams answered")
            await load.run(0.3)
            return memory(target.pid, "VmRSS")
        finally:
            await load.close()

    few = await held(50)  # what the first streams bring in for ever is not a stream's
    await asyncio.sleep(0.3)
    return (await held(count + 50) - few) / count


@contextlib.contextmanager
def growth(target: Target) -> Iterator[list[int]]:
    """How far the target's memory rose above its start within the block."""
    found: list[int] = []
    before = memory(target.pid, "VmRSS")
    forget_peak(target.pid)
    yield found
    found.append(max(0, memory(target.pid, "VmHWM") - before))


def connect(target: Target) -> socket.socket:
    sock = socket.create_connection((HOST, target.port), 30)
    # A small window of our own: the kernel must not take in much of what the proxy should hold back.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
    return sock


class _Body:
    """Checks a large body as it comes."""

    def __init__(self) -> None:
        self.seen = 0
        self.complete = False

    def on_body(self, body: bytes) -> None:
        at = self.seen % len(BLOB)
        if body != (BLOB[at : at + len(body)] + BLOB[: max(0, at + len(body) - len(BLOB))]):
            raise WrongAnswer(f"wrong bytes at {self.seen}")  # reaches the caller as the parser's own error
        self.seen += len(body)

    def on_message_complete(self) -> None:
        self.complete = True


def large_down(target: Target) -> float:
    """Bytes that the memory grows while 256 MiB come down to a client that at first does not read."""
    body = _Body()
    parser = httptools.HttpResponseParser(body)
    with growth(target) as found, connect(target) as sock:
        sock.sendall(LARGE_DOWN.request(target))
        time.sleep(STALL)
        try:
            while not body.complete and (data := sock.recv(MIB)):
                parser.feed_data(data)
        except httptools.HttpParserError as exc:
            raise WrongAnswer(str(exc.__context__ or exc)) from exc
    if body.seen != LARGE:
        raise WrongAnswer(f"{body.seen} of {LARGE} bytes")
    return found[0]


def large_up(target: Target) -> float:
    """Bytes that the memory grows while 256 MiB go up to a vendor that at first does not read."""
    with growth(target) as found, connect(target) as sock:
        sock.sendall(LARGE_UP.request(target))
        for _ in range(LARGE // len(BLOB)):
            sock.sendall(BLOB)
        answer = b""
        while not answer.endswith(STORED) and (data := sock.recv(PIECE)):
            answer += data
    if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(STORED):
        raise WrongAnswer(f"wrong answer: {answer[:200]!r}")
    return found[0]
