"""What the `openai` SDK raises for each refusal, the gateway's own and the vendors'; none of it costs anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.clients.openai_sdk import HELLO
from tests.clients.seen import openai as seen
from tests.unified.clients.billing import Bill
from tests.unified.place import MODELS as USUAL
from tests.unified.place import PRICE, VENDOR_KEY, Place


def _at(provider: str, model: str) -> dict[str, Any]:
    return {"targets": [{"provider": provider, "model": model}], "price": PRICE}


# Vendors that fail are each their own: a key that was limited, and a target that failed often, rest for a while.
MODELS = USUAL | {
    "failing": _at("lingyi", "yi-large+status=500"),
    "overloaded": _at("stepfun", "step-1+status=503"),
    "busy": _at("moonshot", "kimi-k2+status=429+retry_after=7"),
    "refusing-our-key": _at("deepseek", "deepseek-chat+status=401"),
    "silent": _at("zhipu", "glm-4.6+refuse"),
    "cut": _at("openai", "gpt-4o+cut=3"),
    "ended": _at("openai", "gpt-4o+end=3"),
    "broken": _at("openai", "gpt-4o+error200=2"),
    "filtered": _at("openai", "gpt-4o+filter=before"),
    "standby": {
        "targets": [
            {"provider": "baidu", "model": "ernie-4.5+status=500"},
            {"provider": "openai", "model": "gpt-4o", "priority": 2},
        ],
        "price": PRICE,
    },
}
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def restricted(place: Place) -> str:
    """A key with neither credit nor much else: two models, one request a minute."""
    return place.key("--models", "gpt-4o,free", "--rpm", "1", credits=None, name="restricted")


@pytest.fixture
def ask(place: Place, bill: Bill) -> Ask:
    """A chat with the SDK, plain or read to its end."""

    def asking(model: str = "gpt-4o", key: str | None = None, stream: bool = False, **more: Any) -> Any:
        base = f"http://127.0.0.1:{place.port}/v1"
        with OpenAI(base_url=base, api_key=key or bill.key, max_retries=0) as sdk:
            reply = sdk.chat.completions.create(model=model, messages=HELLO, stream=stream, **more)
            return list(reply) if stream else reply

    return asking


@contextlib.contextmanager
def refused(kind: type[openai.APIStatusError], status: int, code: str | None) -> Iterator[Any]:
    """The block raises just this; the error says what it is and names no secret. Gives a list that holds the error."""
    found: list[openai.APIStatusError] = []
    with pytest.raises(kind) as caught:
        yield found
    error = caught.value
    found.append(error)
    assert type(error) is kind
    assert error.status_code == status
    assert error.code == code, error.body
    assert error.request_id == error.response.headers["x-request-id"]
    assert isinstance(error.body, dict)
    assert error.body["message"]
    assert VENDOR_KEY not in str(error)
    assert "127.0.0.1" not in str(error)


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_key(ask: Ask, stream: bool) -> None:
    with refused(openai.AuthenticationError, 401, "invalid_api_key"):
        ask(key="gw-of-somebody-else", stream=stream)


def test_a_restricted_key(ask: Ask, restricted: str) -> None:
    with refused(openai.PermissionDeniedError, 403, "model_not_allowed"):
        ask("deepseek-chat", restricted)
    with refused(openai.APIStatusError, 402, "insufficient_credit"):
        ask("gpt-4o", restricted)
    # Neither has taken anything from the limit.
    assert ask("free", restricted).usage.total_tokens
    with refused(openai.RateLimitError, 429, "rate_limit_exceeded") as found:
        ask("free", restricted)
    headers = found[0].response.headers
    assert 1 <= int(headers["retry-after"]) <= 60
    assert headers["x-ratelimit-limit-requests"] == "1"
    assert headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model(ask: Ask, bill: Bill, stream: bool) -> None:
    with refused(openai.NotFoundError, 404, "model_not_found"):
        ask("no-such-model", stream=stream)
    bill.free("")


def test_other_surfaces_and_paths(place: Place, bill: Bill) -> None:
    with OpenAI(base_url=f"http://127.0.0.1:{place.port}/v1", api_key=bill.key, max_retries=0) as sdk:
        with refused(openai.NotFoundError, 404, "model_not_found"):
            sdk.models.retrieve("no-such-model")
        with refused(openai.NotFoundError, 404, "model_not_found"):
            sdk.responses.create(model="no-such-model", input="x")
        with refused(openai.NotFoundError, 404, "model_not_found"):
            sdk.embeddings.create(model="no-such-model", input="x")
        with pytest.raises(openai.BadRequestError, match="embedder"):
            sdk.chat.completions.create(model="embedder", messages=HELLO)
        with pytest.raises(openai.NotFoundError):
            sdk.get("/no/such/path", cast_to=object)
    bill.free("", "", "")  # what is no call of a model is on nobody's account


def test_what_the_vendor_finds_wrong(ask: Ask, bill: Bill) -> None:
    """Status and message are the vendor's own."""
    with refused(openai.BadRequestError, 400, "invalid_value") as found:
        ask(temperature=99)
    assert found[0].param == "temperature"
    with refused(openai.BadRequestError, 400, "content_policy_violation"):
        ask("filtered")
    bill.free("failed", "failed")


@pytest.mark.parametrize("stream", [False, True])
def test_a_vendor_that_is_busy(ask: Ask, bill: Bill, stream: bool) -> None:
    with pytest.raises(openai.RateLimitError if not stream else openai.APIStatusError) as caught:
        ask("busy", stream=stream)
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 7
    bill.free("failed")


@pytest.mark.parametrize(
    ("model", "status"), [("failing", 500), ("overloaded", 503), ("refusing-our-key", 502), ("silent", 502)]
)
def test_a_vendor_that_fails(ask: Ask, bill: Bill, model: str, status: int) -> None:
    """A vendor that refuses the gateway's key is the gateway's trouble: the client's own key is good."""
    with pytest.raises(openai.InternalServerError) as caught:
        ask(model)
    assert caught.value.status_code == status
    assert VENDOR_KEY not in str(caught.value)
    bill.free("failed")


def test_a_standby_takes_over_unseen(ask: Ask, bill: Bill) -> None:
    reply = ask("standby")
    bill.charged(seen("", reply.usage))


@pytest.mark.parametrize("model", ["cut", "ended"])
def test_a_stream_that_the_vendor_cut_is_cut_for_the_client(ask: Ask, bill: Bill, model: str) -> None:
    """Were it to end cleanly, half an answer would pass for a whole one."""
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        ask(model, stream=True)
    bill.free("vendor_truncated")


def test_an_error_in_the_middle_of_a_stream(ask: Ask, bill: Bill) -> None:
    with pytest.raises(openai.APIError, match="server had an error"):
        ask("broken", stream=True)
    bill.free("failed")
