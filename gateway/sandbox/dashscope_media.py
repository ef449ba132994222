"""What DashScope's multimodal path makes besides text: speech (qwen-tts) and pictures (qwen-image)."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

from gateway.sandbox import content, images, media
from gateway.sandbox.call import Call
from gateway.sandbox.check import OBJ, STR, Field, check, known_model
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
CHUNK = 4800
PICTURES = ("qwen-image", "z-image", "wan2.6")
EXPIRES = 86400


def of(call: Call, given: JSON) -> Callable[[Call, bool], Awaitable[web.StreamResponse]] | None:
    """Who answers, by the model and the input; None where it is a chat."""
    if "tts" in call.base_model or "voice" in given:
        return speech
    return pictures if call.base_model.startswith(PICTURES) else None


def _sse(number: int, value: JSON) -> bytes:
    return f"id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{content.compact(value)}\n\n".encode()


async def speech(call: Call, streams: bool) -> web.StreamResponse:
    check(call.body, {"model": Field(STR, required=True), "input": Field(OBJ, required=True)})
    known_model(call.base_model)
    given = call.body["input"]
    check(
        given,
        {
            "text": Field(STR, required=True, least=1, most=600),
            "voice": Field(STR, required=True),
            "language_type": Field(STR),
        },
        path="input.",
    )
    text = given["text"]
    name = content.digest(call.digest, "speech")
    usage: JSON = {"characters": 0 if call.script.zero_usage else len(text)}
    counted = {} if call.script.no_usage else {"usage": usage}
    audio: JSON = {
        "id": f"audio_{call.request_id}",
        "data": "",
        "expires_at": call.created + EXPIRES,
        "url": call.url(f"/_sandbox/files/{name}-{content.tokens(text)}.wav"),
    }

    def value(part: bytes, finish: str) -> JSON:
        shown = {**audio, "data": base64.b64encode(part).decode()} if part else audio
        return {"output": {"finish_reason": finish, "audio": shown}, **counted, "request_id": call.request_id}

    if not streams:
        return await call.json(value(b"", "stop"))

    def events() -> Iterator[bytes]:
        # Raw samples, without the header that the file behind the URL has.
        sound = media.pcm(text, content.tokens(text), call.script.size or 0)
        parts = [sound[i : i + CHUNK] for i in range(0, len(sound), CHUNK)]
        for number, part in enumerate(parts, 1):
            yield _sse(number, value(part, "null"))
        yield _sse(len(parts) + 1, value(b"", "stop"))

    return await call.events(events(), kind="text/event-stream;charset=UTF-8")


async def pictures(call: Call, streams: bool) -> web.StreamResponse:
    body = call.body
    known_model(call.base_model)
    messages = body["input"].get("messages") or [{}]
    texts = [part["text"] for part in messages[-1].get("content") or [] if isinstance(part, dict) and "text" in part]
    if not texts:
        raise Refusal(
            "missing", "Required parameter(s) missing or invalid, please check the request parameters.", "messages"
        )
    parameters = body.get("parameters") or {}
    size = parameters.get("size") or "1328*1328"
    width, height = images.sides(size, (0, 0))
    if "*" not in size or not 262144 <= width * height <= 16777216:
        raise Refusal("value", f"size not match pattern (width*height): {size}", "size")
    if call.script.filter:
        raise Refusal("filter", "Input data may contain inappropriate content.")
    found = [{"image": images.url(call, str(i), width, height)} for i in range(parameters.get("n") or 1)]
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": found}}
    count = 0 if call.script.zero_usage else len(found)
    counted = {} if call.script.no_usage else {"usage": {"image_count": count, "width": width, "height": height}}
    return await call.json({"output": {"choices": [choice]}, **counted, "request_id": call.request_id})
