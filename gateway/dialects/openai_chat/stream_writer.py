"""Neutral events -> the chunks of a streamed chat completion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import Event
from gateway.dialects.openai_chat.answer_writer import (
    BETWEEN_THOUGHTS,
    FINISHES,
    answer_id,
    counters,
    encode,
    image,
    logprobs,
    note,
)
from gateway.types import Usage

_NO_LOGPROBS = b',"logprobs":null,"finish_reason":null}]'
_OTHER, _TEXT, _THOUGHT = range(3)


class ChunkWriter:
    PING = b": keep-alive\n\n"

    def __init__(self, told: Told) -> None:
        self._told = told
        self._begin = b""  # of all chunks, up to the choices
        self._end = (b',"usage":null' if told.wants_usage else b"") + b"}\n\n"
        self._finished = False
        self._calls: set[int] = set()
        self._silent: set[int] = set()  # those without arguments so far
        self._part = _OTHER  # what was told last
        self._thoughts = self._over = False  # a thought was told; it is over
        self._said = self._since = 0  # characters of text; where the text began that is being told
        self._notes = self._images = 0  # SDKs want an index in all lists

    def write(self, event: Event) -> bytes:
        begin = b"" if self._begin else self._first(event)
        tell = _TELLERS.get(type(event))
        return begin + tell(self, event) if tell is not None else begin

    def end(self, usage: Usage) -> bytes:
        end = b"" if self._begin else self._first(form.Began())
        if not self._finished:  # some vendors give no reason
            end += self._finish(form.Finished(form.TOOL_CALLS if self._calls else form.STOP))
        if self._told.wants_usage:
            end += b'%s[],"usage":%s}\n\n' % (self._begin, encode(counters(usage)))
        return end + b"data: [DONE]\n\n"

    def _first(self, event: Event) -> bytes:
        began = event if isinstance(event, form.Began) else form.Began()
        told = self._told
        head = {
            "id": answer_id(began.id, told),
            "object": "chat.completion.chunk",
            "created": began.created or told.created,
            "model": told.model,
        }
        self._begin = b'data: %s,"choices":' % encode(head)[:-1]
        return self._chunk(b'{"role":"assistant","content":"","refusal":null}')

    def _chunk(self, delta: bytes, end: bytes = _NO_LOGPROBS) -> bytes:
        return b'%s[{"index":0,"delta":%s%s%s' % (self._begin, delta, end, self._end)

    # -- events --------------------------------------------------------------------------------------------------------

    def _text(self, event: form.TextPiece) -> bytes:
        self._enter(_TEXT)
        self._said += len(event.text)
        delta = b'{"content":%s}' % encode(event.text)
        if not event.logprobs:
            return self._chunk(delta) if event.text else b""
        return self._chunk(delta, b',"logprobs":%s,"finish_reason":null}]' % encode(logprobs(event.logprobs)))

    def _thought(self, event: form.ThoughtPiece) -> bytes:
        if not event.text:
            return b""
        another = self._thoughts and (self._over or self._part != _THOUGHT)
        self._enter(_THOUGHT)
        self._thoughts, self._over = True, False
        text = BETWEEN_THOUGHTS + event.text if another else event.text
        return self._chunk(b'{"reasoning_content":%s}' % encode(text))

    def _thought_ended(self, event: Event) -> bytes:
        self._over = True
        return b""

    def _cited(self, event: form.Cited) -> bytes:
        self._enter(_TEXT)
        if not event.citation.url:
            return b""
        self._notes += 1
        entry = {"index": self._notes - 1} | note(event.citation, self._since, self._said)
        return self._chunk(encode({"annotations": [entry]}))

    def _refusal(self, event: form.RefusalPiece) -> bytes:
        self._enter(_OTHER)
        return self._chunk(b'{"refusal":%s}' % encode(event.text))

    def _image(self, event: form.ImageGiven) -> bytes:
        self._enter(_OTHER)
        self._images += 1
        return self._chunk(encode({"images": [{"index": self._images - 1} | image(event.image)]}))

    def _call(self, event: form.CallBegan) -> bytes:
        self._enter(_OTHER)
        self._calls.add(event.index)
        self._silent.add(event.index)
        function = {"name": event.name, "arguments": ""}
        call = {"index": event.index, "id": event.id, "type": "function", "function": function}
        return self._chunk(encode({"tool_calls": [call]}))

    def _arguments(self, event: form.CallPiece) -> bytes:
        if not event.arguments or event.index not in self._calls:
            return b""
        self._silent.discard(event.index)
        return self._chunk(
            b'{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}' % (event.index, encode(event.arguments))
        )

    def _finish(self, event: form.Finished) -> bytes:
        """Arguments must be JSON in the end: a call that has none gets an empty object."""
        late = b"".join([self._arguments(form.CallPiece(index, "{}")) for index in sorted(self._silent)])
        self._finished = True
        reason = FINISHES[event.reason].encode()
        return late + self._chunk(b"{}", b',"logprobs":null,"finish_reason":"%s"}]' % reason)

    def _enter(self, part: int) -> None:
        """Places of citations count from where the text began that they belong to."""
        if part == _TEXT != self._part:
            self._since = self._said
        self._part = part


_TELLERS: dict[type[Event], Callable[[ChunkWriter, Any], bytes]] = {
    form.TextPiece: ChunkWriter._text,
    form.ThoughtPiece: ChunkWriter._thought,
    form.ThoughtEnded: ChunkWriter._thought_ended,
    form.RedactedThought: ChunkWriter._thought_ended,
    form.Cited: ChunkWriter._cited,
    form.RefusalPiece: ChunkWriter._refusal,
    form.ImageGiven: ChunkWriter._image,
    form.CallBegan: ChunkWriter._call,
    form.CallPiece: ChunkWriter._arguments,
    form.Finished: ChunkWriter._finish,
}
