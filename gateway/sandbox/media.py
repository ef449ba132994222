"""Deterministic pictures and sound: small, but real files that decoders accept."""

from __future__ import annotations

import array
import hashlib
import math
import struct
import zlib

RATE = 24000
MS_PER_WORD = 200
# One silent MPEG-1 layer III frame, 128 kbit/s at 44.1 kHz: 417 bytes, 26 ms.
_MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)
_MARK = b"ICMT"
_ID3_MARK = b"TIT2"


def png(text: str, width: int, height: int, size: int = 0) -> bytes:
    """A one-coloured picture, the colour from the text; padded to about `size` bytes where that is more."""
    colour = hashlib.sha256(text.encode()).digest()[:3]
    row = b"\0" + bytes((width + 7) // 8)
    parts = [
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)),
        _chunk(b"PLTE", colour + b"\0\0\0"),
        _chunk(b"IDAT", zlib.compress(row * height)),
    ]
    short = size - 20 - sum(map(len, parts))
    if short > 12:
        parts.append(_chunk(b"paDd", bytes(short - 12)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + _chunk(b"IEND", b"")


_MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


def kind_of(data: bytes) -> str | None:
    """The media type of a picture by its first bytes, if they tell."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pcm(text: str, words: int, size: int = 0) -> bytes:
    """A tone of 16-bit mono samples at 24 kHz, its pitch from the text; 200 ms a word, or `size` bytes."""
    samples = size // 2 or words * RATE * MS_PER_WORD // 1000
    pitch = 200 + hashlib.sha256(text.encode()).digest()[0]
    period = max(RATE // pitch, 1)
    wave = array.array("h", (int(8000 * math.sin(2 * math.pi * i / period)) for i in range(period)))
    return (wave * (samples // period + 1))[:samples].tobytes()


def wav(text: str, words: int, size: int = 0) -> bytes:
    """The tone as a WAV file whose comment is the text: that is what the sandbox's transcriptions read back."""
    comment = text.encode() + b"\0"
    comment += b"\0" * (len(comment) % 2)
    info = b"INFO" + _MARK + struct.pack("<I", len(comment)) + comment
    data = pcm(text, words, size)
    form = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
    form += b"LIST" + struct.pack("<I", len(info)) + info + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(form)) + form


def mp3(text: str, words: int, size: int = 0) -> bytes:
    """Silent MP3 frames behind an ID3v2.4 tag whose title is the text."""
    title = b"\x03" + text.encode()
    frame = _ID3_MARK + _syncsafe(len(title)) + b"\0\0" + title
    count = size // len(_MP3_FRAME) or max(words * MS_PER_WORD // 26, 1)
    return b"ID3\x04\0\0" + _syncsafe(len(frame)) + frame + _MP3_FRAME * count


def _syncsafe(number: int) -> bytes:
    return bytes((number >> shift) & 0x7F for shift in (21, 14, 7, 0))


def seconds(data: bytes) -> float:
    """How long a sound file is: exact for WAV, by 128 kbit/s for all else."""
    if data[:4] == b"RIFF" and b"fmt " in data[:200] and b"data" in data:
        rate: int = struct.unpack_from("<I", data, data.index(b"fmt ") + 16)[0]
        return round((len(data) - data.index(b"data") - 8) / max(rate, 1), 3)
    return round(len(data) / 16000, 3)


def heard(data: bytes) -> str:
    """What is said in a sound file: the text that the sandbox put in, else a sentence about its length."""
    at = data.find(_MARK, 0, 4096)
    if data[:4] == b"RIFF" and at > 0:
        length = struct.unpack_from("<I", data, at + 4)[0]
        return data[at + 8 : at + 8 + length].rstrip(b"\0").decode("utf-8", "replace")
    if data[:3] == b"ID3" and data[10:14] == _ID3_MARK:
        length = sum(byte << shift for byte, shift in zip(data[14:18], (21, 14, 7, 0), strict=True))
        return data[21 : 20 + length].decode("utf-8", "replace")
    return f"A sound of {seconds(data)} seconds."
