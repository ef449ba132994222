"""What a Messages request wants of the answer, held against what the model can do: thinking, tools, output forms."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from gateway.sandbox import schemas
from gateway.sandbox.answer import Tool, Wish
from gateway.sandbox.anthropic_request import JSON, Turn, check, invalid
from gateway.sandbox.check import ANY, BOOL, INT, LIST, OBJ, STR, Field, Fields

EFFORT = {"low": 4, "medium": 8, "high": 16, "xhigh": 24, "max": 32}
THINKING: dict[str, Fields] = {
    "enabled": {"type": Field(STR), "budget_tokens": Field(INT, required=True, least=1024), "display": Field(STR)},
    "adaptive": {"type": Field(STR), "display": Field(STR)},
    "disabled": {"type": Field(STR)},
    "between_tools": {"type": Field(STR)},
}
TOOL: Fields = {
    "name": Field(STR, required=True),
    "description": Field(STR),
    "input_schema": Field(OBJ, required=True),
    "type": Field(STR),
    "strict": Field(BOOL),
    "defer_loading": Field(BOOL),
    "eager_input_streaming": Field(BOOL),
    "allowed_callers": Field(LIST),
    "input_examples": Field(LIST),
    "cache_control": ANY,
}
CHOICES = {"auto": "auto", "any": "required", "none": "none", "tool": ""}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


class Model(NamedTuple):
    """What a model can do. `thinking`: the types of thinking that it takes beside `disabled`."""

    most: int = 1 << 20
    thinking: tuple[str, ...] = ("enabled", "adaptive", "between_tools")
    effort: bool = True
    formats: bool = True


_BUDGET, _ADAPTIVE = ("enabled",), ("adaptive", "between_tools")
# The first row that is found in a name counts; of others nothing is known, and all is taken.
MODELS: tuple[tuple[str, Model], ...] = (
    ("claude-3-7", Model(64_000, _BUDGET, False, False)),
    ("claude-3-5", Model(8192, (), False, False)),
    ("claude-(?:[123]|instant)", Model(4096, (), False, False)),
    ("claude-opus-4-1", Model(32_000, _BUDGET, False)),
    ("claude-opus-4-5", Model(64_000, _BUDGET)),
    ("claude-[a-z]+-4-5", Model(64_000, _BUDGET, False)),
    ("claude-[a-z]+-4-6", Model(128_000)),
    ("claude-[a-z]+-4-[78]|claude-opus-5|claude-(?:fable|mythos)", Model(128_000, _ADAPTIVE)),
    ("claude-opus-4", Model(32_000, _BUDGET, False, False)),
    ("claude-[a-z]+-4", Model(64_000, _BUDGET, False, False)),
    ("claude-", Model(128_000)),
)


def model_of(name: str) -> Model:
    return next((model for pattern, model in MODELS if re.search(pattern, name)), Model())


def expect_thinking(body: JSON, turns: list[Turn]) -> None:
    """With a budget, the assistant turn that called the tools must come back with its thinking in front."""
    if (body.get("thinking") or {}).get("type") != "enabled":
        return
    asked = [turn for turn in turns if turn.role == "assistant"]
    if not asked or turns[-1] is asked[-1] or not asked[-1].blocks:
        return
    kinds = [block["type"] for block, _ in asked[-1].blocks]
    if "tool_use" in kinds and "thinking" not in kinds[0]:
        raise invalid(
            f"messages.{asked[-1].first}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{kinds[0]}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block "
            "(preceeding the lastmost set of `tool_use` and `tool_result` blocks).",
            "history",
        )


def read_thinking(body: JSON, model: Model, name: str) -> int:
    """How many tokens to think, checked against the rules of `thinking`."""
    thinking = body.get("thinking") or {"type": "disabled"}
    kind = thinking.get("type")
    if kind not in THINKING:
        raise invalid(
            f"thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'disabled', "
            "'enabled', 'adaptive'"
        )
    check(thinking, THINKING[kind], f"thinking.{kind}.")
    if kind != "disabled" and kind not in model.thinking:
        raise invalid(f"{kind} thinking is not supported on this model" if model.thinking else
                      f"'{name}' does not support thinking.")  # fmt: skip
    if kind == "enabled" and "max_tokens" in body and thinking["budget_tokens"] >= body["max_tokens"]:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    effort = (body.get("output_config") or {}).get("effort")
    if effort is not None and effort not in EFFORT:
        raise invalid("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
    if effort is not None and not model.effort:
        raise invalid("This model does not support the effort parameter.")
    if kind not in ("enabled", "adaptive"):
        return 0
    if body.get("temperature") not in (None, 1):
        raise invalid("`temperature` may only be set to 1 when thinking is enabled.")
    if body.get("top_k") is not None:
        raise invalid("`top_k` must be unset when thinking is enabled.")
    if (body.get("top_p") or 1) < 0.95:
        raise invalid("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    return EFFORT[effort or "medium"]


def _tools(body: JSON) -> list[Tool]:
    tools: list[Tool] = []
    for i, tool in enumerate(body.get("tools") or []):
        path = f"tools.{i}."
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise invalid(f"{path}name: Field required")
        if (tool.get("type") or "custom") != "custom":
            continue
        check(tool, TOOL, f"{path}custom.")
        if not _NAME.fullmatch(tool["name"]):
            raise invalid(f"{path}custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        schema = tool["input_schema"]
        if schema.get("type") != "object":
            raise invalid(f"{path}custom.input_schema.type: Input should be 'object'")
        if any(word in schema for word in ("oneOf", "allOf", "anyOf")):
            raise invalid(
                f"{path}custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level"
            )
        if tool.get("strict"):
            schemas.anthropic(schema, f"{path}custom.input_schema")
        tools.append(Tool(tool["name"], schema))
    if len({tool.name for tool in tools}) < len(tools):
        raise invalid("tools: Tool names must be unique.")
    return tools


def _choice(body: JSON, tools: list[Tool]) -> str:
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = choice.get("type")
    if kind not in CHOICES:
        raise invalid(
            f"tool_choice: Input tag '{kind}' found using 'type' does not match any of the expected "
            "tags: 'auto', 'any', 'tool', 'none'"
        )
    known: Fields = {"type": Field(STR)}
    if kind != "none":
        known["disable_parallel_tool_use"] = Field(BOOL)
    if kind == "tool":
        known["name"] = Field(STR, required=True)
    check(choice, known, f"tool_choice.{kind}.")
    if kind == "tool" and choice["name"] not in [tool.name for tool in tools]:
        raise invalid(f"Tool '{choice['name']}' not found in provided tools")
    if body.get("tool_choice") and not body.get("tools"):
        raise invalid("tool_choice may only be specified while providing tools.")
    return CHOICES[kind] or str(choice["name"])


def _schema(body: JSON, model: Model) -> Any:
    config = body.get("output_config") or {}
    check(config, {"effort": Field(STR), "format": Field(OBJ)}, "output_config.")
    form = config.get("format")
    if not form:
        return None
    if form.get("type") != "json_schema":
        raise invalid("output_config.format.type: Input should be 'json_schema'")
    check(form, {"type": Field(STR), "schema": Field(OBJ, required=True)}, "output_config.format.")
    if not model.formats:
        raise invalid("This model does not support structured outputs.")
    schemas.anthropic(form["schema"], "output_config.format.schema")
    return form["schema"]


def read_wish(body: JSON, name: str) -> Wish:
    model = model_of(name)
    if (body.get("max_tokens") or 0) > model.most:
        raise invalid(
            f"max_tokens: {body['max_tokens']} > {model.most}, which is the maximum allowed number of output tokens "
            f"for {name}"
        )
    tools = _tools(body)
    stops = body.get("stop_sequences") or []
    if any(not isinstance(stop, str) or not stop.strip() for stop in stops):
        raise invalid("stop_sequences: each stop sequence must contain non-whitespace")
    check(body.get("metadata") or {}, {"user_id": Field(STR)}, "metadata.")
    return Wish(
        tools=tools,
        choice=_choice(body, tools),
        parallel=not (body.get("tool_choice") or {}).get("disable_parallel_tool_use"),
        most=body.get("max_tokens"),
        stops=list(stops),
        schema=_schema(body, model),
        think=read_thinking(body, model, name),
    )
