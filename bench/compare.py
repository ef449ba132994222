"""The gateway beside other proxies, in one run on this machine: `python -m bench.compare [--quick] [--json]`.

Every row takes the candidates in turns, round after round, and prints medians, their ratio to nginx and the budget that
the design sets for it. See README.md in this folder for the method.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import re
import resource
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import uvloop

from bench.load import WebSocketClient, idle_streams, large_down, large_up
from bench.proxies import CANDIDATES, Setup
from bench.upstream import DOWN, DOWN_CHUNKED, MIB, REALTIME, UNARY_CHUNKED, UP
from gateway.benchmark.calls import BURST, PACED, UNARY, UNIFIED_BURST, UNIFIED_PACED, Call, Target, WrongAnswer
from gateway.benchmark.command import latencies, shown, table
from gateway.benchmark.converted import (
    CHAT_BURST,
    CHAT_PACED,
    CHAT_UNARY,
    MESSAGES_BURST,
    MESSAGES_PACED,
    MESSAGES_UNARY,
)  # fmt: skip
from gateway.benchmark.load import Client, MeaningClient, Sample, sample
from gateway.benchmark.processes import free_port, halves, pinned, rest
from gateway.benchmark.start import Started, far_side, started

DIRECT, BASE, WORKERS = "direct", "nginx", "capacity of two workers"
UNIFIED = ("unified", "converted")
T = TypeVar("T")


class Scale(NamedTuple):
    """How long a run measures."""

    rounds: int
    seconds: float  # of one window of CPU time
    calls: int  # of one turn for latency
    streams: int  # held open for memory
    starts: int  # samples of the rows that start a process for each


FULL = Scale(rounds=5, seconds=0.5, calls=1000, streams=2000, starts=3)
QUICK = Scale(rounds=2, seconds=0.15, calls=200, streams=1000, starts=1)


class Load(NamedTuple):
    """A row of CPU time per unit."""

    name: str
    unit: str
    call: Call
    connections: int
    budget: str
    client: type = Client
    on: str = "plain"  # which of a candidate's targets: plain, logged, unified, converted


def _converted(name: str, unit: str, call: Call, connections: int) -> Load:
    """A unified call whose vendor speaks another dialect."""
    return Load(f"unified {name}", unit, call, connections, "", MeaningClient, "converted")


LOADS = (
    Load("unary POST", "us/request", UNARY, 32, "1.25 x"),
    Load("unary POST, chunked answer", "us/request", UNARY_CHUNKED, 32, "1.25 x"),
    Load("unary POST, access log on", "us/request", UNARY, 32, "", on="logged"),
    Load("SSE event, paced", "us/event", PACED, 128, "1.0 x"),
    Load("SSE event, burst", "us/event", BURST, 32, "1.0 x"),
    Load("unified POST", "us/request", UNARY, 32, "3.6 x", on="unified"),
    Load("unified SSE event, paced", "us/event", UNIFIED_PACED, 128, "", on="unified"),
    Load("unified SSE event, burst", "us/event", UNIFIED_BURST, 32, "", on="unified"),
    _converted("chat to Anthropic, POST", "us/request", CHAT_UNARY, 32),
    _converted("chat to Anthropic, SSE event, paced", "us/event", CHAT_PACED, 128),
    _converted("chat to Anthropic, SSE event, burst", "us/event", CHAT_BURST, 32),
    _converted("messages to OpenAI, POST", "us/request", MESSAGES_UNARY, 32),
    _converted("messages to OpenAI, SSE event, paced", "us/event", MESSAGES_PACED, 128),
    _converted("messages to OpenAI, SSE event, burst", "us/event", MESSAGES_BURST, 32),
    Load("WebSocket message", "us/message", REALTIME, 32, "1.1 x", WebSocketClient),
    Load("8 MiB blob down", "us/blob", DOWN, 4, "1.0 x"),
    Load("8 MiB blob down, chunked", "us/blob", DOWN_CHUNKED, 4, "1.0 x"),
    Load("8 MiB blob up", "us/blob", UP, 4, "1.0 x"),
)


class Fresh(NamedTuple):
    """A row for which each sample needs a process that has done nothing before."""

    name: str
    unit: str
    budget: str
    measure: Callable[[Started, Scale], float]
    repeated: bool = False


FRESH = (
    Fresh("memory of an open stream", "KiB", "<= 8",
          lambda found, scale: uvloop.run(idle_streams(found.target, scale.streams)) / 1024),
    Fresh("memory of a 256 MiB body down", "MiB", "flat", lambda found, _scale: large_down(found.target) / MIB),
    Fresh("memory of a 256 MiB body up", "MiB", "flat", lambda found, _scale: large_up(found.target) / MIB),
    Fresh("start to first answer", "ms", "< 500", lambda found, _scale: found.seconds * 1000, repeated=True),
)  # fmt: skip


class Row(NamedTuple):
    """One line of the result: the samples of each candidate, and the median that stands for them."""

    name: str
    unit: str
    budget: str  # of the gateway: a ratio to nginx (x), or in the row's unit
    samples: dict[str, list[float]]

    @property
    def values(self) -> dict[str, float]:
        return {name: statistics.median(found) for name, found in self.samples.items() if found}

    def ratio(self) -> float | None:
        values = self.values
        if self.budget and not self.budget.endswith("x"):
            return None
        return values["gateway"] / values[BASE] if values.get(BASE) and "gateway" in values else None

    def spread(self) -> float | None:
        """The widest half range of a candidate's samples about their median: how far to trust the row."""
        return max(
            ((max(s) - min(s)) / 2 / m for s in self.samples.values() if len(s) > 1 and (m := statistics.median(s))),
            default=None,
        )


class Bench:
    """One run: the far side, the candidates that can be started, and what went wrong on the way."""

    def __init__(self, scale: Scale, folder: Path, proxy: set[int], names: Iterable[str]) -> None:
        self.scale = scale
        self.folder = folder
        self.proxy = proxy
        self.names = list(names)
        self.faults: list[str] = []
        self.upstream: Target

    @contextlib.contextmanager
    def candidate(self, name: str, logged: bool = False, workers: int = 1) -> Iterator[Started]:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        candidate, port = CANDIDATES[name], free_port()
        command = candidate.command(Setup(folder, port, self.upstream.port, logged, workers))
        head = candidate.head.format(upstream=self.upstream.port)
        log = folder / "output"
        with started(command, port, log, candidate.prefix, self.proxy, head, candidate.reencodes) as found:
            yield found

    def turns(self, row: str, names: Iterable[str], times: int, measure: Callable[[str], T]) -> dict[str, list[T]]:
        """Samples of each candidate, taken in turns. A wrong answer costs a candidate its place in the row, and the
        run its clean exit."""
        print(f"  {row}", file=sys.stderr)
        samples: dict[str, list[T]] = {name: [] for name in names}
        for _ in range(times):
            for name in list(samples):
                try:
                    samples[name].append(measure(name))
                except (WrongAnswer, OSError) as exc:
                    del samples[name]
                    self.faults.append(f"{row}: {name}: {exc!r}")
        return samples

    def sample(self, target: Target, call: Call, connections: int, client: type = Client) -> Sample:
        seconds = self.scale.seconds
        if target.reencodes:
            # Those take so long for a call that a short window would hold none; and what the last window has left
            # unanswered they still work on.
            client, seconds, connections = MeaningClient, max(seconds, 3.0), min(connections, 8)
            rest(target.pid)
        return uvloop.run(sample(target, call, connections, seconds, client))

    def load(self, row: Load, targets: dict[str, Target]) -> Row:
        def cost(name: str) -> float:
            return self.sample(targets[name], row.call, row.connections, row.client).per_unit

        return Row(row.name, row.unit, row.budget, self.turns(row.name, targets, self.scale.rounds, cost))

    def first_byte(self, targets: dict[str, Target]) -> Iterator[Row]:
        """Added latency on one connection; the direct column is the whole wait, the others what they add to it."""

        def waits(name: str) -> list[float]:
            return sorted(latencies(targets[name], self.scale.calls))

        rounds = self.turns("first byte", targets, self.scale.rounds, waits)
        for label, share, budget in (("median", 0.5, "1.0 x"), ("99 %", 0.99, "")):
            points = {name: [turn[int(len(turn) * share)] for turn in turns] for name, turns in rounds.items()}
            direct = statistics.median(points[DIRECT])
            added = {name: found if name == DIRECT else [p - direct for p in found] for name, found in points.items()}
            yield Row(f"added to the first byte, {label}", "us", budget, added)

    def fresh(self, row: Fresh) -> Row:
        def measure(name: str) -> float:
            with self.candidate(name) as found:
                return row.measure(found, self.scale)

        times = self.scale.starts if row.repeated else 1
        return Row(row.name, row.unit, row.budget, self.turns(row.name, self.names, times, measure))

    def workers(self, name: str) -> float:
        """How much more two workers can carry than one, by CPU: what a request costs with one, over what it costs the
        busier of two. A rate would tell more of the load than of the proxy where they share so few cores."""

        def loaded(workers: int) -> Sample:
            with self.candidate(name, workers=workers) as found:
                uvloop.run(sample(found.target, UNARY, 256, self.scale.seconds))  # the first calls are dearer
                return uvloop.run(sample(found.target, UNARY, 256, self.scale.seconds))

        one, two = loaded(1), loaded(2)
        return one.per_unit / (max(two.cpu.values()) / two.units * 1e6)

    def rows(self, wanted: re.Pattern[str]) -> Iterator[Row]:
        """All rows whose names fit."""
        loads = [row for row in LOADS if wanted.search(row.name)]
        latency = wanted.search("first byte")
        kinds = {row.on for row in loads} | ({"plain"} if latency else set())
        forwarders = [name for name in self.names if CANDIDATES[name].forwards]
        with contextlib.ExitStack() as stack:
            targets: dict[str, dict[str, Target]] = {}
            for kind in sorted(kinds):

                def start(name: str, kind: str = kind) -> Target:
                    found = stack.enter_context(self.candidate(name, logged=kind == "logged"))
                    target = CANDIDATES[name].unified(found) if kind in UNIFIED else found.target
                    self.sample(target, UNARY, 32)  # the first calls are dearer
                    return target

                names = self.names if kind == "unified" else forwarders
                targets[kind] = {name: found for name, [found] in self.turns(f"start, {kind}", names, 1, start).items()}
            self.names = [name for name in forwarders if all(name in found for found in targets.values())]
            for kind in kinds - {"logged"}:
                targets[kind][DIRECT] = self.upstream
            for row in loads:
                yield self.load(row, targets[row.on])
            if latency:
                yield from self.first_byte(targets["plain"])
        for fresh in FRESH:
            if wanted.search(fresh.name):
                yield self.fresh(fresh)
        if wanted.search(WORKERS):
            names = [name for name in self.names if CANDIDATES[name].processes]
            yield Row(WORKERS, "times", ">= 1.9", self.turns(WORKERS, names, self.scale.starts, self.workers))


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    cores = len(halves()[0] | halves()[1])
    return f"{model}, {cores} cores, Linux {platform.release()}, Python {platform.python_version()}"


def render(rows: list[Row], names: list[str]) -> str:
    head = ["", "unit", *names, f"gateway/{BASE}", "budget", "spread"]
    lines = []
    for row in rows:
        values, spread = row.values, row.spread()
        cells = [shown(values.get(name)) for name in names]
        spreads = "-" if spread is None else f"{spread:.0%}"
        lines.append([row.name, row.unit, *cells, shown(row.ratio()), row.budget, spreads])
    return table(head, lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute, rougher")
    parser.add_argument("--json", action="store_true", help="for programs: every sample")
    parser.add_argument("--rows", default="", metavar="REGEX", help="only the rows whose name fits")
    parser.add_argument("--only", default=",".join(CANDIDATES), metavar="NAME,NAME", help="only these candidates")
    options = parser.parse_args()
    chosen = options.only.split(",")
    names = [name for name in chosen if not CANDIDATES[name].missing()]
    for name in set(chosen) - set(names):
        print(f"  {name}: not installed ({CANDIDATES[name].binary} is not there), left out", file=sys.stderr)
    # Ended from outside, it still ends what it started. The event loop knows how to be interrupted, and only that: an
    # exit raised in one of its callbacks would be lost.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    proxy, others = halves()
    with tempfile.TemporaryDirectory() as folder, pinned(others), far_side("bench.upstream") as upstream:
        bench = Bench(QUICK if options.quick else FULL, Path(folder), proxy, names)
        bench.upstream = upstream
        rows = list(bench.rows(re.compile(options.rows)))
    columns = [DIRECT, *names]
    if options.json:
        found = [{**row._asdict(), "values": row.values, "ratio": row.ratio(), "spread": row.spread()} for row in rows]
        print(json.dumps({"machine": machine(), "rows": found, "faults": bench.faults}))
    else:
        print(f"{machine()}\n\n{render(rows, columns)}")
    for fault in bench.faults:
        print(f"  {fault}", file=sys.stderr)
    return 1 if bench.faults else 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        raise SystemExit(130) from None
