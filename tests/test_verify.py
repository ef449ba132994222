"""Verify finds every way in which the books can be wrong, and nothing in books that are right."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store import entries
from gateway.store.entries import Write, adjust, grant
from gateway.store.sqlite import FILE, connect, transaction
from gateway.store.verify import verify
from gateway.types import Charge, Usage

NOW = time.time()
PARTS = (("input", 1000, 2_000_000), ("seconds", 2.5, 400_000))  # 2000 + 1


def hold(name: str, charge: Charge | None = None, fresh: bool = False) -> Write:
    return Write(name, "acme", "key_1", 5000, NOW, charge, NOW, fresh)


def charge(name: str, outcome: str = "complete") -> Charge:
    return Charge(name, "acme", "key_1", outcome, 2001, "m", "p", Usage(input=1000), PARTS)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """One of each: granted and adjusted, held, settled with its hold and after it, released."""
    with contextlib.closing(connect(tmp_path / FILE)) as connection:
        grant(connection, "acme", 100_000, "hello")
        adjust(connection, "other", -7)
        with transaction(connection):
            entries.write(connection, [hold("open"), hold("long")], NOW + 3600)
        with transaction(connection):
            batch = [
                hold("long", charge("long")),
                hold("short", charge("short"), fresh=True),
                hold("failed", charge("failed", "failed"), fresh=True),
            ]
            entries.write(connection, batch, NOW + 3600)
        yield connection


def test_right_books(books: sqlite3.Connection) -> None:
    assert verify(books) == {"accounts": 2, "entries": 9, "open_holds": 1, "errors": []}
    assert entries.balance(books, "acme") == (100_000 - 5000 - 2 * 2001, 5000)


def test_empty_books(tmp_path: Path) -> None:
    with contextlib.closing(connect(tmp_path / FILE)) as connection:
        assert verify(connection) == {"accounts": 0, "entries": 0, "open_holds": 0, "errors": []}


COPY = """INSERT INTO entries (time, account, kind, amount, request_id, key_id, cost)
          SELECT time, account, kind, amount, request_id, key_id, cost FROM entries WHERE request_id = 'short'"""

WRONG = {
    "a balance": ("UPDATE accounts SET available = available + 1 WHERE name = 'acme'", "its entries add up to"),
    "an account is missing": ("DELETE FROM accounts WHERE name = 'other'", "'other': available is None"),
    "an account from nowhere": ("INSERT INTO accounts VALUES ('ghost', 5)", "'ghost': available is 5, and it has no"),
    "an entry is missing": ("DELETE FROM entries WHERE kind = 'adjust'", "the entries go from 1 to 9, but there are 8"),
    "the last one is missing": ("DELETE FROM entries WHERE id = 9", "'acme': available is"),
    "a settle without its hold's amount": (
        "UPDATE entries SET amount = amount + 1 WHERE kind = 'settle' AND request_id = 'long'",
        "'long': its entries add up to -2000, its cost is 2001",
    ),
    "a release that takes something": (
        "UPDATE entries SET amount = amount - 5 WHERE kind = 'release'",
        "'failed': its entries add up to -5, its cost is 0",
    ),
    "a settle without cost": ("UPDATE entries SET cost = NULL WHERE request_id = 'short'", "'short': its entries add"),
    "a cost that its parts are not": (
        "UPDATE entries SET parts = '[[\"input\",1000,2000001]]' WHERE request_id = 'short' AND kind = 'settle'",
        "parts of request 'short' do not add up to its cost 2001",
    ),
    "parts that are no parts": (
        "UPDATE entries SET parts = '[' WHERE request_id = 'short' AND kind = 'settle'",
        "parts of request 'short'",
    ),
    "held and closed twice": (f"DROP INDEX entries_once; {COPY}", "'short': held 2 times, closed 2 times"),
    "held after it was closed": (
        "UPDATE entries SET request_id = 'gone' WHERE request_id = 'short' AND kind = 'hold';"
        "INSERT INTO entries (time, account, kind, amount, request_id) VALUES (1, 'acme', 'hold', 0, 'short')",
        "'short': held by entry 10, after it was closed by",
    ),
    "a grant with a request": ("UPDATE entries SET request_id = 'x' WHERE kind = 'grant'", "entry 1: is no grant"),
    "a hold without a request": ("UPDATE entries SET request_id = NULL WHERE kind = 'hold'", "is no hold"),
    "a hold that gives": ("UPDATE entries SET amount = 5 WHERE kind = 'hold'", "is no hold"),
    "a hold is lost": ("DELETE FROM holds", "'open': held by 'acme' with -5000, and nothing has closed it"),
    "a hold of another amount": ("UPDATE holds SET amount = 4999", "the open holds have 'acme' with 4999"),
    "a hold of another account": ("UPDATE holds SET account = 'other'", "the open holds have 'other' with 5000"),
    "a hold from nowhere": ("INSERT INTO holds VALUES ('x', 'acme', '', 1, 9e9)", "'x': is an open hold of 'acme'"),
    "a hold that was closed": ("INSERT INTO holds VALUES ('long', 'acme', '', 1, 9e9)", "'long': is an open hold"),
    "a hold past its deadline": ("UPDATE holds SET deadline = 5", "'open': is held past its deadline 5"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_books(books: sqlite3.Connection, name: str) -> None:
    script, error = WRONG[name]
    books.executescript(f"DROP TRIGGER entries_stay; DROP TRIGGER entries_remain; {script}")
    errors = verify(books)["errors"]
    assert any(error in found for found in errors), errors


def test_errors_are_bounded(books: sqlite3.Connection) -> None:
    books.executescript("""
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        INSERT INTO accounts SELECT 'ghost' || i, 1 FROM n""")
    assert len(verify(books)["errors"]) == 100


def test_time_is_an_argument(books: sqlite3.Connection) -> None:
    assert not verify(books, NOW + 3599)["errors"]
    assert verify(books, NOW + 3601)["errors"]


def test_sums_beyond_sqlite_are_exact(books: sqlite3.Connection) -> None:
    """1,000 units at 10**16 each are more than 2**63."""
    big = Charge("big", "rich", "key_1", "complete", 10**13, parts=(("images", 1000, 10**16),))
    with transaction(books):
        entries.write(books, [Write("big", "rich", "key_1", 0, NOW, big, NOW, True)], NOW)
    assert not verify(books)["errors"]
