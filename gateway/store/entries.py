"""The entries: what a batch of calls writes, and what operators enter. The only place that writes entries.

Each function leaves `accounts` equal to the sums of `entries`, and `holds` equal to the hold entries that nothing has
closed, within the one transaction.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import Any, NamedTuple

import msgspec

from gateway.store.sqlite import transaction
from gateway.types import CHARGED, Charge

LARGEST = 10**18  # nano-credits of one amount
_LARGEST_BALANCE = 4 * 10**18  # less than half of what SQLite's integers hold

_COLUMNS = [
    *"time account kind amount request_id key_id cost model provider outcome".split(),
    *"input cached_input cache_write output reasoning extra_units parts estimated note".split(),
]  # fmt: skip
_WIDTH = len(_COLUMNS)
_OF_CLOSES = (None,) * (_WIDTH - 8) + (0, "")  # what a hold's entry has behind its key
# One statement writes this many rows. Bound values are cheaper than JSON (half the time of json_each), and few sizes
# keep the statements in sqlite3's cache.
_SIZES = (512, 128, 32, 8, 2, 1)

_LAST = "SELECT coalesce(max(id), 0) FROM entries"
# NOT INDEXED: else SQLite walks the whole index on `account` to spare itself the sorting of these few.
_ACCOUNTS = """
INSERT INTO accounts (name, available)
SELECT account, sum(amount) FROM entries NOT INDEXED WHERE id > ? GROUP BY account
ON CONFLICT (name) DO UPDATE SET available = available + excluded.available RETURNING name, available
"""
_HOLDS = """
INSERT INTO holds (request_id, account, key_id, amount, deadline)
SELECT request_id, account, key_id, -amount, ? FROM entries WHERE id > ?
"""
_CLOSED = "DELETE FROM holds WHERE request_id IN ({})"
_CLOSED_OF = """
SELECT request_id FROM entries WHERE request_id IN ({}) AND kind != 'hold'
"""
_AVAILABLE = "SELECT name, available FROM accounts WHERE name IN ({})"
_BALANCE = """
SELECT coalesce((SELECT available FROM accounts WHERE name = ?1), 0),
       coalesce((SELECT sum(amount) FROM holds WHERE account = ?1), 0)
"""
_OPERATORS = "INSERT INTO entries (time, account, kind, amount, note) VALUES (?, ?, ?, ?, ?)"


def _insert(rows: int) -> str:
    row = f"({', '.join('?' * _WIDTH)})"
    values = ", ".join([row] * rows)
    # A call that was held or closed before is not so again. INSERT OR IGNORE would also pass over a row that is wrong.
    return f"INSERT INTO entries ({', '.join(_COLUMNS)}) VALUES {values} ON CONFLICT DO NOTHING"


_INSERT = {size: _insert(size) for size in _SIZES}
_encode = msgspec.json.Encoder().encode


class Write(NamedTuple):
    """A hold that is to be written, or (with a charge) one that is to be closed."""

    request_id: str
    account: str
    key_id: str
    amount: int  # of the hold
    since: float  # when it was taken
    charge: Charge | None = None
    time: float = 0.0  # of the close
    fresh: bool = False  # the hold's own entry is to be written with the close
    future: asyncio.Future[None] | None = None  # done once this is durable

    @property
    def change(self) -> int:
        """What it does to the account."""
        if self.charge is None:
            return -self.amount
        cost = cost_of(self.charge)
        return -cost if self.fresh else self.amount - cost


class Written(NamedTuple):
    """What a batch came to."""

    available: dict[str, int]  # by account, of those concerned
    changes: dict[str, int]  # what the batch was meant to add to each
    ignored: int  # entries that were there already


def cost_of(charge: Charge) -> int:
    """What a charge takes from the account: nothing, unless its outcome is one that is charged."""
    return charge.cost if charge.outcome in CHARGED else 0


def write(connection: sqlite3.Connection, batch: list[Write], deadline: float) -> Written:
    """Enters a batch, within the caller's transaction. A call that was held or closed before is not so again."""
    flushed: list[Any] = []
    rows: list[Any] = []
    ended: list[str] = []
    changes: dict[str, int] = {}
    for item in batch:
        if item.charge is None:
            flushed += _hold_row(item)
        else:
            if item.fresh:
                rows += _hold_row(item)
            else:
                ended.append(item.request_id)
            rows += _close_row(item, item.charge)
        changes[item.account] = changes.get(item.account, 0) + item.change
    last = last_id(connection)
    entered = 0
    if flushed:
        entered += _enter(connection, flushed)
        connection.execute(_HOLDS, (deadline, last))
    entered += _enter(connection, rows)
    _for_all(connection, _CLOSED, ended)
    after = dict(connection.execute(_ACCOUNTS, (last,)).fetchall())
    if len(after) < len(changes):  # all that was to be entered for an account was there already
        after |= available(connection, [name for name in changes if name not in after])
    return Written(after, changes, (len(flushed) + len(rows)) // _WIDTH - entered)


def available(connection: sqlite3.Connection, names: list[str]) -> dict[str, int]:
    """What each account has; nothing, if it has no entries."""
    return dict.fromkeys(names, 0) | dict(_for_all(connection, _AVAILABLE, names))


def closed(connection: sqlite3.Connection, ids: list[str]) -> set[str]:
    """Those of the calls that have been closed."""
    return {request_id for (request_id,) in _for_all(connection, _CLOSED_OF, ids)}


def open_holds(connection: sqlite3.Connection) -> list[tuple[str, str, str, int]]:
    """(request id, account, key, amount) of each hold that nothing has closed."""
    return connection.execute("SELECT request_id, account, key_id, amount FROM holds").fetchall()


def extend(connection: sqlite3.Connection, deadline: float) -> None:
    """Puts off the deadline of all open holds."""
    connection.execute("UPDATE holds SET deadline = ?", (deadline,))


def last_id(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute(_LAST).fetchone()
    return int(last)


def grant(connection: sqlite3.Connection, account: str, amount: int, note: str = "") -> None:
    """Gives credits to an account. Raises ValueError for an amount that is negative or too large."""
    if amount < 0:
        raise ValueError("a grant cannot be negative; enter an adjust")
    _enter_one(connection, "grant", account, amount, note)


def adjust(connection: sqlite3.Connection, account: str, amount: int, note: str = "") -> None:
    """Changes an account by a signed amount. Raises ValueError for one that is too large."""
    _enter_one(connection, "adjust", account, amount, note)


def balance(connection: sqlite3.Connection, account: str) -> tuple[int, int]:
    """(available, held) of an account; (0, 0) for one that has no entries."""
    (free, held) = connection.execute(_BALANCE, (account,)).fetchone()
    return int(free), int(held)


def _enter_one(connection: sqlite3.Connection, kind: str, account: str, amount: int, note: str) -> None:
    with transaction(connection):
        after = balance(connection, account)[0] + amount
        if abs(amount) > LARGEST or abs(after) > _LARGEST_BALANCE:
            raise ValueError("the amount is too large: an account holds at most 4000000000 credits")
        last = last_id(connection)
        connection.execute(_OPERATORS, (time.time(), account, kind, amount, note))
        connection.execute(_ACCOUNTS, (last,))


def _enter(connection: sqlite3.Connection, values: list[Any]) -> int:
    """Inserts the rows, which are given one behind the other; how many of them were not there yet."""
    inserted, start = 0, 0
    for size in _SIZES:
        while len(values) - start >= size * _WIDTH:
            end = start + size * _WIDTH
            inserted += connection.execute(_INSERT[size], values[start:end]).rowcount
            start = end
    return inserted


def _for_all(connection: sqlite3.Connection, statement: str, values: list[str]) -> list[Any]:
    """What a statement with `IN ({})` finds for all these. Not by json_each, where a text ends at its first NUL."""
    rows, start = [], 0
    for size in _SIZES:
        while len(values) - start >= size:
            part = values[start : start + size]
            rows += connection.execute(statement.format(", ".join("?" * size)), part).fetchall()
            start += size
    return rows


def _hold_row(item: Write) -> tuple[Any, ...]:
    return item.since, item.account, "hold", -item.amount, item.request_id, item.key_id, *_OF_CLOSES


def _close_row(item: Write, charge: Charge) -> tuple[Any, ...]:
    if charge.outcome in CHARGED:
        kind, cost, parts = "settle", charge.cost, charge.parts
    else:
        kind, cost, parts = "release", 0, ()
    usage = charge.usage
    if usage is None:
        counted: tuple[Any, ...] = (None, None, None, None, None, None)
    else:
        extra = _text(usage.extra_units) if usage.extra_units else None
        counted = usage.input, usage.cached_input, usage.cache_write, usage.output, usage.reasoning, extra
    return (
        item.time, item.account, kind, item.amount - cost, item.request_id, item.key_id,
        cost if kind == "settle" else None, charge.model, charge.provider, charge.outcome, *counted,
        _text(parts) if parts else None, charge.estimated, charge.note,
    )  # fmt: skip


def _text(value: object) -> str:
    return _encode(value).decode()
