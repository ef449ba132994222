"""What workers and the books process say to each other over a Unix socket: batches of msgpack arrays.

A batch is 4 bytes of length and one array of messages; a side writes one batch per turn of its loop. Messages of one
side keep their order. Both ends are processes of one gateway of one version, in a folder that nobody else can open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec

from gateway.books.limits import Standing
from gateway.errors import GatewayError, RateLimited
from gateway.types import Caller, Charge

_MOST = 256 << 20  # bytes of a batch; a worker's open holds come in one, at some 200 bytes each
_LARGEST = 2**62  # of the numbers that clients choose; more than any balance or limit


class Admit(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A call asks to be let in: of its caller only what limits and ledger look at, never a secret."""

    request_id: str
    tokens: int
    amount: int
    key_id: str
    name: str
    account: str
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    budget: int | None
    period: str | None

    @classmethod
    def of(cls, caller: Caller, request_id: str, tokens: int, amount: int) -> Admit:
        return cls(
            request_id, min(tokens, _LARGEST), min(amount, _LARGEST), caller.key_id, caller.name, caller.account,
            caller.rpm, caller.tpm, caller.concurrency, caller.budget, caller.period,
        )  # fmt: skip

    def caller(self) -> Caller:
        return Caller(
            self.key_id, self.name, self.account, None,
            self.rpm, self.tpm, self.concurrency, self.budget, self.period,
        )  # fmt: skip


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A worker's first word on a connection: what it holds, also what it has closed without having heard so."""

    session: str
    holds: list[Admit]


class Close(msgspec.Struct, frozen=True, array_like=True, tag=3):
    charge: Charge
    tokens: int | None


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Where does this caller stand with its limits? `caller.request_id` is the question's own."""

    caller: Admit


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """The worker's holds are known; it may ask from now on."""


class Admitted(msgspec.Struct, frozen=True, array_like=True, tag=12):
    request_id: str
    standing: Standing | None


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=13):
    request_id: str
    code: str
    message: str
    param: str | None
    retry_after: float | None
    kind: str  # of a RateLimited, else empty

    @classmethod
    def of(cls, request_id: str, error: GatewayError) -> Refused:
        kind = error.kind if isinstance(error, RateLimited) else ""
        return cls(request_id, error.code, error.message, error.param, error.retry_after, kind)

    def error(self) -> GatewayError:
        """The error as it was raised on the other side."""
        if self.kind:
            return RateLimited(self.message, kind=self.kind, retry_after=self.retry_after or 0.0)
        return _ERRORS.get(self.code, GatewayError)(self.message, param=self.param, retry_after=self.retry_after)


class Closed(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """The charge is durable; or, with an error, can never be."""

    request_id: str
    error: str = ""


class Told(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """The answer to Ask."""

    request_id: str
    standing: Standing | None


Message = Hello | Admit | Close | Ask | Welcome | Admitted | Refused | Closed | Told


def _kinds(kind: type[GatewayError]) -> dict[str, type[GatewayError]]:
    """Every class of error by its code."""
    found = {kind.code: kind}
    for narrower in kind.__subclasses__():
        found.update(_kinds(narrower))
    return found


_ERRORS = _kinds(GatewayError)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Message])


class Channel(asyncio.Protocol):
    """One end of the connection. Nonsense from the other end closes it."""

    def __init__(self, received: Callable[[Channel, Message], None], lost: Callable[[Channel], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = received
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._in = bytearray()
        self._out: list[bytes] = []

    def send(self, message: Message) -> None:
        """Sends it with everything else of this turn of the loop; a closed channel drops it."""
        out = self._out
        out.append(_encoder.encode(message))  # at once: what cannot be encoded is its sender's fault, not the batch's
        if len(out) == 1:
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Sends what is left, and ends."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def _flush(self) -> None:
        out = self._out
        if out and self._transport is not None and not self._transport.is_closing():
            count = b"\xdd" + len(out).to_bytes(4)  # msgpack's head of an array
            self._transport.write(b"".join([(5 + sum(map(len, out))).to_bytes(4), count, *out]))
        out.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        self._in += data
        start = 0
        while len(self._in) - start >= 4:
            end = start + 4 + int.from_bytes(self._in[start : start + 4])
            if end - start > _MOST:
                return self._abort()
            if len(self._in) < end:
                break
            try:
                messages = _decoder.decode(self._in[start + 4 : end])
            except msgspec.DecodeError:
                return self._abort()
            start = end
            for message in messages:
                self._received(self, message)
        del self._in[:start]
        return None

    def _abort(self) -> None:
        self._in.clear()
        if self._transport is not None:
            self._transport.abort()
