"""`gateway bench`: direct against through, on this machine, as a table."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop

from gateway.benchmark.calls import BURST, PACED, UNARY, UNIFIED_BURST, Call, Target, WrongAnswer
from gateway.benchmark.converted import CHAT_BURST, CHAT_UNARY
from gateway.benchmark.load import Caller, Client, MeaningClient, sample
from gateway.benchmark.processes import free_port, halves, pinned
from gateway.benchmark.start import far_side, gateway_command, started, unified


class Row(NamedTuple):
    """One line of the result: medians over the rounds; None where there is nothing to tell."""

    name: str
    unit: str
    direct: float | None
    through: float

    @property
    def added(self) -> float:
        return self.through - (self.direct or 0.0)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Text columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in (head, rule, *lines)
    )


def shown(value: float | None) -> str:
    """A number with three digits or so; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def latencies(target: Target, calls: int) -> list[float]:
    """Microseconds to the first byte, of calls one after the other on one connection."""
    with Caller(target, UNARY) as caller:
        caller.once()
        return [caller.once() * 1e6 for _ in range(calls)]


ROUNDS = 5

class Load(NamedTuple):
    """A row of CPU time per unit. `unified`: with a key, its limits, a hold and a charge."""

    name: str
    unit: str
    call: Call
    connections: int
    unified: bool = False
    client: type[Client] = Client


LOADS = (
    Load("unary POST: CPU", "us/request", UNARY, 32),
    Load("unified POST: CPU", "us/request", UNARY, 32, unified=True),
    Load("unified POST, other dialect: CPU", "us/request", CHAT_UNARY, 32, unified=True, client=MeaningClient),
    Load("SSE paced: CPU", "us/event", PACED, 128),
    Load("SSE burst: CPU", "us/event", BURST, 32),
    Load("unified SSE burst: CPU", "us/event", UNIFIED_BURST, 32, unified=True),
    Load("unified SSE burst, other dialect: CPU", "us/event", CHAT_BURST, 32, unified=True, client=MeaningClient),
)


def measure(direct: Target, through: Target, unified: Target, seconds: float, rounds: int) -> list[Row]:
    """Direct and through take turns, so that what else the machine does falls on both."""
    waits: dict[Target, list[float]] = {direct: [], through: []}
    cpu: dict[str, list[float]] = {load.name: [] for load in LOADS}
    for _ in range(rounds):
        for target, times in waits.items():
            times += latencies(target, max(100, int(seconds * 1000)))
        for load in LOADS:
            target = unified if load.unified else through
            found = uvloop.run(sample(target, load.call, load.connections, seconds, load.client))
            cpu[load.name].append(found.per_unit)
    near, far = (sorted(found) for found in waits.values())
    return [
        Row("first byte, median", "us", statistics.median(near), statistics.median(far)),
        Row("first byte, 99 %", "us", near[int(len(near) * 0.99)], far[int(len(far) * 0.99)]),
        *(Row(load.name, load.unit, None, statistics.median(cpu[load.name])) for load in LOADS),
    ]


def rows(seconds: float) -> list[Row]:
    """Starts a far side and a gateway, measures, ends both."""
    proxy, rest = halves()
    with pinned(rest), tempfile.TemporaryDirectory() as name, far_side() as direct:
        folder, port = Path(name), free_port()
        command = gateway_command(folder, direct.port, port)
        with started(command, port, folder / "log", "/bench", proxy) as gateway:
            return measure(direct, gateway.target, unified(gateway), seconds / ROUNDS, ROUNDS)


def run(seconds: float = 3.0, as_json: bool = False) -> int:
    """The command `gateway bench`: each row runs for `seconds`; prints the table, or JSON for programs."""
    if not sys.platform.startswith("linux"):
        print("gateway bench reads the CPU clocks of other processes, which needs Linux", file=sys.stderr)
        return 1
    try:
        found = rows(seconds)
    except WrongAnswer as exc:
        print(f"gateway bench: {exc}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps([{**row._asdict(), "added": row.added} for row in found]))
        return 0
    lines = [[row.name, row.unit, *map(shown, (row.direct, row.through, row.added))] for row in found]
    print(table(["one worker", "unit", "direct", "through", "added"], lines))
    return 0
