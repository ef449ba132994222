"""Directives: how a caller tells the sandbox to misbehave, by `x-sandbox-NAME: VALUE` or by `MODEL+NAME=VALUE`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

PREFIX = "x-sandbox-"


class Point(NamedTuple):
    """A place in an answer: after so many events, or bytes."""

    at: int
    in_bytes: bool


class Stall(NamedTuple):
    """Silence: `seconds` before the head, or after `events` events."""

    seconds: float
    events: int | None


@dataclass(frozen=True)
class Script:
    """One request's directives."""

    pace: float = 0
    size: int | None = None
    cut: Point | None = None
    end: Point | None = None
    stall: Stall | None = None
    refuse: bool = False
    status: int | None = None
    retry_after: int | None = None
    filter: str | None = None
    error200: int | None = None
    no_usage: bool = False
    zero_usage: bool = False
    cached: int = 0
    think: int | None = None
    tools: int | None = None
    talk: bool = False
    interleave: bool = False
    empty_args: bool = False
    bad_args: bool = False
    refuse_text: bool = False
    redacted: bool = False
    late_signature: bool = False
    text_image: bool = False
    fault: str | None = None
    gzip: bool = False
    br: bool = False
    zstd: bool = False
    times: int | None = None

    @property
    def encoding(self) -> str | None:
        return next((name for name in ("gzip", "br", "zstd") if getattr(self, name)), None)


def _point(text: str) -> Point:
    return Point(_count(text.removesuffix("b")), text.endswith("b"))


def _stall(text: str) -> Stall:
    seconds, _, events = text.partition("@")
    return Stall(float(seconds), _count(events) if events else None)


def _flag(text: str) -> bool:
    if text not in ("", "1", "true"):
        raise ValueError("takes no value")
    return True


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if (text or words[0]) not in words:
            raise ValueError(f"is one of {', '.join(words)}")
        return text or words[0]

    return parse


def _between(low: int, high: int, default: str = "") -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text or default)
        if not low <= number <= high:
            raise ValueError(f"is a number from {low} to {high}")
        return number

    return parse


_count = _between(0, 1 << 40)


class Directive(NamedTuple):
    form: str
    does: str
    parse: Callable[[str], Any]


DIRECTIVES: dict[str, Directive] = {
    "pace": Directive("MS", "milliseconds between events", float),
    "size": Directive("N", "about so many output tokens (bytes for sound and pictures)", _count),
    "cut": Directive(
        "N or Nb", "resets the connection after N events, or N bytes (`b`; always for plain answers)", _point
    ),
    "end": Directive("N or Nb", "ends cleanly there instead, without finish or terminator", _point),
    "stall": Directive("S or S@N", "S seconds of silence before the head, or after N events", _stall),
    "refuse": Directive("", "closes the connection without an answer", _flag),
    "status": Directive("CODE", "answers that status with the vendor's own error body", _between(400, 599)),
    "retry_after": Directive("S", "the Retry-After of `status` (default 1 for 429, 503, 529)", _count),
    "filter": Directive(
        "before or after", "the vendor's content filter, at once or after half of the text", _one_of("before", "after")
    ),
    "error200": Directive(
        "N", "the vendor's error inside HTTP 200; in a stream after N events (default 1)", _between(0, 1 << 40, "1")
    ),
    "no_usage": Directive("", "leaves the usage out", _flag),
    "zero_usage": Directive("", "reports zeros as usage", _flag),
    "cached": Directive("N", "reports so many prompt tokens as read from the cache", _count),
    "think": Directive("N", "reasoning text of N tokens (default 8)", _between(0, 1 << 40, "8")),
    "tools": Directive("N", "N parallel calls of the declared tools; 0 none", _count),
    "talk": Directive("", "text before the calls, where else there are only calls", _flag),
    "interleave": Directive("", "fragments of parallel calls by turns, where calls have an index", _flag),
    "empty_args": Directive("", "calls without arguments: empty text, or what the dialect has for none", _flag),
    "bad_args": Directive("", "arguments that are no JSON, where they are text", _flag),
    "refuse_text": Directive("", "the model's own words for a refusal, in the dialect's field for them", _flag),
    "redacted": Directive("", "Anthropic: redacted thinking before the rest", _flag),
    "late_signature": Directive("", "Gemini: the thought signature in an empty text part behind the rest", _flag),
    "text_image": Directive("", "Gemini: pictures as base64 in text parts", _flag),
    "fault": Directive(
        "bad_json or bad_chunk",
        "breaks the body's JSON, or the chunked framing after two events",
        _one_of("bad_json", "bad_chunk"),
    ),
    "gzip": Directive("", "content-encoding gzip", _flag),
    "br": Directive("", "content-encoding br", _flag),
    "zstd": Directive("", "content-encoding zstd", _flag),
    "times": Directive("N", "the other directives count only for the first N calls with this model name", _count),
}

assert set(DIRECTIVES) == {field.name for field in fields(Script)}


class BadDirective(ValueError):
    """A directive that does not exist or has a senseless value."""


def split_model(model: str) -> tuple[str, list[str]]:
    """`gpt-4o+cut=3+gzip` as `gpt-4o` and its directives."""
    name, *directives = model.split("+")
    return name, directives


def read(headers: Mapping[str, str], directives: Iterable[str] = ()) -> Script:
    """The script of a request; headers win over the model's name."""
    given: dict[str, str] = {}
    for directive in directives:
        name, _, value = directive.partition("=")
        given[name.replace("-", "_")] = value
    for name, value in headers.items():
        if name.lower().startswith(PREFIX) and name.lower() != PREFIX + "vendor":
            given[name.lower()[len(PREFIX) :].replace("-", "_")] = value
    return replace(Script(), **{name: _parse(name, value) for name, value in given.items()})


def _parse(name: str, value: str) -> Any:
    if name not in DIRECTIVES:
        raise BadDirective(f"unknown directive {name!r}; known: {', '.join(DIRECTIVES)}")
    try:
        return DIRECTIVES[name].parse(value.strip())
    except ValueError as exc:
        raise BadDirective(f"directive {name}={value!r}: {exc}") from exc
