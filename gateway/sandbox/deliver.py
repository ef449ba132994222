"""Bytes onto the wire, whole or broken: pace, silence, cuts, false ends, bad framing and encodings happen here only."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import zlib
from collections.abc import Callable, Iterable
from typing import Protocol

import brotli  # type: ignore[import-untyped]
from aiohttp import web

from gateway.sandbox.script import Point, Script

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Long enough for a reader to take what was sent before a reset throws the rest away.
_SETTLE = 0.02
_EVENTS_BEFORE_BAD_CHUNK = 2


class _Encoder(Protocol):
    def feed(self, data: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._z = zlib.compressobj(6, zlib.DEFLATED, 31)

    def feed(self, data: bytes) -> bytes:
        return self._z.compress(data) + self._z.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._z.flush()


class _Brotli:
    def __init__(self) -> None:
        self._z = brotli.Compressor(quality=4)

    def feed(self, data: bytes) -> bytes:
        return bytes(self._z.process(data) + self._z.flush())

    def finish(self) -> bytes:
        return bytes(self._z.finish())


class _Zstd:
    def __init__(self) -> None:
        self._z = zstd.ZstdCompressor()

    def feed(self, data: bytes) -> bytes:
        return bytes(self._z.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK))

    def finish(self) -> bytes:
        return bytes(self._z.flush())


class _Plain:
    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


ENCODERS: dict[str | None, Callable[[], _Encoder]] = {None: _Plain, "gzip": _Gzip, "br": _Brotli, "zstd": _Zstd}


def refuse(request: web.Request) -> web.StreamResponse:
    """Closes without a byte of an answer."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def reset(request: web.Request) -> None:
    """Breaks the connection with a TCP reset."""
    transport = request.transport
    if transport is None:
        return
    await asyncio.sleep(_SETTLE)
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def body(
    request: web.Request, script: Script, data: bytes, headers: dict[str, str], status: int
) -> web.StreamResponse:
    """A plain answer. `cut` promises the whole length and breaks off; `end` sends a chunked body that is too short."""
    if script.encoding:
        encoder = ENCODERS[script.encoding]()
        data = encoder.feed(data) + encoder.finish()
        headers = {**headers, "Content-Encoding": script.encoding}
    response = web.StreamResponse(status=status, headers=headers)
    stop = script.cut or script.end
    if stop is None and script.fault != "bad_chunk":
        response.content_length = len(data)
    elif script.cut and request.method != "HEAD":
        response.content_length = max(len(data), script.cut.at + 1)
    await response.prepare(request)
    if script.stall and script.stall.events is not None:
        await asyncio.sleep(script.stall.seconds)
    await response.write(data if stop is None else data[: stop.at])
    if script.fault == "bad_chunk":
        await _bad_chunk(request)
    elif script.cut:
        await reset(request)
    else:
        await response.write_eof()
    return response


async def stream(
    request: web.Request, script: Script, events: Iterable[bytes], headers: dict[str, str], tail: bytes
) -> web.StreamResponse:
    """A chunked answer, an event at a time."""
    if script.encoding:
        headers = {**headers, "Content-Encoding": script.encoding}
    response = web.StreamResponse(headers=headers)
    if request.version >= (1, 1):
        response.enable_chunked_encoding()
    await response.prepare(request)
    encoder = ENCODERS[script.encoding]()
    sent = number = 0
    stop = script.cut or script.end
    for number, event in enumerate(events):  # noqa: B007
        if _reached(stop, number, sent):
            break
        await _silence(script, number)
        if script.fault == "bad_json" and number == 1:
            event = event.replace(b"{", b"{{,", 1)
        if script.fault == "bad_chunk" and number == _EVENTS_BEFORE_BAD_CHUNK:
            await _bad_chunk(request)
            return response
        if stop and stop.in_bytes and sent + len(event) > stop.at:
            await response.write(encoder.feed(event[: stop.at - sent]))
            sent = stop.at
            break
        await response.write(encoder.feed(event))
        sent += len(event)
    if script.cut:
        await reset(request)
        return response
    if not script.end and tail:
        await response.write(encoder.feed(tail))
    rest = encoder.finish()
    if rest:
        await response.write(rest)
    await response.write_eof()
    return response


def _reached(stop: Point | None, number: int, sent: int) -> bool:
    return stop is not None and (sent >= stop.at if stop.in_bytes else number >= stop.at)


async def _silence(script: Script, number: int) -> None:
    if script.stall and script.stall.events == number:
        await asyncio.sleep(script.stall.seconds)
    if script.pace and number:
        await asyncio.sleep(script.pace / 1000)


async def _bad_chunk(request: web.Request) -> None:
    """A chunk size that is none, behind the good chunks; then the end of the connection."""
    transport = request.transport
    if transport is None:
        return
    transport.write(b"zz\r\nnot a chunk\r\n")
    await asyncio.sleep(_SETTLE)
    transport.close()
