"""What calls have cost: the usage that a client was told, held against the access log and the account's entries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from tests.clients.places import wait_for
from tests.clients.seen import Seen
from tests.unified.place import Place

ACCOUNT = "client"
NANO = Decimal("1e-9")


class Bill:
    """The calls of one account, in the order in which they ended; `place` must be its only gateway."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.key = place.key(name=ACCOUNT)
        self._billed: dict[str, tuple[str, Seen, Decimal]] = {}
        self._start = 0

    def begin(self) -> None:
        """What ended before does not matter any more.

        The log is written now and then: a test that does not look at each of its calls leaves them to the next one.
        """
        self._start = len(self._lines())

    def charged(self, *told: Seen, at: str | None = None) -> list[str]:
        """The calls admitted since `begin` were complete, used what the client was told, and cost that (returned).

        `at`: the model whose price counts, where the one that was asked for only chooses.
        """
        wait_for(lambda: len(self._admitted()), len(told))
        return [self._check(*one, at) for one in zip(self._admitted(), told, strict=True)]

    def requests(self) -> list[str]:
        """The ids of the calls since `begin`."""
        return [line["request_id"] for line in self._new()]

    def free(self, *outcomes: str) -> None:
        """The calls since `begin` ended so and cost nothing; "": refused before anything was held."""
        wait_for(lambda: len(self._new()), len(outcomes))
        assert [line.get("outcome", "") for line in self._new()] == list(outcomes), self._new()
        assert all(Decimal(line.get("cost", "0")) == 0 for line in self._new())

    def ended(self, count: int) -> list[str]:
        """How so many calls since `begin` ended, all for nothing."""
        wait_for(lambda: len(self._new()), count)
        assert all(Decimal(line.get("cost", "0")) == 0 for line in self._new())
        return [line.get("outcome", "") for line in self._new()]

    def outcomes(self, count: int) -> list[tuple[str, Decimal]]:
        """How so many calls since `begin` ended, and what each cost."""
        wait_for(lambda: len(self._new()), count)
        return [(line.get("outcome", ""), Decimal(line.get("cost", "0"))) for line in self._new()]

    def closed(self) -> int:
        """Every call that was looked at has its entries: held, settled once, at this cost. Returns how many."""
        entries: dict[str, list[dict[str, Any]]] = {}
        for entry in self.place.history(ACCOUNT):
            entries.setdefault(entry["request_id"], []).append(entry)
        for request_id, (model, told, cost) in self._billed.items():
            held, settled = entries[request_id]
            assert (held["kind"], settled["kind"], settled["outcome"]) == ("hold", "settle", "complete")
            assert settled["model"] == model
            assert -(Decimal(held["amount"]) + Decimal(settled["amount"])) == cost, request_id
            _agree(settled["usage"], told)
        return len(self._billed)

    def _check(self, line: dict[str, Any], told: Seen, at: str | None) -> str:
        assert line["status"] == 200, line
        assert line["outcome"] == "complete", line
        assert not line.get("estimated"), line
        _agree(line["usage"], told)
        wanted = cost(self.place.models[at or line["model"]].get("price", {}), told)
        assert Decimal(line["cost"]) == wanted, line
        self._billed[line["request_id"]] = (line["model"], told, wanted)
        return str(line["cost"])

    def _lines(self) -> list[dict[str, Any]]:
        # The last line may be half written.
        whole = self.place.stdout.rpartition("\n")[0]
        return [line for line in map(_parsed, whole.splitlines()) if line.get("account") == ACCOUNT]

    def _new(self) -> list[dict[str, Any]]:
        return self._lines()[self._start :]

    def _admitted(self) -> list[dict[str, Any]]:
        return [line for line in self._new() if line.get("outcome")]


def cost(price: Mapping[str, float], told: Seen) -> Decimal:
    """Units times price, exactly; rounded down once, to a nano-credit."""
    units = {"input": told.input - told.cached_input, "cached_input": told.cached_input, "output": told.output}
    total = sum((Decimal(str(price.get(name, 0))) * count for name, count in units.items()), Decimal(0))
    return (total / 1_000_000).quantize(NANO, ROUND_FLOOR)


def _agree(usage: Mapping[str, Any], told: Seen) -> None:
    for name in ("input", "output", "cached_input", "reasoning"):
        assert usage[name] == getattr(told, name), (name, usage, told)


def _parsed(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    return found

