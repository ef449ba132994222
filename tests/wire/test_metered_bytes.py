"""On metered paths, too, bytes are what they were: encoded, broken, hostile or huge."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import End
from tests.wire.messages import Fields, answer, chunks, head, read_answer, request
from tests.wire.serving import Gateway
from tests.wire.vendor import Vendor, serve

METERED = [
    b"/echo/v1/chat/completions",
    b"/echo/v1/messages",
    b"/echo/v1/responses",
    b"/echo/v1beta/models/m:streamGenerateContent?alt=sse",
    b"/echo/v1/embeddings",
    b"/echo/api/v1/services/aigc/text-generation/generation",
    b"/echo/v1/images/generations",
    b"/echo/rerank",
]
USAGE = b'{"model":"m","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}'
EVENTS = (
    b"".join(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % number for number in range(50))
    + b"data: "
    + USAGE
    + b"\n\ndata: [DONE]\n\n"
)
JSON, SSE = b"application/json", b"text/event-stream"
MIB = 1 << 20


def encoded(body: bytes, coding: bytes) -> bytes:
    match coding:
        case b"gzip" | b"x-gzip":
            return gzip.compress(body)
        case b"deflate":
            return zlib.compress(body)
        case _:
            return body[::-1]  # not what it says


BODIES: list[tuple[bytes, bytes, bytes]] = (
    [
        (kind, coding, encoded(body, coding))
        for kind, body in ((JSON, USAGE), (SSE, EVENTS))
        for coding in (b"gzip", b"deflate", b"br", b"zstd", b"x-gzip", b"gzip, gzip", b"odd")
    ]
    + [
        (JSON, b"", body)
        for body in (
            b"",
            b"{",
            b"null",
            b"[]",
            USAGE[:-5],
            b'{"usage":' * 3000,
            b"[" * 100_000,
            b'{"usage":{"prompt_tokens":-1e999}}',
            b"\xff\xfe\x00",
            b'{"usage":null}' * 100,
            b'{"usage":{"prompt_tokens":' + b"9" * 10_000 + b"}}",
        )
    ]
    + [
        (SSE, b"", body)
        for body in (
            EVENTS,
            EVENTS.replace(b"\n", b"\r\n"),
            EVENTS.replace(b"\n", b"\r"),
            b"data:" * 1000,
            b":\n\n" * 1000,
            b"data: {\n\n",
            b"\n" * 5000,
            b"event: x\ndata: " + b"[" * 50_000 + b"\n\n",
            EVENTS[:-30],
            b"data: \x00\xff\n\n",
        )
    ]
    + [
        (JSON, b"gzip", gzip.compress(USAGE)[:-6]),
        (JSON, b"gzip", b"\x1f\x8b" + b"z" * 100),
        (JSON, b"gzip", gzip.compress(USAGE) * 2),
    ]
)


@pytest.mark.parametrize("target", METERED)
async def test_bytes_are_what_they_were(vendor: Vendor, dial: Dial, target: bytes) -> None:
    dice = random.Random(5)
    current: list[tuple[Fields, bytes]] = []

    async def script(vendor: Vendor, end: End) -> None:
        while await vendor.next_request(end) is not None:
            fields, body = current[-1]
            cut = dice.randrange(len(body) + 1)
            framed = chunks([piece for piece in (body[:cut], body[cut:]) if piece])
            sizes = [dice.randrange(1, 400) for _ in range(4)]
            await end.send_pieces(
                head(b"HTTP/1.1 200 OK", [*fields, (b"Transfer-Encoding", b"chunked")]) + framed, sizes
            )

    vendor.script = script
    client = await dial()
    for kind, coding, body in BODIES:
        fields = [(b"Content-Type", kind)] + ([(b"Content-Encoding", coding)] if coding else [])
        current.append((fields, body))
        sent = b'{"model":"m","stream":true}' if dice.random() < 0.5 else dice.randbytes(100)
        await client.send(request(target, b"POST", sent))
        message = await read_answer(client)
        assert message.body == body, (kind, coding, body[:100])
        assert [field for field in message.fields if field[0] != b"Transfer-Encoding"] == fields
        assert vendor.requests[-1].body == sent


@pytest.mark.parametrize("target", METERED[:4])
async def test_one_answer_cannot_fill_the_memory(gateway: Gateway, vendor: Vendor, dial: Dial, target: bytes) -> None:
    """A bomb in gzip, a line without end, a flood of keys: the meter gives up, the bytes pass."""
    bomb = zlib.compressobj(9, wbits=31)
    packed = b"".join(bomb.compress(b"\x00" * MIB) for _ in range(256)) + bomb.flush()
    line = b"data: " + b"x" * (32 * MIB)
    keys = b'{"a":[' + b'{"usage":1},' * (2 * MIB)
    await exchange(vendor, dial, target, answer(b"{}", fields=[(b"Content-Type", JSON)]), b"{}")
    gateway.forget_peak()
    memory = gateway.memory()
    await exchange(
        vendor, dial, target, answer(packed, fields=[(b"Content-Type", JSON), (b"Content-Encoding", b"gzip")]), packed
    )
    await exchange(vendor, dial, target, answer(line, fields=[(b"Content-Type", SSE)]), line)
    await exchange(vendor, dial, target, answer(line, fields=[(b"Content-Type", JSON)]), line)
    await exchange(vendor, dial, target, answer(keys, fields=[(b"Content-Type", JSON)]), keys)
    assert gateway.peak_memory() - memory < 16 * 1024, "KiB"


async def exchange(vendor: Vendor, dial: Dial, target: bytes, reply: bytes, body: bytes) -> None:
    vendor.script = serve(reply + b"")
    for far in vendor.connections:
        far.close()
    client = await dial()
    client.recording = False
    await client.send(request(target, b"POST", b'{"model":"' + b"m" * MIB + b'"}'))
    assert (await read_answer(client)).body == body
    client.close()
