"""Gemini's embeddings, `:embedContent` and `:batchEmbedContents`, over the vendors of `dialects/embeddings.py`.

Each text of a request is read with what it is for and how long its vector shall be. The other vendors take these once
for a whole call, so all requests of a batch must agree in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.dialects.chat.fields import Fields, Lost, unsupported
from gateway.dialects.embeddings import ARK, COHERE, DASHSCOPE, OPENAI, Asked, Embeddings
from gateway.dialects.losses import UNKNOWN, Losses
from gateway.errors import BadRequest, Unsupported

# Every field may come in either spelling, as in all of Google's JSON.
_SPELLINGS = {
    "task_type": "taskType",
    "output_dimensionality": "outputDimensionality",
    "embed_content_config": "embedContentConfig",
}
_ANY = "TASK_TYPE_UNSPECIFIED"
# What vectors are for -> `input_type`. All questions are compared with vectors of RETRIEVAL_DOCUMENT.
_KINDS = {
    _ANY: "",
    "RETRIEVAL_QUERY": "query",
    "QUESTION_ANSWERING": "query",
    "FACT_VERIFICATION": "query",
    "CODE_RETRIEVAL_QUERY": "query",
    "RETRIEVAL_DOCUMENT": "document",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
    "SEMANTIC_SIMILARITY": "similarity",
}
_LOSSES = {
    "content.parts (others)": "refused: only texts are carried",
    "title": "dropped: the vendor has no such field",
    "embedContentConfig.title": "dropped: the vendor has no such field",
}
_BATCH = {
    "requests (batch)": "refused: over the vendor's limit of texts in one call",
    "requests (differing)": "refused: the vendor takes one taskType and one outputDimensionality for a whole call",
}

_encode = msgspec.json.Encoder().encode


class _Text(msgspec.Struct, frozen=True):
    """One request for one vector."""

    text: str
    kind: str | None
    dimensions: int | None
    model: str | None


class _Vector(msgspec.Struct):
    values: msgspec.Raw


class _Counted(msgspec.Struct, rename="camel"):
    prompt_token_count: int


class _One(msgspec.Struct, rename="camel"):
    embedding: _Vector
    usage_metadata: _Counted


class _Many(msgspec.Struct, rename="camel"):
    embeddings: list[_Vector]
    usage_metadata: _Counted


@dataclass(frozen=True)
class GeminiEmbeddings:
    """The conversion to one vendor; `batch`: of a list of requests."""

    vendor: Embeddings
    batch: bool
    LOSSES: Losses
    method: str = ""

    def request(self, fields: dict[str, Any], model: str) -> tuple[bytes, tuple[str, ...]]:
        lost = Lost(self.LOSSES, {})
        texts = self._texts(_spelled(fields, "", lost), model)
        first = texts[0]
        asked = Asked([each.text for each in texts], first.dimensions, first.kind)
        return _encode(self.vendor.build(asked, model)), tuple(lost.dropped)

    def answer(self, body: bytes, fields: dict[str, Any], *, estimate: int = 0) -> bytes:
        raw, counted = self.vendor.read(body, len(fields["requests"]) if self.batch else 1)
        usage = _Counted(counted.input if counted else estimate)
        vectors = [_Vector(each) for each in raw]
        return _encode(_Many(vectors, usage) if self.batch else _One(vectors[0], usage))

    def _texts(self, fields: Fields, model: str) -> list[_Text]:
        """At least one."""
        if not self.batch:
            return [self._text(fields)]
        items = fields.items("requests")
        if not items:
            raise BadRequest("requests must be a list, not empty", param="requests")
        if len(items) > (most := self.vendor.most(model)):
            remedy = "send one text a call" if most == 1 else "split the batch"
            said = f"requests has {len(items)} texts, this model's vendor takes at most {most} in one call; {remedy}"
            raise Unsupported(said, param="requests")
        texts = [self._text(_spelled(item, f"requests[{index}]", fields.lost)) for index, item in enumerate(items)]
        for index, each in enumerate(texts):
            for place, name in _SHARED.items():
                if getattr(each, name) != getattr(texts[0], name):
                    raise unsupported(f"requests[{index}].{place}", "all requests of a batch must have the same")
        fields.done()
        return texts

    def _text(self, fields: Fields) -> _Text:
        content = fields.object("content")
        if content is None:
            raise fields.wrong("content", "there, with the text as its parts")
        content.raw("role")  # means nothing here
        text = "".join(_part(part) for part in content.objects("parts"))
        if not text:
            raise content.wrong("parts", "a list of texts, not empty")
        content.done()
        kind, dimensions = self._kind(fields), fields.whole("outputDimensionality", 1)
        if fields.has("embedContentConfig"):  # Google's newer place for the same
            config = _spelled(fields.raw("embedContentConfig"), fields.place("embedContentConfig"), fields.lost)
            kind = self._kind(config) or kind
            dimensions = config.whole("outputDimensionality", 1) or dimensions
            config.done()
        model = fields.text("model")  # the path has said it
        fields.done()
        return _Text(text, kind, dimensions, model)

    def _kind(self, fields: Fields) -> str | None:
        """What the vector is for, in the vendor's words."""
        name = fields.one_of("taskType", _KINDS)
        if name is None or name == _ANY:
            return None
        place = fields.place("taskType")
        if self.vendor.kinds is None:
            fields.lost.unread(place)
            return None
        if found := self.vendor.kinds.get(_KINDS[name]):
            return found
        raise unsupported(place, "the vendor does not make vectors for this purpose")


_SHARED = {"taskType": "kind", "outputDimensionality": "dimensions", "model": "model"}


def _spelled(value: object, at: str, lost: Lost) -> Fields:
    """An object's fields under the names that Google's documentation has."""
    if not isinstance(value, dict):
        return Fields(value, at, lost)
    given: dict[str, Any] = value
    found: dict[str, Any] = {}
    for name, item in given.items():
        known = _SPELLINGS.get(name, name)
        if known in found:
            place = f"{at}.{known}" if at else known
            raise BadRequest(f"{place} is given twice, in both spellings", param=place)
        found[known] = item
    return Fields(found, at, lost)


def _part(part: Fields) -> str:
    text = part.text("text")
    others = part.rest()
    if others:
        raise unsupported(part.place(next(iter(others))), "only texts are carried")
    return text or ""


def _over(vendor: Embeddings, batch: bool) -> GeminiEmbeddings:
    """The conversion, with its losses told in Gemini's words."""
    losses: dict[str, str] = dict(_LOSSES)
    for use in ("", " (others)"):
        if why := vendor.LOSSES.get(f"input_type{use}"):
            losses |= {f"taskType{use}": why, f"embedContentConfig.taskType{use}": why}
    if batch:
        losses = {**{f"requests.{field}": why for field, why in losses.items()}, **_BATCH}
    return GeminiEmbeddings(vendor, batch, {**losses, **UNKNOWN})


_VENDORS = {
    "openai.embeddings": OPENAI,
    "dashscope.embeddings": DASHSCOPE,
    "ark.embeddings": ARK,
    "cohere.embed": COHERE,
}
ONE: Mapping[str, GeminiEmbeddings] = {dialect: _over(vendor, batch=False) for dialect, vendor in _VENDORS.items()}
BATCH: Mapping[str, GeminiEmbeddings] = {dialect: _over(vendor, batch=True) for dialect, vendor in _VENDORS.items()}
