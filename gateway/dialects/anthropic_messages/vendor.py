"""Messages as vendors speak it: Anthropic itself, and those that are compatible with it."""

from __future__ import annotations

from gateway.dialects.anthropic_messages import vendor_answer, vendor_request
from gateway.dialects.chat.dialect import Aim, Sent, StreamReader
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import Answer, ChatRequest
from gateway.dialects.losses import Losses


class _Vendor:
    LOSSES: Losses = vendor_request.LOSSES
    EXTRAS: frozenset[str] = frozenset()

    def write(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent:
        return Sent(vendor_request.write(request, aim, lost))

    def read(self, body: bytes, seed: str) -> Answer:
        return vendor_answer.read(body, seed)

    def stream(self, seed: str) -> StreamReader:
        return vendor_answer.MessageReader(seed)

    def count(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent | None:
        return Sent(vendor_request.question(request, aim, lost), method="/count_tokens")

    def counted(self, body: bytes) -> int:
        return vendor_answer.counted(body)


VENDOR = _Vendor()
