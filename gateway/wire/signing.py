"""Kinds of authentication: how a vendor's key goes into a request's head."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

# Dialects whose vendors want something else than a bearer token.
_BY_DIALECT = {
    "anthropic": "x-api-key",
    "gemini": "x-goog-api-key",
}
# And what they want besides, unless the client says it: lower-case name, line.
_REQUIRED = {"anthropic": ((b"anthropic-version", b"anthropic-version: 2023-06-01\r\n"),)}


def required(dialect: str) -> tuple[tuple[bytes, bytes], ...]:
    """Header lines without which a vendor of the dialect answers nobody: (lower-case name, whole line)."""
    return _REQUIRED.get(dialect.partition(".")[0], ())


def signed(auth: str | None, dialect: str, key: str, path: bytes) -> tuple[bytes, bytes]:
    """(path, header lines) of a request that carries `key`; `auth` None: as the dialect has it. No key: unchanged."""
    if not key:
        return path, b""
    family = dialect.partition(".")[0]
    kind, _, name = (auth or _BY_DIALECT.get(family, "bearer")).partition(":")
    return _KINDS[kind](path, name, key)


def _header(name: bytes, prefix: bytes = b"") -> Callable[[bytes, str, str], tuple[bytes, bytes]]:
    return lambda path, _, key: (path, name + b": " + prefix + key.encode() + b"\r\n")


def _query(path: bytes, name: str, key: str) -> tuple[bytes, bytes]:
    mark = b"&" if b"?" in path else b"?"
    return path + mark + name.encode() + b"=" + quote(key, safe="").encode(), b""


_KINDS: dict[str, Callable[[bytes, str, str], tuple[bytes, bytes]]] = {
    "bearer": _header(b"Authorization", b"Bearer "),
    "x-api-key": _header(b"x-api-key"),
    "x-goog-api-key": _header(b"x-goog-api-key"),
    "query": _query,
}
