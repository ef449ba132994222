"""From the dialect of a surface to that of a vendor: one table of conversions of calls that are answered in one piece.

Equal dialects have no conversion: their bytes pass untouched. To add one, write it in the file of its family and give
it a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.dialects import embeddings, rerank
from gateway.dialects.losses import Losses


class Conversion(Protocol):
    """Both ways of one call; bodies are JSON on both sides."""

    @property
    def LOSSES(self) -> Losses: ...  # noqa: N802

    @property
    def method(self) -> str:
        """What follows the vendor's path, such as `:batchEmbedContents`."""

    def request(self, fields: dict[str, Any], model: str) -> tuple[bytes, tuple[str, ...]]:
        """The vendor's body for a decoded request, and the names of the fields that were dropped.

        BadRequest for what no vendor would take, Unsupported for what this one cannot carry.
        """

    def answer(self, body: bytes, fields: dict[str, Any], *, estimate: int = 0) -> bytes:
        """The surface's answer to the request `fields`, from a vendor's answer of success; BadUpstreamReply if it
        cannot be read or is short. `estimate`: input tokens to tell where the vendor told no usage.
        """


_CONVERSIONS: Mapping[tuple[str, str], Conversion] = {
    ("openai.embeddings", "dashscope.embeddings"): embeddings.DASHSCOPE,
    ("openai.embeddings", "ark.embeddings"): embeddings.ARK,
    ("openai.embeddings", "cohere.embed"): embeddings.COHERE,
    ("openai.embeddings", "gemini.embed"): embeddings.GEMINI,
    ("jina.rerank", "cohere.rerank"): rerank.COHERE,
    ("jina.rerank", "dashscope.rerank"): rerank.DASHSCOPE,
}


def find(surface: str, vendor: str) -> Conversion | None:
    """The conversion between two dialects; None where they are equal, and where there is none (see `known`)."""
    return _CONVERSIONS.get((surface, vendor))


def known(surface: str, vendor: str) -> bool:
    """Whether a target of the vendor's dialect can serve the surface at all."""
    return surface == vendor or (surface, vendor) in _CONVERSIONS
