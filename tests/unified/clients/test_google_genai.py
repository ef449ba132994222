"""The `google-genai` SDK with a gateway key, over vendors that do not speak its dialect."""

from __future__ import annotations

import asyncio
import enum
import io
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from tests.clients.media import PIXEL
from tests.clients.seen import Seen
from tests.clients.seen import gemini as seen
from tests.unified.clients import others
from tests.unified.clients.billing import Bill, cost
from tests.unified.clients.others import QUESTION, Trip
from tests.unified.place import PRICE, VENDOR_KEY, Place

# Vendors that fail are each their own: a key that was limited, and a target that failed often, rest for a while.
MODELS = others.MODELS | {
    "failing": others.at("lingyi", "yi-large+status=500", "openai.chat"),
    "overloaded": others.at("stepfun", "step-1+status=503", "openai.chat"),
    "busy": others.at("moonshot", "kimi-k2+status=429+retry_after=7", "openai.chat"),
    "soon": others.at("xunfei", "generalv3.5+status=503+times=1", "openai.chat"),
    "filtered": others.at("openai", "gpt-4o+filter=after", "openai.chat"),
    "cut": others.at("openai", "gpt-4o+cut=3", "openai.chat"),
    "broken": others.at("anthropic", "claude-sonnet-4-5+error200=2", "anthropic.messages"),
}
# The SDK's asynchronous half subclasses a class of aiohttp's that does not want to be.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
VENDORS = ["gpt", "gpt-responses", "claude", "deepseek", "qwen"]
SAID = "You said: hello there"
HELLO = "hello there"
every_vendor = pytest.mark.parametrize("model", VENDORS)
some_vendors = pytest.mark.parametrize("model", ["gpt", "claude", "qwen"])


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Leg(BaseModel):
    """Nested, with lists, choices and what may be missing: what becomes of such schemas differs most."""

    to: Trip
    colour: Colour
    notes: list[str]
    guide: str | None


def weather(city: str) -> dict[str, str]:
    """The weather of a city.

    Args:
        city: Its name.
    """
    return {"result": f"rain in {city}"}


def clock() -> str:
    """The time of day."""
    return "noon"


def options(place: Place, attempts: int = 1, **more: Any) -> types.HttpOptions:
    retry = types.HttpRetryOptions(attempts=attempts, initial_delay=0.1)
    return types.HttpOptions(base_url=f"http://127.0.0.1:{place.port}", retry_options=retry, **more)


@pytest.fixture
def sdk(place: Place, bill: Bill) -> Iterator[genai.Client]:
    with genai.Client(api_key=bill.key, http_options=options(place)) as client:
        yield client


def told(*answers: Any) -> list[Seen]:
    return [seen("", answer.usage_metadata) for answer in answers]


@every_vendor
def test_whole_and_streamed(sdk: genai.Client, bill: Bill, model: str) -> None:
    config = types.GenerateContentConfig(system_instruction="Be brief.", max_output_tokens=100, temperature=0.5)
    whole = sdk.models.generate_content(model=model, contents=HELLO, config=config)
    chunks = list(sdk.models.generate_content_stream(model=model, contents=HELLO, config=config))
    assert whole.text == SAID
    assert "".join(chunk.text or "" for chunk in chunks) == SAID
    assert len(chunks) > 2
    for last in (whole, chunks[-1]):
        assert last.candidates
        assert last.candidates[0].finish_reason == types.FinishReason.STOP
        assert last.model_version == model
        assert last.response_id
    headers: Any = whole.sdk_http_response.headers  # type: ignore[union-attr]
    assert headers["x-gateway-provider"] == MODELS[model]["targets"][0]["provider"]
    assert bill.charged(*told(whole, chunks[-1]))[0] == headers["x-gateway-cost"]


@some_vendors
async def test_the_asynchronous_client(place: Place, bill: Bill, model: str) -> None:
    async def clock() -> str:
        """The time of day."""
        await asyncio.sleep(0)
        return "midnight"

    async with genai.Client(api_key=bill.key, http_options=options(place)).aio as sdk:
        whole = await sdk.models.generate_content(model=model, contents=HELLO)
        stream = await sdk.models.generate_content_stream(model=model, contents=HELLO)
        chunks = [chunk async for chunk in stream]
        chat = sdk.chats.create(model=model, config={"tools": [weather, clock]})
        called = await chat.send_message("the clock")
        counted = await sdk.models.count_tokens(model=model, contents=HELLO)
    assert whole.text == "".join(chunk.text or "" for chunk in chunks) == SAID
    assert called.text == "The tool said: midnight"
    assert counted.total_tokens
    costs = [amount for outcome, amount in bill.outcomes(5)]
    assert costs[:2] == [cost(PRICE, usage) for usage in told(whole, chunks[-1])]
    assert costs[3:] == [cost(PRICE, told(called)[0]), 0]


@every_vendor
def test_a_chat_that_calls_functions_by_itself(sdk: genai.Client, bill: Bill, model: str) -> None:
    """The SDK makes declarations of Python functions, calls them, and keeps the history."""
    chat = sdk.chats.create(model=model, config=types.GenerateContentConfig(tools=[weather, clock]))
    first = chat.send_message(QUESTION)
    second = chat.send_message("once more the clock")
    assert first.text == second.text == "The tool said: noon"
    history = chat.get_history()
    assert [content.role for content in history] == ["user", "model"] * 4
    assert [[part.function_call.name for part in content.parts or [] if part.function_call] for content in history] == [
        [], ["weather", "clock"], [], [], [], ["clock"], [], [],
    ]  # fmt: skip
    costs = [amount for _, amount in bill.outcomes(4)]
    assert costs[1::2] == [cost(PRICE, usage) for usage in told(first, second)]


@some_vendors
def test_a_streamed_chat_with_functions(sdk: genai.Client, bill: Bill, model: str) -> None:
    config = types.GenerateContentConfig(
        tools=[weather, clock],
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=1024),
        max_output_tokens=3000,
    )
    chat = sdk.chats.create(model=model, config=config)
    texts = []
    for words in (QUESTION, "once more the clock"):
        parts = [part for chunk in chat.send_message_stream(words) for part in chunk.parts or []]
        texts.append("".join(part.text for part in parts if part.text and not part.thought))
    assert texts == ["The tool said: noon"] * 2
    assert [outcome for outcome, _ in bill.outcomes(4)] == ["complete"] * 4


@every_vendor
@pytest.mark.parametrize("stream", [False, True])
def test_thoughts(sdk: genai.Client, bill: Bill, model: str, stream: bool) -> None:
    shown = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
    config = types.GenerateContentConfig(thinking_config=shown, max_output_tokens=3000)
    ask = sdk.models.generate_content_stream if stream else sdk.models.generate_content
    found: Any = ask(model=model, contents=HELLO, config=config)
    chunks = list(found) if stream else [found]
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
    assert "".join(part.text for part in parts if part.text and not part.thought) == SAID
    usage = told(chunks[-1])[0]
    if model == "qwen" and not stream:
        assert usage.reasoning == 0  # its models think in streams only: the wish is dropped, and named
        assert chunks[0].sdk_http_response.headers["x-gateway-dropped"] == "generationConfig.thinkingConfig"
    else:
        assert usage.reasoning > 0
        # OpenAI's chats tell how much was thought, not what.
        assert any(part.thought for part in parts) == (model != "gpt")
    bill.charged(usage)


def test_thoughts_are_shown_only_if_wanted(sdk: genai.Client, bill: Bill) -> None:
    config = types.GenerateContentConfig(
        thinking_config=types.ThinkingConfig(thinking_budget=1024), max_output_tokens=3000
    )
    found = sdk.models.generate_content(model="claude", contents=HELLO, config=config)
    assert found.text == SAID
    assert not any(part.thought for part in found.parts or [])
    assert told(found)[0].reasoning > 0
    bill.charged(*told(found))


@pytest.mark.parametrize("model", ["gpt", "gpt-responses", "claude", "qwen"])
@pytest.mark.parametrize("kind", [Trip, Leg])
def test_structured_output(sdk: genai.Client, bill: Bill, model: str, kind: Any) -> None:
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=kind)
    found = sdk.models.generate_content(model=model, contents="three days in Rome", config=config)
    assert isinstance(found.parsed, kind)
    bill.charged(*told(found))


def test_lists_as_structured_output(sdk: genai.Client, bill: Bill) -> None:
    """OpenAI wants an object at the top, and says so."""
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=list[Trip])
    found = sdk.models.generate_content(model="qwen", contents="three days in Rome", config=config)
    assert isinstance(found.parsed, list)
    assert all(isinstance(item, Trip) for item in found.parsed)
    with pytest.raises(errors.ClientError, match="object"):
        sdk.models.generate_content(model="gpt", contents="three days in Rome", config=config)
    assert bill.outcomes(2) == [("complete", cost(PRICE, told(found)[0])), ("failed", 0)]


def test_json_schemas(sdk: genai.Client, bill: Bill) -> None:
    config = types.GenerateContentConfig(
        response_mime_type="application/json", response_json_schema=Trip.model_json_schema()
    )
    found = sdk.models.generate_content(model="gpt", contents="three days in Rome", config=config)
    Trip.model_validate_json(found.text or "")
    bill.charged(*told(found))


@pytest.mark.parametrize("model", ["gpt", "gpt-responses", "claude", "qwen-sees"])
def test_pictures(sdk: genai.Client, bill: Bill, model: str) -> None:
    picture = types.Part.from_bytes(data=PIXEL, mime_type="image/png")
    found = sdk.models.generate_content(model=model, contents=["look", picture])
    assert found.text == "You said: look (1 image)"
    bill.charged(*told(found))


@some_vendors
def test_forced_and_forbidden_functions(sdk: genai.Client, bill: Bill, model: str) -> None:
    off = types.AutomaticFunctionCallingConfig(disable=True)

    def asking(mode: types.FunctionCallingConfigMode, names: list[str] | None = None) -> Any:
        calling = types.FunctionCallingConfig(mode=mode, allowed_function_names=names)
        return sdk.models.generate_content(
            model=model, contents=HELLO,
            config=types.GenerateContentConfig(
                tools=[weather, clock], automatic_function_calling=off,
                tool_config=types.ToolConfig(function_calling_config=calling),
            ),
        )  # fmt: skip

    none = asking(types.FunctionCallingConfigMode.NONE)
    one = asking(types.FunctionCallingConfigMode.ANY, ["clock"])
    assert none.text == SAID
    assert [call.name for call in one.function_calls] == ["clock"]
    assert one.function_calls[0].id
    bill.charged(*told(none, one))


@every_vendor
def test_counting_tokens_is_free(sdk: genai.Client, bill: Bill, model: str) -> None:
    few = sdk.models.count_tokens(model=model, contents=HELLO)
    more = sdk.models.count_tokens(model=model, contents=[HELLO, "and then some more words"])
    assert (more.total_tokens or 0) > (few.total_tokens or 0) > 0
    headers: Any = few.sdk_http_response.headers  # type: ignore[union-attr]
    assert headers.get("x-gateway-estimated") == (None if model in ("claude", "gpt-responses") else "true")
    assert bill.outcomes(2) == [("complete", 0)] * 2


def test_vectors(sdk: genai.Client, bill: Bill) -> None:
    one = sdk.models.embed_content(model="embedder", contents="one two three")
    both = sdk.models.embed_content(
        model="embedder", contents=["one two three", "four"],
        config=types.EmbedContentConfig(output_dimensionality=16),
    )  # fmt: skip
    assert len((one.embeddings or [])[0].values or []) > 16
    assert [len(item.values or []) for item in both.embeddings or []] == [16, 16]
    assert [outcome for outcome, _ in bill.outcomes(2)] == ["complete"] * 2
    assert all(amount > 0 for _, amount in bill.outcomes(2))


def test_models(sdk: genai.Client) -> None:
    names = {model.name for model in sdk.models.list()}
    assert names == {f"models/{name}" for name in MODELS}
    one = sdk.models.get(model="claude")
    assert one.name == "models/claude"
    assert "generateContent" in (one.supported_actions or [])
    assert (sdk.models.get(model="embedder").supported_actions or [])[0] == "embedContent"
    with pytest.raises(errors.ClientError) as caught:
        sdk.models.get(model="no-such-model")
    assert caught.value.code == 404


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "kind", "code", "name"),
    [
        ("no-such-model", errors.ClientError, 404, "NOT_FOUND"),
        ("embedder", errors.ClientError, 400, "INVALID_ARGUMENT"),
        ("failing", errors.ServerError, 500, "INTERNAL"),
        ("overloaded", errors.ServerError, 503, "UNAVAILABLE"),
        ("busy", errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
    ],
)
def test_errors(sdk: genai.Client, bill: Bill, model: str, kind: type[errors.APIError], code: int, name: str) -> None:
    with pytest.raises(kind) as caught:
        sdk.models.generate_content(model=model, contents=HELLO)
    error = caught.value
    assert (error.code, error.status) == (code, name)
    assert error.message
    assert VENDOR_KEY not in str(error)
    assert len(bill.ended(1)) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_key(place: Place, stream: bool) -> None:
    with genai.Client(api_key="gw-of-somebody-else", http_options=options(place)) as sdk:
        ask = sdk.models.generate_content_stream if stream else sdk.models.generate_content
        with pytest.raises(errors.ClientError) as caught:
            list(ask(model="gpt", contents=HELLO))  # type: ignore[arg-type, operator]
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")


def test_the_sdk_tries_again(place: Place, bill: Bill) -> None:
    with genai.Client(api_key=bill.key, http_options=options(place, attempts=3)) as sdk:
        found = sdk.models.generate_content(model="soon", contents=HELLO)
    assert found.text == SAID
    assert bill.outcomes(2) == [("failed", 0), ("complete", cost(PRICE, told(found)[0]))]


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"tools": [{"google_search": {}}]}, "tools"),
        ({"candidate_count": 2}, "generationConfig.candidateCount"),
        ({"response_modalities": ["AUDIO"]}, "generationConfig.responseModalities"),
        ({"cached_content": "cachedContents/x"}, "cachedContent"),
    ],
)
def test_refused_fields_are_named(sdk: genai.Client, bill: Bill, config: Any, field: str) -> None:
    with pytest.raises(errors.ClientError) as caught:
        sdk.models.generate_content(model="claude", contents=HELLO, config=config)
    assert caught.value.code == 400
    assert field in (caught.value.message or "")
    assert bill.ended(1) == ["failed"]


def test_hints_are_dropped_by_name(sdk: genai.Client, bill: Bill) -> None:
    config = types.GenerateContentConfig(
        seed=3, presence_penalty=0.5, labels=None,
        safety_settings=[types.SafetySetting(
            category=types.HarmCategory.HARM_CATEGORY_HARASSMENT, threshold=types.HarmBlockThreshold.BLOCK_NONE,
        )],
    )  # fmt: skip
    found = sdk.models.generate_content(model="claude", contents=HELLO, config=config)
    headers: Any = found.sdk_http_response.headers  # type: ignore[union-attr]
    assert set(headers["x-gateway-dropped"].split(", ")) == {
        "safetySettings", "generationConfig.seed", "generationConfig.presencePenalty",
    }  # fmt: skip
    bill.charged(*told(found))


@pytest.mark.parametrize("stream", [False, True])
def test_a_filtered_answer(sdk: genai.Client, bill: Bill, stream: bool) -> None:
    ask = sdk.models.generate_content_stream if stream else sdk.models.generate_content
    found: Any = ask(model="filtered", contents=HELLO)
    last = list(found)[-1] if stream else found
    assert last.candidates[0].finish_reason == types.FinishReason.SAFETY
    assert bill.ended(1) == ["filtered"]


@pytest.mark.parametrize(("model", "outcome"), [("cut", "vendor_truncated"), ("broken", "failed")])
def test_a_stream_that_breaks(sdk: genai.Client, bill: Bill, model: str, outcome: str) -> None:
    """It may not look whole."""
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011 - see below
        list(sdk.models.generate_content_stream(model=model, contents=HELLO))
    if model == "broken":
        assert isinstance(caught.value, errors.ServerError)
        assert caught.value.message
    bill.free(outcome)


def test_a_file_is_refused(sdk: genai.Client, bill: Bill) -> None:
    document = types.Part.from_bytes(data=io.BytesIO(b"%PDF-1.4").getvalue(), mime_type="application/pdf")
    with pytest.raises(errors.ClientError) as caught:
        sdk.models.generate_content(model="claude", contents=["read", document])
    assert "contents" in (caught.value.message or "")
    assert bill.ended(1) == ["failed"]
