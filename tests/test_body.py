"""Bodies: every cut of every case gives the same, and where it is given, llhttp's answer."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.body import BadFraming, Chunked, Counted, chunk
from gateway.wire.head import MAX_HEAD
from tests.heads import POST, Judge

LAST = b"0\r\n\r\n"
# Name: bytes, body, trailers, what lies behind.
GOOD: dict[str, tuple[bytes, bytes, bytes, bytes]] = {
    "nothing": (LAST, b"", b"\r\n", b""),
    "one": (b"3\r\nabc\r\n" + LAST, b"abc", b"\r\n", b""),
    "both cases": (b"a\r\n0123456789\r\nB\r\n01234567890\r\n0\r\n\r\n", b"0123456789" * 2 + b"0", b"\r\n", b""),
    "leading zeros": (b"0003\r\nabc\r\n000\r\n\r\n", b"abc", b"\r\n", b""),
    "CRLF as data": (b"4\r\n\r\n\r\n\r\n" + LAST, b"\r\n\r\n", b"\r\n", b""),
    "looks like an end": (b"5\r\n0\r\n\r\n\r\n" + LAST, b"0\r\n\r\n", b"\r\n", b""),
    "extension": (b'1;a=b;c="d \xff"\r\nx\r\n0;e\r\n\r\n', b"x", b"\r\n", b""),
    "trailers": (b"1\r\nx\r\n0\r\nA: 1\r\nB: 2\r\n\r\n", b"x", b"A: 1\r\nB: 2\r\n\r\n", b""),
    "a request behind": (b"1\r\nx\r\n" + LAST + b"GET / HTTP/1.1\r\n\r\n", b"x", b"\r\n", b"GET / HTTP/1.1\r\n\r\n"),
    "behind trailers": (b"0\r\nA: 1\r\n\r\n\r\nX", b"", b"A: 1\r\n\r\n", b"\r\nX"),
}  # fmt: skip
BAD: dict[str, bytes] = {
    "no size": b"\r\nabc\r\n" + LAST,
    "no hex": b"g\r\n",
    "prefix": b"0x3\r\nabc\r\n" + LAST,
    "plus": b"+3\r\nabc\r\n" + LAST,
    "minus": b"-3\r\nabc\r\n" + LAST,
    "underscore": b"1_0\r\n0123456789abcdef\r\n" + LAST,
    "space before": b" 3\r\nabc\r\n" + LAST,
    "space behind": b"3 \r\nabc\r\n" + LAST,
    "space before the extension": b"3 ;a\r\nabc\r\n" + LAST,
    "tab behind": b"3\t\r\nabc\r\n" + LAST,
    "bare LF": b"3\nabc\r\n" + LAST,
    "bare CR": b"3\rabc\r\n" + LAST,
    "CR CR LF": b"3\r\r\nabc\r\n" + LAST,
    "CR in an extension": b"3;a\rb\r\nabc\r\n" + LAST,
    "LF in an extension": b"3;a\nb\r\nabc\r\n" + LAST,
    "NUL in an extension": b"3;\0\r\nabc\r\n" + LAST,
    "too long for a number": b"0000000000000003\r\nabc\r\n" + LAST,
    "2^64": b"10000000000000003\r\nabc\r\n" + LAST,
    "data too long": b"3\r\nabcd\r\n" + LAST,
    "data too short": b"4\r\nabc\r\n" + LAST,
    "LF behind data": b"3\r\nabc\n" + LAST,
    "CR behind data": b"3\r\nabc\r0\r\n\r\n",
    "nothing behind data": b"3\r\nabc0\r\n\r\n",
    "endless extension": b"3;" + b"a" * 5000 + b"\r\nabc\r\n" + LAST,
    "space before the colon of a trailer": b"0\r\nA : 1\r\n\r\n",
    "folded trailer": b"0\r\n A: 1\r\n\r\n",
    "NUL in a trailer": b"0\r\nA: \0\r\n\r\n",
    "bare LF in a trailer": b"0\r\nA: 1\nB: 2\r\n\r\n",
    "bare LF at the end": b"0\r\nA: 1\r\n\n\r\n\r\n",
    "bare CR in a trailer": b"0\r\nA: 1\rB: 2\r\n\r\n",
    "trailer without a colon": b"0\r\nA\r\n\r\n",
}


def fed(data: bytes, cuts: tuple[int, ...]) -> tuple[bytes, int, bool, bytes, bool]:
    """(body, end, done, trailers, refused) of the data fed in pieces cut there."""
    body = Chunked()
    joined, end = b"", 0
    try:
        for start, stop in itertools.pairwise((0, *cuts, len(data))):
            pieces, used = body.feed(data[start:stop])
            joined += b"".join(pieces)
            end = start + used
            if body.done:
                break
            assert used == stop - start, "only the end leaves bytes behind"
    except BadFraming:
        return b"", 0, False, b"", True
    return joined, end, body.done, body.trailers, False


def all_cuts(data: bytes) -> list[tuple[int, ...]]:
    """Whole, at every place, and byte by byte."""
    size = min(len(data), 300)  # the endless one is the same all along
    return [(), *((at,) for at in range(size)), tuple(range(1, len(data)))]


@pytest.mark.parametrize("name", GOOD)
def test_chunked(name: str) -> None:
    data, body, trailers, rest = GOOD[name]
    for cuts in all_cuts(data):
        assert fed(data, cuts) == (body, len(data) - len(rest), True, trailers, False), cuts


@pytest.mark.parametrize("name", BAD)
def test_bad_chunks_are_refused_wherever_they_are_cut(name: str) -> None:
    for cuts in all_cuts(BAD[name]):
        assert fed(BAD[name], cuts)[4], cuts


@pytest.mark.parametrize("name", GOOD)
def test_an_unfinished_body_is_not_done(name: str) -> None:
    data, _, _, rest = GOOD[name]
    for stop in range(len(data) - len(rest)):
        _, end, done, _, refused = fed(data[:stop], ())
        assert (end, done, refused) == (stop, False, False)


@pytest.mark.parametrize("data", [b"g", b"3 ", b"3\r\r", b"3;\0", b"\r", b"3\r\nabcd", b"3\r\nabc\r\r", b"3\r\nabc\n"])
def test_what_cannot_become_good_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(BadFraming):
        Chunked().feed(data)


def test_pieces_are_the_very_bytes_that_were_read() -> None:
    body = Chunked()
    body.feed(b"64\r\n")
    data = b"x" * 50
    assert body.feed(data)[0][0] is data
    assert body.feed(data)[0][0] is data
    counted = Counted(50)
    assert counted.feed(data)[0][0] is data


@pytest.mark.parametrize(("size", "refused"), [(MAX_HEAD - 1, False), (MAX_HEAD, False), (MAX_HEAD + 1, True)])
@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\n\r\n" * 4000])
def test_trailers_are_bounded_however_they_are_cut(size: int, refused: bool, behind: bytes) -> None:
    block = b"A: %b\r\n\r\n" % (b"x" * (size - 7))
    data = b"0\r\n" + block + behind
    end = len(data) - len(behind)
    for cuts in ((), (3,), (1000, 60000), (MAX_HEAD,), (end - 1,), (end,), (MAX_HEAD + 3, MAX_HEAD + 4)):
        assert fed(data, cuts) == ((b"", 0, False, b"", True) if refused else (b"", end, True, block, False)), cuts


@pytest.mark.parametrize(("size", "refused"), [(4095, False), (4096, False), (4097, True)])
def test_size_lines_are_bounded_however_they_are_cut(size: int, refused: bool) -> None:
    data = b"1;" + b"a" * (size - 3) + b"\r\nx\r\n" + LAST
    for cuts in ((), (1,), (4095,), (4096,), (4097,), (size,), (100, 4000)):
        assert fed(data, cuts)[4] is refused, cuts


BYTES = st.sampled_from(
    [b"0", b"3", b"a", b"F", b"\r\n", b"\r\n", b"\r", b"\n", b";", b" ", b"abc", b"x: y", b"\0", LAST]
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Chunks that are mostly well made, with a little noise at one place."""
    pieces = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
    trailers = draw(st.sampled_from([b"", b"A: 1\r\n", b"A: 1\r\nB:\r\n"]))
    data = b"".join(map(chunk, pieces)) + b"0\r\n" + trailers + b"\r\n" + draw(st.sampled_from([b"", b"GET / HT"]))
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.just(b"") | BYTES) + data[at + draw(st.sampled_from([0, 0, 1])) :]


@settings(max_examples=500, deadline=None)
@given(streams(), st.data())
def test_any_cut_of_anything_gives_the_same(data: bytes, drawn: st.DataObject) -> None:
    whole = fed(data, ())
    cuts = drawn.draw(st.lists(st.integers(0, len(data)), max_size=6).map(sorted))
    cut = fed(data, tuple(cuts))
    assert cut == whole
    assert fed(data, tuple(range(1, len(data)))) == whole


@settings(max_examples=800, deadline=None)
@given(streams())
def test_llhttp_reads_every_accepted_body_alike(data: bytes) -> None:
    body, end, done, _, refused = fed(data, ())
    if refused or not done or b";" in data:
        return  # llhttp looks into extensions, which mean nothing to anybody and end here
    judge = Judge()
    judge.feed(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    assert judge.feed(data[: end - 1]).done is False
    heard = judge.feed(data[end - 1 : end])
    assert (heard.error, heard.done, heard.body) == ("", True, body)


@pytest.mark.parametrize("data", BAD.values())
def test_what_llhttp_refuses_is_refused(data: bytes) -> None:
    """And more than that: the cases where llhttp is lenient are ours alone."""
    judge = Judge()
    judge.feed(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    if judge.feed(data).error:
        with pytest.raises(BadFraming):
            Chunked().feed(data)


# -- counted -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 5, 9])
def test_counted(length: int) -> None:
    data = b"012345678rest"
    for cuts in all_cuts(data):
        body = Counted(length)
        joined, end = b"", 0
        for start, stop in itertools.pairwise((0, *cuts, len(data))):
            if body.done:
                break
            pieces, used = body.feed(data[start:stop])
            joined += b"".join(pieces)
            end = start + used
        assert (joined, end, body.done, body.left) == (data[:length], length, True, 0)


def test_counted_is_not_done_early_and_leaves_what_is_behind() -> None:
    body = Counted(5)
    assert not body.done
    assert body.feed(b"012") == ((b"012",), 3)
    assert (body.done, body.left) == (False, 2)
    assert body.feed(b"34x") == ((b"34",), 2)
    assert body.done
    assert body.feed(b"x") == ((), 0)


def test_until_close_takes_everything() -> None:
    body = Counted(None)
    for data in (b"a", b"b" * 100000):
        assert body.feed(data) == ((data,), len(data))
    assert not body.done
    assert body.left is None


@pytest.mark.parametrize("size", [1, 15, 16, 4096])
def test_chunk(size: int) -> None:
    assert fed(chunk(b"x" * size) + LAST, ())[:3] == (b"x" * size, len(chunk(b"x" * size)) + 5, True)
