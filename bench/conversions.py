"""What conversions of chats cost: microseconds of one core for each half, by pairs: `python -m bench.conversions`.

A usual request (instructions, a tool, a conversation with a call of it) is read from the surface's dialect and written
in the vendor's; recorded answers and streams go the other way. The best of several runs counts: what else the machine
does can only make them longer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.benchmark.command import shown, table
from gateway.dialects import conversion, sse
from gateway.dialects.chat.conversion import ChatConversion, decoded, read
from gateway.dialects.chat.dialect import Aim, Told
from gateway.dialects.chat.form import Answer
from gateway.types import Usage

RECORDED = Path(__file__).parent.parent / "tests" / "fixtures" / "usage"
# A vendor's dialect -> an answer, and streams of text and of calls.
ANSWERS = {
    "openai.chat": ("openai_chat.response", "openai_chat.stream.usage", "openai_chat.stream.tool_calls"),
    "openai.responses": (
        "openai_responses.response", "openai_responses.stream.usage", "openai_responses.stream.tool_calls",
    ),
    "anthropic.messages": (
        "anthropic_messages.response", "anthropic_messages.stream.usage", "anthropic_messages.stream.tool_calls",
    ),
    "gemini.generate": ("gemini.response", "gemini.stream.usage", "gemini.stream.tool_calls"),
    "dashscope.generation": (
        "dashscope_native.response", "dashscope_native.stream.usage", "dashscope_native.stream.tool_calls",
    ),
    "minimax.chat": ("minimax.response", "minimax.stream.usage"),
}  # fmt: skip

_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_TOOL = {"name": "weather", "description": "The weather at a place, now."}
_SYSTEM = "You are a helpful assistant who answers in one sentence."
_ASKED, _FOUND = "What is the weather in Paris?", "18 degrees and rain"
_CHAT = [
    {"role": "system", "content": _SYSTEM},
    {"role": "user", "content": _ASKED},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": _FOUND},
]  # fmt: skip
_RESPONSES = [
    {"role": "user", "content": _ASKED},
    {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Paris"}'},
    {"type": "function_call_output", "call_id": "call_1", "output": _FOUND},
]
_MESSAGES = [
    {"role": "user", "content": _ASKED},
    {"role": "assistant", "content": [
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": _FOUND}]},
]  # fmt: skip
_CONTENTS = [
    {"role": "user", "parts": [{"text": _ASKED}]},
    {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Paris"}}}]},
    {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"output": _FOUND}}}]},
]
# The same request in each surface's dialect.
REQUESTS: dict[str, dict[str, Any]] = {
    "openai.chat": {
        "model": "m", "messages": _CHAT, "max_tokens": 500, "temperature": 0.5,
        "tools": [{"type": "function", "function": {**_TOOL, "parameters": _SCHEMA}}],
    },
    "openai.responses": {
        "model": "m", "instructions": _SYSTEM, "input": _RESPONSES, "max_output_tokens": 500, "temperature": 0.5,
        "tools": [{"type": "function", **_TOOL, "parameters": _SCHEMA, "strict": False}],
    },
    "anthropic.messages": {
        "model": "m", "system": _SYSTEM, "messages": _MESSAGES, "max_tokens": 500, "temperature": 0.5,
        "tools": [{**_TOOL, "input_schema": _SCHEMA}],
    },
    "gemini.generate": {
        "systemInstruction": {"parts": [{"text": _SYSTEM}]}, "contents": _CONTENTS,
        "generationConfig": {"maxOutputTokens": 500, "temperature": 0.5},
        "tools": [{"functionDeclarations": [{**_TOOL, "parameters": _SCHEMA}]}],
    },
}  # fmt: skip
HEAD = ("surface", "vendor", "request read", "written", "answer read", "written", "event")
KEYS = ("surface", "vendor", "read", "write", "answer", "tell", "event")


def best(work: Callable[[], object], seconds: float) -> float:
    """Microseconds of one call: the best of some runs."""
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(20):
            work()
        times.append((time.perf_counter() - start) / 20)
    return min(times) * 1e6


def recorded(name: str, ending: str) -> bytes:
    return (RECORDED / f"{name}.{ending}").read_bytes()


def events(stream: bytes) -> list[bytes]:
    """Its events, each with its blank line."""
    found, start = [], 0
    while (end := sse.event_end(stream, start)) >= 0:
        found.append(stream[start:end])
        start = end
    return found


def measure(pair: ChatConversion, surface: str, vendor: str, seconds: float) -> list[float]:
    """Microseconds by the columns of HEAD."""
    body = json.dumps(REQUESTS[surface]).encode()
    asked = read(pair.surface, decoded(body), "m")
    aim = Aim("theirs")
    told = Told("m", "req_0123456789abcdef", 1704067200, asked.request, wants_usage=True)
    usage = Usage(17, output=72)
    answer, *streams = ANSWERS[vendor]
    raw = recorded(answer, "json")
    whole: Answer = pair.answer(raw, "seed")
    streamed = [events(recorded(name, "sse")) for name in streams]

    def stream() -> None:
        for pieces in streamed:
            transform = pair.stream(told, "seed")
            for piece in pieces:
                transform.feed(piece)
            transform.finish(usage)

    return [
        best(lambda: read(pair.surface, decoded(body), "m"), seconds),
        best(lambda: pair.request(asked, aim), seconds),
        best(lambda: pair.answer(raw, "seed"), seconds),
        best(lambda: pair.write(whole, usage, told), seconds),
        best(stream, seconds) / sum(map(len, streamed)),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.conversions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.2, help="for each number")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    rows = [
        ((surface, vendor), measure(pair, surface, vendor, options.seconds))
        for surface in conversion.SURFACES
        for vendor in conversion.VENDORS
        if (pair := conversion.chats(surface, vendor)) is not None
    ]
    if options.json:
        print(json.dumps([dict(zip(KEYS, [*names, *numbers], strict=True)) for names, numbers in rows]))
    else:
        print(table(HEAD, [[*names, *map(shown, numbers)] for names, numbers in rows]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
