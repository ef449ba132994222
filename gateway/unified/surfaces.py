"""The unified surfaces: path -> what is offered there. One row is one endpoint family of section "Unified surfaces".

To add a surface, add a row; `dialect` names how its requests and answers look, `form` how its errors do.
"""

from __future__ import annotations

import msgspec


class Surface(msgspec.Struct, frozen=True):
    """One endpoint family. `name` is the metrics' label; `kind`: of the models that can be used there (`models.KINDS`);
    `streams`: whether its answers may be streams.
    """

    name: str
    path: str
    dialect: str
    kind: str
    form: str = "openai"
    streams: bool = True


SURFACES = (
    Surface("chat", "/v1/chat/completions", "openai.chat", "chat"),
    Surface("responses", "/v1/responses", "openai.responses", "chat"),
    Surface("embeddings", "/v1/embeddings", "openai.embeddings", "embedding", streams=False),
    Surface("rerank", "/v1/rerank", "jina.rerank", "rerank", streams=False),
)

# Every path also answers without /v1.
BY_PATH: dict[bytes, Surface] = {
    path.encode(): surface for surface in SURFACES for path in (surface.path, surface.path.removeprefix("/v1"))
}
