"""Recorded answers of every vendor dialect: documents, and streams as their events."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from gateway.dialects import sse

_FIXTURES = Path(__file__).parents[1] / "fixtures"
_PROTOCOLS = {
    "openai_chat": "openai.chat",
    "openai_responses": "openai.responses",
    "anthropic_messages": "anthropic.messages",
    "gemini": "gemini.generate",
    "dashscope_native": "dashscope.generation",
}
VENDORS = (*_PROTOCOLS.values(), "minimax.chat")


class Event(NamedTuple):
    """`value`: the decoded data; None for `[DONE]`, which no reader is given."""

    name: bytes
    value: Any

    @property
    def raw(self) -> bytes:
        data = b"[DONE]" if self.value is None else json.dumps(self.value).encode()
        return (b"event: " + self.name + b"\n" if self.name else b"") + b"data: " + data + b"\n\n"


class Stream(NamedTuple):
    name: str
    body: bytes
    events: list[Event]


@cache
def documents(dialect: str) -> list[Any]:
    """Whole answers of success, decoded."""
    found = [json.loads(path.read_bytes()) for path in _files(dialect, ".json")]
    return [value for value in found if isinstance(value, dict)]


@cache
def streams(dialect: str) -> list[Stream]:
    return [Stream(path.name, path.read_bytes(), _events(path.read_bytes())) for path in _files(dialect, ".sse")]


def _files(dialect: str, ending: str) -> list[Path]:
    rows = json.loads((_FIXTURES / "usage" / "MANIFEST.json").read_bytes())["fixtures"]
    known = [
        _FIXTURES / "usage" / row["file"]
        for row in rows
        if _PROTOCOLS.get(row["protocol"]) == _family(dialect) and "error" not in row["file"]
    ]
    if dialect == "minimax.chat":
        known = [path for path in known if path.name.startswith("minimax")]
    more = sorted((_FIXTURES / "chat" / dialect.replace(".", "_")).glob("*"))
    chosen = [path for path in (*known, *more) if path.name.endswith(ending)]
    return [path for path in chosen if not path.name.startswith(("count", "stream.array")) or ending == ".sse"]


def _family(dialect: str) -> str:
    return "openai.chat" if dialect == "minimax.chat" else dialect


def _events(body: bytes) -> list[Event]:
    found: list[Event] = []
    start = 0
    body += b"\n\n"
    while (end := sse.event_end(body, start)) >= 0:
        payload, name = sse.read_event(body[start:end])
        start = end
        if payload:
            found.append(Event(name, None if payload == b"[DONE]" else json.loads(payload)))
    return found
