"""What failures teach: the table of statuses, resting keys, keys in turn, measured latencies."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from gateway.addresses import Origin, Secret
from gateway.providers import Provider
from gateway.routing.health import (
    BUSY,
    CLIENT_FAULT,
    KEY_REFUSED,
    LESSONS,
    LIMITED,
    UNAVAILABLE,
    Failure,
    Health,
    Key,
    KeyRing,
    Upstream,
    classify,
)

STATUSES = {
    KEY_REFUSED: (401, 402),
    LIMITED: (429,),
    BUSY: (409,),
    CLIENT_FAULT: (400, 404, 405, 406, 410, 413, 415, 418, 422, 451, 499),
    UNAVAILABLE: (0, 101, 200, 201, 301, 307, 403, 408, 500, 502, 503, 504, 524, 529, 599, 600, 999),
}


@pytest.mark.parametrize(("status", "kind"), [(status, kind) for kind, all_ in STATUSES.items() for status in all_])
def test_statuses(status: int, kind: str) -> None:
    failure = classify(status, 7.0)
    assert failure.kind == kind
    assert failure.retry_after == (7.0 if kind == LIMITED else None)


def test_what_each_kind_allows() -> None:
    assert [kind for kind in LESSONS if not Failure(kind).failover] == [CLIENT_FAULT]
    assert {kind for kind in LESSONS if Failure(kind).of_key} == {KEY_REFUSED, LIMITED}
    assert set(LESSONS) == set(STATUSES)


def rest(key: Key, now: float) -> float:
    return max(key.until - now, 0.0)


def test_a_refused_key_rests_a_minute() -> None:
    key = Key("k")
    key.refused(5.0, None)
    assert key.until == 65.0


def test_a_limited_key_rests_longer_each_time_until_a_success() -> None:
    key, now, rests = Key("k"), 0.0, []
    for _ in range(9):
        key.limited(now, None)
        rests.append(rest(key, now))
        now = key.until
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    key.succeeded(now)
    key.limited(now, None)
    assert rest(key, now) == 1


def test_calls_limited_together_are_one_reason_to_wait() -> None:
    key = Key("k")
    for _ in range(10):
        key.limited(100.0, None)
    assert key.until == 101.0


def test_success_of_an_earlier_call_ends_no_rest_and_forgets_nothing() -> None:
    key = Key("k")
    key.limited(0.0, None)
    key.succeeded(0.5)
    assert key.until == 1.0
    key.limited(1.0, None)
    assert key.until == 3.0


@pytest.mark.parametrize(
    ("retry_after", "expected"), [(0.0, 0.0), (7.5, 7.5), (3600.0, 3600.0), (inf, 86_400.0), (-1.0, 1.0), (nan, 1.0)]
)
def test_retry_after_counts_if_it_makes_sense(retry_after: float, expected: float) -> None:
    key = Key("k")
    key.limited(10.0, retry_after)
    assert rest(key, 10.0) == expected


def test_a_shorter_rest_does_not_end_a_longer_one() -> None:
    key = Key("k")
    key.refused(0.0, None)
    key.limited(0.0, 1.0)
    key.limited(0.0, None)
    assert key.until == 60.0


def test_keys_take_turns_and_resting_ones_miss_theirs() -> None:
    a, b, c = keys = [Key("a"), Key("b"), Key("c")]
    ring = KeyRing(keys)
    assert [ring.take(0.0, []) for _ in range(4)] == [a, b, c, a]
    b.refused(0.0, None)
    assert [ring.take(0.0, []) for _ in range(3)] == [c, a, c]
    assert ring.take(0.0, [a]) is c
    assert ring.take(0.0, [a, c]) is None
    assert ring.take(60.0, [a, c]) is b


def test_when_a_ring_wakes() -> None:
    keys = [Key("a"), Key("b")]
    ring = KeyRing(keys)
    keys[0].refused(0.0, None)
    assert ring.wakes(0.0) == 0.0
    keys[1].limited(0.0, 5.0)
    assert [ring.wakes(now) for now in (1.0, 5.0, 99.0)] == [4.0, 0.0, 0.0]
    assert KeyRing([]).take(1e9, []) is None
    assert KeyRing([]).wakes(0.0) == inf


def provider(keys: list[Secret], **other: Any) -> Provider:
    return Provider("p", "http://p", Origin("http", "p", 80), b"", keys=tuple(keys), **other)


def texts(upstream: Upstream) -> list[str | None]:
    return [key.text for key in upstream.ring.keys]


def test_which_keys_a_provider_has() -> None:
    one, two, gone = Secret("env:A", "one"), Secret("env:B", "two"), Secret("env:C", None)
    assert texts(Upstream(provider([one, gone, two]), {"m"}, None)) == ["one", "two"]
    assert texts(Upstream(provider([one, two, Secret("env:D", "one")]), {"m"}, None)) == ["one", "two"], "rests as one"
    assert texts(Upstream(provider([]), {"m"}, None)) == [None], "self-hosted: called without credentials"
    assert texts(Upstream(provider([gone]), {"m"}, None)) == [], "missing secrets are not the same"


def test_a_reload_keeps_what_is_known_of_the_unchanged() -> None:
    one, two = Secret("env:A", "one"), Secret("env:B", "two")
    before = Upstream(provider([one]), {"m", "n"}, None)
    after = Upstream(provider([two, one]), {"m", "o"}, before)
    assert after.healths["m"] is before.healths["m"]
    assert set(after.healths) == {"m", "o"}
    assert after.ring.keys[1] is before.ring.keys[0]
    moved = Upstream(provider([one], auth="x-api-key"), {"m"}, after)
    assert moved.healths["m"] is not after.healths["m"], "another way to call it deserves another chance"
    assert moved.ring.keys[0] is not after.ring.keys[1]


def test_latency_is_averaged_while_it_is_fresh() -> None:
    health = Health()
    assert not health.known(0.0)
    health.measured(1.0, 0.0)
    assert health.latency == 1.0
    health.measured(2.0, 10.0)
    assert health.latency == pytest.approx(1.2)
    assert health.known(69.9)
    assert not health.known(70.0)
    health.measured(5.0, 70.0)
    assert health.latency == 5.0
