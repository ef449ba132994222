"""What the entries say: the history of an account, and usage summed up. All of it exact."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from gateway.store.sqlite import snapshot
from gateway.types import Usage


class Entry(msgspec.Struct, frozen=True):
    """One line of the books. Amounts in nano-credits, time in seconds since 1970; empty: not of this kind of entry."""

    id: int
    time: float
    account: str
    kind: str
    amount: int
    request_id: str = ""
    key_id: str = ""
    cost: int = 0
    model: str = ""
    provider: str = ""
    outcome: str = ""
    usage: Usage | None = None
    parts: tuple[tuple[str, float, int], ...] = ()
    estimated: bool = False
    note: str = ""


_PLAIN = "id, time, account, kind, amount, request_id, key_id, cost, model, provider, outcome"
_COUNTED = "input, cached_input, cache_write, output, reasoning"
_ENTRIES = f"SELECT {_PLAIN}, parts, estimated, note, extra_units, {_COUNTED} FROM entries"

# What usage can be grouped by; `key` is the key's id.
BY = {
    "model": "model",
    "provider": "provider",
    "key": "key_id",
    "account": "account",
    "day": "date(time, 'unixepoch')",
}
_CLOSES = "FROM entries, json_each(coalesce(entries.extra_units, '{}'))"
_SUMS = ", ".join(f"coalesce(sum({unit}), 0)" for unit in [*_COUNTED.split(", "), "cost"])

_decode_parts = msgspec.json.Decoder(tuple[tuple[str, float, int], ...]).decode
_decode_units = msgspec.json.Decoder(dict[str, float]).decode


def history(connection: sqlite3.Connection, account: str | None = None, since: float | None = None) -> Iterator[Entry]:
    """The entries of an account, or of all, oldest first."""
    where, values = _where({"account = ?": account, "time >= ?": since})
    for row in connection.execute(f"{_ENTRIES}{where} ORDER BY id", values):
        yield _entry(row)


def usage(connection: sqlite3.Connection, by: str = "model", since: float | None = None) -> list[dict[str, Any]]:
    """What closed calls used and cost, by one of `BY`. Failed calls count as requests and cost nothing."""
    where, values = _where({"kind IN ('settle', 'release')": True, "time >= ?": since})
    with snapshot(connection):
        select = f"SELECT {BY[by]}, count(*), {_SUMS} FROM entries"
        sums = connection.execute(f"{select}{where} GROUP BY 1 ORDER BY 1", values)
        names = [by, "requests", *_COUNTED.split(", "), "cost"]
        rows = {row[0]: dict(zip(names, row, strict=True), extra_units={}) for row in sums}
        for group, unit, total in _extra_units(connection, BY[by], where, values):
            rows[group]["extra_units"][unit] = total
    return list(rows.values())


def _extra_units(
    connection: sqlite3.Connection, by: str, where: str, values: list[Any]
) -> Iterator[tuple[str, str, float]]:
    """Sums by group and unit. Seconds have fractions, and adding floats would not be exact: equal ones are counted."""
    select = f"SELECT {by} AS entry_group, json_each.key, json_each.value, count(*) {_CLOSES}{where}"
    totals: dict[tuple[str, str], Decimal] = {}
    for group, unit, value, times in connection.execute(f"{select} GROUP BY 1, 2, 3 ORDER BY 1, 2", values):
        totals[group, unit] = totals.get((group, unit), Decimal(0)) + Decimal(repr(value)) * times
    for (group, unit), total in totals.items():
        yield group, unit, int(total) if total == total.to_integral_value() else float(total)


def _where(conditions: dict[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE of those that are given; True: a condition without a value."""
    given = {condition: value for condition, value in conditions.items() if value is not None}
    values = [value for value in given.values() if value is not True]
    return (f" WHERE {' AND '.join(given)}" if given else ""), values


def _entry(row: tuple[Any, ...]) -> Entry:
    number, time, account, kind, amount, *texts, parts, estimated, note, extra_units = row[:15]
    request_id, key_id, cost, model, provider, outcome = texts
    counted = None
    if row[15] is not None:
        units = _decode_units(extra_units) if extra_units else {}
        counted = Usage(row[15], row[16], row[17], row[18], row[19], units)
    return Entry(
        number, time, account, kind, amount, request_id or "", key_id or "", cost or 0, model or "", provider or "",
        outcome or "", counted, _decode_parts(parts) if parts else (), bool(estimated), note,
    )  # fmt: skip
