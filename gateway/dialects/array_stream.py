"""Gemini's other way of streaming: one JSON array, sent piece by piece, whose items are the chunks.

The bytes pass untouched. An item is judged when it is whole, and goes out with what stands before it; what ends the
answer waits for `finish`, the closing bracket with it. Where an item ends is found by looking at each byte once, in
strides: whatever leaves the depth as it is is passed by one search.
"""

from __future__ import annotations

import re

from gateway.dialects import sse
from gateway.dialects.error_forms import VendorError
from gateway.dialects.judging.held import Held
from gateway.dialects.judging.seen import END, UNREADABLE
from gateway.dialects.stream_forms import FORMS

_BETWEEN = re.compile(rb"[\s,]*+")
_FLAT = rb'[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+"'
# Whatever leaves the depth as it is: texts, and containers without one inside.
_LEVEL = re.compile(rb"(?:%s|[{\[](?:%s)*+[}\]])*+" % (_FLAT, _FLAT), re.DOTALL)
_OPENERS = re.compile(rb"[{\[]++")
_CLOSERS = re.compile(rb"[}\]]++")
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_QUOTE, _BRACE, _END = b'"{]'


class ArrayStream(Held):
    """One streamed answer; to be used as a `streams.Stream`."""

    __slots__ = ("_at", "_depth", "_opened", "_quoted", "_start")

    def __init__(self, dialect: str, hide_usage: bool = False, choices: int = 1) -> None:
        super().__init__(FORMS[dialect], dialect, hide_usage, choices)
        self._opened = False  # the array's bracket was seen
        self._at = 0  # how far the carry has been looked at
        self._start = 0  # where the item begins in it
        self._depth = 0  # of what is open at that place; 0: between items
        self._quoted = False  # whether that place is inside of a string

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes of the body, without content encoding; returns what may go to the client now."""
        if self.error is not None:
            return b""
        if self._json:
            return self._collect(data)
        out: list[bytes] = []
        self._carry += data
        if not self._opened and not self._open_array():
            return b""
        while not self.ended and self.error is None and self._next():
            self._item(out)
        if self.ended and self.error is None:
            self._put(out, bytes(self._carry), END)
            self._carry.clear()
        elif len(self._carry) > self._form.limit:
            self._fail(VendorError(502, "the vendor's stream holds an item that is larger than the gateway accepts"))
        return b"".join(out)

    def _fail(self, error: VendorError) -> None:
        super()._fail(error)
        self._at = self._start = self._depth = 0

    def _end_within(self, carry: bytes) -> None:
        self._held.append(carry)  # cut in the midst

    def _open_array(self) -> bool:
        begin = bytes(self._carry[:1024]).lstrip(sse.BLANK)
        if begin[:1] == b"[":
            self._opened = True
            self._at = self._carry.index(b"[") + 1
        elif begin or len(self._carry) > 1024:
            self._json = True  # an object, or no JSON at all
        return self._opened

    # -- where items end -----------------------------------------------------------------------------------------------

    def _next(self) -> bool:
        """Whether an item is whole: it ends where the carry has been looked at."""
        if not self._depth and not self._begin_item():
            return False
        carry, at, size = self._carry, self._at, len(self._carry)
        while at < size:
            if self._quoted:
                at = self._string_end(at)
                if self._quoted:  # it goes on
                    self._at = at
                    return False
            level = _LEVEL.match(carry, at)
            at = level.end() if level is not None else at
            if at == size:
                break
            if carry[at] == _QUOTE:
                self._quoted = True
                at += 1
            elif opened := _OPENERS.match(carry, at):
                self._depth += opened.end() - at
                at = opened.end()
            elif closed := _CLOSERS.match(carry, at):
                length = min(closed.end() - at, self._depth)
                self._depth -= length
                at += length
                if not self._depth:
                    self._at = at
                    return True
        self._at = size
        return False

    def _begin_item(self) -> bool:
        """To the brace of the next item; the array's end, and what is neither, are noted."""
        carry = self._carry
        between = _BETWEEN.match(carry, self._at)
        at = self._at = between.end() if between is not None else self._at
        if at == len(carry):
            return False
        if carry[at] == _BRACE:
            self._start, self._at, self._depth = at, at + 1, 1
            return True
        if carry[at] == _END:
            self.done()
        else:
            self.error = VendorError(502, "the vendor's stream is no array of objects")
        if self.error is not None:
            self._fail(self.error)
        return False

    def _string_end(self, at: int) -> int:
        """Behind the closing quote, or the end of the carry; a lone backslash there waits for what it escapes."""
        carry = self._carry
        end = carry.find(b'"', at)
        slash = carry.find(b"\\", at, end if end >= 0 else len(carry))
        if slash < 0:
            self._quoted = end < 0
            return end + 1 if end >= 0 else len(carry)
        rest = _STRING_REST.match(carry, slash)
        stop = rest.end() if rest is not None else slash
        if stop < len(carry) and carry[stop] == _QUOTE:
            self._quoted = False
            return stop + 1
        return stop

    # -- items ---------------------------------------------------------------------------------------------------------

    def _item(self, out: list[bytes]) -> None:
        end = self._at
        piece = bytes(memoryview(self._carry)[:end])
        kind = self._form.read(self, piece[self._start :] if self._start else piece, b"")
        if self.error is not None:
            self._fail(self.error)
            return
        if kind == UNREADABLE:
            self._fail(VendorError(502, "the vendor's stream holds an item that is not readable"))
            return
        del self._carry[:end]
        self._at = self._start = 0
        self._put(out, piece, kind)


