"""What is decided about a request before its exchange begins, and what watches the exchange."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gateway.wire.head import Response

if TYPE_CHECKING:
    from gateway.wire.call import Call, Listener
    from gateway.wire.pool import Pool


NEVER = -1  # an epoch that no configuration has


class Record(Protocol):
    """What watches an exchange. Nothing that it does can delay or change a byte."""

    wants_body: bool  # whether pieces of the request's body are still of interest

    def body(self, piece: bytes) -> None: ...
    def handed(self) -> None: ...  # the request has been handed to the pool
    def sent(self, size: int) -> None: ...
    def head(self, response: Response) -> None: ...
    def feed(self, piece: bytes, size: int) -> None: ...  # a piece of the body; `size`: bytes written, framing included
    def whole(self, response: Response, body: bytes, size: int) -> None: ...  # head and feed at once
    def opened(self, extensions: bytes) -> None: ...
    def frames_up(self, data: bytes) -> None: ...
    def frames_down(self, data: bytes) -> None: ...
    def end(self, reason: str, status: int, error: str) -> None: ...


class Plan:
    """What becomes of every request with one particular head; made once, used as often as that head comes again.

    `before` and `after` are the vendor's head around Content-Length's digits. `epoch` is the configuration that it was
    made under: a plan of an older one is thrown away.
    """

    __slots__ = ("after", "before", "bodyless", "chunked", "epoch", "keep_alive", "old", "pool", "record", "websocket")

    def __init__(self, pool: Pool, record: Callable[[], Record], epoch: int) -> None:
        self.pool = pool
        self.record = record
        self.epoch = epoch
        self.before = b""
        self.after = b""
        self.bodyless = False
        self.chunked = False
        self.keep_alive = True
        self.old = False
        self.websocket = False


class CallPlan:
    """The same for a unified call: who decides about it, and what its head said."""

    __slots__ = (
        "after", "before", "bodyless", "chunked", "epoch", "expects", "keep_alive", "listener", "max_body", "old",
        "websocket",
    )  # fmt: skip

    def __init__(self, listener: Callable[[Call], Listener], max_body: int, epoch: int) -> None:
        self.listener = listener
        self.max_body = max_body
        self.epoch = epoch
        self.before = self.after = b""  # there is no head to be forwarded
        self.bodyless = False
        self.chunked = False
        self.expects = False  # the client waits for a 100 before it sends the body
        self.keep_alive = True
        self.old = False
        self.websocket = False
