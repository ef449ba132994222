"""What vendors answer with errors: status and message reach the client in its own form, our keys and hosts never do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.unified.caller import CHAT, RESPONSES, ask, begin, chat_body, key_of, raw_provider
from tests.unified.entries import closed
from tests.unified.place import VENDOR_KEY, Answer, Place
from tests.wire.ends import End
from tests.wire.messages import CHUNKED_HEAD, Fields, Message, answer, chunks
from tests.wire.serving import free_port
from tests.wire.vendor import Vendor, serve

PORT = free_port()
HEADER_SECRET = "header-secret-4711"
# Each test that makes a vendor fail has a provider of its own: a key that was refused rests, a target that fails, too.
NAMES = [f"raw{number}" for number in range(150)]
PROVIDERS = {name: raw_provider(PORT, headers={"x-extra": "env:EXTRA_SECRET"}) for name in NAMES}
MODELS = {
    name: {"targets": [{"provider": name, "model": "its-model"}], "price": {"input": 1, "output": 1}} for name in NAMES
}
JSON_FIELDS: Fields = [(b"Content-Type", b"application/json")]


@pytest.fixture(scope="module", autouse=True)
def _extra_secret() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXTRA_SECRET", HEADER_SECRET)
        yield


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


@pytest.fixture(scope="module")
def fresh() -> Callable[[], str]:
    """A model whose vendor has never failed."""
    return iter(NAMES).__next__


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    async with Vendor(PORT) as running:
        yield running


def error_answer(status: int, body: bytes, *fields: tuple[bytes, bytes], kind: bytes = b"application/json") -> bytes:
    return answer(body, b"%d Whatever" % status, [(b"Content-Type", kind), *fields])


def openai_error(message: str = "Something is amiss", **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, "type": None, "param": None, "code": None, **more}}).encode()


# The vendor's status -> the client's.
STATUSES = {
    400: 400, 404: 404, 413: 413, 422: 422, 429: 429, 500: 500, 501: 501, 502: 502, 503: 503, 504: 504, 529: 503,
    401: 502, 402: 502, 403: 502, 405: 502, 408: 504, 409: 503, 418: 502, 451: 502, 302: 502, 304: 502,
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("status", STATUSES)
async def test_a_status_and_its_message_are_kept(
    place: Place, key: str, vendor: Vendor, fresh: Callable[[], str], status: int, stream: bool
) -> None:
    body = b"" if status == 304 else openai_error()
    vendor.script = serve(
        error_answer(status, body, (b"Retry-After", b"7")) if body else answer(b"", b"304 Not Modified")
    )
    model = fresh()
    got = await ask(place, key, chat_body(model, stream=stream))
    assert got.status == STATUSES[status]
    assert got.headers["x-gateway-error"] in ("vendor_error", "bad_upstream_reply")
    assert got.headers["x-gateway-provider"] == model
    assert got.headers["x-gateway-attempts"] == "1"
    assert got.headers["content-type"] == "application/json"
    if body and status not in (302,):
        assert got.error["message"] == "Something is amiss"
    if status == 429:
        assert got.headers["retry-after"] == "7"
    assert got.error["type"]


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (openai_error("as OpenAI has it", type="invalid_request_error", code="c1", param="top_p"), b"application/json",
         "as OpenAI has it"),
        (b'{"type":"error","error":{"type":"invalid_request_error","message":"as Anthropic has it"}}',
         b"application/json", "as Anthropic has it"),
        (b'[{"error":{"code":400,"message":"as Google has it","status":"INVALID_ARGUMENT"}}]', b"application/json",
         "as Google has it"),
        (b'{"code":20012,"message":"as SiliconFlow has it","data":null}', b"application/json", "as SiliconFlow has it"),
        (b'{"detail":[{"loc":["body","messages"],"msg":"as FastAPI has it"}]}', b"application/json",
         "as FastAPI has it"),
        (b"as text", b"text/plain", "as text"),
        (b"<html><head><title>400 as a page</title></head><body>nothing</body></html>", b"text/html", "400 as a page"),
        (b'"as a string"', b"application/json", "as a string"),
    ],
)  # fmt: skip
async def test_errors_of_all_forms_become_openai_s(
    place: Place, key: str, vendor: Vendor, fresh: Callable[[], str], body: bytes, kind: bytes, message: str
) -> None:
    vendor.script = serve(error_answer(400, body, kind=kind))
    for path, more in ((CHAT, chat_body), (RESPONSES, lambda model: {"model": model, "input": "Hello"})):
        got = await ask(place, key, more(fresh()), path)
        assert got.status == 400
        assert set(got.error) == {"message", "type", "param", "code"}
        assert got.error["message"] == message
        assert got.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"", b"{", b"\x00\xff" * 500, b"[" * 9000, b"{}", b"null", b"<html>" * 60_000])
async def test_errors_of_no_form_are_errors_all_the_same(
    place: Place, key: str, vendor: Vendor, fresh: Callable[[], str], body: bytes
) -> None:
    vendor.script = serve(error_answer(500, body))
    got = await ask(place, key, chat_body(fresh()))
    assert got.status == 500
    assert got.error["message"]
    assert got.error["message"].isprintable()
    assert len(got.body) < 4000


# -- secrets -----------------------------------------------------------------------------------------------------------


def told(message: Message) -> str:
    """All that a vendor should not tell."""
    auth, extra = message.value(b"authorization").decode(), message.value(b"x-extra").decode()
    assert key_of(message) == VENDOR_KEY
    assert extra == HEADER_SECRET
    return f"bad header {auth}; key={VENDOR_KEY} extra {extra} at http://127.0.0.1:{PORT}/v1, host 127.0.0.1:{PORT}"


def secretive(
    status: int, body: Callable[[str], bytes], kind: bytes = b"application/json"
) -> Callable[[Message], bytes]:
    def reply(message: Message) -> bytes:
        return error_answer(status, body(told(message)), (b"WWW-Authenticate", VENDOR_KEY.encode()), kind=kind)

    return reply


def in_field(name: str) -> Callable[[str], bytes]:
    return lambda text: openai_error(**{name: text})


FORMS: dict[str, Callable[[str], bytes]] = {
    "message": in_field("message"),
    "code": in_field("code"),
    "type": in_field("type"),
    "param": in_field("param"),
    "flat": lambda text: json.dumps({"code": text, "message": text}).encode(),
    "detail": lambda text: json.dumps({"detail": [{"loc": ["body", text], "msg": text}]}).encode(),
    "string": lambda text: json.dumps({"error": text}).encode(),
    "text": str.encode,
    "page": lambda text: f"<html><title>{text}</title><body>{text}</body></html>".encode(),
    "long": lambda text: openai_error("x" * 1960 + text),
    "key only": lambda text: openai_error(VENDOR_KEY),
    "broken": lambda text: openai_error(text)[:-3],
}


def check_silent(place: Place, key: str, got: Answer) -> None:
    """Nothing of ours in what the client sees."""
    seen = str(got.headers) + got.body.decode(errors="replace")
    for secret in (VENDOR_KEY, VENDOR_KEY[:16], key, HEADER_SECRET, f"127.0.0.1:{PORT}", "Bearer sk-"):
        assert secret not in seen


@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize("form", FORMS)
async def test_no_secret_comes_back_in_an_error(
    place: Place, key: str, vendor: Vendor, fresh: Callable[[], str], form: str, status: int
) -> None:
    vendor.script = serve(secretive(status, FORMS[form]))
    got = await ask(place, key, chat_body(NAMES[0] if status == 400 else fresh()))
    assert got.status == (502 if status == 401 else status)
    check_silent(place, key, got)


async def test_no_secret_comes_back_in_an_error_within_http_200(
    place: Place, key: str, vendor: Vendor, fresh: Callable[[], str]
) -> None:
    def reply(message: Message) -> bytes:
        text = told(message)
        return answer(openai_error(text, type=text, code=text, param=text), fields=JSON_FIELDS)

    vendor.script = serve(reply)
    got = await ask(place, key, chat_body(fresh()))
    assert got.status >= 500
    check_silent(place, key, got)


CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


async def test_no_secret_comes_back_in_the_middle_of_a_stream(
    place: Place, key: str, vendor: Vendor, fresh: Callable[[], str]
) -> None:
    begun = asyncio.Event()

    async def script(_: Vendor, end: End) -> None:
        message = await vendor.next_request(end)
        assert message is not None
        text = told(message)
        first = event({**CHUNK, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]})
        head = CHUNKED_HEAD.removesuffix(b"\r\n") + b"Content-Type: text/event-stream\r\n\r\n"
        await end.send(head + chunks([first]).removesuffix(chunks([])))
        await begun.wait()
        await end.send(chunks([event({"error": {"message": text, "type": text, "code": text, "param": text}})]))

    vendor.script = script
    talk = await begin(place, key, chat_body(fresh(), stream=True))
    begun.set()
    got = await talk.rest()
    assert got.status == 200
    assert got.cut
    assert "error" in list(got.events())[-1]
    check_silent(place, key, got)


@pytest.mark.parametrize("way", ["nobody listens", "reset", "garbage", "closed"])
async def test_no_address_is_told_when_the_vendor_cannot_be_reached(
    place: Place, key: str, fresh: Callable[[], str], way: str
) -> None:
    async def script(running: Vendor, end: End) -> None:
        await running.next_request(end)
        if way == "garbage":
            await end.send(b"\x16\x03\x01 who knows 127.0.0.1\r\n\r\n")
        (end.reset if way == "reset" else end.close)()

    if way == "nobody listens":
        got = await ask(place, key, chat_body(fresh()))
    else:
        async with Vendor(PORT, script):
            got = await ask(place, key, chat_body(fresh()))
    assert got.status == 502
    assert got.error["code"] == ("upstream_unreachable" if way == "nobody listens" else "bad_upstream_reply")
    assert "127.0.0.1" not in got.body.decode()
    check_silent(place, key, got)


def test_none_of_these_calls_is_charged(place: Place, key: str) -> None:
    outcomes = {(call.outcome, call.cost) for call in closed(place).values()}
    assert outcomes <= {("failed", 0), ("vendor_truncated", 0)}
    assert ("failed", 0) in outcomes


def test_no_secret_is_logged_or_counted(place: Place, key: str) -> None:
    """After all of the above."""
    metrics = place._open_metrics().body.decode()
    for secret in (VENDOR_KEY, key, HEADER_SECRET, f":{PORT}", "Hello there"):
        for where in (metrics, place.stdout, place.stderr.replace(str(place.config), "")):
            assert secret not in where
