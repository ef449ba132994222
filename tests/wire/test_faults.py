"""What goes wrong between client and vendor, and what each of them sees of it."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import RESET, End, Ended, connect
from tests.wire.messages import Garbled, answer, chunks, head, read_answer, read_answer_head, request
from tests.wire.serving import Gateway, free_port
from tests.wire.test_requests import check_error
from tests.wire.vendor import Script, Vendor, head_only, once, serve

REFUSING = free_port()
PROVIDERS = {
    "refusing": {"base_url": f"http://127.0.0.1:{REFUSING}"},
    "refusing6": {"base_url": f"http://[::1]:{REFUSING}"},
    "nowhere": {"base_url": "http://no-such-host.invalid"},
}
CHUNKED_HEAD = head(b"HTTP/1.1 200 OK", [(b"Transfer-Encoding", b"chunked")])
LENGTH_HEAD = head(b"HTTP/1.1 200 OK", [(b"Content-Length", b"100")])
OPEN_HEAD = head(b"HTTP/1.1 200 OK", [])


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
    "sent", [LENGTH_HEAD + b"some", CHUNKED_HEAD + b"4\r\nsome\r\n", CHUNKED_HEAD + b"9\r\nsome", CHUNKED_HEAD + b"4\r\nsome\r\n0\r\n",
             LENGTH_HEAD + b"x" * 99, CHUNKED_HEAD + b"4\r\nsome\r\n0\r\nX: y\r\n"],
)
async def test_truncated_answer_is_cut_visibly(gateway: Gateway, vendor: Vendor, dial: Dial, sent: bytes, then: str) -> None:
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


# pooled connections


def dying(*pieces: bytes, then: str = "close", pause: float = 0) -> Script:
    """The first connection answers one request and dies on the second; all later ones serve."""

    async def script(vendor: Vendor, end: End) -> None:
        if end is not vendor.connections[0]:
            return await serve(answer(b"fresh"))(vendor, end)
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
async def test_pooled_connection_that_dies_is_replaced_once(vendor: Vendor, dial: Dial, body: bytes | None, then: str) -> None:
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
async def test_after_a_byte_of_the_answer_nothing_is_sent_again(vendor: Vendor, dial: Dial, pieces: list[bytes]) -> None:
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


# clients that leave


REQUEST = request(b"/echo/x", b"POST", b"hello world", [(b"Authorization", b"Bearer x")])


@pytest.mark.parametrize("at", [1, 10, REQUEST.index(b"hello"), len(REQUEST) - 1, len(REQUEST)])
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_client_that_leaves_while_sending(gateway: Gateway, vendor: Vendor, dial: Dial, at: int, how: str) -> None:
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


@pytest.mark.parametrize("sent", [b"HTTP/1.1 20", LENGTH_HEAD, LENGTH_HEAD + b"some", CHUNKED_HEAD + b"4\r\nsome\r\n", OPEN_HEAD + b"s"])
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
        replies = [answer(b"x" * 2000), CHUNKED_HEAD + chunks([b"a" * 100, b"b" * 3000]), OPEN_HEAD + b"z" * 500, CHUNKED_HEAD + b"zz\r\n",
                   b"garbage\r\n\r\n", head(b"HTTP/1.1 103 Early Hints", []) + answer(b"y"), LENGTH_HEAD + b"short"]
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
                start = head(b"POST /echo/v1/chat/completions HTTP/1.1", [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")])
                raw = dice.choice([
                    request(), request(b"/echo/x", b"POST", b"b" * dice.randrange(100_000)), start + chunks([b"one", b"two"]), start + b"zz\r\n",
                    request(b"/healthz"), b"GET /echo/x HTTP/1.1\r\nbad header\r\n\r\n", request(b"/refusing/x"),
                ])
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

    async def quiet() -> int:
        """Descriptors once vendors and clients are gone."""
        for end in list(vendor.connections):
            end.reset()
        await gateway.settles(lambda: vendor.open_connections == 0)
        return gateway.descriptors()

    async def storm(count: int) -> None:
        await asyncio.gather(*(rounds(count) for _ in range(20)))

    await storm(20)
    descriptors, memory = await quiet(), gateway.memory()
    await storm(130)
    await quiet()
    assert await gateway.settles(lambda: gateway.descriptors() <= descriptors), (gateway.descriptors(), descriptors)
    assert gateway.memory() - memory < 8 * 1024, "KiB"
    assert await gateway.metric("gateway_upstream_connections", provider="echo") == 0
    vendor.script = serve()
    client = await dial()
    await client.send(request())
    assert (await read_answer(client)).body == b"ok"
