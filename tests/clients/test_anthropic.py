"""The `anthropic` SDK, whole and streamed, at its own vendor and at the doors that others have for it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any, TypeVar

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from tests.clients import seen
from tests.clients.conftest import LinkTo
from tests.clients.media import PIXEL
from tests.clients.places import Link
from tests.clients.seen import Seen

MODEL = "claude-sonnet-4-6"
HELLO: Any = [{"role": "user", "content": "hello there, how are you today"}]
WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
T = TypeVar("T")


@pytest.fixture
def link(link_to: LinkTo) -> Link:
    return link_to("anthropic")


def asking(do: Callable[[Anthropic], T], key: str = "sk-ant-1", path: str = "") -> Callable[[str], T]:
    def call(base: str) -> T:
        with Anthropic(base_url=base + path, api_key=key, max_retries=0) as sdk:
            return do(sdk)

    return call


def usage_of(model: str) -> Callable[[Any], Seen]:
    return lambda message: seen.anthropic(model, message.usage)


def streamed_usage(model: str, events: list[Any]) -> Seen:
    """From the events themselves: what `message_start` told, overlaid by what `message_delta` told."""
    start = next(event for event in events if event.type == "message_start").message.usage
    delta = next(event for event in events if event.type == "message_delta").usage
    told = {name: value for name, value in seen.fields(delta).items() if value is not None}
    return seen.anthropic(model, {**seen.fields(start), **told})


@pytest.mark.parametrize("model", [MODEL, MODEL + "+cached=3", MODEL + "+gzip", MODEL + "+br"])
def test_a_plain_answer(link: Link, model: str) -> None:
    reply = link.metered(
        asking(lambda sdk: sdk.messages.create(model=model, max_tokens=100, messages=HELLO)), usage_of(model)
    )
    assert reply.content[0].text == "You said: hello there, how are you today"


@pytest.mark.parametrize("model", [MODEL, MODEL + "+cached=3", MODEL + "+zstd"])
def test_a_stream_of_events(link: Link, model: str) -> None:
    def ask(sdk: Anthropic) -> list[Any]:
        return list(sdk.messages.create(model=model, max_tokens=100, messages=HELLO, stream=True))

    events = link.metered(asking(ask), lambda events: streamed_usage(model, events))
    assert events[-1].type == "message_stop"


def test_the_accumulating_stream_with_thinking(link: Link) -> None:
    """Signatures come whole: the second call sends the thinking back, and the vendor checks it."""

    def ask(sdk: Anthropic) -> list[Any]:
        more: Any = {"model": MODEL, "max_tokens": 2000, "thinking": THINKING}
        with sdk.messages.stream(messages=HELLO, **more) as stream:
            texts = list(stream.text_stream)
            first = stream.get_final_message()
        turn: Any = {"role": "assistant", "content": [block.model_dump() for block in first.content]}
        again: Any = {"role": "user", "content": "and now"}
        second = sdk.messages.create(messages=[*HELLO, turn, again], **more)
        return [texts, first, second]

    found = link.metered(asking(ask), lambda found: [usage_of(MODEL)(found[1]), usage_of(MODEL)(found[2])])
    assert found[1].content[0].type == "thinking"
    assert found[1].content[0].signature


def test_prompt_caching_counts_what_is_written(link: Link) -> None:
    system: Any = [{"type": "text", "text": "word " * 2000, "cache_control": {"type": "ephemeral"}}]

    def ask(sdk: Anthropic) -> Any:
        return sdk.messages.create(model=MODEL, max_tokens=100, system=system, messages=HELLO)

    reply = link.metered(asking(ask), usage_of(MODEL))
    assert reply.usage.cache_creation_input_tokens == 2000


@pytest.mark.parametrize("stream", [False, True])
def test_tools_there_and_back(link: Link, stream: bool) -> None:
    question: Any = {"role": "user", "content": "the weather, please"}

    def ask(sdk: Anthropic) -> list[Any]:
        def one(messages: Any) -> Any:
            more: Any = {"model": MODEL, "max_tokens": 100, "tools": [WEATHER], "messages": messages}
            if not stream:
                return sdk.messages.create(**more)
            with sdk.messages.stream(**more) as events:
                return events.get_final_message()

        first = one([question])
        call = first.content[-1]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
        turn = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]}
        return [first, one([question, turn, {"role": "user", "content": [result]}])]

    first, second = link.metered(asking(ask), lambda both: [usage_of(MODEL)(one) for one in both])
    assert first.content[-1].input["city"]
    assert second.content[0].text == "The tool said: rain"


def test_pictures(link: Link) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PIXEL).decode()}
    look: Any = [{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "look"}]}]
    reply = link.metered(
        asking(lambda sdk: sdk.messages.create(model=MODEL, max_tokens=100, messages=look)), usage_of(MODEL)
    )
    assert "(1 image)" in reply.content[0].text


def test_counting_tokens_and_listing_models_is_not_usage(link: Link) -> None:
    def ask(sdk: Anthropic) -> list[Any]:
        return [sdk.messages.count_tokens(model=MODEL, messages=HELLO), *sdk.models.list()]

    counted, *models = link.unmetered(asking(ask))
    assert counted.input_tokens > 0
    assert models


def test_the_asynchronous_client(link: Link) -> None:
    async def ask(base: str) -> Any:
        async with (
            AsyncAnthropic(base_url=base, api_key="sk-ant-1", max_retries=0) as sdk,
            sdk.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream,
        ):
            return await stream.get_final_message()

    link.metered(lambda base: asyncio.run(ask(base)), usage_of(MODEL))


ERRORS: list[tuple[str, str, type[Exception], int]] = [
    (MODEL, "sk-bad", anthropic.AuthenticationError, 401),
    ("no-such", "sk-ant-1", anthropic.NotFoundError, 404),
    (MODEL + "+status=400", "sk-ant-1", anthropic.BadRequestError, 400),
    (MODEL + "+status=403", "sk-ant-1", anthropic.PermissionDeniedError, 403),
    (MODEL + "+status=413", "sk-ant-1", anthropic.RequestTooLargeError, 413),
    (MODEL + "+status=429", "sk-ant-1", anthropic.RateLimitError, 429),
    (MODEL + "+status=500", "sk-ant-1", anthropic.InternalServerError, 500),
    (MODEL + "+status=529", "sk-ant-1", anthropic.OverloadedError, 529),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "key", "kind", "status"), ERRORS)
def test_errors(link: Link, model: str, key: str, kind: type[Exception], status: int, stream: bool) -> None:
    before = link.counted()
    error = link.raises(
        asking(lambda sdk: sdk.messages.create(model=model, max_tokens=9, messages=HELLO, stream=stream), key),
        kind,
        status,
    )
    assert isinstance(error, anthropic.APIStatusError)
    assert error.request_id
    link.grows(before, [])


def test_an_error_in_the_middle_of_a_stream_keeps_what_was_counted(link: Link) -> None:
    def ask(sdk: Anthropic) -> object:
        return list(sdk.messages.create(model=MODEL + "+error200=4", max_tokens=9, messages=HELLO, stream=True))

    before = link.counted()
    link.raises(asking(ask), anthropic.APIStatusError, 200)
    # `message_start` had told the input and the first output token
    link.grows(before, [Seen(MODEL + "+error200=4", input=7, output=1)])


DOORS = [
    ("deepseek", "/anthropic", "deepseek-chat"),
    ("moonshot", "/anthropic", "kimi-k2.5"),
    ("minimax", "/anthropic", "MiniMax-M2"),
    ("zhipu", "/api/anthropic", "glm-4.6"),
    ("ali", "/apps/anthropic", "qwen3-max"),
    ("siliconflow", "", "deepseek-ai/DeepSeek-V3.2"),
    ("bytedance", "/api/coding", "doubao-seed-code"),
]


@pytest.mark.parametrize(("vendor", "path", "model"), DOORS)
def test_the_doors_of_other_vendors(link_to: LinkTo, vendor: str, path: str, model: str) -> None:
    def ask(sdk: Anthropic) -> list[Any]:
        whole = sdk.messages.create(model=model, max_tokens=100, messages=HELLO)
        return [whole, *sdk.messages.create(model=model, max_tokens=100, messages=HELLO, stream=True)]

    link_to(vendor).metered(
        asking(ask, path=path), lambda found: [usage_of(model)(found[0]), streamed_usage(model, found[1:])]
    )
