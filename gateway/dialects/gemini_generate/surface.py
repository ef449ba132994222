"""Clients that speak Gemini: their requests into the neutral form, answers out of it (`replies`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.dialects.chat.dialect import StreamWriter, Told
from gateway.dialects.chat.fields import Lost, unsupported
from gateway.dialects.chat.form import Answer, ChatRequest, Format, Reasoning, Text, Tool, ToolChoice
from gateway.dialects.gemini_generate import replies
from gateway.dialects.gemini_generate.names import LEVELS, Proto
from gateway.dialects.gemini_generate.schemas import json_schema
from gateway.dialects.gemini_generate.turns import Turns
from gateway.dialects.losses import UNKNOWN, Losses
from gateway.errors import BadRequest
from gateway.types import Usage

_MODES = {"MODE_UNSPECIFIED": "auto", "AUTO": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}
_LEVELS = ("THINKING_LEVEL_UNSPECIFIED", *LEVELS)
_UNSPOKEN = frozenset({"TEXT", "MODALITY_UNSPECIFIED"})
_HOSTED = "refused: tools that run at Google have no twin elsewhere"
_OWN_PART = "refused: parts of this kind are Gemini's own"

LOSSES: Losses = {
    "cachedContent": "refused: caches belong to one vendor's account",
    "safetySettings": "dropped: other vendors' filters cannot be set",
    "labels": "dropped: they are for Google's own bills",
    "serviceTier": "dropped: tiers are a vendor's own",
    "store": "dropped: logs are a vendor's own",
    "contents.role (others)": "refused: only user, model and function are known",
    "contents.parts.executableCode": _OWN_PART,
    "contents.parts.codeExecutionResult": _OWN_PART,
    "contents.parts.toolCall": _OWN_PART,
    "contents.parts.toolResponse": _OWN_PART,
    "contents.parts.inlineData (no picture)": "refused: of media only pictures are carried",
    "contents.parts.fileData (no picture, or a file of an account)": "refused: only pictures on the web are carried",
    "contents.parts.mediaResolution": "dropped: others choose it themselves",
    "contents.parts.videoMetadata": "dropped: it means nothing beside a picture",
    "contents.parts.functionCall.partialArgs": "refused: calls must be whole",
    "contents.parts.functionResponse.willContinue": "refused: a result must be whole",
    "contents.parts.functionResponse.scheduling": "refused: others wait for all results",
    "tools (other than functionDeclarations)": _HOSTED,
    "tools.functionDeclarations.response": "dropped: others are told of parameters only",
    "tools.functionDeclarations.responseJsonSchema": "dropped: others are told of parameters only",
    "tools.functionDeclarations.behavior": "dropped: others wait for all results",
    "toolConfig.retrievalConfig": "dropped: it is for tools that run at Google",
    "generationConfig.candidateCount (more than 1)": "refused: others give one answer",
    "generationConfig.responseMimeType (others)": "refused: only text/plain and application/json are known",
    "generationConfig.responseModalities (others)": "refused: only text can be asked for",
    "generationConfig.responseFormat": "refused: it asks for forms that only Gemini has",
    "generationConfig.speechConfig": "refused: only text can be asked for",
    "generationConfig.imageConfig": "refused: only text can be asked for",
    "generationConfig.translationConfig": "refused: only Gemini has it",
    "generationConfig.audioTranscriptionConfig": "refused: only Gemini has it",
    "generationConfig.mediaResolution": "dropped: others choose it themselves",
    **UNKNOWN,
}

NAMES = {
    "messages": "contents",
    "system": "systemInstruction",
    "tools": "tools",
    "tool_choice": "toolConfig",
    "max_output": "generationConfig.maxOutputTokens",
    "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "seed": "generationConfig.seed",
    "presence_penalty": "generationConfig.presencePenalty",
    "frequency_penalty": "generationConfig.frequencyPenalty",
    "stop": "generationConfig.stopSequences",
    "format": "generationConfig.responseJsonSchema",
    "reasoning": "generationConfig.thinkingConfig",
    "logprobs": "generationConfig.responseLogprobs",
}


class Surface:
    """See `dialect.Surface`. Whether it streams stands in the path of a call, not in its body."""

    LOSSES = LOSSES
    NAMES = NAMES

    def read(self, body: Any, model: str, lost: Lost) -> ChatRequest:
        fields = Proto(body, "", lost)
        if fields.has("generateContentRequest"):  # a question for the number of tokens
            fields = Proto(fields.raw("generateContentRequest"), "", lost)
        turns = Turns()
        for index, content in enumerate(fields.objects("contents")):
            turns.read(content, index)
        messages = turns.messages()
        if not messages:
            raise fields.wrong("contents", "a list of contents that say something")
        tools = tuple(_tools(fields.objects("tools")))
        config = fields.object("generationConfig")
        fields.raw("model")  # the path's counts
        if fields.raw("store"):
            lost.unread("store")
        request = ChatRequest(
            model=model,
            messages=messages,
            system=_system(fields, lost),
            tools=tools,
            tool_choice=_choice(fields.object("toolConfig"), tools),
            extras=fields.rest(),
        )
        return request if config is None else msgspec.structs.replace(request, **_config(config))

    def write(self, answer: Answer, usage: Usage, told: Told) -> bytes:
        return replies.answer(answer, usage, told)

    def stream(self, told: Told) -> StreamWriter:
        return replies.Writer(told)

    def count(self, tokens: int) -> bytes:
        return b'{"totalTokens":%d}' % tokens


SURFACE = Surface()


def _system(fields: Proto, lost: Lost) -> tuple[Text, ...]:
    """Of a content, or of a mere string."""
    given = fields.raw("systemInstruction")
    if given is None or isinstance(given, str):
        return (Text(given),) if given else ()
    content = Proto(given, "systemInstruction", lost)
    content.raw("role")
    texts: list[Text] = []
    for part in content.objects("parts"):
        text = part.text("text")
        if text is None:
            raise unsupported(part.at, "instructions must be text")
        part.done()
        if text:
            texts.append(Text(text))
    content.done()
    return tuple(texts)


def _tools(tools: Iterable[Proto]) -> Iterable[Tool]:
    for tool in tools:
        yield from map(_tool, tool.objects("functionDeclarations"))
        for name in tool.rest():
            raise unsupported(tool.place(name), _HOSTED.partition(": ")[2])


def _tool(declared: Proto) -> Tool:
    if not (name := declared.text("name")):
        raise declared.wrong("name", "there, and a string that is not empty")
    parameters = declared.schema("parametersJsonSchema")
    if declared.has("parameters"):
        if parameters is not None:
            raise declared.wrong("parameters", "absent where parametersJsonSchema is given")
        parameters = json_schema(declared.raw("parameters"), declared.place("parameters"))
    tool = Tool(name, declared.text("description"), parameters)
    declared.done()
    return tool


def _choice(config: Proto | None, tools: tuple[Tool, ...]) -> ToolChoice | None:
    if config is None:
        return None
    calling = config.object("functionCallingConfig")
    config.done()
    if calling is None:
        return None
    mode = _MODES[calling.word("mode", _MODES) or "AUTO"]
    names = calling.texts("allowedFunctionNames")
    calling.done()
    # Without tools these are what happens anyway, and other vendors do not take them.
    return None if not tools and mode != "required" else ToolChoice(mode, names)


def _config(config: Proto) -> dict[str, Any]:
    count = config.whole("candidateCount", 1)
    if count is not None and count > 1:
        raise unsupported(config.place("candidateCount"), "others give one answer")
    if any(word.upper() not in _UNSPOKEN for word in config.texts("responseModalities")):
        raise unsupported(config.place("responseModalities"), "only text can be asked for")
    read = {
        "temperature": config.number("temperature", 0, 2),
        "top_p": config.number("topP", 0, 1),
        "top_k": config.whole("topK", 1),
        "max_output": config.whole("maxOutputTokens", 1),
        "stop": config.texts("stopSequences"),
        "seed": config.whole("seed", -(2**31)),
        "presence_penalty": config.number("presencePenalty", -2, 2),
        "frequency_penalty": config.number("frequencyPenalty", -2, 2),
        "logprobs": _logprobs(config),
        "format": _format(config),
        "reasoning": _reasoning(config.object("thinkingConfig")),
    }
    config.done()
    return read


def _logprobs(config: Proto) -> int | None:
    wanted, count = config.flag("responseLogprobs"), config.whole("logprobs", 0, 20)
    if count is not None and not wanted:
        raise config.wrong("logprobs", "given only with responseLogprobs")
    return (count or 0) if wanted else None


def _format(config: Proto) -> Format | None:
    kind = config.text("responseMimeType")
    schema = config.schema("responseJsonSchema")
    if config.has("responseSchema"):
        if schema is not None:
            raise config.wrong("responseSchema", "absent where responseJsonSchema is given")
        schema = json_schema(config.raw("responseSchema"), config.place("responseSchema"))
    if kind == "application/json":
        return Format(schema)
    if kind not in (None, "", "text/plain"):
        raise unsupported(config.place("responseMimeType"), "only text/plain and application/json are known")
    if schema is not None:
        raise config.wrong("responseMimeType", "application/json where a schema is given")
    return None


def _reasoning(config: Proto | None) -> Reasoning | None:
    if config is None:
        return None
    shown = config.flag("includeThoughts")
    budget = config.whole("thinkingBudget", -1)
    level = config.word("thinkingLevel", _LEVELS)
    config.done()
    effort = LEVELS.get(level) if level is not None else None
    if budget is not None and effort is not None:
        raise BadRequest(f"{config.at} must have one of thinkingBudget and thinkingLevel", param=config.at)
    if budget == -1:  # as much as the model likes
        return Reasoning(on=True, shown=shown)
    if budget is None and effort is None and not shown:
        return None  # nothing is asked for, and who does not want to see thoughts is not shown any
    return Reasoning(effort=effort, budget=budget, shown=shown)
