"""Anthropic's messages, whole and as named events.

A stream begins with its first delta or whole block: `message_start` and the opening of an empty block come before
anything is decided, so that an overload that follows them can still be answered by another vendor.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.dialects import scan
from gateway.dialects.error_forms import VendorError, hidden_error
from gateway.dialects.judging.seen import CONTENT, END, OTHER, UNREADABLE, Form, Seen, nothing_to_see
from gateway.dialects.judging.verdict import PATIENCE, Verdict, no_answer, read_usage

_NOTHING = msgspec.Raw(b"")  # of a field that is not there
_TEXT = (b'"text":', b'"thinking":', b'partial_json":', b'"input":')
FILTERS = frozenset({"refusal", "content_filter", "sensitive"})  # the latter two by vendors that speak it, too


class _Message(msgspec.Struct):
    content: msgspec.Raw = _NOTHING
    stop_reason: str | None = None
    error: Any = None
    base_resp: Any = None  # MiniMax


_decode_message = msgspec.json.Decoder(_Message).decode


def judge(body: bytes, expected: int | None) -> Verdict:
    value: object = None
    try:
        message = _decode_message(body)
    except scan.UNREADABLE:
        value = scan.decode(body) if len(body) <= PATIENCE else None
        if not isinstance(value, dict) or not isinstance(value.get("content"), list):
            return no_answer(body, _TEXT, value)
        message = _Message(msgspec.Raw(b"["), None, value.get("error"), value.get("base_resp"))
    answered = bytes(memoryview(message.content)[:1]) == b"["
    if message.error or message.base_resp or not answered:
        value = scan.decode(body) if value is None and len(body) <= PATIENCE else value
        error = hidden_error(value, bare=not answered)
        if error is not None:
            return Verdict(body, _TEXT, error=error)
        if not answered:
            return no_answer(body, _TEXT, value)
    counted, zero = read_usage("anthropic.messages", body)
    return Verdict(body, _TEXT, usage=counted, zero=zero, filtered=message.stop_reason in FILTERS)


# -- streams -----------------------------------------------------------------------------------------------------------


class _Block(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class _Delta(msgspec.Struct):
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode
_DELTA = re.compile(rb"(?:event: ?content_block_delta\n)?data:([^\n]++)")


def _regular_delta(seen: Seen, event: bytes) -> bool:
    """Whether an event is a piece of a block."""
    found = _DELTA.fullmatch(event)
    if found is None:
        return False
    try:
        piece = _decode_event(found[1])
    except scan.UNREADABLE:
        return False
    return piece.type == "content_block_delta" and not piece.error


def _read(seen: Seen, payload: bytes, name: bytes) -> int:
    if payload == b"[DONE]":
        return seen.done()  # vendors that speak this dialect, too
    value: object = None
    try:
        event = _decode_event(payload)
    except scan.UNREADABLE:
        value = scan.decode(payload)
        if not isinstance(value, dict):
            return UNREADABLE
        event = _patient(value)
    kind = event.type or name.decode("latin-1")
    if event.error or kind not in _KINDS:
        return _read_other(seen, kind, scan.decode(payload) if value is None else value)
    if kind in ("message_start", "message_delta"):
        seen.count_payload(payload)
    return _KINDS[kind](seen, event, payload)


def _patient(value: dict[str, Any]) -> _Event:
    """The same from an event whose types are not the usual ones."""
    kind, delta = value.get("type"), value.get("delta")
    reason = delta.get("stop_reason") if isinstance(delta, dict) else None
    return _Event(
        kind if isinstance(kind, str) else None,
        _Block("?"),
        _Delta(reason if isinstance(reason, str) else None),
        value.get("error"),
    )


def _read_other(seen: Seen, kind: str, value: object) -> int:
    """An error, or an event that is not known: what will be added some day is no part of the answer yet."""
    seen.error = hidden_error(value, bare=kind in ("", "error"))
    if seen.error is None and kind == "error":
        seen.error = VendorError(502, "the vendor's stream failed without a message")
    return OTHER


def _nothing(seen: Seen, event: _Event, payload: bytes) -> int:
    return OTHER


def _piece(seen: Seen, event: _Event, payload: bytes) -> int:
    seen.hear(payload)
    seen.begun = True
    return CONTENT


def _block_opens(seen: Seen, event: _Event, payload: bytes) -> int:
    block = event.content_block
    if block is not None and block.type in ("text", "thinking") and not (block.text or block.thinking):
        return OTHER
    return _piece(seen, event, payload)


def _message_delta(seen: Seen, event: _Event, payload: bytes) -> int:
    reason = event.delta.stop_reason if event.delta is not None else None
    if reason is None:
        return OTHER
    seen.filtered = seen.filtered or reason in FILTERS
    seen.finished = True
    return END


def _message_stops(seen: Seen, event: _Event, payload: bytes) -> int:
    return seen.done()


_KINDS = {
    "message_start": _nothing,
    "ping": _nothing,
    "content_block_start": _block_opens,
    "content_block_delta": _piece,
    "content_block_stop": _piece,
    "message_delta": _message_delta,
    "message_stop": _message_stops,
}

FORM = Form(_regular_delta, _read, nothing_to_see, (b'"text":', b'"thinking":', b'partial_json":'))
