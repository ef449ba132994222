"""A vendor's stream, event by event, into that of a surface. No clock, no socket; memory is one event at most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.dialects import scan, sse
from gateway.dialects.chat import form
from gateway.dialects.chat.call_ids import CallIds
from gateway.dialects.chat.dialect import StreamReader, StreamWriter, Vendor
from gateway.dialects.chat.events import Collector, events_of
from gateway.dialects.chat.form import Answer, Event
from gateway.errors import BadUpstreamReply
from gateway.types import Usage

_LIMIT = 32 << 20  # of one event: pictures come in one
_KEPT = (form.ThoughtPiece, form.ThoughtEnded, form.RedactedThought, form.CallBegan, form.CallPiece, form.CallSigned)
_MOST_KEPT = 1 << 20  # characters of thoughts, signatures and calls, by which they are found; longer ones are not kept
_JSON_BEGINS = (b"{", b"[")


class Transform:
    """One stream. `feed` takes what `streams.Stream` lets go: whole events nearly always."""

    def __init__(self, vendor: Vendor, writer: StreamWriter, seed: str, origin: str = "") -> None:
        """`origin`: the vendor's dialect, whose signatures may have to be kept."""
        self._vendor = vendor
        self._seed = seed
        self._reader: StreamReader = vendor.stream(seed)
        self._writer = writer
        self._carry = bytearray()
        self._started = False
        self._begun = False  # whether the client has got an event
        self._kept = Collector(origin)
        self._size = 0  # of that
        self._ids = CallIds(seed)

    def feed(self, data: bytes) -> bytes:
        """The client's bytes for the vendor's. Raises BadUpstreamReply."""
        try:
            return self._feed(data)
        except scan.UNREADABLE as exc:
            raise BadUpstreamReply("the vendor's stream holds an event that is not readable") from exc

    def finish(self, usage: Usage) -> bytes:
        """The end of an answer that finished."""
        return self._writer.end(usage)

    def collected(self) -> Answer | None:
        """Calls and thoughts of the stream, if it had both: they may be wanted back with the next turn."""
        answer = self._kept.answer()
        calls = any(isinstance(part, form.ToolCall) for part in answer.parts)
        return answer if calls and self._size <= _MOST_KEPT else None

    def last(self, data: bytes) -> bytes:
        """The same as `feed`, for the vendor's last bytes: an event may lack its blank line, or more."""
        out = self.feed(data) if data else b""
        if not self._carry:
            return out
        try:
            return out + self._feed(b"\n\n")
        except scan.UNREADABLE:
            return out  # cut in the midst, behind the finish: else there would be no last bytes

    def _feed(self, data: bytes) -> bytes:
        if not self._started:
            begin = data.lstrip(sse.BLANK)
            if not begin:
                return b""
            self._started = True
            if begin.startswith(_JSON_BEGINS):  # a document where a stream was asked for: it comes in one piece
                return self._written(events_of(self._vendor.read(begin, self._seed)))
        carry = self._carry
        known = len(carry)
        if known:
            carry += data
        end = sse.event_end(carry or data, max(known - 3, 0))
        if end < 0:
            self._wait(b"" if known else data)
            return b""
        if known:
            data = bytes(carry)
            carry.clear()
        out: list[bytes] = []
        start = 0
        while end >= 0:
            payload, name = sse.read_event(data[start:end])
            if payload and payload != b"[DONE]":
                told = self._written(self._reader.read(payload, name))
                out.append(told or (self._alive() if name == b"ping" else b""))
            elif data[start:end].lstrip(sse.BLANK).startswith(b":"):
                out.append(self._alive())
            start = end
            end = sse.event_end(data, start)
        self._wait(data[start:])
        return b"".join(out)

    def _wait(self, data: bytes) -> None:
        """For the rest of an event."""
        self._carry += data
        if len(self._carry) > _LIMIT:
            raise BadUpstreamReply("the vendor's stream holds an event that is larger than the gateway accepts")

    def _alive(self) -> bytes:
        """The vendor only says that it is still there; so do we, for whoever waits on the other side."""
        return self._writer.PING if self._begun else b""

    def _written(self, events: Iterable[Event]) -> bytes:
        out = []
        for event in events:
            if isinstance(event, _KEPT):
                if isinstance(event, form.CallBegan) and (id := self._ids.take(event.id)) != event.id:
                    event = msgspec.structs.replace(event, id=id)
                self._keep(event)
            out.append(self._writer.write(event))
            self._begun = self._begun or bool(out[-1])
        return out[0] if len(out) == 1 else b"".join(out)

    def _keep(self, event: Event) -> None:
        if isinstance(event, form.ThoughtPiece):
            self._size += len(event.text)
        elif isinstance(event, form.RedactedThought):
            self._size += len(event.data)
        elif isinstance(event, form.CallPiece):
            self._size += len(event.arguments)
        elif isinstance(event, form.ThoughtEnded | form.CallBegan | form.CallSigned):
            self._size += len(event.signature)
        if self._size <= _MOST_KEPT:
            self._kept.take((event,))


def arguments(text: str) -> dict[str, Any]:
    """A call's arguments as an object, for dialects that have them so: none is an empty one, what is no JSON object is
    kept as it was said.
    """
    if not text.strip():
        return {}
    value = scan.decode(text.encode(errors="replace"))
    return value if isinstance(value, dict) else {"_raw": text}
