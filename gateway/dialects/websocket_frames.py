"""The frames of one direction of a WebSocket, cut anywhere -> the pieces of its text messages. Only reads.

What is not text is skipped by count; only where a shared compression window needs them do other messages go through
the inflater too. Protocol nonsense, or a message that inflates without end, ends the reading for good, quietly.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

_CONTINUATION, _TEXT, _CONTROL = 0, 1, 8
_FIN, _COMPRESSED, _RESERVED, _MASKED = 0x80, 0x40, 0x30, 0x80
_PIECE = 64 * 1024
_SLICE = 4 * 1024
_MOST_INFLATED = 32 * 1024 * 1024  # of one message
_FLUSH = b"\x00\x00\xff\xff"  # what RFC 7692 has a sender cut off each message


class Deflate:
    """permessage-deflate of one direction, as the 101 answer agreed on it."""

    __slots__ = ("_inflater", "_left", "keeps_window")

    def __init__(self, keeps_window: bool) -> None:
        self.keeps_window = keeps_window
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # the largest window reads the smaller ones too
        self._left = _MOST_INFLATED

    def inflate(self, data: bytes, give: Callable[[bytes], None]) -> None:
        """Gives the text in bounded pieces. Raises zlib.error on nonsense and on a bomb."""
        for start in range(0, len(data), _SLICE):
            rest = data[start : start + _SLICE]
            while True:
                piece = self._inflater.decompress(rest, _PIECE)
                rest = self._inflater.unconsumed_tail
                self._left -= len(piece)
                if self._left < 0 or self._inflater.eof:
                    raise zlib.error("no end of it")
                if piece:
                    give(piece)
                if not rest and len(piece) < _PIECE:
                    break

    def end_message(self, give: Callable[[bytes], None]) -> None:
        self.inflate(_FLUSH, give)
        self._left = _MOST_INFLATED
        if not self.keeps_window:
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)


def deflate_for(extensions: bytes, *, from_server: bool) -> Deflate | None:
    """The compression of one direction by the value of Sec-WebSocket-Extensions in the 101 answer."""
    for extension in extensions.lower().split(b","):
        name, *parameters = (part.strip() for part in extension.split(b";"))
        if name == b"permessage-deflate":
            side = b"server" if from_server else b"client"
            return Deflate(side + b"_no_context_takeover" not in parameters)
    return None


def unmask(data: bytes, mask: bytes, offset: int) -> bytes:
    """The data without its mask, of which `offset` bytes were used up before."""
    turn = offset % 4
    key = (mask[turn:] + mask[:turn]) * (len(data) // 4 + 1)
    size = len(data)
    return (int.from_bytes(data, "big") ^ int.from_bytes(key[:size], "big")).to_bytes(size, "big")


class FrameReader:
    """Gives each text message's pieces to `piece`, then calls `end`."""

    __slots__ = (
        "_compressed", "_control", "_deflate", "_end", "_final", "_head", "_left", "_mask", "_offset", "_open",
        "_piece", "_text", "broken",
    )  # fmt: skip

    def __init__(self, deflate: Deflate | None, piece: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self._deflate = deflate
        self._piece = piece
        self._end = end
        self._head = b""  # of the next frame, not complete yet
        self._left = 0  # bytes of the current frame's payload still to come
        self._mask = b""
        self._offset = 0  # how far into the mask
        self._final = False
        self._control = False  # the current frame is a control frame
        self._open = False  # a message has begun and not ended
        self._text = False
        self._compressed = False
        self.broken = False

    def whole(self, data: bytes) -> int:
        """The first byte of the frame that the data is, as a whole, unmasked, between messages; else 0."""
        size = len(data)
        if size < 2 or self._left or self._head or self._open or self.broken:
            return 0
        length = data[1]
        if length == 126 and size > 4:
            return data[0] if size - 4 == (data[2] << 8) + data[3] else 0
        return data[0] if length == size - 2 and length < 126 else 0

    def feed(self, data: bytes) -> None:
        try:
            for start in range(0, len(data), _PIECE):
                if not self.broken:
                    self._feed(data[start : start + _PIECE] if len(data) > _PIECE else data)
        except zlib.error:
            self.broken = True

    def _feed(self, data: bytes) -> None:
        position, size = 0, len(data)
        while position < size and not self.broken:
            if not self._left:
                if self._head:
                    data, self._head, position = self._head + data[position:], b"", 0
                    size = len(data)
                behind = self._frame_head(data, position)
                if not behind:
                    self._head = data[position:]
                    return
                position = behind
            stop = min(position + self._left, size)
            self._payload(data, position, stop)
            self._left -= stop - position
            position = stop
            if not self._left and not self._control and self._final:
                self._message_ended()

    def _frame_head(self, data: bytes, position: int) -> int:
        """Reads a frame's head; the position behind it, or 0 if it is not complete."""
        if len(data) - position < 2:
            return 0
        first, second = data[position], data[position + 1]
        length, behind = second & 0x7F, position + 2
        if length > 125:
            width = 2 if length == 126 else 8
            length = int.from_bytes(data[behind : behind + width], "big")
            behind += width
        masked = 4 if second & _MASKED else 0
        if len(data) < behind + masked:
            return 0
        self._mask, self._offset = data[behind : behind + masked], 0
        self._left = length
        self._frame_begins(first, length)
        return behind + masked

    def _frame_begins(self, first: int, length: int) -> None:
        opcode, compressed = first & 0x0F, bool(first & _COMPRESSED)
        self._final = bool(first & _FIN)
        self._control = opcode >= _CONTROL
        if self._control:
            self.broken = not self._final or compressed or length > 125 or opcode > _CONTROL + 2
        else:
            self.broken = self._open == (opcode != _CONTINUATION) or opcode > _TEXT + 1
            if opcode != _CONTINUATION:
                self._open, self._text, self._compressed = True, opcode == _TEXT, compressed
            elif compressed:
                self.broken = True
        if first & _RESERVED or length >= 1 << 63 or (compressed and self._deflate is None):
            self.broken = True

    def _payload(self, data: bytes, position: int, stop: int) -> None:
        if self._control or self.broken or stop == position:
            return
        deflate = self._deflate if self._compressed else None
        if not self._text and (deflate is None or not deflate.keeps_window):
            return
        piece = data[position:stop]
        if self._mask:
            piece = unmask(piece, self._mask, self._offset)
            self._offset += stop - position
        if deflate is None:
            self._piece(piece)
        else:
            deflate.inflate(piece, self._piece if self._text else _drop)

    def _message_ended(self) -> None:
        deflate = self._deflate if self._compressed else None
        if deflate is not None and (self._text or deflate.keeps_window):
            deflate.end_message(self._piece if self._text else _drop)
        self._open = False
        if self._text:
            self._end()


def _drop(_: bytes) -> None:
    pass
