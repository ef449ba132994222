"""Heads: the corpus both ways, agreement with llhttp, rebuilding."""

from __future__ import annotations

import re
from re import _parser as grammar  # type: ignore[attr-defined]  # the only way to see how a pattern is built
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import BadRequest, BadUpstreamReply, UnsupportedMethod
from gateway.wire import body, head
from gateway.wire.head import CHUNKED, METHODS, UNTIL_CLOSE, parse_request, parse_response, rebuild_request, retry_after
from tests.heads import BAD_REQUESTS, BAD_RESPONSES, GET, OK, POST, Judge

CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_ambiguous_requests_are_refused(name: str) -> None:
    data, remedy = BAD_REQUESTS[name]
    with pytest.raises(BadRequest, match=re.escape(remedy)):
        parse_request(data)


@pytest.mark.parametrize("control", [*range(9), *range(10, 32), 127])
@pytest.mark.parametrize(
    "place", [b"GET /%cx HTTP/1.1\r\nHost: a\r\n\r\n", GET + b"A: b%cc\r\n\r\n", GET + b"%c: b\r\n\r\n"]
)
def test_control_characters_are_refused_everywhere(place: bytes, control: int) -> None:
    with pytest.raises(BadRequest):
        parse_request(place % control)


def test_methods_are_those_of_llhttp() -> None:
    for method in METHODS:
        judge = Judge()
        judge.feed(method + b" /x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert judge.parser.get_method() == method
        if method != b"CONNECT":
            assert parse_request(method + b" /x HTTP/1.1\r\nHost: a\r\n\r\n").method == method


@pytest.mark.parametrize("method", [b"get", b"GETT", b"FOO", b"PRI", b"!"])
def test_unknown_methods_are_another_error(method: bytes) -> None:
    with pytest.raises(UnsupportedMethod):
        parse_request(method + b" /x HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        (b"", 0),
        (b"Content-Length: 0\r\n", 0),
        (b"content-length:\t5 \r\n", 5),
        (b"Content-Length: 0005\r\n", 5),
        (b"Content-Length: 999999999999999999\r\n", 10**18 - 1),
        (b"Transfer-Encoding: chunked\r\n", CHUNKED),
        (b"TRANSFER-ENCODING:\tCHUNKED\t\r\n", CHUNKED),
    ],
)
def test_length(fields: bytes, length: int) -> None:
    assert parse_request(POST + fields + b"\r\n").length == length


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: keep-alive\r\n", True),
        (b"1.1", b"Connection: Close\r\n", False),
        (b"1.1", b"Connection: a,, CLOSE ,\r\n", False),
        (b"1.1", b"Connection: keep-alive\r\nConnection: close\r\n", False),
        (b"1.1", b"Connection:\r\n", True),
        (b"1.1", b"Connection: closed\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", False),
    ],
)
def test_keep_alive(version: bytes, connection: bytes, kept: bool) -> None:
    assert parse_request(b"GET / HTTP/" + version + b"\r\nHost: a\r\n" + connection + b"\r\n").keep_alive is kept


UPGRADE = b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"


@pytest.mark.parametrize(
    ("data", "websocket"),
    [
        (GET + UPGRADE, True),
        (GET + UPGRADE + b"Content-Length: 0\r\n", True),
        (POST + UPGRADE, False),
        (GET + UPGRADE + b"Content-Length: 1\r\n", False),
        (GET + UPGRADE + b"Upgrade: websocket\r\n", False),
        (GET + b"Upgrade: websocket\r\n", False),
        (GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n", False),
        (GET + b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", False),
        (b"GET /x HTTP/1.0\r\nHost: a\r\n" + UPGRADE, False),
    ],
)
def test_websocket(data: bytes, websocket: bool) -> None:
    assert parse_request(data + b"\r\n").websocket is websocket


def test_fields_are_found_by_lower_case_name_and_the_path_ends_at_the_query() -> None:
    request = parse_request(b"GET /a%20b?c?d HTTP/1.1\r\nHost: a\r\nX-Y: 1\r\nx-y: 2\r\n\r\n")
    assert request.path == b"/a%20b"
    assert request.get(b"x-y") == b"1"
    assert request.get(b"x-z") is None
    assert request.headers == [(b"Host", b"a", b"host"), (b"X-Y", b"1", b"x-y"), (b"x-y", b"2", b"x-y")]


# -- llhttp as the judge -----------------------------------------------------------------------------------------------

PLAIN = st.tuples(
    st.sampled_from(b"Accept X-Trace Cookie Expect Trailer X-Gateway-Key !#$%&'*+.^_`|~0z".split()),
    st.sampled_from(b'|a|a b|  a\tb \t|\xff\x80|100-continue|:|=;,"'.split(b"|")),
)
TELLING = st.tuples(
    st.sampled_from(b"Content-Length content-length Transfer-Encoding Connection connection Upgrade TE Host".split()),
    st.sampled_from(
        b"0|5|05|17|+5|5,5|chunked|Chunked|gzip, chunked|close|keep-alive|Upgrade|websocket|trailers".split(b"|")
    ),
)
# Mostly pairs that mean something.
GOOD = st.sampled_from(
    [
        (b"Content-Length", b"5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"connection", b"close"),
        (b"Content-Length", b"0"),
    ]
)
FIELDS = st.builds(
    lambda before, one, after: [*before, *one, *after],
    st.lists(PLAIN, max_size=2),
    st.lists(GOOD, max_size=1) | st.lists(GOOD | TELLING, max_size=2),
    st.lists(PLAIN, max_size=2),
)
NOISE = st.sampled_from(
    [b""] * 30 + [b" ", b"\t", b"\r", b"\n", b"\0", b":", b"\r\n", b"\r\n ", b"\x7f", b"\xff", b"a"]
)


@st.composite
def mutated(draw: st.DrawFn, first: st.SearchStrategy[bytes]) -> bytes:
    """A head that is mostly well made, with a little noise at one place."""
    rows = [draw(first), *(name + b": " + value for name, value in draw(FIELDS)), b"", b""]
    data = b"\r\n".join(rows)
    at = draw(st.integers(0, len(data)))
    drop = draw(st.sampled_from([0] * 19 + [1]))
    return data[:at] + draw(NOISE) + data[at + drop :]


ODD = [b"/", b"/x?y=%20", b"//x", b"/a/../b", b"/x", b"/?", b"/;", b"/x#y"]
TARGETS = st.sampled_from(ODD) | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=9).map(
    lambda text: b"/" + text.encode()
)
REQUEST_LINES = st.builds(
    lambda method, target, version, host: method + b" " + target + b" HTTP/" + version + b"\r\nHost: " + host,
    st.sampled_from([*sorted(METHODS), b"FOO", b"get"]),
    TARGETS,
    st.sampled_from([b"1.1"] * 6 + [b"1.0", b"0.9"]),
    st.sampled_from([b"a", b"a:1", b"[::1]", b""]),
)


@settings(max_examples=1000, deadline=None)
@given(mutated(REQUEST_LINES))
@example(POST + b"Transfer-Encoding: chunked\r\n\r\n")
@example(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
def test_llhttp_reads_every_accepted_request_alike(data: bytes) -> None:
    try:
        request = parse_request(data)
    except (BadRequest, UnsupportedMethod):
        return
    judge = Judge()
    heard = judge.feed(data)
    assert not heard.error
    assert judge.parser.get_method() == request.method
    assert judge.parser.get_http_version() == f"1.{request.minor}"
    assert heard.url == request.target
    assert heard.headers == [(name, value) for name, value, _ in request.headers]
    if heard.upgrade:
        return  # llhttp leaves what follows to its user
    assert not request.keep_alive or judge.parser.should_keep_alive()
    assert heard.done is (request.length == 0)
    if request.length == CHUNKED:
        assert not judge.feed(CHUNKS[:-1]).done
        assert judge.feed(CHUNKS[-1:]).done
        assert heard.body == b"abc"
    elif 0 < request.length < 100:
        assert not judge.feed(b"x" * (request.length - 1)).done
        assert judge.feed(b"x").done
    assert not heard.error


STATUS_LINES = st.builds(
    lambda version, status, reason: b"HTTP/" + version + b" %d" % status + reason,
    st.sampled_from([b"1.1"] * 4 + [b"1.0", b"2.0"]),
    st.sampled_from([200, 201, 206, 302, 400, 404, 418, 429, 500, 503, 599, 999, 20]),
    st.sampled_from([b" OK", b"", b" ", b" Not Found", b" \xe4\xff", b" a\tb"]),
)


@settings(max_examples=1000, deadline=None)
@given(mutated(STATUS_LINES))
@example(OK + b"Transfer-Encoding: chunked\r\nTrailer: x\r\n\r\n")
@example(OK + b"Content-Length: 5\r\nConnection: close\r\n\r\n")
def test_llhttp_reads_every_accepted_response_alike(data: bytes) -> None:
    try:
        response = parse_response(data)
    except BadUpstreamReply:
        return
    judge = Judge(request=False)
    heard = judge.feed(data)
    if data.lower().count(b"\r\ncontent-length:") > 1:
        return  # equal repeated lengths are taken as one here, refused there
    if heard.upgrade:
        return
    assert not heard.error
    assert judge.parser.get_status_code() == response.status
    assert heard.done is (response.length == 0)
    if response.length == CHUNKED:
        assert not judge.feed(CHUNKS[:-1]).done
        assert judge.feed(CHUNKS[-1:]).done
    elif response.length == UNTIL_CLOSE:
        assert not judge.feed(b"x" * 1000).done
    elif 0 < response.length < 100:
        assert not judge.feed(b"x" * (response.length - 1)).done
        assert judge.feed(b"x").done
    # What goes to the client is a head that llhttp reads as well, framed the same.
    again = parse_response(response.forward)
    assert (again.status, again.length) == (response.status, response.length)
    assert not Judge(request=False).feed(response.forward).error


# -- rebuilding --------------------------------------------------------------------------------------------------------


def rebuilt(data: bytes, target: bytes = b"/t") -> bytes:
    before, after = rebuild_request(parse_request(data), target, b"vendor:1")
    return before + b"#" + after if after else before


def test_order_case_duplicates_and_values_are_kept() -> None:
    data = (
        b"PUT /x HTTP/1.1\r\nzZ:\t1 \r\nHOST: a\r\nb:\r\nCookie: \xe4\xff\r\nzz: 2\r\nEXPECT: 100-Continue\r\n"
        b"CONTENT-length: 7\r\nC: 3\r\n\r\n"
    )
    assert rebuilt(data) == (
        b"PUT /t HTTP/1.1\r\nzZ: 1\r\nHOST: vendor:1\r\nb: \r\nCookie: \xe4\xff\r\nzz: 2\r\nEXPECT: 100-Continue\r\n"
        b"CONTENT-length: #\r\nC: 3\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (b"Connection: keep-alive\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\n", b""),
        (b"Connection: X-Hop, x-other\r\nx-hop: 1\r\nX-OTHER: 2\r\nX-Stays: 3\r\n", b"X-Stays: 3\r\n"),
        (b"X-Gateway-Key: 1\r\nx-GATEWAY-: 2\r\nX-Gatewa: 3\r\n", b"X-Gatewa: 3\r\n"),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b""),
        (b"TE: gzip, Trailers;q=1\r\n", b"TE: trailers\r\n"),
        (b"TE: gzip\r\n", b""),
        (b"Connection: te\r\nTE: trailers\r\n", b"TE: trailers\r\n"),
        (b"tRANSFER-encoding: Chunked\r\n", b"tRANSFER-encoding: chunked\r\n"),
        (b"Trailer: a\r\n", b"Trailer: a\r\n"),
    ],
)
def test_hop_by_hop_fields_are_removed(fields: bytes, left: bytes) -> None:
    assert rebuilt(POST + fields + b"\r\n") == b"POST /t HTTP/1.1\r\nHost: vendor:1\r\n" + left + b"\r\n"


def test_a_websocket_handshake_keeps_its_upgrade() -> None:
    data = GET + b"Connection: keep-alive, Upgrade, X-Hop\r\nUpgrade: WebSocket\r\nX-Hop: 1\r\nX-Key: k\r\n\r\n"
    assert rebuilt(data) == (
        b"GET /t HTTP/1.1\r\nHost: vendor:1\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nX-Key: k\r\n\r\n"
    )


@settings(max_examples=400, deadline=None)
@given(mutated(REQUEST_LINES))
def test_what_is_rebuilt_is_strict_and_means_the_same(data: bytes) -> None:
    try:
        request = parse_request(data)
    except (BadRequest, UnsupportedMethod):
        return
    before, after = rebuild_request(request, b"/t", b"vendor")
    again = parse_request(before + (b"%d" % request.length if after else b"") + after)
    assert (again.method, again.length) == (request.method, request.length)
    assert again.websocket is request.websocket
    gone = head.HOP_BY_HOP | request.listed
    kept = [(name, value) for name, value, lower in request.headers if lower not in gone | {b"host", b"content-length"}]
    there = {lower for _, _, lower in again.headers} & (gone - {b"te", b"transfer-encoding", b"connection", b"upgrade"})
    assert not there
    assert [pair for pair in kept if not pair[0].lower().startswith(b"x-gateway-")] == [
        (name, value)
        for name, value, lower in again.headers
        if lower not in head.HOP_BY_HOP and lower not in (b"host", b"content-length")
    ]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/a/./b", True), (b"/..", True), (b"/a/%2e%2E/b", True), (b"/a%2f..%2Fb", True), (b"/a/.%2e", True),
        (b"/a\\..\\b", True), (b"/a%5c..%5Cb", True), (b"/a/...", False), (b"/a/.b", False), (b"/a//b", False),
        (b"/%252e%252e/", False), (b"/..;/", False),
    ],
)  # fmt: skip
def test_dot_segments(path: bytes, found: bool) -> None:
    assert head.has_dot_segment(path) is found


@pytest.mark.parametrize(
    ("block", "kept"),
    [
        (b"\r\n", b"\r\n"),
        (b"X: 1\r\ny:2\r\n\r\n", b"X: 1\r\ny:2\r\n\r\n"),
        (b"X-Gateway-A: 1\r\nKeep-Alive: 1\r\nX: 1\r\n\r\n", b"X: 1\r\n\r\n"),
    ],
)
def test_trailers(block: bytes, kept: bytes) -> None:
    assert head.rebuild_trailers(block) == kept


@pytest.mark.parametrize("name", b"Content-Length transfer-encoding Host Connection TE Upgrade Trailer".split())
def test_trailers_cannot_frame(name: bytes) -> None:
    with pytest.raises(BadRequest):
        head.rebuild_trailers(name + b": 1\r\n\r\n")


# -- responses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_ambiguous_responses_are_refused(name: str) -> None:
    with pytest.raises(BadUpstreamReply):
        parse_response(BAD_RESPONSES[name])


@pytest.mark.parametrize(
    ("data", "forward"),
    [
        (OK + b"Content-Length: 5\r\n\r\n", None),
        (b"HTTP/1.1 299\r\nX: \xff\r\nx: 2\r\nServer:\r\n\r\n", None),
        (b"HTTP/1.1 200 \xe4 \r\nX-Hop: 1\r\n\r\n", None),
        (OK + b"A: 1\r\nConnection: keep-alive\r\nB: 2\r\n\r\n", OK + b"A: 1\r\nB: 2\r\n\r\n"),
        (OK + b"connection:close\r\n\r\n", OK + b"\r\n"),
        (OK + b"Connection: x-hop\r\nX-Hop: 1\r\nY: 2\r\n\r\n", OK + b"Y: 2\r\n\r\n"),
        (OK + b"Keep-Alive: timeout=5\r\nTE: a\r\nUpgrade: h2c\r\nY: 2\r\n\r\n", OK + b"Y: 2\r\n\r\n"),
        (OK + b"Proxy-Connection: a\r\nY: 2\r\n\r\n", OK + b"Y: 2\r\n\r\n"),
        (OK + b"x-GATEWAY-cost: 1\r\nX-Gateway-: 2\r\n\r\n", OK + b"\r\n"),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", OK + b"Content-Length: 1\r\n\r\n"),
        (OK + b"Content-Length: 5\r\nA: 1\r\ncontent-length: 5\r\n\r\n", OK + b"Content-Length: 5\r\nA: 1\r\n\r\n"),
    ],
)
def test_forwarded_head(data: bytes, forward: bytes | None) -> None:
    assert parse_response(data).forward == (data if forward is None else forward)


@pytest.mark.parametrize(
    ("data", "bodyless", "length", "keep"),
    [
        (OK + b"Content-Length: 5\r\n\r\n", False, 5, True),
        (OK + b"Content-Length: 5\r\n\r\n", True, 0, True),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n", False, CHUNKED, True),
        (OK + b"\r\n", False, UNTIL_CLOSE, True),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", False, 0, True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", False, 0, True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", False, 0, True),
        (OK + b"Content-Length: 5\r\nConnection: Keep-Alive, Close\r\n\r\n", False, 5, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", False, 5, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", False, 5, True),
    ],
)
def test_response_framing(data: bytes, bodyless: bool, length: int, keep: bool) -> None:
    response = parse_response(data, bodyless)
    assert (response.length, response.keep_alive) == (length, keep)


def test_what_the_meter_and_the_pool_want_to_know() -> None:
    fields = b"Content-Type: Text/Event-Stream\r\nContent-Encoding: gzip\r\ncontent-encoding:br\r\n"
    response = parse_response(OK + fields + b"Keep-Alive: max=3, timeout=7\r\n\r\n")
    assert response.content_type == b"text/event-stream"
    assert response.content_encoding == b"gzip,br"
    assert response.keep_seconds == 7


def test_a_switch_of_protocols_keeps_its_fields_only_for_a_websocket() -> None:
    fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: a; b\r\nKeep-Alive: 1\r\n"
    data = b"HTTP/1.1 101 S\r\n" + fields + b"\r\n"
    response = parse_response(data, websocket=True)
    assert response.forward == data.replace(b"Keep-Alive: 1\r\n", b"")
    assert response.extensions == b"a; b"
    assert b"websocket" not in parse_response(data).forward


def test_fields_out_and_in() -> None:
    data = OK + b"Transfer-Encoding: chunked\r\nA: 1\r\ntransfer-encoding: x\r\n\r\n"
    assert head.without_field(data, b"transfer-encoding") == OK + b"A: 1\r\n\r\n"
    assert head.with_close(OK + b"\r\n") == OK + b"Connection: close\r\n\r\n"


# -- an incomplete head, and time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", range(len(GET + b"A: \xff\t\r\n\r\n")))
def test_a_good_head_is_never_hopeless(end: int) -> None:
    assert not head.hopeless((GET + b"A: \xff\t\r\n\r\n")[:end])


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\n", b"G\rE", b"GET /\0", b"A: \x1f", b"\x7f", b"\x16\x03\x01"])
def test_hopeless(data: bytes) -> None:
    assert head.hopeless(data)


def _repeats(parsed: Any) -> list[str]:
    """The kinds of all unbounded repetitions in a parsed pattern."""
    found = []
    for kind, argument in parsed:
        if str(kind).endswith("REPEAT") and argument[1] == grammar.MAXREPEAT:
            found.append(str(kind))
        for inner in argument if isinstance(argument, tuple | list) else [argument]:
            for one in inner if isinstance(inner, list) else [inner]:
                if isinstance(one, grammar.SubPattern):
                    found += _repeats(one)
    return found


@pytest.mark.parametrize("module", [head, body])
def test_patterns_are_linear_by_construction(module: Any) -> None:
    """A possessive repetition never gives back what it took: no input makes the matcher try twice."""
    patterns = {name: value for name, value in vars(module).items() if isinstance(value, re.Pattern)}
    assert patterns
    for name, pattern in patterns.items():
        assert set(_repeats(grammar.parse(pattern.pattern.decode("latin-1")))) <= {"POSSESSIVE_REPEAT"}, name


def test_the_check_of_patterns_sees_a_greedy_one() -> None:
    assert _repeats(grammar.parse("(?:a(b*+|c+)x)")) == ["POSSESSIVE_REPEAT", "MAX_REPEAT"]


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        (b"", None),
        (b"Retry-After: 7\r\n", 7),
        (b"retry-after: 1.5\r\n", 1.5),
        (b"Retry-After-Ms: 250\r\n", 0.25),
        (b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n", 30),
        (b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:07 GMT\r\n", 0),
        (b"Retry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n", None),
        (b"Retry-After: soon\r\nDate: never\r\n", None),
        (b"Retry-After: -3\r\n", None),
        (b"Retry-After: 99999999999\r\n", None),
    ],
)
def test_how_long_a_vendor_asks_to_wait(fields: bytes, seconds: float | None) -> None:
    assert retry_after(b"HTTP/1.1 429 Too Many Requests\r\n" + fields + b"\r\n") == seconds
