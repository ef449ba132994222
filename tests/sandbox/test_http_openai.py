"""OpenAI's SDK against the sandbox, with the SDK's strict validation of every answer."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from gateway.sandbox import media
from gateway.sandbox.app import start

HELLO: list[Any] = [{"role": "user", "content": "hello there"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK: Any = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
PIXEL = "data:image/png;base64," + base64.b64encode(media.png("x", 1, 1)).decode()


def lenient(client: AsyncOpenAI) -> AsyncOpenAI:
    """The SDK's own types are narrower than the true wire: base64 vectors, and a null finish_reason in completions."""
    return client.with_options(_extra_kwargs={"_strict_response_validation": False})


@pytest.fixture
async def client() -> AsyncIterator[AsyncOpenAI]:
    sandbox = await start()
    base = sandbox.base_url("openai") + "/v1"
    async with AsyncOpenAI(base_url=base, api_key="sk-1", max_retries=0, _strict_response_validation=True) as sdk:
        yield sdk
    await sandbox.stop()


async def test_chat_echoes_and_counts_words(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert reply.choices[0].message.content == "You said: hello there"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    # two words and one message in, four words out
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (3, 4, 7)


async def test_equal_requests_get_equal_answers_and_own_request_ids(client: AsyncOpenAI) -> None:
    raw = [await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO) for _ in range(2)]
    first, second = (one.parse() for one in raw)
    assert first.id == second.id
    assert first.choices == second.choices
    assert raw[0].headers["x-request-id"] != raw[1].headers["x-request-id"]
    assert raw[0].headers["x-ratelimit-limit-requests"] == "10000"


async def test_stream_has_usage_only_if_asked_and_in_a_chunk_of_its_own(client: AsyncOpenAI) -> None:
    plain = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in plain]
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "You said: hello there"

    asked = await client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in asked]
    assert all("usage" in c.model_fields_set and c.usage is None for c in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 7
    assert chunks[-2].choices[0].finish_reason == "stop"


async def test_parallel_tool_calls_and_their_results(client: AsyncOpenAI) -> None:
    ask: list[Any] = [{"role": "user", "content": "weather and clock please"}]
    reply = await client.chat.completions.create(model="gpt-4o", messages=ask, tools=[WEATHER, CLOCK])
    choice = reply.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls: list[Any] = choice.message.tool_calls or []
    assert [call.function.name for call in calls] == ["weather", "clock"]
    assert json.loads(calls[0].function.arguments)["city"]
    results: list[Any] = [
        {"role": "tool", "tool_call_id": call.id, "content": f"result {i}"} for i, call in enumerate(calls)
    ]
    turn: Any = choice.message.model_dump(exclude_none=True)
    after = await client.chat.completions.create(
        model="gpt-4o", tools=[WEATHER, CLOCK], messages=[*ask, turn, *results]
    )
    assert after.choices[0].message.content == "The tool said: result 1"


async def test_streamed_tool_calls_join_to_the_same_arguments(client: AsyncOpenAI) -> None:
    ask: list[Any] = [{"role": "user", "content": "weather and clock please"}]
    whole = await client.chat.completions.create(model="gpt-4o", messages=ask, tools=[WEATHER, CLOCK])
    stream = await client.chat.completions.create(model="gpt-4o", messages=ask, tools=[WEATHER, CLOCK], stream=True)
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    async for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.function is not None
            if call.id:
                names[call.index] = call.function.name or ""
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    calls: list[Any] = whole.choices[0].message.tool_calls or []
    assert list(names.values()) == ["weather", "clock"]
    assert list(arguments.values()) == [call.function.arguments for call in calls]


async def test_choices_schema_logprobs_pictures_and_limits(client: AsyncOpenAI) -> None:
    two = await client.chat.completions.create(model="gpt-4o", messages=HELLO, n=2, logprobs=True, top_logprobs=2)
    assert [c.index for c in two.choices] == [0, 1]
    logprobs = two.choices[0].logprobs
    assert logprobs is not None
    assert [t.token for t in logprobs.content or []] == ["You", " said:", " hello", " there"]
    assert all(len(t.top_logprobs) == 2 for t in logprobs.content or [])

    schema: Any = {"type": "object", "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}}}
    shaped = await client.chat.completions.create(
        model="gpt-4o",
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
    )
    assert set(json.loads(shaped.choices[0].message.content or "")) == {"n", "ok"}

    picture: list[Any] = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
        }
    ]
    seen = await client.chat.completions.create(model="gpt-4o", messages=picture)
    assert seen.choices[0].message.content == "You said: look (1 image)"
    assert seen.usage is not None
    assert seen.usage.prompt_tokens == 87

    short = await client.chat.completions.create(model="gpt-4o", messages=HELLO, max_completion_tokens=2)
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("You said:", "length")
    stopped = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stop=["hello"])
    assert stopped.choices[0].message.content == "You said: "


async def test_reasoning_is_counted_but_not_shown(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model="gpt-5", messages=HELLO, reasoning_effort="low")
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    assert reply.usage.completion_tokens_details.reasoning_tokens == 4
    assert reply.usage.completion_tokens == 8
    assert not hasattr(reply.choices[0].message, "reasoning_content")


async def test_legacy_completions(client: AsyncOpenAI) -> None:
    reply = await client.completions.create(model="gpt-3.5-turbo-instruct", prompt="hello")
    assert reply.choices[0].text == "You said: hello"
    stream = await lenient(client).completions.create(
        model="gpt-3.5-turbo-instruct", prompt="hello", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].text for c in chunks if c.choices) == "You said: hello"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 4


async def test_responses_plain_stored_and_continued(client: AsyncOpenAI) -> None:
    first = await client.responses.create(model="gpt-5", input="hello", reasoning={"effort": "low"})
    assert first.status == "completed"
    assert first.output_text == "You said: hello"
    assert [item.type for item in first.output] == ["reasoning", "message"]
    assert (await client.responses.retrieve(first.id)).output_text == first.output_text
    second = await client.responses.create(model="gpt-5", input="more", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert second.usage is not None
    # two turns of the user, and what was said between them: three messages and five words
    assert second.usage.input_tokens == 8
    items = (await client.responses.input_items.list(second.id)).data
    assert [item.type for item in items] == ["message", "message", "reasoning", "message"]
    await client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(first.id)


async def test_responses_events_come_in_order_and_complete(client: AsyncOpenAI) -> None:
    tool: Any = {
        "type": "function",
        "name": "weather",
        "parameters": WEATHER["function"]["parameters"],
        "strict": False,
    }
    events = [e async for e in await client.responses.create(model="gpt-4o", input="hi", tools=[tool], stream=True)]
    assert [e.sequence_number for e in events] == list(range(len(events)))
    kinds = list(dict.fromkeys(e.type for e in events))
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    text = [e async for e in await client.responses.create(model="gpt-4o", input="hi", stream=True)]
    last: Any = text[-1]
    assert "".join(e.delta for e in text if e.type == "response.output_text.delta") == last.response.output_text
    assert last.response.usage.total_tokens > 0
    first: Any = text[0]
    assert first.response.usage is None


async def test_responses_incomplete_and_tool_output(client: AsyncOpenAI) -> None:
    cut = await client.responses.create(model="gpt-4o+size=40", input="hello", max_output_tokens=16)
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    items: list[Any] = [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ]
    assert (await client.responses.create(model="gpt-4o", input=items)).output_text == "The tool said: rain"
    with pytest.raises(openai.BadRequestError, match="No tool call found"):
        await client.responses.create(model="gpt-4o", input=[items[0], items[2]])


async def test_embeddings_in_both_encodings_are_the_same_vector(client: AsyncOpenAI) -> None:
    decoded = await lenient(client).embeddings.create(model="text-embedding-3-small", input=["a b", "c"], dimensions=16)
    plain = await client.embeddings.create(
        model="text-embedding-3-small", input=["a b", "c"], dimensions=16, encoding_format="float"
    )
    assert [len(one.embedding) for one in plain.data] == [16, 16]
    for one, two in zip(decoded.data, plain.data, strict=True):
        assert list(one.embedding) == pytest.approx(two.embedding, abs=1e-7)
    assert plain.usage.prompt_tokens == 3
    assert plain.data[0].embedding != plain.data[1].embedding


async def test_models(client: AsyncOpenAI) -> None:
    names = [model.id async for model in await client.models.list()]
    assert "gpt-4o" in names
    assert (await client.models.retrieve("gpt-4o")).id == "gpt-4o"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("no-such")


async def test_images_are_png_of_the_size_asked_for(client: AsyncOpenAI) -> None:
    made = await client.images.generate(model="gpt-image-1.5", prompt="a cat", size="1536x1024", n=2)
    pictures = [base64.b64decode(one.b64_json or "") for one in made.data or []]
    assert len(pictures) == 2
    assert all(struct.unpack(">II", picture[16:24]) == (1536, 1024) for picture in pictures)
    assert made.usage is not None
    assert made.usage.output_tokens == 2112
    edited = await client.images.edit(
        model="gpt-image-1.5", prompt="a hat", image=[("a.png", pictures[0]), ("b.png", pictures[1])]
    )
    assert edited.usage is not None
    assert edited.usage.input_tokens_details.image_tokens == 646
    stream = await client.images.generate(model="gpt-image-1.5", prompt="x", stream=True, partial_images=2)
    events = [event async for event in stream]
    assert [e.type for e in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]


async def test_speech_is_heard_again_by_transcription(client: AsyncOpenAI) -> None:
    for form in ("wav", "mp3"):
        kind: Any = form
        sound = await client.audio.speech.create(
            model="gpt-4o-mini-tts", voice="alloy", input="good morning 世界", response_format=kind
        )
        file = (f"a.{form}", io.BytesIO(sound.content))
        heard = await client.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=file)
        assert heard.text == "good morning 世界"
        assert heard.usage is not None
        assert heard.usage.type == "tokens"
    pcm = await client.audio.speech.create(model="tts-1", voice="alloy", input="one two", response_format="pcm")
    # 200 ms a word, 24000 samples of two bytes a second
    assert len(pcm.content) == 2 * 9600


async def test_transcription_forms_and_stream(client: AsyncOpenAI) -> None:
    sound = media.wav("rain at noon", 3)
    verbose: Any = await client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", sound), response_format="verbose_json"
    )
    assert verbose.duration == pytest.approx(0.6, abs=0.01)
    assert verbose.usage.seconds == 1
    text: Any = await client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", sound), response_format="srt"
    )
    assert "00:00:00,000 --> 00:00:00,6" in text
    stream = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", sound), stream=True)
    events: list[Any] = [event async for event in stream]
    assert "".join(e.delta for e in events[:-1]) == "rain at noon" == events[-1].text
    assert events[-1].usage.input_tokens > 0


async def test_errors_are_openais(client: AsyncOpenAI) -> None:
    async def refused(**change: Any) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(**({"model": "gpt-4o", "messages": HELLO} | change))
        return caught.value

    unknown = await refused(extra_body={"frobnicate": 1})
    assert unknown.status_code == 400
    assert "Unrecognized request argument supplied: frobnicate" in unknown.message
    assert (await refused(stop=list("abcde"))).param == "stop"
    assert (await refused(model="no-such")).code == "model_not_found"
    assert (await refused(temperature=3)).param == "temperature"
    assert (await refused(model="gpt-5", max_tokens=5)).code == "unsupported_parameter"
    orphan = await refused(messages=[*HELLO, {"role": "tool", "tool_call_id": "x", "content": "y"}])
    assert "must be a response to a preceeding message" in orphan.message
    open_call = {"id": "c9", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    unanswered = await refused(
        messages=[*HELLO, {"role": "assistant", "content": None, "tool_calls": [open_call]}, *HELLO]
    )
    assert "c9" in unanswered.message
    bad = client.with_options(api_key="sk-bad")
    with pytest.raises(openai.AuthenticationError) as caught:
        await bad.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert caught.value.code == "invalid_api_key"
