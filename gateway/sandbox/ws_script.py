"""Directives for the WebSocket vendors: how a client tells one session to misbehave.

Handshake header `x-sandbox-NAME: VALUE`, query parameter `x-sandbox-NAME=VALUE`, or behind the model's name in the
query, `?model=NAME+cut=3+pace=20`; the header wins, then the parameter. Words mean what they mean for the HTTP vendors;
an event is one message from the vendor. A vendor whose model is not in the handshake takes headers and parameters only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from aiohttp import web

PREFIX = "x-sandbox-"


class Stall(NamedTuple):
    """Silence: before the answer to the handshake, or after so many messages."""

    seconds: float
    messages: int | None


@dataclass(frozen=True)
class Script:
    """One session's directives."""

    pace: float = 0
    cut: int | None = None
    end: int | None = None
    close: int = 1000
    stall: Stall | None = None
    refuse: bool = False
    status: int | None = None
    fail: int | None = None
    no_usage: bool = False
    timeout: float = 8000
    deflate: bool | None = None
    fragment: int | None = None
    ping: int | None = None


def _stall(text: str) -> Stall:
    seconds, _, messages = text.partition("@")
    return Stall(float(seconds), int(messages) if messages else None)


def _flag(text: str) -> bool:
    if text not in ("", "1", "true"):
        raise ValueError("takes no value")
    return True


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("is on or off")
    return text == "on"


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not low <= int(text) <= high:
            raise ValueError(f"is {low} to {high}")
        return int(text)

    return parse


class Directive(NamedTuple):
    form: str
    does: str
    parse: Callable[[str], Any]


_count = _between(0, 1 << 31)
DIRECTIVES: dict[str, Directive] = {
    "pace": Directive("MS", "milliseconds between messages", float),
    "cut": Directive("N", "resets the connection after N messages, without a close frame", _count),
    "end": Directive("N", "closes properly after N messages", _count),
    "close": Directive("CODE", "the close code of `end` (default 1000)", _between(1000, 4999)),
    "stall": Directive("S or S@N", "S seconds of silence before the 101, or after N messages", _stall),
    "refuse": Directive("", "closes the connection without an answer to the handshake", _flag),
    "status": Directive("CODE", "that status and the vendor's error body instead of 101", _between(400, 599)),
    "fail": Directive("N", "the vendor's own failure in place of message N + 1", _count),
    "no_usage": Directive("", "leaves the usage out", _flag),
    "timeout": Directive("MS", "how long openspeech waits for a packet (default 8000)", float),
    "deflate": Directive("on or off", "permessage-deflate if offered (default off; the echo: on)", _switch),
    "fragment": Directive("BYTES", "sends each message in fragments of so many bytes", _between(1, 1 << 20)),
    "ping": Directive("N", "sends a ping before every Nth message", _between(1, 1 << 31)),
}

assert set(DIRECTIVES) == {field.name for field in fields(Script)}


class BadDirective(ValueError):
    """A directive that does not exist or has a senseless value."""


def split_model(model: str) -> tuple[str, list[str]]:
    """`gpt-realtime+cut=3` as the name and its directives; a `+` in a query may have become a space."""
    name, *directives = model.replace(" ", "+").split("+")
    return name, directives


def read(request: web.BaseRequest) -> Script:
    given: dict[str, str] = {}
    for directive in split_model(request.query.get("model", ""))[1]:
        name, _, value = directive.partition("=")
        given[name] = value
    for source in (request.query, request.headers):
        for key, value in source.items():
            if key.lower().startswith(PREFIX):
                given[key[len(PREFIX) :].lower().replace("-", "_")] = value
    given.pop("vendor", None)  # not a directive: it names the vendor for the sandbox's router
    return replace(Script(), **{name: _parse(name, value) for name, value in given.items()})


def _parse(name: str, value: str) -> Any:
    if name not in DIRECTIVES:
        raise BadDirective(f"unknown directive {name!r}; known: {', '.join(DIRECTIVES)}")
    try:
        return DIRECTIVES[name].parse(value.strip())
    except ValueError as exc:
        raise BadDirective(f"directive {name}={value!r}: {exc}") from exc
