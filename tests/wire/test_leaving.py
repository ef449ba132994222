"""Clients that leave: the vendor's connection goes at once, whatever the moment."""

from __future__ import annotations

import asyncio

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import End
from tests.wire.messages import CHUNKED_HEAD, LENGTH_HEAD, OPEN_HEAD, request
from tests.wire.serving import Gateway
from tests.wire.vendor import Vendor, head_only, once

REQUEST = request(b"/echo/x", b"POST", b"hello world", [(b"Authorization", b"Bearer x")])


@pytest.mark.parametrize("at", [1, 10, REQUEST.index(b"hello"), len(REQUEST) - 1, len(REQUEST)])
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_client_that_leaves_while_sending(
    gateway: Gateway, vendor: Vendor, dial: Dial, at: int, how: str
) -> None:
    if at == len(REQUEST) and how == "close":
        return  # a half-closed client: it still gets its answer
    vendor.script = head_only
    client = await dial()
    await client.send(REQUEST[:at])
    if b"\r\n\r\n" in REQUEST[:at]:
        await vendor.wait_for(lambda: bool(vendor.heads))
    getattr(client, how)()
    if vendor.connections:
        await vendor.connections[0].wait_ended()
    assert not vendor.requests
    assert await gateway.settles(lambda: vendor.open_connections == 0)


@pytest.mark.parametrize(
    "sent", [b"HTTP/1.1 20", LENGTH_HEAD, LENGTH_HEAD + b"some", CHUNKED_HEAD + b"4\r\nsome\r\n", OPEN_HEAD + b"s"]
)
async def test_client_that_leaves_while_reading(gateway: Gateway, vendor: Vendor, dial: Dial, sent: bytes) -> None:
    before = await gateway.ends()
    vendor.script = once(sent, then="keep")
    client = await dial()
    await client.send(request())
    await vendor.wait_for(lambda: bool(vendor.requests))
    if b"\r\n\r\n" in sent:
        await client.read_until(b"\r\n\r\n")
    client.reset()
    await vendor.connections[0].wait_ended()
    await gateway.ends_grow("client_left", before)


async def test_client_that_closes_under_a_running_stream(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    """A closed client looks half-closed until it refuses a byte; then the vendor's connection goes, too."""
    before = await gateway.ends()

    async def stream(vendor: Vendor, end: End) -> None:
        await vendor.next_request(end)
        await end.send(CHUNKED_HEAD)
        while not end.ended:
            await end.send(b"4\r\nmore\r\n")
            await asyncio.sleep(0.01)

    vendor.script = stream
    client = await dial()
    await client.send(request())
    await client.read_until(b"more")
    client.close()
    far = vendor.connections[0]
    await far.wait_ended()
    await gateway.ends_grow("client_left", before)


@pytest.mark.parametrize("kind", ["upload", "pipelined"])
async def test_client_that_resets_under_back_pressure(gateway: Gateway, vendor: Vendor, dial: Dial, kind: str) -> None:
    """The gateway has stopped reading (the vendor does not read, or requests wait): still it is missed."""

    async def still(vendor: Vendor, end: End) -> None:
        await vendor.next_head(end)
        end.pause()

    vendor.script = still
    quiet = gateway.descriptors()
    client = await dial()
    upload = request(b"/echo/x", b"POST", None, [(b"Content-Length", b"100000000")])
    client.write(upload + b"u" * 60_000_000 if kind == "upload" else request() * 500_000)
    await vendor.wait_for(lambda: bool(vendor.heads))
    before = 0
    while (now := client.transport.get_write_buffer_size()) != before:
        before = now
        await asyncio.sleep(0.2)
    assert before, "nothing is held back"
    assert gateway.descriptors() > quiet
    client.reset()
    assert await gateway.settles(lambda: gateway.descriptors() <= quiet)
