"""Starts what is measured, ready to answer, and always ends it: the far side, a gateway, any other proxy."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.benchmark.calls import HOST, UNARY, Target, WrongAnswer
from gateway.benchmark.load import Caller
from gateway.benchmark.processes import end, pinned, rest

START_TIMEOUT = 20.0


@contextlib.contextmanager
def far_side(module: str = "gateway.benchmark.far_side") -> Iterator[Target]:
    with subprocess.Popen([sys.executable, "-m", module], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield Target(int(process.stdout.readline()), process.pid)
        finally:
            end(process)


class Started(NamedTuple):
    target: Target
    seconds: float  # from the start of the process to its first right answer


@contextlib.contextmanager
def started(
    command: Sequence[str], port: int, log: Path, prefix: str = "", cores: set[int] | None = None
) -> Iterator[Started]:
    """A proxy as a process of its own, ready: it has answered a call rightly and come to rest."""
    begin = time.perf_counter()
    with log.open("ab") as output, pinned(cores or os.sched_getaffinity(0)):
        environ = {**os.environ, "GATEWAY_ADMIN_KEY": "bench-admin"}
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environ)
    try:
        target = Target(port, process.pid, prefix)
        while True:
            try:
                with Caller(target, UNARY, timeout=5) as caller:
                    caller.once()
                break
            except OSError as exc:
                if process.poll() is not None or time.perf_counter() - begin > START_TIMEOUT:
                    tail = log.read_text(errors="replace")[-2000:]
                    raise WrongAnswer(f"{command[0]} does not serve: {exc}\n{tail}") from exc
                time.sleep(0.002)
        answered = time.perf_counter() - begin
        rest(process.pid)
        yield Started(target, answered)
    finally:
        end(process)


def gateway_command(folder: Path, upstream: int, port: int, access_log: str = "off", workers: int = 1) -> list[str]:
    """The command line of a gateway with its own configuration and data under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    provider = {"base_url": f"http://{HOST}:{upstream}", "max_connections": 10000}
    config = folder / "providers.yaml"
    # JSON is YAML, and quotes the words that must be quoted.
    config.write_text(json.dumps({"server": {"access_log": access_log}, "providers": {"bench": provider}}))
    options = {"--config": config, "--data": folder / "data", "--host": HOST, "--port": port, "--workers": workers}
    return [sys.executable, "-m", "gateway", "serve", *map(str, itertools.chain.from_iterable(options.items()))]
