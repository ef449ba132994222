"""Kept answers on disk: one SQLite file that all worker processes share, looked after by one thread in each.

An answer is any bytes under a digest. The file may be lost at any moment, and it may lie. So

* nothing is synced; a file that is damaged, of another version or gone is made anew, under a lock file, so that two
  processes never mix the new file with the old one's log;
* every answer is sealed with a digest over itself and its key: damage that SQLite does not see (it has no checksums)
  gives a miss, never another answer;
* whatever goes wrong with the disk gives misses and lost writes, never an error of a call.

The bound is on the file's pages in use, so it needs no bookkeeping that could drift. Oldest answers go first.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import sqlite3
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.store.sqlite import transaction

_T = TypeVar("_T")
_Row = tuple[bytes, bytes, float, float]  # digest, answer, when it expires, now

MAX_BYTES = 256 << 20
MAX_WAITING = 64 << 20  # bytes that wait to be written; more are not kept
_VERSION = 1
_PAGE = 4096
_PURGE_AT_ONCE = 64
_BUSY_SECONDS = 1.0
_SEAL = 16
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}  # ERROR: not our tables
_GARBLED = (UnicodeError, OverflowError, MemoryError)  # what sqlite3 makes of damaged text and lengths
_SCHEMA = f"""
BEGIN;
CREATE TABLE answers (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, expires REAL NOT NULL, sealed BLOB NOT NULL);
CREATE INDEX answers_expires ON answers (expires);
PRAGMA user_version = {_VERSION};
COMMIT;
"""


class Answers:
    """The file at `path`. Its folder must exist; the file is made when it is first needed.

    `otherwise`: what is told of a disk that cannot be used.
    """

    def __init__(
        self, path: Path, max_bytes: int = MAX_BYTES, otherwise: str = "answers are kept in memory only"
    ) -> None:
        self._path = path
        self._otherwise = otherwise
        self._max_pages = max_bytes // _PAGE
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)
        self._rows: deque[_Row] = deque()  # what `put` leaves for the thread
        self._queued = 0  # bytes, counted by the loop
        self._written = 0  # bytes, counted by the thread
        self._told: set[str] = set()
        # Of the thread:
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    @property
    def waiting(self) -> int:
        """Bytes that are still to be written."""
        return self._queued - self._written

    def get(self, digest: bytes) -> asyncio.Future[bytes | None]:
        """The answer that was kept under `digest`; None if there is none."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._safely, _get, digest)

    def get_all(self, digests: list[bytes]) -> asyncio.Future[list[bytes | None]]:
        """What was kept under each of them, in one visit to the file."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._get_all, digests)

    def write(self, digest: bytes, answer: bytes, expires: float, now: float) -> asyncio.Future[bool]:
        """As `put`, but done when the answer is in the file; False: it could not be kept."""
        self._queued += len(answer)
        rows = [(digest, answer, expires, now)]
        return asyncio.get_running_loop().run_in_executor(self._thread, self._put, rows)

    def remove(self, digest: bytes) -> asyncio.Future[bool]:
        """Whether there was an answer, and it is gone."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._remove, digest)

    def put(self, digest: bytes, answer: bytes, expires: float, now: float) -> None:
        """Keeps `answer` in place of any other under `digest`; written later, and dropped if the disk is too slow."""
        if self.waiting + len(answer) > MAX_WAITING:
            return
        self._queued += len(answer)
        self._rows.append((digest, answer, expires, now))
        if len(self._rows) == 1:
            self._thread.submit(self._put_all)

    def written(self) -> asyncio.Future[None]:
        """Done when everything put before is written, or given up."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._put_all)

    def purge(self, now: float) -> None:
        """Removes what has expired; later."""
        self._thread.submit(self._purge, now)

    async def close(self) -> None:
        """Done when everything put before is written."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    # What follows runs in the thread.

    def _purge(self, now: float) -> None:
        if self._inode_there():  # where nothing was ever kept, no file is made
            self._safely(_purge_all, now)

    def _get_all(self, digests: list[bytes]) -> list[bytes | None]:
        return self._safely(lambda db: [_get(db, digest) for digest in digests]) or [None] * len(digests)

    def _remove(self, digest: bytes) -> bool:
        return bool(self._safely(_delete, digest))

    def _put_all(self) -> None:
        # What waits goes in one transaction. `put` calls again as soon as it finds the queue empty.
        rows = []
        while self._rows:
            rows.append(self._rows.popleft())
        if rows:
            self._put(rows)

    def _put(self, rows: list[_Row]) -> bool:
        try:
            return bool(self._safely(self._write, rows))
        finally:
            self._written += sum(len(answer) for _, answer, _, _ in rows)

    def _write(self, db: sqlite3.Connection, rows: list[_Row]) -> bool:
        with transaction(db):
            for digest, answer, expires, now in rows:
                _delete(db, digest)
                _purge(db, now)
                row = (digest, expires, _seal(digest, answer) + answer)
                db.execute("INSERT INTO answers (digest, expires, sealed) VALUES (?, ?, ?)", row)
                while _pages(db) > self._max_pages and _drop_oldest(db):
                    pass
        return True

    def _safely(self, work: Callable[..., _T], *args: object) -> _T | None:
        try:
            return work(self._connection(), *args)
        except _GARBLED:
            self._replace()
        except sqlite3.Error as exc:
            code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
            if code in _DAMAGED:
                self._replace()
            elif code != sqlite3.SQLITE_BUSY:
                self._tell(f"cannot be used ({exc}); {self._otherwise}")
                self._close()
        except OSError as exc:
            self._tell(f"cannot be used ({exc.strerror}); {self._otherwise}")
            self._close()
        return None

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            print(f"{self._path.stem}: {self._path} {what}", file=sys.stderr, flush=True)

    def _connection(self) -> sqlite3.Connection:
        """The open file, if it is still the one at our path: another process may have replaced it."""
        if self._db is not None and self._inode_there() == self._inode:
            return self._db
        self._close()
        with self._locked():
            self._db = self._opened()
            self._inode = self._inode_there()
        return self._db

    def _opened(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.chmod(self._path, 0o600)
        db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")
            db.execute(f"PRAGMA journal_size_limit = {4 << 20}")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version != _VERSION:
                db.executescript(_SCHEMA)  # fails on another version's tables, which counts as damage
        except (sqlite3.Error, *_GARBLED):
            db.close()
            self._inode = self._inode_there()
            raise
        return db

    def _replace(self) -> None:
        self._tell("is damaged; it is made anew")
        self._close()
        with contextlib.suppress(OSError), self._locked():
            if self._inode_there() == self._inode:  # else another process was faster
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def _inode_there(self) -> int:
        try:
            return os.stat(self._path).st_ino
        except FileNotFoundError:
            return 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Opening and replacing exclude each other, between processes too."""
        descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _close(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None


def _get(db: sqlite3.Connection, digest: bytes) -> bytes | None:
    row = db.execute("SELECT sealed FROM answers WHERE digest = ?", (digest,)).fetchone()
    if row is None or not isinstance(row[0], bytes):
        return None
    answer = row[0][_SEAL:]
    return answer if row[0][:_SEAL] == _seal(digest, answer) else None


def _delete(db: sqlite3.Connection, digest: bytes) -> bool:
    return db.execute("DELETE FROM answers WHERE digest = ?", (digest,)).rowcount > 0


def _purge(db: sqlite3.Connection, now: float) -> int:
    some = "SELECT id FROM answers WHERE expires <= ? ORDER BY expires LIMIT ?"
    return db.execute(f"DELETE FROM answers WHERE id IN ({some})", (now, _PURGE_AT_ONCE)).rowcount


def _purge_all(db: sqlite3.Connection, now: float) -> None:
    # In small transactions: other processes wait for none of them for long.
    while _purge(db, now):
        pass


def _drop_oldest(db: sqlite3.Connection) -> bool:
    return db.execute("DELETE FROM answers WHERE id = (SELECT min(id) FROM answers)").rowcount > 0


def _pages(db: sqlite3.Connection) -> int:
    """How many pages of the file are in use."""
    (there,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    return int(there) - int(free)


def _seal(digest: bytes, answer: bytes) -> bytes:
    return hashlib.blake2b(answer, key=digest, digest_size=_SEAL).digest()
