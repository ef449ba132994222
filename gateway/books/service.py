"""The books process: with several workers one process has the ledger and the limits, and answers all of them.

A worker's calls are its own. When its connection ends they wait a second for it to come back, then they are closed as
expired. When this process has died and begins again, it first waits for the workers that were there before: each
declares what it holds, and only then is anybody let in, for what is held must not be given out twice. What nobody
declares belongs to nobody: it is closed as expired.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

from gateway.books.books import Books, Call, expired, given_up
from gateway.books.messages import Admit, Admitted, Ask, Channel, Close, Closed, Hello, Message, Refused, Told, Welcome
from gateway.errors import GatewayError
from gateway.wire.waiting import Walk

GRACE_SECONDS = 1.0  # for a worker whose connection has ended
ARRIVAL_SECONDS = 5.0  # for the workers that were there before this process


class _Session:
    """One worker, over all its connections, and what it holds."""

    __slots__ = ("channel", "holds", "declaring", "expiry")

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self.holds: dict[str, Admit] = {}
        self.declaring = False
        self.expiry: asyncio.TimerHandle | None = None


class Service:
    """Answers workers; `expected` of them were there before."""

    def __init__(self, books: Books, expected: int) -> None:
        self._books = books
        self._expected = expected
        self._loop = asyncio.get_running_loop()
        self._sessions: dict[str, _Session] = {}
        self._by_channel: dict[Channel, _Session | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._letting_in = False
        self._server: asyncio.Server | None = None
        self._arrival = self._loop.call_later(ARRIVAL_SECONDS, self._let_in)
        self._arrived()

    async def listen(self, path: Path) -> None:
        """Raises OSError."""
        path.unlink(missing_ok=True)
        self._server = await self._loop.create_unix_server(self._connected, str(path))
        os.chmod(path, 0o600)

    @property
    def connected(self) -> int:
        """Workers that are connected."""
        return len(self._by_channel)

    async def stop(self) -> None:
        """Hangs up; what workers still hold is closed as expired."""
        if self._server is not None:
            self._server.close()
        self._arrival.cancel()
        for channel in list(self._by_channel):
            channel.close()
        while self._tasks:
            await asyncio.wait(self._tasks)
        for session in self._sessions.values():
            if session.expiry is not None:
                session.expiry.cancel()
            self._close_all(session)

    # ---- connections

    def _connected(self) -> Channel:
        channel = Channel(self._received, self._lost)
        self._by_channel[channel] = None
        return channel

    def _lost(self, channel: Channel) -> None:
        session = self._by_channel.pop(channel, None)
        if session is not None and session.channel is channel:
            session.channel = None
            session.expiry = self._loop.call_later(GRACE_SECONDS, self._expire, session)

    def _expire(self, session: _Session) -> None:
        if session.declaring:  # cannot be closed before it is open
            session.expiry = self._loop.call_later(GRACE_SECONDS, self._expire, session)
            return
        self._close_all(session)
        self._sessions = {name: other for name, other in self._sessions.items() if other is not session}

    def _close_all(self, session: _Session) -> None:
        for request_id, admit in session.holds.items():
            self._books.close(expired(admit.caller(), request_id), None)
        session.holds.clear()

    # ---- messages

    def _received(self, channel: Channel, message: Message) -> None:
        session = self._by_channel.get(channel)
        match message:
            case Admit() if session is not None:
                Walk(self._admit(channel, session, message), self._crashed).go()
            case Close() if session is not None:
                request_id = message.charge.request_id
                session.holds.pop(request_id, None)
                durable = self._books.close(message.charge, message.tokens)
                durable.add_done_callback(partial(_tell_closed, channel, request_id))
            case Ask() if session is not None:
                Walk(self._tell(channel, message.caller), self._crashed).go()
            case Hello() if session is None:
                self._hello(channel, message)
            case _:
                channel.close()

    async def _admit(self, channel: Channel, session: _Session, message: Admit) -> None:
        caller, request_id = message.caller(), message.request_id
        try:
            standing = await self._books.admit(caller, request_id, message.tokens, message.amount)
        except GatewayError as error:
            channel.send(Refused.of(request_id, error))
            return
        if session.channel is channel:
            session.holds[request_id] = message
            channel.send(Admitted(request_id, standing))
        else:  # the worker has hung up meanwhile and told its client so
            self._books.close(given_up(caller, request_id), 0)

    async def _tell(self, channel: Channel, question: Admit) -> None:
        channel.send(Told(question.request_id, await self._books.standing(question.caller())))

    def _crashed(self, exc: Exception) -> None:
        self._loop.call_exception_handler({"message": "the books failed at a message", "exception": exc})

    # ---- what workers declare

    def _hello(self, channel: Channel, hello: Hello) -> None:
        session = self._sessions.setdefault(hello.session, _Session())
        if session.expiry is not None:
            session.expiry.cancel()
        if session.channel is not None:
            session.channel.close()
        session.channel, session.declaring = channel, True
        self._by_channel[channel] = session
        task = self._loop.create_task(self._declare(channel, session, hello))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _declare(self, channel: Channel, session: _Session, hello: Hello) -> None:
        declared = {admit.request_id: admit for admit in hello.holds}
        for request_id in session.holds.keys() - declared:  # asked for just before the connection ended
            self._books.close(given_up(session.holds.pop(request_id).caller(), request_id), 0)
        unknown = [admit for request_id, admit in declared.items() if request_id not in session.holds]
        try:
            if unknown:
                await self._books.adopt([
                    Call(admit.caller(), admit.request_id, admit.tokens, admit.amount) for admit in unknown
                ])  # fmt: skip
            session.holds = declared
        except BaseException:
            channel.close()  # the worker comes again
            raise
        finally:
            session.declaring = False
        if self._letting_in:
            channel.send(Welcome())
        else:
            self._arrived()

    def _arrived(self) -> None:
        """Whether all are there that have to be."""
        there = [one for one in self._sessions.values() if not one.declaring]
        if len(there) >= self._expected and not self._letting_in:
            self._arrival.cancel()
            self._let_in()

    def _let_in(self) -> None:
        self._letting_in = True
        self._books.expire_orphans()
        for session in self._sessions.values():
            if session.channel is not None and not session.declaring:
                session.channel.send(Welcome())


def _tell_closed(channel: Channel, request_id: str, durable: asyncio.Future[None]) -> None:
    error = durable.exception()
    channel.send(Closed(request_id) if error is None else Closed(request_id, str(error)))
