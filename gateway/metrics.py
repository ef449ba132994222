"""Counters: plain integers on the hot path, made into Prometheus families only when somebody scrapes.

A `Series` belongs to one (surface, provider) and is looked up once, when a plan is made; from then on counting is an
addition. `snapshot` gives everything as plain values, so that several workers' numbers can be added up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from gateway.types import END_REASONS, Usage

MAX_MODELS = 1000
OTHER = "other"
TOKEN_TYPES = ("input", "cached_input", "cache_write", "output", "reasoning")

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_MICRO = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
# The bounds that OpenTelemetry's GenAI conventions advise.
_TOKENS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0)


class Histogram:
    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def take(self, values: Iterable[float]) -> None:
        """Counts many values at once: all the looping happens in C."""
        values = list(values)
        for bucket, number in Counter(map(bisect_left, repeat(self.bounds), values)).items():
            self.counts[bucket] += number
        self.sum += sum(values)


# How many samples wait, at most, before they are counted.
_WAITING = 4096


class ModelSeries:
    """What is counted per model. Usages wait in a list: counting them in bulk costs a third."""

    __slots__ = ("_waiting", "_waiting_estimated", "estimated", "input", "output", "requests", "vendor")

    def __init__(self) -> None:
        self.requests: dict[int, int] = {}
        self.vendor = [0] * len(TOKEN_TYPES)
        self.estimated = [0] * len(TOKEN_TYPES)
        self.input = Histogram(_TOKENS)
        self.output = Histogram(_TOKENS)
        self._waiting: list[tuple[int, ...]] = []
        self._waiting_estimated: list[tuple[int, ...]] = []

    def request(self, status: int) -> None:
        self.requests[status] = self.requests.get(status, 0) + 1

    def count(self, usage: Usage, estimated: bool = False) -> None:
        waiting = self._waiting_estimated if estimated else self._waiting
        waiting.append((usage.input, usage.cached_input, usage.cache_write, usage.output, usage.reasoning))
        if len(waiting) >= _WAITING:
            self.settle()

    def settle(self) -> None:
        """Brings the counters up to date."""
        for waiting, tokens in ((self._waiting, self.vendor), (self._waiting_estimated, self.estimated)):
            if waiting:
                columns = list(zip(*waiting, strict=True))
                tokens[:] = map(int.__add__, tokens, map(sum, columns))
                self.input.take(columns[0])
                self.output.take(columns[3])
                waiting.clear()


class Series:
    """What is counted per surface and provider."""

    __slots__ = ("_metrics", "_waiting", "added", "attempts", "duration", "ends", "first_byte", "models", "provider",
                 "sessions", "surface", "usage", "ws_down", "ws_up")  # fmt: skip

    def __init__(self, metrics: Metrics, surface: str, provider: str) -> None:
        self._metrics = metrics
        self._waiting: list[tuple[float, float, float]] = []
        self.surface = surface
        self.provider = provider
        self.models: dict[str, ModelSeries] = {}
        self.duration = Histogram(_SECONDS)
        self.first_byte = Histogram(_SECONDS)
        self.added = metrics.added(surface)
        self.attempts: dict[str, int] = {}
        self.ends = dict.fromkeys(END_REASONS, 0)
        self.usage = {"vendor": 0, "estimated": 0, "none": 0}
        self.sessions = 0
        self.ws_up = 0
        self.ws_down = 0

    def attempt(self, outcome: str) -> None:
        """Counts one call to a vendor."""
        self.attempts[outcome] = self.attempts.get(outcome, 0) + 1

    def time(self, duration: float, first_byte: float, added: float) -> None:
        """Takes one exchange's seconds; what there was none of is negative."""
        self._waiting.append((duration, first_byte, added))
        if len(self._waiting) >= _WAITING:
            self.settle()

    def settle(self) -> None:
        """Brings the counters up to date."""
        if self._waiting:
            histograms = (self.duration, self.first_byte, self.added)
            for histogram, column in zip(histograms, zip(*self._waiting, strict=True), strict=True):
                histogram.take(value for value in column if value >= 0)
            self._waiting.clear()

    def model(self, name: str) -> ModelSeries:
        series = self.models.get(name)
        if series is None:
            name = self._metrics.bounded(name)
            series = self.models.get(name)
            if series is None:
                series = self.models[name] = ModelSeries()
        return series


class Row(msgspec.Struct, array_like=True):
    """One sample: a number, or a histogram's counts and sum."""

    labels: list[str]
    value: float
    counts: list[int] = []


class Family(msgspec.Struct, array_like=True):
    name: str
    kind: str  # counter, gauge, histogram
    help: str
    labels: list[str]
    rows: list[Row]
    bounds: list[float] = []


Snapshot = list[Family]
_decoder = msgspec.json.Decoder(Snapshot)


class Metrics:
    """All counters of one process. At scrape time `connections` is asked for (provider, state, number), `breakers` for
    (provider, state: 0 closed, 1 half-open, 2 open), `holds` for how many are open.
    """

    def __init__(self) -> None:
        self.settlements: dict[str, int] = {}  # by outcome
        self.costs: dict[str, int] = {}  # nano-credits by model
        self.cache: dict[str, int] = {}  # looks into the response cache by result
        self.breakers: Callable[[], Iterable[tuple[str, int]]] = lambda: ()
        self.holds: Callable[[], int] = lambda: 0
        self._series: dict[tuple[str, str], Series] = {}
        self._added: dict[str, Histogram] = {}
        self._names: set[str] = set()
        self.connections: Callable[[], Iterable[tuple[str, str, int]]] = lambda: ()

    def series(self, surface: str, provider: str) -> Series:
        key = (surface, provider)
        if key not in self._series:
            self._series[key] = Series(self, surface, provider)
        return self._series[key]

    def added(self, surface: str) -> Histogram:
        return self._added.setdefault(surface, Histogram(_MICRO))

    def bounded(self, name: str) -> str:
        """The name as a label: past the first MAX_MODELS names, `other`."""
        if name in self._names:
            return name
        if len(self._names) >= MAX_MODELS:
            return OTHER
        self._names.add(name)
        return name

    def snapshot(self) -> Snapshot:
        return list(_families(self))

    def all_series(self) -> list[Series]:
        return list(self._series.values())

    def all_added(self) -> dict[str, Histogram]:
        return self._added


def _families(metrics: Metrics) -> Iterator[Family]:
    every = metrics.all_series()
    for series in every:
        series.settle()
        for model in series.models.values():
            model.settle()
    models = [(s, name, m) for s in every for name, m in list(s.models.items())]
    yield Family("gateway_requests", "counter", "Requests answered", ["surface", "provider", "model", "status"], [
        Row([s.surface, s.provider, name, str(status)], n) for s, name, m in models for status, n in m.requests.items()
    ])  # fmt: skip
    yield _histograms("gateway_request_duration_seconds", "Whole requests", ["surface", "provider"],
                      [([s.surface, s.provider], s.duration) for s in every], _SECONDS)  # fmt: skip
    yield _histograms("gateway_time_to_first_byte_seconds", "Until the answer's first byte", ["surface", "provider"],
                      [([s.surface, s.provider], s.first_byte) for s in every], _SECONDS)  # fmt: skip
    yield _histograms("gateway_added_seconds", "Time in the gateway itself before the first byte", ["surface"],
                      [([surface], h) for surface, h in metrics.all_added().items()], _MICRO)  # fmt: skip
    yield Family("gateway_tokens", "counter", "Tokens by model", ["surface", "provider", "model", "type", "source"], [
        Row([s.surface, s.provider, name, kind, source], tokens[i])
        for s, name, m in models
        for source, tokens in (("vendor", m.vendor), ("estimated", m.estimated))
        if any(tokens)
        for i, kind in enumerate(TOKEN_TYPES)
    ])  # fmt: skip
    yield Family("gateway_usage", "counter", "Metered answers by where their usage came from",
                 ["surface", "provider", "source"],
                 [Row([s.surface, s.provider, k], n) for s in every for k, n in s.usage.items()])  # fmt: skip
    yield Family("gateway_stream_ends", "counter", "How answers ended", ["surface", "provider", "reason"],
                 [Row([s.surface, s.provider, k], n) for s in every for k, n in s.ends.items()])  # fmt: skip
    yield Family("gateway_attempts", "counter", "Calls to vendors", ["provider", "outcome"],
                 _summed(([s.provider, outcome], n) for s in every for outcome, n in s.attempts.items()))  # fmt: skip
    yield Family("gateway_upstream_connections", "gauge", "Connections to vendors", ["provider", "state"],
                 [Row([provider, state], n) for provider, state, n in metrics.connections()])  # fmt: skip
    yield Family("gateway_breaker_state", "gauge", "Circuit breakers: 0 closed, 1 half-open, 2 open", ["provider"],
                 [Row([provider], state) for provider, state in metrics.breakers()])  # fmt: skip
    yield Family("gateway_cost_nanocredits", "counter", "Charged, by the model that was asked for", ["model"],
                 [Row([name], cost) for name, cost in metrics.costs.items()])  # fmt: skip
    yield Family("gateway_holds_open", "gauge", "Calls whose most is held back", [], [Row([], metrics.holds())])
    yield Family("gateway_settlements", "counter", "Holds closed, by outcome", ["outcome"],
                 [Row([outcome], n) for outcome, n in metrics.settlements.items()])  # fmt: skip
    yield Family("gateway_cache_requests", "counter", "Looks into the response cache", ["result"],
                 [Row([result], n) for result, n in metrics.cache.items()])  # fmt: skip
    yield Family("gateway_websocket_sessions", "gauge", "Open WebSockets", ["provider"],
                 _summed(([s.provider], s.sessions) for s in every))  # fmt: skip
    yield Family("gateway_websocket_bytes", "counter", "Bytes through WebSockets", ["provider", "direction"],
                 _summed(([s.provider, way], n) for s in every for way, n in (("up", s.ws_up), ("down", s.ws_down))))
    yield from _gen_ai(every, models)


def _gen_ai(every: list[Series], models: list[tuple[Series, str, ModelSeries]]) -> Iterator[Family]:
    """The same under OpenTelemetry's GenAI names."""
    used = [(s, name, m) for s, name, m in models if m.input.sum or m.output.sum]
    labels = ["gen_ai_provider_name", "gen_ai_request_model"]
    # Surfaces are no label here, so theirs are added up.
    yield _histograms("gen_ai_client_token_usage", "Tokens a call", [*labels, "gen_ai_token_type"], _added(
        ((s.provider, name, kind), h) for s, name, m in used for kind, h in (("input", m.input), ("output", m.output))
    ), _TOKENS)  # fmt: skip
    called = _added(((s.provider,), s.first_byte) for s in every if s.provider)
    yield _histograms("gen_ai_server_time_to_first_token", "Until an answer's first byte", labels[:1], called, _SECONDS)


def _added(rows: Iterable[tuple[tuple[str, ...], Histogram]]) -> list[tuple[list[str], Histogram]]:
    """One histogram for each set of labels."""
    total: dict[tuple[str, ...], Histogram] = {}
    for labels, histogram in rows:
        into = total.setdefault(labels, Histogram(histogram.bounds))
        into.counts = list(map(int.__add__, into.counts, histogram.counts))
        into.sum += histogram.sum
    return [(list(labels), histogram) for labels, histogram in total.items()]


def _histograms(
    name: str, text: str, labels: list[str], rows: list[tuple[list[str], Histogram]], bounds: tuple[float, ...]
) -> Family:
    return Family(name, "histogram", text, labels, [Row(k, h.sum, list(h.counts)) for k, h in rows], list(bounds))


def _summed(pairs: Iterable[tuple[list[str], int]]) -> list[Row]:
    total: dict[tuple[str, ...], int] = {}
    for labels, value in pairs:
        total[tuple(labels)] = total.get(tuple(labels), 0) + value
    return [Row(list(labels), value) for labels, value in total.items()]


# Gauges of which a sum would say nothing.
_WORST = frozenset({"gateway_breaker_state"})


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sum of several workers' snapshots."""
    merged: dict[str, Family] = {}
    rows: dict[tuple[str, ...], Row] = {}
    for snapshot in snapshots:
        for family in snapshot:
            into = merged.setdefault(
                family.name, Family(family.name, family.kind, family.help, family.labels, [], family.bounds)
            )
            for row in family.rows:
                key = (family.name, *row.labels)
                if key not in rows:
                    rows[key] = Row(row.labels, row.value, list(row.counts))
                    into.rows.append(rows[key])
                else:
                    value = rows[key].value
                    rows[key].value = max(value, row.value) if family.name in _WORST else value + row.value
                    rows[key].counts = [a + b for a, b in zip(rows[key].counts, row.counts, strict=True)]
    return list(merged.values())


def encode(snapshot: Snapshot) -> bytes:
    return msgspec.json.encode(snapshot)


def decode(data: bytes) -> Snapshot:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(data)


class _Collector:
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for family in self._snapshot:
            if family.kind == "histogram":
                yield _histogram_family(family)
                continue
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = kind(family.name, family.help, labels=family.labels)
            for row in family.rows:
                metric.add_metric(row.labels, row.value)
            yield metric


def _histogram_family(family: Family) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for row in family.rows:
        running = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip([*map(str, family.bounds), "+Inf"], row.counts, strict=True):
            running += count
            buckets.append((bound, running))
        metric.add_metric(row.labels, buckets, row.value)
    return metric


def exposition(snapshot: Snapshot) -> bytes:
    """Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(snapshot))
    return generate_latest(registry)
