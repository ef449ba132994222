"""What every vendor has: a way to check keys, to word errors, and headers of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

T = TypeVar("T")

# What can be wrong with a call. A vendor's table may name a kind or, for all that are not in it, the group behind it.
GROUPS = {
    "json": "invalid",
    "missing": "invalid",
    "type": "invalid",
    "value": "invalid",
    "schema": "value",
    "sealed": "invalid",
    "unknown": "invalid",
    "history": "invalid",
    "unsupported": "invalid",
    "no_key": "auth",
    "path": "model",
    "conflict": "invalid",
    "too_large": "invalid",
    "balance": "permission",
    "quota": "rate",
    "timeout": "server",
    "overloaded": "server",
    "filter": "invalid",
    "permission": "auth",
    "version": "invalid",
    "previous": "invalid",
}
BY_STATUS = {
    400: "invalid",
    401: "auth",
    402: "balance",
    403: "permission",
    404: "model",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    422: "invalid",
    429: "rate",
    500: "server",
    502: "server",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
MESSAGES = {
    "invalid": "The request is invalid.",
    "auth": "Incorrect API key provided.",
    "balance": "Insufficient Balance",
    "permission": "You do not have access to this resource.",
    "model": "The model does not exist or you do not have access to it.",
    "timeout": "The request timed out.",
    "conflict": "The resource is being used by another request.",
    "too_large": "The request exceeds the maximum allowed size.",
    "rate": "Rate limit reached for requests.",
    "server": "The server had an error while processing your request.",
    "overloaded": "The server is currently overloaded with other requests. Please try again later.",
}


class Refusal(Exception):
    """A call that the vendor answers with an error. `status` overrides the one of the vendor's table."""

    def __init__(self, kind: str, message: str, param: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.param = param
        self.status = status

    def row(self, table: Mapping[str, T]) -> T:
        """This refusal's row of a vendor's table: by kind, else by its groups, else the last resort `invalid`."""
        kind = self.kind
        while kind not in table and kind in GROUPS:
            kind = GROUPS[kind]
        return table[kind if kind in table else "invalid"]


def scripted(status: int) -> Refusal:
    """What `status=CODE` answers."""
    kind = BY_STATUS.get(status, "invalid" if status < 500 else "server")
    return Refusal(kind, MESSAGES[kind], status=status)


Render = Callable[[Refusal, str], tuple[int, Any]]


@dataclass(frozen=True)
class Vendor:
    """`auth` raises a Refusal; `render` gives status and JSON of an error; `headers` are on every answer."""

    id: str
    auth: Callable[[web.Request], None]
    render: Render
    headers: Callable[[str], dict[str, str]]


def is_bad(key: str) -> bool:
    """Any key is right, except those that contain `bad`."""
    return "bad" in key or not key


def bearer(request: web.Request) -> None:
    """`Authorization: Bearer KEY`."""
    header = request.headers.get("Authorization", "")
    scheme, _, key = header.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refusal(
            "no_key", "You didn't provide an API key. Provide it in an Authorization header using Bearer auth."
        )
    if is_bad(key.strip()):
        raise Refusal("auth", f"Incorrect API key provided: {mask(key.strip())}.")


def mask(key: str) -> str:
    return key[:4] + "*" * max(len(key) - 8, 3) + key[-4:] if len(key) > 8 else "***"
