"""Which fields of an answer each dialect's usage is in. Dialects that count alike share one `Family`.

Rule for editing: a path is exact (see `scan.tree`); a family's `needle` must stand in every stream event worth reading,
for events without it are never parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.dialects import scan, usage
from gateway.dialects.quick import quick_chat
from gateway.dialects.scan import Fields, Node
from gateway.types import Usage

_MODEL_PATHS = frozenset({
    "model", "modelVersion", "message.model", "response.model", "interaction.model", "Model", "Response.Model",
})  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """How the usage of some dialects is found and counted."""

    normal: Callable[[Fields], Usage | None]
    paths: tuple[str, ...] = ("model", "usage")
    # A top-level field and a counter in it: where that is above zero the event counts, and the arithmetic can wait.
    # None: the top level alone never tells, always scan.
    probe: tuple[str, str] | None = ("usage", "total_tokens")
    needle: bytes = b'usage"'
    array: bool = False  # items of an outermost array are documents
    quick: Callable[[bytes], tuple[str | None, Usage] | None] | None = None  # reads the plain case of a whole body
    merged: bool = False  # Anthropic: counters of several events are merged, not replaced
    models: tuple[str, ...] = field(init=False)
    root: Node = field(init=False)
    top: Any = field(init=False)  # decoder of the fields at the top and one level below
    nested: tuple[tuple[str, str, str], ...] = field(init=False)  # path, its object, its key there
    covered: bool = field(init=False)  # whether these are all the paths

    def __post_init__(self) -> None:
        simple = [path for path in self.paths if "[" not in path]
        nested = [(path, *path.split(".")) for path in simple if "." in path]
        top: list[tuple[str, Any, Any]] = [(path, Any, None) for path in simple if "." not in path]
        for parent in {parent for _, parent, _ in nested}:
            inner = [(key, Any, None) for _, above, key in nested if above == parent]
            top.append((parent, msgspec.defstruct("Inner", inner) | None, None))
        object.__setattr__(self, "models", tuple(path for path in self.paths if path in _MODEL_PATHS))
        object.__setattr__(self, "root", scan.tree(self.paths))
        object.__setattr__(self, "top", msgspec.json.Decoder(msgspec.defstruct("Top", top)))
        object.__setattr__(self, "nested", tuple(nested))
        object.__setattr__(self, "covered", len(simple) == len(self.paths))

    def fields(self, payload: bytes) -> list[Fields]:
        """The wanted fields of each document in the payload; mostly one."""
        if len(payload) <= scan.LIMIT and self.probe is not None:
            try:
                fields = msgspec.structs.asdict(self.top.decode(payload))
            except scan.UNREADABLE:
                pass
            else:
                for path, parent, key in self.nested:
                    fields[path] = getattr(fields[parent], key, None)
                if self.covered or fields[self.probe[0]]:
                    return [fields]
        found: list[Fields] = []
        scanner = scan.PathScanner(self.root, found.append, array=self.array)
        scanner.feed(payload)
        scanner.finish()
        return found


_PLAIN = Family(usage.plain)
_IMAGES = Family(usage.images, ("model", "type", "usage", "data[#]", "metadata"), probe=None)
_CHAT = Family(usage.chat, ("model", "usage", "bot_usage", "choices[].usage"), quick=quick_chat)
_DASHSCOPE = Family(usage.dashscope)
_RERANK = Family(usage.rerank, ("model", "usage", "meta", "tokens"))
_EMBEDDINGS = Family(usage.embeddings, ("model", "usage", "total_tokens", "meta"))
_GEMINI = Family(
    usage.gemini, ("modelVersion", "usageMetadata"), ("usageMetadata", "promptTokenCount"), b"usageMetadata", array=True
)
_SILENT = Family(usage.silent, ("model",), ("model", ""), b'"model"')

FAMILIES: dict[str, Family] = {
    "openai.chat": _CHAT,
    "openai.completions": _CHAT,
    "openai.responses": Family(
        usage.responses,
        ("model", "usage", "tool_usage", "response.model", "response.usage", "response.tool_usage"),
    ),
    "openai.embeddings": _EMBEDDINGS,
    "openai.images": _IMAGES,
    "openai.speech": _PLAIN,
    "openai.transcriptions": Family(usage.transcription, ("model", "usage", "duration"), probe=None),
    "openai.realtime": _SILENT,  # usage is in its WebSocket
    "openai.videos": _PLAIN,
    "anthropic.messages": Family(
        lambda fields: usage.anthropic(usage.anthropic_counters(usage.object_of(fields.get("usage")))),
        ("model", "usage", "message.model", "message.usage"),
        merged=True,
    ),
    "gemini.generate": _GEMINI,
    "gemini.embed": _GEMINI,
    "gemini.videos": _SILENT,
    "gemini.interactions": Family(
        usage.interactions,
        ("model", "usage", "interaction.model", "interaction.usage"),
        ("usage", "total_output_tokens"),
    ),
    "dashscope.generation": _DASHSCOPE,
    "dashscope.embeddings": _EMBEDDINGS,
    "dashscope.rerank": _RERANK,
    "dashscope.images": _DASHSCOPE,
    "dashscope.videos": _DASHSCOPE,
    "dashscope.speech": _DASHSCOPE,
    "minimax.chat": _CHAT,
    "minimax.speech": Family(usage.minimax_speech, ("extra_info",), ("extra_info", "usage_characters"), b"extra_info"),
    "minimax.videos": _SILENT,
    "minimax.images": _IMAGES,
    "ark.images": _IMAGES,
    "ark.videos": _PLAIN,
    "ark.context": _CHAT,
    "ark.bots": _CHAT,
    "ark.embeddings": _EMBEDDINGS,
    "openspeech.asr": Family(usage.openspeech, ("audio_info", "usage"), ("audio_info", "duration"), b"audio_info"),
    "openspeech.tts": Family(usage.openspeech, ("usage",), ("usage", "text_words")),
    "jina.rerank": _RERANK,
    "cohere.rerank": _RERANK,
    "cohere.embed": _EMBEDDINGS,
    "hunyuan.chat": Family(
        usage.hunyuan, ("Model", "Usage", "Response.Model", "Response.Usage"), ("Usage", "TotalTokens"), b'Usage"'
    ),
    "kling.videos": _SILENT,
    "vidu.videos": _SILENT,
    "zhipu.images": _IMAGES,
    "zhipu.videos": _SILENT,
}
