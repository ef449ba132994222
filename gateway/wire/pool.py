"""Connections to vendors: one pool per origin.

A pool hands out an idle connection at once or opens one in the background; either way the caller's `ready` or `failed`
is called. All addresses of a name are tried (happy eyeballs), certificates are always verified, the whole of DNS, TCP,
proxy and TLS must fit into `connect_timeout`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import aiofastnet
from aiohappyeyeballs import start_connection

from gateway.errors import BadUpstreamReply, GatewayError, Overloaded, UpstreamTimeout, UpstreamTLS, UpstreamUnreachable
from gateway.wire import proxy

if TYPE_CHECKING:
    from gateway.wire.attempt import Attempt

# Shorter than the idle limits that vendors are known for (60 s and more); a vendor that says less is believed.
IDLE_SECONDS = 50.0


class Destination(NamedTuple):
    """Where a pool's connections go, and how."""

    scheme: str
    host: str
    port: int
    proxy: str | None = None
    ca: str | None = None

    @property
    def authority(self) -> bytes:
        """The Host header for this origin: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return (host if self.port == default else f"{host}:{self.port}").encode()


class Waiter(Protocol):
    """Who asked for a connection."""

    def ready(self, connection: Connection) -> None: ...
    def failed(self, error: GatewayError) -> None: ...


class Connection(asyncio.Protocol):
    """One connection to a vendor; serves one exchange at a time."""

    __slots__ = ("exchange", "idle_since", "keep_seconds", "pool", "transport", "used")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.exchange: Attempt | None = None
        self.used = False  # whether an answer has been read from it before
        self.idle_since = 0.0
        self.keep_seconds = IDLE_SECONDS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.upstream_data(data)
        else:
            self.close()  # nobody asked: whatever this is, it must not be the head of the next answer

    def eof_received(self) -> bool:
        exchange = self.exchange
        if exchange is not None:
            return exchange.upstream_eof() and self.transport.can_write_eof()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.forget(self)
        exchange = self.exchange
        if exchange is not None:
            if exc is not None and exchange.awaiting_head:
                self._read_last_words(exchange)
            if self.exchange is exchange:
                exchange.upstream_lost(exc)

    def _read_last_words(self, exchange: Attempt) -> None:
        # A server may answer 413 before it has read the whole body and then reset the connection: our write fails,
        # but its answer is still in the socket's buffer (readable in clear text only).
        sock = self.transport.get_extra_info("socket")
        if self.pool.destination.scheme != "http" or sock is None:
            return
        try:
            data = socket.socket.recv(getattr(sock, "_sock", sock), 262144)
        except (OSError, ValueError, TypeError):
            return
        if data:
            exchange.upstream_data(data)

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_full()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_drained()

    def close(self) -> None:
        """Closes at once; what has not been sent is lost."""
        self.exchange = None
        self.pool.forget(self)
        self.transport.abort()

    def finish(self) -> None:
        """Closes once everything has been sent."""
        self.exchange = None
        self.transport.close()


class Pool:
    """Connections to one origin: `idle` are ready (newest last), `open` counts all, dialling ones included."""

    def __init__(self, destination: Destination, limit: int, connect_timeout: float) -> None:
        self.destination = destination
        self.limit = limit
        self.connect_timeout = connect_timeout
        self.idle: list[Connection] = []
        self.connections: set[Connection] = set()
        self.dialling: set[asyncio.Task[None]] = set()
        self.retired = False  # by a reload: what is in use finishes, nothing is kept
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return (
            f"<Pool {self.destination.scheme}://{self.destination.host}:{self.destination.port} "
            f"idle={len(self.idle)} open={len(self.connections)} dialling={len(self.dialling)}>"
        )

    @property
    def open(self) -> int:
        return len(self.connections) + len(self.dialling)

    def acquire(self, waiter: Waiter, fresh: bool = False) -> None:
        """Gives `waiter` an idle connection at once, or dials one (`fresh`: in any case).

        Dialling is never broken off: a connection whose waiter has gone is kept for the next one.
        """
        idle = self.idle
        while idle and not fresh:
            connection = idle.pop()
            if not connection.transport.is_closing():
                waiter.ready(connection)
                return
        if self.open >= self.limit:
            waiter.failed(Overloaded("too many connections to this vendor are open; try again in a moment"))
            return
        task = asyncio.get_running_loop().create_task(self._dial(waiter))
        self.dialling.add(task)
        task.add_done_callback(self.dialling.discard)

    def release(self, connection: Connection, keep_seconds: int) -> None:
        """Takes a connection back after a complete answer."""
        if self.retired:
            connection.close()
            return
        connection.exchange = None
        connection.used = True
        connection.idle_since = monotonic()
        if keep_seconds:
            # Stop a second before the vendor does: a request sent into a closing connection is lost.
            connection.keep_seconds = min(IDLE_SECONDS, keep_seconds - 1.0)
        self.idle.append(connection)

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def close_stale(self, now: float) -> None:
        """Closes what has been idle for too long."""
        for connection in [c for c in self.idle if now - c.idle_since > c.keep_seconds]:
            connection.close()

    def close_idle(self) -> None:
        for connection in list(self.idle):
            connection.close()

    async def _dial(self, waiter: Waiter) -> None:
        try:
            async with asyncio.timeout(self.connect_timeout):
                connection = await self._connect()
        except TimeoutError:
            waiter.failed(UpstreamTimeout("the vendor did not accept a connection in time"))
        except ssl.SSLError as exc:
            waiter.failed(UpstreamTLS(f"the TLS handshake with the vendor failed: {_tls_reason(exc)}"))
        except (OSError, proxy.ProxyFailed) as exc:
            waiter.failed(UpstreamUnreachable(f"the vendor cannot be reached: {_reason(exc)}"))
        except Exception as exc:
            # A name that cannot be encoded, a proxy that talks nonsense: whatever it is, the waiter must hear of it.
            waiter.failed(UpstreamUnreachable(f"the vendor cannot be reached ({type(exc).__name__})"))
        else:
            if connection.transport.is_closing():
                waiter.failed(BadUpstreamReply("the vendor closed the connection at once"))
            else:
                self.connections.add(connection)
                waiter.ready(connection)

    async def _connect(self) -> Connection:
        destination = self.destination
        loop = asyncio.get_running_loop()
        if destination.proxy is None:
            way: socket.socket | asyncio.Transport = await self._socket(loop)
        else:
            way = await proxy.connect(destination.proxy, destination.host, destination.port)
        if not isinstance(way, socket.socket):
            return await self._over(loop, way)
        connection = Connection(self)
        try:
            # The loop's own transports hold the least memory a connection; aiofastnet's TLS costs the least time.
            if destination.scheme == "https":
                await aiofastnet.create_connection(
                    loop, lambda: connection, sock=way, ssl=self._context(), server_hostname=destination.host
                )
            else:
                await loop.create_connection(lambda: connection, sock=way)
        except BaseException:
            # Once there is a transport, the descriptor is its own to close.
            if connection.transport is None:
                way.close()
            raise
        return connection

    async def _socket(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        """A socket connected to the first of the name's addresses that answers."""
        destination = self.destination
        addresses = await loop.getaddrinfo(destination.host, destination.port, type=socket.SOCK_STREAM)
        return await start_connection(addresses, happy_eyeballs_delay=0.25, loop=loop)

    async def _over(self, loop: asyncio.AbstractEventLoop, way: asyncio.Transport) -> Connection:
        """A connection inside one that leads to an https proxy."""
        connection = Connection(self)
        if self.destination.scheme == "https":
            host = self.destination.host
            inner = await aiofastnet.start_tls(loop, way, connection, self._context(), server_hostname=host)
            way = inner
        else:
            way.set_protocol(connection)
        if connection.transport is None:
            connection.connection_made(way)
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            context = ssl.create_default_context(cafile=None)
            if self.destination.ca:
                context.load_verify_locations(cafile=self.destination.ca)
            context.set_alpn_protocols(["http/1.1"])
            self._tls = context
        return self._tls


def _reason(exc: Exception) -> str:
    """A failure in words, without addresses: operators' inner names are not for clients."""
    if isinstance(exc, socket.gaierror):
        return "its name does not resolve"
    if isinstance(exc, ConnectionRefusedError) or "failed" in str(exc) or "Multiple exceptions" in str(exc):
        return "connection refused or no route"
    if isinstance(exc, proxy.ProxyFailed):
        return str(exc)
    return (exc.strerror if isinstance(exc, OSError) and exc.strerror else "network error").lower()


def _tls_reason(exc: ssl.SSLError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate not accepted ({exc.verify_message})"
    return (exc.reason or "handshake failed").lower().replace("_", " ")
