"""Schemas that Anthropic promises to keep: it wants objects closed, and knows no limits of numbers, texts and lists.

Limits are told to the model in the description, as Anthropic's own libraries do it.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.chat.fields import Lost

Schema = dict[str, Any]

_DEEPEST = 100
_LISTS = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
_MAPS = frozenset({"properties", "$defs", "definitions", "defs"})
_LIMITS = frozenset(
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength maxItems uniqueItems "
    "minProperties maxProperties".split()
)


def closed(schema: Schema, name: str, lost: Lost) -> Schema:
    """The schema as it can be kept; `name`: whose it is, for the refusal of maps with free keys."""
    written: Schema = _closed(schema, name, lost, 0)
    return written


def _closed(schema: Any, name: str, lost: Lost, depth: int) -> Any:
    if not isinstance(schema, dict):
        return schema
    if depth > _DEEPEST:
        raise lost.refuse(name, f"schemas may be nested {_DEEPEST} levels deep")
    written: Schema = {}
    limits: list[str] = []
    for key, value in schema.items():
        if key in _MAPS and isinstance(value, dict):
            value = {each: _closed(inner, name, lost, depth + 1) for each, inner in value.items()}
        elif key in _LISTS and isinstance(value, list):
            value = [_closed(inner, name, lost, depth + 1) for inner in value]
        elif key == "items":
            value = _closed(value, name, lost, depth + 1)
        elif key in _LIMITS or (key == "minItems" and value not in (0, 1)):
            limits.append(f"{key}: {value}")
            continue
        written[key] = value
    if limits:
        told = [written["description"]] if isinstance(written.get("description"), str) else []
        written["description"] = "\n\n".join([*told, "{" + ", ".join(limits) + "}"])
    if _is_object(schema):
        if isinstance(schema.get("additionalProperties"), dict):
            raise lost.refuse(name, "the vendor's schemas have no objects with free keys (additionalProperties)")
        written["additionalProperties"] = False
    return written


def _is_object(schema: Schema) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)
