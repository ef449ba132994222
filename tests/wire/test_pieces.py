"""Each piece leaves as it arrives: the far side has it before the near side sends the next one."""

from __future__ import annotations

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import End
from tests.wire.messages import (
    CHUNKED,
    LENGTH,
    UNTIL_CLOSE,
    answer,
    head,
    parse_answer_head,
    read_answer,
    read_answer_head,
    request,
)
from tests.wire.vendor import Vendor, head_only, once

HOST = (b"Host", b"gateway.test")


async def decoded(end: End, count: int, chunked: bool) -> bytes:
    """The next `count` bytes of a body, whatever chunks they come in."""
    body = b""
    while len(body) < count:
        if chunked:
            size = int((await end.read_until(b"\r\n")).partition(b";")[0], 16)
            body += await end.read_exactly(size)
            await end.read_exactly(2)
        else:
            body += await end.read_exactly(count - len(body))
    return body


PIECES = [b"a", b'data: {"x":', b"1}\n\n", b"\r\n", b"z" * 3000, b"\x00"]


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED, UNTIL_CLOSE])
async def test_answer_pieces_pass_one_by_one(vendor: Vendor, dial: Dial, framing: str) -> None:
    vendor.script = once(then="keep")
    client = await dial()
    await client.send(request())
    far = await vendor.connection()
    await vendor.wait_for(lambda: bool(vendor.requests))
    fields = {
        LENGTH: [(b"Content-Length", b"%d" % sum(map(len, PIECES)))],
        CHUNKED: [(b"Transfer-Encoding", b"chunked")],
        UNTIL_CLOSE: [],
    }[framing]
    await far.send(head(b"HTTP/1.1 200 OK", fields))
    assert (await read_answer_head(client)).status == 200  # the head does not wait for the body
    for piece in PIECES:
        framed = b"%x\r\n%s\r\n" % (len(piece), piece) if framing == CHUNKED else piece
        await far.send(framed)
        assert await decoded(client, len(piece), framing == CHUNKED) == piece
    if framing == CHUNKED:
        await far.send(b"0\r\nX-Sum: 1\r\n\r\n")
        assert await client.read_until(b"\r\n\r\n") == b"0\r\nX-Sum: 1\r\n\r\n"
    elif framing == UNTIL_CLOSE:
        far.close()
        assert await client.wait_ended() == "eof"


@pytest.mark.parametrize("chunked", [False, True])
async def test_request_pieces_pass_one_by_one(vendor: Vendor, dial: Dial, chunked: bool) -> None:
    vendor.script = head_only
    client = await dial()
    total = sum(map(len, PIECES))
    framing = (b"Transfer-Encoding", b"chunked") if chunked else (b"Content-Length", b"%d" % total)
    await client.send(head(b"POST /echo/x HTTP/1.1", [HOST, framing]))
    far = await vendor.connection()  # the head does not wait for the body
    await vendor.wait_for(lambda: bool(vendor.heads))
    for piece in PIECES:
        await client.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        assert await decoded(far, len(piece), chunked) == piece
    if chunked:
        await client.send(b"0\r\nX-Sum: 1\r\n\r\n")
        assert await far.read_until(b"\r\n\r\n") == b"0\r\nX-Sum: 1\r\n\r\n"
    await far.send(answer(b"done"))
    assert (await read_answer(client)).body == b"done"


async def test_half_a_chunk_is_not_held_back(vendor: Vendor, dial: Dial) -> None:
    """One chunk of 100 bytes comes in two halves: the first must not wait for the second."""
    vendor.script = once(head(b"HTTP/1.1 200 OK", [(b"Transfer-Encoding", b"chunked")]), then="keep")
    client = await dial()
    await client.send(request())
    await read_answer_head(client)
    far = await vendor.connection()
    await far.send(b"64\r\n" + b"x" * 50)
    while client.buffer.count(b"x") < 50:
        await client.more()
    await far.send(b"x" * 50 + b"\r\n0\r\n\r\n")
    await client.read_until(b"0\r\n\r\n")


async def test_interim_answers_pass_before_the_final_one(vendor: Vendor, dial: Dial) -> None:
    vendor.script = once(then="keep")
    client = await dial()
    await client.send(request())
    far = await vendor.connection()
    await vendor.wait_for(lambda: bool(vendor.requests))
    for number in range(3):
        await far.send(head(b"HTTP/1.1 103 Early Hints", [(b"Link", b"</%d>" % number)]))
        hint = await read_answer_head(client)
        assert (hint.status, hint.fields) == (103, [(b"Link", b"</%d>" % number)])
    await far.send(answer(b"final"))
    assert (await read_answer(client)).body == b"final"


async def test_expect_continue_is_the_vendors_to_answer(vendor: Vendor, dial: Dial) -> None:
    """The 100 comes when the vendor sends it, not before, and the body goes after it."""
    vendor.script = head_only
    client = await dial()
    await client.send(request(b"/echo/x", b"PUT", None, [(b"Expect", b"100-continue"), (b"Content-Length", b"4")]))
    far = await vendor.connection()
    await vendor.wait_for(lambda: bool(vendor.heads))
    assert b"Expect: 100-continue\r\n" in far.raw
    assert not client.received, "the gateway made a 100 of its own"
    await far.send(head(b"HTTP/1.1 100 Continue", [(b"X-A", b"b")]))
    assert (await read_answer_head(client)).fields == [(b"X-A", b"b")]
    await client.send(b"body")
    assert await far.read_exactly(4) == b"body"
    await far.send(answer(b"done"))
    assert (await read_answer(client)).body == b"done"


async def test_expect_continue_may_be_refused(vendor: Vendor, dial: Dial) -> None:
    """A final answer instead of the 100: the client gets it without having sent the body."""
    vendor.script = head_only
    client = await dial()
    await client.send(
        request(b"/echo/x", b"PUT", None, [(b"Expect", b"100-continue"), (b"Content-Length", b"4000000")])
    )
    far = await vendor.connection()
    await vendor.wait_for(lambda: bool(vendor.heads))
    await far.send(answer(b"too much", b"417 Expectation Failed"))
    message = await read_answer(client)
    assert (message.status, message.body, message.interim) == (417, b"too much", [])


async def test_a_head_in_single_bytes(vendor: Vendor, dial: Dial) -> None:
    client = await dial()
    await client.send_pieces(request(b"/echo/slow", b"POST", b"body"), [1] * 200)
    assert (await read_answer(client)).body == b"ok"
    assert vendor.requests[0].body == b"body"
    assert parse_answer_head(bytes(client.raw).partition(b"\r\n\r\n")[0] + b"\r\n\r\n").status == 200
