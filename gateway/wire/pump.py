"""One exchange: a request on its way up, its answer on its way down.

Runs in the two connections' callbacks, without a task. The vendor's bytes go to the client as read, while a follower
(`body.py`) watches where the message ends; the record beside the stream sees each piece after it has been written.

    dialling ──ready──► awaiting_head ──head──► body ──end──► ended(complete)
        │                    │                   └──101────► tunnel ──► ended
        └── failed ──────────┴── error answer, ended          any state: client left, cut, idle ──► ended

An exchange ends once, in `_end`; whoever ends it also decides what becomes of both connections.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway import types
from gateway.errors import BadRequest, BadUpstreamReply, GatewayError, RequestTimeout, UpstreamTimeout
from gateway.wire.attempt import REPLAY_LIMIT, Attempt
from gateway.wire.body import BadFraming, Chunked, Counted, chunk
from gateway.wire.head import CHUNKED, UNTIL_CLOSE, Response, rebuild_trailers, with_close, without_field
from gateway.wire.plan import Plan
from gateway.wire.tunnel import Tunnel

if TYPE_CHECKING:
    from gateway.wire.pool import Connection
    from gateway.wire.server import EdgeHandler


class Exchange(Attempt):
    """See the module's drawing. Created with its plan; `start` sends it on its way."""

    body: Counted | Chunked | None = None  # follows the answer's body
    tunnel: Tunnel | None = None
    _request: Counted | Chunked | None = None  # follows the request's body; None once complete
    _response: Response | None = None
    _dechunk = False
    _room = REPLAY_LIMIT  # bytes of the body that may still be kept for a replay
    _held_up = False  # whether the client waits because the vendor does not read

    def __init__(self, client: EdgeHandler, plan: Plan) -> None:
        self.client = client
        self.plan = plan
        self.pool = plan.pool
        if plan.bodyless:
            self.bodyless = True
        if plan.websocket:
            self.websocket = True
        self.keep_client = plan.keep_alive
        self.last = self._asked = client.edge.now  # the last byte; when the request was complete
        self._record = plan.record()

    # -- up ------------------------------------------------------------------------------------------------------------

    def start(self, head: bytes, length: int, data: bytes) -> bytes:
        """Sends head and what there is of the body; returns what lies behind the request (the next one's bytes)."""
        rest = whole = b""
        if length == 0:
            data, rest = b"", data
        elif len(data) == length:
            whole = data
        else:
            self._request = Chunked() if length == CHUNKED else Counted(length)
            data, rest = self._frame(data)
        out = head + data if data else head
        self._room -= len(data)
        if self._room >= 0:
            self._replay = out
        self._outgoing = out
        record = self._record
        self.pool.acquire(self)
        if not self.ended:
            record.handed()
            if whole and record.wants_body:
                record.body(whole)
        return rest

    def client_data(self, data: bytes) -> None:
        self.last = self.client.edge.now
        if self.tunnel is not None:
            self.tunnel.up(data)
            return
        if self._request is None:
            self.client.hold(data)
            return
        try:
            out, rest = self._frame(data)
        except BadRequest as error:
            self.fail(error)
            return
        if rest:
            self.client.hold(rest)
        if out:
            self._send(out)

    def _frame(self, data: bytes) -> tuple[bytes, bytes]:
        """The client's bytes as the vendor gets them, and what lies behind the request's end. Raises BadRequest."""
        body = self._request
        assert body is not None
        if not data:
            return b"", b""
        try:
            pieces, used = body.feed(data)
        except BadFraming as exc:
            raise BadRequest(str(exc)) from exc
        record = self._record
        for piece in pieces:
            if record.wants_body:
                record.body(piece)
        if isinstance(body, Chunked):
            out = b"".join([chunk(piece) for piece in pieces])
            if body.done:
                out += b"0\r\n" + rebuild_trailers(body.trailers)
        else:
            out = data if used == len(data) else data[:used]
        if body.done:
            self._request = None
            self._asked = self.last
        return out, data[used:] if used < len(data) else b""

    def _send(self, out: bytes) -> None:
        if self._replay is not None:
            self._room -= len(out)
            self._replay = self._replay + out if self._room >= 0 else None
        if self.upstream is not None:
            self._record.sent(len(out))
            self.upstream.transport.write(out)
            return
        self._outgoing += out
        if len(self._outgoing) > REPLAY_LIMIT:
            self.upstream_full()

    def ready(self, connection: Connection) -> None:
        """The pool found a connection."""
        if self.ended:
            self.pool.release(connection, 0)  # the client left meanwhile; the next one finds it warm
            return
        connection.exchange = self
        self.upstream = connection
        out, self._outgoing = self._outgoing, b""
        if connection.used:
            self._sent_at = perf_counter()
        if self._held_up:
            self.upstream_drained()
        connection.transport.write(out)
        self._record.sent(len(out))
        if self.client.full:
            connection.transport.pause_reading()

    def upstream_full(self) -> None:
        self._held_up = True
        self.client.pause(self)

    def upstream_drained(self) -> None:
        self._held_up = False
        self.client.resume(self)

    # -- down ----------------------------------------------------------------------------------------------------------

    def upstream_data(self, data: bytes) -> None:
        self.last = self.client.edge.now
        if self.tunnel is not None:
            self.tunnel.down(data)
        elif self.awaiting_head:
            self._read_head(data)
        else:
            self._read_body(data, b"")

    def _interim(self, response: Response) -> None:
        if not self.plan.old:
            self.client.write(response.forward)

    def _answer(self, response: Response, head: bytes, data: bytes, end: int) -> None:
        """The final head is here: `data` holds it up to `end`, and perhaps some of the body."""
        self.awaiting_head = False
        self._replay = None
        self._response = response
        if response.status == 101:
            self._open_tunnel(response, data[end:])
            return
        length = response.length
        forward = response.forward
        if self.plan.old and length == CHUNKED:
            self._dechunk = True
            forward = without_field(forward, b"transfer-encoding")
        if length == UNTIL_CLOSE:
            self.keep_client = False  # the body's end is the connection's
        elif self.keep_client and self.client.edge.draining:
            self.keep_client = False
            forward = with_close(forward)
        elif not self.keep_client:
            forward = with_close(forward)
        if length == len(data) - end and self._request is None:
            # The whole answer in one piece: written in one, recorded in one.
            body = data[end:]
            out = data if forward is head else forward + body
            self.client.transport.write(out)
            self._record.whole(response, body, len(out))
            self._complete()
            return
        self.body = Chunked() if length == CHUNKED else Counted(None if length == UNTIL_CLOSE else length)
        self._record.head(response)
        if end == len(data):
            self._read_body(b"", forward)
        elif forward is head:
            # Nothing was taken out: the vendor's own bytes can go as they are, head and body in one write.
            self._read_body(data, b"", end)
        else:
            self._read_body(data[end:], forward)

    def _read_body(self, data: bytes, before: bytes, skip: int = 0) -> None:
        """Forwards `before` and the body's bytes in `data`, of which the first `skip` are a head to go with them."""
        body = self.body
        assert body is not None
        try:
            pieces, used = body.feed(data[skip:] if skip else data) if data else ((), 0)
        except BadFraming:
            if before or skip:
                self.fail(BadUpstreamReply("the vendor's body is framed wrongly"), begun=False)
            else:
                self._cut(types.END_VENDOR_TRUNCATED)
            return
        used += skip
        surplus = used < len(data)
        out = data[:used] if surplus else data
        if self._dechunk:
            out = b"".join(pieces)
        if before:
            out = before + out
        if out:
            self.client.transport.write(out)
            self._record.feed(pieces[0] if len(pieces) == 1 else b"".join(pieces), len(out))
        if body.done and not self.ended:
            self._complete(surplus)

    def _complete(self, surplus: bool = False) -> None:
        """The whole answer has been passed on."""
        upstream = self.upstream
        response = self._response
        assert upstream is not None
        assert response is not None
        request_done = self._request is None
        self.upstream = None
        self._hand_back(upstream, response, request_done and not surplus, self.client.full)
        self._end(types.END_COMPLETE, response.status)
        if request_done:
            self.client.done(self.keep_client, reset=False)
        else:
            self.client.linger()

    def upstream_eof(self) -> bool:
        """The vendor will send no more. Returns whether its connection stays open for our bytes."""
        if self.tunnel is not None:
            return self.tunnel.upstream_eof()
        body = self.body
        if isinstance(body, Counted) and body.left is None:
            self._complete()
        else:
            self.upstream_lost(None)
        return False

    def upstream_lost(self, exc: Exception | None) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()
        if self.ended:
            return
        if self.tunnel is not None:
            self.tunnel.lost(exc)
        else:
            self._lost(upstream, self._request is None)

    def _cut_off(self) -> None:
        self._cut(types.END_VENDOR_TRUNCATED)

    def client_full(self) -> None:
        if self.upstream is not None:
            self.upstream.transport.pause_reading()

    def client_drained(self) -> None:
        if self.upstream is not None:
            self.upstream.transport.resume_reading()

    # -- tunnel --------------------------------------------------------------------------------------------------------

    def _open_tunnel(self, response: Response, rest: bytes) -> None:
        self.keep_client = False
        self._record.head(response)
        self._record.opened(response.extensions)
        self.tunnel = Tunnel(self, self._record)
        self.client.write(response.forward)
        self._record.feed(b"", len(response.forward))
        if rest:
            self.tunnel.down(rest)
        if not self.ended and (early := self.client.take_held()):
            self.tunnel.up(early)

    def close_tunnel(self, reason: str, reset: bool) -> None:
        """Ends a tunnel: both sides closed (`reset`: visibly cut)."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.finish()  # what the client said last (its close frame, say) still goes out
        self._end(reason, 101)
        self.client.done(False, reset)

    # -- ends ----------------------------------------------------------------------------------------------------------

    def client_eof(self) -> bool:
        """The client will send no more. Returns whether it still gets an answer."""
        if self.tunnel is not None:
            return self.tunnel.client_eof()
        if self._request is not None:
            self.client_lost()
            return False
        self.client.watch_absent()
        return True

    def client_lost(self) -> None:
        """The client is gone: so is, at once, what the vendor does for it."""
        self._drop_upstream()
        self._end(types.END_CLIENT_LEFT, self._status(499))

    def check(self, now: float, idle: float, answer: float) -> None:
        """Called now and then: ends what is over without the loop's knowledge, or has been silent for too long."""
        if self.client.gone():
            self.client.transport.abort()
            return
        silent = now - self.last >= idle
        if self.tunnel is not None or not self.awaiting_head:
            if silent:
                self._cut(types.END_IDLE_TIMEOUT)
        elif self.upstream is not None:
            if self._request is not None:
                if silent and self._held_up:
                    self.fail(UpstreamTimeout("the vendor stopped reading the request"))
                elif silent:
                    self.fail(RequestTimeout("the request's body stopped coming"))
            elif silent or now - self._asked >= answer:
                self.fail(UpstreamTimeout("the vendor did not answer in time"))

    def cut(self) -> None:
        """Ends a stream whose time is over (drain)."""
        if self.awaiting_head:
            self.fail(UpstreamTimeout("the gateway is stopping and could not wait any longer"))
        else:
            self._cut(types.END_LIMIT)

    def fail(self, error: GatewayError, begun: bool | None = None) -> None:
        """Ends the exchange with an error answer, or, where an answer has begun, with a cut."""
        begun = not self.awaiting_head if begun is None else begun
        if begun:
            reason = types.END_CLIENT_LEFT if isinstance(error, BadRequest) else types.END_VENDOR_TRUNCATED
            self._cut(reason)
            return
        self._drop_upstream()
        self._end("", error.status, error.code)
        self.client.refuse(error, keep=self.keep_client and self._request is None)

    def _cut(self, reason: str) -> None:
        self._drop_upstream()
        response = self._response
        # Where the end of the connection would be a clean end, only a reset shows the cut.
        by_close = self.tunnel is not None or self._dechunk
        by_close = by_close or (response is not None and response.length == UNTIL_CLOSE)
        self._end(reason, self._status(0))
        self.client.done(False, reset=by_close)

    def _status(self, unanswered: int) -> int:
        return self._response.status if self._response is not None else unanswered

    def _end(self, reason: str, status: int, error: str = "") -> None:
        self.ended = True
        self.client.edge.active.discard(self)
        self._record.end(reason, status, error)
