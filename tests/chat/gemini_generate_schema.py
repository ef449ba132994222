"""Whether a body is a request that Gemini takes: by the official SDK's types, and by rules that types do not show."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from google.genai import types
from pydantic import BaseModel, ConfigDict

_KINDS = {"text", "inlineData", "fileData", "functionCall", "functionResponse"}
_NAME = re.compile(r"[A-Za-z_][\w.:-]{0,127}")
# Objects whose names are the caller's own.
_FREE = {"args", "response", "parametersJsonSchema", "responseJsonSchema"}
_LEVELS = {"MINIMAL", "LOW", "MEDIUM", "HIGH"}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    contents: list[types.Content]
    systemInstruction: types.Content | None = None  # noqa: N815
    tools: list[types.Tool] | None = None
    toolConfig: types.ToolConfig | None = None  # noqa: N815
    generationConfig: types.GenerationConfig | None = None  # noqa: N815


class _Count(_Body):
    model: str


def check(body: dict[str, Any], stream: bool = False) -> None:
    """Raises AssertionError or ValidationError for what Gemini would refuse; streams are asked for by path."""
    _Body.model_validate_json(json.dumps(body))
    _names(body)
    for content in body["contents"]:
        assert content["role"] in ("user", "model")
        assert content["parts"], "a content without parts"
        for part in content["parts"]:
            _part(part)
    roles = [content["role"] for content in body["contents"]]
    assert all(a != b for a, b in zip(roles, roles[1:], strict=False)), "neighbours of one role"
    _calls(body["contents"])
    if (system := body.get("systemInstruction")) is not None:
        assert system["parts"]
        assert all(part["text"] for part in system["parts"])
    _tools(body)
    _config(body.get("generationConfig", {}))


def check_count(body: dict[str, Any]) -> None:
    """The same for a question for the number of tokens."""
    assert body.keys() == {"generateContentRequest"}
    asked = dict(body["generateContentRequest"])
    _Count.model_validate_json(json.dumps(asked))
    assert asked.pop("model").startswith("models/")
    check(asked)


def _names(value: Any) -> None:
    """All of the protocol's names are in camelCase, and nothing is null."""
    if isinstance(value, list):
        for item in value:
            _names(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            assert "_" not in name, name
            assert item is not None, name
            if name not in _FREE:
                _names(item)


def _part(part: dict[str, Any]) -> None:
    kinds = _KINDS & part.keys()
    assert len(kinds) == 1, part
    assert part.keys() <= kinds | {"thought", "thoughtSignature"}, part
    assert part.get("text") != "" or part.get("thoughtSignature"), "an empty text"
    if "thoughtSignature" in part:
        base64.b64decode(part["thoughtSignature"], validate=True)
    if blob := part.get("inlineData"):
        assert blob["mimeType"].startswith("image/")
        assert base64.b64decode(blob["data"], validate=True)
    if file := part.get("fileData"):
        assert file["fileUri"].startswith(("http://", "https://"))
    for kind, value in (("functionCall", "args"), ("functionResponse", "response")):
        if named := part.get(kind):
            assert named["name"]
            assert isinstance(named[value], dict)


def _calls(contents: list[dict[str, Any]]) -> None:
    """Each turn of calls is answered at once, completely and in order; nothing else is answered."""
    open_calls: list[tuple[str, str]] = []
    for content in contents:
        answers = _named(content, "functionResponse")
        assert answers == open_calls, (answers, open_calls)
        open_calls = _named(content, "functionCall")
        assert not open_calls or content["role"] == "model"
        others = [part for part in content["parts"] if "functionResponse" not in part]
        assert content["parts"][len(answers) :] == others, "results come first"


def _named(content: dict[str, Any], kind: str) -> list[tuple[str, str]]:
    return [(part[kind]["name"], part[kind].get("id")) for part in content["parts"] if kind in part]


def _tools(body: dict[str, Any]) -> None:
    names: list[str] = []
    for tool in body.get("tools", []):
        assert tool.keys() == {"functionDeclarations"}
        assert tool["functionDeclarations"]
        for declared in tool["functionDeclarations"]:
            assert _NAME.fullmatch(declared["name"]), declared["name"]
            assert not {"parameters", "parametersJsonSchema"} <= declared.keys()
            names.append(declared["name"])
    assert len(names) == len(set(names)), "a function is declared twice"
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    assert calling.get("mode", "AUTO") in ("AUTO", "ANY", "NONE")
    if "allowedFunctionNames" in calling:
        assert calling["mode"] == "ANY"
        assert set(calling["allowedFunctionNames"]) <= set(names)


def _config(config: dict[str, Any]) -> None:
    assert len(config.get("stopSequences", [])) <= 5
    assert -(2**31) <= config.get("seed", 0) < 2**31
    assert 0 <= config.get("temperature", 0) <= 2
    assert 0 <= config.get("topP", 0) <= 1
    assert config.get("maxOutputTokens", 1) >= 1
    if "responseJsonSchema" in config:
        assert config["responseMimeType"] == "application/json"
    assert "logprobs" not in config or config["responseLogprobs"]
    thinking = config.get("thinkingConfig", {})
    assert not {"thinkingBudget", "thinkingLevel"} <= thinking.keys(), "only one of budget and level"
    assert thinking.get("thinkingLevel", "LOW") in _LEVELS
    assert -1 <= thinking.get("thinkingBudget", 0) <= 24576
