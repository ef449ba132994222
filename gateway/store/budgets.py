"""What a key has spent in the running period of its budget."""

from __future__ import annotations

import math
import sqlite3
from datetime import UTC, datetime, timedelta

_SPENT = "SELECT coalesce(sum(cost), 0) FROM entries WHERE cost IS NOT NULL AND key_id = ? AND time >= ?"


class Spending:
    """A key in one period: what its closed calls have cost, and what its open ones hold."""

    __slots__ = ("period", "start", "end", "spent", "held", "loaded")

    def __init__(self, period: str | None, now: float, held: int) -> None:
        self.period = period
        self.start, self.end = bounds(period, now)
        self.spent = 0
        self.held = held
        self.loaded = False  # until then `spent` lacks what is in the file

    def add(self, spent: int) -> None:
        """What the file had. Closes that came after the question are in `spent` already."""
        self.spent += spent
        self.loaded = True

    def runs(self, period: str | None, now: float) -> bool:
        """Whether this is the period that a call falls into."""
        return now < self.end and self.period == period


def bounds(period: str | None, now: float) -> tuple[float, float]:
    """First second and end of the period around a moment, in UTC."""
    if period is None:
        return 0.0, math.inf
    start = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return start.timestamp(), (start + timedelta(days=1)).timestamp()
    start = start.replace(day=1)
    return start.timestamp(), (start + timedelta(days=32)).replace(day=1).timestamp()


def spent(connection: sqlite3.Connection, key_id: str, since: float) -> int:
    """What the closed calls of a key have cost since then."""
    (cost,) = connection.execute(_SPENT, (key_id, since)).fetchone()
    return int(cost)
