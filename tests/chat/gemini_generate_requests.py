"""Requests as Gemini's clients send them, of all that the converters know."""

from __future__ import annotations

import base64
import re
from typing import Any

from hypothesis import strategies as st

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGPg4joBAAD+AN36k7cYAAAAAElFTkSuQmCC"

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=12)
_NAMES = ("weather", "get_time", "look-up")
_SIGNATURES = st.binary(min_size=1, max_size=12).map(lambda data: base64.b64encode(data).decode())
_VALUES = st.one_of(_WORDS, st.integers(-1000, 1000), st.booleans(), st.lists(_WORDS, max_size=2))
_FREE = {"args", "response", "parametersJsonSchema", "responseJsonSchema", "properties", "labels"}


def requests() -> st.SearchStrategy[dict[str, Any]]:
    """Bodies of generateContent; the model is in the path."""
    return _bodies()


@st.composite
def _bodies(draw: st.DrawFn) -> dict[str, Any]:
    tools = draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=3))
    body: dict[str, Any] = {"contents": draw(_contents(tools))}
    if draw(st.booleans()):
        body["systemInstruction"] = draw(_systems())
    if tools:
        body["tools"] = [{"functionDeclarations": [draw(_declared(name)) for name in tools]}]
        if draw(st.booleans()):
            body["toolConfig"] = {"functionCallingConfig": draw(_calling(tools))}
    if draw(st.booleans()):
        body["generationConfig"] = draw(_configs())
    body |= draw(st.fixed_dictionaries({}, optional=_REST))
    return _snake(body) if draw(st.booleans()) else body


_REST: dict[str, st.SearchStrategy[Any]] = {
    "safetySettings": st.just([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]),
    "labels": st.just({"team": "a"}),
    "serviceTier": st.just("flex"),
    "store": st.booleans(),
}


@st.composite
def _contents(draw: st.DrawFn, tools: list[str]) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = [{"role": "user", "parts": draw(_asked())}]
    for _ in range(draw(st.integers(0, 2))):
        said = draw(_said())
        calls = draw(st.lists(st.sampled_from(tools), max_size=3)) if tools else []
        ids = [f"id{len(contents)}{k}" if draw(st.booleans()) else None for k in range(len(calls))]
        for name, id in zip(calls, ids, strict=True):
            part: dict[str, Any] = {
                "functionCall": {"name": name, "args": draw(st.dictionaries(_WORDS, _VALUES, max_size=2))}
            }
            if id:
                part["functionCall"]["id"] = id
            if draw(st.booleans()):
                part["thoughtSignature"] = draw(_SIGNATURES)
            said.append(part)
        cut = draw(st.integers(1, len(said)))  # SDKs keep each piece of a stream as a content of its own
        contents += ({"role": "model", "parts": parts} for parts in (said[:cut], said[cut:]) if parts)
        answers = [draw(_result(name, id)) for name, id in zip(calls, ids, strict=True)]
        contents.append(
            {"role": "user", "parts": answers + (draw(_asked()) if draw(st.booleans()) or not answers else [])}
        )
    if len(contents) == 1 and draw(st.booleans()):
        del contents[0]["role"]
    return contents


def _asked() -> st.SearchStrategy[list[dict[str, Any]]]:
    data = st.sampled_from([PNG, PNG.translate(str.maketrans("+/", "-_")).rstrip("=")])
    parts = st.one_of(
        _WORDS.map(lambda text: {"text": text}),
        data.map(lambda data: {"inlineData": {"mimeType": "image/png", "data": data}}),
        st.just({"fileData": {"mimeType": "image/jpeg", "fileUri": "https://pictures.example/a.jpg"}}),
    )
    first = _WORDS.map(lambda text: [{"text": text}])
    return st.tuples(first, st.lists(parts, max_size=2)).map(lambda both: both[0] + both[1])


@st.composite
def _said(draw: st.DrawFn) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if draw(st.booleans()):
        parts.append({"text": draw(_WORDS), "thought": True})
    parts.append({"text": draw(_WORDS)})
    if draw(st.booleans()):
        parts[-1]["thoughtSignature"] = draw(_SIGNATURES)
    return parts


@st.composite
def _result(draw: st.DrawFn, name: str, id: str | None) -> dict[str, Any]:
    word = st.sampled_from(["result", "output", "error"])
    responses = st.one_of(st.dictionaries(word, _VALUES, max_size=1), st.dictionaries(_WORDS, _VALUES, max_size=2))
    response: dict[str, Any] = {"name": name, "response": draw(responses)}
    if id:
        response["id"] = id
    if draw(st.integers(0, 5)) == 0:
        response["parts"] = [{"inlineData": {"mimeType": "image/png", "data": PNG}}]
    return {"functionResponse": response}


def _systems() -> st.SearchStrategy[Any]:
    parts = st.lists(_WORDS.map(lambda text: {"text": text}), min_size=1, max_size=2)
    return st.one_of(_WORDS, parts.map(lambda parts: {"parts": parts}), parts.map(lambda parts: {"parts": parts[0]}))


@st.composite
def _declared(draw: st.DrawFn, name: str) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": name}
    if draw(st.booleans()):
        declared["description"] = draw(_WORDS)
    form = draw(st.sampled_from(["", "parameters", "parametersJsonSchema"]))
    if form:
        declared[form] = draw(_schemas(old=form == "parameters"))
    return declared


@st.composite
def _schemas(draw: st.DrawFn, old: bool) -> dict[str, Any]:
    def kind(word: str) -> str:
        return word.upper() if old else word

    city: dict[str, Any] = {"type": kind("string"), "description": draw(_WORDS)}
    days: dict[str, Any] = {"type": kind("array"), "items": {"type": kind("integer")}}
    if old and draw(st.booleans()):
        city["nullable"] = True
        days["minItems"] = "1"
    schema: dict[str, Any] = {"type": kind("object"), "properties": {"city": city, "days": days}, "required": ["city"]}
    if old and draw(st.booleans()):
        schema["propertyOrdering"] = ["days", "city"]
    return schema


@st.composite
def _calling(draw: st.DrawFn, tools: list[str]) -> dict[str, Any]:
    mode = draw(st.sampled_from(["AUTO", "ANY", "NONE", "VALIDATED"]))
    calling: dict[str, Any] = {"mode": mode}
    if mode in ("ANY", "VALIDATED") and draw(st.booleans()):
        calling["allowedFunctionNames"] = draw(st.lists(st.sampled_from(tools), min_size=1, unique=True))
    return calling


@st.composite
def _configs(draw: st.DrawFn) -> dict[str, Any]:
    config = draw(st.fixed_dictionaries({}, optional=_CONFIG))
    form = draw(st.sampled_from(["", "text", "json", "responseSchema", "responseJsonSchema"]))
    if form:
        config["responseMimeType"] = "text/plain" if form == "text" else "application/json"
    if form.endswith("chema"):
        config[form] = draw(_schemas(old=form == "responseSchema"))
    if draw(st.integers(0, 7)) == 0:
        config["responseLogprobs"] = True
        config |= draw(st.fixed_dictionaries({}, optional={"logprobs": st.integers(0, 5)}))
    return config


_THINKING: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda shown: {"includeThoughts": shown}, st.booleans()),
    st.builds(lambda tokens: {"thinkingBudget": tokens}, st.sampled_from([-1, 0, 512, 2000, 30000])),
    st.builds(
        lambda level, shown: {"thinkingLevel": level, "includeThoughts": shown},
        st.sampled_from(["MINIMAL", "LOW", "MEDIUM", "HIGH", "low"]),
        st.booleans(),
    ),
)
_CONFIG: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.floats(0, 2),
    "topP": st.floats(0, 1),
    "topK": st.one_of(st.integers(1, 100), st.just(40.0)),
    "candidateCount": st.just(1),
    "maxOutputTokens": st.integers(1, 8192),
    "stopSequences": st.lists(_WORDS, min_size=1, max_size=5),
    "seed": st.integers(-(2**31), 2**31 - 1),
    "presencePenalty": st.floats(-2, 2),
    "frequencyPenalty": st.floats(-2, 2),
    "responseModalities": st.just(["TEXT"]),
    "mediaResolution": st.just("MEDIA_RESOLUTION_LOW"),
    "thinkingConfig": _THINKING,
}


def _snake(value: Any) -> Any:
    """The same with the protocol's names in snake_case."""
    if isinstance(value, list):
        return [_snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        re.sub(r"(?<=[a-z])([A-Z])", lambda found: "_" + found[1].lower(), name): item
        if name in _FREE
        else _snake(item)
        for name, item in value.items()
    }
