"""MiniMax: requests written anew, answers read as those of OpenAI's dialect.

What differs in answers (an empty role, placeholders for usage, the whole answer once more at the end of a stream) other
vendors of that dialect do as well, one thing or another: its reader knows them all.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from gateway.dialects.chat.dialect import Aim, Sent
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import ChatRequest, Format, Tool, ToolChoice
from gateway.dialects.losses import Losses
from gateway.dialects.openai_chat import message_writer, request_writer
from gateway.dialects.openai_chat.request_writer import encode
from gateway.dialects.openai_chat.vendor import ChatVendor

_NO_NAME = re.compile(r"[^A-Za-z0-9_]")
_LEAST = 0.01  # of temperature and top_p: both must be above 0
_NO_SUCH = "dropped: the vendor has no such field"
_AUTO_ONLY = "refused: the vendor lets the model choose, or forbids all tools"

LOSSES: Losses = {
    "top_k": _NO_SUCH,
    "seed": _NO_SUCH,
    "presence_penalty": _NO_SUCH,
    "frequency_penalty": _NO_SUCH,
    "user": _NO_SUCH,
    "reasoning": "dropped: how much its models think cannot be tuned",
    "parallel_tools (one at a time)": _NO_SUCH,
    "logprobs": "refused: the vendor gives none",
    "stop": "refused: the vendor knows no stop sequences",
    "tool_choice (required, or one tool)": _AUTO_ONLY,
    "format (any object)": "refused: the vendor gives JSON by a schema only",
    "format (schemas)": "refused: the model gives no JSON by a schema",
    "messages (pictures)": "refused: the model does not take pictures in this form",
    "messages (calls without results)": "refused: every call must be answered, right behind its turn",
}


class MiniMaxVendor(ChatVendor):
    ORIGIN = "minimax.chat"
    LOSSES = LOSSES

    @property
    def EXTRAS(self) -> Collection[str]:  # noqa: N802
        return ()

    def write(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent:
        # Content must be there, and a string, even in turns that have calls only.
        body: dict[str, Any] = {
            "model": aim.model,
            "messages": message_writer.write(request, aim, lost, silence=""),
        }
        if request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if request.max_output is not None:
            body["max_completion_tokens"] = request.max_output
        for name in ("temperature", "top_p"):
            if (value := getattr(request, name)) is not None:
                body[name] = min(max(value, _LEAST), 1)
        if request.logprobs is not None:
            raise lost.refuse("logprobs", "the vendor gives none")
        if request.tools or request.tool_choice is not None:
            _write_tools(body, request, lost)
        if request.format is not None:
            body["response_format"] = _format(request.format, aim, lost)
        return Sent(encode(body))


def _write_tools(body: dict[str, Any], request: ChatRequest, lost: Lost) -> None:
    choice = request.tool_choice or ToolChoice("auto")
    if choice.mode == "required":
        raise lost.refuse("tool_choice", "the vendor lets the model choose, or forbids all tools")
    if allowed := request_writer.tools_allowed(request.tools, choice):
        body["tools"] = [_tool(each) for each in allowed]
        if choice.mode == "none":
            body["tool_choice"] = "none"
    if request.parallel_tools is False:
        lost.drop("parallel_tools")


def _tool(each: Tool) -> dict[str, Any]:
    parameters = each.parameters or {"type": "object", "properties": {}}
    function = {"name": each.name, "description": each.description or "", "parameters": parameters}
    return {"type": "function", "function": function}


def _format(wanted: Format, aim: Aim, lost: Lost) -> dict[str, Any]:
    if wanted.schema is None:
        raise lost.refuse("format", "the vendor gives JSON by a schema only")
    if aim.features.json_schema is False:
        raise lost.refuse("format", "the model gives no JSON by a schema")
    found = request_writer.schema_format(wanted)
    schema = found["json_schema"]
    schema.pop("strict", None)  # its answers keep to the schema anyway
    schema["name"] = _NO_NAME.sub("_", schema["name"])
    return found


VENDOR = MiniMaxVendor()
