"""A gateway for each test file, a fresh vendor and fresh clients for each test."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.wire.ends import End, connect
from tests.wire.serving import Gateway
from tests.wire.vendor import Vendor

Dial = Callable[..., Awaitable[End]]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """A running gateway; the file's `SERVER` and `PROVIDERS` are laid over the usual configuration.

    At its end it must drain, exit with 0 and have logged no traceback.
    """
    serving = Gateway(
        tmp_path_factory.mktemp("gateway"),
        getattr(request.module, "SERVER", None),
        getattr(request.module, "PROVIDERS", None),
    )
    serving.start()
    yield serving
    assert serving.process.poll() is None, f"the gateway died: {serving.stderr[-3000:]}"
    assert serving.stop() == 0, serving.stderr[-3000:]
    assert "Traceback" not in serving.stderr, serving.stderr[-3000:]


Start = Callable[..., Gateway]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts gateways of the test's own; they are ended, whatever state they are in."""
    started: list[Gateway] = []

    def starting(
        server: dict[str, Any] | None = None, providers: dict[str, Any] | None = None, workers: int = 1
    ) -> Gateway:
        directory = tmp_path / f"gateway{len(started)}"
        directory.mkdir()
        serving = Gateway(directory, server, providers, workers)
        started.append(serving)
        serving.start()
        return serving

    yield starting
    for serving in started:
        serving.kill()


@pytest.fixture
async def vendor(gateway: Gateway) -> AsyncIterator[Vendor]:
    async with Vendor(gateway.vendor_port) as vendor:
        yield vendor


@pytest.fixture
async def dial(request: pytest.FixtureRequest) -> AsyncIterator[Dial]:
    """Opens clients' connections, by default to the file's gateway; those still open at the end are closed."""
    opened: list[End] = []

    async def connected(
        port: int | None = None, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None
    ) -> End:
        if port is None:
            port = request.getfixturevalue("gateway").port
        end = await connect(port, receive_buffer=receive_buffer, tls=tls)
        opened.append(end)
        return end

    yield connected
    for end in opened:
        if not end.lost:
            end.transport.abort()
            await end.wait_lost()
