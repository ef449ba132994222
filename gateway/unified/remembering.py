"""What is kept of an answer for the turns that may follow: thoughts by tool call, who signed what, whole responses."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialects import opaque

if TYPE_CHECKING:
    from gateway.unified.reply import Reply
    from gateway.unified.walk import CallWalk

_decode = msgspec.json.Decoder().decode


class Remembering:
    """Of one call. Nothing here can fail a call, and nothing is kept for a client that has left."""

    def __init__(self, walk: CallWalk) -> None:
        self._walk: CallWalk = weakref.proxy(walk)  # which has us: no collector shall be needed
        self._signed: list[bytes] = []

    def listen(self, reply: Reply) -> None:
        """An attempt begins: what comes as it is may be signed."""
        self._signed = []
        if self._walk.shared and reply.transform is None:
            reply.heard = self._heard

    def _heard(self, piece: bytes) -> None:
        """A piece of a stream in the vendor's own bytes: whole events."""
        self._signed += opaque.in_answer(self._walk.head.surface.dialect, piece)

    async def document(self, reply: Reply, body: bytes) -> None:
        """A whole answer, before its end is released."""
        walk = self._walk
        if reply.answer is not None:
            await self._keep(reply)
            await self._store(body)
        elif walk.shared:
            self._heard(body)
            await self._made()

    async def stream(self, reply: Reply, end: bytes) -> None:
        """The same for a stream; `end` is what it closes with."""
        if reply.transform is not None:
            await self._keep(reply)
            if end:
                await self._store(end)
        elif self._walk.shared:
            self._heard(end)
            await self._made()

    async def _keep(self, reply: Reply) -> None:
        walk = self._walk
        assert walk.caller is not None
        assert walk.route is not None
        answer = reply.answer if reply.answer is not None else reply.collected()
        if answer is not None:
            walk.unified.kept.keep(walk.caller.key_id, answer, walk.route.account)
            await walk.unified.kept.written()

    async def _made(self) -> None:
        walk = self._walk
        assert walk.caller is not None
        assert walk.route is not None
        if self._signed:
            walk.unified.kept.made(walk.caller.key_id, self._signed, walk.route.account)
            await walk.unified.kept.written()

    async def _store(self, body: bytes) -> None:
        """A response that the client may come back to."""
        walk = self._walk
        if walk.head.surface.dialect != "openai.responses" or not walk.asked.stores:
            return
        assert walk.caller is not None
        response = _decode(body) if body.startswith(b"{") else _last_event(body)
        await walk.unified.responses.store(walk.caller.key_id, walk.asked.body, response)


def _last_event(end: bytes) -> dict[str, Any]:
    """The response in the event that closes a stream."""
    payload = end[end.rindex(b"\ndata: ") + 7 :]
    found: dict[str, Any] = _decode(payload)["response"]
    return found
