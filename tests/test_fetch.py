"""One attempt at a vendor on real sockets: what the taker is told, in order, whatever the vendor does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import BadUpstreamReply, GatewayError, UpstreamTimeout, UpstreamUnreachable
from gateway.wire.fetch import Fetch
from gateway.wire.head import Response
from gateway.wire.pool import Destination, Pool
from tests.engine import until
from tests.wire.ends import PATIENCE, End
from tests.wire.messages import chunks, read_request
from tests.wire.vendor import Vendor

REQUEST = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
OK = b"HTTP/1.1 200 OK\r\n"


class Clock:
    """What a fetch needs of an edge."""

    now = 100.0


class Taker:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.body = b""
        self.over = asyncio.Event()
        self.error: GatewayError | None = None

    def head(self, response: Response) -> None:
        self.told.append(response.status)

    def piece(self, data: bytes) -> None:
        self.body += data
        if self.told[-1] != "piece":
            self.told.append("piece")

    def finished(self) -> None:
        self.told.append("finished")
        self.over.set()

    def broken(self, error: GatewayError) -> None:
        self.told.append("broken")
        self.error = error
        self.over.set()


class Lab:
    def __init__(self, vendor: Vendor, pool: Pool) -> None:
        self.vendor = vendor
        self.pool = pool
        self.clock = Clock()

    def fetch(self) -> tuple[Fetch, Taker]:
        taker = Taker()
        return Fetch(self.pool, self.clock, taker), taker  # type: ignore[arg-type]

    async def run(self, *answers: bytes, end: str = "", pause: bool = False) -> Taker:
        """One fetch at a vendor that says `answers` and then stays, or ends by `eof` or `reset`."""

        async def script(_: Vendor, connection: End) -> None:
            while await read_request(connection) is not None:
                for answer in answers:
                    connection.write(answer)
                    if pause:
                        await asyncio.sleep(0.005)
                if end == "reset":
                    await asyncio.sleep(0.02)
                    connection.reset()
                elif end:
                    connection.close()

        self.vendor.script = script
        fetch, taker = self.fetch()
        fetch.start(REQUEST)
        async with asyncio.timeout(PATIENCE):
            await taker.over.wait()
        return taker


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Vendor() as vendor:
        pool = Pool(Destination("http", "127.0.0.1", vendor.port), 100, PATIENCE)
        yield Lab(vendor, pool)
        pool.close_idle()
        await until(lambda: not pool.connections and not pool.dialling)


async def test_a_whole_answer_and_the_connection_goes_back(lab: Lab) -> None:
    for _ in range(3):
        taker = await lab.run(OK + b"Content-Length: 5\r\n\r\nhello")
        assert (taker.told, taker.body) == ([200, "piece", "finished"], b"hello")
    assert len(lab.vendor.connections) == 1
    assert len(lab.pool.idle) == 1


async def test_an_answer_in_pieces(lab: Lab) -> None:
    raw = OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks([b"one", b"two" * 1000, b"three"])
    taker = await lab.run(*[raw[at : at + 50] for at in range(0, len(raw), 50)], pause=True)
    assert taker.body == b"one" + b"two" * 1000 + b"three"
    assert taker.told[-1] == "finished"


async def test_empty_bodies(lab: Lab) -> None:
    for answer in (OK + b"Content-Length: 0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"):
        taker = await lab.run(answer)
        assert taker.told[1:] == ["finished"]


async def test_interim_answers_are_passed_over(lab: Lab) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    taker = await lab.run(hints + OK + b"Content-Length: 1\r\n\r\n!")
    assert taker.told == [200, "piece", "finished"]


async def test_a_body_until_close(lab: Lab) -> None:
    taker = await lab.run(OK + b"\r\nall of it", end="eof", pause=True)
    assert (taker.told, taker.body) == ([200, "piece", "finished"], b"all of it")
    assert not lab.pool.idle


async def test_bytes_behind_the_answer_end_the_connection(lab: Lab) -> None:
    taker = await lab.run(OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n")
    assert (taker.told, taker.body) == ([200, "piece", "finished"], b"ok")
    assert not lab.pool.idle


@pytest.mark.parametrize("end", ["eof", "reset"])
@pytest.mark.parametrize(
    "answer",
    [b"", OK[:8], OK + b"Content-Length: 9\r\n\r\nhal", OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
)
async def test_an_answer_that_is_cut(lab: Lab, answer: bytes, end: str) -> None:
    taker = await lab.run(answer, end=end, pause=True)
    assert isinstance(taker.error, BadUpstreamReply)
    assert taker.told[-1] == "broken"
    assert taker.told.count("broken") == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n", OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", OK[:-2] + b"\n\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        OK + b"x: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)  # fmt: skip
async def test_an_answer_that_is_no_http(lab: Lab, answer: bytes) -> None:
    taker = await lab.run(answer)
    assert isinstance(taker.error, BadUpstreamReply)


async def test_a_connection_that_died_in_the_pool_is_replaced_once(lab: Lab) -> None:
    await lab.run(OK + b"Content-Length: 2\r\n\r\nok")

    async def script(_: Vendor, connection: End) -> None:
        await read_request(connection)
        connection.write(OK + b"Content-Length: 5\r\n\r\nfresh")

    lab.vendor.script = script
    (old,) = lab.vendor.connections
    old.reset()
    fetch, taker = lab.fetch()
    fetch.start(REQUEST)
    async with asyncio.timeout(PATIENCE):
        await taker.over.wait()
    assert taker.body == b"fresh"


async def test_a_refused_connection() -> None:
    async with Vendor() as vendor:
        port = vendor.port
    pool = Pool(Destination("http", "127.0.0.1", port), 100, PATIENCE)
    taker = Taker()
    Fetch(pool, Clock(), taker).start(REQUEST)  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE):
        await taker.over.wait()
    assert isinstance(taker.error, UpstreamUnreachable)


async def test_silence_is_timed_out_before_and_in_the_answer(lab: Lab) -> None:
    asked: list[bool] = []

    async def script(_: Vendor, connection: End) -> None:
        await read_request(connection)
        asked.append(True)
        if lab.clock.now > 1000:
            connection.write(OK + b"Content-Length: 9\r\n\r\nhal")

    lab.vendor.script = script
    fetch, taker = lab.fetch()
    fetch.start(REQUEST)
    await until(lambda: asked)
    fetch.check(159, 60, 60)
    assert taker.told == []
    fetch.check(161, 60, 60)
    assert isinstance(taker.error, UpstreamTimeout)
    lab.clock.now = 2000.0
    fetch, late = lab.fetch()
    fetch.start(REQUEST)
    await until(lambda: late.body)
    fetch.check(2059, 60, 60)
    assert late.error is None
    fetch.check(2061, 60, 60)
    assert isinstance(late.error, UpstreamTimeout)
    assert late.told == [200, "piece", "broken"]


async def test_who_gave_up_hears_nothing_more_and_the_connection_is_kept_or_closed(lab: Lab) -> None:
    fetch, taker = lab.fetch()
    fetch.start(REQUEST)
    fetch.abandon()  # while it is dialling
    await until(lambda: not lab.pool.dialling)
    assert len(lab.pool.idle) == 1
    fetch, taker = lab.fetch()
    fetch.start(REQUEST)
    await until(lambda: fetch.upstream is not None)
    fetch.abandon()
    await until(lambda: not lab.pool.connections)
    assert taker.told == []


async def test_a_pause_holds_the_vendor_up(lab: Lab) -> None:
    async def script(_: Vendor, connection: End) -> None:
        await read_request(connection)
        connection.write(OK + b"Content-Length: %d\r\n\r\n" % (64 << 20))
        for _ in range(64):
            await connection.send(bytes(1 << 20))

    lab.vendor.script = script
    fetch, taker = lab.fetch()
    fetch.start(REQUEST)
    await until(lambda: taker.body)
    fetch.pause()
    taken = len(taker.body)
    fetch.check(1e9, 1, 1)  # a vendor that we do not read from is not silent
    assert taker.error is None
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(taker.body) == taken
    fetch.resume()
    async with asyncio.timeout(30):
        await taker.over.wait()
    assert len(taker.body) == 64 << 20
