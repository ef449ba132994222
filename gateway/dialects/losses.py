"""What a conversion cannot carry, as a table: field -> "dropped: why" or "refused: why".

Dropped are hints without which the answer means the same; they are named to the client. Refused is what would change
the answer's meaning. A key may say in brackets which use of a field is lost, as in `input (tokens)`: such rows are for
readers and tests, for it is the code that reads the field that raises. `*` stands for all fields that are not listed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from gateway.errors import BadRequest, Unsupported

Losses = Mapping[str, str]

UNKNOWN = {"*": "dropped: unknown fields mean nothing to the vendor"}

_MOST_NAMES = 20
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # anything else does not belong into a header


def left_behind(fields: Mapping[str, Any], carried: Collection[str], losses: Losses) -> tuple[str, ...]:
    """The fields to be named as dropped, in the request's order; Unsupported for the first that must not be lost."""
    dropped: list[str] = []
    for name, value in fields.items():
        if name in carried or value is None:
            continue
        fate, _, why = losses.get(name, losses["*"]).partition(": ")
        if fate == "refused":
            raise Unsupported(f"{name} cannot be carried to this model's vendor: {why}", param=name)
        shown = name if _NAME.fullmatch(name) else "?"
        if len(dropped) < _MOST_NAMES and shown not in dropped:
            dropped.append(shown)
    return tuple(dropped)


def whole(fields: Mapping[str, Any], name: str, least: int = 1) -> int | None:
    """A field that is a whole number of a sane size, or not there."""
    value = fields.get(name)
    if value is None or (type(value) is int and least <= value <= 10**9):
        return value
    raise BadRequest(f"{name} must be a whole number from {least} on", param=name)


def words(fields: Mapping[str, Any], name: str) -> str | None:
    """A field that is a text, or not there."""
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BadRequest(f"{name} must be a string", param=name)
