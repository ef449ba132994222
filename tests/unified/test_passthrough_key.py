"""`passthrough_key: true`: pass-through needs a gateway key, and nobody else ever sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unified.caller import raw_provider
from tests.unified.place import MODELS as USUAL
from tests.unified.place import Place
from tests.wire.ends import End, connect
from tests.wire.messages import Fields, answer, read_answer, request
from tests.wire.serving import free_port
from tests.wire.vendor import Vendor, serve

PORT = free_port()
SERVER = {"passthrough_key": True}
PROVIDERS = {"raw": raw_provider(PORT)}
MODELS = USUAL
VENDORS_OWN = (b"Authorization", b"Bearer vendor-key-of-the-client")


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key("--models", "free", "--rpm", "1", credits=None)


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    async with Vendor(PORT, serve(answer(b"from the vendor"))) as running:
        yield running


@pytest.fixture
async def opened(place: Place) -> AsyncIterator[End]:
    end = await connect(place.port)
    yield end
    end.close()
    await end.wait_lost()


def asked(*fields: tuple[bytes, bytes], target: bytes = b"/raw/v1/chat/completions") -> bytes:
    return request(target, b"POST", b'{"model":"x"}', [VENDORS_OWN, *fields])


async def test_with_a_key_it_goes_through_and_the_key_stays(opened: End, key: str, vendor: Vendor) -> None:
    """Keys' limits are those of the unified surfaces."""
    for name in (b"x-gateway-key", b"X-Gateway-Key"):
        await opened.send(asked((name, key.encode())))
        got = await read_answer(opened)
        assert (got.status, got.body) == (200, b"from the vendor")
    raw = bytes(vendor.connections[0].raw)
    assert key.encode() not in raw
    assert b"x-gateway" not in raw.lower()
    assert vendor.requests[0].value(b"authorization") == VENDORS_OWN[1]


WRONG: dict[str, Fields] = {
    "none": [],
    "empty": [(b"x-gateway-key", b"")],
    "unknown": [(b"x-gateway-key", b"nobody")],
    "the admin's": [(b"x-gateway-key", b"admin-key-of-the-wire-tests")],
    "SQL": [(b"x-gateway-key", b"' OR 1=1 --")],
    "binary": [(b"x-gateway-key", bytes(range(0x80, 0x100)))],
    "10 KB": [(b"x-gateway-key", b"k" * 10_000)],
}


@pytest.mark.parametrize("name", WRONG)
async def test_without_a_key_nothing_goes_through(opened: End, vendor: Vendor, name: str) -> None:
    await opened.send(asked(*WRONG[name]))
    got = await read_answer(opened)
    assert got.status == 401
    assert got.value(b"x-gateway-error") == (b"missing_api_key" if name == "none" else b"invalid_api_key")
    assert b'"gateway_error"' in got.body
    assert got.value(b"x-request-id")
    assert vendor.connections == []


@pytest.mark.parametrize("way", ["authorization", "x-api-key", "query"])
async def test_the_key_counts_nowhere_else(opened: End, key: str, vendor: Vendor, way: str) -> None:
    """Those places are the vendor's."""
    target = b"/raw/x?key=" + key.encode() if way == "query" else b"/raw/x"
    fields = [] if way == "query" else [(way.encode(), key.encode())]
    await opened.send(request(target, fields=fields))
    assert (await read_answer(opened)).status == 401
    assert vendor.connections == []


async def test_a_first_good_key_opens_nothing_for_the_next_request(opened: End, key: str, vendor: Vendor) -> None:
    for value, status in [(key, 200), ("nobody", 401), (key, 200), (key[:-1], 401), (key, 200)]:
        await opened.send(request(b"/raw/x", fields=[(b"x-gateway-key", value.encode())]))
        assert (await read_answer(opened)).status == status
    await opened.send(request(b"/raw/x"))
    assert (await read_answer(opened)).status == 401


async def test_a_websocket_needs_it_too(opened: End, key: str, vendor: Vendor) -> None:
    upgrade = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"),
               (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="), (b"Sec-WebSocket-Version", b"13")]  # fmt: skip
    await opened.send(request(b"/raw/socket", fields=upgrade))
    assert (await read_answer(opened)).status == 401
    assert vendor.connections == []


def test_the_rest_needs_no_such_key(place: Place, key: str) -> None:
    assert place.call("/healthz").status == 200
    assert place.call("/pricing").status == 200
    assert place.chat(key, "free").status == 200
    assert place.chat(None, "free", headers={"x-gateway-key": key}).status == 401
