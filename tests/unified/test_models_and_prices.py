"""What is on offer: models by key and in three forms, and the price list, which is public."""

from __future__ import annotations

import html.parser
from typing import Any

import pytest

from tests.unified.place import MODELS as USUAL
from tests.unified.place import Answer, Place, quoted

NASTY = '<script>alert("1")</script>/&amp; ü'
SERVER = {"cors": "*"}
MODELS: dict[str, Any] = {
    **USUAL,
    NASTY: {"targets": [{"provider": "openai", "model": "secret-name"}], "price": {"input": 1.5}},
    "typed": {**USUAL["gpt-4o"], "kind": "chat"},
    "a/b:c@1": {"targets": [{"provider": "deepseek", "model": "m"}], "price": {"per_request": 0.0001}},
    "vision": {"kind": "image", "targets": [{"provider": "openai", "model": "gpt-image-1"}],
               "price": {"per_image": {"1024x1024": 0.04, "hd": 0.08}}},
}  # fmt: skip
PATHS = ("/v1/models", "/models", "/v1beta/models")


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


@pytest.fixture(scope="module")
def small(place: Place) -> str:
    """A key that may use little."""
    return place.key("--models", "embedder,auto,not-there", name="bob")


def names(answer: Answer) -> list[str]:
    assert answer.status == 200
    value = answer.json
    return [item.get("id") or item["name"].removeprefix("models/") for item in value.get("data") or value["models"]]


@pytest.mark.parametrize("path", PATHS)
def test_a_key_sees_what_it_may_use(place: Place, key: str, small: str, path: str) -> None:
    assert names(place.call(path, key=key)) == sorted(MODELS)
    assert names(place.call(path, key=small)) == ["auto", "embedder"]


@pytest.mark.parametrize("way", ["authorization", "x-api-key", "x-goog-api-key", "query"])
def test_the_key_may_stand_anywhere(place: Place, small: str, way: str) -> None:
    headers = {"authorization": {"authorization": f"Bearer {small}"}, "query": {}}.get(way, {way: small})
    path = f"/v1/models?key={small}" if way == "query" else "/v1/models"
    assert names(place.call(path, headers=headers)) == ["auto", "embedder"]


@pytest.mark.parametrize("path", [*PATHS, "/v1/models/gpt-4o", "/v1beta/models/gpt-4o"])
def test_without_a_key_nothing_is_listed(place: Place, path: str) -> None:
    for key in (None, "nobody"):
        answer = place.call(path, key=key)
        assert answer.status == 401
        assert answer.headers["x-gateway-error"] == ("invalid_api_key" if key else "missing_api_key")
        assert "error" in answer.json
        assert answer.request_id


def test_openai_s_form(place: Place, key: str) -> None:
    value = place.call("/v1/models", key=key).json
    assert value["object"] == "list"
    assert value["success"] is True
    by_name = {item["id"]: item for item in value["data"]}
    chat = by_name["deepseek-chat"]
    assert chat["object"] == "model"
    assert chat["owned_by"] == "deepseek"
    assert isinstance(chat["created"], int)
    assert chat["price"] == {"input": 2, "cached_input": 0.5, "output": 8}
    assert "chat" in chat["surfaces"]
    assert by_name["typed"]["surfaces"] == ["chat", "responses", "messages", "gemini"]
    assert by_name["typed"]["dialects"] == ["openai.chat", "openai.responses", "anthropic.messages", "gemini.generate"]
    assert by_name["embedder"]["surfaces"] == ["gemini", "embeddings"]
    assert by_name["embedder"]["dialects"] == ["gemini.embed", "openai.embeddings"]
    assert by_name["reranker"]["surfaces"] == ["rerank"]
    assert "chat" in by_name["auto"]["surfaces"]
    one = place.call("/v1/models/deepseek-chat", key=key).json
    assert one == chat


def test_anthropic_s_form(place: Place, key: str, small: str) -> None:
    headers = {"anthropic-version": "2023-06-01", "x-api-key": key}
    value = place.call("/v1/models", headers=headers).json
    assert set(value) == {"data", "has_more", "first_id", "last_id"}
    assert (value["has_more"], value["first_id"], value["last_id"]) == (False, min(MODELS), max(MODELS))
    item = next(item for item in value["data"] if item["id"] == "gpt-4o")
    assert item["type"] == "model"
    assert item["display_name"] == "gpt-4o"
    assert item["created_at"].endswith("Z")
    assert place.call("/v1/models/gpt-4o", headers=headers).json == item
    assert place.call("/v1/models?limit=1&after_id=gpt-4o", headers=headers).json == value, "all of them are one page"
    missing = place.call("/v1/models/nobody", headers=headers)
    assert missing.status == 404
    assert (missing.json["type"], missing.error["type"]) == ("error", "not_found_error")
    unknown = place.call("/v1/models", headers={**headers, "x-api-key": "nobody"})
    assert (unknown.status, unknown.error["type"]) == (401, "authentication_error")


def test_gemini_s_form(place: Place, key: str) -> None:
    for path in ("/v1/models", "/v1beta/models"):
        value = place.call(path, headers={"x-goog-api-key": key}).json
        item = next(item for item in value["models"] if item["name"] == "models/typed")
        assert item["baseModelId"] == "typed"
        assert item["supportedGenerationMethods"] == ["generateContent", "streamGenerateContent", "countTokens"]
        assert item["dialects"]
        assert place.call(path + "/typed", headers={"x-goog-api-key": key}).json == item
    paged = place.call("/v1beta/models?pageSize=1&pageToken=x", key=key).json["models"]
    assert len(paged) == len(MODELS), "all of them are one page"
    missing = place.call("/v1beta/models/nobody", key=key)
    assert missing.status == 404
    assert (missing.error["code"], missing.error["status"]) == (404, "NOT_FOUND")
    unknown = place.call("/v1beta/models", key="nobody")
    assert (unknown.status, unknown.error["status"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("name", ["a/b:c@1", NASTY])
def test_a_model_s_name_may_be_odd(place: Place, key: str, name: str) -> None:
    assert place.call(f"/v1/models/{quoted(name)}", key=key).json["id"] == name


@pytest.mark.parametrize("name", ["nobody", "gpt-4o", "..%2f..%2fetc", "%00", "%0d%0ax-injected:1", "x" * 5000])
def test_a_model_that_a_key_may_not_see_does_not_exist(place: Place, small: str, name: str) -> None:
    answer = place.call(f"/v1/models/{name}", key=small)
    assert answer.status == 404
    assert answer.error["code"] in ("model_not_found", "not_found")
    assert len(answer.body) < 1000
    assert "x-injected" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_models_are_only_read(place: Place, key: str, method: str) -> None:
    answer = place.call("/v1/models", key=key, method=method)
    assert answer.status in (404, 405)
    assert answer.headers["x-gateway-error"]


def test_prices_are_public_and_exact(place: Place) -> None:
    answer = place.call("/pricing")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    value = answer.json
    assert value["currency"] == "credit"
    by_name = {row["model"]: row for row in value["models"]}
    assert sorted(by_name) == sorted(MODELS)
    for row in value["models"]:
        assert set(row) == {"model", "surfaces", "price"}
    assert by_name["a/b:c@1"]["price"] == {"per_request": 0.0001}
    assert by_name["free"]["price"] == {}
    assert by_name[NASTY]["price"] == {"input": 1.5}
    assert by_name["vision"]["price"] == {"per_image": {"1024x1024": 0.04, "hd": 0.08}}
    assert "secret-name" not in answer.body.decode()


class Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_of_prices_shows_names_as_they_are(place: Place) -> None:
    answer = place.call("/pricing.html")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    page = Page(answer.body.decode())
    assert "script" not in page.tags
    assert NASTY in page.texts
    assert page.tags.count("tr") == len(MODELS) + 1
    assert any("1024x1024" in text for text in page.texts)


def test_any_page_may_ask_where_the_operator_says_so(place: Place, key: str) -> None:
    for path in ("/v1/models", "/pricing", "/v1/models/nobody"):
        answer = place.call(path, key=key, headers={"Origin": "https://anything.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
