"""JSON as nobody should send it: any value in any place of a legal one, and values that have broken decoders before."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

DEEP = 60  # brackets: enough for a mistake of recursion to cost, little enough for every decoder

# Numbers at the edges of what types hold, texts that are no text, containers where none belong.
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 10**40, 0.5, -0.5, 1e300, -1e300, 1e-300,
    "", " ", "\x00", "\n\n", "\ud83d\ude00", "\ufeff", "null", "true", "0", "{}", "[]", '{"a":', "data: {}", "[DONE]",
    "text", "user", "assistant", "tool", "tool_use", "function", "image_url", "stop", "http://", "data:",
    "data:;base64,", "data:image/png;base64,@@@", "../../etc/passwd", "x" * 5000, [], {}, [None], [[]],
    [{}], {"": None}, {"type": None},
    {"type": "text"}, {"type": "text", "text": None}, {"type": "tool_use"}, [1, "a", None, {}],
    {"a": {"b": [{"c": []}]}},
)  # fmt: skip

# One of each kind.
WRONG: tuple[Any, ...] = (
    None, True, -1, 10**30, 1.5, "", "x", [], {}, [None], [[]], {"type": 1}, {"a": {"a": []}},
)  # fmt: skip

_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


def _nested(depth: int, leaf: Any, key: str | None) -> Any:
    for _ in range(depth):
        leaf = [leaf] if key is None else {key: leaf}
    return leaf


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(NASTY),
    _SCALARS,
    st.recursive(_SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
                 max_leaves=6),
    st.builds(_nested, st.just(DEEP), _SCALARS, st.none() | st.sampled_from(["type", "content", "items"])),
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """All (container, key) in a value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *places(value[key]))]


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """The value with one to three of its members replaced, taken away, repeated or swapped."""
    found = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        known = places(found)
        if not known:
            return copy.deepcopy(draw(VALUES))
        container, key = draw(st.sampled_from(known))
        way = draw(st.sampled_from(("replace", "replace", "replace", "take", "repeat", "other")))
        if way == "replace":
            container[key] = copy.deepcopy(draw(VALUES))
        elif way == "take":
            del container[key]
        elif way == "repeat" and isinstance(container, list):
            container[key:key] = [copy.deepcopy(container[key])] * draw(st.integers(1, 3))
        else:
            there, place = draw(st.sampled_from(known))
            container[key] = copy.deepcopy(there[place])
    return found


def exhaust(values: Iterable[object]) -> None:
    for _ in values:
        pass


def encoded(value: Any) -> bytes:
    """As JSON; lone surrogates and odd characters stay escapes."""
    return json.dumps(value).encode()
