"""The providers table: one frozen entry per vendor, found by the first path segment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gateway.addresses import Origin, Secret, checked_url, file, secret, text_or_secret, url, url_path
from gateway.fields import Check, Review, listing, name, nearest, optional, pairs, plain, record, scalar, table, whole
from gateway.metered import Meter
from gateway.yaml_lines import Node, Problem, shown

DIALECTS = frozenset(
    """
    openai.chat openai.completions openai.responses openai.embeddings openai.images openai.speech openai.transcriptions
    openai.realtime openai.videos anthropic.messages gemini.generate gemini.embed gemini.videos gemini.interactions
    dashscope.generation dashscope.embeddings dashscope.rerank dashscope.images dashscope.videos dashscope.speech
    minimax.chat minimax.speech minimax.videos minimax.images ark.images ark.videos ark.embeddings ark.context ark.bots
    openspeech.asr openspeech.tts jina.rerank cohere.rerank cohere.embed kling.videos vidu.videos zhipu.images
    zhipu.videos hunyuan.chat
    """.split()
)

# First path segments of the gateway's own surfaces, with and without /v1; a provider of that name could not be reached.
RESERVED = frozenset(
    """
    v1 v1beta admin api audio callbacks chat embeddings healthz images messages metrics models pricing pricing.html
    readyz realtime rerank responses tasks video videos
    """.split()
)

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_AUTH = re.compile(r"bearer|x-api-key|x-goog-api-key|query:[A-Za-z0-9._~-]+")
_SECRET_HEADERS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"})
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})
_PROXIES = {"http": "http", "https": "https", "socks5": "socks5"}


class Quirks(msgspec.Struct, frozen=True):
    """Declared deviations of a vendor's request fields; applied in this order."""

    rename: dict[str, str] = {}
    drop: tuple[str, ...] = ()
    set: dict[str, Any] = {}
    clamp: dict[str, tuple[float | None, float | None]] = {}

    @property
    def none(self) -> bool:
        return not (self.drop or self.set or self.rename or self.clamp)


class Provider(msgspec.Struct, frozen=True):
    """One vendor or self-hosted server."""

    id: str
    base_url: str
    origin: Origin
    base_path: bytes
    aliases: tuple[str, ...] = ()
    hosts: tuple[tuple[bytes, Origin, bytes], ...] = ()
    keys: tuple[Secret, ...] = ()
    auth: str | None = None  # None: as the dialect has it
    speaks: dict[str, str] = {}
    quirks: Quirks = Quirks()
    proxy: Secret | None = None
    ca: str | None = None
    headers: dict[str, Secret] = {}
    max_connections: int = 1000
    meter: tuple[tuple[bytes, str], ...] = ()

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (*self.keys, *self.headers.values(), *((self.proxy,) if self.proxy else ()))


class Table:
    """All providers as the hot path asks for them."""

    def __init__(self, providers: Mapping[str, Provider] | Iterable[Provider]) -> None:
        entries = tuple(providers.values() if isinstance(providers, Mapping) else providers)
        self._found = {word.encode(): entry for entry in entries for word in (entry.id, *entry.aliases)}
        self._meters = {entry.id: Meter(entry.meter, entry.speaks) for entry in entries}

    def find(self, first_segment: bytes) -> Provider | None:
        """The provider of this id or alias, byte for byte."""
        return self._found.get(first_segment)

    def target(self, provider: Provider, path: bytes) -> tuple[Origin, bytes]:
        """Origin and base path for a path (what follows the provider's segment)."""
        path = path or b"/"
        for prefix, origin, base_path in provider.hosts:
            # A prefix that matches everything would be the base URL, so `/` means the root itself.
            if path.startswith(prefix) and (len(prefix) > 1 or path == b"/"):
                return origin, base_path
        return provider.origin, provider.base_path

    def meter(self, provider: Provider, method: bytes, path: bytes) -> str | None:
        """The dialect in which the answer tells its usage; None where nothing is to be metered."""
        if method != b"POST":
            return None
        return self._meters[provider.id].dialect(path, self.target(provider, path)[1])


def provider_id(node: Node) -> str:
    """A provider's id or alias."""
    text = name(node)
    if not _ID.fullmatch(text):
        raise Problem(
            node,
            f"{shown(text)} cannot be a provider's name",
            "start with a lower-case letter or digit, go on with those, `.`, `_` and `-`, 64 at most",
        )
    if text in RESERVED:
        raise Problem(node, f"{shown(text)} is a path of the gateway itself", "choose another name")
    return text


def provider(key: Node, node: Node, review: Review) -> Provider | None:
    """The entry under a name; None if it has problems (they are in the review)."""
    before = len(review.problems)
    found = record(node, _KEYS, review, required=("base_url",))
    if len(review.problems) > before:
        return None
    origin, base_path = found.pop("base_url")
    base_url = f"{origin.scheme}://{origin.authority}{base_path}"
    return Provider(id=key.text, base_url=base_url, origin=origin, base_path=base_path.encode(), **found)


def dialect(node: Node, _: Review | None = None) -> str:
    """A dialect id."""
    text = name(node)
    if text not in DIALECTS:
        raise Problem(node, f"unknown dialect {shown(text)}", nearest(text, DIALECTS))
    return text


def _alias(node: Node, _: Review) -> str:
    return provider_id(node)


def _auth(node: Node, _: Review) -> str:
    text = scalar(node, "bearer, x-api-key, x-goog-api-key or query:NAME")
    if not _AUTH.fullmatch(text):
        known = ("bearer", "x-api-key", "x-goog-api-key", "query:NAME")
        raise Problem(node, "is not a kind of authentication", nearest(text, known))
    return text


def _proxy(node: Node, review: Review) -> Secret:
    """A proxy with a password is a secret; one without may stand in the file."""
    text = scalar(node, "a URL, env:NAME or file:PATH")
    if text.startswith(("env:", "file:")):
        found = secret(node, review)
        text = found.get() or "http://missing:1"
    else:
        found = Secret("proxy", text)
    try:
        origin, path = url(text, _PROXIES, private=found.reference != "proxy")
    except ValueError as exc:
        raise Problem(node, exc.args[0], exc.args[1]) from None
    if path or not origin.port:
        raise Problem(node, "has a path or no port", "write scheme://host:port")
    return found


def _base_url(node: Node, _: Review) -> tuple[Origin, str]:
    return checked_url(node)


def _hosts(node: Node, review: Review) -> tuple[tuple[bytes, Origin, bytes], ...]:
    found = table(_base_url, url_path)(node, review)
    entries = [(prefix.encode(), origin, path.encode()) for prefix, (origin, path) in found.items()]
    return tuple(sorted(entries, key=lambda entry: (-len(entry[0]), entry[0])))


def _speaks(node: Node, review: Review) -> dict[str, str]:
    found: dict[str, str] = table(lambda value, _: url_path(value, placeholder=True), dialect)(node, review)
    return found


def _pattern(node: Node) -> str:
    text = name(node)
    if not text.startswith(("/", "*")) or not re.fullmatch(r"[!-~]+", text) or re.search(r"[?#]|\*\*", text):
        raise Problem(node, f"{shown(text)} is not a path pattern", "start with / or *, leave out ?, # and spaces")
    return text


def _meter(node: Node, review: Review) -> tuple[tuple[bytes, str], ...]:
    """Exact paths first, then the longer pattern: the order in the file does not matter."""
    found = table(dialect, _pattern)(node, review)
    entries = [(pattern.encode(), dialect) for pattern, dialect in found.items()]
    return tuple(sorted(entries, key=lambda entry: (b"*" in entry[0], -len(entry[0]), entry[0])))


def _headers(node: Node, review: Review) -> dict[str, Secret]:
    found = {}
    for key, value in pairs(node):
        lower = key.text.lower()
        try:
            if not _HEADER.fullmatch(key.text):
                raise Problem(key, f"{shown(key.text)} is not a header name", "use letters, digits and hyphens")
            if lower in _FRAMING:
                raise Problem(key, f"the header {key.text} belongs to the connection", "leave it out")
            check = secret if lower in _SECRET_HEADERS else text_or_secret
            found[key.text] = check(value, review)
        except Problem as problem:
            review.problems.append(problem)
    return found


def _bounds(node: Node, _: Review) -> tuple[float | None, float | None]:
    limits = [plain(item, _) for item in node.items]
    numbers = [limit for limit in limits if limit is not None]
    if len(limits) != 2 or not all(type(limit) in (int, float) for limit in numbers) or numbers != sorted(numbers):
        raise Problem(node, "is not a pair of limits", "write [low, high]; null for none")
    return limits[0], limits[1]


def _quirks(node: Node, review: Review) -> Quirks:
    return Quirks(**record(node, _QUIRKS, review))


_QUIRKS: dict[str, Check] = {
    "rename": table(name),
    "drop": listing(name),
    "set": table(plain),
    "clamp": table(_bounds),
}

_KEYS: dict[str, Check] = {
    "base_url": _base_url,
    "aliases": listing(_alias),
    "keys": listing(secret),
    "auth": _auth,
    "speaks": _speaks,
    "quirks": _quirks,
    "proxy": optional(_proxy),
    "ca": optional(file),
    "headers": _headers,
    "max_connections": whole(1, 1_000_000),
    "hosts": _hosts,
    "meter": _meter,
}
