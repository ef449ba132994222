"""Content encodings undone: every encoding and list of them, cut anywhere, bounded, quiet on nonsense."""

from __future__ import annotations

import gzip
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.decompress import PIECE, decompressor

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def raw_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(data) + encoder.flush()


ENCODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": zipped,
    b"x-gzip": zipped,
    b"GZIP ": zipped,
    b"identity, gzip": zipped,
    b"deflate": zlib.compress,
    b" deflate": raw_deflate,
    b"br": brotli.compress,
    b"zstd": zstd.compress,
    b"gzip, br": lambda data: bytes(brotli.compress(zipped(data))),
    b"gzip, gzip": lambda data: zipped(zipped(data)),
    b"deflate,zstd,gzip": lambda data: zipped(zstd.compress(zlib.compress(data))),
    b"": bytes,
    b"identity": bytes,
}
TEXT = b"".join(b'data: {"n": %d}\n\n' % number for number in range(20_000))
NOISE = random.Random(7).randbytes(150_000)


def encoded(encodings: bytes, data: bytes) -> bytes:
    return ENCODERS[encodings](data)


def decoded(encodings: bytes, data: bytes, step: int) -> bytes:
    decoder = decompressor(encodings)
    assert decoder is not None
    found = bytearray()
    for start in range(0, len(data), step):
        for piece in decoder.feed(data[start : start + step]):
            assert 0 < len(piece) <= PIECE
            found += piece
    assert not decoder.broken
    return bytes(found)


@pytest.mark.parametrize("encodings", ENCODERS)
@pytest.mark.parametrize("data", [b"", b"x", TEXT, NOISE, TEXT + NOISE], ids=["empty", "x", "text", "noise", "both"])
@pytest.mark.parametrize("step", [999, 1 << 30])
def test_round_trip(encodings: bytes, data: bytes, step: int) -> None:
    assert decoded(encodings, ENCODERS[encodings](data), step) == data


@pytest.mark.parametrize("encodings", ENCODERS)
def test_byte_by_byte(encodings: bytes) -> None:
    assert decoded(encodings, ENCODERS[encodings](TEXT[:5000]), 1) == TEXT[:5000]


@pytest.mark.parametrize("encodings", [b"gzip", b"br", b"zstd", b"deflate"])
def test_what_was_flushed_comes_out_at_once(encodings: bytes) -> None:
    """A stream is metered while it runs: an event that the vendor flushed must not wait for the next one."""
    encoders = {
        b"gzip": lambda: zlib.compressobj(wbits=31),
        b"deflate": zlib.compressobj,
        b"br": brotli.Compressor,
        b"zstd": zstd.ZstdCompressor,
    }
    encoder = encoders[encodings]()
    decoder = decompressor(encodings)
    assert decoder is not None
    for number in range(3):
        event = b"data: %d\n\n" % number
        if encodings == b"br":
            data = encoder.process(event) + encoder.flush()
        elif encodings == b"zstd":
            data = encoder.compress(event, zstd.ZstdCompressor.FLUSH_BLOCK)
        else:
            data = encoder.compress(event) + encoder.flush(zlib.Z_SYNC_FLUSH)
        assert b"".join(decoder.feed(data)) == event


@pytest.mark.parametrize("encodings", [b"gzip", b"zstd"])
@pytest.mark.parametrize("step", [1, 7, 1 << 30])
def test_several_members_or_frames(encodings: bytes, step: int) -> None:
    encode = ENCODERS[encodings]
    assert decoded(encodings, encode(b"one ") + encode(b"") + encode(b"two"), step) == b"one two"


def test_gzip_may_be_padded() -> None:
    assert decoded(b"gzip", zipped(b"one") + bytes(3000), 1000) == b"one"


@pytest.mark.parametrize("encodings", [b"compress", b"gzip, aws-chunked", b"gzip;q=1", b"\xff", b"gzip," * 5])
def test_unknown_encodings_cannot_be_metered(encodings: bytes) -> None:
    assert decompressor(encodings) is None


@pytest.mark.parametrize("encodings", [b"gzip", b"br", b"zstd", b"deflate", b"gzip, gzip"])
def test_corrupt_data_stops_quietly_behind_what_was_good(encodings: bytes) -> None:
    good = encoded(encodings, TEXT)
    decoder = decompressor(encodings)
    assert decoder is not None
    half = good[: len(good) // 2] + bytes(range(256)) * 400
    found = b"".join(b"".join(decoder.feed(half[start : start + 77])) for start in range(0, len(half), 77))
    assert found[:10_000] == TEXT[:10_000]
    assert found != TEXT
    list(decoder.feed(b"\xff" * 100_000))
    assert decoder.broken
    assert list(decoder.feed(good)) == []


@pytest.mark.parametrize("encodings", [b"gzip", b"br", b"zstd", b"deflate", b"gzip, gzip", b"br, gzip"])
def test_what_is_not_encoded_at_all_gives_nothing(encodings: bytes) -> None:
    decoder = decompressor(encodings)
    assert decoder is not None
    assert b"".join(decoder.feed(b'{"usage": null}' * 3000)) == b""
    assert decoder.broken


@pytest.mark.parametrize("encodings", [b"gzip", b"br", b"zstd", b"deflate", b"gzip, gzip"])
def test_a_bomb_comes_out_in_pieces(encodings: bytes) -> None:
    size = 64 << 20
    bomb = encoded(encodings, bytes(size))
    decoder = decompressor(encodings)
    assert decoder is not None
    tracemalloc.start()
    try:
        assert sum(map(len, decoder.feed(bomb))) == size
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.sampled_from(sorted(ENCODERS)), st.lists(st.binary(max_size=60), max_size=8), st.booleans())
@settings(max_examples=300, deadline=None)
def test_nothing_is_raised_on_any_input(encodings: bytes, pieces: list[bytes], begin_well: bool) -> None:
    decoder = decompressor(encodings)
    assert decoder is not None
    if begin_well:
        pieces = [ENCODERS[encodings](TEXT[:500])[:-20], *pieces]
    for piece in pieces:
        assert all(decoder.feed(piece))
