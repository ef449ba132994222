"""A client's chat completion request -> the neutral form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.dialects.chat.fields import Fields, Lost, unsupported
from gateway.dialects.chat.form import ChatRequest, Format, Reasoning, Tool, ToolChoice
from gateway.dialects.chat.reasoning import EFFORTS
from gateway.dialects.openai_chat import message_reader

# Values that say nothing, for they are what holds without them. All others of these fields are told as lost.
_DEFAULTS: Mapping[str, Any] = {
    "n": 1,
    "store": False,
    "modalities": ["text"],
    "enable_search": False,
    "functions": [],
}
_FORMATS = ("text", "json_object", "json_schema")
_MODES = ("none", "auto", "required")
# `thinking.type` of the vendors that have it: DeepSeek, Zhipu, Moonshot, Ark, MiniMax.
_SWITCHES: Mapping[str | None, bool | None] = {
    "enabled": True, "disabled": False, "auto": None, "adaptive": None, None: None,
}  # fmt: skip
_SEED = 2**63


def read(body: Any, model: str, lost: Lost) -> ChatRequest:
    fields = Fields(body, "", lost)
    fields.raw("model")
    for name, value in _DEFAULTS.items():
        if body.get(name) == value:
            fields.raw(name)
    system, messages = message_reader.read(fields)
    _read_stream_options(fields)
    return ChatRequest(
        model=model,
        messages=messages,
        system=system,
        stream=fields.flag("stream") or False,
        tools=tuple([_tool(each) for each in fields.objects("tools")]),
        tool_choice=_tool_choice(fields),
        parallel_tools=fields.flag("parallel_tool_calls"),
        max_output=_max_output(fields),
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        top_k=_top_k(fields),
        seed=fields.whole("seed", -_SEED, _SEED - 1),
        presence_penalty=fields.number("presence_penalty", -2, 2),
        frequency_penalty=fields.number("frequency_penalty", -2, 2),
        stop=_stop(fields),
        format=_format(fields),
        reasoning=_reasoning(fields),
        logprobs=_logprobs(fields),
        user=fields.text("user"),
        extras=fields.rest(),
    )


def _read_stream_options(fields: Fields) -> None:
    """Whether usage is wanted is asked for elsewhere; padding is not made."""
    options = fields.object("stream_options")
    if options is not None:
        options.flag("include_usage")
        options.flag("include_obfuscation")
        options.done()


def _max_output(fields: Fields) -> int | None:
    old = fields.whole("max_tokens", 1)
    new = fields.whole("max_completion_tokens", 1)
    return old if new is None else new


def _top_k(fields: Fields) -> int | None:
    """No part of OpenAI's own; many servers have it, and take 0 or -1 for all."""
    value = fields.whole("top_k", -1)
    return value if value is not None and value > 0 else None


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.raw("stop")
    if value is None:
        return ()
    words = [value] if isinstance(value, str) else value
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return tuple(words)
    raise fields.wrong("stop", "a string or a list of strings")


def _logprobs(fields: Fields) -> int | None:
    wanted, most = fields.flag("logprobs"), fields.whole("top_logprobs", 0, 20)
    if wanted:
        return most or 0
    if most:
        raise fields.wrong("top_logprobs", "left out unless logprobs is true")
    return None


# -- tools -------------------------------------------------------------------------------------------------------------


def _tool(fields: Fields) -> Tool:
    kind = fields.needed("type")
    if kind != "function":
        raise unsupported(fields.place("type"), f"only functions are carried, not tools of type {kind[:40]}")
    function = fields.object("function")
    if function is None:
        raise fields.wrong("function", "an object")
    tool = Tool(_named(function), function.text("description"), function.schema("parameters"), function.flag("strict"))
    function.done()
    fields.done()
    return tool


def _named(fields: Fields) -> str:
    name = fields.needed("name")
    if not name:
        raise fields.wrong("name", "a name")
    return name


def _tool_choice(fields: Fields) -> ToolChoice | None:
    if type(fields.raw("tool_choice")) in (str, type(None)):
        mode = fields.one_of("tool_choice", _MODES)
        return ToolChoice(mode) if mode else None
    choice = fields.object("tool_choice")
    if choice is None:
        return None
    kind = choice.needed("type")
    if kind == "function":
        found = ToolChoice("required", (_function_name(choice),))
    elif kind == "allowed_tools":
        found = _allowed_tools(choice)
    else:
        raise unsupported(choice.place("type"), f"only functions are carried, not tools of type {kind[:40]}")
    choice.done()
    return found


def _allowed_tools(choice: Fields) -> ToolChoice:
    allowed = choice.object("allowed_tools")
    if allowed is None:
        raise choice.wrong("allowed_tools", "an object")
    mode = allowed.one_of("mode", _MODES[1:])
    if mode is None:
        raise allowed.wrong("mode", "auto or required")
    names = []
    for each in allowed.objects("tools"):
        if (kind := each.needed("type")) != "function":
            raise unsupported(each.place("type"), f"only functions are carried, not tools of type {kind[:40]}")
        names.append(_function_name(each))
        each.done()
    if not names:
        raise allowed.wrong("tools", "a list with at least one tool")
    allowed.done()
    return ToolChoice(mode, tuple(names))


def _function_name(fields: Fields) -> str:
    function = fields.object("function")
    if function is None:
        raise fields.wrong("function", "an object")
    name = _named(function)
    function.done()
    return name


# -- format, thinking --------------------------------------------------------------------------------------------------


def _format(fields: Fields) -> Format | None:
    wanted = fields.object("response_format")
    if wanted is None:
        return None
    kind = wanted.one_of("type", _FORMATS)
    if kind is None:
        raise wanted.wrong("type", f"one of {', '.join(_FORMATS)}")
    found = Format() if kind == "json_object" else None
    if kind == "json_schema":
        schema = wanted.object("json_schema")
        if schema is None:
            raise wanted.wrong("json_schema", "an object")
        found = Format(schema.schema("schema"), schema.text("name"), schema.text("description"), schema.flag("strict"))
        schema.done()
    wanted.done()
    return found


def _reasoning(fields: Fields) -> Reasoning | None:
    """OpenAI's effort, and what other vendors of this dialect have beside it or instead."""
    effort = fields.one_of("reasoning_effort", EFFORTS)
    on = fields.flag("enable_thinking")
    budget = fields.whole("thinking_budget", -1)
    thinking = fields.object("thinking")
    if thinking is not None:
        kind = thinking.text("type")
        if kind not in _SWITCHES:
            raise thinking.wrong("type", "one of enabled, disabled, auto, adaptive")
        on = on if _SWITCHES[kind] is None else _SWITCHES[kind]
        if (tokens := thinking.whole("budget_tokens", 0)) is not None:
            budget = tokens
        thinking.done()
    if budget is not None and budget < 0:
        budget = None  # no limit
    if effort is None and on is None and budget is None and thinking is None:
        return None
    return Reasoning(on=on, effort=effort, budget=budget)
