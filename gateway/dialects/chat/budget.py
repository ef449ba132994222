"""How much a reader or writer may hold back of one stream."""

from __future__ import annotations

from gateway.errors import BadUpstreamReply


class Budget:
    """`most` characters. What is given back may be taken again."""

    __slots__ = ("_left",)

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, size: int) -> None:
        """Raises BadUpstreamReply where the vendor's stream wants more than there is."""
        self._left -= size
        if self._left < 0:
            raise BadUpstreamReply("the vendor's stream holds more calls, or longer ones, than the gateway accepts")

    def give(self, size: int) -> None:
        self._left += size
