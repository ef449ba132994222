"""The vendors of the OpenAI dialect: what each does differently, on the wire and with the SDKs of Ark and Zhipu."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import zai
from volcenginesdkarkruntime import AsyncArk  # type: ignore[import-untyped]

from gateway.sandbox.app import Running, start

HELLO: list[Any] = [{"role": "user", "content": "hello there"}]
CHAT = {
    "ali": "/compatible-mode/v1/chat/completions",
    "baidu": "/v2/chat/completions",
    "bytedance": "/api/v3/chat/completions",
    "byteplus": "/api/v3/chat/completions",
    "deepseek": "/chat/completions",
    "gemini": "/v1beta/openai/chat/completions",
    "lingyi": "/v1/chat/completions",
    "minimax": "/v1/text/chatcompletion_v2",
    "moonshot": "/v1/chat/completions",
    "openai": "/v1/chat/completions",
    "siliconflow": "/v1/chat/completions",
    "stepfun": "/v1/chat/completions",
    "tencent": "/v1/chat/completions",
    "xunfei": "/v1/chat/completions",
    "zhipu": "/api/paas/v4/chat/completions",
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
MODEL = "model-250615"


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()


async def call(sandbox: Running, vendor: str, body: Any, path: str = "", **headers: str) -> tuple[int, str, Any]:
    headers = {"Authorization": "Bearer k", **headers}
    url = sandbox.base_url(vendor) + (path or CHAT[vendor])
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.text(), answer.headers


async def stream(sandbox: Running, vendor: str, **change: Any) -> tuple[list[Any], bool]:
    """The decoded events, and whether [DONE] closed them."""
    _, text, _ = await call(sandbox, vendor, {"model": MODEL, "messages": HELLO, "stream": True} | change)
    events = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(e) for e in events if e != "[DONE]"], events[-1] == "[DONE]"


@pytest.mark.parametrize("vendor", CHAT)
async def test_every_vendor_answers_streams_and_calls_tools(sandbox: Running, vendor: str) -> None:
    status, text, _ = await call(sandbox, vendor, {"model": MODEL, "messages": HELLO})
    value = json.loads(text)
    assert status == 200
    assert value["choices"][0]["message"]["content"] == "You said: hello there"
    assert value["usage"]["total_tokens"] == 7
    chunks, done = await stream(sandbox, vendor)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"] if "delta" in choice]
    assert "".join(delta.get("content") or "" for delta in deltas) == "You said: hello there"
    assert done is (vendor != "minimax")
    _, text, _ = await call(sandbox, vendor, {"model": MODEL, "messages": HELLO, "tools": [TOOL]})
    calls = json.loads(text)["choices"][0]["message"]["tool_calls"]
    one = calls if vendor == "xunfei" else calls[0]
    assert json.loads(one["function"]["arguments"]) == {"city": "city hello there"}


@pytest.mark.parametrize("vendor", CHAT)
@pytest.mark.parametrize(
    "change",
    [
        {"messages": None},
        {"messages": []},
        {"messages": [{"role": "wizard", "content": "x"}]},
        {"messages": [*HELLO, {"role": "tool", "tool_call_id": "x", "content": "y"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"temperature": 9},
        {"temperature": "hot"},
        {"max_tokens": 0},
        {"stop": list("abcdef")},
        {"tools": [{"type": "function", "function": {}}]},
        {"response_format": {"type": "xml"}},
        {"model": "no-such-250615"},
        {"model": 5},
    ],
    ids=str,
)
async def test_every_vendor_refuses_nonsense(sandbox: Running, vendor: str, change: dict[str, Any]) -> None:
    status, text, _ = await call(sandbox, vendor, {"model": MODEL, "messages": HELLO} | change)
    value = json.loads(text)
    in_200 = {"minimax": lambda v: v["base_resp"]["status_code"] == 2013, "xunfei": lambda v: v["code"] != 0}
    if vendor in in_200:
        assert status == 200
        assert in_200[vendor](value)
    else:
        assert status in (400, 404, 422)
        assert "choices" not in value


# What a wrong key gets: status and a part of the body.
@pytest.mark.parametrize(
    ("vendor", "status", "body"),
    [
        ("ali", 401, '"code":"invalid_api_key"'),
        ("baidu", 401, '"code":"invalid_iam_token"'),
        ("bytedance", 401, '"code":"AuthenticationError"'),
        ("deepseek", 401, '"type":"authentication_error"'),
        ("minimax", 200, '"status_code":1004'),
        ("moonshot", 401, '"type":"invalid_authentication_error"'),
        ("openai", 401, '"code":"invalid_api_key"'),
        ("siliconflow", 401, '"Invalid token"'),
        ("tencent", 401, '"code":"invalid_api_key"'),
        ("xunfei", 401, "HMAC signature cannot be verified"),
        ("zhipu", 401, '"code":"1000"'),
    ],
)
async def test_wrong_keys(sandbox: Running, vendor: str, status: int, body: str) -> None:
    for headers in ({"Authorization": "Bearer bad-key"}, {"Authorization": ""}):
        got, text, _ = await call(sandbox, vendor, {"model": MODEL, "messages": HELLO}, **headers)
        assert got == status
        assert body in text or headers["Authorization"] == ""


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("ali", "x-request-id"),
        ("baidu", "x-bce-request-id"),
        ("bytedance", "X-Request-Id"),
        ("deepseek", "x-ds-trace-id"),
        ("minimax", "Trace-Id"),
        ("moonshot", "Msh-Request-Id"),
        ("siliconflow", "x-siliconcloud-trace-id"),
        ("stepfun", "X-Trace-Id"),
        ("tencent", "X-TC-RequestId"),
    ],
)
async def test_request_id_headers(sandbox: Running, vendor: str, name: str) -> None:
    _, _, headers = await call(sandbox, vendor, {"model": MODEL, "messages": HELLO})
    assert headers[name]


# Which events of a plain stream carry usage, and which of one that asks for it.
USAGE = {
    "ali": ("none", "extra"),
    "baidu": ("none", "finish"),
    "bytedance": ("none", "extra"),
    "deepseek": ("finish", "finish"),
    "gemini": ("every", "every"),
    "lingyi": ("finish", "finish"),
    "openai": ("none", "extra"),
    "siliconflow": ("every", "every"),
    "stepfun": ("every", "every"),
    "tencent": ("every", "every"),
    "xunfei": ("finish", "finish"),
    "zhipu": ("finish", "finish"),
}


@pytest.mark.parametrize("vendor", USAGE)
async def test_where_the_usage_is(sandbox: Running, vendor: str) -> None:
    for asked, wanted in enumerate(USAGE[vendor]):
        options = {"stream_options": {"include_usage": True}} if asked else {}
        chunks, _ = await stream(sandbox, vendor, **options)
        having = [i for i, chunk in enumerate(chunks) if chunk.get("usage")]
        last = len(chunks) - 1
        assert having == {"none": [], "every": list(range(last + 1)), "finish": [last], "extra": [last]}[wanted]
        if having:
            assert chunks[-1]["usage"]["total_tokens"] == 7
            assert bool(chunks[-1]["choices"]) is (wanted != "extra")


async def test_moonshot_puts_usage_into_the_finish_choice(sandbox: Running) -> None:
    chunks, _ = await stream(sandbox, "moonshot", model="kimi+cached=2")
    assert chunks[-1]["choices"][0]["usage"]["cached_tokens"] == 2
    assert "usage" not in chunks[-1]
    asked, _ = await stream(sandbox, "moonshot", stream_options={"include_usage": True})
    assert asked[-1]["usage"]["total_tokens"] == 7
    status, _, _ = await call(
        sandbox, "moonshot", {"model": MODEL, "messages": HELLO, "tools": [TOOL], "tool_choice": "required"}
    )
    assert status == 400


async def test_deepseek_keeps_alive_counts_hits_and_wants_its_reasoning(sandbox: Running) -> None:
    long = [{"role": "user", "content": "word " * 100}]
    _, text, _ = await call(sandbox, "deepseek", {"model": "deepseek-chat", "messages": long})
    assert text.startswith("\n\n{")
    usage = json.loads(text)["usage"]
    assert (usage["prompt_cache_hit_tokens"], usage["prompt_cache_miss_tokens"]) == (64, 37)
    _, text, _ = await call(sandbox, "deepseek", {"model": "deepseek-chat", "messages": HELLO, "stream": True})
    assert text.startswith(": keep-alive\n\n")
    asked = {"model": "deepseek-reasoner", "messages": HELLO, "tools": [TOOL]}
    _, text, _ = await call(sandbox, "deepseek", asked)
    message = json.loads(text)["choices"][0]["message"]
    assert message["reasoning_content"].startswith("The user said:")
    assert message["tool_calls"][0]["id"].startswith("call_00_")
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "rain"}
    status, _, _ = await call(sandbox, "deepseek", asked | {"messages": [*HELLO, message, result]})
    assert status == 200
    del message["reasoning_content"]
    status, text, _ = await call(sandbox, "deepseek", asked | {"messages": [*HELLO, message, result]})
    assert (status, "reasoning_content" in text) == (400, True)


async def test_minimax_closes_with_the_whole_answer(sandbox: Running) -> None:
    chunks, _ = await stream(sandbox, "minimax")
    assert {chunk["usage"]["total_tokens"] for chunk in chunks[:-1]} == {0}
    last = chunks[-1]
    assert (last["object"], last["usage"]["total_tokens"]) == ("chat.completion", 7)
    assert last["choices"][0]["message"]["content"] == "You said: hello there"
    door = "/v1/chat/completions"
    _, text, _ = await call(sandbox, "minimax", {"model": "m+think=2", "messages": HELLO}, door)
    assert json.loads(text)["choices"][0]["message"]["content"].startswith("<think>\nThe user\n</think>")
    split = {"model": "m+think=2", "messages": HELLO, "reasoning_split": True}
    _, text, _ = await call(sandbox, "minimax", split, door)
    assert json.loads(text)["choices"][0]["message"]["reasoning_content"] == "The user"
    status, text, _ = await call(
        sandbox, "minimax", {"model": "m", "messages": HELLO}, door, Authorization="Bearer bad"
    )
    assert (status, json.loads(text)["error"]["type"]) == (401, "authorized_error")
    status, text, _ = await call(sandbox, "minimax", {"model": "m+error200=0", "messages": HELLO, "stream": True})
    assert (status, json.loads(text)["base_resp"]["status_code"]) == (200, 1013)
    _, text, _ = await call(sandbox, "minimax", {"model": "m+filter", "messages": HELLO})
    assert json.loads(text)["base_resp"]["status_code"] == 1026
    assert json.loads(text)["choices"] is None


async def test_siliconflow_errors_have_three_forms(sandbox: Running) -> None:
    bodies = {}
    for status in (400, 401, 429, 503, 504):
        got, text, _ = await call(sandbox, "siliconflow", {"model": f"m+status={status}", "messages": HELLO})
        assert got == status
        bodies[status] = json.loads(text)
    assert bodies[401] == "Invalid token"
    assert isinstance(bodies[504], str)
    assert set(bodies[429]) == {"message", "data"}
    assert set(bodies[400]) == set(bodies[503]) == {"code", "message", "data"}


async def test_zhipu_tells_a_failure_by_its_finish_reason(sandbox: Running) -> None:
    chunks, _ = await stream(sandbox, "zhipu", model="glm+error200=2")
    assert chunks[-1]["choices"][0]["finish_reason"] == "network_error"
    assert "object" not in chunks[0]
    chunks, _ = await stream(sandbox, "zhipu", model="glm+filter=after")
    assert chunks[-1]["choices"][0]["finish_reason"] == "sensitive"
    chunks, _ = await stream(sandbox, "zhipu", tools=[TOOL])
    calls = [c["choices"][0]["delta"]["tool_calls"][0] for c in chunks if "tool_calls" in c["choices"][0]["delta"]]
    assert [json.loads(one["function"]["arguments"]) for one in calls] == [{"city": "city hello there"}]
    status, text, _ = await call(sandbox, "zhipu", {"model": "m", "messages": HELLO, "tool_choice": "none"})
    assert (status, json.loads(text)["error"]["code"]) == (400, "1214")


async def test_spark_and_lingyi_and_stepfun_words(sandbox: Running) -> None:
    _, text, _ = await call(sandbox, "xunfei", {"model": "x", "messages": HELLO})
    assert set(json.loads(text)) == {"code", "message", "sid", "choices", "usage"}
    switched = {"model": "x", "messages": HELLO, "tools": [TOOL], "tool_calls_switch": True}
    _, text, _ = await call(sandbox, "xunfei", switched)
    assert isinstance(json.loads(text)["choices"][0]["message"]["tool_calls"], list)
    status, text, _ = await call(sandbox, "xunfei", {"model": "x+error200", "messages": HELLO})
    assert (status, json.loads(text)["code"]) == (200, 10012)
    chunks, _ = await stream(sandbox, "lingyi")
    assert (chunks[-1]["content"], chunks[-1]["lastOne"]) == ("You said: hello there", True)
    chunks, _ = await stream(sandbox, "stepfun", model="s+think=2")
    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]} == {""}
    assert chunks[1]["choices"][0]["delta"]["reasoning"] == chunks[1]["choices"][0]["delta"]["reasoning_content"]


TC3 = (
    "TC3-HMAC-SHA256 Credential=AKID/2026-11-22/hunyuan/tc3_request, SignedHeaders=content-type;host, "
    f"Signature={'0a' * 32}"
)
TC = {"X-TC-Action": "ChatCompletions", "X-TC-Version": "2023-09-01", "X-TC-Timestamp": "1795312440"}


async def test_hunyuan_native(sandbox: Running) -> None:
    body: dict[str, Any] = {"Model": "hunyuan-pro+cached=2", "Messages": [{"Role": "user", "Content": "hello there"}]}
    _, text, headers = await call(sandbox, "tencent", body, "/", **TC, Authorization=TC3)
    response = json.loads(text)["Response"]
    assert response["Choices"][0]["Message"] == {"Role": "assistant", "Content": "You said: hello there"}
    assert response["Usage"]["PromptTokensDetails"] == {"CachedTokens": "2"}
    assert headers["X-TC-RequestId"] == response["RequestId"]
    _, text, _ = await call(sandbox, "tencent", body | {"Stream": True}, "/", **TC, Authorization=TC3)
    events = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]
    assert [e["Choices"][0]["FinishReason"] for e in events] == [""] * (len(events) - 1) + ["stop"]
    assert events[-1]["Usage"]["TotalTokens"] == 7
    assert "Response" not in events[0]
    for change, code in (
        ({"Authorization": "Bearer k"}, "AuthFailure.InvalidAuthorization"),
        ({"Authorization": TC3 + "0a"}, "AuthFailure.InvalidAuthorization"),
        ({"Authorization": TC3.replace("AKID", "bad")}, "AuthFailure.SignatureFailure"),
        ({"X-TC-Action": "Nonsense"}, "InvalidAction"),
        ({"X-TC-Version": "1999-01-01"}, "NoSuchVersion"),
    ):
        status, text, _ = await call(sandbox, "tencent", body, "/", **(TC | {"Authorization": TC3} | change))
        assert (status, json.loads(text)["Response"]["Error"]["Code"]) == (200, code)
    many = body | {"Messages": body["Messages"] * 41}
    _, text, _ = await call(sandbox, "tencent", many, "/", **TC, Authorization=TC3)
    assert json.loads(text)["Response"]["Error"]["Code"] == "InvalidParameterValue"


async def test_hunyuan_cuts_behind_the_stop_sequence(sandbox: Running) -> None:
    _, text, _ = await call(sandbox, "tencent", {"model": "m", "messages": HELLO, "stop": ["hello"]})
    assert json.loads(text)["choices"][0]["message"]["content"] == "You said: hello"


async def test_ark_sdk(sandbox: Running) -> None:
    client = AsyncArk(base_url=sandbox.base_url("bytedance") + "/api/v3", api_key="k", max_retries=0)
    reply: Any = await client.chat.completions.create(model=MODEL, messages=HELLO)
    assert reply.choices[0].message.content == "You said: hello there"
    asked = {"include_usage": True, "chunk_include_usage": True}
    events: Any = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options=asked)
    chunks = [chunk async for chunk in events]
    assert [chunk.usage.completion_tokens for chunk in chunks] == [0, 1, 2, 3, 4, 4, 4]
    assert chunks[-1].choices == []
    context = await client.context.create(model="ep-1", messages=HELLO, mode="session", ttl=3600)
    assert context.usage["prompt_tokens"] == 3
    more: Any = await client.context.completions.create(model="ep-1", context_id=context.id, messages=HELLO)
    assert more.usage.prompt_tokens_details.cached_tokens == 3
    bot: Any = await client.bot_chat.completions.create(model="bot-1", messages=HELLO)
    assert bot.bot_usage.model_usage[0].total_tokens == 7
    vectors = await client.embeddings.create(model="doubao-embedding-250615", input=["a b"], encoding_format="float")
    assert len(vectors.data[0].embedding) == 1024
    parts: Any = [
        {"type": "text", "text": "a b"},
        {"type": "image_url", "image_url": {"url": "https://x.invalid/a.png"}},
    ]
    fused: Any = await client.multimodal_embeddings.create(model="doubao-embedding-vision-250615", input=parts)
    assert fused.usage["prompt_tokens_details"]["image_tokens"] == 85
    assert len(fused.data.embedding) == 1024
    made: Any = await client.images.generate(model="doubao-seedream-4-0-250828", prompt="cat", size="1K")
    assert (made.usage.generated_images, made.usage.output_tokens) == (1, 4096)
    answer: Any = await client.responses.create(model=MODEL, input="hello")
    assert answer.output[0].content[0].text == "You said: hello"
    assert answer.usage.input_tokens_details.cached_tokens == 0
    kinds = [e.type async for e in await client.responses.create(model=MODEL, input="hello", stream=True)]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    await client.close()


@pytest.mark.parametrize(
    ("path", "change", "status", "code"),
    [
        ("chat/completions", {"model": "doubao-seed-1-6"}, 404, "InvalidEndpointOrModel.NotFound"),
        ("chat/completions", {"max_tokens": 5, "max_completion_tokens": 5}, 400, "InvalidParameter"),
        ("chat/completions", {"messages": None}, 400, "MissingParameter"),
        ("context/chat/completions", {"context_id": "ctx-none"}, 400, "InvalidParameter"),
        (
            "images/generations",
            {"model": "doubao-seedream-4-5-251128", "prompt": "x", "size": "1024x1024"},
            400,
            "InvalidParameter",
        ),
        (
            "images/generations",
            {"model": "doubao-seedream-4-0-250828+filter", "prompt": "x"},
            400,
            "InputTextSensitiveContentDetected",
        ),
        ("embeddings", {"input": [1, 2]}, 400, "InvalidParameter"),
    ],
)
async def test_ark_refusals(sandbox: Running, path: str, change: dict[str, Any], status: int, code: str) -> None:
    body = {"model": MODEL, "messages": HELLO} | change
    got, text, _ = await call(sandbox, "byteplus", body, f"/api/v3/{path}")
    assert (got, json.loads(text)["error"]["code"]) == (status, code)


async def test_seedream_batches_and_streams(sandbox: Running) -> None:
    body = {
        "model": "seedream-4-0-250828+filter=after",
        "prompt": "cat",
        "size": "1K",
        "stream": True,
        "sequential_image_generation": "auto",
        "sequential_image_generation_options": {"max_images": 3},
    }
    _, text, _ = await call(sandbox, "byteplus", body, "/api/v3/images/generations")
    events = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]
    assert [e["type"].split(".")[1] for e in events] == ["partial_succeeded"] * 2 + ["partial_failed", "completed"]
    assert events[-1]["usage"]["generated_images"] == 2
    assert text.endswith("data: [DONE]\n\n")


async def test_zai_sdk(sandbox: Running) -> None:
    client: Any = zai.ZhipuAiClient(api_key="k", base_url=sandbox.base_url("zhipu") + "/api/paas/v4", max_retries=0)

    def talk() -> tuple[Any, list[Any], Any]:
        plain = client.chat.completions.create(model="glm-4.6", messages=HELLO)
        chunks = list(client.chat.completions.create(model="glm-4.6", messages=HELLO, stream=True))
        vectors = client.embeddings.create(model="embedding-3", input=["a b"], dimensions=256)
        return plain, chunks, vectors

    plain, chunks, vectors = await asyncio.to_thread(talk)
    assert plain.choices[0].message.content == "You said: hello there"
    assert plain.usage.total_tokens == 7
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "You said: hello there"
    assert chunks[-1].usage.total_tokens == 7
    assert len(vectors.data[0].embedding) == 256
    client.close()


async def test_rerank_in_four_shapes(sandbox: Running) -> None:
    body = {"model": "r", "query": "red fox", "documents": ["a cat", "the red fox", "fox"]}
    for vendor, path in (
        ("jina", "/v1/rerank"),
        ("cohere", "/v2/rerank"),
        ("siliconflow", "/v1/rerank"),
        ("zhipu", "/api/paas/v4/rerank"),
        ("ali", "/compatible-api/v1/reranks"),
        ("baidu", "/v2/rerank"),
    ):
        status, text, _ = await call(sandbox, vendor, body, path)
        value = json.loads(text)
        assert (status, [row["index"] for row in value["results"]]) == (200, [1, 2, 0]), vendor
        status, _, _ = await call(sandbox, vendor, {"model": "r", "query": "x"}, path)
        assert status in (400, 422), vendor
        if vendor == "cohere":
            assert value["meta"]["billed_units"] == {"search_units": 1}
        elif vendor == "siliconflow":
            assert value["meta"]["tokens"]["input_tokens"] == 12
        else:
            assert value["usage"]["total_tokens"] == 12
    embed = {"model": "e", "texts": ["a b"], "input_type": "search_query", "embedding_types": ["float"]}
    _, text, _ = await call(sandbox, "cohere", embed, "/v2/embed")
    assert json.loads(text)["meta"]["billed_units"] == {"input_tokens": 2}
    status, text, _ = await call(sandbox, "cohere", {"model": "e", "texts": ["a"]}, "/v2/embed")
    assert (status, "input_type" in text) == (400, True)
