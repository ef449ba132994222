"""`/_sandbox/ws-echo`: sends everything back as it came, for whoever tests what lies between.

Text and binary come back as they are, a ping as a pong, a pong as a pong, a close with its code and reason. The first
subprotocol that the client offers is taken; permessage-deflate is on if offered. With `?hello=1` the first message
tells the handshake as it arrived: target, header fields in order, subprotocol, and whether messages are compressed.
"""

from __future__ import annotations

from aiohttp import WSMsgType, web

from gateway.sandbox import deliver
from gateway.sandbox.ws_session import MAX_MESSAGE, Connection, Fault, Hangup, Refused, dumps, prelude

IDS = ("_sandbox",)
_NO_STATUS = 1005


async def echo(request: web.Request) -> web.StreamResponse:
    try:
        script = await prelude(request)
    except Refused as refused:
        return web.json_response({"error": {"message": refused.message}}, status=refused.status)
    if script.refuse:
        return deliver.refuse(request)
    offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    ws = web.WebSocketResponse(
        protocols=offered[:1], compress=script.deflate is not False, autoping=False, autoclose=False, timeout=2,
        max_msg_size=MAX_MESSAGE,
    )  # fmt: skip
    await ws.prepare(request)
    connection = Connection(request, ws, script)
    try:
        if request.query.get("hello"):
            await connection.send_text(_hello(request, ws))
        await _echo(connection, ws)
    except Hangup:
        pass
    except Fault as fault:
        await connection.close(1011, fault.message)
    return ws


async def _echo(connection: Connection, ws: web.WebSocketResponse) -> None:
    while True:
        message = await ws.receive()
        if message.type is WSMsgType.TEXT:
            await connection.send_text(message.data)
        elif message.type is WSMsgType.BINARY:
            await connection.send_bytes(message.data)
        elif message.type in (WSMsgType.PING, WSMsgType.PONG):
            await ws.pong(message.data)
        elif message.type is WSMsgType.CLOSE:
            await _close(ws, message.data, message.extra)
            if connection.request.transport:
                connection.request.transport.close()  # else aiohttp sends a close of its own behind it
            return
        else:
            return


async def _close(ws: web.WebSocketResponse, code: int, reason: str | None) -> None:
    """The client's own code and reason; a close without a code is answered without one."""
    if code in (0, _NO_STATUS):
        await ws.send_frame(b"", WSMsgType.CLOSE)
    else:
        await ws.send_frame(code.to_bytes(2, "big") + (reason or "").encode(), WSMsgType.CLOSE)


def _hello(request: web.Request, ws: web.WebSocketResponse) -> str:
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers]
    return dumps(
        {"target": request.raw_path, "headers": headers, "protocol": ws.ws_protocol, "deflate": bool(ws.compress)}
    )


def routes(prefix: str) -> list[web.RouteDef]:
    return [web.get(f"{prefix}/ws-echo", echo)]
