"""Random exchanges, and what the contract says the gateway makes of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.wire.messages import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE, Fields, Message, chunks, head

METHODS = (
    b"GET POST PUT PATCH DELETE HEAD OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND "
    b"UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR LINK UNLINK "
    b"SOURCE QUERY"
).split()
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection te transfer-encoding upgrade proxy-authorization".split()
)
NUMBER = b"X-Exchange-Number"  # tells the vendor which answer is wanted


@dataclass
class Reply:
    """What the vendor sends."""

    status: bytes
    reason: bytes
    fields: Fields
    framing: str
    pieces: list[bytes]
    trailers: Fields
    extensions: list[bytes]
    interim: list[tuple[bytes, Fields]]
    cuts: list[int]

    def wire(self, method: bytes) -> bytes:
        bodiless = method == b"HEAD" or self.status in (b"204", b"304")
        body = b"".join(self.pieces)
        fields = list(self.fields)
        framed = b""
        if self.framing == LENGTH:
            length = 0 if self.status == b"204" else len(body)
            fields.insert(len(fields) // 2, (b"content-LENGTH", b"%d" % length))
            framed = body
        elif self.framing == CHUNKED and not bodiless:
            fields.insert(len(fields) // 2, (b"transfer-encoding", b"chunked"))
            framed = chunks(self.pieces, self.trailers, self.extensions)
        elif self.framing == UNTIL_CLOSE:
            framed = body
        interim = b"".join(head(b"HTTP/1.1 " + line, extra) for line, extra in self.interim)
        final = head(b"HTTP/1.1 " + self.status + b" " + self.reason, fields)
        return interim + final + (b"" if bodiless else framed)

    def closes(self, method: bytes) -> bool:
        return self.framing == UNTIL_CLOSE and method != b"HEAD" and self.status not in (b"204", b"304")


@dataclass
class Exchange:
    """What the client sends, and the reply to it."""

    method: bytes
    target: bytes  # as the vendor shall see it
    version: bytes
    fields: Fields
    framing: str
    pieces: list[bytes]
    trailers: Fields
    extensions: list[bytes]
    cuts: list[int]
    reply: Reply = field(repr=True)

    def wire(self, prefix: bytes, number: int) -> bytes:
        fields = [*self.fields, (NUMBER, b"%d" % number)]
        fields.insert(len(self.fields) // 2, (b"hOsT", b"api.vendor.test"))
        body = b""
        if self.framing == LENGTH:
            body = b"".join(self.pieces)
            fields.insert(1, (b"Content-length", b"%d" % len(body)))
        elif self.framing == CHUNKED:
            body = chunks(self.pieces, self.trailers, self.extensions)
            fields.append((b"Transfer-Encoding", b"chunked"))
        return head(self.method + b" " + prefix + self.target + b" " + self.version, fields) + body


def forwarded(fields: Fields, host: bytes | None = None) -> Fields:
    """The fields that pass, in order: hop-by-hop ones, those that Connection lists and the gateway's own are gone."""
    listed = {
        option.strip().lower()
        for name, value in fields
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    passed = []
    for name, value in fields:
        low = name.lower()
        if low in HOP_BY_HOP or low in listed or low.startswith(b"x-gateway-"):
            continue
        passed.append((name, host if low == b"host" and host is not None else value))
    return passed


def wants_trailers(message: Message) -> list[bytes]:
    """The TE field that must reach the vendor."""
    members = [part.strip().lower() for value in message.values(b"te") for part in value.split(b",")]
    return [b"trailers"] if b"trailers" in members else []


# strategies: small alphabets of awkward pieces find more than wide random text

_segments = st.sampled_from(
    [
        b"v1",
        b"chat",
        b"%2F",
        b"%2e%2E",
        b"..",
        b".",
        b"",
        b"a;b=c",
        b";",
        b"a%20b",
        b"%zz",
        b"%",
        b"~u",
        b"(x)",
        b"a,b",
        b"models:generate",
        b"{}|^`",
        b'"<>',
        b"\\",
        b"@",
        b"!$&'*+=",
        b"%E4%BD%A0",
        b"echo",
        b"healthz",
        b"metrics",
    ]
)
_queries = st.sampled_from(
    [
        b"",
        b"?",
        b"??",
        b"?a=b",
        b"?a=b&a=c",
        b"?a=%2F%00",
        b"?key=AIza",
        b"?/../x",
        b"?a[]=1&b{}",
        b"?=&=&",
        b"?x;y",
        b"?a+b=%20",
        b"?:@!$'()*,",
        b"?%",
        b"?x=?y",
    ]
)
_names = st.sampled_from(
    b"Accept accept-ENCODING Authorization x-api-key Cookie User-Agent X-Forwarded-For Via Forwarded Content-Type "
    b"Content-Encoding Trailer Range If-None-Match X-Odd_name! x.#$%&'*+^`|~ X Date Server Set-Cookie Link Location "
    b"Warning X-Request-Id openai-organization anthropic-version Accept Referer Retry-After Vary ETag Origin".split()
)
_values = st.sampled_from(
    [
        b"",
        b"a",
        b"*/*",
        b"gzip, br",
        b"Bearer sk-0123456789",
        b"a=b; c=d",
        b"\xe4\xbd\xa0\xe5\xa5\xbd",
        b"\xff\xfe",
        b"a\tb",
        b"two  spaces",
        b'"quoted, comma"',
        b"trailers",
        b"x" * 300,
        b"0",
        b"text/event-stream",
        b":colon:",
        b"{}[]()<>@\\",
    ]
)
_field = st.tuples(_names, _values)
_hop_fields: st.SearchStrategy[Fields] = st.sampled_from(
    [
        [],
        [],
        [],
        [],
        [(b"Connection", b"keep-alive")],
        [(b"connection", b"X-Listed, keep-alive"), (b"x-listed", b"1")],
        [(b"Keep-Alive", b"timeout=5")],
        [(b"Proxy-Connection", b"keep-alive")],
        [(b"X-Gateway-Anything", b"1")],
        [(b"Connection", b"a"), (b"A", b"1"), (b"Connection", b"B"), (b"b", b"2")],
    ]
)
_request_hop_fields: st.SearchStrategy[Fields] = st.one_of(
    _hop_fields,
    st.sampled_from(
        [
            [(b"TE", b"trailers"), (b"Connection", b"TE")],
            [(b"te", b"gzip, Trailers")],
            [(b"TE", b"gzip;q=0.5")],
            [(b"Proxy-Authorization", b"Basic eDp5")],
            [(b"Upgrade", b"h2c"), (b"Connection", b"upgrade, HTTP2-Settings"), (b"HTTP2-Settings", b"AAMAAABk")],
            [(b"x-gateway-key", b"k")],
        ]
    ),
)
_bytes = st.one_of(
    st.sampled_from(
        [
            b"{}",
            b'{"model":"m"}',
            b"\r\n",
            b"0\r\n\r\n",
            b"\x00",
            b"data: x\n\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"z" * 5000,
            b"\x1f\x8b\x08junk",
            b"\xff" * 70000,
        ]
    ),
    st.binary(min_size=1, max_size=40),
)
_pieces = st.lists(_bytes, max_size=4)
_extensions = st.lists(st.sampled_from([b"", b";a", b";a=b", b';q="x;y"', b";a;b=c"]), max_size=3)
_trailers = st.lists(st.tuples(st.sampled_from([b"X-Checksum", b"x-trailer", b"Server-Timing"]), _values), max_size=2)
_cuts = st.lists(st.sampled_from([1, 1, 2, 3, 7, 20, 100, 1000, 0]), max_size=12)
_interim = st.lists(
    st.sampled_from(
        [
            (b"103 Early Hints", [(b"Link", b"</a>; rel=preload")]),
            (b"102 Processing", []),
            (b"100 Continue", []),
            (b"103 ", [(b"X-A", b"1"), (b"X-A", b"2")]),
            (b"199 Odd", []),
        ]
    ),
    max_size=2,
)
_reasons = st.sampled_from([b"OK", b"", b"Not Found At All", b"\xe5\xa5\xbd", b"O\tK", b"x" * 200])
_statuses = st.sampled_from(
    b"200 200 200 201 202 204 206 299 301 302 304 307 400 401 403 404 408 409 413 418 421 426 429 451 500 502 503 504 "
    b"529 599 600 999".split()
)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    return Reply(
        draw(_statuses),
        draw(_reasons),
        draw(st.lists(_field, max_size=5)) + draw(_hop_fields),
        draw(st.sampled_from([LENGTH, LENGTH, CHUNKED, CHUNKED, UNTIL_CLOSE])),
        draw(_pieces),
        draw(_trailers),
        draw(_extensions),
        draw(_interim),
        draw(_cuts),
    )


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    version = draw(st.sampled_from([b"HTTP/1.1"] * 7 + [b"HTTP/1.0"]))
    framings = [NO_BODY, LENGTH, LENGTH] if version == b"HTTP/1.0" else [NO_BODY, LENGTH, CHUNKED, CHUNKED]
    target = b"/" + b"/".join(draw(st.lists(_segments, max_size=4))) + draw(_queries)
    return Exchange(
        draw(st.sampled_from(METHODS)),
        target,
        version,
        draw(st.lists(_field, max_size=6)) + draw(_request_hop_fields),
        draw(st.sampled_from(framings)),
        draw(_pieces),
        draw(_trailers),
        draw(_extensions),
        draw(_cuts),
        draw(replies()),
    )
