"""OpenAI's embeddings over the vendors' own interfaces.

All vendors share one way: the request is read once (`Asked`), each vendor has a function that writes it, and a shape of
its answer that gives the vectors with their places. Vectors keep the digits that the vendor wrote, unless base64 is
asked for: little-endian float32, as OpenAI's SDKs decode it. One vector is decoded at a time.

A batch over the vendor's limit is refused; it is not split into several calls.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import msgspec

from gateway.dialects import usage
from gateway.dialects.losses import UNKNOWN, Losses, left_behind, whole, words
from gateway.errors import BadRequest, BadUpstreamReply, Unsupported
from gateway.types import Usage

_UNREADABLE = (msgspec.DecodeError, RecursionError)
_CARRIED = frozenset({"model", "input", "encoding_format", "dimensions"})
# Other vendors' words for the two ends of a search, as clients send them.
_KINDS = {"search_query": "query", "search_document": "document"}
_LOSSES = {
    "input (tokens)": "refused: the vendor takes texts, not tokens",
    "input (parts)": "refused: only texts are carried",
    "input (batch)": "refused: over the vendor's limit of texts in one call",
    "user": "dropped: the vendor has no such field",
    **UNKNOWN,
}
_NO_INSTRUCT = {"instruct": "dropped: the vendor takes no instructions"}
_OTHER_KINDS = {"input_type (others)": "refused: the vendor does not make vectors for this purpose"}

_floats = msgspec.json.Decoder(Annotated[list[float], msgspec.Meta(min_length=1)])
_encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, frozen=True):
    """What a request wants."""

    texts: list[str]
    dimensions: int | None = None
    kind: str | None = None  # in the vendor's words
    instruct: str | None = None


class Answer(Protocol):
    """A vendor's answer."""

    def vectors(self) -> Iterable[tuple[int, msgspec.Raw]]: ...
    def usage(self) -> Usage | None: ...


class _Item(msgspec.Struct, kw_only=True):
    object: str = "embedding"
    index: int
    embedding: msgspec.Raw | str


class _Tokens(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class _List(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: list[_Item]
    model: str
    usage: _Tokens


@dataclass(frozen=True)
class Embeddings:
    """The conversion for one vendor."""

    build: Callable[[Asked, str], Any]
    decoder: msgspec.json.Decoder[Any]  # of an Answer
    most: Callable[[str], int]  # texts in one call of a model
    LOSSES: Losses
    kinds: Mapping[str, str] | None = None  # `input_type` in the vendor's words
    method: str = ""

    def request(self, fields: dict[str, Any], model: str) -> tuple[bytes, tuple[str, ...]]:
        carried = _CARRIED | {name for name in ("input_type", "instruct") if name not in self.LOSSES}
        dropped = left_behind(fields, carried, self.LOSSES)
        texts = _texts(fields.get("input"))
        if len(texts) > (most := self.most(model)):
            remedy = "send one text a call" if most == 1 else "split the request"
            said = f"input has {len(texts)} texts, this model's vendor takes at most {most} in one call; {remedy}"
            raise Unsupported(said, param="input")
        _base64(fields)  # a wrong value is refused before anything is paid for
        kind = None if "input_type" in dropped else self._kind(fields)
        instruct = None if "instruct" in dropped else words(fields, "instruct")
        asked = Asked(texts, whole(fields, "dimensions"), kind, instruct)
        return _encode(self.build(asked, model)), dropped

    def _kind(self, fields: Mapping[str, Any]) -> str | None:
        name = words(fields, "input_type")
        if name is None or self.kinds is None:
            return None
        if found := self.kinds.get(_KINDS.get(name, name)):
            return found
        raise Unsupported(f"input_type must be one of {', '.join(self.kinds)} for this model", param="input_type")

    def answer(self, body: bytes, fields: dict[str, Any], *, estimate: int = 0) -> bytes:
        count = 1 if isinstance(fields["input"], str) else len(fields["input"])
        vectors, counted = self.read(body, count)
        if _base64(fields):
            items = [_Item(index=index, embedding=_packed(vector)) for index, vector in enumerate(vectors)]
        else:
            items = [_Item(index=index, embedding=vector) for index, vector in enumerate(vectors)]
        tokens = counted.input if counted else estimate
        return _encode(_List(data=items, model=fields["model"], usage=_Tokens(tokens, tokens)))

    def read(self, body: bytes, count: int) -> tuple[list[msgspec.Raw], Usage | None]:
        """The vectors for so many inputs, in their order and in the vendor's digits, and the usage."""
        try:
            answer: Answer = self.decoder.decode(body)
        except _UNREADABLE as exc:
            raise BadUpstreamReply("the vendor's answer is not a list of embeddings") from exc
        places: dict[int, msgspec.Raw] = {}
        for index, vector in answer.vectors():
            if not 0 <= index < count or index in places:
                raise BadUpstreamReply("the vendor's embeddings do not match the inputs")
            _numbers(vector)
            places[index] = vector
        if len(places) < count:
            raise BadUpstreamReply("the vendor's answer has fewer embeddings than there are inputs")
        return [places[index] for index in range(count)], answer.usage()


def _texts(given: object) -> list[str]:
    """The texts of an `input`."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise BadRequest("input must be a string or a list of strings, not empty", param="input")
    for item in texts:
        if type(item) is int or isinstance(item, list):
            raise Unsupported("input: this model's vendor takes texts, not tokens; send strings", param="input")
        if isinstance(item, dict):
            raise Unsupported("input: only texts can be carried to this model's vendor; send strings", param="input")
        if not isinstance(item, str):
            raise BadRequest("input must be a string or a list of strings", param="input")
    return texts


def _base64(fields: Mapping[str, Any]) -> bool:
    form = fields.get("encoding_format")
    if form not in (None, "float", "base64"):
        raise BadRequest("encoding_format must be float or base64", param="encoding_format")
    return form == "base64"


def _numbers(vector: msgspec.Raw) -> list[float]:
    try:
        values: list[float] = _floats.decode(vector)
    except _UNREADABLE as exc:
        raise BadUpstreamReply("an embedding of the vendor's is not a list of numbers") from exc
    return values


def _packed(vector: msgspec.Raw) -> str:
    values = _numbers(vector)
    try:
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    except OverflowError as exc:
        raise BadUpstreamReply("an embedding of the vendor's does not fit single precision") from exc


# -- OpenAI itself, for other surfaces --


class _OpenAIVector(msgspec.Struct):
    index: int
    embedding: msgspec.Raw


class _OpenAI(msgspec.Struct):
    data: list[_OpenAIVector]
    counted: Any = msgspec.field(name="usage", default=None)

    def vectors(self) -> Iterable[tuple[int, msgspec.Raw]]:
        return ((each.index, each.embedding) for each in self.data)

    def usage(self) -> Usage | None:
        return usage.embeddings({"usage": self.counted})


def _to_openai(asked: Asked, model: str) -> Any:
    return {"model": model, "input": asked.texts, **_given(dimensions=asked.dimensions)}


OPENAI = Embeddings(
    build=_to_openai,
    decoder=msgspec.json.Decoder(_OpenAI),
    most=lambda model: 2048,
    LOSSES={"input_type": "dropped: the vendor has no such field", **_NO_INSTRUCT, **_LOSSES},
)


# -- DashScope --


class _DashScopeVector(msgspec.Struct):
    text_index: int
    embedding: msgspec.Raw


class _DashScopeOutput(msgspec.Struct):
    embeddings: list[_DashScopeVector]


class _DashScope(msgspec.Struct):
    output: _DashScopeOutput
    counted: Any = msgspec.field(name="usage", default=None)

    def vectors(self) -> Iterable[tuple[int, msgspec.Raw]]:
        return ((each.text_index, each.embedding) for each in self.output.embeddings)

    def usage(self) -> Usage | None:
        return usage.embeddings({"usage": self.counted})


def _to_dashscope(asked: Asked, model: str) -> Any:
    parameters = {"dimension": asked.dimensions, "text_type": asked.kind, "instruct": asked.instruct}
    return {"model": model, "input": {"texts": asked.texts}, **_given(parameters=_given(**parameters) or None)}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


DASHSCOPE = Embeddings(
    build=_to_dashscope,
    decoder=msgspec.json.Decoder(_DashScope),
    most=lambda model: 25 if model.endswith(("-v1", "-v2")) else 10,
    kinds={"query": "query", "document": "document"},
    LOSSES={**_LOSSES, **_OTHER_KINDS},
)


# -- Ark's multimodal embeddings: everything in one call becomes one vector --


class _ArkVector(msgspec.Struct):
    embedding: msgspec.Raw


class _Ark(msgspec.Struct):
    data: _ArkVector  # an object, not a list
    counted: Any = msgspec.field(name="usage", default=None)

    def vectors(self) -> Iterable[tuple[int, msgspec.Raw]]:
        return ((0, self.data.embedding),)

    def usage(self) -> Usage | None:
        return usage.embeddings({"usage": self.counted})


def _to_ark(asked: Asked, model: str) -> Any:
    parts = [{"type": "text", "text": text} for text in asked.texts]
    return {"model": model, "input": parts, **_given(dimensions=asked.dimensions, instructions=asked.instruct)}


ARK = Embeddings(
    build=_to_ark,
    decoder=msgspec.json.Decoder(_Ark),
    most=lambda model: 1,
    LOSSES={**_LOSSES, "input_type": "dropped: the vendor tells queries from documents by free instructions only"},
)


# -- Cohere --


class _CohereForms(msgspec.Struct):
    float: list[msgspec.Raw]


class _Cohere(msgspec.Struct):
    embeddings: _CohereForms
    meta: Any = None

    def vectors(self) -> Iterable[tuple[int, msgspec.Raw]]:
        return enumerate(self.embeddings.float)

    def usage(self) -> Usage | None:
        return usage.embeddings({"meta": self.meta})


def _to_cohere(asked: Asked, model: str) -> Any:
    return {
        "model": model,
        "texts": asked.texts,
        "input_type": asked.kind or "search_document",  # required there
        "embedding_types": ["float"],
        **_given(output_dimension=asked.dimensions),
    }


_KINDS_OF_TASKS = {"classification": "classification", "clustering": "clustering"}
COHERE = Embeddings(
    build=_to_cohere,
    decoder=msgspec.json.Decoder(_Cohere),
    most=lambda model: 96,
    kinds={"query": "search_query", "document": "search_document", **_KINDS_OF_TASKS},
    LOSSES={**_LOSSES, **_OTHER_KINDS, **_NO_INSTRUCT},
)


# -- Gemini --


class _GeminiVector(msgspec.Struct):
    values: msgspec.Raw


class _Gemini(msgspec.Struct):
    embeddings: list[_GeminiVector]
    counted: Any = msgspec.field(name="usageMetadata", default=None)

    def vectors(self) -> Iterable[tuple[int, msgspec.Raw]]:
        return enumerate(each.values for each in self.embeddings)

    def usage(self) -> Usage | None:
        return usage.gemini({"usageMetadata": self.counted})


def _to_gemini(asked: Asked, model: str) -> Any:
    common = {
        "model": f"models/{model.removeprefix('models/')}",
        **_given(taskType=asked.kind, outputDimensionality=asked.dimensions),
    }
    return {"requests": [{**common, "content": {"parts": [{"text": text}]}} for text in asked.texts]}


GEMINI = Embeddings(
    build=_to_gemini,
    decoder=msgspec.json.Decoder(_Gemini),
    most=lambda model: 100,
    kinds={
        "query": "RETRIEVAL_QUERY",
        "document": "RETRIEVAL_DOCUMENT",
        **{name: name.upper() for name in _KINDS_OF_TASKS},
    },
    method=":batchEmbedContents",
    LOSSES={**_LOSSES, **_OTHER_KINDS, **_NO_INSTRUCT},
)
