"""An agent's loop: it asks, calls, answers its calls and goes on, thinking all the while; the same over any vendor."""

from __future__ import annotations

import pytest

from tests.unified.clients.billing import Bill
from tests.unified.matrix.cells import TARGETS
from tests.unified.matrix.conftest import Starting
from tests.unified.matrix.drivers import DRIVERS, Ask, Driver

# What the user says, and how the tools answer the calls that it leads to.
TURNS = [
    ("the weather, please", ["sunny"]),
    ("the clock and the weather, please", ["noon", "rain"]),
    ("the weather again", ["snow"]),
    ("the clock once more", ["one"]),
    ("the weather and the clock", ["wind", "two"]),
]
SAID = [
    (("weather",), "The tool said: sunny"),
    (("weather", "clock"), "The tool said: rain"),
    (("weather",), "The tool said: snow"),
    (("clock",), "The tool said: one"),
    (("weather", "clock"), "The tool said: two"),
]


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
@pytest.mark.parametrize("dialect", TARGETS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_five_turns_with_tools_and_thinking(
    start: Starting, bill: Bill, driver: type[Driver], dialect: str, stream: bool
) -> None:
    conversation = start(driver, dialect)
    said, usages = [], []
    for words, results in TURNS:
        conversation.user(words)
        got = conversation.turn(Ask(stream, tools=True, effort="low"))
        usages.append(got.usage)
        names = tuple(name for _, name, _ in got.calls)
        if got.calls:
            assert got.finish == "tools"
            conversation.results(got.calls, results)
            got = conversation.turn(Ask(stream, tools=True, effort="low"))
            usages.append(got.usage)
        said.append((names, got.text))
    assert said == SAID
    bill.charged(*usages)
