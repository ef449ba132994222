"""The database of a data folder, for a command."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from gateway.admin_key import open_data
from gateway.commands import CannotDo
from gateway.store.keys import shown
from gateway.store.sqlite import FILE, Unusable, connect


@contextlib.contextmanager
def database(folder: str) -> Iterator[sqlite3.Connection]:
    """A connection; folder and file are made if they are missing. Raises CannotDo.

    A running gateway has the same file open: readers and the writer do not wait for each other, two writers take turns.
    What an operator writes survives power loss, whatever the gateway is set to: it is seldom, and dear.
    """
    try:
        connection = connect(open_data(folder) / FILE, power=True)
    except (OSError, sqlite3.Error, ValueError) as exc:  # ValueError: a path that no file can have
        raise _cannot(folder, exc) from exc
    with contextlib.closing(connection):
        try:
            yield connection
        except sqlite3.Error as exc:
            raise _cannot(folder, exc) from exc


def _cannot(folder: str, exc: Exception) -> CannotDo:
    if isinstance(exc, Unusable):
        return CannotDo(exc.strerror or str(exc))
    why = exc.strerror if isinstance(exc, OSError) else exc
    remedy = "see that it is yours to write, or give another with --data"
    return CannotDo(f"the data folder {shown(folder)} cannot be used: {why}; {remedy}")
