"""Dialects: everything that knows a vendor's wire format. Pure: bytes and values in, bytes and values out."""

from __future__ import annotations

from collections.abc import Callable

from gateway.dialects.families import FAMILIES, Family
from gateway.dialects.readers import EventReader, JSONReader, SilentReader, UsageReader
from gateway.dialects.request_model import RequestModel, model_from_target, model_of
from gateway.dialects.websocket_usage import WebSocketUsage
from gateway.types import Usage

__all__ = [
    "DIALECTS", "RequestModel", "UsageReader", "WebSocketUsage",
    "model_from_target", "model_of", "quick_for", "reader_for",
]  # fmt: skip

DIALECTS = frozenset(FAMILIES)

_Maker = Callable[[Family], UsageReader]
_BINARY = (b"audio/", b"image/", b"video/")
# The usual spellings, so that they need no looking into.
_MAKERS: dict[bytes, _Maker] = {b"application/json": JSONReader, b"text/event-stream": EventReader}


def quick_for(dialect: str) -> Callable[[bytes], tuple[str | None, Usage] | None] | None:
    """What reads the plain case of a dialect's whole JSON answer in one go; None where the dialect has no such case."""
    return FAMILIES[dialect].quick


def reader_for(dialect: str, content_type: bytes) -> UsageReader:
    """A reader for one answer; where the content type says nothing, the first byte decides. KeyError: no dialect."""
    maker = _MAKERS.get(content_type) or _maker(content_type.lower())
    return maker(FAMILIES[dialect])


def _maker(kind: bytes) -> _Maker:
    if b"json" in kind:
        return JSONReader
    return SilentReader if kind.startswith(_BINARY) else EventReader
