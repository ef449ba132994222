"""Three WebSocket libraries, each playing the same scripted conversation."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import picows
import websocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.wire.ends import PATIENCE

Message = str | bytes
Headers = dict[str, str]


class Step(NamedTuple):
    """What is said, and which message ends the wait after it; None: the vendor closes."""

    say: Sequence[Message]
    until: Callable[[Message], bool] | None


@dataclass
class Heard:
    """What came, and the code that the vendor closed with (0: it was the client that closed)."""

    messages: list[Message] = field(default_factory=list)
    code: int = 0


Talk = Callable[[str, Headers, Sequence[Step]], Heard]


def with_websockets(url: str, headers: Headers, steps: Sequence[Step]) -> Heard:
    heard = Heard()
    with connect(url, additional_headers=headers, max_size=None) as ws:
        for say, until in steps:
            for message in say:
                ws.send(message)
            try:
                while True:
                    heard.messages.append(ws.recv(PATIENCE))
                    if until is not None and until(heard.messages[-1]):
                        break
            except ConnectionClosed as closed:
                heard.code = closed.rcvd.code if closed.rcvd else 1006
                break
    return heard


def with_websocket_client(url: str, headers: Headers, steps: Sequence[Step]) -> Heard:
    """As it is mostly used: a thread reads, another one writes."""
    incoming: queue.Queue[Message | int] = queue.Queue()
    ws = websocket.create_connection(url, header=headers, timeout=PATIENCE)
    thread = threading.Thread(target=_read, args=(ws, incoming))
    thread.start()
    try:
        return _converse(ws, incoming, steps)
    finally:
        ws.close()
        ws.shutdown()  # type: ignore[no-untyped-call]  # where the vendor closed first, `close` leaves the TCP connection open
        thread.join(PATIENCE)


def _read(ws: websocket.WebSocket, incoming: queue.Queue[Message | int]) -> None:
    kind, data = websocket.ABNF.OPCODE_CONT, b""
    while kind != websocket.ABNF.OPCODE_CLOSE:
        try:
            kind, data = ws.recv_data()
        except (OSError, websocket.WebSocketException):
            return incoming.put(1006)
        if kind in (websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY):
            incoming.put(data.decode() if kind == websocket.ABNF.OPCODE_TEXT else data)
    return incoming.put(int.from_bytes(data[:2], "big"))


def _converse(ws: websocket.WebSocket, incoming: queue.Queue[Message | int], steps: Sequence[Step]) -> Heard:
    heard = Heard()
    for say, until in steps:
        for message in say:
            binary = isinstance(message, bytes)
            ws.send(message, websocket.ABNF.OPCODE_BINARY if binary else websocket.ABNF.OPCODE_TEXT)
        while True:
            found = incoming.get(timeout=PATIENCE)
            if isinstance(found, int):
                heard.code = found
                return heard
            heard.messages.append(found)
            if until is not None and until(found):
                break
    return heard


class _Listener(picows.WSListener):
    """Puts the frames of a message together; picows gives them as they come."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Message | int] = asyncio.Queue()
        self._parts: list[bytes] = []
        self._text = False

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.CLOSE:
            code: Any = frame.get_close_code()  # in truth a plain number
            self.incoming.put_nowait(code)
            transport.send_close(code, frame.get_close_message())
            transport.disconnect()
            return
        if frame.msg_type in (picows.WSMsgType.PING, picows.WSMsgType.PONG):
            return
        if frame.msg_type != picows.WSMsgType.CONTINUATION:
            self._text = frame.msg_type == picows.WSMsgType.TEXT
        self._parts.append(frame.get_payload_as_bytes())
        if frame.fin:
            message = b"".join(self._parts)
            self._parts.clear()
            self.incoming.put_nowait(message.decode() if self._text else message)


async def _picows(url: str, headers: Headers, steps: Sequence[Step]) -> Heard:
    heard = Heard()
    transport, listener = await picows.ws_connect(_Listener, url, extra_headers=headers)
    assert isinstance(listener, _Listener)
    for say, until in steps:
        for message in say:
            kind = picows.WSMsgType.BINARY if isinstance(message, bytes) else picows.WSMsgType.TEXT
            transport.send(kind, message if isinstance(message, bytes) else message.encode())
        while True:
            found = await asyncio.wait_for(listener.incoming.get(), PATIENCE)
            if isinstance(found, int):
                heard.code = found
                await transport.wait_disconnected()
                return heard
            heard.messages.append(found)
            if until is not None and until(found):
                break
    transport.send_close(picows.WSCloseCode.OK)
    await transport.wait_disconnected()
    return heard


def with_picows(url: str, headers: Headers, steps: Sequence[Step]) -> Heard:
    return asyncio.run(_picows(url, headers, steps))


LIBRARIES: dict[str, Talk] = {
    "websockets": with_websockets,
    "websocket-client": with_websocket_client,
    "picows": with_picows,
}


def socket_url(base: str, path: str) -> str:
    return base.replace("http://", "ws://", 1) + path
