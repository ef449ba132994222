"""DashScope's half of a conversion."""

from __future__ import annotations

from collections.abc import Collection

from gateway.dialects.chat.dialect import Aim, Sent, StreamReader
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import Answer, ChatRequest
from gateway.dialects.dashscope_generation import request_writer
from gateway.dialects.dashscope_generation.answer_reader import ORIGIN, read
from gateway.dialects.dashscope_generation.stream_reader import ResultReader
from gateway.dialects.losses import Losses
from gateway.errors import BadUpstreamReply

__all__ = ["ORIGIN", "VENDOR"]

LOSSES: Losses = {
    "frequency_penalty": "dropped: the vendor has no such field",
    "user": "dropped: the vendor has no such field",
    "seed (below 0, or above 2147483647)": "dropped: the vendor has no such seeds",
    "reasoning (without a stream)": "dropped: the vendor thinks in streams only",
    "reasoning (models that do not think)": "dropped: there is nothing to tune",
    "messages.name": "dropped: the vendor has no such field",
    "logprobs (more than 5 alternatives)": "refused: the vendor gives five at most",
    "tool_choice (required)": "refused: the vendor lets the model choose, or names one tool",
    "tool_choice (without tools)": "refused: there is no tool to choose",
    "format (schemas)": "refused: the model gives no JSON by a schema",
    "messages (pictures)": "refused: the model does not take pictures in this form",
    "messages (calls without results)": "refused: every call must be answered, right behind its turn",
}


class DashScopeVendor:
    LOSSES = LOSSES

    @property
    def EXTRAS(self) -> Collection[str]:  # noqa: N802
        return request_writer.EXTRAS

    def write(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent:
        return request_writer.write(request, aim, lost)

    def read(self, body: bytes, seed: str) -> Answer:
        return read(body, seed)

    def stream(self, seed: str) -> StreamReader:
        return ResultReader(seed)

    def count(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent | None:
        return None  # no such call

    def counted(self, body: bytes) -> int:
        raise BadUpstreamReply("the vendor was not asked for a number of tokens")


VENDOR = DashScopeVendor()
