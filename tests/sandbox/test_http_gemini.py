"""Google's SDK against the sandbox, and the wire that the SDK hides."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from google import genai
from google.genai import errors, types

from gateway.sandbox.app import Running, start

HELLO = {"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]}
WEATHER: Any = {"name": "weather", "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}}
CLOCK: Any = {"name": "clock", "parameters": {"type": "OBJECT", "properties": {}}}
FLASH = "/v1beta/models/gemini-2.5-flash"
THREE = "/v1beta/models/gemini-3-pro-preview"
KEY = {"x-goog-api-key": "k"}


# The SDK's own fault, on every asynchronous call.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()


@pytest.fixture
async def client(sandbox: Running) -> AsyncIterator[genai.Client]:
    options = types.HttpOptions(base_url=sandbox.base_url("gemini"))
    sdk = genai.Client(api_key="k", http_options=options)
    yield sdk
    await sdk.aio.aclose()
    sdk.close()


async def post(sandbox: Running, path: str, body: Any, headers: dict[str, str] = KEY) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(sandbox.base_url("gemini") + path, json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.text(), answer.headers["Content-Type"]


async def test_generate_stream_count_embed(client: genai.Client) -> None:
    reply = await client.aio.models.generate_content(model="gemini-2.5-flash", contents="hello there")
    assert reply.text == "You said: hello there"
    usage = reply.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (3, 4, 7)
    stream = await client.aio.models.generate_content_stream(model="gemini-2.5-flash", contents="hello there")
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.text or "" for chunk in chunks) == "You said: hello there"
    assert [c.usage_metadata.total_token_count for c in chunks if c.usage_metadata] == [4, 5, 6, 7]
    assert chunks[-1].candidates is not None
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    counted = await client.aio.models.count_tokens(model="gemini-2.5-flash", contents="hello there")
    assert counted.total_tokens == 3
    config = types.EmbedContentConfig(output_dimensionality=8)
    vectors = await client.aio.models.embed_content(model="gemini-embedding-001", contents=["a b", "c"], config=config)
    assert [len(one.values or []) for one in vectors.embeddings or []] == [8, 8]
    names = [model.name async for model in await client.aio.models.list()]
    assert "models/gemini-2.5-flash" in names


async def test_tools_and_signatures_round_trip_through_the_sdk(client: genai.Client) -> None:
    tools: Any = [
        types.Tool(function_declarations=[types.FunctionDeclaration(**WEATHER), types.FunctionDeclaration(**CLOCK)])
    ]
    off = types.AutomaticFunctionCallingConfig(disable=True)
    config = types.GenerateContentConfig(tools=tools, automatic_function_calling=off)
    question = types.Content(role="user", parts=[types.Part(text="weather and clock")])
    model = "gemini-3-pro-preview"
    first = await client.aio.models.generate_content(model=model, contents=[question], config=config)
    calls = first.function_calls or []
    assert [call.name for call in calls] == ["weather", "clock"]
    assert first.candidates is not None
    turn = first.candidates[0].content
    assert turn is not None
    assert [bool(part.thought_signature) for part in turn.parts or []] == [True, False]
    answers = types.Content(
        role="user",
        parts=[types.Part.from_function_response(name=str(c.name), response={"result": f"r {c.name}"}) for c in calls],
    )
    second = await client.aio.models.generate_content(model=model, contents=[question, turn, answers], config=config)
    assert second.text == "The tool said: r clock"


async def test_gemini_three_refuses_calls_without_their_signature(sandbox: Running) -> None:
    call = {"functionCall": {"name": "weather", "args": {}}}
    answer = {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"result": "rain"}}}]}
    user = HELLO["contents"][0]

    def body(part: dict[str, Any]) -> dict[str, Any]:
        return {"contents": [user, {"role": "model", "parts": [part]}, answer]}

    status, text, _ = await post(sandbox, f"{THREE}:generateContent", body(call))
    assert (status, "missing a thought_signature" in text) == (400, True)
    forged = {**call, "thoughtSignature": base64.b64encode(b"x").decode()}
    status, text, _ = await post(sandbox, f"{THREE}:generateContent", body(forged))
    assert (status, "signature is not valid" in text) == (400, True)
    foreign = {**call, "thoughtSignature": base64.b64encode(b"skip_thought_signature_validator").decode()}
    status, text, _ = await post(sandbox, f"{THREE}:generateContent", body(foreign))
    assert (status, "The tool said: rain" in text) == (200, True)
    status, _, _ = await post(sandbox, f"{FLASH}:generateContent", body(call))
    assert status == 200


async def test_the_two_forms_of_a_stream(sandbox: Running) -> None:
    status, text, kind = await post(sandbox, f"{FLASH}:streamGenerateContent?alt=sse", HELLO)
    assert (status, kind) == (200, "text/event-stream")
    events = text.split("\r\n\r\n")
    assert events[-1] == ""
    assert all(event.startswith("data: {") for event in events[:-1])
    status, text, kind = await post(sandbox, f"{FLASH}:streamGenerateContent", HELLO)
    assert kind.startswith("application/json")
    found = json.loads(text)
    assert [e["candidates"][0]["content"]["parts"][0]["text"] for e in found] == ["You", " said:", " hello", " there"]
    assert "\n,\r\n{" in text
    status, text, _ = await post(sandbox, f"{FLASH}:streamGenerateContent", {})
    assert (status, json.loads(text)[0]["error"]["status"]) == (400, "INVALID_ARGUMENT")


async def test_all_forms_of_keys_and_names(sandbox: Running) -> None:
    for path, headers in (
        (f"{FLASH}:generateContent", KEY),
        (f"{FLASH}:generateContent?key=k", {}),
        (f"{FLASH}%3AgenerateContent?key=k", {}),
        (f"{FLASH}:generateContent", {"Authorization": "Bearer token"}),
        ("/v1/models/gemini-2.5-flash:generateContent?key=k", {}),
    ):
        status, text, _ = await post(sandbox, path, HELLO, headers)
        assert (status, "hello" in text) == (200, True), path
    snake = {**HELLO, "generation_config": {"max_output_tokens": 1}, "system_instruction": {"parts": [{"text": "x"}]}}
    _, text, _ = await post(sandbox, f"{FLASH}:generateContent", snake)
    assert json.loads(text)["candidates"][0]["finishReason"] == "MAX_TOKENS"


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "message"),
    [
        (FLASH, HELLO, {}, 403, "unregistered callers"),
        (FLASH, HELLO, {"x-goog-api-key": "bad"}, 400, "API key not valid"),
        (FLASH, {**HELLO, "frob": 1}, KEY, 400, 'Unknown name \\"frob\\"'),
        (FLASH, {**HELLO, "generationConfig": {"frob": 1}}, KEY, 400, 'Unknown name \\"frob\\"'),
        (FLASH, {**HELLO, "generationConfig": {"temperature": 3}}, KEY, 400, "temperature must be in the range"),
        (FLASH, {**HELLO, "generationConfig": {"stopSequences": list("abcdef")}}, KEY, 400, "at most 5"),
        (FLASH, {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, KEY, 400, "valid role"),
        (FLASH, {"contents": [{"role": "user", "parts": []}]}, KEY, 400, "must not be empty"),
        (FLASH, {"contents": []}, KEY, 400, "contents is not specified"),
        (FLASH, {**HELLO, "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}, KEY, 400, "not supported"),
        ("/v1beta/models/no-such", HELLO, KEY, 404, "is not found for API version"),
        (
            FLASH,
            {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]},
            KEY,
            400,
            "immediately after a function call turn",
        ),
    ],
)
async def test_refusals(
    sandbox: Running, path: str, body: Any, headers: dict[str, str], status: int, message: str
) -> None:
    got, text, _ = await post(sandbox, f"{path}:generateContent", body, headers)
    assert (got, message in text) == (status, True), text
    assert json.loads(text)["error"]["code"] == status


async def test_thoughts_pictures_and_filters(client: genai.Client, sandbox: Running) -> None:
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=512)
    reply = await client.aio.models.generate_content(
        model="gemini-2.5-flash", contents="hello", config=types.GenerateContentConfig(thinking_config=thinking)
    )
    assert reply.usage_metadata is not None
    assert reply.usage_metadata.thoughts_token_count == 8
    assert reply.usage_metadata.total_token_count == 2 + 3 + 8
    picture = await client.aio.models.generate_content(model="gemini-2.5-flash-image", contents="a cat")
    parts = picture.parts or []
    assert parts[-1].inline_data is not None
    assert (parts[-1].inline_data.data or b"").startswith(b"\x89PNG")
    blocked = await client.aio.models.generate_content(model="gemini-2.5-flash+filter", contents="x")
    assert blocked.candidates is None
    assert blocked.prompt_feedback is not None
    assert blocked.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT
    _, text, _ = await post(sandbox, f"{FLASH}+filter=after:generateContent", HELLO)
    assert json.loads(text)["candidates"][0]["finishReason"] == "SAFETY"


async def test_batch_embeddings_check_their_models(sandbox: Running) -> None:
    path = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    one = {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "a b"}]}}
    status, text, _ = await post(sandbox, path, {"requests": [one, one]})
    assert status == 200
    assert len(json.loads(text)["embeddings"]) == 2
    assert json.loads(text)["usageMetadata"] == {"promptTokenCount": 4}
    status, _, _ = await post(sandbox, path, {"requests": [{**one, "model": "models/other"}]})
    assert status == 400


async def test_rate_limit_tells_when_to_retry(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await client.aio.models.generate_content(model="gemini-2.5-flash+status=429", contents="x")
    assert caught.value.code == 429
    assert caught.value.details["error"]["details"][0]["retryDelay"] == "1s"
