"""The plain case of the most frequent answer, a chat completion in one piece, read in one typed decode.

Whatever is the least bit out of the ordinary (an unknown field in the usage, a string for a number, a total that does
not fit) gives None, and the tolerant reader takes over: this one may only ever be faster, never different.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from gateway.types import Usage

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Details(msgspec.Struct, forbid_unknown_fields=True):
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = 0
    audio_tokens: _Count = 0
    image_tokens: _Count = 0
    text_tokens: _Count = 0
    accepted_prediction_tokens: _Count = 0
    rejected_prediction_tokens: _Count = 0


class _Usage(msgspec.Struct, forbid_unknown_fields=True):
    prompt_tokens: _Count
    completion_tokens: _Count = 0
    total_tokens: _Count = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Chat(msgspec.Struct):
    usage: _Usage
    model: str | None = None
    bot_usage: Any = None


_decode = msgspec.json.Decoder(_Chat).decode
_NONE = _Details()


def quick_chat(body: bytes) -> tuple[str | None, Usage] | None:
    """(the answer's model, fit for a label; its usage)."""
    try:
        chat = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    usage = chat.usage
    input, output = usage.prompt_tokens, usage.completion_tokens
    details = usage.prompt_tokens_details or _NONE
    made = usage.completion_tokens_details or _NONE
    if (
        chat.bot_usage is not None
        or not input + output
        or usage.total_tokens > input + output
        or details.audio_tokens + details.image_tokens + made.audio_tokens + made.image_tokens
        or details.cached_tokens + details.cache_write_tokens > input
        or made.reasoning_tokens > output
    ):
        return None
    if chat.model is not None and not (0 < len(chat.model) <= 200 and chat.model.isprintable()):
        return None  # not fit for a label as it is
    return chat.model, Usage(
        input, details.cached_tokens, details.cache_write_tokens, output, made.reasoning_tokens
    )
