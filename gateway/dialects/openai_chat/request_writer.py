"""The neutral form -> a vendor's chat completion request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.dialects.chat import reasoning
from gateway.dialects.chat.dialect import Aim
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import ChatRequest, Format, Reasoning, Tool, ToolChoice
from gateway.dialects.openai_chat import message_writer

Body = dict[str, Any]

encode = msgspec.json.Encoder().encode
_MOST_STOPS = 4

# What Responses and this dialect have in common. Other surfaces have fields of the same names that mean something else:
# a value must be one of this dialect's. (`metadata` is not here: OpenAI refuses it unless the answer is stored.)
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "service_tier": ("auto", "default", "flex", "scale", "priority", "fast"),
    "verbosity": ("low", "medium", "high"),
    "prompt_cache_retention": ("in_memory", "24h"),
    "prompt_cache_key": (),  # any text
    "safety_identifier": (),
}
_SAME = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "user")


def write(request: ChatRequest, aim: Aim, lost: Lost) -> bytes:
    body: Body = {"model": aim.model, "messages": message_writer.write(request, aim, lost)}
    if request.stream:
        # Asked for whether or not the client did: it is what the answer is charged by.
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if request.max_output is not None:
        body[aim.features.max_tokens_field or "max_tokens"] = request.max_output
    untuned = reasoning.untuned(request, aim.features, lost)
    for name in _SAME:
        if (value := getattr(request, name)) is not None and name not in untuned:
            body[name] = value
    if request.stop:
        if len(request.stop) > _MOST_STOPS:
            raise lost.refuse("stop", f"the vendor takes {_MOST_STOPS} at most")
        body["stop"] = request.stop
    if request.tools or request.tool_choice is not None:
        _write_tools(body, request, lost)
    if request.format is not None:
        body["response_format"] = json_format(request.format, aim, lost)
    if request.reasoning is not None:
        _write_reasoning(body, request.reasoning, aim, lost)
    if request.logprobs is not None:
        body["logprobs"] = True
        if request.logprobs:
            body["top_logprobs"] = request.logprobs
    for name, value in request.extras.items():
        if (values := EXTRAS.get(name)) is None:
            continue
        if isinstance(value, str) and (value in values or not values):
            body[name] = value
        else:
            lost.drop(name)
    return encode(body)


# -- tools -------------------------------------------------------------------------------------------------------------


def _write_tools(body: Body, request: ChatRequest, lost: Lost) -> None:
    choice = request.tool_choice
    allowed = tools_allowed(request.tools, choice)
    if not allowed:
        if choice is not None and (choice.names or choice.mode == "required"):
            raise lost.refuse("tool_choice", "there is no tool to choose")
        return  # where there are none, the vendor wants to hear nothing about them
    body["tools"] = [tool(each) for each in allowed]
    if choice is not None:
        body["tool_choice"] = _choice(choice)
    if request.parallel_tools is not None:
        body["parallel_tool_calls"] = request.parallel_tools


def tools_allowed(tools: tuple[Tool, ...], choice: ToolChoice | None) -> tuple[Tool, ...]:
    """The tools that the model may choose from: to leave the others out says so to every vendor of the dialect, while
    only OpenAI knows `allowed_tools`. A single one is named, so that all can stay.
    """
    if choice is None or not choice.names or (named(choice) and any(each.name == choice.names[0] for each in tools)):
        return tools
    return tuple([each for each in tools if each.name in choice.names])


def named(choice: ToolChoice) -> bool:
    """Whether the one tool is named that must be called."""
    return choice.mode == "required" and len(choice.names) == 1


def _choice(choice: ToolChoice) -> str | Body:
    return {"type": "function", "function": {"name": choice.names[0]}} if named(choice) else choice.mode


def tool(each: Tool) -> Body:
    function: Body = {"name": each.name}
    if each.description is not None:
        function["description"] = each.description
    if each.parameters is not None:
        function["parameters"] = each.parameters
    elif not each.strict:  # OpenAI takes a function without any, several others do not
        function["parameters"] = {"type": "object", "properties": {}}
    if each.strict is not None:
        function["strict"] = each.strict
    return {"type": "function", "function": function}


# -- format, thinking --------------------------------------------------------------------------------------------------


def json_format(wanted: Format, aim: Aim, lost: Lost) -> Body:
    if wanted.schema is None:
        return {"type": "json_object"}
    if aim.features.json_schema is False:
        raise lost.refuse("format", "the model gives no JSON by a schema")
    return schema_format(wanted)


def schema_format(wanted: Format) -> Body:
    schema: Body = {"name": wanted.name or "answer", "schema": wanted.schema}
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}


def _effort(wanted: Reasoning) -> Body:
    """OpenAI's own way, and that of most vendors by now."""
    effort = reasoning.effort(wanted)
    return {} if effort is None else {"reasoning_effort": effort}


def _switch(wanted: Reasoning) -> Body:
    """DeepSeek, Zhipu, Moonshot, Ark: on or off."""
    return {"thinking": {"type": "disabled" if reasoning.off(wanted) else "enabled"}}


def _budget(wanted: Reasoning) -> Body:
    """DashScope, SiliconFlow, Qianfan: on or off, and how many tokens."""
    if reasoning.off(wanted):
        return {"enable_thinking": False}
    tokens = reasoning.budget(wanted, reasoning.ANTHROPIC_BUDGETS)
    return {"enable_thinking": True} | ({"thinking_budget": tokens} if tokens and tokens > 0 else {})


_WAYS: Mapping[str, Callable[[Reasoning], Body]] = {
    "effort": _effort,
    "adaptive": _effort,
    "switch": _switch,
    "budget": _budget,
}  # fmt: skip


def _write_reasoning(body: Body, wanted: Reasoning, aim: Aim, lost: Lost) -> None:
    way = _WAYS.get(aim.features.thinking or "effort")
    if way is not None:
        body |= way(wanted)
    elif not reasoning.off(wanted):
        lost.drop("reasoning")
