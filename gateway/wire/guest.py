"""aiohttp as a guest on the edge's connections: it serves what the hot path hands over.

An aiohttp handler is made only for connections that need one. It is given exactly one message at a time (the edge
frames it), so that a request behind it, which may belong to the hot path, never enters its parser. Whether it has
finished is read from three private fields of `RequestHandler`: only here, held by tests/test_guest.py against new
releases.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web

from gateway.errors import place_of
from gateway.wire.body import Chunked, Counted

# aiohttp must never close a connection for being idle: only the edge knows whether it is. (Zero would mean at once.)
_NEVER = 1e8


_log = logging.getLogger("gateway")


class GuestHandler(web.RequestHandler):
    """aiohttp's protocol, which says when it has answered."""

    __slots__ = ("answered",)

    answered: Callable[[], None]

    async def finish_response(self, *args: Any) -> Any:
        result = await super().finish_response(*args)
        self.answered()
        return result

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        # aiohttp would log the traceback, and its parser's errors quote the client's bytes.
        _log.error("%s %s: answered with %d", type(exc).__name__, place_of(exc), status)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        code = "bad_request" if status < 500 else "internal"
        text = "the request is malformed" if status < 500 else "the gateway failed; the log says where"
        response = web.json_response(
            {"error": {"type": "gateway_error", "code": code, "message": text}},
            status=status, headers={"x-gateway-error": code},
        )  # fmt: skip
        response.force_close()
        return response

    @property
    def at_rest(self) -> bool:
        """Whether the last message is answered and the next one awaited."""
        return self._current_request is None and not self._messages and self._waiter is not None


class GuestFactory:
    """Makes handlers for one aiohttp server."""

    def __init__(self, server: web.Server, **options: Any) -> None:
        self._server = server
        self._options = options

    def __call__(self) -> GuestHandler:
        loop = asyncio.get_running_loop()
        return GuestHandler(self._server, loop=loop, keepalive_timeout=_NEVER, **self._options)


class Guest:
    """One connection's aiohttp handler. `busy` from `begin` until `done` is called."""

    __slots__ = ("_body", "_done", "_for_good", "_transport", "busy", "handler")

    def __init__(self, factory: GuestFactory, transport: asyncio.Transport, done: Callable[[], None]) -> None:
        self.handler = factory()
        self.handler.answered = self._look
        self.handler.connection_made(transport)
        self.busy = False
        self._transport = transport
        self._done = done
        self._body: Counted | Chunked = Counted(0)
        self._for_good = False

    def begin(self, head: bytes, body: Counted | Chunked, data: bytes, for_good: bool) -> bytes:
        """Hands over one request; `for_good`: the connection may be upgraded, all that follows is aiohttp's.

        Returns the bytes behind the request. Raises BadFraming.
        """
        self.busy = True
        self._body = body
        self._for_good = for_good
        self.handler.data_received(head)
        return self.feed(data) if data else b""

    def feed(self, data: bytes) -> bytes:
        """More of the request's body; returns what lies behind its end."""
        if self._for_good:
            self.handler.data_received(data)
            return b""
        if self._body.done:
            return data
        _, used = self._body.feed(data)
        self.handler.data_received(data if used == len(data) else data[:used])
        return data[used:]

    @property
    def incomplete(self) -> bool:
        """Whether the request's body is still on its way."""
        return not self._body.done

    def lost(self, exc: Exception | None) -> None:
        self.handler.connection_lost(exc)

    def _look(self) -> None:
        asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        if self._transport.is_closing() or self._for_good:
            return
        if self.handler.at_rest and self._body.done:
            self.busy = False
            self._done()
        else:
            # Answered, but aiohttp's loop has not come round yet, or the body is still coming in.
            asyncio.get_running_loop().call_later(0.001, self._settle)
