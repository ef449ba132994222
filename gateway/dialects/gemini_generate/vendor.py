"""Vendors that speak Gemini: requests out of the neutral form, answers into it (`reader`)."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, groupby
from typing import Any

import msgspec

from gateway.dialects.chat.dialect import Aim, Sent, StreamReader
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import (
    ASSISTANT,
    Answer,
    ChatRequest,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolResult,
)
from gateway.dialects.chat.reasoning import GEMINI_BUDGETS, budget, effort, off
from gateway.dialects.chat.transform import arguments
from gateway.dialects.gemini_generate.names import DIALECT, encoded
from gateway.dialects.gemini_generate.reader import Reader, read_answer
from gateway.dialects.gemini_generate.turns import media_type_of
from gateway.dialects.losses import Losses
from gateway.types import Features

_MOST_STOPS = 5
_LARGEST_BUDGET = 24576
# Gemini knows no level above high, and none at which it does not think at all; Pro always thinks, and more than that.
_LEVELS = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM"}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
# Gemini 3 and later, also under names that move with the newest (gemini-flash-latest).
_MODERN = re.compile(r"gemini-(?![12](?:\D|$))")
_PRO = re.compile(r"gemini-[\w.-]*\bpro\b")
_LEAST_OF_PRO = 128
# Google's own word for a history that another model wrote: such calls have no signature, and are refused without one.
_FOREIGN = base64.b64encode(b"skip_thought_signature_validator").decode()
_TAKES = {"url": (True, False), "base64": (False, True), "none": (False, False)}
_NO_PARAMETERS = frozenset({"type", "properties", "required", "additionalProperties", "$schema"})

LOSSES: Losses = {
    "user": "dropped: Gemini is not told who asks",
    "parallel_tools (false)": "dropped: there is no such switch",
    "seed (beyond 32 bits)": "dropped: Gemini's have 32 bits",
    "stop (more than 5)": "refused: Gemini takes at most 5",
    "tools (strict)": "dropped: there is no such switch",
    "format (with a schema)": "refused: where the model's features say so",
    "messages (pictures)": "refused: in a form that the model's features exclude",
    "messages (detail of a picture)": "dropped: there is no such hint",
    "messages (a result without its call)": "refused: Gemini needs the function's name",
    "messages (none that say anything)": "refused: Gemini takes no empty contents",
    "reasoning (thinking: none)": "dropped: the model does not think",
}


class _Count(msgspec.Struct, rename="camel"):
    total_tokens: int


_decode_count = msgspec.json.Decoder(_Count).decode


class Vendor:
    """See `dialect.Vendor`."""

    LOSSES = LOSSES
    EXTRAS: Collection[str] = frozenset()

    def write(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent:
        method = ":streamGenerateContent?alt=sse" if request.stream else ":generateContent"
        return Sent(encoded(_body(request, aim, lost)), method=method)

    def read(self, body: bytes, seed: str) -> Answer:
        return read_answer(body, seed)

    def stream(self, seed: str) -> StreamReader:
        return Reader(seed)

    def count(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent | None:
        asked = {"model": f"models/{aim.model.removeprefix('models/')}", **_body(request, aim, lost)}
        return Sent(encoded({"generateContentRequest": asked}), method=":countTokens")

    def counted(self, body: bytes) -> int:
        return max(_decode_count(body).total_tokens, 0)


VENDOR = Vendor()


def _body(request: ChatRequest, aim: Aim, lost: Lost) -> dict[str, Any]:
    system = [{"text": text.text} for text in request.system if text.text]
    contents = _Contents(aim, lost).write(request.messages)
    if not contents:  # instructions alone are something to answer
        if not system:
            raise lost.refuse("messages", "there is nothing in them to answer")
        contents, system = [{"role": "user", "parts": system}], []
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    if request.tools:
        _tools(body, request, lost)
    if config := _config(request, aim, lost):
        body["generationConfig"] = config
    return body


# -- the conversation --------------------------------------------------------------------------------------------------


class _Contents:
    """Writes messages as contents: neighbours of one role together, as Gemini wants turns to alternate."""

    def __init__(self, aim: Aim, lost: Lost) -> None:
        self._aim = aim
        self._lost = lost
        self._urls, self._data = _TAKES.get(aim.features.images or "", (True, True))
        self._calls: dict[str, tuple[int, str]] = {}  # id -> (its place among all calls, the function's name)
        self._signed = _MODERN.search(aim.model) is not None

    def write(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        contents = []
        for model, turn in groupby(messages, lambda message: message.role == ASSISTANT):
            said = chain.from_iterable(message.parts for message in turn)
            parts = list(self._said(said) if model else self._asked(said))
            if parts:
                contents.append({"role": "model" if model else "user", "parts": parts})
        return contents

    def _said(self, parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
        first = True
        for part in parts:
            if isinstance(part, ToolCall):
                yield self._call(part, first)
                first = False
            elif isinstance(part, Thought):
                if part.signature and self._own(part):
                    text = {"text": part.text, "thought": True} if part.text else {"text": ""}
                    yield {**text, "thoughtSignature": part.signature}
            else:
                yield from self._plain(part)

    def _own(self, part: Thought | ToolCall) -> bool:
        return part.origin == DIALECT and (not part.account or part.account == self._aim.account)

    def _call(self, call: ToolCall, first: bool) -> dict[str, Any]:
        self._calls[call.id] = (len(self._calls), call.name)
        written: dict[str, Any] = {
            "functionCall": {"id": call.id, "name": call.name, "args": arguments(call.arguments)}
        }
        if call.signature and self._own(call):
            written["thoughtSignature"] = call.signature
        elif first and self._signed:
            written["thoughtSignature"] = _FOREIGN
        return written

    def _asked(self, parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
        """Results come first, in the order of their calls, and then their pictures."""
        results: list[ToolResult] = []
        others: list[Part] = []
        for part in parts:
            (results if isinstance(part, ToolResult) else others).append(part)  # type: ignore[arg-type]
        if results:
            for result in results:
                if result.id not in self._calls:
                    raise self._lost.refuse("messages", "a tool's result answers no call before it")
            results.sort(key=lambda result: self._calls[result.id][0])
            yield from map(self._result, results)
            pictures = (each for result in results for each in result.parts if isinstance(each, Image))
            yield from map(self._picture, pictures)
        for part in others:
            yield from self._plain(part)

    def _result(self, result: ToolResult) -> dict[str, Any]:
        text = "\n".join(part.text for part in result.parts if isinstance(part, Text))
        response = {"error" if result.failed else "result": text}
        name = self._calls[result.id][1]
        return {"functionResponse": {"id": result.id, "name": name, "response": response}}

    def _plain(self, part: Part) -> Iterator[dict[str, Any]]:
        if isinstance(part, Image):
            yield self._picture(part)
        elif isinstance(part, Text | Refusal) and part.text:
            yield {"text": part.text}

    def _picture(self, image: Image) -> dict[str, Any]:
        if not (self._data if image.data else self._urls):
            why = "as data" if self._urls else "by URL" if self._data else "at all"
            raise self._lost.refuse("messages", f"the model takes no pictures {why}")
        if image.detail not in (None, "auto"):
            self._lost.drop("detail")
        if image.data:
            return {"inlineData": {"mimeType": image.media_type, "data": image.data}}
        media_type = image.media_type or media_type_of(image.url)
        return {"fileData": {"fileUri": image.url, **({"mimeType": media_type} if media_type else {})}}


# -- tools -------------------------------------------------------------------------------------------------------------


def _tools(body: dict[str, Any], request: ChatRequest, lost: Lost) -> None:
    tools, choice = request.tools, request.tool_choice
    if choice is not None:
        calling: dict[str, Any] = {"mode": _MODES[choice.mode]}
        if choice.names and choice.mode == "required":
            calling["allowedFunctionNames"] = list(choice.names)
        elif choice.names and choice.mode == "auto":  # names are for ANY only: who may not be called is not told of
            tools = tuple(tool for tool in tools if tool.name in choice.names)
        body["toolConfig"] = {"functionCallingConfig": calling}
    if tools:
        body["tools"] = [{"functionDeclarations": [_tool(tool) for tool in tools]}]
    if request.parallel_tools is False:
        lost.drop("parallel_tools")
    if any(tool.strict for tool in tools):
        lost.drop("strict")


def _tool(tool: Tool) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        declared["description"] = tool.description
    if tool.parameters is not None and not _takes_none(tool.parameters):
        declared["parametersJsonSchema"] = tool.parameters
    return declared


def _takes_none(schema: dict[str, Any]) -> bool:
    """Whether a schema is that of an object without members: such functions are declared without parameters."""
    return (
        schema.keys() <= _NO_PARAMETERS
        and schema.get("type", "object") == "object"
        and not schema.get("properties")
        and not schema.get("required")
        and schema.get("additionalProperties") in (None, False)
    )


# -- the configuration -------------------------------------------------------------------------------------------------


def _config(request: ChatRequest, aim: Aim, lost: Lost) -> dict[str, Any]:
    seed = request.seed
    if seed is not None and not -(2**31) <= seed < 2**31:
        seed = None
        lost.drop("seed")
    if len(request.stop) > _MOST_STOPS:
        raise lost.refuse("stop", f"it takes at most {_MOST_STOPS}")
    config = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "maxOutputTokens": request.max_output,
        "stopSequences": list(request.stop) or None,
        "seed": seed,
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
        "responseLogprobs": True if request.logprobs is not None else None,
        "logprobs": request.logprobs or None,
        **_format(request, aim.features, lost),
        "thinkingConfig": _thinking(request.reasoning, aim, lost) if request.reasoning is not None else None,
    }
    return {name: value for name, value in config.items() if value is not None}


def _format(request: ChatRequest, features: Features, lost: Lost) -> dict[str, Any]:
    if (wanted := request.format) is None:
        return {}
    if wanted.schema is None:
        return {"responseMimeType": "application/json"}
    if features.json_schema is False:
        raise lost.refuse("format", "the model does not keep to schemas")
    schema = wanted.schema
    if wanted.description and "description" not in schema:
        schema = {**schema, "description": wanted.description}
    return {"responseMimeType": "application/json", "responseJsonSchema": schema}


def _thinking(reasoning: Reasoning, aim: Aim, lost: Lost) -> dict[str, Any] | None:
    """A level or a budget, never both."""
    kind = aim.features.thinking
    if kind == "none":
        if not off(reasoning):
            lost.drop("reasoning")
        return None
    if kind is None:
        kind = "effort" if _MODERN.search(aim.model) or "gemini-" not in aim.model else "budget"
    thinking: dict[str, Any] = {}
    pro = _PRO.search(aim.model) is not None
    if kind == "effort":
        if (wanted := effort(reasoning)) is not None:
            level = _LEVELS.get(wanted, "HIGH")
            thinking["thinkingLevel"] = "LOW" if pro and level == "MINIMAL" else level
    elif (tokens := budget(reasoning, GEMINI_BUDGETS)) is not None:
        thinking["thinkingBudget"] = min(max(tokens, _LEAST_OF_PRO if pro else 0), _LARGEST_BUDGET)
    if not off(reasoning) and reasoning.shown is not False:
        thinking["includeThoughts"] = True
    return thinking or None
