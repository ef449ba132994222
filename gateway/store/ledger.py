"""The ledger: who can pay, what is held, and the charge of each call, once.

What an account has available is kept in memory, so that holding costs no I/O:

    memory = what the file says + what we have done and not yet committed

Holding and closing change memory at once. A call's hold and its charge are written together when it ends; only a hold
that lives longer than a moment gets an entry of its own, so that operators see it and a restart knows of it. After each
commit the file tells what it has: where others have written to it (`gateway credits grant`), or had a call's entries
already, memory follows. One process owns a ledger, by a lock on a file beside it.

A coroutine here waits for nothing but futures of the loop, and on the usual path not at all.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from gateway.errors import Overloaded
from gateway.store import entries
from gateway.store.budgets import Spending, spent
from gateway.store.entries import LARGEST, Write, Written, adjust, balance, cost_of, grant
from gateway.store.refusals import budget_spent, no_credit
from gateway.store.reports import history, usage
from gateway.store.sqlite import FILE, Unusable, connect
from gateway.store.writer import Answer, Writer
from gateway.types import OUTCOME_EXPIRED, OUTCOME_FAILED, Caller, Charge

__all__ = ["Ledger", "adjust", "balance", "grant", "history", "usage"]

LOCK = "ledger.lock"

_YOUNG_SECONDS = 0.25  # holds that live shorter are never entered by themselves
_DEADLINE_SECONDS = 3600.0  # of an entered hold; put off as long as its call runs
_PATIENCE_SECONDS = 10.0
_EXTEND_SECONDS = 600.0
_UNHEALTHY = "the gateway's books cannot be written right now; try again later"


class Occupied(Unusable):
    """Another process owns the ledger."""


class _Account:
    """What an account has, as we know it."""

    __slots__ = ("name", "available", "committed", "loaded")

    def __init__(self, name: str) -> None:
        self.name = name
        self.available = 0
        self.committed = 0  # what the file had when we last heard of it
        self.loaded = False  # until then `available` lacks what is in the file

    def heard(self, committed: int, change: int = 0) -> None:
        """The file has this, now that it has taken a change of ours (which `available` has had for long)."""
        self.available += committed - self.committed - change
        self.committed = committed
        self.loaded = True


class _Hold:
    """An open hold. `entered`: its entry is in the file or on the way there; or it needs none."""

    __slots__ = ("account", "key_id", "amount", "since", "entered", "spending")

    def __init__(self, account: _Account, key_id: str, amount: int, since: float, entered: bool) -> None:
        self.account = account
        self.key_id = key_id
        self.amount = amount
        self.since = since
        self.entered = entered
        self.spending: Spending | None = None


class Ledger:
    """The books of one data folder, owned by this process. Made by `open`, on the running loop."""

    def __init__(self, connection: sqlite3.Connection, lock: int, credits: bool, clock: Callable[[], float]) -> None:
        self.settlements: Counter[str] = Counter()  # closed calls by outcome
        self.costs: Counter[str] = Counter()  # nano-credits by model
        self._loop = asyncio.get_running_loop()
        self._lock = lock
        self._credits = credits
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._spendings: dict[str, Spending] = {}  # by key; only of keys with a budget
        self._holds: dict[str, _Hold] = {}
        self._flushing: asyncio.TimerHandle | None = None
        self._extended = 0.0  # when the deadlines were last put off
        self._stopped = False
        self._orphans: dict[str, _Hold] = {}  # what a dead process had entered
        for request_id, account, key_id, amount in entries.open_holds(connection):
            self._orphans[request_id] = _Hold(self._account(account), key_id, amount, 0.0, True)
        self._writer: Writer[Write] = Writer(connection, self)

    @classmethod
    def open(
        cls, data: Path, *, power: bool = False, credits: bool = True, keep: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> Ledger:  # fmt: skip
        """Takes the ledger of a data folder for this process. Holds that a dead one left are closed as expired; with
        `keep` they stay open until they are adopted, or `expire_orphans` is called.

        Raises OSError (another process has it, or the folder cannot be used) or sqlite3.Error.
        """
        lock = _locked(data)
        try:
            ledger = cls(connect(data / FILE, power), lock, credits, clock)
        except BaseException:
            os.close(lock)
            raise
        if not keep:
            ledger.expire_orphans()
        return ledger

    @classmethod
    async def open_soon(
        cls, data: Path, patience: float = _PATIENCE_SECONDS, *, power: bool = False, credits: bool = True,
        keep: bool = False,
    ) -> Ledger:  # fmt: skip
        """The same, but a process that is about to leave is waited for: restarts overlap."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return cls.open(data, power=power, credits=credits, keep=keep)
            except Occupied:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(0.05)

    @property
    def healthy(self) -> bool:
        """False while the file cannot be written: charges wait in memory, and nothing new starts."""
        return self._writer.healthy

    @property
    def commits(self) -> int:
        """Transactions so far: many settlements share one."""
        return self._writer.commits

    def writer_seconds(self) -> float:
        """CPU time that the thread which writes has used."""
        return time.clock_gettime(self._writer.cpu_clock)

    def open_holds(self) -> int:
        """Calls let in and not closed."""
        return len(self._holds) + len(self._orphans)

    async def hold(self, caller: Caller, request_id: str, amount: int) -> None:
        """Holds `amount` for a call, or raises NoCredit, BudgetSpent or Overloaded and holds nothing."""
        if self._stopped or not self._writer.healthy:
            raise Overloaded(_UNHEALTHY, retry_after=1.0)
        if amount < 0 or request_id in self._holds:
            raise ValueError("an amount is not negative, and a call is held once")
        account = self._account(caller.account)
        spending = None
        if self._credits:
            # Below zero nothing starts, not even a free call: the amount is not negative, so this says both.
            if account.available < amount or caller.budget is not None or not account.loaded:
                await self._make_sure(caller, account, amount)
            if self._spendings:
                spending = self._spendings.get(caller.key_id)
        # From the last check to here nothing was awaited: nobody else can have taken it.
        self._take(request_id, self._new_hold(caller, amount), spending)

    def close(self, charge: Charge) -> asyncio.Future[None]:
        """Closes a hold and charges it, now; the future is done once that is durable.

        A second close of a call, or the close of one that was never held, changes nothing; its future is done once all
        that was closed before is durable. The future fails only for a charge that no database could take.
        """
        if not 0 <= charge.cost <= LARGEST:
            raise ValueError("a cost is not negative, and at most 10**18 nano-credits")
        hold = self._holds.pop(charge.request_id, None)
        if hold is not None:
            return self._close(hold, charge)
        if self._stopped:
            future: asyncio.Future[None] = self._loop.create_future()
            future.set_result(None)
            return future
        return self._writer.ask(_nothing)

    async def adopt(self, holds: Iterable[tuple[Caller, str, int]]) -> set[str]:
        """Takes over calls that another process has let in: (caller, request id, amount). The ids that are open now.

        Nobody is refused, for the calls run already. One that has been closed stays closed.
        """
        known: set[str] = set()
        calls: dict[str, tuple[Caller, int]] = {}
        for caller, request_id, amount in holds:
            if request_id in self._holds:
                known.add(request_id)
            else:
                calls[request_id] = caller, amount
        adopted = await self._ask(partial(entries.closed, ids=list(calls)), partial(self._adopt, calls))
        return adopted | (known & self._holds.keys())

    def expire_orphans(self) -> None:
        """Closes as expired what a dead process had held and nobody has adopted."""
        orphans, self._orphans = self._orphans, {}
        for request_id, hold in orphans.items():
            self._close(hold, Charge(request_id, hold.account.name, hold.key_id, OUTCOME_EXPIRED))

    async def stop(self) -> None:
        """Gives open holds back, writes everything, and lets go of the folder."""
        if self._stopped:
            return
        for request_id, hold in list(self._holds.items()):
            self.close(Charge(request_id, hold.account.name, hold.key_id, OUTCOME_FAILED))
        self.expire_orphans()
        self._stopped = True
        if self._flushing is not None:
            self._flushing.cancel()
        await self._writer.stop()
        os.close(self._lock)

    def abandon(self) -> None:
        """Lets go of the folder as a crash would: what is not committed is lost, open holds stay open."""
        self._stopped = True
        if self._flushing is not None:
            self._flushing.cancel()
        self._writer.drop()
        os.close(self._lock)

    # -- memory ----------------------------------------------------------------------------------------------------

    def _account(self, name: str) -> _Account:
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = _Account(name)
        return account

    def _take(self, request_id: str, hold: _Hold, spending: Spending | None) -> None:
        hold.spending = spending
        if spending is not None:
            spending.held += hold.amount
        hold.account.available -= hold.amount
        self._holds[request_id] = hold
        if self._flushing is None:
            self._flushing = self._loop.call_later(_YOUNG_SECONDS, self._flush)

    def _close(self, hold: _Hold, charge: Charge) -> asyncio.Future[None]:
        cost = cost_of(charge)
        hold.account.available += hold.amount - cost
        if hold.spending is not None:
            hold.spending.held -= hold.amount
            hold.spending.spent += cost
        self.settlements[charge.outcome] += 1
        if cost:
            self.costs[charge.model] += cost
        future: asyncio.Future[None] = self._loop.create_future()
        self._writer.put(Write(
            charge.request_id, hold.account.name, hold.key_id, hold.amount, hold.since, charge, self._clock(),
            not hold.entered, future,
        ))  # fmt: skip
        return future

    def _new_hold(self, caller: Caller, amount: int) -> _Hold:
        """Without credits nothing is held, so there is nothing to enter before the charge."""
        amount = amount if self._credits else 0
        return _Hold(self._account(caller.account), caller.key_id, amount, self._clock(), not self._credits)

    def _adopt(self, calls: dict[str, tuple[Caller, int]], closed: set[str]) -> set[str]:
        opened = calls.keys() - closed - self._holds.keys()
        for request_id in opened:
            caller, amount = calls[request_id]
            hold = self._orphans.pop(request_id, None)
            if hold is None:
                hold = self._new_hold(caller, amount)
            else:
                hold.account.available += hold.amount  # the file has taken it, and `_take` takes it again
            self._take(request_id, hold, self._spendings.get(caller.key_id))
        return opened

    async def _make_sure(self, caller: Caller, account: _Account, amount: int) -> None:
        """Returns when account and budget cover the amount, at this very moment; raises NoCredit or BudgetSpent.

        Whenever something was awaited all is looked at again. It asks the file before it refuses: a grant acts at once.
        """
        asked = False
        while True:
            if not account.loaded or (account.available < amount and not asked):
                await self._ask(partial(entries.available, names=[account.name]), self.looked)
                asked = True
            elif caller.budget is not None and self._spending(caller) is None:
                await self._load_spending(caller)
            else:
                break
        if account.available < amount:
            raise no_credit(account.available, amount)
        if caller.budget is not None:
            spending = self._spendings[caller.key_id]
            used = spending.spent + spending.held
            if used + amount > caller.budget:
                raise budget_spent(caller.budget, caller.period, used, amount)

    def _spending(self, caller: Caller) -> Spending | None:
        """What the key has spent and held in the running period; None if that is not known."""
        spending = self._spendings.get(caller.key_id)
        if spending is None or not spending.loaded or not spending.runs(caller.period, self._clock()):
            return None
        return spending

    async def _load_spending(self, caller: Caller) -> None:
        now = self._clock()
        spending = self._spendings.get(caller.key_id)
        if spending is not None and spending.runs(caller.period, now):  # somebody has asked already,
            return await self._ask(_nothing, _nothing)  # and is answered before us
        mine = [hold for hold in self._holds.values() if hold.key_id == caller.key_id]
        spending = Spending(caller.period, now, sum(hold.amount for hold in mine))
        for hold in mine:
            hold.spending = spending
        self._spendings[caller.key_id] = spending
        return await self._ask(partial(spent, key_id=caller.key_id, since=spending.start), spending.add)

    async def _ask(self, job: Callable[[sqlite3.Connection], Any], then: Callable[[Any], Answer]) -> Answer:
        """Asks the file, and takes the answer in before anything newer is heard."""
        try:
            return await self._writer.ask(job, then)
        except sqlite3.Error as exc:  # only when stopping
            raise Overloaded(_UNHEALTHY, retry_after=1.0) from exc

    # -- the file --------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Enters the holds that are no longer young."""
        if self._flushing is not None:
            self._flushing.cancel()
        self._flushing = self._loop.call_later(_YOUNG_SECONDS, self._flush) if self._holds else None
        now = self._clock()
        for request_id, hold in self._holds.items():
            if not hold.entered and hold.since <= now - _YOUNG_SECONDS:
                hold.entered = True
                self._writer.put(Write(request_id, hold.account.name, hold.key_id, hold.amount, hold.since))
        if now - self._extended >= _EXTEND_SECONDS:
            self._extended = now
            self._writer.ask(partial(entries.extend, deadline=now + _DEADLINE_SECONDS))

    def write(self, connection: sqlite3.Connection, items: list[Write]) -> Written:
        return entries.write(connection, items, self._clock() + _DEADLINE_SECONDS)

    def wrote(self, items: list[Write], result: Written) -> None:
        for name, available in result.available.items():
            self._accounts[name].heard(available, result.changes[name])
        if result.ignored:
            self._spendings.clear()  # they counted what was entered before: the file knows better
        for item in items:
            if item.future is not None and not item.future.done():
                item.future.set_result(None)

    def look(self, connection: sqlite3.Connection) -> dict[str, int]:
        return entries.available(connection, list(self._accounts))

    def looked(self, result: dict[str, int]) -> None:
        for name, available in result.items():
            self._accounts[name].heard(available)

    def refused(self, item: Write, error: Exception) -> None:
        self._accounts[item.account].available -= item.change
        print(f"a call could not be entered in the ledger: {type(error).__name__}", file=sys.stderr, flush=True)
        if item.future is not None and not item.future.done():
            item.future.set_exception(error)


def _locked(data: Path) -> int:
    """The descriptor that keeps the lock; it goes with the process, however that ends."""
    lock = os.open(data / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Occupied(f"another gateway uses the data folder {data}; stop it, or give another with --data") from None
    return lock


def _nothing(_: object) -> None:
    """Asked for nothing: its answer comes after all that was put before."""
