"""Any order of grants, holds, closes, repeats, restarts and crashes leaves the books right, memory as the file says."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from gateway.errors import BudgetSpent, NoCredit
from gateway.store.ledger import Ledger, adjust, balance, grant
from gateway.store.sqlite import FILE, connect
from gateway.store.verify import verify
from gateway.types import CHARGED, OUTCOMES, Caller, Charge

ACCOUNTS = ("acme", "other")
BUDGET = 300
CALLERS = (
    Caller("free", "a", "acme"),
    Caller("limited", "b", "acme", budget=BUDGET),
    Caller("else", "c", "other"),
)
amounts = st.integers(0, 120)


class Model:
    """What must be so: plain sums over what was done."""

    def __init__(self) -> None:
        self.given = dict.fromkeys(ACCOUNTS, 0)
        self.open: dict[str, tuple[Caller, int]] = {}
        self.closed: dict[str, tuple[Caller, int]] = {}  # with its cost
        self.durable: set[str] = set()  # closed, and we were told that it is on the disk

    def available(self, account: str) -> int:
        held = sum(amount for caller, amount in self.open.values() if caller.account == account)
        return self.given[account] - held - sum(c for caller, c in self.closed.values() if caller.account == account)

    def used(self, key: str) -> int:
        calls = [*self.open.values(), *self.closed.values()]
        return sum(amount for caller, amount in calls if caller.key_id == key)


class Books(RuleBasedStateMachine):
    calls = Bundle("calls")
    done = Bundle("done")

    def __init__(self) -> None:
        super().__init__()
        self.data = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.outside = connect(self.data / FILE)
        self.model = Model()
        self.now = 1_800_000_000.0
        self.count = 0
        self.closing: dict[str, asyncio.Future[None]] = {}

    async def _open(self) -> Ledger:
        return Ledger.open(self.data, keep=True, clock=lambda: self.now)

    @initialize(given=st.integers(0, 1000))
    def start(self, given: int) -> None:
        self.ledger = self.loop.run_until_complete(self._open())
        self.ledger.expire_orphans()
        self.grant("acme", given)

    @rule(account=st.sampled_from(ACCOUNTS), amount=st.integers(0, 500))
    def grant(self, account: str, amount: int) -> None:
        grant(self.outside, account, amount)
        self.model.given[account] += amount

    @rule(account=st.sampled_from(ACCOUNTS), amount=st.integers(1, 300))
    def take_away(self, account: str, amount: int) -> None:
        adjust(self.outside, account, -amount)
        self.model.given[account] -= amount
        self.loop.run_until_complete(self._seen(account))

    @rule(target=calls, caller=st.sampled_from(CALLERS), amount=amounts)
    def hold(self, caller: Caller, amount: int) -> object:
        self.count += 1
        name = f"r{self.count}"
        poor = self.model.available(caller.account) < amount
        spent = caller.budget is not None and self.model.used(caller.key_id) + amount > caller.budget
        try:
            self.loop.run_until_complete(self.ledger.hold(caller, name, amount))
        except NoCredit:
            assert poor
        except BudgetSpent:
            assert spent
            assert not poor
        else:
            assert not poor
            assert not spent
            self.model.open[name] = (caller, amount)
            return name
        return multiple()

    @rule(target=done, name=consumes(calls), cost=amounts, outcome=st.sampled_from(OUTCOMES), wait=st.booleans())
    def close(self, name: str, cost: int, outcome: str, wait: bool) -> str:
        if name not in self.model.open:  # a stop or a crash was quicker
            self.close_again(name, cost, wait)
            return name
        caller, _ = self.model.open.pop(name)
        self.model.closed[name] = (caller, cost if outcome in CHARGED else 0)
        self.closing[name] = self._charged(name, caller, cost, outcome)
        if wait:
            self.loop.run_until_complete(self.closing[name])
            self._hear()
        return name

    @rule(name=done, cost=amounts, wait=st.booleans())
    def close_again(self, name: str, cost: int, wait: bool) -> None:
        again = self._charged(name, CALLERS[0], cost, "complete")
        if wait:
            self.loop.run_until_complete(again)
            assert name not in self.closing or self.closing[name].done()

    @rule(seconds=st.floats(0, 1))
    def time_passes(self, seconds: float) -> None:
        """Holds that are no longer young are entered."""
        self.now += seconds
        self.ledger._flush()

    @rule()
    def stop(self) -> None:
        self.loop.run_until_complete(self.ledger.stop())
        self._hear()
        assert not self.closing
        for name, (caller, _) in self.model.open.items():
            self.model.closed[name] = (caller, 0)
        self.model.open.clear()
        self.start(0)

    @rule(adopt=st.booleans(), flush=st.booleans())
    def crash(self, adopt: bool, flush: bool) -> None:
        """What is not committed is lost, unless whoever knows of it tells the next process."""
        if flush:
            self.loop.run_until_complete(self._everything())
            self._hear()
        self.ledger.abandon()
        self.loop.run_until_complete(asyncio.sleep(0))
        self._hear()
        lost = {name: self.model.closed[name] for name in self.closing}
        self.closing.clear()
        self.ledger = self.loop.run_until_complete(self._open())
        if adopt:
            self._adopt(lost)
        else:
            for name, (caller, _) in lost.items():
                self.model.closed[name] = (caller, self._cost_in_file(name))
            for name, (caller, _) in self.model.open.items():
                self.model.closed[name] = (caller, 0)
            self.model.open.clear()
        self.ledger.expire_orphans()

    def _adopt(self, lost: dict[str, tuple[Caller, int]]) -> None:
        """As a worker whose books have died: declares its open calls, and asks again for what was not acknowledged."""
        calls = [(caller, name, amount) for name, (caller, amount) in self.model.open.items()]
        calls += [(caller, name, 50) for name, (caller, _) in lost.items()]
        opened = self.loop.run_until_complete(self.ledger.adopt(calls))
        assert self.model.open.keys() <= opened
        for name, (caller, cost) in lost.items():
            assert name in opened or self._cost_in_file(name) == cost
            self.closing[name] = self._charged(name, caller, cost, "complete")

    @invariant()
    def holds_are_right(self) -> None:
        """The only thing that can be looked at without making all else durable."""
        if hasattr(self, "ledger"):
            assert self.ledger.open_holds() == len(self.model.open)

    @rule()
    def memory_and_file_are_right(self) -> None:
        """Once all is flushed the file says what memory says, but for holds that are still young."""
        self.loop.run_until_complete(self._everything())
        self._hear()
        assert not self.closing
        assert verify(self.outside, self.now)["errors"] == []
        young = [hold for hold in self.ledger._holds.values() if not hold.entered]
        for account in ACCOUNTS:
            self.loop.run_until_complete(self._seen(account))
            assert self.ledger._accounts[account].available == self.model.available(account)
            hidden = sum(hold.amount for hold in young if hold.account.name == account)
            available, held = balance(self.outside, account)
            assert available == self.model.available(account) + hidden
            assert held + hidden == sum(
                amount for caller, amount in self.model.open.values() if caller.account == account
            )
        for name in self.model.durable:
            assert self._cost_in_file(name) == self.model.closed[name][1]

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.memory_and_file_are_right()
            self.loop.run_until_complete(self.ledger.stop())
        self.outside.close()
        self.loop.close()
        shutil.rmtree(self.data)

    # ----

    def _charged(self, name: str, caller: Caller, cost: int, outcome: str) -> asyncio.Future[None]:
        return self.ledger.close(Charge(name, caller.account, caller.key_id, outcome, cost))

    def _hear(self) -> None:
        for name in [name for name, future in self.closing.items() if future.done()]:
            self.closing.pop(name).result()
            self.model.durable.add(name)

    def _cost_in_file(self, name: str) -> int:
        closed = "SELECT 1 FROM entries WHERE request_id = ? AND kind != 'hold'"
        if self.outside.execute(closed, (name,)).fetchone() is None:
            return 0
        (cost,) = self.outside.execute("SELECT -sum(amount) FROM entries WHERE request_id = ?", (name,)).fetchone()
        return int(cost)

    async def _everything(self) -> None:
        """Returns when all that was put is durable."""
        await self.ledger.close(Charge("never held", "acme", "free", "complete"))

    async def _seen(self, account: str) -> None:
        """Returns when what others wrote has been looked at."""
        with contextlib.suppress(NoCredit):
            await self.ledger.hold(Caller("too much", "x", account), "too much", 10**17)
            raise AssertionError


Books.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
test_books = Books.TestCase
