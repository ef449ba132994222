"""After a 101: bytes both ways untouched, each side closing its own direction, every way to end."""

from __future__ import annotations

import asyncio
import os

import pytest

from gateway.wire.server import Limits
from tests.engine import Engine, until
from tests.wire.ends import End
from tests.wire.messages import answer, head, read_answer, read_answer_head, request
from tests.wire.vendor import Vendor, once

pytestmark = pytest.mark.both_loops

OFFER = [(b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"websocket"), (b"Sec-WebSocket-Key", b"k")]
HANDSHAKE = request(b"/vendor/ws", fields=OFFER)
EXTENSIONS = (b"Sec-WebSocket-Extensions", b"permessage-deflate")
SWITCH = head(
    b"HTTP/1.1 101 Switching Protocols", [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), EXTENSIONS]
)


async def switch(vendor: Vendor, end: End) -> None:
    await vendor.next_request(end)
    await end.send(SWITCH)


async def opened(engine: Engine) -> tuple[End, End]:
    """Both ends of an open tunnel."""
    client = await engine.dial()
    await client.send(HANDSHAKE)
    assert await client.read_exactly(len(SWITCH)) == SWITCH
    return client, await engine.vendor.connection()


async def test_the_handshake_goes_along() -> None:
    async with Engine(switch) as engine:
        await opened(engine)
        seen = engine.vendor.requests[0]
        assert seen.fields[1:] == [(b"Connection", b"Upgrade"), *OFFER[1:]]
        assert engine.records[0].calls[2:] == [
            ("head", 101),
            ("opened", b"permessage-deflate"),
            ("feed", b"", len(SWITCH)),
        ]


async def test_any_bytes_pass_both_ways() -> None:
    async with Engine(switch) as engine:
        client, vendor = await opened(engine)
        up, down = os.urandom(3_000_000), os.urandom(2_000_000)
        received = asyncio.gather(vendor.read_exactly(len(up)), client.read_exactly(len(down)))
        client.write(up)
        vendor.write(down)
        assert [*await received] == [up, down]
        record = engine.records[0]
        assert (record.joined("frames_up"), record.joined("frames_down")) == (up, down)


async def test_bytes_right_behind_the_handshake_and_the_101() -> None:
    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_request(end)
        await end.send(SWITCH + b"first frame")

    async with Engine(script) as engine:
        client = await engine.dial()
        await client.send(HANDSHAKE + b"early frame")
        assert await client.read_exactly(len(SWITCH) + 11) == SWITCH + b"first frame"
        vendor = await engine.vendor.connection()
        assert await vendor.read_exactly(11) == b"early frame"
        record = engine.records[0]
        assert (record.joined("frames_up"), record.joined("frames_down")) == (b"early frame", b"first frame")


async def test_a_refusal_is_an_ordinary_answer() -> None:
    async with Engine(once(answer(b"no", b"403 Forbidden"), then="keep")) as engine:
        client = await engine.dial()
        await client.send(HANDSHAKE + request(b"/guest"))
        message = await read_answer(client)
        assert (message.status, message.body) == (403, b"no")
        assert (await read_answer(client)).body == b"guest:"
        record = await engine.record()
        assert record["end"] == [("complete", 403, "")]
        assert not record["opened"]


@pytest.mark.parametrize("first", ["client", "vendor"])
async def test_each_side_closes_its_own_direction(first: str) -> None:
    async with Engine(switch) as engine:
        ends = await opened(engine)
        one, other = ends if first == "client" else ends[::-1]
        one.half_close()
        assert await other.wait_ended() == "eof"
        await other.send(b"still talking")
        assert await one.read_exactly(13) == b"still talking"
        assert engine.edge.active
        other.half_close()
        assert await one.wait_ended() == "eof"
        assert (await engine.record())["end"] == [("complete", 101, "")]


async def test_a_client_that_is_torn_away() -> None:
    async with Engine(switch) as engine:
        client, vendor = await opened(engine)
        client.reset()
        await vendor.wait_ended()
        assert (await engine.record())["end"] == [("client_left", 101, "")]


async def test_a_vendor_that_is_torn_away() -> None:
    async with Engine(switch) as engine:
        client, vendor = await opened(engine)
        vendor.reset()
        assert await client.wait_ended() == "reset"
        assert (await engine.record())["end"] == [("vendor_truncated", 101, "")]


async def test_the_last_words_of_a_client_reach_the_vendor() -> None:
    async with Engine(switch) as engine:
        client, vendor = await opened(engine)
        vendor.half_close()
        assert await client.wait_ended() == "eof"
        await client.send(b"close frame")
        client.close()
        assert await vendor.read_exactly(11) == b"close frame"
        assert (await engine.record())["end"] == [("complete", 101, "")]


async def test_silence() -> None:
    async with Engine(switch, Limits(idle_timeout=100, answer_timeout=10)) as engine:
        client, vendor = await opened(engine)
        engine.later(99)
        await client.send(b"ping")
        assert await vendor.read_exactly(4) == b"ping"
        engine.later(99)
        assert engine.edge.active
        engine.later(2)
        assert await client.wait_ended() == "reset"
        await vendor.wait_ended()
        assert (await engine.record())["end"] == [("idle_timeout", 101, "")]


async def test_a_tunnel_whose_time_is_over() -> None:
    async with Engine(switch) as engine:
        client, _ = await opened(engine)
        next(iter(engine.edge.active)).cut()
        assert await client.wait_ended() == "reset"
        assert (await engine.record())["end"] == [("limit", 101, "")]


@pytest.mark.parametrize("slow", ["client", "vendor"])
async def test_a_slow_side_holds_the_other_up(slow: str) -> None:
    async with Engine(switch) as engine:
        ends = await opened(engine)
        one, other = ends if slow == "client" else ends[::-1]
        one.recording = other.recording = False
        one.pause()
        size = 32 << 20
        other.write(bytes(size))
        handler = next(iter(engine.edge.handlers))
        exchange = next(iter(engine.edge.active))
        assert exchange.upstream is not None
        transports = handler.transport, exchange.upstream.transport
        await until(lambda: any(transport.get_write_buffer_size() for transport in transports))
        for _ in range(50):
            await asyncio.sleep(0.001)
            assert max(transport.get_write_buffer_size() for transport in transports) < 2 << 20
        assert other.transport.get_write_buffer_size() > size // 4
        one.resume()
        await one.read_exactly(size)


async def test_a_101_that_nobody_asked_for_is_refused() -> None:
    async with Engine(switch) as engine:
        client = await engine.dial()
        await client.send(request(b"/vendor/x", fields=[(b"Connection", b"Upgrade"), (b"Upgrade", b"h2c")]))
        assert (await read_answer_head(client)).status == 502
