"""What OpenAI refuses beyond the tables: fields that a model does not have, names, strict schemas, who may say what.

Its vendors of the same dialect are more lenient, so these rules are its own.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.sandbox import schemas
from gateway.sandbox.chat_request import NAME
from gateway.sandbox.check import STR, Field, an_object, check
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
_REASONS = re.compile(r"o\d|gpt-[5-9](?!.*-chat)")
_SPEAKS_ONLY = re.compile(r"gpt-(?:3|4)|chatgpt")
# Later models of the fifth generation take sampling again where they do not reason.
_CALM = re.compile(r"gpt-5\.\d|gpt-[6-9]")
_SAMPLING = ("temperature", "top_p")
_UNSAMPLED = ("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "stop")
_TEXT: dict[str, tuple[str, ...]] = {"text": ("type", "text", "prompt_cache_breakpoint")}
_REFUSAL: dict[str, tuple[str, ...]] = {"refusal": ("type", "refusal")}
PARTS = {
    "system": _TEXT,
    "developer": _TEXT,
    "tool": _TEXT,
    "assistant": _TEXT | _REFUSAL,
    "user": _TEXT
    | {
        "image_url": ("type", "image_url", "prompt_cache_breakpoint"),
        "input_audio": ("type", "input_audio", "prompt_cache_breakpoint"),
        "file": ("type", "file", "prompt_cache_breakpoint"),
    },
}
_MOST_ID = 40


def reasons(model: str) -> bool:
    return _REASONS.match(model) is not None


def _unsupported(name: str, more: str = "") -> Refusal:
    return Refusal("unsupported", f"Unsupported parameter: '{name}' is not supported with this model.{more}", name)


def check_model(body: JSON, model: str, effort: Any, effort_name: str) -> None:
    """What this model does not have."""
    if effort not in (None, "none") and _SPEAKS_ONLY.match(model):
        raise _unsupported(effort_name)
    if not reasons(model) or _CALM.match(model) and effort == "none":
        return
    if body.get("max_tokens") is not None:
        raise _unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
    for name in _SAMPLING:
        if body.get(name) not in (None, 1):
            raise Refusal(
                "value",
                f"Unsupported value: '{name}' does not support {body[name]} with this model. Only the "
                "default (1) value is supported.",
                name,
            )
    for name in _UNSAMPLED:
        if body.get(name) not in (None, 0, False):
            raise _unsupported(name)


def check_chat(body: JSON, model: str) -> None:
    check_model(body, model, body.get("reasoning_effort"), "reasoning_effort")
    if body.get("stream_options") and not body.get("stream"):
        raise Refusal(
            "value", "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
        )
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise Refusal("value", "'top_logprobs' is only allowed when 'logprobs' is enabled.", "top_logprobs")
    for i, message in enumerate(body["messages"]):
        _message(an_object(message, f"messages[{i}]"), f"messages[{i}]")
    tools = body.get("tools")
    if tools is not None and not tools:
        raise Refusal("value", "Invalid 'tools': empty array. Expected an array with minimum length 1.", "tools")
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not tools:
            raise Refusal(
                "value", f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", name
            )
    for i, tool in enumerate(tools or []):
        path = f"tools[{i}]"
        kinds = ("function", "custom")
        check(an_object(tool, path), {"type": Field(STR, required=True, choices=kinds)}, path=f"{path}.")
        if tool["type"] == "function":
            check_function(an_object(tool.get("function"), f"{path}.function"), f"{path}.function")
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        check_form(an_object(form.get("json_schema"), "response_format.json_schema"), "response_format.json_schema")


def check_function(function: JSON, path: str) -> None:
    name, parameters = str(function.get("name")), function.get("parameters")
    if not NAME.fullmatch(name):
        raise _misnamed(f"{path}.name")
    if parameters:
        schemas.openai(parameters, function.get("strict") is True, f"function '{name}'", f"{path}.parameters")


def check_form(form: JSON, path: str) -> None:
    """A schema that the answer must fit, with its name."""
    name = form.get("name")
    if not isinstance(name, str):
        raise Refusal("missing", f"Missing required parameter: '{path}.name'.", f"{path}.name")
    if not schemas.NAME.fullmatch(name):
        raise _misnamed(f"{path}.name")
    if not isinstance(form.get("schema"), dict):
        raise Refusal("missing", f"Missing required parameter: '{path}.schema'.", f"{path}.schema")
    schemas.openai(form["schema"], form.get("strict") is True, f"response_format '{name}'", f"{path}.schema")


def _misnamed(path: str) -> Refusal:
    return Refusal(
        "value",
        f"Invalid '{path}': string does not match pattern. Expected a string that matches the pattern "
        "'^[a-zA-Z0-9_-]+$'.",
        path,
    )


def _message(message: JSON, path: str) -> None:
    """Unknown fields of a message are ignored: clients send answers back with what they made of them. Of a part not."""
    role = str(message.get("role"))
    ids: set[str] = set()
    for k, call in enumerate(message.get("tool_calls") or []):
        where = f"{path}.tool_calls[{k}].id"
        ident = str(call.get("id"))
        if len(ident) > _MOST_ID:
            raise Refusal(
                "value",
                f"Invalid '{where}': string too long. Expected a string with maximum length {_MOST_ID}, but got a "
                f"string with length {len(ident)} instead.",
                where,
            )
        if ident in ids:
            raise Refusal("value", f"Duplicate value for 'tool_call_id' of '{ident}' in {path}", where)
        ids.add(ident)
    parts = message.get("content")
    for k, part in enumerate(parts if isinstance(parts, list) else []):
        _part(part, role, f"{path}.content[{k}]")
    if parts == []:
        raise Refusal("value", f"Invalid '{path}.content': empty array.", f"{path}.content")


def _part(part: Any, role: str, path: str) -> None:
    kind = str(an_object(part, path).get("type"))
    allowed = PARTS.get(role, _TEXT)
    if kind == "image_url" and kind not in allowed:
        raise Refusal(
            "value",
            f"Invalid '{path.partition('.')[0]}'. Image URLs are only allowed for messages with role 'user', but this "
            f"message with role '{role}' contains an image URL.",
            path,
        )
    if kind not in allowed:
        raise Refusal(
            "value",
            f"Invalid value: '{kind}'. Supported values are: {', '.join(map(repr, allowed))}.",
            f"{path}.type",
        )
    known(part, allowed[kind], path)
    if kind == "image_url":
        picture = an_object(part.get("image_url"), f"{path}.image_url")
        details = ("auto", "low", "high", "original")
        check(
            picture,
            {"url": Field(STR, required=True), "detail": Field(STR, choices=details)},
            True,
            f"{path}.image_url.",
        )


def known(value: JSON, names: Any, path: str) -> None:
    for name in value:
        if names is not None and name not in names:
            raise Refusal("unknown", f"Unknown parameter: '{path}.{name}'.", f"{path}.{name}")
