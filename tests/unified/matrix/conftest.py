"""One gateway for all cells, and a key whose every call can be checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.places import Sandbox, at_sandbox
from tests.unified.clients.billing import Bill
from tests.unified.matrix.cells import MODELS, providers
from tests.unified.matrix.drivers import Driver
from tests.unified.place import Place

Starting = Callable[..., Driver]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Place]:
    directory: Path = tmp_path_factory.mktemp("matrix")
    failing = providers(at_sandbox(sandbox.port))
    running = Place(directory, sandbox, models=MODELS, providers=failing)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def account(place: Place) -> Iterator[Bill]:
    opened = Bill(place)
    yield opened
    opened.closed()


@pytest.fixture
def bill(account: Bill) -> Bill:
    account.begin()
    return account


@pytest.fixture
def start(place: Place, bill: Bill) -> Starting:
    """Opens a conversation of a driver with a model; directives for the sandbox by name."""

    def begin(driver: type[Driver], model: str, **directives: Any) -> Driver:
        headers = {f"x-sandbox-{name.replace('_', '-')}": str(value) for name, value in directives.items()}
        return driver(f"http://127.0.0.1:{place.port}", bill.key, model, headers)

    return begin
