"""YAML text -> nodes that know their line. The only place that imports yaml.

Built from the parser's events, not from its composer: events come one by one, so a hostile file (nested a thousand
deep, aliases that multiply) is given up at once, and no Python recursion is involved. Scalars keep the text as written:
a price is never a float, and `1.10` as a name stays `1.10`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import yaml

MAX_BYTES = 4 << 20
MAX_DEPTH = 32
MAX_NODES = 100_000

# YAML 1.1, which most editors and other tools still apply, reads these as truth values.
TRUE = frozenset({"true", "yes", "on"})
FALSE = frozenset({"false", "no", "off"})
NULL = frozenset({"", "null", "~"})
CALLED = {"scalar": "a single value", "list": "a list", "map": "a map"}

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


class Node(msgspec.Struct, eq=False):
    """One value of the file. `weight` counts it and all below it, so that an alias costs what it stands for."""

    file: str
    line: int
    kind: str  # scalar, list or map
    text: str = ""
    plain: bool = False  # a scalar written without quotes
    items: list[Node] = []
    pairs: list[tuple[Node, Node]] = []
    weight: int = 1

    @property
    def empty(self) -> bool:
        return self.kind == "scalar" and self.plain and self.text.lower() in NULL

    def get(self, key: str) -> Node | None:
        """The value under a key of a map; None where there is none."""
        return next((value for name, value in self.pairs if name.text == key), None)


class Problem(Exception):
    """What is wrong with one value, and the remedy."""

    def __init__(self, node: Node, what: str, remedy: str) -> None:
        super().__init__(what)
        self.node, self.what, self.remedy = node, what, remedy

    def __str__(self) -> str:
        return f"{self.node.file}:{self.node.line}: {self.what}; {self.remedy}"


def parse(path: str, problems: list[Problem]) -> Node:
    """The file's top-level map; an empty file is an empty map.

    Repeated keys go to `problems`; everything else that is wrong raises Problem.
    """
    root = _build(path, _read(path), problems)
    if root is None or root.empty:
        return Node(path, 1, "map")
    if root.kind != "map":
        raise Problem(root, f"the file is {CALLED[root.kind]}, not a map", "start with `providers:` or `models:`")
    return root


def _read(path: str) -> str:
    """The file's text, once it is known to be text of a sane size."""
    start = Node(path, 1, "map")
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not a path"
        raise Problem(start, f"cannot be read ({reason})", "give the path of a readable file") from exc
    if len(data) > MAX_BYTES:
        raise Problem(start, "is larger than 4 MiB", "this is hardly a configuration; split or shorten it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        start.line = data.count(b"\n", 0, exc.start) + 1
        raise Problem(start, "is not UTF-8 text", "save the file as UTF-8") from exc
    if found := _FORBIDDEN.search(text):
        start.line = text.count("\n", 0, found.start()) + 1
        raise Problem(start, f"holds the control character U+{ord(found.group()):04X}", "remove it")
    return text


def _build(path: str, text: str, problems: list[Problem]) -> Node | None:
    """The root node; None if the text holds no value."""
    root: Node | None = None
    open_: list[tuple[Node, str | None]] = []  # lists and maps whose end has not been seen, with their anchors
    anchors: dict[str, Node] = {}
    seen = 0
    for event in _events(path, text):
        if isinstance(event, yaml.DocumentStartEvent) and root is not None:
            raise Problem(_at(path, event), "a second document starts here", "keep one document; remove the `---`")
        node: Node | None
        if isinstance(event, yaml.CollectionEndEvent):
            node, anchor = open_.pop()
            _close(node, problems)
            if anchor:
                anchors[anchor] = node
        else:
            node = _started(path, event, anchors)
        if node is None:
            continue
        if isinstance(event, yaml.CollectionStartEvent):
            if len(open_) >= MAX_DEPTH:
                raise Problem(node, f"is nested deeper than {MAX_DEPTH} levels", "flatten it")
            open_.append((node, event.anchor))
            continue
        seen += node.weight if isinstance(event, yaml.AliasEvent) else 1
        if seen > MAX_NODES:
            raise Problem(_at(path, event), f"stands for more than {MAX_NODES} values", "shorten it; use fewer aliases")
        if open_:
            open_[-1][0].items.append(node)
        else:
            root = node
    return root


def _close(node: Node, problems: list[Problem]) -> None:
    """Everything below is known now: weigh it, and sort a map's children into pairs."""
    node.weight = 1 + sum(child.weight for child in node.items)
    if node.kind != "map":
        return
    node.pairs = list(zip(node.items[::2], node.items[1::2], strict=True))
    node.items = []
    first: dict[str, Node] = {}
    for key, _ in node.pairs:
        if key.kind != "scalar":
            raise Problem(key, "a key must be text", "write `name: value`")
        if key.text in first:
            line = first[key.text].line
            problems.append(Problem(key, f"the key {shown(key.text)} is already on line {line}", "keep one of the two"))
        first.setdefault(key.text, key)


def _events(path: str, text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_Loader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        node = Node(path, mark.line + 1 if mark else 1, "scalar")
        what = exc.problem or exc.context or "unreadable"
        tab = any("\t" in line for line in text.splitlines()[node.line - 1 : node.line])
        remedy = "indent with spaces, not tabs" if tab else "check the indentation, quotes and brackets"
        raise Problem(node, f"not valid YAML: {what}", remedy) from exc
    except yaml.YAMLError as exc:
        raise Problem(Node(path, 1, "scalar"), "not valid YAML", "check the characters in the file") from exc


def _at(path: str, event: yaml.Event) -> Node:
    return Node(path, event.start_mark.line + 1 if event.start_mark else 1, "scalar")


def _started(path: str, event: yaml.Event, anchors: dict[str, Node]) -> Node | None:
    """The node that an event starts or repeats; None for events that are not about nodes."""
    node = _at(path, event)
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise Problem(node, f"the alias *{event.anchor} names nothing complete above it", "write the value out")
        return anchors[event.anchor]
    if not isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
        return None
    if event.tag is not None:
        raise Problem(node, "tags (`!name`) are not supported", "write the plain value")
    if isinstance(event, yaml.ScalarEvent):
        node.text, node.plain = event.value, not event.style
        if event.anchor:
            anchors[event.anchor] = node
    else:
        node.kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
    return node


def shown(text: str) -> str:
    """A name in quotes for a message, cut short, on one line."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
