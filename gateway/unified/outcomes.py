"""How a call ended -> what it is charged by. The table of docs/money.md, as code.

Rule for editing: the rows are tried from the top, the first that fits decides; change docs/money.md with them.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.types import (
    OUTCOME_CLIENT_LEFT,
    OUTCOME_COMPLETE,
    OUTCOME_FAILED,
    OUTCOME_FILTERED,
    OUTCOME_NO_USAGE,
    OUTCOME_VENDOR_TRUNCATED,
    Usage,
)

# What the cost is computed from.
NOTHING, VENDOR, ESTIMATE = "nothing", "vendor", "estimate"


class Ending(msgspec.Struct, frozen=True):
    """What was seen of an answer when it was over.

    `left`: the client was gone; `given_up`: its vendor was not read to the end (`drain_on_disconnect`, drain);
    `zero`: the vendor said in so many words that nothing was used.
    """

    finished: bool = False
    filtered: bool = False
    error: bool = False
    left: bool = False
    given_up: bool = False
    usage: Usage | None = None
    zero: bool = False


_ROWS: tuple[tuple[Callable[[Ending], bool], str], ...] = (
    (lambda e: e.error, OUTCOME_FAILED),
    (lambda e: e.filtered, OUTCOME_FILTERED),
    (lambda e: e.left and (e.finished or e.given_up), OUTCOME_CLIENT_LEFT),
    (lambda e: e.given_up, OUTCOME_FAILED),
    (lambda e: not e.finished, OUTCOME_VENDOR_TRUNCATED),
    (lambda e: e.usage is None and not e.zero, OUTCOME_NO_USAGE),
    (lambda e: True, OUTCOME_COMPLETE),
)
_BILLED = (OUTCOME_CLIENT_LEFT, OUTCOME_COMPLETE, OUTCOME_NO_USAGE)


def outcome(ending: Ending) -> tuple[str, str]:
    """(the outcome, what its cost is computed from)."""
    if ending.finished and ending.usage is not None and not (ending.filtered or ending.error or ending.left):
        return OUTCOME_COMPLETE, VENDOR  # nearly every call
    found = next(name for fits, name in _ROWS if fits(ending))
    if found not in _BILLED:
        return found, NOTHING
    if ending.usage is not None:
        return found, VENDOR
    return found, NOTHING if ending.zero else ESTIMATE
