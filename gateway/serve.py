"""`gateway serve`: one process, or a parent with workers."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import uvloop

from gateway import settings as configuration
from gateway import systemd, workers
from gateway.admin_key import AdminKey, open_admin_key, open_data
from gateway.books.books import Books
from gateway.books.limits import Limits
from gateway.books.service import Service
from gateway.caching import semantic
from gateway.errors import ConfigError
from gateway.settings import Settings
from gateway.store.ledger import Ledger
from gateway.store.sqlite import Unusable, opening


class CannotStart(Exception):
    """A start that cannot succeed; the message is one clear line (or several, for a configuration)."""


def load(config: str | None) -> Settings:
    """The configuration; its warnings go to stderr. Raises CannotStart."""
    try:
        settings = configuration.load(config, os.environ)
    except ConfigError as exc:
        raise CannotStart("\n".join(exc.problems)) from exc
    if workers.siblings() is None and workers.books_place() is None:
        for warning in (*settings.warnings, *semantic.problems(settings.models)):
            print(f"warning: {warning}", file=sys.stderr)
    return settings


def admin_key(data: str) -> AdminKey:
    """The admin key of a data folder; a new one is printed, once. Raises CannotStart."""
    try:
        key, made = open_admin_key(open_data(data), os.environ)
    except OSError as exc:
        raise CannotStart(f"the data folder {data} cannot be used: {exc.strerror}; give another with --data") from exc
    if made is not None:
        print(f"admin key (shown only now): {made}", file=sys.stderr, flush=True)
    return key


def serve(config: str | None, host: str, port: int, count: int, data: str) -> int:
    """Serves until SIGTERM or SIGINT; the exit code. Raises CannotStart."""
    settings = load(config)
    key = admin_key(data)
    place = workers.books_place()
    if place is not None:
        return keep_books(settings, data, place)
    family = workers.siblings()
    if count > 1 and family is None:
        return _supervise(host, port, count)
    listening = workers.inherited_socket() or next(iter(systemd.take_sockets(os.environ)), None)
    return run(settings, config, key, family, host, port, listening, data)


def _supervise(host: str, port: int, count: int) -> int:
    given = next(iter(systemd.take_sockets(os.environ)), None)
    holder = None
    if given is None:
        # Bound but not listening: keeps the port ours, and finds out now whether it is free.
        holder = bind(host, port)
        os.environ["GATEWAY_PORT"] = str(holder.getsockname()[1])
        os.environ["GATEWAY_HOST"] = host
    command = [sys.executable, "-m", "gateway", *sys.argv[1:]]
    if holder is not None and port == 0:
        command += ["--port", os.environ["GATEWAY_PORT"]]
    return workers.Supervisor(command, count, given, books=True).run()


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, to be shared by SO_REUSEPORT. Raises CannotStart."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        probe = socket.socket(family, kind, protocol)
        try:
            # Without SO_REUSEPORT first: with it, a second gateway would silently share the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
            bound = probe.getsockname()
        finally:
            probe.close()
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(bound)
    except OSError as exc:
        raise CannotStart(
            f"cannot listen on {host}:{port}: {(exc.strerror or str(exc)).lower()}; choose another with --host, --port"
        ) from exc
    return sock


def keep_books(settings: Settings, data: str, place: workers.BooksPlace) -> int:
    """The books process of several workers, until it is told to stop and all workers have gone. Raises CannotStart."""

    _raise_file_limit()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server = settings.server

    async def main() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            power = server.durability == "power"
            with opening(Path(data)):
                ledger = await Ledger.open_soon(Path(data), power=power, credits=server.credits, keep=True)
        except Unusable as exc:
            raise CannotStart(str(exc)) from exc
        service = Service(Books(ledger, Limits(monotonic)), place.expected)
        await service.listen(place.socket)
        workers.accept_signals()
        follower = loop.create_task(_outlive_not(os.getppid(), stop))
        _settle_memory()
        await stop.wait()
        follower.cancel()
        while service.connected:  # a signal to all at once reaches us before the workers have closed their calls
            await asyncio.sleep(0.05)
        await service.stop()
        await ledger.stop()
        return 0

    return uvloop.run(main())


def _settle_memory() -> None:
    """What start-up made stays for good: the collector need not look at it again, and seldom at the rest.

    An exchange's objects form no cycles: counting references frees them, the collector would search in vain.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def _outlive_not(parent: int, stop: asyncio.Event) -> None:
    """Stops a worker whose parent was killed: nobody could stop it any more."""
    while os.getppid() == parent:
        await asyncio.sleep(1)
    stop.set()


def _raise_file_limit() -> None:
    """Every exchange needs two descriptors; the soft limit of most systems is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(
    settings: Settings, config: str | None, key: AdminKey, family: workers.Siblings | None,
    host: str, port: int, listening: socket.socket | None, data: str, started: Callable[[int], None] | None = None,
) -> int:  # fmt: skip
    """One process, until it is told to stop. Raises CannotStart."""
    from gateway.app import Gateway  # the books process starts without, four times as fast

    _raise_file_limit()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload

    async def main() -> int:
        gateway = Gateway(settings, config, key, family, Path(data))
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        sock = listening
        if sock is None and family is None:
            bind(host, port).close()
        try:
            bound = await gateway.start(host, port, sock)
        except Unusable as exc:
            raise CannotStart(str(exc)) from exc
        except OSError as exc:
            raise CannotStart(f"cannot listen on {host}:{port}: {(exc.strerror or str(exc)).lower()}") from exc
        loop.add_signal_handler(signal.SIGHUP, gateway.reload)
        workers.accept_signals()
        follower = loop.create_task(_outlive_not(os.getppid(), stop)) if family is not None else None
        _settle_memory()
        systemd.ready()
        print(f"serving on http://{host}:{bound}", file=sys.stderr, flush=True)
        if started is not None:
            started(bound)
        await stop.wait()
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # too late to reload
        if follower is not None:
            follower.cancel()
        await gateway.drain()
        return 0

    return uvloop.run(main())
