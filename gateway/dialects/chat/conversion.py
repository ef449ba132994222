"""One surface over one vendor's dialect: the two halves joined, and what is lost between them."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.dialects import scan
from gateway.dialects.chat.call_ids import distinct
from gateway.dialects.chat.dialect import Aim, Sent, Surface, Told, Vendor
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import Answer, ChatRequest
from gateway.dialects.chat.transform import Transform
from gateway.dialects.losses import left_behind
from gateway.errors import BadRequest, BadUpstreamReply, Unsupported
from gateway.types import Usage

# A decoded object takes some hundred bytes, in text it may take two: this bounds what a body can become.
_MOST_VALUES = 2_000_000
_DEEP = 500  # brackets: fewer cannot be nested too deep
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Read(msgspec.Struct, frozen=True):
    """A request in the neutral form, and the names of those of its fields that no other dialect has."""

    request: ChatRequest
    dropped: tuple[str, ...]


def decoded(body: bytes) -> dict[str, Any]:
    """A client's body as values; their number is bounded. Raises BadRequest or Unsupported."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _MOST_VALUES:
        raise Unsupported("the request holds too many values to be converted: send a smaller one")
    try:
        fields = _decode(body)
        if body.count(b"[") + body.count(b"{") > _DEEP:
            _encode([[[[[[[[fields]]]]]]]])  # what is repeated to client and vendor stands deeper there
    except scan.UNREADABLE as exc:
        raise BadRequest("the body cannot be read: it is nested too deep, or holds a number out of range") from exc
    return fields


def read(surface: Surface, fields: dict[str, Any], model: str) -> Read:
    """A client's decoded request, read for all vendors. Raises BadRequest or Unsupported."""
    lost = Lost(surface.LOSSES, surface.NAMES)
    return Read(surface.read(fields, model, lost), tuple(lost.dropped))


class ChatConversion:
    """What a walk asks for between a surface and a vendor of another dialect."""

    def __init__(self, surface: Surface, vendor: Vendor, origin: str) -> None:
        """`origin`: the name of the vendor's dialect."""
        self._origin = origin
        self.surface = surface
        self.vendor = vendor
        self._lost = [
            (name, *why.partition(": ")[::2])
            for name, why in vendor.LOSSES.items()
            if not name.endswith(")") and "." not in name  # a use of a field, or a part of one: the writer's business
        ]

    def request(self, asked: Read, aim: Aim) -> Sent:
        """The vendor's request. Raises Unsupported for what it cannot carry."""
        lost = self._losing(asked)
        sent = self.vendor.write(asked.request, aim, lost)
        return msgspec.structs.replace(sent, dropped=tuple(lost.dropped))

    def question(self, asked: Read, aim: Aim) -> Sent | None:
        """The vendor's question for the number of tokens, if it can be asked."""
        return self.vendor.count(asked.request, aim, self._losing(asked))

    def _losing(self, asked: Read) -> Lost:
        request, surface = asked.request, self.surface
        behind: tuple[str, ...] = ()
        if request.extras:
            behind = left_behind(request.extras, self.vendor.EXTRAS, surface.LOSSES)
        lost = Lost(surface.LOSSES, surface.NAMES, (*asked.dropped, *behind))
        for name, fate, why in self._lost:
            value = getattr(request, name)
            if value is None or value is False or value == ():
                continue
            if fate == "refused":
                raise lost.refuse(name, why)
            lost.drop(name)
        return lost

    def answer(self, body: bytes, seed: str) -> Answer:
        """The neutral form of a vendor's answer of success. Raises BadUpstreamReply."""
        try:
            return distinct(self.vendor.read(body, seed), seed)
        except scan.UNREADABLE as exc:
            raise BadUpstreamReply("the vendor's answer cannot be read") from exc

    def write(self, answer: Answer, usage: Usage, told: Told) -> bytes:
        return self.surface.write(answer, usage, told)

    def stream(self, told: Told, seed: str) -> Transform:
        return Transform(self.vendor, self.surface.stream(told), seed, self._origin)
