"""Volcengine openspeech over real sockets: recognition, synthesis, and what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from gateway.sandbox import app
from gateway.sandbox.openspeech_frames import Compression, Event, Flags, Frame, Serialization, Type, decode, encode
from gateway.sandbox.ws_containers import text_in
from gateway.sandbox.ws_voice import speak

MEDIA = Path(__file__).parent.parent / "fixtures" / "media"
ASR = "/bytedance/api/v3/sauc/bigmodel"
TTS = "/bytedance/api/v3/tts"
ASR_HEADERS = {"X-Api-Key": "k", "X-Api-Resource-Id": "volc.bigasr.sauc.duration", "X-Api-Connect-Id": "c-1"}
TTS_HEADERS = {
    "X-Api-App-Key": "app",
    "X-Api-Access-Key": "token",
    "X-Api-Resource-Id": "seed-tts-2.0",
    "X-Api-Connect-Id": "c-2",
    "X-Control-Require-Usage-Tokens-Return": "*",
}
SPEAKER = "zh_female_vv_uranus_bigtts"
CONFIG: dict[str, Any] = {
    "user": {"uid": "u"},
    "audio": {"format": "pcm", "codec": "raw", "rate": 16000, "bits": 16, "channel": 1},
    "request": {"model_name": "bigmodel", "show_utterances": True, "result_type": "full"},
}
TEXT = "纸船漂走了。再见。"


@pytest.fixture
async def sandbox() -> AsyncIterator[app.Running]:
    running = await app.start()
    yield running
    await running.stop()


def dial(sandbox: app.Running, path: str, headers: dict[str, str]) -> connect:
    return connect(f"ws://127.0.0.1:{sandbox.port}{path}", additional_headers=headers, max_size=None)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {**old, **{key: {**old[key], **value} for key, value in new.items()}}


def full(config: dict[str, Any], compression: Compression = Compression.GZIP, number: int | None = None) -> bytes:
    flags = Flags.NONE if number is None else Flags.SEQUENCE
    payload = json.dumps(config).encode()
    return encode(Frame(Type.FULL_REQUEST, flags, Serialization.JSON, compression, payload, number))


def packets(pcm: bytes, size: int = 6400, numbered: bool = False) -> list[bytes]:
    """Audio packets, the last one marked as such."""
    pieces = [pcm[at : at + size] for at in range(0, len(pcm), size)] or [b""]
    frames = []
    for number, piece in enumerate(pieces, 2):
        last = number == len(pieces) + 1
        flags = (Flags.LAST_SEQUENCE if last else Flags.SEQUENCE) if numbered else Flags.LAST if last else Flags.NONE
        sequence = (-number if last else number) if numbered else None
        frames.append(encode(Frame(Type.AUDIO_REQUEST, flags, Serialization.RAW, Compression.GZIP, piece, sequence)))
    return frames


async def answers(ws: ClientConnection, messages: Sequence[bytes | str]) -> list[Frame]:
    """All frames that come back until the vendor closes."""
    for message in messages:
        await ws.send(message)
    return [decode(message) async for message in ws if isinstance(message, bytes)]


def result(frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(frame.payload)
    return found


# -- recognition --


@pytest.mark.parametrize("numbered", [False, True])
async def test_a_reply_for_each_packet(sandbox: app.Running, numbered: bool) -> None:
    sent = packets(speak(TEXT, 16000), 3200, numbered)
    async with dial(sandbox, ASR, ASR_HEADERS) as ws:
        assert ws.response is not None
        assert ws.response.headers["X-Api-Connect-Id"] == "c-1"
        assert ws.response.headers["X-Tt-Logid"]
        got = await answers(ws, [full(CONFIG, number=1 if numbered else None), *sent])
    assert len(got) == 1 + len(sent)
    assert [frame.sequence for frame in got] == [*range(1, len(got)), -len(got)]
    assert {frame.compression for frame in got} == {Compression.GZIP}
    assert [frame.last for frame in got] == [False] * len(sent) + [True]
    final = result(got[-1])
    assert final["result"]["text"] == TEXT
    assert final["audio_info"]["duration"] == len(TEXT) * 40
    sentences = [(utterance["text"], utterance["definite"]) for utterance in final["result"]["utterances"]]
    assert sentences == [("纸船漂走了。", True), ("再见。", True)]
    texts = [result(frame)["result"]["text"] for frame in got]
    assert all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:], strict=False))
    assert ws.close_code == 1000


async def test_async_replies_on_change_only(sandbox: app.Running) -> None:
    sent = packets(speak("纸船。", 16000) + bytes(32000), 3200)
    async with dial(sandbox, ASR + "_async", ASR_HEADERS) as ws:
        got = await answers(ws, [full(CONFIG), *sent])
    texts = [result(frame)["result"]["text"] for frame in got]
    assert texts == ["", "纸船", "纸船。", "纸船。"]


async def test_nostream_replies_at_15_seconds_and_at_the_end(sandbox: app.Running) -> None:
    config = merged(CONFIG, {"audio": {"language": "zh-CN"}})
    sent = packets(speak("再见。", 16000) + bytes(16 * 32000), 32000)
    async with dial(sandbox, ASR + "_nostream", ASR_HEADERS) as ws:
        got = await answers(ws, [full(config), *sent])
    assert [result(frame)["audio_info"]["duration"] // 1000 for frame in got] == [0, 15, 16]


async def test_the_recorded_session_goes_as_recorded(sandbox: app.Running) -> None:
    """The recording is of foreign sound: all but the words must be equal."""
    lines = [json.loads(line) for line in (MEDIA / "asr_sauc_session.jsonl").read_text("utf-8").splitlines()]
    up, down = ([bytes.fromhex(line["hex"]) for line in lines if line["dir"] == side] for side in ("up", "down"))
    async with dial(sandbox, ASR, ASR_HEADERS) as ws:
        got = await answers(ws, up)
    for mine, recorded in zip(got, map(decode, down), strict=True):
        assert replace(mine, payload=b"") == replace(recorded, payload=b"")
        assert result(mine)["audio_info"] == result(recorded)["audio_info"]
        assert result(mine).keys() == result(recorded).keys()


async def test_replies_follow_the_clients_compression_and_result_type(sandbox: app.Running) -> None:
    config = merged(CONFIG, {"request": {"result_type": "single", "show_utterances": False}})
    async with dial(sandbox, ASR, ASR_HEADERS) as ws:
        got = await answers(ws, [full(config, Compression.NONE), *packets(speak(TEXT, 16000), 1 << 20)])
    assert {frame.compression for frame in got} == {Compression.NONE}
    assert result(got[-1])["result"] == {"text": "再见。"}


async def test_wav_is_heard(sandbox: app.Running) -> None:
    from gateway.sandbox.ws_containers import encode as sound

    config = merged(CONFIG, {"audio": {"format": "wav"}})
    async with dial(sandbox, ASR, ASR_HEADERS) as ws:
        got = await answers(ws, [full(config), *packets(sound(TEXT, "", "wav", 16000))])
    assert result(got[-1])["result"]["text"] == TEXT


async def test_no_usage(sandbox: app.Running) -> None:
    async with dial(sandbox, ASR + "?x-sandbox-no_usage=1", ASR_HEADERS) as ws:
        got = await answers(ws, [full(CONFIG), *packets(speak("好", 16000))])
    assert all("audio_info" not in result(frame) for frame in got)


ONE: list[bytes | str] = [*packets(speak("好", 16000))]
NO_GZIP = encode(Frame(Type.FULL_REQUEST, payload=json.dumps(CONFIG).encode()))
BROKEN: list[tuple[str, list[bytes | str], int]] = [
    ("text", ["hello"], 45000001),
    ("no frame", [b"\x00\x01"], 45000001),
    ("audio first", ONE, 45000001),
    ("not JSON", [encode(Frame(Type.FULL_REQUEST, payload=b"{"))], 45000001),
    ("nested", [encode(Frame(Type.FULL_REQUEST, payload=b'{"a":' * 100000))], 45000001),
    ("serialization", [encode(Frame(Type.FULL_REQUEST, 0, Serialization.THRIFT, payload=b"{}"))], 45000001),
    ("gzip promised", [NO_GZIP[:2] + b"\x11" + NO_GZIP[3:]], 45000001),
    ("first is number 2", [full(CONFIG, number=2)], 45000001),
    ("a number is left out", [full(CONFIG, number=1), packets(bytes(9000), 1000, numbered=True)[1]], 45000001),
    ("twice", [full(CONFIG), full(CONFIG)], 45000001),
    ("24 kHz", [full(merged(CONFIG, {"audio": {"rate": 24000}}))], 45000001),
    ("stereo", [full(merged(CONFIG, {"audio": {"channel": 2}}))], 45000001),
    ("model", [full(merged(CONFIG, {"request": {"model_name": "small"}}))], 45000001),
    ("type", [full(merged(CONFIG, {"request": {"show_utterances": "yes"}}))], 45000001),
    ("language", [full(merged(CONFIG, {"audio": {"language": "zh-CN"}}))], 45000001),
    ("enable_nonstream", [full(merged(CONFIG, {"request": {"enable_nonstream": True}}))], 45000001),
    ("empty", [full(CONFIG), *packets(b"")], 45000002),
    ("not the form", [full(merged(CONFIG, {"audio": {"format": "wav"}})), *ONE], 45000151),
    ("JSON audio", [full(CONFIG), encode(Frame(Type.AUDIO_REQUEST, payload=b"abcd"))], 45000001),
]


@pytest.mark.parametrize(("messages", "code"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_recognition_refuses(sandbox: app.Running, messages: list[bytes | str], code: int) -> None:
    async with dial(sandbox, ASR, ASR_HEADERS) as ws:
        got = await answers(ws, messages)
    assert (got[-1].type, got[-1].code, got[-1].flags) == (Type.ERROR, code, 0)
    assert json.loads(got[-1].payload)["error"]


async def test_a_packet_that_does_not_come(sandbox: app.Running) -> None:
    async with dial(sandbox, ASR + "?x-sandbox-timeout=50", ASR_HEADERS) as ws:
        got = await answers(ws, [full(CONFIG)])
    assert [frame.code for frame in got] == [None, 45000081]


@pytest.mark.parametrize(
    ("path", "change", "status", "code"),
    [
        (ASR, {"X-Api-Key": ""}, 401, 45000010),
        (ASR, {"X-Api-Key": "a-bad-key"}, 401, 45000010),
        (ASR, {"X-Api-Key": "", "X-Api-App-Key": "only"}, 401, 45000010),
        (ASR, {"X-Api-Connect-Id": ""}, 400, 45000001),
        (ASR, {"X-Api-Resource-Id": ""}, 400, 45000001),
        (ASR, {"X-Api-Resource-Id": "seed-tts-2.0"}, 403, 45000030),
        (TTS + "/bidirection", {"X-Api-Resource-Id": "volc.bigasr.sauc.duration"}, 403, 45000030),
        (TTS + "/unidirectional/stream", {"X-Api-Access-Key": ""}, 401, 45000010),
        (ASR + "?x-sandbox-status=503", {}, 503, 55000000),
    ],
)
async def test_handshakes_that_are_refused(
    sandbox: app.Running, path: str, change: dict[str, str], status: int, code: int
) -> None:
    headers = (ASR_HEADERS if "sauc" in path else TTS_HEADERS) | change
    with pytest.raises(InvalidStatus) as refused:
        async with dial(sandbox, path, headers):
            pass
    response = refused.value.response
    assert response.status_code == status
    assert json.loads(response.body or b"")["header"]["code"] == code
    assert response.headers["X-Tt-Logid"]


# -- synthesis --


def event(number: int, ident: str | None = None, **body: Any) -> bytes:
    payload = json.dumps(body).encode()
    return encode(Frame(Type.FULL_REQUEST, Flags.EVENT, payload=payload, event=number, id=ident))


def start(ident: str, speaker: str = SPEAKER, namespace: str = "BidirectionalTTS", **params: Any) -> bytes:
    audio = {"format": "pcm", "sample_rate": 24000, **params}
    body = {"namespace": namespace, "req_params": {"speaker": speaker, "audio_params": audio}}
    return event(Event.START_SESSION, ident, event=100, **body)


def text(ident: str, words: str) -> bytes:
    return event(Event.TASK_REQUEST, ident, req_params={"text": words})


async def take(ws: ClientConnection, until: int) -> list[Frame]:
    """Frames up to the event, with it."""
    found: list[Frame] = []
    while not found or found[-1].event != until:
        message = await ws.recv()
        assert isinstance(message, bytes)
        found.append(decode(message))
        assert found[-1].type != Type.ERROR, found[-1]
    return found


def sound(frames: list[Frame]) -> bytes:
    return b"".join(frame.payload for frame in frames if frame.event == Event.TTS_RESPONSE)


async def test_bidirection_speaks_by_the_sentence(sandbox: app.Running) -> None:
    async with dial(sandbox, TTS + "/bidirection", TTS_HEADERS) as ws:
        await ws.send(event(Event.START_CONNECTION))
        assert [(frame.event, frame.id) for frame in await take(ws, 50)] == [(50, "c-2")]
        await ws.send(start("s1"))
        assert [frame.id for frame in await take(ws, 150)] == ["s1"]
        await ws.send(text("s1", "纸船"))
        await ws.send(text("s1", "漂走了。再"))
        first = await take(ws, 351)  # comes before the session is finished
        assert [frame.event for frame in first] == [350, 352, 352, 351]
        assert result(first[0]) == {"res_params": {"text": "纸船漂走了。"}}
        await ws.send(text("s1", "见"))
        await ws.send(event(Event.FINISH_SESSION, "s1"))
        rest = await take(ws, 152)
        assert result(rest[-1]) == {"status_code": 20000000, "message": "ok", "usage": {"text_words": 8}}
        assert text_in(sound(first + rest), 24000) == "纸船漂走了。再见"
        assert {frame.type for frame in first + rest if frame.event == 352} == {Type.AUDIO_RESPONSE}
        # Another session on the same connection, the same text, the same bytes.
        for message in (start("s2"), text("s2", "纸船漂走了。再见"), event(Event.FINISH_SESSION, "s2")):
            await ws.send(message)
        assert sound(await take(ws, 152)) == sound(first + rest)
        await ws.send(event(Event.FINISH_CONNECTION))
        assert [frame.event for frame in await take(ws, 52)] == [52]
        await ws.wait_closed()
    assert ws.close_code == 1000


async def test_usage_only_when_asked_for(sandbox: app.Running) -> None:
    headers = {name: value for name, value in TTS_HEADERS.items() if not name.startswith("X-Control")}
    async with dial(sandbox, TTS + "/bidirection", headers) as ws:
        for message in (event(1), start("s1"), text("s1", "好。"), event(102, "s1")):
            await ws.send(message)
        assert "usage" not in result((await take(ws, 152))[-1])


async def test_cancel_is_answered_at_once(sandbox: app.Running) -> None:
    async with dial(sandbox, TTS + "/bidirection?x-sandbox-pace=20", TTS_HEADERS) as ws:
        for message in (event(1), start("s1"), text("s1", "好。" * 200)):
            await ws.send(message)
        await take(ws, 352)
        await ws.send(event(Event.CANCEL_SESSION, "s1"))
        frames = await take(ws, 151)
        assert len(frames) < 50
        await ws.send(start("s2"))
        assert [frame.event for frame in await take(ws, 150)] == [150]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (start("s1", speaker="no-such"), 45000000),
        (start("s1", speaker="zh_male_x_moon_bigtts"), 55000000),
        (start("s1", namespace="Other"), 45000001),
        (start("s1", format="midi"), 45000001),
        (start("s1", sample_rate=12345), 45000001),
        (start("s1", speech_rate=101), 45000001),
        (event(100, "s1", namespace="BidirectionalTTS"), 45000001),
    ],
)
async def test_a_session_that_fails_leaves_the_connection(sandbox: app.Running, message: bytes, code: int) -> None:
    async with dial(sandbox, TTS + "/bidirection", TTS_HEADERS) as ws:
        await ws.send(event(1))
        await ws.send(message)
        assert result((await take(ws, 153))[-1])["status_code"] == code
        await ws.send(start("s2"))
        assert (await take(ws, 150))[-1].id == "s2"


@pytest.mark.parametrize(
    "messages",
    [
        [b"\x11"],
        ["text"],
        [start("s1")],
        [event(1), event(1)],
        [event(1), text("s1", "no session")],
        [event(1), event(77, "s1")],
        [event(1), start("")],
        [event(1), start("s1"), start("s2")],
        [event(1), start("s1"), text("s2", "other session")],
        [event(1), start("s1"), event(102, "s1"), event(102, "s1")],
        [event(1), start("s1"), event(101, "s1"), start("s1")],
        [event(1), start("s1"), event(2)],
        [event(1), event(100, "s1", event=200, namespace="BidirectionalTTS")],
        [encode(Frame(Type.AUDIO_REQUEST, payload=b"x"))],
    ],
)
async def test_synthesis_refuses(sandbox: app.Running, messages: list[bytes | str]) -> None:
    async with dial(sandbox, TTS + "/bidirection?x-sandbox-pace=5", TTS_HEADERS) as ws:
        got = await answers(ws, messages)
    assert (got[-1].type, got[-1].code) == (Type.ERROR, 45000001)


async def test_the_script_fails_a_session(sandbox: app.Running) -> None:
    async with dial(sandbox, TTS + "/bidirection?x-sandbox-fail=4", TTS_HEADERS) as ws:
        for message in (event(1), start("s1"), text("s1", "好。" * 20)):
            await ws.send(message)
        frames = await take(ws, 153)
        assert [frame.event for frame in frames] == [50, 150, 350, 352, 153]
        assert result(frames[-1])["status_code"] == 55000000


async def test_unidirectional_stream(sandbox: app.Running) -> None:
    body = {"user": {"uid": "u"}, "req_params": {"text": TEXT, "speaker": SPEAKER, "audio_params": {"format": "mp3"}}}
    async with dial(sandbox, TTS + "/unidirectional/stream", TTS_HEADERS) as ws:
        for _ in range(2):
            await ws.send(encode(Frame(Type.FULL_REQUEST, payload=json.dumps(body).encode())))
            frames = await take(ws, 152)
            assert text_in(sound(frames)) == TEXT
            assert result(frames[-1])["usage"] == {"text_words": 9}
        await ws.send(event(2))
        assert [frame.event for frame in await take(ws, 52)] == [52]


# -- synthesis over HTTP --


def speech(words: str = TEXT, **change: Any) -> dict[str, Any]:
    return {"req_params": {"text": words, "speaker": SPEAKER, "audio_params": {"format": "pcm"}, **change}}


async def post(sandbox: app.Running, path: str, body: object, headers: dict[str, str]) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{sandbox.port}{path}", json=body, headers=headers) as response,
    ):
        return response.status, response.content_type, await response.text()


async def test_http_lines(sandbox: app.Running) -> None:
    status, _, body = await post(sandbox, TTS + "/unidirectional", speech(), TTS_HEADERS)
    lines = [json.loads(line) for line in body.splitlines()]
    assert status == 200
    assert text_in(b"".join(base64.b64decode(line["data"]) for line in lines if line["data"]), 24000) == TEXT
    assert [line["sentence"]["text"] for line in lines if "sentence" in line] == ["纸船漂走了。", "再见。"]
    assert lines[-1] == {"code": 20000000, "message": "ok", "data": None, "usage": {"text_words": 9}}
    recorded = [json.loads(line) for line in (MEDIA / "tts_volc_v3_chunked.ndjson").read_text("utf-8").splitlines()]
    shapes = {frozenset(line) for line in recorded}
    assert {frozenset(line) - {"message"} for line in lines} == {shape - {"message"} for shape in shapes}


async def test_http_sse(sandbox: app.Running) -> None:
    status, kind, body = await post(sandbox, TTS + "/unidirectional/sse", speech(), TTS_HEADERS)
    assert (status, kind) == (200, "text/event-stream")
    events = [block.splitlines() for block in body.strip().split("\n\n")]
    assert [lines[0] for lines in events[-2:]] == ["event: 351", "event: 152"]
    assert {lines[0] for lines in events} == {"event: 352", "event: 351", "event: 152"}
    assert json.loads(events[-1][1].removeprefix("data: "))["usage"] == {"text_words": 9}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (speech(speaker="no-such"), 45000000),
        (speech(speaker="zh_male_x_mars_bigtts"), 55000000),
        (speech("字" * 6000), 40402003),
        (speech(additions={"not": "a string"}), 45000001),
        ({"req_params": {}}, 45000001),
    ],
)
async def test_http_errors_come_with_200(sandbox: app.Running, body: object, code: int) -> None:
    status, _, answer = await post(sandbox, TTS + "/unidirectional", body, TTS_HEADERS)
    assert status == 200
    assert json.loads(answer)["code"] == code


async def test_http_refusals_and_directives(sandbox: app.Running) -> None:
    status, _, _ = await post(sandbox, TTS + "/unidirectional", speech(), {"X-Api-Resource-Id": "seed-tts-2.0"})
    assert status == 401
    status, _, body = await post(
        sandbox, TTS + "/unidirectional", speech(), TTS_HEADERS | {"x-sandbox-error200": "2", "x-sandbox-pace": "1"}
    )
    assert [json.loads(line)["code"] for line in body.splitlines()] == [0, 0, 55000000]


async def test_version_1(sandbox: app.Running) -> None:
    body: dict[str, Any] = {
        "app": {"appid": "a", "token": "t", "cluster": "volcano_tts"},
        "user": {"uid": "u"},
        "audio": {"voice_type": "BV001", "encoding": "mp3"},
        "request": {"reqid": "r-1", "text": TEXT, "operation": "query"},
    }
    path, headers = "/bytedance/api/v1/tts", {"Authorization": "Bearer;token"}
    status, _, answer = await post(sandbox, path, body, headers)
    value = json.loads(answer)
    assert (status, value["code"], value["reqid"], value["sequence"]) == (200, 3000, "r-1", -1)
    assert text_in(base64.b64decode(value["data"])) == TEXT
    assert value["addition"]["duration"] == str(len(TEXT) * 40)
    assert (await post(sandbox, path, body, {"Authorization": "Bearer token"}))[0] == 401
    changes: list[tuple[dict[str, Any], int]] = [
        ({"request": {"text": ""}}, 3011),
        ({"request": {"text": "字" * 400}}, 3010),
        ({"request": {"operation": "submit"}}, 3001),
        ({"audio": {"voice_type": "no-such"}}, 3050),
        ({"audio": {"speed_ratio": 9}}, 3001),
    ]
    for change, code in changes:
        _, _, answer = await post(sandbox, path, merged(body, change), headers)
        assert json.loads(answer)["code"] == code
