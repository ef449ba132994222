"""Neutral events -> a stream of Messages, in which blocks never interleave.

Blocks have their numbers in the order in which they began. The first one that is not over yet is *live*: its pieces go
out at once. Those behind it hold theirs back. A text or a thought is over as soon as something else begins; a call is
over when what it has is a whole object and something else has begun, else at the end: only then is it known that its
arguments do not go on (some vendors tell calls interleaved).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.dialects import scan
from gateway.dialects.anthropic_messages import surface_answer
from gateway.dialects.anthropic_messages.words import stop_reason
from gateway.dialects.chat import form
from gateway.dialects.chat.budget import Budget
from gateway.dialects.chat.dialect import Told
from gateway.types import Usage

_TEXT, _THOUGHT, _CALL = "text", "thought", "call"
_MOST_HELD = 32 << 20
_MOST_LOOKS = 8  # at the arguments of one call, lest many small blocks behind a long call cost much

_BEGINS: Mapping[str, dict[str, Any]] = {
    _TEXT: {"type": "text", "text": ""},
    _THOUGHT: {"type": "thinking", "thinking": "", "signature": ""},
}
_PIECES = {
    _TEXT: b'{"type":"text_delta","text":',
    _THOUGHT: b'{"type":"thinking_delta","thinking":',
    _CALL: b'{"type":"input_json_delta","partial_json":',
}
_END = b"}}\n\n"

_encode = msgspec.json.Encoder().encode


def _event(name: str, body: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name, **body}))


class _Block:
    """One block that has begun and not ended."""

    __slots__ = ("held", "index", "kind", "looks", "over", "piece", "words")

    def __init__(self, index: int, kind: str) -> None:
        self.index = index
        self.kind = kind
        self.piece = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % index
        self.held = bytearray()
        self.over = False
        self.words: list[str] = []  # a call's arguments so far
        self.looks = 0

    def whole(self) -> bool:
        """Whether nothing can follow."""
        if self.over:
            return True
        if self.kind == _CALL and self.looks < _MOST_LOOKS and self.words:
            self.looks += 1
            self.words = ["".join(self.words)]
            self.over = isinstance(scan.decode(self.words[0].encode(errors="replace")), dict)
        return self.over


class MessageStream:
    """One stream that is being written."""

    PING = b'event: ping\ndata: {"type": "ping"}\n\n'

    def __init__(self, told: Told) -> None:
        self._told = told
        self._thoughts = surface_answer.thoughts_shown(told)
        self._began = False
        self._count = 0  # of blocks
        self._blocks: deque[_Block] = deque()  # the live one, and those that wait for it
        self._last: _Block | None = None  # the one that a text or thought goes on
        self._calls: dict[int, _Block] = {}
        self._held = Budget(_MOST_HELD)
        self._finish: form.Finished | None = None

    def write(self, event: form.Event) -> bytes:
        writer = _WRITERS.get(type(event))
        data = writer(self, event) if writer is not None else b""
        if self._began:
            return data
        self._began = True
        return self._message(event.id if isinstance(event, form.Began) else "") + data

    def end(self, usage: Usage) -> bytes:
        begin = b"" if self._began else self._message("")
        rest = self._close()
        finish = self._finish or form.Finished(form.TOOL_CALLS if self._calls else form.STOP)
        delta = {
            "stop_reason": stop_reason(finish.reason, finish.stop_sequence),
            "stop_sequence": finish.stop_sequence,
        }
        last = _event("message_delta", {"delta": delta, "usage": surface_answer.usage_of(usage)})
        return begin + rest + last + _event("message_stop", {})

    def _message(self, id: str) -> bytes:
        message: dict[str, Any] = {
            "id": surface_answer.message_id(id, self._told),
            "type": "message",
            "role": "assistant",
            "model": self._told.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": surface_answer.usage_of(Usage(input=self._told.input_tokens, output=1)),
        }
        return _event("message_start", {"message": message})

    # -- events --------------------------------------------------------------------------------------------------------

    def _text(self, event: form.TextPiece | form.RefusalPiece) -> bytes:
        return self._piece(_TEXT, event.text)

    def _thought(self, event: form.ThoughtPiece) -> bytes:
        return self._piece(_THOUGHT, event.text) if self._thoughts else b""

    def _thought_ended(self, event: form.ThoughtEnded) -> bytes:
        last = self._last
        if last is None or last.kind != _THOUGHT:
            return b""
        self._last, last.over = None, True
        return self._settle()

    def _cited(self, event: form.Cited) -> bytes:
        last = self._last
        if last is None or last.kind != _TEXT:
            return b""
        delta = {"type": "citations_delta", "citation": surface_answer.citation_of(event.citation)}
        return self._put(last, last.piece + _encode(delta) + b"}\n\n")

    def _picture(self, event: form.ImageGiven) -> bytes:
        begin = self._begin(_TEXT, _BEGINS[_TEXT])
        given = self._piece(_TEXT, surface_answer.picture(event.image))
        block, self._last = self._last, None
        if block is not None:
            block.over = True
        return begin + given + self._settle()

    def _call(self, event: form.CallBegan) -> bytes:
        begin = self._begin(_CALL, {"type": "tool_use", "id": event.id, "name": event.name, "input": {}})
        self._calls[event.index] = block = self._blocks[-1]
        return begin + self._put(block, block.piece + _PIECES[_CALL] + b'""' + _END)

    def _arguments(self, event: form.CallPiece) -> bytes:
        block = self._calls.get(event.index)
        if block is None or block.over or not event.arguments:
            return b""
        block.words.append(event.arguments)
        self._held.take(len(event.arguments))
        return self._put(block, block.piece + _PIECES[_CALL] + _encode(event.arguments) + _END)

    def _finished(self, event: form.Finished) -> bytes:
        self._finish = event
        return self._close()

    # -- blocks --------------------------------------------------------------------------------------------------------

    def _piece(self, kind: str, text: str) -> bytes:
        if not text:
            return b""
        block = self._last
        if block is not None and block.kind == kind:
            return self._put(block, block.piece + _PIECES[kind] + _encode(text) + _END)
        begin = self._begin(kind, _BEGINS[kind])
        block = self._blocks[-1]
        return begin + self._put(block, block.piece + _PIECES[kind] + _encode(text) + _END)

    def _begin(self, kind: str, content: dict[str, Any]) -> bytes:
        if self._last is not None:
            self._last.over = True
        block = _Block(self._count, kind)
        self._count += 1
        self._blocks.append(block)
        self._last = block if kind != _CALL else None
        settled = self._settle()
        start = _event("content_block_start", {"index": block.index, "content_block": content})
        return settled + self._put(block, start)

    def _put(self, block: _Block, data: bytes) -> bytes:
        if block is self._blocks[0]:
            return data
        self._held.take(len(data))
        block.held += data
        return b""

    def _settle(self) -> bytes:
        """Ends what is over, from the front; what waited behind it goes out."""
        out = bytearray()
        blocks = self._blocks
        while blocks and (blocks[0].over or (len(blocks) > 1 and blocks[0].whole())):
            over = blocks.popleft()
            self._held.give(sum(map(len, over.words)))
            over.words = []
            out += _event("content_block_stop", {"index": over.index})
            if blocks:
                live = blocks[0]
                out += live.held
                self._held.give(len(live.held))
                live.held = bytearray()
        return bytes(out)

    def _close(self) -> bytes:
        for block in self._blocks:
            block.over = True
        self._last = None
        return self._settle()


_WRITERS: Mapping[type, Callable[[MessageStream, Any], bytes]] = {
    form.TextPiece: MessageStream._text,
    form.RefusalPiece: MessageStream._text,
    form.ThoughtPiece: MessageStream._thought,
    form.ThoughtEnded: MessageStream._thought_ended,
    form.Cited: MessageStream._cited,
    form.ImageGiven: MessageStream._picture,
    form.CallBegan: MessageStream._call,
    form.CallPiece: MessageStream._arguments,
    form.Finished: MessageStream._finished,
}
