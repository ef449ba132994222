"""Sessions that speak in JSON events with a `type`: OpenAI's and DashScope's realtime interfaces.

A session is a table of handlers by event type. A fault is an `error` event, and the session goes on; the script's
failure ends it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.sandbox import content
from gateway.sandbox.ws_session import BAD_FIELD, Connection, Fault, Json, Session, get, loads

Handlers = Mapping[str, Callable[[Any, Json], Awaitable[None]]]
MAX_APPEND = 15 << 20


class EventSession(Session):
    handlers: Handlers = {}

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._ids = 0
        self._client_event: str | None = None

    def new_id(self, prefix: str) -> str:
        """The same for the same place in the same session; sessions are numbered."""
        self._ids += 1
        return f"{prefix}_{content.letters(self.connection.number, prefix, self._ids, length=21)}"

    async def say(self, kind: str, **fields: object) -> None:
        await self.connection.send_json({"type": kind, "event_id": self.new_id("event"), **fields})

    async def on_text(self, text: str) -> None:
        self._client_event = None
        try:
            body = loads(text)
        except ValueError as exc:
            raise Fault("invalid_json", f"Invalid JSON: {exc}") from exc
        event_id = body.get("event_id")
        self._client_event = event_id if isinstance(event_id, str) else None
        kind = get(body, "type", str)
        handler = self.handlers.get(kind)
        if handler is None:
            known = ", ".join(repr(name) for name in self.handlers)
            raise Fault("invalid_value", f"Invalid value: {kind!r}. Supported values are: {known}.", "type")
        await handler(self, body)

    async def on_binary(self, data: bytes) -> None:
        raise Fault("invalid_json", "Invalid JSON: binary messages are not supported.")

    async def on_fault(self, fault: Fault) -> None:
        kind = "server_error" if fault.code is None else "invalid_request_error"
        code = "internal_error" if fault.code is None else "invalid_value" if fault.code == BAD_FIELD else fault.code
        error = {"type": kind, "code": code, "message": fault.message, "param": fault.param}
        await self.say("error", error={**error, "event_id": self._client_event})
        if fault.code is None:
            await self.connection.close(1011, "internal error")


def decoded(body: Json, name: str) -> bytes:
    """The bytes of a base64 field of an append."""
    text = get(body, name, str)
    if len(text) > MAX_APPEND:
        raise Fault("invalid_value", f"The {name} of one append is too large.", name)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise Fault("invalid_value", f"Invalid {name!r}. Expected base64-encoded bytes: {exc}.", name) from exc


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()
