"""LiteLLM as a client: run by ../test_litellm.py in an environment of its own, see ../programs.py."""

from __future__ import annotations

import asyncio
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

import litellm

URL, KEY = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]
HERE: dict[str, Any] = {"api_base": f"{URL}/v1", "api_key": KEY, "num_retries": 0}
CHAT: dict[str, Any] = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hello there"}]}
SAID = "You said: hello there"
QUESTION: dict[str, Any] = {"role": "user", "content": "the weather and the clock, please"}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}},
]
RANKING: dict[str, Any] = {"query": "rain in Rome", "documents": ["sun in Paris", "rain in Rome"], "top_n": 1}
Told = list[dict[str, int]]


def seen(usage: Any) -> dict[str, int]:
    """A usage of chat or embeddings in the normal form."""
    inside, outside = usage.prompt_tokens_details, usage.completion_tokens_details
    return {
        "input": usage.prompt_tokens,
        "output": usage.completion_tokens or 0,
        "cached_input": (inside and inside.cached_tokens) or 0,
        "reasoning": (outside and outside.reasoning_tokens) or 0,
    }


def text(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def plain() -> Told:
    reply = litellm.completion(**CHAT, **HERE)
    assert reply.choices[0].message.content == SAID
    assert reply._response_headers["x-gateway-provider"] == "openai"
    return [seen(reply.usage)]


def without_v1() -> Told:
    reply = litellm.completion(**CHAT, **{**HERE, "api_base": URL})
    assert reply.choices[0].message.content == SAID
    return [seen(reply.usage)]


def stream() -> Told:
    chunks = list(litellm.completion(**CHAT, **HERE, stream=True, stream_options={"include_usage": True}))
    assert text(chunks) == SAID
    return [seen(chunks[-1].usage)]


def stream_without_usage() -> Told:
    chunks = list(litellm.completion(**CHAT, **HERE, stream=True))
    whole = litellm.completion(**CHAT, **HERE)
    assert text(chunks) == SAID
    return [seen(whole.usage), seen(whole.usage)]


def asynchronous() -> Told:
    async def ask() -> Told:
        whole = await litellm.acompletion(**CHAT, **HERE)
        streamed = await litellm.acompletion(**CHAT, **HERE, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in streamed]
        assert text(chunks) == SAID
        return [seen(whole.usage), seen(chunks[-1].usage)]

    return asyncio.run(ask())


def tools() -> Told:
    first = litellm.completion(model=CHAT["model"], messages=[QUESTION], tools=TOOLS, **HERE)
    turn = first.choices[0].message
    assert [call.function.name for call in turn.tool_calls] == ["weather", "clock"]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in turn.tool_calls]
    second = litellm.completion(model=CHAT["model"], messages=[QUESTION, turn, *results], tools=TOOLS, **HERE)
    assert second.choices[0].message.content == "The tool said: rain"
    return [seen(first.usage), seen(second.usage)]


def embedding() -> Told:
    reply = litellm.embedding(model="openai/embedder", input=["one two three", "four"], **HERE)
    assert len(reply.data) == 2
    short = litellm.embedding(
        model="openai/embedder", input=["one two"], dimensions=16, allowed_openai_params=["dimensions"], **HERE
    )
    assert len(short.data[0]["embedding"]) == 16
    return [seen(reply.usage), seen(short.usage)]


def rerank() -> Told:
    """Its own result has no place for all of Jina's usage: the number of tokens it shows is the total."""
    told = []
    for provider in ("jina_ai", "hosted_vllm"):
        reply = litellm.rerank(model=f"{provider}/ranker", **RANKING, **HERE)
        assert [result["index"] for result in reply.results] == [1]
        told.append({"input": reply.meta["billed_units"]["total_tokens"]})
    return told


def responses() -> Told:
    reply = litellm.responses(model="openai/gpt-4o", input="hello there", store=False, **HERE)
    assert reply.output[-1].content[0].text == SAID
    events = list(litellm.responses(model="openai/gpt-4o", input="hello there", store=False, stream=True, **HERE))
    usages = [reply.usage, events[-1].response.usage]
    return [{"input": usage.input_tokens, "output": usage.output_tokens} for usage in usages]


def errors() -> Told:
    raises(litellm.NotFoundError, 404, **HERE, **{**CHAT, "model": "openai/no-such-model"})
    raises(litellm.BadRequestError, 400, **HERE, **{**CHAT, "model": "openai/embedder"})
    return []


def unknown_key() -> Told:
    """It takes the class from the words of the message: those of OpenAI."""
    raises(litellm.AuthenticationError, 401, **{**HERE, "api_key": "gw-of-somebody-else"}, **CHAT)
    return []


def raises(kind: type[Exception], status: int, **arguments: Any) -> None:
    try:
        litellm.completion(**arguments)
    except kind as raised:
        found = getattr(raised, "status_code", None)
    else:
        raise AssertionError(f"no {kind.__name__}")
    assert found == status, (kind, found)


FLOWS: tuple[Callable[[], Told], ...] = (
    plain, without_v1, stream, stream_without_usage, asynchronous, tools, embedding, rerank, responses, errors,
    unknown_key,
)  # fmt: skip


def main() -> None:
    litellm.suppress_debug_info = True
    for flow in FLOWS:
        error, told = None, []
        try:
            told = flow()
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"flow": flow.__name__, "error": error, "told": told}), flush=True)


main()
