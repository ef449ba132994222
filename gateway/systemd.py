"""What systemd asks of a service: readiness, watchdog, and sockets that it opened for us."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping


def notify(*lines: str) -> None:
    """Tells the service manager (sd_notify(3)); silent where there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.sendto("\n".join(lines).encode(), address)
        except OSError:
            return  # a manager that does not listen must not stop the service


def ready() -> None:
    notify("READY=1")


def reloading() -> None:
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> None:
    notify("STOPPING=1")


def watchdog_seconds() -> float | None:
    """How often to say `WATCHDOG=1`: half of what the manager allows. None: it does not ask."""
    text = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not text.isdigit() or int(text) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(text) / 2_000_000


def take_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening sockets passed by socket activation (sd_listen_fds(3)), which start at descriptor 3."""
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or pid != str(os.getpid()):
        return []
    return [socket.socket(fileno=descriptor) for descriptor in range(3, 3 + int(count))]
