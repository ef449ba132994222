"""Every directive, by header and by the model's name, as it shows on the socket; what the sandbox says of itself."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import brotli  # type: ignore[import-untyped]
import pytest

from gateway.sandbox import script
from gateway.sandbox.app import Running, start, vendor_ids
from gateway.sandbox.control import HOSTS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HELLO = [{"role": "user", "content": "hello there"}]
DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()


def request(body: Any, path: str = "/openai/v1/chat/completions", **headers: str) -> bytes:
    data = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: sandbox",
        "Connection: close",
        "Authorization: Bearer k",
        f"Content-Length: {len(data)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def raw(sandbox: Running, message: bytes, stalls_after: int | None = None) -> tuple[bytes, str]:
    """All bytes of an answer, and how the connection ended: eof, reset, or open behind so many events."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    writer.write(message)
    got = b""
    end = "open"
    try:
        while piece := await asyncio.wait_for(reader.read(65536), 20 if stalls_after != events(got) else 0.3):
            got += piece
        end = "eof"
    except TimeoutError:
        pass
    except ConnectionResetError:
        end = "reset"
    writer.close()
    return got, end


def chat(model: str, stream: bool = True) -> dict[str, Any]:
    return {"model": model, "messages": HELLO, "stream": stream}


def events(got: bytes) -> int:
    return got.count(b"\ndata: ")


async def test_cut_resets_after_events_or_bytes(sandbox: Running) -> None:
    got, end = await raw(sandbox, request(chat("gpt-4o+cut=2")))
    assert (events(got), end) == (2, "reset")
    got, end = await raw(sandbox, request(chat("gpt-4o+cut=40b")))
    body = got.split(b"\r\n\r\n", 1)[1]
    assert (b"28\r\n" in body, end) == (True, "reset")
    got, end = await raw(sandbox, request(chat("gpt-4o+cut=25", stream=False)))
    head, body = got.split(b"\r\n\r\n", 1)
    assert (len(body), end) == (25, "reset")
    assert b"Content-Length: " in head


async def test_end_is_clean_but_too_early(sandbox: Running) -> None:
    got, end = await raw(sandbox, request(chat("gpt-4o+end=2")))
    assert (events(got), end) == (2, "eof")
    assert got.endswith(b"0\r\n\r\n")
    assert b"[DONE]" not in got
    got, _ = await raw(sandbox, request(chat("gpt-4o+end=10", stream=False)))
    assert got.endswith(b"a\r\n" + got.split(b"\r\n")[-4][:10] + b"\r\n0\r\n\r\n")


async def test_refuse_closes_without_a_byte(sandbox: Running) -> None:
    assert await raw(sandbox, request(chat("gpt-4o+refuse"))) == (b"", "eof")


async def test_stall_before_the_head_and_between_events(sandbox: Running) -> None:
    got, end = await raw(sandbox, request(chat("gpt-4o+stall=30")), stalls_after=0)
    assert (got, end) == (b"", "open")
    got, end = await raw(sandbox, request(chat("gpt-4o+stall=30@2")), stalls_after=2)
    assert (events(got), end) == (2, "open")


async def test_pace_sends_events_one_by_one(sandbox: Running) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            sandbox.base_url("openai") + "/v1/chat/completions",
            json=chat("gpt-4o+pace=50"),
            headers={"Authorization": "Bearer k"},
        ) as answer,
    ):
        pieces = [piece async for piece in answer.content.iter_any()]
    assert len(pieces) >= 3


async def test_status_has_the_vendors_body_and_retry_after(sandbox: Running) -> None:
    for model, status, retry in (
        ("gpt-4o+status=429", 429, b"Retry-After: 1"),
        ("gpt-4o+status=503+retry_after=7", 503, b"Retry-After: 7"),
        ("gpt-4o+status=500", 500, b""),
        ("gpt-4o+status=418", 418, b""),
    ):
        got, _ = await raw(sandbox, request(chat(model)))
        assert got.startswith(b"HTTP/1.1 %d " % status)
        assert retry in got
        assert b'{"error":{"message":' in got


async def test_filter_before_and_after(sandbox: Running) -> None:
    got, _ = await raw(sandbox, request(chat("gpt-4o+filter")))
    assert b"content_policy_violation" in got
    got, _ = await raw(sandbox, request(chat("gpt-4o+filter=after")))
    assert b'"finish_reason":"content_filter"' in got
    assert b'"content":" said:"' in got
    assert b'"content":" there"' not in got


async def test_usage_left_out_zero_or_cached(sandbox: Running) -> None:
    got, _ = await raw(sandbox, request(chat("gpt-4o+no_usage", stream=False)))
    assert b'"usage"' not in got
    got, _ = await raw(sandbox, request(chat("gpt-4o+zero_usage", stream=False)))
    assert b'"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0,' in got
    got, _ = await raw(sandbox, request(chat("gpt-4o+cached=2", stream=False)))
    assert b'"cached_tokens":2' in got


async def test_size_think_and_tools(sandbox: Running) -> None:
    got, _ = await raw(sandbox, request(chat("gpt-4o+size=1000+think=5", stream=False)))
    assert b'"completion_tokens":1005' in got
    assert b'"reasoning_tokens":5' in got
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    for count in (0, 3):
        got, _ = await raw(sandbox, request(chat(f"gpt-4o+tools={count}", stream=False) | {"tools": [tool]}))
        assert got.count(b'"type":"function"') == count


async def test_faults_of_json_and_framing(sandbox: Running) -> None:
    got, _ = await raw(sandbox, request(chat("gpt-4o+fault=bad_json", stream=False)))
    with pytest.raises(json.JSONDecodeError):
        json.loads(got.split(b"\r\n\r\n", 1)[1])
    got, _ = await raw(sandbox, request(chat("gpt-4o+fault=bad_json")))
    assert got.count(b"data: {{,") == 1
    got, end = await raw(sandbox, request(chat("gpt-4o+fault=bad_chunk")))
    assert (events(got), end) == (2, "eof")
    assert got.endswith(b"\r\nzz\r\nnot a chunk\r\n")


@pytest.mark.parametrize(
    ("name", "inflate"),
    [
        ("gzip", gzip.decompress),
        ("br", brotli.decompress),
        ("zstd", lambda data: zstd.ZstdDecompressor().decompress(data)),
    ],
)
async def test_content_encodings(sandbox: Running, name: str, inflate: Any) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        for stream in (False, True):
            async with session.post(
                sandbox.base_url("openai") + "/v1/chat/completions",
                json=chat(f"gpt-4o+{name}", stream=stream),
                headers={"Authorization": "Bearer k"},
            ) as answer:
                assert answer.headers["Content-Encoding"] == name
                plain = inflate(await answer.read())
                assert plain.endswith(DONE) if stream else json.loads(plain)["object"] == "chat.completion"


async def test_error200_breaks_a_stream_after_its_events(sandbox: Running) -> None:
    got, _ = await raw(sandbox, request(chat("gpt-4o+error200=2")))
    assert got.startswith(b"HTTP/1.1 200 ")
    assert events(got) == 3
    assert b'data: {"error":{"message":"The server had an error' in got
    assert b"[DONE]" not in got


async def test_headers_win_and_times_ends_the_trouble(sandbox: Running) -> None:
    headers = {"x-sandbox-status": "500"}
    got, _ = await raw(sandbox, request(chat("gpt-4o+status=404"), **headers))
    assert got.startswith(b"HTTP/1.1 500 ")
    seen = [(await raw(sandbox, request(chat("gpt-4o+status=503+times=2"))))[0][9:12] for _ in range(3)]
    assert seen == [b"503", b"503", b"200"]


async def test_unknown_directives_are_told(sandbox: Running) -> None:
    for model, headers in (("gpt-4o+frob=1", {}), ("gpt-4o+pace=x", {}), ("gpt-4o", {"x-sandbox-frob": "1"})):
        got, _ = await raw(sandbox, request(chat(model), **headers))
        assert got.startswith(b"HTTP/1.1 400 ")
        assert b"sandbox_error" in got


async def test_every_directive_is_listed_and_has_a_row_in_the_manual(sandbox: Running) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{sandbox.port}/_sandbox") as answer:
        about = await answer.json()
    listed = [row["name"] for row in about["directives"]]
    assert listed == list(script.DIRECTIVES)
    manual = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    for name in listed:
        assert f"| `{name}` |" in manual
    assert set(about["vendors"]) <= set(vendor_ids())


async def test_calls_are_counted_and_forgotten(sandbox: Running) -> None:
    base = f"http://127.0.0.1:{sandbox.port}/_sandbox/calls"
    await raw(sandbox, request(chat("gpt-4o+status=500")))
    for _ in range(2):
        await raw(sandbox, request(chat("gpt-4o")))
    async with aiohttp.ClientSession() as session:
        async with session.get(base) as answer:
            assert await answer.json() == {
                "total": 3,
                "calls": [
                    {"vendor": "openai", "model": "gpt-4o", "calls": 2},
                    {"vendor": "openai", "model": "gpt-4o+status=500", "calls": 1},
                ],
            }
        async with session.delete(base) as answer:
            assert answer.status == 200
        async with session.get(base) as answer:
            assert (await answer.json())["total"] == 0


async def test_vendors_answer_at_their_own_path_too(sandbox: Running) -> None:
    named = request(chat("deepseek-chat", stream=False), "/chat/completions", **{"x-sandbox-vendor": "deepseek"})
    got, _ = await raw(sandbox, named)
    assert b"x-ds-trace-id" in got
    hosted = request(chat("kimi", stream=False), "/v1/chat/completions").replace(
        b"Host: sandbox", b"Host: api.moonshot.cn"
    )
    got, _ = await raw(sandbox, hosted)
    assert b"Msh-Request-Id" in got
    got, _ = await raw(sandbox, request(chat("x"), "/v1/nothing"))
    assert got.startswith(b"HTTP/1.1 404 ")
    assert "moonshot" in HOSTS.values()


async def test_bodies_that_are_no_json(sandbox: Running) -> None:
    for data in (b"", b"{", b"[1]", b"\xff\xfe", b"[" * 6000):
        head = (
            b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: s\r\nConnection: close\r\nAuthorization: Bearer k\r\n"
        )
        got, _ = await raw(sandbox, head + b"Content-Length: %d\r\n\r\n" % len(data) + data)
        assert got.startswith(b"HTTP/1.1 400 "), data[:10]
        assert b"invalid_request_error" in got
