"""A request's pictures brought along, for vendors that do not fetch any themselves."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from gateway.dialects.chat.form import ChatRequest, Image, Message, Part, ToolResult
from gateway.errors import BadRequest

MOST = 32  # pictures of one request
MAX_BYTES = 64 << 20  # of all of them
_AT_ONCE = 4

# URL -> (media type, bytes). Raises BadRequest.
Fetch = Callable[[str], Awaitable[tuple[str, bytes]]]


async def embed_pictures(request: ChatRequest, fetch: Fetch, field: str = "messages") -> ChatRequest:
    """The request with all pictures as data. `field`: the client's word for where they are, for errors. Raises
    BadRequest.
    """
    urls = list(dict.fromkeys(image.url for message in request.messages for image in _named(message.parts)))
    if not urls:
        return request
    if len(urls) > MOST:
        raise BadRequest(f"more than {MOST} pictures by URL cannot be fetched for one request", param=field)
    images: dict[str, Image] = {}
    size = 0
    for start in range(0, len(urls), _AT_ONCE):
        some = urls[start : start + _AT_ONCE]
        try:
            found = await asyncio.gather(*map(fetch, some))
        except BadRequest as error:
            error.param = error.param or field
            raise
        size += sum(len(data) for _, data in found)
        if size > MAX_BYTES:
            raise BadRequest(f"the pictures of one request are larger than {MAX_BYTES >> 20} MiB together", param=field)
        for url, (kind, data) in zip(some, found, strict=True):
            images[url] = Image(data=base64.b64encode(data).decode(), media_type=kind)
    return msgspec.structs.replace(request, messages=tuple(_embedded(message, images) for message in request.messages))


def _named(parts: tuple[Part, ...]) -> Iterator[Image]:
    for part in parts:
        if isinstance(part, ToolResult):
            yield from _named(part.parts)
        elif isinstance(part, Image) and part.url and not part.data:
            yield part


def _embedded(message: Message, images: dict[str, Image]) -> Message:
    if not any(True for _ in _named(message.parts)):
        return message
    return msgspec.structs.replace(message, parts=tuple(_filled(part, images) for part in message.parts))


def _filled(part: Part, images: dict[str, Image]) -> Part:
    if isinstance(part, ToolResult):
        return msgspec.structs.replace(part, parts=tuple(_filled(inner, images) for inner in part.parts))
    if isinstance(part, Image) and part.url and not part.data:
        return msgspec.structs.replace(images[part.url], detail=part.detail)
    return part
