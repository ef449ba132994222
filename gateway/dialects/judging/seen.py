"""What the events of a stream say of its answer: whether it has begun, failed, was filtered, is complete.

One `Form` for each way of streaming. Its `read` is given the data of one event and notes what it says in a `Seen`; its
`regular` tells sooner, for nearly all events, that there is nothing to note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.dialects import UsageReader, reader_for, usage
from gateway.dialects.error_forms import VendorError
from gateway.dialects.families import FAMILIES
from gateway.dialects.judging.verdict import Spoken
from gateway.dialects.scan import Fields
from gateway.types import Usage

EVENT_LIMIT = 1 << 20
_MOST_CHOICES = 128

# What an event is to the answer: a part of it; nothing; its end; usage that nobody asked for; not readable.
CONTENT, OTHER, END, EXTRA, UNREADABLE = range(5)


class Form(NamedTuple):
    """How the streams of a dialect are read. To add one, write these functions and give it a row in `stream_forms`."""

    regular: Callable[[Seen, bytes], bool]  # whether an event, its line ends LF, is just a part of the answer
    read: Callable[[Seen, bytes, bytes], int]  # data and name of an event -> what it is, one of the above
    glance: Callable[[Seen, bytes], None]  # the begin of an event that is too long to be read
    text: tuple[bytes, ...]  # keys of the text, for an estimate
    limit: int = EVENT_LIMIT  # of an event that is read, and of what is held


def nothing_to_see(seen: Seen, begin: bytes) -> None:
    """The glance at an event that can only be a part of the answer."""
    seen.begun = True


class Seen:
    """What is known of an answer by the events of its stream."""

    __slots__ = (
        "_dialect", "_done_finishes", "_family", "_fields", "_form", "_hides_usage", "_open", "_reader",
        "_spoken", "_zero",
        "begun", "choices", "ended", "error", "filtered", "finished", "said",
    )  # fmt: skip

    def __init__(self, form: Form, dialect: str, hide_usage: bool, choices: int) -> None:
        self._form = form
        self._hides_usage = hide_usage
        self.choices = choices  # how many are due
        self._dialect = dialect
        self._family = FAMILIES[dialect]
        self._reader: UsageReader | None = None  # for events that are not decoded here
        self._fields: Fields = {}  # where the usage is in the last event that has some
        self._zero = False
        self._spoken = Spoken()
        self._open: dict[int, bool] = {}  # the choices seen, and which of them are still open
        self._done_finishes = False  # whether the terminator is the finish
        self.begun = False  # a first event of the answer was seen
        self.said = False  # something other than thoughts was seen; only noted where failures look like answers
        self.ended = False  # the terminator was seen
        self.finished = False  # the answer is complete
        self.filtered = False
        self.error: VendorError | None = None

    def usage(self) -> Usage | None:
        """The vendor's usage as far as it is known."""
        if self._fields:
            return self._family.normal(self._fields)
        return self._reader.finish() if self._reader is not None else None

    @property
    def zero(self) -> bool:
        """Where there is no usage: whether the vendor said in so many words that nothing was used."""
        return self.usage() is None and (self._zero or (self._reader is not None and self._reader.zero))

    def output_tokens_estimate(self) -> int:
        """About how many tokens the text that was seen has."""
        return self._spoken.tokens()

    # -- what the forms note -------------------------------------------------------------------------------------------

    def count(self, events: bytes) -> None:
        """Reads the usage of whole events, or of parts of one that is long."""
        if self._reader is None:
            self._reader = reader_for(self._dialect, b"text/event-stream")
        self._reader.feed(events)

    def count_payload(self, payload: bytes) -> None:
        """The same for the data of an event."""
        self.count(b"data:" + payload.replace(b"\n", b" ") + b"\n\n")

    def count_fields(self, fields: Fields) -> None:
        """The usage of an event that was decoded: the last counts, but zeros never replace better numbers."""
        total: object = 0
        if self._family.probe is not None:
            path, key = self._family.probe
            counters = fields.get(path)
            total = counters.get(key) if type(counters) is dict else 0
        if (type(total) is int and 0 < total <= usage.MOST) or self._family.normal(fields) is not None:
            self._fields = fields
        elif any(fields.values()):
            self._zero = True

    def hear(self, payload: bytes) -> None:
        self._spoken.hear(payload, self._form.text)

    def drops(self, counters: object) -> bool:
        return self._hides_usage and isinstance(counters, dict)

    def done_finishes(self) -> None:
        """This vendor knows no finish reasons."""
        self._done_finishes = True

    def done(self) -> int:
        """The terminator."""
        if not self.ended:
            self.ended = True
            if self._done_finishes or (self._open and not any(self._open.values())):
                self.finished = True
            if not (self.begun or self.finished):
                self.error = VendorError(502, "the vendor's stream ended before it began")
        return END

    def progress(self, choices: Iterable[tuple[int, bool]]) -> int:
        """Some of the answer: the number of each choice that an event tells of, and whether it is over now."""
        self.begun = True
        for index, over in choices:
            if len(self._open) < _MOST_CHOICES:
                self._open[index] = self._open.get(index, True) and not over
        self.finished = len(self._open) >= self.choices and not any(self._open.values())
        return END if self.finished else CONTENT
