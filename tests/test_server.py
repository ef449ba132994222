"""The accept point: who takes a request, remembered heads, pipelining, refusals, time limits, how connections end."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.errors import BadRequest, GatewayError
from gateway.wire.server import Limits, error_answer
from tests.engine import Engine, until
from tests.heads import BAD_REQUESTS
from tests.wire.ends import End
from tests.wire.messages import Message, answer, chunks, read_answer, request
from tests.wire.vendor import Vendor, head_only, serve

pytestmark = pytest.mark.both_loops

LIMITS = Limits(max_connections=3, head_timeout=30, idle_timeout=100)


async def error(client: End, status: int, code: str) -> Message:
    """The gateway's own error, complete and in its own form."""
    message = await read_answer(client)
    assert (message.status, message.value(b"x-gateway-error")) == (status, code.encode())
    body = json.loads(message.body)
    assert body["error"].keys() == {"type", "code", "message"}
    assert (body["error"]["type"], body["error"]["code"]) == ("gateway_error", code)
    return message


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [b"0", b"1", b"05", b"12", b"1234"])
async def test_the_head_of_the_request_before_with_another_length(length: bytes) -> None:
    """Kept-alive clients send the same head again; what is remembered must change nothing."""
    async with Engine() as engine:
        client = await engine.dial()
        for digits in (b"7", length, b"7", length):
            body = b"x" * int(digits)
            fields = [(b"Content-Length", digits), (b"X", b"y")]
            await client.send(request(b"/vendor/x", b"POST", fields=fields) + body)
            assert (await read_answer(client)).body == b"ok"
            seen = engine.vendor.requests[-1]
            assert seen.body == body
            assert [name for name, _ in seen.fields] == [b"Host", b"Content-Length", b"X"]
            assert int(seen.value(b"content-length")) == len(body)


@pytest.mark.parametrize(
    "second",
    [
        request(b"/vendor/x", b"POST", fields=[(b"Content-Length", b"+1")]) + b"x",
        request(b"/vendor/x", b"POST", fields=[(b"Content-Length", b"")]) + b"x",
        request(b"/vendor/x", b"POST", fields=[(b"Content-Length", b"1" * 19)]) + b"x",
        request(b"/vendor/x", b"POST", fields=[(b"Content-Length", b"1"), (b"Content-Length", b"1")]) + b"x",
        request(b"/vendor/x", b"POST", b"x").replace(b": 1\r\n", b": 1\n"),
    ],
)
async def test_a_remembered_head_is_no_way_round_the_parser(second: bytes) -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(request(b"/vendor/x", b"POST", b"1"))
        await read_answer(client)
        await client.send(second)
        await error(client, 400, "bad_request")
        await client.wait_ended()
        assert len(engine.vendor.requests) == 1


async def test_a_remembered_head_is_forgotten_with_its_configuration() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(request(b"/vendor/x"))
        await read_answer(client)
        engine.edge.epoch += 1
        engine.edge.route = lambda _: (_ for _ in ()).throw(BadRequest("other rules"))
        await client.send(request(b"/vendor/x"))
        assert b"other rules" in (await error(client, 400, "bad_request")).body


@pytest.mark.parametrize("at", [1, 20, 30, -2])
async def test_a_remembered_head_that_comes_in_two_pieces_before_a_shorter_one(at: int) -> None:
    long, short = request(b"/vendor/long", fields=[(b"A", b"b" * 30)]), request(b"/vendor/s")
    async with Engine() as engine:
        client = await engine.dial()
        for data in (long, long, short, long):
            await client.send(data[:at])
            await until(lambda: any(handler._pending for handler in engine.edge.handlers))
            await client.send(data[at:])
            assert (await read_answer(client)).status == 200
            await client.send(short + long)
            assert [(await read_answer(client)).status for _ in range(2)] == [200, 200]


async def test_a_repeated_chunked_or_empty_request() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        chunked = request(b"/vendor/x", b"POST", fields=[(b"Transfer-Encoding", b"chunked")])
        for number in range(3):
            await client.send(chunked + chunks([b"%d" % number]))
            await read_answer(client)
        for _ in range(3):
            await client.send(request(b"/vendor/y"))
            await read_answer(client)
        assert [seen.body for seen in engine.vendor.requests] == [b"0", b"1", b"2", b"", b"", b""]


@pytest.mark.parametrize("step", [1, 1 << 20])
async def test_pipelined_requests_are_answered_in_order(step: int) -> None:
    def script(message: Message) -> bytes:
        return answer(message.target + b" " + message.body)

    async with Engine(serve(script)) as engine:
        client = await engine.dial()
        data = b"\r\n" + request(b"/vendor/1", b"POST", b"one") + request(b"/vendor/2") + b"\r\n\r\n"
        data += request(b"/nobody") + request(b"/guest") + request(b"/vendor/3", b"POST", b"three")
        await client.send_pieces(data, [step, 0] * (len(data) // step))
        assert (await read_answer(client)).body == b"/1 one"
        assert (await read_answer(client)).body == b"/2 "
        await error(client, 404, "unknown_provider")
        assert (await read_answer(client)).body == b"guest:"
        assert (await read_answer(client)).body == b"/3 three"


async def test_many_pipelined_requests_are_held_back_and_do_not_recurse() -> None:
    async with Engine(serve(answer(b""))) as engine:
        client = await engine.dial()
        client.recording = False
        count = 3000
        client.write(request(b"/nobody") * count + request(b"/vendor/x") * 50)
        for _ in range(count):
            assert (await read_answer(client)).status == 404
        for _ in range(50):
            assert (await read_answer(client)).status == 200


async def test_a_pipelining_client_is_not_read_without_end() -> None:
    async with Engine(head_only) as engine:
        client = await engine.dial()
        client.write(request(b"/vendor/x") * 200_000)
        await until(lambda: any(handler._paused_by for handler in engine.edge.handlers))
        handler = next(iter(engine.edge.handlers))
        held = len(handler._pending)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(handler._pending) == held < 1 << 20
        handler.transport.abort()  # nobody sees a client leave while not reading from it


async def test_pipelined_and_half_closed() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(request(b"/vendor/x") * 3 + request(b"/guest") + request(b"/vendor/x"))
        client.half_close()
        bodies = [(await read_answer(client)).body for _ in range(5)]
        assert bodies == [b"ok", b"ok", b"ok", b"guest:", b"ok"]
        assert await client.wait_ended() == "eof"


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["folded", "bare LF after a field", "both framings", "two Hosts", "absolute form"])
@pytest.mark.parametrize("step", [1, 1 << 20])
async def test_a_bad_head_is_answered_and_the_connection_closed(name: str, step: int) -> None:
    async with Engine() as engine:
        client = await engine.dial()
        data = BAD_REQUESTS[name][0] + request(b"/vendor/smuggled")
        for at in range(0, len(data), step):
            client.write(data[at : at + step])
            await asyncio.sleep(0)
        message = await error(client, 400, "bad_request")
        assert message.value(b"connection") == b"close"
        assert message.value(b"x-request-id") == b"id-1"
        assert await client.wait_ended() == "eof"
        assert engine.refused == [(None, "bad_request")]
        assert not engine.vendor.connections


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\nHost: a\n\n", b"GET /\0"])
async def test_nonsense_is_answered_at_once(data: bytes) -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(data)
        await error(client, 400, "bad_request")
        assert await client.wait_ended() == "eof"


@pytest.mark.parametrize(("size", "status"), [(65536, 200), (65537, 431)])
@pytest.mark.parametrize("step", [1 << 20, 10000])
async def test_the_size_of_a_head(size: int, status: int, step: int) -> None:
    async with Engine() as engine:
        client = await engine.dial()
        bare = len(request(b"/vendor/x", fields=[(b"A", b"")]))
        data = request(b"/vendor/x", fields=[(b"A", b"x" * (size - bare))])
        assert len(data) == size
        await client.send_pieces(data, [step, 0] * (size // step))
        assert (await read_answer(client)).status == status


async def test_a_head_without_end_is_cut_off() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        client.write(b"GET /vendor/x HTTP/1.1\r\nA: " + b"x" * 200_000)
        await error(client, 431, "head_too_large")
        await client.wait_ended()


async def test_empty_lines_before_a_request_cost_nothing() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        client.write(b"\r\n" * 1_000_000 + request(b"/vendor/x"))
        assert (await read_answer(client)).body == b"ok"


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (request(b"/nobody"), True),
        (request(b"/nobody", b"POST", b""), True),
        (request(b"/nobody", b"POST", b"body"), False),
        (request(b"/nobody", fields=[(b"Connection", b"close")]), False),
        (b"GET /nobody HTTP/1.0\r\nHost: a\r\n\r\n", False),
    ],
)
async def test_whether_a_refused_client_may_go_on(data: bytes, kept: bool) -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(data)
        message = await error(client, 404, "unknown_provider")
        assert message.value(b"connection") == (b"" if kept else b"close")
        if kept:
            await client.send(request(b"/vendor/x"))
            assert (await read_answer(client)).status == 200
        else:
            assert await client.wait_ended() == "eof"
        assert engine.refused == [(b"/nobody", "unknown_provider")]


async def test_a_refused_head_request_gets_no_body() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(request(b"/nobody", b"HEAD") + request(b"/vendor/x"))
        assert (await read_answer(client, b"HEAD")).status == 404
        assert (await read_answer(client)).body == b"ok"


async def test_a_refused_upload_does_not_destroy_its_answer() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        client.write(request(b"/nobody", b"POST", bytes(500_000)))
        await error(client, 404, "unknown_provider")
        assert await client.wait_ended() == "eof"


async def test_a_refused_client_that_never_stops_is_cut() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        client.write(request(b"/nobody", b"POST", fields=[(b"Content-Length", b"%d" % (64 << 20))]))
        client.write(bytes(64 << 20))
        await client.wait_lost()
        assert client.transport.get_write_buffer_size() == 0 or client.lost


async def test_too_many_connections() -> None:
    async with Engine(limits=LIMITS) as engine:
        several = [await engine.dial() for _ in range(3)]
        await until(lambda: len(engine.edge.handlers) == 3)
        fourth = await engine.dial()
        message = await error(fourth, 503, "overloaded")
        assert message.value(b"connection") == b"close"
        for client in several:
            await client.send(request(b"/vendor/x"))
            assert (await read_answer(client)).status == 200
        fourth.close()
        several[0].close()
        await until(lambda: len(engine.edge.handlers) == 2)
        fifth = await engine.dial()
        await fifth.send(request(b"/vendor/x"))
        assert (await read_answer(fifth)).status == 200


@pytest.mark.parametrize("remembered", [False, True])
async def test_a_draining_gateway_takes_nothing_new(remembered: bool) -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(request(b"/vendor/x" if remembered else b"/vendor/y"))
        await read_answer(client)
        engine.edge.draining = True
        await client.send(request(b"/vendor/x"))
        message = await error(client, 503, "draining")
        assert message.value(b"connection") == b"close"
        assert await client.wait_ended() == "eof"
        assert len(engine.vendor.requests) == 1


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", request(b"/vendor/x")])
async def test_a_head_that_does_not_end(before: bytes) -> None:
    async with Engine(limits=LIMITS) as engine:
        client = await engine.dial()
        if before:
            await client.send(before)
            await read_answer(client)
            engine.later(20)  # silence before a head does not count
        await client.send(b"GET /vendor/x HTTP/1.1\r\n")
        await until(lambda: any(handler._pending for handler in engine.edge.handlers))
        engine.later(20)
        await client.send(b"Host: a\r\n")  # nor does dripping help
        await until(lambda: any(b"Host" in handler._pending for handler in engine.edge.handlers))
        engine.later(9.9)
        assert not client.ended
        engine.later(0.2)
        await error(client, 408, "request_timeout")
        assert await client.wait_ended() == "eof"


@pytest.mark.parametrize("used", [False, True])
async def test_an_idle_connection_is_closed_in_silence(used: bool) -> None:
    async with Engine(limits=LIMITS) as engine:
        client = await engine.dial()
        await until(lambda: engine.edge.handlers)
        if used:
            engine.later(50)
            await client.send(request(b"/vendor/x"))
            await read_answer(client)
        engine.later(99.9)
        assert engine.edge.handlers
        engine.later(0.2)
        assert await client.wait_ended() == "eof"
        assert not client.buffer


async def test_a_running_exchange_is_not_idle() -> None:
    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_request(end)
        await go_on.wait()
        await end.send(answer(b"late"))

    go_on = asyncio.Event()
    async with Engine(script, Limits(idle_timeout=100, answer_timeout=1000, head_timeout=1)) as engine:
        client = await engine.dial()
        await client.send(request(b"/vendor/x"))
        await engine.vendor.wait_for(lambda: bool(engine.vendor.requests))
        engine.later(90)
        go_on.set()
        assert (await read_answer(client)).body == b"late"


# -- ends --------------------------------------------------------------------------------------------------------------


async def test_a_connection_closed_in_the_middle_of_a_head() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        await client.send(b"GET /vendor/x HTTP/1.1\r\n")
        client.half_close()
        await error(client, 400, "bad_request")
        assert await client.wait_ended() == "eof"


async def test_a_connection_that_says_nothing() -> None:
    async with Engine() as engine:
        client = await engine.dial()
        client.half_close()
        assert await client.wait_ended() == "eof"
        assert not client.buffer
        assert not engine.refused


def test_an_error_as_bytes() -> None:
    class Odd(GatewayError):
        status, code = 599, "odd"

    whole = error_answer(Odd('say "no"'), keep=True, bodyless=False, request_id="r1")
    first, _, body = whole.partition(b"\r\n\r\n")
    assert json.loads(body) == {"error": {"type": "gateway_error", "code": "odd", "message": 'say "no"'}}
    assert b"\r\nContent-Length: %d\r\n" % len(body) in first
    assert b"\r\nx-gateway-error: odd" in first
    assert b"\r\nx-request-id: r1" in first
    assert b"Connection" not in first
    bare = error_answer(Odd("x"), keep=False, bodyless=True, request_id="")
    assert bare.endswith(b"Connection: close\r\n\r\n")
    assert b"x-request-id" not in bare
