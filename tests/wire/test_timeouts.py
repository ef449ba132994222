"""Stalls, with every limit of the configuration at a second."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import End
from tests.wire.messages import head, read_answer, read_answer_head, request
from tests.wire.serving import Gateway, free_port
from tests.wire.test_requests import check_error
from tests.wire.vendor import Vendor, head_only, once

SERVER = {"connect_timeout": 1, "head_timeout": 1, "answer_timeout": 2, "idle_timeout": 1}
DEAF = free_port()
PROVIDERS = {"deaf": {"base_url": f"http://127.0.0.1:{DEAF}"}, "mute": {"base_url": f"https://127.0.0.1:{DEAF}"}}


@pytest.fixture
def deaf() -> Iterator[list[socket.socket]]:
    """A port whose queue is full: the kernel drops what knocks."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", DEAF))
    listener.listen(0)
    knocking = [listener]
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", DEAF))
        knocking.append(one)
    yield knocking
    for one in knocking:
        one.close()


async def test_vendor_that_does_not_accept(dial: Dial, deaf: list[socket.socket]) -> None:
    client = await dial()
    await client.send(request(b"/deaf/x", b"POST", b"body"))
    check_error(await read_answer(client), 504, "upstream_timeout")


async def test_vendor_that_does_not_shake_hands(dial: Dial) -> None:
    """The port answers, TLS does not."""
    async with Vendor(DEAF, head_silent):
        client = await dial()
        await client.send(request(b"/mute/x"))
        check_error(await read_answer(client), 504, "upstream_timeout")


async def head_silent(vendor: Vendor, end: End) -> None:
    await end.wait_ended()


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\nX: "])
async def test_vendor_that_does_not_answer(vendor: Vendor, dial: Dial, before: bytes) -> None:
    vendor.script = once(*([before] if before else []), then="keep")
    client = await dial()
    await client.send(request(b"/echo/x", b"POST", b"body"))
    check_error(await read_answer(client), 504, "upstream_timeout")
    await vendor.connections[0].wait_ended()
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        head(b"HTTP/1.1 200 OK", [(b"Content-Length", b"100")]) + b"some",
        head(b"HTTP/1.1 200 OK", []) + b"some",
        head(b"HTTP/1.1 200 OK", [(b"Transfer-Encoding", b"chunked")]) + b"4\r\nsome\r\n",
    ],
)
async def test_vendor_that_stalls_in_the_body_is_cut_visibly(
    gateway: Gateway, vendor: Vendor, dial: Dial, reply: bytes
) -> None:
    before = await gateway.ends()
    vendor.script = once(reply, then="keep")
    client = await dial()
    await client.send(request())
    await client.read_until(b"some")
    assert b"0\r\n\r\n" not in await client.read_to_end()
    assert client.ended == "reset" or b"Content-Length" in reply or b"chunked" in reply
    await vendor.connections[0].wait_ended()
    await gateway.ends_grow("idle_timeout", before)


async def test_client_that_stalls_in_its_upload(vendor: Vendor, dial: Dial) -> None:
    vendor.script = head_only
    client = await dial()
    await client.send(request(b"/echo/x", b"POST", None, [(b"Content-Length", b"10")]) + b"half")
    await (await vendor.connection()).wait_ended()
    await client.wait_ended()
    assert not vendor.requests
    assert not client.raw.startswith(b"HTTP/1.1 2")


async def test_slow_but_steady_stream_lives_on(vendor: Vendor, dial: Dial) -> None:
    """The idle limit counts from the last byte, in either direction."""
    pieces = 6

    async def steady(vendor: Vendor, end: End) -> None:
        await vendor.next_request(end)
        await end.send(head(b"HTTP/1.1 200 OK", [(b"Content-Length", b"%d" % pieces)]))
        for _ in range(pieces):
            await asyncio.sleep(0.4)
            await end.send(b"x")

    vendor.script = steady
    client = await dial()
    await client.send(request())
    assert (await read_answer(client)).body == b"x" * pieces


async def test_slow_but_steady_upload_lives_on(vendor: Vendor, dial: Dial) -> None:
    client = await dial()
    await client.send(request(b"/echo/x", b"POST", None, [(b"Content-Length", b"6")]))
    for _ in range(6):
        await asyncio.sleep(0.4)
        await client.send(b"x")
    assert (await read_answer(client)).status == 200


@pytest.mark.parametrize("sent", [b"G", b"GET /echo/x HTTP/1.1\r\n", b"GET /echo/x HTTP/1.1\r\nHost: a\r\nX: "])
async def test_head_that_does_not_come(vendor: Vendor, dial: Dial, sent: bytes) -> None:
    client = await dial()
    await client.send(sent)
    check_error(await read_answer(client), 408, "request_timeout")
    assert await client.read_to_end() == b""
    assert not vendor.connections


async def test_head_that_drips(vendor: Vendor, dial: Dial) -> None:
    """The limit is for the whole head: a byte now and then does not prolong it."""
    client = await dial()

    async def drip() -> None:
        for byte in request():
            client.write(bytes([byte]))
            await asyncio.sleep(0.2)

    dripping = asyncio.create_task(drip())
    try:
        check_error(await read_answer(client), 408, "request_timeout")
    finally:
        dripping.cancel()
    assert not vendor.connections


async def test_second_head_that_does_not_come(vendor: Vendor, dial: Dial) -> None:
    client = await dial()
    await client.send(request() + b"GET /echo/second HTTP")
    assert (await read_answer(client)).status == 200
    check_error(await read_answer(client), 408, "request_timeout")


async def test_client_that_stops_reading_is_let_go(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    """Back-pressure is not for ever: an exchange on which no byte moves ends, and frees the vendor."""

    async def flood(vendor: Vendor, end: End) -> None:
        await vendor.next_request(end)
        await end.send(head(b"HTTP/1.1 200 OK", []))
        while not end.ended:
            await end.send(b"x" * 1_000_000)

    vendor.script = flood
    client = await dial(receive_buffer=8192)
    await client.send(request())
    await read_answer_head(client)
    client.pause()
    await vendor.connections[0].wait_ended()
