"""Seedream: synchronous pictures by URL or base64, batches with single failures, and a stream of its own events."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from aiohttp import web

from gateway.sandbox import content, images, media
from gateway.sandbox.call import Call
from gateway.sandbox.chat import DONE, JSON
from gateway.sandbox.check import ANY, BOOL, INT, NUM, OBJ, STR, Field, Fields, check, known_model
from gateway.sandbox.vendor import Refusal

FIELDS: Fields = {
    "model": Field(STR, required=True),
    "prompt": Field(STR, required=True, least=1),
    "image": Field((str, list)),
    "size": Field(STR),
    "response_format": Field(STR, choices=("url", "b64_json")),
    "watermark": Field(BOOL),
    "stream": Field(BOOL),
    "seed": Field(INT),
    "guidance_scale": Field(NUM, least=1, most=10),
    "sequential_image_generation": Field(STR, choices=("auto", "disabled")),
    "sequential_image_generation_options": Field(OBJ),
    "optimize_prompt_options": ANY,
    "tools": ANY,
    "output_format": Field(STR, choices=("png", "jpeg")),
}
# Fewest and most pixels by model.
PIXELS = (
    (re.compile(r"seedream-5-0-pro"), 921600, 4194304),
    (re.compile(r"seedream-4-5|seedream-5-0"), 3686400, 16777216),
    (re.compile(r"seedream"), 921600, 16777216),
)
TIERS = {"1K": (1024, 1024), "2K": (2048, 2048), "4K": (4096, 4096)}


def _sides(call: Call) -> tuple[int, int]:
    size = call.body.get("size") or "2K"
    if size in TIERS:
        return TIERS[size]
    width, height = images.sides(size, (0, 0))
    least, most = next(((low, high) for name, low, high in PIXELS if name.search(call.base_model)), (1, 16777216))
    if "*" in size or not width or not height:
        raise Refusal("value", f"The parameter `size` specified in the request is not valid: {size}.", "size")
    if not least <= width * height <= most:
        raise Refusal(
            "value",
            "The parameter `size` specified in the request is not valid: image size must be "
            f"{'at least ' + str(least) if width * height < least else 'at most ' + str(most)} pixels.",
            "size",
        )
    if not 1 / 16 <= width / height <= 16:
        raise Refusal("value", "The parameter `size` specified in the request is not valid: aspect ratio.", "size")
    return width, height


async def generations(call: Call) -> web.StreamResponse:
    body = call.body
    check(body, FIELDS)
    known_model(call.base_model)
    if not re.fullmatch(r"ep-.+|.+-\d{6}", call.base_model):
        raise Refusal(
            "model", f"The model or endpoint {call.base_model} does not exist or you do not have access to it."
        )
    if body.get("stream") and "seedream-5-0-pro" in call.base_model:
        raise Refusal("value", "The parameter `stream` is not supported by the current model.", "stream")
    if isinstance(body.get("image"), list) and len(body["image"]) > 14:
        raise Refusal("value", "The parameter `image` specified in the request is not valid: at most 14.", "image")
    width, height = _sides(call)
    if call.script.filter == "before":
        raise Refusal("filter", "The request failed because the input text may contain sensitive information.")
    options = body.get("sequential_image_generation_options") or {}
    many = body.get("sequential_image_generation") == "auto"
    items = [_item(call, i, width, height) for i in range(options.get("max_images", 15) if many else 1)]
    if call.script.filter == "after":
        # One of a batch is refused; a single picture is an error as a whole.
        items[-1] = {
            "error": {
                "code": "OutputImageSensitiveContentDetected",
                "message": "The output image may contain sensitive information.",
            }
        }
        if len(items) == 1:
            raise Refusal("filter", items[0]["error"]["message"])
    good = sum("error" not in item for item in items)
    tokens = 0 if call.script.zero_usage else good * (width * height // 256)
    usage = {"generated_images": 0 if call.script.zero_usage else good, "output_tokens": tokens, "total_tokens": tokens}
    counted: JSON = {} if call.script.no_usage else {"usage": usage}
    if body.get("stream"):
        return await call.events(_events(call, items, counted), tail=DONE)
    return await call.json({"model": call.model, "created": call.created, "data": items, **counted})


def _item(call: Call, number: int, width: int, height: int) -> JSON:
    shown = {"size": f"{width}x{height}"}
    if call.body.get("response_format") == "b64_json":
        data = media.png(f"{call.body['prompt']} {number}", width, height, call.script.size or 0)
        return {"b64_json": base64.b64encode(data).decode(), **shown}
    return {"url": images.url(call, str(number), width, height), **shown}


def _events(call: Call, items: list[JSON], counted: JSON) -> Iterator[bytes]:
    def event(name: str, value: JSON) -> bytes:
        kind = f"image_generation.{name}"
        data = {"type": kind, "model": call.model, "created": call.created, **value}
        return f"event: {kind}\ndata: {content.compact(data)}\n\n".encode()

    for i, item in enumerate(items):
        if call.script.error200 == i:
            break
        yield event("partial_failed" if "error" in item else "partial_succeeded", {"image_index": i, **item})
    if call.script.error200 is not None:
        error = {"error": {"code": "InternalServiceError", "message": "The service encountered an internal error."}}
        yield f"data: {content.compact(error)}\n\n".encode()
        return
    yield event("completed", counted)
