"""What the gateway remembers between two turns of a conversation, for what the client's dialect has no place for.

    keep     an answer's calls of tools -> the thoughts before them, and the calls' signatures
    recall   puts these back into the assistant's turns of the next request
    made     opaque values that a vendor's account made (response ids, signatures, ciphers) -> that account
    maker    whose values a request brings back: only that account can read them

Everything is found by a digest over the gateway key, the kind and what the client will bring back, so nothing crosses
keys. What was used last is in memory; the file that all workers share is asked once for all that is not. An entry
lives for its kind's hours since it was last used.

A call is known by its id, its name and its arguments: some vendors number the calls of each conversation from 0.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from gateway.dialects.chat import form
from gateway.dialects.chat.form import Answer, ChatRequest, Message, Part, Thought, ToolCall
from gateway.dialects.chat.transform import arguments

MAX_FILE = 64 << 20  # bytes: for whoever makes the store
MAX_MEMORY = 32 << 20
MAX_ENTRY = 1 << 20  # of one turn; larger ones are not kept
MAX_ENTRIES = 2_000  # of one key in memory; also the calls of one request that are looked up
TURN_SECONDS = 3600.0
MAKER_SECONDS = 24 * 3600.0

_MOST_COPIES = 4 << 20  # bytes: a turn is kept under each of its calls, as far as this goes
_ABSENT_SECONDS = 10.0  # for which the file is not asked again
_OVERHEAD = 512  # what an entry takes in memory besides its bytes, roughly
_TURN, _MAKER = b"turn", b"maker"


class Store(Protocol):
    """Where entries outlive the process and are shared with others."""

    def get_all(self, digests: list[bytes]) -> asyncio.Future[list[bytes | None]]: ...
    def put(self, digest: bytes, answer: bytes, expires: float, now: float) -> None: ...
    @property
    def waiting(self) -> int: ...
    def written(self) -> asyncio.Future[None]: ...
    def purge(self, now: float) -> None: ...
    async def close(self) -> None: ...


class Placed(msgspec.Struct, frozen=True, array_like=True):
    """A thought, and the id of the call that it led to. `front`: nothing but thoughts was said before it, since the
    call before.
    """

    thought: Thought
    call: str
    front: bool


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What is known under one digest: the account and, of a turn, its thoughts and each call's (signature, origin)."""

    expires: float
    account: str = ""
    thoughts: tuple[Placed, ...] = ()
    signatures: dict[str, tuple[str, str]] = {}


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Entry)
_canonical = msgspec.json.Encoder(order="sorted").encode


class Kept:
    """`now` is the time of day. Without a store entries live in memory only."""

    def __init__(self, store: Store | None, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._recent = Recent()
        self._closed = False

    def keep(self, key_id: str, answer: Answer, account: str) -> None:
        """Remembers what a finished answer has beside its calls, if it has both."""
        calls = [part for part in answer.parts if isinstance(part, ToolCall)]
        if not calls:
            return
        thoughts = tuple(_placed(answer.parts, account))
        signatures = {call.id: (call.signature, call.origin) for call in calls if call.signature}
        if not (thoughts or signatures):
            return
        entry = Entry(self._now() + TURN_SECONDS, account, thoughts, signatures)
        encoded = _encode(entry)
        if len(encoded) > MAX_ENTRY:
            return
        for call in calls[: _MOST_COPIES // len(encoded)]:
            self._put(key_id, _call_digest(key_id, call), entry, encoded)

    async def recall(self, key_id: str, request: ChatRequest) -> ChatRequest:
        """The request with what was kept of the assistant's turns. Suspends only if something is not in memory."""
        calls = [
            part
            for message in request.messages
            if message.role == form.ASSISTANT
            for part in message.parts
            if isinstance(part, ToolCall) and not part.signature
        ][-MAX_ENTRIES:]
        if not calls:
            return request
        digests = [_call_digest(key_id, call) for call in calls]
        found = await self._find(key_id, digests, TURN_SECONDS)
        turns = {call: entry for call, entry in zip(calls, found, strict=True) if entry is not None}
        if not turns:
            return request
        return msgspec.structs.replace(
            request, messages=tuple(_renewed(message, turns) for message in request.messages)
        )

    def made(self, key_id: str, opaque: Iterable[bytes], account: str) -> None:
        """Remembers which account made these values."""
        now = self._now()
        for value in opaque:
            digest = _digest(key_id, _MAKER, value)
            known = self._recent.get(key_id, digest, now)
            if known is None or known.account != account or _grows_old(known, MAKER_SECONDS, now):
                entry = Entry(now + MAKER_SECONDS, account)
                self._put(key_id, digest, entry, _encode(entry))

    async def maker(self, key_id: str, opaque: Iterable[bytes]) -> str | None:
        """The account that made the last of these values whose maker is known."""
        digests = [_digest(key_id, _MAKER, value) for value in opaque]
        if not digests:
            return None
        found = await self._find(key_id, digests, MAKER_SECONDS)
        return next((entry.account for entry in reversed(found) if entry is not None), None)

    async def written(self) -> None:
        """Done when others find what was kept so far: another process may get the next turn."""
        if self._store is not None and self._store.waiting and not self._closed:
            await self._store.written()

    def purge(self, now: float) -> None:
        """Removes from the store what has expired; called now and then."""
        if self._store is not None and not self._closed:
            self._store.purge(now)

    async def close(self) -> None:
        """Done when everything kept is written; from then on only memory is asked."""
        self._closed = True
        if self._store is not None:
            await self._store.close()

    def _put(self, key_id: str, digest: bytes, entry: Entry, encoded: bytes) -> None:
        self._recent.put(key_id, digest, entry, len(encoded))
        if self._store is not None and not self._closed:
            self._store.put(digest, encoded, entry.expires, self._now())

    async def _find(self, key_id: str, digests: list[bytes], seconds: float) -> list[Entry | None]:
        """The living entry under each digest; what is used lives for its `seconds` anew."""
        now = self._now()
        known = {digest: self._recent.get(key_id, digest, now) for digest in digests}
        missing = [digest for digest, entry in known.items() if entry is None]
        if missing and self._store is not None and not self._closed:
            for digest, encoded in zip(missing, await self._store.get_all(missing), strict=True):
                entry = _decode(encoded) if encoded is not None else None
                if entry is None or entry.expires <= now:
                    entry, encoded = Entry(now + _ABSENT_SECONDS), b""
                self._recent.put(key_id, digest, entry, len(encoded or b""))
                known[digest] = entry
        for digest, entry in known.items():
            if entry is not None and entry.account and _grows_old(entry, seconds, now):
                entry = msgspec.structs.replace(entry, expires=now + seconds)
                self._put(key_id, digest, entry, _encode(entry))
        return [entry if entry is not None and entry.account else None for entry in map(known.get, digests)]


class Recent:
    """The entries used last: so many of one key, so many bytes of all. Where room is short, the key that has been
    silent for longest gives its oldest.
    """

    def __init__(self, max_bytes: int = MAX_MEMORY, max_entries: int = MAX_ENTRIES) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._keys: OrderedDict[str, OrderedDict[bytes, tuple[Entry, int]]] = OrderedDict()
        self.size = 0

    def get(self, key_id: str, digest: bytes, now: float) -> Entry | None:
        entries = self._keys.get(key_id)
        found = entries.get(digest) if entries is not None else None
        if entries is None or found is None:
            return None
        if found[0].expires <= now:
            self.size -= entries.pop(digest)[1]
            return None
        entries.move_to_end(digest)
        self._keys.move_to_end(key_id)
        return found[0]

    def put(self, key_id: str, digest: bytes, entry: Entry, size: int) -> None:
        entries = self._keys.setdefault(key_id, OrderedDict())
        self._keys.move_to_end(key_id)
        size += _OVERHEAD
        self.size += size - entries.pop(digest, (None, 0))[1]
        entries[digest] = entry, size
        if len(entries) > self._max_entries:
            self._drop_oldest(entries)
        while self.size > self._max_bytes:
            silent, entries = next(iter(self._keys.items()))
            if entries:
                self._drop_oldest(entries)
            if not entries:
                del self._keys[silent]

    def _drop_oldest(self, entries: OrderedDict[bytes, tuple[Entry, int]]) -> None:
        self.size -= entries.popitem(last=False)[1][1]


def _placed(parts: tuple[Part, ...], account: str) -> Iterable[Placed]:
    """The thoughts of an answer before each call. What comes behind the last call leads to none."""
    waiting: list[tuple[Thought, bool]] = []
    front = True
    for part in parts:
        if isinstance(part, ToolCall):
            yield from (Placed(thought, part.id, first) for thought, first in waiting)
            waiting, front = [], True
        elif isinstance(part, Thought):
            if part.text or _signed(part):
                waiting.append((msgspec.structs.replace(part, account=account), front))
        else:
            front = False


def _renewed(message: Message, turns: dict[ToolCall, Entry]) -> Message:
    """An assistant's turn as its vendor gave it, as far as that is known by its calls."""
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    if message.role != form.ASSISTANT or not any(call in turns for call in calls):
        return message
    thoughts = _by_call(calls, turns) if not any(map(_signed, message.parts)) else {}
    anew = bool(thoughts)
    parts: list[Part] = []
    start = 0  # where what belongs to the next call begins
    for part in message.parts:
        if isinstance(part, ToolCall):
            for placed in thoughts.pop(part.id, ()):
                parts.insert(start if placed.front else len(parts), placed.thought)
                start += placed.front
            parts.append(_resigned(part, turns.get(part)))
            start = len(parts)
        elif not (anew and isinstance(part, Thought)):  # else the words of a kept one, without what makes it valid
            parts.append(part)
    return msgspec.structs.replace(message, parts=tuple(parts))


def _by_call(calls: list[ToolCall], turns: dict[ToolCall, Entry]) -> dict[str, list[Placed]]:
    """Kept thoughts by the call that they stand before: each once, and those of calls that the client has left out
    before the first one of their turn that is there.
    """
    ids = {call.id for call in calls}
    found: dict[str, list[Placed]] = {}
    seen: set[tuple[Placed, ...]] = set()  # several calls of a turn bring the same
    for call in calls:
        entry = turns.get(call)
        if entry is None or entry.thoughts in seen:
            continue
        seen.add(entry.thoughts)
        for placed in entry.thoughts:
            found.setdefault(placed.call if placed.call in ids else call.id, []).append(placed)
    return found


def _resigned(call: ToolCall, entry: Entry | None) -> ToolCall:
    if entry is None or call.id not in entry.signatures:
        return call
    signature, origin = entry.signatures[call.id]
    return msgspec.structs.replace(call, signature=signature, origin=origin, account=entry.account)


def _signed(part: Part) -> bool:
    return isinstance(part, Thought) and bool(part.signature or part.redacted)


def _grows_old(entry: Entry, seconds: float, now: float) -> bool:
    return entry.expires - now < seconds / 2


def _call_digest(key_id: str, call: ToolCall) -> bytes:
    # Clients may write the arguments anew: order and spaces mean nothing, and 2.0 may have become 2.
    try:
        written = _canonical(arguments(call.arguments)).replace(b".0", b"")
    except (RecursionError, UnicodeEncodeError):
        written = _bytes(call.arguments)
    return _digest(key_id, _TURN, b"\0".join((_bytes(call.id), _bytes(call.name), written)))


def _digest(key_id: str, kind: bytes, value: bytes) -> bytes:
    # Neither a key's id nor a kind holds a NUL, so no two questions look alike.
    return hashlib.blake2b(b"\0".join((key_id.encode(), kind, value)), digest_size=32).digest()


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _decode(encoded: bytes) -> Entry | None:
    try:
        return _decoder.decode(encoded)
    except (msgspec.DecodeError, RecursionError):
        return None
