"""Vendors that say anything, through conversions: one clean error and no charge, or a whole answer; never our mistake.

Every vendor dialect is played on a real socket to every surface of another dialect, in one piece and streamed. What the
vendor says is hostile in some way; `_BAD` must fail, `_GOOD` must succeed, and of the rest either will do.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.unified.bad_vendors import JSON_TYPE, LAST_CHUNK, SSE_HEAD, chunk
from tests.unified.converted_calls import ARRAY, PAIRS, Call, Ended, check, number_of, provider
from tests.unified.entries import Closed, closed
from tests.unified.place import Answer, Place
from tests.unified.speech import SPEECHES, Speech, event
from tests.wire.ends import End
from tests.wire.messages import answer
from tests.wire.serving import free_port
from tests.wire.vendor import Vendor

PORT = free_port()
AT_ONCE = 8
GROWTH = 160 << 10  # KiB that all of it may leave behind
WRONG: tuple[Any, ...] = (None, True, -1, 10**30, 1e300, "", "x", [], {}, [None], [[]], {"type": None})
DOCUMENT = "a document that says so"  # by its content type
DEEP = "[" * 5000 + "]" * 5000

Say = Callable[[Speech], bytes]


def _replaced(speech: Speech, wrong: Any) -> bytes:
    """Every member of the answer is of the wrong type."""
    return json.dumps(dict.fromkeys(speech.document(), wrong)).encode()


def _inside(speech: Speech, wrong: Any) -> bytes:
    """What the answer says is of the wrong type: the lists that hold it hold something else."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: changed(each) for name, each in value.items()}
        return [wrong] if isinstance(value, list) else value

    return json.dumps(changed(speech.document())).encode()


def _gigantic(said: bytes) -> bytes:
    """Counts of tokens beyond all reason."""
    return said.replace(b": 7", b": 1e999").replace(b": 3", b": -7")


# -- whole answers -----------------------------------------------------------------------------------------------------

_PLAIN_BAD: dict[str, Say] = {
    "truncated": lambda speech: json.dumps(speech.document()).encode()[:-20],
    "empty": lambda _: b"",
    "an object": lambda _: b"{}",
    "a list": lambda _: b"[]",
    "a string": lambda _: b'"busy"',
    "null": lambda _: b"null",
    "a page": lambda _: b"<html><body>Bad gateway</body></html>",
    "bad UTF-8": lambda speech: json.dumps(speech.document()).encode().replace(b"raw", b"\xff\xfe"),
    "surrogate": lambda speech: json.dumps(speech.document()).encode().replace(b"raw", b"\\ud800"),
    "deep": lambda _: DEEP.encode() * 4,
    "open": lambda _: b"[" * 100_000,
    "an error": lambda speech: speech.error().partition(b"data: ")[2],
}
_PLAIN_GOOD: dict[str, Say] = {
    "good": lambda speech: json.dumps(speech.document()).encode(),
    "no usage": lambda speech: json.dumps(speech.document(usage=False)).encode(),
    "blanks around": lambda speech: b"\r\n  " + json.dumps(speech.document()).encode() + b"\n\n",
    "unknown members": lambda speech: json.dumps({"x": [{"y": None}], **speech.document()}).encode(),
    "a deep unknown member": lambda speech: (
        b'{"x":' + b"[" * 200 + b"]" * 200 + b"," + json.dumps(speech.document()).encode()[1:]
    ),
    "a huge text": lambda speech: json.dumps(speech.document()).encode().replace(b"raw", b"x" * 3_000_000),
}
_PLAIN_ANY: dict[str, Say] = {
    **{f"members {wrong!r}": lambda speech, wrong=wrong: _replaced(speech, wrong) for wrong in WRONG},  # type: ignore[misc]
    **{f"lists of {wrong!r}": lambda speech, wrong=wrong: _inside(speech, wrong) for wrong in WRONG},  # type: ignore[misc]
    "an event": lambda speech: speech.text(),
    "gigantic numbers": lambda speech: _gigantic(json.dumps(speech.document()).encode()),
    "NaN": lambda speech: json.dumps(speech.document()).encode().replace(b": 7", b": NaN"),
    "twice": lambda speech: json.dumps(speech.document()).encode() * 2,
    "NUL": lambda speech: json.dumps(speech.document()).encode().replace(b"raw", b"\\u0000"),
}  # fmt: skip

# -- streams -----------------------------------------------------------------------------------------------------------


def stream(speech: Speech, *pieces: bytes, begin: bool = True, end: bool = True) -> bytes:
    """Begin, a text, the pieces, finish and terminator."""
    said = (speech.begin if begin else b"") + speech.text() + b"".join(pieces)
    return said + (speech.finish() + speech.terminator if end else b"")


def _bad_event(speech: Speech, old: bytes, new: bytes) -> bytes:
    return stream(speech, speech.text().replace(old, new))


_STREAM_BAD: dict[str, Say] = {
    "empty": lambda _: b"",
    "only comments": lambda _: b": ping\n\n" * 3,
    "a page": lambda _: b"<html><body>Bad gateway</body></html>",
    "an object": lambda _: b"{}",
    "a list": lambda _: b"[]",
    "a string": lambda _: b'"busy"',
    "an error": lambda speech: speech.error(),
    "only a begin": lambda speech: speech.begin + b": ping\n\n",
    "no finish": lambda speech: stream(speech, end=False),
    "an error later": lambda speech: stream(speech, speech.error(), end=False),
    "an error and a finish": lambda speech: stream(speech, speech.error()),
    "no JSON": lambda speech: stream(speech, b"data: {{\n\n"),
    "half an event": lambda speech: stream(speech, speech.text()[:-12] + b"\n\n"),
    "bad UTF-8": lambda speech: _bad_event(speech, b"raw", b"\xff\xfe"),
    "surrogate": lambda speech: _bad_event(speech, b"raw", b"\\ud800"),
    "deep": lambda speech: stream(speech, f"data: {DEEP}\n\n".encode() * 4),
    "an event without end": lambda speech: stream(speech, b"data: [" + b"[" * 5_000_000, end=False),
    "very many calls": lambda speech: stream(speech, *(speech.call(number) for number in range(20_000))),
}  # fmt: skip
_STREAM_GOOD: dict[str, Say] = {
    "good": lambda speech: stream(speech),
    "no usage": lambda speech: stream(speech, speech.finish(usage=False) + speech.terminator, end=False),
    "no terminator": lambda speech: stream(speech, speech.finish(), end=False),
    "no terminator, no usage": lambda speech: stream(speech, speech.finish(usage=False), end=False),
    "no blank line": lambda speech: stream(speech).removesuffix(b"\n\n"),
    "keep-alives": lambda speech: stream(speech, b": ping\n\n", b"\n\n", b"event: ping\ndata: {}\n\n"),
    "CRLF": lambda speech: stream(speech).replace(b"\n", b"\r\n"),
    "a document": lambda speech: json.dumps(speech.document()).encode(),
    DOCUMENT: lambda speech: json.dumps(speech.document()).encode(),
    "unknown events": lambda speech: stream(speech, event({"type": "unheard.of"}, "unheard.of"), event({"x": 1})),
    "two calls": lambda speech: stream(speech, speech.call(0), speech.call(1)),
    "calls of one id": lambda speech: stream(speech, speech.call(0), speech.call(1)).replace(b'"c1"', b'"c0"'),
    "many calls": lambda speech: stream(speech, *(speech.call(number) for number in range(200))),
    "long arguments": lambda speech: stream(speech, speech.call(0, arguments='{"a":"' + "x" * 900_000 + '"}')),
    "broken arguments": lambda speech: stream(speech, speech.call(0, arguments='{"a":')),
    "no arguments": lambda speech: stream(speech, speech.call(0, arguments="")),
    "deep arguments": lambda speech: stream(speech, speech.call(0, arguments=DEEP)),
    "deeper arguments": lambda speech: stream(speech, speech.call(0, arguments='{"a":' * 600 + "1" + "}" * 600)),
}
_STREAM_ANY: dict[str, Say] = {
    **{f"event {wrong!r}": lambda speech, wrong=wrong: stream(speech, event(wrong)) for wrong in WRONG},  # type: ignore[misc]
    **{
        f"members {wrong!r}": lambda speech, wrong=wrong: stream(speech, _wrong_members(speech.text(), wrong))  # type: ignore[misc]
        for wrong in WRONG
    },
    **{
        f"first members {wrong!r}": lambda speech, wrong=wrong: _wrong_members(speech.text(), wrong) + stream(speech)  # type: ignore[misc]
        for wrong in WRONG[:6:2]
    },
    "no begin": lambda speech: stream(speech, begin=False),
    "only a terminator": lambda speech: speech.terminator,
    "a terminator without finish": lambda speech: stream(speech, speech.terminator, end=False),
    "a terminator first": lambda speech: speech.terminator + stream(speech),
    "only a finish": lambda speech: speech.finish() + speech.terminator,
    "backwards": lambda speech: b"".join(_events(stream(speech, speech.call(0)))[::-1]),
    "each twice": lambda speech: b"".join(each * 2 for each in _events(stream(speech, speech.call(0)))),
    "all twice": lambda speech: stream(speech, speech.call(0)) * 2,
    "two finishes": lambda speech: stream(speech, speech.finish()),
    "text behind the finish": lambda speech: stream(speech, speech.finish(), speech.text(), end=False),
    "text behind the end": lambda speech: stream(speech) + speech.text() * 3,
    "a call behind the finish": lambda speech: stream(speech, speech.finish(), speech.call(0)),
    "an error behind the finish": lambda speech: stream(speech, speech.finish(), speech.error(), end=False),
    "a negative index": lambda speech: _indexed(speech, b"-5"),
    "a huge index": lambda speech: _indexed(speech, b"9" * 30),
    "an index that is text": lambda speech: _indexed(speech, b'"one"'),
    "pieces of no call": lambda speech: stream(speech, b"".join(_events(speech.call(3))[1:])),
    "a nameless call": lambda speech: stream(speech, speech.call(0, name="")),
    "gigantic numbers": lambda speech: _gigantic(stream(speech)),
    "an event of two MiB": lambda speech: stream(speech, speech.text("x" * (2 << 20))),
    "huge arguments": lambda speech: stream(speech, speech.call(0, arguments='{"a":"' + "x" * 3_000_000 + '"}')),
}


def _events(body: bytes) -> list[bytes]:
    return [each + b"\n\n" for each in body.split(b"\n\n")[:-1]]


def _wrong_members(said: bytes, wrong: Any) -> bytes:
    """The event with each member but its type replaced."""
    name, _, data = said.partition(b"data: ")
    value = json.loads(data)
    changed = {key: each if key == "type" else wrong for key, each in value.items()}
    return name + b"data: " + json.dumps(changed).encode() + b"\n\n"


def _indexed(speech: Speech, index: bytes) -> bytes:
    said = speech.call(1)
    for name in (b'"index": 1', b'"index": 2', b'"output_index": 2'):
        said = said.replace(name, name.partition(b":")[0] + b": " + index)
    return stream(speech, said)


# -- the calls ---------------------------------------------------------------------------------------------------------

_PLAIN = {**_PLAIN_BAD, **_PLAIN_GOOD, **_PLAIN_ANY}
_STREAMED = {**_STREAM_BAD, **_STREAM_GOOD, **_STREAM_ANY}
# What costs the vendor's side megabytes is played to one surface each.
_LARGE = {"an event without end", "very many calls", "a huge text", "huge arguments", "an event of two MiB"}
CALLS: list[Call] = []
for stream_wanted, cases in ((False, _PLAIN), (True, _STREAMED)):
    for place_in_pairs, (surface, vendor) in enumerate(PAIRS):
        if surface == ARRAY and not stream_wanted:
            continue
        for case in cases:
            if case not in _LARGE or place_in_pairs % 3 == 0:
                CALLS.append(Call(surface, vendor, stream_wanted, case, len(CALLS)))
PROVIDERS = {"raw": provider(PORT)}
MODELS = {call.model: call.target() for call in CALLS}


async def play(vendor: Vendor, end: End) -> None:
    while (message := await vendor.next_request(end)) is not None:
        call = CALLS[number_of(message)]
        speech = SPEECHES[call.vendor]
        if not call.stream:
            await end.send(answer(_PLAIN[call.case](speech), fields=JSON_TYPE))
            continue
        said = _STREAMED[call.case](speech)
        if call.case == DOCUMENT:
            await end.send(answer(said, fields=JSON_TYPE))
            continue
        await end.send(SSE_HEAD + (chunk(said) if said else b"") + LAST_CHUNK)


@pytest.fixture(scope="module")
def played(place: Place) -> dict[Call, tuple[Answer, Closed]]:
    key = place.key(credits="10000")
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(call: Call) -> Answer:
        async with gate:
            return await call.ask(place, key)

    async def every() -> list[Answer]:
        async with Vendor(PORT, play):
            return await asyncio.gather(*map(one, CALLS))

    before = place.memory()
    answers = asyncio.run(every())
    books = closed(place)
    assert place.memory() - before < GROWTH
    return {call: (seen, books[seen.request_id]) for call, seen in zip(CALLS, answers, strict=True)}


def ended(played: dict[Call, tuple[Answer, Closed]], surface: str, vendor: str, streamed: bool) -> dict[str, Ended]:
    found: dict[str, Ended] = {}
    for call, (seen, charge) in played.items():
        if (call.surface, call.vendor, call.stream) == (surface, vendor, streamed):
            try:
                found[call.case] = check(call, seen, charge)
            except Exception as exc:
                exc.add_note(f"{call.case}: {charge}, {seen.status} {seen.body[:500]!r} ... {seen.body[-500:]!r}")
                raise
    return found


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(("surface", "vendor"), PAIRS)
def test_every_answer_is_whole_or_fails_well(
    played: dict[Call, tuple[Answer, Closed]], surface: str, vendor: str, streamed: bool
) -> None:
    found = ended(played, surface, vendor, streamed)
    assert found or surface == ARRAY
    bad, good = (_STREAM_BAD, _STREAM_GOOD) if streamed else (_PLAIN_BAD, _PLAIN_GOOD)
    assert {case for case in bad if case in found and found[case].whole} == set()
    assert {case for case in good if case in found and not found[case].whole} == set()


def test_what_has_no_usage_is_charged_by_estimate(played: dict[Call, tuple[Answer, Closed]]) -> None:
    silent = [charge for call, (_, charge) in played.items() if "no usage" in call.case]
    assert len(silent) > 2 * len(PAIRS)
    for charge in silent:
        assert (charge.outcome, charge.estimated) == ("no_usage", True)
        assert charge.cost > 0


def test_nothing_was_the_gateways_own_mistake(place: Place, played: dict[Call, tuple[Answer, Closed]]) -> None:
    assert Counter(seen.headers.get("x-gateway-error") for seen, _ in played.values())["internal"] == 0
    assert "given up" not in place.stderr, place.stderr[-2000:]
    assert place.value_of("gateway_holds_open") == 0
