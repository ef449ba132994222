"""A sandbox for all, a gateway for each test file; the books are verified at the end of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.places import Sandbox
from tests.unified.place import Place


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    running = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox, request: pytest.FixtureRequest
) -> Iterator[Place]:
    """A running gateway; the file's `SERVER`, `PROVIDERS` and `MODELS` make its configuration.

    At its end it must drain, exit with 0, have logged no traceback, and its books must be right with nothing held.
    """
    module = request.module
    serving = Place(
        tmp_path_factory.mktemp("unified"), sandbox,
        getattr(module, "SERVER", None), getattr(module, "PROVIDERS", None), models=getattr(module, "MODELS", None),
    )  # fmt: skip
    serving.start()
    yield serving
    assert serving.process.poll() is None, f"the gateway died: {serving.stderr[-3000:]}"
    assert serving.stop() == 0, serving.stderr[-3000:]
    assert "Traceback" not in serving.stderr, serving.stderr[-3000:]
    assert serving.verified()["open_holds"] == 0


Start = Callable[..., Place]


@pytest.fixture
def start(tmp_path: Path, sandbox: Sandbox) -> Iterator[Start]:
    """Starts gateways of the test's own; they are ended, whatever state they are in."""
    started: list[Place] = []

    def starting(**options: Any) -> Place:
        directory = tmp_path / f"place{len(started)}"
        directory.mkdir()
        serving = Place(directory, sandbox, **options)
        started.append(serving)
        serving.start()
        return serving

    yield starting
    for serving in started:
        serving.kill()
