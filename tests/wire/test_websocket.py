"""WebSockets: the handshake is forwarded, and after the 101 bytes flow both ways untouched."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import struct
import zlib

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import End
from tests.wire.messages import Fields, Message, answer, head, parse_answer_head, read_answer, read_answer_head, request
from tests.wire.serving import Gateway
from tests.wire.test_requests import check_error
from tests.wire.vendor import Vendor

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
HANDSHAKE: Fields = [
    (b"Connection", b"keep-alive, Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", KEY),
    (b"Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits"),
    (b"sec-websocket-PROTOCOL", b"realtime, openai-insecure-api-key.x"),
    (b"Authorization", b"Bearer x"),
    (b"Origin", b"https://a.test"),
]


def accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def switching(extra: Fields | None = None) -> bytes:
    fields = [
        (b"upgrade", b"WebSocket"),
        (b"CONNECTION", b"Upgrade"),
        (b"Sec-WebSocket-Accept", accept(KEY)),
        *(extra or []),
    ]
    return head(b"HTTP/1.1 101 Switching Protocols", fields)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = False, rsv: int = 0) -> bytes:
    out = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    length = len(payload)
    bit = 0x80 if mask else 0
    if length < 126:
        out += bytes([bit | length])
    elif length < 65536:
        out += struct.pack("!BH", bit | 126, length)
    else:
        out += struct.pack("!BQ", bit | 127, length)
    if not mask:
        return out + payload
    key = os.urandom(4)
    return out + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def deflated(payload: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-15)
    return (squeezer.compress(payload) + squeezer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


async def upgraded(vendor: Vendor, end: End) -> None:
    """A script that says 101 and leaves the rest to the test."""
    await vendor.next_head(end)
    await end.send(switching())


async def opened(vendor: Vendor, client: End) -> End:
    """Shake hands; the vendor's end."""
    vendor.script = upgraded
    await client.send(request(b"/echo/v1/realtime?model=m", fields=HANDSHAKE))
    assert (await read_answer_head(client)).status == 101
    return vendor.connections[-1]


async def test_handshake_passes_with_its_headers(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    client = await dial()
    extra = [
        (b"Sec-WebSocket-Extensions", b"permessage-deflate"),
        (b"Sec-WebSocket-Protocol", b"realtime"),
        (b"X-A", b"1"),
        (b"x-a", b"2"),
    ]

    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_head(end)
        await end.send(switching(extra))

    vendor.script = script
    await client.send(request(b"/echo/v1/realtime?model=m&x=%2F", fields=HANDSHAKE))
    message = await read_answer_head(client)
    assert message.line[1:] == (b"101", b"Switching Protocols")
    check_switching(message, extra)
    seen = vendor.heads[0]
    assert seen.target == b"/v1/realtime?model=m&x=%2F"
    assert seen.value(b"upgrade").lower() == b"websocket"
    assert seen.value(b"connection").lower() == b"upgrade"
    rest = [(name, value) for name, value in seen.fields if name.lower() not in (b"connection", b"upgrade")]
    assert rest == [(b"Host", b"127.0.0.1:%d" % gateway.vendor_port), *HANDSHAKE[2:]]


def check_switching(message: Message, extra: Fields) -> None:
    assert message.value(b"upgrade").lower() == b"websocket"
    assert message.value(b"connection").lower() == b"upgrade"
    assert message.value(b"sec-websocket-accept") == accept(KEY)
    assert [field for field in message.fields if field in extra] == extra


@pytest.mark.parametrize(
    "status",
    [
        b"401 Unauthorized",
        b"403 Forbidden",
        b"404 Not Found",
        b"426 Upgrade Required",
        b"429 Slow Down",
        b"503 No",
        b"200 OK",
    ],
)
async def test_refusal_is_relayed_as_it_is(vendor: Vendor, dial: Dial, status: bytes) -> None:
    """And the connection goes on as HTTP."""

    async def refusing(vendor: Vendor, end: End) -> None:
        while await vendor.next_head(end) is not None:
            await end.send(
                answer(b'{"error":"no"}', status, [(b"X-Why", b"because"), (b"WWW-Authenticate", b"Bearer")])
            )

    vendor.script = refusing
    client = await dial()
    for _ in range(2):
        await client.send(request(b"/echo/ws", fields=HANDSHAKE))
        message = await read_answer(client)
        assert message.line[1:] == tuple(status.split(b" ", 1))
        assert message.body == b'{"error":"no"}'
        assert message.fields[:2] == [(b"X-Why", b"because"), (b"WWW-Authenticate", b"Bearer")]
    await client.send(request(b"/healthz"))
    assert (await read_answer(client)).status == 200


FRAMES = [
    frame(TEXT, b"hello", mask=True),
    frame(TEXT, b""),
    frame(BINARY, bytes(range(256)), mask=True),
    frame(PING, b"p", mask=True),
    frame(PONG),
    frame(PONG, b"x" * 125),
    frame(TEXT, b"fir", fin=False) + frame(PING) + frame(0, b"st", fin=False) + frame(0, b"", fin=True),
    frame(TEXT, deflated(b"deflated " * 50), rsv=4, mask=True),
    frame(BINARY, b"m" * 126),
    frame(BINARY, b"m" * 65535, mask=True),
    frame(BINARY, b"m" * 65536, mask=True),
    frame(TEXT, b"\xff\xfe not utf-8"),
    frame(3, b"reserved opcode"),
    frame(TEXT, b"x", rsv=7),
    frame(11, b"y" * 200),
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"not a frame at all\r\n\r\n",
    b"\x89\x7e\x00\x05hello",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    frame(TEXT, b'{"type":"response.done","response":{"usage":{"input_tokens":3}}}'),
]


async def test_every_kind_of_frame_passes_untouched(vendor: Vendor, dial: Dial) -> None:
    """Also those that are wrong: they are for the other end to judge."""
    for raw in FRAMES:
        client = await dial()
        far = await opened(vendor, client)
        await client.send(raw)
        assert await far.read_exactly(len(raw)) == raw
        await far.send(raw)
        assert await client.read_exactly(len(raw)) == raw
        client.reset()
        await far.wait_ended()


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1013, 3000, 4999, None])
@pytest.mark.parametrize("first", ["client", "vendor"])
async def test_close_codes(vendor: Vendor, dial: Dial, code: int | None, first: str) -> None:
    client = await dial()
    far = await opened(vendor, client)
    closing = frame(CLOSE, b"" if code is None else struct.pack("!H", code) + b"why \xe4\xbd\xa0")
    one, other = (client, far) if first == "client" else (far, client)
    await one.send(closing)
    assert await other.read_exactly(len(closing)) == closing
    await other.send(closing)
    assert await one.read_exactly(len(closing)) == closing
    far.close()
    assert await client.wait_ended() == "eof"


async def test_pieces_pass_at_once(vendor: Vendor, dial: Dial) -> None:
    """Not even half a frame's head waits."""
    client = await dial()
    far = await opened(vendor, client)
    for byte in frame(TEXT, b"hello", mask=True):
        await client.send(bytes([byte]))
        assert await far.read_exactly(1) == bytes([byte])
        await far.send(bytes([byte]))
        assert await client.read_exactly(1) == bytes([byte])


async def test_bytes_right_behind_the_handshake(vendor: Vendor, dial: Dial) -> None:
    """In the same segment as the 101, and in the same segment as the request."""
    greeting = frame(TEXT, b"hello") + frame(BINARY, b"x" * 70_000)

    async def eager(vendor: Vendor, end: End) -> None:
        await vendor.next_head(end)
        await end.send(switching() + greeting)

    vendor.script = eager
    client = await dial()
    early = frame(TEXT, b"early", mask=True)
    await client.send(request(b"/echo/ws", fields=HANDSHAKE) + early)
    assert (await read_answer_head(client)).status == 101
    assert await client.read_exactly(len(greeting)) == greeting
    assert await vendor.connections[0].read_exactly(len(early)) == early


async def test_early_bytes_of_a_refused_handshake_are_no_request_of_the_vendor(vendor: Vendor, dial: Dial) -> None:
    """What follows a handshake is read as HTTP if it is refused, never sent along with it."""

    async def refusing(vendor: Vendor, end: End) -> None:
        while await vendor.next_head(end) is not None:
            await end.send(answer(b"no", b"403 Forbidden"))

    vendor.script = refusing
    client = await dial()
    await client.send(request(b"/echo/ws", fields=HANDSHAKE) + request(b"/healthz") + request(b"/nobody/smuggled"))
    assert (await read_answer(client)).status == 403
    assert [one.target for one in vendor.heads] == [b"/ws"]
    assert all(b"smuggled" not in far.raw for far in vendor.connections)


@pytest.mark.parametrize("first", ["client", "vendor"])
async def test_half_close(vendor: Vendor, dial: Dial, first: str) -> None:
    client = await dial()
    far = await opened(vendor, client)
    one, other = (client, far) if first == "client" else (far, client)
    await one.send(b"last words")
    one.half_close()
    assert await other.read_to_end() == b"last words"
    for size in (1, 1000, 100_000):
        await other.send(b"r" * size)
        assert await one.read_exactly(size) == b"r" * size
    other.close()
    assert await one.wait_ended() == "eof"


@pytest.mark.parametrize("first", ["client", "vendor"])
async def test_reset_of_one_side_ends_the_other(gateway: Gateway, vendor: Vendor, dial: Dial, first: str) -> None:
    client = await dial()
    far = await opened(vendor, client)
    one, other = (client, far) if first == "client" else (far, client)
    await one.send(b"x")
    await other.read_exactly(1)
    one.reset()
    await other.wait_ended()


async def test_large_messages_with_back_pressure(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    """Both ways at once, the reader slow: nothing is lost and nothing piles up in the gateway."""
    client = await dial(receive_buffer=16384)
    far = await opened(vendor, client)
    gateway.forget_peak()
    memory = gateway.memory()
    payload = frame(BINARY, random.Random(3).randbytes(32_000_000))
    client.pause()
    far.pause()
    client.write(payload)
    far.write(payload)
    assert await gateway.settles(lambda: gateway.memory() > 0)
    client.resume()
    far.resume()
    client.recording = far.recording = False
    assert await far.read_exactly(len(payload)) == payload
    assert await client.read_exactly(len(payload)) == payload
    assert gateway.peak_memory() - memory < 16 * 1024, "KiB"


async def test_random_streams_pass_untouched(vendor: Vendor, dial: Dial) -> None:
    dice = random.Random(4)
    client = await dial()
    far = await opened(vendor, client)
    up, down = bytearray(), bytearray()
    for _ in range(300):
        raw = dice.choice(FRAMES) if dice.random() < 0.5 else dice.randbytes(dice.randrange(1, 3000))
        cuts = [dice.randrange(200) for _ in range(3)]
        if dice.random() < 0.5:
            up += raw
            await client.send_pieces(raw, cuts)
        else:
            down += raw
            await far.send_pieces(raw, cuts)
    assert await far.read_exactly(len(up)) == up
    assert await client.read_exactly(len(down)) == down


async def test_sessions_are_counted_and_forgotten(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    sessions = await gateway.metric("gateway_websocket_sessions", provider="echo")
    client = await dial()
    far = await opened(vendor, client)
    assert await gateway.metric("gateway_websocket_sessions", provider="echo") == sessions + 1
    await client.send(b"x" * 1000)
    await far.read_exactly(1000)
    client.reset()
    await far.wait_ended()
    assert await gateway.metric("gateway_websocket_sessions", provider="echo") == sessions
    assert await gateway.metric("gateway_websocket_bytes_total", provider="echo") >= 1000


async def test_unasked_or_wrong_101_is_a_bad_reply(vendor: Vendor, dial: Dial) -> None:
    async def other(vendor: Vendor, end: End) -> None:
        await vendor.next_head(end)
        await end.send(head(b"HTTP/1.1 101 Switching Protocols", [(b"Upgrade", b"h2c"), (b"Connection", b"Upgrade")]))

    vendor.script = other
    client = await dial()
    await client.send(request(b"/echo/ws", fields=HANDSHAKE))
    check_error(await read_answer(client), 502, "bad_upstream_reply")


async def test_handshake_with_a_body_hides_no_request(vendor: Vendor, dial: Dial) -> None:
    """Whatever the gateway makes of it, the vendor never takes the body for a request."""
    client = await dial()
    body = request(b"/smuggled")
    await client.send(request(b"/echo/ws", b"GET", body, HANDSHAKE))
    message = parse_answer_head(await client.read_until(b"\r\n\r\n"))
    assert message.status in (200, 400)
    assert all(one.target == b"/ws" for one in vendor.requests)
