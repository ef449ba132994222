"""What a chat dialect must give: a `Surface` where clients speak it, a `Vendor` where vendors do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import Answer, ChatRequest, Event
from gateway.dialects.losses import Losses
from gateway.types import Features, Usage


class Aim(msgspec.Struct, frozen=True):
    """What a request is written for. `model`: as the vendor calls it; `account`: whose signatures are good there."""

    model: str
    features: Features = Features()
    account: str = ""


class Sent(msgspec.Struct, frozen=True):
    """A request for a vendor. `method` follows the path that the vendor has for the dialect; `swap` replaces a piece of
    that path; `lines` are header lines of the dialect (lower-case name, whole line).
    """

    body: bytes
    dropped: tuple[str, ...] = ()
    method: str = ""
    swap: tuple[str, str] = ("", "")
    lines: tuple[tuple[bytes, bytes], ...] = ()


class Told(msgspec.Struct, frozen=True):
    """What writers of answers know of the call. `input_tokens` is an estimate, for where numbers must come first."""

    model: str  # as the client calls it
    request_id: str
    created: int  # seconds since 1970
    request: ChatRequest
    input_tokens: int = 0
    wants_usage: bool = False  # chat: the client asked for a stream's usage
    array: bool = False  # Gemini: a stream as one JSON array


class StreamWriter(Protocol):
    """Events -> the surface's bytes. No event is an error: what a surface cannot show it leaves out."""

    @property
    def PING(self) -> bytes:  # noqa: N802
        """What tells a client that the stream is alive, and nothing else; may be empty."""

    def write(self, event: Event) -> bytes: ...

    def end(self, usage: Usage) -> bytes:
        """What comes behind the last event, terminator included; to be called once, and only if the answer finished."""


class StreamReader(Protocol):
    """A vendor's events -> neutral ones."""

    def read(self, payload: bytes, name: bytes) -> Iterable[Event]:
        """`payload`: the event's data, never `[DONE]`; `name`: what stood behind `event:`. What is of no interest gives
        nothing. Raises BadUpstreamReply, msgspec.DecodeError or RecursionError where it cannot be read.
        """


class Surface(Protocol):
    """A dialect that clients speak."""

    @property
    def LOSSES(self) -> Losses:  # noqa: N802
        """Its own fields that have no place in the neutral form; `*` for all others. Top-level ones that are listed
        may still be carried to a vendor of the family (`Vendor.EXTRAS`).
        """

    @property
    def NAMES(self) -> Mapping[str, str]:  # noqa: N802
        """Fields of ChatRequest -> what they are called here."""

    def read(self, body: Any, model: str, lost: Lost) -> ChatRequest:
        """A decoded request. BadRequest for what is wrong, Unsupported for what no vendor of another dialect has."""

    def write(self, answer: Answer, usage: Usage, told: Told) -> bytes: ...

    def stream(self, told: Told) -> StreamWriter: ...

    def count(self, tokens: int) -> bytes:
        """The answer to a question for the number of a request's tokens; only where the dialect has such a call."""


class Vendor(Protocol):
    """A dialect that vendors speak."""

    @property
    def LOSSES(self) -> Losses:  # noqa: N802
        """Fields of ChatRequest that it cannot carry, as `dropped: why` or `refused: why`; a bracket names a use of
        one, as in `format (any object)`: such rows are for readers and tests, the code raises them itself.
        """

    @property
    def EXTRAS(self) -> Collection[str]:  # noqa: N802
        """Names in ChatRequest.extras that it takes as they are."""

    def write(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent:
        """The vendor's request; `dropped` is filled in by the caller. Rows of LOSSES without a bracket have been dealt
        with, such fields are just not written.
        """

    def read(self, body: bytes, seed: str) -> Answer:
        """A whole answer, of which is known that it is one. `seed` makes ids where the vendor gives none. Raises as
        StreamReader.read.
        """

    def stream(self, seed: str) -> StreamReader: ...

    def count(self, request: ChatRequest, aim: Aim, lost: Lost) -> Sent | None:
        """The question for the number of a request's tokens; None where there is no such call."""

    def counted(self, body: bytes) -> int:
        """The answer to it."""
