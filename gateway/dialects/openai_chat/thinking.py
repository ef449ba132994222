"""Thoughts that stand in the text, in `<think>` tags, at the begin of an answer: MiniMax, many self-hosted ones."""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"
_MOST_BEFORE = 16  # white space

_BEFORE, _OPENED, _INSIDE, _BEHIND, _OUTSIDE = range(5)


def split(text: str) -> tuple[str, str]:
    """(the thought, the text behind it) of a whole answer."""
    splitter = Splitter()
    thought, rest = splitter.feed(text)
    more, last = splitter.finish()
    return thought + more, rest + last


class Splitter:
    """The same for a text that comes in pieces. What may be a part of a tag waits for the next piece."""

    __slots__ = ("_held", "_state")

    def __init__(self) -> None:
        self._state = _BEFORE
        self._held = ""

    @property
    def done(self) -> bool:
        """Whether all that follows is text."""
        return self._state == _OUTSIDE

    def feed(self, piece: str) -> tuple[str, str]:
        """(thought, text) of one more piece."""
        text, self._held, thought = self._held + piece, "", ""
        if self._state == _BEFORE:
            begin = text.lstrip()
            blank = len(text) - len(begin)
            if blank > _MOST_BEFORE or not (begin.startswith(_OPEN) or _OPEN.startswith(begin)):
                self._state = _OUTSIDE
            elif len(begin) < len(_OPEN):
                self._held = text
                return "", ""
            else:
                self._state, text = _OPENED, begin[len(_OPEN) :]
        if self._state == _OPENED and (text := text.lstrip("\n")):
            self._state = _INSIDE
        if self._state == _INSIDE:
            thought, found, text = text.partition(_CLOSE)
            if not found:
                whole = len(thought) - _overlap(thought)
                self._held = thought[whole:]
                return thought[:whole], ""
            self._state = _BEHIND
        if self._state == _BEHIND and (text := text.lstrip("\n")):
            self._state = _OUTSIDE
        return thought, text

    def finish(self) -> tuple[str, str]:
        """What still waits."""
        held, self._held = self._held, ""
        return (held, "") if self._state == _INSIDE else ("", held)


def _overlap(text: str) -> int:
    """How many characters at the end may be the begin of the closing tag."""
    return next((size for size in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:size])), 0)
