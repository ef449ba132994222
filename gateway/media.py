"""Pictures that a client names by their URL, fetched for vendors that take none (`fetch_media`).

A URL is the client's, so it may lead anywhere. Every socket is made here, after its address was looked at: whatever a
name resolves to, at first or later, and wherever redirects lead, no other address is connected to. Nothing of ours goes
along: no cookies, no credentials, no proxy. What a client is told of a failure does not say what lies behind a name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from gateway.errors import BadRequest
from gateway.reach import Reach

MAX_BYTES = 20 << 20
SECONDS = 15.0
MAX_REDIRECTS = 3
_AT_ONCE = 32
_LONGEST_URL = 8 << 10
_CHUNK = 64 << 10
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_HEADERS = {"User-Agent": "ai-edge-gateway", "Accept": "image/*", "Accept-Encoding": "identity"}
_UNREACHABLE = "its host does not exist, cannot be reached, or is not public"


class Picture(NamedTuple):
    media_type: str
    data: bytes


class _Failed(Exception):
    """Why there is no picture, in words that may be told."""


class Media:
    """`resolver`: how names become addresses, if not as the system says; it need not be trusted."""

    def __init__(self, reach: Reach, resolver: AbstractResolver | None = None, seconds: float = SECONDS) -> None:
        self._reach = reach
        self._resolver = resolver
        self._seconds = seconds
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def fetch(self, url: str) -> asyncio.Task[Picture]:
        """The picture at a URL; BadRequest if there is none. A task of its own: whoever awaits it need not be one."""
        return asyncio.get_running_loop().create_task(self._fetch(url))

    async def _fetch(self, url: str) -> Picture:
        try:
            async with asyncio.timeout(self._seconds):
                async with self._turns:
                    return await self._followed(_checked(url))
        except _Failed as exc:
            why = str(exc)
        except TimeoutError:
            why = f"it did not come within {self._seconds:g} seconds"
        except (aiohttp.ClientError, OSError, ValueError):
            why = _UNREACHABLE
        raise BadRequest(f"a picture cannot be fetched from its URL: {why}")

    async def _followed(self, url: URL) -> Picture:
        for _ in range(MAX_REDIRECTS + 1):
            found = await self._asked(url)
            if isinstance(found, Picture):
                return found
            url = found
        raise _Failed(f"it is redirected more than {MAX_REDIRECTS} times")

    async def _asked(self, url: URL) -> Picture | URL:
        """The picture, or where else it is. Each question has a connection of its own: nothing is carried over."""
        connector = aiohttp.TCPConnector(
            resolver=self._resolver, socket_factory=_sockets(self._reach, url.raw_host or ""), force_close=True,
            use_dns_cache=False,
        )  # fmt: skip
        async with (
            aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
                timeout=aiohttp.ClientTimeout(), headers=_HEADERS,
            ) as session,
            session.get(url, allow_redirects=False) as answer,
        ):  # fmt: skip
            if answer.status in _REDIRECTS and (place := answer.headers.get("Location")):
                return _checked(place, url)
            if answer.status != 200:
                raise _Failed(f"its server answers with status {answer.status}")
            return await _read(answer)


def _sockets(reach: Reach, host: str) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    def make(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if not reach.allows(host, str(address[0])):
            raise OSError("not a public address")
        return socket.socket(family, kind, protocol)

    return make


def _checked(text: str, base: URL | None = None) -> URL:
    """A URL to ask for. Raises _Failed."""
    if len(text) > _LONGEST_URL:
        raise _Failed("the URL is too long")
    try:
        url = URL(text) if base is None else base.join(URL(text))
        port = url.port
    except ValueError:
        raise _Failed("this is not a URL") from None
    if url.scheme not in ("http", "https") or not url.raw_host or not port:
        raise _Failed("only http and https URLs are")
    if url.raw_user is not None or url.raw_password is not None:
        raise _Failed("the URL holds a user or password")
    return url


async def _read(answer: aiohttp.ClientResponse) -> Picture:
    if not answer.headers.get("Content-Type", "").lower().startswith("image/"):
        raise _Failed("what is there is not a picture")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _Failed("it is compressed, though that was not asked for")
    too_large = _Failed(f"it is larger than {MAX_BYTES >> 20} MiB")
    if (answer.content_length or 0) > MAX_BYTES:
        raise too_large
    data = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        data += chunk
        if len(data) > MAX_BYTES:
            raise too_large
    media_type = sniffed(data)
    if media_type is None:
        raise _Failed("what is there is neither PNG, JPEG, WebP nor GIF")
    return Picture(media_type, bytes(data))


def sniffed(data: bytes | bytearray) -> str | None:
    """The media type of a picture by its first bytes, whatever its server calls it."""
    if data.startswith(b"RIFF"):
        return "image/webp" if data[8:12] == b"WEBP" else None
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)


_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
