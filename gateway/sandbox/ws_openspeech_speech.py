"""Volcengine openspeech: a speech request of version 3, checked, whichever way it came."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.sandbox.ws_containers import encode
from gateway.sandbox.ws_openspeech import BAD_REQUEST, MISMATCH, NOT_GRANTED, TTS_RESOURCES
from gateway.sandbox.ws_session import Fault, Json, get
from gateway.sandbox.ws_voice import CHAR_MS

FORMS = ("mp3", "ogg_opus", "pcm", "wav")
RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
PIECE_MS = 200
TEXT_TOO_LONG = 40402003
MAX_TEXT = 5000
# Without this header the vendor counts nothing.
USAGE_HEADER = "X-Control-Require-Usage-Tokens-Return"
_USAGE_KINDS = ("*", "text_words")


@dataclass(frozen=True)
class Speech:
    """How to speak. `pieces` cuts a sentence as the vendor sends it."""

    speaker: str
    form: str
    rate: int

    def pieces(self, text: str) -> list[bytes]:
        data = encode(text, self.speaker, self.form, self.rate)
        size = 2 * self.rate * PIECE_MS // 1000
        return [data[i : i + size] for i in range(0, len(data), size)]


def speech_of(body: Json, resource: str) -> Speech:
    """Reads `req_params`; raises Fault for what the vendor refuses."""
    speaker = get(body, "req_params.speaker", str)
    if "no-such" in speaker or not speaker:
        raise Fault(NOT_GRANTED, "speaker permission denied: get resource id: access denied")
    if not any(speaker.startswith(mark) or speaker.endswith(mark) for mark in TTS_RESOURCES[resource]):
        raise Fault(MISMATCH, "resource ID is mismatched with speaker related resource")
    form = get(body, "req_params.audio_params.format", str, "mp3", among=FORMS)
    rate = get(body, "req_params.audio_params.sample_rate", int, 24000, among=RATES)
    for percent in ("speech_rate", "loudness_rate"):
        get(body, f"req_params.audio_params.{percent}", int, 0, among=range(-50, 101))
    additions = get(body, "req_params.additions", str, "{}")
    try:
        if not isinstance(json.loads(additions), dict):
            raise ValueError("not an object")
    except ValueError as exc:
        raise Fault(BAD_REQUEST, f"'req_params.additions' must be a JSON string: {exc}", "additions") from exc
    return Speech(speaker, form, rate)


def text_of(body: Json) -> str:
    text = get(body, "req_params.text", str)
    if len(text) > MAX_TEXT:
        raise Fault(TEXT_TOO_LONG, "text exceeds the limit")
    return text


def words(text: str) -> int:
    """What is billed: characters that are not space."""
    return sum(not char.isspace() for char in text)


def usage_wanted(headers: Mapping[str, str], no_usage: bool) -> bool:
    return headers.get(USAGE_HEADER) in _USAGE_KINDS and not no_usage


def sentence_object(text: str, begin_ms: int = 0) -> Json:
    """The sentence with the times of its words, in seconds."""
    timed = [
        {"word": char, "startTime": (begin_ms + i * CHAR_MS) / 1000, "endTime": (begin_ms + (i + 1) * CHAR_MS) / 1000,
         "confidence": 0.9}
        for i, char in enumerate(text)
    ]  # fmt: skip
    return {"phonemes": [], "text": text, "words": timed}
