"""The sandbox's voice and its ear: a text becomes samples, and the same samples become the text again.

A character takes 40 ms: eight syllables of 5 ms, each a square wave of one of eight loudness levels. The first seven
levels are the octal digits of the code point, the eighth is their sum modulo 8, so that foreign sound is not taken for
speech. Levels, not pitches: what is heard survives a change of the sample rate. The voice's name sets the pitch.

Foreign sound (not made here) is heard as one `嗯` for each half second that is loud; silence is heard as nothing.
"""

from __future__ import annotations

import array
import functools
import re
import sys
import zlib
from dataclasses import dataclass

CHAR_MS = 40
SYLLABLES = 8
FOREIGN = "嗯"
FOREIGN_MS = 500
_QUIET = 2000  # below that: silence
_LOWEST, _STEP, _TOLERANCE = 4000, 3600, 1500
_BETWEEN_SENTENCES = re.compile(r"(?<=[。！？!?；;\n])|(?<=\.)(?=\s)")


def speak(text: str, rate: int, voice: str = "") -> bytes:
    """16-bit little-endian mono samples of the text; the same text, rate and voice give the same bytes."""
    syllables = _syllables(rate, 800 + 100 * (zlib.crc32(voice.encode()) % 5))
    return b"".join(syllables[place][digit] for char in text for place, digit in enumerate(_digits(ord(char))))


def duration_ms(pcm_size: int, rate: int) -> int:
    return pcm_size // 2 * 1000 // rate


def sentences(text: str) -> list[str]:
    """The text in pieces that end where a sentence does; joined they are the text."""
    return [part for part in _BETWEEN_SENTENCES.split(text) if part]


class Sentences:
    """Text that arrives in pieces, taken out by the sentence."""

    def __init__(self) -> None:
        self._rest = ""

    def push(self, text: str) -> list[str]:
        """The sentences that this piece completes."""
        *whole, last = sentences(self._rest + text) or [""]
        if last and last[-1] in "。！？!?；;\n":
            whole, last = [*whole, last], ""
        self._rest = last
        return whole

    def flush(self) -> list[str]:
        rest, self._rest = self._rest, ""
        return [rest] if rest else []


@dataclass(frozen=True)
class Heard:
    """One character and where it lies in the sound."""

    char: str
    begin_ms: int
    end_ms: int


@dataclass(frozen=True)
class Sentence:
    words: tuple[Heard, ...]
    final: bool

    @property
    def text(self) -> str:
        return "".join(word.char for word in self.words)

    @property
    def begin_ms(self) -> int:
        return self.words[0].begin_ms

    @property
    def end_ms(self) -> int:
        return self.words[-1].end_ms


class Ear:
    """Hears samples as they arrive, in pieces of any size."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.heard: list[Heard] = []
        self.silence_ms = 0  # since the last loud sample
        self.loud_from_ms: int | None = None
        self._pending = bytearray()
        self._at = 0  # samples before _pending
        self._foreign_from: int | None = None
        self._foreign_samples = 0

    @property
    def duration_ms(self) -> int:
        return (self._at + len(self._pending) // 2) * 1000 // self.rate

    @property
    def text(self) -> str:
        return "".join(word.char for word in self.heard)

    def feed(self, pcm: bytes) -> None:
        self._pending += pcm
        samples = _samples(bytes(self._pending[: len(self._pending) & ~1]))
        used = self._listen(samples)
        self._at += used
        del self._pending[: 2 * used]

    def sentences(self, closed: bool = False) -> list[Sentence]:
        """What was heard, by the sentence; the last is not final before its end mark or the end of the sound."""
        found, words = [], list(self.heard)
        parts = sentences(self.text)
        for i, part in enumerate(parts):
            final = closed or i < len(parts) - 1 or part[-1] in "。！？!?；;\n."
            found.append(Sentence(tuple(words[: len(part)]), final))
            del words[: len(part)]
        return found

    def close(self) -> None:
        """The sound has ended: the rest of foreign sound is heard too, unless it is a blur at the edge of speech."""
        much = self._foreign_samples * 2000 >= FOREIGN_MS * self.rate
        if much or self._foreign_samples and not self.heard:
            self._hear_foreign(self._at)

    def _listen(self, samples: array.array[int]) -> int:
        char, window = self.rate * CHAR_MS // 1000, self.rate // 100
        at = 0
        while at + window <= len(samples):
            loud_at = next((i for i in range(at, at + window) if abs(samples[i]) >= _QUIET), None)
            if loud_at is None:
                self._quiet(window)
                at += window
                continue
            if loud_at + char > len(samples):
                break  # the character is not all here yet
            self.silence_ms = 0
            if self.loud_from_ms is None:
                self.loud_from_ms = (self._at + loud_at) * 1000 // self.rate
            heard = _decode(samples[loud_at : loud_at + char])
            if heard is None:
                self._foreign(self._at + at, loud_at + window - at)
                at = loud_at + window
            else:
                self._hear(heard, self._at + loud_at, self._at + loud_at + char)
                at = loud_at + char
        return at

    def _quiet(self, window: int) -> None:
        self.silence_ms += window * 1000 // self.rate

    def _foreign(self, at: int, samples: int) -> None:
        if self._foreign_from is None:
            self._foreign_from = at
        self._foreign_samples += samples
        if self._foreign_samples * 1000 >= FOREIGN_MS * self.rate:
            self._hear_foreign(at + samples)

    def _hear_foreign(self, at: int) -> None:
        self._hear(FOREIGN, self._foreign_from or 0, at)

    def _hear(self, char: str, begin: int, end: int) -> None:
        self.heard.append(Heard(char, begin * 1000 // self.rate, end * 1000 // self.rate))
        self._foreign_from, self._foreign_samples = None, 0


@dataclass(frozen=True)
class News:
    """A sentence that is new, has grown, or has ended."""

    number: int
    sentence: Sentence
    first: bool


class Progress:
    """What an ear has heard since it was last asked."""

    def __init__(self, ear: Ear) -> None:
        self.ear = ear
        self._ended = 0
        self._shown = ""

    def news(self, closed: bool = False) -> list[News]:
        found = []
        for sentence in self.ear.sentences(closed)[self._ended :]:
            if sentence.final or sentence.text != self._shown:
                found.append(News(self._ended, sentence, not self._shown))
            self._shown = sentence.text
            if sentence.final:
                self._ended, self._shown = self._ended + 1, ""
        return found


def _digits(code: int) -> list[int]:
    digits = [code >> 3 * place & 7 for place in range(SYLLABLES - 1)]
    return [*digits, sum(digits) % 8]


@functools.lru_cache(maxsize=64)
def _syllables(rate: int, pitch: int) -> list[list[bytes]]:
    """By place and digit. Places differ in length by a sample where 5 ms are no whole number of samples."""
    bounds = _bounds(rate * CHAR_MS // 1000)
    return [
        [_square(_LOWEST + _STEP * digit, end - begin, rate, pitch) for digit in range(8)]
        for begin, end in zip(bounds, bounds[1:], strict=False)
    ]


def _bounds(char: int) -> list[int]:
    return [char * place // SYLLABLES for place in range(SYLLABLES + 1)]


def _square(level: int, count: int, rate: int, pitch: int) -> bytes:
    wave = array.array("h", (-level if i * 2 * pitch // rate % 2 else level for i in range(count)))
    if sys.byteorder == "big":
        wave.byteswap()
    return wave.tobytes()


def _samples(pcm: bytes) -> array.array[int]:
    samples = array.array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _decode(samples: array.array[int]) -> str | None:
    """The character of 40 ms of sound, if it is one."""
    bounds, digits = _bounds(len(samples)), []
    for begin, end in zip(bounds, bounds[1:], strict=False):
        # The middle: the edges are blurred where the rate was changed on the way.
        middle = samples[begin + (end - begin) // 5 : end - (end - begin) // 5]
        level = max(max(middle), -min(middle)) - _LOWEST
        digit = round(level / _STEP)
        if not 0 <= digit <= 7 or abs(level - digit * _STEP) > _TOLERANCE:
            return None
        digits.append(digit)
    *octal, check = digits
    code = sum(digit << 3 * place for place, digit in enumerate(octal))
    return chr(code) if sum(octal) % 8 == check and 0 < code <= sys.maxunicode else None
