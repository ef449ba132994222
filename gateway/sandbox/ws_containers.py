"""Sound files around the sandbox's voice: real files that decoders accept, the same bytes for the same text.

`pcm`, `wav` and `flac` hold the spoken samples. `mp3` and `ogg_opus` hold silence of the same length and carry the text
where decoders do not look: in the ancillary bytes of the MP3 frames, in the comment header of the Ogg stream.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import struct
from collections.abc import Callable, Iterator

from gateway.sandbox.ws_voice import CHAR_MS, Ear, Heard, speak

MIME = {
    "pcm": "audio/pcm",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg_opus": "audio/ogg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
}
# MPEG version bits, samples a frame, side information of one channel, bit rate index of 64 kbit/s; by sample rate.
_MPEG1, _MPEG2, _MPEG25 = (0b11, 1152, 17, 5), (0b10, 576, 9, 8), (0b00, 576, 9, 8)
_MP3_RATES = {
    44100: (_MPEG1, 0), 48000: (_MPEG1, 1), 32000: (_MPEG1, 2),
    22050: (_MPEG2, 0), 24000: (_MPEG2, 1), 16000: (_MPEG2, 2),
    11025: (_MPEG25, 0), 12000: (_MPEG25, 1), 8000: (_MPEG25, 2),
}  # fmt: skip
_MP3_BITRATE = 64000
_MARK = b"TEXT"
_TAGS, _COMMENT = b"OpusTags", b"DESCRIPTION="
_OPUS_SILENCE = b"\xf8\xff\xfe"  # 20 ms
_OPUS_MS = 20
_FLAC_BLOCK = 4096


def encode(text: str, voice: str, form: str, rate: int) -> bytes:
    """The text as a file of that form."""
    return _ENCODERS[form](text, voice, rate)


def text_in(data: bytes, rate: int = 16000) -> str:
    """What is said in a sound of a known form; bytes of no known form are taken for samples at that rate."""
    if data.startswith(b"\xff") and _MARK in data:
        return _mp3_text(data)
    if data.startswith(b"OggS"):
        return _ogg_text(data)
    if data.startswith(b"RIFF"):
        rate, data = wav_samples(data)
    ear = Ear(rate)
    ear.feed(data)
    ear.close()
    return ear.text


class Speaker:
    """Speaks sentence after sentence as one stream: a WAV header comes once, without the length."""

    def __init__(self, voice: str, form: str, rate: int) -> None:
        self.voice, self.form, self.rate = voice, form, rate
        self._head = wav_header(rate) if form == "wav" else b""

    def pieces(self, text: str, ms: int = 200) -> list[bytes]:
        """The sentence in pieces of so many milliseconds (as samples; compressed forms have fewer)."""
        form = "pcm" if self.form == "wav" else self.form
        data, self._head = self._head + encode(text, self.voice, form, self.rate), b""
        return list(_split(data, 2 * self.rate * ms // 1000))


def ear_for(form: str, rate: int) -> Ear:
    """An ear for sound of that form as it arrives."""
    return {"pcm": Ear, "wav": _WavEar}.get(form, _FileEar)(rate)


class _WavEar(Ear):
    """Skips the header, however it is cut."""

    def __init__(self, rate: int) -> None:
        super().__init__(rate)
        self._head: bytes | None = b""

    def feed(self, pcm: bytes) -> None:
        if self._head is None:
            super().feed(pcm)
            return
        self._head += pcm
        at = self._head.find(b"data", 12)
        if at > 0 and len(self._head) >= at + 8:
            pcm, self._head = self._head[at + 8 :], None
            super().feed(pcm)


class _FileEar(Ear):
    """For compressed sound: hears nothing before the end."""

    def __init__(self, rate: int) -> None:
        super().__init__(rate)
        self._data = b""

    @property
    def duration_ms(self) -> int:
        return len(self._data) * 8000 // _MP3_BITRATE

    def feed(self, pcm: bytes) -> None:
        self._data += pcm

    def close(self) -> None:
        text = text_in(self._data, self.rate)
        self.heard = [Heard(char, i * CHAR_MS, (i + 1) * CHAR_MS) for i, char in enumerate(text)]


def wav_header(rate: int, size: int = 0xFFFFFFFF) -> bytes:
    """44 bytes; without a size that of a stream whose end is not known."""
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    whole = min(size + 36, 0xFFFFFFFF)
    return struct.pack("<4sI8s", b"RIFF", whole, b"WAVEfmt ") + form + struct.pack("<4sI", b"data", size)


def wav_samples(data: bytes) -> tuple[int, bytes]:
    """Rate and samples of a WAV file, or of what is there of one."""
    at = data.find(b"data", 12)
    return int.from_bytes(data[24:28], "little") or 16000, data[at + 8 :] if at > 0 else b""


def _pcm(text: str, voice: str, rate: int) -> bytes:
    return speak(text, rate, voice)


def _wav(text: str, voice: str, rate: int) -> bytes:
    pcm = speak(text, rate, voice)
    return wav_header(rate, len(pcm)) + pcm


def _mp3(text: str, voice: str, rate: int) -> bytes:
    (version, samples, side, index), rate_index = _MP3_RATES[rate]
    size = samples // 8 * _MP3_BITRATE // rate
    head = bytes((0xFF, 0xE0 | version << 3 | 0b011, index << 4 | rate_index << 2, 0b11 << 6)) + bytes(side)
    room = min(size - len(head) - len(_MARK) - 1, 255)
    parts = list(_split(text.encode(), room)) or [b""]
    count = max(len(parts), -(-len(text) * CHAR_MS * rate // (1000 * samples)))
    padded = itertools.islice(itertools.chain(parts, itertools.repeat(b"")), count)
    return b"".join((head + _MARK + bytes((len(part),)) + part).ljust(size, b"\0") for part in padded)


def _mp3_text(data: bytes) -> str:
    found, at = b"", data.find(_MARK)
    while at >= 0:
        size = data[at + len(_MARK)]
        at += len(_MARK) + 1
        found += data[at : at + size]
        at = data.find(_MARK, at + size)  # behind the text, which may hold the mark itself
    return found.decode("utf-8", "replace")


def _ogg_opus(text: str, voice: str, rate: int) -> bytes:
    head = struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, 0, rate, 0, 0)
    comment = _COMMENT + text.encode()
    tags = _TAGS + _sized(b"sandbox") + struct.pack("<I", 1) + _sized(comment)
    packets = [_OPUS_SILENCE] * max(-(-len(text) * CHAR_MS // _OPUS_MS), 1)
    pages = [_ogg_page(0, 0b010, 0, [head]), _ogg_page(1, 0, 0, [tags])]
    groups = [packets[i : i + 50] for i in range(0, len(packets), 50)]
    done = 0
    for number, group in enumerate(groups, 2):
        done += len(group)
        pages.append(_ogg_page(number, 0b100 if number == len(groups) + 1 else 0, done * _OPUS_MS * 48, group))
    return b"".join(pages)


def _ogg_page(number: int, kind: int, position: int, packets: list[bytes]) -> bytes:
    lacing = b"".join(b"\xff" * (len(p) // 255) + bytes((len(p) % 255,)) for p in packets)
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, kind, position, 1, number, 0, len(lacing))
    page = bytearray(head + lacing + b"".join(packets))
    page[22:26] = struct.pack("<I", _crc(bytes(page), 32, 0x04C11DB7))
    return bytes(page)


def _ogg_text(data: bytes) -> str:
    """Of all the streams in a row: a speaker sends one a sentence."""
    found, at = "", data.find(_TAGS)
    while at >= 0:
        at += len(_TAGS) + 4 + int.from_bytes(data[at + 8 : at + 12], "little") + 4
        size = int.from_bytes(data[at : at + 4], "little")
        found += data[at + 4 + len(_COMMENT) : at + 4 + size].decode("utf-8", "replace")
        at = data.find(_TAGS, at + 4 + size)
    return found


def _flac(text: str, voice: str, rate: int) -> bytes:
    """Verbatim subframes: sound without compression is allowed, and simple."""
    pcm = speak(text, rate, voice)
    info = struct.pack(">HH", _FLAC_BLOCK, _FLAC_BLOCK) + bytes(6)
    info += (rate << 44 | 15 << 36 | len(pcm) // 2).to_bytes(8, "big") + hashlib.md5(pcm).digest()
    out = io.BytesIO()
    out.write(b"fLaC\x80" + len(info).to_bytes(3, "big") + info)
    for number, block in enumerate(_split(pcm, 2 * _FLAC_BLOCK)):
        head = b"\xff\xf8\x70\x08" + chr(number).encode() + struct.pack(">H", len(block) // 2 - 1)
        swapped = bytearray(len(block))
        swapped[::2], swapped[1::2] = block[1::2], block[::2]
        frame = head + bytes((_crc(head, 8, 0x07), 0b00000010)) + swapped
        out.write(frame + struct.pack(">H", _crc(bytes(frame), 16, 0x8005)))
    return out.getvalue()


def _split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def _sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


@functools.cache
def _crc_table(bits: int, polynomial: int) -> list[int]:
    top, mask = 1 << bits - 1, (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return table


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    table, mask, crc = _crc_table(bits, polynomial), (1 << bits) - 1, 0
    for byte in data:
        crc = (crc << 8 ^ table[crc >> bits - 8 ^ byte]) & mask
    return crc


_ENCODERS: dict[str, Callable[[str, str, int], bytes]] = {
    "pcm": _pcm,
    "wav": _wav,
    "mp3": _mp3,
    "ogg_opus": _ogg_opus,
    "opus": _ogg_opus,
    "flac": _flac,
}
