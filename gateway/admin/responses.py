"""Stored responses: `GET` and `DELETE /v1/responses/{id}`, and the items that led to one. A key sees its own only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
from aiohttp import web

from gateway.admin.public import Asking
from gateway.errors import GatewayError, Unsupported


class Stored(Protocol):
    """`unified.responses.StoredResponses`; all raise GatewayError."""

    async def get(self, key_id: str, id: str) -> bytes: ...
    async def items(self, key_id: str, id: str, query: Mapping[str, str]) -> dict[str, Any]: ...
    async def delete(self, key_id: str, id: str) -> dict[str, Any]: ...


class ResponsePages:
    """Routes for an application. `key_id`: whose request it is, raises Unauthorized; `refusal`: an error's status and
    body; `cors`: header fields for an origin.
    """

    def __init__(
        self,
        stored: Callable[[], Stored],
        key_id: Callable[[Asking], str],
        refusal: Callable[[str, GatewayError], tuple[int, bytes]],
        cors: Callable[[bytes | None], tuple[tuple[bytes, bytes], ...]],
    ) -> None:
        self._stored = stored
        self._key_id = key_id
        self._refusal = refusal
        self._cors = cors

    def add_to(self, app: web.Application) -> None:
        """To be called before a route is added that takes all of /v1."""
        for path in ("/v1/responses/{id}", "/responses/{id}"):
            app.router.add_get(path, self._answered(self._get))
            app.router.add_delete(path, self._answered(self._delete))
            app.router.add_get(path + "/input_items", self._answered(self._items))

    async def _get(self, key_id: str, request: web.Request) -> bytes:
        if request.query.get("stream") == "true":
            raise Unsupported("a stored response cannot be streamed again", param="stream")
        return await self._stored().get(key_id, request.match_info["id"])

    async def _delete(self, key_id: str, request: web.Request) -> bytes:
        return msgspec.json.encode(await self._stored().delete(key_id, request.match_info["id"]))

    async def _items(self, key_id: str, request: web.Request) -> bytes:
        return msgspec.json.encode(await self._stored().items(key_id, request.match_info["id"], request.query))

    def _answered(
        self, answer: Callable[[str, web.Request], Awaitable[bytes]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            try:
                status, body, headers = 200, await answer(self._key_id(Asking(request)), request), {}
            except GatewayError as error:
                status, body = self._refusal("openai", error)
                headers = {"x-gateway-error": error.code}
            origin = request.headers.get("Origin")
            for name, value in self._cors(origin.encode("latin-1", "replace") if origin is not None else None):
                headers[name.decode()] = value.decode("latin-1")
            return web.Response(status=status, body=body, content_type="application/json", headers=headers)

        return handler
