"""The accept point: one protocol per client connection, and who takes each request.

`EdgeHandler` reads heads. A request that has a plan (see `plan.Plan`) becomes an exchange; any other goes to aiohttp on
the same connection (`guest.py`), and when that is done the connection is ours again: load balancers mix both.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import msgspec

from gateway.errors import BadRequest, Draining, GatewayError, HeadTooLarge, Overloaded, RequestTimeout
from gateway.wire.body import BadFraming, Chunked, Counted
from gateway.wire.call import Call
from gateway.wire.guest import Guest, GuestFactory
from gateway.wire.head import CHUNKED, MAX_HEAD, Request, empty_lines, hopeless, parse_request
from gateway.wire.plan import CallPlan, Plan
from gateway.wire.pump import Exchange

if TYPE_CHECKING:
    from gateway.wire.pool import Pool

# Bytes of following requests that a connection may hold while one is being answered.
_HOLD_LIMIT = 65536
# How long a refused client may go on sending before it is cut; cutting at once would destroy the answer on its way.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1 << 20
_PROBES = (
    ((socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 15),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), 15),
)
_TCP_CLOSE = 7
_RESET = struct.pack("ii", 1, 0)

_REASONS = {
    400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found", 408: b"Request Timeout",
    431: b"Request Header Fields Too Large", 501: b"Not Implemented", 502: b"Bad Gateway",
    503: b"Service Unavailable", 504: b"Gateway Timeout",
}  # fmt: skip


class Limits(msgspec.Struct, frozen=True):
    """The server's limits; times in seconds."""

    max_connections: int = 20000
    head_timeout: float = 30.0
    idle_timeout: float = 600.0
    answer_timeout: float = 600.0


class Edge:
    """What all connections of one process share: the router, the limits, who is active, the coarse clock."""

    def __init__(
        self,
        route: Callable[[Request], Plan | CallPlan | None],
        refused: Callable[[Request | None, GatewayError], str],
        guests: GuestFactory,
        limits: Limits,
    ) -> None:
        self.route = route
        self.refused = refused  # records a refusal; returns the request id to answer with
        self.guests = guests
        self.limits = limits
        self.epoch = 0
        self.draining = False
        self.now = 0.0  # seconds, set a few times a second: precise enough for time limits and free to read
        self.active: set[Exchange | Call] = set()
        self.handlers: set[EdgeHandler] = set()

    def __call__(self) -> EdgeHandler:
        return EdgeHandler(self)

    def sweep(self) -> None:
        """Enforces every time limit; to be called a few times in the shortest of them, after setting `now`."""
        now, limits = self.now, self.limits
        for exchange in list(self.active):
            exchange.check(now, limits.idle_timeout, limits.answer_timeout)
        for handler in list(self.handlers):
            handler.check(now, limits)

    def close_stale(self, pools: list[Pool]) -> None:
        for pool in pools:
            pool.close_stale(self.now)


class EdgeHandler(asyncio.Protocol):
    __slots__ = (
        "_discard", "_guest", "_lingering", "_paused_by", "_pending", "_plan", "_prefix", "_seen", "_since", "_suffix",
        "_turn_due", "edge", "exchange", "full", "half_closed", "transport",
    )  # fmt: skip

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.exchange: Exchange | Call | None = None
        self.full = False  # whether the client reads slower than we write
        self.half_closed = False
        self._guest: Guest | None = None
        self._pending = b""  # an incomplete head, or requests that wait for their turn
        self._seen = 0  # how much of an incomplete head has been searched for its end
        self._since = edge.now  # when the present head (or the silence before it) began
        self._paused_by: set[object] | None = None
        self._lingering = False
        self._turn_due = False  # whether the next request waits for the loop's next round
        self._discard = 0
        # The last head that was given a plan, cut around Content-Length's digits: kept-alive clients send it again.
        self._plan: Plan | CallPlan | None = None
        self._prefix = b""
        self._suffix = b""

    # -- the client's connection ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.edge.handlers.add(self)
        if len(self.edge.handlers) > self.edge.limits.max_connections:
            self.refuse(Overloaded("too many connections are open; try again in a moment"), keep=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.edge.handlers.discard(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None and not exchange.ended:
            exchange.client_lost()
        if self._guest is not None:
            self._guest.lost(exc)
            self._guest = None

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.client_data(data)
        elif self._lingering:
            self._discard += len(data)
            if self._discard > _LINGER_BYTES:
                self.transport.abort()
        elif self._guest is not None and self._guest.busy:
            self._feed_guest(data)
        elif self._pending:
            self._accept(self._pending + data)
        else:
            self._accept(data)

    def eof_received(self) -> bool:
        self.half_closed = True
        if not self.transport.can_write_eof():
            return False  # TLS has no half-closed connections here: the transport closes, and `connection_lost` follows
        if self.exchange is not None:
            return self.exchange.client_eof()
        if self._guest is not None and self._guest.busy:
            return not self._guest.incomplete
        if self._turn_due:
            return True  # requests that came before the end still get their answers
        if self._pending and not self._lingering:
            self._refuse_unfinished()
        return False

    def _refuse_unfinished(self) -> None:
        self.refuse(BadRequest("the connection was closed in the middle of a request head"), keep=False)

    def pause_writing(self) -> None:
        self.full = True
        if self.exchange is not None:
            self.exchange.client_full()
        elif self._guest is not None:
            self._guest.handler.pause_writing()

    def resume_writing(self) -> None:
        self.full = False
        if self.exchange is not None:
            self.exchange.client_drained()
        elif self._guest is not None:
            self._guest.handler.resume_writing()

    # -- requests ------------------------------------------------------------------------------------------------------

    def _accept(self, data: bytes) -> None:
        """Takes one request from the front of `data`."""
        plan = self._plan
        if plan is not None and plan.epoch == self.edge.epoch and data.startswith(self._prefix):
            # The head of the request before, again: all that can differ is the length of the body.
            if not self._suffix:
                self._begin(plan, plan.before, CHUNKED if plan.chunked else 0, data[len(self._prefix) :])
                return
            start = len(self._prefix)
            end = data.find(b"\r", start, start + 20)
            if end > start and data.startswith(self._suffix, end):
                digits = data[start:end]
                if digits.isdigit() and len(digits) <= 18:
                    self._begin(plan, plan.before + digits + plan.after, int(digits), data[end + len(self._suffix) :])
                    return
        self._accept_new(data)

    def _accept_new(self, data: bytes) -> None:
        seen, self._seen = self._seen, 0
        if data.startswith(b"\r\n"):
            data, seen = data[empty_lines(data) :], 0
        end = data.find(b"\r\n\r\n", max(0, seen - 3)) + 4
        if end > MAX_HEAD or (end < 4 and len(data) > MAX_HEAD):
            self.refuse(HeadTooLarge("the request head is over 64 KiB"), keep=False)
            return
        if end < 4:
            if data and not self._pending:
                self._since = self.edge.now
            self._pending, self._seen = data, len(data)
            if hopeless(data, seen):
                self.refuse(BadRequest("bare CR or LF, or a control character, in the request head"), keep=False)
            elif self.half_closed:
                self._refuse_unfinished()
            return
        self._pending = b""
        request = None
        try:
            request = parse_request(data[:end])
            if self.edge.draining and request.path not in (b"/healthz", b"/readyz"):
                raise Draining("this gateway is stopping; connect again to reach another one")
            plan = self.edge.route(request)
        except GatewayError as error:
            body = data[end:]
            keep = request is not None and request.keep_alive and request.length == 0 and not self.edge.draining
            self.refuse(error, keep, request)
            if keep and body:
                self.hold(body)
            return
        if plan is None:
            self._hand_over(request, data, end)
            return
        self._remember(plan, request, data[:end])
        head = plan.before
        if plan.after:
            head += str(request.length).encode() + plan.after
        self._begin(plan, head, request.length, data[end:])

    def _remember(self, plan: Plan | CallPlan, request: Request, head: bytes) -> None:
        self._plan = None
        self._prefix, self._suffix = head, b""
        if request.length > 0 or (plan.after and request.length == 0):
            name = b"\r\ncontent-length:"
            at = head.lower().find(name) + len(name)
            while head[at : at + 1] in (b" ", b"\t"):
                at += 1
            end = at + len(digits) if head.startswith(digits := str(request.length).encode(), at) else 0
            if head[end : end + 1] != b"\r":
                return  # leading zeros or trailing spaces: not worth remembering
            self._prefix, self._suffix = head[:at], head[end:]
        if not plan.websocket:
            self._plan = plan

    def _begin(self, plan: Plan | CallPlan, head: bytes, length: int, data: bytes) -> None:
        self._pending, self._seen = b"", 0
        if self.edge.draining:
            self.refuse(Draining("this gateway is stopping; connect again to reach another one"), keep=False)
            return
        exchange = Call(self, plan) if type(plan) is CallPlan else Exchange(self, cast(Plan, plan))
        self.exchange = exchange
        self.edge.active.add(exchange)
        try:
            rest = exchange.start(head, length, data)
        except BadRequest as error:
            exchange.fail(error)
            return
        if rest:
            self.hold(rest)
        if self.half_closed and not exchange.ended and not exchange.client_eof():
            self.transport.close()

    def _hand_over(self, request: Request, data: bytes, end: int) -> None:
        """Gives a request to aiohttp: exactly this one, whatever lies behind it."""
        if self._guest is None:
            self._guest = Guest(self.edge.guests, self.transport, self._guest_done)
        follower = Chunked() if request.length == CHUNKED else Counted(request.length)
        try:
            rest = self._guest.begin(data[:end], follower, data[end:], for_good=request.websocket)
        except BadFraming as exc:
            self.refuse(BadRequest(str(exc)), keep=False, request=request)
            return
        if rest:
            self.hold(rest)
        if self.half_closed and self._guest.incomplete:
            self.transport.close()

    def _feed_guest(self, data: bytes) -> None:
        assert self._guest is not None
        try:
            rest = self._guest.feed(data)
        except BadFraming:
            self.transport.abort()  # aiohttp is in the middle of its answer: a cut is all that is left to say
            return
        if rest:
            self.hold(rest)

    def _guest_done(self) -> None:
        if not self.transport.is_closing():
            if self.half_closed and not self._pending:
                self.transport.close()
            else:
                self._next()

    # -- what exchanges ask for ----------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def hold(self, data: bytes) -> None:
        """Keeps bytes of following requests until their turn comes."""
        if data:
            self._pending += data
            if len(self._pending) > _HOLD_LIMIT:
                self.pause(self)
            if self.exchange is None and not (self._guest is not None and self._guest.busy):
                self._next()

    def take_held(self) -> bytes:
        held, self._pending = self._pending, b""
        self.resume(self)
        return held

    def pause(self, owner: object) -> None:
        """Stops reading from the client until every owner of a pause has resumed."""
        if not self._paused_by:
            self._paused_by = set()
            self.transport.pause_reading()
        self._paused_by.add(owner)

    def resume(self, owner: object) -> None:
        if self._paused_by:
            self._paused_by.discard(owner)
            if not self._paused_by:
                self.transport.resume_reading()

    def done(self, keep: bool, reset: bool) -> None:
        """The exchange has ended; `reset`: the client must see that it was cut."""
        exchange, self.exchange = self.exchange, None
        if keep and (self._pending or not self.half_closed):
            if self._paused_by:
                self.resume(exchange)
            self._since = self.edge.now
            if self._pending:
                self._next()
            return
        if reset and not self.transport.is_closing():
            self._reset()
        elif self._pending and not self.half_closed:
            self.linger()  # the client has sent more: closing now would reset the answer on its way
        else:
            self.transport.close()
            if self.transport.get_write_buffer_size():
                # A client that does not read what is still buffered must not hold the connection for ever.
                asyncio.get_running_loop().call_later(self.edge.limits.idle_timeout, self.transport.abort)

    def watch_absent(self) -> None:
        """After a half-close: asks the kernel now and then whether the client is still there at all.

        A client that closed both ways looks the same until it is written to; its machine answers a keep-alive probe
        with a reset once it has forgotten the connection (after a minute, on Linux).
        """
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                for option, value in _PROBES:
                    sock.setsockopt(*option, value)

    def gone(self) -> bool:
        """Whether a client whose bytes are not being read has reset the connection: the loop does not tell then."""
        return bool(self._paused_by) and is_reset(self.transport)

    def _reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _next(self) -> None:
        """Takes the next request that is already here, in a turn of its own: many small ones must not recurse."""
        if self._pending and not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._take_next)

    def _take_next(self) -> None:
        self._turn_due = False
        busy = self.exchange is not None or (self._guest is not None and self._guest.busy)
        if not busy and not self._lingering and self._pending and not self.transport.is_closing():
            self._accept(self.take_held())

    # -- ends ----------------------------------------------------------------------------------------------------------

    def refuse(self, error: GatewayError, keep: bool, request: Request | None = None) -> None:
        """Answers with one of the gateway's own errors; closes the connection unless `keep`."""
        bodyless = request is not None and request.method == b"HEAD"
        exchange, self.exchange = self.exchange, None
        request_id = "" if exchange is not None else self.edge.refused(request, error)
        keep = keep and not self.edge.draining and bool(self._pending or not self.half_closed)
        bodyless = bodyless or (exchange is not None and exchange.plan.bodyless)
        self.transport.write(error_answer(error, keep, bodyless, request_id))
        if keep:
            self.resume(exchange)
            self._since = self.edge.now
            self._next()
        else:
            self.linger()

    def linger(self) -> None:
        """Closes, but lets the client finish its sentence so that it can read the answer."""
        self.exchange = None
        self._pending = b""
        self._paused_by = None
        if self.half_closed or self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingering = True
        self.transport.write_eof()
        self.transport.resume_reading()
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, self.transport.abort)

    def check(self, now: float, limits: Limits) -> None:
        """Called now and then: ends heads that do not end, and connections that nobody uses."""
        if self.exchange is not None or self._lingering or (self._guest is not None and self._guest.busy):
            return
        waited = now - self._since
        if self._pending and waited >= limits.head_timeout:
            self.refuse(RequestTimeout("the request head was not complete in time"), keep=False)
        elif not self._pending and waited >= limits.idle_timeout:
            self.transport.close()

    @property
    def idle(self) -> bool:
        return self.exchange is None and not (self._guest is not None and self._guest.busy)


def is_reset(transport: asyncio.Transport) -> bool:
    """Whether the kernel knows a connection to be over (Linux)."""
    sock = transport.get_extra_info("socket")
    try:
        return sock is not None and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
    except OSError:
        return False


def error_answer(error: GatewayError, keep: bool, bodyless: bool, request_id: str) -> bytes:
    """An HTTP response that says what went wrong, in the gateway's own form."""
    body = msgspec.json.encode({"error": {"type": "gateway_error", "code": error.code, "message": error.message}})
    lines = [
        b"HTTP/1.1 %d %b" % (error.status, _REASONS.get(error.status, b"Error")),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"x-gateway-error: " + error.code.encode(),
    ]
    if request_id:
        lines.append(b"x-request-id: " + request_id.encode())
    if not keep:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if bodyless else body)
