"""What aiohttp serves on the main port: health, metrics, and clear answers for paths that nothing serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

REQUEST_ID = web.RequestKey("request_id", str)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Key(Protocol):
    def fits(self, key: str) -> bool: ...


def build(
    admin_key: Key,
    serving: Callable[[], bool],
    exposition: Callable[[], Awaitable[bytes]],
    request_id: Callable[[], str],
    public: Callable[[web.Application], None] = lambda _: None,
) -> web.Application:
    """The aiohttp application. `serving`: whether new work is taken; `exposition`: the metrics of all workers; `public`
    adds the routes of the unified surfaces.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        if serving():
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "draining"}, status=503)

    async def metrics(request: web.Request) -> web.Response:
        if not _is_admin(request, admin_key):
            return problem(401, "unauthorized", "send the admin key as `Authorization: Bearer KEY`")
        return web.Response(body=await exposition(), headers={"Content-Type": METRICS_TYPE})

    async def nothing(_: web.Request) -> web.Response:
        return problem(404, "not_found", "nothing is served here; see /healthz, /metrics and /{provider_id}/...")

    @web.middleware
    async def with_id(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as exc:
            response = problem(exc.status, "not_found" if exc.status == 404 else "bad_request", exc.reason)
            response.headers.update({k: v for k, v in exc.headers.items() if k == "Allow"})
        response.headers["x-request-id"] = request[REQUEST_ID] = request_id()
        return response

    app = web.Application(middlewares=[with_id])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    public(app)
    app.router.add_route("*", "/{tail:.*}", nothing)
    return app


def build_open_metrics(exposition: Callable[[], Awaitable[bytes]]) -> web.Application:
    """`/metrics` without a key, for a loopback port of its own."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=await exposition(), headers={"Content-Type": METRICS_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app


def problem(status: int, code: str, message: str) -> web.Response:
    body = {"error": {"type": "gateway_error", "code": code, "message": message}}
    return web.json_response(body, status=status, headers={"x-gateway-error": code})


def _is_admin(request: web.Request, admin_key: Key) -> bool:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and admin_key.fits(key.strip())


def line_writer(write: Callable[[str, int, int, float], None]) -> type[AbstractAccessLogger]:
    """An access logger for aiohttp that passes (request id, status, bytes, seconds) on; the path is not logged."""

    class Lines(AbstractAccessLogger):
        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            write(request.get(REQUEST_ID, ""), response.status, response.body_length, time)

    return Lines
