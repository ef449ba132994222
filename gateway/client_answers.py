"""The bytes of answers that the gateway makes itself: heads of unified answers, and errors in the surface's form."""

from __future__ import annotations

import math
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

from gateway.dialects.error_forms import client_status, error_body
from gateway.errors import GatewayError
from gateway.reply import VendorRefused

Field = tuple[bytes, bytes]

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_JSON = b"application/json"
LAST_CHUNK = b"0\r\n\r\n"


def head(
    status: int, content_type: bytes, fields: Iterable[Field], length: int | None, keep: bool, old: bool = False
) -> bytes:
    """An answer's head. `length` None: a stream, in chunks or, for an HTTP/1.0 client (`old`), ended by close."""
    lines = [
        b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\n" % (status, _REASONS.get(status, b"Status"), content_type or _JSON)
    ]
    if length is not None:
        lines.append(b"Content-Length: %d\r\n" % length)
    elif not old:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    lines += [b"%b: %b\r\n" % field for field in fields]
    lines.append(b"\r\n" if keep and not (old and length is None) else b"Connection: close\r\n\r\n")
    return b"".join(lines)


def chunk(data: bytes, old: bool) -> bytes:
    """A piece of a stream as it is framed for the client."""
    return data if old else b"%x\r\n%b\r\n" % (len(data), data)


class Refusal(NamedTuple):
    """A whole answer, and the status in it."""

    status: int
    data: bytes


def refusal(form: str, error: GatewayError, fields: list[Field], keep: bool) -> Refusal:
    """An answer that says what went wrong, in the form of the surface."""
    status, code, kind = error.status, error.code, None
    if isinstance(error, VendorRefused):
        status = client_status(form, error.status)
        code, kind = error.error.code or code, error.error.type
    request_id = next((value.decode() for name, value in fields if name == b"x-request-id"), "")
    body = error_body(form, status, error.message, code, type=kind, param=error.param, request_id=request_id)
    more = [*fields, (b"x-gateway-error", error.code.encode())]
    if error.retry_after is not None:
        more.append((b"Retry-After", b"%d" % max(1, math.ceil(error.retry_after))))
    return Refusal(status, head(status, _JSON, more, len(body), keep) + body)


def plain_refusal(form: str, error: GatewayError) -> tuple[int, bytes]:
    """The status and the body only, for answers whose head somebody else makes."""
    return error.status, error_body(form, error.status, error.message, error.code, param=error.param)
