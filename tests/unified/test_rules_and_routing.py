"""Rules choose models by what a request says of itself; strategies choose among a model's targets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.unified.entries import closed, price_of
from tests.unified.place import MODELS as USUAL
from tests.unified.place import PRICE, Answer, Place

IMAGE = {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def to(model: str, **more: Any) -> dict[str, Any]:
    return {"targets": [{"provider": "openai", "model": model}], **more}


def ruled(use: str, *rules: tuple[dict[str, Any], str]) -> dict[str, Any]:
    return {"rules": [{"when": when, "use": name} for when, name in rules], "use": use}


def spread(strategy: str, vendors_model: str, **weights: int) -> dict[str, Any]:
    targets = [{"provider": name, "model": vendors_model, "weight": weight} for name, weight in weights.items()]
    return {"targets": targets, "strategy": strategy}


MODELS = {
    **USUAL,
    "dear": to("gpt-4o", price=PRICE),
    "cheap": to("gpt-4o-mini", price={"input": 1}),
    "by-task": ruled("cheap", ({"task": "coding"}, "dear")),
    "by-length": ruled("cheap", ({"input_tokens": ">1000"}, "dear")),
    "by-shortness": ruled("cheap", ({"input_tokens": "<=100"}, "dear")),
    "by-images": ruled("cheap", ({"images": True}, "dear")),
    "by-no-images": ruled("cheap", ({"images": False}, "dear")),
    "by-tools": ruled("cheap", ({"tools": True}, "dear")),
    "by-key": ruled("cheap", ({"key": "bob"}, "dear")),
    "by-both": ruled("cheap", ({"tools": True, "task": "coding"}, "dear")),
    "first-wins": ruled("cheap", ({"task": "coding"}, "dear"), ({"task": "coding"}, "cheap")),
    "on-and-on": ruled("by-task", ({"tools": True}, "by-length")),
    "by-name": ruled("cheap", ({"model": "by-name"}, "dear")),
    "weighted": spread("weighted", "gpt-4o", a=3, b=1, c=0),
    "busy": spread("least_busy", "gpt-4o", a=1, b=1),
    "fast": spread("lowest_latency", "gpt-4o-mini", a=1, b=1),
}
PROVIDERS: dict[str, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def _twins(sandbox: Any) -> None:
    """Three names for one vendor; the configuration is written after this."""
    speaks = {"openai.chat": "/v1/chat/completions"}
    for name in "abc":
        PROVIDERS[name] = {"base_url": f"http://127.0.0.1:{sandbox.port}/openai", "keys": ["env:VENDOR_KEY"],
                           "speaks": speaks}  # fmt: skip


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


@pytest.fixture(scope="module")
def bob(place: Place) -> str:
    return place.key(name="bob")


def went_to(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return {"gpt-4o": "dear", "gpt-4o-mini": "cheap"}[answer.headers["x-gateway-model"]]


LONG = "word " * 2000
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("by-task", {"headers": {"x-gateway-task": "coding"}}, "dear"),
    ("by-task", {"headers": {"x-gateway-task": "Coding"}}, "cheap"),
    ("by-task", {"headers": {"x-gateway-task": "coding, cooking"}}, "cheap"),
    ("by-task", {"headers": {"x-gateway-task": "\xff\xfe" * 500}}, "cheap"),
    ("by-task", {}, "cheap"),
    ("by-length", {"text": LONG}, "dear"),
    ("by-length", {}, "cheap"),
    ("by-shortness", {}, "dear"),
    ("by-shortness", {"text": LONG}, "cheap"),
    ("by-images", {"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]}]}, "dear"),
    ("by-images", {"text": '"image_url"'}, "cheap"),
    ("by-no-images", {}, "dear"),
    ("by-tools", {"tools": [TOOL]}, "dear"),
    ("by-tools", {"tools": None}, "cheap"),
    ("by-both", {"tools": [TOOL]}, "cheap"),
    ("by-both", {"tools": [TOOL], "headers": {"x-gateway-task": "coding"}}, "dear"),
    ("first-wins", {"headers": {"x-gateway-task": "coding"}}, "dear"),
    ("on-and-on", {"tools": [TOOL], "text": LONG}, "dear"),
    ("on-and-on", {"headers": {"x-gateway-task": "coding"}}, "dear"),
    ("on-and-on", {}, "cheap"),
    ("by-name", {}, "dear"),
]


@pytest.mark.parametrize(("model", "request_", "expected"), CASES)
def test_a_rule_chooses(place: Place, key: str, model: str, request_: dict[str, Any], expected: str) -> None:
    assert went_to(place.chat(key, model, **request_)) == expected


def test_a_rule_may_ask_for_the_key_s_name(place: Place, key: str, bob: str) -> None:
    assert went_to(place.chat(key, "by-key")) == "cheap"
    assert went_to(place.chat(bob, "by-key")) == "dear"


def test_the_chosen_model_s_price_counts_and_the_client_s_name_is_entered(place: Place, key: str) -> None:
    answer = place.chat(key, "by-task", headers={"x-gateway-task": "coding"})
    found = closed(place)[answer.request_id]
    assert found.cost == price_of(answer.json["usage"])
    entries = [entry for entry in place.history() if entry["request_id"] == answer.request_id]
    assert entries[-1]["model"] == "by-task"
    assert place.value_of("gateway_requests_total", model="by-task", surface="chat") > 0
    assert place.value_of("gateway_requests_total", model="dear", surface="chat") == 0


def test_weights_share_the_calls(place: Place, key: str) -> None:
    found = Counter(place.chat(key, "weighted").headers["x-gateway-provider"] for _ in range(60))
    assert set(found) == {"a", "b"}  # a target of weight 0 is the last resort
    assert found["a"] > found["b"]


@pytest.mark.parametrize("model", ["busy", "fast"])
def test_other_strategies_serve(place: Place, key: str, model: str) -> None:
    found = Counter(place.chat(key, model).headers["x-gateway-provider"] for _ in range(8))
    assert set(found) <= {"a", "b"}
    if model == "fast":
        assert set(found) == {"a", "b"}  # both are measured once
