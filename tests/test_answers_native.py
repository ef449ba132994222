"""Whole answers of Anthropic, Gemini, DashScope and MiniMax: what an HTTP 200 really was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import reader_for
from gateway.dialects.answers import judge
from gateway.dialects.estimate import estimate_text
from gateway.dialects.judging.gemini import FAILURES, FILTERS
from gateway.types import Usage
from tests.test_usage_fixtures import FIXTURES, body_of

ANTHROPIC, GEMINI, DASHSCOPE, MINIMAX = (
    "anthropic.messages", "gemini.generate", "dashscope.generation", "minimax.chat",
)  # fmt: skip
DIALECTS = {"anthropic_messages.": ANTHROPIC, "gemini.": GEMINI, "dashscope_native.": DASHSCOPE, "minimax.": MINIMAX}
DOCUMENTS = [
    (each["file"], dialect)
    for each in FIXTURES
    for name, dialect in DIALECTS.items()
    if each["file"].startswith(name) and not each["stream"] and "count_tokens" not in each["file"]
    and "embed" not in each["file"]
]  # fmt: skip
BY_FILE = {each["file"]: each for each in FIXTURES}


def as_bytes(value: Any, **options: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, **options).encode()


def message(reason: Any = "end_turn", **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 2}
    return {"id": "msg", "type": "message", "role": "assistant", "model": "c", "stop_reason": reason,
            "content": [{"type": "text", "text": "hi"}], "usage": usage} | more  # fmt: skip


def generated(reason: Any = "STOP", parts: Any = None, **more: Any) -> dict[str, Any]:
    parts = [{"text": "hi"}] if parts is None else parts
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
    each = {"content": {"parts": parts, "role": "model"}, "finishReason": reason, "index": 0}
    return {"candidates": [each], "usageMetadata": usage, "responseId": "r"} | more


def result(reason: Any = "stop", content: Any = "hi", **more: Any) -> dict[str, Any]:
    choice = {"finish_reason": reason, "message": {"role": "assistant", "content": content}}
    usage = {"total_tokens": 5, "input_tokens": 3, "output_tokens": 2}
    return {"output": {"choices": [choice]}, "usage": usage, "request_id": "r"} | more


GOOGLE_ERROR = {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}
BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}


@pytest.mark.parametrize(("file", "dialect"), DOCUMENTS)
def test_every_fixture(file: str, dialect: str) -> None:
    fixture = BY_FILE[file]
    body = body_of(fixture)
    verdict = judge(dialect, body)
    if fixture["kind"] == "error":
        assert verdict.error is not None
        assert fixture["expect"]["code"] in (verdict.error.code, verdict.error.type)
        return
    assert (verdict.error, verdict.finished, verdict.output_tokens) == (None, True, 0)
    assert verdict.filtered == ("blocked" in file)
    reader = reader_for(dialect, b"application/json")
    reader.feed(body)
    assert verdict.usage == reader.finish()
    for end in {0, 1, len(body) // 3, len(body) // 2, len(body.rstrip()) - 1}:
        assert judge(dialect, body[:end]).error is not None


@pytest.mark.parametrize(("dialect", "body"), [
    (ANTHROPIC, message()), (ANTHROPIC, message("max_tokens")), (ANTHROPIC, message(None)), (ANTHROPIC, message(7)),
    (ANTHROPIC, message(content=[])), (ANTHROPIC, message(error=None, base_resp={"status_code": 0})),
    (ANTHROPIC, message("tool_use", content=[{"type": "tool_use", "id": "t", "name": "f", "input": {"error": 1}}])),
    (GEMINI, generated()), (GEMINI, generated("MAX_TOKENS", [])), (GEMINI, generated(None)), (GEMINI, generated(3)),
    (GEMINI, generated("MAX_TOKENS") | {"candidates": [{"finishReason": "MAX_TOKENS"}]}),
    (GEMINI, generated(promptFeedback={})), (GEMINI, generated(candidates=[{"content": {"parts": "odd"}}])),
    (GEMINI, generated("CONTINUATION")), (GEMINI, generated("SOMETHING_NEW")),
    (DASHSCOPE, result()), (DASHSCOPE, result("length", [{"text": "hi"}])), (DASHSCOPE, result(code="", message="")),
    (DASHSCOPE, result(output={"text": "hi", "finish_reason": "stop"})), (DASHSCOPE, result(7, "hi")),
    (DASHSCOPE, result(output={"choices": [{"index": "0", "message": "odd"}], "text": None})),
    (MINIMAX, {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "base_resp": {"status_code": 0},
               "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}),
])  # fmt: skip
def test_answers_that_are_good(dialect: str, body: Any) -> None:
    for each in (as_bytes(body), b"\xef\xbb\xbf" + as_bytes(body), b"\n \n" + as_bytes(body, indent=2) + b"\n"):
        verdict = judge(dialect, each)
        assert (verdict.error, verdict.filtered, verdict.finished, verdict.zero) == (None, False, True, False)
        assert verdict.usage == Usage(3, output=2)


@pytest.mark.parametrize(("dialect", "body", "status", "words"), [
    (ANTHROPIC, {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, 529, "m"),
    (ANTHROPIC, {"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}, 429, "m"),
    (ANTHROPIC, message(content=None), 502, "no answer"), (ANTHROPIC, message(content="hi"), 502, "no answer"),
    (ANTHROPIC, {"code": 500, "msg": "404 NOT_FOUND", "success": False}, 500, "NOT_FOUND"),
    (ANTHROPIC, message(base_resp={"status_code": 1008, "status_msg": "no money"}), 402, "no money"),
    (ANTHROPIC, message(error={"type": "api_error", "message": "m"}), 500, "m"),
    (GEMINI, GOOGLE_ERROR, 429, "slow"), (GEMINI, [GOOGLE_ERROR], 429, "slow"), (GEMINI, [], 502, "no answer"),
    (GEMINI, generated(candidates=[]), 502, "no answer"), (GEMINI, generated(candidates=None), 502, "no answer"),
    (GEMINI, generated(candidates="x"), 502, "no answer"), (GEMINI, {"promptFeedback": {}}, 502, "no answer"),
    (GEMINI, generated(error={"code": 500, "message": "m", "status": "INTERNAL"}), 500, "m"),
    (DASHSCOPE, {"code": "Throttling.RateQuota", "message": "m", "request_id": "r"}, 429, "m"),
    (DASHSCOPE, {"code": "InternalError.Algo", "message": "m"}, 500, "m"),
    (DASHSCOPE, {"output": {}}, 502, "no answer"),
    (DASHSCOPE, {"output": {"choices": []}}, 502, "no answer"), (DASHSCOPE, {"output": None}, 502, "no answer"),
    (DASHSCOPE, result("error"), 502, "error"),
    (MINIMAX, {"base_resp": {"status_code": 1002, "status_msg": "rate"}}, 429, "rate"),
    *[(dialect, body, 502, words) for dialect in DIALECTS.values() for body, words in (
        (b"", "is empty"), (b"<html>", "not JSON"), (b"{}", "no answer"), (b"7", "no answer"),
        (b'"no"', "no"), (b"[" * 5000, "not JSON"), (b'{"a":' * 5000 + b"1" + b"}" * 5000, "not JSON"),
    )],
])  # fmt: skip
def test_answers_that_are_errors(dialect: str, body: Any, status: int, words: str) -> None:
    error = judge(dialect, as_bytes(body)).error
    assert error is not None
    assert error.status == status
    assert words in error.message


def test_what_a_filter_stopped() -> None:
    assert judge(ANTHROPIC, as_bytes(message("refusal"))).filtered
    assert judge(ANTHROPIC, as_bytes(message("refusal", content=[]))).filtered
    for reason in FILTERS:
        for parts in ([], [{"text": "hi"}]):
            verdict = judge(GEMINI, as_bytes(generated(reason, parts)))
            assert (verdict.filtered, verdict.error) == (True, None)
    for body in (BLOCKED, BLOCKED | {"candidates": []}, BLOCKED | {"candidates": None}):
        blocked = judge(GEMINI, as_bytes(body))
        assert (blocked.filtered, blocked.error, blocked.usage) == (True, None, Usage(3))
    assert judge(DASHSCOPE, as_bytes(result("content_filter"))).filtered
    inspected = judge(DASHSCOPE, as_bytes({"code": "DataInspectionFailed", "message": "m"})).error
    assert inspected is not None
    assert inspected.filtered


@pytest.mark.parametrize("reason", sorted(FAILURES))
def test_a_model_that_went_wrong(reason: str) -> None:
    for parts in ([], [{"text": "hm", "thought": True}], [{"text": ""}]):
        error = judge(GEMINI, as_bytes(generated(reason, parts))).error
        assert error is not None
        assert (error.status, error.code) == (502, reason)
    for parts in ([{"text": "hi"}], [{"functionCall": {"name": "f"}}], [{"text": ""}, {"inlineData": {"data": "x"}}]):
        assert judge(GEMINI, as_bytes(generated(reason, parts))).error is None


@pytest.mark.parametrize(("dialect", "make", "usage", "zero"), [
    (ANTHROPIC, message, {"input_tokens": 0, "output_tokens": 0}, True),
    (GEMINI, generated, {"promptTokenCount": 0, "totalTokenCount": 0}, True),
    (DASHSCOPE, result, {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}, True),
    (ANTHROPIC, message, None, False), (GEMINI, generated, None, False), (DASHSCOPE, result, None, False),
    (ANTHROPIC, message, {}, False), (GEMINI, generated, {}, False), (DASHSCOPE, result, {}, False),
])  # fmt: skip
def test_usage_that_is_zero_or_missing(dialect: str, make: Any, usage: Any, zero: bool) -> None:
    name = "usageMetadata" if dialect == GEMINI else "usage"
    verdict = judge(dialect, as_bytes(make(**{name: usage})))
    assert (verdict.error, verdict.usage, verdict.zero) == (None, None, zero)
    assert verdict.output_tokens == (0 if zero else estimate_text("hi"))


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"separators": (",", ":")}])
@pytest.mark.parametrize("text", ["hello there", "春眠不觉晓", 'a "quoted" \\ line\n', ""])
def test_the_estimate_counts_what_was_said(text: str, options: dict[str, Any]) -> None:
    """Thoughts, texts and the arguments of calls, however they are printed."""
    given = {"city": text, "near": [text, {"k": text}]}
    bodies = {
        ANTHROPIC: message(usage=None, content=[
            {"type": "thinking", "thinking": text}, {"type": "text", "text": text},
            {"type": "tool_use", "id": "i", "name": "f", "input": given},
        ]),
        GEMINI: generated("STOP", [
            {"text": text, "thought": True}, {"text": text}, {"functionCall": {"name": "f", "args": given}},
        ], usageMetadata=None),
        DASHSCOPE: result("stop", text, usage=None),
    }  # fmt: skip
    for dialect, body in bodies.items():
        said = 2 * estimate_text(text) + estimate_text(json.dumps(given, ensure_ascii=False))
        if dialect == DASHSCOPE:
            said = estimate_text(text)
        found = judge(dialect, as_bytes(body, ensure_ascii=False, **options)).output_tokens
        assert said - 5 <= found <= said * 1.6 + 25


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            """content stop_reason error base_resp usage type candidates parts text thought finishReason index
            promptFeedback blockReason usageMetadata output choices finish_reason message code""".split()
        ), inner, max_size=5,
    ),
)  # fmt: skip


@given(VALUES, st.sampled_from([*DIALECTS.values()]))
@settings(max_examples=600, deadline=None)
def test_anything_gets_a_verdict(value: Any, dialect: str) -> None:
    verdict = judge(dialect, as_bytes(value))
    assert verdict.error is None or 400 <= verdict.error.status <= 599
    assert verdict.output_tokens >= 0


@given(st.binary(max_size=60), st.sampled_from([*DIALECTS.values()]))
@settings(max_examples=300, deadline=None)
def test_garbage_is_an_error(body: bytes, dialect: str) -> None:
    assert judge(dialect, body).error is not None
