"""Too many connections are refused at once and in words."""

from __future__ import annotations

import asyncio

import pytest

from tests.wire.conftest import Dial, Start
from tests.wire.ends import End
from tests.wire.messages import answer, head, read_answer, read_answer_head, request
from tests.wire.serving import Gateway
from tests.wire.test_requests import check_error
from tests.wire.vendor import Vendor, once, serve


async def begun(gateway: Gateway, dial: Dial) -> End:
    """An exchange whose answer has begun and does not end."""
    client = await dial(gateway.port)
    await client.send(request())
    await read_answer_head(client)
    return client


@pytest.fixture
def endless() -> bytes:
    return head(b"HTTP/1.1 200 OK", [(b"Content-Length", b"2")])


async def test_past_the_vendors_limit(start: Start, dial: Dial, endless: bytes) -> None:
    gateway = start()
    gateway.providers["echo"]["max_connections"] = 3
    gateway.stop()
    gateway.start()
    async with Vendor(gateway.vendor_port, once(endless, then="keep")) as vendor:
        running = [await begun(gateway, dial) for _ in range(3)]
        client = await dial(gateway.port)
        await client.send(request(b"/echo/x", b"POST", b"body"))
        check_error(await read_answer(client), 503, "overloaded")
        assert len(vendor.connections) == 3
        vendor.script = serve()
        running[0].reset()
        await vendor.connections[0].wait_ended()
        await client.send(request())
        assert (await read_answer(client)).status == 200
        for end, far in zip(running[1:], vendor.connections[1:3], strict=True):
            await far.send(b"ok")
            assert await end.read_exactly(2) == b"ok"


async def test_past_the_servers_limit(start: Start, dial: Dial, endless: bytes) -> None:
    gateway = start({"max_connections": 3})
    async with Vendor(gateway.vendor_port, once(endless, then="keep")) as vendor:
        running = [await begun(gateway, dial) for _ in range(3)]
        for _ in range(3):
            client = await dial(gateway.port)
            await client.send(request())
            check_error(await read_answer(client), 503, "overloaded")
            await client.wait_ended()
            client.close()  # the gateway may linger for a moment so that the refusal is read
            await client.wait_lost()
        assert len(vendor.connections) == 3
        running.pop().reset()
        await vendor.connections[2].wait_ended()
        vendor.script = serve(answer(b"room"))
        async with asyncio.timeout(5):
            while True:
                client = await dial(gateway.port)
                await client.send(request())
                if (await read_answer(client)).body == b"room":
                    break
                await client.wait_ended()
                client.close()


async def test_idle_pooled_connections_do_not_count_against_other_clients(start: Start, dial: Dial) -> None:
    """The limit is full of idle connections, which are there to be used."""
    gateway = start()
    gateway.providers["echo"]["max_connections"] = 1
    gateway.stop()
    gateway.start()
    async with Vendor(gateway.vendor_port) as vendor:
        for _ in range(5):
            client = await dial(gateway.port)
            await client.send(request())
            assert (await read_answer(client)).status == 200
        assert len(vendor.connections) == 1
