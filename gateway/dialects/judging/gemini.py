"""Gemini's answers, whole and in chunks, which are answers themselves.

There is no terminator: the last chunk of a candidate has its finishReason, and the end of the body ends the stream. A
picture comes in one chunk of many MiB whose finishReason stands behind it, hence the limit.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.dialects import scan, usage
from gateway.dialects.error_forms import VendorError, hidden_error, read_error
from gateway.dialects.judging.seen import OTHER, UNREADABLE, Form, Seen, nothing_to_see
from gateway.dialects.judging.verdict import PATIENCE, Verdict, no_answer

_LIMIT = 32 << 20
_NOTHING = msgspec.Raw(b"")  # of a field that is not there
_TEXT = (b'"text":', b'"args":')
FILTERS = frozenset(
    """SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII MODEL_ARMOR IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT
    IMAGE_RECITATION IMAGE_OTHER NO_IMAGE""".split()
)
# The model went wrong: an answer that holds nothing else is none.
FAILURES = frozenset(
    """MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS MISSING_THOUGHT_SIGNATURE MALFORMED_RESPONSE
    OTHER""".split()
)
_UNFINISHED = (None, "", "FINISH_REASON_UNSPECIFIED")


class _Part(msgspec.Struct):
    text: msgspec.Raw = _NOTHING
    thought: bool | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct):
    content: _Content | None = None
    finishReason: str | None = None
    index: int | None = 0

    @property
    def over(self) -> bool:
        return self.finishReason not in _UNFINISHED

    @property
    def speaks(self) -> bool:
        """Whether there is anything but thoughts and empty texts."""
        parts = self.content.parts if self.content is not None else None
        return any(not part.thought and bytes(memoryview(part.text)[:3]) != b'""' for part in parts or ())


class _Feedback(msgspec.Struct):
    blockReason: str | None = None


class _Chunk(msgspec.Struct):
    candidates: list[_Candidate] | None = None
    promptFeedback: _Feedback | None = None
    usageMetadata: Any = None
    error: Any = None

    @property
    def blocked(self) -> bool:
        """Whether the prompt was refused."""
        return not self.candidates and self.promptFeedback is not None and bool(self.promptFeedback.blockReason)

    @property
    def filtered(self) -> bool:
        return any(each.finishReason in FILTERS for each in self.candidates or ())


_decode = msgspec.json.Decoder(_Chunk).decode


def _read_chunk(body: bytes) -> tuple[_Chunk | None, object]:
    """(the chunk, its plain value where it had to be made); None for what is no JSON object."""
    try:
        return _decode(body), None
    except scan.UNREADABLE:
        pass
    value = scan.decode(body) if len(body) <= PATIENCE else None
    if not isinstance(value, dict):
        return None, value
    candidates = value.get("candidates")
    reason = usage.object_of(value.get("promptFeedback")).get("blockReason")
    return _Chunk(
        [_candidate(each) for each in usage.objects_of(candidates)] if isinstance(candidates, list) else None,
        _Feedback(str(reason)) if reason else None,
        value.get("usageMetadata"),
        value.get("error"),
    ), value


def _candidate(value: usage.Object) -> _Candidate:
    reason, index = value.get("finishReason"), value.get("index")
    parts = [
        _Part(_NOTHING if part.get("text") != "" else msgspec.Raw(b'""'), part.get("thought") is True)
        for part in usage.objects_of(usage.object_of(value.get("content")).get("parts"))
    ]
    return _Candidate(
        _Content(parts), reason if isinstance(reason, str) else None, index if type(index) is int else 0
    )


def _failure(chunk: _Chunk, said: bool) -> VendorError | None:
    """The failure that a finish reason tells of an answer without content."""
    for candidate in chunk.candidates or ():
        reason = candidate.finishReason
        if reason in FAILURES and not said and not candidate.speaks:
            return VendorError(502, f"the vendor stopped with finishReason {reason} and no answer", code=reason)
    return None


def judge(body: bytes, expected: int | None) -> Verdict:
    chunk, value = _read_chunk(body)
    if chunk is None or chunk.error or not (chunk.candidates or chunk.blocked):
        return no_answer(body, _TEXT, scan.decode(body) if value is None and len(body) <= PATIENCE else value)
    fields = {"usageMetadata": chunk.usageMetadata}
    counted = usage.gemini(fields)
    return Verdict(
        body,
        _TEXT,
        error=_failure(chunk, said=False),
        usage=counted,
        zero=counted is None and bool(chunk.usageMetadata),
        filtered=chunk.blocked or chunk.filtered,
    )


# -- streams -----------------------------------------------------------------------------------------------------------


def _regular_chunk(seen: Seen, event: bytes) -> bool:
    """Whether an event is a chunk of the first candidate alone, without finish or error; its usage is noted."""
    if not event.startswith(b"data:") or b"\n" in event:
        return False
    try:
        chunk = _decode(event[5:])
    except scan.UNREADABLE:
        return False
    candidates = chunk.candidates
    if candidates is None or len(candidates) != 1 or candidates[0].index or candidates[0].over or chunk.error:
        return False
    seen.said = seen.said or candidates[0].speaks
    if chunk.usageMetadata is not None:
        seen.count_fields({"usageMetadata": chunk.usageMetadata})
    return True


def _read(seen: Seen, payload: bytes, name: bytes) -> int:
    if payload == b"[DONE]":
        return seen.done()  # gateways that speak this dialect, too
    chunk, value = _read_chunk(payload)
    if chunk is None:
        return UNREADABLE
    if chunk.error or name == b"error":
        value = scan.decode(payload) if value is None else value
        seen.error = hidden_error(value, bare=not chunk.candidates) or read_error(200, b"", payload)
        return OTHER
    if chunk.usageMetadata is not None:
        seen.count_fields({"usageMetadata": chunk.usageMetadata})
    if chunk.blocked:
        seen.filtered = True
        return seen.progress((index, True) for index in range(max(seen.choices, 1)))
    if not chunk.candidates:
        return OTHER
    seen.error = _failure(chunk, seen.said)
    if seen.error is not None:
        return OTHER
    seen.said = seen.said or any(candidate.speaks for candidate in chunk.candidates)
    seen.filtered = seen.filtered or chunk.filtered
    seen.hear(payload)
    return seen.progress((candidate.index or 0, candidate.over) for candidate in chunk.candidates)


FORM = Form(_regular_chunk, _read, nothing_to_see, _TEXT, _LIMIT)
