"""What aiohttp serves of the unified surfaces: lists of models, prices, browsers' preflights, and clear refusals.

The calls themselves never come here (see `unified.Unified.route`).
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, MethodNotAllowed, UnknownPath

Header = tuple[bytes, bytes, bytes]
# (form, model's name or None for all, the request's key) -> what to answer. Raises GatewayError.
Models = Callable[[str, str | None, "Asking"], dict[str, Any]]

_ALLOW_METHODS = "GET, POST, DELETE, OPTIONS"
_PREFLIGHT_SECONDS = "600"


class Asking:
    """A request of aiohttp's as `auth` reads it."""

    websocket = False

    def __init__(self, request: web.Request) -> None:
        self.target = request.raw_path.encode("utf-8", "surrogateescape")
        self.headers: list[Header] = [(name, value, name.lower()) for name, value in request.raw_headers]

    def get(self, lower: bytes, /) -> bytes | None:
        return next((value for _, value, name in self.headers if name == lower), None)


class PublicPages:
    """Routes for an application. `refusal`: an error in a form; `surfaces`: the paths of the unified calls."""

    def __init__(
        self,
        models: Models,
        pricing: Callable[[], dict[str, Any]],
        refusal: Callable[[str, GatewayError], tuple[int, bytes]],
        cors: Callable[[bytes | None], tuple[tuple[bytes, bytes], ...]],
        paths: frozenset[str],
    ) -> None:
        self._models = models
        self._pricing = pricing
        self._refusal = refusal
        self._cors = cors
        self._paths = paths

    def add_to(self, app: web.Application) -> None:
        add = app.router.add_get
        for path, form in (("/v1/models", None), ("/models", None), ("/v1beta/models", "gemini")):
            add(path, self._listing(form))
            add(path + "/{model:.+}", self._listing(form))
        add("/pricing", self._prices)
        add("/pricing.html", self._prices_page)
        for path in sorted(self._paths):
            app.router.add_options(path, self._preflight)
            app.router.add_route("*", path, self._wrong_method)
        app.router.add_options("/models/{tail:.*}", self._preflight)
        for tail in ("/v1/{tail:.*}", "/v1beta/{tail:.*}"):
            app.router.add_options(tail, self._preflight)
            app.router.add_route("*", tail, self._nothing)

    def _listing(self, fixed: str | None) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            form = fixed or _form(request)
            name = request.match_info.get("model")
            if name is not None and form == "gemini":
                name = name.removeprefix("models/")
            try:
                found = self._models(form, name, Asking(request))
            except GatewayError as error:
                return self._refused(request, form, error)
            return self._shared(request, _json(found))

        return answer

    async def _prices(self, request: web.Request) -> web.Response:
        return self._shared(request, _json(self._pricing()))

    async def _prices_page(self, _: web.Request) -> web.Response:
        return web.Response(text=_page(self._pricing()), content_type="text/html")

    async def _preflight(self, request: web.Request) -> web.Response:
        """A browser asks whether a page of another origin may call."""
        response = web.Response(status=204)
        if fields := self._cors(_origin(request)):
            for name, value in fields:
                response.headers[name.decode()] = value.decode("latin-1")
            response.headers["Access-Control-Allow-Methods"] = _ALLOW_METHODS
            wanted = request.headers.get("Access-Control-Request-Headers", "*")
            response.headers["Access-Control-Allow-Headers"] = wanted
            response.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
        return response

    async def _wrong_method(self, request: web.Request) -> web.Response:
        response = self._refused(request, _form(request), MethodNotAllowed("this path takes POST only"))
        response.headers["Allow"] = "POST, OPTIONS"
        return response

    async def _nothing(self, request: web.Request) -> web.Response:
        served = ", ".join(sorted(path for path in self._paths if path.startswith("/v1/")))
        return self._refused(request, _form(request), UnknownPath(f"nothing is served here; see {served}, /v1/models"))

    def _refused(self, request: web.Request, form: str, error: GatewayError) -> web.Response:
        status, body = self._refusal(form, error)
        headers = {"x-gateway-error": error.code}
        answer = web.Response(status=status, body=body, content_type="application/json", headers=headers)
        return self._shared(request, answer)

    def _shared(self, request: web.Request, response: web.Response) -> web.Response:
        for name, value in self._cors(_origin(request)):
            response.headers[name.decode()] = value.decode("latin-1")
        return response


def _json(value: dict[str, Any]) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _form(request: web.Request) -> str:
    if request.path.startswith("/v1beta/"):
        return "gemini"
    if "anthropic-version" in request.headers or "/messages" in request.path:
        return "anthropic"
    return "gemini" if "x-goog-api-key" in request.headers else "openai"


def _origin(request: web.Request) -> bytes | None:
    origin = request.headers.get("Origin")
    return origin.encode("latin-1", "replace") if origin is not None else None


def _page(prices: dict[str, Any]) -> str:
    """The price list for people."""
    rows = []
    for row in prices["models"]:
        price = "<br>".join(html.escape(_priced(unit, value)) for unit, value in row["price"].items()) or "free"
        cells = (html.escape(row["model"]), html.escape(", ".join(row["surfaces"])), price)
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return _HTML.replace("ROWS", "\n".join(rows))


def _priced(unit: str, value: msgspec.Raw | dict[str, msgspec.Raw]) -> str:
    if isinstance(value, dict):
        return f"{unit}: " + ", ".join(f"{row} {bytes(price).decode()}" for row, price in value.items())
    return f"{unit}: {bytes(value).decode()}"


_HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Prices</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #8884;padding:.4rem .6rem;text-align:left;
vertical-align:top}</style></head>
<body><h1>Prices</h1><p>In credits: tokens and characters by the million, everything else by the piece.</p>
<table><thead><tr><th>Model</th><th>Surfaces</th><th>Price</th></tr></thead><tbody>
ROWS
</tbody></table></body></html>
"""
