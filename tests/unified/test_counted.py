"""What counters and the access log say of calls: each by exactly what the client saw, under one request id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from tests.unified.entries import closed, nano, price_of, wait_until
from tests.unified.place import MODELS as USUAL
from tests.unified.place import PRICE, Answer, Place
from tests.wire.serving import ADMIN_KEY

CHAT = "/v1/chat/completions"
MODELS: dict[str, Any] = {
    **USUAL,
    "broken": {"targets": [{"provider": "minimax", "model": "MiniMax-M2+status=500"}], "price": PRICE},
    "kept": {**USUAL["gpt-4o"], "cache": {"price": 0.5}},
}
SECRET_TEXT = "What is in my diary of 1979?"


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


@contextmanager
def grows(place: Place, *expected: tuple[str, dict[str, str], float]) -> Iterator[None]:
    """Each of these (name, labels, by how much) grows by just that."""
    before = [place.value_of(name, **labels) for name, labels, _ in expected]
    yield
    for (name, labels, by), start in zip(expected, before, strict=True):
        wait_until(partial(_is, place, name, labels, start + by), f"{name} {labels} by {by}")


def _is(place: Place, name: str, labels: dict[str, str], value: float) -> bool:
    return place.value_of(name, **labels) == value


def line_of(place: Place, answer: Answer) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [line for line in place.lines() if line["request_id"] == answer.request_id]

    wait_until(lambda: bool(found()), "the call is not logged")
    [line] = found()
    return line


def test_a_plain_call(place: Place, key: str) -> None:
    labels = {"surface": "chat", "provider": "openai"}
    model = {**labels, "model": "gpt-4o"}
    first = place.chat(key, headers={"x-sandbox-cached": "2"})
    usage = first.json["usage"]
    tokens = {
        "input": usage["prompt_tokens"], "output": usage["completion_tokens"], "cached_input": 2, "cache_write": 0,
        "reasoning": usage["completion_tokens_details"]["reasoning_tokens"],
    }  # fmt: skip
    with grows(
        place,
        ("gateway_requests_total", {**model, "status": "200"}, 1),
        ("gateway_requests_total", {}, 1),
        *(("gateway_tokens_total", {**model, "type": kind, "source": "vendor"}, n) for kind, n in tokens.items()),
        ("gateway_tokens_total", {"source": "estimated"}, 0),
        ("gateway_usage_total", {**labels, "source": "vendor"}, 1),
        ("gateway_stream_ends_total", {**labels, "reason": "complete"}, 1),
        ("gateway_attempts_total", {"provider": "openai", "outcome": "ok"}, 1),
        ("gateway_cost_nanocredits_total", {"model": "gpt-4o"}, price_of(usage)),
        ("gateway_settlements_total", {"outcome": "complete"}, 1),
        ("gateway_request_duration_seconds_count", labels, 1),
        ("gateway_time_to_first_byte_seconds_count", labels, 1),
        ("gateway_added_seconds_count", {"surface": "chat"}, 1),
        ("gateway_holds_open", {}, 0),
        ("gen_ai_client_token_usage_count", {"gen_ai_request_model": "gpt-4o", "gen_ai_token_type": "input"}, 1),
    ):
        again = place.chat(key, headers={"x-sandbox-cached": "2"})
    assert again.json["usage"] == usage


def test_its_line_in_the_log(place: Place, key: str) -> None:
    answer = place.chat(key, text=SECRET_TEXT)
    usage = answer.json["usage"]
    line = line_of(place, answer)
    assert datetime.fromisoformat(line["time"]).tzinfo is not None
    assert (line["surface"], line["provider"], line["model"], line["status"]) == ("chat", "openai", "gpt-4o", 200)
    assert line["bytes_up"] > len(SECRET_TEXT)
    assert line["bytes_down"] > len(answer.body)
    assert 0 < line["ttfb"] <= line["duration"]
    assert (line["usage"]["input"], line["usage"]["output"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert Decimal(line["cost"]) == Decimal(answer.headers["x-gateway-cost"])
    assert nano(line["cost"]) == closed(place)[answer.request_id].cost
    assert (line["end"], line["outcome"], line["account"]) == ("complete", "complete", "alice")
    assert line["key"].startswith("key_")
    assert line["tried"] == [{"provider": "openai", "outcome": "ok"}]
    assert "error" not in line


def test_a_stream(place: Place, key: str) -> None:
    labels = {"surface": "chat", "provider": "deepseek", "model": "deepseek-chat"}
    with grows(
        place, ("gateway_requests_total", {**labels, "status": "200"}, 1),
        ("gateway_stream_ends_total", {"surface": "chat", "provider": "deepseek", "reason": "complete"}, 1),
        ("gateway_usage_total", {"surface": "chat", "provider": "deepseek", "source": "vendor"}, 1),
    ):  # fmt: skip
        answer = place.chat(key, "deepseek-chat", stream=True)
    line = line_of(place, answer)
    assert nano(line["cost"]) == closed(place)[answer.request_id].cost > 0
    assert (line["status"], line["end"]) == (200, "complete")


def test_an_estimate_is_marked_everywhere(place: Place, key: str) -> None:
    labels = {"surface": "chat", "provider": "openai"}
    with grows(
        place,
        ("gateway_usage_total", {**labels, "source": "estimated"}, 1),
        ("gateway_usage_total", {**labels, "source": "vendor"}, 0),
        ("gateway_settlements_total", {"outcome": "no_usage"}, 1),
        ("gateway_tokens_total", {**labels, "source": "vendor"}, 0),
    ):
        answer = place.chat(key, headers={"x-sandbox-no-usage": "1"})
    assert answer.headers["x-gateway-estimated"] == "true"
    line = line_of(place, answer)
    assert (line["outcome"], line["estimated"]) == ("no_usage", True)
    found = closed(place)[answer.request_id]
    assert found.estimated
    assert nano(answer.headers["x-gateway-cost"]) == found.cost > 0


@pytest.mark.parametrize(
    ("body", "key_", "status", "model", "code"),
    [
        (b"{", "right", 400, "", "bad_request"),
        (b'{"model":"nobody","messages":[{}]}', "right", 404, "", "model_not_found"),
        (b"{}", "wrong", 401, "", "invalid_api_key"),
    ],
)
def test_refusals(place: Place, key: str, body: bytes, key_: str, status: int, model: str, code: str) -> None:
    with grows(
        place,
        ("gateway_requests_total", {"surface": "chat", "model": model, "provider": "", "status": str(status)}, 1),
        ("gateway_requests_total", {}, 1),
        ("gateway_attempts_total", {}, 0),
        ("gateway_usage_total", {}, 0),
        ("gateway_settlements_total", {}, 0),
        ("gateway_stream_ends_total", {}, 0),
    ):
        answer = place.call(CHAT, body, key if key_ == "right" else "wrong")
    assert answer.status == status
    line = line_of(place, answer)
    assert (line["status"], line["error"], line["model"]) == (status, code, model)
    assert "cost" not in line
    assert ("account" in line) == (key_ == "right")


def test_failures_and_breakers(place: Place, key: str) -> None:
    with grows(
        place,
        ("gateway_attempts_total", {"provider": "minimax", "outcome": "500"}, 5),
        ("gateway_settlements_total", {"outcome": "failed"}, 6),
        ("gateway_requests_total", {"model": "broken", "status": "500"}, 5),
        ("gateway_requests_total", {"model": "broken", "status": "503"}, 1),
        ("gateway_breaker_state", {"provider": "minimax"}, 2),
        ("gateway_cost_nanocredits_total", {}, 0),
    ):
        answers = [place.chat(key, "broken") for _ in range(6)]
    assert [answer.status for answer in answers] == [500] * 5 + [503]
    assert answers[-1].error["code"] == "no_target_available"
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].headers["x-gateway-attempts"] == "0"
    line = line_of(place, answers[0])
    assert (line["outcome"], line["error"], line["cost"]) == ("failed", "vendor_error", "0")


def test_a_failover_is_told(place: Place, key: str) -> None:
    """The first target is out of order for this call only: both vendors read the same header, one is let off."""
    with grows(
        place,
        ("gateway_attempts_total", {"provider": "siliconflow", "outcome": "503"}, 1),
        ("gateway_attempts_total", {"provider": "deepseek", "outcome": "503"}, 1),
    ):
        answer = place.chat(key, "deepseek-chat", headers={"x-sandbox-status": "503"})
    assert answer.headers["x-gateway-attempts"] == "2"
    assert [tried["provider"] for tried in line_of(place, answer)["tried"]] == ["deepseek", "siliconflow"]


def test_a_hit(place: Place, key: str) -> None:
    place.chat(key, "kept")
    with grows(
        place,
        ("gateway_settlements_total", {"outcome": "cached"}, 1),
        ("gateway_cost_nanocredits_total", {"model": "kept"}, nano("0.5")),
        ("gateway_cache_requests_total", {"result": "hit"}, 1),
        ("gateway_tokens_total", {}, 0),
        ("gateway_attempts_total", {}, 0),
    ):
        answer = place.chat(key, "kept")
    line = line_of(place, answer)
    assert (line["outcome"], line["cost"], line["cache"]) == ("cached", "0.5", "hit")


@pytest.mark.parametrize(
    ("path", "surface", "body"),
    [("/v1/embeddings", "embeddings", {"model": "embedder", "input": ["a", "b"]}),
     ("/rerank", "rerank", {"model": "reranker", "query": "a", "documents": ["b", "c"]}),
     ("/responses", "responses", {"model": "gpt-4o", "input": "Hello"})],
)  # fmt: skip
def test_each_surface_has_its_name(place: Place, key: str, path: str, surface: str, body: dict[str, Any]) -> None:
    with grows(place, ("gateway_requests_total", {"surface": surface, "model": body["model"], "status": "200"}, 1)):
        answer = place.call(path, body, key)
    line = line_of(place, answer)
    assert line["surface"] == surface
    assert nano(line["cost"]) == closed(place)[answer.request_id].cost > 0


def test_the_books_the_metrics_and_the_log_agree(place: Place, key: str) -> None:
    """After all of the above: the same calls, the same sums."""
    calls = closed(place)
    wait_until(lambda: place.value_of("gateway_settlements_total") == len(calls), "calls and settlements differ")
    assert place.value_of("gateway_cost_nanocredits_total") == sum(call.cost for call in calls.values())
    logged = {line["request_id"]: line for line in place.lines() if line.get("outcome")}
    assert logged.keys() == calls.keys()
    for request_id, call in calls.items():
        assert (logged[request_id]["outcome"], nano(logged[request_id]["cost"])) == (call.outcome, call.cost)


def test_made_up_names_are_no_labels(place: Place, key: str) -> None:
    """Else one client could fill the metrics, and push out the names that count."""
    with grows(place, ("gateway_requests_total", {"surface": "chat", "status": "404"}, 50)):
        for number in range(50):
            assert place.call(CHAT, {"model": f"made-up-{number}", "messages": [{}]}, key).status == 404
    assert "made-up" not in place._open_metrics().body.decode()


def test_nothing_private_is_in_metrics_and_logs(place: Place, key: str) -> None:
    place.call("/metrics", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    wait_until(lambda: any(line["surface"] == "gateway" for line in place.lines()), "the page is not logged")
    for private in (SECRET_TEXT, key, ADMIN_KEY, "sk-vendor", "127.0.0.1"):
        assert private not in place._open_metrics().body.decode()
        assert private not in place.stdout
