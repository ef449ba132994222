"""The engine in this process: an Edge on a real port, a pool to a scriptable vendor, records that note their calls.

Time limits are tested by setting the edge's own clock and sweeping by hand: nothing waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import cast

import aiofastnet
from aiohttp import web

from gateway.errors import GatewayError, UnknownProvider
from gateway.wire.guest import GuestFactory
from gateway.wire.head import CHUNKED, Request, Response, rebuild_request
from gateway.wire.plan import Plan
from gateway.wire.pool import Destination, Pool
from gateway.wire.server import Edge, Limits
from tests.wire.ends import PATIENCE, End, connect
from tests.wire.vendor import Script, Vendor


class Log:
    """A record that writes down what it is told (see `pump.Record`)."""

    def __init__(self, wants_body: bool) -> None:
        self.wants_body = wants_body
        self.calls: list[tuple[object, ...]] = []
        self.ended = asyncio.Event()

    def body(self, piece: bytes) -> None:
        self.calls.append(("body", piece))

    def handed(self) -> None:
        self.calls.append(("handed",))

    def sent(self, size: int) -> None:
        self.calls.append(("sent", size))

    def head(self, response: Response) -> None:
        self.calls.append(("head", response.status))

    def feed(self, piece: bytes, size: int) -> None:
        self.calls.append(("feed", piece, size))

    def whole(self, response: Response, body: bytes, size: int) -> None:
        self.head(response)
        self.feed(body, size)

    def opened(self, extensions: bytes) -> None:
        self.calls.append(("opened", extensions))

    def frames_up(self, data: bytes) -> None:
        self.calls.append(("frames_up", data))

    def frames_down(self, data: bytes) -> None:
        self.calls.append(("frames_down", data))

    def end(self, reason: str, status: int, error: str) -> None:
        self.calls.append(("end", reason, status, error))
        self.ended.set()

    def __getitem__(self, name: str) -> list[tuple[object, ...]]:
        """The arguments of all calls of this name."""
        return [call[1:] for call in self.calls if call[0] == name]

    def joined(self, name: str) -> bytes:
        return b"".join(cast(bytes, arguments[0]) for arguments in self[name])


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop turn until something becomes true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


class Engine:
    """Serves `/vendor/...` from the pool, `/guest...` by aiohttp, and refuses the rest."""

    def __init__(self, script: Script | None = None, limits: Limits | None = None, wants_body: bool = False) -> None:
        self.vendor = Vendor(script=script)
        self.limits = limits or Limits()
        self.wants_body = wants_body
        self.records: list[Log] = []
        self.refused: list[tuple[bytes | None, str]] = []
        self.guest_calls: list[tuple[str, bytes]] = []
        self.make_pool: Callable[[Destination], Pool] = lambda place: Pool(place, 100, PATIENCE)
        self.pool: Pool
        self.edge: Edge
        self.port = 0
        self._clients: list[End] = []
        self._runner: web.AppRunner
        self._server: asyncio.Server

    async def __aenter__(self) -> Engine:
        await self.vendor.__aenter__()
        self.pool = self.make_pool(Destination("http", "127.0.0.1", self.vendor.port))
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/guest{tail:.*}", self._guest)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        assert self._runner.server is not None
        self.edge = Edge(self._route, self._refuse, GuestFactory(self._runner.server, access_log=None), self.limits)
        loop = asyncio.get_running_loop()
        self._server = await aiofastnet.create_server(loop, self.edge, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in self._clients:
            end.reset()
        self._server.close()
        try:
            await until(lambda: not self.edge.handlers)
            self.pool.close_idle()
            await until(lambda: not self.pool.connections and not self.pool.dialling)
        except TimeoutError:
            left = f"left open: {self.edge.handlers} {self.pool}"
            for transport in [one.transport for one in self.edge.handlers] + [
                one.transport for one in self.pool.connections
            ]:
                transport.abort()
            if exc is None:  # else it may be a consequence of that
                raise AssertionError(left) from None
        await self._runner.cleanup()
        await self.vendor.__aexit__(kind, exc, trace)
        if exc is not None:
            return
        assert not self.edge.active
        assert all(len(record["end"]) == 1 for record in self.records), "an exchange ends exactly once"

    async def dial(self, receive_buffer: int | None = None) -> End:
        """A client's connection; closed at the end if it is still open."""
        end = await connect(self.port, receive_buffer=receive_buffer)
        self._clients.append(end)
        return end

    async def record(self, number: int = 0) -> Log:
        """The record of an exchange, once that has ended."""
        await until(lambda: len(self.records) > number)
        async with asyncio.timeout(PATIENCE):
            await self.records[number].ended.wait()
        return self.records[number]

    def later(self, seconds: float) -> None:
        """Lets time pass."""
        self.edge.now += seconds
        self.edge.sweep()

    def _route(self, request: Request) -> Plan | None:
        if request.path.startswith(b"/guest"):
            return None
        if not request.path.startswith(b"/vendor/"):
            raise UnknownProvider("not here")
        plan = Plan(self.pool, self._new_record, self.edge.epoch)
        target = request.target.removeprefix(b"/vendor")
        plan.before, plan.after = rebuild_request(request, target, self.pool.destination.authority)
        plan.bodyless = request.method == b"HEAD"
        plan.chunked = request.length == CHUNKED
        plan.keep_alive = request.keep_alive
        plan.old = request.minor == 0
        plan.websocket = request.websocket
        return plan

    def _new_record(self) -> Log:
        self.records.append(Log(self.wants_body))
        return self.records[-1]

    def _refuse(self, request: Request | None, error: GatewayError) -> str:
        self.refused.append((request.path if request else None, error.code))
        return f"id-{len(self.refused)}"

    async def _guest(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.guest_calls.append((request.method, body))
        return web.Response(body=b"guest:" + body[:20])
