"""An exchange's corners: connections that died in the pool, and back-pressure on both sides."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.wire import pump
from gateway.wire.pool import Connection, Pool
from tests.engine import Engine, until
from tests.wire.ends import End
from tests.wire.messages import answer, head, read_answer, read_answer_head, request
from tests.wire.vendor import Script, Vendor, serve

pytestmark = pytest.mark.both_loops

POST = request(b"/vendor/x?q", b"POST", b"question")
BIG = 16 << 20


# -- a connection that died in the pool --------------------------------------------------------------------------------


def dies_on_second(*pieces: bytes, then: str = "close") -> Script:
    """A script whose first connection answers once, reads a second request and then does as told."""

    async def script(vendor: Vendor, end: End) -> None:
        if len(vendor.connections) == 1:
            await vendor.next_request(end)
            await end.send(answer(b"first"))
            await vendor.next_request(end)
            for piece in pieces:
                await end.send(piece)
            getattr(end, then)()
        else:
            await serve(answer(b"fresh"))(vendor, end)

    return script


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("data", [request(b"/vendor/x"), POST, request(b"/vendor/x", b"POST", bytes(60000))])
async def test_it_is_replaced_once(data: bytes, then: str) -> None:
    async with Engine(dies_on_second(then=then)) as engine:
        client = await engine.dial()
        for wanted in (b"first", b"fresh"):
            await client.send(data)
            assert (await read_answer(client)).body == wanted
        assert len(engine.vendor.connections) == 2
        assert len((await engine.record(1))["end"]) == 1


@pytest.mark.parametrize("early", [b"H", head(b"HTTP/1.1 103 Early Hints", [])])
async def test_it_is_not_replaced_after_a_byte_of_the_answer(early: bytes) -> None:
    async with Engine(dies_on_second(early)) as engine:
        client = await engine.dial()
        await client.send(POST)
        await read_answer(client)
        await client.send(POST)
        assert (await read_answer(client)).status == 502
        assert len(engine.vendor.connections) == 1


async def test_it_is_not_replaced_when_the_request_is_not_whole_in_hand() -> None:
    async with Engine(dies_on_second()) as engine:
        client = await engine.dial()
        await client.send(POST)
        await read_answer(client)
        await client.send(request(b"/vendor/x", b"POST", bytes(pump.REPLAY_LIMIT + 10000)))
        assert (await read_answer(client)).status == 502
        assert len(engine.vendor.connections) == 1


async def test_it_is_not_replaced_twice() -> None:
    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_request(end)
        if len(vendor.connections) == 1:
            await end.send(answer(b"first"))
            await vendor.next_request(end)
        end.close()

    async with Engine(script) as engine:
        client = await engine.dial()
        await client.send(POST)
        await read_answer(client)
        await client.send(POST)
        assert (await read_answer(client)).status == 502
        assert len(engine.vendor.connections) == 2


# -- back-pressure -----------------------------------------------------------------------------------------------------


async def test_a_slow_client_holds_the_vendor_up() -> None:
    async def script(vendor: Vendor, end: End) -> None:
        while await vendor.next_request(end):
            end.write(answer(bytes(BIG)))

    async with Engine(script) as engine:
        client = await engine.dial(receive_buffer=1 << 20)
        client.recording = False
        client.pause()
        await client.send(request(b"/vendor/x"))
        await until(lambda: any(handler.full for handler in engine.edge.handlers))
        vendor = await engine.vendor.connection()
        await until(lambda: vendor.transport.get_write_buffer_size() > BIG // 4)
        handler = next(iter(engine.edge.handlers))
        assert handler.transport.get_write_buffer_size() < 2 << 20
        client.resume()
        assert len((await read_answer(client)).body) == BIG
        await client.send(request(b"/vendor/x"))
        assert (await read_answer_head(client)).status == 200


class NarrowPool(Pool):
    """Connections whose socket takes little, so that the first write already fills them."""

    async def _connect(self) -> Connection:
        connection = await super()._connect()
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return connection


async def test_a_vendor_that_is_slow_from_the_first_write_holds_the_client_up() -> None:
    async def script(vendor: Vendor, end: End) -> None:
        end.recording = False
        end.pause()
        await go_on.wait()
        end.resume()
        await vendor.next_request(end)
        await end.send(answer(b"read"))

    go_on = asyncio.Event()
    engine = Engine(script)
    engine.make_pool = lambda place: NarrowPool(place, 10, 5)
    async with engine:
        client = await engine.dial()
        client.write(request(b"/vendor/x", b"POST", bytes(BIG)))
        await until(lambda: engine.pool.connections)
        transport = next(iter(engine.pool.connections)).transport
        await until(lambda: client.transport.get_write_buffer_size() and engine.edge.active)
        for _ in range(100):
            await asyncio.sleep(0.001)
            assert transport.get_write_buffer_size() < 2 << 20
        assert client.transport.get_write_buffer_size() > BIG // 4
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        go_on.set()
        assert (await read_answer(client)).body == b"read"
