"""Lists of models in each form, and the price list, as the official SDKs' types read them."""

from __future__ import annotations

from typing import Any

import anthropic.types
import google.genai.types
import msgspec
import openai.types

from gateway.models import Model, Target
from gateway.prices import Price
from gateway.types import Caller
from gateway.unified import catalog

MODELS = {
    "b": Model("b", (Target("openai", "gpt"),), Price({"input": 2_000_000_000})),
    "a": Model("a", use="b"),
    "v/x": Model("v/x", (Target("ali", "v"),), Price(tables={"per_second": {"480p": 10**15}}), kind="embedding"),
}


def surfaces(name: str) -> list[str]:
    return ["embeddings"] if name == "v/x" else ["chat", "responses"]


def sent(value: Any) -> Any:
    """As a client reads it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def test_prices_are_exact_numbers() -> None:
    price = Price({"input": 1, "output": 123456789012345678})
    text = msgspec.json.encode(catalog.openai_item(Model("m", price=price), 0, surfaces)["price"])
    assert text == b'{"input":0.000000001,"output":123456789.012345678}'


def test_a_key_sees_what_it_may_use() -> None:
    everything = Caller("k", "n", "a")
    assert [model.name for model in catalog.visible(MODELS, everything)] == ["a", "b", "v/x"]
    some = Caller("k", "n", "a", models=frozenset({"b", "gone"}))
    assert [model.name for model in catalog.visible(MODELS, some)] == ["b"]
    assert catalog.visible(MODELS, Caller("k", "n", "a", models=frozenset())) == []


def test_the_form_of_openai() -> None:
    found = sent(catalog.openai_list(MODELS.values(), 1700000000, surfaces))
    assert (found["object"], found["success"]) == ("list", True)
    models = [openai.types.Model.model_validate(item) for item in found["data"]]
    assert [(model.id, model.created, model.owned_by) for model in models] == [
        ("b", 1700000000, "openai"), ("a", 1700000000, "gateway"), ("v/x", 1700000000, "ali"),
    ]  # fmt: skip
    assert found["data"][0]["price"] == {"input": 2}
    assert found["data"][0]["surfaces"] == ["chat", "responses"]


def test_the_form_of_anthropic() -> None:
    found = catalog.anthropic_list(MODELS.values(), 1700000000, surfaces)
    assert (found["first_id"], found["last_id"], found["has_more"]) == ("b", "v/x", False)
    models = [anthropic.types.ModelInfo.model_validate(item) for item in sent(found)["data"]]
    assert models[0].created_at.timestamp() == 1700000000
    assert catalog.anthropic_list([], 0, surfaces)["first_id"] is None


def test_the_form_of_google() -> None:
    found = catalog.gemini_list(MODELS.values(), 1700000000, surfaces)
    assert [item["name"] for item in found["models"]] == ["models/b", "models/a", "models/v/x"]
    assert found["models"][2]["surfaces"] == ["embeddings"]
    google.genai.types.Model.model_validate({"name": found["models"][0]["name"], "display_name": "b"})


def test_the_price_list() -> None:
    found = sent(catalog.pricing(MODELS, surfaces))
    assert found["currency"] == "credit"
    assert found["models"] == [
        {"model": "a", "surfaces": ["chat", "responses"], "price": {}},
        {"model": "b", "surfaces": ["chat", "responses"], "price": {"input": 2}},
        {"model": "v/x", "surfaces": ["embeddings"], "price": {"per_second": {"480p": 1}}},
    ]
