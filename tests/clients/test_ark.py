"""Volcengine's Ark SDK (`volcengine-python-sdk[ark]`): chat, contexts, bots, responses, vectors and pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from volcenginesdkarkruntime import Ark, AsyncArk  # type: ignore[import-untyped]
from volcenginesdkarkruntime import _exceptions as errors

from tests.clients import seen
from tests.clients.conftest import LinkTo
from tests.clients.media import PIXEL_URL
from tests.clients.openai_sdk import CLOCK, HELLO, WEATHER
from tests.clients.places import Link
from tests.clients.seen import Seen

MODEL = "doubao-seed-1-6-250615"
BOT = "bot-20250101-abc"
T = TypeVar("T")


@pytest.fixture
def link(link_to: LinkTo) -> Link:
    return link_to("bytedance")


def asking(do: Callable[[Any], T], key: str = "ark-1") -> Callable[[str], T]:
    def call(base: str) -> T:
        sdk = Ark(base_url=f"{base}/api/v3", api_key=key, max_retries=0)
        try:
            return do(sdk)
        finally:
            sdk.close()

    return call


def usage_of(model: str) -> Callable[[Any], Seen]:
    return lambda reply: seen.openai(model, reply.usage)


@pytest.mark.parametrize("model", [MODEL, MODEL + "+cached=3", MODEL + "+think=4", MODEL + "+gzip"])
def test_a_plain_answer(link: Link, model: str) -> None:
    reply = link.metered(
        asking(lambda sdk: sdk.chat.completions.create(model=model, messages=HELLO)), usage_of(model)
    )
    assert "You said: hello there" in reply.choices[0].message.content


@pytest.mark.parametrize("each", [False, True])
def test_a_stream(link: Link, each: bool) -> None:
    """The usage comes at the end, or with each chunk where that is asked for."""
    options = {"include_usage": True, "chunk_include_usage": each}

    def ask(sdk: Any) -> list[Any]:
        return list(sdk.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options=options))

    chunks = link.metered(asking(ask), lambda chunks: usage_of(MODEL)(chunks[-1]))
    assert sum(chunk.usage is not None for chunk in chunks) == (len(chunks) if each else 1)


def test_the_asynchronous_client(link: Link) -> None:
    async def ask(base: str) -> list[Any]:
        sdk = AsyncArk(base_url=f"{base}/api/v3", api_key="ark-1", max_retries=0)
        try:
            stream = await sdk.chat.completions.create(
                model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
            return [chunk async for chunk in stream]
        finally:
            await sdk.close()

    link.metered(lambda base: asyncio.run(ask(base)), lambda chunks: usage_of(MODEL)(chunks[-1]))


def test_tools_and_pictures(link: Link) -> None:
    question = [{"role": "user", "content": "the weather, please"}]
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PIXEL_URL}}]

    def ask(sdk: Any) -> list[Any]:
        return [
            sdk.chat.completions.create(model=MODEL, messages=question, tools=[WEATHER, CLOCK]),
            sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}]),
        ]

    called, looked = link.metered(asking(ask), lambda found: [usage_of(MODEL)(one) for one in found])
    assert called.choices[0].message.tool_calls[0].function.name == "weather"
    assert "(1 image)" in looked.choices[0].message.content


def test_contexts_are_paid_when_they_are_made_and_cached_after(link: Link) -> None:
    def ask(sdk: Any) -> list[Any]:
        made = sdk.context.create(
            model=MODEL, mode="session", messages=[{"role": "system", "content": "speak in rhymes only"}]
        )
        more = {"model": MODEL, "context_id": made.id, "messages": HELLO}
        stream = sdk.context.completions.create(**more, stream=True, stream_options={"include_usage": True})
        return [made, sdk.context.completions.create(**more), list(stream)[-1]]

    _, whole, _ = link.metered(asking(ask), lambda found: [usage_of(MODEL)(one) for one in found])
    assert whole.usage.prompt_tokens_details.cached_tokens > 0


def test_bots_sum_up_the_models_they_ask(link: Link) -> None:
    def ask(sdk: Any) -> list[Any]:
        stream = sdk.bot_chat.completions.create(model=BOT, messages=HELLO, stream=True)
        told = [chunk for chunk in stream if chunk.bot_usage is not None]
        return [sdk.bot_chat.completions.create(model=BOT, messages=HELLO), told[-1]]

    def usage(found: list[Any]) -> list[Seen]:
        return [seen.openai(BOT, one.bot_usage.model_usage[0]) for one in found]

    link.metered(asking(ask), usage)


def test_responses(link: Link) -> None:
    def ask(sdk: Any) -> list[Any]:
        stream = sdk.responses.create(model=MODEL, input="hello there", stream=True)
        return [sdk.responses.create(model=MODEL, input="hello there"), *stream]

    found = link.metered(
        asking(ask), lambda found: [usage_of(MODEL)(found[0]), usage_of(MODEL)(found[-1].response)]
    )
    assert found[-1].type == "response.completed"


def test_vectors_of_texts_and_pictures(link: Link) -> None:
    model = "doubao-embedding-vision-250615"
    parts = [{"type": "text", "text": "one two"}, {"type": "image_url", "image_url": {"url": PIXEL_URL}}]

    def ask(sdk: Any) -> list[Any]:
        return [
            sdk.embeddings.create(model=model, input=["one two", "three"], encoding_format="float"),
            sdk.multimodal_embeddings.create(model=model, input=parts, encoding_format="float"),
        ]

    plain, mixed = link.metered(asking(ask), lambda found: [usage_of(model)(one) for one in found])
    assert len(plain.data) == 2
    assert seen.fields(mixed.usage)["prompt_tokens"] == 2 + 85


def painted(model: str, usage: Any) -> Seen:
    told = seen.fields(usage)
    return Seen(model, output=told["output_tokens"], units={"generated_images": told["generated_images"]})


def test_pictures_out(link: Link) -> None:
    model = "doubao-seedream-4-5-251128"
    more: dict[str, Any] = {"model": model, "prompt": "a red cat", "size": "2K", "watermark": False}

    def ask(sdk: Any) -> list[Any]:
        stream = sdk.images.generate(**more, response_format="url", stream=True)
        return [
            sdk.images.generate(**more, response_format="url"),
            sdk.images.generate(**more, response_format="b64_json", image=PIXEL_URL),
            *stream,
        ]

    def usage(found: list[Any]) -> list[Seen]:
        return [painted(model, found[k].usage) for k in (0, 1, -1)]

    found = link.metered(asking(ask), usage)
    assert found[-1].type == "image_generation.completed"


def test_tokenization_is_not_usage(link: Link) -> None:
    found = link.unmetered(asking(lambda sdk: sdk.tokenization.create(model=MODEL, text=["one two"])))
    assert found.data[0].total_tokens == 2


ERRORS: list[tuple[str, str, type[Exception], int]] = [
    (MODEL, "bad", errors.ArkAuthenticationError, 401),
    ("doubao-seed", "ark-1", errors.ArkNotFoundError, 404),
    (MODEL + "+status=400", "ark-1", errors.ArkBadRequestError, 400),
    (MODEL + "+status=403", "ark-1", errors.ArkPermissionDeniedError, 403),
    (MODEL + "+status=429", "ark-1", errors.ArkRateLimitError, 429),
    (MODEL + "+status=500", "ark-1", errors.ArkInternalServerError, 500),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "key", "kind", "status"), ERRORS)
def test_errors(link: Link, model: str, key: str, kind: type[Exception], status: int, stream: bool) -> None:
    before = link.counted()
    error: Any = link.raises(
        asking(lambda sdk: sdk.chat.completions.create(model=model, messages=HELLO, stream=stream), key), kind, status
    )
    assert error.status_code == status
    link.grows(before, [])
