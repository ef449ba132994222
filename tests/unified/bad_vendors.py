"""A vendor that fails in every way there is; the model's name says which. One that is not here answers well."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import NamedTuple

from tests.unified.caller import key_of, model_of
from tests.wire.ends import End
from tests.wire.messages import CHUNKED_HEAD, Message, answer, chunks, head
from tests.wire.vendor import Script, Vendor

LAST_CHUNK = chunks([])
JSON_TYPE = [(b"Content-Type", b"application/json")]
SSE_HEAD = CHUNKED_HEAD[:-2] + b"Content-Type: text/event-stream\r\n\r\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
TEXT = "From the raw vendor."
ERROR = {"error": {"message": "scripted failure", "type": "server_error", "code": "scripted"}}


def chunk(data: bytes) -> bytes:
    return chunks([data]).removesuffix(LAST_CHUNK)


def event(value: object, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


def part(text: str | None, finish: str | None = None, **more: object) -> bytes:
    """One chunk of a chat."""
    delta = {} if text is None else {"role": "assistant", "content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    value = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return event(value | more)


def document(usage: object = USAGE, text: str = TEXT, finish: str = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    value = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return json.dumps(value | ({"usage": usage} if usage is not None else {})).encode()


def good(message: Message) -> bytes:
    """A whole answer, as it was asked for."""
    if not json.loads(message.body).get("stream"):
        return answer(document(), fields=JSON_TYPE)
    events = part(TEXT) + part(None, "stop") + event({"object": "chat.completion.chunk", "choices": [], "usage": USAGE})
    return SSE_HEAD + chunk(events + b"data: [DONE]\n\n") + LAST_CHUNK


def status(code: int, *fields: tuple[bytes, bytes], error: object = ERROR) -> bytes:
    return answer(json.dumps(error).encode(), b"%d Scripted" % code, [*JSON_TYPE, *fields])


class Bad(NamedTuple):
    """What is sent for a plain answer and for a stream, and what then: keep (silence), close or reset.

    `counted`: the attempt's outcome in the metrics. `later`: what follows a stream once its begin has been seen.
    """

    counted: str
    plain: bytes
    stream: bytes
    then: str = "keep"
    later: bytes = b""


def _both(counted: str, data: bytes, then: str = "keep") -> Bad:
    return Bad(counted, data, data, then)


_BODY_BEGINS = head(b"HTTP/1.1 200 OK", [*JSON_TYPE, (b"Content-Length", b"500")])
_TWICE_FRAMED = head(b"HTTP/1.1 200 OK", [(b"Content-Length", b"2"), (b"Transfer-Encoding", b"chunked")])
_FALSE_GZIP = [(b"Content-Encoding", b"gzip"), *JSON_TYPE]
_REPLY = "bad_upstream_reply"

# Before the first byte for the client: another target answers.
BEFORE: dict[str, Bad] = {
    **{str(code): _both(str(code), status(code)) for code in (401, 402, 403, 408, 409, 429, 500, 502, 503, 529)},
    "429 for an hour": _both("429", status(429, (b"Retry-After", b"3600"))),
    "no answer": _both(_REPLY, b"", "close"),
    "reset": _both(_REPLY, b"", "reset"),
    "half a head": _both(_REPLY, b"HTTP/1.1 200 OK\r\nContent-", "close"),
    "another protocol": _both(_REPLY, b"220 mail.test ESMTP\r\n\r\n"),
    "framed twice": _both(_REPLY, _TWICE_FRAMED + b"0\r\n\r\n"),
    "silence": _both("upstream_timeout", b""),
    "silence after the head": Bad("upstream_timeout", _BODY_BEGINS, SSE_HEAD),
    "silence in the first event": Bad("upstream_timeout", _BODY_BEGINS + b"{", SSE_HEAD + chunk(part("Hi")[:40])),
    "cut": Bad(_REPLY, _BODY_BEGINS + b'{"id": ', SSE_HEAD, "reset"),
    "cut by a clean close": Bad(_REPLY, _BODY_BEGINS + b'{"id": ', SSE_HEAD, "close"),
    "cut in the first event": Bad(_REPLY, _BODY_BEGINS + b"{", SSE_HEAD + chunk(part("Hi")[:40]), "reset"),
    "error in 200": Bad("500", status(200), SSE_HEAD + chunk(event(ERROR)) + LAST_CHUNK),
    "named error in 200": Bad("500", status(200), SSE_HEAD + chunk(event(ERROR, "error")) + LAST_CHUNK),
    "error instead of a stream": Bad("500", status(200), status(200)),
    "bad chunk": Bad(_REPLY, CHUNKED_HEAD + b"zz\r\n{}\r\n", SSE_HEAD + b"zz\r\n"),
    "bad json": Bad("502", answer(b'{"choices": [}', fields=JSON_TYPE), SSE_HEAD + chunk(b"data: {{\n\n") + LAST_CHUNK),
    "empty": Bad("502", answer(b"", fields=JSON_TYPE), SSE_HEAD + LAST_CHUNK),
    "only comments": Bad("502", answer(b"", fields=JSON_TYPE), SSE_HEAD + chunk(b": ping\n\n") + LAST_CHUNK),
    "only a terminator": Bad("502", answer(b"", fields=JSON_TYPE), SSE_HEAD + chunk(b"data: [DONE]\n\n") + LAST_CHUNK),
    "a page": _both("502", answer(b"<html>busy</html>", fields=[(b"Content-Type", b"text/html")])),
    "false gzip": _both("502", answer(b"not gzip at all", fields=_FALSE_GZIP)),
}  # fmt: skip

_FIRST = SSE_HEAD + chunk(part("Hi"))
_LATER = {
    "later reset": (_REPLY, b"", "reset"),
    "later close": (_REPLY, b"", "close"),
    "later end": (_REPLY, LAST_CHUNK, "keep"),
    "later silence": ("upstream_timeout", b"", "keep"),
    "later bad chunk": (_REPLY, b"zz\r\n", "keep"),
    "later bad json": ("502", chunk(b"data: {{\n\n") + LAST_CHUNK, "keep"),
    "later error": ("500", chunk(event(ERROR)) + LAST_CHUNK, "keep"),
    "later named error": ("500", chunk(event(ERROR, "error")) + LAST_CHUNK, "keep"),
}
# After it: the client sees a cut, and nobody else is asked. Their plain answers are good.
AFTER: dict[str, Bad] = {
    name: Bad(counted, answer(document(), fields=JSON_TYPE), _FIRST, then, later)
    for name, (counted, later, then) in _LATER.items()
}
# The same in one piece: nothing was released when it failed.
AT_ONCE: dict[str, Bad] = {
    name.replace("later", "at once"): Bad(counted, status(int(counted)), _FIRST + later)
    for name, (counted, later, _) in _LATER.items()
    if "error" in name or "json" in name
}


class Playing:
    """A vendor that fails as the model's name says; of those in `times` only so often, and then it answers well.

    `seen(MODEL)`: a client has got the begin of that stream, so the vendor may go on.
    """

    def __init__(self, *tables: dict[str, Bad], times: dict[str, int] | None = None) -> None:
        self._bad = {name: bad for table in tables for name, bad in table.items()}
        self._times = times or {}
        self._calls: Counter[str] = Counter()
        self._seen: dict[str, asyncio.Event] = {}

    def seen(self, model: str) -> asyncio.Event:
        return self._seen.setdefault(model, asyncio.Event())

    async def __call__(self, vendor: Vendor, end: End) -> None:
        while (message := await vendor.next_request(end)) is not None:
            name = model_of(message)
            self._calls[name] += 1
            bad = self._bad.get(name)
            if bad is None or self._calls[name] > self._times.get(name, self._calls[name]):
                await end.send(good(message))
            elif not json.loads(message.body).get("stream"):
                await end.send(bad.plain)
            else:
                await end.send(bad.stream)
                if name in AFTER:
                    await self.seen(name).wait()
                    await end.send(bad.later)
            if bad is not None and bad.then != "keep":
                getattr(end, bad.then)()
                return


def by_key(refusals: dict[str, bytes]) -> Script:
    """A vendor that refuses some keys."""

    async def script(vendor: Vendor, end: End) -> None:
        while (message := await vendor.next_request(end)) is not None:
            await end.send(refusals.get(key_of(message)) or good(message))

    return script
