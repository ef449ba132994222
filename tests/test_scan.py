"""The path scanner, held against a plain walk over the decoded document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.scan import LIMIT, Fields, PathScanner, decode, tree

PATHS = ("a", "b.c", "b.d.e", "f[].a", "f[].g.c", "h[#]")


def scan(body: bytes, step: int = 0, *, array: bool = False) -> list[Fields]:
    found: list[Fields] = []
    scanner = PathScanner(tree(PATHS), found.append, array=array)
    for start in range(0, len(body), step or len(body) or 1):
        scanner.feed(body[start : start + (step or len(body))])
    scanner.finish()
    return found


def walk(document: Any) -> Fields:
    """What the paths mean, by the book."""
    fields: Fields = {}
    for path in PATHS:
        places = [document]
        for part in path.replace("[", ".[").split("."):
            if part == "[#]":
                places = [len(place) for place in places if isinstance(place, list) and place]
            elif part == "[]":
                places = [item for place in places if isinstance(place, list) for item in place]
            else:
                places = [place[part] for place in places if isinstance(place, dict) and part in place]
        wanted = [place for place in places if place is not None]
        if wanted:
            fields[path] = wanted[-1]
    return fields


KEYS = st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h", "", 'q"', "\\", "é", "[", "}"])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.sampled_from([0.5, -1e-9]),
    st.text(st.sampled_from('ab"\\{}[]:,\n é\U0001f989'), max_size=8),
)  # fmt: skip
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=25,
)


@given(
    st.dictionaries(KEYS, DOCUMENTS, max_size=6), st.integers(1, 30), st.booleans(), st.sampled_from([None, 1, "\t"])
)
@settings(max_examples=400, deadline=None)
def test_the_scanner_finds_what_a_walk_finds(
    document: dict[str, Any], step: int, ascii_only: bool, indent: int | str | None
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    expected = [walk(document)] if walk(document) else []
    assert scan(body) == expected
    assert scan(body, step) == expected
    assert scan(body, 1) == expected


@given(st.lists(st.dictionaries(KEYS, DOCUMENTS, max_size=3), max_size=4), st.integers(1, 30))
@settings(max_examples=300, deadline=None)
def test_documents_behind_each_other_and_in_an_array(documents: list[dict[str, Any]], step: int) -> None:
    expected = [walk(document) for document in documents if walk(document)]
    lines = b"\n".join(json.dumps(document).encode() for document in documents)
    assert scan(lines, step) == expected
    assert scan(json.dumps(documents).encode(), step, array=True) == expected
    assert scan(json.dumps(documents).encode(), step) == []


@given(st.binary(max_size=200), st.integers(1, 20))
@settings(max_examples=500)
def test_any_bytes_end_well_and_alike(body: bytes, step: int) -> None:
    assert scan(body, step) == scan(body)


SYNTAX = st.lists(
    st.sampled_from([
        b"{", b"}", b"[", b"]", b'"', b":", b",", b" ", b"\\", b'"a":', b'"b":{', b'"f":[', b'"c":1', b"2", b'"x"',
        b"\n", b'{"a":1}', b"k" * 300,
    ]),
    max_size=25,
).map(b"".join)  # fmt: skip


@given(SYNTAX, st.integers(1, 9))
@settings(max_examples=600, deadline=None)
def test_broken_json_is_read_the_same_however_it_is_cut(body: bytes, step: int) -> None:
    assert scan(body, step) == scan(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a":1,"a":2}', [{"a": 2}]),
        (b'{"a":1,"a":null}', []),
        (b'{"b":{"c":1},"b":{"d":2}}', []),
        (b'{"\\u0061":1}', [{"a": 1}]),
        (b'{"a" : 1 , "b"\n:\r{"c":[1, 2]} }', [{"a": 1, "b.c": [1, 2]}]),
        (b'{"a":1', []),
        (b'{"a":12 ', [{"a": 12}]),
        (b'{"a":"x', []),
        (b'{"x":"\\\\","a":1}', [{"a": 1}]),
        (b'{"x":"\\"a\\":1,","a":2}', [{"a": 2}]),
        (b'{"x":{"a":1},"y":[{"a":1}]}', []),
        (b'{"f":[{"a":1},{"a":null},{"b":2}]}', [{"f[].a": 1}]),
        (b'{"h":[1,[2,3],{"x":[4]}],"a":{}}', [{"h[#]": 3, "a": {}}]),
        (b'{"a":1}{"a":2}', [{"a": 1}, {"a": 2}]),
        (b'data: {"a":1}\n\ndata: {"a":2}', [{"a": 1}, {"a": 2}]),
        (b'"a" 1 {"a":3}', [{"a": 3}]),
    ],
)
def test_by_hand(body: bytes, expected: list[Fields]) -> None:
    assert scan(body) == expected
    assert scan(body, 1) == expected


@pytest.mark.parametrize("step", [0, 1, 1000])
def test_a_value_too_large_is_given_up_alone(step: int) -> None:
    body = b'{"a":"' + b"x" * LIMIT + b'","b":{"c":1}}'
    assert scan(body, step) == [{"b.c": 1}]
    assert scan(body.replace(b"x" * 10, b"", 1), step) == [{"a": "x" * (LIMIT - 10), "b.c": 1}]


def test_keys_longer_than_any_of_ours() -> None:
    for length in (200, 255, 256, 257, 5000):
        body = b'{"' + b"k" * length + b'":{"a":9},"a":1}'
        assert scan(body) == scan(body, 1) == [{"a": 1}]


def test_decode_takes_what_stands_for_no_number() -> None:
    assert decode(b'{"a":NaN,"b":-Infinity,"c":1e999,"d":[Infinity]}') == {"a": None, "b": None, "c": None, "d": [None]}
    assert decode(b"[" * 9000) is None
    assert decode(b"{") is None
