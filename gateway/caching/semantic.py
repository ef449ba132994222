"""Which questions may share an answer because they mean the same, and the thread that looks for them.

A question is compared by its last turn only, within a *partition*: everything else must be equal exactly. A partition
is the caller's scope, model, parameters, system prompt, all earlier turns, and the *literals* of the last turn: what a
likeness of meaning must never bridge (numbers, quotations, code, abbreviations, symbols, negations), in their order.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib.util
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import GatewayError
from gateway.models import Model, Semantic

if TYPE_CHECKING:
    from gateway.caching.vectors import Vector, Vectors

LOCAL = "local"
MAX_TEXT = 2000  # characters of a last turn; longer ones differ in too many ways to be told apart
Embed = Callable[[str], Awaitable[Sequence[float]]]

_NEEDS = {LOCAL: ("numpy", "safetensors", "tokenizers", "wordllama")}
_NEEDS_OTHER = ("numpy",)
_ROLES = ("system", "developer", "user", "assistant")
_FIELDS = frozenset({"role", "content", "name"})
# Answers to requests with these depend on more than on words.
_EXCLUDED = frozenset("tools tool_choice functions function_call web_search_options audio modalities".split())
_NEGATIONS = (
    "no not nor never none nothing nobody neither cannot without nicht nie ohne ne pas sans jamais sin nunca não sem"
)
# Quotations are bounded, so that unclosed ones cost little.
_LITERAL = re.compile(
    rf"""
      `[^`]{{1,200}}` | "[^"]{{1,200}}" | “[^”]{{1,200}}” | 「[^」]{{1,200}}」
    | [-+]?\d+(?:[.,:]\d+)*                      # numbers
    | [零〇一二两兩三四五六七八九十百千万亿]
    | \b[A-Z][A-Z0-9]+\b                         # abbreviations, currencies
    | _                                          # identifiers
    | \b(?i:{_NEGATIONS.replace(" ", "|")}|kein\w*|\w+n['’]t)\b | [不没沒无無非未别別勿莫否]
    | [^\w\s.,;:!?'"`’“”「」…、。，；：！？（）()-]         # + * / % < = and all other signs
    """,
    re.VERBOSE,
)


class Asked(msgspec.Struct, frozen=True):
    """A question that may be answered by another's answer: `text` is compared, within `partition`."""

    partition: bytes
    text: str


def asked(policy: Semantic, scope: bytes, canonical: bytes) -> Asked | None:
    """What of a canonical chat request is compared; None where likeness is no ground for the same answer.

    `scope` names who asks for what: requests of different scopes are never compared.
    """
    try:
        request = msgspec.json.decode(canonical)
        text = _last_turn(request)
        if text is None:
            return None
        request["messages"][-1]["content"] = None
        about = msgspec.json.encode([policy.embed, literals(text), request])
    except (msgspec.DecodeError, RecursionError, OverflowError):
        return None
    return Asked(hashlib.sha256(scope + b"\n" + about).digest(), text)


def literals(text: str) -> list[str]:
    """What two texts must have in common, in this order, to be compared at all."""
    return [found if found.isupper() else found.lower() for found in _LITERAL.findall(text)]


def _last_turn(request: Any) -> str | None:
    if not isinstance(request, dict) or _EXCLUDED & request.keys():
        return None
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        return None
    texts = [_text(message) for message in messages]
    text = texts[-1]
    if text is None or None in texts or messages[-1]["role"] != "user":
        return None
    return text if len(text) <= MAX_TEXT and text.strip() else None


def _text(message: Any) -> str | None:
    """The text of a message; None if it is or has anything else (pictures, sound, calls of tools)."""
    if not isinstance(message, dict) or message.keys() - _FIELDS or message.get("role") not in _ROLES:
        return None
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts = [part["text"] for part in content if isinstance(part, dict) and part.keys() == {"type", "text"}]
    strings = [text for text in texts if isinstance(text, str)]
    return "\n".join(strings) if len(strings) == len(content) else None


def missing(policy: Semantic) -> tuple[str, ...]:
    """The packages that `policy` needs and that are not installed."""
    return _not_installed(_NEEDS.get(policy.embed, _NEEDS_OTHER))


@functools.cache
def _not_installed(packages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(package for package in packages if importlib.util.find_spec(package) is None)


def problems(models: Mapping[str, Model]) -> list[str]:
    """One warning for all models whose semantic cache stays off because its packages are not installed."""
    wanting = {
        key: absent
        for key, model in models.items()
        if model.cache is not None and model.cache.semantic is not None and (absent := missing(model.cache.semantic))
    }
    if not wanting:
        return []
    packages = ", ".join(sorted(set().union(*wanting.values())))
    names = ", ".join(list(wanting)[:10]) + (", ..." if len(wanting) > 10 else "")
    remedy = "pip install 'ai-edge-gateway[semantic]'"
    return [f"the semantic cache of {names} is off: {packages} not installed; {remedy}, or remove `semantic:`"]


class Found(msgspec.Struct, frozen=True):
    """`digest`: the kept answer of the nearest question that is near enough; `vector`: the question's own."""

    vector: Vector | None = None
    digest: bytes | None = None


class Neighbours:
    """The questions asked so far, as vectors in memory; all work on them is done by one thread, loaded when needed."""

    def __init__(self, max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="semantic")
        self._vectors: Vectors | None = None
        self._broken: set[str] = set()  # what embeds, where that failed for good

    async def find(self, policy: Semantic, about: Asked, embed: Embed | None) -> Found:
        """The nearest question of the same partition. A model that fails to embed gives nothing found."""
        if policy.embed in self._broken or missing(policy):
            return Found()
        values: Sequence[float] | None = None
        if policy.embed != LOCAL:
            if embed is None:
                return Found()
            try:
                values = await embed(about.text)
            except GatewayError:
                return Found()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._find, policy, about, values)

    def add(self, about: Asked, vector: Vector, digest: bytes) -> None:
        self._thread.submit(self._add, about, vector, digest)

    def forget(self, about: Asked, digest: bytes) -> None:
        self._thread.submit(self._forget, about, digest)

    async def close(self) -> None:
        """Done when everything added before can be found."""
        await asyncio.get_running_loop().run_in_executor(self._thread, int)
        self._thread.shutdown(wait=False, cancel_futures=True)

    # What follows runs in the thread.

    def _loaded(self) -> Vectors:
        if self._vectors is None:
            from gateway.caching import vectors  # numpy takes a tenth of a second: only those who use it wait

            size = vectors.MAX_BYTES if self._max_bytes is None else self._max_bytes
            self._vectors = vectors.Vectors(size)
        return self._vectors

    def _find(self, policy: Semantic, about: Asked, values: Sequence[float] | None) -> Found:
        try:
            vectors = self._loaded()
            vector = vectors.local(about.text) if policy.embed == LOCAL else vectors.unit(values)
        except (ImportError, OSError) as exc:
            self._broken.add(policy.embed)
            print(f"cache: the semantic cache with embed: {policy.embed} is off: {exc}", file=sys.stderr, flush=True)
            return Found()
        if vector is None:
            return Found()
        # Local vectors are sums over words, blind to their order: "usd to eur" would be "eur to usd".
        ordered = about.text if policy.embed == LOCAL else None
        return Found(vector, vectors.nearest(about.partition, vector, policy.threshold, ordered))

    def _add(self, about: Asked, vector: Vector, digest: bytes) -> None:
        self._loaded().add(about.partition, vector, digest, about.text)

    def _forget(self, about: Asked, digest: bytes) -> None:
        self._loaded().forget(about.partition, digest)
