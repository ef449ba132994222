"""`gateway usage`: what calls used and cost, summed up."""

from __future__ import annotations

import argparse
from typing import Any

from gateway.commands.opening import database
from gateway.commands.printing import credits, grouped, print_json_list, print_table
from gateway.prices import decimal
from gateway.store.keys import Keys
from gateway.store.reports import usage as summed

_COUNTS = ("requests", "input", "cached_input", "cache_write", "output", "reasoning")


def usage(options: argparse.Namespace) -> int:
    """Shows the sums."""
    by = options.by
    with database(options.data) as connection:
        rows = summed(connection, by, options.since)
        names = Keys(connection).names() if by == "key" else {}
    if by == "key":
        rows = [{"key": row["key"], "name": names.get(row["key"]), **row} for row in rows]
    if options.json:
        print_json_list({**row, "cost": credits(row["cost"])} for row in rows)
        return 0
    titles = (by, "name") if by == "key" else (by,)
    heads = (*titles, *_COUNTS, "other units", "cost")
    cells = [
        (*(row[title] or "" for title in titles), *(grouped(row[name]) for name in _COUNTS), _others(row),
         decimal(row["cost"]))
        for row in rows
    ]  # fmt: skip
    print_table([head.upper() for head in heads], cells, right=[head.upper() for head in (*_COUNTS, "cost")])
    return 0


def _others(row: dict[str, Any]) -> str:
    return ", ".join(f"{grouped(count)} {unit}" for unit, count in row["extra_units"].items())
