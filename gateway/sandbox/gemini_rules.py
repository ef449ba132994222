"""What a Gemini request wants of the answer, held against what its model can do: numbers, thinking, tools, JSON."""

from __future__ import annotations

import re
from typing import Any

from gateway.sandbox import schemas
from gateway.sandbox.answer import Prompt, Tool, Wish
from gateway.sandbox.check import fits
from gateway.sandbox.gemini_models import Model
from gateway.sandbox.gemini_request import JSON, Reader, invalid, known

TOP = {
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "labels",
    "model",
    "serviceTier",
    "store",
}
# Names in generationConfig: lowest and highest value, or None for what is not a number.
CONFIG: dict[str, tuple[float, float] | None] = {
    "temperature": (0, 2),
    "topP": (0, 1),
    "topK": (1, 1000),
    "candidateCount": (1, 8),
    "maxOutputTokens": (1, 1 << 20),
    "seed": (-1 << 31, 1 << 31),
    "presencePenalty": (-2, 2),
    "frequencyPenalty": (-2, 2),
    "logprobs": (0, 20),
} | dict.fromkeys(
    (
        "stopSequences",
        "responseLogprobs",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "responseModalities",
        "speechConfig",
        "imageConfig",
        "mediaResolution",
        "thinkingConfig",
        "enableEnhancedCivicAnswers",
        "responseFormat",
    )
)
LEVELS = {"MINIMAL": 2, "LOW": 4, "MEDIUM": 8, "HIGH": 16, "XHIGH": 24}
# The subset of OpenAPI that `responseSchema` and `parameters` are written in.
_WORDS = (
    "additionalProperties defs ref anyOf default description enum example format items maxItems maxLength "
    "maxProperties maximum minItems minLength minProperties minimum nullable pattern properties propertyOrdering "
    "required title type"
)
SCHEMA = frozenset(_WORDS.split())
_DECLARATION = (
    "name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior",
)  # fmt: skip
_TOOLS = (
    "functionDeclarations", "googleSearch", "googleSearchRetrieval", "urlContext", "codeExecution", "googleMaps",
    "fileSearch", "computerUse", "mcpServers",
)  # fmt: skip
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_MODES = ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED")
_ANY_OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}}


def _config(body: JSON) -> JSON:
    config = known(body.get("generationConfig") or {}, CONFIG, "generation_config")
    for name, limits in CONFIG.items():
        value = config.get(name)
        if value is None or limits is None:
            continue
        if not fits(value, (int, float)):
            raise invalid(f"Invalid value at 'generation_config.{name}' (TYPE_FLOAT), \"{value}\"", "type")
        if not limits[0] <= value <= limits[1]:
            raise invalid(
                f"* GenerateContentRequest.generation_config.{name}: {name} must be in the range "
                f"[{limits[0]}, {limits[1]}].\n",
                "value",
            )
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        raise invalid("* GenerateContentRequest.generation_config.logprobs: requires response_logprobs to be true.\n")
    if len(config.get("stopSequences") or []) > 5:
        raise invalid(
            "* GenerateContentRequest.generation_config.stop_sequences: at most 5 stop sequences are allowed\n"
        )
    return config


def read_thinking(config: JSON, model: Model) -> tuple[int, bool]:
    """Tokens to think, and whether the thoughts are shown."""
    thinking = known(
        config.get("thinkingConfig") or {},
        ("includeThoughts", "thinkingBudget", "thinkingLevel"),
        "generation_config.thinking_config",
    )
    budget, level = thinking.get("thinkingBudget"), thinking.get("thinkingLevel")
    shown = bool(thinking.get("includeThoughts"))
    if thinking and not (model.budgets or model.levels):
        raise invalid("Thinking is not enabled for this model")
    if budget is not None and level is not None:
        raise invalid("You can only set only one of thinking budget and thinking level.")
    if level is not None:
        return LEVELS[_level(level, model)], shown
    if budget is not None:
        _check_budget(budget, model)
        return (0 if budget == 0 else LEVELS["MEDIUM"]), shown
    return (LEVELS["MEDIUM"] if shown else 0), shown


def _level(level: Any, model: Model) -> str:
    if not model.levels:
        raise invalid("Thinking level is not supported for this model.")
    name = str(level).upper()
    if name not in LEVELS:
        raise invalid(f"Invalid value at 'generation_config.thinking_config.thinking_level', \"{level}\"")
    if name not in model.levels:
        raise invalid(f"Thinking level {name} is not supported for this model. Please retry with other thinking level.")
    return name


def _check_budget(budget: Any, model: Model) -> None:
    if not fits(budget, (int,)):
        raise invalid(f"Invalid value at 'generation_config.thinking_config.thinking_budget' (TYPE_INT32), {budget}")
    if budget == 0 and not model.sleeps:
        raise invalid("Budget 0 is invalid. This model only works in thinking mode.")
    low, high = model.budgets or (0, 0)
    if budget not in (-1, 0) and not low <= budget <= high:
        raise invalid(f"The thinking budget {budget} is invalid. Please choose a value between {low} and {high}.")


def _declarations(body: JSON) -> list[Tool]:
    tools: list[Tool] = []
    for i, tool in enumerate(body.get("tools") or []):
        for k, one in enumerate(known(tool, _TOOLS, f"tools[{i}]").get("functionDeclarations") or []):
            path = f"tools[{i}].function_declarations[{k}]"
            known(one, _DECLARATION, path)
            if not _NAME.fullmatch(one.get("name") or ""):
                raise invalid(
                    f"* GenerateContentRequest.{path}.name: Invalid function name. Must start with a letter or an "
                    "underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or "
                    "dashes (-), with a maximum length of 128."
                )
            if one.get("parameters") and one.get("parametersJsonSchema"):
                raise invalid(f"* GenerateContentRequest.{path}: parameters and parameters_json_schema are exclusive.")
            schemas.gemini(one.get("parameters") or {}, SCHEMA, f"{path}.parameters")
            tools.append(Tool(one["name"], one.get("parametersJsonSchema") or one.get("parameters") or {}))
    if len({tool.name for tool in tools}) < len(tools):
        raise invalid("Duplicate function declaration found.")
    return tools


def _calling(body: JSON, tools: list[Tool]) -> tuple[str, list[Tool]]:
    """How tools are chosen, and among which."""
    outer = known(body.get("toolConfig") or {}, ("functionCallingConfig", "retrievalConfig"), "tool_config")
    path = "tool_config.function_calling_config"
    calling = known(outer.get("functionCallingConfig") or {}, ("mode", "allowedFunctionNames"), path)
    mode, names = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames") or []
    if mode not in _MODES:
        raise invalid(f"Invalid value at '{path}.mode', \"{mode}\"")
    if names and mode not in ("ANY", "VALIDATED"):
        raise invalid("Function calling config is set without ANY mode but allowed_function_names is set.")
    if set(names) - {tool.name for tool in tools}:
        raise invalid(f"{path}.allowed_function_names contains names that are not declared.")
    if mode == "ANY" and not tools:
        raise invalid("Function calling config is set without function_declarations.")
    chosen = [tool for tool in tools if tool.name in names] if names else tools
    return {"ANY": "required", "NONE": "none"}.get(mode, "auto"), chosen


def _schema(config: JSON, tools: list[Tool], model: Model) -> Any:
    mime = config.get("responseMimeType", "text/plain")
    if mime not in ("text/plain", "application/json", "text/x.enum"):
        raise invalid(f"* GenerateContentRequest.generation_config.response_mime_type: allowed mimetypes are "
                      f"`text/plain`, `application/json`, `text/x.enum`; got {mime}\n")  # fmt: skip
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    if config.get("responseJsonSchema") and config.get("responseSchema"):
        raise invalid("response_schema and response_json_schema are exclusive.")
    schemas.gemini(config.get("responseSchema") or {}, SCHEMA, "generation_config.response_schema")
    if schema and mime == "text/plain":
        raise invalid(
            "* GenerateContentRequest.generation_config.response_schema: only allowed when response_mime_type is "
            "application/json\n"
        )
    if mime == "application/json" and tools and not model.shapes:
        raise invalid("Function calling with a response mime type: 'application/json' is unsupported")
    return _ANY_OBJECT if mime == "application/json" and not schema else schema


def read_wish(body: JSON, config: JSON, think: int, model: Model) -> Wish:
    tools = _declarations(body)
    choice, chosen = _calling(body, tools)
    return Wish(
        tools=chosen,
        choice=choice,
        most=config.get("maxOutputTokens"),
        stops=list(config.get("stopSequences") or []),
        schema=_schema(config, tools, model),
        think=think,
    )


def read(body: JSON, owner: str, model: Model) -> tuple[Prompt, Wish, JSON, bool]:
    """Prompt, wish, generation config, and whether thoughts are shown."""
    known(body, TOP, "")
    config = _config(body)
    think, shown = read_thinking(config, model)
    return Reader(owner, model).read(body), read_wish(body, config, think, model), config, shown
