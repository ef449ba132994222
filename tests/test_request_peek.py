"""What the gateway reads of a unified request, and what it refuses."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.dialects.members import COMPACT, SPACED, members, walk
from gateway.dialects.request import Peek, peek
from gateway.errors import BadRequest

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
LEAST: dict[str, dict[str, Any]] = {
    "openai.chat": CHAT,
    "openai.responses": {"model": "gpt-4o", "input": "hi"},
    "openai.embeddings": {"model": "bge", "input": "hi"},
    "jina.rerank": {"model": "bge-reranker", "query": "q", "documents": ["a", {"text": "b"}, "c"]},
}


def chat(**more: Any) -> Peek:
    return peek("openai.chat", json.dumps(CHAT | more).encode())


def refusal(surface: str, body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        peek(surface, body)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300
    return caught.value


@pytest.mark.parametrize("surface", LEAST)
def test_the_least_request(surface: str) -> None:
    found = peek(surface, json.dumps(LEAST[surface]).encode())
    assert (found.surface, found.model) == (surface, LEAST[surface]["model"])
    assert (found.stream, found.wants_usage, found.max_output, found.n) == (False, False, None, 1)
    assert (found.images, found.tools) == (False, False)
    assert found.count == (3 if surface == "jina.rerank" else 1)
    assert 5 < found.input_tokens < 60
    assert found.input_tokens == found.input_tokens


def test_all_that_is_read() -> None:
    found = chat(stream=True, stream_options={"include_usage": True}, max_tokens=100, n=3, tools=[{"type": "function"}])
    assert (found.stream, found.wants_usage, found.max_output, found.n, found.tools) == (True, True, 100, 3, True)
    assert chat(max_tokens=100, max_completion_tokens=7).max_output == 100
    assert chat(max_tokens=10, max_completion_tokens=70).max_output == 70
    assert chat(functions=[{"name": "f"}]).tools
    assert not chat(tools=[]).tools
    assert list(chat(seed=1).fields) == ["model", "messages", "seed"]
    responses = peek("openai.responses", b'{"model":"m","input":[],"max_output_tokens":5,"stream":true,"n":"x"}')
    assert (responses.max_output, responses.stream, responses.wants_usage, responses.n) == (5, True, False, 1)


def test_null_counts_as_absent() -> None:
    found = chat(stream=None, stream_options=None, max_tokens=None, max_completion_tokens=None, n=None, tools=None)
    assert (found.stream, found.wants_usage, found.max_output, found.n, found.tools) == (False, False, None, 1, False)
    assert refusal("openai.chat", b'{"model":"m","messages":null}').param == "messages"
    assert refusal("openai.chat", b'{"model":null,"messages":[1]}').param == "model"


def test_stream_options_matter_only_in_streams() -> None:
    assert not chat(stream_options={"include_usage": True}).wants_usage
    assert not chat(stream_options=5).wants_usage
    assert not chat(stream=True, stream_options={"include_usage": None}).wants_usage
    assert not chat(stream=True, stream_options={}).wants_usage
    assert chat(stream=True, stream_options={"a": 1, "include_usage": True}).wants_usage


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"image_url": "data:image/png;base64,AA==", "type": "image_url"},
    ],
)
def test_pictures_are_seen_in_the_messages_only(part: dict[str, Any]) -> None:
    assert chat(messages=[{"role": "user", "content": [part]}]).images
    assert not chat(messages=[{"role": "user", "content": json.dumps(part)}]).images
    assert not chat(tools=[part]).images
    body = {"model": "m", "input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}
    assert peek("openai.responses", json.dumps(body).encode()).images


@pytest.mark.parametrize(
    ("value", "count", "tokens"),
    [
        ("one", 1, None),
        (["one"], 1, None),
        (["one", "two, three", "4"], 3, None),
        ([1, 2, 3, 4], 1, 4),
        ([[1, 2], [3, 4, 5]], 2, 5),
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://a/b"}}], 2, None),
    ],
)
def test_inputs_are_counted(value: Any, count: int, tokens: int | None) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        body = json.dumps({"model": "bge", "input": value}, separators=separators).encode()
        found = peek("openai.embeddings", body)
        assert found.count == count
        assert tokens is None or found.input_tokens == tokens


def test_a_response_may_go_on_from_elsewhere() -> None:
    for name in ("prompt", "previous_response_id", "conversation"):
        assert peek("openai.responses", json.dumps({"model": "m", name: "x"}).encode()).model == "m"
    assert refusal("openai.responses", b'{"model":"m","prompt":null}').param == "input"


@pytest.mark.parametrize(
    ("surface", "change", "param"),
    [
        ("openai.chat", {"model": ""}, "model"),
        ("openai.chat", {"model": 5}, "model"),
        ("openai.chat", {"model": ["gpt-4o"]}, "model"),
        ("openai.chat", {"model": "x" * 257}, "model"),
        ("openai.chat", {"model": "a\x00b"}, "model"),
        ("openai.chat", {"model": "a\nb"}, "model"),
        ("openai.chat", {"model": "a\u202eb"}, "model"),
        ("openai.chat", {"stream": "true"}, "stream"),
        ("openai.chat", {"stream": 1}, "stream"),
        ("openai.chat", {"stream": True, "stream_options": 5}, "stream_options"),
        ("openai.chat", {"stream": True, "stream_options": [True]}, "stream_options"),
        ("openai.chat", {"stream": True, "stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ("openai.chat", {"max_tokens": 0}, "max_tokens"),
        ("openai.chat", {"max_tokens": -1}, "max_tokens"),
        ("openai.chat", {"max_tokens": True}, "max_tokens"),
        ("openai.chat", {"max_tokens": 10.0}, "max_tokens"),
        ("openai.chat", {"max_tokens": "10"}, "max_tokens"),
        ("openai.chat", {"max_tokens": 2**31}, "max_tokens"),
        ("openai.chat", {"max_tokens": 10**5000}, "max_tokens"),
        ("openai.chat", {"max_completion_tokens": [1]}, "max_completion_tokens"),
        ("openai.chat", {"n": 0}, "n"),
        ("openai.chat", {"n": 129}, "n"),
        ("openai.chat", {"n": False}, "n"),
        ("openai.chat", {"messages": []}, "messages"),
        ("openai.chat", {"messages": "hi"}, "messages"),
        ("openai.chat", {"messages": {"role": "user"}}, "messages"),
        ("openai.responses", {"input": 5}, "input"),
        ("openai.responses", {"input": {"role": "user"}}, "input"),
        ("openai.responses", {"max_output_tokens": 1.5}, "max_output_tokens"),
        ("openai.embeddings", {"input": ""}, "input"),
        ("openai.embeddings", {"input": []}, "input"),
        ("openai.embeddings", {"input": 7}, "input"),
        ("jina.rerank", {"documents": []}, "documents"),
        ("jina.rerank", {"documents": "a"}, "documents"),
        ("jina.rerank", {"documents": {"text": "a"}}, "documents"),
    ],
)
def test_refused_with_the_field_named(surface: str, change: dict[str, Any], param: str) -> None:
    if change.get("max_tokens") == 10**5000:
        body = json.dumps(CHAT)[:-1].encode() + b',"max_tokens":1' + b"0" * 5000 + b"}"
    else:
        body = json.dumps(LEAST[surface] | change).encode()
    error = refusal(surface, body)
    assert error.param == param
    assert f"`{param}`" in error.message


@pytest.mark.parametrize("surface", LEAST)
def test_missing_fields_are_named(surface: str) -> None:
    content = {"openai.chat": "messages", "jina.rerank": "documents"}.get(surface, "input")
    for name in ("model", content):
        least = {key: value for key, value in LEAST[surface].items() if key != name}
        error = refusal(surface, json.dumps(least).encode())
        assert error.param == name
        assert "missing" in error.message


REST = b'"model":"m","messages":[{}]'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b" ", "not valid JSON"),
        (b"hello", "not valid JSON"),
        (b"{%s" % REST, "not valid JSON"),
        (b"{%s}x" % REST, "not valid JSON"),
        (b"{%s}{}" % REST, "not valid JSON"),
        (b"{%s,}" % REST, "not valid JSON"),
        (b"\xef\xbb\xbf{%s}" % REST, "not valid JSON"),
        (b"\0{%s}" % REST, "not valid JSON"),
        (b'{%s,"a":NaN}' % REST, "not valid JSON"),
        (b'{%s,"a":[-Infinity]}' % REST, "not valid JSON"),
        (b'{%s,"a":"\0"}' % REST, "not valid JSON"),
        (b'{%s,"a":"\\x"}' % REST, "not valid JSON"),
        (b'{%s,"a":"\\ud800"}' % REST, "not valid JSON"),
        (b'{%s,"\\ud800":1}' % REST, "not valid JSON"),
        (b'{%s,"a":"\\ud800 and more"}' % REST, "not valid JSON"),
        (b"{%s,a:1}" % REST, "not valid JSON"),
        (b"{%s,'a':1}" % REST, "not valid JSON"),
        (b'{%s,"a":01}' % REST, "not valid JSON"),
        (b'{%s,"a":"\xff"}' % REST, "not UTF-8"),
        (b'{%s,"\xff":1}' % REST, "not UTF-8"),
        (b'{%s,"a":"\xed\xa0\x80"}' % REST, "not UTF-8"),
        (b'{%s,"a":"caf\xe9"}' % REST, "not UTF-8"),
        (json.dumps(CHAT).encode("utf-16"), "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"5", "not a JSON object"),
        (b'{%s,"a":%s}' % (REST, b"[" * 5000 + b"]" * 5000), "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{%s,"a":%s' % (REST, b'{"a":' * 5000), "nested too deeply"),
    ],
)
def test_what_is_no_json_object(body: bytes, said: str) -> None:
    error = refusal("openai.chat", body)
    assert said in error.message
    assert error.param is None


def test_what_is_the_vendors_to_judge_goes_by() -> None:
    body = b'{%s,"a":1e400,"b":123456789012345678901234567890,"":{"x":1,"x":2},"temperature":"hot"}' % REST
    assert peek("openai.chat", body).model == "m"
    assert peek("openai.chat", b'{"m\\u006fdel":"\\u0067pt","messages":[0]}').model == "gpt"
    assert peek("openai.chat", '{"model":"豆包","messages":["图"]}'.encode()).model == "豆包"


TWICE = [
    b'{"model":"a","messages":[{}],"model":"a"}',
    b'{"model":"a","messages":[{}],"model":"b"}',
    b'{"model": "a", "messages": [{}], "model": "b"}',
    b'{"model":"a","messages":[{}],"mod\\u0065l":"b"}',
    b'{"m\\u006fdel":"a","messages":[{}],"model":"a"}',
    b'{"model":"m","messages":[{}],"n":12,"n":1}',
    b'{"model":"m","messages":[{}],"n":1,"n":12}',
    b'{"model":"m","messages":[{}],"n":"1","n":"1" }',
    b'{"model":"m","messages":[{}],"messages":[{}, {}]}',
    b'{\n"model":"m",\n"messages":[{}],\n"model":"m"\n}',
    b'{"model":"m","messages":[{}],"":1,"":1}',
    # The same where lengths and heads fit together wrongly: the values of `b` and so on hold what looks like heads.
    WALKED := b'{"a":0,"b":{"y":"xxxx","b":      2},"a":[[[[[[[[0]]]]]]]]}',
    PRINTED := (
        b'{"a": 0,"b":{"y":"xxxx", "b": 2},"c":{"y":"xxxxxx", "c": 2},"d":{"y":"xxxxxxxx", "d": 2},'
        b'"e":{"y":"xxxxxxxxxx", "e": 2},"a":[[[[[[[[0]]]]]]]]  }'
    ),
]


@pytest.mark.parametrize("body", TWICE)
def test_a_field_given_twice_is_refused(body: bytes) -> None:
    assert "twice" in refusal("openai.chat", body).message


def test_the_repeated_field_is_named_if_it_can_be() -> None:
    assert refusal("openai.chat", TWICE[0]).param == "model"
    assert refusal("openai.chat", b'{"\\n":1,"\\n":2}').param is None
    assert refusal("openai.chat", b'{"%s":1,"%s":2}' % (b"k" * 5000, b"k" * 5000)).param is None


SCALARS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(0, 1) | st.text(max_size=6)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab") | st.text(max_size=3), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(["a", "b", "model", 'q"', "ключ", ""]) | st.text(max_size=4)
SPACE = st.sampled_from([b"", b"", b" ", b"\n  ", b"\t\r\n"])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A body in any of the ways to print it, and whether a name comes twice."""
    pairs = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))
    comma, colon, free = draw(st.sampled_from([(b",", b":", False), (b", ", b": ", False), (b",", b":", True)]))
    spaces = SPACE if free else st.just(b"")
    texts = [
        draw(spaces)
        + json.dumps(name, ensure_ascii=draw(st.booleans())).encode()
        + draw(spaces) + colon + draw(spaces)
        + json.dumps(value, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))).encode()
        + draw(spaces)
        for name, value in pairs
    ]  # fmt: skip
    body = draw(spaces) + b"{" + comma.join(texts) + b"}" + draw(spaces)
    return body, len({name for name, _ in pairs}) < len(pairs)


def twice(body: bytes) -> bool:
    """By the standard library."""
    found: list[list[tuple[str, Any]]] = []
    json.loads(body, object_pairs_hook=found.append)
    pairs = found[-1]  # the outermost object ends last
    return len(dict(pairs)) < len(pairs)


@given(bodies())
@example((b'{"a":1,"":1,"b":1,"a":10}', True))
@example((WALKED, True))
@example((PRINTED, True))
def test_any_body_is_taken_apart_or_refused(case: tuple[bytes, bool]) -> None:
    body, repeated = case
    assert repeated == twice(body)
    if repeated:
        with pytest.raises(BadRequest):
            members(body)
        return
    found = members(body)
    heads, tail = found.heads()
    pieces = [piece for name, value in found.fields.items() for piece in (heads[name], bytes(value))]
    assert b"".join(pieces) + tail == (body if pieces else tail)
    walked, its_tail = walk(body, found.fields)
    assert (list(walked.items()), its_tail) == (list(heads.items()), tail)  # slow and fast say the same
    assert {name: json.loads(bytes(value)) for name, value in found.fields.items()} == json.loads(body)


@given(st.binary(max_size=60) | st.text('{}[]",:\\ab1 \n', max_size=40).map(str.encode))
def test_garbage_is_taken_or_refused(body: bytes) -> None:
    for surface in LEAST:
        with suppress(BadRequest):
            peek(surface, body)


def test_usual_bodies_are_not_walked() -> None:
    assert members(json.dumps(CHAT, separators=(",", ":")).encode()).style == COMPACT
    assert members(json.dumps(CHAT).encode()).style == SPACED
    assert members(json.dumps(CHAT, indent=2).encode()).style is None
    assert members(json.dumps(CHAT).encode() + b"\n").style is None


MANY = b"".join(b',"k%d":0' % number for number in range(400_000))
LARGE = {
    "text": (b'{"model":"m","messages":[{"role":"user","content":"' + b"lorem " * (1 << 20) + b'"}]}', ""),
    "pretty": (b'{\n  "model": "m",\n  "messages": ["' + rb"\n" * (1 << 20) + b'"]\n}\n', ""),
    "many fields": (b'{"model":"m","messages":[0]' + MANY + b"}", "1 MiB"),
    "one other field": (b'{"model":"m","messages":[0],"other":"' + b"x" * (1 << 20) + b'"}', "1 MiB"),
    "repeated": (b'{"model":"m"' + b',"messages":[0]' * (1 << 18) + b"}", "1 MiB"),
}


@pytest.mark.parametrize("name", LARGE)
def test_memory_of_a_large_body_is_bounded(name: str) -> None:
    body, said = LARGE[name]
    tracemalloc.start()
    if said:
        assert said in refusal("openai.chat", body).message
    else:
        assert peek("openai.chat", body).model == "m"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(body) + (1 << 20)


def test_the_number_of_items_is_bounded() -> None:
    body = b'{"model":"m","input":[%s]}' % b",".join([b'""'] * 1_000_001)
    assert peek("openai.embeddings", body).count == 1_000_001
    body = b'{"model":"m","documents":[%s]}' % b",".join([b'""'] * 1_000_002)
    assert refusal("jina.rerank", body).param == "documents"
