"""The `dashscope` SDK over HTTP: text and pictures, incremental streams and growing ones, vectors and rerank."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import dashscope
import pytest
from dashscope.api_entities.aio_session import get_shared_aio_session

from tests.clients.conftest import LinkTo
from tests.clients.media import PIXEL_URL
from tests.clients.openai_sdk import CLOCK, WEATHER
from tests.clients.places import Link
from tests.clients.seen import Seen

MODEL = "qwen-plus"
HELLO: Any = [{"role": "user", "content": "hello there, how are you today"}]
T = TypeVar("T")


@pytest.fixture(autouse=True)
def own_base_url() -> Iterator[None]:
    """The SDK keeps its base URL for the whole process."""
    before = dashscope.base_http_api_url
    yield
    dashscope.base_http_api_url = before


@pytest.fixture
def link(link_to: LinkTo) -> Link:
    return link_to("ali")


def asking(do: Callable[[], T]) -> Callable[[str], T]:
    def call(base: str) -> T:
        dashscope.base_http_api_url = f"{base}/api/v1"
        return do()

    return call


def usage_of(model: str) -> Callable[[Any], Seen]:
    def seen(reply: Any) -> Seen:
        told = reply.usage
        return Seen(
            model,
            input=told["input_tokens"],
            output=told["output_tokens"],
            cached_input=(told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            reasoning=(told.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
        )

    return seen


def generate(model: str = MODEL, **more: Any) -> Any:
    return dashscope.Generation.call(
        model=model, messages=HELLO, result_format="message", api_key="sk-1", **more
    )


@pytest.mark.parametrize("model", [MODEL, MODEL + "+cached=3", MODEL + "+gzip"])
def test_a_plain_answer(link: Link, model: str) -> None:
    reply = link.metered(asking(lambda: generate(model)), usage_of(model))
    assert reply.output.choices[0].message.content == "You said: hello there, how are you today"


@pytest.mark.parametrize("incremental", [False, True])
def test_a_stream_incremental_or_growing(link: Link, incremental: bool) -> None:
    def ask() -> list[Any]:
        return list(generate(stream=True, incremental_output=incremental))

    events = link.metered(asking(ask), lambda events: usage_of(MODEL)(events[-1]))
    texts = [event.output.choices[0].message.content for event in events]
    assert ("".join(texts) if incremental else texts[-1]) == "You said: hello there, how are you today"


def test_a_stream_with_thoughts(link: Link) -> None:
    def ask() -> list[Any]:
        return list(generate("qwen3-max", stream=True, incremental_output=True, enable_thinking=True))

    events = link.metered(asking(ask), lambda events: usage_of("qwen3-max")(events[-1]))
    assert events[-1].usage["output_tokens_details"]["reasoning_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_tools(link: Link, stream: bool) -> None:
    question: Any = [{"role": "user", "content": "the weather, please"}]

    def ask() -> list[Any]:
        reply: Any = dashscope.Generation.call(
            model=MODEL, messages=question, tools=[WEATHER, CLOCK], result_format="message", api_key="sk-1",
            stream=stream,
        )  # fmt: skip
        return list(reply) if stream else [reply]

    found = link.metered(asking(ask), lambda found: usage_of(MODEL)(found[-1]))
    assert found[-1].output.choices[0].message.tool_calls[0]["function"]["name"] == "weather"


@pytest.mark.parametrize("stream", [False, True])
def test_pictures_in(link: Link, stream: bool) -> None:
    model = "qwen3-vl-plus"
    look = [{"role": "user", "content": [{"image": PIXEL_URL}, {"text": "look"}]}]

    def ask() -> list[Any]:
        reply: Any = dashscope.MultiModalConversation.call(model=model, messages=look, api_key="sk-1", stream=stream)
        return list(reply) if stream else [reply]

    found = link.metered(asking(ask), lambda found: usage_of(model)(found[-1]))
    assert "(1 image)" in found[-1].output.choices[0].message.content[0]["text"]


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
def test_the_asynchronous_client(link: Link) -> None:
    async def ask() -> list[Any]:
        more: Any = {"model": MODEL, "messages": HELLO, "result_format": "message", "api_key": "sk-1"}
        async with await get_shared_aio_session():  # the SDK would leave it open
            whole = await dashscope.AioGeneration.call(**more)
            stream: Any = await dashscope.AioGeneration.call(**more, stream=True, incremental_output=True)
            return [whole, *[event async for event in stream]]

    link.metered(
        asking(lambda: asyncio.run(ask())), lambda found: [usage_of(MODEL)(found[0]), usage_of(MODEL)(found[-1])]
    )


def total_of(model: str) -> Callable[[Any], Seen]:
    return lambda reply: Seen(model, input=reply.usage["total_tokens"])


def test_vectors(link: Link) -> None:
    model = "text-embedding-v4"
    reply = link.metered(
        asking(lambda: dashscope.TextEmbedding.call(model=model, input=["one two", "three"], api_key="sk-1")),
        total_of(model),
    )
    assert len(reply.output["embeddings"]) == 2


def test_rerank(link: Link) -> None:
    model = "gte-rerank-v2"
    reply = link.metered(
        asking(
            lambda: dashscope.TextReRank.call(
                model=model, query="a red cat", documents=["a dog", "a red cat", "tea"], top_n=2, api_key="sk-1"
            )
        ),
        total_of(model),
    )
    assert reply.output.results[0].index == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "status"), [("no-such", 404), (MODEL + "+status=401", 401), (MODEL + "+status=429", 429)]
)
def test_errors_come_as_answers(link: Link, model: str, status: int, stream: bool) -> None:
    """This SDK raises nothing: an error is an answer with a code."""

    def ask() -> Any:
        reply = generate(model, stream=stream)
        return list(reply) if stream else [reply]

    found = link.unmetered(asking(ask))
    assert (found[-1].status_code, bool(found[-1].code)) == (status, True)


def test_an_error_in_the_middle_of_a_stream_keeps_what_was_counted(link: Link) -> None:
    model = MODEL + "+error200=3"
    events = link.metered(
        asking(lambda: list(generate(model, stream=True, incremental_output=True))),
        lambda events: usage_of(model)(events[-2]),
    )
    assert (events[-2].status_code, events[-2].code) == (200, "")
    assert events[-1].code == "InternalError"
