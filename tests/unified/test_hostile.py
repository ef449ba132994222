"""Hostile requests: each gets one clear error in the surface's form, costs nothing, and leaves no trace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unified.caller import CHAT, RESPONSES
from tests.unified.place import MODELS as USUAL
from tests.unified.place import VENDOR_KEY, Answer, Place, quoted
from tests.wire.ends import connect
from tests.wire.messages import Message, chunks, head, read_answer, request

EMBEDDINGS, RERANK = "/v1/embeddings", "/v1/rerank"
MAX_BODY = 2 << 20
SERVER = {"max_body": MAX_BODY, "cors": ["https://page.example"]}
MODELS = {**USUAL, "typed": {**USUAL["gpt-4o"], "kind": "chat"}}
MESSAGES = '"messages":[{"role":"user","content":"Hello"}]'
GOOD = f'{{"model":"gpt-4o",{MESSAGES}}}'.encode()
GROWTH = 48 << 10  # KiB that hundreds of hostile bodies may leave behind

# What each path needs besides its model.
REST: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Hello"}]},
    RESPONSES: {"input": "Hello"},
    EMBEDDINGS: {"input": "Hello"},
    RERANK: {"query": "What?", "documents": ["this", "that"]},
}
MODEL = {CHAT: "gpt-4o", RESPONSES: "gpt-4o", EMBEDDINGS: "embedder", RERANK: "reranker"}


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


@pytest.fixture(autouse=True)
def _unharmed(place: Place, key: str) -> Iterator[None]:
    """Nobody is charged, nothing is held, and no vendor is called, whatever a test here does."""
    before = place.calls()["total"], place.value_of("gateway_cost_nanocredits_total")
    yield
    assert (place.calls()["total"], place.value_of("gateway_cost_nanocredits_total")) == before
    assert place.value_of("gateway_holds_open") == 0


def check_refused(answer: Answer, status: int, code: str | None = None) -> None:
    """One of OpenAI's error objects, marked as the gateway's."""
    assert answer.status == status, answer.body[:300]
    assert answer.headers["content-type"] == "application/json"
    error = answer.error
    assert set(error) == {"message", "type", "param", "code"}
    assert 0 < len(error["message"]) < 1000
    assert error["message"].isprintable()
    assert answer.request_id.startswith("req_")
    assert answer.headers["x-gateway-error"] == error["code"]
    assert code in (None, error["code"])
    assert "x-gateway-provider" not in answer.headers


DEEP = 5000
BODIES: dict[str, bytes] = {
    "empty": b"",
    "spaces": b"  \r\n\t ",
    "half": GOOD[:-1],
    "trailing comma": GOOD[:-1] + b",}",
    "trailing garbage": GOOD + b"x",
    "two values": GOOD + GOOD,
    "NUL behind": GOOD + b"\0",
    "NUL inside": GOOD.replace(b"Hello", b"He\0llo"),
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "bad UTF-8": GOOD.replace(b"Hello", b"\xff\xfe"),
    "overlong UTF-8": GOOD.replace(b"Hello", b"\xc0\xaf"),
    "surrogate in UTF-8": GOOD.replace(b"Hello", b"\xed\xa0\x80"),
    "line end in a string": GOOD.replace(b"Hello", b"He\nllo"),
    "single quotes": GOOD.replace(b'"', b"'"),
    "comment": b"/* hi */" + GOOD,
    "a list": b"[" + GOOD + b"]",
    "a string": b'"gpt-4o"',
    "a number": b"1",
    "null": b"null",
    "NaN": GOOD[:-1] + b',"temperature":NaN}',
    "Infinity": GOOD[:-1] + b',"temperature":-Infinity}',
    "leading zero": GOOD[:-1] + b',"n":01}',
    "bad escape": GOOD.replace(b"Hello", b"\\x41"),
    "half an escape": GOOD.replace(b"Hello", b"\\u00"),
    "repeated": GOOD[:-1] + b',"model":"free"}',
    "repeated, the same": GOOD[:-1] + b',"model":"gpt-4o"}',
    "repeated by an escape": GOOD[:-1] + b',"\\u006dodel":"free"}',
    "repeated, first by an escape": b'{"mod\\u0065l":"free",' + GOOD[1:],
    "repeated, unknown field": GOOD[:-1] + b',"x":1,"x":1}',
    "repeated messages": GOOD[:-1] + b"," + MESSAGES.encode() + b"}",
    "repeated stream": GOOD[:-1] + b',"stream":true,"stream":false}',
    "deep lists": GOOD[:-1] + b',"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": GOOD[:-1] + b',"x":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep and open": b"[" * 100_000,
    "deep objects, open": b'{"a":' * 100_000,
    "form": b"model=gpt-4o&messages=Hello",
    "multipart": b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o\r\n--x--\r\n',
    "random": bytes(range(256)) * 40,
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_what_is_no_request_is_refused(place: Place, key: str, name: str) -> None:
    for path in (CHAT, RESPONSES, EMBEDDINGS, RERANK):
        check_refused(place.call(path, BODIES[name], key), 400)


NOT_A_NAME: list[Any] = [None, 1, True, ["gpt-4o"], {"id": "gpt-4o"}, "", 1.5]
NOT_A_FLAG: list[Any] = ["true", 1, 0, [], {}, "", 1.0]
NOT_A_COUNT: list[Any] = [0, -1, 1.5, "1", "", [], {}, True, 10**400, -(10**30), 2**63, 1e300]
NOT_A_LIST: list[Any] = ["", 0, {}, [], True, None]
NOT_AN_INPUT: list[Any] = [0, {}, True, None]
WRONG: list[tuple[str, str, Any]] = [
    *((path, "model", value) for path in REST for value in NOT_A_NAME),
    *((path, "stream", value) for path in (CHAT, RESPONSES) for value in NOT_A_FLAG),
    *((CHAT, name, value) for name in ("max_tokens", "max_completion_tokens", "n") for value in NOT_A_COUNT),
    *((RESPONSES, "max_output_tokens", value) for value in NOT_A_COUNT),
    *((CHAT, "messages", value) for value in [*NOT_A_LIST, "Hello"]),
    *((RESPONSES, "input", value) for value in NOT_AN_INPUT),
    *((EMBEDDINGS, "input", value) for value in NOT_A_LIST),
    *((RERANK, "documents", value) for value in NOT_A_LIST),
]


@pytest.mark.parametrize(("path", "name"), sorted({(path, name) for path, name, _ in WRONG}))
def test_a_field_of_a_wrong_type_is_named(place: Place, key: str, path: str, name: str) -> None:
    values: list[Any] = [value for at, field, value in WRONG if (at, field) == (path, name)]
    for value in values:
        answer = place.call(path, {"model": MODEL[path], **REST[path], name: value}, key)
        check_refused(answer, 400)
        assert answer.error["param"] == name, value


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_missing_field_is_named(place: Place, key: str, name: str) -> None:
    body = {"model": "gpt-4o", **REST[CHAT]}
    del body[name]
    answer = place.call(CHAT, body, key)
    check_refused(answer, 400)
    assert answer.error["param"] == name


@pytest.mark.parametrize(
    "digits", ["1e400", "-1e400", "1" * 400, "1e-400", "0." + "1" * 5000], ids=lambda text: text[:8]
)
def test_numbers_beyond_all_reason_are_no_crash(place: Place, key: str, digits: str) -> None:
    """In fields that the gateway reads they are wrong; `n` stands for all of them."""
    check_refused(place.call(CHAT, GOOD[:-1] + f',"n":{digits}}}'.encode(), key), 400)
    options = f',"stream":true,"stream_options":{{"include_usage":{digits}}}}}'
    check_refused(place.call(CHAT, GOOD[:-1] + options.encode(), key), 400)


@pytest.mark.parametrize("options", [1, "yes", [], {"include_usage": 1}, {"include_usage": "true"}])
def test_stream_options_of_a_wrong_type(place: Place, key: str, options: Any) -> None:
    answer = place.call(CHAT, {"model": "gpt-4o", **REST[CHAT], "stream": True, "stream_options": options}, key)
    check_refused(answer, 400)
    assert answer.error["param"].startswith("stream_options")


NAMES = {
    "unknown": ("gpt-99", 404),
    "case": ("GPT-4o", 404),
    "space behind": ("gpt-4o ", 404),
    "SQL": ("' OR 1=1; DROP TABLE keys; --", 404),
    "path": ("../../../etc/passwd", 404),
    "template": ("{{7*7}}${jndi:ldap://x}%s%n", 404),
    "mark-up": ("<script>alert(1)</script>", 404),
    "sandbox's directive": ("gpt-4o+status=500", 404),
    "a vendor's own": ("gpt-4o-mini", 404),
    "Python's": ("__class__", 404),
    "Chinese": ("模型", 404),
    "longest": ("m" * 256, 404),
    "too long": ("m" * 257, 400),
    "100 KB": ("m" * 100_000, 400),
    "header injection": ("gpt-4o\r\nx-injected: 1", 400),
    "NUL": ("gpt-4o\0", 400),
    "escape sequence": ("\x1b[31mred", 400),
    "right to left": ("gpt\u202e4o", 400),
}


@pytest.mark.parametrize("name", NAMES)
def test_models_of_all_shapes(place: Place, key: str, name: str) -> None:
    model, status = NAMES[name]
    for path in REST:
        answer = place.call(path, {"model": model, **REST[path]}, key)
        check_refused(answer, status, "model_not_found" if status == 404 else "bad_request")
        assert answer.error["param"] == "model"
        assert "x-injected" not in answer.headers


def test_a_lone_surrogate_in_a_model_is_refused(place: Place, key: str) -> None:
    check_refused(place.call(CHAT, f'{{"model":"gpt-4o\\ud800",{MESSAGES}}}'.encode(), key), 400)


@pytest.mark.parametrize(("path", "model"), [(CHAT, "embedder"), (EMBEDDINGS, "typed"), (RERANK, "embedder")])
def test_a_model_of_another_kind_is_refused(place: Place, key: str, path: str, model: str) -> None:
    answer = place.call(path, {"model": model, **REST[path]}, key)
    check_refused(answer, 400, "unsupported")
    assert answer.error["param"] == "model"


# -- keys --------------------------------------------------------------------------------------------------------------

KEYS = {
    "of nobody": b"sk-gw-0123456789abcdef0123456789abcdef",
    "SQL": b"' OR '1'='1' --",
    "SQL, stacked": b"x'; DELETE FROM keys; --",
    "LIKE": b"%",
    "binary": bytes(range(0x80, 0x100)),
    "10 KB": b"k" * 10_000,
    "the admin's": b"admin-key-of-the-wire-tests",
    "a vendor's": VENDOR_KEY.encode(),
    "tabs": b"a\tb",
    "comma": b"one, two",
    "escape": b"%00%0d%0a",
}
FIELDS = {"authorization": b"Bearer ", "x-api-key": b"", "x-goog-api-key": b""}


async def sent(place: Place, data: bytes) -> Answer:
    """Bytes as they are, on a connection of their own."""
    end = await connect(place.port)
    await end.send(data)
    message = await read_answer(end, b"POST")
    end.close()
    await end.wait_lost()
    return as_answer(message)


def as_answer(message: Message) -> Answer:
    fields = {name.decode().lower(): value.decode("latin-1") for name, value in message.fields}
    return Answer(message.status, fields, message.body)


@pytest.mark.parametrize("name", KEYS)
async def test_wrong_keys_of_all_shapes(place: Place, name: str) -> None:
    for field, before in FIELDS.items():
        answer = await sent(place, request(CHAT.encode(), b"POST", GOOD, [(field.encode(), before + KEYS[name])]))
        check_refused(answer, 401, "invalid_api_key")


@pytest.mark.parametrize("text", ["' OR 1=1 --", "\r\nx-injected: 1", "\0", "\x80\xff", "k" * 10_000])
async def test_wrong_keys_in_the_query(place: Place, text: str) -> None:
    target = f"{CHAT}?key={quoted(text)}".encode()
    answer = await sent(place, request(target, b"POST", GOOD))
    check_refused(answer, 401, "invalid_api_key")
    assert "x-injected" not in answer.headers


@pytest.mark.parametrize(
    "value", [b"", b"Bearer", b"Bearer ", b"Bearer \t ", b"Basic YWxpY2U6eA==", b"Token abc", b"Bearersk-1"]
)
async def test_what_shows_no_key_is_told_so(place: Place, value: bytes) -> None:
    answer = await sent(place, request(CHAT.encode(), b"POST", GOOD, [(b"Authorization", value)]))
    check_refused(answer, 401, "missing_api_key")


async def test_many_wrong_keys_and_then_a_right_one(place: Place, key: str) -> None:
    """A kept-alive connection, and some thousands of keys: none is remembered as good, the right one still is."""
    end = await connect(place.port)
    for start in range(0, 6000, 100):
        keys = [b"Bearer wrong-%d" % number for number in range(start, start + 100)]
        await end.send(b"".join(request(CHAT.encode(), b"POST", GOOD, [(b"Authorization", one)]) for one in keys))
        for _ in keys:
            assert (await read_answer(end, b"POST")).status == 401
    end.close()
    await end.wait_lost()
    body = GOOD.replace(b"gpt-4o", b"unknown")
    answer = await sent(place, request(CHAT.encode(), b"POST", body, [(b"Authorization", b"Bearer " + key.encode())]))
    check_refused(answer, 404)


# -- bodies past the limit ---------------------------------------------------------------------------------------------


async def test_a_body_over_the_limit_is_refused_before_it_is_read(place: Place, key: str) -> None:
    fields = [(b"Authorization", b"Bearer " + key.encode()), (b"Content-Length", b"%d" % (MAX_BODY + 1))]
    start = head(b"POST /v1/chat/completions HTTP/1.1", [(b"Host", b"gateway.test"), *fields])
    check_refused(await sent(place, start), 413, "body_too_large")
    check_refused(await sent(place, start + b"x" * 1000), 413, "body_too_large")


async def test_a_chunked_body_over_the_limit_is_refused(place: Place, key: str) -> None:
    fields = [(b"Authorization", b"Bearer " + key.encode()), (b"Transfer-Encoding", b"chunked")]
    start = head(b"POST /v1/chat/completions HTTP/1.1", [(b"Host", b"gateway.test"), *fields])
    pieces = [b"x" * 65536] * (MAX_BODY // 65536 + 1)
    answer = await sent(place, start + chunks(pieces).removesuffix(b"0\r\n\r\n"))
    check_refused(answer, 413, "body_too_large")
    assert answer.headers["connection"] == "close"


async def test_a_body_of_just_the_limit_is_read(place: Place, key: str) -> None:
    """Up to the last byte: one more in its end makes it wrong JSON, not too large."""
    body = GOOD.replace(b"Hello", b"x" * (MAX_BODY - len(GOOD) + 5 - 1)) + b"!"
    assert len(body) == MAX_BODY
    lines = [(b"Authorization", b"Bearer " + key.encode())]
    check_refused(await sent(place, request(CHAT.encode(), b"POST", body, lines)), 400, "bad_request")


async def test_without_a_key_nobody_s_body_is_awaited(place: Place) -> None:
    fields = [(b"Authorization", b"Bearer nobody"), (b"Content-Length", b"%d" % MAX_BODY)]
    start = head(b"POST /v1/chat/completions HTTP/1.1", [(b"Host", b"gateway.test"), *fields])
    check_refused(await sent(place, start + b"{"), 401, "invalid_api_key")


BAD_CHUNKS = [b"zz\r\n", b"-1\r\n", b"5\r\nHello!!\r\n", b"FFFFFFFFFFFFFFFFFFFFFFFF\r\n", b"5;" + b"x" * 8000 + b"\r\n"]


@pytest.mark.parametrize("piece", BAD_CHUNKS, ids=range(len(BAD_CHUNKS)))
async def test_a_badly_framed_body_is_refused(place: Place, key: str, piece: bytes) -> None:
    fields = [(b"Authorization", b"Bearer " + key.encode()), (b"Transfer-Encoding", b"chunked")]
    start = head(b"POST /v1/chat/completions HTTP/1.1", [(b"Host", b"gateway.test"), *fields])
    answer = await sent(place, start + piece)
    check_refused(answer, 400)
    assert answer.headers["connection"] == "close"


async def test_a_client_that_leaves_within_its_body_leaves_nothing_behind(place: Place, key: str) -> None:
    fields = [(b"Authorization", b"Bearer " + key.encode()), (b"Content-Length", b"1000")]
    start = head(b"POST /v1/chat/completions HTTP/1.1", [(b"Host", b"gateway.test"), *fields])
    before = place.value_of("gateway_requests_total", surface="chat", status="499")
    for way in ("reset", "close", "half_close"):
        end = await connect(place.port)
        await end.send(start + GOOD)
        getattr(end, way)()
        if way == "half_close":
            await end.wait_ended()
            end.close()
        await end.wait_lost()
    assert await place.settles(
        lambda: place.value_of("gateway_requests_total", surface="chat", status="499") == before + 3
    )


# -- memory ------------------------------------------------------------------------------------------------------------


async def test_memory_stays_where_it_is(place: Place, key: str) -> None:
    """Bodies that are large once decoded, or that are never finished, many times over."""
    many = b'{"model":"gpt-4o","messages":[' + b",".join([b"{}"] * 100_000) + b'],"model":"x"}'
    fields = b'{"model":"gpt-4o",' + b",".join(b'"f%d":0' % number for number in range(80_000)) + b"}"
    numbers = b'{"model":"gpt-4o","messages":"' + b"1" * 1_500_000 + b'"}'
    bodies = [b"[" * MAX_BODY, b'{"a":' * 300_000, many, fields, numbers, b'"' + b"\\u0000" * 200_000]
    for body in bodies:
        place.call(CHAT, body, key)
    before = place.memory()
    for _ in range(25):
        answers = await asyncio.gather(*(asyncio.to_thread(place.call, CHAT, body, key) for body in bodies))
        for answer in answers:
            check_refused(answer, 400)
    assert place.memory() - before < GROWTH
    assert place.peak_memory() < before + 8 * GROWTH


# -- what does not look like a call at all -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions", "/v1/embeddings", "/rerank"])
def test_other_methods_are_refused(place: Place, key: str, method: str, path: str) -> None:
    answer = place.call(path, key=key, method=method)
    assert answer.status == 405
    assert "POST" in answer.headers["allow"]
    assert answer.headers["x-gateway-error"] == "method_not_allowed"
    assert answer.headers["x-request-id"]
    assert (answer.body == b"") == (method == "HEAD")
    if method != "HEAD":
        assert answer.error["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path", ["/v1/chat", "/v1/chat/completions/", "/v1//chat/completions", "/v1/nothing", "/v1beta/x"]
)
def test_paths_that_nothing_serves(place: Place, key: str, path: str) -> None:
    answer = place.call(path, GOOD, key)
    if path.startswith("/v1beta/"):  # Google's
        assert (answer.status, answer.error["status"]) == (404, "NOT_FOUND")
        return
    check_refused(answer, 404, "not_found")


@pytest.mark.parametrize(("origin", "allowed"), [("https://page.example", True), ("https://other.example", False)])
def test_browsers_are_told_what_they_may(place: Place, key: str, origin: str, allowed: bool) -> None:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    preflight = place.call(CHAT, headers=asked, method="OPTIONS")
    refused = place.call(CHAT, b"", key, {"Origin": origin})
    listed = place.call("/v1/models", key=key, headers={"Origin": origin})
    assert preflight.status == 204
    for answer in (preflight, refused, listed):
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    if allowed:
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert preflight.headers["access-control-allow-headers"] == "authorization"


def test_the_books_have_not_moved(place: Place, key: str) -> None:
    """After all of the above."""
    assert [entry["kind"] for entry in place.history()] == ["grant"]
    assert place.verified()["errors"] == []
