"""How many tokens a request has: asked of a target that can say, else estimated. Free of charge, and no usage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.dialects import conversion
from gateway.dialects.scan import UNREADABLE
from gateway.errors import BadRequest, BadUpstreamReply, GatewayError, Unsupported
from gateway.routing.router import Route
from gateway.types import OUTCOME_COMPLETE, Charge
from gateway.unified.reply import VendorRefused

if TYPE_CHECKING:
    from gateway.unified.walk import CallWalk

# Dialects whose vendors count when asked.
_COUNT = frozenset({"anthropic.messages", "gemini.generate", "openai.responses"})
_JSON = b"application/json"
_REQUEST_FAULTS = frozenset({400, 413, 422})


class Counting:
    """One such call, for the walk that admitted it."""

    def __init__(self, walk: CallWalk) -> None:
        self._walk = walk

    async def answer(self) -> tuple[bytes, bool]:
        """(the body, whether it is an estimate). Raises GatewayError where the request is at fault."""
        walk = self._walk
        unified, surface = walk.unified, walk.head.surface
        usable = unified.usable(surface)
        for route in unified.router.routes(walk.model, usable):
            if route.dialect not in _COUNT or walk.call.left:
                continue
            try:
                return await self._asked(route), False
            except GatewayError as error:
                if _at_fault(error):
                    raise
        return conversion.SURFACES[surface.dialect].count(walk.peek.input_tokens), True

    async def _asked(self, route: Route) -> bytes:
        walk = self._walk
        reply = await walk.tried(route)
        walk.attempt_done(None)
        body = reply.document()
        try:
            tokens = conversion.VENDORS[route.dialect].counted(body)  # what is passed on as it is must be an answer too
        except UNREADABLE as exc:
            raise BadUpstreamReply("the vendor's answer is not a number of tokens") from exc
        surface = walk.head.surface.dialect
        return body if surface == route.dialect else conversion.SURFACES[surface].count(tokens)

    async def run(self) -> None:
        """Answers the client."""
        walk = self._walk
        assert walk.caller is not None
        walk.record.unmetered = True
        body, estimated = await self.answer()
        await walk.close(
            Charge(walk.record.request_id, walk.caller.account, walk.caller.key_id, OUTCOME_COMPLETE)
        )
        walk.answer(body, estimated)


def _at_fault(error: GatewayError) -> bool:
    """Whether it is the request that cannot be counted, anywhere."""
    if isinstance(error, VendorRefused):
        return error.status in _REQUEST_FAULTS
    return isinstance(error, BadRequest) and not isinstance(error, Unsupported)
