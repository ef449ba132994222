"""The few edits that the gateway makes to a request's bytes, and the request in canonical form.

Towards a vendor of the same dialect nothing changes but the model's name, a request for the usage of a stream, and what
the vendor's quirks say. Each edit is one of top-level members; where there is none to make, the very same bytes come
back, and where there is one, all others stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Raw

from gateway.dialects.members import HEAD, Members, members
from gateway.dialects.request import Peek, asks_usage, names_in_path

# The form of an answer, which is no part of the question.
FORM = frozenset({"stream", "stream_options"})
_LARGEST_CANONICAL = 1 << 20  # decoded it may take thirty times as much

_encode = msgspec.json.Encoder().encode
_text = msgspec.json.Decoder(str).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_number = msgspec.json.Decoder(int | float | None).decode
_ASKS_USAGE = b'{"include_usage":true}'
_ASKS_USAGE_LAST = b',"stream_options":' + _ASKS_USAGE + b"}"


class Quirks(Protocol):
    """A vendor's deviations in top-level fields, applied in this order."""

    @property
    def rename(self) -> Mapping[str, str]: ...
    @property
    def drop(self) -> Collection[str]: ...
    @property
    def set(self) -> Mapping[str, Any]: ...
    @property
    def clamp(self) -> Mapping[str, tuple[float | None, float | None]]: ...


def rewritten(peek: Peek, model: str, ask_usage: bool = False, quirks: Quirks | None = None) -> bytes:
    """The body for a vendor that calls the model so. `ask_usage`: a stream is to tell its usage."""
    if names_in_path(peek.surface):
        return _renamed_within(peek, model, quirks)
    if quirks is None and (body := _plainly(peek, model, ask_usage)) is not None:
        return body
    edit = _Edit(peek.members)
    if model != peek.model:
        edit.put("model", _encode(model))
    if ask_usage and peek.stream and asks_usage(peek.surface) and not (quirks and "stream_options" in quirks.drop):
        _ask_usage(edit)
    if quirks is not None:
        _apply(quirks, edit)
    return edit.body()


def quirked(body: bytes, quirks: Quirks) -> bytes:
    """A converted body as the vendor wants it."""
    edit = _Edit(members(body))
    _apply(quirks, edit)
    return edit.body()


def _plainly(peek: Peek, model: str, ask_usage: bool) -> bytes | None:
    """The same for nearly every body, which is printed as most clients do: cut once, and taken apart not at all."""
    body = peek.body
    asks = ask_usage and peek.stream and asks_usage(peek.surface)
    if asks and "stream_options" in peek.fields:
        return None
    if model != peek.model:
        place = peek.members.place("model")
        if place is None:
            return None
        start, end = place
        body = b"".join((body[:start], _encode(model), body[end:]))
    elif asks and peek.members.style is None:
        return None
    return body[:-1] + _ASKS_USAGE_LAST if asks else body


def _renamed_within(peek: Peek, model: str, quirks: Quirks | None) -> bytes:
    """The same where the path names the model: Gemini's bodies may name it again, as `models/NAME`, in three places."""
    edit = _Edit(peek.members)
    if model != peek.model and peek.body.find(b'"model"') >= 0:
        _rename(edit, model)
        for name in ("generateContentRequest", "generate_content_request"):
            if edit.holds(name, b"{"):
                edit.put(name, _named(edit.values[name], model))
        if edit.holds("requests", b"["):
            edit.put("requests", _items_named(bytes(edit.values["requests"]), model))
    if quirks is not None:
        _apply(quirks, edit)
    return edit.body()


def _rename(edit: _Edit, model: str) -> None:
    if edit.holds("model", b'"'):
        prefix = "models/" if _text(edit.values["model"]).startswith("models/") else ""
        edit.put("model", _encode(prefix + model))


def _named(request: Raw | bytes, model: str) -> bytes:
    """An object within the body, with another model."""
    inner = _Edit(members(bytes(request)))
    _rename(inner, model)
    return inner.body()


def _items_named(items: bytes, model: str) -> bytes:
    """A list of such objects; what stands between them stays."""
    pieces: list[bytes] = []
    at = 0
    for item in map(bytes, _items(items)):
        start = items.index(item, at)  # at most a comma and blanks away
        pieces += (items[at:start], _named(item, model))
        at = start + len(item)
    return b"".join(pieces) + items[at:]


def canonical(peek: Peek, ignore: Collection[str] = FORM) -> bytes:
    """The request without some fields, the same for requests that differ only in order, spacing and spelling of JSON.

    1 and 1.0 stay apart, for vendors may tell them apart; so does who the `user` is. What has no canonical form (a name
    given twice within a nested object, of which nobody knows which one counts; a number beyond a double; a body of more
    than 1 MiB) stands for itself alone.
    """
    if len(peek.body) > _LARGEST_CANONICAL:
        return peek.body
    try:
        request = _loads(peek.body.decode())
        return _dumps({name: value for name, value in request.items() if name not in ignore}).encode()
    except (ValueError, RecursionError):
        return peek.body


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


# The standard library's, for msgspec's decoder does not tell that a name is repeated.
_loads = json.JSONDecoder(object_pairs_hook=_unrepeated).decode
_dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class _Edit:
    """The members of a body as they change; nothing is taken apart before the first change."""

    __slots__ = ("_heads", "_members", "_tail", "values")

    def __init__(self, found: Members) -> None:
        self._members = found
        self._heads: dict[str, bytes] = {}
        self._tail = b""  # empty: nothing has changed
        self.values: dict[str, Raw | bytes] = {**found.fields}

    def _open(self) -> dict[str, bytes]:
        if not self._tail:
            self._heads, self._tail = self._members.heads()
        return self._heads

    def body(self) -> bytes:
        if not self._tail:
            return self._members.body
        pieces = [piece for name, head in self._heads.items() for piece in (head, self.values[name])]
        return b"".join(pieces or [b"{"]) + self._tail

    def holds(self, name: str, begin: bytes) -> bool:
        """Whether there is a value that begins so."""
        value = self.values.get(name)
        return value is not None and bytes(memoryview(value)[:1]) == begin

    def put(self, name: str, value: bytes) -> None:
        """The field has this value, in its place, or as the last one if it is new."""
        if name not in self.values:
            heads = self._open()
            heads[name] = (b"," if heads else b"{") + _encode(name) + b":"
        elif bytes(self.values[name]) == value:
            return
        self._open()
        self.values[name] = value

    def drop(self, name: str) -> None:
        if name not in self.values:
            return
        heads = self._open()
        first = next(iter(heads)) == name
        del self.values[name], heads[name]
        if first:
            for name, head in heads.items():
                heads[name] = b"{" + head.lstrip()[1:]
                break

    def rename(self, old: str, new: str) -> None:
        """A field that has the new name already gives way."""
        if old not in self.values or old == new:
            return
        self.drop(new)
        heads = self._open()
        found = HEAD.match(heads[old])
        assert found is not None
        start, end = found.span(1)
        head = found[0][:start] + _encode(new) + found[0][end:]
        self._heads = {(new if name == old else name): (head if name == old else text) for name, text in heads.items()}
        self.values[new] = self.values.pop(old)


def _ask_usage(edit: _Edit) -> None:
    options = edit.values.get("stream_options")
    if options is None or bytes(options) == b"null":
        edit.put("stream_options", _ASKS_USAGE)
        return
    inner = _Edit(members(bytes(options)))
    inner.put("include_usage", b"true")
    edit.put("stream_options", inner.body())


def _apply(quirks: Quirks, edit: _Edit) -> None:
    for old, new in quirks.rename.items():
        edit.rename(old, new)
    for name in quirks.drop:
        edit.drop(name)
    for name, value in quirks.set.items():
        edit.put(name, _encode(value))
    for name, (low, high) in quirks.clamp.items():
        if name in edit.values:
            _clamp(edit, name, low, high)


def _clamp(edit: _Edit, name: str, low: float | None, high: float | None) -> None:
    try:
        value = _number(edit.values[name])
    except msgspec.DecodeError:
        return  # no number, so not ours to judge
    if value is None:
        return
    if low is not None and value < low:
        edit.put(name, _encode(low))
    elif high is not None and value > high:
        edit.put(name, _encode(high))
