"""Reads a Gemini request strictly: protobuf JSON, so camelCase and snake_case are one, and unknown names are errors."""

from __future__ import annotations

import base64
import re
from typing import Any

from gateway.sandbox import content
from gateway.sandbox.answer import Prompt, Tool, Wish
from gateway.sandbox.check import fits
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
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
PART = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult")
LEVELS = {"MINIMAL": 2, "LOW": 4, "MEDIUM": 8, "HIGH": 16, "XHIGH": 24}
FOREIGN_SIGNATURE = base64.b64encode(b"skip_thought_signature_validator").decode()
_SNAKE = re.compile(r"_([a-z])")
# Their keys are the caller's own and are not names of the protocol.
_OPAQUE = {"args", "response", "parameters", "parametersJsonSchema", "responseJsonSchema", "responseSchema", "labels"}


def invalid(message: str, kind: str = "invalid") -> Refusal:
    return Refusal(kind, message)


def camel(value: Any) -> Any:
    """The value with the protocol's names in camelCase."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {_SNAKE.sub(lambda m: m[1].upper(), key): item for key, item in value.items()}
    return {key: item if key in _OPAQUE else camel(item) for key, item in named.items()}


def known(value: Any, names: Any, path: str) -> JSON:
    if not isinstance(value, dict):
        raise invalid(f"Invalid value at '{path}': expected an object.", "type")
    for name in value:
        if name not in names:
            at = f" at '{path}'" if path else ""
            raise invalid(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.', "unknown")
    return value


def signature(name: str, vendor: str) -> str:
    """The thought signature of a function call."""
    return base64.b64encode(b"sandbox" + content.digest("thought", name, vendor, length=32).encode()).decode()


def _standard(text: str) -> str:
    return text.replace("-", "+").replace("_", "/")


class Reader:
    """The prompt of a request. `thoughtful` models refuse replayed calls without their signature."""

    def __init__(self, vendor: str, thoughtful: bool) -> None:
        self.vendor = vendor
        self.thoughtful = thoughtful
        self.prompt = Prompt()

    def read(self, body: JSON) -> Prompt:
        system = body.get("systemInstruction") or {}
        for part in system.get("parts") or []:
            self.prompt.text(part.get("text") or "")
        contents = body.get("contents")
        if isinstance(contents, dict):
            contents = [contents]
        if not contents:
            raise invalid("* GenerateContentRequest.contents: contents is not specified\n", "missing")
        calls: list[str] = []
        for i, turn in enumerate(contents):
            calls = self._turn(turn, i, calls)
        return self.prompt

    def _turn(self, turn: Any, i: int, calls: list[str]) -> list[str]:
        path = f"contents[{i}]"
        known(turn, ("role", "parts"), path)
        role = turn.get("role", "user")
        if role not in ("user", "model", "function"):
            raise invalid("Please use a valid role: user, model.")
        parts = turn.get("parts")
        if isinstance(parts, dict):
            parts = [parts]
        if not parts:
            raise invalid(
                f"* GenerateContentRequest.contents[{i}].parts: contents.parts must not be empty.\n", "missing"
            )
        self.prompt.tokens += 1
        said: list[str] = []
        called: list[str] = []
        answered = 0
        for k, part in enumerate(parts):
            where = f"{path}.parts[{k}]"
            kind = next((name for name in PART if name in part), None) if isinstance(part, dict) else None
            if kind is None:
                if isinstance(part, dict) and "thoughtSignature" in part:
                    continue
                raise invalid(
                    f"* GenerateContentRequest.{where}.data: required oneof field 'data' must have one initialized "
                    "field\n",
                    "missing",
                )
            if kind == "functionResponse":
                answered += 1
            self._part(part, kind, where, said, called)
        if calls and answered != len(calls) or answered and not calls:
            raise invalid(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn.",
                "history",
            )
        if role == "user":
            self.prompt.said = "".join(said) or self.prompt.said
            if not answered:
                self.prompt.result = None
        return called

    def _part(self, part: JSON, kind: str, path: str, said: list[str], called: list[str]) -> None:
        value = part[kind]
        if kind == "text":
            if not isinstance(value, str):
                raise invalid(f"Invalid value at '{path}.text' (TYPE_STRING), {value}", "type")
            self.prompt.text(value)
            if not part.get("thought"):
                said.append(value)
            return
        if not isinstance(value, dict):
            raise invalid(f"Invalid value at '{path}.{kind}'", "type")
        if kind == "functionCall":
            self._call(part, path, not called)
            called.append(str(value.get("name")))
        elif kind == "functionResponse":
            if not value.get("name"):
                raise invalid(
                    f"* GenerateContentRequest.{path}.function_response.name: Name cannot be empty.\n", "missing"
                )
            if not isinstance(value.get("response"), dict):
                raise invalid(
                    f"Invalid value at '{path}.function_response.response' (type.googleapis.com/google.protobuf."
                    "Struct)",
                    "type",
                )
            response = value["response"]
            text = response.get("result", response.get("output", response))
            self.prompt.result = text if isinstance(text, str) else content.spaced(text)
            self.prompt.text(self.prompt.result)
        elif kind in ("inlineData", "fileData"):
            self._media(value, kind, path)

    def _call(self, part: JSON, path: str, first: bool) -> None:
        call = part["functionCall"]
        if not call.get("name"):
            raise invalid(f"* GenerateContentRequest.{path}.function_call.name: Name cannot be empty.\n", "missing")
        self.prompt.text(content.spaced(call.get("args") or {}))
        given = part.get("thoughtSignature")
        # Of parallel calls only the first one carries the signature.
        if not (self.thoughtful and first):
            return
        if not given:
            raise invalid(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to "
                "work correctly, and missing thought_signature may lead to degraded model performance. Additional "
                f"data, function call `default_api:{call['name']}`.",
                "history",
            )
        if _standard(given) not in (signature(call["name"], self.vendor), FOREIGN_SIGNATURE):
            raise invalid("Thought signature is not valid.", "history")

    def _media(self, value: JSON, kind: str, path: str) -> None:
        mime = value.get("mimeType")
        if kind == "inlineData":
            try:
                base64.b64decode(_standard(value.get("data") or ""), validate=True)
            except ValueError:
                raise invalid(
                    f"Invalid value at '{path}.inline_data.data' (TYPE_BYTES), Base64 decoding failed", "type"
                ) from None
            if not mime:
                raise invalid(
                    f"* GenerateContentRequest.{path}.inline_data.mime_type: mimeType must not be empty.", "missing"
                )
        if str(mime).startswith("image/"):
            self.prompt.image()


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
    if len(config.get("stopSequences") or []) > 5:
        raise invalid(
            "* GenerateContentRequest.generation_config.stop_sequences: at most 5 stop sequences are allowed\n"
        )
    return config


def read_thinking(config: JSON, thoughtful: bool) -> tuple[int, bool]:
    """Tokens to think, and whether the thoughts are shown."""
    thinking = known(
        config.get("thinkingConfig") or {},
        ("includeThoughts", "thinkingBudget", "thinkingLevel"),
        "generation_config.thinking_config",
    )
    budget, level = thinking.get("thinkingBudget"), thinking.get("thinkingLevel")
    if budget is not None and level is not None:
        raise invalid("You can only set only one of thinking budget and thinking level.")
    if level is not None and (not thoughtful or str(level).upper() not in LEVELS):
        raise invalid(
            "Thinking level is not supported for this model."
            if not thoughtful
            else f"Invalid value at 'generation_config.thinking_config.thinking_level', \"{level}\""
        )
    shown = bool(thinking.get("includeThoughts"))
    if level is not None:
        return LEVELS[str(level).upper()], shown
    if budget is not None:
        return (0 if budget == 0 else LEVELS["MEDIUM"]), shown
    return (LEVELS["MEDIUM"] if shown else 0), shown


def read_wish(body: JSON, config: JSON, think: int) -> Wish:
    tools: list[Tool] = []
    for i, tool in enumerate(body.get("tools") or []):
        for k, one in enumerate(tool.get("functionDeclarations") or []):
            if not one.get("name"):
                raise invalid(
                    f"* GenerateContentRequest.tools[{i}].function_declarations[{k}].name: Invalid function name."
                )
            tools.append(Tool(one["name"], one.get("parametersJsonSchema") or one.get("parameters") or {}))
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mode, names = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames") or []
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        raise invalid(f"Invalid value at 'tool_config.function_calling_config.mode', \"{mode}\"")
    if names and mode not in ("ANY", "VALIDATED"):
        raise invalid("Function calling config is set without ANY mode but allowed_function_names is set.")
    if names:
        tools = [tool for tool in tools if tool.name in names]
    mime = config.get("responseMimeType", "text/plain")
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    if schema and mime not in ("application/json", "text/x.enum"):
        raise invalid(
            "* GenerateContentRequest.generation_config.response_schema: only allowed when response_mime_type is "
            "application/json\n"
        )
    if mime == "application/json" and not schema:
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    choice = {"ANY": "required", "NONE": "none"}.get(mode, "auto")
    return Wish(
        tools=tools,
        choice=choice,
        most=config.get("maxOutputTokens"),
        stops=list(config.get("stopSequences") or []),
        schema=schema,
        think=think,
    )


def read(body: JSON, vendor: str, thoughtful: bool) -> tuple[Prompt, Wish, JSON, bool]:
    """Prompt, wish, generation config, and whether thoughts are shown."""
    known(body, TOP, "")
    config = _config(body)
    think, shown = read_thinking(config, thoughtful)
    return Reader(vendor, thoughtful).read(body), read_wish(body, config, think), config, shown
