"""A coroutine driven by what it waits for: order, errors, and no turn of the loop that is not needed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from gateway.wire.waiting import Wait, Walk


class Told:
    """Runs a coroutine and notes what it says and how it crashes."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.crashes: list[Exception] = []

    def run(self, coroutine: Coroutine[Any, None, None]) -> None:
        Walk(coroutine, self.crashes.append).go()


def test_what_has_happened_is_not_waited_for() -> None:
    told, wait = Told(), Wait()
    wait.set("at once")

    async def walk() -> None:
        told.said.append(await wait)

    told.run(walk())
    assert told.said == ["at once"]


def test_it_goes_on_inside_of_set() -> None:
    told, first, second = Told(), Wait(), Wait()

    async def walk() -> None:
        told.said.append(await first)
        told.said.append(await second)

    told.run(walk())
    assert told.said == []
    first.set(1)
    assert told.said == [1]
    second.set(2)
    assert told.said == [1, 2]


def test_the_first_of_set_and_fail_counts() -> None:
    wait = Wait()
    wait.set("good")
    wait.fail(ValueError("late"))
    wait.set("later")
    told = Told()

    async def walk() -> None:
        told.said.append(await wait)

    told.run(walk())
    assert told.said == ["good"]


def test_a_failure_is_raised_where_it_is_awaited() -> None:
    told, wait = Told(), Wait()

    async def walk() -> None:
        try:
            await wait
        except ValueError as exc:
            told.said.append(str(exc))

    told.run(walk())
    wait.fail(ValueError("no"))
    assert told.said == ["no"]


def test_what_nobody_handles_is_told_once() -> None:
    told, wait = Told(), Wait()

    async def walk() -> None:
        await wait
        raise RuntimeError("mine")

    told.run(walk())
    wait.set()
    assert [str(exc) for exc in told.crashes] == ["mine"]


def test_what_happens_while_it_runs_is_not_lost() -> None:
    told, wait = Told(), Wait()

    async def walk() -> None:
        wait.set("by itself")
        told.said.append(await wait)

    told.run(walk())
    assert told.said == ["by itself"]


async def test_futures_of_the_loop_are_awaited_too() -> None:
    loop = asyncio.get_running_loop()
    told, future, done = Told(), loop.create_future(), loop.create_future()

    async def inner() -> int:
        found: int = await future
        return found + 1

    async def walk() -> None:
        told.said.append(await inner())
        done.set_result(None)

    told.run(walk())
    future.set_result(41)
    await done
    assert told.said == [42]


async def test_a_future_that_fails_raises() -> None:
    loop = asyncio.get_running_loop()
    told, future, done = Told(), loop.create_future(), loop.create_future()

    async def walk() -> None:
        try:
            await future
        except OSError as exc:
            told.said.append(str(exc))
        done.set_result(None)

    told.run(walk())
    future.set_exception(OSError("gone"))
    await done
    assert told.said == ["gone"]


def test_a_long_chain_does_not_recurse() -> None:
    told = Told()

    async def walk() -> None:
        for number in range(50_000):
            wait = Wait()
            wait.set(number)
            await wait
        told.said.append("through")

    told.run(walk())
    assert told.said == ["through"]
