"""The `openai` SDK at the doors that other vendors have for it, each with its own place for the usage."""

from __future__ import annotations

from typing import Any, NamedTuple

import openai
import pytest
from openai import OpenAI

from tests.clients import seen
from tests.clients.conftest import LinkTo
from tests.clients.openai_sdk import CLOCK, HELLO, WEATHER, asking
from tests.clients.seen import Seen


class Door(NamedTuple):
    """`path` is what the vendor's documentation puts behind its host; `asks`: streams tell usage only if asked to."""

    vendor: str
    path: str
    model: str
    asks: bool = True


DOORS = [
    Door("deepseek", "", "deepseek-chat"),
    Door("deepseek", "/v1", "deepseek-reasoner"),
    Door("moonshot", "/v1", "kimi-k2.5"),
    Door("siliconflow", "/v1", "deepseek-ai/DeepSeek-V3.2", asks=False),
    Door("minimax", "/v1", "MiniMax-M2"),
    Door("tencent", "/v1", "hunyuan-turbos-latest"),
    Door("baidu", "/v2", "ernie-5.0"),
    Door("xunfei", "/v1", "4.0Ultra", asks=False),
    Door("xunfei", "/v2", "x1", asks=False),
    Door("lingyi", "/v1", "yi-lightning", asks=False),
    Door("stepfun", "/v1", "step-3.5-flash", asks=False),
    Door("bytedance", "/api/v3", "doubao-seed-1-6-250615"),
    Door("byteplus", "/api/v3", "seed-1-6-250615"),
    Door("ali", "/compatible-mode/v1", "qwen3-max"),
    Door("zhipu", "/api/paas/v4", "glm-4.6", asks=False),
    Door("gemini", "/v1beta/openai", "gemini-2.5-flash"),
]
NAMES = [f"{door.vendor}{door.path}" for door in DOORS]


def last_usage(model: str, chunks: list[Any]) -> Seen:
    """The last usage in a stream, wherever this vendor puts it."""
    told: Any = None
    for chunk in chunks:
        found = chunk.usage
        if found is None and chunk.choices:
            found = (chunk.choices[0].model_extra or {}).get("usage")
        if found is not None and seen.fields(found)["total_tokens"]:
            told = found
    return normal(model, told)


def normal(model: str, usage: object) -> Seen:
    """OpenAI's form, with what some of these vendors call otherwise or leave out."""
    told = seen.fields(usage)
    found = seen.openai(model, {**told, "completion_tokens": told["total_tokens"] - told["prompt_tokens"]})
    if not found.cached_input and told.get("cached_tokens"):
        return Seen(model, found.input, found.output, told["cached_tokens"], reasoning=found.reasoning)
    return found


@pytest.mark.parametrize("door", DOORS, ids=NAMES)
def test_a_plain_answer(link_to: LinkTo, door: Door) -> None:
    model = door.model + "+cached=2"
    link_to(door.vendor).metered(
        asking(lambda sdk: sdk.chat.completions.create(model=model, messages=HELLO), path=door.path),
        lambda reply: normal(model, reply.usage),
    )


@pytest.mark.parametrize("door", DOORS, ids=NAMES)
def test_a_stream(link_to: LinkTo, door: Door) -> None:
    more: Any = {"stream_options": {"include_usage": True}} if door.asks else {}

    def ask(sdk: OpenAI) -> list[Any]:
        return list(sdk.chat.completions.create(model=door.model, messages=HELLO, stream=True, **more))

    chunks = link_to(door.vendor).metered(
        asking(ask, path=door.path), lambda chunks: last_usage(door.model, chunks)
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    said = "".join(delta.content or "" for delta in deltas if delta)  # the last of MiniMax has a message instead
    assert "You said: hello there" in said


@pytest.mark.parametrize("door", DOORS, ids=NAMES)
def test_tools(link_to: LinkTo, door: Door) -> None:
    question: Any = [{"role": "user", "content": "the weather, please"}]
    # Without this switch Spark gives a call where the dialect has a list of calls.
    more = {"tool_calls_switch": True} if door.vendor == "xunfei" else {}

    def ask(sdk: OpenAI) -> Any:
        return sdk.chat.completions.create(
            model=door.model, messages=question, tools=[WEATHER, CLOCK], extra_body=more
        )

    reply = link_to(door.vendor).metered(asking(ask, path=door.path), lambda reply: normal(door.model, reply.usage))
    assert [call.function.name for call in reply.choices[0].message.tool_calls] == ["weather"]


@pytest.mark.parametrize("door", DOORS, ids=NAMES)
def test_errors(link_to: LinkTo, door: Door) -> None:
    def ask(model: str) -> Any:
        return lambda sdk: sdk.chat.completions.create(model=model, messages=HELLO)

    link = link_to(door.vendor)
    before = link.counted()
    link.raises(asking(ask(door.model + "+status=429"), path=door.path), openai.RateLimitError, 429)
    link.raises(asking(ask(door.model + "+status=500"), path=door.path), openai.InternalServerError, 500)
    link.raises(asking(ask(door.model), key="sk-bad", path=door.path), openai.OpenAIError)
    link.grows(before, [])


EMBEDDINGS = [
    ("siliconflow", "/v1", "BAAI/bge-m3"),
    ("tencent", "/v1", "hunyuan-embedding"),
    ("baidu", "/v2", "bge-large-zh"),
    ("zhipu", "/api/paas/v4", "embedding-3"),
    ("ali", "/compatible-mode/v1", "text-embedding-v4"),
    ("bytedance", "/api/v3", "doubao-embedding-text-240715"),
    ("gemini", "/v1beta/openai", "gemini-embedding-001"),
]


RERANKS: list[tuple[str, str, str]] = [
    ("siliconflow", "/v1", "BAAI/bge-reranker-v2-m3"),
    ("jina", "/v1", "jina-reranker-v3"),
    ("baidu", "/v2", "bce-reranker-base"),
    ("zhipu", "/api/paas/v4", "rerank"),
    ("ali", "/compatible-api/v1", "qwen3-rerank"),
    ("cohere", "/v2", "rerank-v3.5"),
]


@pytest.mark.parametrize(("vendor", "path", "model"), RERANKS)
def test_rerank_by_the_sdk_s_open_door(link_to: LinkTo, vendor: str, path: str, model: str) -> None:
    """For what it has no method the SDK has `post`."""
    body = {"model": model, "query": "a red cat", "documents": ["a dog", "a red cat", "tea"], "top_n": 2}
    name = "/reranks" if vendor == "ali" else "/rerank"

    def ask(sdk: OpenAI) -> Any:
        return sdk.post(name, cast_to=object, body=body)

    def usage(reply: Any) -> Seen:
        meta = reply.get("meta") or {}
        if searches := meta.get("billed_units", {}).get("search_units"):
            return Seen(model, units={"search_units": searches})  # Cohere counts no tokens
        read = meta["tokens"]["input_tokens"] if "tokens" in meta else reply["usage"]["total_tokens"]
        return Seen(model, input=read)

    reply = link_to(vendor).metered(asking(ask, path=path), usage)
    assert [one["index"] for one in reply["results"]] == [1, 0]


@pytest.mark.parametrize(("vendor", "path", "model"), EMBEDDINGS)
def test_embeddings(link_to: LinkTo, vendor: str, path: str, model: str) -> None:
    def ask(sdk: OpenAI) -> Any:
        return sdk.embeddings.create(model=model, input=["one two", "three"], encoding_format="float")

    reply = link_to(vendor).metered(asking(ask, path=path), lambda reply: seen.openai(model, reply.usage))
    assert len(reply.data) == 2
