"""What vendors do now and then: calls whose pieces come interleaved, calls without arguments, signatures that come late
or cannot be read, a refusal in words.
"""

from __future__ import annotations

import contextlib

import pytest

from tests.unified.clients.billing import Bill
from tests.unified.matrix.cells import TARGETS
from tests.unified.matrix.conftest import Starting
from tests.unified.matrix.drivers import DRIVERS, Ask, Driver

EVERY_SURFACE = pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
EVERY_VENDOR = pytest.mark.parametrize("dialect", TARGETS)
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


@EVERY_SURFACE
@EVERY_VENDOR
@pytest.mark.parametrize("directive", ["interleave", "empty_args"])
def test_calls_as_they_come(
    start: Starting, bill: Bill, driver: type[Driver], dialect: str, directive: str
) -> None:
    conversation = start(driver, dialect, **{directive: 1})
    conversation.user(f"the weather and the clock, {directive}")
    first = conversation.turn(Ask(True, tools=True))
    assert [name for _, name, _ in first.calls] == ["weather", "clock"]
    assert all(isinstance(arguments, dict) for _, _, arguments in first.calls)
    conversation.results(first.calls, ["sunny", "noon"])
    second = conversation.turn(Ask(True, tools=True))
    assert second.text == "The tool said: noon"
    bill.charged(first.usage, second.usage)


@EVERY_SURFACE
@BOTH_WAYS
@pytest.mark.parametrize(
    ("dialect", "directive"), [("gemini.generate", "late_signature"), ("anthropic.messages", "redacted")]
)
def test_signatures_that_hide(
    start: Starting, bill: Bill, driver: type[Driver], dialect: str, directive: str, stream: bool
) -> None:
    conversation = start(driver, dialect, **{directive: 1})
    conversation.user(f"the weather and the clock, {directive} {stream} {driver.name}")
    first = conversation.turn(Ask(stream, tools=True, effort="low"))
    conversation.results(first.calls, ["sunny", "noon"])
    second = conversation.turn(Ask(stream, tools=True, effort="low"))
    assert second.text == "The tool said: noon"
    bill.charged(first.usage, second.usage)


@EVERY_SURFACE
@pytest.mark.parametrize("dialect", ["openai.chat", "openai.responses"])  # the others have no field for it
@BOTH_WAYS
def test_a_spoken_refusal(start: Starting, bill: Bill, driver: type[Driver], dialect: str, stream: bool) -> None:
    """Whatever form it has, it is no answer, and costs nothing."""
    conversation = start(driver, dialect, refuse_text=1)
    conversation.user("hello there")
    finish = "filtered"
    with contextlib.suppress(*conversation.broken):
        finish = conversation.turn(Ask(stream)).finish
    assert finish in ("filtered", "stop")
    assert bill.ended(1) == ["filtered"]
