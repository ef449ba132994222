"""aiohttp on the edge's connections: its private fields, and mixed use of one kept-alive connection."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from gateway.wire.guest import GuestFactory
from tests.engine import Engine, until
from tests.wire.messages import chunks, read_answer, request

pytestmark = pytest.mark.both_loops


async def test_the_private_fields_of_aiohttp_are_what_we_take_them_for() -> None:
    """Fails when a release of aiohttp changes them: see `GuestHandler.at_rest`."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def handle(_: web.BaseRequest) -> web.Response:
        begun.set()
        await finish.wait()
        return web.Response(text="done")

    handler = GuestFactory(web.Server(handle), access_log=None)()
    for field in ("_current_request", "_messages", "_waiter"):
        assert hasattr(handler, field), field
    answered: list[bool] = []
    handler.answered = lambda: answered.append(handler.at_rest)
    assert not handler.at_rest  # not yet connected

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: handler, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await until(lambda: handler.at_rest)  # awaits a message

    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await begun.wait()
    assert not handler.at_rest
    assert handler._current_request is not None
    assert not answered

    finish.set()
    assert (await reader.readuntil(b"done")).startswith(b"HTTP/1.1 200")
    await until(lambda: handler.at_rest)
    assert answered == [False]  # told when the answer is out, before its loop has come round
    assert not handler._messages
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


ORDERS = ["vgv", "gvg", "ggvv", "vvgg"]


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("order", ORDERS)
async def test_one_connection_used_by_both(order: str, pipelined: bool) -> None:
    async with Engine() as engine:
        client = await engine.dial()
        wanted = {"v": (b"/vendor/x", b"ok"), "g": (b"/guest/x", b"guest:body")}
        asked = [request(wanted[who][0], b"POST", b"body") for who in order]
        if pipelined:
            await client.send(b"".join(asked))
        for who, data in zip(order, asked, strict=True):
            if not pipelined:
                await client.send(data)
            answer = await read_answer(client)
            assert (answer.status, answer.body) == (200, wanted[who][1])
        assert engine.guest_calls == [("POST", b"body")] * order.count("g")
        assert [call.body for call in engine.vendor.requests] == [b"body"] * order.count("v")
        assert len(engine.vendor.connections) == 1


@pytest.mark.parametrize("step", [1, 7, 100])
async def test_mixed_requests_cut_anywhere(step: int) -> None:
    async with Engine() as engine:
        client = await engine.dial()
        data = (
            request(b"/guest/a", b"POST", b"0123456789") + request(b"/vendor/b", b"PUT", b"abc") + request(b"/guest/c")
        )
        await client.send_pieces(data, [step, 0] * (len(data) // step + 1))
        assert [(await read_answer(client)).body for _ in range(3)] == [b"guest:0123456789", b"ok", b"guest:"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_big_body_goes_to_aiohttp_whole_and_no_byte_further(chunked: bool) -> None:
    body = bytes(range(256)) * 8192
    async with Engine() as engine:
        client = await engine.dial()
        if chunked:
            pieces = chunks([body[at : at + 70000] for at in range(0, len(body), 70000)], trailers=[(b"A", b"1")])
            data = request(b"/guest/x", b"POST", fields=[(b"Transfer-Encoding", b"chunked")]) + pieces
        else:
            data = request(b"/guest/x", b"POST", body)
        await client.send(data + request(b"/vendor/y"))
        assert (await read_answer(client)).status == 200
        assert (await read_answer(client)).body == b"ok"
        assert engine.guest_calls == [("POST", body)]
        assert engine.vendor.requests[0].target == b"/y"


async def test_bad_chunks_to_aiohttp_end_the_connection_and_reach_no_vendor() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        head = request(b"/guest/x", b"POST", fields=[(b"Transfer-Encoding", b"chunked")])
        await client.send(head + b"3\r\nabc\r\nzz\r\n" + request(b"/vendor/y"))
        answer = await read_answer(client)
        assert (answer.status, answer.value(b"x-gateway-error")) == (400, b"bad_request")
        await client.wait_ended()
        assert not engine.guest_calls
        assert not engine.vendor.connections


async def test_bad_chunks_behind_good_ones_cut_the_connection() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(request(b"/guest/x", b"POST", fields=[(b"Transfer-Encoding", b"chunked")]) + b"3\r\nabc\r\n")
        await until(lambda: any(not handler.idle for handler in engine.edge.handlers))
        await client.send(b"zz\r\n" + request(b"/vendor/y"))
        await client.wait_ended()
        assert not engine.guest_calls
        assert not engine.vendor.connections


async def test_a_half_closed_client_gets_its_answer() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(request(b"/guest/x", b"POST", b"body"))
        client.half_close()
        assert (await read_answer(client)).body == b"guest:body"
        assert await client.wait_ended() == "eof"


async def test_a_client_that_leaves_ends_the_handler() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(request(b"/guest/x", b"POST", b"body")[:-1])
        await until(lambda: any(not handler.idle for handler in engine.edge.handlers))
        client.reset()
        await until(lambda: not engine.edge.handlers)
        assert not engine.guest_calls


async def test_an_offer_to_upgrade_does_not_give_the_connection_away() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        offer = [(b"Connection", b"Upgrade, HTTP2-Settings"), (b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"AA")]
        await client.send(request(b"/guest/x", fields=offer))
        assert (await read_answer(client)).status == 200
        await client.send(request(b"/vendor/x"))
        assert (await read_answer(client)).body == b"ok"


async def test_idle_aiohttp_never_closes_the_connection_itself() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(request(b"/guest/x"))
        await read_answer(client)
        await until(lambda: all(handler.idle for handler in engine.edge.handlers))
        engine.later(engine.limits.idle_timeout - 1)
        await client.send(request(b"/guest/x"))
        assert (await read_answer(client)).status == 200
        await until(lambda: all(handler.idle for handler in engine.edge.handlers))
        engine.later(engine.limits.idle_timeout)
        assert await client.wait_ended() == "eof"
