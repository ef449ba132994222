"""What counters and the access log keep of one unified call."""

from __future__ import annotations

from time import perf_counter

import msgspec

from gateway.meter import AccessLine, Journal, units
from gateway.prices import decimal
from gateway.types import Caller, Usage


class Tried(msgspec.Struct, omit_defaults=True):
    """One call to a vendor: how it went (`ok`, a status, or the gateway's code for what happened)."""

    provider: str
    outcome: str


class UnifiedLine(AccessLine, omit_defaults=True):
    """The access line of a unified call; `end` is how the answer ended, `outcome` what it was charged as."""

    outcome: str = ""
    key: str = ""  # the key's id
    account: str = ""
    tried: list[Tried] = []
    cache: str = ""
    estimated: bool = False


_encode = msgspec.json.Encoder().encode


class CallRecord:
    """Times are those of `perf_counter`; 0 where something has not happened."""

    cache = ""
    key = ""
    account = ""
    model = ""
    cost: int | None = None
    usage: Usage | None = None
    estimated = False
    unmetered = False  # a call that uses nothing
    outcome = ""
    _handed = 0.0
    _asked = 0.0
    _answered = 0.0
    _first = 0.0
    attempts = 0  # calls to vendors so far, the running one included

    def __init__(self, journal: Journal, surface: str) -> None:
        self._journal = journal
        self._surface = surface
        self.request_id = journal.request_id()
        self.tried: list[Tried] = []
        self.started = perf_counter()

    def handed(self) -> None:
        """A request goes to a vendor."""
        self.attempts += 1
        self._asked = perf_counter()
        if not self._handed:
            self._handed = self._asked

    def answered(self) -> None:
        """A vendor's head is there."""
        self._answered = perf_counter()

    def first_byte(self) -> None:
        """The first byte goes to the client."""
        if not self._first:
            self._first = perf_counter()

    @property
    def seconds_to_answer(self) -> float:
        """How long the vendor of the last attempt took."""
        return self._answered - self._asked

    def identify(self, caller: Caller) -> None:
        self.key, self.account = caller.key_id, caller.account

    def attempt(self, provider: str, outcome: str) -> None:
        self.tried.append(Tried(provider, outcome))
        self._journal.metrics.series(self._surface, provider).attempt(outcome)

    def end(self, reason: str, status: int, up: int, down: int, error: str) -> None:
        """The call is over; `reason` as in `types.END_REASONS`, empty where no answer had begun."""
        now = perf_counter()
        journal = self._journal
        provider = self.tried[-1].provider if self.tried else ""
        series = journal.metrics.series(self._surface, provider)
        model = series.model(self.model)
        model.request(status)
        if self.usage is not None:
            series.usage["estimated" if self.estimated else "vendor"] += 1
            model.count(self.usage, self.estimated)
        elif reason == "complete" and not (self.cache or self.unmetered):
            series.usage["none"] += 1
        duration = now - self.started
        first = added = -1.0
        if self._first:
            first = self._first - self.started
            if self._handed:
                added = self._handed - self.started + self._first - self._answered
        series.time(duration, first, added)
        if reason:
            series.ends[reason] += 1
        if journal.log.enabled:
            journal.log.write(_encode(UnifiedLine(
                journal.timestamp(), self.request_id, self._surface, provider, self.model, status, up, down,
                round(first, 6) if first >= 0 else None, round(duration, 6), units(self.usage),
                None if self.cost is None else decimal(self.cost), reason, error,
                self.outcome, self.key, self.account, self.tried, self.cache, self.estimated,
            )))  # fmt: skip
