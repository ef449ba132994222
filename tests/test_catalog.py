"""Lists of models in each form, and the price list, as the official SDKs' types read them."""

from __future__ import annotations

from typing import Any

import anthropic.types
import google.genai
import msgspec
import openai.types
import pytest

from gateway.models import Model, Target
from gateway.prices import Price
from gateway.types import Caller, Features
from gateway.unified import catalog
from gateway.unified.surfaces import SURFACES, Surface

MODELS = {
    "b": Model("b", (Target("openai", "gpt"),), Price({"input": 2_000_000_000})),
    "a": Model("a", use="b"),
    "v/x": Model("v/x", (Target("ali", "v"),), Price(tables={"per_second": {"480p": 10**15}}), kind="embedding"),
}


CHATS = ["chat", "responses", "messages", "gemini"]
METHODS = ["generateContent", "streamGenerateContent", "countTokens"]


def surfaces(name: str) -> list[Surface]:
    kind = "embedding" if name == "v/x" else "chat"
    return [surface for surface in SURFACES if kind in surface.kinds]


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
    assert found["data"][0]["surfaces"] == CHATS, "each once, though some have several paths"
    assert found["data"][0]["dialects"] == ["openai.chat", "openai.responses", "anthropic.messages", "gemini.generate"]
    assert found["data"][2]["surfaces"] == ["gemini", "embeddings"]
    assert found["data"][2]["dialects"] == ["gemini.embed", "openai.embeddings"]


def test_the_form_of_anthropic() -> None:
    found = catalog.anthropic_list(MODELS.values(), 1700000000, surfaces)
    assert (found["first_id"], found["last_id"], found["has_more"]) == ("b", "v/x", False)
    models = [anthropic.types.ModelInfo.model_validate(item) for item in sent(found)["data"]]
    assert models[0].created_at.timestamp() == 1700000000
    assert found["data"][0]["surfaces"] == CHATS
    assert "anthropic.messages" in found["data"][0]["dialects"]
    assert catalog.anthropic_list([], 0, surfaces)["first_id"] is None


def test_the_form_of_google() -> None:
    found = catalog.gemini_list(MODELS.values(), 1700000000, surfaces)
    assert [item["name"] for item in found["models"]] == ["models/b", "models/a", "models/v/x"]
    assert [item["supportedGenerationMethods"] for item in found["models"]] == [
        METHODS, METHODS, ["embedContent", "batchEmbedContents"],
    ]  # fmt: skip
    assert found["models"][2]["surfaces"] == ["gemini", "embeddings"]
    assert found["models"][2]["dialects"] == ["gemini.embed", "openai.embeddings"]
    assert "nextPageToken" not in found, "everything is on one page"


def test_the_official_sdk_reads_the_form_of_google(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = msgspec.json.encode(catalog.gemini_list([limited("b")], 0, surfaces)).decode()

    def request(*_: object) -> google.genai.types.HttpResponse:
        return google.genai.types.HttpResponse(headers={}, body=listed)

    monkeypatch.setattr("google.genai._api_client.BaseApiClient.request", request)
    client = google.genai.Client(api_key="k")
    (model,) = client.models.list(config={"page_size": 1})
    assert (model.name, model.display_name, model.supported_actions) == ("models/b", "b", METHODS)
    assert model.output_token_limit == 8192


def limited(name: str, *targets: str, most: int | None = 8192) -> Model:
    return Model(name, tuple(Target("p", target) for target in targets or ("m",)), features=Features(max_output=most))


def test_the_most_output_where_it_is_known() -> None:
    def told(model: Model) -> tuple[Any, Any]:
        anthropics = catalog.anthropic_item(model, 0, surfaces)
        anthropic.types.ModelInfo.model_validate(sent(anthropics))
        return anthropics.get("max_tokens"), catalog.gemini_item(model, 0, surfaces).get("outputTokenLimit")

    assert told(limited("b")) == (8192, 8192)
    assert told(limited("b", most=None)) == (None, None)
    assert told(MODELS["a"]) == (None, None), "rules lead to several models"
    assert told(limited("b", "claude-opus-4-1", "claude-sonnet-4-5", most=None)) == (32_000, 32_000)
    assert told(limited("b", "claude-opus-4-1", "m", most=None)) == (None, None)


def test_the_price_list() -> None:
    found = sent(catalog.pricing(MODELS, surfaces))
    assert found["currency"] == "credit"
    assert found["models"] == [
        {"model": "a", "surfaces": CHATS, "price": {}},
        {"model": "b", "surfaces": CHATS, "price": {"input": 2}},
        {"model": "v/x", "surfaces": ["gemini", "embeddings"], "price": {"per_second": {"480p": 1}}},
    ]
