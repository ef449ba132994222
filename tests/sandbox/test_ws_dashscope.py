"""DashScope tasks: the official SDK, the recorded sessions, and nonsense."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dashscope
import pytest
from dashscope.audio.asr import Recognition, RecognitionCallback
from dashscope.audio.tts import SpeechSynthesizer as OneTextSynthesizer
from dashscope.audio.tts_v2 import AudioFormat, ResultCallback, SpeechSynthesizer
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from gateway.sandbox import app
from gateway.sandbox.ws_containers import text_in
from gateway.sandbox.ws_voice import speak

MEDIA = Path(__file__).parent.parent / "fixtures" / "media"
TEXT = "纸船漂走了。再见。"
KEY = {"Authorization": "Bearer k"}


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[app.Running]:
    running = await app.start()
    monkeypatch.setattr(dashscope, "api_key", "k")
    monkeypatch.setattr(dashscope, "base_websocket_api_url", f"ws://127.0.0.1:{running.port}/ali/api-ws/v1/inference")
    yield running
    await running.stop()


def task(sandbox: app.Running, query: str = "") -> connect:
    return connect(f"ws://127.0.0.1:{sandbox.port}/ali/api-ws/v1/inference{query}", additional_headers=KEY)


# -- the SDK --


@pytest.mark.parametrize("form", [AudioFormat.MP3_22050HZ_MONO_256KBPS, AudioFormat.WAV_16000HZ_MONO_16BIT])
async def test_sdk_speaks_in_one_call(sandbox: app.Running, form: AudioFormat) -> None:
    synthesizer = SpeechSynthesizer(model="cosyvoice-v2", voice="longxiaochun_v2", format=form)
    sound = await asyncio.to_thread(synthesizer.call, TEXT)
    assert text_in(sound) == TEXT


async def test_sdk_speaks_as_text_comes(sandbox: app.Running) -> None:
    events: list[str] = []
    sound = bytearray()
    usage: list[int] = []

    class Callback(ResultCallback):
        def on_open(self) -> None:
            events.append("open")

        def on_data(self, data: bytes) -> None:
            sound.extend(data)

        def on_event(self, message: str) -> None:
            usage.append(json.loads(message)["payload"].get("usage", {}).get("characters", 0))

        def on_complete(self) -> None:
            events.append("complete")

        def on_error(self, message: str) -> None:
            events.append(f"error {message}")

        def on_close(self) -> None:
            events.append("close")

    def speaks() -> None:
        form = AudioFormat.PCM_24000HZ_MONO_16BIT
        synthesizer: Any = SpeechSynthesizer(model="cosyvoice-v2", voice="v", format=form, callback=Callback())
        for piece in TEXT:
            synthesizer.streaming_call(piece)
        synthesizer.streaming_complete()

    await asyncio.to_thread(speaks)
    assert events[:2] == ["open", "complete"]
    assert text_in(bytes(sound), 24000) == TEXT
    assert max(usage) == 18


async def test_sdk_speaks_one_text(sandbox: app.Running) -> None:
    options: dict[str, Any] = {"format": "mp3", "sample_rate": 16000}
    spoken: Any = await asyncio.to_thread(OneTextSynthesizer.call, "sambert-zhichu-v1", TEXT, **options)
    assert text_in(spoken.get_audio_data()) == TEXT
    assert spoken.get_response().status_code == 200
    assert [sentence["end_time"] for sentence in spoken.get_timestamps()] == [240, 360]


class Hearing(RecognitionCallback):
    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.partial: list[str] = []
        self.usage: list[Any] = []
        self.end = threading.Event()
        self.error = ""

    def on_event(self, result: Any) -> None:
        sentence = result.get_sentence()
        if result.is_sentence_end(sentence):
            self.sentences.append(sentence["text"])
            self.usage.append(result.get_usage(sentence))
        else:
            self.partial.append(sentence["text"])

    def on_error(self, result: Any) -> None:
        self.error = f"{result.code} {result.message}"
        self.end.set()

    def on_complete(self) -> None:
        self.end.set()


async def test_sdk_recognises(sandbox: app.Running) -> None:
    hearing = Hearing()

    def hears() -> None:
        recognition: Any = Recognition("paraformer-realtime-v2", hearing, format="pcm", sample_rate=16000)
        recognition.start()
        pcm = speak(TEXT, 16000)
        for at in range(0, len(pcm), 3200):
            recognition.send_audio_frame(pcm[at : at + 3200])
        recognition.stop()

    await asyncio.to_thread(hears)
    assert hearing.end.wait(10)
    assert (hearing.error, hearing.sentences) == ("", ["纸船漂走了。", "再见。"])
    assert hearing.partial[0] == "纸船"
    assert hearing.usage == [{"duration": 1}, {"duration": 1}]


async def test_sdk_tells_of_failures(sandbox: app.Running) -> None:
    hearing = Hearing()

    def hears() -> None:
        recognition = Recognition("no-such-model", hearing, format="pcm", sample_rate=16000)
        recognition.start()
        hearing.end.wait(10)

    await asyncio.to_thread(hears)
    assert hearing.error.startswith("ModelNotFound ")


# -- tasks, message by message --


def run(ident: str = "", task: str = "tts", **change: Any) -> dict[str, Any]:
    function = {"tts": "SpeechSynthesizer", "asr": "recognition"}.get(task, task)
    parameters = {"format": "pcm", "sample_rate": 16000, "voice": "v"} | change.pop("parameters", {})
    payload = {"task_group": "audio", "task": task, "function": function, "model": "m", "input": {}}
    streaming = change.pop("streaming", "duplex")
    header = {"action": "run-task", "task_id": ident or str(uuid.uuid4()), "streaming": streaming}
    return {"header": header, "payload": {**payload, "parameters": parameters, **change}}


def act(action: str, ident: str, **given: Any) -> dict[str, Any]:
    return {"header": {"action": action, "task_id": ident, "streaming": "duplex"}, "payload": {"input": given}}


Message = dict[str, Any] | str | bytes


async def put(ws: ClientConnection, messages: list[Message]) -> None:
    for message in messages:
        await ws.send(json.dumps(message) if isinstance(message, dict) else message)


async def until(ws: ClientConnection, event: str) -> tuple[list[dict[str, Any]], bytes]:
    found: list[dict[str, Any]] = []
    sound = b""
    while not found or found[-1]["header"]["event"] != event:
        message = await ws.recv()
        if isinstance(message, bytes):
            sound += message
        else:
            found.append(json.loads(message))
            assert event == "task-failed" or found[-1]["header"]["event"] != "task-failed", message
    return found, sound


async def test_several_tasks_on_one_socket(sandbox: app.Running) -> None:
    one, two = "a" * 32, "b" * 32
    async with task(sandbox) as ws:
        await put(ws, [run(one), act("continue-task", one, text=TEXT), act("finish-task", one)])
        messages, sound = await until(ws, "task-finished")
        assert text_in(sound, 16000) == TEXT
        assert [m["payload"].get("usage", {}).get("characters") for m in messages] == [None, 12, 18, 18]
        pcm: list[Message] = [sound[at : at + 3200] for at in range(0, len(sound), 3200)]
        await put(ws, [run(two, "asr"), *pcm, act("finish-task", two)])
        messages, _ = await until(ws, "task-finished")
        ends = [m["payload"]["output"]["sentence"] for m in messages if m["payload"].get("output", {}).get("sentence")]
        assert [s["text"] for s in ends if s["sentence_end"]] == ["纸船漂走了。", "再见。"]
        assert {m["header"]["task_id"] for m in messages} == {two}


async def test_flush_speaks_what_is_no_sentence(sandbox: app.Running) -> None:
    one = "a" * 32
    async with task(sandbox) as ws:
        await put(ws, [run(one), act("continue-task", one, text="no end"), act("continue-task", one, flush=True)])
        messages, _ = await until(ws, "result-generated")
        assert messages[-1]["payload"]["usage"] == {"characters": 6}


async def test_heartbeats_and_silence(sandbox: app.Running) -> None:
    one = "a" * 32
    async with task(sandbox) as ws:
        await put(ws, [run(one, "asr", parameters={"heartbeat": True}), bytes(3200), act("finish-task", one)])
        messages, _ = await until(ws, "task-finished")
    assert messages[1]["payload"]["output"]["sentence"]["heartbeat"] is True
    assert messages[-1]["payload"] == {"output": {}, "usage": {"duration": 1}}


@pytest.mark.parametrize("name", ["tts_cosyvoice_ws.jsonl", "asr_dashscope_ws.jsonl"])
async def test_recorded_clients_are_understood(sandbox: app.Running, name: str) -> None:
    """What the recorded client sent gets answers of the recorded shapes."""
    lines = [json.loads(line) for line in (MEDIA / name).read_text("utf-8").splitlines()]
    up = [line.get("json") or bytes.fromhex(line["hex"]) for line in lines if line["dir"] == "up"]
    down = [line["json"] for line in lines if line["dir"] == "down" and line["kind"] == "text"]
    async with task(sandbox) as ws:
        await put(ws, up)
        messages, _ = await until(ws, "task-finished")
    for recorded in down:
        event = recorded["header"]["event"]
        mine = [message for message in messages if message["header"]["event"] == event]
        assert mine
        assert mine[-1]["header"].keys() == recorded["header"].keys()
        shown = recorded["payload"].get("output", {}).get("sentence", {})
        assert shown.get("heartbeat") or any(shown.keys() <= _sentence(message).keys() for message in mine)


def _sentence(message: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (message["payload"].get("output") or {}).get("sentence", {})
    return found


ONE = "a" * 32
NONSENSE: list[tuple[str, list[Message], str]] = [
    ("no JSON", ["{"], "InvalidParameter"),
    ("an array", ["[]"], "InvalidParameter"),
    ("sound without a task", [b"\0\0"], "InvalidParameter"),
    ("no header", [{"payload": {}}], "InvalidParameter"),
    ("action", [act("walk", ONE)], "InvalidParameter"),
    ("task id", [run("x y")], "InvalidParameter"),
    ("continue without a task", [act("continue-task", ONE, text="x")], "InvalidParameter"),
    ("continue another", [run(ONE), act("continue-task", "b" * 32, text="x")], "InvalidParameter"),
    ("two at once", [run(ONE), run("b" * 32)], "InvalidParameter"),
    ("sound for synthesis", [run(ONE), b"\0\0"], "InvalidParameter"),
    ("text for recognition", [run(ONE, "asr"), act("continue-task", ONE, text="x")], "InvalidParameter"),
    ("no text", [run(ONE), act("continue-task", ONE)], "InvalidParameter"),
    ("after the end", [run(ONE), act("finish-task", ONE), act("finish-task", ONE)], "InvalidParameter"),
    ("task", [run(ONE, "dance")], "InvalidParameter"),
    ("task group", [run(ONE, task_group="video")], "InvalidParameter"),
    ("model", [run(ONE, model="no-such")], "ModelNotFound"),
    ("format", [run(ONE, parameters={"format": "midi"})], "InvalidParameter"),
    ("rate", [run(ONE, parameters={"rate": 3})], "InvalidParameter"),
    ("sample rate", [run(ONE, "asr", parameters={"sample_rate": 1})], "InvalidParameter"),
    ("8k model", [run(ONE, "asr", model="paraformer-realtime-8k-v2")], "InvalidParameter"),
    ("streaming", [run(ONE, "asr", streaming="out")], "InvalidParameter"),
]


@pytest.mark.parametrize(("messages", "code"), [row[1:] for row in NONSENSE], ids=[row[0] for row in NONSENSE])
async def test_nonsense_fails_the_task(sandbox: app.Running, messages: list[Message], code: str) -> None:
    async with task(sandbox, "?x-sandbox-pace=5") as ws:
        await put(ws, messages)
        found, _ = await until(ws, "task-failed")
        assert found[-1]["header"]["error_code"] == code
        await ws.wait_closed()
    assert ws.close_code == 1007


async def test_a_task_id_serves_once(sandbox: app.Running) -> None:
    async with task(sandbox) as ws:
        await put(ws, [run(ONE), act("finish-task", ONE)])
        await until(ws, "task-finished")
        await put(ws, [run(ONE)])
        found, _ = await until(ws, "task-failed")
        assert "used before" in found[-1]["header"]["error_message"]


async def test_scripted_failure_and_no_usage(sandbox: app.Running) -> None:
    async with task(sandbox, "?x-sandbox-fail=2") as ws:
        await put(ws, [run(ONE), act("continue-task", ONE, text=TEXT)])
        found, _ = await until(ws, "task-failed")
        assert found[-1]["header"]["error_code"] == "InternalError"
    async with task(sandbox, "?x-sandbox-no_usage=1") as ws:
        await put(ws, [run(ONE), act("continue-task", ONE, text=TEXT), act("finish-task", ONE)])
        found, _ = await until(ws, "task-finished")
        assert all("usage" not in message["payload"] for message in found)


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("inference", {}, 401, "InvalidApiKey"),
        ("inference/", {"Authorization": "Bearer bad"}, 401, "InvalidApiKey"),
        ("realtime?model=qwen3-tts-flash-realtime", {"Authorization": "k"}, 401, "InvalidApiKey"),
        ("realtime", KEY, 400, "InvalidParameter"),
        ("realtime?model=no-such-asr", KEY, 404, "ModelNotFound"),
        ("realtime?model=qwen-plus", KEY, 404, "ModelNotFound"),
    ],
)
async def test_refused_handshakes(
    sandbox: app.Running, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://127.0.0.1:{sandbox.port}/ali/api-ws/v1/{path}", additional_headers=headers):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["code"] == code
