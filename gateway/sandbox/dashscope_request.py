"""Reads a native DashScope request as strictly as the vendor does: path, thinking, messages, tools."""

from __future__ import annotations

import re
from typing import Any

from gateway.sandbox import content
from gateway.sandbox.answer import Prompt, Wish
from gateway.sandbox.chat_request import read_messages, read_stops, read_tools
from gateway.sandbox.check import BOOL, INT, LIST, NUM, OBJ, STR, Field, Fields, an_object, check
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
TOP: Fields = {"model": Field(STR, required=True), "input": Field(OBJ, required=True), "parameters": Field(OBJ)}
PARAMETERS: Fields = {
    "result_format": Field(STR, choices=("text", "message")),
    "incremental_output": Field(BOOL),
    "temperature": Field(NUM, least=0, most=1.99),
    "top_p": Field(NUM, least=0, most=1),
    "top_k": Field(INT, least=0),
    "max_tokens": Field(INT, least=1),
    "seed": Field(INT, least=0),
    "stop": Field((str, list)),
    "tools": Field(LIST),
    "enable_thinking": Field(BOOL),
    "thinking_budget": Field(INT, least=1),
    "enable_search": Field(BOOL),
    "n": Field(INT, least=1, most=4),
    "repetition_penalty": Field(NUM, least=0),
}
# What serves pictures is behind the multimodal path and nowhere else; Qwen 3.5 and later are behind both.
_SEES = re.compile(r"vl\b|vl-|omni|audio|ocr|qvq")
_READS = re.compile(r"qwen|qwq|deepseek|glm")
_BOTH = re.compile(r"qwen(?:3\.[5-9]|[4-9])")
# Open models of Qwen 3 think unless they are told not to; others always do.
_THINKS_UNLESS = re.compile(r"qwen3-[\d.]+b(?:-a\d+b)?$")
_THINKS_ALWAYS = re.compile(r"qwq|qvq|qwen3.*-thinking")
_ANY_OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}}


def check_path(model: str, multimodal: bool) -> None:
    """Each model has one path."""
    if _BOTH.match(model):
        return
    sees = _SEES.search(model) is not None
    if not multimodal and sees or multimodal and not sees and _READS.match(model):
        raise Refusal("value", "url error, please check url\uff01")


def check_thinking(model: str, asked: bool | None, stream: bool) -> bool:
    """Whether the model thinks; where it does, it streams only."""
    if _THINKS_ALWAYS.match(model):
        if asked is False:
            raise Refusal("value", "The value of the enable_thinking parameter is restricted to True.")
        if not stream:
            raise Refusal(
                "value",
                "This model only support stream mode, please enable the stream parameter to access the model. ",
            )
        return True
    thinking = asked is True or asked is None and _THINKS_UNLESS.match(model) is not None
    if thinking and not stream:
        raise Refusal("value", "parameter.enable_thinking must be set to false for non-streaming calls")
    return thinking


def thinks_by_switch(model: str, thinking: bool) -> bool:
    return thinking and not _THINKS_ALWAYS.match(model)


def check_choice(choice: Any, thinking: bool) -> None:
    if choice == "required":
        raise Refusal("value", 'tool_choice is one of the strings that should be ["none", "auto"]', "tool_choice")
    if thinking and isinstance(choice, dict):
        raise Refusal(
            "value",
            "The tool_choice parameter does not support being set to required or object in thinking mode",
            "tool_choice",
        )


def read_prompt(body: JSON, multimodal: bool) -> Prompt:
    given = body["input"]
    if isinstance(given.get("prompt"), str) and not multimodal:
        return Prompt(said=given["prompt"], tokens=content.tokens(given["prompt"]))
    messages = given.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(
            "missing", "Required parameter(s) missing or invalid, please check the request parameters.", "messages"
        )
    return read_messages([_message(m, f"messages[{i}]", multimodal) for i, m in enumerate(messages)])


def _message(message: Any, path: str, multimodal: bool) -> JSON:
    """A native message in the words of the OpenAI dialect, whose rules are then the same."""
    given = an_object(message, path).get("content")
    if not isinstance(given, list):
        if multimodal and not isinstance(given, str):
            raise Refusal("type", "Input should be a valid list: input.messages.content", f"{path}.content")
        return dict(message)
    parts: list[JSON] = []
    for part in given:
        if not isinstance(part, dict) or not set(part) & {"text", "image", "audio", "video"}:
            raise Refusal("value", "Invalid content item: one of text, image, audio, video expected", f"{path}.content")
        if isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
        elif not multimodal:
            raise Refusal("type", "Input should be a valid string: input.messages.content", f"{path}.content")
        elif "image" in part:
            parts.append({"type": "image_url", "image_url": {"url": part["image"]}})
    return {**message, "content": parts}


def read_wish(body: JSON, thinking: bool) -> Wish:
    parameters = body.get("parameters") or {}
    tools = read_tools({"tools": parameters.get("tools")})
    choice = parameters.get("tool_choice") or "auto"
    check_choice(choice, thinking)
    if isinstance(choice, dict):
        choice = str((choice.get("function") or {}).get("name", "auto"))
    if choice not in ("auto", "none") and choice not in [tool.name for tool in tools]:
        raise Refusal("value", f"The tool '{choice}' of tool_choice is not in tools", "tool_choice")
    return Wish(
        tools=tools,
        choice=choice,
        parallel=parameters.get("parallel_tool_calls") is not False,
        most=parameters.get("max_tokens"),
        stops=read_stops({"stop": parameters.get("stop")}),
        think=8 if thinking else 0,
        schema=_schema(body, thinking),
    )


def _schema(body: JSON, thinking: bool) -> JSON | None:
    form = (body.get("parameters") or {}).get("response_format") or {"type": "text"}
    kinds = ("text", "json_object", "json_schema")
    check(form, {"type": Field(STR, required=True, choices=kinds)}, path="response_format.")
    if form["type"] == "text":
        return None
    if thinking:
        raise Refusal("value", "Json mode response is not supported when enable_thinking is true")
    if form["type"] == "json_schema":
        named = an_object(form.get("json_schema"), "response_format.json_schema")
        check(named, {"name": Field(STR, required=True), "schema": Field(OBJ, required=True)}, path="json_schema.")
        return dict(named["schema"])
    if "json" not in str(body["input"]).lower():
        raise Refusal(
            "value",
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
        )
    return _ANY_OBJECT
