"""Gemini's embeddings over other dialects: against strict sandbox vendors, the official SDK's types, broken input."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import reader_for
from gateway.dialects.gemini_embeddings import BATCH, ONE, GeminiEmbeddings
from gateway.errors import BadRequest, BadUpstreamReply, Unsupported
from gateway.sandbox.app import Running, start
from gateway.sandbox.content import vector

# Dialect: vendor of the sandbox, path, model there, and how many texts it takes.
VENDORS = {
    "openai.embeddings": ("openai", "/v1/embeddings", "text-embedding-3-small", 2048),
    "dashscope.embeddings": (
        "ali", "/api/v1/services/embeddings/text-embedding/text-embedding", "text-embedding-v4", 10,
    ),
    "ark.embeddings": ("bytedance", "/api/v3/embeddings/multimodal", "doubao-embedding-vision-250615", 1),
    "cohere.embed": ("cohere", "/v2/embed", "embed-v4.0", 96),
}  # fmt: skip
PAIRS = [(dialect, one) for table in (ONE, BATCH) for dialect, one in table.items()]
IDS = [f"{'batch' if one.batch else 'one'}-{dialect}" for dialect, one in PAIRS]
pairs = pytest.mark.parametrize(("dialect", "one"), PAIRS, ids=IDS)


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()


async def post(sandbox: Running, dialect: str, body: bytes, **directives: str) -> bytes:
    name, path, _, _ = VENDORS[dialect]
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    headers |= {f"x-sandbox-{key}": value for key, value in directives.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.post(sandbox.base_url(name) + path, data=body, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return await answer.read()


def content(*texts: str) -> dict[str, Any]:
    return {"parts": [{"text": text} for text in texts]}


def asked(one: GeminiEmbeddings, *texts: str, **fields: Any) -> dict[str, Any]:
    """A request for the vectors of these texts, each with the same fields."""
    requests = [{"model": "models/mine", "content": content(text), **fields} for text in texts]
    return {"requests": requests} if one.batch else requests[0]


def some(one: GeminiEmbeddings, dialect: str) -> list[str]:
    return ["a b", "c", "d e f"][: VENDORS[dialect][3] if one.batch else 1]


def vectors(one: GeminiEmbeddings, answer: bytes) -> list[list[float]]:
    found = json.loads(answer)
    return [each["values"] for each in (found["embeddings"] if one.batch else [found["embedding"]])]


def sent(one: GeminiEmbeddings, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(one.request(asked(one, "a", **fields), "theirs")[0])
    return found


# -- with the vendors --


@pairs
async def test_a_call_and_its_answer(sandbox: Running, dialect: str, one: GeminiEmbeddings) -> None:
    texts = some(one, dialect)
    fields = asked(one, *texts, outputDimensionality=16)
    body, dropped = one.request(fields, VENDORS[dialect][2])
    assert dropped == ()
    raw = await post(sandbox, dialect, body)
    answer = one.answer(raw, fields)
    assert vectors(one, answer) == [vector(text, 16) for text in texts]
    reader = reader_for(dialect, b"application/json")
    reader.feed(raw)
    counted = reader.finish()
    assert counted is not None
    assert json.loads(answer)["usageMetadata"] == {"promptTokenCount": counted.input}
    assert counted.input > 0
    if one.batch:
        read = types.EmbedContentResponse.model_validate(json.loads(answer))
        assert read.usage_metadata is not None
        assert read.usage_metadata.prompt_token_count == counted.input
        assert len(read.embeddings or ()) == len(texts)


@pairs
async def test_every_purpose_that_is_carried_is_taken_by_the_vendor(
    sandbox: Running, dialect: str, one: GeminiEmbeddings
) -> None:
    taken = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}
    taken |= {name: name.upper() for name in one.vendor.kinds or () if name not in taken}
    for purpose in taken.values():
        body, dropped = one.request(asked(one, "a", taskType=purpose), VENDORS[dialect][2])
        assert bool(dropped) == (one.vendor.kinds is None)
        await post(sandbox, dialect, body)


@pairs
async def test_usage_that_the_vendor_does_not_tell_is_estimated(
    sandbox: Running, dialect: str, one: GeminiEmbeddings
) -> None:
    fields = asked(one, "a b")
    raw = await post(sandbox, dialect, one.request(fields, VENDORS[dialect][2])[0], no_usage="1")
    assert json.loads(one.answer(raw, fields, estimate=7))["usageMetadata"] == {"promptTokenCount": 7}


@pytest.mark.parametrize("dialect", BATCH)
async def test_the_largest_batch_passes_and_one_more_is_refused(sandbox: Running, dialect: str) -> None:
    one, (_, _, model, most) = BATCH[dialect], VENDORS[dialect]
    texts = [f"text {i}" for i in range(most)]
    raw = await post(sandbox, dialect, one.request(asked(one, *texts), model)[0])
    assert len(vectors(one, one.answer(raw, asked(one, *texts)))) == most
    with pytest.raises(Unsupported, match=rf"requests has {most + 1} texts.*at most {most}\b") as caught:
        one.request(asked(one, *texts, "one more"), model)
    assert caught.value.param == "requests"


# -- what the vendors get --


@pytest.mark.parametrize("table", [ONE, BATCH], ids=["one", "batch"])
def test_requests_in_the_vendors_words(table: dict[str, GeminiEmbeddings]) -> None:
    fields = {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8}
    plain = {"model": "theirs", "input": ["a"]}
    assert sent(table["openai.embeddings"]) == plain
    assert sent(table["openai.embeddings"], **fields) == {**plain, "dimensions": 8}
    assert sent(table["dashscope.embeddings"], **fields) == {
        "model": "theirs",
        "input": {"texts": ["a"]},
        "parameters": {"dimension": 8, "text_type": "query"},
    }
    part = {"type": "text", "text": "a"}
    assert sent(table["ark.embeddings"], **fields) == {"model": "theirs", "input": [part], "dimensions": 8}
    cohere = {"model": "theirs", "texts": ["a"], "embedding_types": ["float"]}
    assert sent(table["cohere.embed"], **fields) == {**cohere, "input_type": "search_query", "output_dimension": 8}
    assert sent(table["cohere.embed"]) == {**cohere, "input_type": "search_document"}


@pairs
def test_both_spellings_and_both_places(dialect: str, one: GeminiEmbeddings) -> None:
    hints = {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8}
    snake = {"task_type": "RETRIEVAL_QUERY", "output_dimensionality": 8}
    expected = sent(one, **hints)
    assert expected != sent(one)
    assert sent(one, **snake) == expected
    for key in ("embedContentConfig", "embed_content_config"):
        assert sent(one, **{key: hints}) == sent(one, **{key: snake}) == expected
    with pytest.raises(BadRequest, match="twice") as caught:
        sent(one, taskType="RETRIEVAL_QUERY", task_type="RETRIEVAL_QUERY")
    assert caught.value.param == ("requests[0].taskType" if one.batch else "taskType")


@pytest.mark.parametrize(
    ("purpose", "word"),
    [
        ("QUESTION_ANSWERING", "search_query"),
        ("FACT_VERIFICATION", "search_query"),
        ("CODE_RETRIEVAL_QUERY", "search_query"),
        ("CLASSIFICATION", "classification"),
        ("CLUSTERING", "clustering"),
        ("TASK_TYPE_UNSPECIFIED", "search_document"),
    ],
)
def test_purposes(purpose: str, word: str) -> None:
    assert sent(ONE["cohere.embed"], taskType=purpose)["input_type"] == word


def test_the_parts_of_a_content_are_one_text() -> None:
    fields = {"content": {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}}
    body, dropped = ONE["openai.embeddings"].request(fields, "m")
    assert json.loads(body)["input"] == ["ab"]
    assert dropped == ()


def test_what_the_official_sdk_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    from google import genai
    from google.genai._api_client import BaseApiClient

    seen: list[tuple[str, Any]] = []

    def request(self: Any, method: str, path: str, body: Any, options: Any = None) -> Any:
        seen.append((path, body))
        return types.HttpResponse(headers={}, body='{"embeddings": [{"values": [1]}, {"values": [2]}]}')

    monkeypatch.setattr(BaseApiClient, "request", request)
    client = genai.Client(api_key="k")
    config = types.EmbedContentConfig(task_type="RETRIEVAL_DOCUMENT", title="t", output_dimensionality=3)
    client.models.embed_content(model="mine", contents=["a", "b"], config=config)
    ((path, body),) = seen
    assert path.endswith("models/mine:batchEmbedContents")
    body.pop("_url", None)
    made, dropped = BATCH["dashscope.embeddings"].request(json.loads(json.dumps(body)), "theirs")
    assert dropped == ("requests.title",)
    assert json.loads(made) == {
        "model": "theirs",
        "input": {"texts": ["a", "b"]},
        "parameters": {"dimension": 3, "text_type": "document"},
    }


# -- what is wrong, and what is lost --

BAD: list[tuple[dict[str, Any], str]] = [
    ({"content": None}, "content"),
    ({"content": "a"}, "content"),
    ({"content": [content("a")]}, "content"),
    ({"content": {}}, "content.parts"),
    ({"content": {"parts": []}}, "content.parts"),
    ({"content": {"parts": "a"}}, "content.parts"),
    ({"content": {"parts": ["a"]}}, "content.parts[0]"),
    ({"content": {"parts": [{}]}}, "content.parts"),
    ({"content": {"parts": [{"text": ""}]}}, "content.parts"),
    ({"content": {"parts": [{"text": 1}]}}, "content.parts[0].text"),
    ({"content": {"parts": [{"text": "a"}, None]}}, "content.parts[1]"),
    ({"outputDimensionality": 0}, "outputDimensionality"),
    ({"outputDimensionality": "8"}, "outputDimensionality"),
    ({"outputDimensionality": 10**30}, "outputDimensionality"),
    ({"outputDimensionality": True}, "outputDimensionality"),
    ({"taskType": 1}, "taskType"),
    ({"taskType": "EVERYTHING"}, "taskType"),
    ({"embedContentConfig": 1}, "embedContentConfig"),
    ({"embedContentConfig": {"taskType": []}}, "embedContentConfig.taskType"),
    ({"model": 1}, "model"),
]


@pairs
@pytest.mark.parametrize(("fields", "place"), BAD, ids=range(len(BAD)))
def test_wrong_values_are_refused_by_name(
    dialect: str, one: GeminiEmbeddings, fields: dict[str, Any], place: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        one.request(asked(one, "a", **fields), "x")
    assert caught.value.param == (f"requests[0].{place}" if one.batch else place)
    assert caught.value.status == 400


@pytest.mark.parametrize("requests", [None, [], {}, "a", 1, [None], ["a"], [[]]])
def test_a_batch_must_be_a_list_of_requests(requests: Any) -> None:
    with pytest.raises(BadRequest, match="requests"):
        BATCH["cohere.embed"].request({"requests": requests}, "x")


DIFFERING: dict[str, tuple[Any, Any]] = {
    "taskType": ("RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"),
    "outputDimensionality": (8, 9),
    "model": ("models/a", "models/b"),
}


@pytest.mark.parametrize("place", DIFFERING)
@pytest.mark.parametrize("missing", [True, False])
def test_the_requests_of_a_batch_must_agree(place: str, missing: bool) -> None:
    first, second = DIFFERING[place]
    requests: list[dict[str, Any]] = [{"content": content("a"), place: first} for _ in range(3)]
    BATCH["cohere.embed"].request({"requests": requests}, "x")
    requests[2][place] = None if missing else second
    with pytest.raises(Unsupported) as caught:
        BATCH["cohere.embed"].request({"requests": requests}, "x")
    assert caught.value.param == f"requests[2].{place}"


SAMPLES: dict[str, dict[str, Any]] = {
    "content.parts (others)": {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}},
    "title": {"title": "of the document"},
    "taskType": {"taskType": "RETRIEVAL_QUERY"},
    "taskType (others)": {"taskType": "SEMANTIC_SIMILARITY"},
    "embedContentConfig.title": {"embedContentConfig": {"title": "of the document"}},
    "embedContentConfig.taskType": {"embedContentConfig": {"taskType": "RETRIEVAL_QUERY"}},
    "embedContentConfig.taskType (others)": {"embedContentConfig": {"taskType": "SEMANTIC_SIMILARITY"}},
    "*": {"made_up": [1]},
}
ROWS = [(dialect, one, row) for dialect, one in PAIRS for row in one.LOSSES if not row.startswith("requests (")]


@pytest.mark.parametrize(("dialect", "one", "row"), ROWS)
def test_each_loss_is_what_happens(dialect: str, one: GeminiEmbeddings, row: str) -> None:
    sample = SAMPLES[row.removeprefix("requests.")]
    fate, _, why = one.LOSSES[row].partition(": ")
    assert why
    fields = asked(one, "a", **sample)
    if fate == "refused":
        with pytest.raises(Unsupported) as caught:
            one.request(fields, "x")
        place = row.partition(" ")[0].removeprefix("requests.")
        assert caught.value.param is not None
        assert caught.value.param.replace("[0]", "").removeprefix("requests.").startswith(place)
        return
    assert fate == "dropped"
    body, dropped = one.request(fields, "x")
    name = "made_up" if row == "*" else row.removeprefix("requests.")
    assert dropped == (f"requests.{name}" if one.batch else name,)
    assert one.request(asked(one, "a"), "x") == (body, ())


@pairs
def test_what_is_not_listed_is_carried(dialect: str, one: GeminiEmbeddings) -> None:
    begin = "requests." if one.batch else ""
    for row, sample in SAMPLES.items():
        if "(" not in row and row != "*" and begin + row not in one.LOSSES:
            assert one.request(asked(one, "a", **sample), "x")[1] == ()
            assert sent(one, **sample) != sent(one)


def test_unknown_fields_of_a_batch_itself_are_named() -> None:
    one = BATCH["cohere.embed"]
    assert one.request({**asked(one, "a", "b"), "new": 1}, "x")[1] == ("new",)


def test_text_beside_something_else_is_refused() -> None:
    part = {"text": "a", "fileData": {"fileUri": "https://x.test/a"}}
    with pytest.raises(Unsupported) as caught:
        ONE["cohere.embed"].request({"content": {"parts": [part]}}, "x")
    assert caught.value.param == "content.parts[0].fileData"


NAMES = "content parts text requests model taskType task_type outputDimensionality title role made_up".split()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from("content requests taskType model title".split()), values))
def test_any_request_is_converted_or_refused(fields: dict[str, Any]) -> None:
    for _, one in PAIRS:
        try:
            body, _ = one.request(fields, "x")
        except BadRequest:
            continue
        assert json.loads(body)["model"] == "x"


# -- answers --


def reply(dialect: str, *texts: str) -> bytes:
    """A vendor's answer with vectors as they stand."""
    if dialect == "ark.embeddings":
        return f'{{"data": {{"embedding": {texts[0]}}}}}'.encode()
    if dialect == "cohere.embed":
        return f'{{"embeddings": {{"float": [{", ".join(texts)}]}}}}'.encode()
    if dialect == "dashscope.embeddings":
        items = [f'{{"text_index": {i}, "embedding": {text}}}' for i, text in enumerate(texts)]
        return f'{{"output": {{"embeddings": [{", ".join(items)}]}}}}'.encode()
    items = [f'{{"index": {i}, "embedding": {text}}}' for i, text in enumerate(texts)]
    return f'{{"data": [{", ".join(reversed(items))}]}}'.encode()


@pairs
def test_vectors_keep_the_digits_of_the_vendor(dialect: str, one: GeminiEmbeddings) -> None:
    text = "[0.10000, -1e-05,\n 0, 1.0E+2, 0.1234567890123456789]"
    answer = one.answer(reply(dialect, text), asked(one, "a"))
    assert text.encode() in answer
    assert json.loads(answer)["usageMetadata"] == {"promptTokenCount": 0}


@pytest.mark.parametrize("dialect", [dialect for dialect in BATCH if dialect != "ark.embeddings"])
def test_vectors_stand_in_the_order_of_the_texts(dialect: str) -> None:
    one = BATCH[dialect]
    assert vectors(one, one.answer(reply(dialect, "[0]", "[1]", "[2]"), asked(one, "a", "b", "c"))) == [[0], [1], [2]]
    for short in ("[0]", "[0]"), ("[0]",) * 4:
        with pytest.raises(BadUpstreamReply):
            one.answer(reply(dialect, *short), asked(one, "a", "b", "c"))


@pairs
@pytest.mark.parametrize("bad", ["[]", "null", "{}", '"AAAA"', '["1"]', "[null]", "[1e400]", "[" * 5000, ""])
def test_a_vector_that_is_none_is_the_vendors_fault(dialect: str, one: GeminiEmbeddings, bad: str) -> None:
    with pytest.raises(BadUpstreamReply) as caught:
        one.answer(reply(dialect, bad), asked(one, "a"))
    assert caught.value.retry
