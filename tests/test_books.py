"""The books of one process: limits and a real ledger take a call together or not at all, and close it once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.books.books import Books, Call
from gateway.books.limits import Limits
from gateway.errors import BudgetSpent, NoCredit, RateLimited
from gateway.store import entries
from gateway.store.ledger import Ledger
from gateway.store.sqlite import FILE, connect
from gateway.store.verify import verify
from gateway.types import OUTCOME_COMPLETE, OUTCOME_FAILED, Caller, Charge

GRANTED = 1_000
FREE = Caller("key_1", "free", "acme")
LIMITED = Caller("key_2", "limited", "acme", rpm=100, tpm=1_000, concurrency=2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    connection = connect(tmp_path / FILE)
    entries.grant(connection, "acme", GRANTED)
    connection.close()
    return tmp_path


@pytest.fixture
async def ledger(data: Path) -> AsyncIterator[Ledger]:
    ledger = Ledger.open(data)
    yield ledger
    await ledger.stop()
    connection = connect(data / FILE, readonly=True)
    assert verify(connection)["errors"] == []
    connection.close()


@pytest.fixture
def limits() -> Limits:
    return Limits(lambda: 0.0)


@pytest.fixture
async def books(ledger: Ledger, limits: Limits) -> Books:
    return Books(ledger, limits)


def charge(request_id: str, cost: int = 0, outcome: str = OUTCOME_COMPLETE) -> Charge:
    return Charge(request_id, "acme", "key_2", outcome, cost=cost, model="m", provider="p")


def balance(data: Path) -> tuple[int, int]:
    connection = connect(data / FILE, readonly=True)
    try:
        return entries.balance(connection, "acme")
    finally:
        connection.close()


def remaining(limits: Limits) -> tuple[int, int, int]:
    standing = limits.standing(LIMITED)
    assert standing is not None
    return standing.requests_remaining, standing.tokens_remaining, limits.running


async def test_a_call_is_let_in_and_closed(books: Books, limits: Limits, data: Path) -> None:
    standing = await books.admit(LIMITED, "r1", 400, 300)
    assert standing == limits.standing(LIMITED)
    assert standing == await books.standing(LIMITED)
    assert (remaining(limits), books.open_holds()) == ((99, 600, 1), 1)
    await books.close(charge("r1", 120), 50)
    assert (remaining(limits), books.open_holds()) == ((99, 950, 0), 0)
    assert balance(data) == (GRANTED - 120, 0)  # durable when the close has returned
    assert (books.settlements, books.costs) == ({OUTCOME_COMPLETE: 1}, {"m": 120})


async def test_who_cannot_pay_takes_nothing_of_the_limits(books: Books, limits: Limits) -> None:
    with pytest.raises(NoCredit):
        await books.admit(LIMITED, "r1", 400, GRANTED + 1)
    assert remaining(limits) == (100, 1_000, 0)
    with pytest.raises(BudgetSpent):
        await books.admit(Caller("key_2", "limited", "acme", rpm=100, tpm=1_000, budget=10), "r2", 400, 11)
    assert (remaining(limits), books.open_holds()) == ((100, 1_000, 0), 0)


async def test_who_is_over_a_limit_takes_no_credit(books: Books) -> None:
    with pytest.raises(RateLimited):
        await books.admit(LIMITED, "r1", 1_001, GRANTED)
    assert books.open_holds() == 0
    assert await books.admit(FREE, "r2", 1_001, GRANTED) is None


async def test_fifty_race_for_the_last_credit(books: Books, limits: Limits) -> None:
    many = Caller("key_2", "limited", "acme", rpm=100, tpm=1_000, concurrency=50)
    answers = await asyncio.gather(
        *(books.admit(many, f"r{number}", 1, 400) for number in range(50)), return_exceptions=True
    )
    assert sum(isinstance(answer, NoCredit) for answer in answers) == 48
    assert remaining(limits) == (98, 998, 2)


async def test_one_who_gives_up_waiting_holds_nothing(books: Books, limits: Limits, data: Path) -> None:
    """The ledger looks again before it refuses: here the caller leaves while it looks."""
    waiting = asyncio.ensure_future(books.admit(LIMITED, "r1", 1, GRANTED + 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (remaining(limits), books.open_holds()) == ((100, 1_000, 0), 0)


async def test_only_the_first_close_counts(books: Books, limits: Limits, data: Path) -> None:
    await books.admit(LIMITED, "r1", 400, 300)
    await asyncio.gather(books.close(charge("r1", 100), 10), books.close(charge("r1", 200), 20))
    await books.close(charge("r1", 300), 30)
    await books.close(charge("never", 300), 30)
    assert (balance(data), remaining(limits)) == ((GRANTED - 100, 0), (99, 990, 0))
    assert books.settlements == {OUTCOME_COMPLETE: 1}


async def test_nobody_need_wait_for_what_costs_nothing(books: Books, limits: Limits) -> None:
    await books.admit(LIMITED, "r1", 400, GRANTED)
    assert books.close(charge("r1", outcome=OUTCOME_FAILED), 0, at_once=False).done()
    await books.admit(LIMITED, "r2", 1_000, GRANTED)  # given back at once all the same


async def test_calls_of_books_that_died_are_taken_over(data: Path, limits: Limits) -> None:
    ledger = Ledger.open(data)
    before = Books(ledger, limits)
    for name in ("closed", "running", "orphan"):
        await before.admit(LIMITED if name != "orphan" else FREE, name, 100, 100)
    await before.close(charge("closed", 40), 40)
    await asyncio.sleep(0.6)  # the others have reached the disk
    await before.admit(FREE, "young", 100, 100)  # has not reached the disk
    ledger.abandon()

    ledger, limits = Ledger.open(data, keep=True), Limits(lambda: 0.0)
    after = Books(ledger, limits)
    await after.adopt([
        Call(LIMITED, "closed", 100, 100), Call(LIMITED, "running", 100, 100), Call(FREE, "young", 100, 100),
    ])  # fmt: skip
    assert limits.running == 1
    with pytest.raises(NoCredit):
        await after.admit(FREE, "next", 1, GRANTED - 40 - 300 + 1)  # all three are held, the orphan too
    after.expire_orphans()
    await after.admit(FREE, "next", 1, GRANTED - 40 - 200)
    for name in ("closed", "running", "young", "orphan", "next"):
        await after.close(charge(name, 50), 50)
    await ledger.stop()
    assert balance(data) == (GRANTED - 40 - 50 - 50 - 50, 0)
    assert limits.running == 0
