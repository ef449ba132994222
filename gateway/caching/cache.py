"""Answers kept for the same question: which question is the same, and where its answer is.

A question is the same if its scope (the key, or everybody where the model says `shared`), surface, model, form (plain,
stream, stream with usage) and canonical request are. Its digest is the only way to an answer: none crosses scopes.

    find    memory (never suspends) -> the store (a thread reads the file) -> questions that mean the same (a thread)
    put     memory at once, the store and the vectors later

A stream and a plain answer are kept apart: each is replayed as what it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.caching.semantic import Asked, Embed, Found, Neighbours, asked
from gateway.models import Cache
from gateway.types import Usage

if TYPE_CHECKING:
    from gateway.caching.vectors import Vector

HIT, SEMANTIC, MISS, SHADOW = "hit", "semantic", "miss", "shadow"
RESULTS = (HIT, SEMANTIC, MISS, SHADOW)
MAX_ENTRY = 4 << 20  # bytes of a body; larger answers are not kept
MAX_MEMORY = 32 << 20
_OVERHEAD = 1024  # what an entry takes besides its body, roughly
_SEMANTIC_SURFACE = "openai.chat"
# Line ends may be of three kinds; the group is atomic, or CRLF would count as two ends.
_EVENT_END = re.compile(rb"(?>\r\n|\r|\n){2,}+")


class Entry(msgspec.Struct, frozen=True):
    """An answer as the client got it: the whole body, or the whole stream. `model` and `provider` made it."""

    content_type: bytes
    body: bytes
    streamed: bool
    usage: Usage
    model: str
    provider: str
    created: float


class Question(msgspec.Struct, frozen=True):
    """Who asks what. `canonical`: the request as canonical JSON without `stream` and `stream_options`.

    `wants_usage`: the client asked for the usage in the stream; without that its chunk is not in the bytes.
    """

    key_id: str
    surface: str
    model: str
    stream: bool
    canonical: bytes
    wants_usage: bool = False


class Lookup(msgspec.Struct):
    """What `find` came to, and what `put` needs to keep the answer where the next `find` looks."""

    policy: Cache
    digest: bytes
    result: str = MISS
    entry: Entry | None = None
    about: Asked | None = None
    vector: Vector | None = None

    @property
    def header(self) -> str:
        """The value of x-gateway-cache."""
        return MISS if self.result == SHADOW else self.result


class Store(Protocol):
    """Where entries outlive the process and are shared with others."""

    def get(self, digest: bytes) -> asyncio.Future[bytes | None]: ...
    def put(self, digest: bytes, answer: bytes, expires: float, now: float) -> None: ...
    def purge(self, now: float) -> None: ...
    async def close(self) -> None: ...


class AnswerCache:
    """The cache of all models. Without a store entries live in memory only."""

    def __init__(self, store: Store | None = None, max_memory: int = MAX_MEMORY) -> None:
        self._store = store
        self._recent = Recent(max_memory)
        self._neighbours = Neighbours()
        self._closed = False
        self.results = dict.fromkeys(RESULTS, 0)

    async def find(self, policy: Cache, question: Question, now: float, embed: Embed | None = None) -> Lookup:
        """Looks for an answer; `embed` makes a text's vector where the policy names a model for that."""
        scope = _scope(policy, question)
        lookup = Lookup(policy, hashlib.sha256(scope + b"\n" + question.canonical).digest())
        if self._closed:
            return lookup
        if policy.exact:
            lookup.entry = self._recent.get(lookup.digest)
            if not _alive(lookup.entry, policy, now):
                lookup.entry = await self._stored(policy, lookup.digest, now)
            if lookup.entry is not None:
                lookup.result = HIT
        if lookup.entry is None and policy.semantic is not None and question.surface == _SEMANTIC_SURFACE:
            await self._find_alike(lookup, scope, question, now, embed)
        self.results[lookup.result] += 1
        return lookup

    def put(self, lookup: Lookup, entry: Entry) -> None:
        """Keeps a complete, unfiltered answer without error; one that is too large is not kept."""
        if self._closed or len(entry.body) > MAX_ENTRY:
            return
        self._recent.put(lookup.digest, entry)
        if self._store is not None:
            self._store.put(lookup.digest, _encode(entry), entry.created + lookup.policy.ttl, entry.created)
        if lookup.about is not None and lookup.vector is not None:
            self._neighbours.add(lookup.about, lookup.vector, lookup.digest)

    def purge(self, now: float) -> None:
        """Removes from the store what has expired; called now and then."""
        if self._store is not None and not self._closed:
            self._store.purge(now)

    async def close(self) -> None:
        """Done when everything kept is written; from then on nothing is found or kept."""
        self._closed = True
        await self._neighbours.close()
        if self._store is not None:
            await self._store.close()

    async def _find_alike(
        self, lookup: Lookup, scope: bytes, question: Question, now: float, embed: Embed | None
    ) -> None:
        semantic = lookup.policy.semantic
        lookup.about = asked(semantic, scope, question.canonical) if semantic is not None else None
        if semantic is None or lookup.about is None:
            return
        found: Found = await self._neighbours.find(semantic, lookup.about, embed)
        lookup.vector = found.vector
        if found.digest is None:
            return
        entry = self._recent.get(found.digest)
        if not _alive(entry, lookup.policy, now):
            entry = await self._stored(lookup.policy, found.digest, now)
        if entry is None:
            self._neighbours.forget(lookup.about, found.digest)
        elif semantic.shadow:
            lookup.result = SHADOW
        else:
            lookup.result, lookup.entry = SEMANTIC, entry

    async def _stored(self, policy: Cache, digest: bytes, now: float) -> Entry | None:
        encoded = await self._store.get(digest) if self._store is not None else None
        entry = _decode(encoded) if encoded is not None else None
        if entry is None or not _alive(entry, policy, now):
            return None
        self._recent.put(digest, entry)
        return entry


class Recent:
    """The entries used last, within a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, digest: bytes) -> Entry | None:
        entry = self._entries.get(digest)
        if entry is not None:
            self._entries.move_to_end(digest)
        return entry

    def put(self, digest: bytes, entry: Entry) -> None:
        old = self._entries.pop(digest, None)
        self.size += len(entry.body) - (len(old.body) if old is not None else -_OVERHEAD)
        self._entries[digest] = entry
        while self.size > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.size -= len(oldest.body) + _OVERHEAD


def pieces(entry: Entry) -> Iterator[bytes]:
    """The body as it is to be sent: a stream event by event, anything else in one piece."""
    if not entry.streamed:
        yield entry.body
        return
    start = 0
    for end in _EVENT_END.finditer(entry.body):
        yield entry.body[start : end.end()]
        start = end.end()
    if start < len(entry.body):
        yield entry.body[start:]


def _scope(policy: Cache, question: Question) -> bytes:
    """Who may share an answer, of which model, and in which form. One line: JSON escapes any line end in a name."""
    key = None if policy.shared else question.key_id
    form = (question.stream, question.stream and question.wants_usage)
    return msgspec.json.encode([key, question.surface, question.model, form])


def _alive(entry: Entry | None, policy: Cache, now: float) -> bool:
    # A clock that was set back must not keep an answer for ever.
    return entry is not None and abs(now - entry.created) < policy.ttl


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Entry)


def _decode(encoded: bytes) -> Entry | None:
    try:
        return _decoder.decode(encoded)
    except (msgspec.DecodeError, RecursionError):
        return None
