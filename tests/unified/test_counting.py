"""How many tokens a request has, over every vendor dialect: vendors that can say are asked, else it is estimated."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from google import genai
from google.genai import errors, types

from tests.clients.media import PIXEL
from tests.clients.places import Sandbox, at_sandbox
from tests.unified.entries import wait_until
from tests.unified.matrix.cells import TARGETS
from tests.unified.place import PRICE, Place

COUNTING = ("openai.responses", "anthropic.messages", "gemini.generate")
ESTIMATED = tuple(dialect for dialect in TARGETS if dialect not in COUNTING)
FAILING = (403, 404, 429, 500, 529)  # of a vendor's call for counting: the number is estimated
OFTEN = 7  # more than a breaker takes
FAULTS = {400: anthropic.BadRequestError, 413: anthropic.RequestTooLargeError, 422: anthropic.UnprocessableEntityError}
MODELS: dict[str, Any] = {
    dialect: {"targets": [{"provider": provider, "model": model, "dialect": dialect}], "price": PRICE}
    for dialect, (provider, model) in TARGETS.items()
} | {
    f"status {status}": {
        "targets": [{"provider": "often", "model": f"claude-haiku-4-5+status={status}+times={OFTEN}"}], "price": PRICE,
    }
    for status in (*FAILING, *FAULTS)
}  # fmt: skip
REFUSED = "claude-haiku-4-5+status=401+times=99"
MODELS["refused key"] = {"targets": [{"provider": "refusing", "model": REFUSED}]}
TOOLS: list[Any] = [
    {
        "name": "weather", "description": "The weather of a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]  # fmt: skip
PICTURE = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PIXEL).decode()}
QUESTIONS: dict[str, dict[str, Any]] = {
    "a text": {"messages": [{"role": "user", "content": "how many tokens may this be"}]},
    "a picture": {
        "system": "be brief",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image", "source": PICTURE}]}
        ],
    },
    "tools": {
        "tools": TOOLS,
        "messages": [
            {"role": "user", "content": "the weather, please"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "toolu_0", "name": "weather", "input": {"city": "Paris"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_0", "content": "sunny"}]},
        ],
    },
}  # fmt: skip
Counted = tuple[int, bool]  # the number, and whether it is marked as an estimate


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Place]:
    vendor = at_sandbox(sandbox.port)["anthropic"] | {"keys": ["env:VENDOR_KEY"]}
    providers = {"often": vendor, "refusing": vendor}
    running = Place(tmp_path_factory.mktemp("counting"), sandbox, providers=providers, models=MODELS)
    running.start()
    yield running
    assert running.stop() == 0, running.stderr[-3000:]
    assert "Traceback" not in running.stderr, running.stderr[-3000:]
    assert running.verified()["open_holds"] == 0


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


@pytest.fixture(scope="module")
def claude(place: Place, key: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=f"http://127.0.0.1:{place.port}", api_key=key, max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def google(place: Place, key: str) -> Iterator[genai.Client]:
    sdk = gemini(f"http://127.0.0.1:{place.port}", key)
    yield sdk
    sdk.close()


def gemini(base: str, key: str) -> genai.Client:
    options = types.HttpOptions(base_url=base, retry_options=types.HttpRetryOptions(attempts=1))
    return genai.Client(api_key=key, http_options=options)


def counted(sdk: anthropic.Anthropic, model: str, **question: Any) -> Counted:
    found = sdk.messages.with_raw_response.count_tokens(model=model, **question)
    return found.parse().input_tokens, found.headers.get("x-gateway-estimated") == "true"


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("dialect", COUNTING)
def test_vendors_that_count_are_asked(claude: anthropic.Anthropic, dialect: str, question: str) -> None:
    """The number is that of the call itself."""
    asked = QUESTIONS[question]
    answer = claude.messages.create(model=dialect, max_tokens=100, **asked)
    assert counted(claude, dialect, **asked) == (answer.usage.input_tokens, False)


@pytest.mark.parametrize("dialect", COUNTING)
def test_vendors_that_count_are_asked_by_gemini(google: genai.Client, dialect: str) -> None:
    asked: Any = ["one question", types.Part.from_bytes(data=PIXEL, mime_type="image/png")]
    found = google.models.count_tokens(model=dialect, contents=asked)
    answer = google.models.generate_content(model=dialect, contents=asked)
    assert answer.usage_metadata is not None
    assert found.total_tokens == answer.usage_metadata.prompt_token_count
    assert found.sdk_http_response is not None
    assert "x-gateway-estimated" not in (found.sdk_http_response.headers or {})


def test_the_numbers_are_the_vendors_own(place: Place, claude: anthropic.Anthropic, google: genai.Client) -> None:
    direct = f"http://127.0.0.1:{place.sandbox.port}"
    with anthropic.Anthropic(base_url=direct + "/anthropic", api_key="sk-of-nobody", max_retries=0) as theirs:
        for question in QUESTIONS.values():
            wanted = theirs.messages.count_tokens(model="claude-sonnet-4-5", **question).input_tokens
            assert counted(claude, "anthropic.messages", **question) == (wanted, False)
    vendor = gemini(direct + "/gemini", "sk-of-nobody")
    own, through = (
        sdk.models.count_tokens(model=model, contents="how many are these")
        for sdk, model in ((vendor, "gemini-3-pro"), (google, "gemini.generate"))
    )
    vendor.close()
    assert through.model_dump(exclude={"sdk_http_response"}) == own.model_dump(exclude={"sdk_http_response"})


@pytest.mark.parametrize("dialect", ESTIMATED)
def test_others_are_estimated(claude: anthropic.Anthropic, google: genai.Client, dialect: str) -> None:
    few, many = "one two three", "one two three " * 200
    for words, least, most in ((few, 1, 40), (many, 300, 1200)):
        number, estimated = counted(claude, dialect, messages=[{"role": "user", "content": words}])
        assert estimated
        assert least <= number <= most
        found = google.models.count_tokens(model=dialect, contents=words)
        assert least <= (found.total_tokens or 0) <= most
        assert found.sdk_http_response is not None
        assert (found.sdk_http_response.headers or {})["x-gateway-estimated"] == "true"


def test_a_whole_request_for_gemini(place: Place, key: str) -> None:
    """`generateContentRequest`: with the system's words and the tools."""
    contents = [{"role": "user", "parts": [{"text": "how many tokens"}]}]
    whole = {
        "contents": contents,
        "systemInstruction": {"parts": [{"text": "be very brief indeed"}]},
        "tools": [{"functionDeclarations": [{"name": "weather", "description": "The weather"}]}],
    }
    for dialect in COUNTING:
        path = f"/v1beta/models/{dialect}"
        asked = {"model": f"models/{dialect}", **whole}
        counted = place.call(f"{path}:countTokens", {"generateContentRequest": asked}, key)
        assert counted.status == 200, counted.body
        answer = place.call(f"{path}:generateContent", whole, key)
        assert counted.json["totalTokens"] == answer.json["usageMetadata"]["promptTokenCount"], dialect
        short = place.call(f"{path}:countTokens", {"contents": contents}, key)
        assert short.json["totalTokens"] < counted.json["totalTokens"]


@pytest.mark.parametrize("status", FAILING)
def test_a_vendor_that_cannot_count_is_no_reason_to_fail(claude: anthropic.Anthropic, status: int) -> None:
    """Nor is it any the worse for answers: what counts has limits and faults of its own."""
    model, question = f"status {status}", QUESTIONS["a text"]
    for _ in range(OFTEN):
        number, estimated = counted(claude, model, **question)
        assert estimated
        assert number > 0
    answer = claude.messages.create(model=model, max_tokens=100, **question)
    assert counted(claude, model, **question) == (answer.usage.input_tokens, False)


def test_a_key_that_a_vendor_refuses_rests(place: Place, claude: anthropic.Anthropic) -> None:
    """That says something about answers, too."""
    for _ in range(3):
        assert counted(claude, "refused key", **QUESTIONS["a text"])[1]
    assert [row["calls"] for row in place.calls()["calls"] if row["model"] == REFUSED] == [1]


@pytest.mark.parametrize("status", FAULTS)
def test_what_is_wrong_with_a_request_is_told(claude: anthropic.Anthropic, status: int) -> None:
    with pytest.raises(FAULTS[status]) as caught:
        claude.messages.count_tokens(model=f"status {status}", **QUESTIONS["a text"])
    assert caught.value.status_code == status


def test_the_vendors_own_words_for_a_mistake(claude: anthropic.Anthropic, google: genai.Client) -> None:
    turn: Any = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_9", "content": "lost"}]}]
    with pytest.raises(anthropic.BadRequestError, match="tool_use_id"):
        claude.messages.count_tokens(model="anthropic.messages", messages=turn)
    bad = types.Content(role="user", parts=[types.Part(text="x")])
    bad.role = "judge"
    with pytest.raises(errors.ClientError) as caught:
        google.models.count_tokens(model="gemini.generate", contents=[bad])
    assert caught.value.code == 400


def test_nobody_counts_without_a_key(place: Place) -> None:
    base, nobody = f"http://127.0.0.1:{place.port}", "sk-of-nobody"
    with anthropic.Anthropic(base_url=base, api_key=nobody) as sdk, pytest.raises(anthropic.AuthenticationError):
        sdk.messages.count_tokens(model="anthropic.messages", **QUESTIONS["a text"])
    stranger = gemini(base, nobody)
    with pytest.raises(errors.ClientError) as caught:
        stranger.models.count_tokens(model="gemini.generate", contents="hello")
    stranger.close()
    assert caught.value.code == 401
    unnamed = httpx.post(base + "/v1/messages/count_tokens", json={})
    assert unnamed.status_code == 401
    assert unnamed.json()["error"]["type"] == "authentication_error"


def test_counting_is_free_and_no_usage(place: Place) -> None:
    """Also for those who have no credit."""
    key = place.key(name="poor", credits=None)
    base = f"http://127.0.0.1:{place.port}"
    before = place.value_of("gateway_tokens_total"), place.value_of("gateway_usage_total")
    with anthropic.Anthropic(base_url=base, api_key=key, max_retries=0) as sdk:
        for dialect in TARGETS:
            assert counted(sdk, dialect, **QUESTIONS["tools"])[0] > 0
    google = gemini(base, key)
    for dialect in TARGETS:
        assert google.models.count_tokens(model=dialect, contents="hello there").total_tokens
    google.close()
    wait_until(lambda: sum(line.get("account") == "poor" for line in place.lines()) == 2 * len(TARGETS), "not logged")
    lines = [line for line in place.lines() if line.get("account") == "poor"]
    assert not any(line.get("usage") or line.get("cost", "0") != "0" for line in lines), lines
    assert {line["surface"] for line in lines} == {"messages", "gemini"}
    assert place.history("poor") == []
    assert (place.value_of("gateway_tokens_total"), place.value_of("gateway_usage_total")) == before


def test_rate_limits_count_it(place: Place) -> None:
    key = place.key("--rpm", "2", name="slow")
    with anthropic.Anthropic(base_url=f"http://127.0.0.1:{place.port}", api_key=key, max_retries=0) as sdk:
        assert counted(sdk, "anthropic.messages", **QUESTIONS["a text"])[0] > 0
        assert counted(sdk, "openai.chat", **QUESTIONS["a text"])[0] > 0
        with pytest.raises(anthropic.RateLimitError) as caught:
            sdk.messages.count_tokens(model="anthropic.messages", **QUESTIONS["a text"])
    assert int(caught.value.response.headers["retry-after"]) > 0
