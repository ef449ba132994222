"""Clients that live in an environment of their own: another language, or packages that do not go with the others.

A program runs its flows one after the other against `GATEWAY_URL` with `GATEWAY_KEY` and prints one JSON line for each:
`{"flow": name, "error": null or text, "told": [usages in the normal form]}`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.clients.seen import Seen
from tests.unified.clients.billing import Bill

HERE = Path(__file__).parent
INSTALL_PATIENCE = 540  # seconds: as long as the network takes
RUN_PATIENCE = 50


class Flow(NamedTuple):
    """How a flow went; `told`: the usage of each of its calls, in order."""

    error: str | None
    told: list[Seen]


def installed(name: str, pins: Path, install: Callable[[Path], list[list[str]]]) -> Path:
    """The folder with what `pins` names, installed once a machine by the commands; skips where that cannot be done."""
    stamp = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ai-edge-gateway-tests"
    wanted = cache / f"{name}-{stamp}"
    if not wanted.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: a run that was stopped half-way leaves nothing that looks installed.
        fresh = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=cache))
        try:
            shutil.copy(pins, fresh)
            for command in install(fresh):
                _install(name, command, fresh)
            if not wanted.exists():
                fresh.rename(wanted)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return wanted


def _install(name: str, command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{name} cannot be installed here: not done after {INSTALL_PATIENCE} seconds")
    if done.returncode:
        told = " ".join((done.stderr or done.stdout).split())
        pytest.skip(f"{name} cannot be installed here: {told[:300]}")


def run(command: list[str], folder: Path, bill: Bill, **more: str) -> dict[str, Flow]:
    """What the flows of a program came to, by name."""
    environment = {
        **os.environ,
        "GATEWAY_URL": f"http://127.0.0.1:{bill.place.port}",
        "GATEWAY_KEY": bill.key,
        **more,
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=RUN_PATIENCE, check=False
    )
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-3000:])
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"flow"')]
    return {line["flow"]: Flow(line["error"], [Seen("", **usage) for usage in line["told"]]) for line in lines}


def charged(flows: dict[str, Flow], bill: Bill) -> None:
    """All calls of all flows, and no others, were charged what they told."""
    bill.charged(*(usage for flow in flows.values() for usage in flow.told))
