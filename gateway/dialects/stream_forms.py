"""What the events of a stream say of its answer: whether it has begun, failed, was filtered, is complete.

One `Form` for each way of streaming. Its `read` is given the data of one event and notes what it says in a `Seen`; its
`regular` tells sooner, for nearly all events, that there is nothing to note.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from gateway.dialects import UsageReader, answers, reader_for, scan, usage
from gateway.dialects.answers import Chat, Choice, Response, Spoken
from gateway.dialects.error_forms import VendorError, hidden_error, read_error
from gateway.dialects.scan import Fields
from gateway.types import Usage

_MOST_CHOICES = 128

# What an event is to the answer: a part of it; nothing; its end; usage that nobody asked for; not readable.
CONTENT, OTHER, END, EXTRA, UNREADABLE = range(5)


class Seen:
    """What is known of an answer by the events of its stream."""

    __slots__ = (
        "_choices", "_dialect", "_done_finishes", "_fields", "_form", "_hides_usage", "_open", "_reader", "_spoken",
        "_zero",
        "begun", "ended", "error", "filtered", "finished",
    )  # fmt: skip

    def __init__(self, dialect: str, hide_usage: bool, choices: int) -> None:
        self._form = FORMS[dialect]
        self._hides_usage = hide_usage
        self._choices = choices
        self._dialect = dialect
        self._reader: UsageReader | None = None  # for events that are not decoded here
        self._fields: Fields = {}  # of a chat: where the usage is in the last event that has some
        self._zero = False
        self._spoken = Spoken()
        self._open: dict[int, bool] = {}  # the choices seen, and which of them are still open
        self._done_finishes = False  # whether the vendor knows no finish reasons: its terminator is the finish
        self.begun = False  # a first event of the answer was seen
        self.ended = False  # the terminator was seen
        self.finished = False  # the answer is complete
        self.filtered = False
        self.error: VendorError | None = None

    def usage(self) -> Usage | None:
        """The vendor's usage as far as it is known."""
        if self._fields:
            return usage.chat(self._fields)
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

    def count_chunk(self, chat: Chat, choices: list[Choice]) -> None:
        """The last usage counts, but zeros never replace better numbers."""
        fields = answers.usage_fields(chat, choices)
        counters = chat.usage
        total = counters.get("total_tokens") if type(counters) is dict else None
        if (type(total) is int and 0 < total <= usage.MOST) or usage.chat(fields) is not None:
            self._fields = fields
        elif any(fields.values()):
            self._zero = True

    def hear(self, payload: bytes) -> None:
        self._spoken.hear(payload, self._form.text)

    def drops(self, counters: object) -> bool:
        return self._hides_usage and isinstance(counters, dict)

    def done(self) -> int:
        """The terminator."""
        if not self.ended:
            self.ended = True
            if self._done_finishes or (self._open and not any(self._open.values())):
                self.finished = True
            if not (self.begun or self.finished):
                self.error = VendorError(502, "the vendor's stream ended before it began")
        return END

    def take(self, chat: Chat, choices: list[Choice]) -> int:
        """A chunk with choices."""
        failure, filtered = answers.read_reasons(choices)
        self.filtered = self.filtered or filtered
        if failure is not None:
            self.error = failure
            return OTHER
        self.begun = True
        for choice in choices:
            index = choice.index or 0
            if len(self._open) < _MOST_CHOICES:
                self._open[index] = self._open.get(index, True) and not answers.finished(choice)
        if chat.sid is not None and chat.code == 0:
            self._done_finishes = True
        self.finished = len(self._open) >= self._choices and not any(self._open.values())
        return END if self.finished else CONTENT


# -- chat --------------------------------------------------------------------------------------------------------------


def _regular_chunk(seen: Seen, event: bytes) -> bool:
    """Whether an event is a chunk of the first choice alone, without finish, refusal or error; its usage is noted."""
    if not event.startswith(b"data:") or b"\n" in event:
        return False
    try:
        chat = answers.decode_chat(event[5:])
    except scan.UNREADABLE:
        return False
    choices = chat.choices
    if choices is None or len(choices) != 1:
        return False
    choice = choices[0]
    if (
        choice.index
        or answers.finished(choice)
        or chat.sid is not None
        or choice.message is not None
        or (choice.delta is not None and choice.delta.refusal)
        or answers.stands_out(chat)
    ):
        return False
    if chat.usage is not None or chat.bot_usage is not None or choice.usage is not None:
        seen.count_chunk(chat, choices)
    return True


def _read_chat(seen: Seen, payload: bytes, name: bytes) -> int:
    if payload == b"[DONE]":
        return seen.done()
    value: object = None
    chat: Chat | None
    try:
        chat = answers.decode_chat(payload)
    except scan.UNREADABLE:
        chat, value = answers.patient_chat(payload)
    if chat is None:
        if isinstance(value, str):
            seen.error = read_error(200, b"", payload)
        return OTHER if seen.error else UNREADABLE
    choices = chat.choices
    if not choices or name == b"error" or answers.stands_out(chat):
        error, cut_out = answers.chat_error(chat, scan.decode(payload) if value is None else value)
        seen.filtered = seen.filtered or cut_out
        seen.error = read_error(200, b"", payload) if name == b"error" and error is None else error
        if seen.error is not None:
            return OTHER
    if b'usage"' in payload:
        seen.count_chunk(chat, choices or [])
    if not choices:
        return EXTRA if choices is not None and seen.drops(chat.usage) else OTHER
    if choices[0].message is None:  # MiniMax says everything again at the end
        seen.hear(payload)
    return seen.take(chat, choices)


# -- responses ---------------------------------------------------------------------------------------------------------


class _Event(msgspec.Struct):
    type: str | None = None
    response: Response | None = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_BOOKKEEPING = frozenset({"response.created", "response.in_progress"})  # come at once, before anything is decided
_TERMINAL_BEGIN = re.compile(rb'(?:event:|"type":) ?"?(response\.(?:completed|incomplete|failed|cancelled))\b')


_DELTA = re.compile(rb"event: ?response\.(?!refusal)[\w.]+\.delta\ndata:([^\n]++)")


def _regular_delta(seen: Seen, event: bytes) -> bool:
    """Whether an event is a delta that bears its name."""
    found = _DELTA.fullmatch(event)
    if found is None:
        return False
    try:
        delta = _decode_event(found[1])
    except scan.UNREADABLE:
        return False
    return delta.type is not None and delta.type.endswith(".delta") and "refusal" not in delta.type and not delta.error


def _read_responses(seen: Seen, payload: bytes, name: bytes) -> int:
    if payload == b"[DONE]":
        return seen.done()
    value: object = None
    try:
        event = _decode_event(payload)
    except scan.UNREADABLE:
        value = scan.decode(payload)
        if not isinstance(value, dict):
            return UNREADABLE
        kind = value.get("type")
        event = _Event(kind if isinstance(kind, str) else None, None, value.get("error"))
    kind = event.type or name.decode("latin-1")
    if kind in _TERMINAL:
        return _read_terminal(seen, kind, event.response or Response(), payload)
    if not kind.startswith("response.") or event.error:
        seen.error = hidden_error(scan.decode(payload) if value is None else value, bare=True)
        if seen.error is None and kind in ("error", "session.error"):
            seen.error = VendorError(502, "the vendor's stream failed without a message")
        return OTHER
    if kind.startswith("response.refusal"):
        seen.filtered = True
    if kind.endswith(".delta"):
        seen.hear(payload)
    if kind in _BOOKKEEPING:
        return OTHER
    seen.begun = True
    return CONTENT


def _read_terminal(seen: Seen, kind: str, response: Response, payload: bytes) -> int:
    seen.count(b"data:" + payload.replace(b"\n", b" ") + b"\n\n")
    seen.error = answers.response_error(response)
    if seen.error is None and kind in ("response.failed", "response.cancelled"):
        seen.error = VendorError(502, f"the vendor's stream ended with {kind}", code=kind.partition(".")[2])
    seen.filtered = seen.filtered or answers.response_filtered(response)
    seen.ended = seen.finished = seen.error is None
    return END


def _glance_at_responses(seen: Seen, begin: bytes) -> None:
    """What can be told of an event from its begin."""
    found = _TERMINAL_BEGIN.search(begin)
    if found is not None:
        _read_terminal(seen, found[1].decode(), Response(), b"{}")


# ----------------------------------------------------------------------------------------------------------------------


class Form(NamedTuple):
    """How the streams of a dialect are read. To add one, write these functions and give it a row in `FORMS`."""

    regular: Callable[[Seen, bytes], bool]  # whether an event, its line ends LF, is just a part of the answer
    read: Callable[[Seen, bytes, bytes], int]  # data and name of an event -> what it is, one of the above
    glance: Callable[[Seen, bytes], None]  # the begin of an event that is too long to be read
    text: tuple[bytes, ...]  # keys of the text, for an estimate


def _nothing_to_see(seen: Seen, begin: bytes) -> None:
    seen.begun = True


FORMS: dict[str, Form] = {
    "openai.chat": Form(_regular_chunk, _read_chat, _nothing_to_see, (b'content":', b'arguments":')),
    "openai.completions": Form(_regular_chunk, _read_chat, _nothing_to_see, (b'"text":',)),
    "openai.responses": Form(_regular_delta, _read_responses, _glance_at_responses, (b'"delta":',)),
}
