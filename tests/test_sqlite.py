"""The database file: its mode, its migrations, and that no connection of a process harms another."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.store.sqlite import FILE, Unusable, connect, transaction


def _elsewhere(path: Path, sql: str) -> str:
    """What another process reads, which closes the file at its end."""
    code = (
        "import sys, pathlib; from gateway.store.sqlite import connect; "
        "c = connect(pathlib.Path(sys.argv[1])); print(c.execute(sys.argv[2]).fetchone()[0]); c.close()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path), sql], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_second_connection_does_not_give_up_the_locks_of_the_first(tmp_path: Path) -> None:
    """Closing a descriptor of a file ends all POSIX locks of the process on it: the next process that leaves would take
    itself for the last one, and delete the log that this one still writes.
    """
    path = tmp_path / FILE
    with contextlib.closing(connect(path)) as first, contextlib.closing(connect(path)) as second:
        with transaction(first):
            first.execute("INSERT INTO accounts (name, available) VALUES ('one', 1)")
        assert _elsewhere(path, "SELECT count(*) FROM accounts") == "1"
        assert path.with_name(FILE + "-wal").exists()
        with transaction(first):
            first.execute("INSERT INTO accounts (name, available) VALUES ('two', 2)")
        assert _elsewhere(path, "SELECT count(*) FROM accounts") == "2"
        assert second.execute("SELECT count(*) FROM accounts").fetchone() == (2,)


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.touch(0o644)
    with contextlib.closing(connect(path)) as connection:
        with transaction(connection):
            connection.execute("INSERT INTO accounts (name, available) VALUES ('one', 1)")
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_file_of_a_newer_gateway_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with contextlib.closing(connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9999")
    with pytest.raises(Unusable, match="newer gateway"):
        connect(path)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(b"no database at all, but long enough to be one " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        connect(path)
