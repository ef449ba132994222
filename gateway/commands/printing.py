"""What the commands print: JSON for programs, tables for people. Amounts are exact in both: no float ever holds one."""

from __future__ import annotations

import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from gateway.prices import decimal

_SPOOLED = 16 << 20  # bytes
_CHUNK = 1 << 16

Row = Sequence[str]


def credits(nano: int | None) -> msgspec.Raw | None:
    """An amount as a JSON number, digit for digit: never rounded, never with an exponent."""
    return None if nano is None else msgspec.Raw(decimal(nano).encode())


def moment(seconds: float | None) -> str | None:
    """A time as ISO 8601, UTC, to the millisecond."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def minute(seconds: float | None) -> str:
    """A time in a table, to the minute; nothing for none."""
    return second(seconds)[:16] if seconds is not None else ""


def second(seconds: float) -> str:
    """A time in a table, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds")[:19]


def grouped(number: float) -> str:
    """A count with its thousands apart."""
    return f"{number:,}"


def print_json(value: object) -> None:
    """One value."""
    _write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def print_json_list(rows: Iterable[object]) -> None:
    """A list, one entry a line.

    All rows are read before the first is printed, and large lists wait in a file: whoever looks at the output at
    leisure must not keep a view of the database open, for a server's log would grow until they are done.
    """
    with tempfile.SpooledTemporaryFile(_SPOOLED) as spool:
        before = b"[\n  "
        for row in rows:
            spool.write(before + msgspec.json.encode(row))
            before = b",\n  "
        spool.write(b"[]\n" if before.startswith(b"[") else b"\n]\n")
        spool.seek(0)
        while chunk := spool.read(_CHUNK):
            _write(chunk)


def print_table(heads: Row, rows: Iterable[Row], right: Iterable[str] = (), empty: str = "nothing yet") -> None:
    """A table with the columns named in `right` set to the right; a row of one cell goes below the one before it."""
    kept = [tuple(map(_printable, row)) for row in rows]
    if not kept:
        print_text(empty)
        return
    lines = [heads, *(row for row in kept if len(row) == len(heads))]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    aligned = [head in set(right) for head in heads]
    for row in [heads, *kept]:
        if len(row) != len(heads):
            print_text(f"    {row[0]}")
            continue
        cells = (_padded(cell, width, to_right) for cell, width, to_right in zip(row, widths, aligned, strict=True))
        print_text("  ".join(cells).rstrip())


def print_text(text: str) -> None:
    """One line; a character that the terminal cannot show is escaped."""
    _write(f"{text}\n".encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def note(text: str) -> None:
    """A remark beside the answer, out of a program's way."""
    print(f"note: {text}", file=sys.stderr)


def _printable(text: str) -> str:
    """What others wrote must not move the cursor: controls and their like are escaped."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or unicodedata.category(character) == "Zs" else ascii(character)[1:-1]
        for character in text
    )


def _padded(cell: str, width: int, to_right: bool) -> str:
    blanks = " " * (width - _width(cell))
    return blanks + cell if to_right else cell + blanks


def _width(text: str) -> int:
    """Columns on a terminal: Chinese characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _write(data: bytes) -> None:
    """Past the text layer: JSON is UTF-8 whatever the terminal is set to. `main` flushes."""
    sys.stdout.buffer.write(data)
