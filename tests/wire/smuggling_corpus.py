"""Requests that two readers could take for different things, and answers of that kind.

A `Case` is refused unless it says what else is right. Every request is followed on the wire by `AFTER`, as an attacker
would do; a refused connection must be closed before `AFTER` counts for anything.
"""

from __future__ import annotations

from dataclasses import dataclass

AFTER = b"GET /echo/after HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """`body`: if the request may also be accepted, the body that the vendor must then see. `closes`: whether the
    refusal must end the connection; where the framing is beyond doubt, it need not.
    """

    name: str
    raw: bytes
    statuses: tuple[int, ...] = (400,)
    body: bytes | None = None
    closes: bool = True


def post(lines: bytes, body: bytes = b"hello", version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST /echo/first " + version + b"\r\nHost: a\r\n" + lines + b"\r\n\r\n" + body


def get(target: bytes, lines: bytes = b"Host: a\r\n") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + lines + b"\r\n"


CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def _named(kind: str, raws: list[bytes], body: bytes | None = None) -> list[Case]:
    return [Case(f"{kind} {raw!r}"[:90], raw, body=body) for raw in raws]


def _lengths() -> list[Case]:
    bad = [
        b"+5", b"-5", b"-1", b"0x5", b"5,5", b"5, 5", b"5 5", b"", b" ", b"5;", b"five", b"5.0", b"1e1", b"'5'", b"5\x0b", b"\x0c5",
        b"99999999999999999999999", b"18446744073709551621", b"\xef\xbc\x95", b"5\x00", b"5\r", b"\xa05", b"5_0", b"NaN", b",5",
    ]
    cases = [Case(f"length {value!r}", post(b"Content-Length: " + value)) for value in bad]
    cases += [Case(f"length {value!r}", post(b"Content-Length: " + value), body=b"hello") for value in (b"05", b"5 ", b"\t5")]
    return cases + _named("lengths", [
        post(b"Content-Length: 5\r\nContent-Length: 5"), post(b"Content-Length: 5\r\nContent-Length: 6"),
        post(b"Content-Length: 5\r\ncontent-length: 0"), post(b"Content-Length: 0\r\nX: y\r\nCONTENT-LENGTH: 5"),
        post(b"Content-Length : 5"), post(b"Content-Length\t: 5"), post(b"Content-Length:\r\n 5"),
        post(b"X: y\r\n Content-Length: 5"), post(b"Content-Length: 5\x00\r\nContent-Length: 5"),
        post(b"Content-Length 5"), post(b"Content\x00-Length: 5"),
    ]) + _named("lookalike", [
        post(b"Content-Length: 5\r\nContent_Length: 50"), post(b"Content-Length: 5\r\nContent-Lengt: 50"),
        post(b"Content-Length: 5\r\nX-Content-Length: 50"), post(b"Content-Length: 5\r\nTransfer_Encoding: chunked"),
    ], body=b"hello")


def _codings() -> list[Case]:
    both = [
        post(b"Content-Length: 5\r\nTransfer-Encoding: chunked", CHUNKS),
        post(b"Transfer-Encoding: chunked\r\nContent-Length: 15", CHUNKS),
        post(b"Transfer-Encoding: chunked\r\nContent-Length: 0", CHUNKS),
        post(b"transfer-encoding: CHUNKED\r\nA: b\r\ncontent-length: 4", CHUNKS),
        post(b"Transfer-Encoding: identity\r\nContent-Length: 5"),
        post(b"Transfer-Encoding:\r\nContent-Length: 5"),
        post(b"Transfer-Encoding: xchunked\r\nContent-Length: 5"),
    ]
    values = [
        b"xchunked", b"chunkedx", b"chunk", b"chunked, chunked", b"chunked,", b",chunked", b"gzip, chunked", b"chunked, gzip",
        b"identity", b"identity, chunked", b"chunked, identity", b"chunked;q=1", b"chunked;x", b'"chunked"', b"", b"deflate",
        b"\x0bchunked", b"chunked\x0b", b"\x00chunked", b"chunked\x00", b"\xa0chunked", b"chunked chunked", b"chunked\r",
        b"c hunked", b"[chunked]", b"chun\xc5\xbfed",
    ]
    odd = [
        post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", CHUNKS),
        post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", CHUNKS),
        post(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", CHUNKS),
        post(b"Transfer-Encoding : chunked", CHUNKS), post(b"Transfer-Encoding\t: chunked", CHUNKS),
        post(b" Transfer-Encoding: chunked", CHUNKS), post(b"X: y\r\n Transfer-Encoding: chunked", CHUNKS),
        post(b"Transfer-Encoding:\r\n chunked", CHUNKS), post(b"Transfer-Encoding: chunked\r\n\t, x", CHUNKS),
        post(b"X: y\nTransfer-Encoding: chunked", CHUNKS), post(b"X: y\rTransfer-Encoding: chunked", CHUNKS),
        post(b"Transfer-Encoding\x00: chunked", CHUNKS), post(b"\x00Transfer-Encoding: chunked", CHUNKS),
        post(b"Transfer-Encoding: chunked", CHUNKS, b"HTTP/1.0"),
        post(b"Transfer-Encoding: chunked\r\nContent-Length: 5", CHUNKS, b"HTTP/1.0"),
        post(b"Connection: keep-alive\r\nTransfer-Encoding: chunked", CHUNKS, b"HTTP/1.0"),
    ]
    fine = [b"Chunked", b"CHUNKED", b"chunked ", b"\tchunked", b"  chunked\t "]
    cases = _named("both", both) + _named("coding", odd)
    cases += [Case(f"coding {value!r}", post(b"Transfer-Encoding: " + value, CHUNKS)) for value in values]
    return cases + [Case(f"coding {value!r}", post(b"Transfer-Encoding: " + value, CHUNKS), body=b"hello") for value in fine]


def _heads() -> list[Case]:
    line = b"GET /echo/first HTTP/1.1\r\n"
    raws = [
        b"GET /echo/first HTTP/1.1\nHost: a\n\n", b"GET /echo/first HTTP/1.1\nHost: a\r\n\r\n", line + b"Host: a\n\r\n",
        line + b"Host: a\r\n\n", line + b"Host: a\nX: y\r\n\r\n", line + b"Host: a\r\nX: y\n\n", line + b"Host: a\r\nX: y\rZ: w\r\n\r\n",
        line + b"Host: a\r\nX: y\r\r\n\r\n", line + b"Host: a\r\r\n\r\n", b"GET /echo/first HTTP/1.1\rHost: a\r\r",
        b"GET /echo/first HTTP/1.1\r\r\nHost: a\r\n\r\n", line + b"Host: a\r\nX: a\r\n b\r\n\r\n", line + b"Host: a\r\nX: a\r\n\tb\r\n\r\n",
        line + b"Host: a\r\n \r\n\r\n", line + b" Host: a\r\n\r\n", line + b"\tX: y\r\nHost: a\r\n\r\n", line + b"Host: a\r\nX:\r\n \r\n\r\n",
        line + b"Host: a\r\nX: a\x00b\r\n\r\n", line + b"Host: a\r\nX\x00: b\r\n\r\n", line + b"Host: a\r\nX: \x01\r\n\r\n",
        line + b"Host: a\r\nX: \x7f\r\n\r\n", line + b"Host: a\r\nX: \x1b[2J\r\n\r\n", line + b"Host: a\r\nX: a\x0bb\r\n\r\n",
        line + b"Host: a\r\nX: a\x08\r\n\r\n",
        line + b"Host: a\r\n: v\r\n\r\n", line + b"Host: a\r\nA B: c\r\n\r\n", line + b"Host: a\r\nA : c\r\n\r\n",
        line + b"Host: a\r\nA\t: c\r\n\r\n", line + b"Host : a\r\n\r\n", line + b"Host: a\r\nA(: c\r\n\r\n", line + b'Host: a\r\n"A": c\r\n\r\n',
        line + b"Host: a\r\nA\x80: c\r\n\r\n", line + b"Host: a\r\n\xc3\xa4: c\r\n\r\n", line + b"Host: a\r\nA@b: c\r\n\r\n",
        line + b"Host: a\r\ngarbage\r\n\r\n", line + b"Host: a\r\nA;b\r\n\r\n", line + b"Host: a\r\n{}\r\n\r\n",
        line + b"Host: a\r\nA/b: c\r\n\r\n", line + b"Host: a\r\nA[]: c\r\n\r\n", line + b"Host: a\r\nA\x7f: c\r\n\r\n",
        line + b"\r\n", line + b"X: y\r\n\r\n", line + b"Host: a\r\nHost: a\r\n\r\n", line + b"Host: a\r\nhost: b\r\n\r\n",
        line + b"Host: a\r\nX: y\r\nHOST: a\r\n\r\n", line + b"X-Host: a\r\n\r\n",
        b"GET /echo/first\r\nHost: a\r\n\r\n", b"GET /echo/first HTTP/2.0\r\nHost: a\r\n\r\n", b"GET /echo/first HTTP/0.9\r\nHost: a\r\n\r\n",
        b"GET /echo/first http/1.1\r\nHost: a\r\n\r\n", b"GET /echo/first HTTP/01.1\r\nHost: a\r\n\r\n", b"GET /echo/first HTTP/1.10\r\nHost: a\r\n\r\n",
        b"GET /echo/first HTTP/1\r\nHost: a\r\n\r\n", b"GET /echo/first HTTQ/1.1\r\nHost: a\r\n\r\n", b"GET /echo/first HTTP/1.1\x00\r\nHost: a\r\n\r\n",
        b"GET /echo/first HTTP/1.1 \r\nHost: a\r\n\r\n", b"GET /echo/first HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /echo/first HTTP/-1.1\r\nHost: a\r\n\r\n",
        b"GET  /echo/first HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /echo/first  HTTP/1.1\r\nHost: a\r\n\r\n", b"GET\t/echo/first HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /echo/first\tHTTP/1.1\r\nHost: a\r\n\r\n", b" GET /echo/first HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00GET /echo/first HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"\xff\xfe\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ]
    return [Case(f"head {raw!r}"[:110], raw, (400, 501) if raw[:1] in b" \x00\x16\xffH" else (400,)) for raw in raws]


def _targets() -> list[Case]:
    targets = [
        b"http://a/echo/first", b"HTTP://a/echo/first", b"https://evil.test/echo/first", b"*", b"a:443", b"echo/first", b"?x", b"\\echo\\first",
        b"/echo/first#f", b"/echo/#", b"/echo#", b"/echo/first?a#b", b"/echo/a b", b"/echo/first?a b", b"/echo/\xe4\xbd\xa0", b"/echo/\xff", b"/echo/?q=\xe9",
        b"/echo/\x7f", b"/echo/\x01", b"/echo/a\tb", b"/echo/a\x0bb", b"/echo/a\x00b", b"/echo/a\rb", b"/echo/a\nb", b"ws://a/echo/first",
        b"/based/..", b"/based/../first", b"/based/a/../first", b"/based/./first", b"/based/.", b"/based/a/..", b"/based/a/.?x", b"/based/..?x",
        b"/based/%2e%2e/first", b"/based/.%2e/first", b"/based/%2E./first", b"/based/%2e", b"/based/a/%2E%2e", b"/based/%2e/first", b"/based//../first",
    ]
    cases = [Case(f"target {target!r}", get(target), closes=not target.startswith(b"/based")) for target in targets]
    accepted = [b"/based/..;/first", b"/based/%2e%2e%2ffirst", b"/based/..%2ffirst", b"/based/..%5cfirst", b"/based/%252e%252e/first", b"/based/..\\first"]
    cases += [Case(f"target {target!r}", get(target), body=b"", closes=False) for target in accepted]
    return cases + _named("form", [
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", b"CONNECT /echo/first HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET HTTP/1.1\r\nHost: a\r\n\r\n",
    ])


def _methods() -> list[Case]:
    raws = [b"FOO", b"get", b"GETT", b"G", b"BREW", b"X-CUSTOM", b"POS", b"A" * 300, b"Get"]
    end = b" /echo/first HTTP/1.1\r\nHost: a\r\n\r\n"
    cases = [Case(f"method {raw[:20]!r}", raw + end, (501,), closes=False) for raw in raws]
    odd = [b"G@T", b"GET:", b"(GET)", b"G\x00T", b"G\xe4T", b"", b"PRI", b"GET,POST"]
    return cases + [Case(f"method {raw!r}", raw + b" /echo/first HTTP/1.1\r\nHost: a\r\n\r\n", (400, 501)) for raw in odd]


def _listings() -> list[Case]:
    names = [
        b"content-length", b"Content-Length", b"host", b"Host", b"authorization", b"Authorization", b"x-api-key", b"X-API-Key",
        b"transfer-encoding", b"x-goog-api-key", b"close, host", b"keep-alive,authorization", b"x-a, ,\tcontent-length",
    ]
    cases = [Case(f"lists {name!r}", post(b"Content-Length: 5\r\nAuthorization: b\r\nx-api-key: k\r\nConnection: " + name)) for name in names]
    cases.append(Case("lists in two", post(b"Connection: close\r\nContent-Length: 5\r\nConnection: Content-Length")))
    cases.append(Case("lists coding", post(b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", CHUNKS)))
    return cases


def _large() -> list[Case]:
    many = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 90) for number in range(700))
    return [
        Case("one large field", get(b"/echo/first", b"Host: a\r\nX: " + b"v" * 70000 + b"\r\n"), (431,)),
        Case("many fields", get(b"/echo/first", b"Host: a\r\n" + many), (431,)),
        Case("large target", get(b"/echo/" + b"x" * 70000), (431,)),
        Case("endless field", b"GET /echo/first HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 140000, (431,)),
        Case("endless target", b"GET /echo/" + b"x" * 140000, (431,)),
        Case("endless fields", b"GET /echo/first HTTP/1.1\r\nHost: a\r\n" + many + many, (431,)),
    ]


REFUSED_HEADS = _lengths() + _codings() + _heads() + _targets() + _methods() + _listings() + _large()


def _chunked(body: bytes) -> bytes:
    return b"POST /echo/first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body


def _bodies() -> list[Case]:
    sizes = [
        b"0x5", b"+5", b"-5", b" 5", b"\t5", b"5 ", b"5\t", b"5_0", b"", b"g", b"5g", b"FFFFFFFFFFFFFFFFF", b"10000000000000005", b"5\n", b"5\r",
        b"5,5", b"5.", b"\xef\xbc\x95", b"\x005", b"5\x00", b"5 a", b"-0", b"0x0", b"5h", b"5;\n", b"5;a\rb", b"5;a\nb", b"5;a\x00",
    ]
    cases = [Case(f"chunk size {size!r}", _chunked(size + b"\r\nhello\r\n0\r\n\r\n")) for size in sizes]
    cases += [Case(f"later chunk size {size!r}", _chunked(b"3\r\nabc\r\n" + size + b"\r\nhello\r\n0\r\n\r\n")) for size in sizes]
    tails = [
        b"5\r\nhelloX0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n", b"5\r\nhello \r\n0\r\n\r\n", b"5\r\nhello\r\r\n0\r\n\r\n",
        b"5\r\nhelloworld\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\n\r\n", b"5\r\nhello\r\n0\r\n\n", b"5\r\nhello\r\n0\r\nX: y\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\r\n\n", b"5\r\nhello\r\n0\r\ngarbage\r\n\r\n", b"5\r\nhello\r\n0\r\nX : y\r\n\r\n", b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
        b"5\r\nhello\r\n0\r\n X: y\r\n\r\n", b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n", b"5\r\nhello\r\n0\r\n: y\r\n\r\n", b"5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello\n\n0\r\n\r\n", b"5\r\nhello\r\r0\r\n\r\n", b"5\r\nhello  0\r\n\r\n", b"5\r\nhello\r\n0\rX\r\n\r\n", b"5\r\nhello\r\n0\r\n\rX",
    ]
    cases += [Case(f"chunks {tail!r}", _chunked(tail)) for tail in tails]
    cases.append(Case("endless trailers", _chunked(b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 20000 + b"\r\n"), (400, 431)))
    cases.append(Case("large trailer", _chunked(b"5\r\nhello\r\n0\r\nX: " + b"y" * 100000 + b"\r\n\r\n"), (400, 431)))
    fine = [
        b"05\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n000\r\n\r\n", b"000000000000000000005\r\nhello\r\n0\r\n\r\n", b"5;" + b"a" * 100000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5 ;a\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0;last\r\n\r\n", b"1;x\r\nh\r\n4;y=\"z;w\"\r\nello\r\n0\r\n\r\n", b"5;a=\xff\r\nhello\r\n0\r\n\r\n",
    ]
    cases += [Case(f"chunks {tail!r}"[:90], _chunked(tail), body=b"hello") for tail in fine]
    framing = [b"Content-Length: 50", b"Transfer-Encoding: chunked", b"Host: evil", b"Connection: close", b"transfer-encoding: gzip"]
    return cases + [
        Case(f"trailer {trailer!r}", _chunked(b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n"), body=b"hello") for trailer in framing
    ]


REFUSED_BODIES = _bodies()


def _answer(lines: bytes, body: bytes = b"ok") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n" + body


# Answers that show their ambiguity in the head: 502.
BAD_ANSWERS: list[bytes] = [
    _answer(b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"2\r\nok\r\n0\r\n\r\n"),
    _answer(b"Transfer-Encoding: chunked\r\nContent-Length: 12", b"2\r\nok\r\n0\r\n\r\n"),
    _answer(b"Content-Length: 2\r\nContent-Length: 3"), _answer(b"Content-Length: 2, 3"), _answer(b"Content-Length: +2"), _answer(b"Content-Length: -2"),
    _answer(b"Content-Length: 0x2"), _answer(b"Content-Length: 99999999999999999999999"), _answer(b"Content-Length: two"), _answer(b"Content-Length:"),
    _answer(b"Content-Length: 2 2"), _answer(b"Content-Length : 2"), _answer(b"Transfer-Encoding: xchunked"), _answer(b"Transfer-Encoding: gzip, chunked"),
    _answer(b"Transfer-Encoding: chunked, chunked", b"2\r\nok\r\n0\r\n\r\n"), _answer(b"Transfer-Encoding: identity"), _answer(b"Transfer-Encoding:"),
    _answer(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"2\r\nok\r\n0\r\n\r\n"), _answer(b"Transfer-Encoding : chunked", b"2\r\nok\r\n0\r\n\r\n"),
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    _answer(b"X: y\r\n folded\r\nContent-Length: 2"), _answer(b" X: y\r\nContent-Length: 2"), _answer(b"X: a\x00b\r\nContent-Length: 2"), _answer(b"X: a\rb\r\nContent-Length: 2"),
    _answer(b"X: a\nb: c\r\nContent-Length: 2"), _answer(b"A B: c\r\nContent-Length: 2"), _answer(b"A : c\r\nContent-Length: 2"), _answer(b": c\r\nContent-Length: 2"),
    _answer(b"garbage\r\nContent-Length: 2"), _answer(b"A(: c\r\nContent-Length: 2"), _answer(b"X: \x01\r\nContent-Length: 2"), _answer(b"\xc3\xa4: c\r\nContent-Length: 2"),
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nok", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok",
    b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200 OK\rX: y\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTQ/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 000 Zero\r\nContent-Length: 2\r\n\r\nok", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"hello there, this is not HTTP\r\n\r\n", b"\r\n\r\n\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"220 smtp.test ESMTP\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nBad Name: x\r\n\r\n" + _answer(b"Content-Length: 2"), b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, b"HTTP/1.1 200 " + b"y" * 200_000,
    b"", b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
]

# Chunked bodies that turn bad after some good bytes: the client sees the cut.
BAD_CHUNKED_BODIES: list[bytes] = [
    b"zz\r\n", b"0x2\r\nok\r\n0\r\n\r\n", b"+2\r\nok\r\n0\r\n\r\n", b"-2\r\nok\r\n0\r\n\r\n", b" 2\r\nok\r\n0\r\n\r\n", b"2 \r\nok\r\n0\r\n\r\n", b"\r\nok\r\n0\r\n\r\n", b"2\nok\r\n0\r\n\r\n",
    b"2\r\nokX0\r\n\r\n", b"2\r\nokXX0\r\n\r\n", b"2\r\nok\n\n0\r\n\r\n", b"2\r\nok0\r\n\r\n", b"2\r\nok\n0\r\n\r\n", b"FFFFFFFFFFFFFFFFF\r\nok\r\n0\r\n\r\n", b"10000000000000002\r\nok\r\n0\r\n\r\n", b"2\r\nok\r\n0\n\n", b"2;a\nb\r\nok\r\n0\r\n\r\n",
    b"2\r\nok\r\n0\r\nbad trailer\r\n\r\n", b"2\r\nok\r\n0\r\nX : y\r\n\r\n", b"2\r\nok\r\n0\r\nX: \x00\r\n\r\n", b"2\r\nok\r\n0\r\n X: y\r\n\r\n", b"2\r\nok\r\n0\r\n" + b"X: y\r\n" * 30000 + b"\r\n",
]
