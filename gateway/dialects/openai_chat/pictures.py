"""Pictures as chat completions have them: one URL, of the web or with the data inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.dialects.chat.dialect import Aim
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import Image
from gateway.errors import BadRequest

_WEB = ("http://", "https://")
_FROM_URL_SAFE = str.maketrans("-_", "+/")
# features.images -> what is wrong with a picture that has data, with one that has a URL.
_REFUSED = {
    "none": ("the model takes no pictures", "the model takes no pictures"),
    "url": ("the model takes pictures by URL only", ""),
    "base64": ("", "the model takes pictures as base64 only"),
}


def read(url: str, detail: str | None, place: str) -> Image:
    """The picture behind a URL; BadRequest, naming `place`, for what is none."""
    if url[:8].lower().startswith(_WEB):
        return Image(url=url, detail=detail)
    if url[:5].lower() != "data:":
        raise BadRequest(f"{place} must be an http, https or data URL", param=place)
    comma = url.find(",", 0, 256)
    kind, *rest = url[5:comma].lower().split(";") if comma > 0 else [""]
    if not kind.startswith("image/") or not rest or rest[-1].strip() != "base64":
        raise BadRequest(f"{place} must name an image type and base64: data:image/png;base64,...", param=place)
    return Image(data=standard(url[comma + 1 :], place), media_type=kind, detail=detail)


def standard(data: str, place: str) -> str:
    """Base64 in the standard alphabet, padded."""
    if not data or not data.isascii():
        raise BadRequest(f"{place} must hold base64", param=place)
    if "-" in data or "_" in data:
        data = data.translate(_FROM_URL_SAFE)
    return data + "=" * (-len(data) % 4)


def write(image: Image, aim: Aim, lost: Lost) -> dict[str, Any]:
    """The part of a message; Unsupported if the model does not take the picture's form."""
    if why := _REFUSED.get(aim.features.images or "", ("", ""))[0 if image.data else 1]:
        raise lost.refuse("messages", why)
    where: Mapping[str, str] = {"url": url(image)} | ({"detail": image.detail} if image.detail else {})
    return {"type": "image_url", "image_url": where}


def url(image: Image) -> str:
    return f"data:{image.media_type};base64,{image.data}" if image.data else image.url
