"""What a serving process opens in its data folder: keys, books, and what is kept of answers."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from time import monotonic

from gateway import workers
from gateway.auth import Auth
from gateway.books.books import Bookkeeping, Books
from gateway.books.client import RemoteBooks
from gateway.books.limits import Limits
from gateway.caching.cache import AnswerCache
from gateway.settings import ServerSettings
from gateway.store.answers import Answers
from gateway.store.keys import Keys
from gateway.store.ledger import Ledger
from gateway.store.sqlite import FILE, connect, opening
from gateway.unified.kept import MAX_FILE as KEPT_BYTES
from gateway.unified.kept import Kept
from gateway.unified.responses import MAX_FILE

# How long a worker waits for the books to be there before it serves what needs none.
_BOOKS_SECONDS = 5.0
# How long closing waits for what the disk, or the books, have not taken yet.
_CLOSE_SECONDS = 20.0


class Stores:
    """`open` before use; `close` after the last call has ended."""

    def __init__(
        self, auth: Auth, connection: sqlite3.Connection, books: Bookkeeping, data: Path, ledger: Ledger | None
    ) -> None:
        self.auth = auth
        self.books = books
        self.cache = AnswerCache(Answers(data / "cache.db"))
        nothing = "what belongs to a conversation is kept in memory only"
        self.kept = Kept(Answers(data / "kept.db", KEPT_BYTES, nothing), time.time)
        self.responses = Answers(data / "responses.db", MAX_FILE, "responses are not stored")
        self._connection = connection
        self._ledger = ledger

    @classmethod
    async def open(cls, data: Path, server: ServerSettings) -> Stores:
        """Raises Unusable where the folder cannot be used, or belongs to another gateway."""
        with opening(data):
            return await cls._open(data, server)

    @classmethod
    async def _open(cls, data: Path, server: ServerSettings) -> Stores:
        power = server.durability == "power"
        socket = workers.books_socket()
        ledger = None
        books: Bookkeeping
        if socket is None:
            ledger = await Ledger.open_soon(data, power=power, credits=server.credits)
            books = Books(ledger, Limits(monotonic))
        else:
            books = remote = RemoteBooks(socket)
            await remote.start(_BOOKS_SECONDS)
        connection = connect(data / FILE, power)
        keys = Keys(connection)
        auth = Auth(keys.find, keys.version, monotonic, time.time)
        return cls(auth, connection, books, data, ledger)

    async def close(self) -> None:
        """Writes what is not written yet."""
        if isinstance(self.books, RemoteBooks):
            await self.books.stop(_CLOSE_SECONDS)
        if self._ledger is not None:
            await self._ledger.stop()
        self._connection.close()
        await self.cache.close()
        await self.kept.close()
        await self.responses.close()
