"""The client's side of a unified call: the whole request in, one answer out. Knows no JSON, no vendor, no money.

It takes an exchange's place at the client's connection (see `server.EdgeHandler`). What is decided about the request
is a coroutine of the plan's; it is driven from here and outlives the client, because a vendor's bill does too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.errors import BadRequest, BodyTooLarge, GatewayError, RequestTimeout
from gateway.wire.body import BadFraming, Chunked, Counted
from gateway.wire.head import CHUNKED
from gateway.wire.plan import CallPlan
from gateway.wire.waiting import Wait

if TYPE_CHECKING:
    from gateway.wire.fetch import Fetch
    from gateway.wire.server import EdgeHandler

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Listener(Protocol):
    """Who decides about a call."""

    def start(self) -> None: ...
    def client_left(self) -> None: ...
    def time_is_up(self) -> None: ...


class _Over:
    """Nobody decides any more. Call and listener hold each other: what is not cut here waits for the collector, which
    counts objects and not the megabytes of a body.
    """

    def start(self) -> None: ...
    def client_left(self) -> None: ...
    def time_is_up(self) -> None: ...


_OVER = _Over()


class ClientLeft(Exception):
    """The client left before its request was complete."""


class Call:
    """One unified request. `listener` decides; `fetch` is the attempt that runs at the moment."""

    ended = False
    begun = False  # whether the answer's head has been written
    left = False  # whether the client is gone
    fetch: Fetch | None = None
    deadline = float("inf")  # of what is still done for a client that left; in the edge's clock
    _incoming: Counted | Chunked | None = None
    _expecting = False
    _size = 0

    def __init__(self, client: EdgeHandler, plan: CallPlan) -> None:
        self.client = client
        self.plan = plan
        self.keep_client = plan.keep_alive
        self.last = client.edge.now
        self.bytes_down = 0
        self._parts: list[bytes] = []
        self._body = Wait()
        self.listener: Listener = plan.listener(self)

    # -- the request ---------------------------------------------------------------------------------------------------

    def start(self, head: bytes, length: int, data: bytes) -> bytes:
        """Takes what there is of the body; returns what lies behind the request."""
        rest = b""
        if length == len(data):
            self._size = length
            self._body.set(data)
        elif length == 0:
            rest = data
            self._body.set(b"")
        else:
            self._incoming = Chunked() if length == CHUNKED else Counted(length)
            self._expecting = self.plan.expects
            if length > self.plan.max_body:
                self._too_large()
            else:
                rest = self._begin(data)
        self.listener.start()
        if self._expecting and self._incoming is not None and not self.ended and not data:
            self.client.transport.write(_CONTINUE)
        return rest

    def client_data(self, data: bytes) -> None:
        self.last = self.client.edge.now
        if self._incoming is None:
            self.client.hold(data)
            return
        if rest := self._begin(data):
            self.client.hold(rest)

    def _begin(self, data: bytes) -> bytes:
        try:
            return self._take(data)
        except BadRequest as error:
            self.fail(error)
            return b""

    def _take(self, data: bytes) -> bytes:
        """Takes bytes of the body; what lies behind its end is returned. Raises BadRequest."""
        if not data:
            return b""
        incoming = self._incoming
        assert incoming is not None
        try:
            pieces, used = incoming.feed(data)
        except BadFraming as exc:
            raise BadRequest(str(exc)) from exc
        self._parts += pieces
        self._size += sum(map(len, pieces))
        if self._size > self.plan.max_body:
            self._too_large()
        elif incoming.done:
            self._incoming = None
            body, self._parts = b"".join(self._parts), []
            self._body.set(body)
        return data[used:] if used < len(data) else b""

    def _too_large(self) -> None:
        # What still comes is not read: the connection ends with the answer.
        self._incoming = None
        self._parts = []
        self.keep_client = False
        self._body.fail(BodyTooLarge(f"the request's body is over {self.plan.max_body} bytes (max_body)"))

    def body(self) -> Wait:
        """The whole body. Raises GatewayError or ClientLeft."""
        return self._body

    @property
    def bytes_up(self) -> int:
        return self._size

    # -- the answer ----------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Writes the answer's head (first) or more of its body."""
        self.begun = True
        self.last = self.client.edge.now
        self.bytes_down += len(data)
        if not self.left:
            self.client.transport.write(data)

    def finish(self) -> None:
        """The answer is complete."""
        if self._end():
            if self._incoming is None:
                self.client.done(self.keep_client, reset=False)
            else:
                self.client.linger()

    def refuse(self, answer: bytes) -> None:
        """The answer, whole, to a request that may not have been read to its end."""
        if self._incoming is not None:
            self.keep_client = False
        self.write(answer)
        if self._end():
            if self.keep_client:
                self.client.done(True, reset=False)
            else:
                self.client.linger()

    def cut(self) -> None:
        """The gateway stops (drain): what is not over now is cut."""
        self.listener.time_is_up()

    def cut_off(self) -> None:
        """Ends the answer visibly in its middle."""
        if self._end():
            # An unchunked stream is ended by close: only a reset shows the cut.
            self.client.done(False, reset=self.plan.old)

    def _end(self) -> bool:
        """Whether there is still a client to be told."""
        first = not self.ended
        self.ended = True
        self.client.edge.active.discard(self)
        self.listener = _OVER
        self.fetch = None
        return first and not self.left

    # -- what the client's connection and the clock tell ---------------------------------------------------------------

    def client_eof(self) -> bool:
        if self._incoming is not None:
            self.client_lost()
            return False
        self.client.watch_absent()
        return True

    def client_lost(self) -> None:
        self.left = True
        if self.fetch is not None:
            self.fetch.resume()
        if self._incoming is not None:
            self._incoming = None
            self._parts = []
            self._body.fail(ClientLeft())
        else:
            self.listener.client_left()

    def client_full(self) -> None:
        if self.fetch is not None:
            self.fetch.pause()

    def client_drained(self) -> None:
        self.last = self.client.edge.now
        if self.fetch is not None:
            self.fetch.resume()

    def check(self, now: float, idle: float, answer: float) -> None:
        """Called now and then: enforces every time limit."""
        if self.left:
            if now >= self.deadline:
                self.listener.time_is_up()
                return
        elif self.client.gone():
            self.client.transport.abort()
            return
        elif self._incoming is not None:
            if now - self.last >= idle:
                self._incoming = None
                self.keep_client = False
                self._body.fail(RequestTimeout("the request's body stopped coming"))
            return
        elif self.client.full and now - self.last >= idle:
            self.client.transport.abort()  # it reads no more: what it has asked for is still charged
            return
        if self.fetch is not None:
            self.fetch.check(now, idle, answer)

    def fail(self, error: GatewayError) -> None:
        """The request is broken (its framing): answered like any other refusal."""
        self._incoming = None
        self.keep_client = False
        self._body.fail(error)
