"""The `google-genai` SDK; its streams are server-sent events, so the array form is read by hand."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from google import genai
from google.genai import errors, types

from tests.clients import seen
from tests.clients.conftest import LinkTo
from tests.clients.media import PIXEL
from tests.clients.places import Link
from tests.clients.seen import Seen

# The SDK's own fault, on every asynchronous call.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

FLASH = "gemini-2.5-flash"
HELLO = "hello there, how are you today"
WEATHER: Any = {"name": "weather", "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}}
T = TypeVar("T")


@pytest.fixture
def link(link_to: LinkTo) -> Link:
    return link_to("gemini")


def asking(do: Callable[[genai.Client], T], key: str = "k") -> Callable[[str], T]:
    def call(base: str) -> T:
        sdk = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base))
        try:
            return do(sdk)
        finally:
            sdk.close()

    return call


def usage_of(model: str) -> Callable[[Any], Seen]:
    return lambda reply: seen.gemini(model, reply.usage_metadata)


@pytest.mark.parametrize("model", [FLASH, FLASH + "+cached=3", FLASH + "+gzip"])
def test_a_plain_answer(link: Link, model: str) -> None:
    reply = link.metered(
        asking(lambda sdk: sdk.models.generate_content(model=model, contents=HELLO)), usage_of(model)
    )
    assert reply.text == f"You said: {HELLO}"


@pytest.mark.parametrize("model", [FLASH, FLASH + "+cached=3"])
def test_a_stream(link: Link, model: str) -> None:
    chunks = link.metered(
        asking(lambda sdk: list(sdk.models.generate_content_stream(model=model, contents=HELLO))),
        lambda chunks: usage_of(model)(chunks[-1]),
    )
    assert "".join(chunk.text or "" for chunk in chunks) == f"You said: {HELLO}"


def test_a_stream_as_an_array(link: Link) -> None:
    """Without `alt=sse` the vendor sends a JSON array piece by piece."""

    def ask(base: str) -> list[Any]:
        request = urllib.request.Request(
            f"{base}/v1beta/models/{FLASH}:streamGenerateContent",
            json.dumps({"contents": [{"role": "user", "parts": [{"text": HELLO}]}]}).encode(),
            {"content-type": "application/json", "x-goog-api-key": "k"},
        )
        with urllib.request.urlopen(request) as answer:
            found: list[Any] = json.load(answer)
        return found

    def usage(found: list[Any]) -> Seen:
        told = found[-1]["usageMetadata"]
        return Seen(FLASH, input=told["promptTokenCount"], output=told["candidatesTokenCount"])

    assert len(link.metered(ask, usage)) > 3


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts(link: Link, stream: bool) -> None:
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=512)
    config = types.GenerateContentConfig(thinking_config=thinking)

    def ask(sdk: genai.Client) -> list[Any]:
        if stream:
            return list(sdk.models.generate_content_stream(model=FLASH, contents=HELLO, config=config))
        return [sdk.models.generate_content(model=FLASH, contents=HELLO, config=config)]

    found = link.metered(asking(ask), lambda found: usage_of(FLASH)(found[-1]))
    assert found[-1].usage_metadata.thoughts_token_count > 0


def test_tools_and_their_signatures_there_and_back(link: Link) -> None:
    model = "gemini-3-pro-preview"
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[types.FunctionDeclaration(**WEATHER)])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    question = types.Content(role="user", parts=[types.Part(text="the weather, please")])

    def ask(sdk: genai.Client) -> list[Any]:
        first = sdk.models.generate_content(model=model, contents=[question], config=config)
        turn: Any = (first.candidates or [])[0].content
        answer = types.Part.from_function_response(name="weather", response={"result": "rain"})
        contents: Any = [question, turn, types.Content(role="user", parts=[answer])]
        return [first, sdk.models.generate_content(model=model, contents=contents, config=config)]

    _, second = link.metered(asking(ask), lambda both: [usage_of(model)(one) for one in both])
    assert second.text == "The tool said: rain"


def test_pictures_in_and_out(link: Link) -> None:
    model = "gemini-2.5-flash-image"
    contents: Any = [types.Part.from_bytes(data=PIXEL, mime_type="image/png"), "paint it red"]
    reply = link.metered(
        asking(lambda sdk: sdk.models.generate_content(model=model, contents=contents)), usage_of(model)
    )
    assert reply.parts[-1].inline_data.data.startswith(b"\x89PNG")


def test_embeddings(link: Link) -> None:
    """The SDK hides the usage of a batch; the vendor counts a token a word."""
    model = "gemini-embedding-001"

    def ask(sdk: genai.Client) -> Any:
        return sdk.models.embed_content(model=model, contents=["one two", "three"])

    assert len(link.metered(asking(ask), lambda reply: Seen(model, input=3)).embeddings) == 2


def test_counting_tokens_and_listing_models_is_not_usage(link: Link) -> None:
    def ask(sdk: genai.Client) -> list[Any]:
        return [sdk.models.count_tokens(model=FLASH, contents=HELLO), *sdk.models.list()]

    assert link.unmetered(asking(ask))[0].total_tokens > 0


def test_the_asynchronous_client(link: Link) -> None:
    async def ask(base: str) -> list[Any]:
        sdk = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=base))
        try:
            return [
                chunk async for chunk in await sdk.aio.models.generate_content_stream(model=FLASH, contents=HELLO)
            ]
        finally:
            await sdk.aio.aclose()
            sdk.close()

    link.metered(lambda base: asyncio.run(ask(base)), lambda chunks: usage_of(FLASH)(chunks[-1]))


ERRORS: list[tuple[str, str, type[Exception], int]] = [
    (FLASH, "bad", errors.ClientError, 400),
    ("no-such", "k", errors.ClientError, 404),
    (FLASH + "+status=403", "k", errors.ClientError, 403),
    (FLASH + "+status=429", "k", errors.ClientError, 429),
    (FLASH + "+status=500", "k", errors.ServerError, 500),
    (FLASH + "+status=503", "k", errors.ServerError, 503),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "key", "kind", "status"), ERRORS)
def test_errors(link: Link, model: str, key: str, kind: type[Exception], status: int, stream: bool) -> None:
    def ask(sdk: genai.Client) -> object:
        if stream:
            return list(sdk.models.generate_content_stream(model=model, contents=HELLO))
        return sdk.models.generate_content(model=model, contents=HELLO)

    before = link.counted()
    error = link.raises(asking(ask, key), kind, status)
    assert isinstance(error, errors.APIError)
    assert error.code == status
    link.grows(before, [])
