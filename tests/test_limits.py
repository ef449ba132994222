"""The limits of a key, with a clock of our own: against a simple model, and each rule by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.books.limits import GRAIN, SPAN, Limits, Standing, headers
from gateway.errors import RateLimited
from gateway.types import Caller


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def key(name: str = "key_1", **limits: Any) -> Caller:
    return Caller(key_id=name, name=name, account="acme", **limits)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits(clock)


def names(prefix: str = "r") -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"{prefix}{number}"


def tried(limits: Limits, caller: Caller, request_id: str, tokens: int = 0) -> Standing | RateLimited | None:
    try:
        return limits.admit(caller, request_id, tokens)
    except RateLimited as error:
        return error


def refused(limits: Limits, caller: Caller, request_id: str, tokens: int = 0) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        limits.admit(caller, request_id, tokens)
    return caught.value


# (seconds that pass, tokens that the call takes, tokens that it turns out to use; None: it never ends)
CALLS = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 70), st.sampled_from((0.0, 0.1, 0.2, GRAIN, 29.9, SPAN - 0.2, SPAN - 0.1, SPAN))),
        st.integers(0, 60),
        st.one_of(st.none(), st.integers(0, 80)),
    ),
    max_size=80,
)


@given(CALLS, st.integers(1, 6), st.integers(50, 150))
def test_no_minute_sees_more_than_the_limits_and_nobody_waits_without_need(
    calls: list[tuple[float, int, int | None]], rpm: int, tpm: int
) -> None:
    clock, request_id = Clock(), names()
    limits = Limits(clock)
    caller = key(rpm=rpm, tpm=tpm)
    taken: list[tuple[float, int]] = []  # the model: when, and how many tokens as known now
    for pause, tokens, used in calls:
        clock.now += pause
        one = next(request_id)
        inside = [count for when, count in taken if when + SPAN > clock.now]
        loose = [count for when, count in taken if when + SPAN + GRAIN + 1e-6 > clock.now]  # a crowd leaves together
        fits = len(inside) < rpm and sum(inside) + tokens <= tpm
        must_fit = len(loose) < rpm and sum(loose) + tokens <= tpm
        standing = tried(limits, caller, one, tokens)
        assert standing is not None
        if isinstance(standing, RateLimited):
            assert not must_fit
            assert standing.retry_after is not None
            assert 0 <= standing.retry_after <= SPAN
            continue
        assert fits
        assert 0 <= standing.requests_remaining <= rpm - len(inside) - 1
        assert 0 <= standing.tokens_remaining <= tpm - sum(inside) - tokens
        taken.append((clock.now, tokens if used is None else used))
        if used is not None:
            limits.done(one, used)


@given(CALLS, st.integers(1, 6), st.integers(60, 150), st.integers(0, 60))
def test_who_comes_back_when_told_is_let_in(
    calls: list[tuple[float, int, int | None]], rpm: int, tpm: int, tokens: int
) -> None:
    clock, request_id = Clock(), names()
    limits = Limits(clock)
    caller = key(rpm=rpm, tpm=tpm)
    for pause, count, _ in calls:
        clock.now += pause
        tried(limits, caller, next(request_id), count)
    answer = tried(limits, caller, next(request_id), tokens)
    if isinstance(answer, RateLimited):
        assert answer.retry_after is not None
        clock.now += answer.retry_after + 1e-9
        answer = tried(limits, caller, next(request_id), tokens)
    assert isinstance(answer, Standing)


def test_a_lone_request_leaves_after_exactly_a_minute(limits: Limits, clock: Clock) -> None:
    caller = key(rpm=1)
    limits.admit(caller, "r1", 0)
    clock.now += 59.9
    assert refused(limits, caller, "r2").retry_after == pytest.approx(0.1)
    clock.now += 0.1 + 1e-9
    assert limits.admit(caller, "r3", 0) is not None


def test_a_key_without_limits_takes_nothing(limits: Limits) -> None:
    for number in range(1000):
        assert limits.admit(key(), f"r{number}", 10**9) is None
    assert (len(limits), limits.running, limits.standing(key())) == (0, 0, None)
    limits.done("r1", 5)
    limits.undo("r2")


def test_fifty_race_for_the_last_place(limits: Limits) -> None:
    caller = key(rpm=100, concurrency=8)
    for number in range(7):
        limits.admit(caller, f"before{number}", 0)
    answers = [tried(limits, caller, f"racer{number}") for number in range(50)]
    turned_away = [answer for answer in answers if isinstance(answer, RateLimited)]
    assert (len(turned_away), limits.running) == (49, 8)
    assert {(error.kind, error.status, error.retry_after) for error in turned_away} == {("concurrency", 429, 1.0)}
    assert "8 calls at a time" in turned_away[0].message
    standing = limits.standing(caller)
    assert standing is not None
    assert standing.requests_remaining == 92  # the refused took nothing


def test_a_refusal_takes_nothing_of_any_kind(limits: Limits) -> None:
    caller = key(rpm=5, tpm=100, concurrency=2)
    limits.admit(caller, "r1", 90)
    before = limits.standing(caller)
    assert refused(limits, caller, "r2", 11).kind == "tokens"
    assert limits.standing(caller) == before
    limits.admit(caller, "r3", 10)
    assert refused(limits, caller, "r4", 0).kind == "concurrency"
    limits.done("r1", 90)
    assert limits.admit(caller, "r5", 0) is not None


def test_the_end_of_a_call_counts_once(limits: Limits) -> None:
    caller = key(tpm=100, concurrency=1)
    limits.admit(caller, "r1", 80)
    for used in (30, 0, 99):
        limits.done("r1", used)
    limits.undo("r1")
    standing = limits.admit(caller, "r2", 70)
    assert standing is not None
    assert standing.tokens_remaining == 0
    assert limits.running == 1


def test_the_same_call_twice_takes_once(limits: Limits) -> None:
    caller = key(rpm=2, tpm=100, concurrency=1)
    assert limits.admit(caller, "r1", 60) == limits.admit(caller, "r1", 60)
    limits.restore(caller, "r1", 60)
    assert limits.running == 1


def test_corrections_reach_the_bucket_that_was_taken_from(limits: Limits, clock: Clock) -> None:
    caller = key(tpm=100)
    limits.admit(caller, "r1", 50)
    clock.now += 30
    limits.admit(caller, "r2", 50)
    limits.done("r1", 70)  # more than expected: it exists already
    assert refused(limits, caller, "r3", 1).retry_after == pytest.approx(30)
    clock.now += 30
    standing = limits.standing(caller)
    assert standing is not None
    assert standing.tokens_remaining == 50
    clock.now += 31
    assert limits.standing(caller) == Standing(None, 0, 0.0, 100, 100, 0.0)
    limits.done("r2", 0)  # its bucket has left: nothing to correct, and nothing below zero
    standing = limits.standing(caller)
    assert standing is not None
    assert (standing.tokens_remaining, standing.tokens_reset) == (100, 0.0)


def test_nobody_knows_what_a_lost_call_used(limits: Limits) -> None:
    caller = key(tpm=100, concurrency=1)
    limits.admit(caller, "r1", 80)
    limits.done("r1", None)
    assert limits.running == 0
    assert refused(limits, caller, "r2", 21).kind == "tokens"


def test_a_call_that_did_not_come_about_gives_all_back(limits: Limits) -> None:
    caller = key(rpm=1, tpm=100, concurrency=1)
    limits.admit(caller, "r1", 100)
    limits.undo("r1")
    limits.undo("r1")
    standing = limits.admit(caller, "r2", 100)
    assert standing is not None
    assert (standing.requests_remaining, standing.tokens_remaining, limits.running) == (0, 0, 1)


@pytest.mark.parametrize(("tokens", "allowed"), [(101, 100), (1, 0), (10**30, 100)])
def test_what_can_never_fit_says_so(limits: Limits, tokens: int, allowed: int) -> None:
    error = refused(limits, key(tpm=allowed), "r1", tokens)
    assert (error.kind, error.code) == ("tokens", "rate_limit_exceeded")
    assert "can never fit" in error.message
    assert error.retry_after == SPAN


def test_no_requests_at_all(limits: Limits) -> None:
    error = refused(limits, key(rpm=0), "r1")
    assert (error.kind, error.retry_after) == ("requests", SPAN)


def test_changed_limits_act_at_once_on_the_old_window(limits: Limits) -> None:
    for number in range(5):
        limits.admit(key(rpm=10), f"r{number}", 0)
    assert refused(limits, key(rpm=5), "r5").kind == "requests"
    assert limits.standing(key(rpm=3)) == Standing(3, 0, 60.0, None, 0, 60.0)
    assert limits.admit(key(rpm=6), "r6", 0) is not None
    assert limits.admit(key(), "r7", 0) is None
    assert limits.running == 6


def test_keys_do_not_touch_each_other(limits: Limits) -> None:
    limits.admit(key("a", rpm=1), "r1", 0)
    assert limits.admit(key("b", rpm=1), "r2", 0) is not None
    assert refused(limits, key("a", rpm=1), "r3").kind == "requests"


def test_a_call_from_before_is_entered_without_asking(limits: Limits) -> None:
    caller = key(rpm=1, concurrency=1)
    limits.restore(caller, "r1", 5)
    limits.restore(caller, "r2", 5)
    assert limits.running == 2
    assert refused(limits, caller, "r3").kind == "concurrency"
    limits.restore(key(), "r4", 5)
    assert limits.running == 2


def test_memory_is_bounded(limits: Limits, clock: Clock) -> None:
    """A busy key keeps as many buckets as fit a minute; keys that nobody uses any more are forgotten."""
    caller = key("busy", rpm=10**9)
    for number in range(5_000):
        clock.now += 0.05
        limits.admit(caller, f"r{number}", 1)
        limits.done(f"r{number}", 1)
    assert len(limits._windows["busy"].buckets) <= SPAN / GRAIN + 1
    limits.admit(key("long", concurrency=1), "long", 0)  # runs all the time
    for number in range(5_000):
        clock.now += 1.0
        limits.admit(key(f"key_{number}", rpm=5), f"n{number}", 0)
        limits.done(f"n{number}", 0)
    assert len(limits) < 100
    assert refused(limits, key("long", concurrency=1), "long2").kind == "concurrency"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, b"0s"), (0.0001, b"1ms"), (0.12, b"120ms"), (0.9991, b"1s"), (1, b"1s"), (59.2, b"1m0s"), (360, b"6m0s")],
)
def test_headers_for_openai(seconds: float, text: bytes) -> None:
    for dialect in ("openai.chat", "gemini.generate", "jina.rerank"):
        assert headers(Standing(10, 3, seconds, 5000, 0, seconds), dialect, 0.0) == (
            b"x-ratelimit-limit-requests: 10\r\n"
            b"x-ratelimit-remaining-requests: 3\r\n"
            b"x-ratelimit-reset-requests: %b\r\n"
            b"x-ratelimit-limit-tokens: 5000\r\n"
            b"x-ratelimit-remaining-tokens: 0\r\n"
            b"x-ratelimit-reset-tokens: %b\r\n" % (text, text)
        )


def test_headers_for_anthropic_and_for_limits_that_are_not() -> None:
    assert headers(Standing(tokens_limit=7, tokens_remaining=2, tokens_reset=59.5), "anthropic.messages", 1e9) == (
        b"anthropic-ratelimit-tokens-limit: 7\r\n"
        b"anthropic-ratelimit-tokens-remaining: 2\r\n"
        b"anthropic-ratelimit-tokens-reset: 2001-09-09T01:47:40Z\r\n"
    )
    assert headers(Standing(), "anthropic.messages", 1e9) == b""  # only a number of calls at a time: no header for it


def test_the_message_says_when(limits: Limits, clock: Clock) -> None:
    caller = key(rpm=1)
    limits.admit(caller, "r1", 0)
    clock.now += 18.5
    error = refused(limits, caller, "r2")
    assert error.retry_after is not None
    assert f"try again in {math.ceil(error.retry_after)} s" in error.message
    assert "42 s" in error.message
