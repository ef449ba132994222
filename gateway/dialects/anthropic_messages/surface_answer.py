"""The pieces of a message that plain answers and streams have in common, and the plain one's content."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.dialects.anthropic_messages.words import DIALECT
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import Citation, Image, Part, Refusal, Text, Thought, ToolCall
from gateway.dialects.chat.transform import arguments
from gateway.types import Usage


def message_id(id: str, told: Told) -> str:
    return id if id.startswith("msg_") else f"msg_{told.request_id}"


def thoughts_shown(told: Told) -> bool:
    reasoning = told.request.reasoning
    return reasoning is None or reasoning.shown is not False


def usage_of(usage: Usage) -> dict[str, Any]:
    """The three input counters exclude each other here."""
    counters: dict[str, Any] = {
        "input_tokens": max(0, usage.input - usage.cached_input - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached_input,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        counters["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return counters


def citation_of(citation: Citation) -> dict[str, Any]:
    """The kind that has a web address; the index is for Anthropic's own use."""
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title or None,
        "cited_text": citation.quote,
        "encrypted_index": "",
    }


def picture(image: Image) -> str:
    """Markdown: answers have no block for pictures."""
    return f"![image]({image.url or f'data:{image.media_type};base64,{image.data}'})"


def content(parts: Iterable[Part], thoughts: bool) -> list[dict[str, Any]]:
    """The blocks, the same as a stream of these parts would give: texts that follow each other are one."""
    blocks: list[dict[str, Any]] = []
    text: dict[str, Any] | None = None  # the block that a text goes on
    for part in parts:
        if isinstance(part, Text | Refusal):
            if text is None and part.text:
                text = {"type": "text", "text": ""}
                blocks.append(text)
            if text is not None:
                text["text"] += part.text
                _cite(text, part)
            continue
        block = _block(part, thoughts)
        if block is not None:
            blocks.append(block)
            text = None
    return blocks


def _cite(block: dict[str, Any], part: Text | Refusal) -> None:
    if isinstance(part, Text) and part.citations:
        block.setdefault("citations", []).extend(map(citation_of, part.citations))


def _block(part: Part, thoughts: bool) -> dict[str, Any] | None:
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments(part.arguments)}
    if isinstance(part, Image):
        return {"type": "text", "text": picture(part)}
    if isinstance(part, Thought) and thoughts:
        own = part.origin == DIALECT
        if own and part.redacted:
            return {"type": "redacted_thinking", "data": part.redacted}
        if part.text or (own and part.signature):
            return {"type": "thinking", "thinking": part.text, "signature": part.signature if own else ""}
    return None
