"""The books process and its workers: real processes on a real socket, killed in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.books.client import RemoteBooks
from gateway.errors import NoCredit, Overloaded, RateLimited
from gateway.store import entries, reports
from gateway.store.sqlite import FILE, connect
from gateway.store.verify import verify
from gateway.types import OUTCOME_COMPLETE, OUTCOME_EXPIRED, OUTCOME_FAILED, Caller, Charge, Usage

GRANTED = 10**12
PATIENCE = 20.0
FREE = Caller("key_1", "free", "acme", callback_secret="whsec_not_to_be_sent", models=frozenset({"m"}))
LIMITED = Caller("key_2", "limited", "acme", rpm=100, tpm=1_000, concurrency=2)


class Place:
    """A data folder and the books process that keeps it, started as the parent of the workers starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "books.socket"
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)
        self.config = folder / "providers.yaml"
        self.config.touch()
        connection = connect(self.data / FILE)
        entries.grant(connection, "acme", GRANTED)
        connection.close()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, expected: int = 0) -> None:
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(self.config), "--data", str(self.data)]
        environ = os.environ | {"GATEWAY_WORKER_FOLDER": str(self.folder), "GATEWAY_BOOKS_EXPECT": str(expected)}
        self.process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE)

    def end(self, number: int) -> tuple[int, str]:
        """Sends it a signal; its exit code and what it said."""
        assert self.process is not None
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE)
        code, self.process = self.process.returncode, None
        return code, said.decode()

    def closed(self) -> dict[str, tuple[str, int]]:
        """Outcome and cost of every call, after making sure that the books are right and nothing is held."""
        connection = connect(self.data / FILE, readonly=True)
        try:
            found = verify(connection)
            assert found["errors"] == []
            assert found["open_holds"] == 0
            rows = list(reports.history(connection, "acme"))
            closes = [row for row in rows if row.kind in ("settle", "release")]
            assert len({row.request_id for row in closes}) == len(closes)
            assert entries.balance(connection, "acme") == (GRANTED - sum(row.cost for row in closes), 0)
            return {row.request_id: (row.outcome, row.cost) for row in closes}
        finally:
            connection.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    if place.process is not None:
        place.process.kill()
        place.process.communicate()


@asynccontextmanager
async def worker(place: Place) -> AsyncIterator[RemoteBooks]:
    books = RemoteBooks(place.socket)
    await books.start(PATIENCE)
    yield books
    await books.stop(PATIENCE)


def charge(request_id: str, cost: int = 0, outcome: str = OUTCOME_COMPLETE) -> Charge:
    return Charge(
        request_id, "acme", "key_1", outcome, cost, "m", "p", Usage(3, 0, 0, 5, 0, {"images": 1.0}),
        (("per_request", 1.0, cost * 10**6),), note="naïve",
    )  # fmt: skip


async def until_let_in(books: RemoteBooks, caller: Caller, request_id: str) -> None:
    """Asks again until the books let the call in."""
    while True:
        try:
            await books.admit(caller, request_id, 1, 1)
        except (Overloaded, RateLimited):
            await asyncio.sleep(0.05)
        else:
            return


async def test_admit_and_close_over_the_socket(place: Place) -> None:
    place.start()
    async with worker(place) as books:
        standing = await books.admit(LIMITED, "r1", 400, 300)
        assert standing is not None
        assert (standing.requests_limit, standing.requests_remaining, standing.tokens_remaining) == (100, 99, 600)
        assert await books.admit(FREE, "r2", 400, 300) is None
        assert books.open_holds() == 2
        await asyncio.gather(books.close(charge("r1", 7), 30), books.close(charge("r1", 9), 30))
        await books.close(charge("r1", 11), 30)
        await books.close(charge("never", 13), 30)
        assert books.close(charge("r2", outcome=OUTCOME_FAILED), 0, at_once=False).done()
        after = await books.standing(LIMITED)
        assert after is not None
        assert (after.requests_remaining, after.tokens_remaining) == (99, 970)
        assert await books.standing(FREE) is None
    assert books.open_holds() == 0
    assert books.settlements == {OUTCOME_COMPLETE: 1, OUTCOME_FAILED: 1}
    assert books.costs == {"m": 7}
    code, said = place.end(signal.SIGTERM)
    assert (code, "Traceback" in said) == (0, False)
    assert place.closed() == {"r1": (OUTCOME_COMPLETE, 7), "r2": (OUTCOME_FAILED, 0)}
    assert not any(FREE.callback_secret.encode() in path.read_bytes() for path in place.data.iterdir())


async def test_refusals_come_as_they_were_raised(place: Place) -> None:
    place.start()
    async with worker(place) as books:
        with pytest.raises(NoCredit) as poor:
            await books.admit(FREE, "r1", 1, GRANTED + 1)
        assert (poor.value.status, poor.value.code) == (402, "insufficient_credit")
        with pytest.raises(RateLimited) as large:
            await books.admit(LIMITED, "r2", 10**40, 10**40)  # numbers that no field of the wire could carry
        assert (large.value.kind, large.value.retry_after) == ("tokens", 60.0)
        assert "can never fit" in large.value.message
        assert books.open_holds() == 0


async def test_workers_share_limits_and_credit(place: Place) -> None:
    place.start()
    racers = 25
    async with worker(place) as one, worker(place) as other:
        answers = await asyncio.gather(
            *(books.admit(LIMITED, f"{name}{number}", 1, 1)
              for number in range(racers) for name, books in (("one", one), ("other", other))),
            return_exceptions=True,
        )  # fmt: skip
        refused = [answer for answer in answers if isinstance(answer, RateLimited)]
        assert {error.kind for error in refused} == {"concurrency"}
        assert len(refused) == 2 * racers - 2
        assert one.open_holds() + other.open_holds() == 2
        answers = await asyncio.gather(
            *(books.admit(FREE, f"{name}-last{number}", 1, GRANTED - 10)
              for number in range(racers) for name, books in (("one", one), ("other", other))),
            return_exceptions=True,
        )  # fmt: skip
        assert sum(isinstance(answer, NoCredit) for answer in answers) == 2 * racers - 1


async def test_one_who_gives_up_waiting_holds_nothing(place: Place) -> None:
    place.start()
    async with worker(place) as books:
        task = asyncio.ensure_future(books.admit(LIMITED, "cancelled", 1, 1))
        await asyncio.sleep(0)
        task.cancel()
        walk = books.admit(LIMITED, "walked away", 1, 1)
        walk.send(None)
        walk.close()
        late = books.admit(FREE, "left as the answer came", 1, 1)
        answer = late.send(None)
        while not answer.done():
            await asyncio.sleep(0.001)
        late.close()
        await until_let_in(books, LIMITED, "r1")
        await until_let_in(books, LIMITED, "r2")  # two at a time: nobody else is left
        for name in ("r1", "r2"):
            await books.close(charge(name, 1), 1)
    place.end(signal.SIGTERM)
    outcomes = {name: outcome for name, (outcome, _) in place.closed().items()}
    assert outcomes == {
        "cancelled": OUTCOME_FAILED, "walked away": OUTCOME_FAILED, "left as the answer came": OUTCOME_FAILED,
        "r1": OUTCOME_COMPLETE, "r2": OUTCOME_COMPLETE,
    }  # fmt: skip


async def test_a_connection_that_breaks_leaves_nothing_behind(place: Place) -> None:
    """What was let in and never heard of is given back once the worker is there again; what it had heard of stays."""
    place.start()
    async with worker(place) as books:
        for number in range(5):
            await until_let_in(books, FREE, f"kept{number}")
            asking = asyncio.ensure_future(books.admit(LIMITED, f"lost{number}", 1, 1))
            for _ in range(3):  # sent, not yet answered
                await asyncio.sleep(0)
            assert books._channel is not None
            books._channel._abort()
            with pytest.raises(Overloaded):
                await asking
        await until_let_in(books, LIMITED, "r1")
        await until_let_in(books, LIMITED, "r2")
        await asyncio.gather(*(books.close(charge(f"kept{number}", 3), 1) for number in range(5)))
    place.end(signal.SIGTERM)
    closed = place.closed()
    assert {name: cost for name, (_, cost) in closed.items() if cost} == {f"kept{number}": 3 for number in range(5)}
    assert {outcome for name, (outcome, _) in closed.items() if name.startswith("lost")} == {OUTCOME_FAILED}


async def test_while_the_books_are_away(place: Place) -> None:
    """Calls are refused at once, those under way wait for their close, and all goes on when the books are back."""
    place.start()
    async with worker(place) as books:
        await books.admit(LIMITED, "old", 100, 100)
        await asyncio.sleep(0.5)  # long enough to have reached the disk
        await books.admit(LIMITED, "young", 100, 100)
        place.end(signal.SIGKILL)
        closing = books.close(charge("young", 40), 40)
        with pytest.raises(Overloaded) as away:
            await books.admit(FREE, "refused", 1, 1)  # asked of the dead, perhaps: their end is the answer
        assert (away.value.status, away.value.retry_after) == (503, 1.0)
        assert await books.standing(LIMITED) is None
        assert not closing.done()
        place.start(expected=1)
        await closing
        with pytest.raises(RateLimited):
            await books.admit(LIMITED, "too many", 1_000, 1)  # the one under way still counts
        await books.close(charge("old", 60), 60)
    place.end(signal.SIGTERM)
    assert place.closed() == {"young": (OUTCOME_COMPLETE, 40), "old": (OUTCOME_COMPLETE, 60)}


async def test_no_charge_is_lost_or_doubled_when_the_books_are_killed(place: Place) -> None:
    dice = random.Random(7)
    paid: dict[str, int] = {}
    stop = False

    async def client(books: RemoteBooks, name: str) -> None:
        number = 0
        while not stop:
            number += 1
            request_id, cost = f"{name}-{number}", dice.randrange(1, 10**6)
            try:
                await books.admit(FREE, request_id, 10, 10**6)
            except Overloaded:
                await asyncio.sleep(0.02)
                continue
            await asyncio.sleep(dice.choice((0, 0.002, 0.4)))
            await books.close(charge(request_id, cost), 10)
            paid[request_id] = cost

    place.start()
    async with worker(place) as one, worker(place) as other:
        clients = [
            asyncio.ensure_future(client(books, f"{name}{number}"))
            for name, books in (("one", one), ("other", other)) for number in range(10)
        ]  # fmt: skip
        for _ in range(3):
            before = len(paid)
            while len(paid) < before + 100:
                await asyncio.sleep(0.01)
            place.end(signal.SIGKILL)
            place.start(expected=2)
        before = len(paid)
        while len(paid) < before + 100:
            await asyncio.sleep(0.01)
        stop = True
        await asyncio.gather(*clients)
    code, _ = place.end(signal.SIGTERM)
    assert code == 0
    charged = {name: cost for name, (outcome, cost) in place.closed().items() if outcome == OUTCOME_COMPLETE}
    assert charged == paid
    assert one.settlements[OUTCOME_COMPLETE] + other.settlements[OUTCOME_COMPLETE] == len(paid)
    assert one.costs["m"] + other.costs["m"] == sum(paid.values())


WORKER = """
import asyncio, sys
from pathlib import Path
from gateway.books.client import RemoteBooks
from gateway.types import Caller

async def main():
    books = RemoteBooks(Path(sys.argv[1]))
    await books.start(20)
    caller = Caller("key_2", "limited", "acme", rpm=100, tpm=1_000, concurrency=2)
    await books.admit(caller, "dead1", 100, 100)
    await asyncio.sleep(0.4)
    await books.admit(caller, "dead2", 100, 100)
    print("held", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_what_a_dead_worker_held_is_given_back(place: Place) -> None:
    place.start()
    async with worker(place) as books:
        dead = subprocess.Popen([sys.executable, "-c", WORKER, str(place.socket)], stdout=subprocess.PIPE)
        assert dead.stdout is not None
        assert await asyncio.to_thread(dead.stdout.readline) == b"held\n"
        with pytest.raises(RateLimited):
            await books.admit(LIMITED, "r1", 1, 1)
        dead.kill()
        dead.communicate()
        await until_let_in(books, LIMITED, "r2")
        standing = await books.standing(LIMITED)
        assert standing is not None
        assert standing.tokens_remaining == 799  # what the dead calls used, nobody knows
        await books.close(charge("r2", 5), 1)
    place.end(signal.SIGTERM)
    assert place.closed() == {"dead1": (OUTCOME_EXPIRED, 0), "dead2": (OUTCOME_EXPIRED, 0), "r2": ("complete", 5)}


async def test_what_nobody_declares_after_the_books_died_is_given_back(place: Place) -> None:
    place.start()
    async with worker(place) as books:
        dead = subprocess.Popen([sys.executable, "-c", WORKER, str(place.socket)], stdout=subprocess.PIPE)
        assert dead.stdout is not None
        await asyncio.to_thread(dead.stdout.readline)
        await books.admit(FREE, "alive", 1, 100)
        await asyncio.sleep(0.5)
        place.end(signal.SIGKILL)
        dead.kill()
        dead.communicate()
        place.start(expected=2)  # one of them will never come
        await books.close(charge("alive", 9), 1)
        await until_let_in(books, FREE, "r1")
        await books.close(charge("r1", 5), 1)
        await books.admit(FREE, "all", 1, GRANTED - 14)  # what the dead had held is there again
        await books.close(charge("all", outcome=OUTCOME_FAILED), 0)
    place.end(signal.SIGTERM)
    assert place.closed() == {
        "dead1": (OUTCOME_EXPIRED, 0), "dead2": (OUTCOME_EXPIRED, 0), "all": (OUTCOME_FAILED, 0),
        "alive": (OUTCOME_COMPLETE, 9), "r1": (OUTCOME_COMPLETE, 5),
    }  # fmt: skip


async def test_the_books_end_after_the_last_worker(place: Place) -> None:
    place.start()
    async with worker(place) as books:
        await books.admit(FREE, "r1", 1, 100)
        assert place.process is not None
        place.process.send_signal(signal.SIGTERM)
        place.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        await books.close(charge("r1", 5), 1)
        assert place.process.poll() is None
    while place.process.poll() is None:
        await asyncio.sleep(0.01)
    assert place.end(signal.SIGTERM)[0] == 0
    assert place.closed() == {"r1": (OUTCOME_COMPLETE, 5)}


NONSENSE = {
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "no msgpack": b"\x00\x00\x00\x01\xc1",
    "an endless array": b"\x00\x00\x00\x09\xdd\xff\xff\xff\xff\x91\x01\x00\x00",
    "an unknown message": b"\x00\x00\x00\x03\x91\x91\x63",
    "a question before the hello": b"\x00\x00\x00\x05\x91\x93\x03\xc0\xc0",
    "what only the books say": b"\x00\x00\x00\x03\x91\x91\x0b",
}


async def test_nonsense_ends_a_connection_and_hurts_nobody_else(place: Place) -> None:
    place.start()
    async with worker(place) as books:
        for what, nonsense in NONSENSE.items():
            reader, writer = await asyncio.open_unix_connection(place.socket)
            writer.write(nonsense)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b"", what
            writer.close()
        await until_let_in(books, FREE, "r1")
        await books.close(charge("r1", 5), 1)
    code, said = place.end(signal.SIGTERM)
    assert (code, "Traceback" in said) == (0, False)


async def test_without_books_the_start_goes_on_and_calls_are_refused(tmp_path: Path) -> None:
    books = RemoteBooks(tmp_path / "nobody")
    await books.start(0.2)
    with pytest.raises(Overloaded):
        await books.admit(FREE, "r1", 1, 1)
    await books.stop(1)
