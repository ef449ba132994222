"""MiniMax speech synthesis over WebSocket and HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gateway.sandbox import app
from gateway.sandbox.ws_containers import text_in

MEDIA = Path(__file__).parent.parent / "fixtures" / "media"
KEY = {"Authorization": "Bearer k"}
TEXT = "纸船漂走了。Hello."
START: dict[str, Any] = {
    "event": "task_start",
    "model": "speech-2.8-hd",
    "voice_setting": {"voice_id": "male-qn-qingse", "speed": 1, "vol": 1, "pitch": 0},
    "audio_setting": {"sample_rate": 32000, "bitrate": 128000, "format": "mp3", "channel": 1},
}
BODY: dict[str, Any] = {**{name: START[name] for name in START if name != "event"}, "text": TEXT}


@pytest.fixture
async def sandbox() -> AsyncIterator[app.Running]:
    running = await app.start()
    yield running
    await running.stop()


Message = dict[str, Any] | str | bytes


async def talk(sandbox: app.Running, messages: list[Message], query: str = "") -> list[dict[str, Any]]:
    """What the vendor says until it closes."""
    url = f"ws://127.0.0.1:{sandbox.port}/minimax/ws/v1/t2a_v2{query}"
    async with connect(url, additional_headers=KEY) as ws:
        for message in messages:
            await ws.send(json.dumps(message) if isinstance(message, dict) else message)
        return [json.loads(message) async for message in ws]


def say(text: str) -> dict[str, Any]:
    return {"event": "task_continue", "text": text}


async def test_a_task(sandbox: app.Running) -> None:
    got = await talk(sandbox, [START, say("纸船漂走了。"), say("Hello."), {"event": "task_finish"}])
    events = [message["event"] for message in got]
    assert events[:2] == ["connected_success", "task_started"]
    assert events[-1] == "task_finished"
    parts = [message for message in got if message["event"] == "task_continued"]
    assert text_in(b"".join(bytes.fromhex(part["data"]["audio"]) for part in parts)) == TEXT
    finals = [part for part in parts if part["is_final"]]
    assert [part["extra_info"]["usage_characters"] for part in finals] == [12, 6]
    assert finals[0]["extra_info"]["audio_length"] == 240
    assert all("extra_info" not in part for part in parts if not part["is_final"])


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([say("before the start")], 2013),
        ([{"event": "task_finish"}], 2013),
        ([START, START], 2013),
        ([START, {"event": "task_what"}], 2013),
        (["{"], 2013),
        ([b"binary"], 2013),
        ([START, say("")], 2013),
        ([START, say("x" * 10001)], 1039),
        ([{**START, "model": "no-such"}], 2013),
        ([{**START, "voice_setting": {}}], 2013),
        ([{**START, "voice_setting": {"voice_id": "v", "speed": 3}}], 2013),
        ([{**START, "audio_setting": {"format": "wav"}}], 2013),
    ],
)
async def test_nonsense_fails_the_task(
    sandbox: app.Running, messages: list[Message], code: int
) -> None:
    got = await talk(sandbox, messages)
    assert got[-1]["event"] == "task_failed"
    assert got[-1]["base_resp"]["status_code"] == code


async def test_keys_and_scripts(sandbox: app.Running) -> None:
    for key in ({}, {"Authorization": "Bearer bad"}, {"Authorization": "Basic k"}):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://127.0.0.1:{sandbox.port}/minimax/ws/v1/t2a_v2", additional_headers=key):
                pass
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body or b"")["base_resp"]["status_code"] == 1004
    got = await talk(sandbox, [START, say(TEXT)], "?x-sandbox-fail=2")
    assert got[-1]["base_resp"]["status_code"] == 1000
    got = await talk(sandbox, [START, say(TEXT), {"event": "task_finish"}], "?x-sandbox-no_usage=1")
    assert all("usage_characters" not in message.get("extra_info", {}) for message in got)


async def post(sandbox: app.Running, body: object, headers: dict[str, str]) -> tuple[int, str, str]:
    url = f"http://127.0.0.1:{sandbox.port}/minimax/v1/t2a_v2"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        return response.status, response.content_type, await response.text()


async def test_http_whole(sandbox: app.Running) -> None:
    status, kind, text = await post(sandbox, BODY, KEY)
    value = json.loads(text)
    assert (status, kind) == (200, "application/json")
    assert text_in(bytes.fromhex(value["data"]["audio"])) == TEXT
    recorded = json.loads((MEDIA / "tts_minimax_hex.json").read_text())
    assert value.keys() == recorded.keys()
    assert value["extra_info"].keys() == recorded["extra_info"].keys()
    assert value["extra_info"]["audio_size"] == len(value["data"]["audio"]) // 2
    assert value["extra_info"]["usage_characters"] == 18


async def test_http_stream(sandbox: app.Running) -> None:
    chunks = {}
    for alone in (False, True):
        body = {**BODY, "stream": True, "stream_options": {"exclude_aggregated_audio": alone}}
        status, kind, text = await post(sandbox, body, KEY)
        assert (status, kind) == (200, "text/event-stream")
        chunks[alone] = [json.loads(block.removeprefix("data: ")) for block in text.strip().split("\n\n")]
    for alone, got in chunks.items():
        assert [chunk["data"]["status"] for chunk in got] == [1] * (len(got) - 1) + [2]
        sound = "".join(chunk["data"]["audio"] for chunk in got[:-1])
        assert text_in(bytes.fromhex(sound)) == TEXT
        assert got[-1]["data"]["audio"] == ("" if alone else sound)
        assert got[-1]["extra_info"]["usage_characters"] == 18
        assert all("extra_info" not in chunk for chunk in got[:-1])


@pytest.mark.parametrize(
    ("change", "headers", "code"),
    [
        ({"text": ""}, {}, 2013),
        ({"text": "x" * 10001}, {}, 1039),
        ({"model": "no-such"}, {}, 2013),
        ({"output_format": "base64"}, {}, 2013),
        ({"stream": "yes"}, {}, 2013),
        ({"stream": True, "audio_setting": {"format": "wav"}}, {}, 2013),
        ({"stream": True}, {"x-sandbox-filter": "before"}, 1026),
        ({}, {"x-sandbox-error200": "0"}, 1000),
        ({}, {"Authorization": "Bearer bad"}, 1004),
    ],
)
async def test_http_errors_come_with_200(
    sandbox: app.Running, change: dict[str, Any], headers: dict[str, str], code: int
) -> None:
    status, kind, text = await post(sandbox, {**BODY, **change}, KEY | headers)
    assert (status, kind) == (200, "application/json")
    assert json.loads(text)["base_resp"]["status_code"] == code


async def test_http_an_error_behind_sound(sandbox: app.Running) -> None:
    body = {**BODY, "stream": True, "text": TEXT * 20}
    _, _, text = await post(sandbox, body, KEY | {"x-sandbox-error200": "1"})
    chunks = [json.loads(block.removeprefix("data: ")) for block in text.strip().split("\n\n")]
    assert [chunk["base_resp"]["status_code"] for chunk in chunks] == [0, 1000]


async def test_http_status_of_the_script(sandbox: app.Running) -> None:
    status, _, text = await post(sandbox, BODY, KEY | {"x-sandbox-status": "429"})
    assert (status, json.loads(text)["base_resp"]["status_code"]) == (429, 1002)
