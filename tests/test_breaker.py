"""The circuit breaker, case by case and against a naive model that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.routing.breaker import CLOSED, HALF_OPEN, OPEN, PROBE_WAIT, Breaker


def report(breaker: Breaker, now: float, outcomes: str) -> None:
    """One attempt after the other: `f` fails, `s` succeeds, `n` ends with neither."""
    calls = {"f": breaker.failed, "s": breaker.succeeded, "n": breaker.released}
    for outcome in outcomes:
        calls[outcome](breaker.begin(now), now)


def opened(now: float) -> Breaker:
    breaker = Breaker()
    report(breaker, now, "fffff")
    assert breaker.state(now) == OPEN
    return breaker


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("", CLOSED),
        ("ffff", CLOSED),
        ("fffff", OPEN),
        ("ffffsffff", CLOSED),
        ("ffffnf", OPEN),  # an attempt that says nothing does not break the row
        ("sf" * 9 + "s", CLOSED),
        ("sf" * 9 + "ss", CLOSED),  # 9 of 20
        ("sf" * 10, OPEN),
        ("fs" * 10, OPEN),  # half of 20, whichever came last
        ("fs" * 9 + "sf" + "n", OPEN),
        ("s" * 11 + "fs" * 10, CLOSED),  # 10 of 31
        ("n" * 100, CLOSED),
    ],
)
def test_when_it_opens(outcomes: str, state: int) -> None:
    breaker = Breaker()
    report(breaker, 7.5, outcomes)
    assert breaker.state(7.5) == state
    assert breaker.admits(7.5) is (state == CLOSED)


@pytest.mark.parametrize(("later", "state"), [(28.9, OPEN), (30.0, CLOSED), (1e9, CLOSED)])
def test_what_is_older_than_the_window_does_not_count(later: float, state: int) -> None:
    breaker = Breaker()
    report(breaker, 100.0, "sf" * 9)
    report(breaker, 100.0 + later, "sf")
    assert breaker.state(100.0 + later) == state


def test_a_row_has_no_time_limit() -> None:
    breaker = Breaker()
    for now in (0.0, 1e3, 1e4, 1e5, 1e6):
        assert breaker.state(now) == CLOSED
        report(breaker, now, "f")
    assert breaker.state(1e6) == OPEN


def test_one_probe_after_ten_seconds() -> None:
    breaker = opened(0.0)
    assert [breaker.admits(now) for now in (0.0, 9.99, 10.0)] == [False, False, True]
    assert [breaker.wakes(now) for now in (0.0, 9.0, 10.0)] == [10.0, 1.0, 0.0]
    assert breaker.state(10.0) == HALF_OPEN
    probe = breaker.begin(10.0)
    assert not breaker.admits(10.0)
    assert not breaker.admits(1e9)
    assert breaker.wakes(10.0) == PROBE_WAIT
    breaker.succeeded(probe, 11.0)
    assert breaker.state(11.0) == CLOSED
    assert breaker.admits(11.0)


def test_failing_probes_double_the_wait_up_to_five_minutes_and_a_success_starts_anew() -> None:
    breaker, now, waits = opened(0.0), 0.0, []
    for _ in range(8):
        waits.append(breaker.wakes(now))
        now += breaker.wakes(now)
        report(breaker, now, "f")
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    now += breaker.wakes(now)
    report(breaker, now, "s")
    assert breaker.state(now) == CLOSED
    report(breaker, now, "fffff")
    assert breaker.wakes(now) == 10


def test_a_probe_without_an_outcome_frees_the_slot() -> None:
    breaker = opened(0.0)
    probe = breaker.begin(10.0)
    breaker.released(probe, 12.0)
    assert breaker.state(12.0) == HALF_OPEN
    assert breaker.admits(12.0)


def test_attempts_from_before_the_opening_say_nothing_any_more() -> None:
    breaker = Breaker()
    early = [breaker.begin(0.0) for _ in range(3)]
    report(breaker, 0.0, "fffff")
    breaker.succeeded(early[0], 1.0)
    assert breaker.state(1.0) == OPEN
    probe = breaker.begin(10.0)
    breaker.released(early[1], 10.0)
    assert not breaker.admits(10.0), "only the probe itself frees the slot"
    breaker.failed(early[2], 10.0)
    assert breaker.state(10.0) == HALF_OPEN
    breaker.succeeded(probe, 11.0)
    assert breaker.state(11.0) == CLOSED


def test_an_attempt_beside_the_probe_does_not_count() -> None:
    breaker = opened(0.0)
    too_early, probe, beside = breaker.begin(5.0), breaker.begin(10.0), breaker.begin(10.0)
    for ticket in (too_early, beside):
        breaker.succeeded(ticket, 11.0)
        breaker.failed(ticket, 11.0)
        breaker.released(ticket, 11.0)
    assert breaker.state(11.0) == HALF_OPEN
    assert not breaker.admits(11.0)
    breaker.failed(probe, 12.0)
    assert breaker.wakes(12.0) == 20


def test_the_window_is_bounded() -> None:
    breaker = Breaker()
    for now in range(10_000):
        report(breaker, float(now), "ss")
    assert len(breaker._seconds) == 30


class AgainstTheModel(RuleBasedStateMachine):
    """The model keeps all outcomes since the last change and works everything out from the rules as written."""

    @initialize()
    def start(self) -> None:
        self.breaker = Breaker()
        self.now = 0.0
        self.opened_at: float | None = None  # None: closed
        self.wait = 10.0
        self.probe: int | None = None
        self.outcomes: list[tuple[float, bool]] = []
        self.current: list[int] = []  # attempts whose outcome counts
        self.stray: list[int] = []

    def change(self, opened_at: float | None) -> None:
        self.opened_at, self.probe, self.outcomes = opened_at, None, []
        self.stray += self.current
        self.current = []

    def expected(self) -> int:
        if self.opened_at is None:
            return CLOSED
        return HALF_OPEN if self.now >= self.opened_at + self.wait else OPEN

    def judge(self, ok: bool) -> None:
        self.outcomes.append((self.now, ok))
        row = [ok for _, ok in self.outcomes][-5:]
        recent = [ok for at, ok in self.outcomes if int(at) > int(self.now) - 30]
        if (len(row) == 5 and not any(row)) or (len(recent) >= 20 and recent.count(False) * 2 >= len(recent)):
            self.wait = 10.0
            self.change(self.now)

    @rule(seconds=st.sampled_from([0.25, 1.0, 7.5, 31.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: len(self.current) < 30)
    @rule(count=st.integers(1, 8))
    def begin(self, count: int) -> None:
        for _ in range(count):
            admits = self.expected() == CLOSED or (self.expected() == HALF_OPEN and self.probe is None)
            assert self.breaker.admits(self.now) is admits
            ticket = self.breaker.begin(self.now)
            if not admits:
                self.stray.append(ticket)
                continue
            self.current.append(ticket)
            if self.expected() == HALF_OPEN:
                self.probe = ticket

    @precondition(lambda self: self.current)
    @rule(outcomes=st.lists(st.sampled_from("ssffn"), min_size=1, max_size=20))
    def report(self, outcomes: list[str]) -> None:
        for outcome in outcomes:
            if not self.current:
                return
            ticket = self.current.pop(0)
            calls = {"s": self.breaker.succeeded, "f": self.breaker.failed, "n": self.breaker.released}
            calls[outcome](ticket, self.now)
            if self.opened_at is None:
                if outcome != "n":
                    self.judge(outcome == "s")
            elif outcome == "n":
                self.probe = None
            elif outcome == "s":
                self.change(None)
            else:
                self.wait = min(self.wait * 2, 300.0)
                self.change(self.now)

    @precondition(lambda self: self.stray)
    @rule(outcome=st.sampled_from("sfn"))
    def report_late(self, outcome: str) -> None:
        ticket = self.stray.pop(0)
        calls = {"s": self.breaker.succeeded, "f": self.breaker.failed, "n": self.breaker.released}
        calls[outcome](ticket, self.now)

    @invariant()
    def same(self) -> None:
        assert self.breaker.state(self.now) == self.expected()
        waking = self.breaker.wakes(self.now)
        if self.expected() == OPEN:
            assert self.opened_at is not None
            assert waking == pytest.approx(self.opened_at + self.wait - self.now)
        else:
            assert waking == (0.0 if self.probe is None else PROBE_WAIT)


TestAgainstTheModel = AgainstTheModel.TestCase
TestAgainstTheModel.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
