"""One attempt of a unified call, as the walk makes it: the bytes for a target, and what its answer is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.dialects import conversion
from gateway.dialects.answers import judge
from gateway.dialects.chat.conversion import ChatConversion
from gateway.dialects.chat.dialect import Sent
from gateway.dialects.edit import quirked, rewritten
from gateway.dialects.gemini_generate import pictures
from gateway.dialects.members import members
from gateway.errors import GatewayError, Source, Unsupported
from gateway.models import Model
from gateway.routing.health import BUSY, UNAVAILABLE, Failure, classify
from gateway.routing.router import Route
from gateway.types import Usage
from gateway.unified.asked import Asked
from gateway.unified.pictures import embed_pictures
from gateway.unified.reply import Reply, VendorRefused
from gateway.unified.requests import request, translated
from gateway.wire.fetch import Fetch

if TYPE_CHECKING:
    from gateway.unified.requests import Lines

_CHAT = "openai.chat"
_JSON, _EVENTS = b"application/json", b"text/event-stream"


class VendorCall:
    """What one attempt sends, and what becomes of its answer. `prepare` first."""

    request: bytes
    dropped: tuple[str, ...] = ()

    def __init__(self, asked: Asked, model: Model, route: Route) -> None:
        self._asked = asked
        self._route = route
        surface, peek = asked.head.surface, asked.peek
        same = surface.dialect == route.dialect
        # Both None for equal dialects: the bytes stay as they are.
        self._chat = None if same else conversion.chats(surface.dialect, route.dialect)
        self._list = None if same else conversion.lists(surface.read_as, route.dialect)
        self._model = model
        self._pictures = model.features.gemini_image_output if same and route.dialect == "gemini.generate" else None
        self.hides_usage = same and peek.stream and surface.dialect == _CHAT and not peek.wants_usage

    async def prepare(self) -> None:
        """Writes the request. Raises Unsupported where the target's dialect cannot carry it, BadRequest."""
        asked, route = self._asked, self._route
        lines: Lines = asked.head.lines
        if self._chat is not None:
            sent = self._with_quirks(await self._converted(self._chat))
            lines = translated(lines, sent.lines)
        elif self._list is not None:
            body, dropped = self._list.request(asked.fields, route.target.model)
            sent = self._with_quirks(Sent(body, dropped, self._list.method))
            lines = translated(lines, ())
        else:
            sent = self._unconverted()
        self.dropped = sent.dropped
        self._pool, begin = asked.unified.heads.head(
            route.provider, route.dialect, route.target.model, route.key or "", lines, sent.method, sent.swap
        )
        self.request = request(begin, sent.body)

    def _unconverted(self) -> Sent:
        peek, surface, quirks = self._asked.peek, self._asked.head.surface, self._route.provider.quirks
        asks_usage = surface.dialect == _CHAT
        body = rewritten(peek, self._route.target.model, asks_usage, None if quirks.none else quirks)
        dropped = tuple(name for name in quirks.drop if name in peek.fields) if quirks.drop else ()
        method = surface.method
        if surface.stream and not self._asked.head.array:
            method += "?alt=sse"
        return Sent(body, dropped, method)

    def _with_quirks(self, sent: Sent) -> Sent:
        """A converted request with the vendor's deviations. What they drop is named in the vendor's words."""
        quirks = self._route.provider.quirks
        if quirks.none:
            return sent
        fields = members(sent.body).fields
        dropped = tuple(name for name in quirks.drop if name in fields and name not in sent.dropped)
        return msgspec.structs.replace(sent, body=quirked(sent.body, quirks), dropped=sent.dropped + dropped)

    async def _converted(self, chat: ChatConversion) -> Sent:
        asked = self._asked
        read = await asked.neutral(chat.surface)
        aim = asked.unified.aim(self._model, self._route)
        if asked.unified.fetch is not None and aim.features.images == "base64":
            field = chat.surface.NAMES.get("messages", "messages")
            read = msgspec.structs.replace(read, request=await embed_pictures(read.request, asked.unified.fetch, field))
        if not asked.head.surface.counts:
            return chat.request(read, aim)
        question = chat.question(read, aim)
        if question is None:
            raise Unsupported("this model's vendor does not count tokens")
        return question

    def fetch(self, reply: Reply) -> Fetch:
        return Fetch(self._pool, self._asked.unified.edge(), reply)

    def reply(self, reply: Reply) -> None:
        """Gives a reply what it needs to turn a stream."""
        if self._chat is not None and self._asked.peek.stream:
            reply.transform = self._chat.stream(self._asked.told(), self._asked.request_id)
        elif self._pictures is not None and self._asked.peek.stream:
            reply.transform = pictures.PictureStream(self._pictures, self._asked.head.array)

    def judge(self, reply: Reply) -> None:
        """Judges a document and reads it. Raises VendorRefused or BadUpstreamReply."""
        body = reply.document()
        asked = self._asked
        verdict = judge(self._route.dialect, body, asked.peek.count)
        if verdict.error is not None:
            raise VendorRefused(verdict.error, hidden=True)
        reply.verdict = verdict
        if self._list is not None:
            body = self._list.answer(body, asked.fields, estimate=asked.peek.input_tokens)
            reply.content_type = _JSON
        elif self._chat is not None:
            reply.answer = self._chat.answer(body, asked.request_id)
            if reply.transform is not None:  # it is there instead of the stream that the client waits for
                body = reply.transform.feed(body)
            reply.content_type = self.content_type(reply) if reply.transform is not None else _JSON
        elif self._pictures is not None:
            body = pictures.document(body, self._pictures)
        reply.body = body

    def written(self, reply: Reply, usage: Usage) -> bytes:
        """What the client gets for a document, once it is known what was used."""
        if self._chat is not None and reply.transform is not None:
            return reply.body + reply.transform.finish(usage)
        if self._chat is None or reply.answer is None:
            return reply.body
        return self._chat.write(reply.answer, usage, self._asked.told())

    def content_type(self, reply: Reply) -> bytes:
        """Of a stream as the client gets it."""
        if reply.transform is None:
            return reply.content_type
        return _JSON if self._asked.head.array else _EVENTS

    def counted(self, body: bytes) -> int | None:
        """The number in a converted answer to a question for it; None: nothing was converted."""
        return None if self._chat is None else self._chat.vendor.counted(body)


def failure_of(error: GatewayError) -> Failure:
    """What an attempt's error says about the target."""
    if isinstance(error, VendorRefused):
        failure = classify(error.status, error.retry_after)
        # An error behind a 200 always moves on; where it blames the request, the target is none the worse.
        return Failure(BUSY) if error.hidden and not failure.failover else failure
    # What is not the vendor's fault (our limit of connections, a field that this dialect cannot carry, our own mistake)
    # leaves the target none the worse; another may be able to.
    return Failure(UNAVAILABLE if error.source is Source.UPSTREAM else BUSY)


def outcome_of(error: GatewayError | None) -> str:
    """How an attempt is counted: `ok`, the vendor's status, or the gateway's code for what happened."""
    if error is None:
        return "ok"
    return str(error.status) if isinstance(error, VendorRefused) else error.code
