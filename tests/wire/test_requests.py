"""What single requests must come to: targets, HTTP/1.0, pipelining, half-closed clients, kept-alive mixtures."""

from __future__ import annotations

import json

import pytest

from tests.wire.conftest import Dial
from tests.wire.ends import End
from tests.wire.messages import (
    CHUNKED,
    LENGTH,
    UNTIL_CLOSE,
    Message,
    answer,
    chunks,
    head,
    read_answer,
    read_answer_head,
    request,
)
from tests.wire.serving import Gateway, free_port
from tests.wire.vendor import Vendor, once, serve

HERE, OTHER = free_port(), free_port()
PROVIDERS = {
    "split": {
        "base_url": f"http://127.0.0.1:{HERE}",
        "aliases": ["alias"],
        "hosts": {"/v3/": f"ws://127.0.0.1:{OTHER}", "/v3/here/": f"http://127.0.0.1:{HERE}"},
    },
}


def check_error(message: Message, status: int, code: str) -> None:
    """An error of the gateway's own."""
    assert message.status == status, (message.line, message.body)
    assert message.value(b"x-gateway-error").decode() == code
    error = json.loads(message.body)
    assert error["error"]["type"] == "gateway_error"
    assert error["error"]["code"] == code
    assert isinstance(error["error"]["message"], str)
    assert error["error"]["message"]


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        (b"/echo", b"/"),
        (b"/echo/", b"/"),
        (b"/echo?a=b", b"/?a=b"),
        (b"/echo/?a=b", b"/?a=b"),
        (b"/echo//x", b"//x"),
        (b"/echo/../x", b"/../x"),
        (b"/echo/%2e%2e/x", b"/%2e%2e/x"),
        (b"/echo/a/./b", b"/a/./b"),
        (b"/echo/echo/x", b"/echo/x"),
        (b"/echo/x?", b"/x?"),
        (b"/echo/%zz%", b"/%zz%"),
        (b"/echo/;p?;q", b"/;p?;q"),
        (b"/based", b"/base/path/"),
        (b"/based/", b"/base/path/"),
        (b"/based/x?y", b"/base/path/x?y"),
        (b"/based//x", b"/base/path//x"),
        (b"/based?x", b"/base/path/?x"),
        (b"/based/x?/../y", b"/base/path/x?/../y"),
        (b"/based/...", b"/base/path/..."),
        (b"/based/a..b/.c", b"/base/path/a..b/.c"),
        (b"/based/%2e%2e%2e", b"/base/path/%2e%2e%2e"),
        (b"/echo/http://other/x", b"/http://other/x"),
        (b"/echo/" + b"a" * 8000, b"/" + b"a" * 8000),
    ],
)
async def test_target(vendor: Vendor, dial: Dial, target: bytes, seen: bytes) -> None:
    client = await dial()
    await client.send(request(target))
    assert (await read_answer(client)).body == b"ok"
    assert vendor.requests[0].target == seen


@pytest.mark.parametrize(
    "target", [b"/nobody/x", b"/nobody", b"/ECHO/x", b"/%65cho/x", b"/echo%2Fx", b"//echo/x", b"/echo;x/y"]
)
async def test_unknown_provider(vendor: Vendor, dial: Dial, target: bytes) -> None:
    client = await dial()
    await client.send(request(target))
    check_error(await read_answer(client), 404, "unknown_provider")
    assert not vendor.connections


async def test_post_to_an_unknown_provider_leaves_the_connection_in_order(vendor: Vendor, dial: Dial) -> None:
    """Either the body is read past or the connection ends: it is never taken for the next request."""
    client = await dial()
    await client.send(request(b"/nobody/x", b"POST", request(b"/echo/smuggled")))
    check_error(await read_answer(client), 404, "unknown_provider")
    await client.send(request(b"/healthz", fields=[(b"Connection", b"close")]))
    rest = await client.read_to_end()
    assert rest.count(b"HTTP/1.1") <= 1
    assert not vendor.connections


async def test_bodiless_post_gets_no_content_length(vendor: Vendor, dial: Dial) -> None:
    client = await dial()
    await client.send(request(b"/echo/x", b"POST"))
    await read_answer(client)
    assert [name for name, _ in vendor.requests[0].fields] == [b"Host"]


async def test_host_stays_where_it_was(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    client = await dial()
    await client.send(head(b"GET /echo/x HTTP/1.1", [(b"A", b"1"), (b"HOST", b"somebody.test:99"), (b"B", b"2")]))
    await read_answer(client)
    host = b"127.0.0.1:%d" % gateway.vendor_port
    assert vendor.requests[0].fields == [(b"A", b"1"), (b"HOST", host), (b"B", b"2")]


@pytest.mark.parametrize(
    ("reply", "framing"),
    [
        (answer(b"body"), LENGTH),
        (
            head(b"HTTP/1.1 200 OK", [(b"Transfer-Encoding", b"chunked")]) + chunks([b"bo", b"dy"], [(b"X", b"y")]),
            UNTIL_CLOSE,
        ),
        (head(b"HTTP/1.1 103 Early Hints", [(b"Link", b"x")]) + answer(b"body"), LENGTH),
    ],
)
@pytest.mark.parametrize("keep", [[], [(b"Connection", b"keep-alive")]])
async def test_http_1_0_client_gets_it_unchunked_and_ended_by_close(
    vendor: Vendor, dial: Dial, reply: bytes, framing: str, keep: list[tuple[bytes, bytes]]
) -> None:
    vendor.script = serve(reply)
    client = await dial()
    await client.send(head(b"GET /echo/x HTTP/1.0", [(b"Host", b"gateway.test"), *keep]))
    message = await read_answer(client)
    assert (message.body, message.framing, message.interim) == (b"body", framing, [])
    assert not message.values(b"transfer-encoding")
    assert await client.read_to_end() == b""
    assert client.ended == "eof"


async def test_pipelined_requests_are_answered_in_order(vendor: Vendor, dial: Dial) -> None:
    vendor.script = serve(lambda message: answer(message.target + b"|" + message.body))
    client = await dial()
    body = chunks([b"chunk", b"ed"])
    batch = [
        request(b"/echo/1"),
        request(b"/healthz"),
        request(b"/echo/2", b"POST", b"two"),
        head(b"PUT /echo/3 HTTP/1.1", [(b"Host", b"x"), (b"Transfer-Encoding", b"chunked")]) + body,
        request(b"/echo/4", b"HEAD"),
        request(b"/healthz"),
        request(b"/healthz"),
        request(b"/echo/5"),
    ]
    await client.send(b"".join(batch))
    got = [await read_answer(client, b"HEAD" if b"HEAD" in sent else b"GET") for sent in batch]
    assert [message.status for message in got] == [200] * 8
    assert [got[number].body for number in (0, 2, 3, 4, 7)] == [b"/1|", b"/2|two", b"/3|chunked", b"", b"/5|"]
    assert [message.target for message in vendor.requests] == [b"/1", b"/2", b"/3", b"/4", b"/5"]


async def test_pipelined_in_single_bytes(vendor: Vendor, dial: Dial) -> None:
    vendor.script = serve(lambda message: answer(message.target))
    client = await dial()
    batch = [request(b"/echo/1", b"POST", b"x"), request(b"/healthz"), request(b"/echo/2")]
    await client.send_pieces(b"".join(batch), [1] * 1000)
    assert [(await read_answer(client)).status for _ in batch] == [200, 200, 200]
    assert [message.target for message in vendor.requests] == [b"/1", b"/2"]


async def test_a_pipelined_request_waits_for_the_answer_before_it(vendor: Vendor, dial: Dial) -> None:
    """No vendor gets the second request while the first is open, and nothing of its answer overtakes."""
    vendor.script = once(head(b"HTTP/1.1 200 OK", [(b"Content-Length", b"4")]) + b"fi", then="keep")
    client = await dial()
    await client.send(request(b"/echo/1") + request(b"/healthz") + request(b"/echo/2"))
    await read_answer_head(client)
    await client.read_exactly(2)
    assert len(vendor.requests) == 1
    assert not client.buffer
    far = vendor.connections[0]
    vendor.script = serve(answer(b"second"))
    await far.send(b"rs")
    far.close()
    assert await client.read_exactly(2) == b"rs"
    assert (await read_answer(client)).status == 200
    assert (await read_answer(client)).body == b"second"


async def test_connection_close_of_the_client(vendor: Vendor, dial: Dial) -> None:
    client = await dial()
    await client.send(request(fields=[(b"Connection", b"close")]) + request(b"/echo/never"))
    assert (await read_answer(client)).body == b"ok"
    assert await client.read_to_end() == b""
    assert [message.target for message in vendor.requests] == [b"/x"]
    assert not vendor.requests[0].values(b"connection")


async def test_connection_close_of_the_vendor_is_its_own(vendor: Vendor, dial: Dial) -> None:
    """Hop by hop: the client's connection lives on, the vendor's is not used again."""
    vendor.script = once(answer(fields=[(b"Connection", b"close")]))
    client = await dial()
    for number in range(3):
        await client.send(request())
        message = await read_answer(client)
        assert (message.body, message.values(b"connection")) == (b"ok", [])
        assert len(vendor.connections) == number + 1


async def test_vendor_speaking_http_1_0(vendor: Vendor, dial: Dial) -> None:
    vendor.script = once(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok")
    client = await dial()
    for number in range(2):
        await client.send(request())
        message = await read_answer(client)
        assert (message.body, message.line[0]) == (b"ok", b"HTTP/1.1")
        assert len(vendor.connections) == number + 1  # without keep-alive it is over


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED, UNTIL_CLOSE])
async def test_half_closed_client_still_gets_its_answer(vendor: Vendor, dial: Dial, framing: str) -> None:
    vendor.script = once(then="keep")
    client = await dial()
    await client.send(request(b"/echo/x", b"POST", b"body"))
    client.half_close()
    await vendor.wait_for(lambda: bool(vendor.requests))
    far = vendor.connections[0]
    reply = {
        LENGTH: answer(b"late"),
        CHUNKED: head(b"HTTP/1.1 200 OK", [(b"Transfer-Encoding", b"chunked")]) + chunks([b"la", b"te"]),
        UNTIL_CLOSE: head(b"HTTP/1.1 200 OK", []) + b"late",
    }[framing]
    for at in range(0, len(reply), 7):
        await far.send(reply[at : at + 7])
    far.close()
    assert (await read_answer(client)).body == b"late"
    assert await client.read_to_end() == b""


async def test_pipelined_then_half_closed(vendor: Vendor, dial: Dial) -> None:
    """Whatever the moment at which the end is seen, and whoever serves the request that was last."""
    vendor.script = serve(lambda message: answer(message.target))
    for count in [1, 2, 3, 5] * 10:
        client = await dial()
        batch = [request(b"/echo/%d" % number) for number in range(count)]
        await client.send(b"".join(batch))
        client.half_close()
        assert [(await read_answer(client)).body for _ in batch] == [b"/%d" % number for number in range(count)]
        assert await client.wait_ended() == "eof"
        client = await dial()
        await client.send(b"".join(batch) + request(b"/healthz") + request(b"/healthz"))
        client.half_close()
        assert [(await read_answer(client)).status for _ in range(count + 2)] == [200] * (count + 2)
        assert await client.wait_ended() == "eof"


async def test_idle_client_that_half_closes_is_closed(gateway: Gateway, vendor: Vendor, dial: Dial) -> None:
    client = await dial()
    await client.send(request())
    await read_answer(client)
    client.half_close()
    assert await client.wait_ended() == "eof"


async def test_empty_lines_before_a_request(vendor: Vendor, dial: Dial) -> None:
    """RFC 9112 2.2: at least one empty line is ignored; if it is refused instead, the vendor sees nothing."""
    client = await dial()
    await client.send(b"\r\n" + request())
    message = await read_answer(client)
    assert message.status in (200, 400)
    assert len(vendor.requests) == (message.status == 200)


async def test_many_methods_on_one_connection_use_one_vendor_connection(vendor: Vendor, dial: Dial) -> None:
    client = await dial()
    for number in range(200):
        await client.send(request(b"/echo/%d" % number, (b"GET", b"POST", b"HEAD", b"QUERY")[number % 4]))
        await read_answer(client, (b"GET", b"POST", b"HEAD", b"QUERY")[number % 4])
    assert len(vendor.connections) == 1
    assert len(vendor.requests) == 200


@pytest.mark.parametrize("extra", [b"", b"GARBAGE", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"])
async def test_bytes_after_the_end_of_an_answer_are_never_forwarded(vendor: Vendor, dial: Dial, extra: bytes) -> None:
    """Neither to this client nor, over the pooled connection, to the next one."""
    vendor.script = serve(answer(b"good") + extra)
    for _ in range(3):
        client = await dial()
        for _ in range(2):
            await client.send(request())
            assert (await read_answer(client)).body == b"good"
        await client.send(request(b"/healthz"))
        assert b"evil" not in (await read_answer(client)).body
        assert not client.buffer
    if extra:
        assert len(vendor.connections) == 6, "a connection that said too much was used again"


async def test_late_bytes_on_an_idle_pooled_connection_are_never_an_answer(vendor: Vendor, dial: Dial) -> None:
    client = await dial()
    await client.send(request())
    await read_answer(client)
    far = vendor.connections[0]
    await far.send(answer(b"evil"))
    await far.wait_ended()  # nobody asked: the gateway drops the connection
    await client.send(request())
    assert (await read_answer(client)).body == b"ok"


async def refuse_then_read(vendor: Vendor, end: End) -> None:
    await vendor.next_head(end)
    await end.send(answer(b"no", b"413 Too Large"))


async def test_vendor_that_answers_before_the_upload_ends(vendor: Vendor, dial: Dial) -> None:
    """The answer comes through at once; the client may go on or not, nothing of its body becomes a request."""
    vendor.script = refuse_then_read
    client = await dial()
    smuggled = request(b"/echo/smuggled")
    await client.send(request(b"/echo/x", b"POST", None, [(b"Content-Length", b"1000000")]) + smuggled)
    message = await read_answer(client)
    assert (message.status, message.body) == (413, b"no")
    far = vendor.connections[0]
    await far.wait_ended()  # half a request is in it: it cannot be used again
    await client.wait_ended()
    assert len(vendor.connections) == 1
    assert b"smuggled" not in far.raw.partition(b"\r\n\r\n")[0]


async def test_other_hosts_by_path_and_aliases(dial: Dial) -> None:
    """The longest prefix wins, the path stays whole, and http and ws are one."""
    async with Vendor(HERE), Vendor(OTHER, serve(answer(b"other"))) as other:
        for target, body in (
            (b"/split/a", b"ok"),
            (b"/split/v3/a", b"other"),
            (b"/split/v3/here/a", b"ok"),
            (b"/split/v3", b"ok"),
            (b"/alias/v3/x?y", b"other"),
            (b"/split", b"ok"),
        ):
            client = await dial()
            await client.send(request(target))
            assert (await read_answer(client)).body == body, target
        assert [message.target for message in other.requests] == [b"/v3/a", b"/v3/x?y"]
        assert other.requests[0].value(b"host") == b"127.0.0.1:%d" % OTHER
