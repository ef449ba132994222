"""Messages as clients speak it: requests in, messages and streams out.

Other vendors' signatures mean nothing to Anthropic and are not shown: a thinking block without one carries "", as
compatible vendors do it. Pictures have no block in answers; they stand in a text block, as Markdown.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.dialects.anthropic_messages import surface_answer, surface_request
from gateway.dialects.anthropic_messages.surface_stream import MessageStream
from gateway.dialects.anthropic_messages.words import stop_reason
from gateway.dialects.chat.dialect import StreamWriter, Told
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import Answer, ChatRequest
from gateway.dialects.losses import Losses
from gateway.types import Usage

_encode = msgspec.json.Encoder().encode


class _Surface:
    LOSSES: Losses = surface_request.LOSSES
    NAMES = surface_request.NAMES

    def read(self, body: Any, model: str, lost: Lost) -> ChatRequest:
        return surface_request.read(body, model, lost)

    def write(self, answer: Answer, usage: Usage, told: Told) -> bytes:
        message = {
            "id": surface_answer.message_id(answer.id, told),
            "type": "message",
            "role": "assistant",
            "model": told.model,
            "content": surface_answer.content(answer.parts, surface_answer.thoughts_shown(told)),
            "stop_reason": stop_reason(answer.finish, answer.stop_sequence),
            "stop_sequence": answer.stop_sequence,
            "usage": surface_answer.usage_of(usage),
        }
        return _encode(message)

    def stream(self, told: Told) -> StreamWriter:
        return MessageStream(told)

    def count(self, tokens: int) -> bytes:
        return _encode({"input_tokens": tokens})


SURFACE = _Surface()
