"""Gemini's own schemas (a part of OpenAPI's, types in capitals) as JSON schemas."""

from __future__ import annotations

from typing import Any

from gateway.dialects.gemini_generate.names import camel
from gateway.errors import BadRequest

_DEEPEST = 64
# Protobuf writes 64-bit numbers as strings.
_NUMBERS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_RENAMED = {"defs": "$defs", "ref": "$ref"}
# What is worked into other keywords, or says nothing: an order is that of the properties, the format "enum" is `enum`.
_NO_KEYWORDS = frozenset({"nullable", "propertyOrdering", "example"})


def json_schema(value: object, place: str, depth: int = 0) -> Any:
    """The JSON schema that says the same."""
    if isinstance(value, bool) and depth:
        return value
    if not isinstance(value, dict) or depth > _DEEPEST:
        raise BadRequest(f"{place} must be a schema of at most {_DEEPEST} levels", param=place)
    given = camel(value, place)
    schema: dict[str, Any] = {}
    for name, item in given.items():
        if item is None or name in _NO_KEYWORDS or (name, item) == ("format", "enum"):
            continue
        schema[_RENAMED.get(name, name)] = _keyword(name, item, place, depth)
    if isinstance(ordering := given.get("propertyOrdering"), list) and "properties" in schema:
        known = schema["properties"]
        first = {name: known[name] for name in ordering if isinstance(name, str) and name in known}
        schema["properties"] = first | known
    if "example" in given:
        schema["examples"] = [given["example"]]
    if schema.get("type") == "type_unspecified":
        del schema["type"]
    if given.get("nullable") is True:
        _allow_null(schema)
    return schema


def _keyword(name: str, item: Any, place: str, depth: int) -> Any:
    below = f"{place}.{name}"
    if name == "type" and isinstance(item, str):
        return item.lower()
    if name in ("items", "additionalProperties"):
        return json_schema(item, below, depth + 1)
    if name in ("properties", "defs", "$defs"):
        if not isinstance(item, dict):
            raise BadRequest(f"{below} must be an object", param=below)
        return {key: json_schema(each, f"{below}.{key}", depth + 1) for key, each in item.items()}
    if name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if not isinstance(item, list):
            raise BadRequest(f"{below} must be a list", param=below)
        return [json_schema(each, below, depth + 1) for each in item]
    if name in _NUMBERS and isinstance(item, str) and item.isascii() and item.isdigit() and len(item) < 19:
        return int(item)
    return item


def _allow_null(schema: dict[str, Any]) -> None:
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
    if isinstance(choices := schema.get("anyOf"), list) and {"type": "null"} not in choices:
        schema["anyOf"] = [*choices, {"type": "null"}]
    if isinstance(values := schema.get("enum"), list) and None not in values:
        schema["enum"] = [*values, None]
