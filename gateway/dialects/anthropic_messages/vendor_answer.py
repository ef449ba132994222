"""Answers of Anthropic, and of vendors that speak as it does -> the neutral form. What its own tools did is left out:
it is no other dialect's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.dialects.anthropic_messages.words import DIALECT, finish
from gateway.dialects.chat import form
from gateway.dialects.chat.form import Answer, Citation, Event, Part, Text, Thought, ToolCall


class _Citation(msgspec.Struct):
    url: str | None = None
    title: str | None = None
    cited_text: str | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: Any = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"")  # noqa: RUF009
    citations: list[_Citation] | None = None


class _Message(msgspec.Struct):
    id: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Delta(msgspec.Struct):
    """Of a block, or of the message."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    citation: _Citation | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None


class _Count(msgspec.Struct):
    input_tokens: int


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_count = msgspec.json.Decoder(_Count).decode


def read(body: bytes, seed: str) -> Answer:
    message = _decode_message(body)
    parts: list[Part] = []
    calls = 0
    for block in message.content or ():
        if block.type == "tool_use":
            parts.append(ToolCall(_call_id(block, seed, calls), block.name or "", _input(block)))
            calls += 1
        elif (part := _part(block)) is not None:
            parts.append(part)
    return Answer(
        id=message.id or "",
        parts=tuple(parts),
        finish=finish(message.stop_reason, calls),
        stop_sequence=message.stop_sequence,
    )


def counted(body: bytes) -> int:
    return max(0, _decode_count(body).input_tokens)


def _part(block: _Block) -> Part | None:
    if block.type == "text":
        return Text(block.text, _citations(block)) if block.text else None
    if block.type == "thinking" and (block.thinking or block.signature):
        return Thought(block.thinking or "", block.signature or "", origin=DIALECT)
    if block.type == "redacted_thinking" and isinstance(block.data, str):
        return Thought(redacted=block.data, origin=DIALECT)
    return None


def _citations(block: _Block) -> tuple[Citation, ...]:
    return tuple(_cited(each) for each in block.citations or () if each.url)


def _cited(citation: _Citation) -> Citation:
    return Citation(citation.url or "", citation.title or "", citation.cited_text or "")


def _call_id(block: _Block, seed: str, number: int) -> str:
    return block.id or f"toolu_{seed}_{number}"


def _input(block: _Block) -> str:
    return "" if block.input == b"null" else bytes(block.input).decode(errors="replace")


class MessageReader:
    """One stream that is being read. Vendors may leave out the names of events, begin a block with its text, never end
    one, and give a call's arguments with its begin.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._index = 0  # of the block that began last
        self._calls: dict[int, int] = {}  # the block's index -> the number of its call
        self._given: tuple[int, str] | None = None  # a call's arguments from its begin, good if no others come
        self._signature: str | None = None  # of the thought that is open
        self._finished = False

    def read(self, payload: bytes, name: bytes) -> Iterator[Event]:
        event = _decode_event(payload)
        if self._finished:
            return iter(())  # nothing belongs to an answer that has ended
        handler = _HANDLERS.get(event.type or name.decode(errors="replace"))
        return handler(self, event) if handler is not None else iter(())

    def _message_start(self, event: _Event) -> Iterator[Event]:
        yield form.Began(event.message.id or "" if event.message is not None else "")

    def _start(self, event: _Event) -> Iterator[Event]:
        yield from self._over()
        block = event.content_block
        if block is None:
            return
        self._index = self._index if event.index is None else event.index
        if block.type == "tool_use":
            number = len(self._calls)
            self._calls[self._index] = number
            yield form.CallBegan(number, _call_id(block, self._seed, number), block.name or "")
            if (given := _input(block)).strip("{} \t\r\n"):
                self._given = (number, given)
        elif block.type == "thinking":
            self._signature = block.signature or ""
            if block.thinking:
                yield form.ThoughtPiece(block.thinking)
        elif block.type == "redacted_thinking" and isinstance(block.data, str):
            yield form.RedactedThought(block.data)
        elif block.type == "text" and block.text:
            yield form.TextPiece(block.text)
            yield from map(form.Cited, _citations(block))

    def _delta(self, event: _Event) -> Iterator[Event]:
        delta = event.delta
        if delta is None:
            return
        kind = delta.type
        if kind == "text_delta":
            if delta.text:
                yield form.TextPiece(delta.text)
        elif kind == "thinking_delta":
            if delta.thinking:
                yield form.ThoughtPiece(delta.thinking)
        elif kind == "input_json_delta":
            number = self._calls.get(self._index if event.index is None else event.index)
            if number is not None and delta.partial_json:
                self._given = None
                yield form.CallPiece(number, delta.partial_json)
        elif kind == "signature_delta":
            self._signature = delta.signature or self._signature
        elif kind == "citations_delta" and delta.citation is not None and delta.citation.url:
            yield form.Cited(_cited(delta.citation))

    def _stop(self, event: _Event) -> Iterator[Event]:
        return self._over()

    def _over(self) -> Iterator[Event]:
        """The end of the block that is open."""
        if self._signature is not None:
            yield form.ThoughtEnded(self._signature)
            self._signature = None
        if self._given is not None:
            yield form.CallPiece(*self._given)
            self._given = None

    def _message_delta(self, event: _Event) -> Iterator[Event]:
        delta = event.delta
        if delta is None or delta.stop_reason is None:
            return
        yield from self._over()
        self._finished = True
        yield form.Finished(finish(delta.stop_reason, len(self._calls)), delta.stop_sequence)


_HANDLERS = {
    "message_start": MessageReader._message_start,
    "content_block_start": MessageReader._start,
    "content_block_delta": MessageReader._delta,
    "content_block_stop": MessageReader._stop,
    "message_delta": MessageReader._message_delta,
}
