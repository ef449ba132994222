"""LangChain's OpenAI classes with a gateway key, and what each call has cost."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.clients.seen import Seen
from tests.unified.clients.billing import Bill

langchain_openai = pytest.importorskip("langchain_openai", reason="the extra `clients` is not installed")

from langchain_core.messages import HumanMessage, ToolMessage  # noqa: E402
from langchain_core.tools import tool  # noqa: E402

SAID = "You said: hello there"


class Trip(BaseModel):
    """Where to, and for how long."""

    city: str
    days: int


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


@tool
def clock() -> str:
    """What time it is."""
    return datetime.time(12).isoformat()


def told(message: Any) -> Seen:
    """The usage of a message in LangChain's own form."""
    usage = message.usage_metadata
    inside, outside = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    return Seen(
        "", usage["input_tokens"], usage["output_tokens"], inside.get("cache_read") or 0,
        reasoning=outside.get("reasoning") or 0,
    )  # fmt: skip


Model = Callable[..., Any]


@pytest.fixture
def http() -> Iterator[Any]:
    """LangChain never closes the clients that it makes: whose sockets they are is for the garbage collector to find."""
    with openai.DefaultHttpxClient() as client:
        yield client


@pytest.fixture
def model(base_url: str, bill: Bill, http: Any) -> Model:
    known = {"model": "gpt-4o", "base_url": base_url, "api_key": bill.key, "max_retries": 0, "http_client": http}
    return lambda **more: langchain_openai.ChatOpenAI(**known, **more)


def test_invoke(model: Model, bill: Bill) -> None:
    answer = model().invoke("hello there")
    assert answer.content == SAID
    bill.charged(told(answer))


def test_stream(model: Model, bill: Bill) -> None:
    chunks = list(model(stream_usage=True).stream("hello there"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == SAID
    assert len(chunks) > 2
    bill.charged(told(whole))


async def test_asynchronous(model: Model, bill: Bill) -> None:
    async with openai.DefaultAsyncHttpxClient() as http:
        chat = model(http_async_client=http)
        answer = await chat.ainvoke("hello there")
        text = "".join([str(chunk.content) async for chunk in chat.astream("hello there")])
    assert answer.content == text == SAID
    bill.charged(told(answer), told(answer))


def test_tools_there_and_back(model: Model, bill: Bill) -> None:
    chat = model().bind_tools([weather, clock])
    question = HumanMessage("the weather and the clock, please")
    first = chat.invoke([question])
    assert [call["name"] for call in first.tool_calls] == ["weather", "clock"]
    known = {"weather": weather, "clock": clock}
    results = [known[call["name"]].invoke(call) for call in first.tool_calls]
    assert all(isinstance(result, ToolMessage) for result in results)
    second = chat.invoke([question, first, *results])
    assert second.content == "The tool said: 12:00:00"
    bill.charged(told(first), told(second))


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(model: Model, bill: Bill, method: str) -> None:
    chat = model().with_structured_output(Trip, method=method, include_raw=True)
    found = chat.invoke("three days in Rome")
    assert found["parsing_error"] is None
    assert isinstance(found["parsed"], Trip)
    bill.charged(told(found["raw"]))


def test_over_responses(model: Model, bill: Bill) -> None:
    chat = model(use_responses_api=True, store=False)
    answer = chat.invoke("hello there")
    assert answer.text == SAID
    chunks = list(chat.stream("hello there"))
    assert "".join(str(chunk.text) for chunk in chunks) == SAID
    bill.charged(told(answer), told(answer))


def test_embeddings(base_url: str, bill: Bill, http: Any) -> None:
    """LangChain cuts texts into tokens by itself unless told not to, and tells no usage."""
    vectors = langchain_openai.OpenAIEmbeddings(
        model="embedder", base_url=base_url, api_key=bill.key, check_embedding_ctx_length=False, max_retries=0,
        http_client=http,
    )  # fmt: skip
    found = vectors.embed_documents(["one two three", "four"])
    assert len(found) == 2
    assert vectors.embed_query("four") == pytest.approx(found[1])
    bill.charged(Seen("", 4), Seen("", 1))
