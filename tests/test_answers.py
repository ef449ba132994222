"""Whole answers: what an HTTP 200 really was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import reader_for
from gateway.dialects.answers import judge
from gateway.dialects.estimate import estimate_text
from gateway.dialects.judging import chat as chats
from gateway.types import Usage
from tests.test_usage_fixtures import FIXTURES, body_of

CHAT, RESPONSES = "openai.chat", "openai.responses"
JUDGED = {
    "openai_chat": CHAT,
    "openai_responses": RESPONSES,
    "openai_embeddings": "openai.embeddings",
    "dashscope_native_embedding": "dashscope.embeddings",
    "gemini_embed": "gemini.embed",
}
RERANKERS = {"dashscope_rerank.native.response.json": "dashscope.rerank"}


def dialect_of(fixture: dict[str, Any]) -> str | None:
    if fixture["protocol"] == "rerank":
        return RERANKERS.get(fixture["file"], "jina.rerank")
    return JUDGED.get(fixture["protocol"])


DOCUMENTS = [each for each in FIXTURES if not each["stream"] and dialect_of(each)]


def as_bytes(value: Any, **options: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, **options).encode()


def chat(reason: Any = "stop", message: Any = None, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "hi"} if message is None else message
    choice = {"index": 0, "message": message, "finish_reason": reason}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage} | more


def response(**more: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": "hi", "annotations": []}
    output = [{"type": "message", "role": "assistant", "content": [part]}]
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    return {"id": "r", "object": "response", "status": "completed", "error": None, "incomplete_details": None,
            "output": output, "usage": usage} | more  # fmt: skip


@pytest.mark.parametrize("fixture", DOCUMENTS, ids=lambda each: each["file"])
def test_every_fixture(fixture: dict[str, Any]) -> None:
    dialect = dialect_of(fixture)
    assert dialect is not None
    body = body_of(fixture)
    verdict = judge(dialect, body)
    if fixture["kind"] == "error":
        assert verdict.error is not None
        assert fixture["expect"].get("code") in (verdict.error.code, verdict.error.type)
        return
    assert verdict.error is None
    assert verdict.finished
    assert not verdict.filtered
    reader = reader_for(dialect, b"application/json")
    reader.feed(body)
    assert verdict.usage == reader.finish()
    assert verdict.usage is None or verdict.output_tokens == 0


@pytest.mark.parametrize("fixture", DOCUMENTS, ids=lambda each: each["file"])
def test_every_fixture_that_was_cut_is_an_error(fixture: dict[str, Any]) -> None:
    dialect = dialect_of(fixture)
    assert dialect is not None
    body = body_of(fixture).rstrip()
    for end in {0, 1, len(body) // 3, len(body) // 2, len(body) - 1}:
        assert judge(dialect, body[:end]).error is not None


# -- chat --------------------------------------------------------------------------------------------------------------

GOOD_CHATS: list[Any] = [
    chat(), chat("length"), chat("tool_calls"), chat("eos"), chat(None), chat(code=0, sid="x"),
    chat(base_resp={"status_code": 0, "status_msg": ""}), chat(error=None), chat(error={}), chat(code="x", message="m"),
    chat(message={"content": None, "refusal": None, "tool_calls": [{"function": {"arguments": "{}"}}]}),
    chat(message={"content": [{"type": "text", "text": "hi"}]}), chat(message={"content": '"error": 1'}),
    {"code": 0, "message": "Success", "sid": "s", "choices": [{"message": {"content": "x"}, "index": 0}],
     "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    chat(choices=[{"index": "0", "message": "odd", "finish_reason": "stop"}]),
    chat(choices=[{"message": {"refusal": 7}, "finish_reason": 3}]),
    b"\n\n\n" + as_bytes(chat()), b"\xef\xbb\xbf" + as_bytes(chat()), as_bytes(chat()) + b"\r\n",
    as_bytes(chat()).replace(b'"index": 0', b'"index": 0, "logprobs": {"top": -Infinity}'),
]  # fmt: skip


@pytest.mark.parametrize("body", GOOD_CHATS)
def test_chats_that_are_good(body: Any) -> None:
    verdict = judge(CHAT, as_bytes(body))
    assert (verdict.error, verdict.filtered, verdict.finished, verdict.zero) == (None, False, True, False)
    assert verdict.usage == Usage(3, output=2)


# body, what its error means, words of the error
BAD_CHATS: list[tuple[Any, int, str]] = [
    (b"", 502, "is empty"),
    (b" \n", 502, "is empty"),
    (b"<html>", 502, "is not JSON"),
    (b'{"choices": [', 502, "is not JSON"),
    (b"null", 502, "is not JSON"),
    (b"[]", 502, "holds no answer"),
    (b"{}", 502, "holds no answer"),
    (b"7", 502, "holds no answer"),
    (b'"Invalid token"', 502, "Invalid token"),
    (b'[{"error": {"message": "m", "code": 429}}]', 429, "m"),
    (chat(choices=None), 502, "holds no answer"),
    (chat(choices=[]), 502, "holds no answer"),
    (chat(choices={}), 502, "holds no answer"),
    (chat(choices=None, base_resp={"status_code": 1026, "status_msg": "input new_sensitive"}), 400, "sensitive"),
    ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, 429, "rate limit"),
    (chat(base_resp={"status_code": 1013, "status_msg": "broken"}), 502, "broken"),
    (chat(None, base_resp={"status_code": 1027, "status_msg": "output"}), 400, "output"),
    (chat(error={"message": "m", "type": "server_error"}), 500, "m"),
    ({"error": "overloaded"}, 502, "overloaded"),
    ({"code": 10012, "message": "engine", "sid": "s"}, 500, "engine"),
    ({"code": 0, "message": "Success", "sid": "s"}, 502, "holds no answer"),
    ({"code": "InvalidParameter", "message": "m", "request_id": "r"}, 400, "m"),
    ({"Response": {"Error": {"Code": "InternalError", "Message": "m"}}}, 500, "m"),
    (chat(error_code=336100, error_msg="again"), 503, "again"),
    ({"detail": "no"}, 502, "no"),
    (chat("network_error"), 502, "network_error"),
    (chat("insufficient_system_resource"), 503, "insufficient_system_resource"),
    (chat("aborted"), 502, "aborted"),
    (b"[" * 5000, 502, "is not JSON"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, 502, "is not JSON"),
]


@pytest.mark.parametrize(("body", "status", "words"), BAD_CHATS)
def test_chats_that_are_errors(body: Any, status: int, words: str) -> None:
    error = judge(CHAT, as_bytes(body)).error
    assert error is not None
    assert error.status == status
    assert words in error.message


@pytest.mark.parametrize("body", [
    chat("content_filter"), chat("sensitive"), chat(message={"content": None, "refusal": "I cannot."}),
    chat(choices=[chat()["choices"][0], chat("content_filter")["choices"][0]]),
    chat("content_filter", base_resp={"status_code": 1027, "status_msg": "output new_sensitive"}),
    chat("stop", base_resp={"status_code": 1027, "status_msg": "output new_sensitive"}),
    chat(choices=[{"message": {"content": 3, "refusal": "no"}, "index": "0", "finish_reason": "stop"}]),
])  # fmt: skip
def test_chats_that_were_filtered(body: Any) -> None:
    verdict = judge(CHAT, as_bytes(body))
    assert verdict.error is None
    assert verdict.filtered


ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize(("usage", "zero"), [(ZERO, True), ({}, False), (None, False), ({"total_tokens": 0}, True)])
def test_usage_that_is_zero_or_missing(usage: Any, zero: bool) -> None:
    verdict = judge(CHAT, as_bytes(chat(usage=usage)))
    assert verdict.error is None
    assert (verdict.usage, verdict.zero) == (None, zero)
    assert verdict.output_tokens == (0 if zero else estimate_text("hi"))


def test_usage_in_odd_places_and_types() -> None:
    inner = chat(usage=None)
    inner["choices"][0]["usage"] = {"prompt_tokens": "3", "completion_tokens": 2.0}
    assert judge(CHAT, as_bytes(inner)).usage == Usage(3, output=2)
    bots = {"model_usage": [{"prompt_tokens": 3, "completion_tokens": 2}], "action_usage": []}
    assert judge(CHAT, as_bytes(chat(usage=None, bot_usage=bots))).usage == Usage(3, output=2)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("text", ["hello there", "春眠不觉晓", 'a "quoted" \\ line\n', "", "{}" * 500])
def test_the_estimate_counts_what_was_said(text: str, separators: tuple[str, str]) -> None:
    function = {"name": "f", "arguments": json.dumps({"city": text}, ensure_ascii=False)}
    message = {"content": text, "reasoning_content": text, "tool_calls": [{"function": function}]}
    body = as_bytes(chat(message=message, usage=None), separators=separators, ensure_ascii=False)
    said = sum(estimate_text(each) for each in (text, text, json.dumps({"city": text}, ensure_ascii=False)))
    assert said - 3 <= judge(CHAT, body).output_tokens <= said * 1.3 + 8  # escapes weigh a little


# -- responses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [
    response(), response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    response(output=[]), response(output=[{"type": "code_interpreter_call", "code": "x"}]), response(error={}),
    response(output=[{"type": "message", "content": [{"type": "output_text", "text": '"refusal"'}]}]),
])  # fmt: skip
def test_responses_that_are_good(body: Any) -> None:
    verdict = judge(RESPONSES, as_bytes(body))
    assert (verdict.error, verdict.filtered, verdict.finished) == (None, False, True)
    assert verdict.usage == Usage(3, output=2)


@pytest.mark.parametrize(("body", "status", "words"), [
    (response(status="failed", error={"code": "server_error", "message": "m"}), 500, "m"),
    (response(status="failed", error={"code": "rate_limit_exceeded", "message": "m"}), 429, "m"),
    (response(status="failed"), 502, "failed"),
    (response(status="cancelled"), 502, "cancelled"),
    (response(error={"code": "invalid_prompt", "message": "m"}), 400, "m"),
    (response(output=None), 502, "holds no answer"),
    ({"id": "r"}, 502, "holds no answer"),
    ({"error": {"message": "m", "code": "model_not_found"}}, 404, "m"),
    ({"code": "Throttling", "message": "m"}, 429, "m"),
    (b"", 502, "is empty"), (b"{", 502, "is not JSON"), (b"{}", 502, "holds no answer"), (b"[7]", 502, "no answer"),
])  # fmt: skip
def test_responses_that_are_errors(body: Any, status: int, words: str) -> None:
    error = judge(RESPONSES, as_bytes(body)).error
    assert error is not None
    assert error.status == status
    assert words in error.message


@pytest.mark.parametrize("body", [
    response(status="incomplete", incomplete_details={"reason": "content_filter"}),
    response(output=[{"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}]),
])  # fmt: skip
def test_responses_that_were_filtered(body: Any) -> None:
    assert judge(RESPONSES, as_bytes(body)).filtered


def test_a_response_that_runs_in_the_background_is_not_finished() -> None:
    for status in ("in_progress", "queued"):
        verdict = judge(RESPONSES, as_bytes(response(status=status, output=[], usage=None)))
        assert (verdict.error, verdict.finished, verdict.usage) == (None, False, None)


def test_a_response_without_usage_is_estimated() -> None:
    verdict = judge(RESPONSES, as_bytes(response(usage=None, instructions="not counted " * 50)))
    assert verdict.output_tokens == estimate_text("hi")


# -- embeddings and rerank ---------------------------------------------------------------------------------------------


def vectors(count: int) -> list[dict[str, Any]]:
    return [{"object": "embedding", "index": i, "embedding": [0.1, -0.2]} for i in range(count)]


def ranks(count: int) -> list[dict[str, Any]]:
    return [{"index": i, "relevance_score": 0.5, "document": {"text": "d"}} for i in range(count)]


USAGE = {"prompt_tokens": 4, "total_tokens": 4}
TOTAL = {"total_tokens": 4}
# dialect, a body with so many items
LISTS: list[tuple[str, Any]] = [
    ("openai.embeddings", lambda n: {"object": "list", "data": vectors(n), "usage": USAGE}),
    ("openai.embeddings", lambda n: {"data": [{"embedding": "AAAA"}] * n, "usage": USAGE}),
    ("dashscope.embeddings", lambda n: {"output": {"embeddings": vectors(n)}, "usage": TOTAL}),
    ("gemini.embed", lambda n: {"embeddings": [{"values": [1]}] * n, "usageMetadata": {"promptTokenCount": 4}}),
    ("cohere.embed", lambda n: {"embeddings": {"float": [[1]] * n}, "meta": {"billed_units": {"input_tokens": 4}}}),
    ("cohere.embed", lambda n: {"embeddings": [[1]] * n, "meta": {"billed_units": {"input_tokens": 4}}}),
    ("jina.rerank", lambda n: {"results": ranks(n), "usage": TOTAL}),
    ("cohere.rerank", lambda n: {"results": ranks(n), "usage": TOTAL}),
    ("dashscope.rerank", lambda n: {"output": {"results": ranks(n)}, "usage": TOTAL}),
]


@pytest.mark.parametrize(("dialect", "body"), LISTS)
def test_lists(dialect: str, body: Any) -> None:
    for count in (1, 3):
        verdict = judge(dialect, as_bytes(body(count)), count)
        assert (verdict.error, verdict.usage) == (None, Usage(4))
        assert judge(dialect, as_bytes(body(count))).error is None
        short = judge(dialect, as_bytes(body(count)), count + 1).error
        if dialect.endswith("rerank"):
            assert short is None  # `top_n` may be less than the documents
            continue
        assert short is not None
        assert short.status == 502
        assert f"{count} " in short.message
    for nothing in (body(0), {}, {"detail": "no"}, b"", b"[1]", b'{"data": 7, "output": 8, "results": "x"}'):
        found = judge(dialect, as_bytes(nothing)).error
        assert found is not None
        assert found.status == 502
    failed = judge(dialect, as_bytes(body(2) | {"error": {"message": "m", "type": "server_error"}})).error
    assert failed is not None
    assert failed.status == 500


@pytest.mark.parametrize("empty", [None, [], "", {}])
def test_a_vector_that_is_empty_is_none(empty: Any) -> None:
    data = [*vectors(2), {"index": 2, "embedding": empty}]
    assert judge("openai.embeddings", as_bytes({"data": data})).error is not None
    assert judge("openai.embeddings", as_bytes({"data": [{"index": 0}]})).error is not None
    assert judge("jina.rerank", as_bytes({"results": [{"index": 0, "relevance_score": empty}]})).error is not None


def test_one_vector_for_many_parts_is_an_object() -> None:
    body = as_bytes({"data": {"embedding": [1, 2], "object": "embedding"}, "usage": USAGE})
    assert judge("ark.embeddings", body, 1).error is None


# ----------------------------------------------------------------------------------------------------------------------


def test_a_dialect_that_is_not_known() -> None:
    with pytest.raises(KeyError):
        judge("vidu.videos", b"{}")


def test_a_large_answer_is_read_without_being_built() -> None:
    text = "word " * 2_000_000
    verdict = judge(CHAT, as_bytes(chat(message={"content": text}, usage=None)))
    assert verdict.error is None
    assert verdict.output_tokens > 1_000_000
    odd = judge(CHAT, as_bytes(chat(message={"content": text}, choices="x", pad=text)))
    assert odd.error is not None  # too large to be read with patience


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            "choices message finish_reason refusal usage error base_resp code output results data embedding".split()
        ), inner, max_size=5,
    ),
)  # fmt: skip


@given(VALUES, st.sampled_from([CHAT, RESPONSES, "openai.embeddings", "jina.rerank", "dashscope.rerank"]))
@settings(max_examples=500, deadline=None)
def test_anything_gets_a_verdict(value: Any, dialect: str) -> None:
    verdict = judge(dialect, as_bytes(value))
    assert verdict.error is None or 400 <= verdict.error.status <= 599
    assert verdict.output_tokens >= 0


@given(st.binary(max_size=60), st.sampled_from([CHAT, RESPONSES, "openai.embeddings"]))
@settings(max_examples=300, deadline=None)
def test_garbage_is_an_error(body: bytes, dialect: str) -> None:
    assert judge(dialect, body).error is not None


CHOICES = st.lists(st.fixed_dictionaries({}, optional={
    "index": st.integers(0, 2), "finish_reason": st.sampled_from([None, "stop", "sensitive", "network_error", ""]),
    "message": st.fixed_dictionaries({}, optional={"content": st.text(max_size=5), "refusal": st.just("x")}),
    "usage": st.none() | st.fixed_dictionaries({"prompt_tokens": st.integers(0, 5)}),
}), max_size=3)  # fmt: skip


@given(CHOICES, st.sampled_from([None, ZERO, USAGE, {"prompt_tokens": 1, "completion_tokens": 2}]))
@settings(max_examples=300, deadline=None)
def test_the_patient_reader_says_the_same(choices: Any, usage: Any) -> None:
    body = as_bytes({"choices": choices, "usage": usage})
    found, value = chats.patient_chat(body)
    usual = chats.decode_chat(body)
    assert value == json.loads(body)
    assert found is not None
    assert found.usage == usual.usage
    assert found.choices is not None
    assert usual.choices is not None
    assert chats.read_reasons(found.choices) == chats.read_reasons(usual.choices)
    assert [chats.finished(each) for each in found.choices] == [chats.finished(each) for each in usual.choices]
    assert chats.usage_fields(found, found.choices) == chats.usage_fields(usual, usual.choices)
