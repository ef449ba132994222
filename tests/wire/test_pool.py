"""A pooled connection that dies under a request: replaced once, and only where that cannot be seen.

A vendor may close an idle connection at the very moment of its reuse; nothing else allows a second send.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import End, Ended
from tests.wire.messages import answer, chunks, head, read_answer, request
from tests.wire.test_requests import check_error
from tests.wire.vendor import Script, Vendor, once, serve


def dying(*pieces: bytes, then: str = "close", pause: float = 0) -> Script:
    """The first connection answers one request and dies on the second; all later ones serve."""

    async def script(vendor: Vendor, end: End) -> None:
        if end is not vendor.connections[0]:
            await serve(answer(b"fresh"))(vendor, end)
            return
        await vendor.next_request(end)
        await end.send(answer(b"first"))
        await vendor.next_request(end)
        await asyncio.sleep(pause)
        for piece in pieces:
            await end.send(piece)
        getattr(end, then)()

    return script


async def warm(client: End) -> None:
    """Leave a connection in the pool."""
    await client.send(request())
    assert (await read_answer(client)).body == b"first"


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("body", [None, b"", b"x", b"x" * 65536])
async def test_pooled_connection_that_dies_is_replaced_once(
    vendor: Vendor, dial: Dial, body: bytes | None, then: str
) -> None:
    vendor.script = dying(then=then)
    client = await dial()
    await warm(client)
    await client.send(request(b"/echo/second", b"POST", body))
    message = await read_answer(client)
    assert (message.status, message.body) == (200, b"fresh")
    assert [(one.target, one.body) for one in vendor.requests] == [(b"/x", b"")] + 2 * [(b"/second", body or b"")]
    assert len(vendor.connections) == 2


async def test_chunked_request_in_hand_is_replaced_whole(vendor: Vendor, dial: Dial) -> None:
    vendor.script = dying()
    client = await dial()
    await warm(client)
    start = head(b"POST /echo/second HTTP/1.1", [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")])
    await client.send(start + chunks([b"one", b"two"], [(b"X-Sum", b"9")]))
    message = await read_answer(client)
    if message.status == 200:
        assert vendor.requests[2].body == b"onetwo"
        assert vendor.requests[2].trailers == [(b"X-Sum", b"9")]
    else:
        check_error(message, 502, "bad_upstream_reply")
        assert len(vendor.requests) == 2


async def test_pooled_connection_that_died_while_idle_costs_nothing(vendor: Vendor, dial: Dial) -> None:
    """Whatever the size of the body: the pool knows that it is gone."""
    vendor.script = once(answer(b"first"))
    client = await dial()
    await warm(client)
    await vendor.connections[0].wait_lost()
    vendor.script = serve(answer(b"fresh"))
    await client.send(request(b"/echo/second", b"POST", b"x" * 1_000_000))
    assert (await read_answer(client)).body == b"fresh"
    assert len(vendor.requests) == 2


@pytest.mark.parametrize(
    "pieces", [[b"H"], [b"HTTP/1.1 200 OK\r\n"], [head(b"HTTP/1.1 103 Early Hints", [(b"Link", b"x")])]]
)
async def test_after_a_byte_of_the_answer_nothing_is_sent_again(
    vendor: Vendor, dial: Dial, pieces: list[bytes]
) -> None:
    vendor.script = dying(*pieces)
    client = await dial()
    await warm(client)
    await client.send(request(b"/echo/second"))
    try:
        check_error(await read_answer(client), 502, "bad_upstream_reply")
    except Ended:
        assert b" 103 " in pieces[0]
    assert len(vendor.requests) == 2


async def test_nothing_is_sent_a_third_time(vendor: Vendor, dial: Dial) -> None:
    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_request(end)
        if end is vendor.connections[0]:
            await end.send(answer(b"first"))
            await vendor.next_request(end)
        end.close()

    vendor.script = script
    client = await dial()
    await warm(client)
    await client.send(request(b"/echo/second"))
    check_error(await read_answer(client), 502, "bad_upstream_reply")
    assert len(vendor.connections) == 2
    assert len(vendor.requests) == 3


async def test_several_dead_pooled_connections_are_not_tried_in_turn(vendor: Vendor, dial: Dial) -> None:
    """The replacement is a fresh connection, not the next one of the pool."""
    barrier = asyncio.Event()

    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_request(end)
        if len(vendor.connections) <= 4:
            await barrier.wait()
            await end.send(answer(b"first"))
            await vendor.next_request(end)
            end.close()
        else:
            await end.send(answer(b"fresh"))

    vendor.script = script
    clients = [await dial() for _ in range(4)]
    for client in clients:
        await client.send(request())
    await vendor.wait_for(lambda: len(vendor.connections) == 4)
    barrier.set()
    for client in clients:
        assert (await read_answer(client)).body == b"first"
    await clients[0].send(request(b"/echo/second"))
    assert (await read_answer(clients[0])).body == b"fresh"
    assert [message.target for message in vendor.requests].count(b"/second") == 2


async def test_long_after_the_send_nothing_is_sent_again(vendor: Vendor, dial: Dial) -> None:
    """The vendor may have worked on it for more than a second: a second send could be a second charge."""
    vendor.script = dying(pause=1.5)
    client = await dial()
    await warm(client)
    await client.send(request(b"/echo/second", b"POST", b"x"))
    check_error(await read_answer(client), 502, "bad_upstream_reply")
    assert len(vendor.requests) == 2


async def test_large_body_is_not_sent_again(vendor: Vendor, dial: Dial) -> None:
    vendor.script = dying()
    client = await dial()
    await warm(client)
    await client.send(request(b"/echo/second", b"POST", b"x" * 300_000))
    check_error(await read_answer(client), 502, "bad_upstream_reply")
    assert len(vendor.connections) == 1


async def test_partly_streamed_body_is_not_sent_again(vendor: Vendor, dial: Dial) -> None:
    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_request(end)
        await end.send(answer(b"first"))
        await vendor.next_head(end)
        await end.read_exactly(5)
        end.close()

    vendor.script = script
    client = await dial()
    await warm(client)
    await client.send(request(b"/echo/second", b"POST", None, [(b"Content-Length", b"10")]) + b"first")
    check_error(await read_answer(client), 502, "bad_upstream_reply")
    assert len(vendor.connections) == 1
