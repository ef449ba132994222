"""The echo, and what a script does to a session, seen by different clients and on the bare socket."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import picows
import pytest
import websocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from gateway.sandbox import app
from gateway.sandbox.ws_script import DIRECTIVES, BadDirective, Script, _parse, split_model

KEY = {"Authorization": "Bearer k"}


@pytest.fixture
async def sandbox() -> AsyncIterator[app.Running]:
    running = await app.start()
    yield running
    await running.stop()


def echo(sandbox: app.Running, query: str = "") -> str:
    return f"ws://127.0.0.1:{sandbox.port}/_sandbox/ws-echo{query}"


# -- the echo --


@pytest.mark.parametrize("query", ["", "?x-sandbox-deflate=off", "?x-sandbox-fragment=7", "?x-sandbox-ping=1"])
@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_echo_by_websockets(sandbox: app.Running, query: str, compression: str | None) -> None:
    async with connect(echo(sandbox, query), compression=compression, max_size=None) as ws:
        for message in ("", "ä€🎉" * 100, b"", bytes(range(256)) * 5, b"\0" * (3000 if "fragment" in query else 70000)):
            await ws.send(message)
            assert await ws.recv() == message
        await ws.send(["frag", "ments ", "of a text"])
        assert await ws.recv() == "fragments of a text"
        await (await ws.ping(b"payload"))
        await ws.close(4321, "so long")
    assert (ws.close_code, ws.close_reason) == (4321, "so long")


async def test_echo_takes_the_first_subprotocol_and_shows_the_handshake(sandbox: app.Running) -> None:
    protocols = [websockets_protocol(name) for name in ("second.v2", "first")]
    target = echo(sandbox, "?hello=1&x=%41")
    async with connect(target, subprotocols=protocols, additional_headers={"X-One": "1"}) as ws:
        hello = json.loads(await ws.recv())
        assert ws.subprotocol == hello["protocol"] == "second.v2"
        assert hello["target"] == "/_sandbox/ws-echo?hello=1&x=%41"
        assert ["X-One", "1"] in hello["headers"]
        assert hello["deflate"] is True


def websockets_protocol(name: str) -> Any:
    return name


async def test_echo_negotiates_compression(sandbox: app.Running) -> None:
    offers = [
        [ClientPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)],
        [ClientPerMessageDeflateFactory(server_max_window_bits=10)],
    ]
    for offer in offers:
        for query in ("", "?x-sandbox-fragment=5"):
            async with connect(echo(sandbox, query), compression=None, extensions=offer) as ws:
                for message in ("abc" * 1000, "abc" * 1000):
                    await ws.send(message)
                    assert await ws.recv() == message


async def test_echo_by_websocket_client(sandbox: app.Running) -> None:
    def talk() -> tuple[object, ...]:
        ws: Any = websocket.create_connection(echo(sandbox), subprotocols=["p"], timeout=10)
        ws.send("text")
        text = ws.recv()
        ws.send_binary(b"\x00\xff")
        binary = ws.recv()
        ws.ping(b"hi")
        pong = ws.recv_data(control_frame=True)
        ws.pong(b"unasked")
        unasked = ws.recv_data(control_frame=True)
        ws.send_close(4000, b"done")
        close = ws.recv_data(control_frame=True)
        ws.shutdown()
        return ws.getsubprotocol(), text, binary, pong, unasked, close

    protocol, text, binary, pong, unasked, close = await asyncio.to_thread(talk)
    assert (protocol, text, binary) == ("p", "text", b"\x00\xff")
    assert pong == (websocket.ABNF.OPCODE_PONG, b"hi")
    assert unasked == (websocket.ABNF.OPCODE_PONG, b"unasked")
    assert close == (websocket.ABNF.OPCODE_CLOSE, (4000).to_bytes(2, "big") + b"done")


async def test_echo_by_picows(sandbox: app.Running) -> None:
    got: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    class Listener(picows.WSListener):
        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            got.put_nowait((frame.msg_type.value, frame.get_payload_as_bytes()))

    transport, _ = await picows.ws_connect(Listener, echo(sandbox, "?x-sandbox-fragment=4"))
    transport.send(picows.WSMsgType.BINARY, b"123456789")
    frames = [await asyncio.wait_for(got.get(), 10) for _ in range(3)]
    assert frames == [(2, b"1234"), (0, b"5678"), (0, b"9")]
    transport.send_ping(b"x")
    assert await asyncio.wait_for(got.get(), 10) == (10, b"x")
    transport.send_close(picows.WSCloseCode.GOING_AWAY)
    assert (await asyncio.wait_for(got.get(), 10))[0] == 8
    transport.disconnect()
    await transport.wait_disconnected()


Raw = tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]


async def raw(sandbox: app.Running, path: str, extra: str = "") -> Raw:
    """A handshake by hand; the streams, and the head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    head = f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer k\r\n"
    head += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{extra}\r\n"
    writer.write(head.encode())
    return reader, writer, await reader.readuntil(b"\r\n\r\n")


def masked(opcode: int, data: bytes) -> bytes:
    return bytes((0x80 | opcode, 0x80 | len(data))) + bytes(4) + data


async def test_fragments_and_their_bits(sandbox: app.Running) -> None:
    """The first fragment has opcode and RSV1, the last FIN; together they inflate to the message."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    reader, writer, head = await raw(sandbox, "/_sandbox/ws-echo?x-sandbox-fragment=3", offer)
    assert b"permessage-deflate" in head
    writer.write(masked(1, b"hello hello hello"))
    bits: list[int] = []
    data = b""
    while not bits or not bits[-1] & 0x80:
        first, size = await reader.readexactly(2)
        bits.append(first)
        data += await reader.readexactly(size)
    assert (bits[0], set(bits[1:-1]), bits[-1]) == (0x41, {0x00}, 0x80)
    assert zlib.decompressobj(-15).decompress(data + b"\x00\x00\xff\xff") == b"hello hello hello"
    writer.close()


async def test_a_close_without_a_code_is_answered_without_one(sandbox: app.Running) -> None:
    reader, writer, _ = await raw(sandbox, "/_sandbox/ws-echo")
    writer.write(masked(8, b""))
    assert await reader.readexactly(2) == b"\x88\x00"
    writer.close()


# -- directives, on a vendor --


def minimax(sandbox: app.Running, query: str = "") -> str:
    return f"ws://127.0.0.1:{sandbox.port}/minimax/ws/v1/t2a_v2{query}"


async def started(url: str, headers: dict[str, str] | None = None) -> tuple[list[str], ConnectionClosed | None]:
    """The events of a started task, up to 40 of them, and how the connection ended if it did."""
    start = {"event": "task_start", "model": "speech-2.8-hd", "voice_setting": {"voice_id": "v"}}
    start["audio_setting"] = {"format": "pcm"}
    events = []
    async with connect(url, additional_headers=KEY | (headers or {}), compression=None) as ws:
        try:
            await ws.send(json.dumps(start))
            await ws.send(json.dumps({"event": "task_continue", "text": "x" * 100}))
            for _ in range(40):
                events.append(json.loads(await ws.recv())["event"])
        except ConnectionClosed as closed:
            return events, closed
    return events, None


@pytest.mark.parametrize("where", ["query", "header"])
async def test_cut_resets_without_a_close_frame(sandbox: app.Running, where: str) -> None:
    query, headers = ("?x-sandbox-cut=3", {}) if where == "query" else ("", {"x-sandbox-cut": "3"})
    events, closed = await started(minimax(sandbox, query), headers)
    assert events == ["connected_success", "task_started", "task_continued"]
    assert isinstance(closed, ConnectionClosedError)
    assert closed.rcvd is None


async def test_end_closes_properly(sandbox: app.Running) -> None:
    events, closed = await started(minimax(sandbox, "?x-sandbox-end=2&x-sandbox-close=1011"))
    assert events == ["connected_success", "task_started"]
    assert closed is not None
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1011


async def test_stall_says_nothing_more(sandbox: app.Running) -> None:
    async with connect(minimax(sandbox, "?x-sandbox-stall=60@1"), additional_headers=KEY, close_timeout=0.1) as ws:
        assert json.loads(await ws.recv())["event"] == "connected_success"
        await ws.send(json.dumps({"event": "task_finish"}))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ws.recv(), 0.3)


async def test_ping_comes_before_messages(sandbox: app.Running) -> None:
    reader, writer, _ = await raw(sandbox, "/minimax/ws/v1/t2a_v2?x-sandbox-ping=1")
    assert await reader.readexactly(3) == b"\x89\x010"
    assert (await reader.readexactly(1))[0] == 0x81
    writer.close()


async def test_compression_only_if_wanted(sandbox: app.Running) -> None:
    for query, count in (("", 0), ("?x-sandbox-deflate=on", 1)):
        async with connect(minimax(sandbox, query), additional_headers=KEY) as ws:
            assert len(ws.protocol.extensions) == count
            assert json.loads(await ws.recv())["event"] == "connected_success"


async def test_refusals_of_the_handshake(sandbox: app.Running) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(minimax(sandbox, "?x-sandbox-status=529"), additional_headers=KEY):
            pass
    assert refused.value.response.status_code == 529
    with pytest.raises((InvalidMessage, EOFError, ConnectionError)):
        async with connect(minimax(sandbox, "?x-sandbox-refuse=1"), additional_headers=KEY):
            pass
    with pytest.raises(InvalidStatus) as refused:
        async with connect(minimax(sandbox, "?x-sandbox-colour=red"), additional_headers=KEY):
            pass
    assert refused.value.response.status_code == 400
    assert b"unknown directive 'colour'" in (refused.value.response.body or b"")


async def test_a_plain_get_is_told_to_upgrade(sandbox: app.Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    writer.write(b"GET /minimax/ws/v1/t2a_v2 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 426 ")
    assert b"Upgrade: websocket" in head
    writer.close()


async def test_the_model_may_carry_the_script(sandbox: app.Running) -> None:
    for joint in ("+", "%2B"):
        url = f"ws://127.0.0.1:{sandbox.port}/openai/v1/realtime?model=gpt-realtime{joint}end=1{joint}close=1013"
        async with connect(url, additional_headers=KEY) as ws:
            assert json.loads(await ws.recv())["session"]["model"] == "gpt-realtime"
            with pytest.raises(ConnectionClosed):
                await ws.recv()
        assert ws.close_code == 1013


async def test_a_silent_client_that_vanishes_leaves_nothing_behind(sandbox: app.Running) -> None:
    before = len(asyncio.all_tasks())
    _, writer, _ = await raw(sandbox, "/openai/v1/realtime?model=gpt-realtime")
    writer.transport.abort()
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.01)


def test_every_directive_is_documented() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "sandbox.md").read_text("utf-8")
    section = page.partition("## WebSocket vendors")[2]
    rows = {tuple(cell.strip() for cell in line.split("|")[1:3]) for line in section.splitlines() if line[:3] == "| `"}
    assert {(f"`{name}`", directive.form) for name, directive in DIRECTIVES.items()} <= rows


def test_directives_are_read_strictly() -> None:
    assert split_model("m+cut=3 pace=2") == ("m", ["cut=3", "pace=2"])
    assert {field.name for field in fields(Script)} == set(DIRECTIVES)
    for name, value in [("cut", "x"), ("close", "99"), ("deflate", "yes"), ("status", "200"), ("fragment", "0")]:
        with pytest.raises(BadDirective):
            _parse(name, value)
