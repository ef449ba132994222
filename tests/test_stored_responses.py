"""Stored responses: the conversation before one, who may see it, for how long; and their pages, by the official SDK."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from pydantic import TypeAdapter

from gateway.admin.public import Asking
from gateway.admin.responses import ResponsePages
from gateway.auth import key_of
from gateway.errors import BadRequest, MissingKey, Unsupported
from gateway.store.answers import Answers
from gateway.unified import responses
from gateway.unified.answers import plain_refusal
from gateway.unified.responses import PreviousNotFound, ResponseNotFound, StoredResponses

HOURS = 2.0
CALL = {
    "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": "{}", "status": "completed",
}  # fmt: skip
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}


class Clock:
    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def stored(tmp_path: Path, clock: Clock) -> AsyncIterator[StoredResponses]:
    store = Answers(tmp_path / "responses.db")
    yield StoredResponses(store, HOURS, clock)
    await store.close()


def said(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": f"msg_{text}", "role": "assistant", "status": "completed", "content": content}


def response(id: str, *output: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": id, "object": "response", "created_at": 1.7e9, "model": "m", "output": list(output), "tools": [],
        "parallel_tool_calls": True, "tool_choice": "auto", "status": "completed", "store": False,
    }  # fmt: skip


async def talk(stored: StoredResponses, id: str, answer: dict[str, Any], key: str = "key", **fields: Any) -> Any:
    """One call: what the vendor would see as input."""
    asked = await stored.expand(key, {"model": "m", **fields})
    await stored.store(key, asked, response(id, answer))
    return asked["input"]


USER = {"type": "message", "role": "user", "content": "hello"}


async def test_a_conversation_goes_on(stored: StoredResponses) -> None:
    assert await talk(stored, "resp_1", said("hi"), input="hello", instructions="Be kind.") == "hello"
    more = {"role": "user", "content": "more"}
    asked = await stored.expand("key", {"input": [more], "previous_response_id": "resp_1"})
    assert asked == {"input": [USER, said("hi"), more], "previous_response_id": "resp_1", "store": True}
    await stored.store("key", asked, response("resp_2", CALL))
    third = await talk(stored, "resp_3", said("It is sunny."), input=[RESULT], previous_response_id="resp_2")
    assert third == [USER, said("hi"), more, CALL, RESULT]
    # Several may go on from one; and without anything new.
    assert await talk(stored, "resp_4", said("x"), previous_response_id="resp_1") == [USER, said("hi")]


async def test_a_later_response_outlives_an_earlier_one(stored: StoredResponses) -> None:
    await talk(stored, "resp_1", said("hi"), input="hello")
    await talk(stored, "resp_2", said("ho"), input="more", previous_response_id="resp_1")
    await stored.delete("key", "resp_1")
    assert len(await talk(stored, "resp_3", said("x"), input="end", previous_response_id="resp_2")) == 5


async def test_what_is_stored_says_so(stored: StoredResponses) -> None:
    await talk(stored, "resp_1", said("hi"), input="hello")
    await talk(stored, "resp_2", said("ho"), input="more", previous_response_id="resp_1")
    for id, previous in (("resp_1", None), ("resp_2", "resp_1")):
        found = openai.types.responses.Response.model_validate_json(await stored.get("key", id))
        assert (found.id, found.previous_response_id) == (id, previous)
        assert found.model_dump()["store"] is True


async def test_the_client_may_not_want_it(stored: StoredResponses) -> None:
    asked = await stored.expand("key", {"input": "hello", "store": False})
    assert asked["store"] is False
    assert not await stored.store("key", asked, response("resp_1", said("hi")))
    with pytest.raises(ResponseNotFound):
        await stored.get("key", "resp_1")
    # It may still go on from one that is stored.
    await talk(stored, "resp_2", said("hi"), input="hello", store=True)
    assert len(await talk(stored, "resp_3", said("ho"), input="x", store=False, previous_response_id="resp_2")) == 3
    with pytest.raises(PreviousNotFound):
        await stored.expand("key", {"input": "x", "previous_response_id": "resp_3"})


@pytest.mark.parametrize("id", ["resp_unknown", "", "resp_1\0", "x" * 10_000])
async def test_an_unknown_one_is_told_in_openais_words(stored: StoredResponses, id: str) -> None:
    with pytest.raises(PreviousNotFound) as caught:
        await stored.expand("key", {"input": "hello", "previous_response_id": id})
    error = caught.value
    assert (error.status, error.code, error.param) == (400, "previous_response_not_found", "previous_response_id")
    assert error.message.startswith("Previous response with id '")
    assert error.message.endswith("' not found.")
    assert len(error.message) < 120


async def test_a_key_sees_its_own_only(stored: StoredResponses) -> None:
    await talk(stored, "resp_1", said("hi"), input="hello")
    with pytest.raises(PreviousNotFound):
        await stored.expand("other", {"input": "x", "previous_response_id": "resp_1"})
    with pytest.raises(ResponseNotFound):
        await stored.get("other", "resp_1")
    with pytest.raises(ResponseNotFound):
        await stored.items("other", "resp_1", {})
    with pytest.raises(ResponseNotFound):
        await stored.delete("other", "resp_1")
    assert await stored.get("key", "resp_1")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": "yes"}, "store"), ({"store": 1}, "store"), ({"previous_response_id": 5}, "previous_response_id"),
        ({"previous_response_id": ["resp_1"]}, "previous_response_id"),
        ({"previous_response_id": "resp_1", "input": 5}, "input"),
    ],
)  # fmt: skip
async def test_fields_of_a_wrong_type(stored: StoredResponses, fields: dict[str, Any], param: str) -> None:
    await talk(stored, "resp_1", said("hi"), input="hello")
    with pytest.raises(BadRequest) as caught:
        await stored.expand("key", {"input": "x", **fields})
    assert (caught.value.param, caught.value.code) == (param, "bad_request")


async def test_nothing_is_stored_unless_it_is_switched_on(tmp_path: Path, clock: Clock) -> None:
    off = StoredResponses(Answers(tmp_path / "responses.db"), 0, clock)
    for fields in ({"store": True}, {"previous_response_id": "resp_1"}):
        with pytest.raises(Unsupported) as caught:
            await off.expand("key", {"input": "x", **fields})
        assert caught.value.param == next(iter(fields))
        assert "store_responses" in caught.value.message
    for plain in ({"input": "x"}, {"input": "x", "store": False}, {"store": None, "previous_response_id": None}):
        assert await off.expand("key", plain) is plain
        assert not await off.store("key", plain, response("resp_1", said("hi")))
    assert not await off.store("key", {"store": True}, response("resp_1", said("hi")))
    assert list(tmp_path.iterdir()) == []


async def test_the_hours_end(stored: StoredResponses, clock: Clock) -> None:
    await talk(stored, "resp_1", said("hi"), input="hello")
    clock.time += HOURS * 3600 - 1
    assert await stored.get("key", "resp_1")
    clock.time += 1
    with pytest.raises(ResponseNotFound):
        await stored.get("key", "resp_1")
    stored.purge(clock.time)
    clock.time -= 1
    with pytest.raises(ResponseNotFound):
        await stored.get("key", "resp_1")


async def test_what_cannot_be_stored_fails_no_call(stored: StoredResponses, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = await stored.expand("key", {"input": "hello"})
    for broken in ({}, {"id": "resp_1"}, {"id": 5, "output": []}, {"id": "resp_1", "output": None}):
        assert not await stored.store("key", asked, broken)
    monkeypatch.setattr(responses, "MAX_ENTRY", 100)
    assert not await stored.store("key", asked, response("resp_1", said("x" * 100)))
    with pytest.raises(PreviousNotFound):
        await stored.expand("key", {"previous_response_id": "resp_1"})


async def test_a_disk_that_cannot_be_used(tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    store = Answers(tmp_path / "missing" / "responses.db", otherwise="responses are not stored")
    lost = StoredResponses(store, HOURS, clock)
    asked = await lost.expand("key", {"input": "hello"})
    assert not await lost.store("key", asked, response("resp_1", said("hi")))
    with pytest.raises(ResponseNotFound):
        await lost.get("key", "resp_1")
    await store.close()
    assert "responses are not stored" in capsys.readouterr().err


async def test_a_foreign_entry_is_no_response(tmp_path: Path, clock: Clock) -> None:
    store = Answers(tmp_path / "responses.db")
    await store.write(responses._digest("key", "resp_1"), b"\x93 something else", 2e9, 1.7e9)
    with pytest.raises(ResponseNotFound):
        await StoredResponses(store, HOURS, clock).get("key", "resp_1")
    await store.close()


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.store.answers import Answers
from gateway.unified.responses import StoredResponses

async def main():
    stored = StoredResponses(Answers(Path(sys.argv[1])), 2.0, lambda: 1_700_000_000.0)
    asked = await stored.expand("key", {"input": "hello"})
    assert await stored.store("key", asked, {"id": "resp_1", "output": []})
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_was_stored_survives_a_kill(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "responses.db"
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", _KILLED, str(path)], capture_output=True)
    assert done.returncode == -9, done.stderr.decode()
    store = Answers(path)
    asked = await StoredResponses(store, HOURS, clock).expand("key", {"previous_response_id": "resp_1"})
    assert asked["input"] == [USER]
    await store.close()


# -- pages -------------------------------------------------------------------------------------------------------------


def key_id(asking: Asking) -> str:
    key = key_of(asking)
    if key is None:
        raise MissingKey("there is no API key")
    return key.decode()


def cors(origin: bytes | None) -> tuple[tuple[bytes, bytes], ...]:
    return () if origin is None else ((b"Access-Control-Allow-Origin", origin),)


@pytest.fixture
async def url(stored: StoredResponses) -> AsyncIterator[str]:
    app = web.Application()
    ResponsePages(lambda: stored, key_id, plain_refusal, cors).add_to(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def client(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="key", base_url=url + "/v1", max_retries=0) as client:
        yield client


async def test_the_sdk_gets_and_deletes(stored: StoredResponses, client: openai.AsyncOpenAI) -> None:
    await talk(stored, "resp_1", said("hi"), input="hello")
    assert (await client.responses.retrieve("resp_1")).output_text == "hi"
    await client.responses.delete("resp_1")
    for call in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError) as caught:
            await call("resp_1")
        assert caught.value.body["message"] == "Response with id 'resp_1' not found."  # type: ignore[index]


async def test_the_sdk_lists_what_led_to_a_response(stored: StoredResponses, client: openai.AsyncOpenAI) -> None:
    own = {"role": "user", "content": [{"type": "input_text", "text": "seen"}], "id": "msg_own"}
    mine = {"role": "assistant", "content": "my words"}
    await talk(stored, "resp_1", CALL, input=[{"role": "user", "content": "hello"}, mine, own])
    await talk(stored, "resp_2", said("hi"), input=[RESULT], previous_response_id="resp_1")
    listed = [item async for item in client.responses.input_items.list("resp_2", order="asc", limit=2)]  # three pages
    expected = ["message", "message", "message", "function_call", "function_call_output"]
    assert [item.type for item in listed] == expected
    assert listed[2].id == "msg_own"
    assert len({item.id for item in listed}) == 5
    for item in listed:
        TypeAdapter(openai.types.responses.ResponseItem).validate_python(item.model_dump(), strict=False)
    assert listed[0].model_dump(exclude_unset=True)["content"][0] == {"type": "input_text", "text": "hello"}
    assert listed[1].model_dump()["content"][0]["type"] == "output_text"
    assert [item.id async for item in client.responses.input_items.list("resp_2")] == [x.id for x in listed][::-1]


@pytest.mark.parametrize("query", [{"order": "up"}, {"limit": "0"}, {"limit": "101"}, {"limit": "²"}, {"after": "no"}])
async def test_pages_that_do_not_exist(stored: StoredResponses, query: dict[str, str]) -> None:
    await talk(stored, "resp_1", said("hi"), input="hello")
    with pytest.raises(BadRequest) as caught:
        await stored.items("key", "resp_1", query)
    assert caught.value.param == next(iter(query))
    await talk(stored, "resp_2", said("hi"), input=[])
    assert (await stored.items("key", "resp_2", {}))["data"] == []


async def test_keys_origins_and_streams(stored: StoredResponses, url: str, client: openai.AsyncOpenAI) -> None:
    await talk(stored, "resp_1", said("hi"), input="hello")
    async with openai.AsyncOpenAI(api_key="other", base_url=url + "/v1", max_retries=0) as other:
        with pytest.raises(openai.NotFoundError):
            await other.responses.retrieve("resp_1")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.retrieve("resp_1", stream=True)
    assert caught.value.param == "stream"
    with pytest.raises(openai.AuthenticationError):
        await client.responses.retrieve("resp_1", extra_headers={"Authorization": openai.Omit()})
    raw = await client.responses.with_raw_response.retrieve("resp_1", extra_headers={"Origin": "https://a.example"})
    assert raw.headers["access-control-allow-origin"] == "https://a.example"
    async with openai.AsyncOpenAI(api_key="key", base_url=url, max_retries=0) as bare:  # and without /v1
        assert (await bare.responses.retrieve("resp_1")).id == "resp_1"
