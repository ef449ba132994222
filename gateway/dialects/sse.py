"""Server-sent events, split on bytes: whole events where they are small, piecewise where one is too long to hold.

Lines end with LF, CRLF or CR, even mixed; `data:` needs no space behind it; several data lines of one event join with
LF; other fields and comments say nothing that we need (the JSON names its own type).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# Possessive, lest CRLF be taken for two line ends.
_BLANK_LINE = re.compile(rb"(?:\r\n?+|\n)(?:\r\n?+|\n)")
_LINE_END = re.compile(rb"\r\n?+|\n")
_CR, _LF = b"\r\n"

BLANK = b" \t\r\n\xef\xbb\xbf"  # white space and the bytes of a BOM

EVENT_ENDS = (b"\n\n", b"\r\n\r\n")


def payloads(block: bytes) -> Iterator[bytes]:
    """The data of each event in a block; the last event may lack its blank line."""
    if block.startswith(b"data:"):
        line = block.rstrip(b"\r\n")
        if b"\n" not in line and b"\r" not in line:
            yield line[5:]  # one event on one line
            return
    for event in _events(block):
        if event.startswith(b"data:") and b"\n" not in event and b"\r" not in event:
            yield event[5:]
        elif b"data:" in event:
            lines = [line[5:] for line in _LINE_END.split(event) if line.startswith(b"data:")]
            if lines:
                yield b"\n".join(lines)


def payloads_with(block: bytes, needle: bytes, null: bytes) -> Iterator[bytes]:
    """The data of those events in which `needle` stands, and not only as the begin of `null`."""
    blank = _blank_line_of(block)
    if not blank:
        yield from (payload for payload in payloads(block) if payload.count(needle) != payload.count(null))
        return
    # Only what stands around a needle is looked at: most events of a stream have none.
    at = block.find(needle)
    while at >= 0:
        if block.startswith(null, at):
            at = block.find(needle, at + len(null))
            continue
        start = block.rfind(blank, 0, at)
        end = block.find(blank, at)
        end = len(block) if end < 0 else end
        yield from payloads(block[start + len(blank) if start >= 0 else 0 : end])
        at = block.find(needle, end)


def first_payload(block: bytes) -> bytes | None:
    """The data of the first event that has any."""
    blank = _blank_line_of(block)
    end = block.find(blank) if blank else -1
    if end > 0 and (found := next(payloads(block[:end]), None)) is not None:
        return found
    return next(payloads(block), None)


def _blank_line_of(block: bytes) -> bytes:
    """What the blank lines of a block look like, if all its line ends are of one kind; else nothing."""
    returns = block.count(b"\r")
    if not returns:
        return b"\n\n"
    return b"\r\n\r\n" if returns == block.count(b"\r\n") == block.count(b"\n") else b""


def _events(block: bytes) -> list[bytes]:
    """A block cut at its blank lines; by plain searches where all line ends are of one kind, as nearly always."""
    blank = _blank_line_of(block)
    return block.split(blank) if blank else _BLANK_LINE.split(block)


def last_event_end(block: bytes | bytearray, start: int = 0) -> int:
    """The position behind the last blank line made of LF or CRLF, or 0."""
    if block.endswith(EVENT_ENDS):
        return len(block)
    line_feed = block.rfind(b"\n\n", start)
    both = block.rfind(b"\r\n\r\n", start)
    return max(line_feed + 2 if line_feed >= 0 else 0, both + 4 if both >= 0 else 0)


def last_event_end_of_any_kind(block: bytes | bytearray) -> int:
    """The same for lone CR and mixed line ends too, at the price of a full search."""
    end = 0
    for found in _BLANK_LINE.finditer(block):
        end = found.end()
    return end


def event_end(data: bytes | bytearray, start: int) -> int:
    """The position behind the next blank line, -1 if there is none for certain: a CR may still become a CRLF."""
    found = _BLANK_LINE.search(data, start)
    if found is None:
        return -1
    end = found.end()
    return -1 if end == len(data) and data.endswith(b"\r") else end


def read_event(event: bytes) -> tuple[bytes, bytes]:
    """(the data, the name) of one event; JSON that stands there bare is taken for data."""
    line = event.strip(BLANK)
    if line.startswith(b"data:") and b"\n" not in line and b"\r" not in line:
        return line[5:].strip(), b""
    if line.startswith(b"{"):
        return line, b""
    data: list[bytes] = []
    name = b""
    for each in _LINE_END.split(line):
        if each.startswith(b"data:"):
            data.append(each[5:])
        elif each.startswith(b"event:"):
            name = each[6:].strip()
    return b"\n".join(data).strip(), name


class LongEvent:
    """One event in pieces: gives the content of its data lines to `sink` without holding a line."""

    __slots__ = ("_at_start", "_behind_cr", "_head", "_lines", "_sink", "_wanted")

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._head = b""  # the begin of a line, too short to tell its field
        self._at_start = True
        self._behind_cr = False
        self._wanted = False
        self._lines = 0

    def feed(self, data: bytes) -> bytes | None:
        """None while the event goes on, else what follows it."""
        data, self._head = self._head + data, b""
        position, size = 0, len(data)
        while position < size:
            if self._at_start:
                head = data[position : position + 5]
                if head[0] == _LF and self._behind_cr:
                    position += 1
                    self._behind_cr = False
                    continue
                if head[0] in (_LF, _CR):
                    return data[position + 1 :]
                if len(head) < 5 and b"data:".startswith(head):
                    self._head = head
                    return None
                position += self._line_begins(head)
            line_feed = data.find(b"\n", position)
            end = data.find(b"\r", position, line_feed if line_feed >= 0 else size)
            end = line_feed if end < 0 else end
            stop = size if end < 0 else end
            if self._wanted and stop > position:
                self._sink(data[position:stop])
            position = stop + 1
            self._at_start = end >= 0
            self._behind_cr = self._at_start and data[end] == _CR
        return None

    def _line_begins(self, head: bytes) -> int:
        self._at_start = self._behind_cr = False
        self._wanted = head == b"data:"
        if not self._wanted:
            return 0
        if self._lines:
            self._sink(b"\n")
        self._lines += 1
        return 5
