"""Usage events in a WebSocket: OpenAI's realtime and its relatives, DashScope's tasks, MiniMax's speech, Spark.

A usage event belongs to something with an id: a response, a transcribed item, a task. Different things add up; a
restatement for the same thing (DashScope counts on and on until the task ends) counts only by what it grew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.dialects import scan, usage
from gateway.dialects.readers import label
from gateway.dialects.scan import Fields, PathScanner
from gateway.dialects.websocket_frames import FrameReader, deflate_for
from gateway.types import Usage

_RESPONSE_USAGE, _ITEM_USAGE = "response.usage", "usage"
# Which field of an event holds its usage, and which one names what it belongs to.
_BY_TYPE = {
    "response.done": (_RESPONSE_USAGE, "response.id"),
    "response.completed": (_RESPONSE_USAGE, "response.id"),
    "response.incomplete": (_RESPONSE_USAGE, "response.id"),
    "response.failed": (_RESPONSE_USAGE, "response.id"),
    "response.audio.done": (_ITEM_USAGE, "response_id"),
    "conversation.item.input_audio_transcription.completed": (_ITEM_USAGE, "item_id"),
    "transcript.text.done": (_ITEM_USAGE, "item_id"),
    "speech.audio.done": (_ITEM_USAGE, "response_id"),
}
_TASK_EVENTS = frozenset({"task-started", "result-generated", "task-finished", "task-failed"})

_DOWN = scan.tree((
    "type", "event", "usage", "model", "response.usage", "response.id", "response.model", "response_id", "item_id",
    "session.model", "header.event", "header.task_id", "header.sid", "payload.usage",
    "payload.output.usage", "extra_info", "session_id", "is_final",
))  # fmt: skip
_UP = scan.tree((
    "model", "payload.model", "session.model", "response.model", "session.input_audio_transcription.model",
    "session.audio.input.transcription.model", "session.text_to_speech.model", "parameter.chat.domain",
))  # fmt: skip
_DOWN_MODELS = ("session.model", "response.model", "model")
_UP_MODELS = (
    "session.model", "payload.model", "model", "response.model", "session.input_audio_transcription.model",
    "session.audio.input.transcription.model", "session.text_to_speech.model", "parameter.chat.domain",
)  # fmt: skip

_WHOLE_TEXT, _WHOLE_BINARY = 0x81, 0x82
_UP_REACH = 256 * 1024  # a client names its model in its first messages
_REMEMBERED = 16  # things whose usage may still be restated


class _Messages:
    """Text messages put together where they are small, else run through the scanner; `needles` say which are read."""

    __slots__ = ("_held", "_root", "_scanner", "_take", "needles")

    def __init__(self, root: scan.Node, needles: tuple[bytes, ...], take: Callable[[Fields], None]) -> None:
        self._root = root
        self._take = take
        self._held: bytes | bytearray = b""
        self._scanner: PathScanner | None = None
        self.needles = needles

    def piece(self, data: bytes) -> None:
        if self._scanner is None:
            if not self._held and len(data) <= scan.LIMIT:
                self._held = data
                return
            if len(self._held) + len(data) <= scan.LIMIT:
                if not isinstance(self._held, bytearray):
                    self._held = bytearray(self._held)
                self._held += data
                return
            self._scanner = PathScanner(self._root, self._take)
            self._scanner.feed(bytes(self._held))
            self._held = b""
        self._scanner.feed(data)

    def end(self) -> None:
        scanner, self._scanner = self._scanner, None
        held, self._held = self._held, b""
        if scanner is None:
            for needle in self.needles:
                if needle in held:
                    break
            else:
                return
            scanner = PathScanner(self._root, self._take)
            scanner.feed(bytes(held))
        scanner.finish()


class WebSocketUsage:
    """Reads both directions of a WebSocket after its 101 answer, whose Sec-WebSocket-Extensions it is given."""

    __slots__ = ("_counted", "_down", "_down_messages", "_found", "_up", "_up_messages", "_up_seen", "model")

    def __init__(self, extensions: bytes = b"") -> None:
        self.model: str | None = None
        self._found: list[Usage] = []
        self._counted: dict[str, Usage] = {}
        self._down_messages = _Messages(_DOWN, (b"usage", b'"model"'), self._event)
        self._up_messages = _Messages(_UP, (b'"model"', b'"domain"'), self._request)
        self._down = FrameReader(
            deflate_for(extensions, from_server=True), self._down_messages.piece, self._down_messages.end
        )
        self._up = FrameReader(
            deflate_for(extensions, from_server=False), self._up_messages.piece, self._up_messages.end
        )
        self._up_seen = 0

    def feed_down(self, data: bytes) -> Sequence[Usage]:
        """Bytes from the server; the usages that were found in them, to be added up."""
        # Most reads are one small uncompressed message without anything of interest.
        first = self._down.whole(data)
        if first == _WHOLE_BINARY:
            return ()
        if first == _WHOLE_TEXT:
            for needle in self._down_messages.needles:
                if needle in data:
                    break
            else:
                return ()
        self._down.feed(data)
        if not self._found:
            return ()
        found, self._found = self._found, []
        return found

    def feed_up(self, data: bytes) -> None:
        """Bytes from the client, of interest until the model is known."""
        if self.model is None and self._up_seen < _UP_REACH:
            self._up.feed(data[: _UP_REACH - self._up_seen])
            self._up_seen += len(data)

    def _request(self, fields: Fields) -> None:
        for path in _UP_MODELS:
            if self.model is None:
                self.model = label(fields.get(path))

    def _event(self, fields: Fields) -> None:
        for path in _DOWN_MODELS:
            if self.model is None:
                self.model = label(fields.get(path))
        if self.model is not None:
            self._down_messages.needles = (b"usage",)
        found, thing = self._usage_of(fields)
        if found is not None:
            self._add(found, thing)
        if fields.get("is_final") is True:
            self._counted.pop(thing, None)  # MiniMax: one text of the session is spoken, the next one counts anew

    def _usage_of(self, fields: Fields) -> tuple[Usage | None, str]:
        """The event's usage and what it belongs to; an event without an id stands for itself."""
        kind, event = fields.get("type"), fields.get("header.event")
        if isinstance(kind, str):
            if kind not in _BY_TYPE:
                return None, ""
            path, key = _BY_TYPE[kind]
            return usage.openai(fields.get(path)), _name(key[:8], fields.get(key))
        if isinstance(event, str) and event in _TASK_EVENTS:
            reported = fields.get("payload.usage") or fields.get("payload.output.usage")
            return usage.openai(reported), _name("task", fields.get("header.task_id", "-"))
        if "header.sid" in fields:  # Spark: once, in the last frame
            counted = usage.object_of(fields.get("payload.usage")).get("text")
            return usage.openai(counted), _name("task", fields["header.sid"])
        if "extra_info" in fields:
            return usage.minimax_speech(fields), _name("task", fields.get("session_id", "-"))
        return None, ""

    def _add(self, new: Usage, thing: str) -> None:
        if thing:
            old = self._counted.pop(thing, Usage())
            self._counted[thing] = _largest(old, new)
            if len(self._counted) > _REMEMBERED:
                del self._counted[next(iter(self._counted))]
            grown = _growth(old, new)
            if grown is None:
                return
            new = grown
        self._found.append(new)


def _name(kind: str, id: object) -> str:
    return f"{kind}:{id[:100]}" if isinstance(id, str) and id else ""


def _largest(old: Usage, new: Usage) -> Usage:
    names = old.extra_units | new.extra_units
    return Usage(
        max(old.input, new.input),
        max(old.cached_input, new.cached_input),
        max(old.cache_write, new.cache_write),
        max(old.output, new.output),
        max(old.reasoning, new.reasoning),
        {name: max(old.extra_units.get(name, 0), new.extra_units.get(name, 0)) for name in names},
    )


def _growth(old: Usage, new: Usage) -> Usage | None:
    extra = {name: value - old.extra_units.get(name, 0) for name, value in new.extra_units.items()}
    return usage.normal(
        max(new.input - old.input, 0),
        max(new.cached_input - old.cached_input, 0),
        max(new.cache_write - old.cache_write, 0),
        max(new.output - old.output, 0),
        max(new.reasoning - old.reasoning, 0),
        {name: value for name, value in extra.items() if value > 0},
    )
