"""Each surface over each vendor dialect, plain and streamed: what is said, what it costs, how it fails."""

from __future__ import annotations

import contextlib

import pytest

from tests.unified.clients.billing import Bill
from tests.unified.matrix import cells
from tests.unified.matrix.cells import TARGETS
from tests.unified.matrix.conftest import Starting
from tests.unified.matrix.drivers import DRIVERS, Ask, Driver, status_of

EVERY_SURFACE = pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
EVERY_VENDOR = pytest.mark.parametrize("dialect", TARGETS)
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


@EVERY_SURFACE
@EVERY_VENDOR
@BOTH_WAYS
def test_a_text(start: Starting, bill: Bill, driver: type[Driver], dialect: str, stream: bool) -> None:
    got = cells.text(start(driver, dialect), Ask(stream))
    bill.charged(got.usage)


@EVERY_SURFACE
@EVERY_VENDOR
@BOTH_WAYS
def test_parallel_tools(start: Starting, bill: Bill, driver: type[Driver], dialect: str, stream: bool) -> None:
    first, second = cells.tools(start(driver, dialect), Ask(stream))
    bill.charged(first.usage, second.usage)


@EVERY_SURFACE
@EVERY_VENDOR
@BOTH_WAYS
def test_a_picture(start: Starting, bill: Bill, driver: type[Driver], dialect: str, stream: bool) -> None:
    model = "dashscope.generation+see" if dialect == "dashscope.generation" else dialect
    plain, seeing = start(driver, model), start(driver, model)
    plain.user("what is this")
    seeing.user("what is this", picture=True)
    without, got = plain.turn(Ask(stream)), seeing.turn(Ask(stream))
    assert got.text == "You said: what is this (1 image)"
    assert got.usage.input == without.usage.input + 85
    bill.charged(without.usage, got.usage)


@EVERY_SURFACE
@EVERY_VENDOR
@BOTH_WAYS
def test_thinking(start: Starting, bill: Bill, driver: type[Driver], dialect: str, stream: bool) -> None:
    # MiniMax's models think whether or not they are asked to.
    conversation = start(driver, dialect, **({"think": 8} if dialect == "minimax.chat" else {}))
    conversation.user("hello there")
    got = conversation.turn(Ask(stream, effort="low"))
    assert got.text == "You said: hello there"
    bill.charged(got.usage)
    if dialect == "dashscope.generation" and not stream:
        return  # its models think in streams only: the wish is dropped, and named
    assert got.usage.reasoning > 0
    if dialect != "openai.chat":  # OpenAI's chats tell how much was thought, not what
        assert got.thought


@EVERY_SURFACE
@EVERY_VENDOR
@BOTH_WAYS
def test_a_schema(start: Starting, bill: Bill, driver: type[Driver], dialect: str, stream: bool) -> None:
    bill.charged(cells.schema(start(driver, dialect), Ask(stream)).usage)


@EVERY_SURFACE
@EVERY_VENDOR
@BOTH_WAYS
@pytest.mark.parametrize("status", cells.STATUSES)
def test_an_error(
    start: Starting, bill: Bill, driver: type[Driver], dialect: str, stream: bool, status: int
) -> None:
    conversation = start(driver, cells.failing(dialect, driver.name, stream, f"status={status}"))
    conversation.user("hello there")
    statuses: list[int] = []
    with status_of(conversation, statuses.append):
        conversation.turn(Ask(stream))
    assert statuses == [status]
    bill.free("failed")


@EVERY_SURFACE
@EVERY_VENDOR
@BOTH_WAYS
def test_a_cut_stream(start: Starting, bill: Bill, driver: type[Driver], dialect: str, stream: bool) -> None:
    conversation = start(driver, cells.failing(dialect, driver.name, stream, cells.FAILURES[-1]))
    conversation.user("hello there")
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the SDK calls a connection that broke
        conversation.turn(Ask(stream))
    bill.free("vendor_truncated" if stream else "failed")


@EVERY_SURFACE
@EVERY_VENDOR
@BOTH_WAYS
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_content_filter(
    start: Starting, bill: Bill, driver: type[Driver], dialect: str, stream: bool, when: str
) -> None:
    """Filtered answers cost nothing; the client is told in its own words, by an error or by a finish."""
    conversation = start(driver, dialect, filter=when)
    conversation.user("hello there")
    finish = "filtered"
    with contextlib.suppress(*conversation.broken):
        finish = conversation.turn(Ask(stream)).finish
    assert finish == "filtered"
    assert bill.ended(1)[0] in ("filtered", "failed")
