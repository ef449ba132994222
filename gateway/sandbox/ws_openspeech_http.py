"""Volcengine openspeech speech synthesis over HTTP: version 3 as JSON lines and as SSE, and version 1.

Errors of version 3 come with HTTP 200 and a positive code that is not 20000000.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

from aiohttp import web

from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.openspeech_frames import Event
from gateway.sandbox.vendor import Refusal, Vendor
from gateway.sandbox.ws_containers import encode
from gateway.sandbox.ws_openspeech import INTERNAL, OK, answer_headers, authorize_tts, code_of, refusal
from gateway.sandbox.ws_openspeech_speech import (
    RATES,
    Speech,
    sentence_object,
    speech_of,
    text_of,
    usage_wanted,
    words,
)
from gateway.sandbox.ws_session import Fault, Json, Refused, dumps, get
from gateway.sandbox.ws_voice import CHAR_MS, sentences

IDS = ("bytedance",)
_V1_OK, _V1_BAD, _V1_TOO_LONG, _V1_BAD_TEXT, _V1_NO_VOICE = 3000, 3001, 3010, 3011, 3050
_V1_MAX_BYTES = 1024
_V1_FORMS = ("mp3", "wav", "pcm", "ogg_opus")
Item = tuple[Event, Json]


def _auth(request: web.Request) -> None:
    try:
        authorize_tts(request)
    except Refused as refused:
        raise Refusal("auth", refused.message, str(refused.code), refused.status) from refused


def _auth_v1(request: web.Request) -> None:
    """`Bearer;TOKEN`: with a semicolon."""
    scheme, _, token = request.headers.get("Authorization", "").partition(";")
    if scheme != "Bearer" or not token or "bad" in token:
        raise Refusal("auth", "authenticate request: load grant: requested grant not found", "3001", 401)


def _render(problem: Refusal, request_id: str) -> tuple[int, Json]:
    status = problem.status or 400
    code = int(problem.param) if problem.param and problem.param.isdigit() else ""
    return status, refusal(Refused(status, problem.message, code))


def _render_v1(problem: Refusal, request_id: str) -> tuple[int, Json]:
    return problem.status or 400, {"reqid": request_id, "code": _V1_BAD, "message": problem.message}


def _headers(request_id: str) -> dict[str, str]:
    return {"X-Tt-Logid": request_id}


_V3 = Vendor("bytedance", _auth, _render, _headers)
_V1 = Vendor("bytedance", _auth_v1, _render_v1, _headers)


async def _unidirectional(call: Call) -> web.StreamResponse:
    return await _speak(call, "application/json", lambda item: dumps(item[1]).encode() + b"\n")


async def _unidirectional_sse(call: Call) -> web.StreamResponse:
    return await _speak(call, "text/event-stream", _sse)


def _sse(item: Item) -> bytes:
    return f"event: {int(item[0])}\ndata: {dumps(item[1])}\n\n".encode()


async def _speak(call: Call, kind: str, render: Callable[[Item], bytes]) -> web.StreamResponse:
    try:
        text, speech = text_of(call.body), speech_of(call.body, call.request.headers["X-Api-Resource-Id"])
        items = _items(call, text, speech)
    except Fault as fault:
        items = iter([_error(code_of(fault), fault.message)])
    return await call.events(map(render, items), kind, b"", **answer_headers(call.request))


def _items(call: Call, text: str, speech: Speech) -> Iterator[Item]:
    script = call.script
    spoken = _spoken(text, speech)
    if script.error200 is not None:
        for _, item in zip(range(script.error200), spoken, strict=False):
            yield item
        yield _error(INTERNAL, "the sandbox was told to fail")
        return
    yield from spoken
    end: Json = {"code": OK, "message": "ok", "data": None}
    if usage_wanted(call.request.headers, script.no_usage):
        end["usage"] = {"text_words": 0 if script.zero_usage else words(text)}
    yield Event.SESSION_FINISHED, end


def _spoken(text: str, speech: Speech) -> Iterator[Item]:
    said = 0
    for sentence in sentences(text):
        for piece in speech.pieces(sentence):
            yield Event.TTS_RESPONSE, {"code": 0, "message": "", "data": base64.b64encode(piece).decode()}
        timed = sentence_object(sentence, said * CHAR_MS)
        said += len(sentence)
        yield Event.SENTENCE_END, {"code": 0, "message": "", "data": None, "sentence": timed}


def _error(code: int, message: str) -> Item:
    return Event.SESSION_FAILED, {"code": code, "message": message, "data": None}


async def _v1(call: Call) -> web.StreamResponse:
    try:
        value = _v1_answer(call.body)
    except Fault as fault:
        code = fault.code if isinstance(fault.code, int) else _V1_BAD
        reqid = call.body.get("request", {}).get("reqid", "") if isinstance(call.body.get("request"), dict) else ""
        return await call.json({"reqid": reqid, "code": code, "message": fault.message, "operation": "query"}, 400)
    return await call.json(value)


def _v1_answer(body: Json) -> Json:
    get(body, "app.appid", str)
    get(body, "app.token", str)
    get(body, "app.cluster", str, among=("volcano_tts", "volcano_icl", "volcano_mega"))
    get(body, "user.uid", str)
    get(body, "request.operation", str, among=("query",))
    reqid, text = get(body, "request.reqid", str), get(body, "request.text", str)
    voice = get(body, "audio.voice_type", str)
    form = get(body, "audio.encoding", str, "pcm", among=_V1_FORMS)
    rate = get(body, "audio.rate", int, 24000, among=RATES)
    if not 0.2 <= get(body, "audio.speed_ratio", float, 1.0) <= 3:
        raise Fault(_V1_BAD, "speed_ratio is 0.2 to 3")
    if "no-such" in voice:
        raise Fault(_V1_NO_VOICE, f"voice type {voice} does not exist")
    if not text.strip():
        raise Fault(_V1_BAD_TEXT, "text is empty")
    if len(text.encode()) > _V1_MAX_BYTES:
        raise Fault(_V1_TOO_LONG, "text too long")
    return {
        "reqid": reqid,
        "code": _V1_OK,
        "operation": "query",
        "message": "Success",
        "sequence": -1,
        "data": base64.b64encode(encode(text, voice, form, rate)).decode(),
        "addition": {"duration": str(len(text) * CHAR_MS)},
    }


def routes(prefix: str) -> list[web.RouteDef]:
    return [
        web.post(f"{prefix}/api/v3/tts/unidirectional", endpoint(_V3, _unidirectional)),
        web.post(f"{prefix}/api/v3/tts/unidirectional/sse", endpoint(_V3, _unidirectional_sse)),
        web.post(f"{prefix}/api/v1/tts", endpoint(_V1, _v1)),
    ]
