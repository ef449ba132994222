"""Judges a vendor's whole answer: is it one, did it finish, was it filtered, what does it say was used.

An HTTP 200 says little: errors hide in it, answers stop short, lists come back empty. Each dialect has a typed shape
that names only the fields which tell, so that the usual answer costs one decode that builds next to nothing; whatever
does not fit that shape is decoded again into plain values and read with patience.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.dialects import reader_for, scan, usage
from gateway.dialects.error_forms import VendorError, hidden_error
from gateway.dialects.estimate import estimate_tokens
from gateway.dialects.scan import Fields
from gateway.types import Usage

_UNWEIGHED = 4 << 10
_NOTHING = msgspec.Raw(b"")  # of a field that is not there
_PATIENCE = 8 << 20  # what is read with patience costs many times its size in memory

FILTERS = frozenset({"content_filter", "sensitive"})
# Vendors that tell a failure by the finish reason: what it means as a status.
FAILURES = {"network_error": 502, "aborted": 502, "insufficient_system_resource": 503, "error": 502}
_UNFINISHED = (None, "", "null")


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
                if found := STRING.match(data, at):
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


STRING = re.compile(rb'\s?+"((?:[^"\\]++|\\.)*+)"', re.DOTALL)

CHAT_TEXT = (b'content":', b'arguments":', b'"refusal":', b'"text":')
RESPONSES_TEXT = (b'"text":', b'arguments":', b'"refusal":', b'"input":')


# -- chat --------------------------------------------------------------------------------------------------------------


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
    value = scan.decode(body) if len(body) <= _PATIENCE else None
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


def _judge_chat(body: bytes, expected: int | None) -> Verdict:
    value: object = None
    chat: Chat | None
    try:
        chat = decode_chat(body)
    except scan.UNREADABLE:
        chat, value = patient_chat(body)
    if chat is None:
        return _no_answer(body, CHAT_TEXT, value)
    choices, cut_out = chat.choices, False
    if not choices or stands_out(chat):
        value = scan.decode(body) if value is None and len(body) <= _PATIENCE else value
        error, cut_out = chat_error(chat, value)
        if error is not None:
            return Verdict(body, CHAT_TEXT, error=error)
        if not choices or value is None:
            return _no_answer(body, CHAT_TEXT, value)
    failure, filtered = read_reasons(choices)
    fields = usage_fields(chat, choices)
    counted = usage.chat(fields)
    zero = counted is None and any(fields.values())
    return Verdict(body, CHAT_TEXT, error=failure, usage=counted, zero=zero, filtered=filtered or cut_out)


def usage_fields(chat: Chat, choices: list[Choice]) -> Fields:
    """Where a chat answer's usage may be."""
    inner = choices[-1].usage if choices else None
    return {"usage": chat.usage, "bot_usage": chat.bot_usage, "choices[].usage": inner}


# -- responses ---------------------------------------------------------------------------------------------------------


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
    if b'"refusal"' not in raw or len(raw) > _PATIENCE:
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


def _judge_response(body: bytes, expected: int | None) -> Verdict:
    try:
        response = _decode_response(body)
    except scan.UNREADABLE:
        value = scan.decode(body) if len(body) <= _PATIENCE else None
        return _no_answer(body, RESPONSES_TEXT, value)
    if (error := response_error(response)) is not None:
        return Verdict(body, RESPONSES_TEXT, error=error)
    if not bytes(response.output).startswith(b"["):
        return _no_answer(body, RESPONSES_TEXT, scan.decode(body) if len(body) <= _PATIENCE else None)
    counted, zero = _read_usage("openai.responses", body)
    return Verdict(
        body,
        RESPONSES_TEXT,
        usage=counted,
        zero=zero,
        filtered=response_filtered(response),
        finished=response.status not in ("in_progress", "queued"),
    )


# -- lists: embeddings and rerank --------------------------------------------------------------------------------------


class _Item(msgspec.Struct):
    """A vector or a score; the vectors stay undecoded."""

    embedding: msgspec.Raw = _NOTHING
    sparse_embedding: msgspec.Raw = _NOTHING
    values: msgspec.Raw = _NOTHING
    relevance_score: msgspec.Raw = _NOTHING


_EMPTY = (b"", b"null", b"[]", b'""', b"{}")


_NUMBER_BEGINS = tuple(b"%c" % byte for byte in b"-0123456789")


def _has_vector(item: _Item) -> bool:
    return any(
        raw is not None and bytes(raw) not in _EMPTY for raw in (item.embedding, item.values, item.sparse_embedding)
    )


def _has_score(item: _Item) -> bool:
    return bytes(item.relevance_score)[:1] in _NUMBER_BEGINS


class _Data(msgspec.Struct):
    """OpenAI's list; Ark's multimodal call has one object there."""

    data: list[_Item] | _Item | None = None
    error: Any = None


class _Results(msgspec.Struct):
    results: list[_Item] | None = None
    error: Any = None


class _Output(msgspec.Struct):
    results: list[_Item] | None = None
    embeddings: list[_Item] | None = None


class _Native(msgspec.Struct):
    output: _Output | None = None
    error: Any = None


class _Gemini(msgspec.Struct):
    embeddings: list[_Item] | None = None
    embedding: _Item | None = None
    error: Any = None


class _Cohere(msgspec.Struct):
    """Vectors by type, or (before the second version) a list of them."""

    embeddings: dict[str, list[msgspec.Raw]] | list[msgspec.Raw] | None = None
    error: Any = None


def _cohere_items(found: _Cohere) -> list[_Item]:
    vectors = found.embeddings or []
    if isinstance(vectors, dict):
        vectors = min(vectors.values(), key=len)
    return [_Item(vector) for vector in vectors]


class _List(NamedTuple):
    """How a dialect's list is found, and what an item must have."""

    decode: Callable[[bytes], Any]
    items: Callable[[Any], list[_Item] | _Item | None]
    good: Callable[[_Item], bool]
    noun: str
    counted: bool = True  # whether as many are due as were asked for; of a ranking there may be fewer


_data = msgspec.json.Decoder(_Data).decode
_results = msgspec.json.Decoder(_Results).decode
_native = msgspec.json.Decoder(_Native).decode
_gemini = msgspec.json.Decoder(_Gemini).decode
_cohere = msgspec.json.Decoder(_Cohere).decode
_LISTS = {
    "openai.embeddings": _List(_data, lambda found: found.data, _has_vector, "vector"),
    "ark.embeddings": _List(_data, lambda found: found.data, _has_vector, "vector"),
    "dashscope.embeddings": _List(
        _native, lambda found: found.output and found.output.embeddings, _has_vector, "vector"
    ),
    "gemini.embed": _List(_gemini, lambda found: found.embeddings or found.embedding, _has_vector, "vector"),
    "cohere.embed": _List(_cohere, _cohere_items, _has_vector, "vector"),
    "jina.rerank": _List(_results, lambda found: found.results, _has_score, "result", counted=False),
    "cohere.rerank": _List(_results, lambda found: found.results, _has_score, "result", counted=False),
    "dashscope.rerank": _List(
        _native, lambda found: found.output and found.output.results, _has_score, "result", counted=False
    ),
}


def _judge_list(dialect: str, body: bytes, expected: int | None) -> Verdict:
    form = _LISTS[dialect]
    try:
        found = form.decode(body)
    except scan.UNREADABLE:
        found = None
    items = None if found is None else form.items(found)
    if not items or found.error:
        return _no_answer(body, (), scan.decode(body) if len(body) <= _PATIENCE else None)
    items = items if isinstance(items, list) else [items]
    good = sum(map(form.good, items))
    due = max(len(items), expected or 1 if form.counted else 1)
    if good < due:
        error = VendorError(502, f"the vendor sent {good} {form.noun}s where {due} are due")
        return Verdict(body, (), error=error)
    counted, zero = _read_usage(dialect, body)
    return Verdict(body, (), usage=counted, zero=zero)


# ----------------------------------------------------------------------------------------------------------------------


def _read_usage(dialect: str, body: bytes) -> tuple[Usage | None, bool]:
    reader = reader_for(dialect, b"application/json")
    reader.feed(body)
    counted = reader.finish()
    return counted, counted is None and reader.zero


def _no_answer(body: bytes, needles: tuple[bytes, ...], value: object) -> Verdict:
    """An error in some form, else what is wrong with the answer."""
    error = hidden_error(value[0] if isinstance(value, list) and value else value, bare=True)
    if error is None and isinstance(value, str) and value:
        error = VendorError(502, value[:200] if value.isprintable() else "the vendor's answer is a bare text")
    if error is None:
        words = "is empty" if not body.strip() else "is not JSON" if value is None else "holds no answer"
        error = VendorError(502, f"the vendor's answer {words}")
    return Verdict(body, needles, error=error)


def judge(dialect: str, body: bytes, expected: int | None = None) -> Verdict:
    """The verdict on the body of a 2xx answer that is no stream.

    `expected`: how many vectors are due. KeyError: answers of this dialect cannot be judged.
    """
    if body[:3] == b"\xef\xbb\xbf":
        body = body[3:]
    if dialect in _LISTS:
        return _judge_list(dialect, body, expected)
    return _JUDGES[dialect](body, expected)


_JUDGES: dict[str, Callable[[bytes, int | None], Verdict]] = {
    "openai.chat": _judge_chat,
    "openai.completions": _judge_chat,
    "openai.responses": _judge_response,
}
