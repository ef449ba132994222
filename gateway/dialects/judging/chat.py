"""Chat completions, whole and in chunks, as OpenAI and most vendors write them; MiniMax's native ones too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gateway.dialects import scan, usage
from gateway.dialects.error_forms import VendorError, hidden_error, read_error
from gateway.dialects.judging.seen import EXTRA, OTHER, UNREADABLE, Form, Seen, nothing_to_see
from gateway.dialects.judging.verdict import PATIENCE, Verdict, no_answer
from gateway.dialects.scan import Fields

FILTERS = frozenset({"content_filter", "sensitive"})
# Vendors that tell a failure by the finish reason: what it means as a status.
FAILURES = {"network_error": 502, "aborted": 502, "insufficient_system_resource": 503, "error": 502}
_UNFINISHED = (None, "", "null")
CHAT_TEXT = (b'content":', b'arguments":', b'"refusal":', b'"text":')


class Said(msgspec.Struct):
    """A choice's `message` or `delta`."""

    refusal: str | None = None


class Choice(msgspec.Struct):
    finish_reason: str | None = None
    message: Said | None = None
    delta: Said | None = None
    index: int | None = 0
    usage: Any = None


class Chat(msgspec.Struct):
    """A chat completion or a chunk of one, with the places where vendors put errors."""

    choices: list[Choice] | None = None
    usage: Any = None
    bot_usage: Any = None
    error: Any = None
    base_resp: Any = None
    error_code: Any = None
    ErrorMsg: Any = None
    code: Any = None
    sid: Any = None


decode_chat = msgspec.json.Decoder(Chat).decode


def patient_chat(body: bytes) -> tuple[Chat | None, object]:
    """(the same from JSON whose types are not the usual ones, its plain value); None, None for what is no JSON."""
    value = scan.decode(body) if len(body) <= PATIENCE else None
    if not isinstance(value, dict):
        return None, value
    choices = value.get("choices")
    fields = {name: value.get(name) for name in Chat.__struct_fields__}
    fields["choices"] = [_choice(each) for each in usage.objects_of(choices)] if isinstance(choices, list) else None
    return Chat(**fields), value


def _choice(value: Mapping[str, Any]) -> Choice:
    reason, index = value.get("finish_reason"), value.get("index")
    said = usage.object_of(value.get("message")) or usage.object_of(value.get("delta"))
    refusal = said.get("refusal")
    return Choice(
        reason if isinstance(reason, str) else None,
        Said(refusal) if isinstance(refusal, str) else None,
        index=index if type(index) is int else 0,
        usage=value.get("usage"),
    )


def stands_out(chat: Chat) -> bool:
    """Whether one of the fields is set that vendors tell errors by."""
    base = chat.base_resp  # MiniMax always has one
    if base is not None and not (type(base) is dict and base.get("status_code") == 0):
        return True
    return bool(chat.error or chat.error_code or chat.ErrorMsg)


def read_reasons(choices: Iterable[Choice]) -> tuple[VendorError | None, bool]:
    """(the failure that a finish reason tells, whether one says filtered or a refusal was spoken)."""
    failure, filtered = None, False
    for choice in choices:
        reason = choice.finish_reason
        said = choice.message or choice.delta
        if reason in FILTERS or (said is not None and said.refusal):
            filtered = True
        elif reason in FAILURES:
            failure = VendorError(FAILURES[reason], f"the vendor stopped with finish_reason {reason}", code=reason)
    return failure, filtered


def finished(choice: Choice) -> bool:
    return choice.finish_reason not in _UNFINISHED


def chat_error(chat: Chat, value: object) -> tuple[VendorError | None, bool]:
    """(the error that stands beside or instead of an answer, whether it is but a filter's beside a finished one)."""
    error = hidden_error(value, bare=not chat.choices)
    if error is not None and error.filtered and chat.choices and all(map(finished, chat.choices)):
        return None, True
    return error, False


def judge(body: bytes, expected: int | None) -> Verdict:
    value: object = None
    chat: Chat | None
    try:
        chat = decode_chat(body)
    except scan.UNREADABLE:
        chat, value = patient_chat(body)
    if chat is None:
        return no_answer(body, CHAT_TEXT, value)
    choices, cut_out = chat.choices, False
    if not choices or stands_out(chat):
        value = scan.decode(body) if value is None and len(body) <= PATIENCE else value
        error, cut_out = chat_error(chat, value)
        if error is not None:
            return Verdict(body, CHAT_TEXT, error=error)
        if not choices or value is None:
            return no_answer(body, CHAT_TEXT, value)
    failure, filtered = read_reasons(choices)
    fields = usage_fields(chat, choices)
    counted = usage.chat(fields)
    zero = counted is None and any(fields.values())
    return Verdict(body, CHAT_TEXT, error=failure, usage=counted, zero=zero, filtered=filtered or cut_out)


def usage_fields(chat: Chat, choices: list[Choice]) -> Fields:
    """Where a chat answer's usage may be."""
    inner = choices[-1].usage if choices else None
    return {"usage": chat.usage, "bot_usage": chat.bot_usage, "choices[].usage": inner}


# -- streams ---------------------------------------------------------------------------------------------------------


def _regular_chunk(seen: Seen, event: bytes) -> bool:
    """Whether an event is a chunk of the first choice alone, without finish, refusal or error; its usage is noted."""
    if not event.startswith(b"data:") or b"\n" in event:
        return False
    try:
        chat = decode_chat(event[5:])
    except scan.UNREADABLE:
        return False
    choices = chat.choices
    if choices is None or len(choices) != 1:
        return False
    choice = choices[0]
    if (
        choice.index
        or finished(choice)
        or chat.sid is not None
        or choice.message is not None
        or (choice.delta is not None and choice.delta.refusal)
        or stands_out(chat)
    ):
        return False
    if chat.usage is not None or chat.bot_usage is not None or choice.usage is not None:
        seen.count_fields(usage_fields(chat, choices))
    return True


def _read_chat(seen: Seen, payload: bytes, name: bytes) -> int:
    if payload == b"[DONE]":
        return seen.done()
    value: object = None
    chat: Chat | None
    try:
        chat = decode_chat(payload)
    except scan.UNREADABLE:
        chat, value = patient_chat(payload)
    if chat is None:
        if isinstance(value, str):
            seen.error = read_error(200, b"", payload)
        return OTHER if seen.error else UNREADABLE
    choices = chat.choices
    if not choices or name == b"error" or stands_out(chat):
        error, cut_out = chat_error(chat, scan.decode(payload) if value is None else value)
        seen.filtered = seen.filtered or cut_out
        seen.error = read_error(200, b"", payload) if name == b"error" and error is None else error
        if seen.error is not None:
            return OTHER
    if b'usage"' in payload:
        seen.count_fields(usage_fields(chat, choices or []))
    if not choices:
        return EXTRA if choices is not None and seen.drops(chat.usage) else OTHER
    if choices[0].message is None:  # MiniMax says everything again at the end
        seen.hear(payload)
    return _take(seen, chat, choices)


def _take(seen: Seen, chat: Chat, choices: list[Choice]) -> int:
    """A chunk with choices."""
    failure, filtered = read_reasons(choices)
    seen.filtered = seen.filtered or filtered
    if failure is not None:
        seen.error = failure
        return OTHER
    if chat.sid is not None and chat.code == 0:
        seen.done_finishes()
    return seen.progress((choice.index or 0, finished(choice)) for choice in choices)


FORM = Form(_regular_chunk, _read_chat, nothing_to_see, (b'content":', b'arguments":'))
COMPLETIONS = FORM._replace(text=(b'"text":',))
