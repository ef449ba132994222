"""What goes wrong between client and vendor, and what each of them sees of it."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import RESET, End, Ended, connect
from tests.wire.messages import (
    CHUNKED_HEAD,
    LENGTH_HEAD,
    OPEN_HEAD,
    Garbled,
    answer,
    chunks,
    head,
    read_answer,
    read_answer_head,
    request,
)
from tests.wire.serving import Gateway, free_port
from tests.wire.test_requests import check_error
from tests.wire.vendor import Vendor, once, serve

REFUSING = free_port()
PROVIDERS = {
    "refusing": {"base_url": f"http://127.0.0.1:{REFUSING}"},
    "refusing6": {"base_url": f"http://[::1]:{REFUSING}"},
    "nowhere": {"base_url": "http://no-such-host.invalid"},
}


@pytest.mark.parametrize("provider", [b"refusing", b"refusing6", b"nowhere"])
async def test_unreachable_vendor(dial: Dial, provider: bytes) -> None:
    client = await dial()
    for body in (None, b"body", b"x" * 1_000_000):
        await client.send(request(b"/" + provider + b"/x", b"POST", body))
        message = await read_answer(client)
        check_error(message, 502, "upstream_unreachable")
        if client.ended or message.values(b"connection"):
            client = await dial()


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nX: y\r\n"])
async def test_no_answer_on_a_fresh_connection_is_not_tried_again(
    vendor: Vendor, dial: Dial, sent: bytes, then: str
) -> None:
    vendor.script = once(*([sent] if sent else []), then=then)
    for number in range(20):  # whether bytes and reset are seen together is a matter of chance
        client = await dial()
        await client.send(request())
        check_error(await read_answer(client), 502, "bad_upstream_reply")
        assert len(vendor.connections) == len(vendor.requests) == number + 1


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    "sent",
    [
        LENGTH_HEAD + b"some",
        CHUNKED_HEAD + b"4\r\nsome\r\n",
        CHUNKED_HEAD + b"9\r\nsome",
        CHUNKED_HEAD + b"4\r\nsome\r\n0\r\n",
        LENGTH_HEAD + b"x" * 99,
        CHUNKED_HEAD + b"4\r\nsome\r\n0\r\nX: y\r\n",
    ],
)
async def test_truncated_answer_is_cut_visibly(
    gateway: Gateway, vendor: Vendor, dial: Dial, sent: bytes, then: str
) -> None:
    before = await gateway.ends()
    vendor.script = once(sent, then="keep")
    client = await dial()
    await client.send(request())
    await read_answer_head(client)
    await client.wait_bytes()
    getattr(vendor.connections[0], then)()
    rest = await client.read_to_end()
    assert not rest.endswith(b"\r\n0\r\n\r\n")
    assert sent.endswith(rest[-4:])
    await gateway.ends_grow("vendor_truncated", before)


async def test_reset_answer_that_ends_by_close_is_reset(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    """A clean end would look complete to the client."""
    before = await gateway.ends()
    vendor.script = once(OPEN_HEAD + b"some", then="keep")
    client = await dial()
    await client.send(request())
    await client.read_until(b"some")
    vendor.connections[0].reset()
    assert await client.wait_ended() == RESET
    await gateway.ends_grow("vendor_truncated", before)


@pytest.mark.parametrize("sent", [LENGTH_HEAD + b"some", CHUNKED_HEAD + b"4\r\nsome\r\n"])
async def test_truncated_answer_to_an_http_1_0_client_is_reset_where_close_is_the_end(
    vendor: Vendor, dial: Dial, sent: bytes
) -> None:
    vendor.script = once(sent, then="keep")
    client = await dial()
    await client.send(b"GET /echo/x HTTP/1.0\r\nHost: a\r\n\r\n")
    await client.read_until(b"some")
    vendor.connections[0].close()
    ended = await client.wait_ended()
    assert ended == RESET or b"Content-Length: 100\r\n" in client.raw


async def test_complete_exchanges_end_complete(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    before = await gateway.ends()
    vendor.script = serve(lambda message: CHUNKED_HEAD + chunks([message.body, b"!"]))
    client = await dial()
    for _ in range(3):
        await client.send(request(b"/echo/x", b"POST", b"hello"))
        assert (await read_answer(client)).body == b"hello!"
    await gateway.ends_grow("complete", before, 3)


# paces


async def test_slow_client_gets_everything(vendor: Vendor, dial: Dial) -> None:
    body = random.Random(1).randbytes(8_000_000)
    vendor.script = serve(answer(body))
    client = await dial(receive_buffer=8192)
    await client.send(request())
    await read_answer_head(client)
    got = bytearray()
    while len(got) < len(body):
        client.pause()
        await asyncio.sleep(0.001)
        client.resume()
        got += await client.read_some()
    assert got == body


async def test_slow_vendor_gets_everything(vendor: Vendor, dial: Dial) -> None:
    body = random.Random(2).randbytes(8_000_000)

    async def slow(vendor: Vendor, end: End) -> None:
        await vendor.next_head(end)
        got = bytearray()
        while len(got) < len(body):
            end.pause()
            await asyncio.sleep(0.001)
            end.resume()
            got += await end.read_some()
        await end.send(answer(b"same" if got == body else b"other"))

    vendor.script = slow
    client = await dial()
    await client.send(request(b"/echo/x", b"POST", body))
    assert (await read_answer(client)).body == b"same"


# all of it, at random


class Chaos:
    """One random way for an exchange to go, played by both ends."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    async def vendor(self, vendor: Vendor, end: End) -> None:
        dice = self.dice
        replies = [
            answer(b"x" * 2000),
            CHUNKED_HEAD + chunks([b"a" * 100, b"b" * 3000]),
            OPEN_HEAD + b"z" * 500,
            CHUNKED_HEAD + b"zz\r\n",
            b"garbage\r\n\r\n",
            head(b"HTTP/1.1 103 Early Hints", []) + answer(b"y"),
            LENGTH_HEAD + b"short",
        ]
        early = False
        while not early:
            early = dice.random() < 0.2  # answers before the upload ends, and does not go on
            if await (vendor.next_head(end) if early else vendor.next_request(end)) is None:
                return None
            reply = dice.choice(replies)
            if dice.random() < 0.5:
                reply = reply[: dice.randrange(len(reply))]
            await end.send_pieces(reply, [dice.randrange(400) for _ in range(3)])
            match dice.randrange(4):
                case 0:
                    return end.reset()
                case 1:
                    return end.close()
                case 2 if reply.startswith(OPEN_HEAD):
                    return end.close()
        return None

    async def client(self, port: int) -> None:
        dice = self.dice
        end = await connect(port)
        try:
            for _ in range(dice.randrange(1, 4)):
                start = head(
                    b"POST /echo/v1/chat/completions HTTP/1.1", [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")]
                )
                raw = dice.choice(
                    [
                        request(),
                        request(b"/echo/x", b"POST", b"b" * dice.randrange(100_000)),
                        start + chunks([b"one", b"two"]),
                        start + b"zz\r\n",
                        request(b"/healthz"),
                        b"GET /echo/x HTTP/1.1\r\nbad header\r\n\r\n",
                        request(b"/refusing/x"),
                    ]
                )
                if dice.random() < 0.3:
                    raw = raw[: dice.randrange(len(raw))]
                await end.send_pieces(raw, [dice.randrange(200) for _ in range(3)])
                async with asyncio.timeout(0.02):
                    await read_answer(end)
        except (Ended, Garbled, TimeoutError):
            pass
        finally:
            if dice.random() < 0.5:
                end.reset()
            else:
                end.close()
            await end.wait_lost()


async def test_thousands_of_faults_leave_nothing_behind(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    chaos = Chaos(20)
    vendor.script = chaos.vendor

    async def rounds(count: int) -> None:
        for _ in range(count):
            await chaos.client(gateway.port)
        for end in vendor.connections:
            end.raw.clear()

    def all_quiet() -> bool:
        """Half-closed clients may still wait for an answer, even over a replaced connection: end all of them."""
        for end in vendor.connections:
            if not end.ended:
                end.reset()
        return gateway.descriptors() <= descriptors

    async def storm(count: int) -> None:
        await asyncio.gather(*(rounds(count) for _ in range(20)))

    descriptors = gateway.descriptors()
    await storm(20)
    assert await gateway.settles(all_quiet), (gateway.descriptors(), descriptors)
    memory = gateway.memory()
    await storm(130)
    assert await gateway.settles(all_quiet), (gateway.descriptors(), descriptors)
    assert gateway.memory() - memory < 8 * 1024, "KiB"
    assert await gateway.metric("gateway_upstream_connections", provider="echo") == 0
    vendor.script = serve()
    client = await dial()
    await client.send(request())
    assert (await read_answer(client)).body == b"ok"
