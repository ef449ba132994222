"""The binary frame of Volcengine openspeech: one WebSocket binary message is one frame, integers big-endian.

    byte 0   version (1)          | header size in 4-byte words
    byte 1   message type         | flags
    byte 2   serialization        | compression
    byte 3   reserved
    ...      more header, skipped
    int32    sequence             if flags are 1 or 3
    int32    event                if flags are 4, then, for most events, an id: uint32 size, bytes
    uint32   error code           if the type is ERROR
    uint32   payload size, payload

The payload travels as the compression nibble says; `Frame.payload` is always the plain bytes. What is wrong with a
frame is said by `FrameError`; nothing is repaired here, since the vendor repairs nothing.
"""

from __future__ import annotations

import enum
import gzip
import struct
import zlib
from dataclasses import dataclass
from typing import TypeVar

VERSION = 1
_Member = TypeVar("_Member", bound=enum.IntEnum)


class Type(enum.IntEnum):
    FULL_REQUEST = 0b0001
    AUDIO_REQUEST = 0b0010
    FULL_RESPONSE = 0b1001
    AUDIO_RESPONSE = 0b1011
    FRONT_END_RESULT = 0b1100
    ERROR = 0b1111


class Flags(enum.IntEnum):
    NONE = 0b0000
    SEQUENCE = 0b0001
    LAST = 0b0010
    LAST_SEQUENCE = 0b0011
    EVENT = 0b0100


class Serialization(enum.IntEnum):
    RAW = 0b0000
    JSON = 0b0001
    PROTOBUF = 0b0010
    THRIFT = 0b0011
    CUSTOM = 0b1111


class Compression(enum.IntEnum):
    NONE = 0b0000
    GZIP = 0b0001


class Event(enum.IntEnum):
    START_CONNECTION = 1
    FINISH_CONNECTION = 2
    CONNECTION_STARTED = 50
    CONNECTION_FAILED = 51
    CONNECTION_FINISHED = 52
    START_SESSION = 100
    CANCEL_SESSION = 101
    FINISH_SESSION = 102
    SESSION_STARTED = 150
    SESSION_CANCELED = 151
    SESSION_FINISHED = 152
    SESSION_FAILED = 153
    TASK_REQUEST = 200
    SENTENCE_START = 350
    SENTENCE_END = 351
    TTS_RESPONSE = 352


# Every other event names a connection (downwards) or a session; these two stand alone.
EVENTS_WITHOUT_ID = frozenset({Event.START_CONNECTION, Event.FINISH_CONNECTION})


class FrameError(Exception):
    """A message that is not a frame; the text is what the vendor's error frame says."""


@dataclass(frozen=True)
class Frame:
    """One frame; of `sequence`, `event`, `id` and `code` only those are set that the type and flags call for."""

    type: int
    flags: int = Flags.NONE
    serialization: int = Serialization.JSON
    compression: int = Compression.NONE
    payload: bytes = b""
    sequence: int | None = None
    event: int | None = None
    id: str | None = None
    code: int | None = None

    @property
    def last(self) -> bool:
        """By the flag, never by the sequence's sign: the vendor's own example ends with a positive one."""
        return self.flags in (Flags.LAST, Flags.LAST_SEQUENCE)


def encode(frame: Frame) -> bytes:
    """The bytes of one message."""
    parts = [
        bytes(
            (
                VERSION << 4 | 1,
                frame.type << 4 | frame.flags,
                frame.serialization << 4 | frame.compression,
                0,
            )
        )
    ]
    if _has_sequence(frame.flags):
        parts.append(struct.pack(">i", frame.sequence or 0))
    if frame.flags == Flags.EVENT:
        event = frame.event or 0
        parts.append(struct.pack(">i", event))
        if event not in EVENTS_WITHOUT_ID:
            parts.append(_sized((frame.id or "").encode()))
    if frame.type == Type.ERROR:
        parts.append(struct.pack(">I", frame.code or 0))
    # A fixed time stamp: the same frame is the same bytes.
    payload = gzip.compress(frame.payload, mtime=0) if frame.compression == Compression.GZIP else frame.payload
    parts.append(_sized(payload))
    return b"".join(parts)


def decode(message: bytes) -> Frame:
    """The frame of one message; raises `FrameError` for anything that is not exactly one."""
    reader = _Reader(message)
    version_size, type_flags, serialization_compression, _reserved = reader.take(4, "header")
    version, words = version_size >> 4, version_size & 0x0F
    if version != VERSION:
        raise FrameError(f"unsupported protocol version {version}")
    if words < 1:
        raise FrameError("header size is zero")
    reader.take(4 * (words - 1), "header")
    kind, flags = _member(Type, type_flags >> 4, "message type"), _member(Flags, type_flags & 0x0F, "flags")
    serialization = _member(Serialization, serialization_compression >> 4, "serialization")
    compression = _member(Compression, serialization_compression & 0x0F, "compression")
    sequence = reader.signed("sequence") if _has_sequence(flags) else None
    event, ident = (None, None) if flags != Flags.EVENT else _event(reader)
    code = reader.unsigned("error code") if kind == Type.ERROR else None
    payload = reader.sized("payload")
    if reader.left:
        raise FrameError(f"{reader.left} bytes behind the payload")
    if compression == Compression.GZIP:
        payload = _gunzip(payload)
    return Frame(kind, flags, serialization, compression, payload, sequence, event, ident, code)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int, what: str) -> bytes:
        if size > self.left:
            raise FrameError(f"{what}: {size} bytes expected, {self.left} left")
        self._at += size
        return self._data[self._at - size : self._at]

    def signed(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "big", signed=True)

    def unsigned(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "big")

    def sized(self, what: str) -> bytes:
        return self.take(self.unsigned(f"{what} size"), what)


def _event(reader: _Reader) -> tuple[int, str | None]:
    event = reader.signed("event")
    if event in EVENTS_WITHOUT_ID:
        return event, None
    try:
        return event, reader.sized("id").decode()
    except UnicodeDecodeError as exc:
        raise FrameError("id is not UTF-8") from exc


def _member(kind: type[_Member], value: int, what: str) -> _Member:
    try:
        return kind(value)
    except ValueError as exc:
        raise FrameError(f"unknown {what} {value:#06b}") from exc


def _has_sequence(flags: int) -> bool:
    return flags in (Flags.SEQUENCE, Flags.LAST_SEQUENCE)


def _sized(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _gunzip(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as exc:
        raise FrameError(f"gunzip: {exc}") from exc
