"""The `openai` SDK's Responses, whole, streamed, with tools and with a stored turn."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.clients import seen
from tests.clients.conftest import LinkTo
from tests.clients.media import PIXEL_URL
from tests.clients.openai_sdk import asking
from tests.clients.places import Link

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
# Where they are to be had, by the vendor's own documentation.
PLACES = {
    "openai": "/v1",
    "ali": "/api/v2/apps/protocols/compatible-mode/v1",
    "bytedance": "/api/v3",
    "zhipu": "/api/v1",
}
MODELS = {"openai": "gpt-5", "ali": "qwen3-max", "bytedance": "doubao-seed-1-6-250615", "zhipu": "glm-4.6"}


@pytest.fixture
def link(link_to: LinkTo) -> Link:
    return link_to("openai")


@pytest.mark.parametrize("vendor", PLACES)
def test_whole_and_streamed_at_all_vendors_that_have_them(link_to: LinkTo, vendor: str) -> None:
    model = MODELS[vendor]

    def ask(sdk: OpenAI) -> list[Any]:
        whole = sdk.responses.create(model=model, input="hello there")
        return [whole, *sdk.responses.create(model=model, input="hello there", stream=True)]

    found = link_to(vendor).metered(
        asking(ask, path=PLACES[vendor]),
        lambda found: [seen.openai(model, found[0].usage), seen.openai(model, found[-1].response.usage)],
    )
    assert found[0].output_text == "You said: hello there"
    assert found[-1].type == "response.completed"


def test_reasoning_and_cached_input(link: Link) -> None:
    model = "gpt-5+cached=2+think=6"

    def ask(sdk: OpenAI) -> Any:
        return sdk.responses.create(model=model, input="hello there", reasoning={"effort": "low"})

    reply = link.metered(asking(ask), lambda reply: seen.openai(model, reply.usage))
    assert reply.usage.output_tokens_details.reasoning_tokens == 6


def test_a_cut_short_answer_has_its_usage_in_another_event(link: Link) -> None:
    def ask(sdk: OpenAI) -> list[Any]:
        words = "a b c d e f g h i j k l m n o p q r s t u v w x y z"
        return list(sdk.responses.create(model="gpt-4o", input=words, max_output_tokens=16, stream=True))

    events = link.metered(asking(ask), lambda events: seen.openai("gpt-4o", events[-1].response.usage))
    assert events[-1].type == "response.incomplete"


def test_tools_and_the_stored_turn_before(link: Link) -> None:
    def ask(sdk: OpenAI) -> list[Any]:
        first = sdk.responses.create(model="gpt-5", input="the weather, please", tools=[WEATHER])
        call: Any = next(item for item in first.output if item.type == "function_call")
        answer: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        second = sdk.responses.create(
            model="gpt-5", previous_response_id=first.id, input=[answer], tools=[WEATHER]
        )
        return [first, second]

    _, second = link.metered(asking(ask), lambda both: [seen.openai("gpt-5", one.usage) for one in both])
    assert second.output_text == "The tool said: rain"


def test_the_accumulating_stream(link: Link) -> None:
    def ask(sdk: OpenAI) -> list[Any]:
        with sdk.responses.stream(model="gpt-5", input="the weather, please", tools=[WEATHER]) as stream:
            kinds = [event.type for event in stream]
            return [kinds, stream.get_final_response()]

    link.metered(asking(ask), lambda found: seen.openai("gpt-5", found[1].usage))


def test_pictures(link: Link) -> None:
    content: Any = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": PIXEL_URL, "detail": "auto"},
    ]

    def ask(sdk: OpenAI) -> Any:
        return sdk.responses.create(model="gpt-4o", input=[{"role": "user", "content": content}])

    reply = link.metered(asking(ask), lambda reply: seen.openai("gpt-4o", reply.usage))
    assert "(1 image)" in reply.output_text


def test_stored_responses_and_counts_are_not_usage(link: Link) -> None:
    """They carry numbers, but nothing was consumed."""

    def ask(sdk: OpenAI) -> Any:
        return sdk.responses.create(model="gpt-5", input="keep this", store=True)

    kept = link.metered(asking(ask), lambda reply: seen.openai("gpt-5", reply.usage))

    def look(sdk: OpenAI) -> list[Any]:
        return [sdk.responses.retrieve(kept.id), sdk.responses.input_tokens.count(model="gpt-5", input="count this")]

    stored, counted = link.unmetered(asking(look))
    assert stored.usage.total_tokens == kept.usage.total_tokens > 0
    assert counted.input_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_errors(link: Link, stream: bool) -> None:
    def ask(model: str) -> Any:
        return lambda sdk: sdk.responses.create(model=model, input="x", stream=stream)

    link.raises(asking(ask("no-such")), openai.NotFoundError, 404)
    link.raises(asking(ask("gpt-5"), key="sk-bad"), openai.AuthenticationError, 401)
    link.raises(asking(ask("gpt-5+status=429")), openai.RateLimitError, 429)


def test_a_failure_in_the_middle_of_a_stream(link: Link) -> None:
    def ask(sdk: OpenAI) -> list[Any]:
        return list(sdk.responses.create(model="gpt-5+error200=3", input="hello there", stream=True))

    events = link.unmetered(asking(ask), none=1)
    assert events[-1].type == "error"
