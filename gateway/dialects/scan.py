"""Finds a few known paths in JSON of any size, fed in pieces, without keeping the JSON.

The scanner knows a small tree of wanted paths (`usage`, `choices[].usage`, `response.model`, `data[#]` for a count of
items). Inside objects and arrays that lead to a wanted path it reads key by key; every other value is skipped by
regular expressions and `bytes.find`, at C speed and with a counter in place of a stack, so that neither a base64 string
of many megabytes nor a nesting of many thousands costs memory. Each byte is looked at a bounded number of times.

It is lenient: broken JSON gives what was readable before the break. How a value is read does not depend on how the
bytes were cut. Rule for editing: every state either consumes a byte or changes to a state that does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

Fields = dict[str, Any]

LIMIT = 16 * 1024  # what is decoded as a whole or captured for one path; decoded it may be thirty times as big
PIECE = 64 * 1024
_KEY_LIMIT = 256  # a longer key is none of ours

_ROOT, _KEY, _VALUE, _ITEM, _SKIP = range(5)
_QUOTE, _BRACE, _BRACKET = b'"{['

_KEY_TOKEN = re.compile(rb'[^"}]*+(?:"((?:[^"\\]++|\\.)*+)"\s{0,64}+:|(\}))', re.DOTALL)
_BEFORE_KEY = re.compile(rb'[^"}]*+')
_BEFORE_VALUE = re.compile(rb"[\s:]*+")
_BEFORE_ITEM = re.compile(rb"[\s,:}]*+")
_ROOT_VALUE = re.compile(rb'[{\["]')
_SCALAR = re.compile(rb"[^\s,\]}]*+")
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
# A container without one inside; brackets need not match, for depth is all that counts.
_LEAF = rb'[{\[](?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+[}\]]'
# Whatever leaves the depth as it is.
_FLAT = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+"|%s)*+' % _LEAF, re.DOTALL)
# Members of an object that are of no interest (KEYS are those that are) and flat: they are passed in one go.
_DULL = (
    rb'(?:[\s,]*+"(?!(?:KEYS)")[^"\\]{0,256}+"\s{0,64}+:\s*+'
    rb'(?:"(?:[^"\\]++|\\.)*+"|[^\s,\]}"{\[]++(?=[\s,}])|%s))*+' % _LEAF
)
_OPENERS = re.compile(rb"[{\[]++")
_CLOSERS = re.compile(rb"[}\]]++")
# What some servers print and no strict decoder takes: no number, or numbers beyond a double.
_NO_NUMBER = re.compile(
    rb"-?(?:\b(?:NaN|Infinity)\b|(?<![\d.])(?:\d{99}[\d.]*+(?:[eE]\d*+)?|\d[\d.]*+[eE]\+?\d{3}\d*+))"
)

UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError, OverflowError)


def decode(raw: bytes | bytearray) -> Any:
    """The value, or None if it cannot be read; what stands for a number and is none counts as null."""
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        pass
    try:
        return msgspec.json.decode(_NO_NUMBER.sub(b"null", raw))
    except UNREADABLE:
        return None


def lenient(kind: type[T]) -> Callable[[bytes], T]:
    """A decoder of a struct that raises what is in UNREADABLE; what is no number or too large for one does no harm."""
    strict = msgspec.json.Decoder(kind).decode

    def read(raw: bytes) -> T:
        try:
            return strict(raw)
        except msgspec.DecodeError:
            value = decode(raw)
            if not isinstance(value, dict):
                raise
            return msgspec.convert(value, kind, strict=False)

    return read


class Node:
    """A place in the tree of wanted paths: it has children by key, or one kind of item, or it is wanted itself."""

    __slots__ = ("below", "children", "counts", "dull", "item", "path", "wanted")

    def __init__(self, path: str) -> None:
        self.path = path
        self.wanted = False
        self.counts = False
        self.children: dict[bytes, Node] = {}
        self.item: Node | None = None
        # Paths that a repeated key makes void: the last of two equal keys counts. Not so behind `[]`, where a later
        # item must not wipe out an earlier one.
        self.below: list[str] = []
        self.dull: re.Pattern[bytes] | None = None

    def close(self) -> None:
        """To be called once the tree below is complete."""
        if self.children:
            self.dull = re.compile(_DULL.replace(b"KEYS", b"|".join(map(re.escape, self.children))), re.DOTALL)
        for node in (*self.children.values(), *([self.item] if self.item else [])):
            node.close()


def tree(paths: Iterable[str]) -> Node:
    """The tree for paths like `usage`, `response.model`, `choices[].usage` and `data[#]` (the number of items)."""
    root = Node("")
    for path in paths:
        node, in_array, above = root, False, [root]
        for part in path.replace("[", ".[").split("."):
            if part == "[#]":
                node.counts, node.item = True, node.item or Node(path)
                break
            if part == "[]":
                in_array = True
                node.item = node.item or Node(path)
                node = node.item
            else:
                node = node.children.setdefault(part.encode(), Node(path))
                above.append(node)
        else:
            node.wanted, node.path = True, path
        for parent in above:
            if not in_array or parent.item is not None:
                parent.below.append(path)
    root.close()
    return root


class PathScanner:
    """Calls `take` with the wanted fields of each JSON document as it ends; `finish` gives those of a cut one.

    Documents may follow each other; with `array`, the items of an outermost array are documents of their own.
    """

    __slots__ = (
        "_array", "_capture", "_depth", "_escaped", "_fields", "_frames", "_node", "_path", "_root", "_scalar",
        "_state", "_string", "_tail", "_take", "done",
    )  # fmt: skip

    def __init__(self, root: Node, take: Callable[[Fields], None], *, array: bool = False) -> None:
        self._root = root
        self._take = take
        self._array = array
        self._state = _ROOT
        self._node: Node | None = None  # of the value that comes next
        self._frames: list[Node | None] = []  # containers of interest around; as deep as the tree at most
        self._fields: Fields = {}
        self._capture: bytearray | None = None
        self._path = ""
        self._depth = 0
        self._string = self._escaped = self._scalar = False
        self._tail = b""  # a key that is not complete yet
        self.done = False  # whether the first document has ended

    def feed(self, data: bytes) -> None:
        if len(data) <= PIECE:
            self._feed(data)
        else:
            for start in range(0, len(data), PIECE):
                self._feed(data[start : start + PIECE])

    def finish(self) -> None:
        """Gives what is known of a document that was not complete."""
        self._document_ended()
        self._state = _ROOT

    def _feed(self, data: bytes) -> None:
        if self._tail:
            data, self._tail = self._tail + data, b""
        position, size = 0, len(data)
        while position < size:
            state = self._state
            if state == _SKIP:
                position = self._skip_on(data, position)
            elif state == _KEY:
                position = self._key(data, position)
            elif state == _ROOT:
                position = self._document(data, position)
            else:
                position = self._value(data, position)

    def _document(self, data: bytes, position: int) -> int:
        found = _ROOT_VALUE.search(data, position)
        if found is None:
            return len(data)
        position = found.start()
        if data[position] == _BRACKET and self._array:
            self._array = False  # its items now follow as documents; an array inside is skipped
            return position + 1
        self._node = self._root
        self._state = _VALUE
        return position

    def _key(self, data: bytes, position: int) -> int:
        parent = self._frames[-1]
        if parent is not None and parent.dull is not None and (passed := parent.dull.match(data, position)):
            position = passed.end()
        found = _KEY_TOKEN.match(data, position)
        if found is None:
            return self._key_cut(data, position)
        key = found[1]
        if key is None:
            self._container_ended()
            return found.end()
        if b"\\" in key:
            text = decode(b'"' + key + b'"') if len(key) <= _KEY_LIMIT else None
            key = text.encode(errors="replace") if isinstance(text, str) else b""
        self._node = node = parent.children.get(key) if parent else None
        if node is not None:
            for path in node.below:
                self._fields.pop(path, None)
        self._state = _VALUE
        return found.end()

    def _key_cut(self, data: bytes, position: int) -> int:
        before = _BEFORE_KEY.match(data, position)
        start = before.end() if before else position
        if len(data) - start <= _KEY_LIMIT:
            self._tail = data[start:]
            return len(data)
        self._node = None
        self._begin_skip(string=True)
        # The string that is skipped is a key: its value comes next, so the end of the skip must not end a value.
        self._frames.append(None)
        return start + 1

    def _value(self, data: bytes, position: int) -> int:
        in_array = self._state == _ITEM
        found = (_BEFORE_ITEM if in_array else _BEFORE_VALUE).match(data, position)
        position = found.end() if found else position
        if position == len(data):
            return position
        byte = data[position]
        if in_array:
            if byte == 0x5D:
                self._container_ended()
                return position + 1
            array = self._frames[-1]
            self._node = array.item if array else None
            if array is not None and array.counts:
                self._fields[array.path] = self._fields.get(array.path, 0) + 1
        node = self._node
        if node is not None:
            if (byte == _BRACE and node.children) or (byte == _BRACKET and node.item):
                self._frames.append(node)
                self._state = _KEY if byte == _BRACE else _ITEM
                return position + 1
            if node.wanted:
                self._capture, self._path = bytearray(), node.path
        self._begin_skip(string=byte == _QUOTE, container=byte in (_BRACE, _BRACKET))
        if self._scalar:
            return position
        if self._capture is not None:
            self._capture.append(byte)
        return position + 1

    def _begin_skip(self, *, string: bool = False, container: bool = False) -> None:
        self._state = _SKIP
        self._string = string
        self._depth = int(container)
        self._scalar = not (string or container)

    def _skip_on(self, data: bytes, position: int) -> int:
        """Goes on in a value that is not entered, up to its end or the end of the piece."""
        end = self._scalar_end(data, position) if self._scalar else self._skip(data, position)
        stop = len(data) if end < 0 else end
        if self._capture is not None:
            if len(self._capture) + stop - position > LIMIT:
                self._capture = None
            else:
                self._capture += data[position:stop]
        if end >= 0:
            self._value_ended()
        return stop

    def _scalar_end(self, data: bytes, position: int) -> int:
        found = _SCALAR.match(data, position)
        end = found.end() if found else position
        return end if end < len(data) else -1

    def _skip(self, data: bytes, position: int) -> int:
        """The position behind the string or container, or -1 if it does not end here."""
        size = len(data)
        while position < size:
            if self._string:
                position = self._string_end(data, position)
                if position < 0:
                    return -1
                self._string = False
                if self._depth == 0:
                    return position
            flat = _FLAT.match(data, position)
            position = flat.end() if flat else position
            if position == size:
                return -1
            if data[position] == _QUOTE:
                self._string = True
                position += 1
            elif opened := _OPENERS.match(data, position):
                self._depth += opened.end() - position
                position = opened.end()
            elif closed := _CLOSERS.match(data, position):
                length = closed.end() - position
                if length >= self._depth:
                    return position + self._depth
                self._depth -= length
                position += length
        return -1

    def _string_end(self, data: bytes, position: int) -> int:
        """The position behind the closing quote, or -1; `find` first, for long strings are mostly base64."""
        if self._escaped:
            self._escaped = False
            position += 1
        end = data.find(b'"', position)
        slash = data.find(b"\\", position, end if end >= 0 else len(data))
        if slash < 0:
            return end + 1 if end >= 0 else -1
        rest = _STRING_REST.match(data, slash)
        position = rest.end() if rest else slash
        if position == len(data):
            return -1
        if data[position] == _QUOTE:
            return position + 1
        self._escaped = True  # a lone backslash is the last byte here
        return -1

    def _value_ended(self) -> None:
        if self._frames and self._frames[-1] is None:  # it was an overlong key
            self._frames.pop()
            self._state = _VALUE
            return
        if self._capture is not None:
            value = decode(self._capture)
            if value is not None:
                self._fields[self._path] = value
            self._capture = None
        self._resume()

    def _container_ended(self) -> None:
        self._frames.pop()
        self._resume()

    def _resume(self) -> None:
        """Back to what is around the value that just ended."""
        if not self._frames:
            self._state = _ROOT
            self.done = True
            self._document_ended()
            return
        parent = self._frames[-1]
        self._state = _ITEM if parent is not None and parent.item is not None else _KEY

    def _document_ended(self) -> None:
        self._capture = None
        self._frames.clear()
        if self._fields:
            fields, self._fields = self._fields, {}
            self._take(fields)
