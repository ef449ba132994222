"""Usage readers: fed a copy of an answer's bytes, they tell its usage at the end. They raise nothing on any input.

Two shapes, JSON and server-sent events; each hands over to the other where the first byte contradicts the content
type. A reader holds at most a small event or body and the fields last found; what is larger runs through the scanner.
Parsing that can wait until `finish` waits.
"""

from __future__ import annotations

from typing import Protocol

from gateway.dialects import scan, sse, usage
from gateway.dialects.families import Family
from gateway.dialects.scan import Fields, PathScanner
from gateway.types import Usage

_BLANK = b" \t\r\n\xef\xbb\xbf"  # white space and the bytes of a BOM
_JSON_BEGINS = b'{["'
_LABEL_LIMIT = 200


class UsageReader(Protocol):
    """What `reader_for` gives."""

    @property
    def model(self) -> str | None:
        """The answer's own model, first seen; certain after `finish`."""

    @property
    def zero(self) -> bool:
        """Where `finish` gave None: whether the answer said in so many words that nothing was used."""

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the body, without content encoding."""

    def finish(self) -> Usage | None:
        """The usage, None if there is nothing to meter. Also right for an answer that was cut."""


def label(value: object) -> str | None:
    """A model name fit for a metric: printable, of bounded length; None if there is none."""
    if not isinstance(value, str):
        return None
    if len(value) > _LABEL_LIMIT or not value.isprintable():
        value = "".join(character for character in value[:_LABEL_LIMIT] if character.isprintable())
    return value or None


class _Tally:
    """What the events of one answer add up to: the last that is not empty, or the field-wise maximum."""

    __slots__ = ("_counters", "_family", "_kept", "model", "zero")

    def __init__(self, family: Family) -> None:
        self._family = family
        self._kept: Fields | None = None
        self._counters: dict[str, int] | None = None
        self.model: str | None = None
        self.zero = False

    def add(self, fields: Fields) -> None:
        if self.model is None:
            self.model = self._model(fields)
        family = self._family
        if family.merged:
            self._merge(fields)
            return
        if family.probe is not None:
            # A counter above zero is enough to know that these numbers replace the ones before.
            path, key = family.probe
            found = fields.get(path)
            if type(found) is dict:
                number = found.get(key)
                if type(number) is int and 0 < number <= usage.MOST:
                    self._kept = fields
                    return
        if family.normal(fields) is not None:
            self._kept = fields
        elif any(value and _counts(path, value) for path, value in fields.items()):
            self.zero = True

    def usage(self) -> Usage | None:
        if self._counters is not None:
            return usage.anthropic(self._counters)
        return None if self._kept is None else self._family.normal(self._kept)

    def _model(self, fields: Fields) -> str | None:
        for path in self._family.models:
            if found := label(fields.get(path)):
                return found
        return None

    def _merge(self, fields: Fields) -> None:
        for path in ("message.usage", "usage"):
            found = fields.get(path)
            if isinstance(found, dict) and found:
                new = usage.anthropic_counters(found)
                self.zero = True
                old = self._counters
                self._counters = new if old is None else {
                    key: max(old.get(key, 0), new.get(key, 0)) for key in old | new
                }


def _counts(path: str, value: object) -> bool:
    """Whether a field is where a vendor tells what was used: some rerankers do it under `meta`."""
    if path == "meta":
        return isinstance(value, dict) and not value.keys().isdisjoint(("tokens", "billed_units"))
    return path == "tokens" or "usage" in path.lower()


class SilentReader:
    """For bodies that are no text: counts nothing."""

    model: str | None = None
    zero = False

    def __init__(self, family: Family) -> None:
        pass

    def feed(self, data: bytes) -> None:
        pass

    def finish(self) -> Usage | None:
        return None


class JSONReader:
    """One JSON document, an array of them (Gemini), or several behind each other."""

    __slots__ = ("_family", "_held", "_scanner", "_tally")

    def __init__(self, family: Family) -> None:
        self._family = family
        self._held: bytes | bytearray = b""
        self._scanner: PathScanner | None = None
        self._tally: _Tally | None = None

    @property
    def model(self) -> str | None:
        return self._tally.model if self._tally is not None else None

    @property
    def zero(self) -> bool:
        return self._tally is not None and self._tally.zero

    def feed(self, data: bytes) -> None:
        if not self._held and self._scanner is None and len(data) <= scan.LIMIT:
            self._held = data  # mostly the whole body: parsed at the end, never copied
            return
        if self._scanner is None:
            if len(self._held) + len(data) <= scan.LIMIT:
                if not isinstance(self._held, bytearray):
                    self._held = bytearray(self._held)
                self._held += data
                return
            held, self._held = bytes(self._held), b""
            self._tally = _Tally(self._family)
            self._scanner = PathScanner(self._family.root, self._tally.add, array=self._family.array)
            self._scanner.feed(held)
        self._scanner.feed(data)

    def finish(self) -> Usage | None:
        if self._tally is None:
            self._tally = _Tally(self._family)
        if self._held:
            held, self._held = bytes(self._held), b""
            for fields in self._family.fields(held):
                self._tally.add(fields)
        elif self._scanner is not None:
            self._scanner.finish()
        return self._tally.usage()


class EventReader:
    """A stream of server-sent events, or JSON that was announced as one (MiniMax's errors) or not at all."""

    __slots__ = (
        "_begun", "_calm", "_carry", "_family", "_first", "_json", "_long", "_needle", "_null", "_scanner", "_tally",
    )  # fmt: skip

    def __init__(self, family: Family) -> None:
        self._family = family
        self._needle = family.needle
        self._null = family.needle + b":null"
        self._begun = False
        self._calm = False  # the stream has begun and nothing is carried
        self._carry = bytearray()  # the begin of an event
        self._first: bytes | None = None  # the first event's data, for the model
        self._long: sse.LongEvent | None = None  # an event too long to carry
        self._scanner: PathScanner | None = None  # and what reads it
        self._json: JSONReader | None = None
        self._tally = _Tally(family)

    @property
    def model(self) -> str | None:
        if self._json is not None:
            return self._json.model
        tally = self._tally
        if self._first:
            first, self._first = self._first, b""
            early = _Tally(self._family)
            for fields in self._family.fields(first):
                early.add(fields)
            tally.model = early.model or tally.model
        return tally.model

    @property
    def zero(self) -> bool:
        return self._json.zero if self._json is not None else self._tally.zero

    def feed(self, data: bytes) -> None:
        # Nearly every piece of a stream: whole events that carry no usage, or say that it is null. (`count` and `find`
        # are faster than `in`.)
        if self._calm and data.endswith(sse.EVENT_ENDS):
            found = data.count(self._needle)
            if not found or found == data.count(self._null):
                return
            if len(data) <= scan.LIMIT:
                self._block(data)
                return
        if len(data) <= scan.PIECE:
            self._feed(data)
        else:
            for start in range(0, len(data), scan.PIECE):
                self._feed(data[start : start + scan.PIECE])

    def finish(self) -> Usage | None:
        if self._json is not None:
            return self._json.finish()
        if self._scanner is not None:
            self._scanner.finish()
            self._long = self._scanner = None
        block = bytes(self._carry)
        self._carry.clear()
        self._block(block)
        return self._tally.usage()

    def _feed(self, data: bytes) -> None:
        if not self._begun:
            data = data.lstrip(_BLANK)
            if not data:
                return
            self._begun = True
            if data[0] in _JSON_BEGINS:
                self._json = JSONReader(self._family)
        if self._json is not None:
            self._json.feed(data)
            return
        if self._long is not None and self._scanner is not None:
            rest = self._long.feed(data)
            if rest is None:
                return
            self._scanner.finish()
            self._long = self._scanner = None
            data = rest
        carry = self._carry
        known = len(carry)
        carry += data
        end = sse.last_event_end(carry, max(known - 3, 0))
        if not end and len(carry) > scan.LIMIT:
            end = sse.last_event_end_of_any_kind(carry)
        if end:
            block = bytes(carry[:end]) if end < len(carry) or known else data
            del carry[:end]
            self._block(block)
        self._calm = not carry
        if len(carry) > scan.LIMIT:
            self._begin_long_event()

    def _begin_long_event(self) -> None:
        self._scanner = PathScanner(self._family.root, self._tally.add)
        self._long = sse.LongEvent(self._scanner.feed)
        begin = bytes(self._carry).lstrip(b"\r\n")
        self._carry.clear()
        self._calm = False
        self._long.feed(begin)

    def _block(self, block: bytes) -> None:
        """Whole events."""
        if self._first is None:
            first = sse.first_payload(block)
            if first is not None and len(first) <= scan.LIMIT:
                self._first = first
        for payload in sse.payloads_with(block, self._needle, self._null):
            for fields in self._family.fields(payload):
                self._tally.add(fields)
