"""Waiting without tasks: a coroutine that is driven by the callbacks it waits for.

A task costs a turn of the loop at its start and at every wake-up; a unified call mostly needs neither. What is driven
here may await a `Wait`, asyncio's futures, and coroutines made of these; nothing that asks for the current task
(`asyncio.sleep`, `asyncio.timeout`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Wait:
    """Something that happens once: `set` or `fail`, whichever comes first. One coroutine may await it."""

    __slots__ = ("_error", "_result", "_resume", "done")

    def __init__(self) -> None:
        self.done = False
        self._result: Any = None
        self._error: Exception | None = None
        self._resume: Callable[[], None] | None = None

    def set(self, result: Any = None) -> None:
        if not self.done:
            self._result = result
            self._happened()

    def fail(self, error: Exception) -> None:
        if not self.done:
            self._error = error
            self._happened()

    def _happened(self) -> None:
        self.done = True
        resume, self._resume = self._resume, None
        if resume is not None:
            resume()

    def on_set(self, resume: Callable[[], None]) -> None:
        self._resume = resume

    def __await__(self) -> Generator[Wait, None, Any]:
        if not self.done:
            yield self
        if self._error is not None:
            raise self._error
        return self._result


class Walk:
    """A coroutine on its way. `crashed` hears of an exception that it does not handle itself."""

    __slots__ = ("_coroutine", "_crashed")

    def __init__(self, coroutine: Coroutine[Any, None, None], crashed: Callable[[Exception], None]) -> None:
        self._coroutine = coroutine
        self._crashed = crashed

    def go(self, _: object = None) -> None:
        """Runs until the coroutine ends or waits; what it waits for calls this again."""
        try:
            waited = self._coroutine.send(None)
        except StopIteration:
            return
        except Exception as exc:
            self._crashed(exc)
            return
        if type(waited) is Wait:
            waited.on_set(self.go)
        else:
            waited._asyncio_future_blocking = False  # asyncio's protocol between futures and who awaits them
            waited.add_done_callback(self.go)
