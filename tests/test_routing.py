"""Routing: which target and key come next. Values in, values out; the clock is a number that the test sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.addresses import Origin, Secret
from gateway.models import STRATEGIES, Model, Target
from gateway.providers import Provider
from gateway.routing.breaker import CLOSED, HALF_OPEN, IN_A_ROW, OPEN
from gateway.routing.health import BUSY, CLIENT_FAULT, KEY_REFUSED, LIMITED, UNAVAILABLE, Failure, Health
from gateway.routing.router import RANKS, Route, Router

REFUSED, DOWN, TAKEN, WRONG = Failure(KEY_REFUSED), Failure(UNAVAILABLE), Failure(BUSY), Failure(CLIENT_FAULT)


def provider(name: str, keys: Sequence[str | None] = ("1",), **other: Any) -> Provider:
    secrets = tuple(Secret(f"env:{key}", None if key is None else f"{name}{key}") for key in keys)
    origin = Origin("http", name, 80)
    return Provider(name, f"http://{name}", origin, b"", keys=secrets, speaks={"openai.chat": "/c"}, **other)


def chat(_target: Target, entry: Provider) -> str | None:
    return next(iter(entry.speaks), None)


class World:
    """A router of one model `m`, and the hands of its clock."""

    def __init__(self, *targets: Target, providers: Sequence[Provider] = (), **model: Any) -> None:
        names = {target.provider for target in targets}
        self.now = 0.0
        self.model = Model("m", targets, **model)
        self.providers = {name: provider(name) for name in sorted(names)} | {entry.id: entry for entry in providers}
        self.router = Router({"m": self.model}, self.providers, lambda: self.now, Random(7).random)

    def next(self) -> Route:
        return next(self.router.routes(self.model, chat))

    def walk(self, failure: Failure = DOWN) -> list[str]:
        """The keys that a call goes through if every attempt fails alike; they begin with the provider's name."""
        tried = []
        for route in self.router.routes(self.model, chat):
            tried.append(route.key or route.provider.id)
            finish(route, failure)
        return tried

    def health(self, provider: str, model: str = "m") -> Health:
        return self.router._upstreams[provider].healths[model]

    def kill(self, provider: str) -> None:
        """Opens the breaker of a provider's `m`."""
        breaker = self.health(provider).breaker
        for _ in range(IN_A_ROW):
            breaker.failed(breaker.begin(self.now), self.now)
        assert breaker.state(self.now) == OPEN


def finish(route: Route, outcome: Failure | float) -> None:
    route.begin()
    if isinstance(outcome, Failure):
        route.failed(outcome)
    else:
        route.succeeded(outcome)
    route.done()


def test_a_route_says_all_that_an_attempt_needs() -> None:
    target = Target("one", "vendor/m")
    route = World(target).next()
    assert (route.target, route.provider.id, route.dialect, route.key) == (target, "one", "openai.chat", "one1")
    assert "one1" not in repr(route)


def test_lower_priorities_come_first_whatever_their_place() -> None:
    world = World(Target("c", "m", priority=9), Target("a", "m"), Target("b", "m", priority=2))
    assert world.walk() == ["a1", "b1", "c1"]


def test_every_target_is_tried_once() -> None:
    world = World(*(Target(name, "m", weight=weight) for name, weight in zip("abcd", (1, 5, 0, 100), strict=True)))
    walks = [world.walk(TAKEN) for _ in range(50)]
    assert all(sorted(walk) == ["a1", "b1", "c1", "d1"] for walk in walks)
    assert {walk[-1] for walk in walks} == {"c1"}, "weight 0 is the last resort"


def test_weight_zero_serves_when_the_others_are_down_but_before_the_next_priority() -> None:
    world = World(Target("a", "m"), Target("b", "m", weight=0), Target("c", "m", priority=2))
    assert {str(world.next().key) for _ in range(50)} == {"a1"}
    world.kill("a")
    assert world.walk() == ["b1", "c1"]


def test_several_last_resorts_share_alike() -> None:
    world = World(Target("a", "m", weight=0), Target("b", "m", weight=0))
    assert Counter(world.next().provider.id for _ in range(2_000))["b"] / 2_000 == pytest.approx(0.5, abs=0.05)


def test_shares_follow_the_weights() -> None:
    world = World(Target("a", "m", weight=1), Target("b", "m", weight=3), Target("c", "m", weight=6))
    found = Counter(world.next().provider.id for _ in range(20_000))
    assert {name: found[name] / 20_000 for name in "abc"} == pytest.approx({"a": 0.1, "b": 0.3, "c": 0.6}, abs=0.02)


def test_the_second_choice_follows_the_weights_of_the_rest() -> None:
    world = World(Target("a", "m", weight=1), Target("b", "m", weight=3), Target("c", "m", weight=6))
    second = Counter(tried[1] for _ in range(20_000) if (tried := world.walk(TAKEN))[0] == "c1")
    assert second["b1"] / second.total() == pytest.approx(0.75, abs=0.02)


def test_least_busy_goes_by_open_attempts_for_their_weight() -> None:
    world = World(Target("a", "m"), Target("b", "m", weight=3), strategy="least_busy")
    routes = []
    for _ in range(40):
        routes.append(world.next())
        routes[-1].begin()
    assert Counter(route.provider.id for route in routes) == {"a": 10, "b": 30}
    for route in routes:
        if route.provider.id == "a":
            route.succeeded(1.0)
            route.done()
            route.done()
    assert {world.next().provider.id for _ in range(20)} == {"a"}
    assert world.health("a").open == 0, "an attempt ends once"


def test_least_busy_among_idle_ones_goes_by_weight() -> None:
    world = World(Target("a", "m"), Target("b", "m", weight=3), strategy="least_busy")
    found = Counter(world.next().provider.id for _ in range(4_000))
    assert found["b"] / 4_000 == pytest.approx(0.75, abs=0.04)


def test_lowest_latency_measures_each_and_then_takes_the_fastest() -> None:
    seconds = {"a": 0.3, "b": 0.1, "c": 0.2}
    world = World(*(Target(name, "m") for name in seconds), strategy="lowest_latency")
    first = []
    for _ in range(3):
        route = world.next()
        first.append(route.provider.id)
        finish(route, seconds[route.provider.id])
    assert sorted(first) == ["a", "b", "c"]
    assert {world.next().provider.id for _ in range(50)} == {"b"}
    for _ in range(10):
        finish(world.next(), 0.9)
    assert world.next().provider.id == "c", "b has become slow"


def test_lowest_latency_measures_with_one_call_at_a_time() -> None:
    world = World(Target("a", "m"), Target("b", "m"), strategy="lowest_latency")
    first = world.next()
    finish(first, 0.1)
    other = world.next()
    assert other.provider.id != first.provider.id
    other.begin()
    assert {world.next().provider.id for _ in range(20)} == {first.provider.id}
    other.done()
    assert world.next().provider.id == other.provider.id, "it still is to be measured"


def test_lowest_latency_measures_again_what_it_has_not_seen_for_a_minute() -> None:
    world = World(Target("a", "m"), Target("b", "m"), strategy="lowest_latency")
    for seconds in (0.1, 5.0):
        finish(world.next(), seconds)
    fast = world.next().provider.id
    world.now = 59.0
    finish(world.next(), 0.1)
    world.now = 61.0
    assert world.next().provider.id != fast


def test_the_strategies_are_those_of_the_configuration() -> None:
    assert tuple(RANKS) == STRATEGIES


def test_a_target_for_which_there_is_no_dialect_is_passed_over() -> None:
    world = World(Target("a", "m"), Target("b", "m", priority=2))
    routes = world.router.routes(world.model, lambda target, _: None if target.provider == "a" else "gemini.generate")
    assert [(route.provider.id, route.dialect) for route in routes] == [("b", "gemini.generate")]


def test_keys_take_turns() -> None:
    world = World(Target("a", "m"), providers=[provider("a", "123")])
    assert [world.next().key for _ in range(5)] == ["a1", "a2", "a3", "a1", "a2"]


@pytest.mark.parametrize("failure", [REFUSED, Failure(LIMITED), Failure(LIMITED, 30.0), Failure(LIMITED, 0.0)])
def test_when_the_key_fails_the_next_key_of_the_same_target_comes_first(failure: Failure) -> None:
    world = World(Target("a", "m"), Target("b", "m", priority=2), providers=[provider("a", "123")])
    assert world.walk(failure) == ["a1", "a2", "a3", "b1"]


@pytest.mark.parametrize("failure", [DOWN, TAKEN])
def test_when_the_target_fails_its_other_keys_are_not_tried(failure: Failure) -> None:
    world = World(Target("a", "m"), Target("b", "m", priority=2), providers=[provider("a", "123")])
    assert world.walk(failure) == ["a1", "b1"]


def test_a_resting_key_rests_for_all_targets_of_its_provider() -> None:
    world = World(Target("a", "m"), Target("a", "n", priority=2), Target("b", "m", priority=3))
    finish(world.next(), Failure(LIMITED, 20.0))
    assert world.walk(TAKEN) == ["b1"]
    world.now = 19.9
    assert world.walk(TAKEN) == ["b1"]
    world.now = 20.0
    assert world.walk(TAKEN) == ["a1", "a1", "b1"]


def test_refused_keys_wake_after_a_minute() -> None:
    world = World(Target("a", "m"))
    finish(world.next(), REFUSED)
    world.now = 59.9
    assert world.walk() == []
    assert world.router.wakes(world.model) == pytest.approx(0.1)
    world.now = 60.0
    assert world.walk() == ["a1"]


@pytest.mark.parametrize("failure", [REFUSED, Failure(LIMITED)])
def test_keys_that_fail_do_not_open_the_breaker(failure: Failure) -> None:
    world = World(Target("a", "m"), providers=[provider("a", [str(number) for number in range(50)])])
    assert len(world.walk(failure)) == 50
    assert world.router.states() == [("a", CLOSED)]


def test_a_success_ends_the_doubling_of_a_keys_rests() -> None:
    world, rests = World(Target("a", "m")), []
    for outcome in (Failure(LIMITED), Failure(LIMITED), 0.1, Failure(LIMITED)):
        finish(world.next(), outcome)
        rests.append(world.router.wakes(world.model) or 0.0)
        world.now += rests[-1]
    assert rests == [1.0, 2.0, 0.0, 1.0]


def test_a_provider_without_keys_is_called_without_credentials() -> None:
    world = World(Target("a", "m"), providers=[provider("a", ())])
    assert world.next().key is None
    finish(world.next(), Failure(LIMITED, 5.0))
    assert world.walk() == []
    assert world.router.wakes(world.model) == 5.0


def test_a_provider_whose_secrets_are_missing_cannot_be_used() -> None:
    world = World(Target("a", "m"), Target("b", "m", priority=2), providers=[provider("a", (None, None))])
    assert world.walk(TAKEN) == ["b1"]
    lonely = World(Target("a", "m"), providers=[provider("a", (None,))])
    assert lonely.walk() == []
    assert lonely.router.wakes(lonely.model) is None, "waiting does not help"


def test_five_failures_open_the_breaker_and_one_probe_closes_it() -> None:
    world = World(Target("a", "m"), Target("b", "m", priority=2))
    for _ in range(5):
        finish(world.next(), DOWN)
    assert world.next().provider.id == "b"
    assert world.router.states() == [("a", OPEN), ("b", CLOSED)]
    world.now = 10.0
    assert world.router.states() == [("a", HALF_OPEN), ("b", CLOSED)]
    probe = world.next()
    probe.begin()
    assert (probe.provider.id, world.next().provider.id) == ("a", "b")
    probe.succeeded(0.1)
    assert world.next().provider.id == "a"
    assert world.router.states() == [("a", CLOSED), ("b", CLOSED)]


@pytest.mark.parametrize("failure", [None, TAKEN, REFUSED])
def test_a_probe_that_says_nothing_about_the_target_lets_another_try(failure: Failure | None) -> None:
    world = World(Target("a", "m"), providers=[provider("a", "12")])
    world.kill("a")
    world.now = 10.0
    probe = world.next()
    probe.begin()
    assert world.walk() == []
    if failure:
        probe.failed(failure)
    probe.done()
    assert world.router.states() == [("a", HALF_OPEN)]
    assert len(world.walk()) == 1


def test_a_clients_fault_is_a_sign_of_health() -> None:
    world = World(Target("a", "m"))
    for _ in range(30):
        finish(world.next(), WRONG)
    assert world.router.states() == [("a", CLOSED)]
    world.kill("a")
    world.now = 10.0
    finish(world.next(), WRONG)
    assert world.router.states() == [("a", CLOSED)]


def test_only_the_first_word_of_an_attempt_counts() -> None:
    world = World(Target("a", "m"))
    for _ in range(10):
        route = world.next()
        route.begin()
        route.succeeded(0.1)
        route.failed(DOWN)
        route.done()
        route.failed(DOWN)
    assert world.router.states() == [("a", CLOSED)]
    left = world.next()
    left.begin()
    left.done()
    left.failed(REFUSED)
    assert world.next().key == "a1", "what ended without a word says none later"


def test_a_breaker_that_opens_during_a_call_ends_its_tries_of_that_target() -> None:
    world = World(Target("a", "m"), Target("b", "m", priority=2), providers=[provider("a", "12")])
    routes = world.router.routes(world.model, chat)
    first = next(routes)
    finish(first, REFUSED)
    for _ in range(5):  # meanwhile, other calls
        finish(world.next(), DOWN)
    assert [route.provider.id for route in routes] == ["b"]


def test_the_worst_breaker_stands_for_a_provider() -> None:
    world = World(Target("a", "m"), Target("a", "n", priority=2), providers=[provider("unused")])
    world.kill("a")
    assert world.router.states() == [("a", OPEN)]
    assert next(world.router.routes(world.model, chat)).target.model == "n"


def test_how_long_an_account_rests() -> None:
    world = World(Target("a", "m"), Target("b", "m"), providers=[provider("b", keys=("1", "2"))])
    accounts = {}
    for route in world.router.routes(world.model, chat):
        accounts[route.key] = route.account
        finish(route, Failure(LIMITED, 30.0 if route.key == "b2" else 1.0))
    world.now = 10.0
    assert world.router.rests(world.model, accounts["b2"]) == 20.0
    assert world.router.rests(world.model, accounts["b1"]) == 0.0
    world.kill("a")
    assert world.router.rests(world.model, accounts["a1"]) == world.health("a").breaker.wakes(world.now) > 0
    assert world.router.rests(world.model, "another|account") is None
    assert world.router.rests(Model("gone"), accounts["b2"]) is None


def test_when_something_wakes() -> None:
    world = World(Target("a", "m"), Target("b", "m"), providers=[provider("a", "12"), provider("b", "1")])
    assert world.router.wakes(world.model) == 0.0
    while routes := list(world.router.routes(world.model, chat)):
        finish(routes[0], Failure(LIMITED, 30.0) if routes[0].provider.id == "a" else DOWN)
    assert world.router.wakes(world.model) == 10.0
    assert world.router.wakes(world.model, lambda target, _: "d" if target.provider == "a" else None) == 30.0
    assert world.router.wakes(world.model, lambda *_: None) is None
    assert world.router.wakes(Model("gone")) is None
    assert list(world.router.routes(Model("gone"), chat)) == []


def test_health_belongs_to_the_target_not_to_the_name() -> None:
    shared, other = Target("a", "x"), Target("a", "y")
    models = {"m": Model("m", (shared,)), "n": Model("n", (shared, Target("a", "y", priority=2)))}
    router = Router(models, {"a": provider("a")}, lambda: 0.0, Random(7).random)
    for _ in range(5):
        finish(next(router.routes(models["m"], chat)), DOWN)
    assert next(router.routes(models["n"], chat)).target.model == other.model


def test_a_reload_keeps_the_health_of_what_did_not_change() -> None:
    world = World(*(Target(name, "m", priority=at) for at, name in enumerate("abc", 1)))
    under_way = world.next()
    under_way.begin()
    for name in "abc":
        world.kill(name)
    assert world.router.states() == [("a", OPEN), ("b", OPEN), ("c", OPEN)]
    changed = Model("m", (Target("a", "m", weight=5), Target("b", "m", priority=2), Target("c", "other", priority=3)))
    providers = world.providers | {"a": provider("a", "12"), "b": provider("b", ca="/new.pem")}
    after = world.router.reloaded({"m": changed}, providers)
    assert after.states() == [("a", OPEN), ("b", CLOSED), ("c", CLOSED)]
    world.now = 10.0
    probe = next(after.routes(changed, chat))
    assert probe.provider.id == "a"
    finish(probe, 0.1)
    assert world.router.states()[0] == ("a", CLOSED), "a call of the old router and one of the new see the same"
    under_way.done()
    assert world.health("a").open == 0


TARGETS = st.lists(
    st.builds(
        Target,
        provider=st.sampled_from("abc"),
        model=st.sampled_from("mn"),
        weight=st.integers(0, 5),
        priority=st.integers(1, 3),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda target: (target.provider, target.model),
)
OUTCOMES = st.sampled_from([DOWN, DOWN, TAKEN, WRONG, REFUSED, Failure(LIMITED), Failure(LIMITED, 4.0), 0.1, None])
STEPS = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 3.0, 11.0]), st.lists(OUTCOMES, max_size=8)), max_size=30)


class Rests:
    """What a careful reader of the rules knows after each outcome: until when each key rests."""

    def __init__(self) -> None:
        self.until: dict[str | None, float] = {}
        self.last: dict[str | None, float] = {}

    def note(self, key: str | None, now: float, outcome: Failure | float | None) -> None:
        if isinstance(outcome, float):
            self.last[key] = 0.0
        elif outcome is REFUSED:
            self.until[key] = now + 60.0
        elif outcome is not None and outcome.kind == LIMITED:
            if outcome.retry_after is None:
                self.last[key] = min(self.last.get(key, 0.0) * 2, 60.0) or 1.0
            self.until[key] = now + (self.last[key] if outcome.retry_after is None else outcome.retry_after)


@settings(max_examples=150, deadline=None)
@given(TARGETS, st.sampled_from(STRATEGIES), STEPS, st.integers(1, 3))
def test_whatever_happened_a_walk_is_sound_and_complete(
    targets: list[Target], strategy: str, steps: list[tuple[float, list[Any]]], keys: int
) -> None:
    world = World(*targets, strategy=strategy, providers=[provider(name, "123"[:keys]) for name in "abc"])
    rests = Rests()
    for seconds, outcomes in steps:
        world.now += seconds
        tried: list[Target] = []
        waiting = iter(outcomes)
        for route in world.router.routes(world.model, chat):
            health = world.health(route.target.provider, route.target.model)
            assert world.now >= rests.until.get(route.key, 0.0), "a resting key"
            assert health.breaker.admits(world.now), "an open breaker"
            if not tried or tried[-1] is not route.target:
                assert route.target not in tried, "a target that had its turn"
                assert not tried or tried[-1].priority <= route.target.priority
                tried.append(route.target)
            route.begin()
            outcome = next(waiting, TAKEN)
            if isinstance(outcome, Failure):
                route.failed(outcome)
            elif outcome is not None:
                route.succeeded(outcome)
            route.done()
            rests.note(route.key, world.now, outcome)
            assert health.open == 0
    offered = [route.target for route in world.router.routes(world.model, chat)]
    for target in set(targets) - set(offered):
        resting = all(world.now < rests.until.get(f"{target.provider}{number}", 0.0) for number in range(1, keys + 1))
        assert resting or not world.health(target.provider, target.model).breaker.admits(world.now)


@settings(max_examples=100, deadline=None)
@given(TARGETS, st.sampled_from(STRATEGIES), st.data())
def test_a_healthy_standby_is_always_found(targets: list[Target], strategy: str, data: st.DataObject) -> None:
    """One target answers, all others fail in every way there is: each call must come to that one."""
    well = data.draw(st.sampled_from(targets))
    failures = st.sampled_from([DOWN, TAKEN, REFUSED, Failure(LIMITED), Failure(LIMITED, 100.0)])
    # A key that another target wears out rests for all: the healthy one has a provider of its own.
    targets = [Target("well", "m", well.weight, well.priority) if target is well else target for target in targets]
    world = World(*targets, strategy=strategy)
    for _ in range(20):
        world.now += data.draw(st.sampled_from([0.0, 1.0, 15.0]))
        for route in world.router.routes(world.model, chat):
            if route.provider.id == "well":
                finish(route, 0.1)
                break
            finish(route, data.draw(failures))
        else:
            pytest.fail("no call may end without an answer")
