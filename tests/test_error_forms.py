"""Errors of every vendor's form are understood; what clients get is their own form, without anything of ours in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import anthropic
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.error_codes import NAMES
from gateway.dialects.error_forms import (
    MESSAGE_LIMIT,
    VendorError,
    client_status,
    error_body,
    error_event,
    hidden_error,
    read_error,
    scrubbed,
    type_for,
)
from tests.test_usage_fixtures import FIXTURES, body_of

JSON = b"application/json"
DOCUMENTS = [each for each in FIXTURES if each["kind"] == "error" and not each["stream"]]


def error(value: Any, status: int = 200) -> VendorError:
    return read_error(status, JSON, value if isinstance(value, bytes) else json.dumps(value).encode())


@pytest.mark.parametrize("fixture", DOCUMENTS, ids=lambda each: each["file"])
def test_every_fixture(fixture: dict[str, Any]) -> None:
    found = read_error(fixture["status"], fixture["content_type"].encode(), body_of(fixture))
    assert found.message
    assert not found.message.startswith("the vendor answered")  # its own words, not ours
    expected = fixture["expect"].get("code")
    assert expected in (found.code, found.type)
    if fixture["status"] not in (200, 400):
        assert found.status == fixture["status"]
    if fixture["status"] == 200:
        assert hidden_error(json.loads(body_of(fixture)), bare=True) == found


# body, the status it came with, what it means, its code, words of its message
FORMS: list[tuple[Any, int, int, str | None, str]] = [
    # OpenAI's and what looks like it
    ({"error": {"message": "Rate limit", "type": "requests", "code": "rate_limit_exceeded"}}, 429, 429,
     "rate_limit_exceeded", "Rate limit"),
    ({"error": {"message": "m", "type": "server_error", "param": None, "code": None}}, 200, 500, None, "m"),
    ({"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}}, 429, 429,
     "insufficient_quota", "m"),
    ({"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}}, 200, 402,
     "insufficient_quota", "m"),
    ({"error": {"message": "m", "code": 429}}, 200, 429, "429", "m"),
    ({"error": {"message": "m", "code": "new_code"}}, 200, 502, "new_code", "m"),
    ({"error": "no such model"}, 404, 404, None, "no such model"),
    ({"error": {"message": "m", "type": "authentication_error"}}, 400, 401, None, "m"),
    ({"error": {"message": "m", "type": "server_error"}}, 400, 400, None, "m"),
    # Anthropic
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 200, 529, None, "Overloaded"),
    ({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}, 200, 429, None, "m"),
    # Google, also in its array
    ({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}, 200, 503, "UNAVAILABLE", "m"),
    ([{"error": {"code": 400, "message": "API key not valid. Please", "status": "INVALID_ARGUMENT"}}], 400, 401,
     "INVALID_ARGUMENT", "API key not valid"),
    # DashScope, flat and nested
    ({"code": "Throttling.RateQuota", "message": "m", "request_id": "r"}, 200, 429, "Throttling.RateQuota", "m"),
    ({"code": "InvalidApiKey", "message": "m", "request_id": "r"}, 200, 401, "InvalidApiKey", "m"),
    ({"code": "Arrearage", "message": "m", "request_id": "r"}, 400, 402, "Arrearage", "m"),
    ({"code": "DataInspectionFailed", "message": "m"}, 200, 400, "DataInspectionFailed", "m"),
    ({"error": {"code": "invalid_api_key", "message": "m"}, "request_id": "r"}, 401, 401, "invalid_api_key", "m"),
    # MiniMax
    *[({"base_resp": {"status_code": code, "status_msg": "m"}}, 200, status, str(code), "m") for code, status in {
        1000: 502, 1001: 504, 1002: 429, 1004: 401, 1008: 402, 1013: 502, 1024: 502, 1026: 400, 1027: 400, 1033: 502,
        1039: 429, 1041: 429, 1042: 400, 2013: 400, 2045: 429, 2049: 401, 2056: 429, 9999: 502}.items()],
    ({"type": "error", "error": {"type": "server_error", "message": "m", "http_code": "500"}}, 500, 500, None, "m"),
    ({"type": "error", "error": {"type": "new_error", "message": "m", "http_code": "429"}}, 200, 429, None, "m"),
    # Spark
    *[({"code": code, "message": "m", "sid": "cha1"}, 200, status, str(code), "m") for code, status in {
        10007: 429, 10012: 500, 10013: 400, 10110: 503, 10907: 400, 11200: 403, 11201: 429, 11202: 429,
        10999: 502}.items()],
    ({"error": {"message": "HMAC signature", "type": "api_error", "code": None}}, 401, 401, None, "HMAC"),
    # SiliconFlow: flat, without code, a bare string
    ({"code": 20012, "message": "Model does not exist.", "data": None}, 400, 400, "20012", "Model does"),
    ({"code": 30001, "message": "no balance", "data": None}, 403, 403, "30001", "no balance"),
    ({"code": 50505, "message": "busy", "data": None}, 200, 503, "50505", "busy"),
    ({"message": "too fast", "data": None}, 429, 429, None, "too fast"),
    (b'"Invalid token"', 401, 401, None, "Invalid token"),
    (b'"404 page not found"', 404, 404, None, "404 page"),
    # Qianfan, version 2 and 1
    ({"error": {"code": "invalid_iam_token", "message": "m", "type": "t"}, "id": "as-1"}, 401, 401,
     "invalid_iam_token", "m"),
    ({"error_code": 336100, "error_msg": "try again"}, 200, 503, "336100", "try again"),
    ({"error_code": 18, "error_msg": "qps"}, 200, 429, "18", "qps"),
    # Zhipu: numbers as strings, which mean something else at MiniMax
    ({"error": {"code": "1002", "message": "m"}}, 200, 401, "1002", "m"),
    ({"error": {"code": "1113", "message": "m"}}, 429, 429, "1113", "m"),
    ({"error": {"code": "1113", "message": "m"}}, 400, 402, "1113", "m"),
    ({"error": {"code": "1301", "message": "m"}}, 200, 400, "1301", "m"),
    ({"error": {"code": "1302", "message": "m"}}, 200, 429, "1302", "m"),
    # Ark
    ({"error": {"code": "RateLimitExceeded.EndpointTPMExceeded", "message": "m", "type": "TooManyRequests"}}, 200, 429,
     "RateLimitExceeded.EndpointTPMExceeded", "m"),
    ({"error": {"code": "AccountOverdueError", "message": "m"}}, 403, 403, "AccountOverdueError", "m"),
    # Tencent's native interface
    ({"Response": {"Error": {"Code": "AuthFailure.SignatureFailure", "Message": "m"}}}, 200, 401,
     "AuthFailure.SignatureFailure", "m"),
    ({"Note": "n", "Choices": [], "ErrorMsg": {"Msg": "internal", "Code": 4001}}, 200, 502, "4001", "internal"),
    # FastAPI's (Jina, self-hosted servers), Cohere
    ({"detail": "no"}, 422, 422, None, "no"),
    ({"detail": [{"loc": ["body", "model"], "msg": "field required"}]}, 422, 422, None, "field required"),
    ({"detail": {"error": {"message": "m"}}}, 500, 500, None, "m"),
    ({"detail": {"message": "m", "code": "c"}}, 500, 500, "c", "m"),
    ({"id": "1", "message": "invalid api token"}, 401, 401, None, "invalid api token"),
    # no JSON
    (b"<html><head><title>502 Bad Gateway</title></head></html>", 502, 502, None, "502 Bad Gateway"),
    (b"<html>x", 503, 503, None, "status 503"),
    (b"upstream connect error", 503, 503, None, "upstream connect error"),
    (b"", 500, 500, None, "status 500"),
    (b"  \r\n", 404, 404, None, "status 404"),
    (b'{"error": {"mess', 500, 500, None, "status 500"),
    (b"null", 500, 500, None, "null"),
    ({}, 500, 500, None, "status 500"),
    ([], 500, 500, None, "status 500"),
    ({"error": {}}, 500, 500, None, "status 500"),
    ({"error": None, "message": "m"}, 500, 500, None, "m"),
    (b"\xef\xbb\xbf" + b'{"message": "m"}', 500, 500, None, "m"),
    ({"code": 0, "message": "Success", "sid": "x"}, 200, 502, None, "status 200"),
    (b"moved", 302, 502, None, "moved"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "meant", "code", "words"), FORMS)
def test_every_form(body: Any, status: int, meant: int, code: str | None, words: str) -> None:
    found = error(body, status)
    assert (found.status, found.code) == (meant, code)
    assert words in found.message


def test_the_parameter_and_the_delay() -> None:
    assert error({"error": {"message": "m", "param": "messages[0]"}}, 400).param == "messages[0]"
    assert error({"detail": [{"loc": ["body", "top_n"], "msg": "m"}]}, 422).param == "body.top_n"
    details = [{"@type": "x"}, {"retryDelay": "18.5s"}]
    assert error({"error": {"message": "m", "status": "RESOURCE_EXHAUSTED", "details": details}}).retry_after == 18.5
    assert error({"error": {"message": "m", "details": [{"retryDelay": "soon"}, 7]}}).retry_after is None


@pytest.mark.parametrize("value", [
    {"base_resp": {"status_code": 1026, "status_msg": "m"}}, {"error": {"code": "1301", "message": "m"}},
    {"code": "DataInspectionFailed", "message": "m"}, {"code": 10013, "message": "m", "sid": "s"},
    {"error": {"code": "InputTextSensitiveContentDetected", "message": "m"}},
    {"error": {"code": "content_filter", "message": "m"}}, {"error": {"type": "content_policy_violation"}},
])  # fmt: skip
def test_filters_are_told_apart(value: Any) -> None:
    assert error(value, 400).filtered
    assert not error({"error": {"code": "invalid_prompt", "message": "m"}}, 400).filtered


@pytest.mark.parametrize("value", [
    {"choices": [{}], "base_resp": {"status_code": 0, "status_msg": ""}}, {"choices": [{}], "error": None},
    {"code": 0, "message": "Success", "choices": [{}]}, {"choices": [{}], "error": {}}, {"error_code": 0},
    {"choices": [{}], "code": "x", "message": "m", "detail": "d"}, 7, None, "text", [],
])  # fmt: skip
def test_what_is_no_error_beside_an_answer(value: Any) -> None:
    assert hidden_error(value, bare=False) is None


def test_messages_are_bounded_and_clean() -> None:
    found = error({"error": {"message": "a\n\tb\x00\x1b[31mc\u202e " + "x" * 100_000, "code": "c" * 5000}}, 500)
    assert found.message.startswith("a b[31mc x")
    assert len(found.message) == MESSAGE_LIMIT
    assert len(found.code or "") == 200
    assert len(error(b"<title>" + b"y" * 1_000_000, 500).message) < 100
    assert len(error(b"z" * 1_000_000, 500).message) == MESSAGE_LIMIT
    assert error(b'{"error": {"message": "' + b"q" * 1_000_000 + b'"}}', 500).message.startswith("the vendor answered")


@pytest.mark.parametrize("body", [
    b"[" * 5000, b'{"error":' * 5000, b'{"error":{"message":"\\ud800"}}', b"\xff\xfe\x00", b'{"error":{"code":1e400}}',
    b'{"error":{"message":7,"code":[],"type":{},"param":{}}}', b'{"base_resp":{"status_code":"x"}}',
    b'{"error":{"code":NaN,"message":"m"}}', b'{"detail":[{"loc":7}]}', b'{"Response":7,"ErrorMsg":[]}',
    b'{"error":{"message":"m","code":true}}', b'{"error":{"details":{"a":1},"message":"m"}}',
])  # fmt: skip
def test_nasty_bodies(body: bytes) -> None:
    found = error(body, 500)
    assert found.status == 500
    assert found.message
    json.loads(error_body("openai", 500, found.message, found.code, found.type, found.param))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from("error code message type status base_resp status_code Response Error detail loc msg".split()),
        inner, max_size=4,
    ),
)  # fmt: skip


@given(JSON_VALUES, st.integers(100, 999))
@settings(max_examples=400, deadline=None)
def test_anything_is_some_error(value: Any, status: int) -> None:
    found = error(value, status)
    assert 1 <= len(found.message) <= MESSAGE_LIMIT
    assert found.status == status or 400 <= found.status <= 599
    for form in ("openai", "anthropic", "gemini"):
        assert 400 <= client_status(form, found.status) <= 599
        json.loads(error_body(form, 500, found.message, found.code, found.type, found.param, "r"))


# -- scrubbing ---------------------------------------------------------------------------------------------------------

OURS = ("our-vendor-key-123", "api.internal.example", "AK:SK")


@pytest.mark.parametrize(("message", "gone"), [
    ("Incorrect API key provided: our-vendor-key-123.", "our-vendor-key-123"),
    ("key OUR-VENDOR-KEY-123", "OUR-VENDOR-KEY-123"),
    ("cannot reach api.internal.example now", "api.internal.example"),
    ("bad key AK:SK", "AK:SK"),
    ("see https://user:pw@host.example/path?key=1 for help", "host.example"),
    ("see https://platform.openai.com/account/api-keys.", "platform.openai.com"),
    ("Incorrect API key provided: sk-proj-****abcd. You", "abcd"),
    ("Incorrect key sk-ant-api03-AbC_1-x", "ant-api03"),
    ("Authorization: Bearer abcdefgh12345", "abcdefgh12345"),
    ("AKIAIOSFODNN7EXAMPLE is unknown", "AKIAIOSFODNN7EXAMPLE"),
    ("token eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln is bad", "eyJhbGciOiJIUzI1NiJ9"),
    ("AIzaSyD-1234567890abcdef", "AIzaSyD"),
    ("bce-v3/ALTAK-abc/0123456789", "0123456789"),
    ("api_key=0123456789abcdef is wrong", "0123456789abcdef"),
    ("x-api-key: 'a1b2c3d4e5f6'", "a1b2c3d4e5f6"),
    ('{"secret": "dGhpcyBpcyBzZWNyZXQ1"}', "dGhpcyBpcyBzZWNyZXQ1"),
    ("dial tcp 10.1.2.3:443: refused", "10.1.2.3"),
    ("connect to [fd00::1]:8080 failed", "fd00::1"),
    ("connect to localhost:8080 failed", "localhost"),
    ("upstream vllm-7.models.svc.cluster.local:8000", "vllm-7"),
])  # fmt: skip
def test_secrets_go(message: str, gone: str) -> None:
    found = scrubbed(message, OURS)
    assert gone not in found
    assert "[removed]" in found


@pytest.mark.parametrize("message", [
    "This model's maximum context length is 128000 tokens, however you requested 130000 tokens.",
    "Unsupported parameter: 'max_tokens'; use 'max_completion_tokens' instead.",
    "The model `deepseek-ai/DeepSeek-V3.1` does not exist (request id: 0217abcdef0123456789).",
    "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000.",
    "您当前使用该API的并发数过高，请降低并发，或联系客服增加限额。",
    "Invalid 'messages[0].content': expected a string, got 3.5", "temperature: 2.5 is more than 2.0",
])  # fmt: skip
def test_what_helps_stays(message: str) -> None:
    assert scrubbed(message, OURS) == message


def test_a_secret_at_the_cut() -> None:
    secret = "q9" * 20
    for length in range(10, len(secret)):
        text = "x" * (MESSAGE_LIMIT - length - 1) + " " + secret
        assert "q9q9" not in scrubbed(error({"error": {"message": text}}, 500).message, [secret])


@given(st.text(alphabet="abk-_.=:/ \"'[]1éß密", max_size=300), st.text(min_size=1, max_size=10))
@settings(max_examples=300, deadline=None)
def test_no_secret_survives(message: str, secret: str) -> None:
    text = message + secret + message
    left = scrubbed(text, [secret, ""]).replace("[removed]", "")
    assert secret not in left or secret in "[removed]"


@pytest.mark.parametrize("piece", ["a.", "key=", "sk-", "1.", "http://", "eyJ", "[:", "Bearer ", "token: '", "-"])
def test_scrubbing_is_linear_enough(piece: str) -> None:
    assert len(scrubbed(piece * 4000, [])) <= 3 * MESSAGE_LIMIT  # and ends: the test's own timeout is the check


# -- to clients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vendor", "openai_status", "anthropic_status"), [
    (400, 400, 400), (404, 404, 404), (413, 413, 413), (422, 422, 422), (429, 429, 429),
    (401, 502, 502), (402, 502, 502), (403, 502, 502), (407, 502, 502), (418, 502, 502), (408, 504, 504),
    (409, 503, 503), (500, 500, 500), (503, 503, 503), (504, 504, 504), (520, 520, 520), (529, 503, 529),
    (302, 502, 502), (100, 502, 502), (999, 502, 502), (0, 502, 502),
])  # fmt: skip
def test_statuses_for_clients(vendor: int, openai_status: int, anthropic_status: int) -> None:
    assert client_status("openai", vendor) == client_status("gemini", vendor) == openai_status
    assert client_status("anthropic", vendor) == anthropic_status


@pytest.mark.parametrize(("status", "types"), [
    (400, ("invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT")),
    (401, ("invalid_request_error", "authentication_error", "UNAUTHENTICATED")),
    (402, ("insufficient_quota", "billing_error", "FAILED_PRECONDITION")),
    (403, ("permission_error", "permission_error", "PERMISSION_DENIED")),
    (404, ("invalid_request_error", "not_found_error", "NOT_FOUND")),
    (413, ("invalid_request_error", "request_too_large", "INVALID_ARGUMENT")),
    (429, ("requests", "rate_limit_error", "RESOURCE_EXHAUSTED")),
    (500, ("server_error", "api_error", "INTERNAL")),
    (502, ("server_error", "api_error", "UNAVAILABLE")),
    (503, ("server_error", "api_error", "UNAVAILABLE")),
    (504, ("server_error", "timeout_error", "DEADLINE_EXCEEDED")),
    (529, ("server_error", "overloaded_error", "UNAVAILABLE")),
])  # fmt: skip
def test_types_by_status(status: int, types: tuple[str, ...]) -> None:
    assert tuple(type_for(form, status) for form in ("openai", "anthropic", "gemini")) == types


def test_bodies_in_each_form() -> None:
    assert json.loads(error_body("openai", 429, "slow", "c", "tokens", "p")) == {
        "error": {"message": "slow", "type": "tokens", "param": "p", "code": "c"}
    }
    assert json.loads(error_body("anthropic", 529, "busy", "c", "server_error", request_id="r")) == {
        "type": "error", "error": {"type": "overloaded_error", "message": "busy"}, "request_id": "r"
    }  # fmt: skip
    assert json.loads(error_body("anthropic", 400, "m", None, "billing_error"))["error"]["type"] == "billing_error"
    refused = json.loads(error_body("anthropic", 400, "m", "unsupported", param="thread"))["error"]
    assert refused["details"]["error_code"] == "thread_unsupported_request"  # what makes its SDK do without
    assert "details" not in json.loads(error_body("anthropic", 400, "m", "unsupported", param="tools"))["error"]
    assert json.loads(error_body("gemini", 404, "none", None)) == {
        "error": {"code": 404, "message": "none", "status": "NOT_FOUND"}
    }
    assert json.loads(error_body("gemini", 400, "m", "unsupported", "invalid_request_error"))["error"]["details"] == [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "unsupported", "domain": "gateway"}
    ]


@contextmanager
def vendor(status: int, body: bytes, kind: str = "application/json") -> Iterator[str]:
    """The base URL of a server that gives one answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        thread.join()


@pytest.mark.parametrize(("status", "kind"), [
    (400, openai.BadRequestError), (404, openai.NotFoundError), (422, openai.UnprocessableEntityError),
    (429, openai.RateLimitError), (502, openai.InternalServerError),
])  # fmt: skip
def test_the_openai_sdk_reads_them(status: int, kind: type[openai.APIStatusError]) -> None:
    body = error_body("openai", status, "what happened", "the_code", param="model")
    with (
        vendor(status, body) as url,
        openai.OpenAI(api_key="k", base_url=url, max_retries=0) as client,
        pytest.raises(kind) as raised,
    ):
        client.chat.completions.create(model="m", messages=[])
    assert (raised.value.code, raised.value.param) == ("the_code", "model")
    assert "what happened" in raised.value.message


def test_the_anthropic_sdk_reads_them() -> None:
    body = error_body("anthropic", 529, "busy", None, request_id="req_1")
    with (
        vendor(529, body) as url,
        anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client,
        pytest.raises(anthropic.APIStatusError) as raised,
    ):
        client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
    assert raised.value.status_code == 529
    assert raised.value.body == json.loads(body)


def test_an_error_in_the_middle_of_a_chat_stream() -> None:
    event = error_event("openai.chat", VendorError(500, "it broke", "server_error", "c"))
    assert event.startswith(b'data: {"error":')
    with (
        vendor(200, event, "text/event-stream") as url,
        openai.OpenAI(api_key="k", base_url=url, max_retries=0) as client,
        pytest.raises(openai.APIError, match="it broke"),
    ):
        list(client.chat.completions.create(model="m", messages=[], stream=True))


def test_error_events_of_the_other_dialects() -> None:
    found = VendorError(429, "slow", None, None, "p")
    name, data, *rest = error_event("openai.responses", found).split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert json.loads(data[6:]) == {"type": "error", "code": "requests", "message": "slow", "param": "p"}
    name, data, *rest = error_event("anthropic.messages", found).split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert json.loads(data[6:])["error"] == {"type": "rate_limit_error", "message": "slow"}
    assert json.loads(error_event("gemini.generate", found)[6:])["error"]["status"] == "RESOURCE_EXHAUSTED"


def test_every_name_has_one_meaning() -> None:
    assert all(400 <= status <= 599 and name == name.lower() for name, status in NAMES.items())
