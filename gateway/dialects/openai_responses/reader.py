"""The events of a vendor's stream, told as neutral ones.

Not all vendors of the dialect tell everything: some have no `added` events, some no deltas or none but the last event.
So what a `done` event or the last one holds is told where it has not been told before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from gateway.dialects.chat import form
from gateway.dialects.chat.form import Event
from gateway.dialects.openai_responses.answers import (
    Note,
    OutputItem,
    Response,
    Token,
    call_id,
    citation_of,
    citations,
    contents,
    finish,
    logprobs_of,
    picture,
    seconds,
    thoughts,
)
from gateway.errors import BadUpstreamReply

_MOST_ITEMS = 20_000  # and parts of them, in one stream


class StreamEvent(msgspec.Struct):
    type: str | None = None
    response: Response | None = None
    item: OutputItem | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    delta: str | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    annotation: Note | None = None
    logprobs: list[Token] | None = None


class _Kind(msgspec.Struct):
    type: str | None = None


_decode_event = msgspec.json.Decoder(StreamEvent).decode
_decode_kind = msgspec.json.Decoder(_Kind).decode


class _Told:
    """What of one item has been told. `parts`: of its texts, by their index; `source`: what its thoughts come from."""

    __slots__ = ("arguments", "call", "cited", "last", "parts", "source")

    def __init__(self) -> None:
        self.parts: set[int] = set()
        self.cited = False
        self.call: int | None = None
        self.arguments = False
        self.source = ""
        self.last = 0


class Reader:
    """See StreamReader."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._began = False
        self._finished = False
        self._any = False  # whether a part of the answer has been told
        self._items: dict[int | str, _Told] = {}
        self._size = 0
        self._calls = 0

    def read(self, payload: bytes, name: bytes) -> Iterable[Event]:
        try:
            event = _decode_event(payload)
        except msgspec.DecodeError:
            kind = _decode_kind(payload).type or name.decode("latin-1")
            if kind in _EVENTS:
                raise
            return ()  # of a hosted tool
        handler = _EVENTS.get(event.type or name.decode("latin-1"))
        if handler is None or self._finished:
            return ()
        events = list(handler(self, event))
        self._any = self._any or bool(events)
        if not self._began and (events or event.response is not None):
            self._began = True
            response = event.response or Response()
            events.insert(0, form.Began(response.id or "", seconds(response)))
        return events

    def _told(self, event: StreamEvent) -> _Told:
        key: int | str | None = event.output_index
        if key is None:
            key = event.item_id or (event.item.id if event.item is not None else None) or ""
        told = self._items.get(key)
        if told is None:
            told = self._items[key] = _Told()
            self._grow()
        return told

    def _grow(self) -> None:
        self._size += 1
        if self._size > _MOST_ITEMS:
            raise BadUpstreamReply("the vendor's stream has more items than the gateway accepts")

    def _first(self, told: _Told, part: int | None) -> bool:
        """Whether nothing of this part has been told yet."""
        part = part or 0
        if part in told.parts:
            return False
        told.parts.add(part)
        self._grow()
        return True

    # -- the whole --

    def _response_begins(self, event: StreamEvent) -> Iterator[Event]:
        return iter(())

    def _response_ends(self, event: StreamEvent) -> Iterator[Event]:
        response = event.response or Response()
        if not self._any:
            for index, item in enumerate(response.output or ()):
                yield from self._item_done(StreamEvent(item=item, output_index=index))
        self._finished = True
        yield form.Finished(finish(response, self._calls > 0))

    # -- texts --

    def _text(self, event: StreamEvent) -> Iterator[Event]:
        self._first(self._told(event), event.content_index)
        if event.delta or event.logprobs:
            yield form.TextPiece(event.delta or "", logprobs_of(event.logprobs))

    def _text_done(self, event: StreamEvent) -> Iterator[Event]:
        if event.text and self._first(self._told(event), event.content_index):
            yield form.TextPiece(event.text, logprobs_of(event.logprobs))

    def _refusal(self, event: StreamEvent) -> Iterator[Event]:
        self._first(self._told(event), event.content_index)
        if event.delta:
            yield form.RefusalPiece(event.delta)

    def _refusal_done(self, event: StreamEvent) -> Iterator[Event]:
        if event.refusal and self._first(self._told(event), event.content_index):
            yield form.RefusalPiece(event.refusal)

    def _cited(self, event: StreamEvent) -> Iterator[Event]:
        if (citation := citation_of(event.annotation)) is not None:
            self._told(event).cited = True
            yield form.Cited(citation)

    def _message_done(self, told: _Told, item: OutputItem) -> Iterator[Event]:
        for index, content in enumerate(contents(item)):
            first = self._first(told, index)
            if content.type == "refusal":
                if first and content.refusal:
                    yield form.RefusalPiece(content.refusal)
                continue
            if first and content.text:
                yield form.TextPiece(content.text, logprobs_of(content.logprobs))
            if not told.cited:
                yield from (form.Cited(citation) for citation in citations(content))

    # -- thoughts --

    def _summary(self, event: StreamEvent) -> Iterator[Event]:
        return self._thought(event, "summary", event.summary_index or 0, event.delta)

    def _summary_done(self, event: StreamEvent) -> Iterator[Event]:
        if (event.summary_index or 0) in self._told(event).parts:
            return iter(())
        return self._thought(event, "summary", event.summary_index or 0, event.text)

    def _reasoning(self, event: StreamEvent) -> Iterator[Event]:
        return self._thought(event, "content", event.content_index or 0, event.delta)

    def _reasoning_done(self, event: StreamEvent) -> Iterator[Event]:
        if (event.content_index or 0) in self._told(event).parts:
            return iter(())
        return self._thought(event, "content", event.content_index or 0, event.text)

    def _thought(self, event: StreamEvent, source: str, part: int, text: str | None) -> Iterator[Event]:
        """Of summary and thoughts only that is told which comes first; parts are paragraphs."""
        told = self._told(event)
        if not text or told.source not in ("", source):
            return
        if told.source and part != told.last:
            text = f"\n\n{text}"
        told.source, told.last = source, part
        self._first(told, part)
        yield form.ThoughtPiece(text)

    def _reasoning_item_done(self, told: _Told, item: OutputItem) -> Iterator[Event]:
        text = "" if told.source else thoughts(item)
        if text:
            yield form.ThoughtPiece(text)
        if text or told.source or item.encrypted_content:
            yield form.ThoughtEnded(item.encrypted_content or "", item.id or "")

    # -- calls --

    def _item_added(self, event: StreamEvent) -> Iterator[Event]:
        item = event.item
        if item is not None and item.type == "function_call" and item.name:
            yield from self._call(self._told(event), item)

    def _call(self, told: _Told, item: OutputItem) -> Iterator[Event]:
        if told.call is None:
            told.call, self._calls = self._calls, self._calls + 1
            yield form.CallBegan(told.call, call_id(item, self._seed, told.call), item.name or "")

    def _arguments(self, event: StreamEvent) -> Iterator[Event]:
        """Of a call that has not begun the name is unknown: its item tells all when it is done."""
        told = self._told(event)
        if told.call is not None and event.delta:
            told.arguments = True
            yield form.CallPiece(told.call, event.delta)

    def _arguments_done(self, event: StreamEvent) -> Iterator[Event]:
        told = self._told(event)
        if told.call is not None and event.arguments and not told.arguments:
            told.arguments = True
            yield form.CallPiece(told.call, event.arguments)

    def _call_done(self, told: _Told, item: OutputItem) -> Iterator[Event]:
        yield from self._call(told, item)
        if told.call is not None and item.arguments and not told.arguments:
            told.arguments = True
            yield form.CallPiece(told.call, item.arguments)

    # -- items --

    def _item_done(self, event: StreamEvent) -> Iterator[Event]:
        item = event.item
        done = _DONE.get(item.type or "") if item is not None else None
        return done(self, self._told(event), item) if done is not None and item is not None else iter(())

    def _picture_done(self, told: _Told, item: OutputItem) -> Iterator[Event]:
        if self._first(told, 0) and (image := picture(item)) is not None:
            yield form.ImageGiven(image)


_EVENTS: dict[str, Callable[[Reader, StreamEvent], Iterator[Event]]] = {
    "response.created": Reader._response_begins,
    "response.in_progress": Reader._response_begins,
    "response.queued": Reader._response_begins,
    "response.output_item.added": Reader._item_added,
    "response.output_item.done": Reader._item_done,
    "response.output_text.delta": Reader._text,
    "response.output_text.done": Reader._text_done,
    "response.output_text.annotation.added": Reader._cited,
    "response.refusal.delta": Reader._refusal,
    "response.refusal.done": Reader._refusal_done,
    "response.reasoning_summary_text.delta": Reader._summary,
    "response.reasoning_summary_text.done": Reader._summary_done,
    "response.reasoning_text.delta": Reader._reasoning,
    "response.reasoning_text.done": Reader._reasoning_done,
    "response.function_call_arguments.delta": Reader._arguments,
    "response.function_call_arguments.done": Reader._arguments_done,
    "response.completed": Reader._response_ends,
    "response.incomplete": Reader._response_ends,
}
_DONE: dict[str, Callable[[Reader, _Told, OutputItem], Iterator[Event]]] = {
    "message": Reader._message_done,
    "reasoning": Reader._reasoning_item_done,
    "function_call": Reader._call_done,
    "image_generation_call": Reader._picture_done,
}
