"""A vendor of a known dialect is one entry of YAML: a made-up one is served, metered, and told from all others."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from openai import AsyncOpenAI

from tests.clients.places import Places, Sandbox
from tests.clients.seen import Seen
from tests.wire.serving import Gateway

KEY = "the-key-of-the-client"


async def answer(request: web.Request) -> web.StreamResponse:
    """OpenAI's dialect at a path of its own, with numbers that nobody else has."""
    body = await request.json()
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    head = {"id": "c-1", "created": 1, "model": body["model"]}
    if not body.get("stream"):
        message = {"role": "assistant", "content": "hello"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    chunk = {"index": 0, "delta": {"role": "assistant", "content": "hello"}, "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    for more in ({"choices": [chunk]}, {"choices": [last], "usage": usage}):
        await response.write(f"data: {web.json_response({**head, 'object': 'chat.completion.chunk', **more}).text}\n\n"
                             .encode())  # fmt: skip
    await response.write(b"data: [DONE]\n\n")
    return response


@pytest.fixture
async def vendor() -> AsyncIterator[str]:
    """The made-up vendor's base URL."""
    app = web.Application()
    app.router.add_post("/of/its/own/v9/chat/completions", answer)
    app.router.add_post("/of/its/own/v9/tell", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/of/its/own"
    await runner.cleanup()


class Written(Gateway):
    """A gateway whose configuration is what a user would write."""

    text = ""

    def write_config(self) -> None:
        self.config.write_text(self.text)


@pytest.fixture
async def places(vendor: str, tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[Places]:
    serving = Written(tmp_path)
    serving.text = textwrap.dedent(f"""\
        server: {{metrics_port: {serving.metrics_port}}}
        providers:
          acme:
            base_url: {vendor}
            aliases: [acme-cloud]
            speaks: {{openai.chat: /v9/chat/completions}}
            meter: {{/v9/tell: openai.chat}}      # the same dialect where nobody would look for it
    """)
    serving.start()
    yield Places(sandbox, serving)
    assert serving.stop() == 0, serving.stderr


@pytest.mark.parametrize("name", ["acme", "acme-cloud"])
async def test_it_is_served_and_metered(places: Places, name: str) -> None:
    base = f"http://127.0.0.1:{places.gateway.port}/{name}/v9"
    link = places.link("acme")
    async with AsyncOpenAI(base_url=base, api_key=KEY, max_retries=0) as sdk:
        before = link.counted()
        reply = await sdk.chat.completions.create(model="acme-1", messages=[{"role": "user", "content": "hi"}])
        assert reply.choices[0].message.content == "hello"
        stream = await sdk.chat.completions.create(
            model="acme-1", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["hello", None]
    link.grows(before, [Seen("acme-1", input=11, output=7)] * 2)


async def test_a_path_of_its_own_is_metered_where_the_entry_says_so(places: Places) -> None:
    link = places.link("acme")
    async with AsyncOpenAI(base_url=f"{link.through}/v9", api_key=KEY, max_retries=0) as sdk:
        before = link.counted()
        reply = await sdk.post("/tell", cast_to=object, body={"model": "acme-2"})
        assert isinstance(reply, dict)
    link.grows(before, [Seen("acme-2", input=11, output=7)])
