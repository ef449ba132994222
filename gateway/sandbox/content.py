"""What the simulated models say: everything here is a function of its arguments, so equal requests get equal answers.

Counting rule: a token is a run of non-space characters, or one CJK character. `pieces` splits a text into such tokens
with the space before them, so that joining the pieces gives the text back.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef"
_PIECE = re.compile(rf"\s*(?:[{_CJK}]|[^\s{_CJK}]+)")
_DEPTH = 6
_SEAL = 24  # bytes


def pieces(text: str) -> list[str]:
    """The text as streamed: one piece a token."""
    found = _PIECE.findall(text)
    rest = text[sum(map(len, found)) :]
    if rest and found:
        found[-1] += rest
    return found or ([text] if text else [])


def tokens(text: str) -> int:
    return len(_PIECE.findall(text))


def resize(text: str, size: int) -> str:
    """The text repeated or cut to exactly `size` tokens."""
    source = pieces(text.strip()) or ["word"]
    joined = [source[0].strip()] + [source[i % len(source)] for i in range(1, size)] if size else []
    # The repeat of the first piece has no space of its own.
    return "".join(f" {p}" if i and i % len(source) == 0 else p for i, p in enumerate(joined))


def digest(*parts: object, length: int = 24) -> str:
    """A hexadecimal id made from the parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:length]


def letters(*parts: object, length: int = 24) -> str:
    """An id of letters and digits, as vendors like them."""
    alphabet = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz"
    raw = hashlib.shake_256(repr(parts).encode()).digest(length)
    return "".join(alphabet[byte % len(alphabet)] for byte in raw)


def sealed(text: str, owner: str) -> str:
    """The text in a form that only its owner takes back; the outside cannot make one."""
    raw = text.encode()
    return base64.b64encode(_seal(raw, owner) + raw).decode()


def unsealed(data: str, owner: str) -> str | None:
    """What was sealed for this owner; None: it was not, or was changed. The alphabet of URLs is taken too."""
    try:
        raw = base64.b64decode(data.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        return None
    seal, text = raw[:_SEAL], raw[_SEAL:]
    return text.decode() if seal == _seal(text, owner) else None


def _seal(raw: bytes, owner: str) -> bytes:
    return hashlib.sha256(b"sandbox|" + owner.encode() + b"|" + raw).digest()[:_SEAL]


def vector(text: str, dimensions: int) -> list[float]:
    """A unit vector that depends on the text only; values are exact in float32."""
    raw = hashlib.shake_256(text.encode()).digest(dimensions * 2)
    values = [int.from_bytes(raw[i : i + 2], "big", signed=True) or 1 for i in range(0, len(raw), 2)]
    scale: float = sum(v * v for v in values) ** 0.5
    return [round(v / scale, 7) for v in values]


def similarity(query: str, document: str) -> float:
    """A rerank score in [0, 1]: the share of the query's words in the document, then a tie-breaker from a hash."""
    wanted = {p.strip().lower() for p in pieces(query)}
    found = {p.strip().lower() for p in pieces(document)}
    share = len(wanted & found) / len(wanted) if wanted else 0.0
    return round(0.9 * share + 0.1 * int(digest(query, document, length=4), 16) / 0xFFFF, 6)


def sample(schema: Mapping[str, Any], text: str, depth: int = 0) -> Any:
    """A value that fits a JSON schema (JSON Schema's or OpenAPI's spelling); strings are made from the text."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return sample(schema[key][0], text, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = str(kind[0] if isinstance(kind, list) else kind).lower()
    if kind == "object":
        properties = schema.get("properties", {})
        names = properties if depth < _DEPTH else [n for n in schema.get("required", []) if n in properties]
        return {name: sample(properties[name], f"{name} {text}".strip(), depth + 1) for name in names}
    if kind == "array":
        count = max(int(schema.get("minItems", 1)), 1 if depth < _DEPTH else 0)
        return [sample(schema.get("items", {}), text, depth + 1) for _ in range(count)]
    return _SCALARS.get(kind, _string)(schema, text)


def _number(schema: Mapping[str, Any], text: str) -> int:
    low = int(schema.get("minimum", 0))
    high = int(schema.get("maximum", low + 100))
    return low + tokens(text) % (high - low + 1)


def _string(schema: Mapping[str, Any], text: str) -> str:
    return text[: int(schema.get("maxLength", 200))]


_SCALARS = {
    "integer": _number,
    "number": _number,
    "boolean": lambda schema, text: True,
    "null": lambda schema, text: None,
    "string": _string,
}


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def spaced(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
