"""One attempt's answer as it comes in: what it is, and whether it may already go to the client.

```
 head ──► an error status ──► its body, bounded ──► `begun` fails: VendorRefused
      ├─► a document ───────► whole body ─────────► `begun`: judged when it is complete
      └─► a stream ─────────► judged event by event: held back until the first good one ──► `begun`
                               then each piece to the client, up to the terminal event ───► `over`
```

What has been judged is the vendor's own bytes. Where the client speaks another dialect, a transform stands between that
and the client; it is given the held end before anything is charged, so that an end that cannot be read costs nothing.

`begun` decides about failover: until it is set, the client has seen nothing. `over` is when the charge can be settled;
`closed` when the vendor has nothing more to say.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from gateway.dialects.answers import Verdict
from gateway.dialects.array_stream import ArrayStream
from gateway.dialects.chat.form import Answer
from gateway.dialects.error_forms import VendorError, read_error
from gateway.dialects.streams import Stream
from gateway.errors import BadUpstreamReply, GatewayError, Internal, Source, place_of
from gateway.types import Usage
from gateway.wire.head import Response, retry_after
from gateway.wire.waiting import Wait

_log = logging.getLogger("gateway")
# A document is held whole, for its errors may hide behind a 200 and its cost stands in the answer's head.
MAX_DOCUMENT = 64 << 20
_MAX_ERROR = 256 << 10
_MAX_HELD = 1 << 20  # of a stream before its first event


class Inflater(Protocol):
    def feed(self, data: bytes) -> Iterable[bytes]: ...


class Turning(Protocol):
    """A vendor's stream into the surface's form (`dialects/chat/transform.py`)."""

    def feed(self, data: bytes, /) -> bytes: ...
    def last(self, data: bytes, /) -> bytes: ...
    def finish(self, usage: Usage, /) -> bytes: ...
    def collected(self) -> Answer | None: ...


class VendorRefused(GatewayError):
    """The vendor answered with an error, whatever the HTTP status was."""

    code, source, retry = "vendor_error", Source.UPSTREAM, True

    def __init__(self, error: VendorError, retry_after: float | None = None, hidden: bool = False) -> None:
        super().__init__(error.message, param=error.param, retry_after=retry_after or error.retry_after)
        self.status = error.status
        self.error = error
        self.hidden = hidden  # in an HTTP 200

    def cleaned(self, clean: Callable[[str], str]) -> VendorRefused:
        """The same with all of the vendor's words cleaned: a secret may stand in any of them."""
        error = self.error
        words = {name: clean(text) for name in ("message", "type", "code", "param") if (text := getattr(error, name))}
        return VendorRefused(msgspec.structs.replace(error, **words), self.retry_after, self.hidden)


class Reply:
    """The taker of a `wire.fetch.Fetch` (see there for what is called when). `over` and `closed` are a stream's."""

    status = 0
    content_type = b""
    body = b""  # of a document, once it is judged
    verdict: Verdict | None = None
    stream: Stream | ArrayStream | None = None
    over: Wait
    closed: Wait
    broken_by: GatewayError | None = None  # why it ended, if not well; behind the finish that may not matter
    failed = False  # the answer could not be read
    transform: Turning | None = None
    answer: Answer | None = None  # of a converted document
    heard: Callable[[bytes], None] | None = None  # is told a stream in the vendor's own bytes
    _end = b""  # of a converted stream, but for what tells the usage
    _inflater: Inflater | None = None
    _size = 0
    _limit = MAX_DOCUMENT
    _retry_after: float | None = None
    _live = False  # whether pieces go to the client at once
    _passing = False  # whether the terminal event has gone: nothing is judged any more

    def __init__(
        self,
        dialect: str,
        hide_usage: bool,
        choices: int,
        inflate: Callable[[bytes], Inflater | None],
        write: Callable[[bytes], None],
        seen: Callable[[], None],
        array: bool = False,
    ) -> None:
        """`array`: the stream was asked for as one JSON array (Gemini)."""
        self.begun = Wait()
        self._dialect = dialect
        self._hide_usage = hide_usage
        self._choices = choices
        self._inflate = inflate
        self._write = write
        self._seen = seen  # called when the vendor's head is there
        self._array = array
        self._parts: list[bytes] = []

    # -- what the fetch tells ------------------------------------------------------------------------------------------

    def head(self, response: Response) -> None:
        self._seen()
        self.status = response.status
        self.content_type = response.content_type
        if response.content_encoding:
            self._inflater = self._inflate(response.content_encoding)
            if self._inflater is None:
                self._fail(BadUpstreamReply("the vendor's answer has an unknown content encoding"))
                return
        if not 200 <= response.status < 300:
            self._retry_after = retry_after(response.forward)
            self._limit = _MAX_ERROR
        elif b"event-stream" in response.content_type:
            self.over, self.closed = Wait(), Wait()
            self.stream = Stream(self._dialect, response.content_type, self._hide_usage, self._choices)
        elif self._array:
            self.over, self.closed = Wait(), Wait()
            self.stream = ArrayStream(self._dialect, self._hide_usage, self._choices)

    def piece(self, data: bytes) -> None:
        if self.failed:
            return  # what follows a hole would look like the rest of the answer
        try:
            if self._inflater is None:
                self._take(data)
            else:
                for part in self._inflater.feed(data):
                    self._take(part)
        except GatewayError as error:
            self._misread(error)
        except Exception as exc:
            self._mistaken(exc)

    def finished(self) -> None:
        try:
            if self.stream is None:
                self._document_ended()
            else:
                self._stream_ended()
        except Exception as exc:
            self._mistaken(exc)
        if self.stream is not None:
            self.closed.set()

    def broken(self, error: GatewayError) -> None:
        self.broken_by = error
        if self.stream is None and self.status and not 200 <= self.status < 300:
            self._document_ended()  # an error answer that was cut is still one
        else:
            self._fail(error)
        if self.stream is not None:
            self.closed.set()

    # -- what the walk asks for ----------------------------------------------------------------------------------------

    def document(self) -> bytes:
        """The whole body; to be asked for once."""
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        return body

    def collected(self) -> Answer | None:
        """What is worth keeping of a converted stream."""
        return self.transform.collected() if self.transform is not None else None

    def go_live(self) -> bytes:
        """From now on pieces go to the client; returns what was held back."""
        self._live = True
        return self.document()

    def read_end(self) -> None:
        """A converted stream is over: what it held back is read, before anything is charged."""
        if self.transform is None or self.stream is None or not self.stream.finished or self.failed:
            return
        try:
            self._end = self.transform.last(self.stream.finish())
        except GatewayError as error:
            self._misread(error)
        except Exception as exc:
            self._mistaken(exc)

    def pass_on(self, usage: Usage) -> bytes:
        """The charge is settled: returns the end. What the vendor says yet goes to the client as it is, or to nobody
        where the answer was converted.
        """
        assert self.stream is not None
        self._passing = True
        return self.stream.finish() if self.transform is None else self._end + self.transform.finish(usage)

    # ------------------------------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        stream = self.stream
        if stream is None:
            self._hold(data)
            return
        if self._passing:
            if self.transform is None:
                self._write(data)
            return
        out = stream.feed(data)
        if out and self.transform is not None:
            out = self.transform.feed(out)
        elif out and self.heard is not None:
            self.heard(out)
        if stream.error is not None:
            self._stream_failed(stream.error)
        elif self._live:
            if out:
                self._write(out)
            if stream.ended:
                self.over.set()
        else:
            if out:
                self._hold(out)
            if stream.begun or stream.ended:
                self.begun.set()
            if stream.ended:
                self.over.set()

    def _hold(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > (self._limit if self.stream is None else _MAX_HELD):
            if self._limit == _MAX_ERROR:
                return  # enough of an error is known
            self._fail(BadUpstreamReply("the vendor's answer is larger than the gateway accepts"))
            return
        self._parts.append(data)

    def _document_ended(self) -> None:
        if 200 <= self.status < 300:
            self.begun.set()
        else:
            error = read_error(self.status, self.content_type, self.document())
            self.begun.fail(VendorRefused(error, self._retry_after))

    def _stream_ended(self) -> None:
        stream = self.stream
        assert stream is not None
        stream.end()
        if stream.error is not None:
            self._stream_failed(stream.error)
            return
        self.begun.set()
        self.over.set()

    def _mistaken(self, exc: Exception) -> None:
        """Our own mistake about an answer must not leave the call without an end: its hold would stay open."""
        _log.error("%s %s: an answer is given up", type(exc).__name__, place_of(exc))
        self._misread(Internal("the gateway failed; its log says where"))

    def _misread(self, error: GatewayError) -> None:
        """What was received is no good, whatever its end says."""
        self.failed = True
        self._fail(error)

    def _stream_failed(self, error: VendorError) -> None:
        self._misread(VendorRefused(error, hidden=True))

    def _fail(self, error: GatewayError) -> None:
        if self.broken_by is None:
            self.broken_by = error
        self.begun.fail(error)
        if self.stream is not None:
            self.over.set()
