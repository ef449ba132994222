"""The `openai` SDK's chat, whole and streamed, with nothing changed but its base URL."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.clients import seen
from tests.clients.conftest import LinkTo
from tests.clients.media import PIXEL_URL
from tests.clients.openai_sdk import CLOCK, HELLO, WEATHER, asking
from tests.clients.places import Link


@pytest.fixture
def link(link_to: LinkTo) -> Link:
    return link_to("openai")


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o+cached=3", "gpt-5+think=5", "gpt-4o+gzip", "gpt-4o+zstd"])
def test_a_plain_answer(link: Link, model: str) -> None:
    reply = link.metered(
        asking(lambda sdk: sdk.chat.completions.create(model=model, messages=HELLO)),
        lambda reply: seen.openai(model, reply.usage),
    )
    assert reply.choices[0].message.content == "You said: hello there, how are you today"


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o+cached=3", "gpt-5+think=5", "gpt-4o+br"])
def test_a_stream_with_its_usage(link: Link, model: str) -> None:
    def ask(sdk: OpenAI) -> list[Any]:
        stream = sdk.chat.completions.create(
            model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        return list(stream)

    chunks = link.metered(asking(ask), lambda chunks: seen.openai(model, chunks[-1].usage))
    said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(said) == "You said: hello there, how are you today"


def test_a_stream_without_usage_is_counted_as_such(link: Link) -> None:
    chunks = link.unmetered(
        asking(lambda sdk: list(sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))), none=1
    )
    assert all(chunk.usage is None for chunk in chunks)


def test_the_asynchronous_client(link: Link) -> None:
    async def ask(base: str) -> list[Any]:
        async with AsyncOpenAI(base_url=f"{base}/v1", api_key="sk-1", max_retries=0) as sdk:
            whole = await sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
            stream = await sdk.chat.completions.create(
                model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
            return [whole, *[chunk async for chunk in stream]]

    link.metered(
        lambda base: asyncio.run(ask(base)),
        lambda found: [seen.openai("gpt-4o", found[0].usage), seen.openai("gpt-4o", found[-1].usage)],
    )


def test_tools_there_and_back(link: Link) -> None:
    question: list[Any] = [{"role": "user", "content": "the weather and the clock, please"}]

    def ask(sdk: OpenAI) -> list[Any]:
        first = sdk.chat.completions.create(model="gpt-4o", messages=question, tools=[WEATHER, CLOCK])
        turn = first.choices[0].message
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": f"result of {call.id}"}
            for call in turn.tool_calls or []
        ]
        messages: list[Any] = [*question, turn.model_dump(exclude_none=True), *results]
        return [first, sdk.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER, CLOCK])]

    first, second = link.metered(asking(ask), lambda both: [seen.openai("gpt-4o", one.usage) for one in both])
    calls = first.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "clock"]
    assert second.choices[0].message.content == f"The tool said: result of {calls[1].id}"


def test_streamed_tools_through_the_accumulating_stream(link: Link) -> None:
    """The SDK's own `stream()` puts chunks together and complains of any that do not fit."""

    def ask(sdk: OpenAI) -> Any:
        with sdk.chat.completions.stream(
            model="gpt-4o",
            messages=[{"role": "user", "content": "the weather, please"}],
            tools=[WEATHER],
            stream_options={"include_usage": True},
        ) as stream:
            kinds = [event.type for event in stream]
            return [kinds, stream.get_final_completion()]

    kinds, final = link.metered(asking(ask), lambda found: seen.openai("gpt-4o", found[1].usage))
    assert "tool_calls.function.arguments.done" in kinds
    assert final.choices[0].message.tool_calls[0].function.name == "weather"


def test_pictures_schemas_and_several_choices(link: Link) -> None:
    look: list[Any] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": PIXEL_URL}},
            ],
        }
    ]
    schema: Any = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    shape: Any = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}

    def ask(sdk: OpenAI) -> list[Any]:
        return [
            sdk.chat.completions.create(model="gpt-4o", messages=look),
            sdk.chat.completions.create(model="gpt-4o", messages=HELLO, response_format=shape),
            sdk.chat.completions.create(model="gpt-4o", messages=HELLO, n=3, logprobs=True, top_logprobs=2),
        ]

    picture, _, several = link.metered(asking(ask), lambda all: [seen.openai("gpt-4o", one.usage) for one in all])
    assert picture.choices[0].message.content == "You said: look (1 image)"
    assert len(several.choices) == 3


def test_old_completions(link: Link) -> None:
    def ask(sdk: OpenAI) -> list[Any]:
        whole = sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt="once upon a time")
        stream = sdk.completions.create(
            model="gpt-3.5-turbo-instruct",
            prompt="once upon a time",
            stream=True,
            stream_options={"include_usage": True},
        )
        return [whole, *stream]

    link.metered(
        asking(ask),
        lambda found: [seen.openai("gpt-3.5-turbo-instruct", found[k].usage) for k in (0, -1)],
    )


def test_models(link: Link) -> None:
    listed = link.unmetered(asking(lambda sdk: [*sdk.models.list(), sdk.models.retrieve("gpt-4o")]))
    assert listed[-1].id == "gpt-4o"


ERRORS: list[tuple[str, str, type[openai.OpenAIError], int]] = [
    ("gpt-4o", "sk-bad", openai.AuthenticationError, 401),
    ("no-such-model", "sk-1", openai.NotFoundError, 404),
    ("gpt-4o+filter=before", "sk-1", openai.BadRequestError, 400),
    ("gpt-4o+status=403", "sk-1", openai.PermissionDeniedError, 403),
    ("gpt-4o+status=409", "sk-1", openai.ConflictError, 409),
    ("gpt-4o+status=422", "sk-1", openai.UnprocessableEntityError, 422),
    ("gpt-4o+status=429", "sk-1", openai.RateLimitError, 429),
    ("gpt-4o+status=500", "sk-1", openai.InternalServerError, 500),
    ("gpt-4o+status=503", "sk-1", openai.InternalServerError, 503),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "key", "kind", "status"), ERRORS)
def test_errors(link: Link, model: str, key: str, kind: type[Exception], status: int, stream: bool) -> None:
    before = link.counted()
    error = link.raises(
        asking(lambda sdk: sdk.chat.completions.create(model=model, messages=HELLO, stream=stream), key), kind, status
    )
    assert isinstance(error, openai.APIStatusError)
    assert error.request_id
    link.grows(before, [])


def test_an_error_in_the_middle_of_a_stream(link: Link) -> None:
    def ask(sdk: OpenAI) -> object:
        return list(sdk.chat.completions.create(model="gpt-4o+error200=2", messages=HELLO, stream=True))

    link.raises(asking(ask), openai.APIError, 200)


def test_a_stream_cut_by_the_vendor_is_cut_for_the_client(link: Link) -> None:
    def ask(sdk: OpenAI) -> object:
        return list(sdk.chat.completions.create(model="gpt-4o+cut=3", messages=HELLO, stream=True))

    link.raises(asking(ask), Exception, 200)


def test_retries_are_the_client_s_own(link: Link) -> None:
    """The SDK tries again after a 429, and its second try is a second call."""

    def ask(base: str) -> Any:
        with OpenAI(base_url=f"{base}/v1", api_key="sk-1", max_retries=2) as sdk:
            # The model's name says how often: it must be new to the sandbox for each side.
            side = "direct" if base == link.direct else "through"
            model = f"gpt-4o-{side}+status=429+retry_after=0+times=1"
            return sdk.chat.completions.create(model=model, messages=HELLO).choices

    before = link.answers()
    link.same(ask)
    assert link.answers()["429"] == before.get("429", 0) + 1
