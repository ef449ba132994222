"""The bytes of answers that the gateway makes itself: heads of unified answers, and errors in the surface's form."""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import NamedTuple

from gateway.dialects.error_forms import client_status, error_body
from gateway.errors import GatewayError
from gateway.unified.reply import VendorRefused
from gateway.wire.body import chunk

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_JSON = b"application/json"
LAST_CHUNK = b"0\r\n\r\n"


def head(status: int, content_type: bytes, lines: bytes, length: int | None, keep: bool, old: bool = False) -> bytes:
    """An answer's head with these header lines. `length` None: a stream, in chunks or, for an HTTP/1.0 client (`old`),
    ended by close.
    """
    framing = b""
    if length is not None:
        framing = b"Content-Length: %d\r\n" % length
    elif not old:
        framing = b"Transfer-Encoding: chunked\r\n"
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\n%b%b%b" % (
        status, _REASONS.get(status, b"Status"), content_type or _JSON, framing, lines,
        b"\r\n" if keep and not (old and length is None) else b"Connection: close\r\n\r\n",
    )  # fmt: skip


def piece(data: bytes, old: bool) -> bytes:
    """A piece of a stream as it is framed for the client."""
    return data if old else chunk(data)


def field_value(text: str) -> bytes:
    """A text as the value of a header: whatever could end the line or is no plain ASCII becomes a question mark."""
    return re.sub(r"[^ -~]", "?", text).encode()


class Refusal(NamedTuple):
    """A whole answer, and the status in it."""

    status: int
    data: bytes


def refusal(form: str, error: GatewayError, request_id: str, lines: bytes, keep: bool) -> Refusal:
    """An answer that says what went wrong, in the form of the surface."""
    status, code, kind = error.status, error.code, None
    if isinstance(error, VendorRefused):
        status = client_status(form, error.status)
        code, kind = error.error.code or code, error.error.type
    body = error_body(form, status, error.message, code, type=kind, param=error.param, request_id=request_id)
    lines += b"x-gateway-error: %b\r\n" % error.code.encode()
    if error.retry_after is not None:
        lines += b"Retry-After: %d\r\n" % max(1, math.ceil(error.retry_after))
    return Refusal(status, head(status, _JSON, lines, len(body), keep) + body)


def plain_refusal(form: str, error: GatewayError) -> tuple[int, bytes]:
    """The status and the body only, for answers whose head somebody else makes."""
    return error.status, error_body(form, error.status, error.message, error.code, param=error.param)
