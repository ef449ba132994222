"""No key, URL or content in any output, whatever goes wrong: canaries go in everywhere and must come out nowhere."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path

from tests.wire.conftest import Dial, Start
from tests.wire.ends import End, Ended
from tests.wire.messages import Fields, Garbled, answer, chunks, head, read_answer, request
from tests.wire.serving import Gateway, free_port
from tests.wire.test_websocket import HANDSHAKE, frame, switching
from tests.wire.vendor import Script, Vendor, once, serve


class Canaries:
    """Unique strings by the place where they were put."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def put(self, place: str) -> bytes:
        canary = "canary" + secrets.token_hex(8)
        self.places[canary] = place
        return canary.encode()

    def fields(self, path: str) -> Fields:
        return [
            (b"Authorization", b"Bearer sk-" + self.put(f"authorization of {path}")),
            (b"x-api-key", self.put(f"x-api-key of {path}")),
            (b"api-key", self.put(f"api-key of {path}")),
            (b"x-goog-api-key", self.put(f"x-goog-api-key of {path}")),
            (b"Cookie", b"session=" + self.put(f"cookie of {path}")),
            (b"Proxy-Authorization", b"Basic " + self.put(f"proxy of {path}")),
            (b"X-Gateway-Key", self.put(f"gateway key of {path}")),
            (b"User-Agent", self.put(f"agent of {path}")),
        ]

    def request(self, name: str, target: bytes, extra: Fields | None = None) -> bytes:
        """A request with a canary in every place that could be remembered."""
        target += b"/" + self.put(f"path of {name}") + b"?key=" + self.put(f"query of {name}")
        body = b'{"model":"m","messages":[{"content":"%s"}]}' % self.put(f"body of {name}")
        return request(target, b"POST", body, self.fields(name) + (extra or []))

    def escaped(self, text: str) -> list[str]:
        return [place for canary, place in self.places.items() if canary in text]


def faults(canaries: Canaries) -> dict[str, Script]:
    """Ways of the vendor to fail, each with canaries in what it says."""

    def said(place: str) -> bytes:
        return canaries.put(f"vendor's {place}")

    chunked = [(b"Transfer-Encoding", b"chunked"), (b"X-Secret", said("header"))]
    return {
        "fine": serve(
            answer(
                b'{"usage":{"prompt_tokens":1},"text":"%s"}' % said("body"), fields=[(b"Set-Cookie", said("cookie"))]
            )
        ),
        "error": serve(answer(said("error body"), b"401 Unauthorized")),
        "redirect": serve(answer(b"", b"302 Found", [(b"Location", b"http://127.0.0.1/" + said("location"))])),
        "closed": once(),
        "reset": once(then="reset"),
        "garbage": once(said("garbage") + b"\r\n\r\n"),
        "bad field": once(b"HTTP/1.1 200 OK\r\nBad Name: " + said("bad field") + b"\r\n\r\n"),
        "bad length": once(b"HTTP/1.1 200 OK\r\nContent-Length: " + said("length") + b"\r\n\r\n"),
        "half a head": once(b"HTTP/1.1 200 OK\r\nX: " + said("half head")),
        "cut": once(head(b"HTTP/1.1 200 OK", chunked) + b"100\r\n" + said("cut body")),
        "bad chunk": once(head(b"HTTP/1.1 200 OK", chunked) + said("chunk") + b"\r\n"),
        "bad event": serve(
            head(b"HTTP/1.1 200 OK", [(b"Content-Type", b"text/event-stream"), *chunked])
            + chunks([b'data: {"usage": {"prompt_tokens": "' + said("usage") + b'"\n\n'])
        ),
        "bad gzip": serve(
            answer(said("gzip"), fields=[(b"Content-Encoding", b"gzip"), (b"Content-Type", b"application/json")])
        ),
        "bad json": serve(
            answer(
                b'{"usage":{"prompt_tokens":{"' + said("json") + b'":1}}',
                fields=[(b"Content-Type", b"application/json")],
            )
        ),
        "deep json": serve(
            answer(b'{"usage":' + b"[" * 5000 + said("deep"), fields=[(b"Content-Type", b"application/json")])
        ),
    }


def broken_requests(canaries: Canaries) -> list[bytes]:
    """Requests that are refused, with canaries where an error message might quote them."""

    def put(place: str) -> bytes:
        return canaries.put(f"refused {place}")

    return [
        b"GET /echo/" + put("target") + b"#x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /" + put("provider") + b"/x?key=" + put("key") + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        put("line") + b"\r\n\r\n",
        b"GET /echo/x HTTP/1.1\r\nHost: a\r\nAuthorization : " + put("authorization") + b"\r\n\r\n",
        b"GET /echo/x HTTP/1.1\r\nHost: a\r\nx-api-key: " + put("key with NUL") + b"\x00\r\n\r\n",
        b"GET /echo/x HTTP/1.1\r\nHost: " + put("host") + b"\r\nHost: b\r\n\r\n",
        put("method").upper() + b" /echo/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /echo/x HTTP/1.1\r\nHost: a\r\nContent-Length: " + put("length") + b"\r\n\r\n",
        b"GET http://" + put("absolute") + b"/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /echo/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + put("chunk") + b"\r\n\r\n",
        b"GET /echo/x HTTP/1.1\r\nHost: a\r\nAuthorization: " + put("large") + b"x" * 70000 + b"\r\n\r\n",
        b"GET /healthz?key="
        + put("healthz")
        + b" HTTP/1.1\r\nHost: a\r\nContent-Length: "
        + put("healthz length")
        + b"\r\n\r\n",
        b"GET /"
        + put("unknown path")
        + b" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
        + put("unknown key")
        + b"\r\n\r\n",
        b"GET /admin/api/keys?key="
        + put("admin query")
        + b" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
        + put("admin key")
        + b"\r\n\r\n",
        request(
            b"/v1/chat/completions?key=" + put("unified query"),
            b"POST",
            b'{"model": "' + put("unified body"),
            [(b"x-api-key", put("unified key"))],
        ),
        b"GET /echo/x HTTP/1.1\r\nHost: a\r\nConnection: host\r\nCookie: " + put("cookie") + b"\r\n\r\n",
        b"GET /echo/unfinished?key=" + put("unfinished"),
    ]


async def attempt(dial: Dial, port: int, raw: bytes) -> End:
    client = await dial(port)
    with contextlib.suppress(Ended, Garbled, TimeoutError):
        await client.send(raw)
        client.half_close()
        await read_answer(client)
    return client


async def talk(vendor: Vendor, dial: Dial, gateway: Gateway, canaries: Canaries) -> None:
    """A WebSocket with canaries in both directions, ended by a reset."""

    async def script(vendor: Vendor, end: End) -> None:
        await vendor.next_head(end)
        await end.send(
            switching()
            + frame(1, b'{"type":"response.done","response":{"usage":"%s"}}' % canaries.put("vendor's frame"))
        )

    vendor.script = script
    client = await dial(gateway.port)
    await client.send(
        request(
            b"/echo/v1/realtime?key=" + canaries.put("websocket key"), fields=HANDSHAKE + canaries.fields("websocket")
        )
    )
    await client.read_until(b"usage")
    message = frame(1, b'{"type":"response.create","input":"%s"}' % canaries.put("client's frame"), mask=True)
    await client.send(message)
    await vendor.connections[-1].read_exactly(len(message))
    client.reset()
    await vendor.connections[-1].wait_ended()


async def outputs(gateway: Gateway) -> Callable[[], dict[str, str]]:
    """Everything that the gateway ever wrote, by where."""
    metrics = await gateway.metrics_page()

    def read() -> dict[str, str]:
        found = {"stdout": gateway.stdout, "stderr": gateway.stderr, "/metrics": metrics}
        files = [path for path in gateway.data.rglob("*") if path.is_file()]
        return found | {str(path.relative_to(gateway.data)): path.read_bytes().decode("latin-1") for path in files}

    return read


async def test_no_canary_comes_out(start: Start, dial: Dial) -> None:
    gateway = start(
        {"answer_timeout": 1, "idle_timeout": 1, "head_timeout": 1},
        {
            "refusing": {"base_url": f"http://127.0.0.1:{free_port()}"},
            "nowhere": {"base_url": "http://no-such-host.invalid"},
            "secure": {"base_url": f"https://127.0.0.1:{free_port()}"},
        },
    )
    canaries = Canaries()
    for name, script in faults(canaries).items():
        async with Vendor(gateway.vendor_port, script):
            for path in (b"/echo/v1/chat/completions", b"/echo/v1beta/models/m:streamGenerateContent", b"/echo"):
                await attempt(dial, gateway.port, canaries.request(name, path))
                again = request(
                    path + b"?key=" + canaries.put(f"plain query of {name}"), b"POST", b"{}", canaries.fields(name)
                )
                await attempt(dial, gateway.port, again)
    for provider in (b"/refusing", b"/nowhere", b"/secure", b"/based/..", b"/nobody"):
        await attempt(dial, gateway.port, canaries.request("unreachable", provider))
    async with Vendor(gateway.vendor_port) as vendor:
        for raw in broken_requests(canaries):
            await attempt(dial, gateway.port, raw)
        await talk(vendor, dial, gateway, canaries)
        client = await dial(gateway.port)
        await client.send(canaries.request("left early", b"/echo")[:-10])
        client.reset()
    async with Vendor(gateway.vendor_port, once(then="keep")):
        await attempt(dial, gateway.port, canaries.request("stalled", b"/echo"))
    read = await outputs(gateway)
    assert gateway.stop() == 0
    told = read()
    assert '"status"' in told["stdout"] or "status" in told["stdout"], "there should be an access log"
    assert {place: canaries.escaped(text) for place, text in told.items() if canaries.escaped(text)} == {}


def test_canaries_are_found(tmp_path: Path) -> None:
    canaries = Canaries()
    raw = canaries.request("x", b"/echo")
    assert len(canaries.escaped(raw.decode())) == len(canaries.places) == 11
