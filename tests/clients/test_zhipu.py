"""`zai-sdk`: chat, vectors, pictures; its keys become signed tokens on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import zai

from tests.clients import seen
from tests.clients.conftest import LinkTo
from tests.clients.media import PIXEL_URL
from tests.clients.openai_sdk import CLOCK, HELLO, WEATHER
from tests.clients.places import Link
from tests.clients.seen import Seen

MODEL = "glm-4.6"
T = TypeVar("T")


@pytest.fixture
def link(link_to: LinkTo) -> Link:
    return link_to("zhipu")


def asking(do: Callable[[Any], T], key: str = "id.a-secret-of-some-length-to-sign-with") -> Callable[[str], T]:
    def call(base: str) -> T:
        with zai.ZhipuAiClient(base_url=f"{base}/api/paas/v4", api_key=key, max_retries=0) as sdk:
            return do(sdk)

    return call


def usage_of(model: str) -> Callable[[Any], Seen]:
    return lambda reply: seen.openai(model, reply.usage)


@pytest.mark.parametrize("model", [MODEL, MODEL + "+cached=3", MODEL + "+gzip"])
def test_a_plain_answer(link: Link, model: str) -> None:
    reply = link.metered(
        asking(lambda sdk: sdk.chat.completions.create(model=model, messages=HELLO)), usage_of(model)
    )
    assert "You said: hello there" in reply.choices[0].message.content


@pytest.mark.parametrize("thinking", ["disabled", "enabled"])
def test_a_stream(link: Link, thinking: str) -> None:
    def ask(sdk: Any) -> list[Any]:
        return list(
            sdk.chat.completions.create(model=MODEL, messages=HELLO, stream=True, thinking={"type": thinking})
        )

    chunks = link.metered(asking(ask), lambda chunks: usage_of(MODEL)(chunks[-1]))
    thoughts = [chunk.choices[0].delta.reasoning_content for chunk in chunks]
    assert any(thoughts) == (thinking == "enabled")


def test_tools_and_pictures(link: Link) -> None:
    question = [{"role": "user", "content": "the weather, please"}]
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PIXEL_URL}}]

    def ask(sdk: Any) -> list[Any]:
        return [
            sdk.chat.completions.create(model=MODEL, messages=question, tools=[WEATHER, CLOCK]),
            sdk.chat.completions.create(model="glm-4.5v", messages=[{"role": "user", "content": parts}]),
        ]

    called, looked = link.metered(
        asking(ask), lambda found: [usage_of(MODEL)(found[0]), usage_of("glm-4.5v")(found[1])]
    )
    assert called.choices[0].message.tool_calls[0].function.name == "weather"
    assert "(1 image)" in looked.choices[0].message.content


def test_vectors(link: Link) -> None:
    link.metered(
        asking(lambda sdk: sdk.embeddings.create(model="embedding-3", input=["one two", "three"])),
        usage_of("embedding-3"),
    )


def test_pictures_out_are_counted_without_tokens(link: Link) -> None:
    reply = link.metered(
        asking(lambda sdk: sdk.images.generations(model="cogview-4", prompt="a red cat", size="1024x1024")),
        lambda reply: Seen("cogview-4", units={"images": len(reply.data)}),
    )
    assert reply.data[0].url


ERRORS: list[tuple[str, type[Exception], int]] = [
    (MODEL + "+status=400", zai.core.APIRequestFailedError, 400),
    (MODEL + "+status=401", zai.core.APIAuthenticationError, 401),
    (MODEL + "+status=429", zai.core.APIReachLimitError, 429),
    (MODEL + "+status=500", zai.core.APIInternalError, 500),
    (MODEL + "+status=503", zai.core.APIServerFlowExceedError, 503),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "kind", "status"), ERRORS)
def test_errors(link: Link, model: str, kind: type[Exception], status: int, stream: bool) -> None:
    before = link.counted()
    error: Any = link.raises(
        asking(lambda sdk: sdk.chat.completions.create(model=model, messages=HELLO, stream=stream)), kind, status
    )
    assert error.status_code == status
    link.grows(before, [])
