"""The far side: a scriptable vendor on a real socket that records what it got, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType

from tests.wire.ends import PATIENCE, End, Ended
from tests.wire.messages import Garbled, Message, answer, read_body, read_request_head

Script = Callable[["Vendor", End], Awaitable[None]]


class Vendor:
    """Counts connections and complete requests; `script` runs for each connection and may be changed at any time."""

    def __init__(self, port: int = 0, script: Script | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.script: Script = script or serve()
        self.connections: list[End] = []
        self.heads: list[Message] = []  # of requests that began
        self.requests: list[Message] = []  # that were complete
        self.problems: list[BaseException] = []
        self._tls = tls
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Vendor:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: End(self._opened), "127.0.0.1", self.port, ssl=self._tls, backlog=4096
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if exc is None and self.problems:
            raise AssertionError(f"the vendor met {self.problems}") from self.problems[0]

    async def stop(self) -> None:
        """Close the listener and every connection, and wait until the other side has closed them too."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._part(end) for end in self.connections))

    async def _part(self, end: End) -> None:
        """Let the other side see our end first, so that the next vendor on this port meets no stale connection."""
        if not end.lost and not end.ended and end.transport.can_write_eof():
            end.half_close()
            end.resume()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await end.wait_ended()
        if not end.lost:
            end.transport.abort()
            await end.wait_lost()

    def _opened(self, end: End) -> None:
        self.connections.append(end)
        task = asyncio.get_running_loop().create_task(self._run(end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._changed.set()

    async def _run(self, end: End) -> None:
        try:
            await self.script(self, end)
        except Ended:
            pass  # the gateway left; tests look at what came before
        except Exception as exc:
            self.problems.append(exc)
            end.reset()

    async def next_head(self, end: End) -> Message | None:
        """The next request's head on this connection, counted; None at its end."""
        while not end.buffer and not end.ended:
            with contextlib.suppress(TimeoutError):  # a pooled connection may wait for its next request
                await end.more()
        message = await read_request_head(end)
        if message is not None:
            self.heads.append(message)
            self._changed.set()
        return message

    async def next_request(self, end: End) -> Message | None:
        """The next complete request on this connection, counted; None at its end."""
        message = await self.next_head(end)
        if message is not None:
            await read_body(end, message)
            self.requests.append(message)
            self._changed.set()
        return message

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until something that the vendor sees makes `condition` true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def connection(self, number: int = 0) -> End:
        """The connection with this number, once it is there."""
        await self.wait_for(lambda: len(self.connections) > number)
        return self.connections[number]

    @property
    def garbled(self) -> list[BaseException]:
        return [problem for problem in self.problems if isinstance(problem, Garbled)]

    @property
    def open_connections(self) -> int:
        return sum(not end.ended for end in self.connections)


def serve(reply: bytes | Callable[[Message], bytes] = b"") -> Script:
    """A script that answers every request on a kept-alive connection, HEAD with the head only."""
    fixed = reply or answer()

    async def script(vendor: Vendor, end: End) -> None:
        while (message := await vendor.next_request(end)) is not None:
            whole = fixed(message) if callable(fixed) else fixed
            await end.send(whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if message.method == b"HEAD" else whole)

    return script


async def head_only(vendor: Vendor, end: End) -> None:
    """A script that reads one head and leaves the rest to the test."""
    await vendor.next_head(end)


def once(*pieces: bytes, then: str = "close") -> Script:
    """A script that reads one request, sends the pieces and then does `close`, `reset`, `half_close` or `keep`."""

    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_request(end)
        for piece in pieces:
            await end.send(piece)
        if then != "keep":
            getattr(end, then)()

    return script
