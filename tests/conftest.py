"""What all tests share: the choice of event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
_LOOPS: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
    """Tests of the engine run under both loops: transports differ in their corners. For all others one will do."""
    return _LOOPS if item.get_closest_marker("both_loops") else {"asyncio": _LOOPS["asyncio"]}
