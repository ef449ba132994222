"""Embeddings as Gemini's clients ask for them, from vendors that speak other dialects, and from Gemini itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gateway.sandbox.content import vector
from tests.unified.place import MODELS as USUAL
from tests.unified.place import Place

PRICE = {"input": 1_000}  # a thousandth of a credit a token
VENDORS = {
    "openai": ("siliconflow", "BAAI/bge-m3", "openai.embeddings"),
    "dashscope": ("ali", "text-embedding-v4", "dashscope.embeddings"),
    "gemini": ("gemini", "gemini-embedding-001", "gemini.embed"),
}
MODELS: dict[str, Any] = {
    **USUAL,
    **{
        f"by-{name}": {
            "kind": "embedding", "price": PRICE,
            "targets": [{"provider": provider, "model": model, "dialect": dialect}],
        }
        for name, (provider, model, dialect) in VENDORS.items()
    },
}  # fmt: skip
SIZE = 16


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


def request(model: str, text: str) -> dict[str, Any]:
    return {"model": f"models/{model}", "content": {"parts": [{"text": text}]}, "outputDimensionality": SIZE}


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize("name", VENDORS)
def test_one_and_several(place: Place, key: str, name: str, version: str) -> None:
    model = f"by-{name}"
    path = f"/{version}/models/{model}"
    one = place.call(f"{path}:embedContent", request(model, "a b"), headers={"x-goog-api-key": key})
    assert one.status == 200, one.body
    assert one.json["embedding"] == {"values": vector("a b", SIZE)}
    assert one.json["usageMetadata"]["promptTokenCount"] == Decimal(one.headers["x-gateway-cost"]) * 1000 > 0
    requests = [request(model, text) for text in ("a", "b c", "d")]
    several = place.call(f"{path}:batchEmbedContents", {"requests": requests}, headers={"x-goog-api-key": key})
    assert several.status == 200, several.body
    assert [each["values"] for each in several.json["embeddings"]] == [
        vector(text, SIZE) for text in ("a", "b c", "d")
    ]
    assert several.headers["x-gateway-attempts"] == "1"


@pytest.mark.parametrize("name", ["openai", "dashscope"])
def test_what_is_lost_is_told(place: Place, key: str, name: str) -> None:
    path, headers = f"/v1beta/models/by-{name}:batchEmbedContents", {"x-goog-api-key": key}
    fields = request(f"by-{name}", "a")
    answer = place.call(path, {"requests": [{**fields, "title": "x"}]}, headers=headers)
    assert (answer.status, answer.headers["x-gateway-dropped"]) == (200, "requests.title")
    picture = {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}}
    for bad in ({**fields, **picture}, {**fields, "outputDimensionality": 8}):
        answer = place.call(path, {"requests": [fields, bad]}, headers=headers)
        assert answer.status == 400
        assert answer.error["status"] == "INVALID_ARGUMENT"
        assert "requests[1]." in answer.error["message"]
