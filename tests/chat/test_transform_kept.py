"""What a stream leaves for the next turn is what the same answer leaves when it comes whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import ChatRequest, Thought, ToolCall
from gateway.dialects.chat.transform import Transform
from gateway.dialects.conversion import SURFACES, VENDORS

ARGUMENTS = '{"city": "Paris", "days": 3}'
CUTS = (1, 7, 10_000)


def sse(*payloads: dict[str, Any]) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(payload).encode() for payload in payloads)


def chunk(**delta: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def fragment(arguments: str, **more: Any) -> dict[str, Any]:
    return chunk(tool_calls=[{"index": 0, "function": {"arguments": arguments, **more}, "id": "call_1"}])


STREAMS = {
    "openai.chat": sse(
        chunk(role="assistant", reasoning_content="Let me "), chunk(reasoning_content="see."),
        fragment("", name="weather"), fragment(ARGUMENTS[:9]), fragment(ARGUMENTS[9:]),
    ),
    "anthropic.messages": sse(
        {"type": "message_start", "message": {"id": "msg_1"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Let me see."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start", "index": 1,
            "content_block": {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}},
        },
        *(
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": part}}
            for part in (ARGUMENTS[:9], ARGUMENTS[9:])
        ),
        {"type": "content_block_stop", "index": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", STREAMS)
@pytest.mark.parametrize("cut", CUTS)
def test_thoughts_and_calls_with_their_arguments(dialect: str, cut: int) -> None:
    writer = SURFACES["openai.responses"].stream(Told("m", "req_1", 0, ChatRequest(model="m", messages=())))
    transform = Transform(VENDORS[dialect], writer, "seed", dialect)
    stream = STREAMS[dialect]
    for start in range(0, len(stream), cut):
        transform.feed(stream[start : start + cut])
    kept = transform.collected()
    assert kept is not None
    thought, call = kept.parts
    signature = "c2ln" if dialect == "anthropic.messages" else ""
    assert thought == Thought("Let me see.", signature, origin=dialect)
    assert call == ToolCall("call_1", "weather", ARGUMENTS)


def test_nothing_is_kept_without_calls() -> None:
    writer = SURFACES["openai.responses"].stream(Told("m", "req_1", 0, ChatRequest(model="m", messages=())))
    transform = Transform(VENDORS["openai.chat"], writer, "seed", "openai.chat")
    transform.feed(sse(chunk(reasoning_content="Let me see."), chunk(content="No.")))
    assert transform.collected() is None


def test_calls_that_are_too_long_are_not_kept() -> None:
    writer = SURFACES["openai.responses"].stream(Told("m", "req_1", 0, ChatRequest(model="m", messages=())))
    transform = Transform(VENDORS["openai.chat"], writer, "seed", "openai.chat")
    transform.feed(sse(fragment("", name="weather"), *[fragment("x" * 300_000)] * 4))
    assert transform.collected() is None


@pytest.mark.parametrize(
    ("surface", "ping"),
    [
        ("openai.chat", b": keep-alive\n\n"),
        ("openai.responses", b": keep-alive\n\n"),
        ("anthropic.messages", b'event: ping\ndata: {"type": "ping"}\n\n'),
        ("gemini.generate", b""),
    ],
)
def test_a_vendor_that_is_still_there_says_so_to_the_client(surface: str, ping: bytes) -> None:
    writer = SURFACES[surface].stream(Told("m", "req_1", 1, ChatRequest(model="m", messages=())))
    transform = Transform(VENDORS["minimax.chat"], writer, "req_1")
    assert transform.feed(b": waiting\n\n") == b"", "nothing has been said yet"
    assert b"hi" in transform.feed(sse(chunk(content="hi")))
    assert transform.feed(b": keep-alive\n\n") == ping
