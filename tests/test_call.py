"""The client's side of a unified call on real sockets: the request whole whatever its pieces, one answer, every end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest, BodyTooLarge, GatewayError, RequestTimeout
from gateway.unified.answers import LAST_CHUNK, head, piece
from gateway.wire.call import Call, ClientLeft
from gateway.wire.head import CHUNKED, Request
from gateway.wire.plan import CallPlan, Plan
from gateway.wire.server import Limits
from gateway.wire.waiting import Wait, Walk
from tests.engine import Engine, until
from tests.wire.ends import EOF, RESET, End
from tests.wire.messages import read_answer

Run = Callable[["Listening"], Coroutine[Any, Any, None]]
MAX_BODY = 100_000


class Listening:
    """A listener whose decisions are the test's."""

    def __init__(self, call: Call, run: Run) -> None:
        self.call = call
        self.run = run
        self.left = Wait()
        self.time_up = Wait()
        self.body: bytes | None = None
        self.error: Exception | None = None
        self.crashes: list[Exception] = []

    def start(self) -> None:
        Walk(self._run(), self.crashes.append).go()

    async def _run(self) -> None:
        try:
            self.body = await self.call.body()
        except (GatewayError, ClientLeft) as error:
            self.error = error
            if isinstance(error, ClientLeft):
                self.call.cut_off()
            else:
                self.call.refuse(whole(self.call, str(error).encode(), error.status))
            return
        await self.run(self)

    def client_left(self) -> None:
        self.left.set()

    def time_is_up(self) -> None:
        self.time_up.set()


def whole(call: Call, body: bytes, status: int = 200) -> bytes:
    return head(status, b"text/plain", b"", len(body), call.keep_client) + body


async def echo(listening: Listening) -> None:
    call = listening.call
    call.write(whole(call, b"echo:" + (listening.body or b"")))
    call.finish()


class Calls(Engine):
    """An engine that serves `/call...` as calls."""

    def __init__(self, run: Run = echo, limits: Limits | None = None) -> None:
        super().__init__(limits=limits)
        self.run = run
        self.calls: list[Listening] = []

    def _route(self, request: Request) -> Plan | CallPlan | None:  # type: ignore[override]
        if not request.path.startswith(b"/call"):
            return super()._route(request)
        plan = CallPlan(self._listen, MAX_BODY, self.edge.epoch)
        plan.chunked = request.length == CHUNKED
        plan.keep_alive = request.keep_alive
        plan.old = request.minor == 0
        plan.expects = request.get(b"expect") is not None
        return plan

    def _listen(self, call: Call) -> Listening:
        self.calls.append(Listening(call, self.run))
        return self.calls[-1]

    async def call(self, number: int = 0) -> Listening:
        await until(lambda: len(self.calls) > number)
        return self.calls[number]


def post(body: bytes, *fields: bytes, path: bytes = b"/call") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: h", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*pieces: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return b"POST /call HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body


async def test_the_body_is_whole_however_it_comes() -> None:
    body = bytes(range(256)) * 20
    async with Calls() as engine:
        client = await engine.dial()
        for request, sizes in (
            (post(body), []),
            (post(body), [1] * 90 + [0, 700, 0, 1, 0]),
            (chunked(body), []),
            (chunked(body[:1], body[1:]), [3] * 60 + [0]),
            (post(b""), []),
        ):
            await client.send_pieces(request, sizes)
            answer = await read_answer(client)
            assert answer.body in (b"echo:" + body, b"echo:")
        assert [len(call.body or b"") for call in engine.calls] == [len(body)] * 4 + [0]


@given(st.lists(st.integers(1, 400), max_size=20), st.booleans())
def test_every_split_gives_the_same_body(sizes: list[int], in_chunks: bool) -> None:
    body = b"the same bytes " * 60

    async def go() -> None:
        async with Calls() as engine:
            client = await engine.dial()
            request = chunked(body) if in_chunks else post(body)
            await client.send_pieces(request, [n for size in sizes for n in (size, 0)])
            assert (await read_answer(client)).body == b"echo:" + body

    asyncio.run(go())


async def test_calls_pass_through_and_guests_share_a_connection_even_pipelined() -> None:
    async with Calls() as engine:
        client = await engine.dial()
        guest = b"GET /guest HTTP/1.1\r\nHost: h\r\n\r\n"
        forwarded = b"GET /vendor/x HTTP/1.1\r\nHost: h\r\n\r\n"
        await client.send(post(b"one") + guest + forwarded + post(b"two") + post(b"three"))
        bodies = [(await read_answer(client)).body for _ in range(5)]
        assert (bodies[0], bodies[3], bodies[4]) == (b"echo:one", b"echo:two", b"echo:three")
        assert bodies[1].startswith(b"guest:")


async def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    async with Calls() as engine:
        client = await engine.dial()
        await client.send(b"POST /call HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\nxx")
        answer = await read_answer(client)
        assert answer.status == 413
        assert answer.value(b"connection") == b"close"
        assert isinstance(engine.calls[0].error, BodyTooLarge)


async def test_a_chunked_body_over_the_limit_is_refused_when_it_is() -> None:
    async with Calls() as engine:
        client = await engine.dial()
        piece = bytes(50_000)
        await client.send(b"POST /call HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert (await read_answer(client)).status == 413


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    async with Calls() as engine:
        client = await engine.dial()
        await client.send(post(bytes(MAX_BODY)))
        assert len((await read_answer(client)).body) == MAX_BODY + 5


async def test_broken_chunks_are_a_bad_request_at_once_or_later() -> None:
    async with Calls() as engine:
        for pieces in ([b"zz\r\n"], [b"3\r\nabc\r\n", b"zz\r\n"]):
            client = await engine.dial()
            await client.send(b"POST /call HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces[0])
            for piece in pieces[1:]:
                await asyncio.sleep(0.01)
                await client.send(piece)
            assert (await read_answer(client)).status == 400
        assert all(isinstance(call.error, BadRequest) for call in engine.calls)


async def test_a_client_that_expects_a_100_gets_one() -> None:
    async with Calls() as engine:
        client = await engine.dial()
        await client.send(b"POST /call HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"ok")
        assert (await read_answer(client)).body == b"echo:ok"


async def test_no_100_is_sent_to_those_who_are_refused_or_have_sent_already() -> None:
    async with Calls() as engine:
        client = await engine.dial()
        await client.send(post(b"ok", b"Expect: 100-continue"))
        assert (await read_answer(client)).status == 200
        await client.send(b"POST /call HTTP/1.1\r\nHost: h\r\nContent-Length: 999999\r\nExpect: 100-continue\r\n\r\n")
        assert (await read_answer(client)).status == 413


async def test_a_body_that_stops_coming_is_timed_out() -> None:
    async with Calls(limits=Limits(idle_timeout=60)) as engine:
        client = await engine.dial()
        await client.send(b"POST /call HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
        await engine.call()
        engine.later(59)
        assert engine.calls[0].error is None
        engine.later(2)
        assert (await read_answer(client)).status == 408
        assert isinstance(engine.calls[0].error, RequestTimeout)


@pytest.mark.parametrize("leave", [End.reset, End.half_close])
async def test_who_leaves_before_the_body_is_complete_has_asked_nothing(leave: Callable[[End], None]) -> None:
    async with Calls() as engine:
        client = await engine.dial()
        await client.send(b"POST /call HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
        call = await engine.call()
        leave(client)
        await until(lambda: call.error is not None)
        assert isinstance(call.error, ClientLeft)
        await until(lambda: not engine.edge.active)


async def test_who_leaves_later_is_told_to_the_listener_and_the_walk_goes_on() -> None:
    answered = Wait()

    async def run(listening: Listening) -> None:
        await listening.left
        call = listening.call
        call.write(whole(call, b"nobody reads this"))
        call.finish()
        answered.set()

    async with Calls(run) as engine:
        client = await engine.dial()
        await client.send(post(b"x"))
        await engine.call()
        client.reset()
        await until(lambda: answered.done)
        assert engine.calls[0].call.left
        assert not engine.edge.active


async def test_the_deadline_of_a_client_that_left() -> None:
    async def run(listening: Listening) -> None:
        await listening.left
        listening.call.deadline = listening.call.client.edge.now + 30
        await listening.time_up
        listening.call.cut_off()

    async with Calls(run) as engine:
        client = await engine.dial()
        await client.send(post(b"x"))
        call = await engine.call()
        client.reset()
        await until(lambda: call.left.done)
        engine.later(29)
        assert not call.time_up.done
        engine.later(2)
        assert call.time_up.done
        assert not engine.edge.active


async def test_a_half_closed_client_still_gets_its_answer() -> None:
    async with Calls() as engine:
        client = await engine.dial()
        client.write(post(b"x"))
        client.half_close()
        assert (await read_answer(client)).body == b"echo:x"
        assert await client.wait_ended() == EOF


async def stream_then_cut(listening: Listening) -> None:
    call = listening.call
    call.write(head(200, b"text/event-stream", b"", None, call.keep_client, call.plan.old))
    call.write(piece(b"data: 1\n\n", call.plan.old))
    call.cut_off()


async def test_a_cut_shows() -> None:
    async with Calls(stream_then_cut) as engine:
        client = await engine.dial()
        await client.send(post(b""))
        await client.wait_ended()
        assert b"data: 1" in client.raw
        assert not client.raw.endswith(LAST_CHUNK)


async def test_a_cut_shows_to_an_old_client_as_a_reset() -> None:
    async with Calls(stream_then_cut) as engine:
        client = await engine.dial()
        await client.send(b"POST /call HTTP/1.0\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        assert await client.wait_ended() == RESET


async def test_an_old_client_gets_no_chunks_and_a_close() -> None:
    async def run(listening: Listening) -> None:
        call = listening.call
        call.write(head(200, b"text/event-stream", b"", None, call.keep_client, call.plan.old))
        call.write(piece(b"data: 1\n\n", call.plan.old))
        call.finish()

    async with Calls(run) as engine:
        client = await engine.dial()
        await client.send(b"POST /call HTTP/1.0\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        assert await client.wait_ended() == EOF
        assert bytes(client.raw).endswith(b"\r\n\r\ndata: 1\n\n")
        assert b"chunked" not in client.raw.lower()


async def test_a_client_that_reads_no_more_is_left_after_a_while() -> None:
    async def run(listening: Listening) -> None:
        call = listening.call
        call.write(head(200, b"text/event-stream", b"", None, call.keep_client))
        while not call.client.full:
            call.write(piece(bytes(1 << 20), False))
        await listening.left
        call.cut_off()

    async with Calls(run, Limits(idle_timeout=60)) as engine:
        client = await engine.dial(receive_buffer=4096)
        client.pause()
        await client.send(post(b""))
        call = await engine.call()
        engine.later(61)
        await until(lambda: call.left.done)
        await until(lambda: not engine.edge.active)


async def test_drain_tells_the_listener() -> None:
    async def run(listening: Listening) -> None:
        await listening.time_up
        listening.call.refuse(whole(listening.call, b"stopping", 504))

    async with Calls(run) as engine:
        client = await engine.dial()
        await client.send(post(b""))
        call = await engine.call()
        call.call.cut()
        assert (await read_answer(client)).status == 504
