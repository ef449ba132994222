"""What the official clients make of answers: each surface's documents by their types, its streams put together."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from anthropic.lib.streaming import _messages as anthropic_streaming
from anthropic.types import Message, RawMessageStreamEvent
from google.genai import types as gemini
from openai import omit
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.dialects import sse

_MESSAGE_EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_RESPONSE_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def _payloads(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = 0
    while (end := sse.event_end(body, start)) >= 0:
        payload, name = sse.read_event(body[start:end])
        keeps_alive = name == b"ping" or body[start:end] == b": keep-alive\n\n"
        assert payload or keeps_alive, body[start:end]
        if not keeps_alive:
            yield payload, name
        start = end
    assert start == len(body), body[start:]


def _chat(body: bytes) -> ChatCompletion:
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    *chunks, last = (payload for payload, _ in _payloads(body))
    assert last == b"[DONE]"
    for payload in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(payload))
    found = state.current_completion_snapshot
    assert [choice.finish_reason for choice in found.choices] != [None]
    return found


def _responses(body: bytes) -> Response:
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    last: Any = None
    for number, (payload, name) in enumerate(_payloads(body)):
        value = json.loads(payload)
        assert value["type"].encode() == name
        assert value["sequence_number"] == number
        last = _RESPONSE_EVENTS.validate_python(value)
        state.handle_event(last)
    assert last.type in ("response.completed", "response.incomplete")
    Response.model_validate(last.response.to_dict())
    found: Response = last.response
    return found


def _messages(body: bytes) -> Message:
    found: Any = None
    open: set[int] = set()
    buffers: dict[int, bytes] = {}
    for payload, name in _payloads(body):
        event = _MESSAGE_EVENTS.validate_json(payload)
        assert event.type.encode() == name
        _check_blocks(event, open)
        with _broken_arguments():
            found = anthropic_streaming.accumulate_event(event=event, current_snapshot=found, json_bufs=buffers)
    assert name == b"message_stop"
    assert found.stop_reason is not None
    # What a model gave as arguments may be any JSON: it is told piece by piece, so nobody could have known.
    value = found.to_dict(warnings=False)
    for block in value["content"]:
        if block["type"] == "tool_use" and not isinstance(block["input"], dict):
            block["input"] = {}
    return Message.model_validate(value)


@contextlib.contextmanager
def _broken_arguments() -> Iterator[None]:
    """The model's own mistake, told as it was made: the client cannot but complain."""
    try:
        yield
    except ValueError as error:
        if "Unable to parse tool parameter JSON" not in str(error):
            raise


def _check_blocks(event: Any, open: set[int]) -> None:
    """Blocks do not interleave: one at a time, each begun and ended once, in order."""
    if event.type == "content_block_start":
        assert not open
        open.add(event.index)
    elif event.type == "content_block_delta":
        assert open == {event.index}
    elif event.type == "content_block_stop":
        open.remove(event.index)
    elif event.type.startswith("message_"):
        assert not open


def _gemini(body: bytes) -> list[Any]:
    kind = gemini.GenerateContentResponse
    found: list[Any] = [kind.model_validate(json.loads(payload)) for payload, _ in _payloads(body)]
    assert [chunk for chunk in found if chunk.candidates[0].finish_reason] == found[-1:]
    return found


STREAMS: dict[str, Callable[[bytes], Any]] = {
    "openai.chat": _chat,
    "openai.responses": _responses,
    "anthropic.messages": _messages,
    "gemini.generate": _gemini,
}
DOCUMENTS: dict[str, Callable[[Any], Any]] = {
    "openai.chat": ChatCompletion.model_validate,
    "openai.responses": Response.model_validate,
    "anthropic.messages": Message.model_validate,
    "gemini.generate": gemini.GenerateContentResponse.model_validate,
}
