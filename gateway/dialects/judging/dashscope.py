"""DashScope's native answers, whole and as events: `id`, `event`, a comment with a status, data; no terminator.

An answer stands in `output.choices`, or (result_format text) in `output.text`; an error is a flat object in its place.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.dialects import scan, usage
from gateway.dialects.error_forms import VendorError, hidden_error, read_error
from gateway.dialects.judging.chat import CHAT_TEXT, FAILURES, FILTERS
from gateway.dialects.judging.seen import OTHER, UNREADABLE, Form, Seen, nothing_to_see
from gateway.dialects.judging.verdict import PATIENCE, Verdict, no_answer

_UNFINISHED = (None, "", "null")


class _Choice(msgspec.Struct):
    finish_reason: str | None = None
    index: int | None = 0

    @property
    def over(self) -> bool:
        return self.finish_reason not in _UNFINISHED


class _Output(msgspec.Struct):
    choices: list[_Choice] | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Result(msgspec.Struct):
    output: _Output | None = None
    usage: Any = None
    error: Any = None

    @property
    def choices(self) -> list[_Choice]:
        """Those of the answer; one for a bare text."""
        output = self.output
        if output is None or (output.choices is None and output.text is None):
            return []
        return output.choices if output.choices is not None else [_Choice(output.finish_reason)]


_decode = msgspec.json.Decoder(_Result).decode


def _read_result(body: bytes) -> tuple[_Result | None, object]:
    """(the result, its plain value where it had to be made); None for what is no JSON object."""
    try:
        return _decode(body), None
    except scan.UNREADABLE:
        pass
    value = scan.decode(body) if len(body) <= PATIENCE else None
    if not isinstance(value, dict):
        return None, value
    output = usage.object_of(value.get("output"))
    choices, text = output.get("choices"), output.get("text")
    return _Result(
        _Output(
            [_choice(each) for each in usage.objects_of(choices)] if isinstance(choices, list) else None,
            text if isinstance(text, str) else None,
            _choice(output).finish_reason,
        ),
        value.get("usage"),
        value.get("error"),
    ), value


def _choice(value: usage.Object) -> _Choice:
    reason, index = value.get("finish_reason"), value.get("index")
    return _Choice(reason if isinstance(reason, str) else None, index if type(index) is int else 0)


def _failure(choices: list[_Choice]) -> VendorError | None:
    for choice in choices:
        reason = choice.finish_reason
        if reason in FAILURES:
            return VendorError(FAILURES[reason], f"the vendor stopped with finish_reason {reason}", code=reason)
    return None


def _filtered(choices: list[_Choice]) -> bool:
    return any(choice.finish_reason in FILTERS for choice in choices)


def judge(body: bytes, expected: int | None) -> Verdict:
    result, value = _read_result(body)
    choices = result.choices if result is not None else []
    if result is None or not choices or result.error:
        return no_answer(body, CHAT_TEXT, scan.decode(body) if value is None and len(body) <= PATIENCE else value)
    counted = usage.dashscope({"usage": result.usage})
    return Verdict(
        body,
        CHAT_TEXT,
        error=_failure(choices),
        usage=counted,
        zero=counted is None and bool(result.usage),
        filtered=_filtered(choices),
    )


# -- streams -----------------------------------------------------------------------------------------------------------

_RESULT = re.compile(rb"(?:id:[^\n]*+\n)?(?:event: ?result\n)?(?::HTTP_STATUS/200\n)?data:([^\n]++)")


def _regular_result(seen: Seen, event: bytes) -> bool:
    """Whether an event is a piece of the one answer; its usage is noted."""
    found = _RESULT.fullmatch(event)
    if found is None:
        return False
    try:
        result = _decode(found[1])
    except scan.UNREADABLE:
        return False
    choices = result.choices
    if len(choices) != 1 or choices[0].index or choices[0].over or result.error:
        return False
    if result.usage is not None:
        seen.count_fields({"usage": result.usage})
    return True


def _read(seen: Seen, payload: bytes, name: bytes) -> int:
    if payload == b"[DONE]":
        return seen.done()
    result, value = _read_result(payload)
    if result is None:
        if isinstance(value, str) or name == b"error":
            seen.error = read_error(200, b"", payload)
        return OTHER if seen.error else UNREADABLE
    choices = result.choices
    if name == b"error" or result.error or not choices:
        seen.error = hidden_error(scan.decode(payload) if value is None else value, bare=not choices)
        if seen.error is None and name == b"error":
            seen.error = read_error(200, b"", payload)
        if seen.error is not None:
            return OTHER
    if result.usage is not None:
        seen.count_fields({"usage": result.usage})
    if not choices:
        return OTHER
    seen.error = _failure(choices)
    if seen.error is not None:
        return OTHER
    seen.filtered = seen.filtered or _filtered(choices)
    seen.hear(payload)
    return seen.progress((choice.index or 0, choice.over) for choice in choices)


FORM = Form(_regular_result, _read, nothing_to_see, (b'content":', b'arguments":', b'"text":'))
