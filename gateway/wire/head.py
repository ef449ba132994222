"""Heads of requests and responses: strict parsing, and rebuilding from validated pieces.

Every rule that keeps two parsers from reading one message differently is here or in `body.py`. The grammar is RFC 9110
and RFC 9112 with every leniency taken out: a head either matches the patterns below as a whole or is refused. To edit a
rule, edit its pattern or table and the corpus in tests/test_head.py together.
"""

from __future__ import annotations

import contextlib
import re
from email.utils import parsedate_to_datetime

from gateway.errors import BadRequest, BadUpstreamReply, UnsupportedMethod

MAX_HEAD = 65536

# Values of `length`: a count of bytes, or one of these.
CHUNKED = -1
UNTIL_CLOSE = -2

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]"
# Possessive quantifiers: matching is linear whatever is fed.
_FIELDS = rb"(?:" + _TOKEN + rb"++:" + _VALUE + rb"*+\r\n)*+\r\n"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"++) ([\x21-\x7e]++) HTTP/([0-9]\.[0-9])\r\n")
_REQUEST_FIELDS = re.compile(_FIELDS)
_FIELD = re.compile(rb"(" + _TOKEN + rb"++):(" + _VALUE + rb"*+)\r\n")
_RESPONSE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: " + _VALUE + rb"*+)?\r\n" + _FIELDS)
TRAILERS = re.compile(_FIELDS)
_TOKENS = re.compile(rb"[ \t,]*+(?:" + _TOKEN + rb"++[ \t]*+(?:,[ \t,]*+|\Z))*+")
_HOST = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]*+")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
# What can never become part of a good head, seen before the head is complete.
_HOPELESS = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

# The HTTP methods that llhttp knows.
METHODS = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND "
    b"UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK "
    b"UNLINK SOURCE QUERY".split()
)

# RFC 9110 section 7.6.1, and Proxy-Authorization, which was meant for us if for anybody.
HOP_BY_HOP = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade", b"proxy-authorization")
)
# Fields that frame a message or say who sends it. `Connection: authorization` would make a proxy drop the caller's
# identity; no client means that.
_NEVER_LISTED = frozenset(
    b"content-length transfer-encoding host trailer expect content-type content-encoding authorization cookie api-key "
    b"x-api-key x-goog-api-key x-gateway-key anthropic-version x-dashscope-sse x-tc-action".split()
)
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"host", b"connection", b"trailer", b"te", b"upgrade"))
_GATEWAY_PREFIX = b"x-gateway-"


class Request:
    """A validated request head.

    `headers` are (name, value, lower-case name) in the client's order; `length` is the body's (a count or CHUNKED);
    `listed` are the field names that Connection lists.
    """

    __slots__ = ("headers", "keep_alive", "length", "listed", "method", "minor", "target", "websocket")

    def __init__(self, method: bytes, target: bytes, minor: int, headers: list[tuple[bytes, bytes, bytes]]) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.headers = headers
        self.length = 0
        self.listed: frozenset[bytes] = frozenset()
        self.keep_alive = minor == 1
        self.websocket = False

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    def get(self, lower: bytes) -> bytes | None:
        """The first value of a field, by its lower-case name."""
        for _, value, name in self.headers:
            if name == lower:
                return value
        return None


def empty_lines(data: bytes) -> int:
    """How many bytes of empty lines stand before a request; RFC 9112 section 2.2: they are passed over."""
    match = _EMPTY_LINES.match(data)
    return match.end() if match is not None else 0


def hopeless(partial: bytes, seen: int = 0) -> bool:
    """Whether an incomplete head, whose first `seen` bytes were looked at before, is already beyond repair."""
    return _HOPELESS.search(partial, max(0, seen - 1)) is not None


def parse_request(head: bytes) -> Request:
    """A request from its head's bytes, blank line included. Raises BadRequest or UnsupportedMethod."""
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise BadRequest("the request line is malformed: expected METHOD SP /path SP HTTP/1.1 in plain ASCII")
    if _REQUEST_FIELDS.fullmatch(head, line.end()) is None:
        raise BadRequest(_explain(head[line.end() :]))
    method, target, version = line.groups()
    if version not in (b"1.1", b"1.0"):
        raise BadRequest("only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method not in METHODS:
        raise UnsupportedMethod("this method is not known; use one of HTTP's own")
    if not target.startswith(b"/") or b"#" in target or method == b"CONNECT":
        raise BadRequest("the request target must be a path that starts with / and has no fragment")
    headers = [(name, value.strip(b" \t"), name.lower()) for name, value in _FIELD.findall(head, line.end())]
    request = Request(method, target, version[2] - 48, headers)
    _settle_framing(request)
    return request


def _explain(fields: bytes) -> str:
    """What is wrong with a block of fields; only called for one that is."""
    if re.search(rb"(?<!\r)\n|\r(?!\n)", fields):
        return "bare CR or LF in the head: lines end with CRLF"
    for row in fields.split(b"\r\n"):
        if row[:1] in (b" ", b"\t"):
            return "a folded header line (obs-fold) is not accepted: send each header on one line"
        if row and _FIELD.fullmatch(row + b"\r\n") is None:
            if re.match(rb"[^:]*[ \t]:", row):
                return "white space before the colon of a header is not accepted"
            return "a header line is malformed: expected NAME: VALUE without control characters"
    return "the head is malformed"


def _settle_framing(request: Request) -> None:
    """Fills in how the body is framed and what Connection says; refuses whatever two readers could read differently."""
    lengths: list[bytes] = []
    codings: list[bytes] = []
    hosts: list[bytes] = []
    listed: list[bytes] = []
    upgrades: list[bytes] = []
    collect = {
        b"content-length": lengths,
        b"transfer-encoding": codings,
        b"host": hosts,
        b"connection": listed,
        b"upgrade": upgrades,
    }
    for _, value, lower in request.headers:
        if (into := collect.get(lower)) is not None:
            into.append(value)
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise BadRequest("exactly one valid Host header is needed")
    request.length = _length(lengths, codings, request.minor)
    if listed:
        tokens = _tokens(listed)
        if forbidden := tokens & _NEVER_LISTED or {t for t in tokens if t.startswith(b"x-api-")}:
            raise BadRequest(f"Connection may not list {min(forbidden).decode()}")
        request.listed = tokens
        request.keep_alive = request.keep_alive and b"close" not in tokens
        request.websocket = (
            b"upgrade" in tokens
            and request.minor == 1
            and request.method == b"GET"
            and request.length == 0
            and [value.lower() for value in upgrades] == [b"websocket"]
        )


def _length(lengths: list[bytes], codings: list[bytes], minor: int) -> int:
    if codings:
        if lengths:
            raise BadRequest("both Content-Length and Transfer-Encoding: send one of them")
        if minor == 0:
            raise BadRequest("HTTP/1.0 has no Transfer-Encoding")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise BadRequest("the only Transfer-Encoding that is accepted is chunked, once")
        return CHUNKED
    if not lengths:
        return 0
    if len(lengths) != 1 or not valid_length(lengths[0]):
        raise BadRequest("Content-Length must be there once, as a plain number")
    return int(lengths[0])


def valid_length(digits: bytes) -> bool:
    """Whether the value of a Content-Length is a number that every reader takes for the same."""
    return digits.isdigit() and len(digits) <= 18


def _tokens(values: list[bytes]) -> frozenset[bytes]:
    for value in values:
        if _TOKENS.fullmatch(value) is None:
            raise BadRequest("Connection must be a comma list of names")
    return frozenset(token for value in values for part in value.split(b",") if (token := part.strip(b" \t").lower()))


def has_dot_segment(path: bytes) -> bool:
    """Whether a segment is, or decodes to, `.` or `..` (a vendor might walk up from its base path)."""
    decoded = re.sub(rb"%(2[eEfF]|5[cC])", lambda m: bytes((int(m[1], 16),)), path)
    return any(part in (b".", b"..") for part in re.split(rb"[/\\]", decoded))


def rebuild_request(request: Request, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """The head for the vendor, cut where Content-Length's digits stand: (before, after); `after` is b"" if it has none.

    Order, case and values are the client's; Host is the vendor's; hop-by-hop fields and `x-gateway-*` are gone.
    """
    out = [request.method, b" ", target, b" HTTP/1.1\r\n"]
    before: bytes | None = None
    for name, value, lower in request.headers:
        if lower == b"host":
            value = host
        elif lower == b"content-length":
            out += (name, b": ")
            before = b"".join(out)
            out = [b"\r\n"]
            continue
        elif lower == b"transfer-encoding":
            value = b"chunked"
        elif lower == b"te" and b"trailers" in value.lower():
            value = b"trailers"
        elif request.websocket and lower in (b"upgrade", b"connection"):
            value = value if lower == b"upgrade" else b"Upgrade"
        elif lower in HOP_BY_HOP or lower in request.listed or lower.startswith(_GATEWAY_PREFIX):
            continue
        out += (name, b": ", value, b"\r\n")
    out.append(b"\r\n")
    if before is None:
        return b"".join(out), b""
    return before, b"".join(out)


def rebuild_trailers(block: bytes) -> bytes:
    """The fields of a validated trailer block that may go on to the vendor, with a blank line. Raises BadRequest."""
    kept = []
    for name, value in _FIELD.findall(block):
        lower = name.lower()
        if lower in _FRAMING:
            raise BadRequest(f"{lower.decode()} is not allowed in trailers")
        if lower not in HOP_BY_HOP and not lower.startswith(_GATEWAY_PREFIX):
            kept.append(name + b":" + value + b"\r\n")
    return b"".join(kept) + b"\r\n"


# -- responses ---------------------------------------------------------------------------------------------------------

# The fields of a response that we must read or remove, searched in the lower-cased head. The leading literal makes the
# search a memchr for line ends; the choice by first letter keeps what is tried there short.
_NOTABLE = re.compile(
    rb"\r\n([ckputsx](?:on(?:nection|tent-(?:length|type|encoding))|ransfer-encoding|eep-alive|pgrade|e|roxy-connection|"
    rb"ec-websocket-extensions|-gateway-[^:]*+)):([^\r]*+)"
)
_KEEP_ALIVE_SECONDS = re.compile(rb"timeout=([0-9]{1,9})", re.IGNORECASE)


class Response:
    """A validated response head. `forward` is what the client gets; `length` a count, CHUNKED or UNTIL_CLOSE.

    `keep_seconds`: how long the vendor says that it keeps an idle connection; 0 if it does not say.
    """

    __slots__ = (
        "content_encoding", "content_type", "extensions", "forward", "keep_alive", "keep_seconds", "length", "status",
    )  # fmt: skip

    def __init__(self, status: int, forward: bytes) -> None:
        self.status = status
        self.forward = forward
        self.length = UNTIL_CLOSE
        self.keep_alive = True
        self.keep_seconds = 0
        self.content_type = b""
        self.content_encoding = b""
        self.extensions = b""


def parse_response(head: bytes, bodyless: bool = False, websocket: bool = False) -> Response:
    """A response from its head's bytes, blank line included. Raises BadUpstreamReply.

    `bodyless`: the request was a HEAD; `websocket`: it asked for one, so a 101 keeps its Connection and Upgrade.
    """
    if _RESPONSE.fullmatch(head) is None:
        raise BadUpstreamReply("the vendor's response head is malformed")
    low = head.lower()
    response = Response(int(head[9:12]), head)
    lengths: list[bytes] = []
    codings: list[bytes] = []
    listed: list[bytes] = []
    gone: list[bytes] = []
    for name, value in _NOTABLE.findall(low):
        value = value.strip(b" \t")
        if name == b"content-type":
            response.content_type = value
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"connection":
            listed.append(value)
            gone.append(name)
        elif name == b"content-encoding":
            response.content_encoding += b"," + value if response.content_encoding else value
        elif name == b"sec-websocket-extensions":
            response.extensions += b"," + value if response.extensions else value
        else:
            gone.append(name)
            if name == b"upgrade" and value != b"websocket" and response.status == 101:
                raise BadUpstreamReply("the vendor switched to a protocol that nobody asked for")
            if name == b"keep-alive" and (seconds := _KEEP_ALIVE_SECONDS.search(value)):
                response.keep_seconds = int(seconds[1])
    old = head[7] == 48  # HTTP/1.0
    if old or (listed and listed != [b"keep-alive"]):
        gone += _connection(response, listed, old)
    if response.status == 101 and websocket:
        gone = [name for name in gone if name not in (b"connection", b"upgrade")]
    _response_length(response, lengths, codings, old, bodyless)
    if gone or old or len(lengths) > 1:
        response.forward = _without(head, low, gone, len(lengths) > 1)
    return response


def _connection(response: Response, listed: list[bytes], old: bool) -> list[bytes]:
    """Settles whether the connection lasts; returns the fields that Connection lists."""
    tokens = {token for value in listed for part in value.split(b",") if (token := part.strip(b" \t"))}
    response.keep_alive = b"keep-alive" in tokens if old else b"close" not in tokens
    extra = tokens - HOP_BY_HOP - {b"close"}
    if extra & _FRAMING or any(token.startswith(b"content-") for token in extra):
        raise BadUpstreamReply("the vendor's Connection header lists a field that frames the message")
    return list(extra)


def _response_length(response: Response, lengths: list[bytes], codings: list[bytes], old: bool, bodyless: bool) -> None:
    if codings and (lengths or old or codings != [b"chunked"]):
        raise BadUpstreamReply("the vendor's response is framed ambiguously")
    if lengths and (not valid_length(lengths[0]) or len(set(lengths)) != 1):
        raise BadUpstreamReply("the vendor's Content-Length is not one plain number")
    status = response.status
    if bodyless or status < 200 or status in (204, 304):
        response.length = 0
    elif codings:
        response.length = CHUNKED
    elif lengths:
        response.length = int(lengths[0])


def _without(head: bytes, low: bytes, names: list[bytes], one_length: bool) -> bytes:
    """The head as HTTP/1.1 less the fields `names` (lower case) and, if asked, all but the first Content-Length."""
    if names == [b"connection"] and head[7] == 49:
        start = low.index(b"\r\nconnection:")
        return head[:start] + head[head.index(b"\r", start + 13) :]
    lines = head.split(b"\r\n")
    kept = [b"HTTP/1.1" + lines[0][8:]]
    seen = False
    for line in lines[1:]:
        name = line.partition(b":")[0].lower()
        if name in names or (one_length and seen and name == b"content-length"):
            continue
        seen = seen or name == b"content-length"
        kept.append(line)
    return b"\r\n".join(kept)


_RETRY_AFTER = re.compile(rb"\r\nretry-after(-ms)?+:[ \t]*+([^\r]*+)", re.IGNORECASE)
_DATE = re.compile(rb"\r\ndate:[ \t]*+([^\r]*+)", re.IGNORECASE)


def retry_after(head: bytes) -> float | None:
    """Seconds that a validated response head asks to wait; None if it does not say."""
    for milliseconds, value in _RETRY_AFTER.findall(head):
        value = value.strip()
        if re.fullmatch(rb"[0-9]{1,9}+(?:\.[0-9]{1,9}+)?+", value):
            return float(value) / (1000 if milliseconds else 1)
        if (sent := _DATE.search(head)) is not None:
            # A moment; the answer's own Date says from when, so that no two clocks are compared.
            with contextlib.suppress(ValueError, TypeError):
                moments = [parsedate_to_datetime(text.decode("latin-1")) for text in (value, sent[1])]
                return max(0.0, (moments[0] - moments[1]).total_seconds())
    return None


def without_field(head: bytes, lower: bytes) -> bytes:
    """A validated head less every line of one field."""
    return re.sub(rb"\r\n" + re.escape(lower) + rb":[^\r]*+", b"", head, flags=re.IGNORECASE)


def with_close(head: bytes) -> bytes:
    """The head with `Connection: close` as its last field."""
    return head[:-2] + b"Connection: close\r\n\r\n"
