"""The books as an operator reads them, call by call; amounts in nano-credits."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from tests.unified.place import PRICE, Place
from tests.wire.ends import PATIENCE

NANO = 10**9


class Closed(NamedTuple):
    """What became of one call."""

    outcome: str
    cost: int
    hold: int
    estimated: bool
    usage: dict[str, Any] | None
    provider: str | None


def nano(amount: object) -> int:
    found = Decimal(str(amount)) * NANO
    assert found == int(found), amount
    return int(found)


def closed(place: Place, account: str = "alice") -> dict[str, Closed]:
    """Every call of an account by its request id. Each has one hold and one end, and nothing else."""
    entries: dict[str, list[dict[str, Any]]] = {}
    for entry in place.history(account):
        if entry["request_id"] is not None:
            entries.setdefault(entry["request_id"], []).append(entry)
    return {request_id: _closed(pair) for request_id, pair in entries.items()}


def _closed(entries: list[dict[str, Any]]) -> Closed:
    assert [entry["kind"] for entry in entries] in (["hold", "settle"], ["hold", "release"]), entries
    hold, end = entries
    held, cost = -nano(hold["amount"]), -nano(hold["amount"]) - nano(end["amount"])
    assert held >= 0, entries
    assert cost == 0 or end["kind"] == "settle", entries
    return Closed(end["outcome"], cost, held, end["estimated"], end["usage"], end["provider"])


def price(input: int, output: int, cached: int = 0) -> int:
    """What tokens cost at PRICE, counted here and not by the gateway."""
    per_token = {unit: int(Decimal(str(rate)) * NANO / 10**6) for unit, rate in PRICE.items()}
    return (input - cached) * per_token["input"] + cached * per_token["cached_input"] + output * per_token["output"]


def price_of(usage: dict[str, Any]) -> int:
    """What a chat answer's own usage costs."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return price(usage["prompt_tokens"], usage["completion_tokens"], cached)


async def counted(place: Place, name: str, by: str, kind: str) -> dict[str, dict[str, float]]:
    """All samples of a metric by two of its labels."""
    found: dict[str, dict[str, float]] = {}
    for line in (await place.metrics_page()).splitlines():
        if line.startswith(name + "{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            found.setdefault(labels[by], {})[labels[kind]] = float(line.rpartition(" ")[2])
    return found


def wait_until(look: Callable[[], bool], what: str, patience: float = 2 * PATIENCE) -> None:
    """For what another process does in its own time: there is no event to wait for."""
    deadline = time.monotonic() + patience
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def nothing_held(place: Place) -> None:
    """Waits until every call is closed."""
    wait_until(lambda: place.value_of("gateway_holds_open") == 0, "a hold stays open")


async def quiet(place: Place) -> None:
    """The same from within a loop that vendors and clients share."""
    await asyncio.to_thread(nothing_held, place)
