"""One call to a simulated vendor: reads it, lets the script interfere, and has its handler answer it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web

from gateway.sandbox import content, deliver
from gateway.sandbox.script import BadDirective, Script, read, split_model
from gateway.sandbox.vendor import Refusal, Vendor, scripted

CALLS: web.AppKey[Counter[tuple[str, str]]] = web.AppKey("calls", Counter)
STORE: web.AppKey[dict[str, Any]] = web.AppKey("store", dict)
STORE_LIMIT = 1000
RETRY_AFTER = {429, 503, 529}


def count(request: web.Request, vendor_id: str, model: str) -> int:
    """Notes a call; how many of this vendor and model there were, with this one."""
    calls = request.app[CALLS]
    calls[vendor_id, model] += 1
    return calls[vendor_id, model]


class Call:
    """A request with its script. `model` is the name as sent; `base_model` is it without directives."""

    def __init__(self, request: web.Request, vendor: Vendor, raw: bytes, form: dict[str, Any] | None) -> None:
        self.request = request
        self.vendor = vendor
        self.raw = raw
        self.form = form
        self.body: dict[str, Any] = {}
        self.problem: Refusal | None = None
        self.created = int(time.time())
        self.model = request.match_info.get("model", "")
        if form is not None:
            self.body = {name: value for name, value in form.items() if isinstance(value, str)}
        elif request.method in ("POST", "PUT", "PATCH"):
            self._parse(raw)
        named = self.body.get("model", self.body.get("Model"))
        if isinstance(named, str):
            self.model = named
        self.base_model, directives = split_model(self.model)
        calls = count(request, vendor.id, self.model or request.path)
        self.number = sum(request.app[CALLS].values())
        self.script = read(request.headers, directives)
        if self.script.times is not None and calls > self.script.times:
            self.script = Script()
        seed = (vendor.id, request.path, raw if form is None else sorted(self.body.items()))
        self.digest = content.digest(*seed)
        self.request_id = content.digest("request", self.number, *seed, length=32)

    def _parse(self, raw: bytes) -> None:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError) as exc:
            self.problem = Refusal("json", f"We could not parse the JSON body of your request. ({exc})")
            return
        if isinstance(value, dict):
            self.body = value
        else:
            self.problem = Refusal("json", "The JSON body of the request must be an object.")

    @property
    def account(self) -> str:
        """Whose call this is, by its key: what a vendor signs for one account it does not know at another."""
        given = self.request.headers
        key = given.get("x-api-key") or given.get("x-goog-api-key") or self.request.query.get("key")
        return content.digest("account", key or given.get("Authorization", "").partition(" ")[2].strip(), length=16)

    def id(self, prefix: str, *salt: object, length: int = 24) -> str:
        """An id that depends on the request's bytes only."""
        return prefix + content.letters(self.digest, prefix, *salt, length=length)

    def url(self, path: str) -> str:
        """An address of the sandbox itself, as this client reached it."""
        return f"http://{self.request.host}{path}"

    def keep(self, key: str, value: Any) -> None:
        """Remembers a value for later calls; the oldest is forgotten."""
        store = self.request.app[STORE]
        store[key] = value
        if len(store) > STORE_LIMIT:
            del store[next(iter(store))]

    def kept(self, key: str) -> Any:
        return self.request.app[STORE].get(key)

    # -- answers --

    async def json(self, value: Any, status: int = 200, lead: bytes = b"", **headers: str) -> web.StreamResponse:
        data = lead + content.compact(value).encode()
        return await self.blob(data, "application/json", status, **headers)

    async def blob(self, data: bytes, kind: str, status: int = 200, **headers: str) -> web.StreamResponse:
        if self.script.fault == "bad_json" and kind.startswith("application/json"):
            data = data[:-1] + b",,"
        return await deliver.body(self.request, self.script, data, self._headers(kind, headers), status)

    async def events(
        self, events: Iterable[bytes], kind: str = "text/event-stream", tail: bytes = b"", **headers: str
    ) -> web.StreamResponse:
        """A stream; `tail` is the terminator, left out where the script ends the stream early."""
        if self.script.error200 is not None:
            tail = b""
        return await deliver.stream(self.request, self.script, events, self._headers(kind, headers), tail)

    async def error(self, refusal: Refusal) -> web.StreamResponse:
        status, value = self.vendor.render(refusal, self.request_id)
        headers: dict[str, str] = {}
        if status in RETRY_AFTER:
            headers["Retry-After"] = str(1 if self.script.retry_after is None else self.script.retry_after)
        return await self.json(value, status, b"", **headers)

    def _headers(self, kind: str, more: dict[str, str]) -> dict[str, str]:
        return {"Content-Type": kind, **self.vendor.headers(self.request_id), **more}


Handle = Callable[[Call], Awaitable[web.StreamResponse]]


async def _read(request: web.Request) -> tuple[bytes, dict[str, Any] | None]:
    if not request.content_type.startswith("multipart/"):
        return await request.read(), None
    # The first field of each name; under `*` all of them in order, for names that repeat.
    form: dict[str, Any] = {}
    for name, value in (await request.post()).items():
        data = value if isinstance(value, str) else value.file.read()  # type: ignore[union-attr]
        form.setdefault(name, data)
        form.setdefault("*", []).append((name, data))
    return b"", form


def endpoint(vendor: Vendor, handle: Handle) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler as aiohttp wants it, from one that may raise a Refusal."""

    async def answer(request: web.Request) -> web.StreamResponse:
        raw, form = await _read(request)
        try:
            call = Call(request, vendor, raw, form)
        except BadDirective as exc:
            return web.json_response({"error": {"type": "sandbox_error", "message": str(exc)}}, status=400)
        script = call.script
        if script.stall and script.stall.events is None:
            await asyncio.sleep(script.stall.seconds)
        if script.refuse:
            return deliver.refuse(request)
        try:
            if script.status is not None and script.status >= 400:
                raise scripted(script.status)
            vendor.auth(request)
            if call.problem:
                raise call.problem
            return await handle(call)
        except ConnectionResetError:
            return web.Response()  # the client has left; nobody reads this
        except Refusal as refusal:
            return await call.error(refusal)
        except (AttributeError, KeyError, TypeError) as exc:
            # Tables name the fields that callers get wrong; deeper down a wrong type shows when it is used.
            return await call.error(Refusal("type", f"The request has a value of a wrong type. ({exc})"))

    return answer
