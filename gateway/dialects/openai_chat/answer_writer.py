"""The neutral form -> a chat completion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import Answer, Citation, Image, Logprob, Refusal, Text, Thought, ToolCall
from gateway.dialects.openai_chat import pictures
from gateway.types import Usage

encode = msgspec.json.Encoder().encode

FINISHES = {
    form.STOP: "stop",
    form.LENGTH: "length",
    form.TOOL_CALLS: "tool_calls",
    form.FILTERED: "content_filter",
}
BETWEEN_THOUGHTS = "\n\n"
_PREFIX = "chatcmpl-"


def write(answer: Answer, usage: Usage, told: Told) -> bytes:
    choice = {
        "index": 0,
        "message": _message(answer),
        "logprobs": logprobs(answer.logprobs),
        "finish_reason": FINISHES[answer.finish],
    }
    return encode({
        "id": answer_id(answer.id, told),
        "object": "chat.completion",
        "created": answer.created or told.created,
        "model": told.model,
        "choices": [choice],
        "usage": counters(usage),
    })  # fmt: skip


def _message(answer: Answer) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    calls: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    given: list[dict[str, Any]] = []
    said = 0
    for part in answer.parts:
        if isinstance(part, Text):
            notes += [note(citation, said, said + len(part.text)) for citation in part.citations if citation.url]
            said += len(part.text)
            texts.append(part.text)
        elif isinstance(part, Thought):
            if part.text:
                thoughts.append(part.text)
        elif isinstance(part, ToolCall):
            function = {"name": part.name, "arguments": part.arguments or "{}"}
            calls.append({"id": part.id, "type": "function", "function": function})
        elif isinstance(part, Refusal):
            refusals.append(part.text)
        elif isinstance(part, Image):
            given.append(image(part))
    text = "".join(texts)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if not text and (calls or refusals) else text,
        "refusal": "".join(refusals) or None,
    }
    more = {"annotations": notes, "images": given, "tool_calls": calls}
    if thoughts:
        message["reasoning_content"] = BETWEEN_THOUGHTS.join(thoughts)
    return message | {name: value for name, value in more.items() if value}


def answer_id(id: str, told: Told) -> str:
    return id if id.startswith(_PREFIX) else _PREFIX + told.request_id


def note(citation: Citation, start: int, end: int) -> dict[str, Any]:
    """`start` and `end`: of the text that the citation's own places count in."""
    where = {
        "start_index": start if citation.start is None else start + citation.start,
        "end_index": end if citation.end is None else start + citation.end,
        "title": citation.title,
        "url": citation.url,
    }
    return {"type": "url_citation", "url_citation": where}


def image(part: Image) -> dict[str, Any]:
    """No part of OpenAI's own: the way in which other gateways give pictures."""
    return {"type": "image_url", "image_url": {"url": pictures.url(part)}}


def logprobs(tokens: Iterable[Logprob]) -> dict[str, Any] | None:
    content = [_token(each) | {"top_logprobs": [_token(other) for other in each.top]} for each in tokens]
    return {"content": content, "refusal": None} if content else None


def _token(each: Logprob) -> dict[str, Any]:
    return {"token": each.token, "logprob": each.logprob, "bytes": each.bytes}


def counters(usage: Usage) -> dict[str, Any]:
    details = {"cached_tokens": usage.cached_input}
    if usage.cache_write:
        details["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
