"""`proxy:` on the way to a vendor: http:// by CONNECT, and socks5://; TLS goes through it untouched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.wire.certificates import Authority
from tests.wire.conftest import Dial, Start
from tests.wire.ends import End, connect
from tests.wire.messages import answer, read_answer, read_request_head, request
from tests.wire.serving import free_port
from tests.wire.test_requests import check_error
from tests.wire.vendor import Vendor, serve


class Tunnels:
    """A proxy of both kinds that remembers where it was asked to go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuse = False

    async def http(self, proxy: Vendor, end: End) -> None:
        head = await read_request_head(end)
        assert head is not None
        assert head.method == b"CONNECT"
        self.asked.append(head.target.decode())
        if self.refuse:
            await end.send(answer(b"no", b"403 Forbidden"))
            return
        await self._join(end, int(head.target.rpartition(b":")[2]), b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def socks5(self, proxy: Vendor, end: End) -> None:
        version, count = await end.read_exactly(2)
        await end.read_exactly(count)
        assert version == 5
        await end.send(b"\x05\x00")
        _, command, _, kind = await end.read_exactly(4)
        assert command == 1
        size = {1: 4, 3: 0, 4: 16}[kind] or (await end.read_exactly(1))[0]
        host = await end.read_exactly(size)
        port = int.from_bytes(await end.read_exactly(2))
        self.asked.append(f"{host.decode() if kind == 3 else '.'.join(map(str, host))}:{port}")
        reply = b"\x05%c\x00\x01\x00\x00\x00\x00\x00\x00" % (2 if self.refuse else 0)
        if self.refuse:
            await end.send(reply)
            return
        await self._join(end, port, reply)

    async def _join(self, end: End, port: int, greeting: bytes) -> None:
        far = await connect(port)
        await end.send(greeting)
        await asyncio.gather(self._pump(end, far), self._pump(far, end))

    async def _pump(self, source: End, sink: End) -> None:
        while True:
            if not source.buffer and not source.ended:
                await source.more()
            data = await source.read_some()
            if not data:
                break
            await sink.send(data)
        sink.close()


@pytest.fixture(params=["http", "socks5"])
async def proxied(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Tunnels, str]]:
    """The proxy and its URL."""
    tunnels = Tunnels()
    async with Vendor(0, getattr(tunnels, request.param)) as proxy:
        yield tunnels, f"{request.param}://127.0.0.1:{proxy.port}"


@pytest.mark.parametrize("tls", [False, True])
async def test_everything_goes_through_the_proxy(
    start: Start, dial: Dial, tmp_path: Path, proxied: tuple[Tunnels, str], tls: bool
) -> None:
    tunnels, url = proxied
    authority = Authority(tmp_path)
    context = authority.context(["localhost"]) if tls else None
    async with Vendor(0, serve(lambda message: answer(message.target + message.body)), context) as vendor:
        origin = f"{'https' if tls else 'http'}://localhost:{vendor.port}"
        provider = {"base_url": origin, "proxy": url, "ca": f"file:{authority.path}"}
        gateway = start(None, {"far": provider})
        client = await dial(gateway.port)
        for body in (b"one", b"two" * 100_000):
            await client.send(request(b"/far/x?y", b"POST", body))
            assert (await read_answer(client)).body == b"/x?y" + body
        assert tunnels.asked == [f"localhost:{vendor.port}"]
        assert vendor.requests[0].value(b"host") == b"localhost:%d" % vendor.port


async def test_proxy_that_refuses(start: Start, dial: Dial, proxied: tuple[Tunnels, str]) -> None:
    tunnels, url = proxied
    tunnels.refuse = True
    async with Vendor(0) as vendor:
        gateway = start(None, {"far": {"base_url": f"http://localhost:{vendor.port}", "proxy": url}})
        client = await dial(gateway.port)
        await client.send(request(b"/far/x"))
        check_error(await read_answer(client), 502, "upstream_unreachable")
        assert not vendor.connections


async def test_proxy_that_is_not_there(start: Start, dial: Dial) -> None:
    """No way around it is taken."""
    async with Vendor(0) as vendor:
        nobody = f"http://127.0.0.1:{free_port()}"
        gateway = start(None, {"far": {"base_url": f"http://localhost:{vendor.port}", "proxy": nobody}})
        client = await dial(gateway.port)
        await client.send(request(b"/far/x"))
        check_error(await read_answer(client), 502, "upstream_unreachable")
        assert not vendor.connections
