"""One end of a connection, with nothing between the test and the bytes.

Both sides of every test use it: the client in front of the gateway and the vendor behind it. It tells a clean end
(`eof`) from a torn one (`reset`), can tear its own side, and never waits longer than `PATIENCE`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from typing import cast

PATIENCE = 5.0
EOF = "eof"
RESET = "reset"


class Ended(ConnectionError):
    """The other side ended the connection before the bytes that were waited for."""


class End(asyncio.Protocol):
    """A connection as bytes: `send` and `read`, and how it ended."""

    def __init__(self, on_open: Callable[[End], None] | None = None) -> None:
        self.buffer = bytearray()
        self.raw = bytearray()  # everything ever received; emptied by those who read for long
        self.recording = True
        self.received = 0
        self.ended: str | None = None
        self.lost = False
        self._on_open = on_open
        self._transport: asyncio.Transport | None = None
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._on_open is not None:
            self._on_open(self)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.buffer += data
        if self.recording:
            self.raw += data
        self._changed.set()

    def eof_received(self) -> bool:
        self.ended = self.ended or EOF
        self._changed.set()
        return self.transport.get_extra_info("ssl_object") is None  # a plain connection stays open for our half

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.ended = self.ended or (RESET if exc is not None else EOF)
        self._changed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # the test's side

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    async def send(self, data: bytes) -> None:
        """Write and wait until the other side has taken most of it."""
        self.transport.write(data)
        async with asyncio.timeout(PATIENCE):
            await self._writable.wait()
        if self.lost:
            raise Ended("connection lost while sending")

    async def send_pieces(self, data: bytes, sizes: list[int]) -> None:
        """Send `data` cut into pieces of the given sizes (0: a real pause before the next), the rest at once."""
        at = 0
        for size in sizes:
            if at >= len(data):
                break
            if size == 0:
                await asyncio.sleep(0.001)
                continue
            await self.send(data[at : at + size])
            await asyncio.sleep(0)
            at += size
        if at < len(data):
            await self.send(data[at:])

    async def more(self) -> None:
        """Wait for more bytes or the end; raises `Ended` when there can be none."""
        if self.ended:
            raise Ended(f"{self.ended} after {bytes(self.buffer[:300])!r}")
        self._changed.clear()
        async with asyncio.timeout(PATIENCE):
            await self._changed.wait()

    async def wait_bytes(self) -> None:
        """Until there is something to read."""
        while not self.buffer:
            await self.more()

    async def read_until(self, marker: bytes) -> bytes:
        """Everything up to and including `marker`."""
        start = 0
        while (at := self.buffer.find(marker, start)) < 0:
            start = max(0, len(self.buffer) - len(marker) + 1)
            await self.more()
        return self._take(at + len(marker))

    async def read_exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            await self.more()
        return self._take(count)

    async def read_some(self) -> bytes:
        """What has come, at least one byte; empty at the end."""
        while not self.buffer:
            if self.ended:
                return b""
            await self.more()
        return self._take(len(self.buffer))

    async def read_to_end(self) -> bytes:
        """Everything until the other side ends; `ended` tells how."""
        while not self.ended:
            await self.more()
        return self._take(len(self.buffer))

    async def wait_ended(self) -> str:
        """`eof` or `reset`, leaving what came in the buffer."""
        while not self.ended:
            await self.more()
        return self.ended

    async def wait_lost(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not self.lost:
                self._changed.clear()
                await self._changed.wait()

    def _take(self, count: int) -> bytes:
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def pause(self) -> None:
        """Stop reading: the other side feels back-pressure once the kernel's buffers are full."""
        self.transport.pause_reading()

    def resume(self) -> None:
        self.transport.resume_reading()

    def half_close(self) -> None:
        self.transport.write_eof()

    def close(self) -> None:
        if not self.lost:
            self.transport.close()

    def reset(self) -> None:
        """End with RST instead of FIN."""
        if not self.lost:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


async def connect(port: int, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None) -> End:
    """A client's end towards a local port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(sock, ("127.0.0.1", port))
        name = "localhost" if tls else None
        _, end = await loop.create_connection(End, sock=sock, ssl=tls, server_hostname=name)
    except BaseException:
        sock.close()
        raise
    return end
