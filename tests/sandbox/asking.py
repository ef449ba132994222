"""Asking the sandbox for whole answers, with a key of each vendor's kind, and what refusals look like."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from gateway.sandbox import media
from gateway.sandbox.app import start

JSON = dict[str, Any]
PNG = base64.b64encode(media.png("x", 1, 1)).decode()
OBJECT: JSON = {"type": "object", "properties": {"n": {"type": "integer"}}}
STRICT: JSON = {**OBJECT, "required": ["n"], "additionalProperties": False}
HI: JSON = {"role": "user", "content": "hi"}
KEYS: dict[str, Callable[[str], dict[str, str]]] = {
    "openai": lambda key: {"Authorization": f"Bearer {key}"},
    "anthropic": lambda key: {"x-api-key": key, "anthropic-version": "2023-06-01"},
    "gemini": lambda key: {"x-goog-api-key": key},
}


class Asker:
    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._port = port

    async def __call__(self, path: str, body: JSON, key: str = "k", **headers: str) -> tuple[int, Any]:
        vendor = path.split("/")[1]
        headers = {**KEYS.get(vendor, KEYS["openai"])(key), **headers}
        url = URL(f"http://127.0.0.1:{self._port}{path}", encoded=True)
        async with self._session.post(url, json=body, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text

    async def good(self, path: str, body: JSON, key: str = "k") -> Any:
        status, value = await self(path, body, key)
        assert status == 200, value
        assert not (value.get("base_resp") or {}).get("status_code"), value
        return value

    async def bad(self, path: str, body: JSON, message: str, key: str = "k") -> None:
        status, value = await self(path, body, key)
        refused = status in (400, 404) or value.get("base_resp", {}).get("status_code")
        assert refused, value
        assert message in json.dumps(value), value


@asynccontextmanager
async def asking() -> AsyncIterator[Asker]:
    """A fresh sandbox and how to ask it."""
    running = await start()
    async with aiohttp.ClientSession() as session:
        yield Asker(session, running.port)
    await running.stop()


def user(*blocks: JSON) -> JSON:
    return {"role": "user", "content": list(blocks)}


def text(said: str) -> JSON:
    return {"type": "text", "text": said}
