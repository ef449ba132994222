"""The books: limits and ledger as one. A call is let in by both or by neither, and closed in both, once.

`Bookkeeping` is what the walk of a call needs. With one worker it is a `Books`, in the same process; with several it is
a `RemoteBooks` (books/client.py), which asks the one process that has the `Books` (books/service.py).
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

from gateway.books.limits import Limits, Standing
from gateway.store.ledger import Ledger
from gateway.types import OUTCOME_EXPIRED, OUTCOME_FAILED, Caller, Charge

NO_HOLD = -1  # an amount: the call counts against the limits, but it is free and not entered in the ledger


class Bookkeeping(Protocol):
    """Who lets calls in and closes them."""

    settlements: dict[str, int]  # closed calls by outcome
    costs: dict[str, int]  # nano-credits by model

    async def admit(self, caller: Caller, request_id: str, tokens: int, amount: int) -> Standing | None:
        """Takes the call's place, its tokens and its hold in one step, or nothing at all.

        Raises RateLimited, NoCredit, BudgetSpent, or Overloaded where the books cannot be reached. None: the key has no
        limits. Whoever gives up waiting holds nothing. `amount` may be NO_HOLD.
        """

    def close(self, charge: Charge, tokens: int | None, at_once: bool = True) -> asyncio.Future[None]:
        """Closes what `admit` took, now; the future is done once that is durable.

        `tokens`: what the call used, None if nobody knows. Not `at_once`: nobody waits for the disk; the future is done
        already. Only the first close of a call counts; another, or that of a call never let in, changes nothing.
        Raises ValueError for a cost that is none; the future fails where no database could take the charge.
        """

    async def standing(self, caller: Caller) -> Standing | None:
        """Where the caller stands with its limits, for the headers of an answer that was not admitted."""

    def open_holds(self) -> int:
        """Calls let in and not closed."""


class Call(NamedTuple):
    """A call as it was let in."""

    caller: Caller
    request_id: str
    tokens: int
    amount: int


class Books:
    """The books of this process."""

    def __init__(self, ledger: Ledger, limits: Limits) -> None:
        self._ledger = ledger
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.settlements: dict[str, int] = ledger.settlements
        self.costs: dict[str, int] = ledger.costs
        self.open_holds = ledger.open_holds

    async def admit(self, caller: Caller, request_id: str, tokens: int, amount: int) -> Standing | None:
        standing = self._limits.admit(caller, request_id, tokens)
        if amount == NO_HOLD:
            return standing
        try:
            await self._ledger.hold(caller, request_id, amount)
        except BaseException:  # also where the one who waits has given up
            self._limits.undo(request_id)
            raise
        return standing

    def close(self, charge: Charge, tokens: int | None, at_once: bool = True) -> asyncio.Future[None]:
        closed = self._ledger.close(charge)  # first: it refuses what is no charge, and then nothing has changed
        self._limits.done(charge.request_id, tokens)
        return closed if at_once else finished(self._loop)

    async def adopt(self, calls: list[Call]) -> None:
        """Takes over calls that were let in by books which have died since. Those closed in the ledger stay closed."""
        held = [(call.caller, call.request_id, call.amount) for call in calls if call.amount != NO_HOLD]
        opened = await self._ledger.adopt(held)
        for call in calls:
            if call.amount == NO_HOLD or call.request_id in opened:
                self._limits.restore(call.caller, call.request_id, call.tokens)

    def expire_orphans(self) -> None:
        """Closes as expired what dead books had let in and nobody has taken over."""
        self._ledger.expire_orphans()

    async def standing(self, caller: Caller) -> Standing | None:
        return self._limits.standing(caller)


def finished(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """A future that is done."""
    future: asyncio.Future[None] = loop.create_future()
    future.set_result(None)
    return future


def given_up(caller: Caller, request_id: str) -> Charge:
    """Closes a call that was let in after the one who asked had gone."""
    return Charge(request_id, caller.account, caller.key_id, OUTCOME_FAILED)


def expired(caller: Caller, request_id: str) -> Charge:
    """Closes a call whose process has died."""
    return Charge(request_id, caller.account, caller.key_id, OUTCOME_EXPIRED)
