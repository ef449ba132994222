"""Responses that the gateway stores itself, for vendors that have no Responses API (`store_responses`).

    expand   a request that goes on from a stored response -> the same with the whole conversation as its input
    store    a finished response, with the items that led to it
    get, items, delete   what `GET` and `DELETE /v1/responses/{id}` say

All is JSON of the Responses API: the neutral form of chats knows nothing of it. A response belongs to the gateway key
that asked for it, and holds its whole conversation, so that one that expires or is deleted breaks no later one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from gateway.dialects.losses import Losses
from gateway.errors import BadRequest, GatewayError, Source, Unsupported
from gateway.yaml_lines import shown

MAX_FILE = 1 << 30  # bytes: for whoever makes the store
MAX_ENTRY = 32 << 20  # of one response with its conversation; a larger one is not stored
_MOST_LISTED, _LISTED = 100, 20
_PREVIOUS = "previous_response_id"
STORING = ("store", _PREVIOUS)  # the fields that are meant for who stores

REFUSED: Losses = {
    "store (true)": "refused: nothing is stored here unless the gateway's `store_responses` says so",
    _PREVIOUS: "refused: nothing is stored here unless the gateway's `store_responses` says so",
}


class PreviousNotFound(BadRequest):
    code = "previous_response_not_found"


class ResponseNotFound(GatewayError):
    status, code, source = 404, "not_found", Source.CLIENT


class Store(Protocol):
    """Where responses outlive the process and are shared with others."""

    def get(self, digest: bytes) -> asyncio.Future[bytes | None]: ...
    def write(self, digest: bytes, answer: bytes, expires: float, now: float) -> asyncio.Future[bool]: ...
    def remove(self, digest: bytes) -> asyncio.Future[bool]: ...
    def purge(self, now: float) -> None: ...
    async def close(self) -> None: ...


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """`input`: the whole conversation before the response, as JSON; `output` is in the response."""

    expires: float
    input: bytes
    response: bytes


_pack = msgspec.msgpack.Encoder().encode
_unpacker = msgspec.msgpack.Decoder(_Stored)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class StoredResponses:
    """`hours`: how long responses are stored; 0: not at all. `now` is the time of day."""

    def __init__(self, store: Store, hours: float, now: Callable[[], float]) -> None:
        self._store = store
        self._seconds = hours * 3600
        self._now = now

    async def expand(self, key_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        """The request's fields with the whole conversation as `input`, and `store` as it is meant: to be converted, and
        given to `store` afterwards. Raises BadRequest, Unsupported or PreviousNotFound.
        """
        wanted, previous = fields.get("store"), fields.get(_PREVIOUS)
        if wanted is not None and type(wanted) is not bool:
            raise BadRequest("store must be true or false", param="store")
        if previous is not None and type(previous) is not str:
            raise BadRequest(f"{_PREVIOUS} must be a string", param=_PREVIOUS)
        if not self._seconds:
            if wanted:
                raise _refused("store", "store (true)")
            if previous is not None:
                raise _refused(_PREVIOUS, _PREVIOUS)
            return fields
        fields = {**fields, "store": wanted is not False}
        if previous is not None:
            stored = await self._found(key_id, previous)
            if stored is None:
                raise PreviousNotFound(f"Previous response with id {shown(previous)} not found.", param=_PREVIOUS)
            fields["input"] = [*_decode(stored.input), *_decode(stored.response)["output"], *_items(fields)]
        return fields

    async def store(self, key_id: str, fields: Mapping[str, Any], response: Mapping[str, Any]) -> bool:
        """Stores what was answered to the fields that `expand` gave; done when it will be found. False: it is not."""
        id, output = response.get("id"), response.get("output")
        if not self._seconds or fields.get("store") is not True or not isinstance(id, str) or type(output) is not list:
            return False
        whole = {**response, "store": True, _PREVIOUS: fields.get(_PREVIOUS)}
        now = self._now()
        stored = _pack(_Stored(now + self._seconds, _encode(_items(fields)), _encode(whole)))
        if len(stored) > MAX_ENTRY:
            return False
        return await self._store.write(_digest(key_id, id), stored, now + self._seconds, now)

    async def get(self, key_id: str, id: str) -> bytes:
        """The response as JSON. Raises ResponseNotFound."""
        return (await self._known(key_id, id)).response

    async def items(self, key_id: str, id: str, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of what led to the response, the last first unless the query says otherwise. Raises ResponseNotFound
        or BadRequest.
        """
        stored = await self._known(key_id, id)
        made_from = id.partition("_")[2] or id
        items = [_listed(item, f"{made_from}{index:04d}") for index, item in enumerate(_decode(stored.input))]
        return _page(items, query)

    async def delete(self, key_id: str, id: str) -> dict[str, Any]:
        """What a client is told of a response that is gone. Raises ResponseNotFound."""
        await self._known(key_id, id)
        await self._store.remove(_digest(key_id, id))
        return {"id": id, "object": "response", "deleted": True}

    def purge(self, now: float) -> None:
        """Removes from the store what has expired; called now and then."""
        self._store.purge(now)

    async def _known(self, key_id: str, id: str) -> _Stored:
        stored = await self._found(key_id, id)
        if stored is None:
            raise ResponseNotFound(f"Response with id {shown(id)} not found.")
        return stored

    async def _found(self, key_id: str, id: str) -> _Stored | None:
        packed = await self._store.get(_digest(key_id, id))
        try:
            stored = _unpacker.decode(packed) if packed is not None else None
        except msgspec.DecodeError:
            return None
        return stored if stored is not None and stored.expires > self._now() else None


def _refused(name: str, row: str) -> Unsupported:
    why = REFUSED[row].partition(": ")[2]
    return Unsupported(f"{name} cannot be carried to this model's vendor: {why}", param=name)


def _items(fields: Mapping[str, Any]) -> list[Any]:
    """The input as items, whichever way it was written."""
    value = fields.get("input")
    if value is None:
        return []
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if isinstance(value, list):
        return value
    raise BadRequest("input must be a string or a list of items", param="input")


# Item -> what its ids begin with.
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def _listed(item: dict[str, Any], number: str) -> dict[str, Any]:
    """An item as the API lists it: with type, id and status, and content in parts."""
    kind = item.get("type") or "message"
    id = item.get("id") or f"{_PREFIXES.get(kind, 'item')}_{number}"
    listed = {**item, "id": id, "type": kind}
    if kind == "message" and isinstance(text := item.get("content"), str):
        said: dict[str, Any] = {"type": "input_text", "text": text}
        if item.get("role") == "assistant":
            said = {"type": "output_text", "text": text, "annotations": []}
        listed["content"] = [said]
    if kind in _PREFIXES and item.get("status") is None:
        listed["status"] = "completed"
    return listed


def _page(items: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    order, after, limit = query.get("order", "desc"), query.get("after"), query.get("limit", str(_LISTED))
    if order not in ("asc", "desc"):
        raise BadRequest("order must be asc or desc", param="order")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= _MOST_LISTED):
        raise BadRequest(f"limit must be a whole number from 1 to {_MOST_LISTED}", param="limit")
    if order == "desc":
        items.reverse()
    start = 0
    if after is not None:
        start = next((place for place, item in enumerate(items, 1) if item["id"] == after), 0)
        if not start:
            raise BadRequest("after must be the id of one of the items", param="after")
    page = items[start : start + int(limit)]
    return {
        "object": "list", "data": page, "has_more": start + len(page) < len(items),
        "first_id": page[0]["id"] if page else "", "last_id": page[-1]["id"] if page else "",
    }  # fmt: skip


def _digest(key_id: str, id: str) -> bytes:
    # A key's id holds no NUL, so no two questions look alike.
    return hashlib.blake2b(f"{key_id}\0{id}".encode(errors="surrogatepass"), digest_size=32).digest()
