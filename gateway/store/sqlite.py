"""The database of a data folder: one SQLite file in WAL mode, opened and brought up to date.

Migrations are the files `migrations/NNNN_*.sql` in the order of their numbers; `PRAGMA user_version` says how far a
file has come. A migration that was ever released is never edited: a change is a new file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

FILE = "gateway.db"

_BUSY_SECONDS = 5.0
_TRIES = 100  # of switching a new file to WAL, which does not wait for others by itself


class Unusable(OSError):
    """A data folder that cannot be used as it is; the message says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EBUSY, message)

    def __str__(self) -> str:
        return str(self.strerror)


@contextlib.contextmanager
def opening(data: Path) -> Iterator[None]:
    """Whatever goes wrong within is told as Unusable."""
    try:
        yield
    except Unusable:
        raise
    except (OSError, sqlite3.Error) as exc:
        raise Unusable(f"the data folder {data} cannot be used: {exc}; give another with --data") from exc


def connect(path: Path, power: bool = False, readonly: bool = False) -> sqlite3.Connection:
    """A connection to the file, which is made (0600) and migrated as needed. Transactions are explicit.

    `power`: a commit survives power loss, not only the death of the process. `readonly`: nothing is written through it.
    Raises OSError or sqlite3.Error.
    """
    _private(path)
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _use_wal(connection)
        connection.execute(f"PRAGMA synchronous = {'FULL' if power else 'NORMAL'}")
        # Random request ids touch the whole of their index: fewer checkpoints write each of its pages less often.
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA cache_size = -32000")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        _migrate(connection, path)
        if readonly:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """All or nothing. Takes the write lock first: whoever reads before writing must not be overtaken."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite may have rolled back already; what matters is the first error.
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Several reads of one and the same state, whatever others write meanwhile."""
    with transaction(connection, "BEGIN"):
        yield


def _private(path: Path) -> None:
    """Makes the file, or takes away what others may do with it. SQLite gives -wal and -shm the same mode.

    A file that exists is never opened here: to close any descriptor of a file gives up all of the process's POSIX
    locks on it, those of its other connections too, and the next one who leaves would delete their log.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)


def _use_wal(connection: sqlite3.Connection) -> None:
    for left in range(_TRIES, -1, -1):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or not left:
                raise
            time.sleep(_BUSY_SECONDS / _TRIES)


def _migrations() -> list[tuple[int, str]]:
    folder = resources.files("gateway.store") / "migrations"
    named = sorted((item.name, item) for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(int(name.partition("_")[0]), item.read_text(encoding="utf-8")) for name, item in named]


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    migrations = _migrations()
    newest = migrations[-1][0]
    if _version(connection) == newest:
        return
    with transaction(connection):
        # Again, now that nobody else can migrate: another process may have been quicker.
        there = _version(connection)
        if there > newest:
            raise Unusable(f"{path.name} was made by a newer gateway; install that one, or give another with --data")
        for number, script in migrations:
            if number > there:
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit our transaction."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
