"""Checks of single values of the configuration: each takes a node and gives the value, or raises Problem.

A table `{key: check}` describes a map; `record` walks it and goes on after a problem, so that one run finds them all.
No message repeats a value that could be a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.yaml_lines import CALLED, FALSE, NULL, TRUE, Node, Problem, shown

UNITS = {"ms": 1, "": 1000, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}  # in milliseconds
SIZES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
YEAR = 366 * 86400


class Review:
    """One reading of the configuration: what it may look up, and what it found wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, node: Node, what: str, remedy: str) -> None:
        self.problems.append(Problem(node, what, remedy))

    def warn(self, node: Node, what: str, remedy: str) -> None:
        self.warnings.append(Problem(node, what, remedy))


Check = Callable[[Node, Review], Any]


def record(node: Node, keys: Mapping[str, Check], review: Review, required: Iterable[str] = ()) -> dict[str, Any]:
    """The values of a map with known keys; what is wrong goes to the review and is left out."""
    found: dict[str, Any] = {}
    for key, value in pairs(node):
        check = keys.get(key.text)
        if check is None:
            review.error(key, f"unknown key {shown(key.text)}", nearest(key.text, keys))
            continue
        before = len(review.problems)
        try:
            found[key.text] = check(value, review)
        except Problem as problem:
            review.problems.append(problem)
        for found_below in review.problems[before:]:
            found_below.what = f"{key.text}: {found_below.what}"
    for name in required:
        if node.get(name) is None:
            review.error(node, f"{name} is missing", f"add `{name}:`")
    return found


def pairs(node: Node) -> list[tuple[Node, Node]]:
    """The entries of a map; an empty value is an empty map."""
    if node.kind == "map":
        return node.pairs
    if node.empty:
        return []
    raise Problem(node, f"is {CALLED[node.kind]}, not a map", "write `name: value` pairs")


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the nearest known one, else all of them, as far as that helps."""
    names = sorted(known)
    if len(names) > 300:
        return "correct it, or add it"
    if len(name) <= 80 and (close := difflib.get_close_matches(name, names, 1, 0.6)):
        return f"did you mean {close[0]}?"
    return f"known are: {', '.join(names)}" if names else "nothing is known here yet; add it"


def scalar(node: Node, wanted: str) -> str:
    """The text of a single value; `wanted` says what should stand there."""
    if node.kind != "scalar":
        raise Problem(node, f"is {CALLED[node.kind]}", f"write {wanted}")
    if node.empty:
        raise Problem(node, "is empty", f"write {wanted}")
    return node.text


def name(node: Node, _: Review | None = None) -> str:
    """Text that names something; a bare `no` would be a truth value to other readers of the file."""
    text = scalar(node, "a name")
    if node.plain and text.lower() in TRUE | FALSE:
        raise Problem(node, f"an unquoted {text} is a truth value in YAML, not a name", f'quote it: "{text}"')
    if not text or not text.isprintable():
        raise Problem(node, "is not a name", "write printable text")
    return text


def key_name(node: Node) -> str:
    """The same for the key of a map, where an unquoted null is no name either."""
    if node.plain and node.text.lower() in NULL:
        raise Problem(node, "the name is empty or null", "name the entry, or quote it")
    return name(node)


def boolean(node: Node, _: Review) -> bool:
    text = scalar(node, "true or false").lower()
    if not node.plain or text not in TRUE | FALSE:
        raise Problem(node, "is not true or false", "write true or false, without quotes")
    return text in TRUE


def whole(low: int, high: int) -> Check:
    """A whole number within limits."""

    def check(node: Node, _: Review) -> int:
        text = scalar(node, "a whole number")
        if not node.plain or not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise Problem(node, "is not a whole number", f"write one from {low} to {high}")
        if not low <= int(text) <= high:
            raise Problem(node, f"{text} is out of range", f"write a whole number from {low} to {high}")
        return int(text)

    return check


def fraction(low: float, high: float) -> Check:
    """A plain decimal number within limits; never used for amounts."""

    def check(node: Node, _: Review) -> float:
        text = scalar(node, "a number")
        if not node.plain or not re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,12})?", text):
            raise Problem(node, "is not a number", f"write one from {low} to {high}")
        if not low <= float(text) <= high:
            raise Problem(node, f"{text} is out of range", f"write a number from {low} to {high}")
        return float(text)

    return check


def seconds(low: float = 0.001, high: float = YEAR) -> Check:
    """A time in seconds: 30, 0.5, or with a unit: 500ms, 30s, 5m, 2h, 7d."""

    def check(node: Node, _: Review) -> float:
        text = scalar(node, "seconds, or a number with ms, s, m, h or d")
        match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?([a-z]*)", text)
        if not match or match[2] not in UNITS:
            raise Problem(node, f"{shown(text)} is not a time", "write seconds, or a number with ms, s, m, h or d")
        value = float(match[1]) * UNITS[match[2]] / 1000
        if not low <= value <= high:
            raise Problem(node, f"{text} is out of range", f"write a time from {low:g} to {high:g} seconds")
        return value

    return check


def size(node: Node, _: Review) -> int:
    """A number of bytes: 1048576, 64MiB, 2GB."""
    text = scalar(node, "a size such as 64MiB")
    match = re.fullmatch(r"([0-9]{1,15}) ?([A-Za-z]*)", text)
    if not match or match[2] not in SIZES or int(match[1]) == 0:
        raise Problem(node, f"{shown(text)} is not a size", f"write bytes, or a number with {' '.join(SIZES).strip()}")
    return int(match[1]) * SIZES[match[2]]


def choice(*names: str) -> Check:
    """One of a few words."""

    def check(node: Node, _: Review) -> str:
        text = scalar(node, "one of " + ", ".join(names))
        if text not in names:
            raise Problem(node, f"{shown(text)} is not known", nearest(text, names))
        return text

    return check


def optional(check: Check) -> Check:
    """The same, or null for none."""
    return lambda node, review: None if node.empty else check(node, review)


def listing(check: Check) -> Check:
    """A list whose entries all pass; a bad entry is reported and left out."""

    def check_all(node: Node, review: Review) -> tuple[Any, ...]:
        if node.empty:
            return ()
        if node.kind != "list":
            raise Problem(node, f"is {CALLED[node.kind]}, not a list", "write [first, second]")
        found = []
        for item in node.items:
            try:
                found.append(check(item, review))
            except Problem as problem:
                review.problems.append(problem)
        return tuple(found)

    return check_all


def table(check: Check, check_key: Callable[[Node], str] = key_name) -> Check:
    """A map with free names; a bad entry is reported and left out."""

    def check_all(node: Node, review: Review) -> dict[str, Any]:
        found = {}
        for key, value in pairs(node):
            try:
                found[check_key(key)] = check(value, review)
            except Problem as problem:
                review.problems.append(problem)
        return found

    return check_all


def plain(node: Node, _: Review) -> Any:
    """Any JSON value, for fields that the gateway hands on and does not read."""
    if node.kind == "map":
        return {key.text: plain(value, _) for key, value in node.pairs}
    if node.kind == "list":
        return [plain(item, _) for item in node.items]
    if not node.plain:
        return node.text
    if node.empty:
        return None
    if node.text in ("true", "false"):
        return node.text == "true"
    if re.fullmatch(r"-?[0-9]{1,18}", node.text):
        return int(node.text)
    if re.fullmatch(r"-?[0-9]{1,18}\.[0-9]{1,18}", node.text):
        return float(node.text)
    return name(node)
