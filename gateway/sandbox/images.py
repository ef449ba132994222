"""Pictures, as OpenAI has them (JSON, edits as multipart, streamed partials); and files that picture URLs point to."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from gateway.sandbox import content, media
from gateway.sandbox.call import Call
from gateway.sandbox.check import ANY, BOOL, INT, STR, Field, Fields, check, known_model
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
SIZES = ("auto", "1024x1024", "1536x1024", "1024x1536")
QUALITY = ("low", "medium", "high", "auto", "xhigh", "max", "standard", "hd")
# Output tokens by quality for a picture of 1024x1024.
COST = {"low": 272, "medium": 1056, "auto": 1056, "high": 4160}
_SIDES = re.compile(r"(\d{2,5})[x*](\d{2,5})")
FIELDS: Fields = {
    "model": Field(STR),
    "prompt": Field(STR, required=True, least=1, most=32000),
    "n": Field(INT, least=1, most=10),
    "size": Field(STR),
    "quality": Field(STR, choices=QUALITY),
    "background": Field(STR, choices=("transparent", "opaque", "auto")),
    "moderation": Field(STR, choices=("low", "auto")),
    "output_format": Field(STR, choices=("png", "jpeg", "webp")),
    "output_compression": Field(INT, least=0, most=100),
    "stream": Field(BOOL),
    "partial_images": Field(INT, least=0, most=3),
    "response_format": Field(STR),
    "style": ANY,
    "user": ANY,
    "safety_identifier": ANY,
    "input_fidelity": Field(STR, choices=("high", "low")),
}


def sides(size: str, default: tuple[int, int] = (1024, 1024)) -> tuple[int, int]:
    """Width and height of `WxH` or `W*H`."""
    found = _SIDES.fullmatch(size)
    return (int(found[1]), int(found[2])) if found else default


def url(call: Call, name: str, width: int, height: int) -> str:
    """Where the sandbox serves a picture; anyone may fetch it, as from a vendor's signed link."""
    return call.url(f"/_sandbox/files/{content.digest(call.digest, name)}-{width}x{height}.png")


async def file(request: web.Request) -> web.StreamResponse:
    """A picture or a sound behind a link, made from its name."""
    name = request.match_info["name"]
    sound = re.fullmatch(r"([0-9a-f]+)-(\d{1,4})\.wav", name)
    if sound:
        return web.Response(body=media.wav(sound[1], int(sound[2])), content_type="audio/wav")
    found = re.fullmatch(r"([0-9a-f]+)-(\d{1,4})x(\d{1,4})\.png", name)
    if not found:
        raise web.HTTPNotFound
    return web.Response(body=media.png(found[1], int(found[2]), int(found[3])), content_type="image/png")


async def generations(call: Call) -> web.StreamResponse:
    check(call.body, FIELDS, strict=True)
    return await _answer(call, call.body, "image_generation", 0)


async def edits(call: Call) -> web.StreamResponse:
    if call.form is None:
        raise Refusal("invalid", "Invalid content type: expected multipart/form-data.")
    pictures = [value for name, value in call.form.get("*", []) if name in ("image", "image[]")]
    if not pictures or not all(isinstance(p, (bytes, bytearray)) and p for p in pictures):
        raise Refusal("missing", "Missing required parameter: 'image'.", "image")
    if len(pictures) > 16:
        raise Refusal(
            "value", f"Invalid 'image': array too long. Expected at most 16, but got {len(pictures)}.", "image"
        )
    body: JSON = dict(call.body)
    for name in ("n", "output_compression", "partial_images"):
        if name in body:
            body[name] = int(body[name]) if str(body[name]).isdigit() else body[name]
    if "stream" in body:
        body["stream"] = body["stream"].lower() in ("true", "1")
    check(body, FIELDS)
    return await _answer(call, body, "image_edit", len(pictures))


def _refuse(call: Call, body: JSON) -> None:
    known_model(call.base_model)
    size = body.get("size") or "auto"
    width, height = sides(size, (0, 0))
    free = call.base_model.startswith(("gpt-image-2", "gpt-image-3")) and width and not (width % 16 or height % 16)
    if size not in SIZES and not free:
        raise Refusal(
            "value",
            f"Invalid value: '{size}'. Supported values are: '1024x1024', '1024x1536', '1536x1024', and 'auto'.",
            "size",
        )
    if body.get("response_format") is not None and call.base_model.startswith("gpt-image"):
        raise Refusal("unknown", "Unknown parameter: 'response_format'.", "response_format")
    if body.get("partial_images") and not body.get("stream"):
        raise Refusal("value", "'partial_images' is only supported with 'stream'.", "partial_images")
    if call.script.filter:
        raise Refusal("filter", "Your request was rejected by the safety system.")


async def _answer(call: Call, body: JSON, kind: str, pictures: int) -> web.StreamResponse:
    _refuse(call, body)
    size = body.get("size") or "auto"
    width, height = sides(size)
    quality = body.get("quality") or "auto"
    count = body.get("n") or 1
    shown: JSON = {
        "size": f"{width}x{height}",
        "quality": "medium" if quality == "auto" else quality,
        "background": body.get("background") or "opaque",
        "output_format": "png",
    }

    def picture(number: int) -> str:
        data = media.png(f"{body['prompt']} {number}", width, height, call.script.size or 0)
        return base64.b64encode(data).decode()

    text, made = content.tokens(body["prompt"]), count * COST.get(quality, 4160)
    seen = 323 * pictures
    if call.script.zero_usage:
        text = made = seen = 0
    usage: JSON = {
        "input_tokens": text + seen,
        "output_tokens": made,
        "total_tokens": text + seen + made,
        "input_tokens_details": {"text_tokens": text, "image_tokens": seen},
    }
    if body.get("stream"):
        return await call.events(_events(call, body, kind, shown, picture, usage))
    details = {"output_tokens_details": {"text_tokens": 0, "image_tokens": made}}
    value = {"created": call.created, **shown, "data": [{"b64_json": picture(i)} for i in range(count)]}
    return await call.json(value if call.script.no_usage else {**value, "usage": {**usage, **details}})


def _events(call: Call, body: JSON, kind: str, shown: JSON, picture: Any, usage: JSON) -> Iterator[bytes]:
    def event(name: str, value: JSON) -> bytes:
        value = {"type": f"{kind}.{name}", **value, "created_at": call.created, **shown}
        return f"event: {kind}.{name}\ndata: {content.compact(value)}\n\n".encode()

    for i in range(body.get("partial_images") or 0):
        yield event("partial_image", {"b64_json": picture(i + 1), "partial_image_index": i})
    done = {"b64_json": picture(0)}
    yield event("completed", done if call.script.no_usage else {**done, "usage": usage})
