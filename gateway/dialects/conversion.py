"""From the dialect of a surface to that of a vendor: one table of conversions.

Equal dialects have no conversion: their bytes pass untouched. Chats meet in the neutral form (`dialects/chat/`), each
dialect once as a surface, once as a vendor; embeddings and rerank are lists, converted by the pair. To add one, write
it in the package of its dialect or the file of its family and give it a line here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from gateway.dialects import (
    anthropic_messages,
    dashscope_generation,
    embeddings,
    gemini_embeddings,
    gemini_generate,
    minimax_chat,
    openai_chat,
    openai_responses,
    rerank,
)
from gateway.dialects.chat.conversion import ChatConversion
from gateway.dialects.chat.dialect import Surface, Vendor
from gateway.dialects.losses import Losses


class ListConversion(Protocol):
    """Both ways of one call that is answered in one piece; bodies are JSON on both sides."""

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


SURFACES: Mapping[str, Surface] = {
    "openai.chat": openai_chat.SURFACE,
    "openai.responses": openai_responses.SURFACE,
    "anthropic.messages": anthropic_messages.SURFACE,
    "gemini.generate": gemini_generate.SURFACE,
}
# Of several that a vendor speaks the first is taken: what loses least stands first, then what costs least to write.
VENDORS: Mapping[str, Vendor] = {
    "openai.chat": openai_chat.VENDOR,
    "anthropic.messages": anthropic_messages.VENDOR,
    "gemini.generate": gemini_generate.VENDOR,
    "openai.responses": openai_responses.VENDOR,
    "dashscope.generation": dashscope_generation.VENDOR,
    "minimax.chat": minimax_chat.VENDOR,
}
_LISTS: Mapping[tuple[str, str], ListConversion] = {
    ("openai.embeddings", "dashscope.embeddings"): embeddings.DASHSCOPE,
    ("openai.embeddings", "ark.embeddings"): embeddings.ARK,
    ("openai.embeddings", "cohere.embed"): embeddings.COHERE,
    ("openai.embeddings", "gemini.embed"): embeddings.GEMINI,
    **{("gemini.embed", vendor): one for vendor, one in gemini_embeddings.ONE.items()},
    **{("gemini.batch", vendor): batch for vendor, batch in gemini_embeddings.BATCH.items()},
    ("jina.rerank", "cohere.rerank"): rerank.COHERE,
    ("jina.rerank", "dashscope.rerank"): rerank.DASHSCOPE,
}
_CHATS = {
    (ours, theirs): ChatConversion(surface, vendor, theirs)
    for ours, surface in SURFACES.items()
    for theirs, vendor in VENDORS.items()
    if ours != theirs
}
_CHEAPEST = tuple(VENDORS)


def lists(shape: str, vendor: str) -> ListConversion | None:
    """The conversion of a call that is answered by a list. `shape`: how the surface's body is read."""
    return _LISTS.get((shape, vendor))


def chats(surface: str, vendor: str) -> ChatConversion | None:
    """The conversion of a chat."""
    return _CHATS.get((surface, vendor))


def known(surface: str, vendor: str) -> bool:
    """Whether a target of the vendor's dialect can serve the surface at all."""
    return surface == vendor or (surface, vendor) in _LISTS or (surface, vendor) in _CHATS


def best(surface: str, spoken: Iterable[str]) -> str | None:
    """The dialect in which a vendor that speaks these serves the surface: its own, else what it converts to best."""
    usable = [dialect for dialect in spoken if known(surface, dialect)]
    if surface in usable:
        return surface
    return min(usable, key=lambda dialect: _CHEAPEST.index(dialect) if dialect in _CHEAPEST else 0, default=None)
