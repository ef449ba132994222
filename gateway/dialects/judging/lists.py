"""Lists: embeddings and rerank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from gateway.dialects import scan
from gateway.dialects.error_forms import VendorError
from gateway.dialects.judging.verdict import PATIENCE, Verdict, no_answer, read_usage

_NOTHING = msgspec.Raw(b"")  # of a field that is not there


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
LISTS = {
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


def judge(dialect: str, body: bytes, expected: int | None) -> Verdict:
    form = LISTS[dialect]
    try:
        found = form.decode(body)
    except scan.UNREADABLE:
        found = None
    items = None if found is None else form.items(found)
    if not items or found.error:
        return no_answer(body, (), scan.decode(body) if len(body) <= PATIENCE else None)
    items = items if isinstance(items, list) else [items]
    good = sum(map(form.good, items))
    due = max(len(items), expected or 1 if form.counted else 1)
    if good < due:
        error = VendorError(502, f"the vendor sent {good} {form.noun}s where {due} are due")
        return Verdict(body, (), error=error)
    counted, zero = read_usage(dialect, body)
    return Verdict(body, (), usage=counted, zero=zero)
