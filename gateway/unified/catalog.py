"""What is on offer: the lists of models in each dialect's form, and the price list. Values in, values out."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.features import features
from gateway.models import Model
from gateway.prices import numbers
from gateway.types import Caller
from gateway.unified.surfaces import Surface

Surfaces = Callable[[str], list[Surface]]  # those at which a model can be used


def visible(models: Mapping[str, Model], caller: Caller) -> list[Model]:
    """The models that a key may use, by name."""
    allowed = caller.models
    return [models[name] for name in sorted(models) if allowed is None or name in allowed]


def openai_list(models: Iterable[Model], created: int, surfaces: Surfaces) -> dict[str, Any]:
    """`GET /v1/models`: the fields of OpenAI's list, and what else one wants to know."""
    return {"object": "list", "success": True, "data": [openai_item(model, created, surfaces) for model in models]}


def openai_item(model: Model, created: int, surfaces: Surfaces) -> dict[str, Any]:
    owner = model.targets[0].provider if model.targets else "gateway"
    return {
        "id": model.name, "object": "model", "created": created, "owned_by": owner,
        **_where(model, surfaces),
    }  # fmt: skip


def _where(model: Model, surfaces: Surfaces) -> dict[str, Any]:
    """What no vendor's list has: where a model can be used, in which formats, and for how much."""
    found = surfaces(model.name)
    dialects = list(dict.fromkeys(surface.dialect for surface in found))
    return {"surfaces": _names(found), "dialects": dialects, "price": numbers(model.price)}


def _names(surfaces: Iterable[Surface]) -> list[str]:
    return list(dict.fromkeys(surface.name for surface in surfaces))


def _most_output(model: Model, field: str) -> dict[str, int]:
    """The most tokens that an answer may have, where all targets are known to allow them."""
    known = [features(target.model, model.features).max_output for target in model.targets]
    least = min((most for most in known if most is not None), default=None)
    return {field: least} if least is not None and None not in known else {}


def anthropic_list(models: Iterable[Model], created: int, surfaces: Surfaces) -> dict[str, Any]:
    """The form that Anthropic's SDK reads; everything is on one page."""
    data = [anthropic_item(model, created, surfaces) for model in models]
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": ends[0], "last_id": ends[1]}


def anthropic_item(model: Model, created: int, surfaces: Surfaces) -> dict[str, Any]:
    moment = datetime.datetime.fromtimestamp(created, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "model", "id": model.name, "display_name": model.name, "created_at": moment, "lifecycle": "active",
        **_most_output(model, "max_tokens"), **_where(model, surfaces),
    }  # fmt: skip


def gemini_list(models: Iterable[Model], created: int, surfaces: Surfaces) -> dict[str, Any]:
    """The form that Google's SDK reads; everything is on one page."""
    return {"models": [gemini_item(model, created, surfaces) for model in models]}


def gemini_item(model: Model, _: int, surfaces: Surfaces) -> dict[str, Any]:
    return {
        "name": f"models/{model.name}", "baseModelId": model.name, "version": "1", "displayName": model.name,
        **_most_output(model, "outputTokenLimit"), "supportedGenerationMethods": _methods(surfaces(model.name)),
        **_where(model, surfaces),
    }  # fmt: skip


def _methods(surfaces: Iterable[Surface]) -> list[str]:
    """What Google's SDK can call: the methods behind the model's name in a path."""
    return [surface.method.removeprefix(":") for surface in surfaces if surface.form == "gemini"]


# Form: (the whole list, one item).
FORMS: dict[str, tuple[Callable[..., dict[str, Any]], Callable[..., dict[str, Any]]]] = {
    "openai": (openai_list, openai_item),
    "anthropic": (anthropic_list, anthropic_item),
    "gemini": (gemini_list, gemini_item),
}


def pricing(models: Mapping[str, Model], surfaces: Surfaces) -> dict[str, Any]:
    """`GET /pricing`: public."""
    rows = [
        {"model": name, "surfaces": _names(surfaces(name)), "price": numbers(models[name].price)}
        for name in sorted(models)
    ]
    return {"currency": "credit", "models": rows}
