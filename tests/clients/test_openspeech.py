"""Volcengine's speech: binary frames over WebSocket with three libraries, and synthesis over HTTP."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any

import pytest
import websocket
from websockets.exceptions import InvalidStatus

from gateway.sandbox.openspeech_frames import Compression, Event, Flags, Frame, Serialization, Type, decode, encode
from gateway.sandbox.ws_containers import text_in
from gateway.sandbox.ws_voice import speak
from tests.clients.conftest import LinkTo
from tests.clients.places import Link, wait_for
from tests.clients.sockets import LIBRARIES, Message, Step, Talk, socket_url, with_websockets

TEXT = "纸船漂走了。再见。"
SPEAKER = "zh_female_vv_uranus_bigtts"
ASR_HEADERS = {"X-Api-Key": "k", "X-Api-Resource-Id": "volc.bigasr.sauc.duration", "X-Api-Connect-Id": "c-1"}
TTS_HEADERS = {
    "X-Api-App-Key": "app",
    "X-Api-Access-Key": "token",
    "X-Api-Resource-Id": "seed-tts-2.0",
    "X-Api-Connect-Id": "c-2",
    "X-Control-Require-Usage-Tokens-Return": "*",
}
CONFIG = {
    "user": {"uid": "u"},
    "audio": {"format": "pcm", "codec": "raw", "rate": 16000, "bits": 16, "channel": 1},
    "request": {"model_name": "bigmodel", "show_utterances": True, "result_type": "full"},
}


@pytest.fixture
def link(link_to: LinkTo) -> Link:
    return link_to("bytedance")


libraries = pytest.mark.parametrize("talk", LIBRARIES.values(), ids=LIBRARIES.keys())


def frames(messages: list[Message]) -> list[Frame]:
    assert all(isinstance(message, bytes) for message in messages)
    return [decode(message) for message in messages if isinstance(message, bytes)]


# -- recognition --


def heard_words() -> list[Message]:
    """A configuration and sound in packets of 100 ms."""
    pcm = speak(TEXT, 16000)
    found: list[Message] = [
        encode(Frame(Type.FULL_REQUEST, compression=Compression.GZIP, payload=json.dumps(CONFIG).encode()))
    ]
    pieces = [pcm[at : at + 3200] for at in range(0, len(pcm), 3200)]
    for number, piece in enumerate(pieces, 1):
        flags = Flags.LAST if number == len(pieces) else Flags.NONE
        found.append(encode(Frame(Type.AUDIO_REQUEST, flags, Serialization.RAW, Compression.GZIP, piece)))
    return found


@libraries
@pytest.mark.parametrize("mode", ["bigmodel", "bigmodel_async", "bigmodel_nostream"])
def test_recognition(link: Link, talk: Talk, mode: str) -> None:
    def ask(base: str) -> Any:
        heard = talk(socket_url(base, f"/api/v3/sauc/{mode}"), ASR_HEADERS, [Step(heard_words(), None)])
        return [[json.loads(frame.payload) for frame in frames(heard.messages)], heard.code]

    results, code = link.unmetered(ask)
    assert results[-1]["result"]["text"] == TEXT
    assert code == 1000


# -- synthesis --


def event(number: int, ident: str | None = None, **body: Any) -> bytes:
    return encode(
        Frame(Type.FULL_REQUEST, Flags.EVENT, payload=json.dumps(body).encode(), event=number, id=ident)
    )


def comes(number: int) -> Any:
    return lambda message: decode(message).event == number


def spoken_steps() -> list[Step]:
    audio = {"format": "pcm", "sample_rate": 24000}
    start = event(
        Event.START_SESSION, "s1", namespace="BidirectionalTTS", req_params={"speaker": SPEAKER, "audio_params": audio}
    )
    texts = [event(Event.TASK_REQUEST, "s1", req_params={"text": piece}) for piece in TEXT]
    return [
        Step([event(Event.START_CONNECTION)], comes(Event.CONNECTION_STARTED)),
        Step([start], comes(Event.SESSION_STARTED)),
        Step([*texts, event(Event.FINISH_SESSION, "s1")], comes(Event.SESSION_FINISHED)),
        Step([event(Event.FINISH_CONNECTION)], None),
    ]


@libraries
@pytest.mark.parametrize("query", ["", "?x-sandbox-fragment=500"])
def test_synthesis(link: Link, talk: Talk, query: str) -> None:
    def ask(base: str) -> list[Any]:
        url = socket_url(base, f"/api/v3/tts/bidirection{query}")
        heard = talk(url, TTS_HEADERS, spoken_steps())
        return [*[(frame.event, frame.payload) for frame in frames(heard.messages)], heard.code]

    *found, code = link.unmetered(ask)
    sound = b"".join(payload for number, payload in found if number == Event.TTS_RESPONSE)
    assert text_in(sound, 24000) == TEXT
    assert code == 1000


def test_bytes_of_sockets_are_counted(link: Link) -> None:
    def bytes_down() -> float:
        return sum(
            value
            for name, labels, value in link.samples()
            if name == "gateway_websocket_bytes_total" and labels["direction"] == "down"
        )

    before = bytes_down()
    heard = with_websockets(socket_url(link.through, "/api/v3/tts/bidirection"), TTS_HEADERS, spoken_steps())
    least = sum(map(len, heard.messages))
    wait_for(lambda: bytes_down() - before > least, True)


def test_synthesis_over_http(link: Link) -> None:
    """JSON objects by the line, with the number of words at the end."""
    body = {"user": {"uid": "u"}, "req_params": {"text": TEXT, "speaker": SPEAKER, "audio_params": {"format": "pcm"}}}

    def ask(base: str) -> list[Any]:
        request = urllib.request.Request(
            f"{base}/api/v3/tts/unidirectional",
            json.dumps(body).encode(),
            {**TTS_HEADERS, "content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return [json.loads(line) for line in answer.read().splitlines() if line]

    found = link.unmetered(ask)
    sound = b"".join(base64.b64decode(one["data"]) for one in found if one.get("data"))
    assert text_in(sound, 24000) == TEXT


# -- refusals --


def test_a_refused_handshake_is_the_vendors_own_answer(link: Link) -> None:
    headers = {name: value for name, value in ASR_HEADERS.items() if name != "X-Api-Key"}

    def with_response(base: str) -> object:
        try:
            return with_websockets(socket_url(base, "/api/v3/sauc/bigmodel"), headers, [])
        except InvalidStatus as error:
            body = json.loads(error.response.body or b"")
            return error.response.status_code, body["header"]["code"]

    link.same(with_response)
    link.raises(
        lambda base: websocket.create_connection(socket_url(base, "/api/v3/sauc/bigmodel"), header=headers),
        websocket.WebSocketBadStatusException,
    )


def test_an_error_frame_and_its_close_code(link: Link) -> None:
    def ask(base: str) -> list[Any]:
        step = Step([b"\x11\x20\x00\x00\x00\x00\x00\x02ab"], None)  # sound before the configuration
        heard = with_websockets(socket_url(base, "/api/v3/sauc/bigmodel"), ASR_HEADERS, [step])
        return [*[(frame.type, frame.code) for frame in frames(heard.messages)], heard.code]

    assert link.unmetered(ask)[0][0] == Type.ERROR
