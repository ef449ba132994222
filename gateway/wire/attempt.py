"""The vendor's side of one call: from a connection of the pool to the parsed head of the answer.

`Exchange` (pass-through) and `Fetch` (unified) are what it can become; they differ in what they do with the answer.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.errors import BadUpstreamReply, GatewayError
from gateway.wire.head import MAX_HEAD, UNTIL_CLOSE, Response, hopeless, parse_response

if TYPE_CHECKING:
    from gateway.wire.pool import Connection, Pool

# A request with a body of up to this size is kept until its answer begins, so that a connection that died in the pool
# can be replaced.
REPLAY_LIMIT = 65536
# ... but only if it died this soon: later, the vendor may already have done the work.
REPLAY_SECONDS = 1.0


class Attempt:
    """One call to a vendor, until the final head of its answer is there (`_answer`)."""

    # Defaults stand in the class: most calls change few of them, and setting each would cost more than the rest.
    upstream: Connection | None = None
    awaiting_head = True
    ended = False
    bodyless = False  # the request was a HEAD
    websocket = False  # the request asked for one
    last = 0.0  # when the last byte was seen
    _buffer = b""
    _outgoing = b""  # waits for a connection
    _replay: bytes | None = None
    _replaced = False
    _untouched = True  # whether the vendor has not sent a single byte
    _sent_at = 0.0
    pool: Pool

    # -- to be filled in -----------------------------------------------------------------------------------------------

    def fail(self, error: GatewayError) -> None:
        """There will be no answer."""
        raise NotImplementedError

    def _interim(self, response: Response) -> None:
        """A 1xx answer."""
        raise NotImplementedError

    def _answer(self, response: Response, head: bytes, data: bytes, end: int) -> None:
        """The final head is here: `data` holds it up to `end`, and perhaps some of the body."""
        raise NotImplementedError

    def _read_body(self, data: bytes, before: bytes, skip: int = 0) -> None:
        raise NotImplementedError

    def _cut_off(self) -> None:
        """The vendor's connection ended in the middle of its answer."""
        raise NotImplementedError

    def ready(self, connection: Connection) -> None:
        """The pool found a connection."""
        raise NotImplementedError

    def upstream_data(self, data: bytes) -> None:
        """The vendor sent something."""
        raise NotImplementedError

    def upstream_eof(self) -> bool:
        """The vendor will send no more. Returns whether its connection stays open for our bytes."""
        raise NotImplementedError

    def upstream_lost(self, exc: Exception | None) -> None:
        """The vendor's connection is gone."""
        raise NotImplementedError

    def upstream_full(self) -> None:
        """The vendor reads slower than we write."""
        raise NotImplementedError

    def upstream_drained(self) -> None:
        raise NotImplementedError

    # -- what the pool and the connection call -------------------------------------------------------------------------

    def failed(self, error: GatewayError) -> None:
        """The pool has no connection to give."""
        if not self.ended:
            self.fail(error)

    def _read_head(self, data: bytes) -> None:
        self._untouched = False
        seen = len(self._buffer)
        if seen:
            data = self._buffer + data
        try:
            while True:
                end = data.find(b"\r\n\r\n", seen - 3 if seen > 3 else 0) + 4
                if end < 4 or end > MAX_HEAD:
                    if len(data) > MAX_HEAD or hopeless(data, seen):
                        raise BadUpstreamReply("the vendor's response head is malformed or too long")
                    self._buffer = data
                    return
                head = data if end == len(data) else data[:end]
                response = parse_response(head, self.bodyless, self.websocket)
                if response.status >= 200 or response.status == 101:
                    break
                self._interim(response)
                data, seen = data[end:], 0
                if not data:
                    self._buffer = b""
                    return
            if response.status == 101 and not self.websocket:
                raise BadUpstreamReply("the vendor switched protocols unasked")
        except BadUpstreamReply as error:
            self.fail(error)
            return
        self._buffer = b""
        self._answer(response, head, data, end)

    def _lost(self, upstream: Connection | None, complete: bool) -> None:
        """The connection is gone; `complete`: the whole request had been sent."""
        if not self.awaiting_head:
            self._cut_off()
        elif upstream is not None and complete and self._may_replace(upstream):
            self._replaced = True
            self._outgoing = self._replay or b""
            self.pool.acquire(self, fresh=True)
        else:
            self.fail(BadUpstreamReply("the vendor closed the connection without an answer"))

    def _may_replace(self, upstream: Connection) -> bool:
        return (
            upstream.used
            and not self._replaced
            and self._untouched
            and self._replay is not None
            and perf_counter() - self._sent_at < REPLAY_SECONDS
        )

    def _hand_back(self, upstream: Connection, response: Response, clean: bool, paused: bool) -> None:
        """After a whole answer: the connection serves the next one if both sides are sure to be where it begins."""
        if (
            response.keep_alive
            and clean
            and response.length != UNTIL_CLOSE
            and not upstream.transport.get_write_buffer_size()
        ):
            if paused:
                upstream.transport.resume_reading()
            self.pool.release(upstream, response.keep_seconds)
        else:
            upstream.close()

    def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()
