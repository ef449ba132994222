"""Memory per exchange is bounded, whatever the size of the bodies and however slow the readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import blake2b

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import End
from tests.wire.messages import answer, head, read_answer_head, request
from tests.wire.serving import Gateway
from tests.wire.vendor import Vendor, once

MIB = 1 << 20
SIZE = 256 * MIB
BLOCK = bytes(range(256)) * 1024  # 256 KiB
BLOCKS = SIZE // len(BLOCK)
ALLOWED = 16 * 1024  # KiB
STREAMS = 2000


def whole_digest() -> str:
    digest = blake2b()
    for _ in range(BLOCKS):
        digest.update(BLOCK)
    return digest.hexdigest()


async def read_body(end: End, chunked: bool) -> str:
    """The digest of the body of `SIZE` bytes."""
    digest = blake2b()
    left = SIZE
    while left:
        size = int(await end.read_until(b"\r\n"), 16) if chunked else left
        left -= size
        while size:
            await end.wait_bytes()
            piece = await end.read_exactly(min(size, len(end.buffer)))
            digest.update(piece)
            size -= len(piece)
        if chunked:
            assert await end.read_exactly(2) == b"\r\n"
    return digest.hexdigest()


async def write_body(end: End, chunked: bool) -> None:
    framed = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK
    for _ in range(BLOCKS):
        await end.send(framed)
    if chunked:
        await end.send(b"0\r\n\r\n")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_quarter_of_a_gigabyte_up_and_down(
    gateway: Gateway, vendor: Vendor, dial: Dial, chunked: bool, record_property: Callable[[str, object], None]
) -> None:
    """Through one exchange on a path that is metered, too."""
    framing = (b"Transfer-Encoding", b"chunked") if chunked else (b"Content-Length", b"%d" % SIZE)
    digests = []

    async def mirror(vendor: Vendor, end: End) -> None:
        end.recording = False
        await vendor.next_head(end)
        digests.append(await read_body(end, chunked))
        await end.send(head(b"HTTP/1.1 200 OK", [(b"Content-Type", b"application/json"), framing]))
        await write_body(end, chunked)

    vendor.script = mirror
    client = await dial()
    client.recording = False
    gateway.forget_peak()
    memory = gateway.memory()
    await client.send(head(b"POST /echo/v1/chat/completions HTTP/1.1", [(b"Host", b"a"), framing]))
    await write_body(client, chunked)
    assert (await read_answer_head(client)).status == 200
    digests.append(await read_body(client, chunked))
    assert digests == [whole_digest()] * 2
    growth = gateway.peak_memory() - memory
    record_property("growth_kib", growth)
    assert growth < ALLOWED, "KiB"


async def test_reader_that_stands_still_holds_the_writer_back(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    """Neither direction is buffered beyond a bound; what is sent stays in the kernel's buffers of the sender."""
    gateway.forget_peak()
    memory = gateway.memory()
    framing = (b"Content-Length", b"%d" % SIZE)

    async def still(vendor: Vendor, end: End) -> None:
        await vendor.next_head(end)
        end.pause()
        await end.send(head(b"HTTP/1.1 200 OK", [framing]))
        end.write(b"d" * (64 * MIB))

    vendor.script = still
    clients = []
    for _ in range(3):
        client = await dial(receive_buffer=16384)
        await client.send(head(b"POST /echo/x HTTP/1.1", [(b"Host", b"a"), framing]))
        await read_answer_head(client)
        client.pause()
        client.write(b"u" * (64 * MIB))
        clients.append(client)
    await standing_still(clients + vendor.connections)
    assert all(end.transport.get_write_buffer_size() > 16 * MIB for end in clients + vendor.connections)
    assert gateway.peak_memory() - memory < ALLOWED, "KiB"


async def standing_still(ends: list[End]) -> None:
    """Until nobody can write any more."""
    before = -1
    while (now := sum(end.transport.get_write_buffer_size() for end in ends)) != before:
        before = now
        await asyncio.sleep(0.2)


async def test_thousands_of_open_streams(
    gateway: Gateway, vendor: Vendor, dial: Dial, record_property: Callable[[str, object], None]
) -> None:
    first = head(b"HTTP/1.1 200 OK", [(b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked")])
    event = b'2a\r\ndata: {"choices":[{"delta":{"content":"."}}]}'[:46] + b"\r\n"
    assert len(event) == 4 + 0x2A + 2
    vendor.script = once(first + event, then="keep")
    warm = [await opened(dial) for _ in range(50)]
    memory = gateway.memory()
    streams = [await opened(dial) for _ in range(STREAMS)]
    each = (gateway.memory() - memory) / STREAMS
    record_property("kib_a_stream", each)
    print(f"{each:.1f} KiB a stream")
    assert each < 24, "KiB"
    for far in vendor.connections:
        await far.send(event + b"0\r\n\r\n")
    for client in warm + streams:
        await client.read_until(b"\r\n0\r\n\r\n")
    assert len(vendor.connections) == STREAMS + len(warm)


async def opened(dial: Dial) -> End:
    """A stream that has begun."""
    client = await dial()
    await client.send(request(b"/echo/v1/chat/completions", b"POST", b'{"model":"m","stream":true}'))
    await client.read_until(b"data: ")
    return client


async def test_many_exchanges_leave_no_memory_behind(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    """Different paths, models and headers each time: nothing that a client sends may be remembered for ever."""

    async def exchange(client: End, number: int) -> None:
        body = b'{"model":"model-%d"}' % number
        path = b"/echo/v%d/chat/completions?x=%d" % (number, number)
        await client.send(request(path, b"POST", body, [(b"X-Number", b"%d" % number * 50)]))
        await client.read_until(b"}")

    async def script(vendor: Vendor, end: End) -> None:
        end.recording = False
        while (message := await vendor.next_request(end)) is not None:
            vendor.requests.clear()
            vendor.heads.clear()
            model = message.body[10:-2]
            await end.send(answer(b'{"model":"%s","usage":[]}' % model))

    vendor.script = script
    client = await dial()
    client.recording = False
    for number in range(4000):
        await exchange(client, number)
    memory = gateway.memory()
    for number in range(4000, 12000):
        await exchange(client, number)
    assert gateway.memory() - memory < 2 * 1024, "KiB"
