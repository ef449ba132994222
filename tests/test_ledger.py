"""The ledger: who may spend, what is held, each charge once. On a real file, with a clock that is set by hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import BudgetSpent, NoCredit, Overloaded
from gateway.store.budgets import bounds
from gateway.store.ledger import Ledger, Occupied, adjust, balance, grant, history, usage
from gateway.store.sqlite import FILE, Unusable, connect, transaction
from gateway.store.verify import verify
from gateway.types import CHARGED, OUTCOMES, Caller, Charge, Usage

NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC
DAY = 86_400.0
CALLER = Caller("key_1", "someone", "acme")
USAGE = Usage(10, 2, 3, 20, 5, {"seconds": 1.5, "images": 2})


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class World:
    """A data folder, an operator's connection to it, and the gateways that open it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.clock = Clock()
        self.outside = connect(data / FILE)
        self.opened: list[Ledger] = []

    def open(self, credits: bool = True, keep: bool = False) -> Ledger:
        ledger = Ledger.open(self.data, credits=credits, keep=keep, clock=self.clock)
        self.opened.append(ledger)
        return ledger

    async def until(self, true: Callable[[], bool]) -> None:
        """Waits for what the ledger does by itself, ever so often; the test's own limit ends it."""
        while not true():
            await asyncio.sleep(0.01)

    def right(self) -> bool:
        return not verify(self.outside, self.clock.now)["errors"]

    def kinds(self, account: str = "acme") -> list[tuple[str, int, str]]:
        return [(entry.kind, entry.amount, entry.outcome) for entry in history(self.outside, account)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    for ledger in world.opened:
        await ledger.stop()
    assert world.right()
    world.outside.close()


def charge(request_id: str, cost: int = 0, outcome: str = "complete", key: str = "key_1", **more: object) -> Charge:
    return Charge(request_id, "acme", key, outcome, cost, "m", "p", **more)  # type: ignore[arg-type]


def at_once(ledger: Ledger, request_id: str, amount: int) -> bool:
    """Whether a hold is taken without waiting for anything, driven by hand as the walk does."""
    try:
        ledger.hold(CALLER, request_id, amount).send(None)
    except StopIteration:
        return True
    return False


# ---- holding and closing


async def test_a_call_is_held_and_charged(world: World) -> None:
    grant(world.outside, "acme", 1000)
    ledger = world.open()
    await ledger.hold(CALLER, "r1", 600)
    assert ledger.open_holds() == 1
    with pytest.raises(NoCredit):
        await ledger.hold(CALLER, "r2", 401)
    parts = (("input", 10, 3_000_000), ("seconds", 1.5, 2_000_000))
    await ledger.close(charge("r1", 33, usage=USAGE, parts=parts, estimated=True, note="why"))
    assert ledger.open_holds() == 0
    assert balance(world.outside, "acme") == (967, 0)
    _, held, settled = history(world.outside, "acme")
    assert (held.kind, held.amount, held.request_id, held.key_id) == ("hold", -600, "r1", "key_1")
    assert (settled.kind, settled.amount, settled.cost, settled.outcome) == ("settle", 567, 33, "complete")
    assert (settled.model, settled.provider, settled.usage, settled.parts) == ("m", "p", USAGE, parts)
    assert (settled.estimated, settled.note, settled.request_id, settled.time) == (True, "why", "r1", NOON)
    assert ledger.settlements == {"complete": 1}
    assert ledger.costs == {"m": 33}


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_only_some_outcomes_are_charged(world: World, outcome: str) -> None:
    """Whatever cost the charge of a failed call names."""
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "r1", 60)
    await ledger.close(charge("r1", 7, outcome))
    expected = ("settle", 53, outcome) if outcome in CHARGED else ("release", 60, outcome)
    assert world.kinds()[2] == expected
    assert balance(world.outside, "acme") == ((93, 0) if outcome in CHARGED else (100, 0))


async def test_the_usual_hold_waits_for_nothing(world: World) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "first", 10)  # asks the file what the account has
    assert at_once(ledger, "second", 90)
    assert not at_once(ledger, "third", 1)  # asks the file before it refuses


async def test_a_hold_may_take_all_but_no_more(world: World) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "r1", 100)
    await ledger.hold(CALLER, "free", 0)
    with pytest.raises(NoCredit, match=r"0\.000000001 credits and the account has 0 available; lower .* credits grant"):
        await ledger.hold(CALLER, "r2", 1)
    await ledger.close(charge("free"))
    await ledger.close(charge("r1", outcome="failed"))
    await ledger.hold(CALLER, "r2", 100)


async def test_a_charge_may_exceed_the_hold_and_below_zero_nothing_starts(world: World) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "r1", 100)
    await ledger.close(charge("r1", 101))
    assert balance(world.outside, "acme") == (-1, 0)
    with pytest.raises(NoCredit, match="-0.000000001 available"):
        await ledger.hold(CALLER, "free", 0)
    grant(world.outside, "acme", 1)
    await ledger.hold(CALLER, "free", 0)


async def test_an_unknown_account_has_nothing(world: World) -> None:
    ledger = world.open()
    with pytest.raises(NoCredit):
        await ledger.hold(CALLER, "r1", 1)
    await ledger.hold(CALLER, "free", 0)
    await ledger.close(charge("free", usage=USAGE))
    assert world.kinds() == [("hold", 0, ""), ("settle", 0, "complete")]


async def test_nonsense_is_refused(world: World) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "r1", 10)
    with pytest.raises(ValueError, match="held once"):
        await ledger.hold(CALLER, "r1", 10)
    with pytest.raises(ValueError, match="not negative"):
        await ledger.hold(CALLER, "r2", -1)
    for cost in (-1, 10**18 + 1):
        with pytest.raises(ValueError, match="cost"):
            ledger.close(charge("r1", cost))
    assert ledger.open_holds() == 1


async def test_hostile_names_are_only_names(world: World) -> None:
    ledger = world.open()
    for number, name in enumerate(["'; DROP TABLE entries; --", "a\0b", "名字", "\n", "x" * 10_000, ""]):
        grant(world.outside, name, 10, note=name)
        await ledger.hold(Caller(name, name, name), f"{name}{number}", 10)
        await ledger.close(Charge(f"{name}{number}", name, name, "complete", 3, name, name, note=name))
        assert balance(world.outside, name) == (7, 0)
        assert [entry.note for entry in history(world.outside, name)] == [name, "", name]


async def test_fifty_race_for_the_last_credit(world: World) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    tries = [ledger.hold(CALLER, f"r{number}", 30) for number in range(50)]
    refused = [isinstance(result, NoCredit) for result in await asyncio.gather(*tries, return_exceptions=True)]
    assert refused.count(False) == 3
    assert ledger.open_holds() == 3


async def test_one_who_gives_up_waiting_holds_nothing(world: World) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    tasks = [asyncio.ensure_future(ledger.hold(CALLER, f"r{number}", 50)) for number in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [None, None]
    assert ledger.open_holds() == 2


# ---- once


async def test_a_second_close_changes_nothing(world: World) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "r1", 10)
    first, second = ledger.close(charge("r1", 1)), ledger.close(charge("r1", 2))
    await second
    assert first.done()  # the second is done only once the first is durable
    await ledger.close(charge("r1", 3, "failed"))
    await ledger.close(charge("never held", 4))
    assert balance(world.outside, "acme") == (99, 0)
    assert ledger.settlements == {"complete": 1}


async def test_a_close_after_a_crash_and_an_adoption_is_charged_once(world: World) -> None:
    """The first close became durable, but whoever asked for it never heard so and asks again."""
    grant(world.outside, "acme", 100)
    ledger = world.open()
    for name in ("closed", "entered", "young"):
        await ledger.hold(CALLER, name, 10)
        if name == "entered":
            world.clock.now += 1
            await world.until(lambda: balance(world.outside, "acme")[1] == 20)
    await ledger.close(charge("closed", 1))
    ledger.abandon()
    ledger = world.open(keep=True)
    assert ledger.open_holds() == 1
    calls = [(CALLER, name, 10) for name in ("closed", "entered", "young")]
    assert await ledger.adopt(calls) == {"entered", "young"}
    assert await ledger.adopt(calls) == {"entered", "young"}
    ledger.expire_orphans()
    with pytest.raises(NoCredit):
        await ledger.hold(CALLER, "too much", 80)
    await ledger.hold(CALLER, "all", 79)
    for cost, name in enumerate(("closed", "entered", "young", "all")):
        await ledger.close(charge(name, cost))
    assert balance(world.outside, "acme") == (100 - 1 - 1 - 2 - 3, 0)


async def test_an_id_that_was_used_before_is_not_charged_again(world: World) -> None:
    """Memory follows the file, also in what a key has spent."""
    grant(world.outside, "acme", 100)
    limited = Caller("key_1", "someone", "acme", budget=50)
    ledger = world.open()
    for cost in (10, 20):
        await ledger.hold(limited, "same", 30)
        await ledger.close(charge("same", cost))
    assert balance(world.outside, "acme") == (90, 0)
    await ledger.hold(limited, "rest", 40)
    with pytest.raises(NoCredit):
        await ledger.hold(CALLER, "more", 51)
    with pytest.raises(BudgetSpent):
        await ledger.hold(limited, "more", 1)


# ---- others at the same file


async def test_a_grant_from_outside_acts_at_once(world: World) -> None:
    ledger = world.open()
    with pytest.raises(NoCredit):
        await ledger.hold(CALLER, "r1", 10)
    grant(world.outside, "acme", 10)
    await ledger.hold(CALLER, "r1", 10)
    await ledger.close(charge("r1", 4))
    adjust(world.outside, "acme", 5)
    await ledger.hold(CALLER, "r2", 11)
    assert world.kinds()[-1] == ("adjust", 5, "")


async def test_what_is_taken_away_outside_is_seen(world: World) -> None:
    """Within a moment, though this gateway writes nothing meanwhile."""
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "r1", 10)
    adjust(world.outside, "acme", -80)
    await world.until(lambda: ledger._accounts["acme"].available == 10)
    assert not at_once(ledger, "r2", 11)
    assert at_once(ledger, "r3", 10)


async def test_a_grant_and_charges_in_flight_do_not_mix(world: World) -> None:
    grant(world.outside, "acme", 1000)
    ledger = world.open()
    for number in range(100):
        await ledger.hold(CALLER, f"r{number}", 10)
    closing = []
    for number in range(100):
        closing.append(ledger.close(charge(f"r{number}", 5)))
        if number % 10 == 0:
            grant(world.outside, "acme", 1)
            await asyncio.sleep(0)
    await asyncio.gather(*closing)
    with pytest.raises(NoCredit):
        await ledger.hold(CALLER, "one too many", 511)
    await ledger.hold(CALLER, "all", 510)


async def test_a_young_call_never_has_a_hold_row(world: World) -> None:
    world.outside.executescript("""
        CREATE TABLE seen (id TEXT);
        CREATE TRIGGER see AFTER INSERT ON holds BEGIN INSERT INTO seen VALUES (new.request_id); END;""")
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "long", 10)
    world.clock.now += 1
    await ledger.hold(CALLER, "short", 10)
    await world.until(lambda: balance(world.outside, "acme") == (90, 10))
    await ledger.close(charge("short", 1))
    assert balance(world.outside, "acme") == (89, 10)
    await ledger.close(charge("long", 2))
    assert balance(world.outside, "acme") == (97, 0)
    assert world.outside.execute("SELECT id FROM seen").fetchall() == [("long",)]


async def test_a_deadline_is_put_off_while_the_call_runs(world: World) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "long", 10)
    for _ in range(4):
        world.clock.now += 3000
        deadline = world.clock.now + 3600
        await world.until(lambda: world.outside.execute("SELECT deadline FROM holds").fetchone() == (deadline,))  # noqa: B023
        assert world.right()


# ---- a start and an end


async def test_one_gateway_at_a_time(world: World) -> None:
    ledger = world.open()
    with pytest.raises(Unusable, match="another gateway uses the data folder .*--data"):
        world.open()
    program = "import sys, pathlib; from gateway.store import ledger; ledger._locked(pathlib.Path(sys.argv[1]))"
    found = subprocess.run(
        [sys.executable, "-c", program, str(world.data)], capture_output=True, text=True, check=False
    )
    assert "another gateway uses the data folder" in found.stderr
    await ledger.stop()
    world.open()


async def test_one_that_is_about_to_leave_is_waited_for(tmp_path: Path) -> None:
    first = Ledger.open(tmp_path)
    with pytest.raises(Occupied):
        await Ledger.open_soon(tmp_path, patience=0)
    second = asyncio.ensure_future(Ledger.open_soon(tmp_path, patience=60))
    await asyncio.sleep(0)
    assert not second.done()
    await first.stop()
    await (await second).stop()


async def test_holds_of_a_dead_process_are_given_back(world: World) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "long", 10)
    world.clock.now += 1
    await world.until(lambda: balance(world.outside, "acme") == (90, 10))
    await ledger.hold(CALLER, "young", 10)
    ledger.abandon()
    assert balance(world.outside, "acme") == (90, 10)
    ledger = world.open()
    await ledger.hold(CALLER, "all", 100)
    await ledger.close(charge("long", 5))  # too late
    assert world.kinds()[1:] == [("hold", -10, ""), ("release", 10, "expired")]
    assert ledger.settlements == {"expired": 1}


async def test_a_stop_gives_back_what_is_open(world: World) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "r1", 10)
    await ledger.hold(CALLER, "r2", 20)
    closing = ledger.close(charge("r2", 2))
    await ledger.stop()
    await ledger.stop()
    await closing
    assert world.kinds()[1:] == [
        ("hold", -20, ""), ("settle", 18, "complete"), ("hold", -10, ""), ("release", 10, "failed"),
    ]  # fmt: skip
    with pytest.raises(Overloaded):
        await ledger.hold(CALLER, "r3", 1)
    await ledger.close(charge("r1", 1))
    assert balance(world.outside, "acme") == (98, 0)


async def test_without_credits_costs_are_entered_and_nobody_is_refused(world: World) -> None:
    ledger = world.open(credits=False)
    poor = Caller("key_1", "someone", "acme", budget=1)
    await ledger.hold(poor, "r1", 10**30)
    await ledger.hold(poor, "r2", 5)
    world.clock.now += 1
    await ledger.close(charge("r1", 7))
    await ledger.close(charge("r2", 7, "failed"))
    assert world.kinds() == [("settle", -7, "complete"), ("release", 0, "failed")]
    assert balance(world.outside, "acme") == (-7, 0)


# ---- a disk that fails


def limit_pages(ledger: Ledger, pages: int) -> None:
    ledger._writer._connection.execute(f"PRAGMA max_page_count = {pages}")


async def test_a_full_disk_loses_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    grant(world.outside, "acme", 10**12)
    ledger = world.open()
    names = [f"r{number}" for number in range(500)]
    for name in names:
        await ledger.hold(CALLER, name, 10)
    limit_pages(ledger, 1)
    closing = [ledger.close(charge(name, 1, note="x" * 500)) for name in names]
    await world.until(lambda: not ledger.healthy)
    with pytest.raises(Overloaded, match="cannot be written"):
        await ledger.hold(CALLER, "more", 1)
    assert not any(future.done() for future in closing)
    limit_pages(ledger, 10**6)
    await asyncio.gather(*closing)
    assert ledger.healthy
    assert balance(world.outside, "acme") == (10**12 - 500, 0)
    await ledger.hold(CALLER, "more", 10**12 - 500)
    told = capsys.readouterr().err
    assert told.count("the database cannot be written") == 1
    assert "key_1" not in told


async def test_a_locked_file_is_waited_for(world: World) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    await ledger.hold(CALLER, "r1", 10)
    ledger._writer._connection.execute("PRAGMA busy_timeout = 1")
    with transaction(world.outside):
        closing = ledger.close(charge("r1", 1))
        await world.until(lambda: not ledger.healthy)
        assert not closing.done()
    await closing
    assert balance(world.outside, "acme") == (99, 0)


async def test_a_charge_that_no_database_takes_harms_no_other(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    grant(world.outside, "acme", 100)
    ledger = world.open()
    for number in range(9):
        await ledger.hold(CALLER, f"r{number}", 10)
    futures = [ledger.close(charge(f"r{number}", 1, note="\ud800" if number == 4 else "")) for number in range(9)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 4 + [UnicodeEncodeError] + [type(None)] * 4
    assert balance(world.outside, "acme") == (92, 0)
    await ledger.hold(CALLER, "rest", 92)
    assert "could not be entered in the ledger: UnicodeEncodeError" in capsys.readouterr().err


# ---- budgets


def test_periods_are_those_of_utc() -> None:
    midnight = NOON - DAY / 2
    assert bounds("day", NOON) == bounds("day", midnight) == (midnight, midnight + DAY)
    assert bounds("day", midnight - 0.001) == (midnight - DAY, midnight)
    assert bounds("month", NOON) == (midnight - 14 * DAY, midnight + 17 * DAY)
    december = 1_797_000_000.0
    assert bounds("month", december)[1] == 1_798_761_600.0  # 2027-01-01
    assert bounds(None, NOON)[0] <= 0 < NOON < bounds(None, NOON)[1]


@pytest.mark.parametrize(("period", "seconds"), [("day", DAY), ("month", 31 * DAY), (None, None)])
async def test_a_budget_holds_for_its_period(world: World, period: str | None, seconds: float | None) -> None:
    grant(world.outside, "acme", 10_000)
    caller = Caller("key_1", "someone", "acme", budget=100, period=period)
    ledger = world.open()
    await ledger.hold(caller, "r1", 60)
    with pytest.raises(
        BudgetSpent, match=r"0\.00000006 of this key's budget of 0\.0000001 credits.*gateway keys update"
    ):
        await ledger.hold(caller, "r2", 41)
    await ledger.hold(caller, "r2", 40)
    await ledger.close(charge("r1", 55))
    await ledger.close(charge("r2", 40, "failed"))
    await ledger.hold(caller, "r3", 45)
    with pytest.raises(BudgetSpent):
        await ledger.hold(caller, "r4", 1)
    await ledger.hold(Caller("key_2", "another", "acme", budget=100), "other", 100)
    if seconds is not None:
        world.clock.now += seconds
        await ledger.hold(caller, "next", 55)  # what r3 holds counts: it will be charged in this period
        with pytest.raises(BudgetSpent):
            await ledger.hold(caller, "next but one", 1)
    else:
        world.clock.now += 400 * DAY
        with pytest.raises(BudgetSpent):
            await ledger.hold(caller, "never", 1)


async def test_a_budget_counts_what_was_before_it(world: World) -> None:
    """Calls before the start, and those before the key had a budget; also the ones still open."""
    grant(world.outside, "acme", 10_000)
    ledger = world.open()
    await ledger.hold(CALLER, "old", 10)
    await ledger.close(charge("old", 10))
    await ledger.stop()
    ledger = world.open()
    await ledger.hold(CALLER, "open", 10)
    await ledger.hold(CALLER, "closing", 10)
    closing = ledger.close(charge("closing", 10))
    caller = Caller("key_1", "someone", "acme", budget=100)
    with pytest.raises(BudgetSpent):
        await ledger.hold(caller, "more", 71)
    await ledger.hold(caller, "all", 70)
    await closing
    await ledger.hold(CALLER, "budget lifted", 500)
    await ledger.close(charge("budget lifted", 1))
    await ledger.close(charge("all", 69))
    with pytest.raises(BudgetSpent):
        await ledger.hold(caller, "nothing is left", 1)


async def test_fifty_race_for_the_last_of_a_budget(world: World) -> None:
    grant(world.outside, "acme", 10_000)
    ledger = world.open()
    caller = Caller("key_1", "someone", "acme", budget=100, period="day")
    tries = [ledger.hold(caller, f"r{number}", 30) for number in range(50)]
    refused = [isinstance(result, BudgetSpent) for result in await asyncio.gather(*tries, return_exceptions=True)]
    assert refused.count(False) == 3


# ---- what operators see


async def test_usage_is_summed_exactly(world: World) -> None:
    ledger = world.open(credits=False)
    for number in range(10):
        key = f"key_{number % 2}"
        await ledger.hold(Caller(key, "n", "acme"), f"r{number}", 1)
        usage_ = Usage(10, 1, 2, 20, 3, {"seconds": 0.1, "images": 1}) if number else None
        await ledger.close(charge(f"r{number}", 10**15 + number, "complete" if number else "failed", key, usage=usage_))
        world.clock.now += DAY / 2
    (row,) = usage(world.outside)
    assert row == {
        "model": "m", "requests": 10, "input": 90, "cached_input": 9, "cache_write": 18, "output": 180, "reasoning": 27,
        "cost": 9 * 10**15 + 45, "extra_units": {"seconds": 0.9, "images": 9},
    }  # fmt: skip
    assert [(row["key"], row["requests"]) for row in usage(world.outside, "key")] == [("key_0", 5), ("key_1", 5)]
    assert [row["requests"] for row in usage(world.outside, "day")] == [1, 2, 2, 2, 2, 1]
    assert [row["day"] for row in usage(world.outside, "day")][:2] == ["2027-01-15", "2027-01-16"]
    assert usage(world.outside, "account", since=NOON + 4 * DAY)[0]["requests"] == 2
    assert usage(world.outside, "provider", since=NOON + 90 * DAY) == []
    assert [entry.request_id for entry in history(world.outside, since=NOON + 4 * DAY)] == ["r8", "r9"]


def test_a_grant_has_bounds(tmp_path: Path) -> None:
    with contextlib.closing(connect(tmp_path / FILE)) as connection:
        with pytest.raises(ValueError, match="negative"):
            grant(connection, "acme", -1)
        for _ in range(4):
            grant(connection, "acme", 10**18)
        with pytest.raises(ValueError, match="too large"):
            grant(connection, "acme", 1)
        with pytest.raises(ValueError, match="too large"):
            adjust(connection, "other", -(10**18) - 1)
        assert balance(connection, "acme") == (4 * 10**18, 0)
        assert balance(connection, "other") == (0, 0)


# ---- the file


@pytest.fixture
def mask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("mask")
def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    (tmp_path / FILE).touch(0o666)
    with contextlib.closing(connect(tmp_path / FILE)) as connection:
        grant(connection, "acme", 1)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys([FILE, f"{FILE}-wal", f"{FILE}-shm"], 0o600)


def test_entries_are_never_changed(tmp_path: Path) -> None:
    with contextlib.closing(connect(tmp_path / FILE)) as connection:
        grant(connection, "acme", 1)
        for statement in ("UPDATE entries SET amount = 2", "DELETE FROM entries"):
            with pytest.raises(sqlite3.IntegrityError, match="enter an adjust"):
                connection.execute(statement)


def test_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from gateway.store import sqlite, entries; sys.stdin.read()\n"
        "for _ in range(20): entries.grant(sqlite.connect(pathlib.Path(sys.argv[1])), 'acme', 1)"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / FILE)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate()[1].decode() for process in running]
    assert [process.returncode for process in running] == [0] * 4, errors
    with contextlib.closing(connect(tmp_path / FILE, readonly=True)) as connection:
        assert balance(connection, "acme") == (80, 0)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            grant(connection, "acme", 1)


def test_a_file_of_a_newer_gateway_is_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(connect(tmp_path / FILE)) as connection:
        connection.execute("PRAGMA user_version = 9999")
    with pytest.raises(Unusable, match="made by a newer gateway; install that one, or give another with --data"):
        connect(tmp_path / FILE)


async def test_a_file_that_is_no_database_leaves_no_lock(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"hello" * 1000)
    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError, match="not a database"):
            Ledger.open(tmp_path)
