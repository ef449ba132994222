"""Errors: vendors' in all their forms -> `VendorError`; and the bodies in which clients of each dialect expect theirs.

Vendors put errors where they like: an `error` object, flat fields, a bare string, a page, or any of these inside
HTTP 200. A form is a function that finds its own shape in decoded JSON; they are tried in order, the first that finds
something decides. What a vendor wrote is bounded and stripped of control characters here; `scrubbed` takes out what a
client must not see.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.dialects import error_codes, scan
from gateway.dialects.error_codes import NO_NUMBERS, Numbering

Object = Mapping[str, Any]

MESSAGE_LIMIT = 2000
_WORD_LIMIT = 200
_BODY_LIMIT = 256 * 1024  # of an error's body: what is longer is not read as JSON
_BAD = 502


class VendorError(msgspec.Struct, frozen=True):
    """What a vendor said went wrong. `status`: what it meant, which need not be the status it answered with."""

    status: int
    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    filtered: bool = False  # it was the content
    retry_after: float | None = None  # seconds


class _Found(NamedTuple):
    message: object
    code: object = None
    type: object = None
    param: object = None
    numbering: Numbering = NO_NUMBERS
    status: object = None  # as the error itself tells it
    details: object = None


def _text(value: object, limit: int) -> str | None:
    """Printable text of bounded length; None if there is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = value if isinstance(value, str) else str(value) if abs(value) < 1e18 else ""
    text = " ".join(text[: limit * 4].split())
    if not text.isprintable():
        text = "".join(character for character in text if character.isprintable())
    return (text if len(text) <= limit else text[: limit - 1] + "…") or None


def _nonzero(code: object) -> bool:
    return not isinstance(code, bool) and isinstance(code, int | float | str) and code not in (0, "", "0", "200", 200)


# -- the forms: what shows an error even beside an answer --------------------------------------------------------------


def _minimax(value: Object) -> _Found | None:
    base = value.get("base_resp")
    if isinstance(base, dict) and _nonzero(base.get("status_code")):
        return _Found(base.get("status_msg"), base["status_code"], numbering=error_codes.MINIMAX)
    return None


def _tencent(value: Object) -> _Found | None:
    response = value.get("Response")
    response = response if isinstance(response, dict) else value
    if isinstance(error := response.get("Error"), dict):
        return _Found(error.get("Message"), error.get("Code"))
    if isinstance(error := response.get("ErrorMsg"), dict) and _nonzero(error.get("Code")):
        return _Found(error.get("Msg"), error["Code"])
    return None


def _error_object(value: Object) -> _Found | None:
    """OpenAI's, Anthropic's, Google's and most others'."""
    error = value.get("error")
    if isinstance(error, str) and error:
        return _Found(error if not isinstance(value.get("message"), str) else value["message"], value.get("code"))
    if not isinstance(error, dict) or not error:
        return None
    code, kind = error.get("code"), error.get("type")
    status: object = error.get("http_code") or error.get("status_code")
    if isinstance(error.get("status"), str):  # Google: the number is the code, the word is the status
        status, code = code, error["status"]
    numbering = error_codes.ZHIPU if isinstance(code, str) and re.fullmatch(r"1\d{3}", code) else NO_NUMBERS
    message = error.get("message") or error.get("msg") or error.get("detail")
    return _Found(message, code, kind, error.get("param"), numbering, status, error.get("details"))


def _qianfan_v1(value: Object) -> _Found | None:
    if _nonzero(value.get("error_code")):
        return _Found(value.get("error_msg"), value["error_code"], numbering=error_codes.QIANFAN_V1)
    return None


# -- and what does so only where there is no answer --------------------------------------------------------------------


def _flat(value: Object) -> _Found | None:
    """Spark and SiliconFlow with numbers, DashScope with words, Cohere without either."""
    code, message = value.get("code"), value.get("message") or value.get("msg")
    if not _nonzero(code):
        return _Found(message) if isinstance(message, str) and "sid" not in value else None
    numbering = NO_NUMBERS
    if str(code).isdecimal():
        numbering = error_codes.SPARK if "sid" in value else error_codes.SILICONFLOW
    return _Found(message, code, value.get("type"), value.get("param"), numbering)


def _detail(value: Object) -> _Found | None:
    """FastAPI's: a text, or a list of what did not validate."""
    detail = value.get("detail")
    param: object = None
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        place = detail[0].get("loc")
        param = ".".join(map(str, place[:20])) if isinstance(place, list) else None
        detail = detail[0].get("msg")
    elif isinstance(detail, dict):
        return _error_object(detail) or _error_object({"error": detail})
    return _Found(detail, param=param) if isinstance(detail, str) and detail else None


_Form = Callable[[Object], _Found | None]
_CERTAIN: tuple[_Form, ...] = (_minimax, _tencent, _error_object, _qianfan_v1)
_BARE: tuple[_Form, ...] = (*_CERTAIN, _flat, _detail)


def hidden_error(value: object, *, bare: bool) -> VendorError | None:
    """The error inside the JSON of an HTTP 200. `bare`: there is no answer in it, so weaker signs count too."""
    if isinstance(value, dict):
        for form in _BARE if bare else _CERTAIN:
            if found := form(value):
                return _error(200, found)
    return None


def read_error(status: int, content_type: bytes, body: bytes) -> VendorError:
    """The error of an answer that is one, by its status or because it holds nothing else."""
    body = body.strip(b" \t\r\n\xef\xbb\xbf")
    value = scan.decode(body) if body[:1] in (b"{", b"[", b'"') and len(body) <= _BODY_LIMIT else None
    if isinstance(value, list) and value:
        value = value[0]  # Google's streams
    if isinstance(value, dict):
        for form in _BARE:
            if found := form(value):
                return _error(status, found)
        return _error(status, _Found(None))
    return _error(status, _Found(value if isinstance(value, str) else _plain(content_type, body)))


_TITLE = re.compile(r"<title[^<>]{0,200}>([^<>]{1,500})<", re.IGNORECASE)


def _plain(content_type: bytes, body: bytes) -> str | None:
    """The text of an error that is no JSON; of a page, its title."""
    text = body[: MESSAGE_LIMIT * 4].decode("utf-8", "replace").replace("\ufffd", "")
    if b"html" in content_type.lower() or text[:1] == "<":
        title = _TITLE.search(text)
        return title[1] if title else None
    return None if text[:1] in ("{", "[") else text


def _error(http: int, found: _Found) -> VendorError:
    code, kind = _text(found.code, _WORD_LIMIT), _text(found.type, _WORD_LIMIT)
    numbering = found.numbering
    status = _meant(http, found, code, kind)
    message = _text(found.message, MESSAGE_LIMIT)
    if status == 400 and message is not None and message.startswith("API key not valid"):
        status = 401  # Google's words for it
    return VendorError(
        status,
        message or f"the vendor answered with status {http}" + (f" and code {code}" if code else " and no message"),
        kind,
        code,
        _text(found.param, _WORD_LIMIT) if isinstance(found.param, str) else None,
        error_codes.about_content(code, numbering) or error_codes.about_content(kind, numbering),
        _retry_delay(found.details),
    )


def _meant(http: int, found: _Found, code: str | None, kind: str | None) -> int:
    """A real error status stands, but for a 400 that is about our key or our balance."""
    if http >= 400 and http != 400:
        return http
    status = error_codes.status_of(code, found.numbering) or error_codes.status_of(kind, found.numbering)
    if http == 400:
        return status if status in (401, 402) else 400
    for told in (found.status, found.code):
        number = _text(told, 4)
        if status is None and number is not None and number.isdecimal() and 400 <= int(number) <= 599:
            status = int(number)
    return status or _BAD


_DELAY = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


def _retry_delay(details: object) -> float | None:
    """Google's RetryInfo."""
    for each in details[:20] if isinstance(details, list) else ():
        if (
            isinstance(each, dict)
            and isinstance(delay := each.get("retryDelay"), str)
            and (found := _DELAY.fullmatch(delay))
        ):
            return float(found[1])
    return None


# -- what a client must not see ----------------------------------------------------------------------------------------

_REMOVED = "[removed]"
_SECRETS = re.compile(
    r"""
    \b[a-zA-Z][a-zA-Z0-9+.\-]{1,15}://[^\s"'<>)\]}]+                                        # URLs
    | \b(?:Bearer|Basic|Token)\s+[A-Za-z0-9._~+/=:*\-]{8,}
    | \beyJ[\w\-]{8,}(?:\.[\w\-]*){1,2}                                                     # JWT
    | \b(?:AKIA|ASIA|AKID|AKLT|LTAI|ALTAK-?)[A-Za-z0-9]{8,}
    | \bbce-v3/[\w/\-]+
    | \bAIza[\w\-]{10,}
    | \b(?:sk|pk|rk|ak|gsk|xai|hf|ghp|glpat|jina|tvly|key|pat)[-_](?=[\w\-]*[\d*])[\w\-*.…]{6,}
    | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b | \[[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:]*\](?::\d{1,5})?
    | \b(?:(?:[a-zA-Z0-9\-]{1,63}\.){1,8}(?:com|cn|net|org|io|ai|dev|app|cloud|internal|local|lan|svc)|localhost)\b
      (?::\d{1,5})?
    """,
    re.VERBOSE,
)
# A name that tells what follows: the name stays.
_NAMED = re.compile(
    r"""\b((?:x-)?(?:api|access|secret|auth)?[-_ ]?(?:key|token|secret|password|credential|authorization|signature)
    (?:[-_ ]?id)?["']?\s*[:=]\s*["']?)((?=[^\s"',;)}\]]*[\d*])[^\s"',;)}\]]{8,})""",
    re.VERBOSE | re.IGNORECASE,
)


def scrubbed(message: str, secrets: Iterable[str]) -> str:
    """The message without our keys and hosts (`secrets`), and without whatever else looks like an address or a key."""
    message = message[: MESSAGE_LIMIT * 2]
    for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
        message = re.sub(re.escape(secret), _REMOVED, message, flags=re.IGNORECASE)
        if len(message) >= MESSAGE_LIMIT:
            message = _without_begin(message, secret)
    return _NAMED.sub(rf"\1{_REMOVED}", _SECRETS.sub(_REMOVED, message))


def _without_begin(message: str, secret: str) -> str:
    """A long message was cut: it may end in the begin of a secret."""
    end = message.rstrip("…")
    for length in range(min(len(secret), len(end)) - 1, 3, -1):
        if end.endswith(secret[:length]):
            return end[:-length] + _REMOVED
    return message


# -- errors as clients expect them -------------------------------------------------------------------------------------

_OPENAI_TYPES = {402: "insufficient_quota", 403: "permission_error", 408: "timeout_error", 429: "requests"}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GEMINI_STATUSES = {
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    504: "DEADLINE_EXCEEDED",
}


class _Shape(NamedTuple):
    types: dict[int, str]
    other4: str  # for a status that has no row: 4xx
    other5: str  # and 5xx


_SHAPES = {
    "openai": _Shape(_OPENAI_TYPES, "invalid_request_error", "server_error"),
    "anthropic": _Shape(_ANTHROPIC_TYPES, "invalid_request_error", "api_error"),
    "gemini": _Shape(_GEMINI_STATUSES, "INVALID_ARGUMENT", "UNAVAILABLE"),
}
# (code, param) -> what Anthropic's own answer says besides. The SDK's tool runner asks for a thread by itself, and goes
# on without one if it is told so in these words.
_ANTHROPIC_DETAILS = {
    ("unsupported", "thread"): {"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
}
_KEPT = frozenset({400, 404, 413, 422, 429})
_CHANGED = {408: 504, 409: 503}  # too slow; busy


def type_for(form: str, status: int) -> str:
    """The `type` (Google: `status`) that the form's SDKs expect with a status."""
    types, other4, other5 = _SHAPES[form]
    return types.get(status) or (other4 if status < 500 else other5)


def client_status(form: str, vendor_status: int) -> int:
    """What a client is told. That a vendor refuses us (401, 402, 403) is no fault of the client."""
    if vendor_status in _KEPT:
        return vendor_status
    if vendor_status == 529:
        return 529 if form == "anthropic" else 503
    return vendor_status if 500 <= vendor_status <= 599 else _CHANGED.get(vendor_status, _BAD)


def error_body(
    form: str,
    status: int,
    message: str,
    code: str | None,
    type: str | None = None,
    param: str | None = None,
    request_id: str | None = None,
) -> bytes:
    """An error as the form's SDKs read it; a `type` that the form does not know gives way to the one of the status."""
    shape = _SHAPES[form]
    name = type_for(form, status)
    value: dict[str, Any]
    if form == "openai":
        value = {"error": {"message": message, "type": type or name, "param": param, "code": code}}
        return msgspec.json.encode(value)
    if type in (*shape.types.values(), shape.other4, shape.other5):
        name = type or name
    if form == "anthropic":
        told: dict[str, Any] = {"type": name, "message": message}
        if (details := _ANTHROPIC_DETAILS.get((code or "", param or ""))) is not None:
            told["details"] = details
        return msgspec.json.encode({"type": "error", "error": told, "request_id": request_id})
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if code:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": code, "domain": "gateway"}]
    return msgspec.json.encode({"error": error})


def error_event(dialect: str, error: VendorError, array: bool = False, begun: bool = True) -> bytes:
    """The event that tells the client of a stream that it failed. `array`: in a stream that is one JSON array, of which
    something has gone already (`begun`).
    """
    if dialect == "openai.responses":
        value: dict[str, Any] = {
            "type": "error", "code": error.code or type_for("openai", error.status),
            "message": error.message, "param": error.param,
        }  # fmt: skip
        return b"event: error\ndata: " + msgspec.json.encode(value) + b"\n\n"
    form = _FORM_OF.get(dialect, "openai")
    status = client_status(form, error.status)
    body = error_body(form, status, error.message, error.code, error.type, error.param)
    if array:
        return (b",\r\n" if begun else b"[") + body + b"]"
    return (b"event: error\ndata: " if form == "anthropic" else b"data: ") + body + b"\n\n"


_FORM_OF = {"anthropic.messages": "anthropic", "gemini.generate": "gemini"}
