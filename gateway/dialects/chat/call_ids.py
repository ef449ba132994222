"""Ids of calls: each call has one of its own, for clients answer calls by their ids, and their SDKs refuse doubles."""

from __future__ import annotations

import msgspec

from gateway.dialects.chat.form import Answer, Part, ToolCall
from gateway.errors import BadUpstreamReply

_CALL = 64  # what a call takes besides its id
_MOST = 1 << 20  # characters: more calls than any client could answer


class CallIds:
    """Those of one answer, which bounds how many calls it may hold. `seed` makes ids where the vendor repeats one."""

    __slots__ = ("_seed", "_size", "_taken")

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._size = 0
        self._taken: set[str] = set()

    def take(self, id: str) -> str:
        """The id of the call that begins. Raises BadUpstreamReply if there are too many."""
        self._size += len(id) + _CALL
        if self._size > _MOST:
            raise BadUpstreamReply("the vendor's answer holds more calls than the gateway accepts")
        number = len(self._taken)
        while not id or id in self._taken:
            id = f"call_{self._seed}_{number}"
            number += 1
        self._taken.add(id)
        return id


def distinct(answer: Answer, seed: str) -> Answer:
    """The same answer with every call's id its own."""
    if not any(isinstance(part, ToolCall) for part in answer.parts):
        return answer
    ids = CallIds(seed)

    def own(part: Part) -> Part:
        if not isinstance(part, ToolCall) or (id := ids.take(part.id)) == part.id:
            return part
        return msgspec.structs.replace(part, id=id)

    return msgspec.structs.replace(answer, parts=tuple([own(part) for part in answer.parts]))
