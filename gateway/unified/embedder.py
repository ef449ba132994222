"""Vectors for the semantic cache from a configured embedding model: the gateway's own call, charged to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.dialects.request import peek
from gateway.errors import BadUpstreamReply, GatewayError, NoTarget
from gateway.routing.rules import Facts
from gateway.types import Caller
from gateway.unified.asked import Asked
from gateway.unified.attempts import VendorCall, failure_of, outcome_of
from gateway.unified.reply import Reply
from gateway.unified.requests import Lines
from gateway.unified.surfaces import BY_PATH
from gateway.wire.decompress import decompressor

if TYPE_CHECKING:
    from gateway.unified.entry import Unified

_SURFACE = BY_PATH[b"/v1/embeddings"]
_NOBODY = Caller("", "", "")


class _Head:
    """What stands for a client's head."""

    surface = _SURFACE
    lines: Lines = ((b"content-type", b"Content-Type: application/json\r\n"),)
    array = False


class _Item(msgspec.Struct):
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Item]


_decode = msgspec.json.Decoder(_Answer).decode


class Embedder:
    """Calls like any other attempt do: routed, failed over, seen by the breakers and counted as attempts."""

    def __init__(self, unified: Unified, model: str) -> None:
        self._unified = unified
        self._model = model

    async def __call__(self, text: str) -> list[float]:
        """The vector of a text. Raises GatewayError."""
        unified = self._unified
        body = {"model": self._model, "input": [text], "encoding_format": "float"}
        request = peek(_SURFACE.dialect, msgspec.json.encode(body))
        asked = Asked(unified, _Head(), request, _NOBODY, "")
        model = unified.router.resolve(self._model, Facts())
        last: GatewayError = NoTarget("no target of the embedding model is available")
        for route in unified.router.routes(model, unified.usable(_SURFACE)):
            route.begin()
            begun = unified.edge().now
            reply = Reply(route.dialect, False, 1, decompressor, lambda _: None, lambda: None)
            fetch = None
            try:
                call = VendorCall(asked, model, route)
                await call.prepare()
                fetch = call.fetch(reply)
                fetch.start(call.request)
                await reply.begun
                call.judge(reply)
                vector = _decode(reply.body).data[0].embedding
            except GatewayError as error:
                last = error
            except (msgspec.DecodeError, IndexError):
                last = BadUpstreamReply("the embedding model's answer has no vector")
            else:
                route.succeeded(unified.edge().now - begun)
                self._done(route.provider.id, "ok")
                route.done()
                return vector
            if fetch is not None:
                fetch.abandon()
            route.failed(failure_of(last))
            self._done(route.provider.id, outcome_of(last))
            route.done()
        raise last

    def _done(self, provider: str, outcome: str) -> None:
        self._unified.journal.metrics.series(_SURFACE.name, provider).attempt(outcome)
