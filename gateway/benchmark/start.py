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

from gateway.benchmark.calls import CHAT, HOST, KEY, UNARY, Target, WrongAnswer
from gateway.benchmark.converted import ANTHROPIC, MESSAGES
from gateway.benchmark.load import Caller
from gateway.benchmark.processes import end, pinned, rest

START_TIMEOUT = 120.0  # some proxies import for half a minute
VENDOR_KEY = "GATEWAY_BENCH_VENDOR_KEY"  # the environment's name for the key that unified calls show to the far side
MODELS = ("bench", "burst", "paced")  # a vendor has each under its own name with -v1
# In credits per million tokens; limits that are counted and never reached.
_PRICE = {"input": 2, "cached_input": 0.5, "output": 8}
_LIMITS = ("--rpm", "1000000000", "--tpm", "1000000000000", "--concurrency", "1000000")
_ACCOUNT, _CREDITS = "bench", "900000000"


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
    folder: Path  # where its log is


@contextlib.contextmanager
def started(
    command: Sequence[str], port: int, log: Path, prefix: str = "", cores: set[int] | None = None, head: str = "",
    reencodes: bool = False,
) -> Iterator[Started]:  # fmt: skip
    """A proxy as a process of its own, ready: it has answered a call rightly and come to rest."""
    begin = time.perf_counter()
    with log.open("ab") as output, pinned(cores or os.sched_getaffinity(0)):
        environ = {**os.environ, "GATEWAY_ADMIN_KEY": "bench-admin", VENDOR_KEY: KEY}
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environ)
    try:
        target = Target(port, process.pid, prefix, head=head, reencodes=reencodes)
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
        yield Started(target, answered, log.parent)
    finally:
        end(process)


def gateway_command(folder: Path, upstream: int, port: int, access_log: str = "off", workers: int = 1) -> list[str]:
    """The command line of a gateway with its own configuration and data under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    vendor = {"base_url": f"http://{HOST}:{upstream}", "max_connections": 10000, "keys": [f"env:{VENDOR_KEY}"]}
    providers = {
        "bench": {**vendor, "speaks": {"openai.chat": CHAT}},
        "claude": {**vendor, "speaks": {"anthropic.messages": MESSAGES}},
    }
    models = {
        name + ending: {"targets": [{"provider": provider, "model": f"{name}{ending}-v1"}], "price": _PRICE}
        for provider, ending in (("bench", ""), ("claude", ANTHROPIC))
        for name in MODELS
    }
    config = folder / "providers.yaml"
    # JSON is YAML, and quotes the words that must be quoted.
    entries = {"server": {"access_log": access_log}, "providers": providers, "models": models}
    config.write_text(json.dumps(entries))
    options = {"--config": config, "--data": folder / "data", "--host": HOST, "--port": port, "--workers": workers}
    return [sys.executable, "-m", "gateway", "serve", *map(str, itertools.chain.from_iterable(options.items()))]


def unified(gateway: Started) -> Target:
    """The same gateway for unified calls, by a fresh key that has limits, and credits to spend."""
    data = str(gateway.folder / "data")
    _command("credits", "grant", _ACCOUNT, _CREDITS, "--data", data)
    created = _command("keys", "create", "--account", _ACCOUNT, *_LIMITS, "--data", data, "--json")
    return gateway.target._replace(prefix="", key=json.loads(created)["key"])


def _command(*arguments: str) -> str:
    """What a command of the gateway prints."""
    run = subprocess.run([sys.executable, "-m", "gateway", *arguments], capture_output=True, text=True, check=False)
    if run.returncode:
        raise WrongAnswer(f"gateway {' '.join(arguments[:2])}: {run.stderr.strip()}")
    return run.stdout
