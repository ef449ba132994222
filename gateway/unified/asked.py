"""One call's request as converters see it: read once, however many vendors are tried."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gateway.dialects import conversion, opaque
from gateway.dialects.chat.conversion import Read, decoded, read
from gateway.dialects.chat.dialect import Surface as ChatSurface
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import Thought, ToolCall
from gateway.dialects.request import Peek
from gateway.errors import GatewayError, Unsupported
from gateway.unified.responses import STORING

if TYPE_CHECKING:
    from gateway.models import Model
    from gateway.types import Caller
    from gateway.unified.entry import Unified
    from gateway.unified.requests import Lines
    from gateway.unified.surfaces import Surface

_CONTENT = frozenset(("input", "query", "documents", "content", "requests"))
_MOST_ITEMS = 4096
_MOST_OBJECTS = 1_000_000
_MOST_FIELD = 64 << 10

_decode = msgspec.json.Decoder().decode


class Head(Protocol):
    """What of a request's head matters to converters."""

    @property
    def surface(self) -> Surface: ...
    @property
    def lines(self) -> Lines: ...
    @property
    def array(self) -> bool: ...


class Asked:
    """`read`: the neutral form of a chat, None until a target needs it."""

    def __init__(self, unified: Unified, head: Head, peek: Peek, caller: Caller, request_id: str) -> None:
        self.unified = unified
        self.head = head
        self.peek = peek
        self.caller = caller
        self.request_id = request_id
        self.read: Read | None = None
        self.body: dict[str, Any] = {}  # of a chat, decoded
        self._fields: dict[str, Any] | None = None

    async def neutral(self, surface: ChatSurface) -> Read:
        """The chat in the neutral form, with what is remembered of its turns. Raises BadRequest or Unsupported."""
        if self.read is None:
            self.body = decoded(self.peek.body)
            if self.head.surface.name == "responses":
                self.body = await self.unified.responses.expand(self.caller.key_id, self.body)
            found = read(surface, self.body, self.peek.model)
            request = await self.unified.kept.recall(self.caller.key_id, found.request)
            if request.stream != self.peek.stream:  # Gemini says it in the path
                request = msgspec.structs.replace(request, stream=self.peek.stream)
            self.read = Read(request, found.dropped)
        return self.read

    async def maker(self, model: Model) -> str | None:
        """The vendor account that made what the request brings back, or what is kept of its turns."""
        surface, kept = self.head.surface, self.unified.kept
        found = opaque.in_request(surface.dialect, self.peek.body)
        account = await kept.maker(self.caller.key_id, found) if found else None
        if account is not None or not self.peek.tools or not self.unified.converts(surface, model):
            return account
        try:
            request = (await self.neutral(conversion.SURFACES[surface.dialect])).request
        except GatewayError:
            return None  # whoever has to convert it will say so
        parts = (part for message in reversed(request.messages) for part in reversed(message.parts))
        return next((p.account for p in parts if isinstance(p, Thought | ToolCall) and p.account), None)

    @property
    def stores(self) -> bool:
        """Whether the client may come back to the answer by its id (Responses)."""
        return self.body.get("store") is True

    def told(self) -> Told:
        """What writers of answers want to know."""
        assert self.read is not None
        peek, request = self.peek, self.read.request
        if self.head.surface.name == "responses" and (repeated := {n: self.body[n] for n in STORING if n in self.body}):
            request = msgspec.structs.replace(request, extras={**request.extras, **repeated})
        return Told(
            peek.model, self.request_id, int(time.time()), request, peek.input_tokens, peek.wants_usage,
            self.head.array,
        )  # fmt: skip

    @property
    def fields(self) -> dict[str, Any]:
        """The request of a call that is answered by a list, as values."""
        if self._fields is None:
            self._fields = listed(self.peek)
        return self._fields


def listed(peek: Peek) -> dict[str, Any]:
    """A request as values. Decoding may take many times the memory of the text, so it is bounded: what is converted is
    a list of texts and some small fields, and of any other field its name is all that matters.
    """
    if peek.count > _MOST_ITEMS or peek.body.count(b"{") > _MOST_OBJECTS:
        raise Unsupported(f"more than {_MOST_ITEMS} items in one call cannot be converted: send fewer", param="input")
    return {
        name: _decode(raw) if name in _CONTENT or len(memoryview(raw)) <= _MOST_FIELD else True
        for name, raw in peek.fields.items()
    }
