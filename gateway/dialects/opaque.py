"""Opaque values: what one account of a vendor made and only the same account can read. Ids of stored responses and of
their items, signatures, ciphers.

They are found by their names in the bytes, without decoding: requests and answers may be large, and most have none. In
JSON a name between plain quotes is a name or a whole string, never a part of a text. A value that was found by mistake
does no harm, for nobody knows it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

_MOST = 16  # the last ones count: they are of the turn that is going on
_TRIES = 64  # per name
_BEGIN, _END = 64 << 10, 4 << 20  # of a request: what is searched
_LONGEST = 1 << 20
_VALUE = re.compile(rb'"[ \t\r\n]{0,16}:[ \t\r\n]{0,16}"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_STANDARD = bytes.maketrans(b"-_", b"+/")


class Sought(NamedTuple):
    """A member by its quoted name. `base64`: clients may write it in the other alphabet, or without padding; `long`:
    shorter values say nothing in a request, `short`: longer ones are something else; `beside`: only where this stands.
    """

    name: bytes
    base64: bool = False
    long: int = 1
    short: int = _LONGEST
    beside: bytes = b""


_GEMINI = Sought(b'"thoughtSignature"', base64=True)
_SNAKE = Sought(b'"thought_signature"', base64=True)
_BEFORE = Sought(b'"previous_response_id"')
# The pictures' `data` is not looked for, but small ones may pass for a cipher.
_REDACTED = Sought(b'"data"', long=64, short=64 << 10, beside=b'"redacted_thinking"')
_TABLE = {
    "openai.chat": (_SNAKE,),  # in `extra_content`, as Google's compatible endpoint has it
    "openai.responses": (Sought(b'"id"', long=12), Sought(b'"encrypted_content"')),
    "anthropic.messages": (Sought(b'"signature"'), _REDACTED),
    "gemini.generate": (_GEMINI, _SNAKE),
}


def in_request(dialect: str, body: bytes) -> list[bytes]:
    """The opaque values that a request brings back, the most telling one last."""
    start = max(len(body) - _END, 0)
    found = _found(dialect, body, start, asked=True)[-_MOST:]
    if dialect == "openai.responses":
        before = _values(_BEFORE, body, start, len(body)) or _values(_BEFORE, body, 0, min(start, _BEGIN))
        found += [value for _, value in before[-1:]]
    return found


def in_answer(dialect: str, piece: bytes) -> list[bytes]:
    """The opaque values in a whole answer or in whole events. The first is the answer's own id, where it has one."""
    found = _found(dialect, piece, 0, asked=False)
    return found if len(found) <= _MOST else found[:1] + found[1 - _MOST :]


def _found(dialect: str, data: bytes, start: int, asked: bool) -> list[bytes]:
    found: list[tuple[int, bytes]] = []
    for sought in _TABLE.get(dialect, ()):
        if data.find(sought.beside or sought.name, start) < 0:
            continue
        values = _values(sought, data, start, len(data))
        if not asked and len(values) >= _MOST and (first := _value(sought, data, data.find(sought.name))) is not None:
            values.insert(0, first)
        found += [item for item in values if not asked or len(item[1]) >= sought.long]
    return [value for _, value in sorted(found)] if found else []


def _values(sought: Sought, data: bytes, start: int, end: int) -> list[tuple[int, bytes]]:
    """The last of them, with their places, in the order in which they stand."""
    found: list[tuple[int, bytes]] = []
    for _ in range(_TRIES):
        end = data.rfind(sought.name, start, end)
        if end < 0 or len(found) == _MOST:
            break
        if (value := _value(sought, data, end)) is not None:
            found.append(value)
    return found[::-1]


def _value(sought: Sought, data: bytes, at: int) -> tuple[int, bytes] | None:
    begin = at + len(sought.name) - 1
    match = _VALUE.match(data, begin, begin + sought.short + 64)
    value = match[1] if match is not None else b""
    if b"\\" in value:
        try:
            value = msgspec.json.decode(b'"%b"' % value, type=str).encode()
        except (msgspec.DecodeError, UnicodeEncodeError):
            return None
    if sought.base64:
        value = value.translate(_STANDARD).rstrip(b"=")
    return (at, value) if value else None
