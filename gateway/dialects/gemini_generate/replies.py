"""Answers as Gemini gives them: one object, or a stream of objects that each hold what is new.

Calls of functions come whole there, so they wait for the end of the stream; so do the sources of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import Answer, Citation, Event, Image, Logprob, Refusal, Text, Thought, ToolCall
from gateway.dialects.chat.transform import arguments
from gateway.dialects.gemini_generate.names import FINISHES
from gateway.errors import BadUpstreamReply
from gateway.types import Usage

_LONGEST_CALLS = 32 << 20  # bytes of arguments in one stream

_encode = msgspec.json.Encoder().encode


def answer(said: Answer, usage: Usage, told: Told) -> bytes:
    parts: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    spoken = 0  # bytes of text: places are told in them, over all texts
    shown = _shown(told)
    for part in said.parts:
        if isinstance(part, Text):
            sources += (_source(citation, part.text, spoken) for citation in part.citations)
            spoken += len(part.text.encode()) if said.parts[-1] is not part else 0
            parts.append({"text": part.text})
        elif isinstance(part, Thought):
            if shown and part.text:
                parts.append({"text": part.text, "thought": True})
        elif isinstance(part, ToolCall):
            parts.append(_call(part.id, part.name, part.arguments))
        elif isinstance(part, Image):
            parts.append(_picture(part))
        elif isinstance(part, Refusal):
            parts.append({"text": part.text})
    content: dict[str, Any] = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    candidate = {"content": content, **_end(said.finish, sources), "index": 0, **_likelihoods(said.logprobs)}
    return _encode(
        {
            "candidates": [candidate],
            "usageMetadata": counted(usage),
            "modelVersion": told.model,
            "responseId": said.id or told.request_id,
        }
    )


def counted(usage: Usage) -> dict[str, int]:
    """Gemini's arithmetic: thoughts are not among the candidates."""
    counts = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": max(usage.output - usage.reasoning, 0),
        "totalTokenCount": usage.total,
    }
    if usage.cached_input:
        counts["cachedContentTokenCount"] = usage.cached_input
    if usage.reasoning:
        counts["thoughtsTokenCount"] = usage.reasoning
    return counts


def _shown(told: Told) -> bool:
    reasoning = told.request.reasoning
    return reasoning is not None and reasoning.shown is True


def _end(finish: str, sources: list[dict[str, Any]]) -> dict[str, Any]:
    end: dict[str, Any] = {"finishReason": FINISHES.get(finish, "STOP")}
    if sources:
        end["citationMetadata"] = {"citationSources": sources}
    return end


def _source(citation: Citation, text: str = "", before: int = 0) -> dict[str, Any]:
    source: dict[str, Any] = {"uri": citation.url}
    if citation.title:
        source["title"] = citation.title
    if text and citation.start is not None and citation.end is not None:
        source["startIndex"] = before + len(text[: citation.start].encode())
        source["endIndex"] = before + len(text[: citation.end].encode())
    return source


def _call(id: str, name: str, text: str) -> dict[str, Any]:
    try:
        args = _encode(arguments(text))
    except RecursionError:  # it is read at a depth at which it can no longer be written
        args = _encode({"_raw": text})
    return {"functionCall": {"id": id, "name": name, "args": msgspec.Raw(args)}}


def _picture(image: Image) -> dict[str, Any]:
    if image.data:
        return {"inlineData": {"mimeType": image.media_type, "data": image.data}}
    return {"fileData": {"mimeType": image.media_type or "image/png", "fileUri": image.url}}


def _likelihoods(logprobs: Sequence[Logprob]) -> dict[str, Any]:
    if not logprobs:
        return {}
    result: dict[str, Any] = {"chosenCandidates": [_likelihood(each) for each in logprobs]}
    if any(each.top for each in logprobs):
        result["topCandidates"] = [{"candidates": [_likelihood(other) for other in each.top]} for each in logprobs]
    mean = sum(each.logprob for each in logprobs) / len(logprobs)
    return {"avgLogprobs": mean, "logprobsResult": result}


def _likelihood(logprob: Logprob) -> dict[str, Any]:
    return {"token": logprob.token, "logProbability": logprob.logprob}


class _Call:
    __slots__ = ("id", "name", "words")

    def __init__(self, began: form.CallBegan) -> None:
        self.id, self.name = began.id, began.name
        self.words: list[str] = []


class Writer:
    """A stream: events, or with `told.array` the items of one JSON array."""

    PING = b""  # Google's SDK takes whatever is no data for an error

    def __init__(self, told: Told) -> None:
        self._told = told
        self._shown = _shown(told)
        self._before, self._behind = (b"[", b"") if told.array else (b"data: ", b"\r\n\r\n")
        self._tail = b""
        self._name(told.request_id)
        self._calls: dict[int, _Call] = {}
        self._size = 0
        self._sources: list[dict[str, Any]] = []
        self._finish = form.STOP
        self._handlers: dict[type[Event], Callable[[Any], bytes]] = {
            form.TextPiece: self._text,
            form.RefusalPiece: self._refusal,
            form.ThoughtPiece: self._thought,
            form.CallBegan: self._call_began,
            form.CallPiece: self._call_piece,
            form.ImageGiven: self._image,
            form.Cited: self._cited,
            form.Began: self._began,
            form.Finished: self._finished,
        }

    def write(self, event: Event) -> bytes:
        handler = self._handlers.get(type(event))
        return b"" if handler is None else handler(event)

    def end(self, usage: Usage) -> bytes:
        parts: Iterable[dict[str, Any]] = (
            _call(call.id, call.name, "".join(call.words)) for call in self._calls.values()
        )
        # The last object has a part in any case: SDKs take a turn without one for none.
        content = {"parts": list(parts) or [{"text": ""}], "role": "model"}
        candidate = {"content": content, **_end(self._finish, self._sources), "index": 0}
        told = b'"usageMetadata":' + _encode(counted(usage)) + b","
        last = self._object(b'{"candidates":[' + _encode(candidate) + b"]," + told)
        return last + b"]" if self._told.array else last

    def _name(self, id: str) -> None:
        self._tail = _encode({"modelVersion": self._told.model, "responseId": id})[1:]

    def _object(self, begin: bytes) -> bytes:
        out = self._before + begin + self._tail + self._behind
        if self._told.array:
            self._before = b",\r\n"
        return out

    def _part(self, part: bytes, more: bytes = b"") -> bytes:
        return self._object(
            b'{"candidates":[{"content":{"parts":[' + part + b'],"role":"model"},"index":0' + more + b"}],"
        )

    def _began(self, event: form.Began) -> bytes:
        if event.id:
            self._name(event.id)
        return b""

    def _text(self, event: form.TextPiece) -> bytes:
        more = b""
        if event.logprobs:
            more = b"," + _encode(_likelihoods(event.logprobs))[1:-1]
        return self._part(b'{"text":' + _encode(event.text) + b"}", more) if event.text or more else b""

    def _refusal(self, event: form.RefusalPiece) -> bytes:
        return self._part(b'{"text":' + _encode(event.text) + b"}") if event.text else b""

    def _thought(self, event: form.ThoughtPiece) -> bytes:
        if not (self._shown and event.text):
            return b""
        return self._part(b'{"text":' + _encode(event.text) + b',"thought":true}')

    def _image(self, event: form.ImageGiven) -> bytes:
        return self._part(_encode(_picture(event.image)))

    def _call_began(self, event: form.CallBegan) -> bytes:
        self._calls[event.index] = _Call(event)
        self._grow(len(event.id) + len(event.name) + 100)
        return b""

    def _call_piece(self, event: form.CallPiece) -> bytes:
        if (call := self._calls.get(event.index)) is not None and event.arguments:
            call.words.append(event.arguments)
            self._grow(len(event.arguments) + 60)
        return b""

    def _cited(self, event: form.Cited) -> bytes:
        self._grow(len(event.citation.url) + len(event.citation.title) + 200)
        if (source := _source(event.citation)) not in self._sources[-20:]:
            self._sources.append(source)
        return b""

    def _finished(self, event: form.Finished) -> bytes:
        self._finish = event.reason
        return b""

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > _LONGEST_CALLS:
            raise BadUpstreamReply("the vendor's stream holds calls that are larger than the gateway accepts")
