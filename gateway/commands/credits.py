"""`gateway credits`: grants, balances, the entries of an account, and whether the books are right."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from sqlite3 import Connection

import msgspec

from gateway.commands import CannotDo
from gateway.commands.opening import database
from gateway.commands.printing import (
    credits,
    grouped,
    moment,
    note,
    print_json,
    print_json_list,
    print_table,
    print_text,
    second,
)
from gateway.prices import decimal, explained
from gateway.store import entries
from gateway.store.keys import Keys, name_problem, shown
from gateway.store.reports import Entry
from gateway.store.reports import history as entries_of
from gateway.store.verify import verify as verified

_HEADS = ("ID", "TIME (UTC)", "KIND", "AMOUNT", "MODEL", "PROVIDER", "OUTCOME", "REQUEST", "NOTE")


def grant(options: argparse.Namespace) -> int:
    """Adds credits, or takes some away."""
    if problem := name_problem(options.account):
        raise CannotDo(f"the name of the account {problem}: give a key's account, as `gateway keys list` shows it")
    enter = entries.adjust if options.amount < 0 else entries.grant
    with database(options.data) as connection:
        try:
            enter(connection, options.account, options.amount, options.note)
        except ValueError as exc:
            raise CannotDo(str(exc)) from exc
        if not Keys(connection).uses(options.account):
            note(f"no key is charged to {shown(options.account)} yet")
        return _show(connection, options)


def balance(options: argparse.Namespace) -> int:
    """Shows an account."""
    with database(options.data) as connection:
        _check_known(connection, options.account)
        return _show(connection, options)


def history(options: argparse.Namespace) -> int:
    """Shows the entries of an account."""
    with database(options.data) as connection:
        _check_known(connection, options.account)
        found = entries_of(connection, options.account, options.since)
        if options.json:
            print_json_list(map(_plain, found))
        else:
            print_table(_HEADS, _rows(found), right=("ID", "AMOUNT"))
    return 0


def verify(options: argparse.Namespace) -> int:
    """Checks the books; the exit code says whether they are right."""
    with database(options.data) as connection:
        found = verified(connection)
    errors = found["errors"]
    if options.json:
        print_json(found)
    else:
        for error in errors:
            print_text(f"wrong: {error}")
        state = f"{len(errors)} errors" if errors else "the books are right"
        counts = f"{grouped(found['accounts'])} accounts, {grouped(found['entries'])} entries"
        print_text(f"{state}: {counts}, {grouped(found['open_holds'])} open holds")
    return 1 if errors else 0


def _check_known(connection: Connection, account: str) -> None:
    """Raises CannotDo for an account that has neither an entry nor a key: its name is a typing error."""
    if name_problem(account) is not None or not (
        Keys(connection).uses(account) or next(entries_of(connection, account), None) is not None
    ):
        raise CannotDo(f"there is no account {shown(account)}: `gateway keys list` shows those of the keys")


def _show(connection: Connection, options: argparse.Namespace) -> int:
    available, held = entries.balance(connection, options.account)
    amounts = {"balance": available + held, "held": held, "available": available}
    if options.json:
        print_json({"account": options.account, **{name: credits(amount) for name, amount in amounts.items()}})
    else:
        heads = ("ACCOUNT", *(name.upper() for name in amounts))
        print_table(heads, [(options.account, *map(decimal, amounts.values()))], right=heads[1:])
    return 0


def _plain(entry: Entry) -> dict[str, object]:
    """An entry as programs read it."""
    parts = [
        {"unit": part["unit"], "count": _count(part), "price": msgspec.Raw(str(part["price"]).encode()),
         "per": part["per"]}
        for part in explained(entry.parts)
    ]  # fmt: skip
    return {
        "id": entry.id, "time": moment(entry.time), "kind": entry.kind, "amount": credits(entry.amount),
        "request_id": entry.request_id or None, "key": entry.key_id or None, "model": entry.model or None,
        "provider": entry.provider or None, "usage": entry.usage, "outcome": entry.outcome or None,
        "estimated": entry.estimated, "parts": parts, "note": entry.note,
    }  # fmt: skip


def _count(part: dict[str, int | float | str]) -> float:
    """The database keeps all counts as decimals, most are whole."""
    count = float(part["count"])
    return int(count) if count.is_integer() else count


def _rows(found: Iterable[Entry]) -> Iterator[tuple[str, ...]]:
    for entry in found:
        yield (str(entry.id), second(entry.time), entry.kind, decimal(entry.amount), entry.model, entry.provider,
               entry.outcome, entry.request_id, entry.note)  # fmt: skip
        if entry.kind == "settle":
            yield (_explained(entry),)


def _explained(entry: Entry) -> str:
    """How a charge came about."""
    terms = []
    for part in explained(entry.parts):
        per = "" if part["per"] == 1 else " per million"
        terms.append(f"{_count(part):,} {part['unit']} x {part['price']}{per} ({part['cost']})")
    text = " = ".join([f"cost {decimal(entry.cost)}", *([" + ".join(terms)] if terms else [])])
    return f"{text}; the counts are estimated" if entry.estimated else text
