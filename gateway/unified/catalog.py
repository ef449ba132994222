"""What is on offer: the lists of models in each dialect's form, and the price list. Values in, values out."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.models import Model
from gateway.prices import numbers
from gateway.types import Caller

Surfaces = Callable[[str], list[str]]  # the surfaces at which a model can be used


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
        "surfaces": surfaces(model.name), "price": numbers(model.price),
    }  # fmt: skip


def anthropic_list(models: Iterable[Model], created: int, surfaces: Surfaces) -> dict[str, Any]:
    """The form that Anthropic's SDK reads; everything is on one page."""
    data = [anthropic_item(model, created, surfaces) for model in models]
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": ends[0], "last_id": ends[1]}


def anthropic_item(model: Model, created: int, surfaces: Surfaces) -> dict[str, Any]:
    moment = datetime.datetime.fromtimestamp(created, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "model", "id": model.name, "display_name": model.name, "created_at": moment, "lifecycle": "active",
        "surfaces": surfaces(model.name), "price": numbers(model.price),
    }  # fmt: skip


def gemini_list(models: Iterable[Model], created: int, surfaces: Surfaces) -> dict[str, Any]:
    """The form that Google's SDK reads; everything is on one page."""
    return {"models": [gemini_item(model, created, surfaces) for model in models]}


def gemini_item(model: Model, _: int, surfaces: Surfaces) -> dict[str, Any]:
    # No method of Google's own is served, so none is promised.
    at = surfaces(model.name)
    return {
        "name": f"models/{model.name}", "baseModelId": model.name, "version": "1", "displayName": model.name,
        "supportedGenerationMethods": [], "surfaces": at, "price": numbers(model.price),
    }  # fmt: skip


# Form: (the whole list, one item).
FORMS: dict[str, tuple[Callable[..., dict[str, Any]], Callable[..., dict[str, Any]]]] = {
    "openai": (openai_list, openai_item),
    "anthropic": (anthropic_list, anthropic_item),
    "gemini": (gemini_list, gemini_item),
}


def pricing(models: Mapping[str, Model], surfaces: Surfaces) -> dict[str, Any]:
    """`GET /pricing`: public."""
    rows = [
        {"model": name, "surfaces": surfaces(name), "price": numbers(models[name].price)} for name in sorted(models)
    ]
    return {"currency": "credit", "models": rows}
