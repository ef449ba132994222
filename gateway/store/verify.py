"""Whether the books are right, told from the file alone: by other queries than those that keep it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import msgspec

from gateway.store.sqlite import snapshot

_MOST = 100  # errors told of one kind
_MILLION = 10**6

# What must find nothing. Each row becomes the text behind it.
_CHECKS = (
    (
        """SELECT name, available, total FROM (
               SELECT account AS name, sum(amount) AS total FROM entries GROUP BY account
           ) LEFT JOIN accounts USING (name) WHERE available IS NOT total""",
        "account {0!a}: available is {1}, its entries add up to {2}",
    ),
    (
        "SELECT name, available FROM accounts WHERE available != 0 AND name NOT IN (SELECT account FROM entries)",
        "account {0!a}: available is {1}, and it has no entries",
    ),
    (
        """SELECT request_id, sum(kind = 'hold') AS held, sum(kind IN ('settle', 'release')) AS closed
           FROM entries WHERE request_id IS NOT NULL
           GROUP BY request_id HAVING held > 1 OR closed > 1 OR held + closed != count(*)""",
        "request {0!a}: held {1} times, closed {2} times",
    ),
    (
        """SELECT request_id, sum(amount), coalesce(sum(cost), 0) AS total, sum(kind = 'settle') AS settled
           FROM entries WHERE request_id IS NOT NULL
           GROUP BY request_id HAVING sum(kind != 'hold') AND (sum(amount) != -total OR total < 0
               OR settled != count(cost))""",
        "request {0!a}: its entries add up to {1}, its cost is {2}",
    ),
    (
        """SELECT late.request_id, late.id, early.id FROM entries AS late JOIN entries AS early
           ON early.request_id = late.request_id AND early.kind != 'hold' AND early.id < late.id
           WHERE late.kind = 'hold'""",
        "request {0!a}: held by entry {1}, after it was closed by {2}",
    ),
    (
        """SELECT id, kind FROM entries WHERE (request_id IS NULL) != (kind IN ('grant', 'adjust'))
           OR (kind = 'hold' AND amount > 0)""",
        "entry {0}: is no {1}",
    ),
    (
        "SELECT min(id), max(id), count(*) AS there FROM entries HAVING there AND (min(id) != 1 OR max(id) != there)",
        "the entries go from {0} to {1}, but there are {2}",
    ),
    (
        """SELECT request_id, entries.account, entries.amount, holds.account, holds.amount
           FROM entries LEFT JOIN holds USING (request_id) WHERE kind = 'hold'
           AND (holds.account IS NOT entries.account OR holds.amount IS NOT -entries.amount
                OR holds.key_id IS NOT entries.key_id)
           AND NOT EXISTS (SELECT 1 FROM entries AS other WHERE other.request_id = entries.request_id
                           AND other.kind != 'hold')""",
        "request {0!a}: held by {1!a} with {2}, and nothing has closed it; the open holds have {3!a} with {4}",
    ),
    (
        """SELECT request_id, account, amount FROM holds WHERE request_id NOT IN (
               SELECT request_id FROM entries WHERE kind = 'hold' AND request_id = holds.request_id)
           OR EXISTS (SELECT 1 FROM entries WHERE entries.request_id = holds.request_id AND kind != 'hold')""",
        "request {0!a}: is an open hold of {1!a} with {2}, but was closed or never held",
    ),
)
_LATE = "SELECT request_id, deadline FROM holds WHERE deadline < ?"
_PARTS = "SELECT id, request_id, cost, parts FROM entries WHERE kind = 'settle' AND parts IS NOT NULL"
_COUNTS = "SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM entries), (SELECT count(*) FROM holds)"

_decode_parts = msgspec.json.Decoder(list[tuple[str, float | int, int]]).decode


def verify(connection: sqlite3.Connection, now: float | None = None) -> dict[str, Any]:
    """`{"accounts", "entries", "open_holds", "errors"}`; no errors: the books are right."""
    errors: list[str] = []
    with snapshot(connection):
        accounts, count, open_holds = connection.execute(_COUNTS).fetchone()
        for query, text in _CHECKS:
            errors += (text.format(*row) for row in connection.execute(query).fetchmany(_MOST))
        late = connection.execute(_LATE, (time.time() if now is None else now,))
        errors += (f"request {row[0]!a}: is held past its deadline {row[1]:.0f}" for row in late.fetchmany(_MOST))
        errors += _wrong_sums(connection)
    return {"accounts": accounts, "entries": count, "open_holds": open_holds, "errors": errors}


def _wrong_sums(connection: sqlite3.Connection) -> Iterator[str]:
    """Costs that their parts do not add up to. In Python: units times a price may exceed SQLite's integers."""
    told = 0
    for number, request_id, cost, parts in connection.execute(_PARTS):
        try:
            wrong = sum(Fraction(repr(count)) * rate for _, count, rate in _decode_parts(parts)) // _MILLION != cost
        except (msgspec.DecodeError, ValueError):
            wrong = True
        if wrong:
            yield f"entry {number}: the parts of request {request_id!a} do not add up to its cost {cost}"
            told += 1
            if told == _MOST:
                return
