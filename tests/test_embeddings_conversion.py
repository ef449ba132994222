"""OpenAI's embeddings over other dialects: against the strict sandbox vendors, recorded answers, and broken ones."""

from __future__ import annotations

import array
import base64
import json
import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from gateway.dialects import DIALECTS, conversion, reader_for
from gateway.dialects.embeddings import ARK, COHERE, DASHSCOPE, GEMINI, Embeddings
from gateway.errors import BadRequest, BadUpstreamReply, Unsupported
from gateway.sandbox.app import Running, start
from gateway.sandbox.content import vector

FIXTURES = Path(__file__).parent / "fixtures" / "usage"
SURFACE = "openai.embeddings"
# Dialect: vendor of the sandbox, path, model there, and how many texts it takes.
VENDORS = {
    "dashscope.embeddings": (
        "ali", "/api/v1/services/embeddings/text-embedding/text-embedding", "text-embedding-v4", 10,
    ),
    "ark.embeddings": ("bytedance", "/api/v3/embeddings/multimodal", "doubao-embedding-vision-250615", 1),
    "cohere.embed": ("cohere", "/v2/embed", "embed-v4.0", 96),
    "gemini.embed": ("gemini", "/v1beta/models/gemini-embedding-001", "gemini-embedding-001", 100),
}  # fmt: skip
ALL = {"dashscope.embeddings": DASHSCOPE, "ark.embeddings": ARK, "cohere.embed": COHERE, "gemini.embed": GEMINI}


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()


async def post(sandbox: Running, dialect: str, body: bytes, **directives: str) -> bytes:
    name, path, _, _ = VENDORS[dialect]
    headers = {"Authorization": "Bearer k", "x-goog-api-key": "k", "Content-Type": "application/json"}
    headers |= {f"x-sandbox-{key}": value for key, value in directives.items()}
    url = sandbox.base_url(name) + path + ALL[dialect].method
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


def asked(dialect: str, **fields: Any) -> dict[str, Any]:
    texts = ["a b", "c", "d e f"][: VENDORS[dialect][3]]
    return {"model": "mine", "input": texts, **fields}


def body_of(one: Embeddings, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(one.request({"model": "mine", "input": ["a"], **fields}, "theirs")[0])
    return found


def floats(text: str) -> list[float]:
    """As OpenAI's SDKs read base64."""
    values = array.array("f", base64.b64decode(text, validate=True))
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


# -- the registry --


def test_find() -> None:
    assert {dialect: conversion.lists(SURFACE, dialect) for dialect in VENDORS} == ALL
    assert conversion.lists(SURFACE, SURFACE) is None, "equal dialects: their bytes pass untouched"
    assert conversion.known(SURFACE, SURFACE)
    assert conversion.lists(SURFACE, "jina.rerank") is None
    assert not conversion.known(SURFACE, "jina.rerank")
    assert conversion.lists("jina.rerank", "gemini.embed") is None
    assert set(VENDORS) <= DIALECTS


# -- with the vendors --


@pytest.mark.parametrize("dialect", VENDORS)
async def test_a_call_and_its_answer(sandbox: Running, dialect: str) -> None:
    one = ALL[dialect]
    fields = asked(dialect, dimensions=16)
    body, dropped = one.request(fields, VENDORS[dialect][2])
    assert dropped == ()
    raw = await post(sandbox, dialect, body)
    answer = CreateEmbeddingResponse.model_validate_json(one.answer(raw, fields), strict=True)
    assert answer.object == "list"
    assert answer.model == "mine"
    assert [(each.object, each.index, each.embedding) for each in answer.data] == [
        ("embedding", i, vector(text, 16)) for i, text in enumerate(fields["input"])
    ]
    reader = reader_for(dialect, b"application/json")
    reader.feed(raw)
    counted = reader.finish()
    assert counted is not None
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == counted.input > 0


@pytest.mark.parametrize("dialect", VENDORS)
async def test_base64_is_the_same_vector_in_single_precision(sandbox: Running, dialect: str) -> None:
    one = ALL[dialect]
    fields = {"model": "mine", "input": "one text", "encoding_format": "base64", "dimensions": 24}
    raw = await post(sandbox, dialect, one.request(fields, VENDORS[dialect][2])[0])
    (found,) = json.loads(one.answer(raw, fields))["data"]
    assert floats(found["embedding"]) == pytest.approx(vector("one text", 24), abs=1e-7)


@pytest.mark.parametrize("dialect", VENDORS)
async def test_every_kind_of_input_is_taken_by_the_vendor(sandbox: Running, dialect: str) -> None:
    one = ALL[dialect]
    for name in one.kinds or {"query": ""}:
        fields = asked(dialect, input_type=name)
        await post(sandbox, dialect, one.request(fields, VENDORS[dialect][2])[0])


@pytest.mark.parametrize("dialect", VENDORS)
async def test_the_largest_batch_passes_and_one_more_is_refused(sandbox: Running, dialect: str) -> None:
    one, (_, _, model, most) = ALL[dialect], VENDORS[dialect]
    texts = [f"text {i}" for i in range(most)]
    fields = {"model": "mine", "input": texts}
    raw = await post(sandbox, dialect, one.request(fields, model)[0])
    data = json.loads(one.answer(raw, fields))["data"]
    assert [each["index"] for each in data] == list(range(most))
    texts.append("one more")
    with pytest.raises(Unsupported, match=rf"input has {most + 1} texts.*at most {most}\b.*call") as caught:
        one.request(fields, model)
    assert caught.value.param == "input"


def test_older_dashscope_models_take_more() -> None:
    texts = ["a"] * 25
    assert DASHSCOPE.request({"model": "m", "input": texts}, "text-embedding-v2")
    with pytest.raises(Unsupported, match="at most 25"):
        DASHSCOPE.request({"model": "m", "input": [*texts, "a"]}, "text-embedding-v1")
    with pytest.raises(Unsupported, match="at most 10"):
        DASHSCOPE.request({"model": "m", "input": texts}, "text-embedding-v3")


@pytest.mark.parametrize("directive", ["no_usage", "zero_usage"])
@pytest.mark.parametrize("dialect", VENDORS)
async def test_usage_that_the_vendor_does_not_tell_is_estimated(sandbox: Running, dialect: str, directive: str) -> None:
    one, fields = ALL[dialect], asked(dialect)
    raw = await post(sandbox, dialect, one.request(fields, VENDORS[dialect][2])[0], **{directive: "1"})
    assert json.loads(one.answer(raw, fields, estimate=7))["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert json.loads(one.answer(raw, fields))["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize("dialect", VENDORS)
async def test_an_answer_that_is_no_json_is_the_vendors_fault(sandbox: Running, dialect: str) -> None:
    one, fields = ALL[dialect], asked(dialect)
    raw = await post(sandbox, dialect, one.request(fields, VENDORS[dialect][2])[0], fault="bad_json")
    with pytest.raises(BadUpstreamReply):
        one.answer(raw, fields)


# -- what the vendors get --


def test_requests_in_the_vendors_words() -> None:
    asked = {"dimensions": 8, "input_type": "query", "encoding_format": "base64"}
    assert body_of(DASHSCOPE, **asked, instruct="find") == {
        "model": "theirs",
        "input": {"texts": ["a"]},
        "parameters": {"dimension": 8, "text_type": "query", "instruct": "find"},
    }
    assert body_of(DASHSCOPE) == {"model": "theirs", "input": {"texts": ["a"]}}
    part = {"type": "text", "text": "a"}
    assert body_of(ARK, **asked, instruct="find") == {
        "model": "theirs",
        "input": [part],
        "dimensions": 8,
        "instructions": "find",
    }
    cohere = {"model": "theirs", "texts": ["a"], "embedding_types": ["float"]}
    assert body_of(COHERE, **asked) == cohere | {"input_type": "search_query", "output_dimension": 8}
    assert body_of(COHERE) == cohere | {"input_type": "search_document"}
    gemini = {"model": "models/theirs", "content": {"parts": [{"text": "a"}]}}
    assert body_of(GEMINI) == {"requests": [gemini]}
    assert body_of(GEMINI, input=["a", "b"], **asked)["requests"] == [
        {
            "model": "models/theirs",
            "content": {"parts": [{"text": text}]},
            "taskType": "RETRIEVAL_QUERY",
            "outputDimensionality": 8,
        }
        for text in ("a", "b")
    ]
    assert json.loads(GEMINI.request({"model": "m", "input": "a"}, "models/x")[0])["requests"][0]["model"] == "models/x"


def test_other_words_for_the_ends_of_a_search() -> None:
    assert body_of(DASHSCOPE, input_type="search_document")["parameters"] == {"text_type": "document"}
    assert body_of(COHERE, input_type="search_query")["input_type"] == "search_query"


BAD: dict[str, list[Any]] = {
    "input": [None, "", [], {}, 5, True, [None], [True], ["a", None], [1.5], {"text": "a"}],
    "encoding_format": ["int8", 1, ["float"], {}],
    "dimensions": [0, -1, 1.5, True, "8", [], 10**30],
    "input_type": [1, ["query"]],
    "instruct": [1, {}],
}


@pytest.mark.parametrize("dialect", VENDORS)
@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values if value != ""]
)
def test_wrong_values_are_refused_by_name(dialect: str, name: str, value: Any) -> None:
    one = ALL[dialect]
    if name in one.LOSSES:
        assert one.request({"model": "m", "input": "a", name: value}, "x")[1] == (name,)
        return
    with pytest.raises(BadRequest) as caught:
        one.request({"model": "m", "input": "a", name: value}, "x")
    assert caught.value.param == name
    assert caught.value.status == 400


# -- losses --

SAMPLES: dict[str, dict[str, Any]] = {
    "input (tokens)": {"input": [1, 2, 3]},
    "input (parts)": {"input": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]},
    "input (batch)": {"input": ["a"] * 101},
    "input_type (others)": {"input_type": "image"},
    "input_type": {"input_type": "query"},
    "instruct": {"instruct": "find it"},
    "user": {"user": "someone"},
    "*": {"made_up": [1]},
}


@pytest.mark.parametrize(("dialect", "row"), [(dialect, row) for dialect in VENDORS for row in ALL[dialect].LOSSES])
def test_each_loss_is_what_happens(dialect: str, row: str) -> None:
    fields = {"model": "m", "input": "a", **SAMPLES[row]}
    (name,) = SAMPLES[row]
    fate, _, why = ALL[dialect].LOSSES[row].partition(": ")
    assert why
    if fate == "refused":
        with pytest.raises(Unsupported) as caught:
            ALL[dialect].request(fields, "x")
        assert caught.value.param == name
    else:
        assert fate == "dropped"
        body, dropped = ALL[dialect].request(fields, "x")
        assert dropped == (name,)
        assert ALL[dialect].request({"model": "m", "input": "a"}, "x") == (body, ())


@pytest.mark.parametrize("dialect", VENDORS)
def test_what_is_not_listed_is_carried(dialect: str) -> None:
    plain = ALL[dialect].request({"model": "m", "input": "a"}, "x")
    for row, sample in SAMPLES.items():
        if "(" not in row and row not in ALL[dialect].LOSSES:
            body, dropped = ALL[dialect].request({"model": "m", "input": "a", **sample}, "x")
            assert dropped == ()
            assert body != plain[0]


def test_token_lists_of_lists_are_refused_too() -> None:
    with pytest.raises(Unsupported):
        COHERE.request({"model": "m", "input": [[1, 2], [3]]}, "x")


def test_null_is_not_there() -> None:
    fields = dict.fromkeys(("encoding_format", "dimensions", "input_type", "instruct", "user", "made_up"))
    assert COHERE.request({"model": "m", "input": "a", **fields}, "x") == COHERE.request(
        {"model": "m", "input": "a"}, "x"
    )


def test_names_of_dropped_fields_are_fit_for_a_header() -> None:
    names = ["seed", "a\r\nx-evil: 1", "\u00fc", "", "x" * 65, *(f"f{i}" for i in range(100))]
    _, dropped = COHERE.request({"model": "m", "input": "a", **dict.fromkeys(names, 1)}, "x")
    assert dropped[:3] == ("seed", "?", "f0")
    assert len(dropped) == 20


# -- answers --


@pytest.mark.parametrize(
    ("dialect", "file", "tokens"),
    [
        ("dashscope.embeddings", "dashscope_embedding.native.response.json", 23),
        ("ark.embeddings", "ark_embeddings.multimodal.response.json", 528),
        ("gemini.embed", "gemini.embed.response.json", None),
    ],
)
def test_recorded_answers(dialect: str, file: str, tokens: int | None) -> None:
    raw = (FIXTURES / file).read_bytes()
    if dialect == "gemini.embed":  # recorded from the call for one text
        value = json.loads(raw)
        raw = json.dumps({"embeddings": [value.pop("embedding")], **value}).encode()
    answer = json.loads(ALL[dialect].answer(raw, {"model": "mine", "input": "x"}, estimate=3))
    assert CreateEmbeddingResponse.model_validate(answer, strict=True).data[0].embedding
    assert answer["usage"]["prompt_tokens"] == (tokens or answer["usage"]["total_tokens"])


def reply(dialect: str, vectors: list[str]) -> bytes:
    """A vendor's answer with vectors as they stand."""
    if dialect == "dashscope.embeddings":
        items = [f'{{"text_index": {i}, "embedding": {text}}}' for i, text in enumerate(vectors)]
        return f'{{"output": {{"embeddings": [{", ".join(items)}]}}}}'.encode()
    if dialect == "ark.embeddings":
        return f'{{"data": {{"embedding": {vectors[0]}}}}}'.encode()
    if dialect == "cohere.embed":
        return f'{{"embeddings": {{"float": [{", ".join(vectors)}]}}}}'.encode()
    items = [f'{{"values": {text}}}' for text in vectors]
    return f'{{"embeddings": [{", ".join(items)}]}}'.encode()


@pytest.mark.parametrize("dialect", VENDORS)
def test_vectors_keep_the_digits_of_the_vendor(dialect: str) -> None:
    text = "[0.10000, -1e-05,\n 0, 1.0E+2, 0.1234567890123456789]"
    assert text.encode() in ALL[dialect].answer(reply(dialect, [text]), {"model": "m", "input": "a"})


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1), min_size=1, max_size=5)
)
def test_base64_carries_every_float_of_single_precision_exactly(vectors: list[list[float]]) -> None:
    fields = {"model": "m", "input": ["x"] * len(vectors), "encoding_format": "base64"}
    for dialect in ("dashscope.embeddings", "cohere.embed", "gemini.embed"):
        raw = reply(dialect, [json.dumps(values) for values in vectors])
        data = json.loads(ALL[dialect].answer(raw, fields))["data"]
        found = [floats(each["embedding"]) for each in data]
        assert found == vectors
        signs = [[math.copysign(1, value) for value in values] for values in found]
        assert signs == [[math.copysign(1, value) for value in values] for values in vectors]


@given(st.permutations(range(6)))
def test_vectors_go_back_to_their_inputs(order: list[int]) -> None:
    items = [{"text_index": i, "embedding": [i]} for i in order]
    raw = json.dumps({"output": {"embeddings": items}}).encode()
    data = json.loads(DASHSCOPE.answer(raw, {"model": "m", "input": ["x"] * 6}))["data"]
    assert [(each["index"], each["embedding"]) for each in data] == [(i, [i]) for i in range(6)]


BAD_VECTORS = [
    "[]", "null", "{}", '"AAAA"', "1", "[null]", '["1"]', "[[1]]", "[true]", "[NaN]", "[1e400]", "[-Infinity]", "[1,]",
    "[1", "[1 2]", "[" * 5000 + "]" * 5000, "",
]  # fmt: skip


@pytest.mark.parametrize("form", ["float", "base64"])
@pytest.mark.parametrize("bad", BAD_VECTORS, ids=range(len(BAD_VECTORS)))
@pytest.mark.parametrize("dialect", VENDORS)
def test_a_vector_that_is_none_is_the_vendors_fault(dialect: str, bad: str, form: str) -> None:
    fields = {"model": "m", "input": "a", "encoding_format": form}
    assert ALL[dialect].answer(reply(dialect, ["[1]"]), fields)
    with pytest.raises(BadUpstreamReply) as caught:
        ALL[dialect].answer(reply(dialect, [bad]), fields)
    assert caught.value.retry


def test_numbers_beyond_single_precision_cannot_be_base64() -> None:
    fields = {"model": "m", "input": "a", "encoding_format": "base64"}
    with pytest.raises(BadUpstreamReply):
        COHERE.answer(reply("cohere.embed", ["[1e300]"]), fields)


BAD_BODIES = [
    b"", b" ", b"null", b"[]", b"{}", b'"text"', b"<html>Bad Gateway</html>", b"\xff\xfe", b'{"a":', b"[" * 100_000,
    b'{"code": "InvalidParameter", "message": "no", "request_id": "r"}', b'{"output": null}', b'{"output": {}}',
    b'{"output": {"embeddings": null}}', b'{"output": {"embeddings": {}}}', b'{"output": {"embeddings": []}}',
    b'{"output": {"embeddings": [null]}}', b'{"output": {"embeddings": [{"embedding": [1]}]}}',
    b'{"output": {"embeddings": [{"embedding": [1], "text_index": "0"}]}}', b'{"data": []}', b'{"data": {}}',
    b'{"data": [{"embedding": [1]}]}', b'{"embeddings": []}', b'{"embeddings": {}}', b'{"embeddings": {"float": []}}',
    b'{"embeddings": {"float": {}}}', b'{"embeddings": {"base64": ["AAAA"]}}', b'{"embeddings": [[1]]}',
    b'{"embeddings": [null]}', b'{"embeddings": [{}]}', b'{"embedding": {"values": [1]}}',
    b'{"error": {"code": 500, "message": "internal"}}', b'{"embeddings": [{"values": [1]}]} x',
]  # fmt: skip


@pytest.mark.parametrize("dialect", VENDORS)
@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_answers_of_another_shape_are_the_vendors_fault(dialect: str, body: bytes) -> None:
    with pytest.raises(BadUpstreamReply) as caught:
        ALL[dialect].answer(body, {"model": "m", "input": "a"})
    assert len(caught.value.message) < 100


@pytest.mark.parametrize("dialect", [dialect for dialect in VENDORS if dialect != "ark.embeddings"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_or_more_vectors_than_inputs_are_the_vendors_fault(dialect: str, count: int) -> None:
    with pytest.raises(BadUpstreamReply):
        ALL[dialect].answer(reply(dialect, ["[1]"] * count), {"model": "m", "input": ["a", "b"]})
    assert ALL[dialect].answer(reply(dialect, ["[1]"] * 2), {"model": "m", "input": ["a", "b"]})


@pytest.mark.parametrize("indices", [[0, 0], [0, 2], [-1, 0], [1, 1], [0, 1, 1], [0, 1, 2], [0, 2**70]])
def test_places_that_do_not_fit_are_the_vendors_fault(indices: list[int]) -> None:
    items = [{"text_index": i, "embedding": [1]} for i in indices]
    with pytest.raises(BadUpstreamReply):
        DASHSCOPE.answer(json.dumps({"output": {"embeddings": items}}).encode(), {"model": "m", "input": ["a", "b"]})


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from("output embeddings data float values embedding usage meta".split()), inner),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_bytes_are_an_answer_or_the_vendors_fault(body: bytes) -> None:
    for one in ALL.values():
        try:
            answer = one.answer(body, {"model": "m", "input": "a"})
        except BadUpstreamReply:
            continue
        assert len(json.loads(answer)["data"]) == 1


@pytest.mark.parametrize("usage", ["null", "[]", "{}", '"x"', "-5", '{"total_tokens": "many"}', '{"total_tokens": -1}'])
def test_strange_usage_counts_as_none(usage: str) -> None:
    for dialect, one in ALL.items():
        field = {"cohere.embed": "meta", "gemini.embed": "usageMetadata"}.get(dialect, "usage")
        raw = reply(dialect, ["[1]"])[:-1] + f', "{field}": {usage}}}'.encode()
        assert json.loads(one.answer(raw, {"model": "m", "input": "a"}, estimate=4))["usage"]["prompt_tokens"] == 4
