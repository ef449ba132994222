"""Vectors of texts, and the search among them. Everything here needs the extra `semantic` and is used by one thread.

One measure serves both kinds of vectors: 1 - |a - b|^2 / 2 min(1, |a|, |b|)^2. For vectors of length 1, which embedding
models give, that is the cosine. Local vectors are sums over words, scaled so that a short sentence has length 1: a long
text has no more room for a difference than a short one, where the cosine would drown one changed word in forty equal.

The search compares with every vector of a partition: exact, without an index to tend, and at the sizes allowed here
(a partition has at most 8 MiB) a matter of 0.1 ms.
"""

from __future__ import annotations

import importlib.util
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float32]

MAX_BYTES = 64 << 20  # of all partitions
PARTITION_BYTES = 8 << 20
MAX_LENGTH = 8192  # numbers in a vector
_OVERHEAD = 1024  # what a partition or a row takes besides its vectors, roughly
_SENTENCE = 30.0  # length of the sum over a short sentence's words
_ROUNDING = 1e-5
_CANDIDATES = 8
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # scripts without spaces: each character counts as a word
_WORD = re.compile(rf"[{_CJK}]|[^\W\d_{_CJK}]+")
_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENS = "tokenizers/l2_supercat_tokenizer_config.json"


class LocalModel:
    """One vector for each of 32,000 word pieces: the files inside the package wordllama.

    They are read without importing the package: that would bring an HTTP client and set up logging for us all.
    """

    def __init__(self) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        package = importlib.util.find_spec("wordllama")
        if package is None or not package.submodule_search_locations:
            raise ImportError("wordllama is not installed")
        folder = Path(package.submodule_search_locations[0])
        try:
            self._weights: NDArray[np.float16] = load_file(folder / _WEIGHTS)["embedding.weight"]
            self._tokenizer = Tokenizer.from_file(str(folder / _TOKENS))
        except Exception as exc:  # both libraries raise what they like
            raise OSError(f"the weights in wordllama cannot be read ({exc}); install wordllama 0.4") from exc

    def vector(self, text: str) -> Vector:
        # Case and closing marks carry less meaning than they would change the sum.
        plain = " ".join(text.casefold().split()).rstrip(" .,;:!?…。，；：！？")
        numbers = self._tokenizer.encode(plain, add_special_tokens=False).ids
        total: Vector = self._weights[numbers].sum(axis=0, dtype=np.float32)
        return total / np.float32(_SENTENCE)


class Partition:
    """Vectors of one length, each with the digest of an answer and the text of its question."""

    def __init__(self, length: int) -> None:
        self._rows = np.empty((1, length), np.float32)
        self._squares = np.empty(1, np.float32)
        self._max_rows = max(1, PARTITION_BYTES // (4 * length))
        self._digests: list[bytes] = []
        self._texts: list[str] = []
        self._at: dict[bytes, int] = {}  # digest -> row
        self._next = 0  # the row that is taken over when all are used
        self._characters = 0

    def __len__(self) -> int:
        return len(self._digests)

    @property
    def size(self) -> int:
        """Bytes in memory, roughly."""
        return self._rows.nbytes + _OVERHEAD * (1 + len(self)) + 4 * self._characters

    def fits(self, vector: Vector) -> bool:
        return bool(vector.shape[0] == self._rows.shape[1])

    def add(self, vector: Vector, digest: bytes, text: str) -> None:
        self.forget(digest)
        if len(self) == self._max_rows:
            self._next = (self._next + 1) % self._max_rows
            self.forget(self._digests[self._next])
        row = len(self)
        if row == len(self._rows):
            room = min(2 * row, self._max_rows)
            self._rows = np.resize(self._rows, (room, self._rows.shape[1]))
            self._squares = np.resize(self._squares, room)
        self._digests.append(digest)
        self._texts.append(text)
        self._rows[row], self._squares[row] = vector, vector @ vector
        self._at[digest] = row
        self._characters += len(text)

    def forget(self, digest: bytes) -> None:
        row = self._at.pop(digest, None)
        if row is None:
            return
        last = len(self) - 1
        self._characters -= len(self._texts[row])
        if row != last:
            self._digests[row], self._texts[row] = self._digests[last], self._texts[last]
            self._rows[row], self._squares[row] = self._rows[last], self._squares[last]
            self._at[self._digests[row]] = row
        del self._digests[last], self._texts[last]

    def nearest(self, vector: Vector, threshold: float, ordered: str | None) -> bytes | None:
        taken = len(self)
        if not taken or not self.fits(vector):
            return None
        squares, square = self._squares[:taken], vector @ vector
        apart = squares + square - 2 * (self._rows[:taken] @ vector)
        like = 1 - apart / (2 * np.minimum(1, np.minimum(squares, square)))
        near = np.flatnonzero(like >= threshold - _ROUNDING)
        for row in map(int, near[np.argsort(-like[near])][:_CANDIDATES]):
            if ordered is None or in_order(ordered, self._texts[row]):
                return self._digests[row]
        return None


class Vectors:
    """All partitions; the one that was not used for longest goes first."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._partitions: OrderedDict[bytes, Partition] = OrderedDict()
        self._model: LocalModel | None = None
        self.size = 0

    def local(self, text: str) -> Vector | None:
        if self._model is None:
            self._model = LocalModel()
        return _usable(self._model.vector(text))

    def unit(self, values: Sequence[float] | None) -> Vector | None:
        """A model's vector at length 1; None if it cannot be one."""
        try:
            found = np.asarray(values, np.float64)
        except (TypeError, ValueError):
            return None
        if found.ndim != 1 or not 0 < found.shape[0] <= MAX_LENGTH or not np.isfinite(found).all():
            return None
        largest = np.abs(found).max()
        if largest == 0:
            return None
        found = found / largest
        return _usable((found / np.linalg.norm(found)).astype(np.float32))

    def nearest(self, partition: bytes, vector: Vector, threshold: float, ordered: str | None = None) -> bytes | None:
        """The digest of the nearest vector at `threshold` or above; with `ordered`, only of a text in that order."""
        found = self._partitions.get(partition)
        if found is None:
            return None
        self._partitions.move_to_end(partition)
        return found.nearest(vector, threshold, ordered)

    def add(self, partition: bytes, vector: Vector, digest: bytes, text: str) -> None:
        found = self._partitions.pop(partition, None)
        if found is not None:
            self.size -= found.size
        if found is None or not found.fits(vector):
            found = Partition(vector.shape[0])
        found.add(vector, digest, text)
        self._partitions[partition] = found
        self.size += found.size
        while self.size > self._max_bytes and self._partitions:
            _, oldest = self._partitions.popitem(last=False)
            self.size -= oldest.size

    def forget(self, partition: bytes, digest: bytes) -> None:
        found = self._partitions.get(partition)
        if found is None:
            return
        self.size -= found.size
        found.forget(digest)
        self.size += found.size
        if not len(found):
            del self._partitions[partition]
            self.size -= found.size


def in_order(one: str, other: str) -> bool:
    """Whether the words that both texts have come in the same order in both."""
    words, others = _WORD.findall(one.lower()), _WORD.findall(other.lower())
    shared = set(words) & set(others)
    return [word for word in words if word in shared] == [word for word in others if word in shared]


def _usable(vector: Vector) -> Vector | None:
    return vector if np.isfinite(vector).all() and vector.any() else None
