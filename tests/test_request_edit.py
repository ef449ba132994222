"""The edits of a request's bytes: what is asked for and not a byte more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.dialects.edit import FORM, canonical, quirked, rewritten
from gateway.dialects.members import members
from gateway.dialects.request import Peek, peek
from gateway.providers import Quirks

COMPACT = b'{"model":"a","messages":[{"role":"user","content":"hi"}],"stream":true}'
SPACED = b'{"model": "a", "messages": [{"role": "user", "content": "hi"}], "stream": true}'
PRETTY = b'{\r\n  "messages" : [ {} ] ,\r\n  "model"\t: "a",\r\n  "stream" : true\r\n}\r\n'
BODIES = [COMPACT, SPACED, PRETTY]
ASKED = b',"stream_options":{"include_usage":true}'


def chat(body: bytes) -> Peek:
    return peek("openai.chat", body)


def edited(body: bytes, **quirks: Any) -> bytes:
    return rewritten(chat(body), "a", quirks=Quirks(**quirks))


def with_field(value: str, name: str = "stream_options") -> bytes:
    return b'{"model":"a","%s":%s,"messages":[0],"stream":true}' % (name.encode(), value.encode())


@pytest.mark.parametrize("body", BODIES)
def test_nothing_to_change_gives_the_very_same_bytes(body: bytes) -> None:
    assert rewritten(chat(body), "a") is body
    escaped = body.replace(b'"a"', b'"\\u0061"')
    assert rewritten(chat(escaped), "a") is escaped
    quirks = Quirks({"x": "y", "model": "model"}, ("logit_bias",), {"model": "a"}, {"temperature": (0, 1)})
    assert rewritten(chat(body), "a", quirks=quirks) is body


@pytest.mark.parametrize("body", BODIES)
def test_only_the_models_name_is_swapped(body: bytes) -> None:
    at = body.rindex(b'"a"')
    for name in ("b", "deepseek-ai/DeepSeek-V3", 'q"\\', "豆包", "a much longer name than it was before"):
        swapped = rewritten(chat(body), name)
        assert swapped.startswith(body[:at])
        assert swapped.endswith(body[at + 3 :])
        assert json.loads(swapped[at : len(swapped) - len(body) + at + 3]) == name


def test_a_model_inside_of_the_content_stays() -> None:
    body = b'{"messages":[{"role":"user","content":"\\"model\\":\\"a\\"","model":"a"}],"model":"a","x":{"model":"a"}}'
    assert rewritten(chat(body), "b") == body.replace(b'],"model":"a"', b'],"model":"b"')


@pytest.mark.parametrize("body", BODIES)
def test_usage_is_asked_for_by_a_pure_insertion(body: bytes) -> None:
    asked = rewritten(chat(body), "a", ask_usage=True)
    at = body.rindex(b"true") + 4
    assert asked == body[:at] + ASKED + body[at:]
    assert chat(asked).wants_usage
    assert rewritten(chat(asked), "a", ask_usage=True) is asked


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("null", '{"include_usage":true}'),
        ("{}", '{"include_usage":true}'),
        ("{ }", '{"include_usage":true}'),
        ('{"include_usage":false}', '{"include_usage":true}'),
        ('{"include_usage": null}', '{"include_usage": true}'),
        ('{"include_usage" : false , "x" : 1 }', '{"include_usage" : true , "x" : 1 }'),
        ('{"include_obfuscation":false}', '{"include_obfuscation":false,"include_usage":true}'),
        ('{ "x": {"y": []}\n}', '{ "x": {"y": []},"include_usage":true\n}'),
        ('{"include_usage":true}', '{"include_usage":true}'),
        ('{"x":1, "include_usage" :true}', '{"x":1, "include_usage" :true}'),
    ],
)
def test_usage_is_asked_for_within_the_clients_options(before: str, after: str) -> None:
    asked = rewritten(chat(with_field(before)), "a", ask_usage=True)
    if "{ }" in before:
        asked = asked.replace(b"true }", b"true}")
    assert asked == with_field(after)


def test_usage_is_asked_for_only_where_that_is_understood() -> None:
    for body in (b'{"model":"a","messages":[0]}', b'{"model":"a","messages":[0],"stream":false}'):
        assert rewritten(chat(body), "a", ask_usage=True) is body
    body = b'{"model":"a","input":"x","stream":true}'
    assert rewritten(peek("openai.responses", body), "a", ask_usage=True) is body
    assert rewritten(chat(COMPACT), "a", ask_usage=True, quirks=Quirks(drop=("stream_options",))) is COMPACT
    dropped = rewritten(chat(with_field("null")), "a", ask_usage=True, quirks=Quirks(drop=("stream_options",)))
    assert dropped == b'{"model":"a","messages":[0],"stream":true}'


def test_quirks_by_hand() -> None:
    assert edited(COMPACT, drop=["model"]) == COMPACT.replace(b'"model":"a",', b"")
    assert edited(SPACED, drop=["model"]) == b'{ "messages": [{"role": "user", "content": "hi"}], "stream": true}'
    assert edited(SPACED, drop=["stream"]) == SPACED.replace(b', "stream": true', b"")
    assert edited(PRETTY, drop=["messages"]) == b'{\r\n  "model"\t: "a",\r\n  "stream" : true\r\n}\r\n'
    assert edited(PRETTY, rename={"stream": "streaming"}) == PRETTY.replace(b'"stream"', b'"streaming"')
    assert edited(COMPACT, rename={"model": 'm"'}) == COMPACT.replace(b'"model"', b'"m\\""')
    assert edited(SPACED, set={"stream": False}) == SPACED.replace(b"true", b"false")
    assert edited(SPACED, set={"thinking": {"type": "x"}}) == SPACED[:-1] + b',"thinking":{"type":"x"}}'


def test_all_fields_may_go_and_others_come() -> None:
    every = ["model", "messages", "stream"]
    assert json.loads(edited(PRETTY, drop=every)) == {}
    assert json.loads(edited(COMPACT, drop=every, set={"x": 1, "y": 2})) == {"x": 1, "y": 2}
    assert json.loads(edited(SPACED, rename={"model": "stream"}, drop=["stream"])) == {
        "messages": [{"role": "user", "content": "hi"}]
    }


def test_a_renamed_field_takes_the_place_of_one_that_is_there() -> None:
    body = b'{"max_tokens":1,"model":"a","messages":[0],"max_completion_tokens":2}'
    renamed = edited(body, rename={"max_completion_tokens": "max_tokens"})
    assert renamed == b'{"model":"a","messages":[0],"max_tokens":2}'


@pytest.mark.parametrize(
    ("value", "bounds", "then"),
    [
        ("2", (0, 1), "1"),
        ("1.5", (0, 1), "1"),
        ("0.0", (0.01, None), "0.01"),
        ("-3", (None, 8), "-3"),
        ("9", (None, 8), "8"),
        ("1.0", (0, 1), "1.0"),
        ("0.50", (0, 1), "0.50"),
        ("1e3", (0, 8192), "1e3"),
        ("123456789012345678901234567890", (1, 8192), "8192"),
        ("null", (1, 2), "null"),
        ("true", (2, 3), "true"),
        ('"5"', (1, 2), '"5"'),
        ("[5]", (1, 2), "[5]"),
        ("1e400", (0, 1), "1e400"),  # no double: the vendor may judge it
    ],
)
def test_numbers_are_clamped_and_nothing_else(value: str, bounds: tuple[float | None, float | None], then: str) -> None:
    assert edited(with_field(value, "x"), clamp={"x": bounds, "absent": (1, 2)}) == with_field(then, "x")


NAMES = st.sampled_from(["model", "messages", "stream", "stream_options", "x", "y", "ключ", 'q"', ""])
VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.just([{"a": " "}]) | st.text(max_size=3)


def by_hand(fields: dict[str, Any], quirks: Quirks) -> dict[str, Any]:
    """What the quirks mean, over decoded values."""
    for old, new in quirks.rename.items():
        if old in fields and old != new:
            fields[new] = fields.pop(old)
    for name in quirks.drop:
        fields.pop(name, None)
    fields |= quirks.set
    for name, (low, high) in quirks.clamp.items():
        if type(fields.get(name)) is int:
            fields[name] = fields[name] if low is None else max(fields[name], low)
            fields[name] = fields[name] if high is None else min(fields[name], high)
    return fields


@given(
    st.permutations(["model", "messages", "stream", "x", "ключ"]),
    st.dictionaries(st.sampled_from(["x", "y", "ключ", 'q"', "stream_options"]), VALUES, max_size=3),
    st.dictionaries(NAMES, NAMES, max_size=3),
    st.lists(NAMES, max_size=3),
    st.dictionaries(NAMES, VALUES, max_size=2),
    st.dictionaries(NAMES, st.sampled_from([(0, 5), (None, -2), (3, None)]), max_size=2),
    st.sampled_from(
        [{"separators": (",", ":")}, {}, {"indent": 1}, {"separators": (" , ", " : "), "ensure_ascii": False}]
    ),
)
@example(["model", "messages", "stream", "x", "ключ"], {}, {"model": "x", "x": "model"}, [], {}, {}, {})
def test_quirks_mean_the_same_over_bytes_and_values(
    order: list[str],
    more: dict[str, Any],
    rename: dict[str, str],
    drop: list[str],
    put: dict[str, Any],
    clamp: dict[str, Any],
    style: dict[str, Any],
) -> None:
    fields: dict[str, Any] = {"model": "a", "messages": [{"role": "user"}], "stream": False, "x": 7, "ключ": "з"}
    fields = {name: fields[name] for name in order} | more
    quirks = Quirks(rename, tuple(drop), put, clamp)
    body = json.dumps(fields, **style).encode()
    found = rewritten(chat(body), "b", quirks=quirks)
    assert json.loads(found) == by_hand(fields | {"model": "b"}, quirks)
    if found != b"{}":
        members(found)  # well-formed, and no name twice


def key(body: str | bytes, **more: Any) -> bytes:
    return canonical(chat(body.encode() if isinstance(body, str) else body), **more)


def test_the_canonical_request_is_the_same_for_the_same_request() -> None:
    same = [
        '{"model":"a","messages":[{"role":"user","content":"图"}],"temperature":0.5,"x":{"b":1,"a":[1,2]}}',
        '{"x": {"a": [1, 2], "b": 1}, "temperature":0.5, "messages": [{"content": "图", "role":\t"user"}],"model":"a"}',
        '{"model":"a","messages":[{"role":"user","content":"\\u56fe"}],"temperature":5e-1,"x":{"b":1,"a":[1,2]}}',
        '{"model":"a","stream":true,"messages":[{"role":"user","content":"图"}],"temperature":0.50,'
        '"stream_options":{"include_usage":true},\n"x":{"b":1,"a":[1,2]}}\n',
    ]
    assert len({key(body) for body in same}) == 1
    assert json.loads(key(same[3])) == json.loads(same[0])


@pytest.mark.parametrize(
    "other",
    [
        '{"model":"b","messages":[{"content":"x"}],"n":1}',
        '{"model":"a","messages":[{"content":"x "}],"n":1}',
        '{"model":"a","messages":[{"content":"x"},{}],"n":1}',
        '{"model":"a","messages":[{"content":"x"}],"n":2}',
        '{"model":"a","messages":[{"content":"x"}]}',
        '{"model":"a","messages":[{"content":"x"}],"n":1,"user":"u"}',
        '{"model":"a","messages":[{"content":"x"}],"n":1,"temperature":0}',
        '{"model":"a","messages":[{"content":"x"}],"n":1,"temperature":0.0}',
        '{"model":"a","messages":[{"content":"x"}],"n":1,"temperature":null}',
        '{"model":"a","messages":[{"content":"x"}],"n":1,"temperature":1e400}',
        '{"model":"a","messages":[{"content":"x"}],"n":1,"temperature":1e401}',
        '{"model":"a","messages":[{"content":"y","content":"x"}],"n":1}',
        '{"model":"a","messages":[{"content":"x","content":"x"}],"n":1}',
    ],
)
def test_different_requests_stay_apart(other: str) -> None:
    this = '{"model":"a","messages":[{"content":"x"}],"n":1}'
    assert key(other) != key(this)
    assert key(other) == key(other)


def test_what_has_no_canonical_form_stands_for_itself() -> None:
    for body in (
        b'{"model":"a","messages":[{"x":1,"x":1}]}',
        b'{"model":"a","messages":[0],"x":1e400}',
        b'{"model":"a","messages":[0],"x":1%s}' % (b"0" * 5000),
        b'{"model": "a", "messages": ["%s"]}' % (b"x" * (1 << 20)),
    ):
        assert key(body) == body


def test_more_may_be_left_out() -> None:
    body = '{"model":"a","messages":[{"content":"x"}],"stream":true,"seed":1}'
    assert json.loads(key(body, ignore=FORM | {"messages"})) == {"model": "a", "seed": 1}


def test_a_converted_body_gets_the_vendors_quirks() -> None:
    body = b'{"model":"m","max_tokens":9000,"seed":3}'
    quirks = Quirks(rename={"max_tokens": "limit"}, drop=("seed",), set={"flavour": 1}, clamp={"limit": (None, 100)})
    assert json.loads(quirked(body, quirks)) == {"model": "m", "limit": 100, "flavour": 1}
