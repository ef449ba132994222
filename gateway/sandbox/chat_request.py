"""Reads a chat request of the OpenAI dialect strictly: the table of fields, the rules about messages and tools."""

from __future__ import annotations

import base64
import re
from typing import Any

from gateway.sandbox import media
from gateway.sandbox.answer import Prompt, Tool, Wish
from gateway.sandbox.check import (
    ANY,
    BOOL,
    INT,
    LIST,
    NUM,
    OBJ,
    STR,
    Field,
    Fields,
    an_object,
    check,
    each,
)
from gateway.sandbox.vendor import Refusal

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PARTS = ("text", "image_url", "input_audio", "file", "refusal", "video_url")
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
NAME = re.compile(r"[a-zA-Z0-9_-]+")
EFFORT = {"none": 0, "minimal": 2, "low": 4, "medium": 8, "high": 16, "xhigh": 24, "max": 32}

# What all vendors of this dialect agree upon.
COMMON: Fields = {
    "model": Field(STR, required=True),
    "messages": Field(LIST, required=True, least=1),
    "temperature": Field(NUM, least=0, most=2),
    "top_p": Field(NUM, least=0, most=1),
    "n": Field(INT, least=1, most=128),
    "stream": Field(BOOL),
    "stream_options": Field(OBJ),
    "stop": Field((str, list), most=4),
    "max_tokens": Field(INT, least=1),
    "max_completion_tokens": Field(INT, least=1),
    "presence_penalty": Field(NUM, least=-2, most=2),
    "frequency_penalty": Field(NUM, least=-2, most=2),
    "logit_bias": Field(OBJ),
    "logprobs": Field(BOOL),
    "top_logprobs": Field(INT, least=0, most=20),
    "seed": Field(INT),
    "user": Field(STR),
    "tools": Field(LIST, most=128),
    "tool_choice": Field((str, dict)),
    "parallel_tool_calls": Field(BOOL),
    "response_format": Field(OBJ),
    "reasoning_effort": Field(STR, choices=tuple(EFFORT)),
}
# What only OpenAI knows; it refuses all else.
OPENAI: Fields = COMMON | dict.fromkeys(
    (
        "functions",
        "function_call",
        "modalities",
        "audio",
        "prediction",
        "web_search_options",
        "store",
        "metadata",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "moderation",
        "verbosity",
        "safety_identifier",
    ),
    ANY,
)


def read_messages(messages: list[Any], roles: tuple[str, ...] = ROLES) -> Prompt:
    """The prompt, or the Refusal of the first message that is wrong."""
    prompt = Prompt()
    open_calls: dict[str, int] = {}
    for i, message in enumerate(messages):
        path = f"messages[{i}]"
        check(an_object(message, path), {"role": Field(STR, required=True, choices=roles)}, path=f"{path}.")
        role = message["role"]
        prompt.tokens += 1
        if role in ("tool", "function"):
            _tool_message(message, path, open_calls, prompt)
            continue
        if open_calls:
            _unanswered(open_calls)
        if role == "assistant":
            open_calls = _assistant(message, path, prompt)
            continue
        text = _content(message.get("content"), path, prompt)
        if role == "user":
            prompt.said, prompt.result = text, None
    if open_calls:
        _unanswered(open_calls)
    return prompt


def _tool_message(message: dict[str, Any], path: str, open_calls: dict[str, int], prompt: Prompt) -> None:
    name = message.get("tool_call_id") if message["role"] == "tool" else message.get("name")
    if not isinstance(name, str):
        key = "tool_call_id" if message["role"] == "tool" else "name"
        raise Refusal("missing", f"Missing required parameter: '{path}.{key}'.", f"{path}.{key}")
    if message["role"] == "tool" and name not in open_calls:
        raise Refusal(
            "history",
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
            "message with 'tool_calls'.",
            f"{path}.role",
        )
    open_calls.pop(name, None)
    # Several results of one turn: the last one is spoken about.
    prompt.result = _content(message.get("content"), path, prompt)


def _unanswered(open_calls: dict[str, int]) -> None:
    raise Refusal(
        "history",
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        "'tool_call_id'. The following tool_call_ids did not have response messages: "
        f"{', '.join(open_calls)}",
        "messages",
    )


def _assistant(message: dict[str, Any], path: str, prompt: Prompt) -> dict[str, int]:
    calls = message.get("tool_calls") or []
    if message.get("content") is not None:
        _content(message["content"], path, prompt)
    elif not calls and not message.get("refusal") and not message.get("function_call") and not message.get("audio"):
        raise Refusal("type", f"Invalid value for 'content': expected a string, got null at {path}.", f"{path}.content")
    open_calls: dict[str, int] = {}
    for k, call in enumerate(calls):
        where = f"{path}.tool_calls[{k}]"
        check(an_object(call, where), {"id": Field(STR, required=True), "type": Field(STR)}, path=f"{where}.")
        if call.get("type", "function") == "function":
            function = an_object(call.get("function"), f"{where}.function")
            check(
                function,
                {"name": Field(STR, required=True), "arguments": Field(STR, required=True)},
                path=f"{where}.function.",
            )
            prompt.text(function["arguments"])
        open_calls[call["id"]] = k
    return open_calls


def _content(value: Any, path: str, prompt: Prompt) -> str:
    if isinstance(value, str):
        prompt.text(value)
        return value
    if not isinstance(value, list):
        got = "null" if value is None else type(value).__name__
        raise Refusal(
            "type",
            f"Invalid type for '{path}.content': expected one of a string or array of objects, but got {got} instead.",
            f"{path}.content",
        )
    texts: list[str] = []
    each(value, f"{path}.content", lambda part, where: texts.append(_part(part, where, prompt)))
    return "".join(texts)


def _part(part: Any, path: str, prompt: Prompt) -> str:
    check(an_object(part, path), {"type": Field(STR, required=True, choices=PARTS)}, path=f"{path}.")
    kind = part["type"]
    if kind in ("text", "refusal"):
        check(part, {kind: Field(STR, required=True)}, path=f"{path}.")
        prompt.text(part[kind])
        return str(part[kind])
    if kind == "image_url":
        # The bare string is not OpenAI's, but known at several vendors.
        url = part.get("image_url")
        url = url.get("url") if isinstance(url, dict) else url
        check_picture(url, f"{path}.image_url.url")
        prompt.image()
    elif not isinstance(part.get(kind), dict):
        raise Refusal("missing", f"Missing required parameter: '{path}.{kind}'.", f"{path}.{kind}")
    return ""


def check_picture(url: Any, path: str) -> None:
    """A web address, or a data URL of a picture that is one."""
    if not isinstance(url, str) or not url.startswith(("http://", "https://", "data:image/")):
        raise Refusal("value", f"Invalid '{path}'. Expected a valid URL, but got a value with an invalid format.", path)
    if not url.startswith("data:"):
        return
    head, _, data = url.partition(",")
    kind = head.removeprefix("data:").removesuffix(";base64")
    try:
        picture = base64.b64decode(data, validate=True)
    except ValueError:
        picture = b""
    if not head.endswith(";base64") or not picture:
        raise Refusal("value", f"Invalid '{path}'. Expected a base64-encoded data URL with an image MIME type.", path)
    if kind not in PICTURES or media.kind_of(picture) not in (None, kind):
        raise Refusal(
            "value",
            "You uploaded an unsupported image. Please make sure your image has of one the following formats: "
            "['png', 'jpeg', 'gif', 'webp'].",
            path,
        )


def read_tools(body: dict[str, Any]) -> list[Tool]:
    found: list[Tool] = []
    for i, tool in enumerate(body.get("tools") or []):
        path = f"tools[{i}]"
        check(an_object(tool, path), {"type": Field(STR, required=True)}, path=f"{path}.")
        if tool["type"] != "function":
            continue
        function = an_object(tool.get("function"), f"{path}.function")
        check(
            function,
            {"name": Field(STR, required=True, least=1, most=64), "parameters": Field(OBJ), "description": Field(STR)},
            path=f"{path}.function.",
        )
        if not NAME.fullmatch(function["name"]):
            raise Refusal(
                "value",
                f"Invalid '{path}.function.name': string does not match pattern. Expected a string that matches the "
                "pattern '^[a-zA-Z0-9_-]+$'.",
                f"{path}.function.name",
            )
        found.append(Tool(function["name"], function.get("parameters") or {}))
    return found


def read_choice(body: dict[str, Any], tools: list[Tool]) -> str:
    choice = body.get("tool_choice", "auto") or "auto"
    if isinstance(choice, dict):
        name = str((choice.get("function") or {}).get("name", ""))
        if choice.get("type") == "allowed_tools":
            return str((choice.get("allowed_tools") or {}).get("mode", "auto"))
        if name not in [tool.name for tool in tools]:
            raise Refusal("value", f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
        return name
    if choice not in ("auto", "none", "required"):
        raise Refusal(
            "value", f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.", "tool_choice"
        )
    if not tools and choice == "required":
        raise Refusal(
            "value",
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            "tool_choice",
        )
    return str(choice)


def read_stops(body: dict[str, Any]) -> list[str]:
    stop = body.get("stop") or []
    if isinstance(stop, str):
        return [stop]
    if not all(isinstance(one, str) for one in stop):
        raise Refusal("type", "Invalid type for 'stop': expected an array of strings.", "stop")
    return list(stop)


def read_schema(body: dict[str, Any]) -> dict[str, Any] | None:
    wanted = body.get("response_format") or {"type": "text"}
    check(
        wanted,
        {"type": Field(STR, required=True, choices=("text", "json_object", "json_schema"))},
        path="response_format.",
    )
    if wanted["type"] == "json_object":
        if "json" not in str(body.get("messages", "")).lower():
            raise Refusal(
                "value",
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
                "messages",
            )
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    if wanted["type"] == "json_schema":
        schema = an_object(wanted.get("json_schema"), "response_format.json_schema")
        check(schema, {"name": Field(STR, required=True), "schema": Field(OBJ)}, path="response_format.json_schema.")
        return dict(schema.get("schema") or {"type": "object"})
    return None


def read_wish(body: dict[str, Any], think: int) -> Wish:
    tools = read_tools(body)
    return Wish(
        tools=tools,
        choice=read_choice(body, tools),
        parallel=body.get("parallel_tool_calls") is not False,
        most=body.get("max_completion_tokens") or body.get("max_tokens"),
        stops=read_stops(body),
        schema=read_schema(body),
        think=think,
    )
