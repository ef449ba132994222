"""The response cache as one call uses it: what the question is, and whether its answer may be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.caching import cache
from gateway.dialects.edit import canonical
from gateway.types import OUTCOME_COMPLETE, OUTCOME_NO_USAGE, Charge, Usage

if TYPE_CHECKING:
    from gateway.unified.walk import CallWalk

_KEPT = frozenset((OUTCOME_COMPLETE, OUTCOME_NO_USAGE))


class CallCache:
    """Made for calls of models with a cache. `result` is the value of x-gateway-cache."""

    def __init__(self, walk: CallWalk) -> None:
        self._walk = walk
        self._lookup: cache.Lookup | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self.result = ""

    async def look(self) -> cache.Entry | None:
        walk = self._walk
        assert walk.caller is not None
        policy = walk.model.cache
        assert policy is not None
        unified = walk.unified
        question = cache.Question(
            walk.caller.key_id, walk.head.surface.dialect, walk.model.name, walk.peek.stream, canonical(walk.peek),
            walk.peek.wants_usage,
        )  # fmt: skip
        self._lookup = await unified.cache.find(policy, question, unified.now(), unified.embedder(policy))
        self.result = walk.record.cache = self._lookup.header
        return self._lookup.entry

    def take(self, data: bytes) -> None:
        """A piece of the answer as the client gets it."""
        self._size += len(data)
        if self._size <= cache.MAX_ENTRY:
            self._parts.append(data)

    def keep(self, content_type: bytes, charge: Charge, streamed: bool) -> None:
        """Keeps the answer if it is a good one: errors, cut and filtered answers are not."""
        walk = self._walk
        if self._lookup is None or charge.outcome not in _KEPT or self._size > cache.MAX_ENTRY:
            return
        route = walk.route
        unified = walk.unified
        unified.cache.put(self._lookup, cache.Entry(
            content_type, b"".join(self._parts), streamed, charge.usage or Usage(),
            route.target.model if route is not None else "", charge.provider, unified.now(),
        ))  # fmt: skip
