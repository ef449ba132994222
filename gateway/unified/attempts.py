"""One attempt of a unified call, as the walk makes it: the bytes for a target, and what its answer is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialects import conversion
from gateway.dialects.answers import judge
from gateway.dialects.edit import rewritten
from gateway.dialects.request import Peek
from gateway.errors import GatewayError, Source, Unsupported
from gateway.routing.health import BUSY, UNAVAILABLE, Failure, classify
from gateway.routing.router import Route
from gateway.unified.reply import Reply, VendorRefused
from gateway.unified.requests import request
from gateway.wire.fetch import Fetch

if TYPE_CHECKING:
    from gateway.unified.entry import Unified
    from gateway.unified.requests import Lines

_CHAT = "openai.chat"
_CONTENT = frozenset(("input", "query", "documents"))
_MOST_ITEMS = 4096
_MOST_FIELD = 64 << 10

_decode = msgspec.json.Decoder().decode


class VendorCall:
    """What one attempt sends. Raises Unsupported where the target's dialect cannot carry the request."""

    def __init__(self, unified: Unified, surface: str, lines: Lines, peek: Peek, route: Route) -> None:
        self._unified = unified
        self._peek = peek
        self._route = route
        # None for equal dialects: the bytes stay as they are.
        self._conversion = conversion.find(surface, route.dialect) if surface != route.dialect else None
        self._fields: dict[str, Any] = {}
        method = ""
        quirks = route.provider.quirks
        self.hides_usage = peek.stream and surface == _CHAT and not peek.wants_usage
        self.dropped: tuple[str, ...] = ()
        if self._conversion is None:
            body = rewritten(peek, route.target.model, surface == _CHAT, None if quirks.none else quirks)
            if quirks.drop:
                self.dropped = tuple(name for name in quirks.drop if name in peek.fields)
        else:
            self._fields = _decoded(peek)
            body, self.dropped = self._conversion.request(self._fields, route.target.model)
            method = self._conversion.method
        self._pool, begin = unified.heads.head(
            route.provider, route.dialect, route.target.model, route.key or "", lines, method
        )
        self.request = request(begin, body)

    def fetch(self, reply: Reply) -> Fetch:
        return Fetch(self._pool, self._unified.edge(), reply)

    def judge(self, reply: Reply) -> None:
        """Judges a document and brings it into the surface's form. Raises VendorRefused or BadUpstreamReply."""
        body = reply.document()
        verdict = judge(self._route.dialect, body, self._peek.count)
        if verdict.error is not None:
            raise VendorRefused(verdict.error, hidden=True)
        reply.verdict = verdict
        if self._conversion is not None:
            body = self._conversion.answer(body, self._fields, estimate=self._peek.input_tokens)
            reply.content_type = b"application/json"
        reply.body = body


def _decoded(peek: Peek) -> dict[str, Any]:
    """The request as values. Decoding may take many times the memory of the text, so it is bounded: what is converted
    is a list of texts and some small fields, and of any other field its name is all that matters.
    """
    if peek.count > _MOST_ITEMS:
        raise Unsupported(f"more than {_MOST_ITEMS} items in one call cannot be converted: send fewer", param="input")
    return {
        name: _decode(raw) if name in _CONTENT or len(memoryview(raw)) <= _MOST_FIELD else True
        for name, raw in peek.fields.items()
    }


def failure_of(error: GatewayError) -> Failure:
    """What an attempt's error says about the target."""
    if isinstance(error, VendorRefused):
        failure = classify(error.status, error.retry_after)
        # An error behind a 200 always moves on; where it blames the request, the target is none the worse.
        return Failure(BUSY) if error.hidden and not failure.failover else failure
    # What is not the vendor's fault (our limit of connections, a field that this dialect cannot carry, our own mistake)
    # leaves the target none the worse; another may be able to.
    return Failure(UNAVAILABLE if error.source is Source.UPSTREAM else BUSY)


def outcome_of(error: GatewayError | None) -> str:
    """How an attempt is counted: `ok`, the vendor's status, or the gateway's code for what happened."""
    if error is None:
        return "ok"
    return str(error.status) if isinstance(error, VendorRefused) else error.code
