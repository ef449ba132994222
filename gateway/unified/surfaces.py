"""The unified surfaces: path -> what is offered there. One row is one path of section "Unified surfaces".

To add a surface, add a row; `dialect` names how its requests and answers look, `form` how its errors do.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

import msgspec

CHAT, PICTURES, EMBEDDINGS, RERANK = ("chat",), ("chat", "image"), ("embedding",), ("rerank",)


class Surface(msgspec.Struct, frozen=True):
    """One path. `name` is the metrics' label; `kinds`: of the models that can be used there (`models.KINDS`).

    `shape`: how its body is read (`dialects.request`), where that is not the dialect's usual call. `streams`: whether
    its answers may be streams; `stream`: whether they are, where it is the path that says so. `counts`: it only counts
    tokens, for nothing. In a path that has one, `{model}` is the model's name, and what follows the method.
    """

    name: str
    path: str
    dialect: str
    kinds: tuple[str, ...]
    form: str = "openai"
    streams: bool = True
    shape: str = ""
    stream: bool | None = None
    counts: bool = False

    @property
    def read_as(self) -> str:
        return self.shape or self.dialect

    @property
    def converted_as(self) -> str:
        """What conversions know its requests as: lists by how they are read, chats by their dialect."""
        return self.read_as if self.kinds is EMBEDDINGS else self.dialect

    @property
    def method(self) -> str:
        """What follows the dialect's path at a vendor that speaks it."""
        return self.path.rpartition("{model}")[2] if "{model}" in self.path else "/count_tokens" * self.counts


def _gemini(method: str, kinds: tuple[str, ...] = CHAT, dialect: str = "gemini.generate", **more: object) -> Surface:
    return Surface("gemini", "/v1beta/models/{model}:" + method, dialect, kinds, "gemini", **more)  # type: ignore[arg-type]


SURFACES = (
    Surface("chat", "/v1/chat/completions", "openai.chat", CHAT),
    Surface("responses", "/v1/responses", "openai.responses", CHAT),
    Surface("messages", "/v1/messages", "anthropic.messages", CHAT, "anthropic"),
    Surface(
        "messages", "/v1/messages/count_tokens", "anthropic.messages", CHAT, "anthropic", streams=False,
        shape="anthropic.count", counts=True,
    ),
    _gemini("generateContent", PICTURES, stream=False),
    _gemini("streamGenerateContent", PICTURES, stream=True),
    _gemini("countTokens", streams=False, stream=False, shape="gemini.count", counts=True),
    _gemini("embedContent", EMBEDDINGS, "gemini.embed", streams=False, stream=False),
    _gemini("batchEmbedContents", EMBEDDINGS, "gemini.embed", streams=False, stream=False, shape="gemini.batch"),
    Surface("embeddings", "/v1/embeddings", "openai.embeddings", EMBEDDINGS, streams=False),
    Surface("rerank", "/v1/rerank", "jina.rerank", RERANK, streams=False),
)  # fmt: skip

# Every path also answers without /v1.
BY_PATH: dict[bytes, Surface] = {
    path.encode(): surface
    for surface in SURFACES
    if "{model}" not in surface.path
    for path in (surface.path, surface.path.removeprefix("/v1"))
}
_BY_METHOD = {surface.method[1:].encode(): surface for surface in SURFACES if "{model}" in surface.path}
_MODELS = (b"/v1beta/models/", b"/v1/models/", b"/models/")


class Place(NamedTuple):
    """A surface, and the model if it is the path that names it."""

    surface: Surface
    model: str | None = None


def find(path: bytes) -> Place | None:
    """What is offered at a path; None: nothing."""
    surface = BY_PATH.get(path)
    if surface is not None:
        return Place(surface)
    for begin in _MODELS:
        if path.startswith(begin):
            return _named(path[len(begin) :])
    return None


def _named(rest: bytes) -> Place | None:
    for colon in (b":", b"%3A", b"%3a"):
        model, found, method = rest.rpartition(colon)
        if found and (surface := _BY_METHOD.get(method)) is not None:
            return Place(surface, unquote(model.decode("latin-1"), errors="replace"))
    return None
