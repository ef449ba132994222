"""The operators' commands: `parsers` says what may be typed, one module for each command does it."""

from __future__ import annotations


class CannotDo(Exception):
    """A command that came to nothing; the message is one clear line that says what to do."""
