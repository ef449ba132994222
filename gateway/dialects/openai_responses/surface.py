"""Responses as clients speak it."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.fields import Fields, Lost, unsupported
from gateway.dialects.chat.form import Answer, ChatRequest, Format, Reasoning, Text, Tool, ToolChoice
from gateway.dialects.chat.reasoning import EFFORTS
from gateway.dialects.losses import UNKNOWN, Losses
from gateway.dialects.openai_responses.items import read_input, unknown
from gateway.dialects.openai_responses.output import whole
from gateway.dialects.openai_responses.writer import Writer
from gateway.types import Usage

_SUMMARIES = ("auto", "concise", "detailed")
_HOSTED = "a tool of the vendor's own, or one that the gateway does not know; only functions are carried"
_TUNING = "dropped: a hint for OpenAI's own models"

_encode = msgspec.json.Encoder().encode


class ResponsesSurface:
    LOSSES: Losses = {
        "conversation": "refused: conversations are kept at their own vendor; send the items",
        "prompt": "refused: prompt templates are kept at their own vendor",
        "background": "refused: only Responses' own vendors answer in the background",
        "background_options": "dropped: nothing runs in the background",
        "context_management": "refused: only Responses' own vendors shorten a conversation; send a shorter one",
        "session": "refused: sessions are kept at their own vendor",
        "moderation": "refused: no other dialect judges what it says",
        "include (all but encrypted reasoning and logprobs)": "refused: results of hosted tools and the like",
        "input (hosted items, references, custom tool calls)": "refused: only their own vendor knows them",
        "input.content (files, audio)": "refused: only texts and pictures are carried",
        "input.content.file_id": "refused: files are kept at their own vendor; send the data",
        "input.output.file_id": "refused: files are kept at their own vendor; send the data",
        "input.namespace": "refused: only functions are carried",
        "input.caller": "dropped: calls come from the model",
        "input.phase": _TUNING,
        "input.content.annotations": "dropped: files that were cited; citations of web pages are carried",
        "input.content.prompt_cache_breakpoint": "dropped: a hint for the vendor's cache",
        "input.output.prompt_cache_breakpoint": "dropped: a hint for the vendor's cache",
        "tools (hosted and custom)": "refused: only functions are carried",
        "tools.allowed_callers": "dropped: only the model calls",
        "tools.defer_loading": "dropped: all tools are told at once",
        "tools.output_schema": "dropped: a hint",
        "tools.async": "dropped: results are waited for",
        "tool_choice (hosted and custom)": "refused: only functions are carried",
        "reasoning.context": _TUNING,
        "reasoning.mode": _TUNING,
        "verbosity": _TUNING,
        "truncation": "dropped: too long a conversation is an error elsewhere",
        "max_tool_calls": "dropped: it counts calls of hosted tools",
        "metadata": "dropped: notes for the vendor's own log",
        "service_tier": "dropped: the vendor's own price classes",
        "safety_identifier": "dropped: for the vendor's own watch",
        "prompt_cache_key": "dropped: a hint for the vendor's cache",
        "prompt_cache_retention": "dropped: a hint for the vendor's cache",
        "prompt_cache_options": "dropped: a hint for the vendor's cache",
        **UNKNOWN,
    }
    NAMES = {
        "messages": "input",
        "system": "instructions",
        "max_output": "max_output_tokens",
        "format": "text.format",
        "logprobs": "include",
        "parallel_tools": "parallel_tool_calls",
    }

    def read(self, body: Any, model: str, lost: Lost) -> ChatRequest:
        fields = Fields(body, "", lost)
        for name in ("model", "store", "previous_response_id"):  # what is kept between calls is not a converter's
            fields.raw(name)
        _read_switches(fields)
        instructions = fields.text("instructions")
        head, messages = read_input(fields.raw("input"), lost)
        format, verbosity = _read_text(fields)
        request = ChatRequest(
            model=model,
            messages=messages,
            system=((Text(instructions),) if instructions else ()) + tuple(head),
            stream=fields.flag("stream") or False,
            tools=tuple(_read_tool(tool) for tool in fields.objects("tools")),
            tool_choice=_read_tool_choice(fields),
            parallel_tools=fields.flag("parallel_tool_calls"),
            max_output=fields.whole("max_output_tokens", 1),
            temperature=fields.number("temperature", 0, 2),
            top_p=fields.number("top_p", 0, 1),
            format=format,
            reasoning=_read_reasoning(fields),
            logprobs=_read_logprobs(fields),
            user=fields.text("user"),
        )
        extras = fields.rest()
        if verbosity is not None:
            extras["verbosity"] = verbosity
        if extras.get("service_tier") == "auto":
            del extras["service_tier"]
        return msgspec.structs.replace(request, extras=extras) if extras else request

    def write(self, answer: Answer, usage: Usage, told: Told) -> bytes:
        return _encode(whole(answer, usage, told))

    def stream(self, told: Told) -> Writer:
        return Writer(told)

    def count(self, tokens: int) -> bytes:
        return _encode({"object": "response.input_tokens", "input_tokens": tokens})


def _read_switches(fields: Fields) -> None:
    """Fields of which one value is what happens anyway."""
    if fields.flag("background"):
        fields.lost.unread("background")
    if fields.one_of("truncation", ("auto", "disabled")) == "auto":
        fields.lost.unread("truncation")
    if (options := fields.object("stream_options")) is not None:
        options.flag("include_obfuscation")  # padding, not made here
        options.done()


def _read_text(fields: Fields) -> tuple[Format | None, str | None]:
    text = fields.object("text")
    if text is None:
        return None, None
    verbosity = text.text("verbosity")
    format = text.object("format")
    text.done()
    return (None if format is None else _read_format(format)), verbosity


def _read_format(format: Fields) -> Format | None:
    kind = format.one_of("type", ("text", "json_object", "json_schema"))
    if kind is None:
        raise format.wrong("type", "there")
    found = None
    if kind == "json_object":
        found = Format()
    elif kind == "json_schema":
        schema = format.schema("schema")
        if schema is None:
            raise format.wrong("schema", "there, and an object")
        found = Format(schema, format.text("name"), format.text("description"), format.flag("strict"))
    format.done()
    return found


def _read_tool(tool: Fields) -> Tool:
    kind = tool.needed("type")
    if kind != "function":
        raise unknown(tool, "type", kind, _HOSTED)
    read = Tool(tool.needed("name"), tool.text("description"), tool.schema("parameters"), tool.flag("strict"))
    tool.done()
    return read


def _read_tool_choice(fields: Fields) -> ToolChoice | None:
    value = fields.raw("tool_choice")
    if value is None:
        return None
    if type(value) is str:
        if value not in ("auto", "none", "required"):
            raise fields.wrong("tool_choice", "auto, none, required or an object")
        return ToolChoice(value)
    choice = Fields(value, "tool_choice", fields.lost)
    kind = choice.needed("type")
    if kind == "function":
        read = ToolChoice("required", (choice.needed("name"),))
    elif kind == "allowed_tools":
        read = ToolChoice(
            choice.one_of("mode", ("auto", "required")) or "auto", tuple(map(_read_allowed, choice.objects("tools")))
        )
        if not read.names:
            raise choice.wrong("tools", "a list of functions, not empty")
    else:
        raise unknown(choice, "type", kind, _HOSTED)
    choice.done()
    return read


def _read_allowed(tool: Fields) -> str:
    kind = tool.needed("type")
    if kind != "function":
        raise unknown(tool, "type", kind, _HOSTED)
    name = tool.needed("name")
    tool.done()
    return name


def _read_reasoning(fields: Fields) -> Reasoning | None:
    """Ark's `thinking` is its switch for the same."""
    on: bool | None = None
    if (thinking := fields.object("thinking")) is not None:
        kind = thinking.one_of("type", ("enabled", "disabled", "auto"))
        on = None if kind in (None, "auto") else kind == "enabled"
        thinking.done()
    effort = summary = None
    if (reasoning := fields.object("reasoning")) is not None:
        effort = reasoning.one_of("effort", EFFORTS)
        old = reasoning.one_of("generate_summary", _SUMMARIES)
        summary = reasoning.one_of("summary", _SUMMARIES) or old
        reasoning.done()
    if on is None and effort is None and summary is None:
        return None
    return Reasoning(on=on, effort=effort, shown=None if summary is None else True, summary=summary)


def _read_logprobs(fields: Fields) -> int | None:
    wanted = False
    for value in fields.items("include"):
        if type(value) is not str:
            raise fields.wrong("include", "a list of strings")
        if value == "message.output_text.logprobs":
            wanted = True
        elif value != "reasoning.encrypted_content":  # what other dialects sign is kept by the gateway itself
            raise unsupported("include", f"{value[:60]!r} is not to be had there")
    top = fields.whole("top_logprobs", 0, 20)
    return top or 0 if wanted else top or None
