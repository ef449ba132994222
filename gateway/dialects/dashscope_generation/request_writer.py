"""The neutral form -> a request of DashScope's."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.dialects.chat import reasoning
from gateway.dialects.chat.dialect import Aim, Sent
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import ChatRequest, Image, Message, ToolChoice, ToolResult
from gateway.dialects.openai_chat import message_writer
from gateway.dialects.openai_chat.request_writer import json_format, named, tool, tools_allowed

Body = dict[str, Any]

EXTRAS = ("repetition_penalty",)
_encode = msgspec.json.Encoder().encode
_STREAM = (b"x-dashscope-sse", b"X-DashScope-SSE: enable\r\n")
_MULTIMODAL_PATH = ("/text-generation/", "/multimodal-generation/")
# The models that have the other path, by their names at the vendor.
_MULTIMODAL = re.compile(
    r"""(?:^|[-/])(?:vl|ocr|omni)(?:-|$)  # qwen-vl-max, qwen2.5-vl-7b-instruct, qwen3-vl-plus, qwen3-omni-flash
    | ^qvq  # qvq-max
    | ^qwen(?:3\.[5-9]|[4-9][\d.]*)-(?!max|coder)  # qwen3.5-plus, qwen3.6-flash, qwen3.5-27b
    """,
    re.VERBOSE,
)
_HOTTEST = 1.99  # temperature must be below 2
_LEAST_TOP_P = 0.01  # must be above 0
_LARGEST_SEED = 2**31 - 1
_MOST_ALTERNATIVES = 5
_SAME = ("top_k", "presence_penalty")


def write(request: ChatRequest, aim: Aim, lost: Lost) -> Sent:
    messages = message_writer.write(request, aim, lost, silence="")
    parted = bool(_MULTIMODAL.search(aim.model.lower())) or any(map(_shows, request.messages))
    for message in messages:
        if message.pop("name", None) is not None:
            lost.drop("messages.name")
        if parted:
            message["content"] = _parts(message["content"])
    body = {"model": aim.model, "input": {"messages": messages}, "parameters": _parameters(request, aim, lost)}
    return Sent(
        _encode(body),
        swap=_MULTIMODAL_PATH if parted else ("", ""),
        lines=(_STREAM,) if request.stream else (),
    )


def _shows(message: Message) -> bool:
    """Whether there is a picture in a message, or in what a tool gave."""
    results = [part.parts for part in message.parts if isinstance(part, ToolResult)]
    return any(isinstance(part, Image) for parts in (message.parts, *results) for part in parts)


def _parts(content: str | list[Body]) -> list[Body]:
    if isinstance(content, str):
        return [{"text": content}]
    return [{"text": part["text"]} if "text" in part else {"image": part["image_url"]["url"]} for part in content]


def _parameters(request: ChatRequest, aim: Aim, lost: Lost) -> Body:
    body: Body = {"result_format": "message"}
    if request.stream:
        body["incremental_output"] = True
    if request.max_output is not None:
        body["max_tokens"] = request.max_output
    if request.temperature is not None:
        body["temperature"] = min(request.temperature, _HOTTEST)
    if request.top_p is not None:
        body["top_p"] = max(request.top_p, _LEAST_TOP_P)
    for name in _SAME:
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if request.seed is not None:
        if 0 <= request.seed <= _LARGEST_SEED:
            body["seed"] = request.seed
        else:
            lost.drop("seed")
    if request.stop:
        body["stop"] = request.stop
    if request.logprobs is not None:
        if request.logprobs > _MOST_ALTERNATIVES:
            raise lost.refuse("logprobs", f"the vendor gives {_MOST_ALTERNATIVES} alternatives at most")
        body |= {"logprobs": True} | ({"top_logprobs": request.logprobs} if request.logprobs else {})
    _write_tools(body, request, lost)
    if request.format is not None:
        body["response_format"] = json_format(request.format, aim, lost)
    _write_reasoning(body, request, aim, lost)
    _write_extras(body, request, lost)
    return body


def _write_tools(body: Body, request: ChatRequest, lost: Lost) -> None:
    choice = request.tool_choice or ToolChoice("auto")
    allowed = tools_allowed(request.tools, choice)
    if not allowed:
        if choice.names or choice.mode == "required":
            raise lost.refuse("tool_choice", "there is no tool to choose")
        return
    if named(choice):
        body["tool_choice"] = {"type": "function", "function": {"name": choice.names[0]}}
    elif choice.mode == "required":
        raise lost.refuse("tool_choice", "the vendor lets the model choose, or names one tool")
    elif request.tool_choice is not None:
        body["tool_choice"] = choice.mode
    body["tools"] = [tool(each) for each in allowed]
    if request.parallel_tools is not None:
        body["parallel_tool_calls"] = request.parallel_tools


def _write_reasoning(body: Body, request: ChatRequest, aim: Aim, lost: Lost) -> None:
    wanted, way = request.reasoning, aim.features.thinking
    on = wanted is not None and not reasoning.off(wanted)
    if on and (way == "none" or not request.stream):
        lost.drop("reasoning")
    if way == "none":
        return
    if not request.stream:
        if wanted is not None or way is not None:  # models that may think refuse a call that leaves it open
            body["enable_thinking"] = False
    elif wanted is not None:
        body["enable_thinking"] = on
        tokens = reasoning.budget(wanted, reasoning.ANTHROPIC_BUDGETS)
        if way != "switch" and tokens is not None and tokens > 0:
            body["thinking_budget"] = tokens


def _write_extras(body: Body, request: ChatRequest, lost: Lost) -> None:
    for name in EXTRAS:
        value = request.extras.get(name)
        if isinstance(value, int | float) and value > 0 and value is not True:
            body[name] = value
        elif value is not None:
            lost.drop(name)
