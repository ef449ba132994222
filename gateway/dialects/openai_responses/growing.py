"""Items of a streamed answer while they grow: each says its own events, in the order that official clients expect."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from gateway.dialects.chat.form import Citation, Logprob
from gateway.dialects.openai_responses import output
from gateway.dialects.openai_responses.output import COMPLETED, IN_PROGRESS, Item
from gateway.errors import BadUpstreamReply

_LIMIT = 64 << 20  # of the whole answer, in characters
_OBJECT = 64  # what a small value takes besides

_encode = msgspec.json.Encoder().encode


class Voice:
    """Numbers the events and collects their bytes. The last events repeat the whole answer, for which it is kept, up to
    a limit.
    """

    __slots__ = ("_count", "_held", "_out")

    def __init__(self) -> None:
        self._count = 0
        self._held = 0
        self._out: list[bytes] = []

    def say(self, kind: str, fields: dict[str, Any]) -> None:
        body = _encode({"type": kind, **fields, "sequence_number": self._count})
        self._count += 1
        self._out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), body))

    def piece(self, begin: bytes, text: str, behind: bytes = b"") -> None:
        """A delta. It comes often, so its begin (see `delta`) is made once."""
        self.hold(len(text))
        self._out.append(b'%b%b%b,"sequence_number":%d}\n\n' % (begin, _encode(text), behind, self._count))
        self._count += 1

    def hold(self, size: int) -> None:
        self._held += size + _OBJECT
        if self._held > _LIMIT:
            raise BadUpstreamReply("the vendor's answer is larger than the gateway keeps for a Response")

    def take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out


def delta(kind: str, place: dict[str, Any]) -> bytes:
    """The begin of such events, up to the piece itself."""
    return b'event: %b\ndata: %b,"delta":' % (kind.encode(), _encode({"type": kind, **place})[:-1])


class Growing(Protocol):
    """An item that has begun."""

    index: int

    def close(self, status: str) -> Item:
        """Says what is still to be said; gives the whole item."""


class Message:
    """Texts and refusals; `_part` is the one that grows."""

    def __init__(self, voice: Voice, id: str, index: int) -> None:
        self.index = index
        self._voice = voice
        self._id = id
        self._contents: list[Item] = []  # parts that are over
        self._part: _Part | None = None
        voice.say("response.output_item.added", {"output_index": index, "item": output.message(id, [], IN_PROGRESS)})

    def text(self, text: str, logprobs: tuple[Logprob, ...]) -> None:
        part = self._growing("output_text")
        said = b"[]"
        if logprobs:
            self._voice.hold(sum(4 * _OBJECT * (1 + len(one.top)) for one in logprobs))
            part.logprobs += logprobs
            said = _encode([output.logprob(one) for one in logprobs])
        part.words.append(text)
        self._voice.piece(part.delta, text, b',"logprobs":' + said)

    def refusal(self, text: str) -> None:
        part = self._growing("refusal")
        part.words.append(text)
        self._voice.piece(part.delta, text)

    def cite(self, citation: Citation) -> None:
        """A source of the text that grows; there is no event for one that is over."""
        part = self._part
        if part is None or part.kind != "output_text":
            return
        note = output.annotation(citation, sum(map(len, part.words)))
        self._voice.hold(len(citation.url) + len(citation.title) + 8 * _OBJECT)
        place = {**part.place, "annotation_index": len(part.annotations)}
        part.annotations.append(note)
        self._voice.say("response.output_text.annotation.added", {**place, "annotation": note})

    def close(self, status: str) -> Item:
        self._close_part()
        item = output.message(self._id, self._contents, status)
        self._voice.say("response.output_item.done", {"output_index": self.index, "item": item})
        return item

    def _growing(self, kind: str) -> _Part:
        if self._part is not None and self._part.kind == kind:
            return self._part
        self._close_part()
        place = {"item_id": self._id, "output_index": self.index, "content_index": len(self._contents)}
        part = self._part = _Part(kind, place)
        self._voice.say("response.content_part.added", {**place, "part": part.content()})
        return part

    def _close_part(self) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        content = part.content()
        names = ("refusal",) if part.kind == "refusal" else ("text", "logprobs")
        self._voice.say(f"response.{part.kind}.done", {**part.place, **{name: content[name] for name in names}})
        self._voice.say("response.content_part.done", {**part.place, "part": content})
        self._contents.append(content)


class _Part:
    """`kind`: output_text or refusal."""

    __slots__ = ("annotations", "delta", "kind", "logprobs", "place", "words")

    def __init__(self, kind: str, place: dict[str, Any]) -> None:
        self.kind = kind
        self.place = place
        self.delta = delta(f"response.{kind}.delta", place)
        self.words: list[str] = []
        self.annotations: list[Item] = []
        self.logprobs: list[Logprob] = []

    def content(self) -> Item:
        text = "".join(self.words)
        if self.kind == "refusal":
            return output.refusal(text)
        return output.output_text(text, self.annotations, self.logprobs)


class Thought:
    """Shown as a summary."""

    def __init__(self, voice: Voice, id: str, index: int) -> None:
        self.index = index
        self._voice = voice
        self._id = id
        self._words: list[str] = []
        self._place = {"item_id": id, "output_index": index, "summary_index": 0}
        self._delta = delta("response.reasoning_summary_text.delta", self._place)
        voice.say("response.output_item.added", {"output_index": index, "item": output.reasoning(id, "")})
        voice.say("response.reasoning_summary_part.added", {**self._place, "part": output.summary("")})

    def text(self, text: str) -> None:
        self._words.append(text)
        self._voice.piece(self._delta, text)

    def close(self, status: str) -> Item:
        text = "".join(self._words)
        self._voice.say("response.reasoning_summary_text.done", {**self._place, "text": text})
        self._voice.say("response.reasoning_summary_part.done", {**self._place, "part": output.summary(text)})
        item = output.reasoning(self._id, text)
        self._voice.say("response.output_item.done", {"output_index": self.index, "item": item})
        return item


class Call:
    def __init__(self, voice: Voice, id: str, index: int, tool_id: str, name: str) -> None:
        self.index = index
        self._voice = voice
        self._id = id
        self._tool_id = tool_id
        self._name = name
        self._words: list[str] = []
        self._place = {"item_id": id, "output_index": index}
        self._delta = delta("response.function_call_arguments.delta", self._place)
        voice.hold(len(tool_id) + len(name))
        item = output.call(id, tool_id, name, "", IN_PROGRESS)
        voice.say("response.output_item.added", {"output_index": index, "item": item})

    def arguments(self, text: str) -> None:
        self._words.append(text)
        self._voice.piece(self._delta, text)

    def close(self, status: str) -> Item:
        if not self._words:
            self.arguments("{}")  # clients decode it
        arguments = "".join(self._words)
        said = {"name": self._name, "arguments": arguments}
        self._voice.say("response.function_call_arguments.done", {**self._place, **said})
        item = output.call(self._id, self._tool_id, self._name, arguments, status)
        self._voice.say("response.output_item.done", {"output_index": self.index, "item": item})
        return item


def give_picture(voice: Voice, index: int, item: Item) -> None:
    """All at once: other dialects send whole pictures."""
    voice.hold(len(item["result"]))
    begun = {**item, "status": IN_PROGRESS, "result": None}
    voice.say("response.output_item.added", {"output_index": index, "item": begun})
    for stage in (IN_PROGRESS, COMPLETED):
        voice.say(f"response.image_generation_call.{stage}", {"item_id": item["id"], "output_index": index})
    voice.say("response.output_item.done", {"output_index": index, "item": item})
