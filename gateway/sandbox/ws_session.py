"""What all WebSocket vendors share: the handshake, one scripted connection, and the loop of a session.

A vendor is an `Endpoint`: how it authorises, how it words a refusal, and the `Session` that talks. A session answers
messages by `on_text` and `on_binary`; what it does not accept it raises as `Fault`, which `on_fault` words as that
vendor does. `Hangup` unwinds a session whose connection is gone, by the client or by the script.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import struct
import zlib
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import WSMsgType, web

from gateway.sandbox import deliver
from gateway.sandbox.call import count
from gateway.sandbox.ws_script import BadDirective, Script, read, split_model

MAX_MESSAGE = 16 << 20
_NUMBERS = itertools.count(1)
_TAIL = b"\x00\x00\xff\xff"

Json = dict[str, Any]
T = TypeVar("T")


class Refused(Exception):
    """The handshake (or plain HTTP call) is refused with this status, in the vendor's words."""

    def __init__(self, status: int, message: str, code: str | int = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Fault(Exception):
    """Something the vendor does not accept. `code` is the vendor's; None stands for its internal error."""

    def __init__(self, code: str | int | None, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


class Hangup(Exception):
    """Nobody is there any more."""


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def loads(text: str | bytes) -> Json:
    """A JSON object; anything else raises ValueError."""
    try:
        value = json.loads(text)
    except RecursionError as exc:
        raise ValueError("nested too deep") from exc
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


class _Required:
    pass


class _Any(Container[Any]):
    def __contains__(self, item: object) -> bool:
        return True


_REQUIRED = _Required()
ANY = _Any()
BAD_FIELD = "bad_field"


def get(body: Json, path: str, kind: type[T], default: T | _Required = _REQUIRED, among: Container[T] = ANY) -> T:
    """The value at a dotted path; raises Fault(BAD_FIELD) where it is missing, of another type or not `among` those."""
    value: Any = body
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        if isinstance(default, _Required):
            raise Fault(BAD_FIELD, f"missing required parameter {path!r}", path)
        return default
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise Fault(BAD_FIELD, f"{path!r} must be {kind.__name__}, not {type(value).__name__}", path)
    if value not in among:
        raise Fault(BAD_FIELD, f"{path!r} has an unsupported value {value!r}", path)
    found: T = value
    return found


class Connection:
    """One accepted WebSocket; counts and sends the vendor's messages as the script says."""

    def __init__(self, request: web.Request, ws: web.WebSocketResponse, script: Script) -> None:
        self.request = request
        self.script = script
        self.number = next(_NUMBERS)
        self._ws = ws
        self._sent = 0
        self._failed = False
        self._lock = asyncio.Lock()  # a message, with its ping and its fragments, is sent whole

    @property
    def protocol(self) -> str | None:
        return self._ws.ws_protocol

    async def send_json(self, value: object) -> None:
        await self.send_text(dumps(value))

    async def send_text(self, text: str) -> None:
        await self._send(text.encode(), WSMsgType.TEXT)

    async def send_bytes(self, data: bytes) -> None:
        await self._send(data, WSMsgType.BINARY)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._ws.close(code=code, message=reason.encode()[:123])

    async def receive(self, timeout: float | None = None) -> str | bytes:
        """The next message; raises TimeoutError, or Hangup when there is none any more.

        A breach of the WebSocket protocol ends them too: aiohttp answers it.
        """
        message = await self._ws.receive(timeout)
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            raise Hangup
        data: str | bytes = message.data
        return data

    async def _send(self, data: bytes, kind: WSMsgType) -> None:
        async with self._lock:
            script = self.script
            if self._sent == script.fail and not self._failed:
                self._failed = True
                raise Fault(None, "the sandbox was told to fail")
            if script.pace:
                await asyncio.sleep(script.pace / 1000)
            try:
                if script.ping and (self._sent + 1) % script.ping == 0:
                    await self._ws.ping(str(self._sent).encode())
                await self._write(data, kind)
            except ConnectionError as exc:
                raise Hangup from exc
            self._sent += 1
            await self._after_message()

    async def _after_message(self) -> None:
        script = self.script
        if script.stall and script.stall.messages == self._sent:
            await self._silence(script.stall.seconds)
        if script.cut == self._sent:
            await deliver.reset(self.request)
            raise Hangup
        if script.end == self._sent:
            await self.close(script.close, "as the script says")
            raise Hangup

    async def _silence(self, seconds: float) -> None:
        """Nothing is sent or read, but a connection that is gone ends it."""
        for _ in range(int(seconds * 50)):
            if self.request.transport is None or self.request.transport.is_closing():
                raise Hangup
            await asyncio.sleep(0.02)

    async def _write(self, data: bytes, kind: WSMsgType) -> None:
        if self.script.fragment is None:
            await self._ws.send_frame(data, kind)
            return
        transport = self.request.transport
        if transport is None or transport.is_closing() or self._ws.closed:
            raise Hangup
        bits = int(self._ws.compress)
        if bits:
            # A fresh compressor each time: legal whatever was negotiated, and it leaves aiohttp's own alone.
            compressor = zlib.compressobj(wbits=-max(bits, 9))
            data = (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)
        transport.write(b"".join(_fragments(data, kind, self.script.fragment, compressed=bool(bits))))


def _fragments(data: bytes, kind: int, size: int, compressed: bool) -> Iterable[bytes]:
    starts = range(0, max(len(data), 1), size)
    for start in starts:
        piece = data[start : start + size]
        head = (kind | (0x40 if compressed else 0)) if start == 0 else 0
        final = 0x80 if start == starts[-1] else 0
        if len(piece) < 126:
            yield bytes((final | head, len(piece))) + piece
        elif len(piece) < 1 << 16:
            yield struct.pack(">BBH", final | head, 126, len(piece)) + piece
        else:
            yield struct.pack(">BBQ", final | head, 127, len(piece)) + piece


class Session:
    """One client's dialogue with a vendor."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.patience: float | None = None  # seconds without a message before `on_silence`
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Says what the vendor says first."""

    async def on_text(self, text: str) -> None:
        raise NotImplementedError

    async def on_binary(self, data: bytes) -> None:
        raise NotImplementedError

    async def on_silence(self) -> None:
        raise NotImplementedError

    async def on_fault(self, fault: Fault) -> None:
        raise NotImplementedError

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Speaks while the session goes on listening; ends with the session."""
        task = asyncio.create_task(self._aside(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # a task cancelled before its first step never awaits its work
        return task

    async def serve(self) -> None:
        try:
            await self._guard(self.begin())
            while True:
                await self._guard(self._next())
        except Hangup:
            return
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _next(self) -> None:
        try:
            message = await self.connection.receive(self.patience)
        except TimeoutError:
            await self.on_silence()
            return
        await (self.on_text(message) if isinstance(message, str) else self.on_binary(message))

    async def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(Hangup):
            await self._guard(work)

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Fault as fault:
            await self.on_fault(fault)


def _no_headers(request: web.Request) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Endpoint:
    """One WebSocket path of a vendor. `authorize` raises Refused; `refusal` is the body of a refusal."""

    session: Callable[[Connection], Session]
    authorize: Callable[[web.Request], None]
    refusal: Callable[[Refused], Json]
    protocols: tuple[str, ...] = ()
    headers: Callable[[web.Request], Mapping[str, str]] = field(default=_no_headers)
    deflate: bool = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            script = await prelude(request)
            if script.refuse:
                return deliver.refuse(request)
            self.authorize(request)
        except Refused as refused:
            return web.json_response(self.refusal(refused), status=refused.status, headers=self.headers(request))
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(status=426, headers={"Upgrade": "websocket"}, text="this is a WebSocket endpoint\n")
        ws = web.WebSocketResponse(
            protocols=self.protocols,
            compress=self.deflate if script.deflate is None else script.deflate,
            max_msg_size=MAX_MESSAGE,
            timeout=2,
        )
        ws.headers.update(self.headers(request))
        vendor, path = request.path[1:].split("/", 1)
        count(request, vendor, split_model(request.query.get("model", ""))[0] or path)
        await ws.prepare(request)
        await self.session(Connection(request, ws, script)).serve()
        await ws.close()
        return ws


async def prelude(request: web.Request) -> Script:
    """What the script says about the time before the answer; raises Refused where it says so."""
    try:
        script = read(request)
    except BadDirective as exc:
        raise Refused(400, str(exc)) from exc
    if script.stall and script.stall.messages is None:
        await asyncio.sleep(script.stall.seconds)
    if script.status:
        raise Refused(script.status, f"the sandbox was told to answer {script.status}")
    return script


def bearer(request: web.Request) -> str | None:
    """The Bearer credential; None for none, another scheme, or one that counts as wrong here (it contains `bad`)."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" and key and "bad" not in key else None
