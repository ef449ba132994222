"""One thread that writes: what waits goes into one transaction, and the loop hears of it once.

The loop puts items and goes on. The thread takes all that have come meanwhile, so the busier it is, the more share a
commit. Two things make this cheap in Python: sqlite3 lets go of the GIL at every statement and must win it back from a
busy loop, so a batch has to be a handful of statements whatever its size; and waking a loop costs more than writing a
row, so it is woken once a batch.

A failed commit (disk full, file locked) loses nothing: the batch stays in memory and is tried again until it succeeds.
Order is kept: whoever asks (`ask`) is answered after all that was put before, and before all that is put later.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from gateway.store.sqlite import transaction

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_MOST = 2048  # items of a batch
_GATHER_SECONDS = 0.001
_LOOK_SECONDS = 0.2  # how soon what another process has written is seen
_PAUSE_SECONDS = 0.05  # before a failed batch is tried again; doubles up to
_LONGEST_PAUSE_SECONDS = 1.0
_COMPLAIN_SECONDS = 60.0
_GIVE_UP_SECONDS = 10.0  # a stop does not wait longer for a disk that stays full


def _passes(error: Exception) -> bool:
    """Whether an error is the disk's or a lock's, and may pass. Any other is of an item that can never be written."""
    lasting = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)
    return isinstance(error, sqlite3.DatabaseError | MemoryError) and not isinstance(error, lasting)


class Owner(Protocol[Item]):
    """Whose items are written. The first two run in the thread, the others on the loop, in the order of the commits."""

    def write(self, connection: sqlite3.Connection, items: list[Item]) -> Any:
        """Writes a batch, within a transaction; perhaps more than once, if a commit fails."""

    def look(self, connection: sqlite3.Connection) -> Any:
        """Reads again what another process may have changed."""

    def wrote(self, items: list[Item], result: Any) -> None:
        """These are durable; `result` is what `write` returned."""

    def looked(self, result: Any) -> None:
        """`result` is what `look` returned."""

    def refused(self, item: Item, error: Exception) -> None:
        """This one can never be written."""


class _Ask(NamedTuple):
    job: Callable[[sqlite3.Connection], Any]
    then: Callable[[Any], Any]
    future: asyncio.Future[Any]

    def answer(self, value: Any) -> None:
        result = self.then(value)
        if not self.future.done():
            self.future.set_result(result)


def _itself(value: Any) -> Any:
    return value


class Writer(Generic[Item]):
    """The thread, its connection and what waits for it."""

    def __init__(self, connection: sqlite3.Connection, owner: Owner[Item]) -> None:
        self.healthy = True  # False: the last commit failed and is being tried again
        self.commits = 0
        self._connection = connection
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[Item | _Ask | None] = queue.SimpleQueue()  # None: stop
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._version = self._data_version()
        self._next_look = 0.0
        self._crowded = False
        self._give_up: float | None = None  # when trying again ends
        self._dropped = False
        self._complained = -_COMPLAIN_SECONDS
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()
        self.cpu_clock = time.pthread_getcpuclockid(self._thread.ident or 0)  # what the thread has used
        self.put = self._waiting.put  # an item: it will be in one of the next transactions

    def ask(
        self, job: Callable[[sqlite3.Connection], Any], then: Callable[[Any], Answer] = _itself
    ) -> asyncio.Future[Answer]:
        """What `then` makes of what `job` returns. `job` runs in the thread after all that was put before, perhaps more
        than once; `then` runs on the loop before anything of a later commit is heard, even if nobody waits any more.
        """
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.put(_Ask(job, then, future))
        return future

    async def stop(self) -> None:
        """Writes what waits, and ends. On a disk that stays full it gives up after some seconds and says so."""
        self._give_up = time.monotonic() + _GIVE_UP_SECONDS
        self._waiting.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    def drop(self) -> None:
        """Ends at once as a crash would: what waits is not written."""
        self._dropped = True
        self._waiting.put(None)
        self._thread.join()

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        going_on = True
        try:
            while going_on and not self._dropped:
                batch = self._next()
                if batch and batch[-1] is None:
                    going_on = False
                    batch.pop()
                if batch and not self._dropped:
                    self._commit(batch)
                self._look()
        finally:
            self._connection.close()
            self._tell(self._settle_ended)

    def _next(self) -> list[Any]:
        """What waits; after a while, nothing. A None at the end: there will be no more."""
        try:
            batch = [self._waiting.get(timeout=_LOOK_SECONDS)]
        except queue.Empty:
            return []
        if self._crowded:
            # Where several shared the last commit, a moment's wait lets more share this one: each commit costs the loop
            # two hand-overs of the GIL. Who comes alone waits for nobody.
            time.sleep(_GATHER_SECONDS)
        while batch[-1] is not None and len(batch) < _MOST and not self._waiting.empty():
            batch.append(self._waiting.get())
        self._crowded = len(batch) > 1
        return batch

    def _commit(self, batch: list[Any]) -> None:
        pause = _PAUSE_SECONDS
        while True:
            try:
                done = self._try(batch)
            except Exception as exc:
                if not _passes(exc):
                    return self._commit_each(batch, exc)
                self.healthy = False
                self._complain(exc, len(batch) + self._waiting.qsize())
                if self._dropped or (self._give_up is not None and time.monotonic() > self._give_up):
                    return self._tell(_all, [partial(self._refuse, item, exc) for item in batch])
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                self.healthy = True
                self.commits += 1
                return self._tell(_all, done)

    def _commit_each(self, batch: list[Any], error: Exception) -> None:
        """One of these can never be written: finds it, and spares the others."""
        if len(batch) == 1:
            return self._tell(self._refuse, batch[0], error)
        for item in batch:
            self._commit([item])
        return None

    def _try(self, batch: list[Any]) -> list[Callable[[], None]]:
        """One transaction; what the loop has to do once it is committed."""
        connection = self._connection
        done: list[Callable[[], None]] = []
        reading = all(type(item) is _Ask for item in batch)  # needs no lock, so it waits for nobody
        with transaction(connection, "BEGIN" if reading else "BEGIN IMMEDIATE"):
            for asking, group in groupby(batch, _is_ask):
                if asking:
                    done += [partial(ask.answer, ask.job(connection)) for ask in group]
                else:
                    items = list(group)
                    done.append(partial(self._owner.wrote, items, self._owner.write(connection, items)))
        return done

    def _look(self) -> None:
        """Whether another process has written meanwhile. SQLite tells from shared memory, without reading the file."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_SECONDS
        with contextlib.suppress(sqlite3.Error):  # what ails the file is told by the commits
            version = self._data_version()
            if version != self._version:
                self._tell(self._owner.looked, self._owner.look(self._connection))
                self._version = version

    def _data_version(self) -> int:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _tell(self, call: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left who could hear it
            self._loop.call_soon_threadsafe(call, *args)

    def _complain(self, error: Exception, waiting: int) -> None:
        if time.monotonic() - self._complained >= _COMPLAIN_SECONDS:
            self._complained = time.monotonic()
            message = f"the database cannot be written ({error}): {waiting} entries wait in memory and are tried again"
            print(message, file=sys.stderr, flush=True)

    # -- on the loop -----------------------------------------------------------------------------------------------

    def _refuse(self, item: Any, error: Exception) -> None:
        if not _is_ask(item):
            self._owner.refused(item, error)
        elif not item.future.done():
            item.future.set_exception(error)

    def _settle_ended(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


def _is_ask(item: Any) -> bool:
    return type(item) is _Ask


def _all(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()
