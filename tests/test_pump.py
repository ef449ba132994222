"""An exchange, arrow by arrow of the drawing in `pump.py`: what both sides see and what the record is told."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.errors import UpstreamUnreachable
from gateway.wire.pool import Destination, Pool
from gateway.wire.server import Limits
from tests.engine import Engine, until
from tests.wire.ends import End, Ended
from tests.wire.messages import answer, chunks, head, read_answer, read_answer_head, request
from tests.wire.vendor import Vendor, head_only, once, serve

pytestmark = pytest.mark.both_loops

POST = request(b"/vendor/x?q", b"POST", b"question")
CHUNKED = [(b"Transfer-Encoding", b"chunked")]
BIG = 16 << 20


async def refused(engine: Engine, client: End, status: int, code: str) -> None:
    """The client gets this error, the record is told."""
    message = await read_answer(client)
    assert (message.status, message.value(b"x-gateway-error")) == (status, code.encode())
    assert (await engine.record())["end"] == [("", status, code)]


async def cut(engine: Engine, client: End, reason: str, status: int = 200) -> None:
    """The client sees an end that is none, the record is told."""
    with pytest.raises(Ended):
        await read_answer(client)
    assert (await engine.record())["end"] == [(reason, status, "")]


# -- dialling, head, body, ended ---------------------------------------------------------------------------------------


async def test_the_whole_way() -> None:
    async with Engine(serve(answer(b"the answer")), wants_body=True) as engine:
        client = await engine.dial()
        await client.send(POST)
        assert (await read_answer(client)).body == b"the answer"
        record = await engine.record()
        sent = len(engine.vendor.connections[0].raw)
        assert record.calls == [
            ("handed",),
            ("body", b"question"),
            ("sent", sent),
            ("head", 200),
            ("feed", b"the answer", len(answer(b"the answer"))),
            ("end", "complete", 200, ""),
        ]
        assert engine.vendor.requests[0].line == (b"POST", b"/x?q", b"HTTP/1.1")
        assert "idle=1 open=1 dialling=0" in repr(engine.pool)


@pytest.mark.parametrize("step", [1, 3, 50])
async def test_any_cut_of_request_and_answer(step: int) -> None:
    whole = answer(b"", fields=[]).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + chunks(
        [b"ab", b"cd"], [(b"T", b"1")]
    )

    async def slowly(vendor: Vendor, end: End) -> None:
        while await vendor.next_request(end):
            await end.send_pieces(whole, [step, 0] * len(whole))

    async with Engine(slowly, wants_body=True) as engine:
        client = await engine.dial()
        data = request(b"/vendor/x", b"PUT", fields=CHUNKED) + chunks([b"123", b"4567"], [(b"A", b"b")])
        await client.send_pieces(data + data, [step, 0] * len(data))
        for number in range(2):
            message = await read_answer(client)
            assert (message.body, message.trailers) == (b"abcd", [(b"T", b"1")])
            record = await engine.record(number)
            assert record.joined("feed") == b"abcd"
            assert record.joined("body") == b"1234567"
        assert [(seen.body, seen.trailers) for seen in engine.vendor.requests] == [(b"1234567", [(b"A", b"b")])] * 2
        assert len(engine.vendor.connections) == 1


async def test_each_piece_leaves_as_it_arrives() -> None:
    async with Engine(head_only) as engine:
        client = await engine.dial()
        await client.send(request(b"/vendor/x", b"POST", fields=CHUNKED))
        vendor = await engine.vendor.connection()
        for piece in (b"one", b"two"):
            await client.send(chunks([piece])[:-5])
            assert await vendor.read_until(piece + b"\r\n")
        await client.send(b"0\r\n\r\n")
        await vendor.read_until(b"0\r\n\r\n")
        await vendor.send(head(b"HTTP/1.1 200 OK", CHUNKED))
        await read_answer_head(client)
        for piece in (b"three", b"four"):
            await vendor.send(chunks([piece])[:-5])
            assert await client.read_until(piece + b"\r\n")
        await vendor.send(b"0\r\n\r\n")
        assert (await engine.record())["end"] == [("complete", 200, "")]


async def test_interim_answers_pass_and_the_gateway_makes_none() -> None:
    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_head(end)
        await end.send(head(b"HTTP/1.1 103 Early Hints", [(b"Link", b"a")]) + head(b"HTTP/1.1 100 Continue", []))
        await end.read_exactly(4)
        await end.send(answer(b"done"))

    async with Engine(script) as engine:
        client = await engine.dial()
        await client.send(
            request(b"/vendor/x", b"POST", fields=[(b"Content-Length", b"4"), (b"Expect", b"100-continue")])
        )
        assert [(await read_answer_head(client)).status for _ in range(2)] == [103, 100]
        await client.send(b"body")
        assert (await read_answer(client)).body == b"done"


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (answer(b"plain"), b"plain"),
        (head(b"HTTP/1.1 200 OK", CHUNKED) + chunks([b"pl", b"ain"], [(b"T", b"1")]), b"plain"),
        (head(b"HTTP/1.1 103 Early", []) + answer(b"plain"), b"plain"),
        (answer(b""), b""),
    ],
)
async def test_an_old_client_gets_no_chunks_and_no_interim_answers(raw: bytes, body: bytes) -> None:
    async with Engine(once(raw, then="keep")) as engine:
        client = await engine.dial()
        await client.send(b"GET /vendor/x HTTP/1.0\r\nHost: a\r\n\r\n")
        first, _, rest = (await client.read_to_end()).partition(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"chunked" not in first
        assert rest == body
        assert client.ended == "eof"


async def test_an_answer_that_ends_by_close() -> None:
    async with Engine(once(b"HTTP/1.1 200 OK\r\n\r\n", b"all ", b"of it", then="close")) as engine:
        client = await engine.dial()
        await client.send(POST)
        assert (await read_answer(client)).body == b"all of it"
        assert (await engine.record())["end"] == [("complete", 200, "")]


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n"),
    ],
)
async def test_answers_without_a_body(method: bytes, raw: bytes) -> None:
    async with Engine(serve(raw)) as engine:
        client = await engine.dial()
        for _ in range(2):
            await client.send(request(b"/vendor/x", method))
            assert await client.read_exactly(len(raw)) == raw
        assert len(engine.vendor.connections) == 1


@pytest.mark.parametrize(
    "raw",
    [
        answer(b"x", fields=[(b"Connection", b"close")]),
        answer(b"x") + b"surplus",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
    ],
)
async def test_a_connection_that_cannot_be_used_again_is_not(raw: bytes) -> None:
    async with Engine(serve(raw)) as engine:
        client = await engine.dial()
        for _ in range(2):
            await client.send(request(b"/vendor/x"))
            assert (await read_answer(client)).body == b"x"
        assert len(engine.vendor.connections) == 2
        assert not engine.pool.idle


async def test_an_answer_before_the_upload_is_done() -> None:
    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_head(end)
        await end.send(answer(b"too large", b"413 Payload Too Large"))
        end.close()

    async with Engine(script) as engine:
        client = await engine.dial()
        await client.send(request(b"/vendor/x", b"POST", fields=[(b"Content-Length", b"99999")]) + b"begin")
        message = await read_answer(client)
        assert (message.status, message.body) == (413, b"too large")
        assert (await engine.record())["end"] == [("complete", 413, "")]
        await client.send(b"more that nobody wants")
        await client.wait_ended()
        assert not engine.pool.idle


# -- failed ------------------------------------------------------------------------------------------------------------


async def test_nobody_there() -> None:
    async with Engine() as engine:
        await engine.vendor.stop()
        client = await engine.dial()
        await client.send(POST)
        await refused(engine, client, UpstreamUnreachable.status, UpstreamUnreachable.code)
        assert not (await engine.record())["sent"]


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("pieces", [(), (b"H",), (b"HTTP/1.1 200 OK\r\nX: y\r\n",)])
async def test_a_vendor_that_goes_without_an_answer(pieces: tuple[bytes, ...], then: str) -> None:
    async with Engine(once(*pieces, then=then)) as engine:
        client = await engine.dial()
        await client.send(POST)
        await refused(engine, client, 502, "bad_upstream_reply")
        assert len(engine.vendor.connections) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\n",
        b"\x15\x03\x01\x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 11000,
        head(b"HTTP/1.1 200 OK", CHUNKED) + b"zz\r\n",
    ],
)
async def test_an_answer_that_makes_no_sense(raw: bytes) -> None:
    async with Engine(once(raw, then="keep")) as engine:
        client = await engine.dial()
        await client.send(POST)
        message = await read_answer(client)
        assert (message.status, message.value(b"x-gateway-error")) == (502, b"bad_upstream_reply")
        assert (await engine.record())["end"] == [("", 502, "bad_upstream_reply")]
        await (await engine.vendor.connection()).wait_ended()
        await client.send(POST)  # the client's connection is as good as before
        assert (await read_answer(client)).status == 502


LIMITS = Limits(idle_timeout=100, answer_timeout=50)


async def test_no_answer_in_time() -> None:
    async with Engine(head_only, LIMITS) as engine:
        client = await engine.dial()
        await client.send(POST)
        await engine.vendor.wait_for(lambda: bool(engine.vendor.heads))
        engine.later(49.9)
        assert engine.edge.active
        engine.later(0.2)
        await refused(engine, client, 504, "upstream_timeout")
        await (await engine.vendor.connection()).wait_ended()


async def test_a_request_that_stops_coming() -> None:
    async with Engine(head_only, LIMITS) as engine:
        client = await engine.dial()
        await client.send(POST[:-1])
        await engine.vendor.wait_for(lambda: bool(engine.vendor.heads))
        engine.later(99.9)  # longer than the vendor may take, but the vendor has nothing to answer yet
        assert engine.edge.active
        engine.later(0.2)
        await refused(engine, client, 408, "request_timeout")


async def test_a_vendor_that_stops_reading() -> None:
    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_head(end)
        end.pause()

    async with Engine(script, LIMITS) as engine:
        client = await engine.dial()
        await client.send(request(b"/vendor/x", b"POST", fields=[(b"Content-Length", b"%d" % BIG)]))
        await engine.vendor.wait_for(lambda: bool(engine.vendor.heads))
        client.write(bytes(BIG))
        await until(lambda: engine.edge.active and next(iter(engine.edge.active))._held_up)
        written = client.transport.get_write_buffer_size()
        assert written > BIG // 4, "the client is held up, not the gateway filled up"
        engine.later(100)
        assert (await engine.record())["end"] == [("", 504, "upstream_timeout")]


@pytest.mark.parametrize("begun", [False, True])
async def test_bad_chunks_of_a_request(begun: bool) -> None:
    async with Engine(head_only) as engine:
        client = await engine.dial()
        data = request(b"/vendor/x", b"POST", fields=CHUNKED)
        if not begun:
            await client.send(data + b"zz\r\n")
            await refused(engine, client, 400, "bad_request")
            assert not engine.vendor.requests
            return
        await client.send(data + b"3\r\nabc\r\n")
        vendor = await engine.vendor.connection()
        await vendor.read_until(b"abc\r\n")
        await client.send(b"zz\r\n")
        await refused(engine, client, 400, "bad_request")
        await vendor.wait_ended()
        assert not vendor.buffer


async def test_bad_chunks_behind_the_beginning_of_an_answer() -> None:
    async with Engine(head_only) as engine:
        client = await engine.dial()
        await client.send(request(b"/vendor/x", b"POST", fields=CHUNKED) + b"3\r\nabc\r\n")
        vendor = await engine.vendor.connection()
        await vendor.read_until(b"abc\r\n")
        await vendor.send(head(b"HTTP/1.1 200 OK", CHUNKED) + b"1\r\nx\r\n")
        await client.read_until(b"x\r\n")
        await client.send(b"zz\r\n")
        await client.wait_ended()
        assert (await engine.record())["end"] == [("client_left", 200, "")]
        await vendor.wait_ended()


# -- body: cut, left, idle, over ---------------------------------------------------------------------------------------

STREAMS = {
    "counted": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
    "chunked": head(b"HTTP/1.1 200 OK", CHUNKED) + b"3\r\nabc\r\n",
    "until close": b"HTTP/1.1 200 OK\r\n\r\nabc",
}


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("kind", STREAMS)
async def test_a_vendor_that_goes_in_the_middle(kind: str, then: str) -> None:
    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_request(end)
        await end.send(STREAMS[kind])
        await gone_on.wait()
        getattr(end, then)()

    gone_on = asyncio.Event()
    async with Engine(script) as engine:
        client = await engine.dial()
        await client.send(POST)
        await client.read_until(b"abc")
        gone_on.set()
        end = await client.wait_ended()
        if kind == "until close":
            assert end == ("eof" if then == "close" else "reset"), "a cut shows"
        record = await engine.record()
        clean = (kind, then) == ("until close", "close")
        assert record["end"] == [("complete" if clean else "vendor_truncated", 200, "")]
        assert record.joined("feed") == b"abc"


async def test_a_body_that_turns_wrong() -> None:
    async with Engine(head_only) as engine:
        client = await engine.dial()
        await client.send(POST)
        vendor = await engine.vendor.connection()
        await vendor.read_until(b"question")
        await vendor.send(STREAMS["chunked"])
        await client.read_until(b"abc\r\n")
        await vendor.send(b"zz\r\n")
        await client.wait_ended()
        assert b"zz" not in client.buffer
        assert (await engine.record())["end"] == [("vendor_truncated", 200, "")]


@pytest.mark.parametrize("kind", STREAMS)
async def test_a_stream_that_falls_silent(kind: str) -> None:
    async with Engine(once(STREAMS[kind], then="keep"), LIMITS) as engine:
        client = await engine.dial()
        await client.send(POST)
        await client.read_until(b"abc")
        engine.later(99.9)
        assert engine.edge.active
        engine.later(0.2)
        assert await client.wait_ended() == ("reset" if kind == "until close" else "eof")
        assert (await engine.record())["end"] == [("idle_timeout", 200, "")]
        await (await engine.vendor.connection()).wait_ended()


async def test_a_stream_whose_time_is_over() -> None:
    async with Engine(once(STREAMS["until close"], then="keep")) as engine:
        client = await engine.dial()
        await client.send(POST)
        await client.read_until(b"abc")
        next(iter(engine.edge.active)).cut()
        assert await client.wait_ended() == "reset"
        assert (await engine.record())["end"] == [("limit", 200, "")]


async def test_a_request_without_an_answer_whose_time_is_over() -> None:
    async with Engine(head_only) as engine:
        client = await engine.dial()
        await client.send(POST)
        await engine.vendor.wait_for(lambda: bool(engine.vendor.heads))
        next(iter(engine.edge.active)).cut()
        await refused(engine, client, 504, "upstream_timeout")


async def test_a_running_answer_of_a_draining_gateway_says_close() -> None:
    async with Engine(head_only) as engine:
        client = await engine.dial()
        await client.send(POST)
        vendor = await engine.vendor.connection()
        await vendor.read_until(b"question")
        engine.edge.draining = True
        await vendor.send(answer(b"last"))
        message = await read_answer(client)
        assert (message.value(b"connection"), message.body) == (b"close", b"last")
        assert await client.wait_ended() == "eof"


@pytest.mark.parametrize("sent", [b"", STREAMS["chunked"]])
async def test_a_client_that_leaves_takes_the_vendor_with_it(sent: bytes) -> None:
    async with Engine(head_only) as engine:
        client = await engine.dial()
        await client.send(POST)
        vendor = await engine.vendor.connection()
        await vendor.read_until(b"question")
        if sent:
            await vendor.send(sent)
            await client.read_until(b"abc")
        client.reset()
        await vendor.wait_ended()
        assert (await engine.record())["end"] == [("client_left", 200 if sent else 499, "")]
        assert not engine.pool.connections


async def test_a_client_that_leaves_while_dialling() -> None:
    async with Engine() as engine:
        place = engine.pool.destination
        with socket.create_server((place.host, 0), backlog=0) as full, socket.socket() as one, socket.socket() as two:
            for filler in (one, two):
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            engine.pool = Pool(Destination("http", place.host, full.getsockname()[1]), 1, 0.2)
            client = await engine.dial()
            await client.send(POST)
            await until(lambda: engine.pool.dialling)
            client.reset()
            assert (await engine.record())["end"] == [("client_left", 499, "")]
            await until(lambda: not engine.pool.dialling)


async def test_a_half_closed_client_gets_its_answer() -> None:
    async with Engine(serve(answer(b"still"))) as engine:
        client = await engine.dial()
        await client.send(POST)
        client.half_close()
        assert (await read_answer(client)).body == b"still"
        assert await client.wait_ended() == "eof"
        assert (await engine.record())["end"] == [("complete", 200, "")]


async def test_a_half_closed_client_in_the_middle_of_its_request_has_left() -> None:
    async with Engine(head_only) as engine:
        client = await engine.dial()
        await client.send(POST[:-1])
        await engine.vendor.wait_for(lambda: bool(engine.vendor.heads))
        client.half_close()
        assert (await engine.record())["end"] == [("client_left", 499, "")]
        await (await engine.vendor.connection()).wait_ended()
