"""Several workers: a parent that keeps them running, and how they add up their metrics.

Workers share the port by SO_REUSEPORT (or one inherited listening socket) and are full gateways of their own. Each
answers with its snapshot on a Unix socket in a private folder; whoever is scraped asks the others. One more child keeps
the books for all of them: it begins before them, ends after them, and is replaced at once when it dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import msgspec

from gateway import systemd
from gateway.metrics import Snapshot, decode, encode, merge

_FOLDER = "GATEWAY_WORKER_FOLDER"
_INDEX = "GATEWAY_WORKER_INDEX"
_SOCKET = "GATEWAY_WORKER_SOCKET"
_BOOKS = "GATEWAY_BOOKS_EXPECT"
_BOOKS_SOCKET = "books.socket"
_BOOKS_SECONDS = 30.0  # to write what is left; past this the disk does not take it, and nothing is gained by waiting
_ASK_SECONDS = 2.0
_RESTART_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
CANNOT_START = 2  # the exit code of a process whose start cannot succeed


class Siblings:
    """The workers of one gateway, as seen by one of them."""

    def __init__(self, folder: Path, index: int) -> None:
        self._folder = folder
        self._own = folder / f"{index}.sock"
        self._server: asyncio.Server | None = None

    async def serve(self, snapshot: Callable[[], Snapshot]) -> None:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(encode(snapshot()))
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        self._own.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(answer, self._own)

    async def sum(self, own: Snapshot) -> Snapshot:
        """All workers' metrics; one that does not answer in time is left out."""
        others = [path for path in self._folder.glob("*.sock") if path != self._own]
        answers = await asyncio.gather(*(self._ask(path) for path in others))
        return merge([own, *answers])

    async def _ask(self, path: Path) -> Snapshot:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    return decode(await reader.read(-1))
                finally:
                    writer.close()
        except (OSError, TimeoutError, msgspec.DecodeError):
            return []

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._own.unlink(missing_ok=True)


def siblings() -> Siblings | None:
    """What this process knows of its siblings; None if it is the only one."""
    folder, index = os.environ.get(_FOLDER), os.environ.get(_INDEX)
    return Siblings(Path(folder), int(index)) if folder and index else None


class BooksPlace(NamedTuple):
    """Where the books process listens, and how many workers were there before it."""

    socket: Path
    expected: int


def books_place() -> BooksPlace | None:
    """What this process needs to keep the books; None if that is not what it was started for."""
    folder, expected = os.environ.get(_FOLDER), os.environ.get(_BOOKS)
    return BooksPlace(Path(folder, _BOOKS_SOCKET), int(expected)) if folder and expected else None


def books_socket() -> Path | None:
    """Where a worker finds the books; None for the only one, which keeps its own."""
    folder = os.environ.get(_FOLDER)
    return Path(folder, _BOOKS_SOCKET) if folder else None


def accept_signals() -> None:
    """Takes the signals that were held back while this process started."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def inherited_socket() -> socket.socket | None:
    """The listening socket that the parent passed on, if it had one."""
    number = os.environ.get(_SOCKET)
    return socket.socket(fileno=int(number)) if number else None


class Supervisor:
    """The parent: starts `count` workers with `command`, passes signals on, replaces those that die.

    `books`: one more child keeps the books, started with the same command.
    """

    def __init__(self, command: list[str], count: int, listening: socket.socket | None, books: bool = False) -> None:
        self._command = command
        self._count = count
        self._listening = listening
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._due: dict[int, float] = {}  # workers to start again, and when
        self._with_books = books
        self._books: subprocess.Popen[bytes] | None = None
        self._books_began = -_RESTART_SECONDS
        self._stopping = False
        self._failed = 0

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT; the exit code."""
        with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            signal.signal(signal.SIGHUP, self._reload)
            self._keep_books(folder)
            for index in range(self._count):
                self._start(index, folder)
            self._watch(folder)
            self._close_books()
        return self._failed

    def _start(self, index: int, folder: str) -> None:
        pass_fds: tuple[int, ...] = ()
        environ = {_INDEX: str(index)}
        if self._listening is not None:
            pass_fds = (self._listening.fileno(),)
            environ[_SOCKET] = str(pass_fds[0])
        self._workers[index] = self._child(folder, environ, pass_fds)

    def _child(self, folder: str, more: dict[str, str], pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        environ = dict(os.environ) | {_FOLDER: folder} | more
        environ.pop("NOTIFY_SOCKET", None)  # readiness and the watchdog are the parent's to tell
        # A worker is born with these signals held back, and takes them once it can (`accept_signals`): one that comes
        # while it starts would otherwise kill it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            return subprocess.Popen(self._command, env=environ, pass_fds=pass_fds)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _watch(self, folder: str) -> None:
        said_ready = False
        between_barks = systemd.watchdog_seconds()
        barked = 0.0
        while self._workers or (self._due and not self._stopping):
            time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            if between_barks is not None and now - barked >= between_barks:
                barked = now
                systemd.notify("WATCHDOG=1")
            if not said_ready and len(list(Path(folder).glob("*.sock"))) == self._count:
                said_ready = True
                systemd.ready()
            self._keep_books(folder)
            self._bury(folder, now)
            for index in [index for index, due in self._due.items() if now >= due and not self._stopping]:
                del self._due[index]
                self._start(index, folder)

    def _keep_books(self, folder: str) -> None:
        """Sees to it that there are books as long as there are workers: those that end need them too."""
        if not self._with_books:
            return
        code = self._books.poll() if self._books is not None else None
        if self._books is not None and code is None:
            return
        if code == CANNOT_START:
            self._books, self._with_books = None, False
            self._failed = code
            self._stop(signal.SIGTERM, None)
            return
        if code is not None and self._books_began + _RESTART_SECONDS > time.monotonic():
            return  # dies again and again: not faster than the workers
        if code is not None:
            print(f"the books ended with {code}; starting them again", file=sys.stderr, flush=True)
        self._books_began = time.monotonic()
        self._books = self._child(folder, {_BOOKS: str(len(self._workers))})

    def _close_books(self) -> None:
        """After the last worker."""
        books = self._books
        if books is None:
            return
        books.send_signal(signal.SIGTERM)
        try:
            code = books.wait(_BOOKS_SECONDS)
        except subprocess.TimeoutExpired:
            print("the books do not end; what they could not write is lost", file=sys.stderr, flush=True)
            books.kill()
            code = books.wait()
        self._failed = self._failed or (0 if -code in (0, *_SIGNALS) else 1)

    def _bury(self, folder: str, now: float) -> None:
        """Looks for workers that have ended, and says when the next one takes their place."""
        for index, worker in list(self._workers.items()):
            code = worker.poll()
            if code is None:
                continue
            del self._workers[index]
            Path(folder, f"{index}.sock").unlink(missing_ok=True)
            if self._stopping:
                # Python gives signals back to the system just before it ends; one that comes then is no failure.
                self._failed = self._failed or (0 if -code in (0, *_SIGNALS) else 1)
            elif code == CANNOT_START:
                self._failed = code  # the next one could not either (port, configuration)
                self._stop(signal.SIGTERM, None)
            else:
                print(f"worker {index} ended with {code}; starting another", file=sys.stderr, flush=True)
                self._due[index] = now + _RESTART_SECONDS

    def _stop(self, number: int, _: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = True
            systemd.stopping()
        self._pass_on(signal.SIGTERM)

    def _reload(self, number: int, _: FrameType | None) -> None:
        systemd.reloading()
        self._pass_on(signal.SIGHUP)
        systemd.ready()

    def _pass_on(self, number: int) -> None:
        for worker in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(number)
