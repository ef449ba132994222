"""The shipped units: systemd's own opinion of them, and whether the service behaves as they promise it to."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.settings import ServerSettings

UNITS = Path(__file__).parent.parent / "systemd"
SERVICE, SOCKET = UNITS / "gateway.service", UNITS / "gateway.socket"
# In tenths; systemd calls anything up to 2.0 fine.
EXPOSURE = 15

analyze = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(analyze is None, reason="systemd-analyze is not installed")


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Every key of a unit and its values in order."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def run_analyze(*options: str) -> subprocess.CompletedProcess[str]:
    assert analyze is not None
    environ = os.environ | {"SYSTEMD_COLORS": "0", "LC_ALL": "C"}
    return subprocess.run([analyze, *options], capture_output=True, text=True, timeout=50, env=environ)


def complaints(folder: Path, service: str) -> list[str]:
    """What `systemd-analyze verify` says about the two units; other units of the machine are not our business."""
    (folder / SERVICE.name).write_text(service, encoding="utf-8")
    shutil.copy(SOCKET, folder)
    answer = run_analyze("verify", str(folder / SERVICE.name), str(folder / SOCKET.name))
    return [line for line in answer.stderr.splitlines() if "gateway." in line]


@pytest.fixture
def service() -> str:
    """The service, with a program that exists on the machine that tests."""
    true = shutil.which("true")
    assert true is not None
    text, count = re.subn(r"(?m)^ExecStart=\S+", f"ExecStart={true}", SERVICE.read_text(encoding="utf-8"))
    assert count == 1
    return text


@needs_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path, service: str) -> None:
    assert complaints(tmp_path, service) == []


@needs_systemd
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("RestrictNamespaces=", "RestrictNamspaces="),
        ("WatchdogSec=30", "WatchdogSec=soon"),
        ("Type=notify", "Type=notfy"),
    ],
)
def test_systemd_would_find_a_mistake(tmp_path: Path, service: str, good: str, bad: str) -> None:
    assert good in service
    assert complaints(tmp_path, service.replace(good, bad)) != []


@needs_systemd
def test_the_service_is_as_locked_up_as_it_can_be() -> None:
    options = ("security", "--offline=true", "--no-pager", str(SERVICE))
    if (answer := run_analyze(*options)).returncode != 0:
        pytest.skip(f"this systemd cannot judge a file: {answer.stderr.strip()}")
    assert run_analyze(f"--threshold={EXPOSURE}", *options).returncode == 0, answer.stdout
    assert run_analyze("--threshold=1", *options).returncode != 0  # the threshold is one that can be missed


def test_the_numbers_fit_the_defaults_of_the_server() -> None:
    unit, server = settings_of(SERVICE), ServerSettings()
    assert int(unit["TimeoutStopSec"][0]) > server.drain_seconds
    assert int(unit["LimitNOFILE"][0]) > 2 * server.max_connections
    assert int(unit["WatchdogSec"][0]) >= 10
    assert settings_of(SOCKET)["ListenStream"] == ["127.0.0.1:8080"]  # as `gateway serve` without options


def test_no_restart_after_an_exit_that_would_only_come_again(tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text("server: {max_conections: 1}\n", encoding="utf-8")
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
    answer = subprocess.run(command, cwd=tmp_path, env=_environ(), capture_output=True, text=True, timeout=50)
    assert "providers.yaml:1" in answer.stderr
    assert settings_of(SERVICE)["RestartPreventExitStatus"] == [str(answer.returncode)]


class Manager:
    """The part of a service manager that a service talks to: its notification socket, always read."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while data := self._socket.recv(4096):
            for line in data.decode().splitlines():
                self._lines.put(line)

    def wait_for(self, wanted: str) -> list[str]:
        """The lines told until `wanted` came, with it."""
        lines: list[str] = []
        give_up = time.monotonic() + 20
        while wanted not in lines:
            assert time.monotonic() < give_up, f"{wanted} never came, but {lines}"
            lines.append(self._lines.get(timeout=20))
        return lines

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.path))  # ends the thread
        self._thread.join()
        self._socket.close()


def _environ() -> dict[str, str]:
    ours = ("GATEWAY_", "LISTEN_", "NOTIFY_", "WATCHDOG_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


# What only the new process itself can do: put the socket where it belongs and name itself.
_AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


@contextlib.contextmanager
def service_run(
    folder: Path, manager: Manager, listening: socket.socket, workers: int
) -> Iterator[subprocess.Popen[str]]:
    """The service as systemd starts it: by the unit's own command line, with a socket at descriptor 3."""
    program, *options = settings_of(SERVICE)["ExecStart"][0].split()
    assert program.endswith("/bin/gateway")
    environ = _environ() | {
        "GATEWAY_DATA": str(folder / "data"), "GATEWAY_ADMIN_KEY": "admin", "GATEWAY_WORKERS": str(workers),
        "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000", "LISTEN_FDS": "1",
    }  # fmt: skip
    number = listening.fileno()
    command = [sys.executable, "-c", _AS_SYSTEMD, str(number), sys.executable, "-m", "gateway", *options]
    with subprocess.Popen(
        command, cwd=folder, env=environ, pass_fds=(number,), text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # workers too, if any are left


def answers(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("workers", [1, 2])
def test_the_life_of_the_service(tmp_path: Path, workers: int) -> None:
    """Socket activation, readiness, watchdog, reload by SIGHUP, stop by SIGTERM with code 0."""
    config = tmp_path / "providers.yaml"
    with contextlib.closing(Manager(tmp_path)) as manager, socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with service_run(tmp_path, manager, listening, workers) as process:
            manager.wait_for("READY=1")
            assert answers(port, "/healthz") == 200
            assert answers(port, "/fresh/") == 404
            manager.wait_for("WATCHDOG=1")
            config.write_text("providers: {fresh: {base_url: 'http://127.0.0.1:1'}}\n", encoding="utf-8")
            assert settings_of(SERVICE)["ExecReload"][0].split() == ["/bin/kill", "-HUP", "$MAINPID"]
            process.send_signal(signal.SIGHUP)
            if workers == 1:
                assert any(line.startswith("MONOTONIC_USEC=") for line in manager.wait_for("READY=1"))
            give_up = time.monotonic() + 20
            # Every worker must have the new provider: as many good answers in a row as would not come by chance.
            good = 0
            while good < 20:
                good = good + 1 if answers(port, "/fresh/") == 502 else 0
                assert time.monotonic() < give_up, "the reload did not reach all workers"
            process.send_signal(signal.SIGTERM)
            manager.wait_for("STOPPING=1")
            _, errors = process.communicate(timeout=30)
            assert process.returncode == 0, errors
