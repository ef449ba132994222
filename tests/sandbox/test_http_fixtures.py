"""The sandbox's wire beside recorded bodies of the true vendors: each key that was recorded is there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.sandbox.app import Running, start

RECORDED = Path(__file__).parents[1] / "fixtures" / "usage"
HEADERS = {"Authorization": "Bearer k", "x-goog-api-key": "k", "anthropic-version": "2023-06-01"}
TALK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello there"}]}
STREAM: dict[str, Any] = {**TALK, "stream": True}
ASKED: dict[str, Any] = {**STREAM, "stream_options": {"include_usage": True}}
EVERY: dict[str, Any] = {**STREAM, "stream_options": {"include_usage": True, "chunk_include_usage": True}}
TOOL: dict[str, Any] = {"type": "function", "name": "f", "parameters": {}}
CONTENTS: dict[str, Any] = {"contents": [{"parts": [{"text": "hi"}]}]}
THOUGHTS: dict[str, Any] = {**CONTENTS, "generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
SEALED: dict[str, Any] = {"input": "hi", "include": ["reasoning.encrypted_content"]}
NATIVE: dict[str, Any] = {"input": TALK, "parameters": {"result_format": "message"}}
DOCUMENTS: dict[str, Any] = {"query": "a", "documents": ["a", "b"], "return_documents": True}
GENERATION = "ali/api/v1/services/aigc/text-generation/generation"
# Fixture, path, model, body.
CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("openai_chat.stream.usage.sse", "openai/v1/chat/completions", "m", ASKED),
    ("openai_chat.response.json", "openai/v1/chat/completions", "m", TALK),
    ("openai_responses.response.json", "openai/v1/responses", "m+think", SEALED),
    ("openai_responses.stream.usage.sse", "openai/v1/responses", "m+think", {**SEALED, "stream": True}),
    (
        "openai_responses.stream.tool_calls.sse",
        "openai/v1/responses",
        "m",
        {"input": "x", "stream": True, "tools": [TOOL]},
    ),
    ("openai_embeddings.response.json", "openai/v1/embeddings", "m", {"input": "x"}),
    ("openai_images.response.json", "openai/v1/images/generations", "m", {"prompt": "x"}),
    ("anthropic_messages.stream.usage.sse", "anthropic/v1/messages", "m", {**STREAM, "max_tokens": 9}),
    ("anthropic_messages.response.json", "anthropic/v1/messages", "m", {**TALK, "max_tokens": 9}),
    ("gemini.stream.usage.sse", "gemini/v1beta/models/m:streamGenerateContent?alt=sse", "", THOUGHTS),
    ("gemini.response.json", "gemini/v1beta/models/m+cached=1+think=2:generateContent", "", CONTENTS),
    ("gemini.stream.json_array.json", "gemini/v1beta/models/m:streamGenerateContent", "", CONTENTS),
    ("gemini_openai.stream.usage.sse", "gemini/v1beta/openai/chat/completions", "m", STREAM),
    ("deepseek.stream.usage.sse", "deepseek/chat/completions", "m+think=3", ASKED),
    ("moonshot.stream.usage.sse", "moonshot/v1/chat/completions", "m", STREAM),
    ("moonshot.response.json", "moonshot/v1/chat/completions", "m", TALK),
    ("minimax.stream.usage.sse", "minimax/v1/text/chatcompletion_v2", "m", STREAM),
    ("minimax.response.json", "minimax/v1/text/chatcompletion_v2", "m+think", TALK),
    ("minimax.error.with_body.json", "minimax/v1/text/chatcompletion_v2", "m+filter", TALK),
    ("siliconflow.stream.usage.sse", "siliconflow/v1/chat/completions", "m", STREAM),
    ("siliconflow.error.flat.json", "siliconflow/v1/chat/completions", "no-such", TALK),
    ("siliconflow_rerank.response.json", "siliconflow/v1/rerank", "m", DOCUMENTS),
    ("zhipu.stream.usage.sse", "zhipu/api/paas/v4/chat/completions", "m+think", STREAM),
    ("zhipu.error.json", "zhipu/api/paas/v4/chat/completions", "m+status=429", STREAM),
    ("ark_chat.stream.usage.sse", "bytedance/api/v3/chat/completions", "ep-1+think", EVERY),
    ("ark_chat.error.json", "bytedance/api/v3/chat/completions", "bare-name", TALK),
    ("ark_bots.response.json", "bytedance/api/v3/bots/chat/completions", "bot-1", TALK),
    ("ark_context_create.response.json", "bytedance/api/v3/context/create", "ep-1", TALK),
    ("ark_images.response.json", "bytedance/api/v3/images/generations", "ep-1", {"prompt": "x"}),
    (
        "ark_embeddings.multimodal.response.json",
        "bytedance/api/v3/embeddings/multimodal",
        "ep-1",
        {"input": [{"type": "text", "text": "x"}]},
    ),
    ("ark_responses.stream.usage.sse", "bytedance/api/v3/responses", "ep-1+think", {"input": "x", "stream": True}),
    ("hunyuan_openai.stream.usage.sse", "tencent/v1/chat/completions", "m", STREAM),
    ("qianfan.stream.usage.sse", "baidu/v2/chat/completions", "m", ASKED),
    ("qianfan.response.json", "baidu/v2/chat/completions", "m", TALK),
    ("qianfan.error.json", "baidu/v2/chat/completions", "no-such", TALK),
    ("lingyi.stream.usage.sse", "lingyi/v1/chat/completions", "m", STREAM),
    ("stepfun.stream.usage.sse", "stepfun/v1/chat/completions", "m", STREAM),
    ("spark.stream.usage.sse", "xunfei/v1/chat/completions", "m", STREAM),
    ("spark.response.json", "xunfei/v1/chat/completions", "m", TALK),
    ("spark.error.json", "xunfei/v1/chat/completions", "no-such", TALK),
    ("dashscope_compat.stream.usage.sse", "ali/compatible-mode/v1/chat/completions", "m", ASKED),
    ("dashscope_compat.error.json", "ali/compatible-mode/v1/chat/completions", "no-such", TALK),
    ("dashscope_native.error.json", GENERATION, "no-such", NATIVE),
    ("jina_rerank.response.json", "jina/v1/rerank", "m", DOCUMENTS),
    ("cohere_rerank.v2.response.json", "cohere/v2/rerank", "m", DOCUMENTS),
]
# Recorded, but only where hosted tools ran.
TOOLS_ONLY = {"ark_responses.stream.usage.sse": "tool_usage"}


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()


def keys(value: Any, path: str = "") -> set[str]:
    """The paths of all keys; arrays count as one."""
    if isinstance(value, list):
        return set().union(*(keys(item, f"{path}[]") for item in value)) if value else set()
    if not isinstance(value, dict):
        return set()
    return {f"{path}.{name}" for name in value}.union(*(keys(item, f"{path}.{name}") for name, item in value.items()))


def decoded(text: str, stream: bool) -> Any:
    if not stream:
        return json.loads(text)
    lines = [line[5:].strip() for line in text.replace("\r", "").split("\n") if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize(("fixture", "path", "model", "body"), CASES, ids=[case[0] for case in CASES])
async def test_recorded_keys_are_there(
    sandbox: Running, fixture: str, path: str, model: str, body: dict[str, Any]
) -> None:
    named = {"model": model, **body} if model else body
    url = f"http://127.0.0.1:{sandbox.port}/{path}"
    async with aiohttp.ClientSession() as session, session.post(url, json=named, headers=HEADERS) as answer:
        text = await answer.text()
    stream = fixture.endswith(".sse")
    recorded = keys(decoded((RECORDED / fixture).read_text(encoding="utf-8"), stream))
    missing = recorded - keys(decoded(text, stream))
    assert {key for key in missing if TOOLS_ONLY.get(fixture, "\0") not in key} == set()
