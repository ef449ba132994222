"""The `openai` SDK with a gateway key: chat, tools, schemas, vectors, responses and models, and what each has cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.clients.media import PIXEL_URL
from tests.clients.openai_sdk import CLOCK, HELLO, WEATHER
from tests.clients.seen import openai as seen
from tests.unified.clients.billing import Bill
from tests.unified.place import Place

SAID = "You said: hello there, how are you today"
QUESTION: list[Any] = [{"role": "user", "content": "the weather and the clock, please"}]
COUNTED: Any = {"include_usage": True}


class Trip(BaseModel):
    city: str
    days: int


@pytest.fixture
def sdk(place: Place, bill: Bill) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{place.port}/v1", api_key=bill.key, max_retries=0) as client:
        yield client


def test_with_and_without_v1(base_url: str, bill: Bill) -> None:
    with OpenAI(base_url=base_url, api_key=bill.key, max_retries=0) as sdk:
        reply = sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
        stream = list(sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, stream_options=COUNTED))
        vector = sdk.embeddings.create(model="embedder", input="one two three")
        assert sdk.models.retrieve("gpt-4o").id == "gpt-4o"
    assert reply.choices[0].message.content == SAID
    bill.charged(seen("", reply.usage), seen("", stream[-1].usage), seen("", vector.usage))


@pytest.mark.parametrize("headers", [{}, {"x-sandbox-cached": "3"}, {"x-sandbox-think": "5"}, {"x-sandbox-gzip": "1"}])
def test_a_plain_answer(sdk: OpenAI, bill: Bill, headers: dict[str, str]) -> None:
    reply = sdk.chat.completions.create(model="gpt-4o", messages=HELLO, extra_headers=headers)
    assert reply.choices[0].message.content == SAID
    told = seen("", reply.usage)
    assert told.cached_input == int(headers.get("x-sandbox-cached", 0))
    assert told.reasoning == int(headers.get("x-sandbox-think", 0))
    bill.charged(told)


def test_what_the_headers_tell(sdk: OpenAI, bill: Bill) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    reply = raw.parse()
    assert raw.request_id == reply._request_id == raw.headers["x-request-id"]
    assert raw.headers["x-gateway-provider"] == "openai"
    assert raw.headers["x-gateway-model"] == "gpt-4o"
    assert raw.headers["x-gateway-attempts"] == "1"
    assert bill.charged(seen("", reply.usage)) == [raw.headers["x-gateway-cost"]]
    assert bill.requests() == [raw.request_id]


def test_a_stream_with_usage(sdk: OpenAI, bill: Bill) -> None:
    chunks = list(sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, stream_options=COUNTED))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SAID
    assert [chunk.choices for chunk in chunks if not chunk.choices] == [[]]
    bill.charged(seen("", chunks[-1].usage))


def test_a_stream_without_usage_costs_the_same_and_shows_none(sdk: OpenAI, bill: Bill) -> None:
    whole = sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
    chunks = list(sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    bill.charged(seen("", whole.usage), seen("", whole.usage))


async def test_the_asynchronous_client(place: Place, bill: Bill) -> None:
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{place.port}/v1", api_key=bill.key, max_retries=0) as sdk:
        whole = await sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
        stream = await sdk.chat.completions.create(
            model="gpt-4o", messages=HELLO, stream=True, stream_options=COUNTED
        )
        chunks = [chunk async for chunk in stream]
        vector = await sdk.embeddings.create(model="embedder", input=["one two", "three"])
        response = await sdk.responses.create(model="gpt-4o", input="hello there")
        names = [model.id async for model in sdk.models.list()]
    assert whole.choices[0].message.content == SAID
    assert "gpt-4o" in names
    told = [whole.usage, chunks[-1].usage, vector.usage, response.usage]
    bill.charged(*(seen("", usage) for usage in told))


def test_two_parallel_tools_and_their_results(sdk: OpenAI, bill: Bill) -> None:
    first = sdk.chat.completions.create(model="gpt-4o", messages=QUESTION, tools=[WEATHER, CLOCK])
    turn = first.choices[0].message
    calls: list[Any] = list(turn.tool_calls or [])
    assert [call.function.name for call in calls] == ["weather", "clock"]
    assert first.choices[0].finish_reason == "tool_calls"
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"result of {call.id}"} for call in calls]
    messages: list[Any] = [*QUESTION, turn.model_dump(exclude_none=True), *results]
    second = sdk.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER, CLOCK])
    assert second.choices[0].message.content == f"The tool said: result of {calls[1].id}"
    bill.charged(seen("", first.usage), seen("", second.usage))


def test_the_accumulating_stream(sdk: OpenAI, bill: Bill) -> None:
    """The SDK's own `stream()` puts chunks together and complains of any that do not fit."""
    with sdk.chat.completions.stream(
        model="gpt-4o", messages=QUESTION, tools=[WEATHER, CLOCK], stream_options=COUNTED
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    assert [call.function.name for call in final.choices[0].message.tool_calls or []] == ["weather", "clock"]
    bill.charged(seen("", final.usage))


@pytest.mark.parametrize("streamed", [False, True])
def test_structured_output(sdk: OpenAI, bill: Bill, streamed: bool) -> None:
    final: Any
    if streamed:
        with sdk.chat.completions.stream(
            model="gpt-4o", messages=HELLO, response_format=Trip, stream_options=COUNTED
        ) as stream:
            final = stream.get_final_completion()
    else:
        final = sdk.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Trip)
    assert isinstance(final.choices[0].message.parsed, Trip)
    bill.charged(seen("", final.usage))


def test_pictures_and_several_choices(sdk: OpenAI, bill: Bill) -> None:
    picture: Any = {"type": "image_url", "image_url": {"url": PIXEL_URL}}
    look: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "look"}, picture]}]
    seeing = sdk.chat.completions.create(model="gpt-4o", messages=look)
    several = sdk.chat.completions.create(model="gpt-4o", messages=HELLO, n=3, logprobs=True, top_logprobs=2)
    assert seeing.choices[0].message.content == "You said: look (1 image)"
    assert len(several.choices) == 3
    bill.charged(seen("", seeing.usage), seen("", several.usage))


def test_vectors(sdk: OpenAI, bill: Bill) -> None:
    """The SDK asks for base64 by itself; numbers give the same vectors, to the precision of 32 bits."""
    texts = ["one two three", "four"]
    packed = sdk.embeddings.create(model="embedder", input=texts)
    plain = sdk.embeddings.create(model="embedder", input=texts, encoding_format="float")
    short = sdk.embeddings.create(model="embedder", input=texts, dimensions=16)
    assert [item.index for item in packed.data] == [0, 1]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, rel=1e-6)
    assert [len(item.embedding) for item in short.data] == [16, 16]
    bill.charged(*(seen("", reply.usage) for reply in (packed, plain, short)))


RESPONSES_WEATHER: Any = {"type": "function", "strict": False, **WEATHER["function"]}
RESPONSES_CLOCK: Any = {"type": "function", "strict": False, **CLOCK["function"]}


def test_responses_whole_and_streamed(sdk: OpenAI, bill: Bill) -> None:
    whole = sdk.responses.create(model="gpt-4o", input="hello there", store=False)
    events = list(sdk.responses.create(model="gpt-4o", input="hello there", store=False, stream=True))
    final: Any = events[-1]
    assert whole.output_text == final.response.output_text == "You said: hello there"
    assert final.type == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    bill.charged(seen("", whole.usage), seen("", final.response.usage))


def test_responses_with_tools(sdk: OpenAI, bill: Bill) -> None:
    tools = [RESPONSES_WEATHER, RESPONSES_CLOCK]
    with sdk.responses.stream(model="gpt-4o", input=QUESTION, tools=tools, store=False) as stream:
        kinds = {event.type for event in stream}
        first = stream.get_final_response()
    calls: list[Any] = [item for item in first.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["weather", "clock"]
    assert "response.function_call_arguments.done" in kinds
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"} for call in calls]
    turn = [
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
        for call in calls
    ]
    items: list[Any] = [*QUESTION, *turn, *results]
    second = sdk.responses.create(model="gpt-4o", input=items, tools=tools, store=False)
    assert second.output_text == "The tool said: rain"
    bill.charged(seen("", first.usage), seen("", second.usage))


def test_responses_parsed_and_cut_short(sdk: OpenAI, bill: Bill) -> None:
    parsed = sdk.responses.parse(model="gpt-4o", input="hello there", text_format=Trip, store=False)
    assert isinstance(parsed.output_parsed, Trip)
    words = "a b c d e f g h i j k l m n o p q r s t u v w x y z"
    events = list(sdk.responses.create(model="gpt-4o", input=words, max_output_tokens=16, store=False, stream=True))
    final: Any = events[-1]
    assert final.type == "response.incomplete"
    bill.charged(seen("", parsed.usage), seen("", final.response.usage))


def test_models(sdk: OpenAI, place: Place) -> None:
    assert {model.id for model in sdk.models.list()} == set(place.models)
    assert sdk.models.retrieve("auto").object == "model"


def test_a_rule_chooses(sdk: OpenAI, bill: Bill) -> None:
    raw = sdk.chat.completions.with_raw_response.create(
        model="auto", messages=HELLO, extra_headers={"x-gateway-task": "coding"}
    )
    assert raw.headers["x-gateway-model"] == "gpt-4o"
    bill.charged(seen("", raw.parse().usage), at="gpt-4o")
