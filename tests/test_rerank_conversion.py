"""The rerank surface over other dialects: against the strict sandbox vendors, recorded answers, and broken ones."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import DIALECTS, conversion, reader_for
from gateway.dialects.rerank import COHERE, DASHSCOPE, Rerank
from gateway.errors import BadRequest, BadUpstreamReply, Unsupported
from gateway.sandbox.app import Running, start
from gateway.sandbox.content import similarity

FIXTURES = Path(__file__).parent / "fixtures" / "usage"
SURFACE = "jina.rerank"
# Dialect: vendor of the sandbox, path, model there, and how many documents it takes.
VENDORS = {
    "cohere.rerank": ("cohere", "/v2/rerank", "rerank-v3.5", 1000),
    "dashscope.rerank": ("ali", "/api/v1/services/rerank/text-rerank/text-rerank", "gte-rerank-v2", 500),
}
ALL = {"cohere.rerank": COHERE, "dashscope.rerank": DASHSCOPE}
DOCUMENTS = ["a blue fox", {"text": "a red fox", "id": 7}, "nothing", "red"]
TEXTS = ["a blue fox", "a red fox", "nothing", "red"]
ASKED: dict[str, Any] = {"model": "mine", "query": "red fox", "documents": DOCUMENTS}


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()


async def post(sandbox: Running, dialect: str, body: bytes, **directives: str) -> bytes:
    name, path, _, _ = VENDORS[dialect]
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    headers |= {f"x-sandbox-{key}": value for key, value in directives.items()}
    url = sandbox.base_url(name) + path + ALL[dialect].method
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


async def call(sandbox: Running, dialect: str, fields: dict[str, Any], **directives: str) -> tuple[bytes, Any]:
    """The vendor's answer and the surface's."""
    raw = await post(sandbox, dialect, ALL[dialect].request(fields, VENDORS[dialect][2])[0], **directives)
    return raw, json.loads(ALL[dialect].answer(raw, fields))


def body_of(one: Rerank, **fields: Any) -> Any:
    return json.loads(one.request({**ASKED, **fields}, "theirs")[0])


def reply(dialect: str, rows: str, rest: str = "") -> bytes:
    """A vendor's answer with rows as they stand."""
    results = f'"results": {rows}'
    return (f"{{{results}{rest}}}" if dialect == "cohere.rerank" else f'{{"output": {{{results}}}{rest}}}').encode()


def rows(*scores: tuple[int, float]) -> str:
    return json.dumps([{"index": index, "relevance_score": score} for index, score in scores])


# -- the registry --


def test_find() -> None:
    assert {dialect: conversion.lists(SURFACE, dialect) for dialect in VENDORS} == ALL
    assert conversion.lists(SURFACE, SURFACE) is None, "equal dialects: their bytes pass untouched"
    assert conversion.known(SURFACE, SURFACE)
    assert not conversion.known(SURFACE, "cohere.embed")
    assert {SURFACE, *VENDORS} <= DIALECTS


# -- with the vendors --


@pytest.mark.parametrize("dialect", VENDORS)
async def test_a_call_and_its_answer(sandbox: Running, dialect: str) -> None:
    raw, answer = await call(sandbox, dialect, ASKED)
    best = sorted(range(4), key=lambda i: -similarity("red fox", TEXTS[i]))
    assert answer["results"] == [{"index": i, "relevance_score": similarity("red fox", TEXTS[i])} for i in best]
    assert answer["model"] == "mine"
    assert answer["id"].startswith("rerank-")
    vendors_id = json.loads(raw).get("id") or json.loads(raw)["request_id"]
    assert vendors_id in answer["id"]
    reader = reader_for(dialect, b"application/json")
    reader.feed(raw)
    counted = reader.finish()
    assert counted is not None
    assert answer["usage"] == {"prompt_tokens": counted.input, "total_tokens": counted.input}
    assert answer["meta"]["tokens"] == {"input_tokens": counted.input, "output_tokens": 0}
    if dialect == "cohere.rerank":
        assert answer["meta"]["billed_units"] == {"search_units": 1}
        assert counted.extra_units == {"search_units": 1}
    else:
        assert counted.input > 0


@pytest.mark.parametrize("dialect", VENDORS)
async def test_top_n_and_the_texts_of_the_documents(sandbox: Running, dialect: str) -> None:
    _, answer = await call(sandbox, dialect, {**ASKED, "top_n": 2, "return_documents": True})
    assert len(answer["results"]) == 2
    assert [one["document"] for one in answer["results"]] == [{"text": TEXTS[i["index"]]} for i in answer["results"]]
    _, answer = await call(sandbox, dialect, {**ASKED, "top_n": 9, "return_documents": False})
    assert [set(one) for one in answer["results"]] == [{"index", "relevance_score"}] * 4


@pytest.mark.parametrize("dialect", VENDORS)
async def test_the_most_documents_pass_and_one_more_is_refused(sandbox: Running, dialect: str) -> None:
    most = VENDORS[dialect][3]
    documents = [f"document {i}" for i in range(most)]
    _, answer = await call(sandbox, dialect, {**ASKED, "documents": documents})
    assert sorted(one["index"] for one in answer["results"]) == list(range(most))
    with pytest.raises(Unsupported, match=rf"documents has {most + 1} items.*at most {most}\b") as caught:
        ALL[dialect].request({**ASKED, "documents": [*documents, "one more"]}, "x")
    assert caught.value.param == "documents"


@pytest.mark.parametrize("directive", ["no_usage", "zero_usage"])
@pytest.mark.parametrize("dialect", VENDORS)
async def test_usage_that_the_vendor_does_not_tell_is_estimated(sandbox: Running, dialect: str, directive: str) -> None:
    raw, answer = await call(sandbox, dialect, ASKED, **{directive: "1"})
    assert answer["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
    answer = json.loads(ALL[dialect].answer(raw, ASKED, estimate=7))
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert answer["meta"] == {"tokens": {"input_tokens": 7, "output_tokens": 0}}


@pytest.mark.parametrize("dialect", VENDORS)
async def test_an_answer_that_is_no_json_is_the_vendors_fault(sandbox: Running, dialect: str) -> None:
    with pytest.raises(BadUpstreamReply):
        await call(sandbox, dialect, ASKED, fault="bad_json")


# -- what the vendors get --


def test_requests_in_the_vendors_words() -> None:
    plain = {"query": "red fox", "documents": TEXTS}
    assert body_of(COHERE) == {"model": "theirs", **plain}
    hints: dict[str, Any] = {"top_n": 2, "max_tokens_per_doc": 100, "priority": 0}
    assert body_of(COHERE, return_documents=True, **hints) == {"model": "theirs", **plain, **hints}
    assert body_of(DASHSCOPE) == {"model": "theirs", "input": plain}
    hints = {"top_n": 2, "instruct": "find"}
    assert body_of(DASHSCOPE, return_documents=True, **hints) == {
        "model": "theirs",
        "input": plain,
        "parameters": hints,
    }


BAD: dict[str, list[Any]] = {
    "query": [None, "", 5, [], ["a"], True, {"text": "a"}],
    "documents": [None, [], "a", {}, [None], [5], ["a", None], [{}], [{"text": None}], [{"text": 5}], [["a"]]],
    "top_n": [0, -1, 1.5, True, "2", [], 10**30],
    "return_documents": [1, 0, "true", []],
    "max_tokens_per_doc": [0, "9", 1e9],
    "priority": [-1, "high", 10**30],
    "instruct": [5, ["x"]],
}


@pytest.mark.parametrize("dialect", VENDORS)
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_wrong_values_are_refused_by_name(dialect: str, name: str, value: Any) -> None:
    if name in ALL[dialect].LOSSES:
        assert ALL[dialect].request({**ASKED, name: value}, "x")[1] == (name,)
        return
    with pytest.raises(BadRequest) as caught:
        ALL[dialect].request({**ASKED, name: value}, "x")
    assert caught.value.param == name
    assert caught.value.status == 400


# -- losses --

SAMPLES: dict[str, dict[str, Any]] = {
    "query (parts)": {"query": {"image": "https://x.test/a.png"}},
    "documents (parts)": {"documents": [{"image": "https://x.test/a.png"}]},
    "documents (batch)": {"documents": ["a"] * 1001},
    "rank_fields": {"rank_fields": ["title", "text"]},
    "max_chunks_per_doc": {"max_chunks_per_doc": 3},
    "max_tokens_per_doc": {"max_tokens_per_doc": 3},
    "overlap_tokens": {"overlap_tokens": 3},
    "priority": {"priority": 3},
    "instruct": {"instruct": "find it"},
    "*": {"made_up": [1]},
}


@pytest.mark.parametrize(("dialect", "row"), [(dialect, row) for dialect in VENDORS for row in ALL[dialect].LOSSES])
def test_each_loss_is_what_happens(dialect: str, row: str) -> None:
    fields = {**ASKED, **SAMPLES[row]}
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
        assert ALL[dialect].request(ASKED, "x") == (body, ())


@pytest.mark.parametrize("dialect", VENDORS)
def test_what_is_not_listed_is_carried(dialect: str) -> None:
    plain, _ = ALL[dialect].request(ASKED, "x")
    for row, sample in SAMPLES.items():
        if "(" not in row and row not in ALL[dialect].LOSSES:
            body, dropped = ALL[dialect].request({**ASKED, **sample}, "x")
            assert dropped == ()
            assert body != plain


def test_null_is_not_there() -> None:
    nothing = dict.fromkeys(("top_n", "return_documents", "max_tokens_per_doc", "instruct", "rank_fields", "made_up"))
    for one in ALL.values():
        assert one.request({**ASKED, **nothing}, "x") == one.request(ASKED, "x")


# -- answers --


def test_recorded_answers() -> None:
    raw = (FIXTURES / "cohere_rerank.v2.response.json").read_bytes()
    assert json.loads(COHERE.answer(raw, {**ASKED, "top_n": 1, "return_documents": True})) == {
        "id": "rerank-07734bd2",
        "model": "mine",
        "results": [{"index": 3, "relevance_score": 0.99, "document": {"text": "red"}}],
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
        "meta": {"tokens": {"input_tokens": 0, "output_tokens": 0}, "billed_units": {"search_units": 1}},
    }
    value = json.loads((FIXTURES / "dashscope_rerank.native.response.json").read_bytes())
    found = value["output"]["results"]
    fields = {**ASKED, "documents": ["a"] * (1 + max(one["index"] for one in found)), "top_n": len(found)}
    answer = json.loads(DASHSCOPE.answer(json.dumps(value).encode(), fields))
    assert [one["index"] for one in answer["results"]] == [one["index"] for one in found]
    assert answer["usage"]["total_tokens"] == value["usage"]["total_tokens"]


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, -1.5]), min_size=1, max_size=12), st.data())
def test_best_first_and_equal_ones_in_the_order_of_the_documents(scores: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(scores))))
    top_n = data.draw(st.none() | st.integers(1, 15))
    raw = reply("cohere.rerank", rows(*((i, scores[i]) for i in order)))
    fields = {"model": "m", "query": "q", "documents": ["x"] * len(scores), "top_n": top_n}
    results = json.loads(COHERE.answer(raw, fields))["results"]
    assert len(results) == min(top_n or len(scores), len(scores))
    assert [one["index"] for one in results] == [i for _, i in sorted((-score, i) for i, score in enumerate(scores))][
        : len(results)
    ]
    assert all(one["relevance_score"] == scores[one["index"]] for one in results)


def test_an_answer_without_an_id_gets_one_that_stays() -> None:
    fields = {**ASKED, "documents": ["x"]}
    for rest in ("", ', "id": 5, "request_id": 5', ', "id": "", "request_id": null'):
        for dialect, one in ALL.items():
            raw = reply(dialect, rows((0, 1)), rest)
            found = json.loads(one.answer(raw, fields))["id"]
            assert len(found) == 31
            assert found == json.loads(one.answer(raw, fields))["id"]
    long = reply("cohere.rerank", rows((0, 1)), f', "id": "{"x" * 9999}"')
    assert json.loads(COHERE.answer(long, fields))["id"] == f"rerank-{'x' * 100}"


BAD_ROWS = [
    "[]", "null", "{}", '"x"', "[null]", "[{}]", '[{"index": 0}]', '[{"relevance_score": 1}]',
    '[{"index": "0", "relevance_score": 1}]', '[{"index": 0, "relevance_score": "1"}]',
    '[{"index": 0, "relevance_score": null}]', '[{"index": 0, "relevance_score": NaN}]',
    '[{"index": 0, "relevance_score": 1e400}]', '[{"index": 0.5, "relevance_score": 1}]',
    rows((1, 1)), rows((-1, 1)), rows((2**70, 1)), rows((0, 1), (0, 1)), rows((0, 1), (1, 1)), "[" * 100_000, "[1",
]  # fmt: skip


@pytest.mark.parametrize("dialect", VENDORS)
@pytest.mark.parametrize("bad", BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_rows_that_do_not_fit_are_the_vendors_fault(dialect: str, bad: str) -> None:
    fields = {**ASKED, "documents": ["x"]}
    assert ALL[dialect].answer(reply(dialect, rows((0, 1))), fields)
    with pytest.raises(BadUpstreamReply) as caught:
        ALL[dialect].answer(reply(dialect, bad), fields)
    assert caught.value.retry


@pytest.mark.parametrize("dialect", VENDORS)
def test_fewer_scores_than_asked_for_are_the_vendors_fault(dialect: str) -> None:
    raw = reply(dialect, rows((2, 0.5), (0, 0.7)))
    with pytest.raises(BadUpstreamReply):
        ALL[dialect].answer(raw, ASKED)
    with pytest.raises(BadUpstreamReply):
        ALL[dialect].answer(raw, {**ASKED, "top_n": 3})
    assert len(json.loads(ALL[dialect].answer(raw, {**ASKED, "top_n": 2}))["results"]) == 2


@pytest.mark.parametrize("dialect", VENDORS)
@pytest.mark.parametrize("field", ["usage", "meta", "id", "request_id"])
def test_deep_nesting_is_the_vendors_fault(dialect: str, field: str) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(BadUpstreamReply):
        ALL[dialect].answer(reply(dialect, rows((0, 1)), f', "{field}": {deep}'), {**ASKED, "documents": ["x"]})


BAD_BODIES = [
    b"", b"null", b"[]", b"{}", b'"text"', b"<html>Bad Gateway</html>", b"\xff\xfe", b'{"a":', b"[" * 100_000,
    b'{"code": "InvalidParameter", "message": "no", "request_id": "r"}', b'{"output": null}', b'{"output": []}',
    b'{"message": "invalid api token"}', b'{"error": {"message": "internal"}}', b'{"results": [], "output": {}} x',
]  # fmt: skip


@pytest.mark.parametrize("dialect", VENDORS)
@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_answers_of_another_shape_are_the_vendors_fault(dialect: str, body: bytes) -> None:
    with pytest.raises(BadUpstreamReply) as caught:
        ALL[dialect].answer(body, {**ASKED, "documents": ["x"]})
    assert len(caught.value.message) < 100


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from("output results index relevance_score usage meta id".split()), inner),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_bytes_are_an_answer_or_the_vendors_fault(body: bytes) -> None:
    for one in ALL.values():
        try:
            answer = one.answer(body, {**ASKED, "documents": ["x"]})
        except BadUpstreamReply:
            continue
        assert len(json.loads(answer)["results"]) == 1


@pytest.mark.parametrize("usage", ["null", "[]", "{}", '"x"', "-5", '{"total_tokens": "many"}', '{"billed_units": 5}'])
def test_strange_usage_counts_as_none(usage: str) -> None:
    for dialect, one in ALL.items():
        raw = reply(dialect, rows((0, 1)), f', "usage": {usage}, "meta": {usage}')
        answer = json.loads(one.answer(raw, {**ASKED, "documents": ["x"]}, estimate=4))
        assert answer["usage"]["prompt_tokens"] == 4
