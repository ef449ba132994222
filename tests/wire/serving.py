"""The gateway as a process: started from a configuration, watched through /proc, stopped by signals."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.wire.ends import PATIENCE, connect
from tests.wire.messages import read_answer, request

ADMIN_KEY = "admin-key-of-the-wire-tests"
# Another program with the same options can stand in: a suite that a naive proxy passes proves nothing.
COMMAND = shlex.split(os.environ.get("WIRE_TESTS_COMMAND", f"{sys.executable} -m gateway serve"))


_given: set[int] = set()


def free_port() -> int:
    """A port for a later listener, below those that the system gives to outgoing connections meanwhile."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


class Gateway:
    """One gateway process (and its workers); `vendor_port` is where its providers point to."""

    def __init__(
        self,
        directory: Path,
        server: dict[str, Any] | None = None,
        providers: dict[str, Any] | None = None,
        workers: int = 1,
        models: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.models = models or {}
        self.environment = environment or {}
        self.port, self.vendor_port, self.metrics_port = free_port(), free_port(), free_port()
        self.config = directory / "providers.yaml"
        self.data = directory / "data"
        self.server: dict[str, Any] = {"metrics_port": self.metrics_port, **(server or {})}
        origin = f"http://127.0.0.1:{self.vendor_port}"
        self.providers: dict[str, Any] = {
            "echo": {"base_url": origin, "max_connections": 5000},
            "based": {"base_url": origin + "/base/path"},
            **(providers or {}),
        }
        self.workers = workers
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def stdout(self) -> str:
        return (self.directory / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return (self.directory / "stderr").read_text(errors="replace")

    def write_config(self) -> None:
        # JSON is YAML, too
        sections = {"server": self.server, "providers": self.providers, "models": self.models}
        self.config.write_text(json.dumps(sections, indent=1))

    def start(self) -> None:
        self.write_config()
        arguments = ["--config", str(self.config), "--host", "127.0.0.1", "--port", str(self.port)]
        arguments += ["--data", str(self.data), "--workers", str(self.workers)]
        environment = {**os.environ, "GATEWAY_ADMIN_KEY": ADMIN_KEY, "PYTHONUNBUFFERED": "1", **self.environment}
        with (self.directory / "stdout").open("wb") as out, (self.directory / "stderr").open("wb") as err:
            self._process = subprocess.Popen(COMMAND + arguments, stdout=out, stderr=err, env=environment)
        self._wait_ready()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + 2 * PATIENCE
        while not self.healthy():
            if self.process.poll() is not None:
                raise AssertionError(f"the gateway ended at its start: {self.stderr[-2000:]}")
            if time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"the gateway does not answer: {self.stderr[-2000:]}")
            time.sleep(0.02)

    def healthy(self) -> bool:
        connection: http.client.HTTPConnection
        if "tls" in self.server:
            trusting = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=trusting)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit code."""
        return self.process.wait(patience)

    def stop(self) -> int:
        """Drain and return the exit code; a process that does not end is killed and reported."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the gateway does not end: {self.stderr[-2000:]}") from None

    def kill(self) -> None:
        """End what is left of it."""
        if self._process is None or self._process.poll() is not None:
            return
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    # what the system knows of it

    def pids(self) -> list[int]:
        """The process and its descendants."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def descriptors(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())

    def _status(self, name: str) -> int:
        """The sum of one line of /proc/PID/status, in KiB."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(name + ":"):
                    total += int(line.split()[1])
        return total

    def memory(self) -> int:
        return self._status("VmRSS")

    def peak_memory(self) -> int:
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Let the peak start again at what is used now."""
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    async def settles(self, condition: Callable[[], bool]) -> bool:
        """Whether `condition`, which looks at the process from outside, becomes true in good time."""
        for _ in range(int(PATIENCE / 0.02)):
            if condition():
                return True
            await asyncio.sleep(0.02)  # another process's state: there is no event to wait for
        return False

    # what it tells about itself

    async def metrics_page(self) -> str:
        end = await connect(self.metrics_port)
        await end.send(request(b"/metrics", fields=[(b"Connection", b"close")]))
        message = await read_answer(end)
        end.close()
        await end.wait_lost()
        assert message.status == 200
        return message.body.decode()

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name with these labels."""
        total = 0.0
        for line in (await self.metrics_page()).splitlines():
            sample, _, value = line.rpartition(" ")
            given, _, rest = sample.partition("{")
            if given == name and all(f'{key}="{wanted}"' in rest for key, wanted in labels.items()):
                total += float(value)
        return total

    async def ends_grow(self, reason: str, before: dict[str, float], by: float = 1) -> bool:
        """Whether just this reason's count grows by so much, in good time."""
        wanted = {**before, reason: before.get(reason, 0) + by}
        for _ in range(int(PATIENCE / 0.02)):
            if (now := await self.ends()) == wanted:
                return True
            await asyncio.sleep(0.02)
        raise AssertionError(f"wanted {wanted}, got {now}")

    async def ends(self) -> dict[str, float]:
        """How many exchanges of provider `echo` ended for each reason."""
        found: dict[str, float] = {}
        for line in (await self.metrics_page()).splitlines():
            if line.startswith("gateway_stream_ends_total{") and 'provider="echo"' in line:
                reason = line.split('reason="')[1].split('"')[0]
                found[reason] = found.get(reason, 0) + float(line.rpartition(" ")[2])
        return {reason: count for reason, count in found.items() if count}
