"""Calls over conversions to a raw vendor: how each surface asks, and what a client may be told at the worst."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from gateway.dialects import sse
from tests.chat.accepting import DOCUMENTS, STREAMS
from tests.unified.caller import ask
from tests.unified.entries import Closed
from tests.unified.place import PRICE, VENDOR_KEY, Answer, Place
from tests.wire.messages import Message

ARRAY = "gemini array"  # a stream as one JSON array, for clients that do not ask for events
SURFACES = {
    "chat": "openai.chat",
    "responses": "openai.responses",
    "messages": "anthropic.messages",
    "gemini": "gemini.generate",
    ARRAY: "gemini.generate",
}
SPEAKS = {
    "openai.chat": "/a/chat",
    "openai.responses": "/a/responses",
    "anthropic.messages": "/a/messages",
    "gemini.generate": "/a/models/{model}",
    "dashscope.generation": "/a/text-generation/generation",
    "minimax.chat": "/a/minimax",
}
PAIRS = [(surface, vendor) for surface, ours in SURFACES.items() for vendor in SPEAKS if ours != vendor]
LARGE = 2_000_000  # the official clients need minutes for thousands of calls
ENOUGH = 30_000_000  # nano-credits: more than any of these calls may cost


class Call(NamedTuple):
    """`number` makes the model's name, of which the vendor finds it again."""

    surface: str
    vendor: str
    stream: bool
    case: str
    number: int

    @property
    def model(self) -> str:
        return f"case-{self.number}"

    def target(self) -> dict[str, Any]:
        return {"targets": [{"provider": "raw", "model": self.model, "dialect": self.vendor}], "price": PRICE}

    async def ask(self, place: Place, key: str) -> Answer:
        if self.surface.startswith("gemini"):
            events = "" if self.surface == ARRAY else "?alt=sse"
            method = f"streamGenerateContent{events}" if self.stream else "generateContent"
            body: dict[str, Any] = {"contents": [{"parts": [{"text": "Hello there"}]}]}
            return await ask(place, key, body, f"/v1beta/models/{self.model}:{method}")
        body = {"model": self.model, "stream": self.stream}
        if self.surface == "responses":
            return await ask(place, key, {**body, "input": "Hello there"}, "/v1/responses")
        body["messages"] = [{"role": "user", "content": "Hello there"}]
        if self.surface == "messages":
            return await ask(place, key, {**body, "max_tokens": 100}, "/v1/messages")
        return await ask(place, key, body, "/v1/chat/completions")


def provider(port: int) -> dict[str, Any]:
    return {"base_url": f"http://127.0.0.1:{port}", "keys": ["env:VENDOR_KEY"], "speaks": SPEAKS}


def number_of(message: Message) -> int:
    """Of the call that a vendor got."""
    found = re.search(rb"case-(\d+)", message.line[1]) or re.search(rb"case-(\d+)", message.body)
    assert found is not None
    return int(found[1])


# -- what is right -----------------------------------------------------------------------------------------------------


class Ended(NamedTuple):
    """How a call ended for its client: `whole`, `cut`, or refused before anything came."""

    whole: bool
    cut: bool


def check(call: Call, answer: Answer, charge: Closed) -> Ended:
    """Either a whole answer that the official client takes, or one clean error; the books agree with what was seen."""
    assert VENDOR_KEY.encode() not in answer.body
    assert b"the gateway failed" not in answer.body
    if answer.status != 200:
        assert not answer.cut
        assert answer.status in (400, 429, 500, 502, 503, 504, 529), answer
        check_error(call.surface, json.loads(answer.body))
        assert answer.headers["content-type"] == "application/json"
        _nothing(charge, "failed")
        return Ended(whole=False, cut=False)
    if answer.cut:
        assert call.stream
        _check_cut(call, answer.body)
        _nothing(charge, "failed", "vendor_truncated")
        return Ended(whole=False, cut=True)
    if call.surface == ARRAY:
        assert answer.headers["content-type"] == "application/json"
        assert [DOCUMENTS["gemini.generate"](each) for each in json.loads(answer.body)][-1].candidates[0].finish_reason
    elif call.stream:
        assert answer.headers["content-type"].startswith("text/event-stream")
        if len(answer.body) < LARGE:
            STREAMS[SURFACES[call.surface]](answer.body)
    else:
        DOCUMENTS[SURFACES[call.surface]](json.loads(answer.body))
    if charge.outcome == "filtered":
        _nothing(charge, "filtered")
    else:
        assert charge.outcome in ("complete", "no_usage"), charge
        assert 0 <= charge.cost < ENOUGH
    return Ended(whole=True, cut=False)


def _nothing(charge: Closed, *outcomes: str) -> None:
    assert charge.outcome in outcomes, charge
    assert charge.cost == 0, charge


def check_error(surface: str, body: Any) -> None:
    """One error object of the surface's, with words in it."""
    error = body["error"]
    assert isinstance(error["message"], str)
    assert 0 < len(error["message"]) < 1000
    if surface == "messages":
        assert body["type"] == "error"
        assert isinstance(error["type"], str)
    elif surface.startswith("gemini"):
        assert isinstance(error["code"], int)
        assert isinstance(error["status"], str)
    else:
        assert set(error) == {"message", "type", "param", "code"}


def _check_cut(call: Call, body: bytes) -> None:
    """Whole events, the last and only the last of which is the error."""
    if call.surface == ARRAY:
        *before, last = json.loads(body)
        assert all("candidates" in value for value in before)
        check_error(call.surface, last)
        return
    events = []
    start = 0
    while (end := sse.event_end(body, start)) >= 0:
        payload, name = sse.read_event(body[start:end])
        events.append((json.loads(payload), name))
        start = end
    assert start == len(body), "an event is cut in the midst"
    kinds = ["error" in value or value.get("type") == "error" for value, _ in events]
    assert kinds == [False] * (len(kinds) - 1) + [True], events[-1:]
    value, name = events[-1]
    if call.surface == "responses":
        assert (value["type"], name) == ("error", b"error")
        assert value["message"]
    else:
        check_error(call.surface, value)
        assert name == (b"error" if call.surface == "messages" else b"")
