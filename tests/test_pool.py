"""Connections to vendors, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError, Overloaded, UpstreamTimeout, UpstreamTLS, UpstreamUnreachable
from gateway.wire.pool import IDLE_SECONDS, Connection, Destination, Pool
from tests.certificates import issue
from tests.engine import until
from tests.wire.ends import PATIENCE, End
from tests.wire.vendor import Vendor

pytestmark = pytest.mark.both_loops


class Waiting:
    """Someone who asked for a connection."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Connection | GatewayError] = asyncio.get_running_loop().create_future()

    def ready(self, connection: Connection) -> None:
        self.answer.set_result(connection)

    def failed(self, error: GatewayError) -> None:
        self.answer.set_result(error)


async def get(pool: Pool, fresh: bool = False) -> Connection:
    waiting = Waiting()
    pool.acquire(waiting, fresh)
    answer = await asyncio.wait_for(waiting.answer, PATIENCE)
    assert isinstance(answer, Connection), answer
    return answer


async def failure(pool: Pool) -> GatewayError:
    waiting = Waiting()
    pool.acquire(waiting)
    answer = await asyncio.wait_for(waiting.answer, PATIENCE)
    assert isinstance(answer, GatewayError)
    return answer


async def silent(vendor: Vendor, end: End) -> None:
    await end.wait_ended()


def to(vendor: Vendor, limit: int = 10, **more: Any) -> Pool:
    return Pool(Destination("http", "127.0.0.1", vendor.port)._replace(**more), limit, PATIENCE)


async def close(pool: Pool) -> None:
    for connection in list(pool.connections):
        connection.close()
    await until(lambda: not pool.connections and not pool.dialling)


async def test_the_last_one_back_is_the_first_one_out() -> None:
    async with Vendor(script=silent) as vendor:
        pool = to(vendor)
        first, second = await get(pool), await get(pool)
        assert repr(pool) == f"<Pool http://127.0.0.1:{vendor.port} idle=0 open=2 dialling=0>"
        assert not first.used
        pool.release(first, 0)
        pool.release(second, 0)
        assert "idle=2 open=2" in repr(pool)
        assert await get(pool) is second
        assert await get(pool) is first
        assert first.used
        assert len(vendor.connections) == 2
        pool.release(first, 0)
        assert await get(pool, fresh=True) not in (first, second)
        await close(pool)
        assert "idle=0 open=0 dialling=0" in repr(pool)


@pytest.mark.parametrize(("says", "lasts"), [(0, IDLE_SECONDS), (5, 4.0), (1000, IDLE_SECONDS)])
async def test_stale_connections_are_closed_before_the_vendor_does(says: int, lasts: float) -> None:
    async with Vendor(script=silent) as vendor:
        pool = to(vendor)
        connection = await get(pool)
        pool.release(connection, says)
        pool.close_stale(connection.idle_since + lasts - 0.1)
        assert pool.idle == [connection]
        pool.close_stale(connection.idle_since + lasts + 0.1)
        assert "idle=0 open=0" in repr(pool)
        assert await (await vendor.connection()).wait_ended()


@pytest.mark.parametrize("how", ["close", "reset", "speaks"])
async def test_a_connection_that_dies_or_speaks_in_the_pool_is_forgotten(how: str) -> None:
    async with Vendor(script=silent) as vendor:
        pool = to(vendor)
        pool.release(await get(pool), 0)
        end = await vendor.connection()
        if how == "speaks":
            await end.send(b"HTTP/1.1 200 OK\r\n")
        else:
            getattr(end, how)()
        await until(lambda: not pool.idle)
        assert "idle=0 open=0" in repr(pool)
        await get(pool)
        assert len(vendor.connections) == 2
        await close(pool)


async def test_the_limit_counts_what_is_dialled_too() -> None:
    async with Vendor(script=silent) as vendor:
        pool = to(vendor, limit=2)
        one, two = Waiting(), Waiting()
        pool.acquire(one)
        pool.acquire(two)
        assert "open=0 dialling=2" in repr(pool)
        assert isinstance(await failure(pool), Overloaded)
        connection = await one.answer
        assert isinstance(connection, Connection)
        await two.answer
        assert isinstance(await failure(pool), Overloaded)
        pool.release(connection, 0)
        assert await get(pool) is connection
        connection.close()
        await get(pool)
        await close(pool)


async def test_a_retired_pool_keeps_nothing() -> None:
    async with Vendor(script=silent) as vendor:
        pool = to(vendor)
        connection, other = await get(pool), await get(pool)
        pool.release(other, 0)
        pool.retired = True
        pool.close_idle()
        assert pool.connections == {connection}
        pool.release(connection, 0)
        assert not pool.connections


async def test_all_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Vendor(script=silent) as vendor:

        loop = asyncio.get_running_loop()
        resolver = loop.getaddrinfo

        async def resolve(host: Any, *rest: Any, **options: Any) -> list[Any]:
            if host != "several.test":
                return await resolver(host, *rest, **options)
            kind = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, ""
            return [(*kind, ("127.0.0.2", vendor.port)), (*kind, ("127.0.0.1", vendor.port))]

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        pool = to(vendor, host="several.test")
        connection = await get(pool)
        assert connection.transport.get_extra_info("peername")[0] == "127.0.0.1"
        await close(pool)


async def test_nobody_there_or_no_such_name() -> None:
    async with Vendor(script=silent) as vendor:
        pool = to(vendor)
    error = await failure(pool)
    assert isinstance(error, UpstreamUnreachable)
    assert "127.0.0.1" not in error.message
    pool = Pool(Destination("http", "no-such-name.invalid", 80), 1, PATIENCE)
    error = await failure(pool)
    assert isinstance(error, UpstreamUnreachable)
    assert "resolve" in error.message
    assert "open=0 dialling=0" in repr(pool)


def full(listener: socket.socket) -> list[socket.socket]:
    """Fills a listener's queue, so that the next connection gets no answer."""
    fillers = [socket.socket() for _ in range(3)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    return fillers


async def test_no_connection_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        fillers = full(listener)
        pool = Pool(Destination("http", "127.0.0.1", listener.getsockname()[1]), 1, 0.05)
        assert isinstance(await failure(pool), UpstreamTimeout)
        await until(lambda: not pool.dialling)
        assert "open=0 dialling=0" in repr(pool)
        for filler in fillers:
            filler.close()


async def test_certificates_are_verified_and_ca_adds_one(tmp_path: Path) -> None:
    authority, context = issue(tmp_path)
    async with Vendor(script=silent, tls=context) as vendor:
        error = await failure(to(vendor, scheme="https"))
        assert isinstance(error, UpstreamTLS)
        assert "certificate" in error.message
        pool = to(vendor, scheme="https", ca=str(authority))
        connection = await get(pool)
        assert connection.transport.get_extra_info("ssl_object") is not None
        connection.transport.write(b"hello")
        assert await (await vendor.connection()).read_exactly(5) == b"hello"
        await close(pool)


async def test_a_certificate_for_another_host_is_not_accepted(tmp_path: Path) -> None:
    authority, context = issue(tmp_path, "other.test")
    async with Vendor(script=silent, tls=context) as vendor:
        assert isinstance(await failure(to(vendor, scheme="https", ca=str(authority))), UpstreamTLS)


async def test_tls_to_something_that_speaks_none() -> None:
    async def babble(_: Vendor, end: End) -> None:
        await end.read_some()
        await end.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with Vendor(script=babble) as vendor:
        error = await failure(to(vendor, scheme="https"))
        assert isinstance(error, UpstreamTLS)


@pytest.mark.parametrize(
    ("place", "authority"),
    [
        (Destination("http", "a", 80), b"a"),
        (Destination("https", "a", 443), b"a"),
        (Destination("https", "a", 80), b"a:80"),
        (Destination("http", "::1", 80), b"[::1]"),
        (Destination("http", "::1", 81), b"[::1]:81"),
    ],
)
def test_the_host_field_of_an_origin(place: Destination, authority: bytes) -> None:
    assert place.authority == authority
