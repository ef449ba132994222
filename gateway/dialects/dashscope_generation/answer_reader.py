"""A whole answer of DashScope's -> the neutral form."""

from __future__ import annotations

from gateway.dialects.chat.form import Answer, Part, Text, Thought, ToolCall
from gateway.dialects.dashscope_generation.result import Message, decode
from gateway.dialects.openai_chat import completion
from gateway.errors import BadUpstreamReply

ORIGIN = "dashscope.generation"


def read(body: bytes, seed: str) -> Answer:
    result = decode(body)
    choice = result.choice
    if choice is None:
        raise BadUpstreamReply("the vendor's answer holds no message")
    message = choice.message
    calls = _calls(message, seed)
    parts: list[Part] = []
    if message.reasoning_content:
        parts.append(Thought(message.reasoning_content, origin=ORIGIN))
    if text := message.text:
        parts.append(Text(text))
    parts += calls
    return Answer(
        id=result.id,
        parts=tuple(parts),
        finish=completion.finish(choice.finish_reason, bool(calls)),
        logprobs=completion.logprobs(choice.logprobs),
    )


def _calls(message: Message, seed: str) -> list[ToolCall]:
    found: list[ToolCall] = []
    for call in message.tool_calls or ():
        if call.function is not None and call.function.name:
            arguments = completion.arguments(call.function)
            found.append(ToolCall(call.id or f"call_{seed}_{len(found)}", call.function.name, arguments))
    return found
