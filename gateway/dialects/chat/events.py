"""From events to an answer and back: for vendors that answer the one where the other was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.dialects.chat import form
from gateway.dialects.chat.form import Answer, Event, Part, Refusal, Text, Thought, ToolCall


def events_of(answer: Answer) -> Iterator[Event]:
    """The answer as it would have been streamed."""
    yield form.Began(answer.id, answer.created)
    calls = 0
    logprobs = answer.logprobs
    for part in answer.parts:
        if isinstance(part, Text):
            yield form.TextPiece(part.text, logprobs)
            logprobs = ()
            yield from (form.Cited(citation) for citation in part.citations)
        elif isinstance(part, Thought):
            if part.redacted:
                yield form.RedactedThought(part.redacted)
                continue
            if part.text:
                yield form.ThoughtPiece(part.text)
            yield form.ThoughtEnded(part.signature, part.id)
        elif isinstance(part, ToolCall):
            yield form.CallBegan(calls, part.id, part.name, part.signature)
            yield form.CallPiece(calls, part.arguments)
            calls += 1
        elif isinstance(part, Refusal):
            yield form.RefusalPiece(part.text)
        elif isinstance(part, form.Image):
            yield form.ImageGiven(part)
    yield form.Finished(answer.finish, answer.stop_sequence)


class Collector:
    """Puts the events of one stream together. `parts` are in the order in which they began."""

    def __init__(self, origin: str = "") -> None:
        self._origin = origin  # of signatures
        self._parts: list[_Open] = []
        self._calls: dict[int, _Open] = {}
        self._answer = Answer()
        self._logprobs: list[form.Logprob] = []

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, form.TextPiece):
            self._piece("text").words.append(event.text)
            self._logprobs += event.logprobs
        elif isinstance(event, form.ThoughtPiece):
            self._piece("thought").words.append(event.text)
        elif isinstance(event, form.CallPiece):
            if (call := self._calls.get(event.index)) is not None:
                call.words.append(event.arguments)
        elif isinstance(event, form.CallBegan):
            call = self._calls[event.index] = self._begin("call")
            call.id, call.name, call.signature = event.id, event.name, event.signature
        elif isinstance(event, form.CallSigned):
            if (call := self._calls.get(event.index)) is not None:
                call.signature = event.signature
        elif isinstance(event, form.ThoughtEnded):
            thought = self._piece("thought")
            thought.signature, thought.id, thought.over = event.signature, event.id, True
        elif isinstance(event, form.RedactedThought):
            self._begin("redacted").signature = event.data
        elif isinstance(event, form.RefusalPiece):
            self._piece("refusal").words.append(event.text)
        elif isinstance(event, form.Cited):
            self._piece("text").citations.append(event.citation)
        elif isinstance(event, form.ImageGiven):
            self._begin("image").image = event.image
        elif isinstance(event, form.Finished):
            self._answer = Answer(finish=event.reason, stop_sequence=event.stop_sequence,
                                  id=self._answer.id, created=self._answer.created)  # fmt: skip
        elif event.id and not self._answer.id:
            self._answer = Answer(id=event.id, created=event.created)

    def _begin(self, kind: str) -> _Open:
        self._parts.append(_Open(kind))
        return self._parts[-1]

    def _piece(self, kind: str) -> _Open:
        last = self._parts[-1] if self._parts else None
        return last if last is not None and last.kind == kind and not last.over else self._begin(kind)

    def answer(self) -> Answer:
        known = self._answer
        parts = tuple(part.whole(self._origin) for part in self._parts)
        return Answer(
            id=known.id, created=known.created, parts=parts, finish=known.finish, stop_sequence=known.stop_sequence,
            logprobs=tuple(self._logprobs),
        )  # fmt: skip


class _Open:
    """A part that is still growing."""

    __slots__ = ("citations", "id", "image", "kind", "name", "over", "signature", "words")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.words: list[str] = []
        self.id = self.name = self.signature = ""
        self.citations: list[form.Citation] = []
        self.image: form.Image | None = None
        self.over = False

    def whole(self, origin: str) -> Part:
        text = "".join(self.words)
        if self.kind == "call":
            return ToolCall(self.id, self.name, text, self.signature, origin if self.signature else "")
        if self.kind == "thought":
            return Thought(text, self.signature, id=self.id, origin=origin)
        if self.kind == "redacted":
            return Thought(redacted=self.signature, origin=origin)
        if self.kind == "refusal":
            return Refusal(text)
        return self.image or Text(text, tuple(self.citations))
