"""What vendors want of JSON schemas that they promise to keep: each subset with its own rules and words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions", "defs")
# Anthropic's structured outputs know no limits of numbers, strings and arrays.
_UNLIMITED = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems",
    "uniqueItems", "minProperties", "maxProperties",
)  # fmt: skip


def inner(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[JSON, tuple[str, ...]]]:
    """A schema and all that stand in it, each with its place. Depth is bounded by what the JSON reader takes."""
    if not isinstance(schema, dict):
        return
    yield schema, path
    if "items" in schema:
        yield from inner(schema["items"], (*path, "items"))
    for name in _LISTS:
        for i, one in enumerate(_list(schema.get(name))):
            yield from inner(one, (*path, name, str(i)))
    for name in _MAPS:
        for key, one in _map(schema.get(name)).items():
            yield from inner(one, (*path, name, key))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def is_object(schema: JSON) -> bool:
    kind = schema.get("type")
    return kind == "object" or isinstance(kind, list) and "object" in kind


def openai(schema: JSON, strict: bool, what: str, param: str) -> None:
    """OpenAI's rules; `what`: `response_format 'NAME'` or `function 'NAME'`."""

    def wrong(message: str) -> Refusal:
        return Refusal("schema", f"Invalid schema for {what}: {message}", param)

    if schema.get("type") != "object":
        raise wrong(f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'.")
    for one, path in inner(schema) if strict else ():
        if not is_object(one):
            continue
        place = repr(path)
        if one.get("additionalProperties") is not False:
            raise wrong(f"In context={place}, 'additionalProperties' is required to be supplied and to be false.")
        missing = [name for name in _map(one.get("properties")) if name not in _list(one.get("required"))]
        if missing:
            raise wrong(
                f"In context={place}, 'required' is required to be supplied and to be an array including every key "
                f"in properties. Missing '{missing[0]}'."
            )


def anthropic(schema: JSON, path: str) -> None:
    """Anthropic's rules for output_config.format and for strict tools."""
    for one, _ in inner(schema):
        if is_object(one) and one.get("additionalProperties") is not False:
            raise Refusal(
                "invalid",
                f"{path}: For 'object' type, 'additionalProperties' must be explicitly set to false",
            )
        found = [name for name in _UNLIMITED if name in one]
        if one.get("minItems") not in (None, 0, 1):
            found.append("minItems")
        if found:
            kind = one.get("type")
            raise Refusal("invalid", f"{path}: For '{kind}' type, properties {', '.join(found)} are not supported")


def gemini(schema: JSON, known: frozenset[str], path: str) -> None:
    """Names that the OpenAPI subset of Gemini has not."""
    for one, _ in inner(schema):
        for name in one:
            if name not in known:
                raise Refusal(
                    "unknown", f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field."
                )
