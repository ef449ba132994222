"""A vendor's chat completion -> the neutral form."""

from __future__ import annotations

from gateway.dialects.chat.form import Answer, Part, Refusal, Text, Thought, ToolCall
from gateway.dialects.openai_chat import completion
from gateway.dialects.openai_chat.completion import Said
from gateway.dialects.openai_chat.thinking import split
from gateway.errors import BadUpstreamReply


def read(body: bytes, seed: str, origin: str) -> Answer:
    """`origin`: of its thoughts."""
    said = completion.decode(body)
    choice = said.choice()
    message = (choice.message or choice.delta) if choice is not None else None
    if choice is None or message is None:
        raise BadUpstreamReply("the vendor's answer holds no message")
    calls = _calls(message, seed)
    parts: list[Part] = []
    thought, text = message.thought(), message.text()
    if not thought:
        thought, text = split(text)
    if thought:
        parts.append(Thought(thought, origin=origin))
    citations = tuple(message.citations())
    if text or citations:
        parts.append(Text(text, citations))
    if message.refusal:
        parts.append(Refusal(message.refusal))
    parts += message.pictures()
    parts += calls
    return Answer(
        id=said.name(),
        created=said.time(),
        parts=tuple(parts),
        finish=completion.finish(choice.finish_reason, bool(calls)),
        logprobs=completion.logprobs(choice.logprobs),
    )


def _calls(message: Said, seed: str) -> list[ToolCall]:
    found: list[ToolCall] = []
    for call in message.calls():
        function = call.function
        if function is not None and function.name:
            arguments = completion.arguments(function)
            found.append(ToolCall(call.id or f"call_{seed}_{len(found)}", function.name, arguments))
    return found
