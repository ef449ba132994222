"""Whatever is sent, a vendor answers in its own words: no request may end in the server's 500."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.sandbox.app import Running, build_app, start

GOOD: dict[str, Any] = {
    "model": "bot-250615",
    "messages": [{"role": "user", "content": "hello"}],
    "contents": [{"parts": [{"text": "hello"}]}],
    "input": {"messages": [{"role": "user", "content": "hello"}]},
    "prompt": "hello",
    "query": "hello",
    "documents": ["hello"],
    "texts": ["hello"],
    "requests": [{"model": "models/m", "content": {"parts": [{"text": "x"}]}}],
    "max_tokens": 16,
    "voice": "alloy",
    "context_id": "ctx",
}
OTHERS = (
    "tools",
    "system",
    "parameters",
    "generationConfig",
    "response_format",
    "thinking",
    "stop",
    "stream_options",
    "tool_choice",
    "systemInstruction",
    "toolConfig",
    "reasoning",
    "text",
    "content",
    "n",
    "size",
)
NASTY: list[Any] = [
    None,
    5,
    "x",
    "",
    True,
    [],
    [5],
    [None],
    [{}],
    [[]],
    {},
    {"a": 1},
    {"type": 5},
    [{"type": "function"}],
    [{"role": "user", "content": [{"type": "text"}]}],
    [{"role": "user", "content": [{}]}],
    [{"role": "user", "parts": {}}],
    [{"role": "assistant", "content": [{"type": "tool_use"}]}],
    {"messages": [5]},
    {"messages": [{"role": "user", "content": [{"text": 5}]}]},
]
HEADERS = {
    "Authorization": "Bearer k",
    "x-api-key": "k",
    "anthropic-version": "2023-06-01",
    "x-goog-api-key": "k",
    "x-dashscope-sse": "enable",
}


def posts() -> list[str]:
    """Every POST of the HTTP vendors, its placeholders filled in."""
    found = []
    for route in build_app().router.routes():
        path = route.resource.canonical if isinstance(route.resource, web.Resource) else ""
        if route.method != "POST" or route.handler.__module__ != "gateway.sandbox.call":
            continue
        found.append(path)
    methods = ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")
    return sorted(found) + [f"/gemini/v1beta/models/m:{method}" for method in methods]


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()


def test_there_are_many_paths() -> None:
    assert len(posts()) > 80


async def test_nonsense_never_breaks_a_vendor(sandbox: Running) -> None:
    broken: list[str] = []
    paths = [path for path in posts() if not path.startswith("/byteplus")]

    async def one(session: aiohttp.ClientSession, path: str, name: str, value: Any) -> None:
        url = f"http://127.0.0.1:{sandbox.port}{path}"
        async with session.post(url, json=GOOD | {name: value}, headers=HEADERS) as answer:
            text = await answer.text()
            if answer.status >= 500:
                broken.append(f"{path} {name}={value!r}: {answer.status} {text[:80]}")

    async with aiohttp.ClientSession() as session:
        for path in paths:
            for name in (*GOOD, *OTHERS):
                await asyncio.gather(*(one(session, path, name, value) for value in NASTY[hash_of(path, name) :: 4]))
    assert broken == []


def hash_of(path: str, name: str) -> int:
    """A quarter of the nasties for each field, another one for the next path: all together in a short time."""
    return (len(path) * 7 + len(name) * 3) % 4


def test_run_prints_where_the_vendors_are_and_stops_on_interrupt() -> None:
    code = "from gateway.sandbox.app import run; run(port=0)"
    with subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().split() for _ in range(18)]
        process.send_signal(2)
        assert process.wait(20) == 0
    assert [line[0] for line in lines][:3] == ["ali", "anthropic", "baidu"]
    assert all(line[1].startswith("http://127.0.0.1:") and line[1].endswith("/" + line[0]) for line in lines)
