"""Reads a request of the Responses API strictly: fields, input items, tools."""

from __future__ import annotations

from typing import Any

from gateway.sandbox.answer import Prompt, Tool, Wish
from gateway.sandbox.chat_request import EFFORT
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
)
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
FIELDS: Fields = {
    "model": Field(STR, required=True),
    "input": Field((str, list), required=True),
    "instructions": Field(STR),
    "previous_response_id": Field(STR),
    "store": Field(BOOL),
    "stream": Field(BOOL),
    "stream_options": Field(OBJ),
    "max_output_tokens": Field(INT, least=16),
    "max_tool_calls": Field(INT, least=1),
    "temperature": Field(NUM, least=0, most=2),
    "top_p": Field(NUM, least=0, most=1),
    "top_logprobs": Field(INT, least=0, most=20),
    "truncation": Field(STR, choices=("auto", "disabled")),
    "reasoning": Field(OBJ),
    "text": Field(OBJ),
    "tools": Field(LIST, most=128),
    "tool_choice": Field((str, dict)),
    "parallel_tool_calls": Field(BOOL),
    "include": Field(LIST),
    "metadata": Field(OBJ),
    "user": Field(STR),
} | dict.fromkeys(
    (
        "conversation",
        "service_tier",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "background",
        "safety_identifier",
        "context_management",
        "moderation",
    ),
    ANY,
)
# Ark's own, on top.
ARK = FIELDS | dict.fromkeys(("thinking", "caching", "expire_at", "session"), ANY)
PARTS = {"input_text": "text", "output_text": "text", "refusal": "refusal", "summary_text": "text", "text": "text"}
MEDIA = ("input_image", "input_file", "input_audio", "input_video")


def read_input(body: JSON) -> Prompt:
    """The prompt; a string is one user message."""
    prompt = Prompt()
    prompt.text(body.get("instructions") or "")
    items = body["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    called: set[str] = set()
    answered: set[str] = set()
    for i, item in enumerate(items):
        path = f"input[{i}]"
        kind = an_object(item, path).get("type", "message")
        if kind == "message":
            _message(item, path, prompt)
        elif kind == "function_call":
            check(
                item,
                {
                    "call_id": Field(STR, required=True),
                    "name": Field(STR, required=True),
                    "arguments": Field(STR, required=True),
                },
                path=f"{path}.",
            )
            called.add(item["call_id"])
            prompt.text(item["arguments"])
        elif kind == "function_call_output":
            check(
                item,
                {"call_id": Field(STR, required=True), "output": Field((str, list), required=True)},
                path=f"{path}.",
            )
            if item["call_id"] not in called and not body.get("previous_response_id"):
                raise Refusal(
                    "history", f"No tool call found for function call output with call_id {item['call_id']}.", "input"
                )
            answered.add(item["call_id"])
            output = item["output"]
            prompt.result = output if isinstance(output, str) else _parts(output, f"{path}.output", prompt)
            prompt.text(prompt.result if isinstance(output, str) else "")
        elif kind == "reasoning":
            check(item, {"summary": Field(LIST, required=True)}, path=f"{path}.")
        elif not isinstance(kind, str):
            raise Refusal("type", f"Invalid type for '{path}.type': expected a string.", f"{path}.type")
    if called - answered:
        raise Refusal("history", f"No tool output found for function call {sorted(called - answered)[0]}.", "input")
    return prompt


def _message(item: JSON, path: str, prompt: Prompt) -> None:
    check(
        item,
        {
            "role": Field(STR, required=True, choices=("user", "system", "developer", "assistant")),
            "content": Field((str, list), required=True),
        },
        path=f"{path}.",
    )
    prompt.tokens += 1
    text = item["content"]
    if isinstance(text, str):
        prompt.text(text)
    else:
        text = _parts(text, f"{path}.content", prompt)
    if item["role"] == "user":
        prompt.said, prompt.result = text, None


def _parts(parts: list[Any], path: str, prompt: Prompt) -> str:
    text = ""
    for k, part in enumerate(parts):
        where = f"{path}[{k}]"
        check(an_object(part, where), {"type": Field(STR, required=True, choices=(*PARTS, *MEDIA))}, path=f"{where}.")
        kind = part["type"]
        if kind in PARTS:
            check(part, {PARTS[kind]: Field(STR, required=True)}, path=f"{where}.")
            prompt.text(part[PARTS[kind]])
            text += part[PARTS[kind]]
        elif kind == "input_image":
            if not isinstance(part.get("image_url") or part.get("file_id"), str):
                raise Refusal("missing", f"Missing required parameter: '{where}.image_url'.", f"{where}.image_url")
            prompt.image()
    return text


def read_wish(body: JSON) -> Wish:
    tools: list[Tool] = []
    for i, tool in enumerate(body.get("tools") or []):
        path = f"tools[{i}]"
        check(an_object(tool, path), {"type": Field(STR, required=True)}, path=f"{path}.")
        if tool["type"] == "function":
            check(tool, {"name": Field(STR, required=True), "parameters": Field(OBJ)}, path=f"{path}.")
            tools.append(Tool(tool["name"], tool.get("parameters") or {}))
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        choice = choice.get("name") or choice.get("mode") or "auto"
    if choice not in ("auto", "none", "required") and choice not in [tool.name for tool in tools]:
        raise Refusal("value", f"Tool choice '{choice}' not found in 'tools' parameter.", "tool_choice")
    form = (body.get("text") or {}).get("format") or {"type": "text"}
    schema = None
    if form.get("type") == "json_schema":
        check(form, {"name": Field(STR, required=True), "schema": Field(OBJ, required=True)}, path="text.format.")
        schema = form["schema"]
    elif form.get("type") == "json_object":
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    reasoning = body.get("reasoning") or {}
    check(reasoning, {"effort": Field(STR, choices=tuple(EFFORT))}, path="reasoning.")
    thinking = (body.get("thinking") or {}).get("type") == "enabled"
    return Wish(
        tools=tools,
        choice=choice,
        parallel=body.get("parallel_tool_calls") is not False,
        most=body.get("max_output_tokens"),
        schema=schema,
        think=EFFORT[reasoning.get("effort") or ("medium" if thinking else "none")],
    )
