"""Anthropic's SDK against the sandbox; the rules that only this vendor has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anthropic
import pytest
from anthropic import AsyncAnthropic

from gateway.sandbox.app import Running, start

HELLO: list[Any] = [{"role": "user", "content": "hello there"}]
WEATHER: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
CLOCK: Any = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}
THINK: Any = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()


@pytest.fixture
async def client(sandbox: Running) -> AsyncIterator[AsyncAnthropic]:
    base = sandbox.base_url("anthropic")
    async with AsyncAnthropic(base_url=base, api_key="k", max_retries=0, _strict_response_validation=True) as sdk:
        yield sdk


async def ask(client: AsyncAnthropic, **change: Any) -> Any:
    wanted: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 2000, "messages": HELLO}
    return await client.messages.create(**(wanted | change))


async def test_message(client: AsyncAnthropic) -> None:
    reply = await ask(client, system="be kind", stop_sequences=["there"])
    assert reply.content[0].text == "You said: hello "
    assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", "there")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (5, 3)
    short = await ask(client, max_tokens=1)
    assert (short.stop_reason, short.content[0].text) == ("max_tokens", "You")


async def test_stream_events_names_padding_and_usage(client: AsyncAnthropic, sandbox: Running) -> None:
    async with client.messages.stream(model="claude-sonnet-5", max_tokens=100, messages=HELLO) as stream:
        final = await stream.get_final_message()
    assert final.content[0].type == "text"
    assert final.content[0].text == "You said: hello there"
    assert final.usage.output_tokens == 4
    body = {"model": "claude-sonnet-5", "max_tokens": 100, "messages": HELLO, "stream": True}
    given = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(sandbox.base_url("anthropic") + "/v1/messages", json=body, headers=given) as answer,
    ):
        text = await answer.text()
        assert answer.headers["request-id"].startswith("req_")
        assert answer.headers["anthropic-ratelimit-tokens-reset"].endswith("Z")
    events = [event.split("\n")[0] for event in text.strip().split("\n\n")]
    assert events[:3] == ["event: message_start", "event: content_block_start", "event: ping"]
    assert events[-2:] == ["event: message_delta", "event: message_stop"]
    assert 'data: {"type": "ping"' in text
    assert "  }\n" in text


async def test_thinking_must_come_back_with_its_signature(client: AsyncAnthropic) -> None:
    question: list[Any] = [{"role": "user", "content": "weather and clock"}]
    first = await ask(client, thinking=THINK, tools=[WEATHER, CLOCK], messages=question)
    kinds = [block.type for block in first.content]
    assert kinds == ["thinking", "tool_use", "tool_use"]
    assert first.stop_reason == "tool_use"
    assert first.usage.output_tokens_details.thinking_tokens == 8
    turn: Any = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]}
    results: Any = {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": block.id, "content": f"result {k}"}
            for k, block in enumerate(first.content[1:])
        ],
    }
    rest: Any = {"thinking": THINK, "tools": [WEATHER, CLOCK]}
    second = await ask(client, messages=[*question, turn, results], **rest)
    assert second.content[-1].text == "The tool said: result 1"

    forged = [{**turn["content"][0], "signature": "Zm9yZ2Vk"}, *turn["content"][1:]]
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        await ask(client, messages=[*question, {**turn, "content": forged}, results], **rest)
    with pytest.raises(anthropic.BadRequestError, match="Expected `thinking`"):
        await ask(client, messages=[*question, {**turn, "content": turn["content"][1:]}, results], **rest)
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result` blocks"):
        await ask(client, messages=[*question, turn, {**results, "content": results["content"][:1]}], **rest)
    with pytest.raises(anthropic.BadRequestError, match="unexpected `tool_use_id`"):
        await ask(client, messages=[results])


async def test_streamed_thinking_and_tools_equal_the_plain_answer(client: AsyncAnthropic) -> None:
    rest: Any = {
        "thinking": THINK,
        "tools": [WEATHER, CLOCK],
        "messages": [{"role": "user", "content": "weather clock"}],
    }
    async with client.messages.stream(model="claude-sonnet-5", max_tokens=2000, **rest) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_message()
    whole = await ask(client, **rest)
    plain = [block.model_dump(exclude={"id"}) for block in whole.content]
    assert [block.model_dump(include=set(p)) for block, p in zip(final.content, plain, strict=True)] == plain
    assert sum(event.type == "signature" for event in events) == 1


async def test_cache_breakpoints_split_the_input(client: AsyncAnthropic) -> None:
    marked = [{"type": "text", "text": "one two three four", "cache_control": {"type": "ephemeral"}}]
    wrote = await ask(client, system=marked)
    assert (wrote.usage.cache_creation_input_tokens, wrote.usage.input_tokens) == (4, 3)
    read = await ask(client, system=marked, model="claude-sonnet-5+cached=4")
    usage = read.usage
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.input_tokens) == (4, 0, 3)


async def test_count_tokens_and_models(client: AsyncAnthropic) -> None:
    assert (await client.messages.count_tokens(model="claude-sonnet-5", messages=HELLO)).input_tokens == 3
    assert [model.type async for model in client.models.list()] == ["model"] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra_body": {"temperature": 1.5}}, "temperature"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "Unexpected role"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "first message"),
        ({"extra_body": {"n": 2}}, "n: Extra inputs are not permitted"),
        ({"tools": [{"name": "x"}]}, "input_schema: Field required"),
        ({"tool_choice": {"type": "tool", "name": "zzz"}, "tools": [WEATHER]}, "'zzz' not found"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "greater than or equal to 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "must be greater than"),
        ({"thinking": THINK, "extra_body": {"temperature": 0.5}}, "may only be set to 1"),
        ({"stop_sequences": [" "]}, "non-whitespace"),
        ({"extra_body": {"max_tokens": "many"}}, "valid integer"),
    ],
)
async def test_refusals(client: AsyncAnthropic, change: dict[str, Any], message: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        await ask(client, **change)
    body: Any = caught.value.body
    assert message in body["error"]["message"]
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert body["request_id"].startswith("req_")


async def test_max_tokens_version_and_keys(sandbox: Running) -> None:
    url = sandbox.base_url("anthropic") + "/v1/messages"
    good = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    body = {"model": "claude-sonnet-5", "max_tokens": 5, "messages": HELLO}
    cases: list[tuple[dict[str, str], dict[str, Any], int, str]] = [
        (good, {k: v for k, v in body.items() if k != "max_tokens"}, 400, "max_tokens: Field required"),
        ({"x-api-key": "k"}, body, 400, "anthropic-version: header is required"),
        (good | {"anthropic-version": "2020-01-01"}, body, 400, "is not a valid version"),
        (good | {"x-api-key": "bad"}, body, 401, "invalid x-api-key"),
        ({"anthropic-version": "2023-06-01"}, body, 401, "x-api-key header is required"),
        ({"anthropic-version": "2023-06-01", "authorization": "Bearer token"}, body, 200, "You said"),
        (good, body | {"model": "no-such"}, 404, "model: no-such"),
    ]
    async with aiohttp.ClientSession() as session:
        for headers, value, status, text in cases:
            async with session.post(url, json=value, headers=headers) as answer:
                assert (answer.status, text in await answer.text()) == (status, True), text


async def test_overload_and_filter(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        await ask(client, model="claude-sonnet-5+status=529")
    assert caught.value.status_code == 529
    assert "overloaded_error" in str(caught.value.body)
    refused = await ask(client, model="claude-sonnet-5+filter")
    assert (refused.stop_reason, refused.content) == ("refusal", [])
    partly = await ask(client, model="claude-sonnet-5+filter=after")
    assert (partly.stop_reason, partly.content[0].text) == ("refusal", "You said:")
    with pytest.raises(anthropic.APIStatusError, match="overloaded"):
        async with client.messages.stream(model="claude-sonnet-5+error200=3", max_tokens=9, messages=HELLO) as stream:
            await stream.get_final_message()


async def test_the_door_of_other_vendors_is_unsigned_and_takes_bearer(sandbox: Running) -> None:
    base = sandbox.base_url("zhipu") + "/api/anthropic"
    async with AsyncAnthropic(base_url=base, auth_token="k", max_retries=0) as client:
        reply = await ask(client, thinking=THINK)
        assert reply.content[0].signature == ""
        turn = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in reply.content]}
        assert (await ask(client, messages=[*HELLO, turn, *HELLO])).stop_reason == "end_turn"
        stream = await ask(client, stream=True)
        usages = [
            e.message.usage if e.type == "message_start" else e.usage
            async for e in stream
            if e.type in ("message_start", "message_delta")
        ]
        # the true input comes at the end only
        assert [usage.input_tokens for usage in usages] == [0, 3]
