"""The load: clients that check every byte, in a closed loop for CPU, one by one for latency."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools

from gateway.benchmark.calls import HOST, Call, Target, WrongAnswer
from gateway.benchmark.processes import cpu_by_process

_PATIENCE = 20  # windows


class Client(asyncio.Protocol):
    """One kept-alive connection in a closed loop: sends, checks the answer as it comes, sends again."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self.load = load
        self.seen = 0
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self.load.fail(f"not HTTP: {exc}")

    def on_body(self, body: bytes) -> None:
        end = self.seen + len(body)
        if self.load.call.answer[self.seen : end] != body:
            self.load.fail(f"wrong bytes at {self.seen}: {body[:200]!r}")
        self.seen = end
        self.load.bytes += len(body)

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() != 200 or self.seen != len(self.load.call.answer):
            self.load.fail(f"status {self.parser.get_status_code()}, {self.seen} of {len(self.load.call.answer)} bytes")
        self.seen = 0
        if not self.load.closed:
            self.transport.write(self.load.request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.fail(f"connection lost: {exc}")


class MeaningClient(Client):
    """For answers in other bytes: they are checked when they are complete, events are counted as they come."""

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self.got = b""
        self.events = 0

    def on_body(self, body: bytes) -> None:
        self.got += body
        if self.load.call.units > 1:
            events = self.got.count(b"\ndata: ") + self.got.startswith(b"data: ")
            self.load.counted += events - self.events
            self.events = events

    def on_message_complete(self) -> None:
        got, self.got, self.events = self.got, b"", 0
        if self.parser.get_status_code() != 200 or not self.load.call.answered(got, self.load.target):
            self.load.fail(f"status {self.parser.get_status_code()}, {got[:200]!r}")
        if self.load.call.units == 1:
            self.load.counted += 1
        if not self.load.closed:
            self.transport.write(self.load.request)


class Load:
    """Clients in a closed loop against one target. Units are counted by bytes, so that a window may cut an answer."""

    def __init__(self, call: Call, target: Target, client: Callable[[Load], asyncio.Protocol] = Client) -> None:
        self.call = call
        self.target = target
        self.request = call.request(target)
        self.client = client
        self.bytes = 0
        self.counted = 0  # units that a client does not count by bytes
        self.closed = False
        self.failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.transports: list[asyncio.BaseTransport] = []

    @property
    def units(self) -> float:
        return self.bytes * self.call.units / len(self.call.answer) + self.counted

    def fail(self, what: str) -> None:
        if not self.closed and not self.failure.done():
            self.failure.set_result(what)

    async def open(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            transport, _protocol = await loop.create_connection(lambda: self.client(self), HOST, port)
            # Closed by a reset: a mere end of sending could be a half-close, whose answer a proxy would still wait for.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transports.append(transport)

    async def run(self, seconds: float) -> None:
        """Lets the load run; the first failure ends it."""
        await asyncio.wait([self.failure], timeout=seconds)
        if self.failure.done():
            raise WrongAnswer(self.failure.result())

    async def close(self) -> None:
        self.closed = True
        for transport in self.transports:
            transport.close()
        await asyncio.sleep(0.02)  # the transports close on the loop's next turns, the proxy sees it a little later


class Sample(NamedTuple):
    """One window of one load: what was done, how long it took, and the CPU seconds of each process of the target."""

    units: float
    elapsed: float
    cpu: dict[int, float]

    @property
    def per_unit(self) -> float:
        """CPU microseconds of all processes per unit."""
        return sum(self.cpu.values()) / self.units * 1e6


async def sample(
    target: Target, call: Call, connections: int, seconds: float, client: Callable[[Load], asyncio.Protocol] = Client
) -> Sample:
    """Loads the target and takes one window of it, after a short warm-up."""
    load = Load(call, target, client)
    try:
        await load.open(target.port, connections)
        await load.run(min(0.2, seconds / 2))
        units, cpu, start = load.units, cpu_by_process(target.pid), time.perf_counter()
        for _ in range(_PATIENCE):  # on a busy machine a short window may pass without an answer: then it is longer
            await load.run(seconds)
            if load.units > units:
                break
        after, elapsed, units = cpu_by_process(target.pid), time.perf_counter() - start, load.units - units
    finally:
        await load.close()
    if units <= 0:
        raise WrongAnswer("no answer within the window")
    return Sample(units, elapsed, {pid: spent - cpu.get(pid, 0.0) for pid, spent in after.items()})


class Caller:
    """One blocking connection, for latency: an event loop of our own would be part of what it measures."""

    def __init__(self, target: Target, call: Call, timeout: float = 10.0) -> None:
        self.request, self.call, self.target = call.request(target), call, target
        self.socket = socket.create_connection((HOST, target.port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def once(self) -> float:
        """Seconds to the first byte of a complete and right answer."""
        self.parser = httptools.HttpResponseParser(self)
        self.got, self.complete = b"", False
        start = time.perf_counter()
        self.socket.sendall(self.request)
        data = self.socket.recv(65536)
        first = time.perf_counter() - start
        try:
            self.parser.feed_data(data)
            while not self.complete and (data := self.socket.recv(65536)):
                self.parser.feed_data(data)
        except httptools.HttpParserError as exc:
            raise WrongAnswer(f"not HTTP: {exc}") from exc
        right = self.complete and self.call.answered(self.got, self.target)
        if not right or self.parser.get_status_code() != 200:
            raise WrongAnswer(f"status {self.parser.get_status_code()}, {self.got[:200]!r}")
        return first

    def on_body(self, body: bytes) -> None:
        self.got += body

    def on_message_complete(self) -> None:
        self.complete = True
