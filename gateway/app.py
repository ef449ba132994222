"""The composition root: builds the parts of one process, joins them, starts, reloads, drains."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import socket
import ssl
import sys
import time
from pathlib import Path
from time import monotonic
from typing import Any

import aiofastnet
from aiohttp import web

from gateway import settings as configuration
from gateway import systemd
from gateway.access_log import AccessLog
from gateway.admin import pages
from gateway.admin.public import PublicPages
from gateway.admin.responses import ResponsePages
from gateway.admin_key import AdminKey
from gateway.auth import digest
from gateway.caching import semantic
from gateway.dialects import RequestModel, model_of, reader_for
from gateway.dialects.websocket_usage import WebSocketUsage
from gateway.errors import ConfigError, GatewayError, MissingKey
from gateway.media import Media
from gateway.meter import Journal, Tools
from gateway.metrics import Metrics, exposition
from gateway.providers import Table
from gateway.reach import Reach
from gateway.relay import Passthrough, Pools, provider_label
from gateway.routing.router import Router
from gateway.settings import Settings
from gateway.stores import Stores
from gateway.unified.answers import plain_refusal
from gateway.unified.entry import Unified, cors_fields
from gateway.unified.requests import Heads
from gateway.unified.responses import StoredResponses
from gateway.unified.surfaces import BY_PATH
from gateway.wire.decompress import decompressor
from gateway.wire.guest import GuestFactory
from gateway.wire.head import Request
from gateway.wire.plan import CallPlan, Plan
from gateway.wire.server import Edge, Limits
from gateway.workers import Siblings

_BACKLOG = 4096
_FLUSH_SECONDS = 5.0
_PURGE_SECONDS = 60.0
_TOOLS = Tools(reader_for, RequestModel, model_of, WebSocketUsage, decompressor)


class Gateway:
    """One serving process. `config` is read again by `reload`."""

    def __init__(
        self, settings: Settings, config: str | None, admin_key: AdminKey, siblings: Siblings | None, data: Path
    ) -> None:
        self.settings = settings
        self._data = data
        self._loaded = int(time.time())  # when the configuration was read: the models' date of birth
        self._config = config
        self._admin_key = admin_key
        self._siblings = siblings
        self.metrics = Metrics()
        self.pools = Pools()
        self.metrics.connections = self.pools.counts
        self._log = AccessLog(settings.server.access_log)
        self._journal = Journal(self.metrics, self._log, _TOOLS, f"req_{secrets.token_hex(6)}")
        self._table = Table(settings.providers)
        self._server: asyncio.Server | None = None
        self._runners: list[web.AppRunner] = []
        self._ticker: asyncio.Task[None] | None = None
        self._stores: Stores
        self._unified: Unified
        self.edge: Edge

    async def start(self, host: str, port: int, sock: socket.socket | None = None) -> int:
        """Listens (on `sock`, if given); returns the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        stores = self._stores = await Stores.open(self._data, self.settings.server)
        self.metrics.settlements, self.metrics.costs = stores.books.settlements, stores.books.costs
        self.metrics.holds, self.metrics.cache = stores.books.open_holds, stores.cache.results
        self.metrics.breakers = lambda: self._unified.router.states()
        self._unified = self._make_unified(None, 0)
        runner = web.AppRunner(
            pages.build(
                self._admin_key, lambda: not self.edge.draining, self._exposition, self._journal.request_id,
                self._add_public,
            ),
            access_log_class=pages.line_writer(self._guest_line),
        )
        await runner.setup()
        self._runners.append(runner)
        assert runner.server is not None
        guests = GuestFactory(runner.server, access_log_class=pages.line_writer(self._guest_line))
        self._passthrough = self._make_passthrough(0)
        self.edge = Edge(self._route, self._refused, guests, _limits(self.settings))
        self.edge.now = monotonic()
        self._server = await self._listen(host, port, sock)
        if self.settings.server.metrics_port is not None:
            await self._open_metrics(self.settings.server.metrics_port)
        if self._siblings is not None:
            await self._siblings.serve(self.metrics.snapshot)
        self._ticker = loop.create_task(self._tick())
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def _listen(self, host: str, port: int, sock: socket.socket | None) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        place: dict[str, Any] = {"host": host, "port": port, "reuse_port": True} if sock is None else {"sock": sock}
        tls = _server_tls(self.settings)
        if tls is not None:
            return await aiofastnet.create_server(loop, self.edge, ssl=tls, backlog=_BACKLOG, **place)
        return await loop.create_server(self.edge, backlog=_BACKLOG, **place)

    async def _open_metrics(self, port: int) -> None:
        runner = web.AppRunner(pages.build_open_metrics(self._exposition), access_log=None)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", port, reuse_port=True).start()

    def _make_passthrough(self, epoch: int) -> Passthrough:
        server = self.settings.server
        permit = self._permit if server.passthrough_key else None
        return Passthrough(self._table, self.pools, self._journal, server.connect_timeout, epoch, permit)

    def _make_unified(self, before: Unified | None, epoch: int) -> Unified:
        settings, stores = self.settings, self._stores
        if before is None:
            router = Router(settings.models, settings.providers, monotonic, random.random)
        else:
            router = before.router.reloaded(settings.models, settings.providers)
        return Unified(
            settings,
            heads=Heads(self._table, self.pools, settings.server.connect_timeout),
            router=router,
            auth=stores.auth,
            books=stores.books,
            cache=stores.cache,
            kept=stores.kept,
            responses=StoredResponses(stores.responses, settings.server.store_responses, time.time),
            fetch=Media(Reach(settings.server.private_hosts)).fetch if settings.server.fetch_media else None,
            journal=self._journal,
            edge=lambda: self.edge,
            epoch=epoch,
        )

    def _route(self, request: Request) -> Plan | CallPlan | None:
        return self._unified.route(request) or self._passthrough.route(request)

    def _permit(self, request: Request) -> None:
        """`passthrough_key: true`. Raises Unauthorized."""
        key = request.get(b"x-gateway-key")
        if key is None:
            raise MissingKey("pass-through needs a gateway key here: send one as x-gateway-key")
        self._stores.auth.caller(digest(key))

    def _add_public(self, app: web.Application) -> None:
        stored = ResponsePages(
            lambda: self._unified.responses,
            lambda asking: self._unified.owner(asking).key_id,
            plain_refusal,
            lambda origin: cors_fields(self.settings.server.cors, origin),
        )
        stored.add_to(app)
        self._public_pages().add_to(app)

    def _public_pages(self) -> PublicPages:
        return PublicPages(
            lambda form, name, asking: self._unified.listing(form, name, asking, self._loaded),
            lambda: self._unified.pricing(),
            plain_refusal,
            lambda origin: cors_fields(self.settings.server.cors, origin),
            frozenset(path.decode() for path in BY_PATH),
        )

    def _refused(self, request: Request | None, error: GatewayError) -> str:
        return self._journal.refused(provider_label(self._table, request), error)

    def _guest_line(self, request_id: str, status: int, size: int, seconds: float) -> None:
        series = self.metrics.series("gateway", "")
        series.model("").request(status)
        series.time(seconds, -1, -1)
        self._journal.line(series, "", status, 0, size, None, seconds, end="complete", request_id=request_id)

    async def _exposition(self) -> bytes:
        own = self.metrics.snapshot()
        return exposition(own if self._siblings is None else await self._siblings.sum(own))

    async def _tick(self) -> None:
        """The coarse clock: time limits, stale connections, the log's batches, the watchdog."""
        watchdog = systemd.watchdog_seconds()
        barked = swept = purged = 0.0
        while True:
            limits = self.edge.limits
            shortest = min(limits.head_timeout, limits.idle_timeout, limits.answer_timeout)
            between_sweeps = max(0.02, min(1.0, shortest / 8))
            await asyncio.sleep(min(0.25, between_sweeps))
            self.edge.now = now = monotonic()
            if now - swept >= between_sweeps:
                swept = now
                self.edge.sweep()
                self.edge.close_stale(self.pools.all())
            if now - purged >= _PURGE_SECONDS:
                purged = now
                if any(model.cache is not None for model in self.settings.models.values()):
                    self._stores.cache.purge(time.time())
                self._stores.kept.purge(time.time())
                if self.settings.server.store_responses:
                    self._stores.responses.purge(time.time())
            self._log.flush()
            if watchdog is not None and now - barked >= watchdog:
                barked = now
                systemd.notify("WATCHDOG=1")

    def reload(self) -> None:
        """Reads the configuration again. A bad file is refused and told on stderr; the old one stays."""
        systemd.reloading()
        try:
            fresh = configuration.load(self._config, os.environ)
        except ConfigError as exc:
            for line in exc.problems:
                print(line, file=sys.stderr)
            print("the new configuration is refused, the old one stays", file=sys.stderr)
        else:
            for warning in (*fresh.warnings, *semantic.problems(fresh.models)):
                print(f"warning: {warning}", file=sys.stderr)
            self._take(fresh)
            print("configuration reloaded", file=sys.stderr)
        self._log.reopen()
        systemd.ready()

    def _take(self, fresh: Settings) -> None:
        if fresh.server.access_log != self.settings.server.access_log:
            self._log.close()
            self._log = self._journal.log = AccessLog(fresh.server.access_log)
        old, self.settings = self.settings, fresh
        self._table = Table(fresh.providers)
        same_timeout = old.server.connect_timeout == fresh.server.connect_timeout
        self.pools.retire({
            name for name, entry in old.providers.items() if same_timeout and fresh.providers.get(name) == entry
        })  # fmt: skip
        edge = self.edge
        edge.limits = _limits(fresh)
        edge.epoch += 1
        self._loaded = int(time.time())
        self._passthrough = self._make_passthrough(edge.epoch)
        self._unified = self._make_unified(self._unified, edge.epoch)

    async def drain(self) -> None:
        """Stops accepting, lets streams finish for `drain_seconds`, cuts the rest, closes the books."""
        edge = self.edge
        edge.draining = True
        systemd.stopping()
        if self._server is not None:
            self._server.close()
        deadline = monotonic() + self.settings.server.drain_seconds
        while (edge.active or any(not handler.idle for handler in edge.handlers)) and monotonic() < deadline:
            await asyncio.sleep(0.05)
        for exchange in list(edge.active):
            exchange.cut()
        deadline = monotonic() + _FLUSH_SECONDS
        while edge.active and monotonic() < deadline:
            await asyncio.sleep(0.01)  # unified calls still settle
        await self.close()

    async def close(self) -> None:
        """Ends everything at once."""
        if self._server is not None:
            self._server.close()
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        for handler in list(self.edge.handlers):
            handler.transport.close()
        self.pools.retire(set())
        # Closing sends what is still buffered; a client that does not take it cannot hold the process for long.
        deadline = monotonic() + _FLUSH_SECONDS
        while self.edge.handlers and monotonic() < deadline:
            await asyncio.sleep(0.01)
        for runner in self._runners:
            await runner.cleanup()
        if self._siblings is not None:
            await self._siblings.close()
        await self._stores.close()
        self._log.close()


def _limits(settings: Settings) -> Limits:
    server = settings.server
    return Limits(
        max_connections=server.max_connections,
        head_timeout=server.head_timeout,
        idle_timeout=server.idle_timeout,
        answer_timeout=server.answer_timeout,
    )


def _server_tls(settings: Settings) -> ssl.SSLContext | None:
    tls = settings.server.tls
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Path(tls.cert), Path(tls.key))
    context.set_alpn_protocols(["http/1.1"])
    return context
