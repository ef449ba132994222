"""`gateway keys`: issue, list, change and revoke the keys that callers use."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from typing import Any

from gateway.commands.opening import database
from gateway.commands.printing import (
    credits,
    grouped,
    minute,
    moment,
    note,
    print_json,
    print_json_list,
    print_table,
    print_text,
)
from gateway.prices import decimal
from gateway.store.keys import Key, Keys

_FIELDS = ("name", "account", "models", "rpm", "tpm", "concurrency", "expires")
_HEADS = ("ID", "NAME", "ACCOUNT", "MODELS", "RPM", "TPM", "CALLS", "BUDGET", "EXPIRES", "STATE")


def create(options: argparse.Namespace) -> int:
    """Issues a key."""
    with database(options.data) as connection:
        key, text, secret = Keys(connection).create(**_given(options))
    if options.json:
        print_json({"id": key.id, "key": text, "callback_secret": secret, **_plain(key)})
    else:
        print_text(f"key              {text}\ncallback secret  {secret}\nboth are shown only now\n")
        _print_keys([key])
    if _expired(key):
        note("this key has expired already")
    return 0


def every(options: argparse.Namespace) -> int:
    """Lists all keys."""
    with database(options.data) as connection:
        keys = Keys(connection).all()
    if options.json:
        print_json_list(map(_plain, keys))
    else:
        _print_keys(keys)
    return 0


def update(options: argparse.Namespace) -> int:
    """Changes a key."""
    with database(options.data) as connection:
        key = Keys(connection).update(options.id, _given(options))
    return _answer(key, options.json)


def revoke(options: argparse.Namespace) -> int:
    """Withdraws a key."""
    with database(options.data) as connection:
        key = Keys(connection).revoke(options.id)
    return _answer(key, options.json)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of a key that the command line sets."""
    given = vars(options)
    found = {field: given[field] for field in _FIELDS if field in given}
    if "budget" in given:
        found["budget"], found["period"] = given["budget"]
    if given["disabled"] is not None:
        found["disabled"] = given["disabled"]
    return found


def _answer(key: Key, json: bool) -> int:
    if json:
        print_json(_plain(key))
    else:
        _print_keys([key])
    return 0


def _plain(key: Key) -> dict[str, object]:
    """A key as programs read it."""
    return {
        "id": key.id, "name": key.name, "account": key.account, "models": key.models, "rpm": key.rpm, "tpm": key.tpm,
        "concurrency": key.concurrency, "budget": credits(key.budget), "period": key.period,
        "expires": moment(key.expires), "disabled": key.disabled, "revoked": key.revoked is not None,
        "created": moment(key.created),
    }  # fmt: skip


def _print_keys(keys: Iterable[Key]) -> None:
    empty = "no keys yet; issue one: gateway keys create --name NAME"
    print_table(_HEADS, map(_row, keys), right=("RPM", "TPM", "CALLS", "BUDGET"), empty=empty)


def _row(key: Key) -> tuple[str, ...]:
    limits = ("" if limit is None else grouped(limit) for limit in (key.rpm, key.tpm, key.concurrency))
    budget = "" if key.budget is None else decimal(key.budget) + (f"/{key.period}" if key.period else "")
    models = "all" if key.models is None else ",".join(key.models)
    return (key.id, key.name, key.account, models, *limits, budget, minute(key.expires), _state(key))


def _state(key: Key) -> str:
    if key.revoked is not None:
        return "revoked"
    if key.disabled:
        return "disabled"
    return "expired" if _expired(key) else "on"


def _expired(key: Key) -> bool:
    return key.expires is not None and key.expires <= time.time()
