"""The `dashscope` SDK's speech, over its WebSocket and over HTTP; and MiniMax's socket, which has no SDK."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import dashscope
import pytest
from dashscope.audio.asr import Recognition, RecognitionCallback
from dashscope.audio.qwen_omni import (
    MultiModality,
    OmniRealtimeCallback,
    OmniRealtimeConversation,
)
from dashscope.audio.qwen_tts import SpeechSynthesizer as QwenSynthesizer
from dashscope.audio.tts import SpeechSynthesizer as OneTextSynthesizer
from dashscope.audio.tts_v2 import (
    AudioFormat,
    ResultCallback,
    SpeechSynthesizer,
)

from gateway.sandbox.ws_containers import text_in
from gateway.sandbox.ws_voice import speak
from tests.clients.conftest import LinkTo
from tests.clients.places import Link
from tests.clients.seen import Seen
from tests.clients.sockets import LIBRARIES, Step, Talk, socket_url
from tests.wire.ends import PATIENCE

TEXT = "纸船漂走了。再见。"
SENTENCE = "纸船漂走了。"
T = TypeVar("T")


@pytest.fixture(autouse=True)
def own_base_urls() -> Iterator[None]:
    """The SDK keeps its base URLs and its key for the whole process."""
    names = ("base_http_api_url", "base_websocket_api_url", "api_key")
    before = {name: getattr(dashscope, name) for name in names}
    dashscope.api_key = "k"
    yield
    for name, value in before.items():
        setattr(dashscope, name, value)


@pytest.fixture
def link(link_to: LinkTo) -> Link:
    return link_to("ali")


def asking(do: Callable[[], T]) -> Callable[[str], T]:
    """All that differs is `dashscope.base_websocket_api_url` (and the one for HTTP)."""

    def call(base: str) -> T:
        dashscope.base_websocket_api_url = socket_url(base, "/api-ws/v1/inference")
        dashscope.base_http_api_url = f"{base}/api/v1"
        return do()

    return call


def restated(model: str, unit: str, told: list[float]) -> list[Seen]:
    """A task tells its total again and again: each time it has grown counts as one usage, and by what it has grown."""
    growth = [after - before for before, after in zip([0, *told], told, strict=False) if after > before]
    return [Seen(model, units={unit: sum(told[-1:]) if k == 0 else 0}) for k, _ in enumerate(growth)]


# -- synthesis --


class Spoken(ResultCallback):
    def __init__(self) -> None:
        self.sound = b""
        self.told: list[float] = []
        self.error = ""

    def on_data(self, data: bytes) -> None:
        self.sound += data

    def on_event(self, message: str) -> None:
        if found := (json.loads(message)["payload"].get("usage") or {}).get("characters"):
            self.told.append(found)

    def on_error(self, message: str) -> None:
        self.error = message


def test_synthesis_in_one_call(link: Link) -> None:
    model = "cosyvoice-v2"

    def ask() -> bytes:
        form = AudioFormat.MP3_22050HZ_MONO_256KBPS
        return bytes(SpeechSynthesizer(model=model, voice="longxiaochun_v2", format=form).call(SENTENCE))

    before = link.counted()
    assert text_in(link.same(asking(ask))) == SENTENCE
    link.grows(before, [Seen(model, units={"characters": 12})])


def test_synthesis_as_text_comes(link: Link) -> None:
    model = "cosyvoice-v3"

    def ask() -> Any:
        spoken = Spoken()
        form = AudioFormat.PCM_24000HZ_MONO_16BIT
        synthesizer: Any = SpeechSynthesizer(model=model, voice="v", format=form, callback=spoken)
        for piece in TEXT:
            synthesizer.streaming_call(piece)
        synthesizer.streaming_complete()
        assert not spoken.error
        return [spoken.sound, spoken.told]

    sound, told = link.metered(asking(ask), lambda found: restated(model, "characters", found[1]))
    assert text_in(sound, 24000) == TEXT
    assert told[-1] == 18


def test_synthesis_of_one_text(link: Link) -> None:
    def ask() -> list[Any]:
        spoken = OneTextSynthesizer.call("sambert-zhichu-v1", SENTENCE, format="mp3", sample_rate=16000)
        return [spoken.get_audio_data(), spoken.get_timestamps()]

    before = link.counted()
    assert text_in(link.same(asking(ask))[0]) == SENTENCE
    link.grows(before, [Seen("sambert-zhichu-v1", units={"characters": 12})])


@pytest.mark.parametrize(("model", "stream"), [("qwen-tts", False), ("qwen3-tts-flash", True)])
def test_synthesis_over_http(link: Link, model: str, stream: bool) -> None:
    """A link to the sound, or the sound in events."""

    def ask() -> list[Any]:
        reply: Any = QwenSynthesizer.call(model=model, text=TEXT, voice="Cherry", stream=stream)
        found = list(reply) if stream else [reply]
        return [{**one.output["audio"], "id": "", "expires_at": 0} for one in found] + [found[-1].usage]

    def usage(found: list[Any]) -> Seen:
        return Seen(model, units={"characters": found[-1]["characters"]})

    found = link.metered(asking(ask), usage)
    assert found[-2]["url"]
    assert any(one["data"] for one in found[:-1]) == stream


# -- recognition --


class Hearing(RecognitionCallback):
    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.told: list[float] = []
        self.error = ""
        self.end = threading.Event()

    def on_event(self, result: Any) -> None:
        sentence = result.get_sentence()
        if result.is_sentence_end(sentence):
            self.sentences.append(sentence["text"])
            self.told.append(result.get_usage(sentence)["duration"])

    def on_error(self, result: Any) -> None:
        self.error = f"{result.code} {result.message}"
        self.end.set()

    def on_complete(self) -> None:
        self.end.set()


def test_recognition(link: Link) -> None:
    model = "paraformer-realtime-v2"

    def ask() -> list[Any]:
        hearing = Hearing()
        recognition: Any = Recognition(model, hearing, format="pcm", sample_rate=16000)
        recognition.start()
        pcm = speak(TEXT, 16000)
        for at in range(0, len(pcm), 3200):
            recognition.send_audio_frame(pcm[at : at + 3200])
        recognition.stop()
        assert hearing.end.wait(PATIENCE)
        return [hearing.error, hearing.sentences, hearing.told]

    found = link.metered(asking(ask), lambda found: restated(model, "seconds", found[2]))
    assert found[:2] == ["", ["纸船漂走了。", "再见。"]]


def test_a_failed_task_is_told_as_by_the_vendor(link: Link) -> None:
    def ask() -> str:
        hearing = Hearing()
        recognition = Recognition("no-such-model", hearing, format="pcm", sample_rate=16000)
        recognition.start()
        assert hearing.end.wait(PATIENCE)
        return hearing.error

    assert link.unmetered(asking(ask)).startswith("ModelNotFound")


# -- a conversation --


class Talking(OmniRealtimeCallback):
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.done = threading.Event()

    def on_event(self, message: Any) -> None:
        self.events.append(message)
        if message["type"] in ("response.done", "error"):
            self.done.set()


def hang_up(talk: Any, sock: socket.socket) -> None:
    """Below the SDK, whose WebSocket library would notice its own end only after seconds."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    talk.thread.join(PATIENCE)
    talk.close()
    sock.close()


def test_omni(link: Link) -> None:
    model = "qwen3-omni-flash-realtime"

    def ask(base: str) -> Any:
        talking = Talking()
        talk: Any = OmniRealtimeConversation(model, talking, url=socket_url(base, "/api-ws/v1/realtime"))
        talk.connect()
        sock = talk.ws.sock.sock
        talk.update_session(output_modalities=[MultiModality.AUDIO, MultiModality.TEXT], voice="Cherry")
        talk.append_audio(base64.b64encode(speak(TEXT, 16000)).decode())
        talk.append_audio(base64.b64encode(bytes(32000)).decode())
        assert talking.done.wait(PATIENCE)
        hang_up(talk, sock)
        heard = next(event for event in talking.events if event["type"].endswith("transcription.completed"))
        response = talking.events[-1]["response"]
        return [response["output"][0]["content"], heard["usage"], response["usage"]]

    def usage(found: list[Any]) -> list[Seen]:
        return [Seen(model, input=told["input_tokens"], output=told["output_tokens"]) for told in found[1:]]

    content, *_ = link.metered(ask, usage)
    assert content == [{"type": "audio", "transcript": f"You said: {TEXT}"}]


# -- MiniMax --


@pytest.mark.parametrize("library", LIBRARIES)
def test_minimax(link_to: LinkTo, library: str) -> None:
    model = f"speech-2.8-hd-{library}"
    talk: Talk = LIBRARIES[library]
    start = {
        "event": "task_start",
        "model": model,
        "voice_setting": {"voice_id": "male-qn-qingse", "speed": 1, "vol": 1, "pitch": 0},
        "audio_setting": {"sample_rate": 32000, "bitrate": 128000, "format": "mp3", "channel": 1},
    }
    said = [start, {"event": "task_continue", "text": TEXT}, {"event": "task_finish"}]
    steps = [Step([json.dumps(one) for one in said], None)]

    def ask(base: str) -> list[Any]:
        heard = talk(socket_url(base, "/ws/v1/t2a_v2"), {"Authorization": "Bearer k"}, steps)
        events = [json.loads(message) for message in heard.messages]
        return [[one["event"], one.get("data"), one.get("extra_info")] for one in events]

    def usage(found: list[Any]) -> Seen:
        told = [info["usage_characters"] for _, _, info in found if info]
        return Seen(model, units={"characters": told[-1]})

    found = link_to("minimax").metered(ask, usage)
    sound = b"".join(bytes.fromhex(data["audio"]) for _, data, _ in found if data)
    assert text_in(sound) == TEXT
