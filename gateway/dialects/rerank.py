"""The rerank surface (Jina's shape, with Cohere's extras) over the vendors' own interfaces.

No vendor is asked to send documents back: where the client wants them in the answer, their texts are taken from its own
request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec

from gateway.dialects import usage
from gateway.dialects.losses import UNKNOWN, Losses, left_behind, whole, words
from gateway.errors import BadRequest, BadUpstreamReply, Unsupported
from gateway.types import Usage

_CARRIED = frozenset({"model", "query", "documents", "top_n", "return_documents"})
_LOSSES = {
    "query (parts)": "refused: only texts are carried",
    "documents (parts)": "refused: only texts are carried",
    "documents (batch)": "refused: over the vendor's limit of documents in one call",
    "rank_fields": "refused: documents are ranked by their text alone",
    "max_chunks_per_doc": "dropped: the vendor cuts documents by itself",
    "overlap_tokens": "dropped: the vendor cuts documents by itself",
    **UNKNOWN,
}

_encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, frozen=True):
    """What a request wants."""

    query: str
    texts: list[str]
    hints: Mapping[str, Any]  # those that the vendor knows, by its names


class Row(msgspec.Struct):
    """One document's score."""

    index: int
    relevance_score: float


class Answer(Protocol):
    """A vendor's answer."""

    def rows(self) -> list[Row]: ...
    def id(self) -> object: ...
    def usage(self) -> Usage | None: ...


@dataclass(frozen=True)
class Rerank:
    """The conversion for one vendor."""

    build: Callable[[Asked, str], Any]
    decoder: msgspec.json.Decoder[Any]  # of an Answer
    most: int  # documents in one call
    hints: Mapping[str, Callable[[Mapping[str, Any], str], Any]]  # field: its check
    LOSSES: Losses
    method: str = ""

    def request(self, fields: dict[str, Any], model: str) -> tuple[bytes, tuple[str, ...]]:
        dropped = left_behind(fields, _CARRIED | self.hints.keys(), self.LOSSES)
        texts = _texts(fields.get("documents"))
        if len(texts) > self.most:
            said = f"documents has {len(texts)} items, this model's vendor takes at most {self.most} in one call"
            raise Unsupported(f"{said}; split the request", param="documents")
        if not isinstance(fields.get("return_documents"), bool | None):
            raise BadRequest("return_documents must be true or false", param="return_documents")
        hints = {name: check(fields, name) for name, check in self.hints.items() if fields.get(name) is not None}
        return _encode(self.build(Asked(_query(fields), texts, hints), model)), dropped

    def answer(self, body: bytes, fields: dict[str, Any], *, estimate: int = 0) -> bytes:
        try:
            answer: Answer = self.decoder.decode(body)
        except (msgspec.DecodeError, RecursionError) as exc:
            raise BadUpstreamReply("the vendor's answer is not a list of scores") from exc
        documents = fields["documents"]
        shown = documents if fields.get("return_documents") else None
        results = [_result(row, shown) for row in _best(answer.rows(), len(documents), fields.get("top_n"))]
        name = answer.id()
        if not isinstance(name, str) or not name:
            name = hashlib.blake2b(body, digest_size=12).hexdigest()
        return _encode(
            {
                "id": f"rerank-{name[:100]}",
                "model": fields["model"],
                "results": results,
                **_told(answer.usage() or Usage(input=estimate)),
            }
        )


def _best(rows: list[Row], count: int, top_n: int | None) -> list[Row]:
    """As many as were asked for, best first; equal ones in the order of the documents."""
    wanted = min(top_n or count, count)
    seen = {row.index for row in rows}
    if len(seen) < len(rows) or not all(0 <= index < count for index in seen):
        raise BadUpstreamReply("the vendor's scores do not match the documents")
    if len(rows) < wanted:
        raise BadUpstreamReply("the vendor's answer has fewer scores than were asked for")
    return sorted(rows, key=lambda row: (-row.relevance_score, row.index))[:wanted]


def _result(row: Row, documents: list[Any] | None) -> dict[str, Any]:
    result: dict[str, Any] = {"index": row.index, "relevance_score": row.relevance_score}
    if documents is not None:
        document = documents[row.index]
        result["document"] = {"text": document if isinstance(document, str) else document["text"]}
    return result


def _told(counted: Usage) -> dict[str, Any]:
    """The usage in both vendors' words: clients of either find theirs."""
    meta: dict[str, Any] = {"tokens": {"input_tokens": counted.input, "output_tokens": counted.output}}
    if searches := counted.extra_units.get("search_units"):
        meta["billed_units"] = {"search_units": searches}
    return {"usage": {"prompt_tokens": counted.input, "total_tokens": counted.total}, "meta": meta}


def _query(fields: Mapping[str, Any]) -> str:
    if isinstance(fields.get("query"), dict):
        raise Unsupported("query: only texts can be carried to this model's vendor; send a string", param="query")
    query = words(fields, "query")
    if not query:
        raise BadRequest("query must be a string, not empty", param="query")
    return query


def _texts(documents: object) -> list[str]:
    """The documents as plain texts."""
    if not isinstance(documents, list) or not documents:
        raise BadRequest("documents must be a list of strings or of {text}, not empty", param="documents")
    return [_text(document) for document in documents]


def _text(document: object) -> str:
    if isinstance(document, str):
        return document
    if isinstance(document, dict):
        if "image" in document:
            raise Unsupported("documents: only texts can be carried to this model's vendor", param="documents")
        if isinstance(text := document.get("text"), str):
            return text
    raise BadRequest("documents must be a list of strings or of {text}", param="documents")


# -- Cohere v2 --


class _Cohere(msgspec.Struct):
    results: list[Row]
    name: Any = msgspec.field(name="id", default=None)
    meta: Any = None

    def rows(self) -> list[Row]:
        return self.results

    def id(self) -> object:
        return self.name

    def usage(self) -> Usage | None:
        return usage.rerank({"meta": self.meta})


def _to_cohere(asked: Asked, model: str) -> Any:
    return {"model": model, "query": asked.query, "documents": asked.texts, **asked.hints}


COHERE = Rerank(
    build=_to_cohere,
    decoder=msgspec.json.Decoder(_Cohere),
    most=1000,
    hints={"top_n": whole, "max_tokens_per_doc": whole, "priority": partial(whole, least=0)},
    LOSSES={**_LOSSES, "instruct": "dropped: the vendor takes no instructions"},
)


# -- DashScope --


class _DashScopeOutput(msgspec.Struct):
    results: list[Row]


class _DashScope(msgspec.Struct):
    output: _DashScopeOutput
    request_id: Any = None
    counted: Any = msgspec.field(name="usage", default=None)

    def rows(self) -> list[Row]:
        return self.output.results

    def id(self) -> object:
        return self.request_id

    def usage(self) -> Usage | None:
        return usage.rerank({"usage": self.counted})


def _to_dashscope(asked: Asked, model: str) -> Any:
    found = {"model": model, "input": {"query": asked.query, "documents": asked.texts}}
    return {**found, "parameters": asked.hints} if asked.hints else found


DASHSCOPE = Rerank(
    build=_to_dashscope,
    decoder=msgspec.json.Decoder(_DashScope),
    most=500,
    hints={"top_n": whole, "instruct": words},
    LOSSES={
        **_LOSSES,
        "max_tokens_per_doc": "dropped: the vendor cuts documents by itself",
        "priority": "dropped: the vendor has no such field",
    },
)
