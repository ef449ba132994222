"""Ways to a vendor through a proxy: http://, https:// (CONNECT) and socks5://."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from urllib.parse import unquote, urlsplit

import aiofastnet
from python_socks import ProxyError
from python_socks.async_.asyncio import Proxy

_MAX_ANSWER = 16384


class ProxyFailed(Exception):
    """The proxy did not let us through."""


async def connect(url: str, host: str, port: int) -> socket.socket | asyncio.Transport:
    """A way to host:port through the proxy at `url`: a connected socket, or (https proxy) a transport inside TLS."""
    if url.startswith("https://"):
        return await _connect_over_tls(url, host, port)
    try:
        return await Proxy.from_url(url, rdns=True).connect(dest_host=host, dest_port=port)
    except ProxyError as exc:
        raise ProxyFailed("the proxy refused the connection") from exc


class _Answer(asyncio.Protocol):
    """Reads the proxy's answer to CONNECT, up to its blank line."""

    def __init__(self) -> None:
        self.data = b""
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data
        if b"\r\n\r\n" in self.data or len(self.data) > _MAX_ANSWER:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(self.data)


async def _connect_over_tls(url: str, host: str, port: int) -> asyncio.Transport:
    parts = urlsplit(url)
    transport, answer = await aiofastnet.create_connection(
        asyncio.get_running_loop(), _Answer, parts.hostname, parts.port or 443,
        ssl=ssl.create_default_context(), server_hostname=parts.hostname,
    )
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        head += f"Proxy-Authorization: Basic {base64.b64encode(login).decode()}\r\n"
    try:
        transport.write(head.encode() + b"\r\n")
        reply = await answer.done
        if not reply.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")) or not reply.endswith(b"\r\n\r\n"):
            raise ProxyFailed("the proxy refused the connection")
    except BaseException:
        transport.abort()
        raise
    return transport
