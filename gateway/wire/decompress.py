"""Content-Encoding undone on a copy of a body, so that it can be metered: gzip, deflate, br, zstd and lists of them.

Output comes in pieces of at most 64 KiB, made one at a time, so that a decompression bomb costs no memory. Corrupt data
raises nothing: the output stops where it became unreadable, and `broken` tells.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import brotli  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 64 * 1024
_SLICE = 4 * 1024  # of input: what a decoder could not use yet is copied for each piece of output, so keep it short
_ZSTD_WINDOW_LOG = 23  # 8 MiB, all that RFC 9659 lets a sender use

_UNREADABLE = (zlib.error, brotli.error, zstd.ZstdError, EOFError, ValueError, MemoryError)


class _Codec(Protocol):
    """One encoding: pieces for the next slice of input. Raises one of `_UNREADABLE`."""

    def feed(self, data: bytes) -> Iterator[bytes]: ...


class _Zlib:
    """gzip (any number of members) and deflate, which is zlib by the standard and raw with some servers."""

    def __init__(self, window_bits: int | None) -> None:
        self._window_bits = window_bits
        self._decoder = None if window_bits is None else zlib.decompressobj(window_bits)
        self._head = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._decoder is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            is_zlib = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        while data:
            decoder = self._decoder
            if decoder.eof:
                if self._window_bits is None:
                    return  # behind a deflate stream comes nothing
                data = data.lstrip(b"\0")  # gzip may be padded
                if not data:
                    return
                decoder = self._decoder = zlib.decompressobj(self._window_bits)
            piece = decoder.decompress(data, PIECE)
            data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            if piece:
                yield piece
            while not data and len(piece) == PIECE and not decoder.eof:
                # The input is used up, but the decoder may hold back output beyond the piece.
                piece = decoder.decompress(b"", PIECE)
                if piece:
                    yield piece


class _Brotli:
    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        decoder = self._decoder
        if decoder.is_finished():
            return
        while True:
            piece = decoder.process(data, output_buffer_limit=PIECE)
            for start in range(0, len(piece), PIECE):  # the limit is a hint to the library
                yield piece[start : start + PIECE]
            if decoder.is_finished() or (decoder.can_accept_more_data() and len(piece) < PIECE):
                return
            data = b""  # there is more output than one piece


class _Zstd:
    """Any number of frames."""

    def __init__(self) -> None:
        self._decoder = self._new()

    def feed(self, data: bytes) -> Iterator[bytes]:
        decoder = self._decoder
        while True:
            if decoder.eof:
                data = decoder.unused_data or data
                if not data:
                    return
                decoder = self._decoder = self._new()
            piece = decoder.decompress(data, PIECE)
            data = b""
            if piece:
                yield piece
            if decoder.needs_input or (decoder.eof and not decoder.unused_data):
                return

    @staticmethod
    def _new() -> zstd.ZstdDecompressor:
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})


_CODECS: dict[bytes, Callable[[], _Codec]] = {
    b"gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    b"x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    b"deflate": lambda: _Zlib(None),
    b"br": _Brotli,
    b"zstd": _Zstd,
}
_MOST_ENCODINGS = 4


class Decompressor:
    """Takes encoded bytes, gives decoded ones."""

    __slots__ = ("_codecs", "broken")

    def __init__(self, codecs: list[_Codec]) -> None:
        self._codecs = codecs
        self.broken = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that these bytes complete; to be used up before the next `feed`."""
        if self.broken:
            return
        pieces: Iterable[bytes] = (data[start : start + _SLICE] for start in range(0, len(data), _SLICE))
        for codec in self._codecs:
            pieces = _through(codec, pieces)
        try:
            yield from pieces
        except _UNREADABLE:
            self.broken = True


def _through(codec: _Codec, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), _SLICE):
            yield from codec.feed(piece[start : start + _SLICE])


def decompressor(encodings: bytes) -> Decompressor | None:
    """For the value of Content-Encoding; None if it names something unknown, so that the body cannot be metered."""
    names = [name for part in encodings.lower().split(b",") if (name := part.strip()) not in (b"", b"identity")]
    if len(names) > _MOST_ENCODINGS or not all(name in _CODECS for name in names):
        return None
    return Decompressor([_CODECS[name]() for name in reversed(names)])
