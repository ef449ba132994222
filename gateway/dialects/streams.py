"""Judges a vendor's stream as it passes: the bytes stay the vendor's, but when they may go on is decided here.

```
            ┌ waits ┐ an event that is not whole yet
 feed ──────┴───────┴──► regular event ────────────────────► out
                    ├──► its finish ──► held ──┐ ◄─ whatever follows; more of the answer lets it go
                    ├──► the terminator ► held ┴───────────► finish()
                    ├──► usage that nobody asked for ──────► dropped
                    └──► an error ──► `error`; nothing comes out any more
```

What ends an answer is held until `finish`, for the charge must be safe before the client can know the end. Nearly all
pieces are whole regular events: mostly the one before with another text, which needs no decoding, else `Form.regular`
looks at each; the piece itself goes out. Everything else is cut into events, and each is read. However a stream is cut
into pieces, the same bytes come out and the same verdict.

Memory is bounded: an event waits up to the `limit` of its form and is then passed unread, but for its begin. As much
may be held.
"""

from __future__ import annotations

import re

from gateway.dialects import sse
from gateway.dialects.error_forms import VendorError
from gateway.dialects.judging.held import Held
from gateway.dialects.judging.seen import CONTENT, END, EVENT_LIMIT, EXTRA, OTHER, UNREADABLE
from gateway.dialects.judging.verdict import STRING, Spoken
from gateway.dialects.stream_forms import FORMS

_NOT_PLAIN = re.compile(rb'[\x00-\x1f"\\]')  # what may end a string or a line, or break it
_LONGEST_LESSON = 16 << 10
_JSON_BEGINS = (b"{", b"[", b'"')


class Stream(Held):
    """One streamed answer."""

    __slots__ = ("_around", "_before", "_behind", "_calm", "_lessons", "_long", "_started")

    def __init__(
        self, dialect: str, content_type: bytes = b"text/event-stream", hide_usage: bool = False, choices: int = 1
    ) -> None:
        """`hide_usage`: the client did not ask for it. `choices`: how many answers were asked for (`n`)."""
        super().__init__(FORMS[dialect], dialect, hide_usage, choices)
        # An event of the answer up to its text, and from there on; vendors mostly repeat both to the byte.
        self._before = b"\xff"
        self._behind = b""
        self._around = 0
        self._lessons = 8
        self._started = False  # whether anything but blanks came
        self._calm = False  # in the midst of an answer, nothing is held
        self._long: sse.LongEvent | None = None  # an event that is passed unread

    # -- what the relay calls ------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes of the body, without content encoding; returns what may go to the client now."""
        if self._calm and not self._carry:
            if data.startswith(self._before) and self._repeats(data):
                return data
            if data.endswith(sse.EVENT_ENDS) and self._all_regular(data):
                self._spoken.hear(data, self._form.text)
                return data
        if self.error is not None:
            return b""
        if not self._started:
            if not (begin := data.lstrip(sse.BLANK)) and len(self._carry) < EVENT_LIMIT:
                self._carry += data  # blank lines belong to what comes behind them, and that may be no stream
                return b""
            self._started = True
            self._json = begin[:1] in _JSON_BEGINS
        if self._json:
            return self._collect(data)
        out: list[bytes] = []
        if self._long is not None:
            data = self._long_event(out, self._long, data)
        self._cut(out, data)
        return out[0] if len(out) == 1 else b"".join(out)

    def _all_regular(self, data: bytes) -> bool:
        regular = self._form.regular
        if b"\r" in data:  # Google's line ends: one event of one line
            line = data[:-4]
            return data.endswith(b"\r\n\r\n") and b"\r" not in line and b"\n" not in line and regular(self, line)
        if data.find(b"\n\n") == len(data) - 2:
            if not regular(self, data[:-2]):
                return False
            self._learn(data)
            return True
        return all(regular(self, event) for event in data[:-2].split(b"\n\n"))

    # -- bytes to events -----------------------------------------------------------------------------------------------

    def _cut(self, out: list[bytes], data: bytes) -> None:
        carry = self._carry
        end = 0
        if carry:
            known = len(carry)
            carry += data
            if (end := sse.event_end(carry, max(known - 3, 0))) < 0:
                self._wait(out)
                return
            data = bytes(carry)
            carry.clear()
        start = 0
        plain = b"\r" not in data
        while (end := end or (data.find(b"\n\n", start) + 2 if plain else sse.event_end(data, start))) >= 2:
            event = data[start:end] if start or end < len(data) else data
            if self._calm and self._repeats(event):
                out.append(event)
            else:
                self._event(out, event)
                if self.error is not None:
                    return
            start, end = end, 0
        if start < len(data):
            carry += data[start:]
            self._wait(out)

    def _repeats(self, event: bytes) -> bool:
        """Whether this is the last event once more, but for its text: all there is to see is that it is one string."""
        if len(event) < self._around or not (event.startswith(self._before) and event.endswith(self._behind)):
            return False
        text = event[len(self._before) : -len(self._behind)]
        if _NOT_PLAIN.search(text):
            return False
        self._spoken.add(text)
        return True

    def _wait(self, out: list[bytes]) -> None:
        """For the rest of an event, unless it is too long."""
        carry = self._carry
        if len(carry) > self._form.limit:
            begin = bytes(carry)
            carry.clear()
            self._calm = False
            if not self.ended:
                self._form.glance(self, begin[:1024])
            if self.error is not None:
                self._fail(self.error)
            else:
                carry += self._long_event(out, sse.LongEvent(lambda _: None), begin)

    def _long_event(self, out: list[bytes], event: sse.LongEvent, data: bytes) -> bytes:
        """Passes an event on unread; returns what follows it."""
        rest = event.feed(data if self._long is not None else data.lstrip(b"\r\n"))
        self._long = event if rest is None else None
        piece = data if not rest else data[: len(data) - len(rest)]
        self.count(piece)
        self._put(out, piece, END if self.ended else CONTENT)
        return rest or b""

    def _put(self, out: list[bytes], event: bytes, kind: int) -> None:
        super()._put(out, event, kind)
        if self._held:
            self._calm = False
        elif kind == CONTENT:
            self._calm = self.choices == 1 and self._long is None and (not self._open or 0 in self._open)

    def _learn(self, event: bytes) -> None:
        """Where the text of an event is that has just one."""
        if not self._lessons or len(event) > _LONGEST_LESSON:
            return
        self._lessons -= 1
        keys = self._form.text
        for key in keys:
            at = event.find(key)
            found = STRING.match(event, at + len(key)) if at >= 0 else None
            if found is None or not found[1]:
                continue
            before, behind = event[: found.start(1)], event[found.end(1) :]
            around = Spoken()
            around.hear(before, keys)
            around.hear(behind, keys)
            if not around.tokens():
                self._before, self._behind, self._around = before, behind, len(before) + len(behind)
            return

    def _fail(self, error: VendorError) -> None:
        self._calm = False
        super()._fail(error)

    def _end_within(self, carry: bytes) -> None:
        """The last event may lack its blank line."""
        out: list[bytes] = []
        self._event(out, carry, last=True)
        self._held = [*out, *self._held]

    # -- events --------------------------------------------------------------------------------------------------------

    def _event(self, out: list[bytes], event: bytes, last: bool = False) -> None:
        payload, name = (b"", b"") if self.ended else sse.read_event(event)
        if not payload:
            self._put(out, event, OTHER)  # a comment, a keep-alive; what comes behind the terminator
            return
        kind = self._form.read(self, payload, name)
        if kind == UNREADABLE:
            if not last:
                self._fail(VendorError(502, "the vendor's stream holds an event that is not readable"))
                return
            kind = OTHER  # cut in the midst
        if self.error is not None:
            self._fail(self.error)
        elif kind != EXTRA:
            self._put(out, event, kind)
            if self._calm and kind == CONTENT:
                self._learn(event)
