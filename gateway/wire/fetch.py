"""One attempt of a unified call: a whole request goes up, its taker is told what comes down."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from gateway.errors import BadUpstreamReply, GatewayError, UpstreamTimeout
from gateway.wire.attempt import REPLAY_LIMIT, Attempt
from gateway.wire.body import BadFraming, Chunked, Counted
from gateway.wire.head import CHUNKED, UNTIL_CLOSE, Response

if TYPE_CHECKING:
    from gateway.wire.pool import Connection, Pool
    from gateway.wire.server import Edge


class Taker(Protocol):
    """Who is told of an answer: `head`, then pieces, then `finished`; or `broken` at any point, and then no more."""

    def head(self, response: Response) -> None: ...
    def piece(self, data: bytes) -> None: ...
    def finished(self) -> None: ...
    def broken(self, error: GatewayError) -> None: ...


class Fetch(Attempt):
    """Sends `request` (head and body) over a connection of the pool once `start` is called."""

    _body: Counted | Chunked | None = None
    _response: Response | None = None
    _paused = False

    def __init__(self, pool: Pool, edge: Edge, taker: Taker) -> None:
        self.pool = pool
        self._edge = edge
        self._taker = taker
        self.last = self._asked = edge.now

    def start(self, request: bytes) -> None:
        self._outgoing = request
        if len(request) <= REPLAY_LIMIT:
            self._replay = request
        self.pool.acquire(self)

    def ready(self, connection: Connection) -> None:
        if self.ended:
            self.pool.release(connection, 0)  # given up meanwhile; the next one finds it warm
            return
        connection.exchange = self
        self.upstream = connection
        out, self._outgoing = self._outgoing, b""
        if connection.used:
            self._sent_at = perf_counter()
        self.last = self._asked = self._edge.now
        connection.transport.write(out)

    def upstream_full(self) -> None:
        pass  # the request is whole in memory: the transport takes it as fast as it can

    def upstream_drained(self) -> None:
        self.last = self._asked = self._edge.now  # the vendor reads on: its time to answer begins anew

    # -- down ----------------------------------------------------------------------------------------------------------

    def upstream_data(self, data: bytes) -> None:
        self.last = self._edge.now
        if self.awaiting_head:
            self._read_head(data)
        else:
            self._read_body(data, b"")

    def _interim(self, response: Response) -> None:
        pass

    def _answer(self, response: Response, head: bytes, data: bytes, end: int) -> None:
        self.awaiting_head = False
        self._replay = None
        self._response = response
        length = response.length
        self._body = Chunked() if length == CHUNKED else Counted(None if length == UNTIL_CLOSE else length)
        self._taker.head(response)
        if not self.ended:
            self._read_body(data[end:], b"")

    def _read_body(self, data: bytes, before: bytes, skip: int = 0) -> None:
        body = self._body
        assert body is not None
        try:
            pieces, used = body.feed(data) if data else ((), 0)
        except BadFraming:
            self.fail(BadUpstreamReply("the vendor's body is framed wrongly"))
            return
        if pieces:
            self._taker.piece(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if body.done and not self.ended:
            self._complete(used < len(data))

    def _complete(self, surplus: bool) -> None:
        upstream, self.upstream = self.upstream, None
        response = self._response
        assert upstream is not None
        assert response is not None
        self._hand_back(upstream, response, not surplus, self._paused)
        self.ended = True
        self._taker.finished()

    def upstream_eof(self) -> bool:
        if isinstance(self._body, Counted) and self._body.left is None:
            self._complete(False)
        else:
            self.upstream_lost(None)
        return False

    def upstream_lost(self, exc: Exception | None) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()
        if not self.ended:
            self._lost(upstream, complete=True)

    def _cut_off(self) -> None:
        self.fail(BadUpstreamReply("the vendor's answer was cut off"))

    def fail(self, error: GatewayError) -> None:
        if not self.ended:
            self.abandon()
            self._taker.broken(error)

    # -- what the call asks for ----------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """Gives up; the taker hears nothing more."""
        self.ended = True
        self._drop_upstream()

    def pause(self) -> None:
        if self.upstream is not None and not self._paused:
            self._paused = True
            self.upstream.transport.pause_reading()

    def resume(self) -> None:
        if self.upstream is not None and self._paused:
            self._paused = False
            self.upstream.transport.resume_reading()
            self.last = self._edge.now

    def check(self, now: float, idle: float, answer: float) -> None:
        """Called now and then: ends what has been silent for too long."""
        if self.upstream is None or self._paused:
            return
        silent = now - self.last >= idle
        if self.awaiting_head:
            if silent or now - self._asked >= answer:
                self.fail(UpstreamTimeout("the vendor did not answer in time"))
        elif silent:
            self.fail(UpstreamTimeout("the vendor fell silent in the middle of its answer"))
