"""What became of an answer, and how much was said in it."""

from __future__ import annotations

import re

from gateway.dialects import reader_for
from gateway.dialects.error_forms import VendorError, hidden_error
from gateway.dialects.estimate import estimate_tokens
from gateway.types import Usage

PATIENCE = 8 << 20  # what is read with patience costs many times its size in memory
_UNWEIGHED = 4 << 10

STRING = re.compile(rb'\s?+"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
# The begin of an object, up to where it gets deep: arguments that are no text.
_FLAT = rb'[^"{}]++|"(?:[^"\\]++|\\.)*+"'
_OBJECT = re.compile(rb"\s?+\{((?:%s|\{(?:%s)*+\})*+)" % (_FLAT, _FLAT), re.DOTALL)


class Verdict:
    """What became of a whole answer. With an `error` nothing else counts."""

    __slots__ = ("_body", "_needles", "error", "filtered", "finished", "usage", "zero")

    def __init__(
        self,
        body: bytes,
        needles: tuple[bytes, ...],
        *,
        error: VendorError | None = None,
        usage: Usage | None = None,
        zero: bool = False,
        filtered: bool = False,
        finished: bool = True,
    ) -> None:
        self._body = body
        self._needles = needles
        self.error = error
        self.usage = usage
        self.zero = zero  # all counters were named, and all were zero
        self.filtered = filtered
        self.finished = finished

    @property
    def output_tokens(self) -> int:
        """About how many tokens the text of an answer without usage has; 0 where the vendor counted itself."""
        if self.usage is not None or self.zero:
            return 0
        spoken = Spoken()
        spoken.hear(self._body, self._needles)
        return spoken.tokens()


class Spoken:
    """Weighs the text of JSON strings where they stand, without decoding anything."""

    __slots__ = ("_text", "_tokens")

    def __init__(self) -> None:
        self._text = bytearray()  # not weighed yet
        self._tokens = 0

    def hear(self, data: bytes, needles: tuple[bytes, ...]) -> None:
        """`needles`: keys with their closing quote and colon; a key inside of a string has a backslash there."""
        for needle in needles:
            at = data.find(needle)
            while at >= 0:
                at += len(needle)
                if found := STRING.match(data, at) or _OBJECT.match(data, at):
                    self._text += found[1]
                    at = found.end()
                at = data.find(needle, at)
        if len(self._text) > _UNWEIGHED:
            self._weigh()

    def add(self, text: bytes) -> None:
        self._text += text
        if len(self._text) > _UNWEIGHED:
            self._weigh()

    def _weigh(self) -> None:
        self._tokens += estimate_tokens(bytes(self._text))
        self._text.clear()

    def tokens(self) -> int:
        return self._tokens + (estimate_tokens(bytes(self._text)) if self._text else 0)


def read_usage(dialect: str, body: bytes) -> tuple[Usage | None, bool]:
    """(the usage that an answer tells, whether it says in so many words that nothing was used)."""
    reader = reader_for(dialect, b"application/json")
    reader.feed(body)
    counted = reader.finish()
    return counted, counted is None and reader.zero


def no_answer(body: bytes, needles: tuple[bytes, ...], value: object) -> Verdict:
    """An error in some form, else what is wrong with the answer."""
    error = hidden_error(value[0] if isinstance(value, list) and value else value, bare=True)
    if error is None and isinstance(value, str) and value:
        error = VendorError(502, value[:200] if value.isprintable() else "the vendor's answer is a bare text")
    if error is None:
        words = "is empty" if not body.strip() else "is not JSON" if value is None else "holds no answer"
        error = VendorError(502, f"the vendor's answer {words}")
    return Verdict(body, needles, error=error)
