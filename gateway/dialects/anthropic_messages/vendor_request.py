"""The neutral form -> a request for Anthropic, or for a vendor that speaks as it does."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.dialects.anthropic_messages import vendor_turns
from gateway.dialects.anthropic_messages.vendor_schema import closed
from gateway.dialects.anthropic_messages.vendor_turns import Block, blank, text_block
from gateway.dialects.chat import reasoning
from gateway.dialects.chat.dialect import Aim
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import ChatRequest, Format, Tool, ToolCall
from gateway.dialects.chat.reasoning import ANTHROPIC_BUDGETS
from gateway.errors import BadRequest

LOSSES = {
    "seed": "dropped: answers cannot be made repeatable",
    "presence_penalty": "dropped: there are no penalties",
    "frequency_penalty": "dropped: there are no penalties",
    "logprobs": "refused: probabilities are not told",
    "format (any object)": "refused: a format needs a schema",
    "format (with a schema, at models without)": "refused: the model takes no schema",
    "format (objects with free keys)": "refused: schemas must name all keys",
    "tools (strict, objects with free keys)": "refused: schemas must name all keys",
    "messages (pictures)": "refused: in a form that the model does not take",
    "messages (detail of pictures)": "dropped: pictures are looked at as they are",
    "temperature (above 1)": "dropped: what exceeds 1",
    "temperature (with thinking)": "dropped: whoever thinks is not tuned",
    "top_p (below 0.95, with thinking)": "dropped: whoever thinks is not tuned",
    "top_p (with temperature)": "dropped: only one of the two is taken",
    "top_k (with thinking)": "dropped: whoever thinks is not tuned",
    "stop (blank)": "dropped: blank sequences are refused",
    "reasoning (with a forced call)": "dropped: whoever must call a tool cannot think before",
    "reasoning (with a turn to go on with)": "dropped: thoughts of a turn of calls must come back signed",
    "reasoning (max_output up to 1024)": "dropped: there is no room for the least budget",
    "reasoning (models without)": "dropped: the model does not think, or cannot be told to",
}

_LEAST_BUDGET = 1024
_MAX_TOKENS = 4096  # the field is required: what goes out where neither the client nor the model's features say more
_NO_PARAMETERS = {"type": "object", "properties": {}}
_DISABLED = {"thinking": {"type": "disabled"}}
_EFFORTS = {"minimal": "low"}  # the others are called the same

_encode = msgspec.json.Encoder().encode


def write(request: ChatRequest, aim: Aim, lost: Lost) -> bytes:
    max_tokens = request.max_output or aim.features.max_output or _MAX_TOKENS
    body = _prompt(request, aim, max_tokens, lost)
    body["max_tokens"] = max_tokens
    thinks = body.get("thinking", _DISABLED["thinking"]) != _DISABLED["thinking"]
    body |= _sampling(request, thinks, lost)
    if request.stop:
        sequences = [sequence for sequence in request.stop if not blank(sequence)]
        if len(sequences) < len(request.stop):
            lost.drop("stop")
        if sequences:
            body["stop_sequences"] = sequences
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    if request.stream:
        body["stream"] = True
    return encoded(body)


def question(request: ChatRequest, aim: Aim, lost: Lost) -> bytes:
    """For the number of tokens: what the model would read, and nothing about how it answers."""
    max_tokens = request.max_output or aim.features.max_output or _MAX_TOKENS
    return encoded(_prompt(request, aim, max_tokens, lost))


def encoded(body: dict[str, Any]) -> bytes:
    try:
        return _encode(body)
    except RecursionError as exc:
        raise BadRequest("the request is nested too deep") from exc


def _prompt(request: ChatRequest, aim: Aim, max_tokens: int, lost: Lost) -> dict[str, Any]:
    body: dict[str, Any] = {"model": aim.model}
    if system := [text_block(part.text) for part in request.system if not blank(part.text)]:
        body["system"] = system
    turns = body["messages"] = vendor_turns.turns(request.messages, aim, lost)
    body |= _tools(request, lost)
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    body |= _thinking(request, aim, max_tokens, forced or vendor_turns.unsigned(turns), lost)
    if request.format is not None:
        body.setdefault("output_config", {})["format"] = _format(request.format, aim, lost)
    return body


# -- tools -------------------------------------------------------------------------------------------------------------


def _tools(request: ChatRequest, lost: Lost) -> dict[str, Any]:
    choice = request.tool_choice
    if not request.tools:
        if choice is not None and choice.mode == "required":
            raise BadRequest("a tool must be called, but none is given", param="tools")
        return _tools_of_history(request)
    tools = request.tools
    chosen: Block | None = None
    if choice is not None:
        chosen = {"type": {"required": "any"}.get(choice.mode, choice.mode)}
        if choice.names and choice.mode == "required" and len(choice.names) == 1:
            chosen = {"type": "tool", "name": choice.names[0]}
        elif choice.names and choice.mode != "none":
            tools = tuple(tool for tool in tools if tool.name in choice.names)
        if not tools or not all(name in {tool.name for tool in tools} for name in choice.names):
            raise BadRequest("the tools to choose from are not among those given", param="tool_choice")
    if request.parallel_tools is False:
        chosen = chosen or {"type": "auto"}
        if chosen["type"] != "none":
            chosen["disable_parallel_tool_use"] = True
    return {"tools": [_tool(tool, lost) for tool in tools], **({"tool_choice": chosen} if chosen else {})}


def _tool(tool: Tool, lost: Lost) -> Block:
    parameters = tool.parameters
    if parameters is None:
        parameters = _NO_PARAMETERS
    elif "type" not in parameters:
        parameters = {"type": "object", **parameters}
    if tool.strict:
        parameters = closed(parameters, "tools", lost)
    written: Block = {"name": tool.name, "input_schema": parameters}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


def _tools_of_history(request: ChatRequest) -> dict[str, Any]:
    """Turns with calls are only taken where tools are given: those that were called are named, and closed."""
    parts = (part for message in request.messages for part in message.parts)
    called = dict.fromkeys(part.name for part in parts if isinstance(part, ToolCall))
    if not called:
        return {}
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in called]
    return {"tools": tools, "tool_choice": {"type": "none"}}


# -- how to answer -----------------------------------------------------------------------------------------------------


def _thinking(request: ChatRequest, aim: Aim, max_tokens: int, impossible: bool, lost: Lost) -> dict[str, Any]:
    wanted, style = request.reasoning, aim.features.thinking
    if wanted is None:
        return {}
    if reasoning.off(wanted):
        return dict(_DISABLED) if style != "none" else {}
    if style == "none":
        lost.drop("reasoning")
        return {}
    by_budget = style in ("budget", "switch")
    if impossible or (by_budget and max_tokens <= _LEAST_BUDGET):
        # Said aloud: newer models think unless they are told not to.
        lost.drop("reasoning")
        return dict(_DISABLED)
    if by_budget:
        tokens = reasoning.budget(wanted, ANTHROPIC_BUDGETS)
        tokens = ANTHROPIC_BUDGETS["medium"] if tokens is None or tokens < 0 else max(tokens, _LEAST_BUDGET)
        if tokens >= max_tokens:  # refused; and half of them are left for the answer
            tokens = max(_LEAST_BUDGET, max_tokens // 2)
        thinking: Block = {"type": "enabled", "budget_tokens": tokens}
    else:
        thinking = {"type": "adaptive"}
    if wanted.shown is not None:
        thinking["display"] = "summarized" if wanted.shown else "omitted"
    if by_budget or (effort := reasoning.effort(wanted)) is None:
        return {"thinking": thinking}
    return {"thinking": thinking, "output_config": {"effort": _EFFORTS.get(effort, effort)}}


def _sampling(request: ChatRequest, thinks: bool, lost: Lost) -> dict[str, Any]:
    """Only what the strictest model takes; the defaults mean nothing and may be left out."""
    sampling: dict[str, Any] = {}
    temperature, top_p = request.temperature, request.top_p
    if temperature is not None:
        temperature = min(temperature, 1)
        if thinks and temperature != 1:
            lost.drop("temperature")
        elif temperature != 1 or top_p in (None, 1):
            sampling["temperature"] = temperature
    if top_p is not None and top_p != 1:
        if "temperature" in sampling or (thinks and top_p < 0.95):
            lost.drop("top_p")
        else:
            sampling["top_p"] = top_p
    if request.top_k is not None:
        if thinks:
            lost.drop("top_k")
        else:
            sampling["top_k"] = request.top_k
    return sampling


def _format(wanted: Format, aim: Aim, lost: Lost) -> Block:
    if wanted.schema is None:
        raise lost.refuse("format", "there is no JSON without a schema; give one")
    if aim.features.json_schema is False:
        raise lost.refuse("format", "the model does not take a schema")
    schema = closed(wanted.schema, "format", lost)
    if wanted.description is not None and "description" not in schema:
        schema = {"description": wanted.description, **schema}
    return {"type": "json_schema", "schema": schema}
