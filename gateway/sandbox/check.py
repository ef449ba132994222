"""Strict reading of request bodies: tables of fields, and one function that holds a body against a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gateway.sandbox.vendor import Refusal

STR, INT, NUM, BOOL, LIST, OBJ = (str,), (int,), (int, float), (bool,), (list,), (dict,)
NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


class Field(NamedTuple):
    """What a field may hold; `most` limits strings, arrays and numbers alike."""

    types: tuple[type, ...]
    required: bool = False
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] | None = None
    null: bool = True


ANY = Field((str, int, float, bool, list, dict))
Fields = dict[str, Field]


def fits(value: Any, types: tuple[type, ...]) -> bool:
    """Whether a JSON value is of one of the types; a boolean is not a number here."""
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def check(body: Mapping[str, Any], table: Fields, strict: bool = False, path: str = "") -> None:
    """Raises the Refusal that the first wrong field deserves: missing, type, value or, if strict, unknown."""
    if strict:
        for name in body:
            if name not in table:
                raise Refusal("unknown", f"Unrecognized request argument supplied: {name}", path + name)
    for name, field in table.items():
        value = body.get(name)
        if name not in body or (value is None and field.required):
            if field.required:
                raise Refusal("missing", f"Missing required parameter: '{path}{name}'.", path + name)
            continue
        if value is None and field.null:
            continue
        _check_value(value, field, path + name)


def _check_value(value: Any, field: Field, name: str) -> None:
    if not fits(value, field.types):
        wanted = " or ".join(NAMES[t] for t in field.types)
        got = NAMES.get(type(value), "something else")
        raise Refusal("type", f"Invalid type for '{name}': expected {wanted}, but got {got} instead.", name)
    measure, what = (len(value), " length") if isinstance(value, (str, list)) else (value, "")
    if isinstance(measure, (int, float)):
        if field.least is not None and measure < field.least:
            raise Refusal(
                "value",
                f"Invalid '{name}':{what} {measure} is below the minimum value. "
                f"Expected a value >= {field.least}, but got {measure} instead.",
                name,
            )
        if field.most is not None and measure > field.most:
            raise Refusal(
                "value",
                f"Invalid '{name}':{what} {measure} is above the maximum value. "
                f"Expected a value <= {field.most}, but got {measure} instead.",
                name,
            )
    if field.choices is not None and isinstance(value, str) and value not in field.choices:
        wanted = ", ".join(f"'{c}'" for c in field.choices)
        raise Refusal("value", f"Invalid value: '{value}'. Supported values are: {wanted}.", name)


def known_model(model: str) -> None:
    """Every model exists, except those whose name contains `no-such`."""
    if "no-such" in model:
        raise Refusal("model", f"The model `{model}` does not exist or you do not have access to it.", "model")


def each(values: list[Any], path: str, one: Callable[[Any, str], None]) -> None:
    for i, value in enumerate(values):
        one(value, f"{path}[{i}]")


def an_object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        got = NAMES.get(type(value), "something else")
        raise Refusal("type", f"Invalid type for '{path}': expected an object, but got {got} instead.", path)
    return value
