"""Volcengine openspeech, what its products share: handshake headers, resources, log ids, error frames."""

from __future__ import annotations

import hashlib
from collections.abc import Container

from aiohttp import web

from gateway.sandbox.openspeech_frames import Compression, Frame, Serialization, Type, encode
from gateway.sandbox.ws_session import BAD_FIELD, Connection, Fault, Json, Refused, Session, dumps

OK = 20000000
BAD_REQUEST = 45000001
NOT_GRANTED = 45000000
RESOURCE_NOT_GRANTED = 45000030
MISMATCH = 55000000
INTERNAL = 55000000
_NO_GRANT = 45000010

ASR_RESOURCES = frozenset(f"volc.{of}.sauc.{by}" for of in ("bigasr", "seedasr") for by in ("duration", "concurrent"))
# Which voices a resource may use, by the voice's name: prefix or suffix.
_SPEAKERS_2 = ("_uranus_bigtts", "saturn_")
_SPEAKERS_1 = ("_mars_bigtts", "_moon_bigtts", "BV")
_SPEAKERS_CLONED = ("S_",)
TTS_RESOURCES: dict[str, tuple[str, ...]] = {
    "seed-tts-2.0": _SPEAKERS_2,
    "seed-tts-1.0": _SPEAKERS_1,
    "seed-tts-1.0-concurr": _SPEAKERS_1,
    "volc.service_type.10029": _SPEAKERS_1,
    "volc.service_type.10048": _SPEAKERS_1,
    "seed-icl-2.0": _SPEAKERS_CLONED,
    "seed-icl-1.0": _SPEAKERS_CLONED,
    "seed-icl-1.0-concurr": _SPEAKERS_CLONED,
    "volc.megatts.default": _SPEAKERS_CLONED,
}


def authorize_asr(request: web.Request) -> None:
    _credential(request)
    _resource(request, ASR_RESOURCES)


def authorize_tts(request: web.Request) -> None:
    _credential(request)
    _resource(request, TTS_RESOURCES.keys())


def _credential(request: web.Request) -> None:
    headers = request.headers
    key = headers.get("X-Api-Key")
    app = headers.get("X-Api-App-Key") or headers.get("X-Api-App-Id")
    token = headers.get("X-Api-Access-Key")
    if not key and not (app and token):
        raise Refused(401, "authenticate request: missing X-Api-Key, or X-Api-App-Key and X-Api-Access-Key", _NO_GRANT)
    if any("bad" in part for part in (key, app, token) if part):
        raise Refused(401, "load grant: requested grant not found in SaaS storage", _NO_GRANT)
    if headers.get("X-Api-Connect-Id") == "":
        raise Refused(400, "X-Api-Connect-Id is empty", BAD_REQUEST)


def _resource(request: web.Request, known: Container[str]) -> None:
    resource = request.headers.get("X-Api-Resource-Id")
    if not resource:
        raise Refused(400, "missing X-Api-Resource-Id", BAD_REQUEST)
    if resource not in known:
        raise Refused(403, f"[resource_id={resource}] requested resource not granted", RESOURCE_NOT_GRANTED)


def refusal(refused: Refused) -> Json:
    code = refused.code or (INTERNAL if refused.status >= 500 else BAD_REQUEST)
    return {"header": {"reqid": "", "code": code, "message": refused.message}}


def log_id(request: web.Request) -> str:
    """The same for the same connect id."""
    seed = request.headers.get("X-Api-Connect-Id", "") + request.headers.get("X-Api-Request-Id", "") + request.path
    return "20260101000000" + hashlib.sha256(seed.encode()).hexdigest()[:20].upper()


def answer_headers(request: web.Request) -> dict[str, str]:
    headers = {"X-Tt-Logid": log_id(request)}
    connect_id = request.headers.get("X-Api-Connect-Id")
    return headers | ({"X-Api-Connect-Id": connect_id} if connect_id else {})


class OpenspeechSession(Session):
    """Frames up and down; a fault is an error frame and the end of the connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.compression: int = Compression.NONE

    async def on_text(self, text: str) -> None:
        raise Fault(BAD_REQUEST, "decode ws request failed: text message, binary frame expected")

    async def on_fault(self, fault: Fault) -> None:
        text = dumps({"error": fault.message})
        code = code_of(fault)
        await self.send(Frame(Type.ERROR, 0, Serialization.JSON, Compression.NONE, text.encode(), code=code))
        await self.connection.close(1000, "error frame sent")

    async def send(self, frame: Frame) -> None:
        await self.connection.send_bytes(encode(frame))


def code_of(fault: Fault) -> int:
    if fault.code == BAD_FIELD:
        return BAD_REQUEST
    return INTERNAL if fault.code is None else int(fault.code)
