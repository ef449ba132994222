"""The ways to a vendor through a proxy, with real proxies of a few lines."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.errors import UpstreamUnreachable
from tests.certificates import issue
from tests.test_pool import close, failure, get, silent, to
from tests.wire.ends import PATIENCE
from tests.wire.vendor import Vendor

pytestmark = pytest.mark.both_loops

Open = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[tuple[str, int] | None]]
LOGIN = "Basic " + base64.b64encode(b"user:pass word").decode()


class Proxy:
    """A proxy: `opening` speaks with the client and says where to, then bytes flow."""

    def __init__(self, opening: Open) -> None:
        self.opening = opening
        self.asked: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            place = await self.opening(reader, writer)
            if place is not None:
                self.asked.append(f"{place[0]}:{place[1]}")
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", place[1])
                await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def running(opening: Open, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    proxy = Proxy(opening)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await proxy.serve(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE)
    await server.wait_closed()


async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int] | None:
    """CONNECT, with a login."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    if f"Proxy-Authorization: {LOGIN}" not in head:
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        return None
    method, authority, _ = head.split("\r\n")[0].split(" ")
    assert method == "CONNECT"
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    host, _, port = authority.rpartition(":")
    return host, int(port)


async def socks5(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int] | None:
    """RFC 1928 with the login of RFC 1929."""
    _, count = await reader.readexactly(2)
    assert 2 in await reader.readexactly(count)
    writer.write(b"\x05\x02")
    words = []
    assert await reader.readexactly(1) == b"\x01"
    for _ in range(2):
        words.append(await reader.readexactly((await reader.readexactly(1))[0]))
    good = words == [b"user", b"pass word"]
    writer.write(b"\x01\x00" if good else b"\x01\x01")
    if not good:
        return None
    version, command, _, kind = await reader.readexactly(4)
    assert (version, command) == (5, 1)
    if kind == 1:
        host = ".".join(map(str, await reader.readexactly(4)))
    else:
        assert kind == 3
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    port = int.from_bytes(await reader.readexactly(2), "big")
    writer.write(b"\x05\x00\x00\x01\0\0\0\0\0\0")
    return host, port


KINDS = {"http": connect, "https": connect, "socks5": socks5}


def trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, ssl.SSLContext]:
    """Certificates of an authority that this process takes for one of the system's."""
    authority, context = issue(folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    return authority, context


@pytest.mark.parametrize("inner", ["http", "https"])
@pytest.mark.parametrize("kind", KINDS)
async def test_through(kind: str, inner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, context = trusted(tmp_path, monkeypatch)
    async with (
        Vendor(script=silent, tls=context if inner == "https" else None) as vendor,
        running(KINDS[kind], context if kind == "https" else None) as proxy,
    ):
        pool = to(vendor, scheme=inner, proxy=f"{kind}://user:pass%20word@127.0.0.1:{proxy.port}")
        connection = await get(pool)
        connection.transport.write(b"through")
        assert await (await vendor.connection()).read_exactly(7) == b"through"
        assert proxy.asked == [f"127.0.0.1:{vendor.port}"]
        await close(pool)


@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_names_are_resolved_by_the_proxy(kind: str) -> None:
    async with Vendor(script=silent) as vendor, running(KINDS[kind]) as proxy:
        place = f"{kind}://user:pass%20word@127.0.0.1:{proxy.port}"
        pool = to(vendor, host="only-the-proxy-knows.invalid", proxy=place)
        await get(pool)
        assert proxy.asked == [f"only-the-proxy-knows.invalid:{vendor.port}"]
        await close(pool)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_that_refuses(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, context = trusted(tmp_path, monkeypatch)
    async with Vendor(script=silent) as vendor, running(KINDS[kind], context if kind == "https" else None) as proxy:
        pool = to(vendor, proxy=f"{kind}://user:wrong@127.0.0.1:{proxy.port}")
        error = await failure(pool)
        assert isinstance(error, UpstreamUnreachable)
        assert "proxy" in error.message
        assert "wrong" not in error.message
        assert not vendor.connections
        assert "open=0 dialling=0" in repr(pool)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_that_is_not_there(kind: str) -> None:
    async with Vendor(script=silent) as vendor:
        async with running(connect) as proxy:
            pass
        pool = to(vendor, proxy=f"{kind}://127.0.0.1:{proxy.port}")
        assert isinstance(await failure(pool), UpstreamUnreachable)


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 502 No\r\n\r\n", b"nonsense\r\n\r\n", b"x" * 20000])
async def test_an_https_proxy_that_talks_nonsense(
    reply: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()

    _, context = trusted(tmp_path, monkeypatch)
    async with Vendor(script=silent) as vendor, running(talk, context) as proxy:
        pool = to(vendor, proxy=f"https://127.0.0.1:{proxy.port}")
        assert isinstance(await failure(pool), UpstreamUnreachable)
