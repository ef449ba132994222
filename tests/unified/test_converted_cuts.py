"""Vendors' streams that end at any byte, through conversions: whole, or cut for the client to see and for nothing."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

import pytest

from tests.unified.bad_vendors import LAST_CHUNK, SSE_HEAD, chunk
from tests.unified.converted_calls import PAIRS, Call, check, number_of, provider
from tests.unified.entries import Closed, closed
from tests.unified.place import Answer, Place
from tests.unified.speech import SPEECHES
from tests.wire.ends import End
from tests.wire.serving import free_port
from tests.wire.vendor import Vendor

PORT = free_port()
WAYS = ("reset", "clean", "eof")  # the last: in the midst of the chunked body
AT_ONCE = 8


class Cut(NamedTuple):
    """The first `at` bytes of a stream whose first event that says something ends at `said`, its finish at `finish`."""

    body: bytes
    at: int
    way: str
    said: int
    finish: int


def _cuts(vendor: str, chance: random.Random) -> list[Cut]:
    speech = SPEECHES[vendor]
    before = speech.begin + speech.text() + speech.call(0) + speech.text(" And more.")
    body = before + speech.finish() + speech.terminator
    said = len(speech.begin + speech.text())
    finish = body.index(b"\n\n", len(before)) + 2
    ends = [at + 2 for at in range(len(body)) if body.startswith(b"\n\n", at)]
    offsets = {0, *ends, *(end - 1 for end in ends), *chance.sample(range(len(body)), 10)}
    return [Cut(body, at, chance.choice(WAYS), said, finish) for at in sorted(offsets)]


CASES: list[tuple[Call, Cut]] = []
for surface, vendor in PAIRS:
    for each in _cuts(vendor, random.Random(surface + vendor)):
        CASES.append((Call(surface, vendor, True, f"{each.at} {each.way}", len(CASES)), each))
PROVIDERS = {"raw": provider(PORT)}
MODELS = {call.model: call.target() for call, _ in CASES}


async def play(vendor: Vendor, end: End) -> None:
    while (message := await vendor.next_request(end)) is not None:
        _, cut = CASES[number_of(message)]
        await end.send(SSE_HEAD + (chunk(cut.body[: cut.at]) if cut.at else b""))
        if cut.way == "clean":
            await end.send(LAST_CHUNK)
            continue
        (end.reset if cut.way == "reset" else end.close)()
        return


@pytest.fixture(scope="module")
def played(place: Place) -> list[tuple[Call, Cut, Answer, Closed]]:
    key = place.key(credits="10000")
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(call: Call) -> Answer:
        async with gate:
            return await call.ask(place, key)

    async def every() -> list[Answer]:
        async with Vendor(PORT, play):
            return await asyncio.gather(*(one(call) for call, _ in CASES))

    answers = asyncio.run(every())
    books = closed(place)
    return [(call, cut, seen, books[seen.request_id]) for (call, cut), seen in zip(CASES, answers, strict=True)]


@pytest.mark.parametrize(("surface", "vendor"), PAIRS)
def test_a_stream_is_whole_from_its_finish_on(
    played: list[tuple[Call, Cut, Answer, Closed]], surface: str, vendor: str
) -> None:
    seen = [one for one in played if one[0][:2] == (surface, vendor)]
    wholes = 0
    for call, cut, answer, charge in seen:
        try:
            ended = check(call, answer, charge)
            if cut.at >= cut.finish:
                assert ended.whole
            elif cut.at < cut.finish - 2:  # a last event may lack its blank line
                assert not ended.whole
            if not ended.whole and cut.at < cut.said - 2:
                assert not ended.cut, "an error can still be told by its status"
            if cut.at == len(cut.body):
                assert (charge.outcome, charge.estimated) == ("complete", False)
            wholes += ended.whole
        except Exception as exc:
            exc.add_note(f"{call} of {len(cut.body)}, finish at {cut.finish}: {charge}, {answer}")
            raise
    assert 0 < wholes < len(seen)


def test_nothing_was_the_gateways_own_mistake(place: Place, played: list[tuple[Call, Cut, Answer, Closed]]) -> None:
    assert played
    assert "given up" not in place.stderr, place.stderr[-2000:]
    assert place.value_of("gateway_holds_open") == 0
