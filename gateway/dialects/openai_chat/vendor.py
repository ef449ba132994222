"""Chat completions as vendors speak them."""

from __future__ import annotations

from collections.abc import Collection

from gateway.dialects.chat.dialect import Aim, Sent, StreamReader
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import Answer, ChatRequest
from gateway.dialects.chat.reasoning import UNTUNED
from gateway.dialects.losses import Losses
from gateway.dialects.openai_chat import answer_reader, request_writer
from gateway.dialects.openai_chat.stream_reader import ChunkReader
from gateway.errors import BadUpstreamReply

_NO_FORM = "refused: the model does not take pictures in this form"

LOSSES: Losses = {
    "top_k": "dropped: no part of OpenAI's own, which refuses what it does not know",
    "reasoning (models that do not think)": "dropped: there is nothing to tune",
    "temperature (OpenAI's models that reason)": UNTUNED,
    "top_p (OpenAI's models that reason)": UNTUNED,
    "presence_penalty (OpenAI's models that reason)": UNTUNED,
    "frequency_penalty (OpenAI's models that reason)": UNTUNED,
    "stop (more than 4)": "refused: the vendor takes four at most",
    "format (schemas)": "refused: the model gives no JSON by a schema",
    "tool_choice (without tools)": "refused: the vendor wants tools beside it",
    "messages (pictures)": _NO_FORM,
    "messages (calls without results)": "refused: every call must be answered, right behind its turn",
}


class ChatVendor:
    ORIGIN = "openai.chat"
    LOSSES = LOSSES

    @property
    def EXTRAS(self) -> Collection[str]:  # noqa: N802
        return request_writer.EXTRAS

    def write(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent:
        return Sent(request_writer.write(request, aim, lost))

    def read(self, body: bytes, seed: str) -> Answer:
        return answer_reader.read(body, seed, self.ORIGIN)

    def stream(self, seed: str) -> StreamReader:
        return ChunkReader(seed)

    def count(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent | None:
        return None  # no such call

    def counted(self, body: bytes) -> int:
        raise BadUpstreamReply("the vendor was not asked for a number of tokens")


VENDOR = ChatVendor()
