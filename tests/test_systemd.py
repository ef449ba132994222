"""Talking to systemd: a real datagram socket stands for it."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import systemd


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = str(tmp_path / "notify") if request.param == "path" else f"@gateway-test-{os.getpid()}"
        sock.bind(name.replace("@", "\0", 1))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield sock


def test_what_is_told(manager: socket.socket) -> None:
    systemd.ready()
    systemd.stopping()
    systemd.notify("WATCHDOG=1", "STATUS=x")
    assert [manager.recv(1000) for _ in range(3)] == [b"READY=1", b"STOPPING=1", b"WATCHDOG=1\nSTATUS=x"]
    systemd.reloading()
    assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", manager.recv(1000))


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for address in ("", str(tmp_path / "gone"), "@gone"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        systemd.ready()
    monkeypatch.delenv("NOTIFY_SOCKET")
    systemd.ready()


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", "", 15.0), ("30000000", str(os.getpid()), 15.0), ("30000000", "1", None),
        ("0", "", None), ("", "", None), ("x", "", None),
    ],
)  # fmt: skip
def test_the_watchdog(monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, seconds: float | None) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert systemd.watchdog_seconds() == seconds


@pytest.mark.parametrize(("count", "pid"), [("1", "1"), ("", str(os.getpid())), ("x", str(os.getpid())), ("", "")])
def test_sockets_for_somebody_else_are_left_alone(count: str, pid: str) -> None:
    environ = {"LISTEN_FDS": count, "LISTEN_PID": pid, "LISTEN_FDNAMES": "a", "OTHER": "1"}
    assert systemd.take_sockets(environ) == []
    assert environ == {"OTHER": "1"}, "children must not take them for theirs"
