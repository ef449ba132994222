"""Values as they are typed on a command line. Every refusal says what to write instead."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

NONE = "none"  # lifts a limit
ALL = "all"  # lifts the restriction to some models; `none` would be read as its opposite

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_NOTE_LENGTH = 1000
_PERIODS = ("day", "month")


def whole(text: str) -> int | None:
    """A limit: a whole number, or None for `none`."""
    if text == NONE:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise argparse.ArgumentTypeError(f"{_shown(text)} is no limit: give a whole number from 1, or none to lift it")
    return int(text)


def amount(text: str) -> int:
    """Nano-credits; a minus sign is allowed."""
    from gateway.prices import nano

    try:
        return -nano(text[1:]) if text.startswith("-") else nano(text)
    except ValueError:
        remedy = "give credits as a plain decimal below a thousand million, at most nine places, such as 12.50"
        raise argparse.ArgumentTypeError(f"{_shown(text)} is not an amount: {remedy}") from None


def note(text: str) -> str:
    """Words that go with an entry."""
    if len(text) > _NOTE_LENGTH or "\0" in text or not text.isascii() and _broken(text):
        raise argparse.ArgumentTypeError(f"give at most {_NOTE_LENGTH} characters of text")
    return text


def budget(text: str) -> tuple[int | None, str | None]:
    """Nano-credits and the period that they are for; None and None for `none`."""
    if text == NONE:
        return None, None
    credits, slash, period = text.partition("/")
    if slash and period not in _PERIODS:
        raise argparse.ArgumentTypeError(f"{_shown(text)} is no budget: give 10, 10/day, 10/month, or none to lift it")
    return amount(credits), period or None


def models(text: str) -> list[str] | None:
    """Names of models; None for `all`."""
    if text == ALL:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names) or NONE in names:
        raise argparse.ArgumentTypeError(
            "give names separated by commas, or all for every model; to stop a key altogether, `update ID --disable`"
        )
    return names


def moment(text: str) -> float | None:
    """Seconds since 1970 of a date or a time, UTC unless it says otherwise; None for `none`."""
    return None if text == NONE else _iso(text, "such as 2030-01-31 or 2030-01-31T12:00:00Z, or none to lift it")


def since(text: str, clock: Callable[[], float] = time.time) -> float:
    """Seconds since 1970 of a date, a time, or so long ago."""
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if match:
        return clock() - int(match[1]) * _SECONDS[match[2]]
    return _iso(text, "such as 2030-01-31 or 2030-01-31T12:00:00Z, or how long ago, such as 90m, 24h or 7d")


def _iso(text: str, wanted: str) -> float:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{_shown(text)} is not a date: give one {wanted}") from None


def _broken(text: str) -> bool:
    """Whether a terminal's bytes were not text."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 64 else text[:61] + "...")
