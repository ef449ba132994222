"""What of a unified call reaches the vendor, and what of its answer the client, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unified.caller import CHAT, RESPONSES, ask, begin, chat_body, raw_provider
from tests.unified.place import MODELS as USUAL
from tests.unified.place import PRICE, VENDOR_KEY, Place
from tests.wire.ends import End, connect
from tests.wire.messages import (
    CHUNKED_HEAD,
    Fields,
    Message,
    answer,
    chunks,
    head,
    read_answer,
    read_answer_head,
    request,
)
from tests.wire.serving import free_port
from tests.wire.vendor import Vendor, serve

PORT = free_port()
SAME = {
    "openai.chat": CHAT,
    "openai.responses": RESPONSES,
    "openai.embeddings": "/v1/embeddings",
    "jina.rerank": "/v1/rerank",
}
PROVIDERS = {
    "raw": raw_provider(PORT, speaks=SAME),
    "odd": raw_provider(
        PORT, quirks={"drop": ["seed", "logit_bias"], "rename": {"max_completion_tokens": "max_tokens"}}
    ),
    "own": raw_provider(PORT, headers={"X-Title": "env:VENDOR_KEY"}),
    "apikey": raw_provider(PORT, auth="x-api-key"),
    "query": raw_provider(PORT, auth="query:token"),
}
MODELS = USUAL | {
    "same": {"targets": [{"provider": "raw", "model": "same"}], "price": PRICE},
    "other-name": {"targets": [{"provider": "raw", "model": 'the "vendor\'s" näme'}], "price": PRICE},
    **{name: {"targets": [{"provider": name, "model": name}]} for name in ("odd", "own", "apikey", "query")},
}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
# Nothing that a decoder and an encoder would give back like this.
ODD_ANSWER = (
    b'{ "object":"chat.completion" ,"id":"\\u0063","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"h\\/i","x":1.0e2},"finish_reason":"stop"}],\r\n\t"usage":{"prompt_tokens":10,"completion_tokens":5,'
    b'"total_tokens":15} } \n'
)
JSON_FIELDS: Fields = [(b"Content-Type", b"application/json; charset=utf-8")]
ODD_BODY = (
    b'{\n "messages" : [{"role":"user","content":"\\u0048\\/\xc3\xa9"}], "x\\u0079": 1.0e2,\t"model":"same" , "z":null}'
)


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    async with Vendor(PORT, serve(answer(ODD_ANSWER, fields=JSON_FIELDS))) as running:
        yield running


@pytest.fixture
async def opened(place: Place) -> AsyncIterator[End]:
    """A connection."""
    end = await connect(place.port)
    yield end
    end.close()
    await end.wait_lost()


async def send(place: Place, data: bytes, method: bytes = b"POST") -> Message:
    end = await connect(place.port)
    await end.send(data)
    message = await read_answer(end, method)
    end.close()
    await end.wait_lost()
    return message


def bearer(key: str) -> tuple[bytes, bytes]:
    return b"Authorization", b"Bearer " + key.encode()


def json_bytes(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


# -- up ----------------------------------------------------------------------------------------------------------------


async def test_the_body_is_the_client_s_to_the_byte(place: Place, key: str, vendor: Vendor) -> None:
    got = await send(place, request(CHAT.encode(), b"POST", ODD_BODY, [bearer(key)]))
    assert got.status == 200
    assert vendor.requests[0].body == ODD_BODY
    assert got.body == ODD_ANSWER


@pytest.mark.parametrize(
    ("path", "more"),
    [(CHAT, {"messages": [{"role": "user", "content": "é"}]}), ("/v1/embeddings", {"input": "é"}),
     ("/v1/rerank", {"query": "é", "documents": ["a"]}), (RESPONSES, {"input": "é"})],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_only_the_model_s_name_is_changed(
    place: Place, key: str, vendor: Vendor, path: str, more: dict[str, Any], prefix: str
) -> None:
    at = prefix + path.removeprefix("/v1")
    before, behind = json_bytes(a=1, **more)[:-1] + b', "model" :  ', b' ,\n "b": [1e5]}'
    await send(place, request(at.encode(), b"POST", before + b'"other-name"' + behind, [bearer(key)]))
    sent = vendor.requests[0]
    assert sent.target == path.encode()
    assert sent.body.startswith(before)
    assert sent.body.endswith(behind)
    assert json.loads(sent.body)["model"] == 'the "vendor\'s" näme'


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (b"", b',"stream_options":{"include_usage":true}'),
        (b', "stream_options" : null', b', "stream_options" : {"include_usage":true}'),
        (b',"stream_options":{}', b',"stream_options":{"include_usage":true}'),
        (b',"stream_options":{ "x":1 }', b',"stream_options":{ "x":1,"include_usage":true }'),
        (b',"stream_options":{"include_usage": false, "x":1}', b',"stream_options":{"include_usage": true, "x":1}'),
        (b',"stream_options":{"include_usage":true, "x" :1}', b',"stream_options":{"include_usage":true, "x" :1}'),
    ],
)
async def test_a_stream_s_usage_is_asked_for_and_nothing_else(
    place: Place, key: str, vendor: Vendor, given: bytes, sent: bytes
) -> None:
    body = b'{"model":"same", "messages":[{"role":"user","content":"\\u0041"}],"stream" : true'
    await send(place, request(CHAT.encode(), b"POST", body + given + b"}", [bearer(key)]))
    got = vendor.requests[0].body
    assert got.startswith(body)
    assert json.loads(got) == json.loads(body + sent + b"}")
    assert got == body + sent + b"}"


async def test_quirks_change_what_they_name_and_tell_it(place: Place, key: str, vendor: Vendor) -> None:
    body = b'{"seed": 1, "messages":[{"role":"user","content":"\\u0041"}], "max_completion_tokens" : 9,'
    body += b'"model":"odd","x":1.0}'
    got = await send(place, request(CHAT.encode(), b"POST", body, [bearer(key)]))
    assert vendor.requests[0].body == (
        b'{ "messages":[{"role":"user","content":"\\u0041"}], "max_tokens" : 9,"model":"odd","x":1.0}'
    )
    assert got.value(b"x-gateway-dropped") == b"seed"


CLIENT_FIELDS: Fields = [
    (b"Accept", b"*/*"), (b"User-Agent", b"OpenAI/Python 1"), (b"OpenAI-Beta", b"assistants=v2"), (b"X-Twice", b"1"),
    (b"x-tWICE", b"2"), (b"Content-Type", b"application/json"), (b"X-Stainless-Lang", b"python"), (b"Empty", b""),
    (b"Idempotency-Key", b"abc"),
]  # fmt: skip
PRIVATE_FIELDS: Fields = [
    (b"Cookie", b"session=secret"), (b"Cookie2", b"x"), (b"X-Forwarded-For", b"10.0.0.1"), (b"X-Forwarded-Host", b"h"),
    (b"Forwarded", b"for=10.0.0.1"), (b"X-Gateway-Task", b"coding"), (b"X-Gateway-Anything", b"1"), (b"Via", b"1.1 me"),
    (b"Keep-Alive", b"timeout=5"), (b"TE", b"trailers"), (b"Proxy-Authorization", b"Basic eA=="),
    (b"X-Real-IP", b"10.0.0.1"),
    (b"Connection", b"x-listed, keep-alive"), (b"X-Listed", b"secret"), (b"Proxy-Connection", b"keep-alive"),
    (b"Expect", b"100-continue"),
]  # fmt: skip


async def test_the_client_s_headers_go_along_less_what_is_private(opened: End, key: str, vendor: Vendor) -> None:
    fields = [field for pair in zip(CLIENT_FIELDS, PRIVATE_FIELDS, strict=False) for field in pair]
    fields += PRIVATE_FIELDS[len(CLIENT_FIELDS) :]
    await opened.send(request(CHAT.encode(), b"POST", ODD_BODY, [*fields, bearer(key)]))
    assert (await read_answer(opened)).status == 200
    sent = vendor.requests[0].fields
    added = {b"host", b"authorization", b"accept-encoding", b"content-length"}
    assert [field for field in sent if field[0].lower() not in added] == CLIENT_FIELDS
    names = [name.lower() for name, _ in sent]
    assert len(names) == len(set(names)) + 1  # of the doubled ones only the client's own
    assert vendor.requests[0].value(b"host") == b"127.0.0.1:%d" % PORT
    assert vendor.requests[0].value(b"authorization") == b"Bearer " + VENDOR_KEY.encode()


WAYS: dict[str, tuple[str, str]] = {
    "Authorization": ("", "Bearer "), "authorization": ("", "bearer  "), "X-Api-Key": ("", ""),
    "x-goog-api-key": ("", ""), "query": ("?key=", ""), "query among others": ("?a=1&key=", ""),
}  # fmt: skip


@pytest.mark.parametrize("model", ["same", "own", "apikey", "query"])
@pytest.mark.parametrize("way", WAYS)
async def test_the_gateway_s_key_reaches_no_vendor(
    place: Place, key: str, vendor: Vendor, way: str, model: str
) -> None:
    query, before = WAYS[way]
    target = CHAT + (query + key if query else "")
    fields = [] if query else [(way.encode(), (before + key).encode())]
    got = await send(place, request(target.encode(), b"POST", json_bytes(**chat_body(model)), fields))
    assert got.status == 200
    raw = bytes(vendor.connections[-1].raw)
    assert key.encode() not in raw
    assert VENDOR_KEY.encode() in raw
    assert raw.lower().count(b"\r\nauthorization:") + raw.lower().count(b"\r\nx-api-key:") == (model != "query")


async def test_other_keys_of_the_client_s_reach_no_vendor(place: Place, key: str, vendor: Vendor) -> None:
    """One counts; the others, whoever they are from, are not the vendor's business either."""
    names = [b"x-api-key", b"x-goog-api-key", b"api-key", b"X-Api-Access-Key", b"X-Api-App-Key"]
    fields = [(name, b"another-secret") for name in names]
    target = f"{CHAT}?key=another-secret&api_key=another-secret".encode()
    got = await send(place, request(target, b"POST", ODD_BODY, [bearer(key), *fields]))
    assert got.status == 200
    assert b"another-secret" not in bytes(vendor.connections[-1].raw)


async def test_a_provider_s_own_headers_replace_the_client_s(place: Place, key: str, vendor: Vendor) -> None:
    fields = [bearer(key), (b"x-title", b"mine")]
    await send(place, request(CHAT.encode(), b"POST", json_bytes(**chat_body("own")), fields))
    assert vendor.requests[0].values(b"x-title") == [VENDOR_KEY.encode()]


# -- down --------------------------------------------------------------------------------------------------------------


def events(*values: Any, end: bytes = b"\n\n") -> list[bytes]:
    return [b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + end for value in values]


def said(text: str | None, finish: str | None = None) -> dict[str, Any]:
    delta = {"content": text} if text is not None else {}
    return {**CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


STREAM = [b": hello\n\n", *events(said("h"), said("i\u2028"), said(None, "stop"))]
USAGE_CHUNK = events({**CHUNK, "choices": [], "usage": USAGE})
DONE = events(b"[DONE]")


def streamed(pieces: list[bytes]) -> bytes:
    return (
        CHUNKED_HEAD.removesuffix(b"\r\n") + b"Content-Type: text/event-stream; charset=utf-8\r\n\r\n" + chunks(pieces)
    )


@pytest.mark.parametrize("size", [0, 1, 7, 64])
@pytest.mark.parametrize("asked", [False, True], ids=["hidden", "asked for"])
async def test_a_stream_s_bytes_are_the_vendor_s_but_for_the_hidden_usage(
    place: Place, key: str, vendor: Vendor, asked: bool, size: int
) -> None:
    whole = b"".join([*STREAM, *USAGE_CHUNK, *DONE])
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)] if size else [whole]
    vendor.script = serve(streamed(pieces))
    options = {"stream_options": {"include_usage": True}} if asked else {}
    got = await ask(place, key, chat_body("same", stream=True, **options))
    assert got.body == b"".join([*STREAM, *(USAGE_CHUNK if asked else []), *DONE])
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "x-gateway-cost" not in got.headers
    assert not got.cut


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\r\r", b"\n\n"], ids=["CRLF", "CR", "LF"])
async def test_line_ends_are_the_vendor_s(place: Place, key: str, vendor: Vendor, end: bytes) -> None:
    pieces = events(said("hi"), said(None, "stop"), {**CHUNK, "choices": [], "usage": USAGE}, b"[DONE]", end=end)
    vendor.script = serve(streamed(pieces))
    got = await ask(place, key, chat_body("same", stream=True))
    assert got.body == b"".join(pieces[:2] + pieces[3:])


async def test_an_answer_without_a_length_gets_one(place: Place, key: str, vendor: Vendor) -> None:
    """Documents are whole before they go: cost and length stand in their head, however the vendor frames them."""
    pieces = [ODD_ANSWER[at : at + 10] for at in range(0, len(ODD_ANSWER), 10)]
    vendor.script = serve(
        CHUNKED_HEAD.removesuffix(b"\r\n") + b"Content-Type: application/json\r\n\r\n" + chunks(pieces)
    )
    got = await ask(place, key, chat_body("same"))
    assert got.body == ODD_ANSWER
    assert got.headers["content-length"] == str(len(ODD_ANSWER))
    assert "transfer-encoding" not in got.headers
    assert got.headers["x-gateway-cost"] == "0.00006"


async def test_a_vendor_s_headers_stay_its_own(place: Place, key: str, vendor: Vendor) -> None:
    """Its account, its limits and its cookies are no business of the client's; ids are the gateway's."""
    theirs = {"set-cookie": "a=b", "x-request-id": "theirs", "x-ratelimit-remaining-requests": "7",
              "x-gateway-cost": "0",
              "openai-organization": "acme", "server": "secret-server"}  # fmt: skip
    fields = [(name.encode(), value.encode()) for name, value in theirs.items()]
    vendor.script = serve(answer(ODD_ANSWER, fields=JSON_FIELDS + fields))
    got = await ask(place, key, chat_body("same"))
    assert got.headers["content-type"] == "application/json; charset=utf-8"
    for name, value in theirs.items():
        assert got.headers.get(name) != value, name


async def test_the_gateway_s_headers(place: Place, key: str, vendor: Vendor) -> None:
    got = await ask(place, key, chat_body("other-name"))
    assert got.headers["x-gateway-provider"] == "raw"
    assert got.headers["x-gateway-model"] == 'the "vendor\'s" n?me'
    assert got.headers["x-gateway-attempts"] == "1"
    assert got.headers["x-gateway-cost"] == "0.00006"
    for absent in ("x-gateway-cache", "x-gateway-dropped", "x-gateway-estimated", "x-gateway-error"):
        assert absent not in got.headers


async def test_a_cost_that_was_counted_here_is_marked(place: Place, key: str, vendor: Vendor) -> None:
    vendor.script = serve(answer(ODD_ANSWER.replace(b'"usage"', b'"use"'), fields=JSON_FIELDS))
    got = await ask(place, key, chat_body("same"))
    assert got.headers["x-gateway-estimated"] == "true"
    assert float(got.headers["x-gateway-cost"]) > 0


# -- framing and connections -------------------------------------------------------------------------------------------


async def test_an_http_1_0_client_gets_it_unchunked_and_closed(opened: End, key: str, vendor: Vendor) -> None:
    vendor.script = serve(streamed([*STREAM, *USAGE_CHUNK, *DONE]))
    body = json_bytes(**chat_body("same", stream=True))
    fields = [(b"Host", b"h"), bearer(key), (b"Content-Length", b"%d" % len(body)), (b"Connection", b"keep-alive")]
    await opened.send(head(b"POST /v1/chat/completions HTTP/1.0", fields) + body)
    got = await read_answer(opened)
    assert got.status == 200
    assert not got.values(b"transfer-encoding")
    assert got.body == b"".join([*STREAM, *DONE])
    assert opened.ended == "eof"


async def test_an_http_1_0_client_gets_a_document(opened: End, key: str, vendor: Vendor) -> None:
    fields = [(b"Host", b"h"), bearer(key), (b"Content-Length", b"%d" % len(ODD_BODY))]
    await opened.send(head(b"POST /v1/chat/completions HTTP/1.0", fields) + ODD_BODY)
    assert (await read_answer(opened)).body == ODD_ANSWER
    assert await opened.wait_ended() == "eof"


@pytest.mark.parametrize("sizes", [[1] * 5, [10, 100], [1000]])
async def test_a_chunked_request_becomes_a_whole_one(opened: End, key: str, vendor: Vendor, sizes: list[int]) -> None:
    at, pieces = 0, []
    for size in sizes:
        pieces.append(ODD_BODY[at : at + size])
        at += size
    pieces = [piece for piece in [*pieces, ODD_BODY[at:]] if piece]
    start = head(
        b"POST /v1/chat/completions HTTP/1.1", [(b"Host", b"h"), bearer(key), (b"Transfer-Encoding", b"chunked")]
    )
    await opened.send_pieces(start + chunks(pieces, [(b"X-Trailer", b"1")], [b";a=b"]), [50, 0, 60, 0, 70])
    assert (await read_answer(opened)).body == ODD_ANSWER
    assert vendor.requests[0].body == ODD_BODY
    assert vendor.requests[0].value(b"content-length") == b"%d" % len(ODD_BODY)
    assert vendor.requests[0].trailers == []


async def test_whoever_expects_a_100_gets_it(opened: End, key: str, vendor: Vendor) -> None:
    fields = [(b"Host", b"h"), bearer(key), (b"Expect", b"100-continue"), (b"Content-Length", b"%d" % len(ODD_BODY))]
    await opened.send(head(b"POST /v1/chat/completions HTTP/1.1", fields))
    assert (await read_answer_head(opened)).status == 100
    await opened.send(ODD_BODY)
    assert (await read_answer(opened)).body == ODD_ANSWER
    assert vendor.requests[0].values(b"expect") == []


async def test_who_would_be_refused_gets_no_100(place: Place, vendor: Vendor) -> None:
    fields = [(b"Host", b"h"), bearer("nobody"), (b"Expect", b"100-continue"), (b"Content-Length", b"100")]
    got = await send(place, head(b"POST /v1/chat/completions HTTP/1.1", fields))
    assert (got.status, got.interim) == (401, [])


async def test_one_connection_carries_everything_in_order(opened: End, key: str, vendor: Vendor) -> None:
    """Calls, pass-through, lists, health and refusals, pipelined: each answer is that of its request."""
    vendor.script = serve(
        lambda message: answer(ODD_ANSWER if message.method == b"POST" else message.target, fields=JSON_FIELDS)
    )
    call = request(CHAT.encode(), b"POST", ODD_BODY, [bearer(key)])
    broken = request(CHAT.encode(), b"POST", b"{", [bearer(key)])
    forward = request(b"/raw/some/where")
    listed = request(b"/v1/models", fields=[bearer(key)])
    health, wrong = request(b"/healthz"), request(CHAT.encode(), fields=[bearer(key)])
    order = [call, forward, call, health, broken, listed, wrong, call, call, forward, health, call] * 3
    wanted = {call: 200, forward: 200, health: 200, broken: 400, listed: 200, wrong: 405}
    await opened.send(b"".join(order))
    ids = []
    for data in order:
        got = await read_answer(opened)
        assert got.status == wanted[data]
        if data is call:
            assert got.body == ODD_ANSWER
        elif data is forward:
            assert got.body == b"/some/where"
        elif data is health:
            assert json.loads(got.body) == {"status": "ok"}
        elif data is listed:
            assert json.loads(got.body)["success"] is True
        if data is not forward:
            ids.append(got.value(b"x-request-id"))
    assert not opened.buffer
    assert all(ids)
    assert len(set(ids)) == len(ids)


async def test_a_connection_lasts_beyond_streams_and_errors(opened: End, key: str, vendor: Vendor) -> None:
    vendor.script = serve(streamed([*STREAM, *USAGE_CHUNK, *DONE]))
    stream = request(CHAT.encode(), b"POST", json_bytes(**chat_body("same", stream=True)), [bearer(key)])
    unknown = request(CHAT.encode(), b"POST", json_bytes(**chat_body("nobody")), [bearer(key)])
    for data, status in [(stream, 200), (unknown, 404), (stream, 200), (stream, 200), (unknown, 404)]:
        await opened.send(data)
        assert (await read_answer(opened)).status == status
    assert len(vendor.connections) == 1


async def test_a_key_on_a_kept_connection_is_that_of_each_request(opened: End, key: str, vendor: Vendor) -> None:
    """Heads that are alike are remembered: with another key one is another head."""
    for name, status in [(key, 200), (key[:-1] + "x", 401), (key, 200), (key + "x", 401), (key[:-1], 401)]:
        await opened.send(request(CHAT.encode(), b"POST", ODD_BODY, [bearer(name)]))
        assert (await read_answer(opened)).status == status


async def test_a_call_ends_with_its_connection_if_the_client_says_so(opened: End, key: str, vendor: Vendor) -> None:
    await opened.send(request(CHAT.encode(), b"POST", ODD_BODY, [bearer(key), (b"Connection", b"close")]))
    got = await read_answer(opened)
    assert got.value(b"connection") == b"close"
    assert await opened.wait_ended() == "eof"


async def test_a_half_closed_client_gets_its_answer(opened: End, key: str, vendor: Vendor) -> None:
    await opened.send(request(CHAT.encode(), b"POST", ODD_BODY, [bearer(key)]))
    opened.half_close()
    assert (await read_answer(opened)).body == ODD_ANSWER
    assert await opened.wait_ended() == "eof"


async def test_a_stream_s_pieces_do_not_wait_for_each_other(place: Place, key: str, vendor: Vendor) -> None:
    seen = asyncio.Event()
    first, rest = STREAM[:2], STREAM[2:]

    async def script(_: Vendor, end: End) -> None:
        await vendor.next_request(end)
        await end.send(streamed(first).removesuffix(chunks([])))
        await seen.wait()
        await end.send(chunks(rest))

    vendor.script = script
    talk = await begin(place, key, chat_body("same", stream=True))
    while talk.body != b"".join(first):
        assert await talk.piece()
    seen.set()
    assert (await talk.rest()).body == b"".join(STREAM)
