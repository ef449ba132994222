"""A worker's side of the books: asks the books process over its Unix socket.

The books process may die and come back; no charge may be lost over that. So a worker remembers what it holds until it
has heard that it is closed. On each new connection it first declares all of it: the books, which know only what had
reached the disk, take these calls over. Then it sends again each close that was not acknowledged; the ledger lets an id
be closed only once. Calls that asked and were not answered are refused; the books, had they let one in, take it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gateway.books.books import NO_HOLD, finished, given_up
from gateway.books.limits import Standing
from gateway.books.messages import Admit, Admitted, Ask, Channel, Close, Closed, Hello, Message, Refused, Told, Welcome
from gateway.errors import Overloaded
from gateway.store.entries import LARGEST
from gateway.types import Caller, Charge

_RECONNECT_SECONDS = 0.05
_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 10.0  # the books answer in well under a millisecond: past this they hang
_AWAY = "the gateway's books cannot be reached right now; try again in a moment"


class _Asked(NamedTuple):
    admit: Admit
    answer: asyncio.Future[Standing | None]
    since: float


class _Closing(NamedTuple):
    admit: Admit
    close: Close
    durable: asyncio.Future[None]


class RemoteBooks:
    """The books of another process, as one of its workers sees them; a `Bookkeeping`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._session = secrets.token_hex(8)  # which worker this is, over all its connections
        self._channel: Channel | None = None  # only while the books know what we hold
        self._open: dict[str, Admit] = {}
        self._asked: dict[str, _Asked] = {}
        self._closing: dict[str, _Closing] = {}
        self._questions: dict[str, asyncio.Future[Standing | None]] = {}
        self._question = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._welcome = asyncio.Event()
        self.settlements: dict[str, int] = {}
        self.costs: dict[str, int] = {}

    async def start(self, seconds: float) -> None:
        """Connects. Returns after `seconds` at the latest: pass-through needs no books, and the rest may come later."""
        self._tasks = [self._loop.create_task(self._stay_connected()), self._loop.create_task(self._look())]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._welcome.wait(), seconds)

    async def stop(self, seconds: float) -> None:
        """Waits for the last acknowledgements, so long at most, and hangs up."""
        waiting = [closing.durable for closing in self._closing.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def open_holds(self) -> int:
        return len(self._open) + len(self._closing)

    async def admit(self, caller: Caller, request_id: str, tokens: int, amount: int) -> Standing | None:
        if self._channel is None:
            raise Overloaded(_AWAY, retry_after=1.0)
        admit = Admit.of(caller, request_id, tokens, amount)
        answer: asyncio.Future[Standing | None] = self._loop.create_future()
        self._channel.send(admit)
        self._asked[request_id] = _Asked(admit, answer, self._loop.time())
        try:
            return await answer
        except BaseException:
            # Refused, or whoever waited has gone: perhaps just when the answer had come. Where none has come yet,
            # `_admitted` will find this one cancelled.
            if not (answer.cancelled() or answer.cancel()) and answer.exception() is None:
                self.close(given_up(caller, request_id), 0, at_once=False)
            raise

    def close(self, charge: Charge, tokens: int | None, at_once: bool = True) -> asyncio.Future[None]:
        closing = self._closing.get(charge.request_id)
        if closing is None:
            if not 0 <= charge.cost <= LARGEST:
                raise ValueError("a cost is not negative, and at most 10**18 nano-credits")
            admit = self._open.get(charge.request_id)
            if admit is None:
                return finished(self._loop)
            closing = _Closing(admit, Close(charge, tokens), self._loop.create_future())
            if self._channel is not None:
                self._channel.send(closing.close)
            del self._open[charge.request_id]
            self._closing[charge.request_id] = closing
        return closing.durable if at_once else finished(self._loop)

    async def standing(self, caller: Caller) -> Standing | None:
        limited = caller.rpm is not None or caller.tpm is not None or caller.concurrency is not None
        if not limited or self._channel is None:
            return None
        self._question += 1
        name = str(self._question)
        answer: asyncio.Future[Standing | None] = self._loop.create_future()
        self._questions[name] = answer
        self._channel.send(Ask(Admit.of(caller, name, 0, 0)))
        try:
            return await answer
        finally:
            self._questions.pop(name, None)

    # ---- what comes from the books

    def _received(self, channel: Channel, message: Message) -> None:
        match message:
            case Admitted():
                self._admitted(message)
            case Closed():
                self._closed(message.request_id, message.error)
            case Refused():
                asked = self._asked.pop(message.request_id, None)
                if asked is not None and not asked.answer.done():
                    asked.answer.set_exception(message.error())
            case Told():
                answer = self._questions.get(message.request_id)
                if answer is not None and not answer.done():
                    answer.set_result(message.standing)
            case Welcome():
                self._channel = channel
                self._welcome.set()
                for closing in self._closing.values():
                    channel.send(closing.close)

    def _admitted(self, message: Admitted) -> None:
        asked = self._asked.pop(message.request_id, None)
        if asked is None:
            return
        self._open[message.request_id] = asked.admit
        if asked.answer.done():  # nobody waits any more
            self.close(given_up(asked.admit.caller(), message.request_id), 0, at_once=False)
        else:
            asked.answer.set_result(message.standing)

    def _closed(self, request_id: str, error: str) -> None:
        closing = self._closing.pop(request_id, None)
        if closing is None:
            return
        if error:
            if not closing.durable.done():
                closing.durable.set_exception(RuntimeError(f"a charge could not be entered: {error}"))
            return
        charge = closing.close.charge
        if closing.admit.amount != NO_HOLD:
            self._count(charge)
        if not closing.durable.done():
            closing.durable.set_result(None)

    def _count(self, charge: Charge) -> None:
        self.settlements[charge.outcome] = self.settlements.get(charge.outcome, 0) + 1
        if charge.cost:
            self.costs[charge.model] = self.costs.get(charge.model, 0) + charge.cost

    # ---- the connection

    async def _stay_connected(self) -> None:
        while True:
            ended = asyncio.Event()
            channel = Channel(self._received, partial(self._lost, ended))
            try:
                await self._loop.create_unix_connection(partial(_same, channel), str(self._path))
                holds = [*self._open.values(), *(closing.admit for closing in self._closing.values())]
                channel.send(Hello(self._session, holds))
                await ended.wait()
            except OSError:
                pass  # not there, or not there yet
            finally:
                channel.close()
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _lost(self, ended: asyncio.Event, _: Channel) -> None:
        ended.set()
        self._channel = None
        asked, self._asked = self._asked, {}
        for one in asked.values():
            if not one.answer.done():
                one.answer.set_exception(Overloaded(_AWAY, retry_after=1.0))
        for question in self._questions.values():
            if not question.done():
                question.set_result(None)

    async def _look(self) -> None:
        """Refuses the calls that the books leave without an answer; one that comes yet is given up at once."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            due = self._loop.time() - _ANSWER_SECONDS
            for asked in self._asked.values():
                if asked.since > due:
                    break  # the rest asked later
                if not asked.answer.done():
                    asked.answer.set_exception(Overloaded(_AWAY, retry_after=1.0))


def _same(channel: Channel) -> Channel:
    return channel
