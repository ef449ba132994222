"""Responses as vendors speak it: requests for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.dialects.chat import form, reasoning
from gateway.dialects.chat.dialect import Aim, Sent
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import (
    ASSISTANT,
    Answer,
    ChatRequest,
    Image,
    Message,
    Refusal,
    Text,
    Thought,
    ToolCall,
    ToolResult,
)
from gateway.dialects.losses import Losses
from gateway.dialects.openai_responses import answers, output
from gateway.dialects.openai_responses.items import DIALECT
from gateway.dialects.openai_responses.reader import Reader
from gateway.types import Features

Item = dict[str, Any]

_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}
# What a question for the number of tokens takes.
_COUNTED = (
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text",
)  # fmt: skip
# Fields that Chat Completions share.
_CARRIED = frozenset({
    "metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier",
    "service_tier",
})  # fmt: skip
_LEAST_OUTPUT = 16
_NO_PLACE = "dropped: Responses have no such field"

_encode = msgspec.json.Encoder().encode


class ResponsesVendor:
    LOSSES: Losses = {
        "stop": "refused: Responses have no stop sequences",
        "top_k": _NO_PLACE,
        "seed": _NO_PLACE,
        "presence_penalty": _NO_PLACE,
        "frequency_penalty": _NO_PLACE,
        "messages (names)": _NO_PLACE,
        "messages (pictures in the model's turns)": "refused: only users and tools may show pictures",
        "messages (pictures that the model cannot take)": "refused: by web address, or as data, as the model has it",
        "temperature (OpenAI's models that reason)": reasoning.UNTUNED,
        "top_p (OpenAI's models that reason)": reasoning.UNTUNED,
        "max_output (below 16)": "dropped: the vendor takes no less than 16",
        "format (schema)": "refused: where the model has no JSON schemas",
        "reasoning (a model that cannot be asked)": "dropped: it thinks as it always does",
    }
    EXTRAS = _CARRIED | {"verbosity"}

    def write(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent:
        return Sent(_encode(_body(request, aim, lost)))

    def read(self, body: bytes, seed: str) -> Answer:
        return answers.read(body, seed)

    def stream(self, seed: str) -> Reader:
        return Reader(seed)

    def count(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent | None:
        body = _body(request, aim, lost)
        return Sent(_encode({name: body[name] for name in _COUNTED if name in body}), method="/input_tokens")

    def counted(self, body: bytes) -> int:
        return answers.counted(body)


def _body(request: ChatRequest, aim: Aim, lost: Lost) -> Item:
    body: Item = {"model": aim.model, "input": _input(request, aim, lost), "store": False}
    if request.system:
        body["instructions"] = "\n\n".join(text.text for text in request.system)
    include = [] if aim.features.thinking == "none" else ["reasoning.encrypted_content"]  # others refuse it
    if request.logprobs is not None:
        include.append("message.output_text.logprobs")
    untuned = reasoning.untuned(request, aim.features, lost)
    named: Item = {
        "include": include or None,
        "stream": request.stream or None,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": None if request.tool_choice is None else output.tool_choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tools,
        "max_output_tokens": _max_output(request, lost),
        "temperature": None if untuned else request.temperature,
        "top_p": None if untuned else request.top_p,
        "top_logprobs": request.logprobs or None,
        "user": request.user,
        "text": _text(request, aim.features, lost),
    }
    if request.reasoning is not None:
        named.update(_reasoning(request.reasoning, aim.features, lost))
    named.update((name, value) for name, value in request.extras.items() if name in _CARRIED)
    body.update((name, value) for name, value in named.items() if value is not None)
    return body


def _max_output(request: ChatRequest, lost: Lost) -> int | None:
    """Agents try a key with a maximum of one token: that is no reason to refuse them."""
    most = request.max_output
    if most is None or most >= _LEAST_OUTPUT:
        return most
    lost.drop("max_output")
    return _LEAST_OUTPUT


def _tool(tool: form.Tool) -> Item:
    """Functions are strict here unless it is said, elsewhere they are not."""
    item = {
        "type": "function",
        "name": tool.name,
        "parameters": _NO_PARAMETERS if tool.parameters is None else tool.parameters,
        "strict": tool.strict or False,
    }
    if tool.description is not None:
        item["description"] = tool.description
    return item


def _text(request: ChatRequest, features: Features, lost: Lost) -> Item | None:
    text: Item = {}
    if (format := request.format) is not None:
        if format.schema is None:
            text["format"] = {"type": "json_object"}
        elif features.json_schema is False:
            raise lost.refuse("format", "the model has no JSON schemas")
        else:
            schema = {"type": "json_schema", "name": format.name or "answer", "schema": format.schema}
            said = {"description": format.description, "strict": format.strict}
            text["format"] = schema | {name: value for name, value in said.items() if value is not None}
    if (verbosity := request.extras.get("verbosity")) is not None:
        text["verbosity"] = verbosity
    return text or None


def _reasoning(asked: form.Reasoning, features: Features, lost: Lost) -> Item:
    """A switch is Ark's; what else is asked for goes by effort, OpenAI's own word."""
    if features.thinking == "none":
        lost.drop("reasoning")
        return {}
    off = reasoning.off(asked)
    if features.thinking == "switch":
        return {"thinking": {"type": "disabled" if off else "enabled"}}
    summary = None if off else asked.summary or ("auto" if asked.shown else None)
    said = {"effort": reasoning.effort(asked), "summary": summary}
    return {"reasoning": {name: value for name, value in said.items() if value is not None} or None}


# -- the conversation --------------------------------------------------------------------------------------------------


def _input(request: ChatRequest, aim: Aim, lost: Lost) -> list[Item]:
    items: list[Item] = []
    for message in request.messages:
        if message.name is not None:
            lost.drop("messages.name")
        items += _said(message, aim, lost) if message.role == ASSISTANT else _asked(message, aim, lost)
    return items


def _asked(message: Message, aim: Aim, lost: Lost) -> Iterator[Item]:
    """The items of a turn of the user, or of the system."""
    contents: list[Item] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            if contents:
                yield _message(message.role, contents)
                contents = []
            yield _result(part, aim, lost)
        elif isinstance(part, Text):
            contents.append({"type": "input_text", "text": part.text})
        elif isinstance(part, Image):
            contents.append(_image(part, aim.features, lost))
    if contents:
        yield _message(message.role, contents)


def _message(role: str, contents: list[Item]) -> Item:
    """One text stands as it is: the form that all servers of this dialect read."""
    first = contents[0]
    plain = len(contents) == 1 and "text" in first and not first.get("annotations")
    return {"type": "message", "role": role, "content": first["text"] if plain else contents}


def _result(result: ToolResult, aim: Aim, lost: Lost) -> Item:
    """That a tool failed is said in words, there is no field for it."""
    parts: list[Text | Image] = [*result.parts]
    if result.failed:
        first = parts[0] if parts else None
        if isinstance(first, Text):
            parts[0] = Text(f"Error: {first.text}")
        else:
            parts.insert(0, Text("Error"))
    said: Any = [
        _image(part, aim.features, lost) if isinstance(part, Image) else {"type": "input_text", "text": part.text}
        for part in parts
    ]
    if len(parts) <= 1 and not any(isinstance(part, Image) for part in parts):
        said = "".join(part.text for part in parts if isinstance(part, Text))
    return {"type": "function_call_output", "call_id": result.id, "output": said}


def _image(image: Image, features: Features, lost: Lost) -> Item:
    taken = features.images or "url+base64"
    if ("base64" if image.data else "url") not in taken:
        why = "no pictures" if taken == "none" else f"pictures as {taken} only"
        raise lost.refuse("messages", f"the model takes {why}")
    url = f"data:{image.media_type};base64,{image.data}" if image.data else image.url
    item = {"type": "input_image", "image_url": url}
    return item if image.detail is None else {**item, "detail": image.detail}


def _said(message: Message, aim: Aim, lost: Lost) -> Iterator[Item]:
    """The items of a turn of the model. A thought that nothing follows is refused by the vendor: it is left out."""
    thoughts: list[Item] = []
    contents: list[Item] = []
    for part in message.parts:
        if isinstance(part, Text):
            if part.text:
                contents.append(_output_text(part))
            continue
        if isinstance(part, Refusal):
            contents.append(output.refusal(part.text))
            continue
        if contents:
            yield from thoughts
            thoughts = []
            yield _message(ASSISTANT, contents)
            contents = []
        if isinstance(part, Thought):
            if part.signature and part.origin == DIALECT and part.account in ("", aim.account):
                thoughts.append(_thought(part))
        elif isinstance(part, ToolCall):
            yield from thoughts
            thoughts = []
            call = {"type": "function_call", "call_id": part.id, "name": part.name}
            yield {**call, "arguments": part.arguments or "{}"}
        elif isinstance(part, Image):
            raise lost.refuse("messages", "only users and tools may show pictures")
    if contents:
        yield from thoughts
        yield _message(ASSISTANT, contents)


def _output_text(text: Text) -> Item:
    notes = [output.annotation(citation, len(text.text)) for citation in text.citations]
    return {"type": "output_text", "text": text.text, "annotations": notes}


def _thought(thought: Thought) -> Item:
    item: Item = {"type": "reasoning", "summary": [output.summary(thought.text)] if thought.text else []}
    if thought.id:
        item["id"] = thought.id
    return {**item, "encrypted_content": thought.signature}
