"""What a conversion tells beside the answer: whose name, what was left behind, what a vendor's quirks change."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.places import Sandbox, at_sandbox
from tests.unified.place import PRICE, VENDOR_KEY, Place
from tests.wire.ends import PATIENCE

MODELS: dict[str, Any] = {
    "claude": {"targets": [{"provider": "anthropic", "model": "claude-sonnet-4-5"}], "price": PRICE},
    "claude-sonnet-4-5": {"targets": [{"provider": "anthropic", "model": "claude-sonnet-4-5"}], "price": PRICE},
    "g": {"targets": [{"provider": "gemini", "model": "gemini-3-pro"}], "price": PRICE},
    "quirky": {"targets": [{"provider": "quirky", "model": "gpt-5.1"}], "price": PRICE},
    "both": {
        "targets": [
            {"provider": "anthropic", "model": "claude-sonnet-4-5"},
            {"provider": "openai", "model": "gpt-4o", "priority": 2},
        ],
        "price": PRICE,
    },
}
HELLO = {"role": "user", "content": "hello there"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Place]:
    directory: Path = tmp_path_factory.mktemp("conversions")
    openai = at_sandbox(sandbox.port)["openai"]
    quirky = {
        **openai, "keys": ["env:VENDOR_KEY"], "speaks": {"openai.chat": openai["speaks"]["openai.chat"]},
        "quirks": {"clamp": {"temperature": [0, 1]}, "drop": ["max_completion_tokens"]},
    }  # fmt: skip
    running = Place(directory, sandbox, models=MODELS, providers={"quirky": quirky})
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


def test_the_model_is_the_clients_name(place: Place, key: str) -> None:
    answer = place.call("/v1/chat/completions", {"model": "claude", "messages": [HELLO]}, key)
    assert answer.json["model"] == "claude"
    assert answer.headers["x-gateway-model"] == "claude-sonnet-4-5"
    assert answer.json["id"].startswith("chatcmpl-")


def test_what_is_left_behind_is_named(place: Place, key: str) -> None:
    body = {"model": "claude", "messages": [HELLO], "seed": 3, "logit_bias": {"1": 2}, "made_up": True}
    answer = place.call("/v1/chat/completions", body, key)
    assert answer.status == 200, answer
    assert set(answer.headers["x-gateway-dropped"].split(", ")) == {"seed", "logit_bias", "made_up"}


@pytest.mark.parametrize("field", [{"n": 2}, {"logprobs": True}, {"modalities": ["text", "audio"]}])
def test_what_would_change_the_answer_is_refused_by_name(place: Place, key: str, field: dict[str, Any]) -> None:
    answer = place.call("/v1/chat/completions", {"model": "claude", "messages": [HELLO], **field}, key)
    assert answer.status == 400, answer
    assert answer.error["code"] == "unsupported"
    assert answer.error["param"] == next(iter(field))
    assert answer.headers["x-gateway-attempts"] == "0"


def test_what_one_target_cannot_carry_another_may(place: Place, key: str) -> None:
    body = {"model": "both", "messages": [HELLO], "logprobs": True}
    answer = place.call("/v1/chat/completions", body, key)
    assert answer.status == 200, answer
    assert answer.headers["x-gateway-provider"] == "openai"


def test_quirks_act_on_converted_requests(place: Place, key: str) -> None:
    body = {"model": "quirky", "max_tokens": 50, "messages": [HELLO]}
    answer = place.call("/v1/messages", body, key)
    assert answer.status == 200, answer
    assert answer.json["type"] == "message"
    assert answer.headers["x-gateway-dropped"] == "max_completion_tokens"
    # The sandbox refuses what it does not know; a body that is not JSON any more would not get through.


def test_anthropics_sdk_finds_the_request_id(place: Place, key: str) -> None:
    body = {"model": "quirky", "max_tokens": 50, "messages": [HELLO]}
    for answer in (place.call("/v1/messages", body, key), place.call("/v1/messages", {"model": "claude"}, key)):
        assert answer.headers["request-id"] == answer.request_id


def test_headers_of_the_clients_dialect_stay_behind(place: Place, key: str) -> None:
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "x", "x-own": "1", "x-sandbox-think": "3"}
    body = {"model": "quirky", "max_tokens": 50, "messages": [HELLO]}
    answer = place.call("/v1/messages", body, key, headers)
    assert answer.status == 200, answer
    assert answer.json["usage"]["output_tokens_details"]["thinking_tokens"] == 3  # the client's own headers went along


@pytest.mark.parametrize("path", ["/v1beta/models/claude:generateContent", "/v1/models/claude%3AgenerateContent"])
def test_geminis_paths(place: Place, key: str, path: str) -> None:
    answer = place.call(path, {"contents": [{"parts": [{"text": "hello there"}]}]}, key)
    assert answer.json["candidates"][0]["content"]["parts"] == [{"text": "You said: hello there"}]
    assert answer.json["modelVersion"] == "claude"


def test_an_array_stream(place: Place, key: str) -> None:
    body = {"contents": [{"parts": [{"text": "hello there"}]}]}
    answer = place.call("/v1beta/models/claude:streamGenerateContent", body, key)
    assert answer.headers["content-type"] == "application/json"
    parts = [part for chunk in answer.json for part in chunk["candidates"][0]["content"]["parts"]]
    assert "".join(part["text"] for part in parts) == "You said: hello there"
    assert answer.json[-1]["usageMetadata"]["totalTokenCount"] > 0


def test_an_array_stream_that_fails_is_still_an_array(place: Place, key: str) -> None:
    body = {"contents": [{"parts": [{"text": "hello there"}]}]}
    headers = {"x-sandbox-error200": "4", "x-sandbox-size": "40", "x-sandbox-pace": "5"}
    answer = place.call("/v1beta/models/claude:streamGenerateContent", body, key, headers)
    assert answer.cut
    assert answer.json[-1]["error"]["status"], answer


def direct(place: Place, path: str, body: Any, headers: dict[str, str]) -> bytes:
    """What the vendor itself answers."""
    connection = http.client.HTTPConnection("127.0.0.1", place.sandbox.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
        return connection.getresponse().read()


ANTHROPIC = {"x-api-key": VENDOR_KEY, "anthropic-version": "2023-06-01"}
GOOGLE = {"x-goog-api-key": VENDOR_KEY}
OURS, GEMINIS = "/v1beta/models/g", "/gemini/v1beta/models/gemini-3-pro"
HI = {"contents": [{"parts": [{"text": "hello there"}]}]}


@pytest.mark.parametrize(
    ("ours", "theirs", "body", "headers"),
    [
        ("/v1/messages", "/anthropic/v1/messages", {"stream": False}, ANTHROPIC),
        ("/v1/messages", "/anthropic/v1/messages", {"stream": True}, ANTHROPIC),
        (OURS + ":generateContent", GEMINIS + ":generateContent", HI, GOOGLE),
        (OURS + ":streamGenerateContent", GEMINIS + ":streamGenerateContent", HI, GOOGLE),
        (OURS + ":streamGenerateContent?alt=sse", GEMINIS + ":streamGenerateContent?alt=sse", HI, GOOGLE),
    ],
)
def test_the_same_dialect_passes_to_the_byte(
    place: Place, key: str, ours: str, theirs: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    if "stream" in body:
        body = {"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": [HELLO], **body}
    answer = place.call(ours, body, key, {"anthropic-version": "2023-06-01"})
    assert answer.status == 200, answer
    expected = direct(place, theirs, body, headers)
    own = re.compile(rb"[0-9a-f]{12,}|\d{4}-\d\d-\d\dT[\d:.]+Z")
    assert own.sub(b"", answer.body) == own.sub(b"", expected)
