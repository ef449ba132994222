"""The walk: what becomes of a request. Here, so far: pass-through, whose route is fixed by the first path segment.

A request's head is looked at once and becomes a `Plan`; a kept-alive client that sends the same head again is served
from the plan without coming here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gateway.addresses import Origin
from gateway.dialects import model_from_target, quick_for
from gateway.errors import BadRequest, UnknownProvider
from gateway.meter import Journal, PassRecord, Watch
from gateway.providers import RESERVED, Table
from gateway.settings import Provider
from gateway.types import SURFACE_PASSTHROUGH
from gateway.wire.head import CHUNKED, Request, has_dot_segment, rebuild_request
from gateway.wire.plan import NEVER, Plan
from gateway.wire.pool import Destination, Pool

_RESERVED = frozenset(name.encode() for name in RESERVED)


class Pools:
    """The pools of all providers. A reload keeps those whose origin and limits are the same."""

    def __init__(self) -> None:
        self._pools: dict[tuple[str, Destination, int, float], Pool] = {}

    def get(self, provider: str, destination: Destination, limit: int, connect_timeout: float) -> Pool:
        key = (provider, destination, limit, connect_timeout)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(destination, limit, connect_timeout)
        return pool

    def of(self, provider: Provider, origin: Origin, connect_timeout: float) -> Pool:
        """The pool for one of a provider's origins, by the provider's proxy and trust anchor."""
        proxy = provider.proxy.get() if provider.proxy is not None else None
        place = Destination(origin.scheme, origin.host, origin.port, proxy, provider.ca)
        return self.get(provider.id, place, provider.max_connections, connect_timeout)

    def all(self) -> list[Pool]:
        return list(self._pools.values())

    def counts(self) -> list[tuple[str, str, int]]:
        """(provider, state, connections)."""
        rows = []
        for (provider, *_), pool in self._pools.items():
            idle = len(pool.idle)
            rows += [
                (provider, "idle", idle),
                (provider, "busy", len(pool.connections) - idle),
                (provider, "dialling", len(pool.dialling)),
            ]
        return rows

    def retire(self, unchanged: set[str]) -> None:
        """Forgets the pools of all providers but the unchanged ones; busy connections finish their exchanges."""
        for key, pool in list(self._pools.items()):
            if key[0] not in unchanged:
                pool.retired = True
                pool.close_idle()
                del self._pools[key]


class Passthrough:
    """Makes plans for `/{provider_id}/...`. `permit` raises for requests that may not pass (see `passthrough_key`)."""

    def __init__(
        self,
        table: Table,
        pools: Pools,
        journal: Journal,
        connect_timeout: float,
        epoch: int,
        permit: Callable[[Request], None] | None = None,
    ) -> None:
        self._table = table
        self._pools = pools
        self._journal = journal
        self._connect_timeout = connect_timeout
        # Where a key is asked for, no plan is used twice: the key may be revoked meanwhile.
        self._epoch = epoch if permit is None else NEVER
        self._permit = permit

    def route(self, request: Request) -> Plan | None:
        """The plan for a request; None if it is not for a provider. Raises GatewayError."""
        first, slash, _ = request.path[1:].partition(b"/")
        provider = self._table.find(first)
        if provider is None:
            if first in _RESERVED:
                return None
            raise UnknownProvider("no provider has this id; the path is /{provider_id}/{the vendor's own path}")
        if self._permit is not None:
            self._permit(request)
        rest = request.target[1 + len(first) :]
        if not slash:
            rest = b"/" + rest
        return self._plan(request, provider, rest)

    def _plan(self, request: Request, provider: Provider, rest: bytes) -> Plan:
        path, _, query = rest.partition(b"?")
        origin, base_path = self._table.target(provider, path)
        if base_path and has_dot_segment(path):
            raise BadRequest("dot segments are not accepted for a provider whose base URL has a path")
        pool = self._pools.of(provider, origin, self._connect_timeout)
        dialect = self._table.meter(provider, request.method, path)
        model = None
        if request.websocket or dialect is not None and dialect.startswith("gemini."):
            model = model_from_target(path, query)
        watch = Watch(
            self._journal,
            self._journal.metrics.series(SURFACE_PASSTHROUGH, provider.id),
            dialect,
            model,
            request.get(b"content-type") or b"",
            dialect is not None and model is None and request.length != 0,
            quick_for(dialect) if dialect is not None else None,
        )
        plan = Plan(pool, partial(PassRecord, watch), self._epoch)
        plan.before, plan.after = rebuild_request(request, base_path + rest, pool.destination.authority)
        plan.bodyless = request.method == b"HEAD"
        plan.chunked = request.length == CHUNKED
        plan.keep_alive = request.keep_alive
        plan.old = request.minor == 0
        plan.websocket = request.websocket
        return plan


def provider_label(table: Table, request: Request | None) -> str:
    """The provider's id for a refused request; empty where it names none."""
    if request is None:
        return ""
    provider = table.find(request.path[1:].partition(b"/")[0])
    return provider.id if provider is not None else ""


