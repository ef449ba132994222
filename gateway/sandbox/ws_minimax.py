"""MiniMax speech synthesis (T2A v2): over WebSocket by the sentence, over HTTP whole or as SSE. Audio is hex.

Errors come inside HTTP 200 as `base_resp.status_code`, over WebSocket as `task_failed`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from aiohttp import web

from gateway.sandbox import content
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.script import split_model
from gateway.sandbox.vendor import Refusal, Vendor
from gateway.sandbox.ws_containers import encode
from gateway.sandbox.ws_session import Connection, Endpoint, Fault, Json, Refused, Session, bearer, dumps, get, loads
from gateway.sandbox.ws_voice import CHAR_MS

IDS = ("minimax",)
TIMEOUT, RATE, AUTH, SENSITIVE, TOO_LONG, PARAMS, NO_KEY = 1001, 1002, 1004, 1026, 1039, 2013, 2049
MAX_TEXT = 10000
_PIECE = 8192
_RATES = (8000, 16000, 22050, 24000, 32000, 44100)
_STATUS = {401: AUTH, 408: TIMEOUT, 429: RATE}
_SUCCESS = {"status_code": 0, "status_msg": "success"}


@dataclass(frozen=True)
class Voice:
    """A checked request without its text."""

    model: str
    voice: str
    form: str
    rate: int
    bitrate: int

    def sound(self, text: str) -> bytes:
        return encode(text, self.voice, self.form, self.rate)

    def extra_info(self, text: str, size: int) -> Json:
        return {
            "audio_length": len(text) * CHAR_MS,
            "audio_sample_rate": self.rate,
            "audio_size": size,
            "bitrate": self.bitrate,
            "word_count": content.tokens(text),
            "usage_characters": characters(text),
            "audio_format": self.form,
            "audio_channel": 1,
        }


def characters(text: str) -> int:
    """What is billed: a character beyond Latin-1 counts twice."""
    return sum(2 if ord(char) > 0xFF else 1 for char in text)


def voice_of(body: Json, stream: bool) -> Voice:
    model = split_model(get(body, "model", str))[0]
    if not model.startswith("speech-") or "no-such" in model:
        raise Fault(PARAMS, f"invalid params, model: {model!r} is not supported")
    form = get(body, "audio_setting.format", str, "mp3", among=("mp3", "pcm", "flac", "wav"))
    if form == "wav" and stream:
        raise Fault(PARAMS, "invalid params, wav is not supported in streaming")
    voice = get(body, "voice_setting.voice_id", str)
    if "no-such" in voice:
        raise Fault(PARAMS, f"invalid params, voice_id: {voice!r} does not exist")
    for name, low, high, default in (("speed", 0.5, 2, 1.0), ("vol", 0, 10, 1.0), ("pitch", -12, 12, 0.0)):
        if not low <= get(body, f"voice_setting.{name}", float, default) <= high:
            raise Fault(PARAMS, f"invalid params, {name} is {low} to {high}")
    get(body, "audio_setting.channel", int, 1, among=(1,))
    rate = get(body, "audio_setting.sample_rate", int, 32000, among=_RATES)
    return Voice(model, voice, form, rate, get(body, "audio_setting.bitrate", int, 128000))


def text_of(body: Json) -> str:
    text = get(body, "text", str)
    if not text.strip():
        raise Fault(PARAMS, "invalid params, text is empty")
    if len(text) > MAX_TEXT:
        raise Fault(TOO_LONG, "token limit exceeded")
    return text


def base_resp(fault: Fault) -> Json:
    code = fault.code if isinstance(fault.code, int) else 1000 if fault.code is None else PARAMS
    return {"status_code": code, "status_msg": fault.message}


def _authorize(request: web.Request) -> None:
    if not bearer(request):
        raise Refused(401, "login fail: Please carry the API secret key in the 'Authorization' field", AUTH)


def _refusal(refused: Refused) -> Json:
    code = refused.code or _STATUS.get(refused.status, 1000)
    return {"base_resp": {"status_code": code, "status_msg": refused.message}}


class T2aSession(Session):
    """`task_start`, then texts, then `task_finish`; each text is answered in pieces, the last with `is_final`."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.voice: Voice | None = None
        self.id = content.digest("t2a", connection.number, length=32)

    async def begin(self) -> None:
        await self._tell("connected_success")

    async def on_text(self, text: str) -> None:
        try:
            body = loads(text)
        except ValueError as exc:
            raise Fault(PARAMS, f"invalid params, {exc}") from exc
        event = get(body, "event", str, "")
        if event not in _EVENTS:
            raise Fault(PARAMS, f"invalid params, unknown event {event!r}")
        await _EVENTS[event](self, body)

    async def on_binary(self, data: bytes) -> None:
        raise Fault(PARAMS, "invalid params, text messages only")

    async def on_fault(self, fault: Fault) -> None:
        await self._tell("task_failed", base_resp=base_resp(fault))
        await self.connection.close(1000, "task failed")

    async def _start(self, body: Json) -> None:
        if self.voice:
            raise Fault(PARAMS, "invalid params, the task was already started")
        self.voice = voice_of(body, stream=True)
        await self._tell("task_started")

    async def _continue(self, body: Json) -> None:
        if not self.voice:
            raise Fault(PARAMS, "invalid params, task_continue before task_start")
        text = text_of(body)
        data = self.voice.sound(text)
        pieces = [data[i : i + _PIECE] for i in range(0, len(data), _PIECE)]
        for number, piece in enumerate(pieces, 1):
            final = number == len(pieces)
            extra = {"extra_info": self.voice.extra_info(text, len(data))} if final else {}
            if final and self.connection.script.no_usage:
                del extra["extra_info"]["usage_characters"]
            await self._tell("task_continued", data={"audio": piece.hex()}, is_final=final, **extra)

    async def _finish(self, body: Json) -> None:
        if not self.voice:
            raise Fault(PARAMS, "invalid params, task_finish before task_start")
        await self._tell("task_finished")
        await self.connection.close()

    async def _tell(self, event: str, **more: object) -> None:
        head = {"event": event, "session_id": self.id, "trace_id": content.digest("trace", self.id, length=32)}
        await self.connection.send_json({**head, "base_resp": _SUCCESS, **more})


_EVENTS: dict[str, Callable[[T2aSession, Json], Awaitable[None]]] = {
    "task_start": T2aSession._start,
    "task_continue": T2aSession._continue,
    "task_finish": T2aSession._finish,
}


def _auth_http(request: web.Request) -> None:
    try:
        _authorize(request)
    except Refused as refused:
        raise Refusal("auth", refused.message) from refused


def _render(problem: Refusal, request_id: str) -> tuple[int, Json]:
    """HTTP 200 whatever happened, unless the script wants a status."""
    code = _STATUS.get(problem.status or 0, AUTH if problem.kind in ("auth", "no_key") else PARAMS)
    value = {"base_resp": {"status_code": code, "status_msg": problem.message}, "trace_id": request_id}
    return problem.status or 200, value


_VENDOR = Vendor("minimax", _auth_http, _render, lambda request_id: {"Trace-Id": request_id})


async def _http(call: Call) -> web.StreamResponse:
    body, script = call.body, call.script
    try:
        stream = get(body, "stream", bool, False)
        voice, text = voice_of(body, stream), text_of(body)
        form = get(body, "output_format", str, "hex", among=("hex", "url"))
        alone = get(body, "stream_options.exclude_aggregated_audio", bool, False)
        if form == "url":
            raise Fault(PARAMS, "invalid params, the simulated vendor has no output_format url")
        if script.filter:
            raise Fault(SENSITIVE, "input new_sensitive")
        if script.error200 is not None and not stream:
            raise Fault(None, "unknown error")
    except Fault as fault:
        return await call.json({"base_resp": base_resp(fault), "trace_id": call.request_id})
    data = voice.sound(text)
    last = _last(call, voice, text, data)
    if not stream:
        last["data"]["audio"] = data.hex()
        return await call.json(last)
    if not alone:
        last["data"]["audio"] = data.hex()
    return await call.events(_events(call, data, last))


def _last(call: Call, voice: Voice, text: str, data: bytes) -> Json:
    extra = voice.extra_info(text, len(data))
    if call.script.zero_usage:
        extra["usage_characters"] = 0
    if call.script.no_usage:
        del extra["usage_characters"]
    return {
        "data": {"audio": "", "status": 2},
        "extra_info": extra,
        "trace_id": call.request_id,
        "base_resp": _SUCCESS,
    }


def _events(call: Call, data: bytes, last: Json) -> Iterator[bytes]:
    pieces = range(0, len(data), _PIECE)
    for number, at in enumerate(pieces):
        if number == call.script.error200:
            yield _sse({"base_resp": base_resp(Fault(None, "unknown error")), "trace_id": call.request_id})
            return
        piece = {"audio": data[at : at + _PIECE].hex(), "status": 1}
        yield _sse({"data": piece, "trace_id": call.request_id, "base_resp": _SUCCESS})
    yield _sse(last)


def _sse(value: Json) -> bytes:
    return f"data: {dumps(value)}\n\n".encode()


def routes(prefix: str) -> list[web.RouteDef]:
    return [
        web.get(f"{prefix}/ws/v1/t2a_v2", Endpoint(T2aSession, _authorize, _refusal).handle),
        web.post(f"{prefix}/v1/t2a_v2", endpoint(_VENDOR, _http)),
    ]
