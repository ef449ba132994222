"""DashScope's SDK against the sandbox, and its native wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import dashscope as sdk
import pytest

from gateway.sandbox.app import Running, start

# Its types know neither dictionaries as messages nor which calls stream.
SDK: Any = sdk

HELLO = [{"role": "user", "content": "hello there"}]
TEXT = "/api/v1/services/aigc/text-generation/generation"
MULTI = "/api/v1/services/aigc/multimodal-generation/generation"
TOOL = {
    "type": "function",
    "function": {"name": "lookup", "parameters": {"type": "object", "properties": {"k": {"type": "string"}}}},
}


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    running = await start()
    monkeypatch.setattr(sdk, "base_http_api_url", running.base_url("ali") + "/api/v1")
    monkeypatch.setattr(sdk, "api_key", "sk-1")
    yield running
    await running.stop()


async def post(sandbox: Running, path: str, body: Any, **headers: str) -> tuple[int, str]:
    headers = {"Authorization": "Bearer k", **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.post(sandbox.base_url("ali") + path, json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def test_sdk_plain_and_streaming_both_ways(sandbox: Running) -> None:
    plain = await asyncio.to_thread(SDK.Generation.call, model="qwen-plus", messages=HELLO, result_format="message")
    assert plain.status_code == 200
    assert plain.output.choices[0].message.content == "You said: hello there"
    assert plain.usage["total_tokens"] == 7

    def stream(incremental: bool) -> list[str]:
        found = SDK.Generation.call(
            model="qwen-plus", messages=HELLO, result_format="message", stream=True, incremental_output=incremental
        )
        return [one.output.choices[0].message.content for one in found]

    assert "".join(await asyncio.to_thread(stream, True)) == "You said: hello there"
    grown = await asyncio.to_thread(stream, False)
    assert grown[0] == "You"
    assert grown[-1] == "You said: hello there"


async def test_sdk_multimodal_embeddings_rerank_and_errors(sandbox: Running) -> None:
    seen = [{"role": "user", "content": [{"image": "https://example.invalid/a.png"}, {"text": "look"}]}]
    reply = await asyncio.to_thread(SDK.MultiModalConversation.call, model="qwen-vl-plus", messages=seen)
    assert reply.output.choices[0].message.content == [{"text": "You said: look (1 image)"}]
    assert reply.usage["image_tokens"] == 85
    vectors = await asyncio.to_thread(SDK.TextEmbedding.call, model="text-embedding-v4", input=["a", "b c"])
    assert [one["text_index"] for one in vectors.output["embeddings"]] == [0, 1]
    assert vectors.usage["total_tokens"] == 3
    ranked = await asyncio.to_thread(
        SDK.TextReRank.call, model="gte-rerank-v2", query="red fox", documents=["a cat", "red fox"], top_n=1
    )
    assert [one.index for one in ranked.output.results] == [1]
    wrong = await asyncio.to_thread(SDK.Generation.call, model="no-such", messages=HELLO)
    assert (wrong.status_code, wrong.code) == (404, "ModelNotFound")
    bad = await asyncio.to_thread(SDK.Generation.call, model="qwen-plus", messages=HELLO, api_key="bad")
    assert (bad.status_code, bad.code) == (401, "InvalidApiKey")


async def test_events_on_the_wire(sandbox: Running) -> None:
    body = {"model": "qwen-plus", "input": {"messages": HELLO}, "parameters": {"incremental_output": True}}
    _, text = await post(sandbox, TEXT, body, **{"X-DashScope-SSE": "enable"})
    events = text.strip().split("\n\n")
    lines = events[0].split("\n")
    assert lines[:3] == ["id:1", "event:result", ":HTTP_STATUS/200"]
    values = [json.loads(event.split("\ndata:")[1]) for event in events]
    assert [v["output"]["finish_reason"] for v in values] == ["null"] * 4 + ["stop"]
    assert values[-1]["usage"]["output_tokens"] == 4
    assert [v["usage"]["output_tokens"] for v in values[:-1]] == [1, 2, 3, 4]
    assert "[DONE]" not in text
    # the body's stream has no say
    status, plain = await post(sandbox, TEXT, {**body, "stream": True})
    assert json.loads(plain)["output"]["text"] == "You said: hello there"


async def test_tool_calls_in_fragments_and_grown(sandbox: Running) -> None:
    for grows in (False, True):
        parameters = {"result_format": "message", "incremental_output": not grows, "tools": [TOOL]}
        body = {"model": "qwen-plus", "input": {"messages": HELLO}, "parameters": parameters}
        _, text = await post(sandbox, TEXT, body, **{"X-DashScope-SSE": "enable"})
        messages = [
            json.loads(e.split("\ndata:")[1])["output"]["choices"][0]["message"] for e in text.strip().split("\n\n")
        ]
        calls = [m["tool_calls"][0] for m in messages if "tool_calls" in m]
        if grows:
            assert json.loads(calls[-1]["function"]["arguments"]) == {"k": "k hello there"}
            assert len({call["id"] for call in calls}) == 1
        else:
            joined = "".join(call["function"]["arguments"] for call in calls)
            assert json.loads(joined) == {"k": "k hello there"}
            assert [bool(call["id"]) for call in calls] == [True] + [False] * (len(calls) - 1)


async def test_errors_in_streams_come_with_200(sandbox: Running) -> None:
    body = {"model": "qwen-plus+error200=2", "input": {"messages": HELLO}}
    status, text = await post(sandbox, TEXT, body, **{"X-DashScope-SSE": "enable"})
    last = text.strip().split("\n\n")[-1].split("\n")
    assert status == 200
    assert last[1:3] == ["event:error", ":HTTP_STATUS/500"]
    assert json.loads(last[3][5:])["code"] == "InternalError"
    body["model"] = "qwen-plus+filter=after"
    _, text = await post(sandbox, TEXT, body, **{"X-DashScope-SSE": "enable"})
    assert "DataInspectionFailed" in text.strip().split("\n\n")[-1]


@pytest.mark.parametrize(
    ("path", "change", "code"),
    [
        (TEXT, {"input": None}, "InvalidParameter"),
        (TEXT, {"input": {}}, "InvalidParameter"),
        (TEXT, {"parameters": {"temperature": 2}}, "InvalidParameter"),
        (TEXT, {"parameters": {"result_format": "xml"}}, "InvalidParameter"),
        (TEXT, {"parameters": {"enable_thinking": True}}, "InvalidParameter"),
        (TEXT, {"parameters": {"tools": [TOOL], "tool_choice": "required"}}, "InvalidParameter"),
        (TEXT, {"model": "qwq-32b"}, "InvalidParameter"),
        (TEXT, {"model": "qwen-plus+filter"}, "DataInspectionFailed"),
        (MULTI, {"input": {"messages": [{"role": "user", "content": [{"frob": 1}]}]}}, "InvalidParameter"),
        (MULTI, {"input": {"messages": [{"role": "user", "content": 5}]}}, "InvalidParameter"),
    ],
)
async def test_refusals(sandbox: Running, path: str, change: dict[str, Any], code: str) -> None:
    status, text = await post(sandbox, path, {"model": "qwen-plus", "input": {"messages": HELLO}} | change)
    value = json.loads(text)
    assert (status, value["code"]) == (400, code)
    assert set(value) == {"code", "message", "request_id"}


async def test_speech_and_pictures_of_the_multimodal_path(sandbox: Running) -> None:
    speech = {"model": "qwen3-tts-flash", "input": {"text": "good day", "voice": "Cherry"}}
    _, text = await post(sandbox, MULTI, speech)
    url = json.loads(text)["output"]["audio"]["url"]
    picture = {"model": "qwen-image-plus", "input": {"messages": [{"role": "user", "content": [{"text": "cat"}]}]}}
    _, text = await post(sandbox, MULTI, {**picture, "parameters": {"size": "512*512"}})
    image = json.loads(text)["output"]["choices"][0]["message"]["content"][0]["image"]
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            assert (await answer.read())[:4] == b"RIFF"
        async with session.get(image) as answer:
            assert (await answer.read())[:4] == b"\x89PNG"
    _, text = await post(sandbox, MULTI, speech, **{"X-DashScope-SSE": "enable"})
    audio = [json.loads(e.split("\ndata:")[1])["output"] for e in text.strip().split("\n\n")]
    assert [a["finish_reason"] for a in audio] == ["null"] * (len(audio) - 1) + ["stop"]
    assert audio[-1]["audio"]["data"] == ""
    status, _ = await post(sandbox, MULTI, {**picture, "parameters": {"size": "512x512"}})
    assert status == 400
