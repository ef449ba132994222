"""DashScope realtime: synthesis, recognition and omni, by the official SDK and event by event."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import dashscope
import pytest
from dashscope.audio.qwen_omni import MultiModality, OmniRealtimeCallback, OmniRealtimeConversation
from dashscope.audio.qwen_omni.omni_realtime import TranscriptionParams
from dashscope.audio.qwen_tts_realtime import QwenTtsRealtime, QwenTtsRealtimeCallback
from websockets.asyncio.client import connect

from gateway.sandbox import app
from gateway.sandbox.ws_containers import text_in
from gateway.sandbox.ws_voice import speak

TEXT = "纸船漂走了。再见。"
KEY = {"Authorization": "Bearer k"}
Message = dict[str, Any] | str


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[app.Running]:
    running = await app.start()
    monkeypatch.setattr(dashscope, "api_key", "k")
    yield running
    await running.stop()


def realtime_url(sandbox: app.Running) -> str:
    return f"ws://127.0.0.1:{sandbox.port}/ali/api-ws/v1/realtime"


def hang_up(talk: Any, sock: socket.socket) -> None:
    """Below the SDK: its WebSocket library polls for 10 s, and leaves the socket open when the server closed first."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    talk.thread.join(10)
    talk.close()
    sock.close()


async def test_sdk_realtime_synthesis(sandbox: app.Running) -> None:
    events: list[dict[str, Any]] = []
    closed = threading.Event()

    class Callback(QwenTtsRealtimeCallback):
        def on_open(self) -> None: ...

        def on_event(self, response: Any) -> None:
            events.append(response)

        def on_close(self, close_status_code: int, close_msg: str) -> None:
            closed.set()

    def speaks() -> None:
        talk: Any = QwenTtsRealtime(model="qwen3-tts-flash-realtime", callback=Callback(), url=realtime_url(sandbox))
        talk.connect()
        sock = talk.ws.sock.sock
        talk.update_session(voice="Cherry", mode="server_commit", language_type="Chinese")
        for piece in TEXT:
            talk.append_text(piece)
        talk.finish()
        assert closed.wait(10)
        hang_up(talk, sock)

    await asyncio.to_thread(speaks)
    kinds = [event["type"] for event in events]
    assert kinds[:4] == ["session.created", "session.updated", "response.created", "response.output_item.added"]
    assert kinds[-2:] == ["response.done", "session.finished"]
    sound = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.audio.delta")
    assert text_in(sound, 24000) == TEXT
    assert events[-2]["response"]["usage"] == {"characters": 18}


class Talking(OmniRealtimeCallback):
    def __init__(self, until: str) -> None:
        self.events: list[dict[str, Any]] = []
        self.until = until
        self.reached = threading.Event()

    def on_event(self, message: Any) -> None:
        self.events.append(message)
        if message["type"] in (self.until, "error"):
            self.reached.set()

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]


async def test_sdk_realtime_recognition(sandbox: app.Running) -> None:
    talking = Talking("session.finished")

    def hears() -> None:
        talk: Any = OmniRealtimeConversation("qwen3-asr-flash-realtime", talking, url=realtime_url(sandbox))
        talk.connect()
        sock = talk.ws.sock.sock
        talk.update_session(
            output_modalities=[MultiModality.TEXT],
            transcription_params=TranscriptionParams(language="zh", sample_rate=16000, input_audio_format="pcm"),
        )
        pcm = speak(TEXT, 16000)
        for at in range(0, len(pcm), 3200):
            talk.append_audio(base64.b64encode(pcm[at : at + 3200]).decode())
        talk.end_session(timeout=10)
        assert talking.reached.wait(10)
        hang_up(talk, sock)

    await asyncio.to_thread(hears)
    assert "error" not in talking.kinds()
    completed = [event for event in talking.events if event["type"].endswith("transcription.completed")]
    assert [event["transcript"] for event in completed] == ["纸船漂走了。", "再见。"]
    text = next(event for event in talking.events if event["type"].endswith("transcription.text"))
    assert "纸船漂走了。".startswith(text["text"] + text["stash"])


async def test_sdk_omni_converses(sandbox: app.Running) -> None:
    talking = Talking("response.done")

    def talks() -> None:
        talk: Any = OmniRealtimeConversation("qwen3-omni-flash-realtime", talking, url=realtime_url(sandbox))
        talk.connect()
        sock = talk.ws.sock.sock
        talk.update_session(output_modalities=[MultiModality.AUDIO, MultiModality.TEXT], voice="Cherry")
        talk.append_audio(base64.b64encode(speak(TEXT, 16000)).decode())
        talk.append_video(base64.b64encode(b"a picture").decode())
        talk.append_audio(base64.b64encode(bytes(32000)).decode())
        assert talking.reached.wait(10)
        hang_up(talk, sock)

    await asyncio.to_thread(talks)
    assert "error" not in talking.kinds(), talking.events
    assert "input_audio_buffer.speech_stopped" in talking.kinds()
    response = talking.events[-1]["response"]
    assert response["output"][0]["content"] == [{"type": "audio", "transcript": f"You said: {TEXT}"}]
    usage = response["usage"]
    assert usage["input_tokens_details"]["image_tokens"] == 85
    assert usage["input_tokens_details"]["audio_tokens"] == 14
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["output_tokens"] == sum(usage["output_tokens_details"].values())


# -- realtime, event by event --


async def converse(sandbox: app.Running, model: str, events: list[Message], last: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with connect(f"{realtime_url(sandbox)}?model={model}", additional_headers=KEY) as ws:
        for event in events:
            await ws.send(json.dumps(event) if isinstance(event, dict) else event)
        while not found or found[-1]["type"] != last:
            found.append(json.loads(await ws.recv()))
    return found


def appended(text: str) -> dict[str, Any]:
    return {"type": "input_text_buffer.append", "text": text}


COMMIT: dict[str, Any] = {"type": "input_text_buffer.commit"}
FINISH: dict[str, Any] = {"type": "session.finish"}


async def test_a_response_for_each_commit(sandbox: app.Running) -> None:
    update = {"type": "session.update", "session": {"mode": "commit", "response_format": "mp3"}}
    events: list[Message] = [update, appended("一。"), appended("二。"), COMMIT, appended("三。"), COMMIT]
    events += [appended("四"), FINISH]
    found = await converse(sandbox, "qwen-tts-realtime", events, "session.finished")
    sounds, current = [], b""
    for event in found:
        if event["type"] == "response.audio.delta":
            current += base64.b64decode(event["delta"])
        if event["type"] == "response.done":
            sounds.append(text_in(current))
            current = b""
    assert sounds == ["一。二。", "三。", "四"]
    usages = [event["response"]["usage"] for event in found if event["type"] == "response.done"]
    assert [usage["input_tokens_details"]["text_tokens"] for usage in usages] == [4, 2, 1]


async def test_commit_ends_a_response_in_server_commit(sandbox: app.Running) -> None:
    events: list[Message] = [appended("一。二"), COMMIT, appended("三。"), FINISH]
    found = await converse(sandbox, "qwen3-tts-flash-realtime", events, "session.finished")
    usages = [event["response"]["usage"] for event in found if event["type"] == "response.done"]
    assert usages == [{"characters": 6}, {"characters": 4}]
    assert [event["type"] for event in found].count("response.created") == 2


async def test_cancel_ends_a_response(sandbox: app.Running) -> None:
    model = "qwen3-tts-flash-realtime+pace=10"
    events: list[Message] = [appended("一。" * 300), {"type": "response.cancel"}, {"type": "response.cancel"}]
    found = await converse(sandbox, model, events, "error")
    assert found[-2]["response"]["status"] == "cancelled"
    assert found[-1]["error"]["code"] == "response_cancel_not_active"


async def test_manual_recognition(sandbox: app.Running) -> None:
    pcm = speak(TEXT, 16000)
    sound = [base64.b64encode(pcm[at : at + 6400]).decode() for at in range(0, len(pcm), 6400)]
    events: list[Message] = [{"type": "session.update", "session": {"turn_detection": None}}]
    events += [{"type": "input_audio_buffer.append", "audio": piece} for piece in sound]
    events += [{"type": "input_audio_buffer.commit"}, FINISH]
    found = await converse(sandbox, "qwen3-asr-flash-realtime", events, "session.finished")
    completed = [event for event in found if event["type"].endswith("transcription.completed")]
    assert [event["transcript"] for event in completed] == [TEXT]
    assert completed[0]["usage"] == {"duration": 1}
    grown = [event["text"] + event["stash"] for event in found if event["type"].endswith("transcription.text")]
    assert grown == sorted(grown, key=len)
    assert grown[-1] == TEXT


@pytest.mark.parametrize(
    ("model", "event", "code"),
    [
        ("qwen3-tts-flash-realtime", {"type": "input_audio_buffer.append", "audio": ""}, "invalid_value"),
        ("qwen3-tts-flash-realtime", {"type": "session.update", "session": {"mode": "x"}}, "invalid_value"),
        ("qwen3-tts-flash-realtime", {"type": "session.update", "session": {"colour": 1}}, "unknown_parameter"),
        ("qwen3-tts-flash-realtime", {"type": "session.update", "session": {"voice": "no-such"}}, "invalid_value"),
        ("qwen3-tts-flash-realtime", COMMIT, "input_text_buffer_commit_empty"),
        ("qwen3-asr-flash-realtime", {"type": "input_audio_buffer.append", "audio": "?"}, "invalid_value"),
        ("qwen3-asr-flash-realtime", {"type": "input_audio_buffer.commit"}, "invalid_value"),
        ("qwen3-asr-flash-realtime", {"type": "session.update", "session": {"sample_rate": 1}}, "invalid_value"),
        ("qwen3-omni-flash-realtime", {"type": "input_image_buffer.append", "image": "AAAA"}, "invalid_value"),
        ("qwen3-omni-flash-realtime", {"type": "response.cancel"}, "response_cancel_not_active"),
        ("qwen3-omni-flash-realtime", "{", "invalid_json"),
    ],
)
async def test_wrong_events(sandbox: app.Running, model: str, event: Message, code: str) -> None:
    found = await converse(sandbox, model, [event], "error")
    assert found[-1]["error"]["code"] == code
