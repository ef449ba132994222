"""Reading JSON that a client wrote: typed access, mistakes named by their place, and nothing left unread unnoticed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gateway.dialects.losses import Losses
from gateway.errors import BadRequest, Unsupported

_MOST_NAMES = 20
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # anything else does not belong into a header
_PLACE = re.compile(r"\[\d+\]")


class Lost:
    """What of one request cannot be carried to one vendor: refused at once, or dropped and named.

    `names`: the neutral form's fields -> what the client calls them.
    """

    __slots__ = ("_losses", "_names", "dropped")

    def __init__(self, losses: Losses, names: Mapping[str, str], dropped: Collection[str] = ()) -> None:
        self._losses = losses
        self._names = names
        self.dropped = list(dropped)

    def drop(self, name: str) -> None:
        """A hint of the neutral form goes unheard."""
        self._note(self._names.get(name, name))

    def refuse(self, name: str, why: str) -> Unsupported:
        """The error for a field of the neutral form whose loss would change what the answer means: raise it."""
        return unsupported(self._names.get(name, name), why)

    def unread(self, place: str) -> None:
        """A field of the client's own that nobody reads: the table of losses knows what becomes of it."""
        name = _PLACE.sub("", place)
        fate, _, why = (self._losses.get(name) or self._losses["*"]).partition(": ")
        if fate == "refused":
            raise unsupported(place, why)
        self._note(name)

    def _note(self, name: str) -> None:
        shown = name if _NAME.fullmatch(name) else "?"
        if len(self.dropped) < _MOST_NAMES and shown not in self.dropped:
            self.dropped.append(shown)


def unsupported(place: str, why: str) -> Unsupported:
    return Unsupported(f"{place} cannot be carried to this model's vendor: {why}", param=place)


class Fields:
    """One JSON object as it is read. A null counts as absent. `done` deals with the fields that nobody asked for."""

    __slots__ = ("_left", "_value", "at", "lost")

    def __init__(self, value: object, at: str, lost: Lost) -> None:
        if not isinstance(value, dict):
            raise BadRequest(f"{at or 'the body'} must be an object", param=at or None)
        self._value: dict[str, Any] = value
        self._left = set(value)
        self.at = at
        self.lost = lost

    def place(self, name: str) -> str:
        return f"{self.at}.{name}" if self.at else name

    def wrong(self, name: str, remedy: str) -> BadRequest:
        """The error for a field of a wrong type or value: raise it."""
        place = self.place(name)
        return BadRequest(f"{place} must be {remedy}", param=place)

    def has(self, name: str) -> bool:
        return self._value.get(name) is not None

    def raw(self, name: str) -> Any:
        """The value, whatever it is; it counts as read."""
        self._left.discard(name)
        return self._value.get(name)

    def text(self, name: str) -> str | None:
        value = self.raw(name)
        if value is None or type(value) is str:
            return value
        raise self.wrong(name, "a string")

    def needed(self, name: str) -> str:
        """A text that must be there; it may be empty."""
        value = self.text(name)
        if value is None:
            raise self.wrong(name, "there, and a string")
        return value

    def one_of(self, name: str, known: Collection[str]) -> str | None:
        value = self.text(name)
        if value is None or value in known:
            return value
        raise self.wrong(name, f"one of {', '.join(known)}")

    def flag(self, name: str) -> bool | None:
        value = self.raw(name)
        if value is None or type(value) is bool:
            return value
        raise self.wrong(name, "true or false")

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.raw(name)
        if value is None:
            return None
        if type(value) in (int, float) and low <= value <= high:
            return float(value) if type(value) is float else int(value)
        raise self.wrong(name, f"a number from {low:g} to {high:g}")

    def whole(self, name: str, low: int, high: int = 2**31 - 1) -> int | None:
        value = self.raw(name)
        if type(value) is float and value.is_integer():
            value = int(value)
        if value is None or (type(value) is int and low <= value <= high):
            return value
        raise self.wrong(name, f"a whole number from {low} to {high}")

    def items(self, name: str) -> list[Any]:
        """A list; empty if it is not there."""
        value = self.raw(name)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise self.wrong(name, "a list")

    def object(self, name: str) -> Fields | None:
        value = self.raw(name)
        return None if value is None else Fields(value, self.place(name), self.lost)

    def schema(self, name: str) -> dict[str, Any] | None:
        """An object that is carried as it is."""
        value = self.raw(name)
        if value is None or isinstance(value, dict):
            return value
        raise self.wrong(name, "an object")

    def objects(self, name: str) -> Iterator[Fields]:
        place = self.place(name)
        return (Fields(item, f"{place}[{index}]", self.lost) for index, item in enumerate(self.items(name)))

    def done(self) -> None:
        """Whatever was not read is lost, in the object's order: named or refused."""
        for name in self._unread():
            self.lost.unread(self.place(name))

    def rest(self) -> dict[str, Any]:
        """What was not read, instead of `done`: for the extras of a request."""
        return {name: self._value[name] for name in self._unread()}

    def _unread(self) -> list[str]:
        if not self._left:
            return []
        return [name for name, value in self._value.items() if name in self._left and value is not None]
