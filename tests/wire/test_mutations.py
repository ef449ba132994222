"""Requests damaged at random: a vendor gets, in order, what a strict reader finds in the bytes, or less."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import EOF, End, Ended
from tests.wire.messages import Garbled, Message, chunks, head, read_request, request
from tests.wire.smuggling_corpus import AFTER, REFUSED_BODIES, REFUSED_HEADS
from tests.wire.vendor import Vendor

NASTY = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\r\n\r\n",
    b"0",
    b"\xff",
    b"\x0b",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 3\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"0\r\n\r\n",
    b"+",
    b"-",
    b"HTTP/1.1",
    b"..",
    b"/",
    b"%",
    b"#",
    b"chunked",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\n",
]
SEEDS = [
    request(b"/echo/plain", fields=[(b"Accept", b"*/*")]),
    request(b"/echo/v1/chat/completions", b"POST", b'{"model":"m"}', [(b"Authorization", b"Bearer x")]),
    head(b"POST /echo/up HTTP/1.1", [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked"), (b"Trailer", b"X")])
    + chunks([b"one", b"two2"], [(b"X", b"y")], [b";a=b"]),
    request(b"/healthz"),
    *(case.raw for case in REFUSED_HEADS + REFUSED_BODIES if len(case.raw) < 300),
]


def damaged(dice: random.Random) -> bytes:
    """A few requests in a row with a few wounds."""
    raw = bytearray(
        b"".join(dice.choice(SEEDS[:4] if dice.random() < 0.7 else SEEDS) for _ in range(dice.randrange(1, 4))) + AFTER
    )
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(raw))
        match dice.randrange(5):
            case 0:
                raw[at] ^= 1 << dice.randrange(8)
            case 1:
                raw[at:at] = dice.choice(NASTY)
            case 2:
                del raw[at : at + dice.randrange(1, 20)]
            case 3:
                raw[at:at] = raw[at : at + dice.randrange(1, 60)]
            case 4:
                raw[at : at + 1] = dice.choice(NASTY)
    return bytes(raw)


async def strictly(raw: bytes) -> list[Message]:
    """The requests that are complete and beyond doubt, up to the first that is not."""
    end = End()
    end.buffer += raw
    end.ended = EOF
    found = []
    with contextlib.suppress(Garbled, Ended):
        while True:
            while end.buffer.startswith(b"\r\n"):
                del end.buffer[:2]  # RFC 9112 2.2: empty lines before a request are nothing
            if (message := await read_request(end)) is None:
                break
            found.append(message)
    return found


def essence(message: Message) -> tuple[bytes, bytes, bytes]:
    target = message.target
    for prefix, origin in ((b"/echo", b""), (b"/based", b"/base/path")):
        if target.startswith(prefix):
            rest = target.removeprefix(prefix)
            target = origin + (rest if rest.startswith(b"/") else b"/" + rest)
    return message.method, target, message.body


@pytest.mark.parametrize("seed", range(4))
async def test_damaged_requests(vendor: Vendor, dial: Dial, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(2000):
        raw = damaged(dice)
        vendor.requests.clear()
        client = await dial()
        with contextlib.suppress(Ended):
            await client.send_pieces(raw, [dice.randrange(1, 200)] if dice.random() < 0.3 else [])
            client.half_close()
        try:
            await client.wait_ended()
        except TimeoutError:
            pytest.fail(f"the exchange hangs: {raw!r}")
        client.close()
        assert not vendor.problems, (raw, vendor.problems)
        wanted = [
            essence(message) for message in await strictly(raw) if message.target.startswith((b"/echo", b"/based"))
        ]
        got = [essence(message) for message in vendor.requests]
        rest = iter(wanted)
        assert all(one in rest for one in got), f"\n{raw!r}\n{wanted}\n{got}"


@pytest.mark.parametrize("seed", range(2))
async def test_noise(vendor: Vendor, dial: Dial, seed: int) -> None:
    """Bytes without any sense, many at a time: the gateway neither falls nor forwards."""
    dice = random.Random(seed)

    async def shout() -> None:
        client = await dial()
        with contextlib.suppress(Ended):
            await client.send(dice.randbytes(dice.randrange(1, 3000)))
            client.half_close()
        await client.wait_ended()
        client.close()

    for _ in range(20):
        await asyncio.gather(*(shout() for _ in range(10)))
    assert not vendor.connections
