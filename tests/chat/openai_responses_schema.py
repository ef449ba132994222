"""Whether a request is a legal one of the Responses API: by the official SDK's types, and by what the vendor checks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from openai.types.responses import (
    EasyInputMessageParam,
    FunctionToolParam,
    ResponseFunctionToolCallParam,
    ResponseOutputMessageParam,
    ResponseReasoningItemParam,
)
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from openai.types.responses.response_input_item_param import FunctionCallOutput
from pydantic import TypeAdapter

_ITEMS = {
    "function_call": ResponseFunctionToolCallParam,
    "function_call_output": FunctionCallOutput,
    "reasoning": ResponseReasoningItemParam,
}
# The vendor takes items and pictures without these, which its types ask for.
_GIVEN = {"id": "x_1", "status": "completed"}
_SHOWN = {"detail": "auto"}


def check(body: dict[str, Any], stream: bool) -> None:
    body = dict(body)
    assert body.get("stream", False) is stream
    assert body["store"] is False
    assert body.pop("thinking", {"type": "enabled"}) in ({"type": "enabled"}, {"type": "disabled"})  # Ark's
    items, tools = body.pop("input"), body.pop("tools", [])
    legal(ResponseCreateParamsStreaming if stream else ResponseCreateParamsNonStreaming, body)
    for tool in tools:
        legal(FunctionToolParam, tool)
    for item in items:
        _check_item(item)
    _check_order(items)
    names = [tool["name"] for tool in tools]
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping):
        chosen = [choice] if choice["type"] == "function" else choice["tools"]
        assert {tool["name"] for tool in chosen} <= set(names)
    if "top_logprobs" in body:
        assert "message.output_text.logprobs" in body["include"]


def legal(kind: Any, value: Any) -> None:
    """Raises unless the value is one of the type, with nothing besides."""
    assert _materialised(_adapter(kind).validate_python(value, strict=True)) == value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _materialised(value: Any) -> Any:
    """Iterables are checked only when they are walked through."""
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, Mapping):
        return {name: _materialised(each) for name, each in value.items()}
    return [_materialised(each) for each in value]


def _check_item(item: dict[str, Any]) -> None:
    if item["type"] != "message":
        legal(_ITEMS[item["type"]], {"id": "rs_1", **item} if item["type"] == "reasoning" else item)
    elif item["role"] == "assistant" and isinstance(item["content"], list):
        legal(ResponseOutputMessageParam, {**_GIVEN, **item})
    else:
        content = item["content"]
        if isinstance(content, list):
            content = [_SHOWN | part if part["type"] == "input_image" else part for part in content]
        legal(EasyInputMessageParam, {**item, "content": content})


def _check_order(items: list[dict[str, Any]]) -> None:
    """Calls come before their results, each has one; something of the same turn follows a reasoning item."""
    open_calls: list[str] = []
    for item, after in zip(items, [*items[1:], {}], strict=True):
        if item["type"] == "function_call":
            open_calls.append(item["call_id"])
        elif item["type"] == "function_call_output":
            open_calls.remove(item["call_id"])
        elif item["type"] == "reasoning":
            assert item["encrypted_content"]
            assert after.get("type") in ("reasoning", "function_call") or after.get("role") == "assistant"
    assert not open_calls
