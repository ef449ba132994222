"""Reads the conversation of a Gemini request strictly.

It is protobuf JSON: camelCase and snake_case are one, and unknown names are errors.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from gateway.sandbox import content
from gateway.sandbox.answer import Prompt
from gateway.sandbox.gemini_models import Model
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
PART = (
    "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
    "toolCall", "toolResponse",
)  # fmt: skip
PARTS = (*PART, "thought", "thoughtSignature", "mediaResolution", "videoMetadata", "partMetadata")
FIELDS: dict[str, Any] = {
    "functionCall": ("id", "name", "args", "partialArgs", "willContinue"),
    "functionResponse": ("id", "name", "response", "parts", "willContinue", "scheduling"),
    "inlineData": ("mimeType", "data", "displayName"),
    "fileData": ("mimeType", "fileUri", "displayName"),
}
PICTURES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")
FILES = re.compile(r"https://generativelanguage\.googleapis\.com/.*files/|gs://|https://(?:www\.)?youtu")
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
        if names is not None and name not in names:
            at = f" at '{path}'" if path else ""
            raise invalid(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.', "unknown")
    return value


def signature(name: str, owner: str) -> str:
    """The thought signature of a function call, for one account."""
    return content.sealed(content.digest("thought", name), owner)


def standard(text: str) -> str:
    return text.replace("-", "+").replace("_", "/")


class Reader:
    """The prompt of a request. `thoughtful` models refuse replayed calls without their signature.

    That holds for the calls behind the last thing that the user said: older ones are not looked at. Of the calls of one
    turn only the first must be signed; a signature that is there must be this account's.
    """

    def __init__(self, owner: str, model: Model) -> None:
        self.owner = owner
        self.model = model
        self.prompt = Prompt()
        self._calls: list[str] = []  # names of those that wait for their results
        self._side = ""  # who spoke last
        self._watched = False
        self._late: str | None = None  # a signature that stands behind its call, in a part of its own

    def read(self, body: JSON) -> Prompt:
        system = known(body.get("systemInstruction") or {}, ("role", "parts"), "system_instruction")
        for part in _some(system.get("parts")):
            self.prompt.text(known(part, PARTS, "system_instruction.parts").get("text") or "")
        contents = _some(body.get("contents"))
        if not contents:
            raise invalid("* GenerateContentRequest.contents: contents is not specified\n", "missing")
        last = max((i for i, turn in enumerate(contents) if _speaks(turn)), default=0)
        for i, turn in enumerate(contents):
            self._watched = i > last
            self._turn(turn, i)
        return self.prompt

    def _turn(self, turn: Any, i: int) -> None:
        path = f"contents[{i}]"
        known(turn, ("role", "parts"), path)
        role = turn.get("role", "user")
        if role not in ("user", "model", "function"):
            raise invalid("Please use a valid role: user, model.")
        parts = _some(turn.get("parts"))
        if not parts:
            raise invalid(
                f"* GenerateContentRequest.contents[{i}].parts: contents.parts must not be empty.\n", "missing"
            )
        self.prompt.tokens += 1
        said: list[str] = []
        called: list[str] = []
        answered: list[str] = []
        alone = (part for part in parts if isinstance(part, dict) and "functionCall" not in part)
        self._late = next((part["thoughtSignature"] for part in alone if "thoughtSignature" in part), None)
        for k, part in enumerate(parts):
            self._part(part, f"{path}.parts[{k}]", said, called, answered)
        self._order(role, called, answered)
        self._calls, self._side = called, "model" if role == "model" else "user"
        if role != "model":
            self.prompt.said = "".join(said) or self.prompt.said
            if not answered:
                self.prompt.result = None

    def _order(self, role: str, called: list[str], answered: list[str]) -> None:
        if called and (role != "model" or self._side != "user"):
            raise invalid(
                "Please ensure that function call turn comes immediately after a user turn or after a function "
                "response turn.",
                "history",
            )
        if answered and not self._calls:
            raise invalid(
                "Please ensure that function response turn comes immediately after a function call turn.", "history"
            )
        if len(answered) != len(self._calls) or sorted(answered) != sorted(self._calls):
            raise invalid(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn.",
                "history",
            )

    def _part(self, part: Any, path: str, said: list[str], called: list[str], answered: list[str]) -> None:
        known(part, PARTS, path)
        kinds = [name for name in PART if name in part]
        if len(kinds) > 1:
            raise invalid(f"Invalid value at '{path}' (oneof), oneof field 'data' is set twice: '{kinds[1]}'")
        if not kinds or kinds == ["text"] and part["text"] == "" and "thoughtSignature" not in part:
            if "thoughtSignature" in part:
                return
            raise invalid(
                f"* GenerateContentRequest.{path}.data: required oneof field 'data' must have one initialized field\n",
                "missing",
            )
        kind = kinds[0]
        value = part[kind]
        if kind == "text":
            if not isinstance(value, str):
                raise invalid(f"Invalid value at '{path}.text' (TYPE_STRING), {value}", "type")
            self.prompt.text(value)
            if not part.get("thought"):
                said.append(value)
            return
        known(value, FIELDS.get(kind), f"{path}.{kind}")
        if kind == "functionCall":
            self._call(part, path, not called)
            called.append(str(value.get("name")))
        elif kind == "functionResponse":
            answered.append(self._response(value, path))
        elif kind in ("inlineData", "fileData"):
            self._media(value, kind, path)

    def _response(self, value: JSON, path: str) -> str:
        if not value.get("name"):
            raise invalid(f"* GenerateContentRequest.{path}.function_response.name: Name cannot be empty.\n", "missing")
        if not isinstance(value.get("response"), dict):
            raise invalid(
                f"Invalid value at '{path}.function_response.response' (type.googleapis.com/google.protobuf.Struct)",
                "type",
            )
        for k, part in enumerate(value.get("parts") or []):
            if not self.model.levels:
                raise invalid("Multimodal function responses are not supported for this model.")
            where = f"{path}.function_response.parts[{k}]"
            for kind in ("inlineData", "fileData"):
                if kind in known(part, ("inlineData", "fileData"), where):
                    self._media(known(part[kind], FIELDS[kind], where), kind, where)
        response = value["response"]
        text = response.get("result", response.get("output", response))
        self.prompt.result = text if isinstance(text, str) else content.spaced(text)
        self.prompt.text(self.prompt.result)
        return str(value["name"])

    def _call(self, part: JSON, path: str, first: bool) -> None:
        call = part["functionCall"]
        if not call.get("name"):
            raise invalid(f"* GenerateContentRequest.{path}.function_call.name: Name cannot be empty.\n", "missing")
        if not isinstance(call.get("args") or {}, dict):
            raise invalid(
                f"Invalid value at '{path}.function_call.args' (type.googleapis.com/google.protobuf.Struct)", "type"
            )
        self.prompt.text(content.spaced(call.get("args") or {}))
        given = part.get("thoughtSignature") or (self._late if first else None)
        if not (self.model.levels and self._watched):
            return
        if not given:
            if first:
                raise invalid(
                    "Function call is missing a thought_signature in functionCall parts. This is required for tools to "
                    "work correctly, and missing thought_signature may lead to degraded model performance. Additional "
                    f"data, function call `default_api:{call['name']}`.",
                    "history",
                )
            return
        if standard(given) not in (signature(call["name"], self.owner), FOREIGN_SIGNATURE):
            raise invalid("Thought signature is not valid.", "history")

    def _media(self, value: JSON, kind: str, path: str) -> None:
        mime = value.get("mimeType")
        if kind == "inlineData":
            try:
                data = base64.b64decode(standard(value.get("data") or ""), validate=True)
            except ValueError:
                raise invalid(
                    f"Invalid value at '{path}.inline_data.data' (TYPE_BYTES), Base64 decoding failed", "type"
                ) from None
            if not mime:
                raise invalid(
                    f"* GenerateContentRequest.{path}.inline_data.mime_type: mimeType must not be empty.", "missing"
                )
            if not data:
                raise invalid("Unable to process input image. Please retry or report in the developer forum.")
        elif not FILES.match(str(value.get("fileUri"))) and not (
            self.model.fetches and str(value.get("fileUri")).startswith(("http://", "https://"))
        ):
            raise invalid(f"Invalid or unsupported file uri: {value.get('fileUri')}")
        if str(mime).startswith("image/") and mime not in PICTURES:
            raise invalid(f"Unsupported MIME type: {mime}")
        if mime is None or str(mime).startswith("image/"):
            self.prompt.image()


def _some(value: Any) -> list[Any]:
    """A repeated field: protobuf's JSON also takes a single value."""
    return [value] if isinstance(value, dict) else list(value or [])


def _speaks(turn: Any) -> bool:
    """Whether the user says something new here: not only results."""
    if not isinstance(turn, dict) or turn.get("role", "user") != "user":
        return False
    return any(isinstance(part, dict) and "functionResponse" not in part for part in _some(turn.get("parts")))
