"""The processes that are measured: their cores, their CPU clocks, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.benchmark.calls import HOST


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    pids = [pid]
    for parent in pids:  # grows while it is walked
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
    return pids


def cpu_by_process(pid: int) -> dict[int, float]:
    """CPU seconds (user and system, all threads, ended ones too) spent so far by each process of a family."""
    # The kernel's per-process clock counts nanoseconds where /proc/PID/stat counts ticks of 10 ms. Its id is made as
    # glibc's clock_getcpuclockid makes it.
    return {member: time.clock_gettime(~member << 3 | 2) for member in family(pid)}


def rest(pid: int, seconds: float = 0.2, timeout: float = 10.0) -> None:
    """Waits until a family has next to nothing to do: one worker may answer while another is still starting."""
    deadline = time.monotonic() + timeout
    spent, before = sum(cpu_by_process(pid).values()), -1.0
    while spent - before > seconds / 20 and time.monotonic() < deadline:
        time.sleep(seconds)
        before, spent = spent, sum(cpu_by_process(pid).values())


def halves() -> tuple[set[int], set[int]]:
    """The cores for the proxy and for everything else; one core must do for both if there is no other."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]}, set(cores[1:]) or {cores[0]}


@contextlib.contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """This thread, and whatever it starts meanwhile, on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that we started, with its descendants: kindly first."""
    members = family(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    for pid in members if process.returncode is None else members[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port
