"""An attempt of a unified call: what its error says about the target, and how much of a request is decoded."""

from __future__ import annotations

import tracemalloc

import pytest

from gateway.dialects.error_forms import VendorError
from gateway.dialects.request import peek
from gateway.errors import (
    BadUpstreamReply,
    GatewayError,
    Internal,
    Overloaded,
    Unsupported,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.routing.health import BUSY, CLIENT_FAULT, KEY_REFUSED, LIMITED, UNAVAILABLE
from gateway.unified.asked import listed
from gateway.unified.attempts import failure_of, outcome_of
from gateway.unified.reply import VendorRefused


def refused(status: int, hidden: bool = False, retry_after: float | None = None) -> VendorRefused:
    return VendorRefused(VendorError(status, "no"), retry_after, hidden)


@pytest.mark.parametrize(
    ("error", "kind", "outcome"),
    [
        (refused(400), CLIENT_FAULT, "400"),
        (refused(404), CLIENT_FAULT, "404"),
        (refused(401), KEY_REFUSED, "401"),
        (refused(402), KEY_REFUSED, "402"),
        (refused(403), UNAVAILABLE, "403"),
        (refused(409), BUSY, "409"),
        (refused(429, retry_after=3.0), LIMITED, "429"),
        (refused(500), UNAVAILABLE, "500"),
        (refused(400, hidden=True), BUSY, "400"),
        (refused(503, hidden=True), UNAVAILABLE, "503"),
        (UpstreamUnreachable("x"), UNAVAILABLE, "upstream_unreachable"),
        (UpstreamTimeout("x"), UNAVAILABLE, "upstream_timeout"),
        (BadUpstreamReply("x"), UNAVAILABLE, "bad_upstream_reply"),
        (Overloaded("x"), BUSY, "overloaded"),
        (Unsupported("x"), BUSY, "unsupported"),
        (Internal("x"), BUSY, "internal"),
    ],
)
def test_who_is_to_blame(error: GatewayError, kind: str, outcome: str) -> None:
    failure = failure_of(error)
    assert (failure.kind, outcome_of(error)) == (kind, outcome)
    assert failure.failover is (kind != CLIENT_FAULT)
    assert failure.retry_after == (3.0 if kind == LIMITED else None)


def test_only_what_is_converted_islisted() -> None:
    costly = b"[" + b"{}," * 300_000 + b"{}]"
    request = peek("openai.embeddings", b'{"model":"m","input":["a"],"dimensions":8,"tools":' + costly + b"}")
    tracemalloc.start()
    fields = listed(request)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert fields == {"model": "m", "input": ["a"], "dimensions": 8, "tools": True}
    assert most < 1 << 20


def test_too_many_items_are_refused_before_they_arelisted() -> None:
    with pytest.raises(Unsupported, match="4096"):
        listed(peek("openai.embeddings", b'{"model":"m","input":["' + b'","' * 5000 + b'"]}'))
