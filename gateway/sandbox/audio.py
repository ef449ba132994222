"""Speech out and in, as OpenAI has it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from gateway.sandbox import content, media
from gateway.sandbox.call import Call
from gateway.sandbox.chat import sse
from gateway.sandbox.check import NUM, STR, Field, Fields, check, known_model
from gateway.sandbox.vendor import Refusal

CHUNK = 4096
AUDIO_TOKENS_PER_SECOND = 10
SPEECH: Fields = {
    "model": Field(STR, required=True),
    "input": Field(STR, required=True, least=1, most=4096),
    "voice": Field((str, dict), required=True),
    "response_format": Field(STR, choices=("mp3", "opus", "aac", "flac", "wav", "pcm")),
    "speed": Field(NUM, least=0.25, most=4.0),
    "instructions": Field(STR),
    "stream_format": Field(STR, choices=("audio", "sse")),
}
FORMATS: dict[str, tuple[str, Callable[[str, int, int], bytes]]] = {
    "mp3": ("audio/mpeg", media.mp3),
    "wav": ("audio/wav", media.wav),
    "pcm": ("audio/pcm", media.pcm),
}


async def speech(call: Call) -> web.StreamResponse:
    body = call.body
    check(body, SPEECH, strict=True)
    known_model(call.base_model)
    form = body.get("response_format") or "mp3"
    if form not in FORMATS:
        raise Refusal("value", f"The simulated vendor makes {', '.join(FORMATS)}, not {form}.", "response_format")
    text = body["input"]
    kind, make = FORMATS[form]
    words = content.tokens(text)
    data = make(text, words, call.script.size or 0)
    parts = [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)]
    if body.get("stream_format") != "sse":
        return await call.events(parts, kind)
    if call.base_model.startswith("tts-1"):
        raise Refusal("value", "stream_format 'sse' is not supported for tts-1 or tts-1-hd.", "stream_format")

    def events() -> Iterator[bytes]:
        for part in parts:
            yield sse({"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()})
        spoken = 0 if call.script.zero_usage else int(media.seconds(data) * AUDIO_TOKENS_PER_SECOND)
        read = 0 if call.script.zero_usage else words
        usage = {"input_tokens": read, "output_tokens": spoken, "total_tokens": read + spoken}
        yield sse({"type": "speech.audio.done", **({} if call.script.no_usage else {"usage": usage})})

    return await call.events(events())


def _tokens(call: Call, sound: bytes, text: str) -> dict[str, Any]:
    heard = 0 if call.script.zero_usage else max(int(media.seconds(sound) * AUDIO_TOKENS_PER_SECOND), 1)
    said = 0 if call.script.zero_usage else content.tokens(text)
    return {
        "type": "tokens",
        "input_tokens": heard,
        "output_tokens": said,
        "total_tokens": heard + said,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
    }


def _clock(seconds: float, comma: str) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{comma}{int(seconds * 1000) % 1000:03}"


async def transcriptions(call: Call) -> web.StreamResponse:
    form = call.form
    if form is None:
        raise Refusal("invalid", "Invalid content type: expected multipart/form-data.")
    if not isinstance(form.get("file"), (bytes, bytearray)):
        raise Refusal("missing", "Missing required parameter: 'file'.", "file")
    check(
        call.body,
        {
            "model": Field(STR, required=True),
            "response_format": Field(STR, choices=("json", "text", "srt", "verbose_json", "vtt", "diarized_json")),
        },
    )
    known_model(call.base_model)
    sound = bytes(form["file"])
    if not sound:
        raise Refusal("value", "Audio file might be corrupted or unsupported", "file")
    text = media.heard(sound)
    if call.script.size is not None:
        text = content.resize(text, call.script.size)
    whisper = call.base_model.startswith("whisper")
    usage = {"type": "duration", "seconds": -int(-media.seconds(sound) // 1)} if whisper else _tokens(call, sound, text)
    if call.body.get("stream") in ("true", "1", "True") and not whisper:
        return await call.events(_transcript_events(call, text, usage), tail=b"data: [DONE]\n\n")
    return await _transcript(call, call.body.get("response_format") or "json", sound, text, usage)


def _transcript_events(call: Call, text: str, usage: dict[str, Any]) -> Iterator[bytes]:
    for piece in content.pieces(text):
        yield sse({"type": "transcript.text.delta", "delta": piece})
    yield sse({"type": "transcript.text.done", "text": text, **({} if call.script.no_usage else {"usage": usage})})


async def _transcript(call: Call, form: str, sound: bytes, text: str, usage: dict[str, Any]) -> web.StreamResponse:
    length = media.seconds(sound)
    if form in ("text", "srt", "vtt"):
        times = [f"{_clock(0, mark)} --> {_clock(length, mark)}" for mark in ",."]
        whole = {"text": f"{text}\n", "srt": f"1\n{times[0]}\n{text}\n\n", "vtt": f"WEBVTT\n\n{times[1]}\n{text}\n\n"}[
            form
        ]
        return await call.blob(whole.encode(), "text/plain; charset=utf-8")
    segment: dict[str, Any] = {"id": 0, "start": 0.0, "end": length, "text": text}
    seconds = {"type": "duration", "seconds": -int(-length // 1)}
    value: dict[str, Any] = {"text": text, "usage": usage}
    if form == "verbose_json":
        segment |= {
            "seek": 0,
            "tokens": [],
            "temperature": 0.0,
            "avg_logprob": -0.1,
            "compression_ratio": 1.0,
            "no_speech_prob": 0.0,
        }
        value = {
            "task": "transcribe",
            "language": "english",
            "duration": length,
            "text": text,
            "segments": [segment],
            "usage": seconds,
        }
    elif form == "diarized_json":
        value = {
            "task": "transcribe",
            "duration": length,
            "text": text,
            "usage": seconds,
            "segments": [segment | {"type": "transcript.text.segment", "id": "seg_0", "speaker": "A"}],
        }
    if call.script.no_usage:
        del value["usage"]
    return await call.json(value)
