"""What both sides know: the dialect's name, its words for efforts and finishes, protobuf's way of writing JSON."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from gateway.dialects.chat import form
from gateway.dialects.chat.fields import Fields, Lost
from gateway.errors import BadRequest

DIALECT = "gemini.generate"

_SNAKE = re.compile(r"(?<=[A-Za-z0-9])_([A-Za-z0-9])")
_BASE64 = re.compile(r"[A-Za-z0-9+/]++={0,2}")
_STANDARD = str.maketrans("-_", "+/")
_BLANK = re.compile(r"\s")

LEVELS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "XHIGH": "xhigh"}

_FILTERS = """
    SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII MODEL_ARMOR NO_IMAGE IMAGE_SAFETY IMAGE_OTHER
    IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION
""".split()
# A vendor's reason -> ours; whatever else there is counts as an ordinary end.
REASONS = {"MAX_TOKENS": form.LENGTH, "CONTINUATION": form.LENGTH, **dict.fromkeys(_FILTERS, form.FILTERED)}
# The model failed: an end like any other where it had said something before, else no answer at all.
BROKEN = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE", "OTHER"}
)
# Ours -> what a client is told: Gemini's calls of functions end with STOP.
FINISHES = {form.STOP: "STOP", form.TOOL_CALLS: "STOP", form.LENGTH: "MAX_TOKENS", form.FILTERED: "SAFETY"}


_encode = msgspec.json.Encoder().encode


def encoded(value: object) -> bytes:
    """A client's value as JSON."""
    try:
        return _encode(value)
    except RecursionError as exc:
        raise BadRequest("the request is nested too deep to be converted") from exc


def camel(value: dict[str, Any], at: str) -> dict[str, Any]:
    """An object with its own fields in camelCase: clients may write them in snake_case as well."""
    if not any("_" in name for name in value):
        return value
    named: dict[str, Any] = {}
    for name, item in value.items():
        name = _SNAKE.sub(lambda found: found[1].upper(), name)
        if name in named:
            place = f"{at}.{name}" if at else name
            raise BadRequest(f"{place} is given twice, in camelCase and in snake_case", param=place)
        named[name] = item
    return named


def standard_base64(text: str) -> str | None:
    """Base64 in the standard alphabet and padded, from any that protobuf takes; None if it is none."""
    if "-" in text or "_" in text:
        text = text.translate(_STANDARD)
    if len(text) % 4:
        text += "=" * (-len(text) % 4)
    if _BASE64.fullmatch(text):
        return text if len(text) % 4 == 0 else None
    squeezed = _BLANK.sub("", text).rstrip("=")
    if len(squeezed) == len(text):
        return None
    squeezed += "=" * (-len(squeezed) % 4)
    return squeezed if _BASE64.fullmatch(squeezed) else None


class Proto(Fields):
    """Fields whose names come in camelCase or snake_case; a list of objects may be a single one."""

    __slots__ = ()

    def __init__(self, value: object, at: str, lost: Lost) -> None:
        super().__init__(camel(value, at) if isinstance(value, dict) else value, at, lost)

    def object(self, name: str) -> Proto | None:
        value = self.raw(name)
        return None if value is None else Proto(value, self.place(name), self.lost)

    def objects(self, name: str) -> Iterator[Proto]:
        value = self.raw(name)
        items = [value] if isinstance(value, dict) else self.items(name)
        place = self.place(name)
        return (Proto(item, f"{place}[{index}]", self.lost) for index, item in enumerate(items))

    def word(self, name: str, known: Collection[str]) -> str | None:
        """One of an enumeration's names, in letters of any size."""
        value = self.text(name)
        if value is None or (value := value.upper()) in known:
            return value
        raise self.wrong(name, f"one of {', '.join(known)}")

    def texts(self, name: str) -> tuple[str, ...]:
        items = self.items(name)
        if all(type(item) is str for item in items):
            return tuple(items)
        raise self.wrong(name, "a list of strings")
