"""Bodies: where a message ends, followed byte by byte through Content-Length or chunked framing.

A follower is fed what was read and answers (pieces of the body, number of bytes that belong to the message). It never
copies a body that comes in one piece, and never looks at a byte twice.
"""

from __future__ import annotations

import re

from gateway.wire.head import MAX_HEAD, TRAILERS, hopeless

# A size that every reader reads alike: plain hex digits, then nothing or well-formed extensions.
_NAME = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = rb'"(?:[\t\x20!\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;" + _NAME + rb"(?:=(?:" + _NAME + rb"|" + _QUOTED + rb"))?+)*+")
_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{1,15}(?:;[\t\x20-\x7e\x80-\xff]*+)?\r?")
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n").match
_MAX_SIZE_LINE = 4096

_SIZE, _DATA, _DATA_END, _TRAILER, _DONE = range(5)


class BadFraming(Exception):
    """The body's framing is broken; where it began is lost."""


class Counted:
    """A body of a known length, or (length None) one that lasts until the connection closes."""

    __slots__ = ("done", "left")

    def __init__(self, length: int | None) -> None:
        self.left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[tuple[bytes, ...], int]:
        left = self.left
        size = len(data)
        if left is None or size < left:
            if left is not None:
                self.left = left - size
            return (data,), size
        self.left = 0
        self.done = True
        if size == left:
            return (data,), size
        return ((data[:left],) if left else ()), left


class Chunked:
    """A chunked body. `trailers` is the raw block after the last chunk, its blank line included, once `done`."""

    __slots__ = ("_left", "_line", "_state", "done", "trailers")

    def __init__(self) -> None:
        self._state = _SIZE
        self._left = 0
        self._line = b""  # an incomplete size line or trailer block
        self.trailers = b""
        self.done = False

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        """(pieces of the body, bytes consumed); consumed < len(data) only at the end. Raises BadFraming."""
        pieces: list[bytes] = []
        at, size = 0, len(data)
        if self._state == _SIZE and not self._line:
            # Nearly every read holds whole chunks: these are taken without a state in between.
            while (match := _PLAIN_SIZE(data, at)) is not None:
                start = match.end()
                end = start + int(match[1], 16)
                if end + 2 > size or end == start:
                    break
                if data[end : end + 2] != b"\r\n":
                    raise BadFraming("a chunk is longer than its size says")
                pieces.append(data[start:end])
                at = end + 2
        while at < size and self._state != _DONE:
            if self._state == _SIZE:
                at = self._size_line(data, at)
            elif self._state == _DATA:
                end = at + self._left
                if end <= size:
                    pieces.append(data[at:end] if at or end < size else data)
                    self._state = _DATA_END
                    self._left = 2
                    at = end
                else:
                    pieces.append(data[at:] if at else data)
                    self._left = end - size
                    at = size
            elif self._state == _DATA_END:
                expected = b"\r\n"[2 - self._left :]
                part = data[at : at + self._left]
                if not expected.startswith(part):
                    raise BadFraming("a chunk is longer than its size says")
                self._left -= len(part)
                at += len(part)
                if not self._left:
                    self._state = _SIZE
            else:
                at = self._trailer(data, at)
        return pieces, at

    def _size_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at, at + _MAX_SIZE_LINE + 1)
        line = data[at:end] if end >= 0 else data[at:]
        if self._line:
            line = self._line + line
        if len(line) > _MAX_SIZE_LINE:
            raise BadFraming("a chunk's size line is too long")
        if end < 0:
            # Nothing that is not already the start of a good line is waited for.
            if _SIZE_BEGUN.fullmatch(line) is None:
                raise BadFraming("a chunk's size is not a plain hexadecimal number")
            self._line = line
            return len(data)
        match = _SIZE_LINE.fullmatch(line, 0, len(line) - 1)
        if match is None or line[-1:] != b"\r":
            raise BadFraming("a chunk's size is not a plain hexadecimal number")
        self._line = b""
        self._left = int(match[1], 16)
        self._state = _DATA if self._left else _TRAILER
        return end + 1

    def _trailer(self, data: bytes, at: int) -> int:
        if not self._line and data.startswith(b"\r\n", at):
            self.trailers = b"\r\n"
            return self._finish(at + 2)
        held = len(self._line)
        block = self._line + data[at : at + MAX_HEAD + 1]
        end = 2 if block.startswith(b"\r\n") else block.find(b"\r\n\r\n", max(0, held - 3)) + 4
        if end > MAX_HEAD or (end < 4 and len(block) > MAX_HEAD):
            raise BadFraming("the trailers are longer than 64 KiB")
        if end == 3:
            if hopeless(block, held):
                raise BadFraming("bare CR or LF, or a control character, in the trailers")
            self._line = block
            return len(data)
        block = block[:end]
        if TRAILERS.fullmatch(block) is None:
            raise BadFraming("the trailers are malformed")
        self._line = b""
        self.trailers = block
        return self._finish(at + end - held)

    def _finish(self, at: int) -> int:
        self._state = _DONE
        self.done = True
        return at


def chunk(piece: bytes) -> bytes:
    """One piece of a body as a chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)
