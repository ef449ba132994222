"""Ambiguous requests reach no vendor; ambiguous answers reach no client as if they were whole."""

from __future__ import annotations

import contextlib

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import End, Ended
from tests.wire.messages import Garbled, Message, answer, head, read_answer, read_answer_head, request
from tests.wire.smuggling_corpus import AFTER, BAD_ANSWERS, BAD_CHUNKED_BODIES, REFUSED_BODIES, REFUSED_HEADS, Case
from tests.wire.test_requests import check_error
from tests.wire.vendor import Vendor, once, serve

CODES = {400: "bad_request", 431: "head_too_large", 501: "unsupported_method"}
FRAMING = (b"content-length", b"transfer-encoding", b"host", b"connection")


async def deliver(client: End, raw: bytes, delivery: str) -> None:
    """Send; the gateway may close before all is taken."""
    with contextlib.suppress(Ended):
        if delivery == "second":
            await client.send(request(b"/echo/before", b"POST", b"hello"))
            assert (await read_answer(client)).body == b"ok"
        if delivery == "bytes" and len(raw) < 1000:
            await client.send_pieces(raw, [1] * len(raw))
        else:
            await client.send(raw)


def seen(vendor: Vendor) -> list[Message]:
    """The complete requests but for the good one before the case."""
    assert not vendor.problems, f"the vendor got what it cannot read: {vendor.problems}"
    return [message for message in vendor.requests if message.target != b"/before"]


async def check_refused(client: End, case: Case) -> None:
    message = await read_answer(client)
    assert message.status in case.statuses, (message.line, message.body)
    check_error(message, message.status, CODES[message.status])
    if case.closes:
        assert await client.read_to_end() == b"", "something comes after the refusal"
        return
    with contextlib.suppress(Ended):
        await read_answer(client)  # of the request behind, if the connection goes on


async def check_accepted(client: End, vendor: Vendor, case: Case) -> None:
    """A lenient reading must be the only right one: this body, and then the request after it."""
    assert (await read_answer(client)).status == 200
    message = await read_answer(client)
    assert (message.status, message.body) == (200, b"ok")
    assert [(one.body, one.target.rpartition(b"/")[2]) for one in seen(vendor)[1:]] == [(b"", b"after")]
    assert seen(vendor)[0].body == case.body
    assert not [name for name, _ in seen(vendor)[0].trailers if name.lower() in FRAMING]


@pytest.mark.parametrize("delivery", ["whole", "bytes", "second"])
@pytest.mark.parametrize("case", REFUSED_HEADS, ids=lambda case: case.name)
async def test_ambiguous_head(vendor: Vendor, dial: Dial, case: Case, delivery: str) -> None:
    client = await dial()
    await deliver(client, case.raw + AFTER, delivery)
    if case.body is not None and b" 200 " in await first_line(client):
        await check_accepted(client, vendor, case)
        return
    await check_refused(client, case)
    assert not case.closes or not seen(vendor)
    assert all(b"first" not in far.raw for far in vendor.connections)


async def first_line(client: End) -> bytes:
    while b"\r\n" not in client.buffer and not client.ended:
        await client.more()
    return bytes(client.buffer.partition(b"\r\n")[0])


@pytest.mark.parametrize(
    "case", [case for case in REFUSED_HEADS if b"/echo/first" in case.raw], ids=lambda case: case.name
)
async def test_ambiguous_head_for_the_gateways_own_paths(vendor: Vendor, dial: Dial, case: Case) -> None:
    """What the gateway serves itself is read as strictly: nothing behind it reaches a vendor."""
    client = await dial()
    await deliver(client, case.raw.replace(b"/echo/first", b"/healthz") + AFTER, "whole")
    if case.body is None:
        message = await read_answer(client)
        assert message.status in (400, 405, 431, 501), message.line
        assert await client.read_to_end() == b""
        assert not vendor.requests
    else:
        with contextlib.suppress(Ended):
            for _ in range(2):
                await read_answer(client)
        assert all(message.target == b"/after" and message.body == b"" for message in seen(vendor))


@pytest.mark.parametrize("delivery", ["whole", "bytes", "second"])
@pytest.mark.parametrize("case", REFUSED_BODIES, ids=lambda case: case.name)
async def test_ambiguous_body(vendor: Vendor, dial: Dial, case: Case, delivery: str) -> None:
    client = await dial()
    await deliver(client, case.raw + AFTER, delivery)
    if case.body is not None and b" 200 " in await first_line(client):
        await check_accepted(client, vendor, case)
        return
    await check_refused(client, case)
    assert not seen(vendor)
    for far in vendor.connections:
        if b"first" in far.raw:
            await far.wait_ended()  # the vendor sees the cut at once
    assert not seen(vendor)


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"2\r\nokX", b"5 \r\nhello\r\n0\r\n\r\n"])
async def test_bad_chunk_after_the_answer_began_is_a_cut(vendor: Vendor, dial: Dial, chunk: bytes) -> None:
    async def early(vendor: Vendor, end: End) -> None:
        await vendor.next_head(end)
        await end.send(head(b"HTTP/1.1 200 OK", [(b"Content-Length", b"10")]) + b"part")
        await end.wait_ended()

    vendor.script = early
    client = await dial()
    await client.send(head(b"POST /echo/x HTTP/1.1", [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")]))
    await read_answer_head(client)
    assert await client.read_exactly(4) == b"part"
    await client.send(chunk + AFTER)
    assert await client.read_to_end() == b""
    await vendor.connections[0].wait_ended()
    assert not vendor.requests


@pytest.mark.parametrize(
    "length",
    [b"+5", b"-5", b"5_", b"0_5", b" +5", b"0x5", b"5 5", b"", b"5,5", b"5\xb2", b"9" * 25, b"5;", b"5\x00", b"5\t5"],
)
@pytest.mark.parametrize("count", [1, 3])
async def test_bad_length_in_a_head_that_was_good_before(vendor: Vendor, dial: Dial, length: bytes, count: int) -> None:
    """Whatever is remembered of a kept-alive client's head, its length is read anew each time."""
    client = await dial()
    start = b"POST /echo/first HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\nX: y\r\n\r\nhello"
    for _ in range(count):
        await client.send(start % b"5")
        assert (await read_answer(client)).status == 200
    await client.send(start % length + AFTER)
    check_error(await read_answer(client), 400, "bad_request")
    assert await client.read_to_end() == b""
    assert [message.body for message in vendor.requests] == [b"hello"] * count


async def test_lengths_change_under_the_same_head(vendor: Vendor, dial: Dial) -> None:
    vendor.script = serve(lambda message: answer(message.body))
    client = await dial()
    bodies = [b"", b"x", b"x" * 10, b"", b"x" * 12345, b"x", b"y" * 999]
    for body in bodies:
        await client.send(request(b"/echo/x", b"POST", body, [(b"X", b"y")]))
        assert (await read_answer(client)).body == body
    await client.send(b"".join(request(b"/echo/x", b"POST", body, [(b"X", b"y")]) for body in bodies))
    assert [(await read_answer(client)).body for _ in bodies] == bodies


async def test_head_just_below_the_limit_passes(vendor: Vendor, dial: Dial) -> None:
    client = await dial()
    await client.send(request(fields=[(b"X-Large", b"v" * 60_000)]))
    assert (await read_answer(client)).status == 200
    assert vendor.requests[0].value(b"x-large") == b"v" * 60_000


@pytest.mark.parametrize("wanted", [b"h2c", b"h2c, websocket-like", b"TLS/1.0"])
async def test_upgrade_other_than_websocket_is_removed(vendor: Vendor, dial: Dial, wanted: bytes) -> None:
    client = await dial()
    await client.send(
        request(
            fields=[(b"Upgrade", wanted), (b"Connection", b"Upgrade, HTTP2-Settings"), (b"HTTP2-Settings", b"AAMA")]
        )
    )
    assert (await read_answer(client)).status == 200
    assert [name for name, _ in vendor.requests[0].fields] == [b"Host"]


# the vendor's side


@pytest.mark.parametrize("raw", BAD_ANSWERS, ids=lambda raw: repr(raw[:60]))
async def test_ambiguous_answer(vendor: Vendor, dial: Dial, raw: bytes) -> None:
    vendor.script = once(raw)
    client = await dial()
    await client.send(request(b"/echo/x", b"POST", b"x"))
    try:
        message = await read_answer(client)
    except (Ended, Garbled):
        # Interim answers, once forwarded, leave nothing else than a cut or the error behind them.
        assert raw.startswith(b"HTTP/1.1 100"), bytes(client.raw[:300])
        return
    check_error(message, 502, "bad_upstream_reply")
    await vendor.connections[0].wait_ended()
    assert len(vendor.requests) == 1, "the request was sent again"


@pytest.mark.parametrize("lines", [[b"2", b"2"], [b"2", b"2", b"2"]])
async def test_equal_repeated_lengths_of_an_answer_are_one(vendor: Vendor, dial: Dial, lines: list[bytes]) -> None:
    vendor.script = once(head(b"HTTP/1.1 200 OK", [(b"Content-Length", value) for value in lines]) + b"ok", then="keep")
    client = await dial()
    await client.send(request())
    message = await read_answer(client)  # refuses more than one
    assert (message.status, message.body) == (200, b"ok")


@pytest.mark.parametrize("bad", BAD_CHUNKED_BODIES, ids=lambda bad: repr(bad[:40]))
@pytest.mark.parametrize("together", [False, True])
async def test_answer_that_turns_ambiguous_is_a_visible_cut(
    vendor: Vendor, dial: Dial, bad: bytes, together: bool
) -> None:
    first = head(b"HTTP/1.1 200 OK", [(b"Transfer-Encoding", b"chunked")]) + b"4\r\ngood\r\n"
    vendor.script = once(*([first + bad] if together else [first]), then="keep")
    client = await dial()
    await client.send(request() + request(b"/echo/after"))
    if not together:
        await read_answer_head(client)
        await client.read_until(b"good")
        await vendor.connections[0].send(bad)
    try:
        message = await read_answer(client)
    except (Ended, Garbled):
        await client.wait_ended()
        assert not client.raw.endswith(b"0\r\n\r\n")
        assert b"/after" not in [message.target for message in vendor.requests]
    else:
        assert together, "the bad part was taken for good"  # all in one piece may be refused as a whole
        check_error(message, 502, "bad_upstream_reply")
        with contextlib.suppress(Ended, Garbled):
            await read_answer(client)  # of the request behind, which is in order


async def test_response_splitting_through_the_gateways_own_error(vendor: Vendor, dial: Dial) -> None:
    """Nothing of the request is quoted raw in a header."""
    client = await dial()
    await client.send(request(b"/nobody%0d%0aX-Evil:%20yes/x"))
    message = await read_answer(client)
    assert message.status == 404
    assert not message.values(b"x-evil")


async def test_body_of_an_answer_without_body_is_dropped(vendor: Vendor, dial: Dial) -> None:
    """204, 304 and answers to HEAD end with their head: what follows is nobody's answer."""
    for method, status in ((b"GET", b"204 No Content"), (b"GET", b"304 Not Modified"), (b"HEAD", b"200 OK")):
        vendor.script = once(head(b"HTTP/1.1 " + status, []) + answer(b"evil"), then="keep")
        client = await dial()
        await client.send(request(method=method))
        assert (await read_answer(client, method)).status == int(status[:3])
        await client.send(request(b"/healthz"))
        assert b"evil" not in (await read_answer(client)).body
        assert b"evil" not in client.raw
