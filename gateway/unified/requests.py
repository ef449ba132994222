"""The head of a unified call's request to a vendor: the client's own headers with the vendor's address and our key."""

from __future__ import annotations

from urllib.parse import quote

from gateway.auth import stripped
from gateway.providers import Provider, Table
from gateway.relay import Pools
from gateway.wire.head import HOP_BY_HOP, Request
from gateway.wire.pool import Pool
from gateway.wire.signing import required, signed

# Besides what says who and where the client is (`auth.stripped`) and hop-by-hop fields: what frames this one message,
# and what a browser or a proxy adds. Answers are read on their way, so they are asked for without compression.
_LEFT_OUT = frozenset(
    b"host content-length accept-encoding expect via origin referer x-request-id".split()
)
_LEFT_OUT_PREFIXES = (b"sec-", b"cf-", b"access-control-")
# What speaks of the client's dialect, to a vendor of another one; how the body looks is told anew.
_FOREIGN = (b"anthropic-", b"openai-", b"x-goog-", b"x-stainless-", b"x-dashscope-", b"accept", b"content-")
_JSON = (b"content-type", b"Content-Type: application/json\r\n")

Lines = tuple[tuple[bytes, bytes], ...]  # (lower-case name, the whole line)


def forwardable(request: Request) -> Lines:
    """The client's header lines that may go to a vendor, in order."""
    return tuple(
        (lower, name + b": " + value + b"\r\n")
        for name, value, lower in stripped(request.headers)
        if lower not in _LEFT_OUT
        and lower not in HOP_BY_HOP
        and lower not in request.listed
        and not lower.startswith(_LEFT_OUT_PREFIXES)
    )


def translated(lines: Lines, more: Lines) -> Lines:
    """The client's lines for a vendor of another dialect, and what that dialect wants."""
    own = {name for name, _ in more}
    return (
        *(line for line in lines if not line[0].startswith(_FOREIGN) and line[0] not in own), _JSON, *more,
    )  # fmt: skip


class Heads:
    """Makes heads, and remembers those parts that depend on the target only. One for each configuration."""

    def __init__(self, table: Table, pools: Pools, connect_timeout: float) -> None:
        self._table = table
        self._pools = pools
        self._connect_timeout = connect_timeout
        # Bounded by the configuration: providers x dialects x models x keys.
        self._known: dict[tuple[str, str, str, str], tuple[Pool, bytes]] = {}

    def head(
        self,
        provider: Provider,
        dialect: str,
        model: str,
        key: str,
        lines: Lines,
        method: str = "",
        swap: tuple[str, str] = ("", ""),
    ) -> tuple[Pool, bytes]:
        """Where a request goes, and its head up to Content-Length. `method` is what is appended to the path, `swap` a
        piece of the path and what stands there instead.
        """
        place = (provider.id, dialect + method + swap[1], model, key)
        known = self._known.get(place)
        if known is None:
            known = self._known[place] = self._made(provider, dialect, model, key, method, swap)
        pool, begin = known
        for line in required(dialect):
            if not any(name == line[0] for name, _ in lines):
                lines = (*lines, line)
        if provider.headers:
            own = {name.lower().encode() for name in provider.headers}
            lines = tuple(line for line in lines if line[0] not in own)
        return pool, begin + b"".join([line for _, line in lines])

    def _made(
        self, provider: Provider, dialect: str, model: str, key: str, method: str, swap: tuple[str, str]
    ) -> tuple[Pool, bytes]:
        spoken = provider.speaks[dialect].replace(*swap) if swap[0] else provider.speaks[dialect]
        path = spoken.replace("{model}", quote(model, safe="/:@")).encode() + method.encode()
        origin, base_path = self._table.target(provider, path)
        pool = self._pools.of(provider, origin, self._connect_timeout)
        target, credentials = signed(provider.auth, dialect, key, base_path + path)
        added = [
            name.encode() + b": " + value.encode() + b"\r\n"
            for name, secret in provider.headers.items()
            if (value := secret.get()) is not None
        ]
        begin = [b"POST ", target, b" HTTP/1.1\r\nHost: ", pool.destination.authority, b"\r\n", credentials, *added]
        return pool, b"".join([*begin, b"Accept-Encoding: identity\r\n"])


def request(begin: bytes, body: bytes) -> bytes:
    """Head and body in one piece."""
    return b"%bContent-Length: %d\r\n\r\n%b" % (begin, len(body), body)
