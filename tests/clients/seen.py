"""What a client sees: its results in a form that can be compared, and the usage that it was told, in the normal form.

The normal form is written down here a second time on purpose: it is what the gateway's meter is held against.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping
from typing import Any

# Equal calls to a vendor give equal answers, but for these: a moment, the request's own number, and how long a
# compressed answer is with that number in it.
_OWN = frozenset({
    "created", "created_at", "completed_at", "create_time", "expire_at", "expires_at", "date",
    "request_id", "_request_id", "x-request-id", "sid", "content-length",
})  # fmt: skip
_NUMBER = re.compile(r"[0-9a-f]{20,}")  # a request's id in the text of an error
_OWN_ANYWHERE = frozenset({"sdk_http_response"})  # headers, with the date and the request's id in them


@dataclasses.dataclass(frozen=True)
class Seen:
    """The usage of one answer; `units` are what is not tokens: characters, seconds, images."""

    model: str
    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0
    reasoning: int = 0
    units: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def counters(self) -> dict[tuple[str, ...], float]:
        """By how much each counter has to grow."""
        found: dict[tuple[str, ...], float] = {("usage", "vendor"): 1}
        for kind in ("input", "output", "cached_input", "cache_write", "reasoning"):
            if number := getattr(self, kind):
                found["tokens", self.model, kind, "vendor"] = number
        return found | {("units", self.model, name): number for name, number in self.units.items()}


def fields(value: object) -> dict[str, Any]:
    """The fields of an SDK's object, whatever it is made of."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "model_dump"):
        return dict(value.model_dump())
    return {name: item for name, item in vars(value).items() if not name.startswith("_")}


def _details(usage: Mapping[str, Any], side: str) -> dict[str, Any]:
    for name in (f"{side}_tokens_details", f"{side}_token_details"):
        if usage.get(name):
            return fields(usage[name])
    return {}


def openai(model: str, usage: object) -> Seen:
    """What vendors of OpenAI's dialects tell, chat (`prompt`, `completion`) or responses (`input`, `output`)."""
    told = fields(usage)
    assert told, "the client saw no usage"
    read, written = ("prompt", "completion") if "prompt_tokens" in told else ("input", "output")
    inside = _details(told, read)
    return Seen(
        model,
        input=told[f"{read}_tokens"],
        output=told.get(f"{written}_tokens") or 0,
        cached_input=inside.get("cached_tokens") or told.get("prompt_cache_hit_tokens") or 0,
        cache_write=inside.get("cache_write_tokens") or inside.get("cache_creation_input_tokens") or 0,
        reasoning=_details(told, written).get("reasoning_tokens") or 0,
    )


def anthropic(model: str, usage: object) -> Seen:
    told = fields(usage)
    cached, write = told.get("cache_read_input_tokens") or 0, told.get("cache_creation_input_tokens") or 0
    thinking = fields(told.get("output_tokens_details")).get("thinking_tokens") or 0
    return Seen(model, told["input_tokens"] + cached + write, told["output_tokens"], cached, write, thinking)


def gemini(model: str, usage: object) -> Seen:
    told = fields(usage)
    thoughts = told.get("thoughts_token_count") or 0
    return Seen(
        model,
        input=told["prompt_token_count"] + (told.get("tool_use_prompt_token_count") or 0),
        output=(told.get("candidates_token_count") or 0) + thoughts,
        cached_input=told.get("cached_content_token_count") or 0,
        reasoning=thoughts,
    )


def shown(value: object) -> object:
    """A result as plain values with the names of its types; what differs between equal calls keeps only its type."""
    if value is None or isinstance(value, str | bytes | int | float | enum.Enum):
        return value
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    kind = type(value).__name__
    if isinstance(value, BaseException):
        told = [shown(getattr(value, name, None)) for name in ("status_code", "code", "type", "body", "message")]
        return kind, _NUMBER.sub("ID", repr(told))
    if isinstance(value, Mapping) or hasattr(value, "__dict__"):
        items = value if isinstance(value, Mapping) else {**vars(value), **(getattr(value, "model_extra", None) or {})}
        return kind, {
            name: type(item).__name__ if name.lower() in _OWN else shown(item)
            for name, item in items.items()
            if name not in _OWN_ANYWHERE
        }
    return kind, str(value)
