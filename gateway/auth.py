"""Who calls: the key in a request -> its hash -> its Caller, remembered for as long as it is sure to be true."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Protocol
from urllib.parse import unquote_to_bytes

from gateway.errors import DisabledKey, ExpiredKey, InvalidKey, Overloaded
from gateway.types import Caller

_REMEMBERED = 10_000  # keys in use, and as many again that were in use before them
_REFUSED = 4_096  # the same for keys that nobody issued: a flood of them pushes out nobody else
_FRESH = 1.0  # seconds between two looks at whether any key was changed; also how long an unknown key stays unknown
_STALE = 4.0  # seconds for which what is remembered holds while the store does not answer; changes act within 5

_SUBPROTOCOL = b"openai-insecure-api-key."

# What says who the client is, to us or to anybody: none of it goes to a vendor on a unified call. The keys of pass-
# through are the vendor's own and stay.
CREDENTIALS = frozenset(
    b"authorization proxy-authorization x-api-key x-goog-api-key api-key x-api-access-key x-api-app-key cookie cookie2 "
    b"forwarded x-real-ip".split()
)
_PRIVATE_PREFIXES = (b"x-gateway-", b"x-forwarded-")

Header = tuple[bytes, bytes, bytes]  # name, value, lower-case name


class Asking(Protocol):
    """What is read of a request's head."""

    @property
    def target(self) -> bytes: ...
    @property
    def headers(self) -> list[Header]: ...
    @property
    def websocket(self) -> bool: ...
    def get(self, lower: bytes, /) -> bytes | None: ...


def key_of(request: Asking) -> bytes | None:
    """The key that a request shows, in the first place that has one; None if there is none."""
    for place in _PLACES:
        if key := place(request):
            return key
    return None


def digest(key: bytes) -> bytes:
    """The hash under which a key is known."""
    return hashlib.sha256(key).digest()


def stripped(headers: Iterable[Header]) -> list[Header]:
    """The headers less all that says who the client is."""
    kept = []
    for name, value, lower in headers:
        if lower in CREDENTIALS or lower.startswith(_PRIVATE_PREFIXES):
            continue
        if lower == b"sec-websocket-protocol":
            names = (part.strip(b" \t") for part in value.split(b","))
            value = b", ".join(part for part in names if not part.startswith(_SUBPROTOCOL))
            if not value:
                continue
        kept.append((name, value, lower))
    return kept


class Auth:
    """Callers by the hash of their key.

    `find` looks a hash up, `changed` gives another number after every change of a key; both read the store at once and
    may raise Overloaded. `clock` is monotonic, `now` the time of day. A call costs one lookup in a dictionary; `find`
    is asked again after a change, which is noticed within a second.
    """

    def __init__(
        self,
        find: Callable[[bytes], Caller | None],
        changed: Callable[[], int],
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._find = find
        self._changed = changed
        self._clock = clock
        self._now = now
        self._version: int | None = None
        self._look_again = self._looked = float("-inf")
        # Two generations each: what is used moves to the young one, the old one goes as a whole. That is as good as a
        # list by last use and costs a hit nothing.
        self._young: dict[bytes, Caller] = {}
        self._old: dict[bytes, Caller] = {}
        self._unknown: dict[bytes, float] = {}  # when it was looked up
        self._unknown_before: dict[bytes, float] = {}

    def caller(self, digest: bytes) -> Caller:
        """The caller of a key's hash. Raises InvalidKey, DisabledKey, ExpiredKey or Overloaded."""
        clock = self._clock()
        if clock >= self._look_again:
            self._look(clock)
        caller = self._young.get(digest) or self._found(digest, clock)
        if caller.disabled:
            raise DisabledKey("this API key is disabled or was revoked: ask whoever issued it, or use another")
        if caller.expires is not None and caller.expires <= self._now():
            raise ExpiredKey("this API key has expired: ask whoever issued it for a new one")
        return caller

    def _look(self, clock: float) -> None:
        """Forgets everything if any key was changed."""
        try:
            version = self._changed()
        except Overloaded:
            if clock - self._looked > _STALE - _FRESH:
                raise
            self._look_again = clock + _FRESH
            return
        if version != self._version:
            self._version = version
            for remembered in (self._young, self._old, self._unknown, self._unknown_before):
                remembered.clear()
        self._looked = clock
        self._look_again = clock + _FRESH

    def _found(self, digest: bytes, clock: float) -> Caller:
        caller = self._old.get(digest)
        if caller is None:
            since = self._unknown.get(digest) or self._unknown_before.get(digest)
            caller = self._find(digest) if since is None or clock - since > _FRESH else None
            if caller is None:
                if since is None or clock - since > _FRESH:
                    self._refuse(digest, clock)
                raise InvalidKey("Incorrect API key provided: it is not known here; check it for typing errors")
        if len(self._young) >= _REMEMBERED:
            self._old, self._young = self._young, {}
        self._young[digest] = caller
        return caller

    def _refuse(self, digest: bytes, clock: float) -> None:
        if len(self._unknown) >= _REFUSED:
            self._unknown_before, self._unknown = self._unknown, {}
        self._unknown[digest] = clock


def _bearer(request: Asking) -> bytes | None:
    value = request.get(b"authorization")
    if value is None or value[:7].lower() not in (b"bearer ", b"bearer\t"):
        return None
    return value[7:].strip(b" \t")


def _field(lower: bytes) -> Callable[[Asking], bytes | None]:
    def place(request: Asking) -> bytes | None:
        value = request.get(lower)
        return value and value.strip(b" \t")

    return place


def _query(request: Asking) -> bytes | None:
    _, _, query = request.target.partition(b"?")
    for part in query.split(b"&") if query else ():
        name, _, value = part.partition(b"=")
        if unquote_to_bytes(name) == b"key" and (key := unquote_to_bytes(value).strip(b" \t")):
            return key
    return None


def _subprotocol(request: Asking) -> bytes | None:
    """Browsers cannot give headers to a WebSocket: OpenAI's SDK puts the key among the subprotocols."""
    if not request.websocket:
        return None
    for _, value, lower in request.headers:
        if lower == b"sec-websocket-protocol":
            for part in value.split(b","):
                part = part.strip(b" \t")
                if part.startswith(_SUBPROTOCOL) and len(part) > len(_SUBPROTOCOL):
                    return part[len(_SUBPROTOCOL) :]
    return None


_PLACES = (_bearer, _field(b"x-api-key"), _field(b"x-goog-api-key"), _query, _subprotocol)
