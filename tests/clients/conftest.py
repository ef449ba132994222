"""One sandbox and one gateway before it for all clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.clients.places import Link, Places, Sandbox, at_sandbox
from tests.wire.serving import Gateway

LinkTo = Callable[[str], Link]


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    serving = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield serving
    serving.stop()
    assert "Traceback" not in serving.log, serving.log[-3000:]


@pytest.fixture(scope="session")
def places(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """At its end the gateway must drain, exit with 0 and have logged no traceback."""
    serving = Gateway(tmp_path_factory.mktemp("gateway"), providers=at_sandbox(sandbox.port))
    serving.start()
    yield Places(sandbox, serving)
    assert serving.process.poll() is None, f"the gateway died: {serving.stderr[-3000:]}"
    assert serving.stop() == 0, serving.stderr[-3000:]
    assert "Traceback" not in serving.stderr, serving.stderr[-3000:]


@pytest.fixture(scope="session")
def link_to(places: Places) -> LinkTo:
    """A provider's link by its id."""
    return places.link
