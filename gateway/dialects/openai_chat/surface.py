"""Chat completions as clients speak them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.dialects.chat.dialect import StreamWriter, Told
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import Answer, ChatRequest
from gateway.dialects.losses import UNKNOWN, Losses
from gateway.dialects.openai_chat import answer_writer, request_reader
from gateway.dialects.openai_chat.stream_writer import ChunkWriter
from gateway.errors import Internal
from gateway.types import Usage

_OPENAI_ONLY = "dropped: a setting of OpenAI's own platform"
_SEARCH = "refused: searching the web is a vendor's own tool"
_SPEECH = "refused: speech is not carried"
_OLD = "refused: the old form of tools, send them as tools"
_GO_ON = "refused: going on with an answer that the client began is a vendor's own feature"
_CACHE = "dropped: marks for a vendor's cache"

LOSSES: Losses = {
    "n": "refused: the vendor gives one answer",
    "audio": _SPEECH,
    "modalities": "refused: only text is asked for in other dialects",
    "functions": _OLD,
    "function_call": _OLD,
    "web_search_options": _SEARCH,
    "web_search": _SEARCH,
    "enable_search": _SEARCH,
    "search_options": "dropped: they mean nothing without a search",
    "context_id": "refused: a conversation that the vendor keeps",
    "tools (custom)": "refused: only functions are carried",
    "tools (the vendor's own)": "refused: only functions are carried",
    "tools.cache_control": _CACHE,
    "messages (role function)": _OLD,
    "messages (other roles)": "refused: unknown roles",
    "messages.name": "dropped: names are carried for users and assistants only",
    "messages.audio": _SPEECH,
    "messages.function_call": _OLD,
    "messages.annotations": "dropped: sources of an earlier answer",
    "messages.partial": _GO_ON,
    "messages.prefix": _GO_ON,
    "messages.content (input_audio)": _SPEECH,
    "messages.content (file)": "refused: files are not carried",
    "messages.content (other parts)": "refused: only text, pictures and refusals are carried",
    "messages.content.cache_control": _CACHE,
    "messages.content.prompt_cache_breakpoint": _CACHE,
    "logit_bias": "dropped: tokens have other numbers at every vendor",
    "store": _OPENAI_ONLY,
    "metadata": _OPENAI_ONLY,
    "moderation": _OPENAI_ONLY,
    "prediction": _OPENAI_ONLY,
    "service_tier": _OPENAI_ONLY,
    "prompt_cache_key": _CACHE,
    "prompt_cache_retention": _CACHE,
    "prompt_cache_options": _CACHE,
    "safety_identifier": _OPENAI_ONLY,
    "verbosity": _OPENAI_ONLY,
    **UNKNOWN,
}

# Where a client has a choice of names, the usual one.
NAMES: Mapping[str, str] = {
    "system": "messages",
    "parallel_tools": "parallel_tool_calls",
    "max_output": "max_completion_tokens",
    "format": "response_format",
    "reasoning": "reasoning_effort",
}


class ChatSurface:
    LOSSES = LOSSES
    NAMES = NAMES

    def read(self, body: Any, model: str, lost: Lost) -> ChatRequest:
        return request_reader.read(body, model, lost)

    def write(self, answer: Answer, usage: Usage, told: Told) -> bytes:
        return answer_writer.write(answer, usage, told)

    def stream(self, told: Told) -> StreamWriter:
        return ChunkWriter(told)

    def count(self, tokens: int) -> bytes:
        raise Internal("there is no call for counting tokens among chat completions")


SURFACE = ChatSurface()
