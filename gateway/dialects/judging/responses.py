"""Responses, whole and as events."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.dialects import scan, usage
from gateway.dialects.error_forms import VendorError, hidden_error
from gateway.dialects.judging.chat import FILTERS
from gateway.dialects.judging.seen import CONTENT, END, OTHER, UNREADABLE, Form, Seen
from gateway.dialects.judging.verdict import PATIENCE, Verdict, no_answer, read_usage

_NOTHING = msgspec.Raw(b"")  # of a field that is not there
RESPONSES_TEXT = (b'"text":', b'arguments":', b'"refusal":', b'"input":')


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class Response(msgspec.Struct):
    """A response object."""

    status: str | None = None
    output: msgspec.Raw = _NOTHING
    incomplete_details: _Incomplete | None = None
    error: Any = None


_decode_response = msgspec.json.Decoder(Response).decode


def refused(output: msgspec.Raw) -> bool:
    """Whether the output holds a refusal."""
    raw = bytes(output)
    if b'"refusal"' not in raw or len(raw) > PATIENCE:
        return False
    parts = [part for item in usage.objects_of(scan.decode(raw)) for part in usage.objects_of(item.get("content"))]
    return any(part.get("type") == "refusal" and part.get("refusal") for part in parts)


def response_error(response: Response) -> VendorError | None:
    if (error := hidden_error({"error": response.error}, bare=False)) is not None:
        return error
    if response.status in ("failed", "cancelled"):
        return VendorError(502, f"the vendor's response has the status {response.status}", code=response.status)
    return None


def response_filtered(response: Response) -> bool:
    details = response.incomplete_details
    return (details is not None and details.reason in FILTERS) or refused(response.output)


def judge(body: bytes, expected: int | None) -> Verdict:
    try:
        response = _decode_response(body)
    except scan.UNREADABLE:
        value = scan.decode(body) if len(body) <= PATIENCE else None
        return no_answer(body, RESPONSES_TEXT, value)
    if (error := response_error(response)) is not None:
        return Verdict(body, RESPONSES_TEXT, error=error)
    if not bytes(response.output).startswith(b"["):
        return no_answer(body, RESPONSES_TEXT, scan.decode(body) if len(body) <= PATIENCE else None)
    counted, zero = read_usage("openai.responses", body)
    return Verdict(
        body,
        RESPONSES_TEXT,
        usage=counted,
        zero=zero,
        filtered=response_filtered(response),
        finished=response.status not in ("in_progress", "queued"),
    )


# -- streams ---------------------------------------------------------------------------------------------------------


class _Event(msgspec.Struct):
    type: str | None = None
    response: Response | None = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_BOOKKEEPING = frozenset({"response.created", "response.in_progress"})  # come at once, before anything is decided
_TERMINAL_BEGIN = re.compile(rb'(?:event:|"type":) ?"?(response\.(?:completed|incomplete|failed|cancelled))\b')


_DELTA = re.compile(rb"event: ?response\.(?!refusal)[\w.]+\.delta\ndata:([^\n]++)")


def _regular_delta(seen: Seen, event: bytes) -> bool:
    """Whether an event is a delta that bears its name."""
    found = _DELTA.fullmatch(event)
    if found is None:
        return False
    try:
        delta = _decode_event(found[1])
    except scan.UNREADABLE:
        return False
    return delta.type is not None and delta.type.endswith(".delta") and "refusal" not in delta.type and not delta.error


def _read_responses(seen: Seen, payload: bytes, name: bytes) -> int:
    if payload == b"[DONE]":
        return seen.done()
    value: object = None
    try:
        event = _decode_event(payload)
    except scan.UNREADABLE:
        value = scan.decode(payload)
        if not isinstance(value, dict):
            return UNREADABLE
        kind = value.get("type")
        event = _Event(kind if isinstance(kind, str) else None, None, value.get("error"))
    kind = event.type or name.decode("latin-1")
    if kind in _TERMINAL:
        return _read_terminal(seen, kind, event.response or Response(), payload)
    if not kind.startswith("response.") or event.error:
        seen.error = hidden_error(scan.decode(payload) if value is None else value, bare=True)
        if seen.error is None and kind in ("error", "session.error"):
            seen.error = VendorError(502, "the vendor's stream failed without a message")
        return OTHER
    if kind.startswith("response.refusal"):
        seen.filtered = True
    if kind.endswith(".delta"):
        seen.hear(payload)
    if kind in _BOOKKEEPING:
        return OTHER
    seen.begun = True
    return CONTENT


def _read_terminal(seen: Seen, kind: str, response: Response, payload: bytes) -> int:
    seen.count_payload(payload)
    seen.error = response_error(response)
    if seen.error is None and kind in ("response.failed", "response.cancelled"):
        seen.error = VendorError(502, f"the vendor's stream ended with {kind}", code=kind.partition(".")[2])
    seen.filtered = seen.filtered or response_filtered(response)
    seen.ended = seen.finished = seen.error is None
    return END


def _glance_at_responses(seen: Seen, begin: bytes) -> None:
    """What can be told of an event from its begin."""
    found = _TERMINAL_BEGIN.search(begin)
    if found is not None:
        _read_terminal(seen, found[1].decode(), Response(), b"{}")


FORM = Form(_regular_delta, _read_responses, _glance_at_responses, (b'"delta":',))
