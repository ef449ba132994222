"""TLS towards the vendor: always verified, with `ca:` as the way to trust one's own authority."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.wire.certificates import Authority
from tests.wire.conftest import Dial, Start
from tests.wire.ends import End
from tests.wire.messages import CHUNKED, answer, chunks, head, read_answer, read_answer_head, request
from tests.wire.serving import Gateway
from tests.wire.test_requests import check_error
from tests.wire.vendor import Vendor, once, serve


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serving(start: Start, authority: Authority, port: int) -> Gateway:
    origin = f"https://localhost:{port}"
    return start(
        None,
        {
            "trusting": {"base_url": origin, "ca": f"file:{authority.path}"},
            "strict": {"base_url": origin},
            "plain": {"base_url": f"http://localhost:{port}"},
        },
    )


@pytest.mark.parametrize("names", [["localhost"], ["127.0.0.1", "localhost"]])
async def test_extra_trust_anchor(start: Start, dial: Dial, authority: Authority, names: list[str]) -> None:
    reply = head(b"HTTP/1.1 200 OK", [(b"Transfer-Encoding", b"chunked")]) + chunks(
        [b"x" * 100_000, b"y"], [(b"X-Sum", b"1")]
    )
    async with Vendor(
        0, serve(lambda message: answer(message.body) if message.body else reply), authority.context(names)
    ) as vendor:
        gateway = serving(start, authority, vendor.port)
        client = await dial(gateway.port)
        for body in (b"z" * 300_000, b"small"):
            await client.send(request(b"/trusting/x", b"POST", body))
            assert (await read_answer(client)).body == body
        await client.send(request(b"/trusting/x"))
        message = await read_answer(client)
        assert (message.framing, message.body, message.trailers) == (CHUNKED, b"x" * 100_000 + b"y", [(b"X-Sum", b"1")])
        assert len(vendor.connections) == 1
        assert vendor.requests[0].value(b"host") == b"localhost:%d" % vendor.port


@pytest.mark.parametrize("kind", ["unknown authority", "self-signed", "expired", "other name"])
async def test_certificate_that_does_not_hold(start: Start, dial: Dial, authority: Authority, kind: str) -> None:
    context = {
        "unknown authority": lambda: authority.context(["localhost"]),
        "self-signed": lambda: authority.context(["localhost"], self_signed=True),
        "expired": lambda: authority.context(["localhost"], days=-1),
        "other name": lambda: authority.context(["other.test"]),
    }[kind]()
    async with Vendor(0, serve(), context) as vendor:
        gateway = serving(start, authority, vendor.port)
        client = await dial(gateway.port)
        provider = b"/strict/x" if kind == "unknown authority" else b"/trusting/x"
        await client.send(request(provider, b"POST", b"secret"))
        check_error(await read_answer(client), 502, "upstream_tls")
        assert not vendor.requests


async def test_vendor_that_does_not_speak_tls(start: Start, dial: Dial, authority: Authority) -> None:
    async def plain(vendor: Vendor, end: End) -> None:
        await end.read_some()
        await end.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        end.close()

    async with Vendor(0, plain) as vendor:
        client = await dial(serving(start, authority, vendor.port).port)
        await client.send(request(b"/trusting/x"))
        check_error(await read_answer(client), 502, "upstream_tls")


async def test_clear_text_to_a_tls_port_is_a_bad_reply(start: Start, dial: Dial, authority: Authority) -> None:
    async with Vendor(0, serve(), authority.context(["localhost"])) as vendor:
        client = await dial(serving(start, authority, vendor.port).port)
        await client.send(request(b"/plain/x"))
        check_error(await read_answer(client), 502, "bad_upstream_reply")


async def test_handshake_that_is_broken_off(start: Start, dial: Dial, authority: Authority) -> None:
    async def hang_up(vendor: Vendor, end: End) -> None:
        await end.read_some()
        end.reset()

    async with Vendor(0, hang_up) as vendor:
        client = await dial(serving(start, authority, vendor.port).port)
        await client.send(request(b"/trusting/x"))
        message = await read_answer(client)
        assert message.value(b"x-gateway-error") in (b"upstream_tls", b"upstream_unreachable")
        assert message.status == 502
        assert len(vendor.connections) == 1


async def test_pieces_leave_as_they_arrive_and_cuts_show(start: Start, dial: Dial, authority: Authority) -> None:
    async with Vendor(0, once(then="keep"), authority.context(["localhost"])) as vendor:
        gateway = serving(start, authority, vendor.port)
        client = await dial(gateway.port)
        await client.send(request(b"/trusting/x"))
        await vendor.wait_for(lambda: bool(vendor.requests))
        far = vendor.connections[0]
        await far.send(head(b"HTTP/1.1 200 OK", [(b"Content-Length", b"100")]))
        await read_answer_head(client)
        for piece in (b"a", b"bc", b"def"):
            await far.send(piece)
            assert await client.read_exactly(len(piece)) == piece
        far.close()
        assert await client.read_to_end() == b""


async def test_tls_1_2_is_enough(start: Start, dial: Dial, authority: Authority) -> None:
    context = authority.context(["localhost"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with Vendor(0, serve(), context) as vendor:
        client = await dial(serving(start, authority, vendor.port).port)
        await client.send(request(b"/trusting/x"))
        assert (await read_answer(client)).status == 200


async def test_tls_towards_the_client(start: Start, dial: Dial, authority: Authority) -> None:
    """The same bytes behind the gateway's own TLS, kept alive, in pieces, and cut."""
    path = authority.issue(["localhost"])
    gateway = start({"tls": {"cert": f"file:{path}", "key": f"file:{path}"}})
    trusting = ssl.create_default_context(cafile=str(authority.path))
    async with Vendor(gateway.vendor_port, serve(lambda message: answer(message.body))) as vendor:
        client = await dial(gateway.port, tls=trusting)
        for body in (b"", b"small", b"z" * 1_000_000):
            await client.send(request(b"/echo/x", b"POST", body))
            assert (await read_answer(client)).body == body
        await client.send(request() + b"GET /echo/x HTTP/1.1\r\nBad header\r\n\r\n")
        assert (await read_answer(client)).status == 200
        check_error(await read_answer(client), 400, "bad_request")
        assert await client.read_to_end() == b""
        vendor.script = once(head(b"HTTP/1.1 200 OK", [(b"Content-Length", b"100")]) + b"some")
        for far in vendor.connections:
            far.close()
        client = await dial(gateway.port, tls=trusting)
        await client.send(request())
        await client.read_until(b"some")
        assert await client.read_to_end() == b""
