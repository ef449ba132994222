"""A circuit breaker: whether a target (provider and the vendor's model) may be tried. No I/O; the time is an argument.

    closed ── 5 failures in a row, or half of at least 20 outcomes within 30 s ──► open
    open ── after 10 s, doubling up to 5 min while probes fail ──► half-open
    half-open: lets exactly one attempt through, the probe ── success ──► closed
                                                           ── failure ──► open
                                                           ── neither (the client left) ──► half-open, the next may try

Each attempt gets a ticket when it begins. A change of state makes all older tickets worthless, so that an attempt from
before the breaker opened can neither close it nor keep it open.
"""

from __future__ import annotations

from collections import deque

CLOSED, HALF_OPEN, OPEN = 0, 1, 2  # as `gateway_breaker_state` shows them

IN_A_ROW = 5
AT_LEAST = 20
WINDOW = 30  # seconds
FIRST_WAIT = 10.0
LONGEST_WAIT = 300.0
PROBE_WAIT = 1.0  # what a caller is told while a probe is under way: nobody knows when it ends

STRAY = -1  # the ticket of an attempt whose outcome does not count


class Breaker:
    """The state of one target. The window is kept in whole seconds: it is 29 to 30 s long."""

    __slots__ = ("_bad_until", "_generation", "_in_a_row", "_probing", "_seconds", "_until", "_wait")

    def __init__(self) -> None:
        self._generation = 0
        self._wait = 0.0  # of the present opening; 0 while closed
        self._until = 0.0  # when it may be probed
        self._probing = False
        self._clear()

    def _clear(self) -> None:
        self._in_a_row = 0
        self._bad_until = 0.0  # until then there is a failure in the window
        self._seconds: deque[list[int]] = deque(maxlen=WINDOW)  # of [second, outcomes, failures]

    def state(self, now: float) -> int:
        """CLOSED, HALF_OPEN or OPEN."""
        if not self._wait:
            return CLOSED
        return OPEN if now < self._until else HALF_OPEN

    def admits(self, now: float) -> bool:
        """Whether an attempt may begin now."""
        return not self._wait or (now >= self._until and not self._probing)

    def wakes(self, now: float) -> float:
        """Seconds until an attempt may begin."""
        if self.admits(now):
            return 0.0
        return max(self._until - now, 0.0) or PROBE_WAIT

    def begin(self, now: float) -> int:
        """The ticket with which the attempt reports its outcome. When half-open, this attempt becomes the probe."""
        if not self._wait:
            return self._generation
        if not self.admits(now):
            return STRAY
        self._probing = True
        self._generation += 1
        return self._generation

    def succeeded(self, ticket: int, now: float) -> None:
        """The target answered as it should."""
        if ticket != self._generation:
            return
        if self._wait:
            self._change(0.0, now)
            return
        self._in_a_row = 0
        self._count(now)[1] += 1
        if now < self._bad_until and self._half_failed(now):
            self._change(FIRST_WAIT, now)

    def failed(self, ticket: int, now: float) -> None:
        """The target could not be reached, or not be used."""
        if ticket != self._generation:
            return
        if self._wait:
            self._change(min(self._wait * 2, LONGEST_WAIT), now)
            return
        self._in_a_row += 1
        self._bad_until = now + WINDOW
        count = self._count(now)
        count[1] += 1
        count[2] += 1
        if self._in_a_row >= IN_A_ROW or self._half_failed(now):
            self._change(FIRST_WAIT, now)

    def released(self, ticket: int, _now: float) -> None:
        """The attempt ended without saying anything about the target."""
        if ticket == self._generation:
            self._probing = False

    def _change(self, wait: float, now: float) -> None:
        """Opens for `wait` seconds; 0 closes."""
        self._generation += 1
        self._wait, self._until, self._probing = wait, now + wait, False
        self._clear()

    def _count(self, now: float) -> list[int]:
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        return self._seconds[-1]

    def _half_failed(self, now: float) -> bool:
        oldest = int(now) - WINDOW
        outcomes = failures = 0
        for second, count, bad in self._seconds:
            if second > oldest:
                outcomes += count
                failures += bad
        return outcomes >= AT_LEAST and failures * 2 >= outcomes
