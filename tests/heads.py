"""Good and bad heads, and llhttp (Node's parser, by httptools) as the judge of the good ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httptools
from httptools.parser import errors

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Heard:
    """What llhttp understands of a message."""

    url: bytes = b""
    reason: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    head_done: bool = False
    done: bool = False
    upgrade: bool = False
    error: str = ""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_done:
            self.headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.head_done = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.done = True


@dataclass
class Judge:
    """llhttp, fed piece by piece; `heard` is what it has understood so far."""

    request: bool = True

    def __post_init__(self) -> None:
        self.heard = Heard()
        kind = httptools.HttpRequestParser if self.request else httptools.HttpResponseParser
        self.parser: Any = kind(self.heard)

    def feed(self, data: bytes) -> Heard:
        heard = self.heard
        if not heard.error and not heard.upgrade:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                heard.upgrade = True
            except errors.HttpParserError as exc:
                heard.error = str(exc) or type(exc).__name__
        return heard


# What a strict reader refuses: each with a word of the remedy that the client is told.
BAD_REQUESTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"\r\n\r\n", "request line"),
    "no version": (b"GET /x\r\nHost: a\r\n\r\n", "request line"),
    "two spaces": (b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
    "space at the end": (b"GET /x HTTP/1.1 \r\nHost: a\r\n\r\n", "request line"),
    "tab": (b"GET\t/x HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
    "space in the target": (b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
    "non-ASCII target": (b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
    "bare LF after the line": (b"GET /x HTTP/1.1\nHost: a\r\n\r\n", "request line"),
    "lower-case protocol": (b"GET /x http/1.1\r\nHost: a\r\n\r\n", "request line"),
    "HTTP/2.0": (b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n", "HTTP/1.1"),
    "HTTP/1.2": (b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n", "HTTP/1.1"),
    "HTTP/1.10": (b"GET /x HTTP/1.10\r\nHost: a\r\n\r\n", "request line"),
    "absolute form": (b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", "path"),
    "authority form": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "path"),
    "CONNECT with a path": (b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", "path"),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "path"),
    "fragment": (b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n", "fragment"),
    "no Host": (b"GET /x HTTP/1.1\r\nA: a\r\n\r\n", "Host"),
    "two Hosts": (GET + b"Host: a\r\n\r\n", "Host"),
    "two Hosts in another case": (GET + b"hOST: b\r\n\r\n", "Host"),
    "Host with a space": (b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", "Host"),
    "Host with a path": (b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n", "Host"),
    "Host with a login": (b"GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n", "Host"),
    "bare LF after a field": (GET + b"A: b\nC: d\r\n\r\n", "bare CR or LF"),
    "bare CR in a value": (GET + b"A: b\rC: d\r\n\r\n", "bare CR or LF"),
    "CR CR LF": (GET + b"A: b\r\r\n\r\n", "bare CR or LF"),
    "blank line by LF": (GET + b"A: b\n\r\n", "bare CR or LF"),
    "folded": (GET + b"A: b\r\n c\r\n\r\n", "obs-fold"),
    "folded by a tab": (GET + b"A: b\r\n\tc\r\n\r\n", "obs-fold"),
    "folded at once": (b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n", "obs-fold"),
    "space before the colon": (GET + b"A : b\r\n\r\n", "before the colon"),
    "tab before the colon": (GET + b"Content-Length\t: 5\r\n\r\n", "before the colon"),
    "no colon": (GET + b"Apple\r\n\r\n", "malformed"),
    "no name": (GET + b": b\r\n\r\n", "malformed"),
    "space in a name": (GET + b"A b: c\r\n\r\n", "malformed"),
    "bracket in a name": (GET + b"A(: c\r\n\r\n", "malformed"),
    "non-ASCII name": (GET + b"\xe4: c\r\n\r\n", "malformed"),
    "NUL in a name": (GET + b"A\0: c\r\n\r\n", "malformed"),
    "NUL in a value": (GET + b"A: \0\r\n\r\n", "malformed"),
    "ESC in a value": (GET + b"A: \x1b\r\n\r\n", "malformed"),
    "DEL in a value": (GET + b"A: \x7f\r\n\r\n", "malformed"),
    "both framings": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "both"),
    "both framings, turned": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "both"),
    "chunked HTTP/1.0": (b"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "Transfer-Encoding"),
    "chunked, chunked": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n", "Transfer-Encoding"),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding"),
    "chunked and nothing": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n", "Transfer-Encoding"),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", "Transfer-Encoding"),
    "empty coding": (POST + b"Transfer-Encoding:\r\n\r\n", "Transfer-Encoding"),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", "Transfer-Encoding"),
    "quoted chunked": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n', "Transfer-Encoding"),
    "chunked with a parameter": (POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n", "Transfer-Encoding"),
    "length twice": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", "Content-Length"),
    "lengths differ": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "Content-Length"),
    "length list": (POST + b"Content-Length: 5, 5\r\n\r\n", "Content-Length"),
    "empty length": (POST + b"Content-Length:\r\n\r\n", "Content-Length"),
    "plus": (POST + b"Content-Length: +5\r\n\r\n", "Content-Length"),
    "minus": (POST + b"Content-Length: -5\r\n\r\n", "Content-Length"),
    "hexadecimal": (POST + b"Content-Length: 0x5\r\n\r\n", "Content-Length"),
    "underscore": (POST + b"Content-Length: 1_0\r\n\r\n", "Content-Length"),
    "two numbers": (POST + b"Content-Length: 1 0\r\n\r\n", "Content-Length"),
    "fraction": (POST + b"Content-Length: 5.0\r\n\r\n", "Content-Length"),
    "other digits": (POST + b"Content-Length: \xb2\r\n\r\n", "Content-Length"),
    "2^64": (POST + b"Content-Length: 18446744073709551616\r\n\r\n", "Content-Length"),
    "Connection lists a framing": (GET + b"Connection: close, Content-Length\r\n\r\n", "content-length"),
    "Connection lists the host": (GET + b"Connection: host\r\n\r\n", "host"),
    "Connection lists the key": (GET + b"Connection: Authorization\r\n\r\n", "authorization"),
    "Connection lists another key": (GET + b"Connection: x-api-key\r\n\r\n", "x-api-key"),
    "Connection lists any api field": (GET + b"Connection: x-api-resource-id\r\n\r\n", "x-api-resource-id"),
    "Connection is no list": (GET + b"Connection: a b\r\n\r\n", "comma list"),
    "Connection in quotes": (GET + b'Connection: "close"\r\n\r\n', "comma list"),
}

BAD_RESPONSES: dict[str, bytes] = {
    "nothing": b"\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status 0xx": b"HTTP/1.1 099 OK\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
    "bare CR in the reason": b"HTTP/1.1 200 O\rK\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 5\r\n\r\n",
    "folded": OK + b"A: b\r\n c\r\n\r\n",
    "bare LF in a field": OK + b"A: b\nContent-Length: 5\r\n\r\n",
    "both framings": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n\r\n",
    "lengths differ": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "length list": OK + b"Content-Length: 5, 5\r\n\r\n",
    "plus": OK + b"Content-Length: +5\r\n\r\n",
    "empty length": OK + b"Content-Length:\r\n\r\n",
    "Connection lists a framing": OK + b"Connection: content-length\r\nContent-Length: 5\r\n\r\n",
    "Connection lists the encoding": OK + b"Connection: Content-Encoding\r\nContent-Encoding: gzip\r\n\r\n",
}
