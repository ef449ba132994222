"""Which calls are metered, and by which dialect their answers tell the usage.

Rule for editing the table: a pattern is a vendor's whole path, `*` stands for anything, the first line that fits wins:
special paths stand above general ones. Where vendors share a path, the line names several dialects: the first that the
provider speaks counts, else the last.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

METERED: tuple[tuple[bytes, tuple[str, ...]], ...] = (
    (b"*/bots/chat/completions", ("ark.bots",)),
    (b"*/chat/completions", ("openai.chat",)),
    (b"*/completions", ("openai.completions",)),
    (b"*/messages", ("anthropic.messages",)),
    (b"*/responses", ("openai.responses",)),
    (b"*/embeddings/multimodal", ("ark.embeddings",)),
    (b"*/embeddings", ("openai.embeddings",)),
    (b"*/rerank", ("cohere.rerank", "jina.rerank")),
    (b"*/images/generations", ("ark.images", "zhipu.images", "openai.images")),
    (b"*/images/edits", ("openai.images",)),
    (b"*/context/create", ("ark.context",)),
    (b"*/text/chatcompletion_v2", ("minimax.chat",)),
    (b"*:generateContent", ("gemini.generate",)),
    (b"*:streamGenerateContent", ("gemini.generate",)),
    (b"*:embedContent", ("gemini.embed",)),
    (b"*:batchEmbedContents", ("gemini.embed",)),
    # Only under DashScope's native paths: `/generation` alone is a word that other vendors use for other things.
    (b"*/services/*/generation", ("dashscope.generation",)),
    (b"*/services/*/text-embedding", ("dashscope.embeddings",)),
    (b"*/services/*/text-rerank", ("dashscope.rerank",)),
    # Hunyuan's native interface is a POST to the root. No other vendor answers one there, so this needs no condition.
    (b"/", ("hunyuan.chat",)),
)

# Calls that count or cancel: their answers may carry numbers, but nothing was consumed. No `meter:` entry changes that.
NEVER = (b"/count_tokens", b":countTokens", b"/input_tokens", b"/tokenization", b"/estimate-token-count", b"/cancel")


class _Pattern:
    """A path pattern, ready to be compared. `tail`: how every path that fits it ends; None if that is open."""

    __slots__ = ("dialect", "own", "parts", "tail")

    def __init__(self, pattern: bytes, dialect: str, own: bool) -> None:
        self.parts, self.dialect, self.own = pattern.split(b"*"), dialect, own
        last = self.parts[-1]
        self.tail = _tail(last) if b"/" in last or b":" in last else None


class Meter:
    """The patterns of one provider, its own first, sorted by tail: most paths of a vendor fit none."""

    def __init__(self, own: Iterable[tuple[bytes, str]], spoken: Container[str]) -> None:
        patterns = [_Pattern(pattern, dialect, True) for pattern, dialect in own]
        for pattern, dialects in METERED:
            dialect = next((dialect for dialect in dialects if dialect in spoken), dialects[-1])
            patterns.append(_Pattern(pattern, dialect, False))
        self._by_tail = {
            tail: [pattern for pattern in patterns if pattern.tail in (tail, None)]
            for tail in {pattern.tail for pattern in patterns}
        }
        self._rest = [pattern for pattern in patterns if pattern.tail is None]

    def dialect(self, path: bytes, base_path: bytes) -> str | None:
        """Own patterns see the path as `meter:` writes it, the defaults see the vendor's whole path."""
        path = path.partition(b"?")[0] or b"/"
        if b"%" in path:
            path = path.replace(b"%3A", b":").replace(b"%3a", b":")
        candidates = self._by_tail.get(_tail(path), self._rest)
        if not candidates or path.endswith(NEVER):
            return None
        whole_path = base_path + path
        for pattern in candidates:
            if _fits(pattern.parts, path if pattern.own else whole_path):
                return pattern.dialect
        return None


def _tail(path: bytes) -> bytes:
    """From the last slash or colon on."""
    return path[max(path.rfind(b"/"), path.rfind(b":")) :]


def _fits(parts: list[bytes], path: bytes) -> bool:
    """Whether a path is the parts in this order with anything between them; linear, whatever the client sent."""
    if len(parts) == 1:
        return path == parts[0]
    first, *middle, last = parts
    end = len(path) - len(last)
    if not (path.startswith(first) and path.endswith(last) and len(first) <= end):
        return False
    at = len(first)
    for part in middle:
        at = path.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
