"""Which vendor gets a call, and in which order others are tried. Pure: clock and random are arguments.

    router.resolve(name, facts)        rules -> the model with targets
    router.routes(model, usable)       -> one Route after the other, as long as the walk asks for more
    route.begin() ... done()           what came of it

Lower priorities come first. Within one priority the strategy ranks the targets: the lowest rank goes first, between
equals the weight decides; targets of weight 0 are the last resort of their priority. Who is awake (breaker not open, a
key that does not rest) is asked anew for each route, never before: the attempt just made may have changed it.

A target's health is shared by all models that name it, a key's rest by all targets of its provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import inf

from gateway.errors import UnknownModel
from gateway.models import Model, Target
from gateway.providers import Provider
from gateway.routing.breaker import STRAY
from gateway.routing.health import LESSONS, Failure, Health, Key, Upstream
from gateway.routing.rules import Facts, chosen
from gateway.yaml_lines import shown

Usable = Callable[[Target, Provider], str | None]
Rank = Callable[[Health, int, float], float]


def _weighted(_health: Health, _weight: int, _now: float) -> float:
    return 0.0


def _least_busy(health: Health, weight: int, _now: float) -> float:
    return health.open / (weight or 1)


def _lowest_latency(health: Health, _weight: int, now: float) -> float:
    if health.known(now):
        return health.latency
    # One call measures it; until then the others go where the latency is known.
    return inf if health.open else -1.0


RANKS: dict[str, Rank] = {
    "weighted": _weighted,
    "least_busy": _least_busy,
    "lowest_latency": _lowest_latency,
}


class Candidate:
    """A target of a model, joined with what is known of it."""

    __slots__ = ("health", "provider", "ring", "target")

    def __init__(self, target: Target, upstream: Upstream) -> None:
        self.target = target
        self.provider = upstream.provider
        self.ring = upstream.ring
        self.health = upstream.healths[target.model]

    def key(self, now: float, tried: list[Key]) -> Key | None:
        """The next key to try it with; None if it is asleep."""
        return self.ring.take(now, tried) if self.health.breaker.admits(now) else None

    def wakes(self, now: float) -> float:
        """Seconds until it may be tried."""
        return max(self.health.breaker.wakes(now), self.ring.wakes(now))


class Route:
    """One attempt: where it goes and with which key. Call `begin` before awaiting anything, `done` whatever happens.

    The first of `succeeded` and `failed` counts; an attempt that ends with neither says nothing.
    """

    __slots__ = (
        "_clock",
        "_health",
        "_key",
        "_open",
        "_reported",
        "_ticket",
        "dialect",
        "failure",
        "provider",
        "target",
    )

    def __init__(self, candidate: Candidate, dialect: str, key: Key, clock: Callable[[], float]) -> None:
        self.target = candidate.target
        self.provider = candidate.provider
        self.dialect = dialect
        self.failure: Failure | None = None
        self._reported = False
        self._health = candidate.health
        self._key = key
        self._clock = clock
        self._ticket = STRAY
        self._open = False

    @property
    def account(self) -> str:
        """The vendor account that the call goes to: what it signs is good there only."""
        return self._key.account

    @property
    def key(self) -> str | None:
        """The vendor's key, None for no credentials. Not for any message."""
        return self._key.text

    def begin(self) -> None:
        """The attempt starts: before the connection is made."""
        self._open = True
        self._health.open += 1
        self._ticket = self._health.breaker.begin(self._clock())

    def succeeded(self, seconds_to_first_byte: float) -> None:
        """A good answer has begun."""
        if self._reported:
            return
        self._reported = True
        now = self._clock()
        self._key.succeeded(now)
        self._health.measured(seconds_to_first_byte, now)
        self._health.breaker.succeeded(self._ticket, now)

    def failed(self, failure: Failure) -> None:
        """There is no good answer."""
        if self._reported:
            return
        self._reported, self.failure = True, failure
        now, (for_key, for_target) = self._clock(), LESSONS[failure.kind]
        if for_key:
            for_key(self._key, now, failure.retry_after)
        for_target(self._health.breaker, self._ticket, now)

    def done(self) -> None:
        """The attempt's connection is over."""
        if not self._open:
            return
        self._open = False
        self._health.open -= 1
        if not self._reported:
            self._reported = True
            self._health.breaker.released(self._ticket, 0.0)


class Plan:
    """A model's candidates by priority, and how equals are ranked."""

    __slots__ = ("groups", "rank", "shared")

    def __init__(self, model: Model, upstreams: Mapping[str, Upstream]) -> None:
        self.rank = RANKS[model.strategy]
        found: dict[int, list[Candidate]] = {}
        for target in model.targets:
            if target.provider in upstreams:
                found.setdefault(target.priority, []).append(Candidate(target, upstreams[target.provider]))
        self.groups = tuple(found[priority] for priority in sorted(found))
        accounts = {key.account for group in self.groups for candidate in group for key in candidate.ring.keys}
        self.shared = len(accounts) > 1


class Router:
    """All models and what is known of their targets. A call stays with the router it began with; a reload makes another
    one, which shares the health of whatever did not change.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        providers: Mapping[str, Provider],
        clock: Callable[[], float],
        random: Callable[[], float],
        before: Mapping[str, Upstream] | None = None,
    ) -> None:
        self._models, self._clock, self._random = models, clock, random
        wanted: dict[str, set[str]] = {}
        for model in models.values():
            for target in model.targets:
                wanted.setdefault(target.provider, set()).add(target.model)
        self._upstreams = {
            name: Upstream(providers[name], names, (before or {}).get(name))
            for name, names in wanted.items()
            if name in providers
        }
        self._plans = {name: Plan(model, self._upstreams) for name, model in models.items()}

    def reloaded(self, models: Mapping[str, Model], providers: Mapping[str, Provider]) -> Router:
        """The router of a new configuration."""
        return Router(models, providers, self._clock, self._random, self._upstreams)

    def resolve(self, name: str, facts: Facts) -> Model:
        """The model that serves a name: rules lead on until one has targets. The configuration has no circles."""
        model = self._models.get(name)
        while model is not None:
            leads_to = chosen(model, facts)
            if leads_to is None:
                return model
            model = self._models.get(leads_to)
        # Only the client's own word: where rules lead is nobody else's business.
        raise UnknownModel(f"the model {shown(name)} does not exist; GET /v1/models lists yours", param="model")

    def routes(self, model: Model, usable: Usable, account: str | None = None) -> Iterator[Route]:
        """Where to try, in order; none if nothing is awake. `usable` gives a target's dialect, None: not this one.

        `account`: of the one that made what the conversation builds on: it comes first.
        """
        plan = self._plans.get(model.name)
        if plan is None:
            return
        known = self._known(plan, account) if account is not None else None
        over: Candidate | None = None
        if known is not None and (dialect := usable(known[0].target, known[0].provider)) is not None:
            route = Route(known[0], dialect, known[1], self._clock)
            yield route
            over = known[0] if route.failure is None or not route.failure.of_key else None
        for group in plan.groups:
            waiting = [candidate for candidate in group if candidate is not over]
            while waiting:
                candidate = self._next(plan.rank, waiting) if len(waiting) > 1 else waiting[0]
                waiting.remove(candidate)
                dialect = usable(candidate.target, candidate.provider)
                tried: list[Key] = [known[1]] if known is not None and known[0] is candidate else []
                while dialect is not None and (key := candidate.key(self._clock(), tried)):
                    route = Route(candidate, dialect, key, self._clock)
                    yield route
                    if route.failure is None or not route.failure.of_key:
                        break
                    tried.append(key)  # the target may be well: the same again with the next key

    def _known(self, plan: Plan, account: str) -> tuple[Candidate, Key] | None:
        """The candidate and the key of an account, if they are awake."""
        now = self._clock()
        for candidate in (candidate for group in plan.groups for candidate in group):
            for key in candidate.ring.keys:
                if key.account == account and key.until <= now and candidate.health.breaker.admits(now):
                    return candidate, key
        return None

    def rests(self, model: Model, account: str) -> float | None:
        """Seconds until an account may be called for the model; None if it is none of the model's."""
        now, plan = self._clock(), self._plans.get(model.name)
        for candidate in (candidate for group in (plan.groups if plan else ()) for candidate in group):
            for key in candidate.ring.keys:
                if key.account == account:
                    return max(key.until - now, candidate.health.breaker.wakes(now), 0.0)
        return None

    def shared(self, model: Model) -> bool:
        """Whether there is more than one account to choose from."""
        plan = self._plans.get(model.name)
        return plan is not None and plan.shared

    def _next(self, rank: Rank, waiting: list[Candidate]) -> Candidate:
        """The best of several. Whether it is awake shows when a key is asked for: that changes nothing in the order."""
        now = self._clock()
        regular = [candidate for candidate in waiting if candidate.target.weight] or waiting
        ranks = [rank(candidate.health, candidate.target.weight, now) for candidate in regular]
        best = min(ranks)
        return self._drawn([candidate for candidate, found in zip(regular, ranks, strict=True) if found == best])

    def _drawn(self, equals: list[Candidate]) -> Candidate:
        """One by lot; the lots are the weights."""
        if len(equals) == 1:
            return equals[0]
        lots = [candidate.target.weight or 1 for candidate in equals]
        left = self._random() * sum(lots)
        for candidate, weight in zip(equals, lots, strict=True):
            left -= weight
            if left < 0:
                return candidate
        return equals[-1]  # rounding

    def wakes(self, model: Model, usable: Usable | None = None) -> float | None:
        """Seconds until a target of the model may be tried; None if waiting does not help."""
        now, plan = self._clock(), self._plans.get(model.name)
        soonest = min(
            (
                candidate.wakes(now)
                for group in (plan.groups if plan else ())
                for candidate in group
                if usable is None or usable(candidate.target, candidate.provider) is not None
            ),
            default=inf,
        )
        return None if soonest == inf else soonest

    def states(self) -> list[tuple[str, int]]:
        """For the metrics: each provider that is a target, with the worst state of its breakers."""
        now = self._clock()
        return [(name, upstream.state(now)) for name, upstream in self._upstreams.items()]
