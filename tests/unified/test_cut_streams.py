"""Recorded streams cut at every event and in the midst of each: what the client sees, and what it is charged.

Before the first event of the answer the call has failed; a finish makes it complete, whatever becomes of the connection
then; in between it is cut, shows as cut and costs nothing. Who leaves after the first event is charged by what the
vendor says to the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.unified.caller import ask, begin, model_of, raw_provider
from tests.unified.entries import Closed, closed, quiet
from tests.unified.place import PRICE, Answer, Place
from tests.unified.recordings import RECORDED, WHOLE_COST, Outlook, Recorded
from tests.wire.ends import End
from tests.wire.messages import CHUNKED_HEAD, chunks
from tests.wire.serving import free_port
from tests.wire.vendor import Script, Vendor

PORT = free_port()
WAYS = ("reset", "clean", "eof")  # the last: in the midst of the chunked body
AT_ONCE = 8
LAST_CHUNK = chunks([])


class Case(NamedTuple):
    """A recording that ends early; its name is the model that plays it."""

    recorded: Recorded
    at: int
    way: str

    @property
    def name(self) -> str:
        return f"{self.recorded.name}@{self.at}@{self.way}"


CASES = {
    case.name: case for recorded in RECORDED.values() for at in recorded.offsets for way in WAYS
    for case in [Case(recorded, at, way)]
}  # fmt: skip
PROVIDERS = {"raw": raw_provider(PORT)}
MODELS = {name: {"targets": [{"provider": "raw", "model": name}], "price": PRICE} for name in CASES}
SSE_HEAD = CHUNKED_HEAD[:-2] + b"Content-Type: text/event-stream\r\n\r\n"
each_recording = pytest.mark.parametrize("recorded", list(RECORDED.values()), ids=list(RECORDED))


def plays(left: asyncio.Event | None = None) -> Script:
    """A vendor that plays the recording that the model names, waiting for `left` behind its first event."""

    async def script(vendor: Vendor, end: End) -> None:
        while (message := await vendor.next_request(end)) is not None:
            recorded, at, way = CASES[model_of(message)]
            first = min(recorded.first(), at)
            await end.send(SSE_HEAD + _chunk(recorded.body[:first]))
            if left is not None:
                await left.wait()
            await end.send(_chunk(recorded.body[first:at]))
            if way == "clean":
                await end.send(LAST_CHUNK)
                continue
            (end.reset if way == "reset" else end.close)()
            return

    return script


def _chunk(data: bytes) -> bytes:
    return chunks([data]).removesuffix(LAST_CHUNK) if data else b""


class Played(NamedTuple):
    """One case as it went."""

    case: Case
    answer: Answer | None  # None: the client left
    closed: Closed


async def stay(place: Place, key: str) -> list[tuple[Case, str, Answer | None]]:
    """Some at a time: there are many connections, and most are thrown away."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> tuple[Case, str, Answer | None]:
        async with gate:
            answer = await ask(place, key, case.recorded.request(case.name), case.recorded.path)
            return case, answer.request_id, answer

    async with Vendor(PORT, plays()):
        return await asyncio.gather(*map(one, CASES.values()))


async def leave(place: Place, key: str) -> list[tuple[Case, str, Answer | None]]:
    cases = [case for case in CASES.values() if case.at > case.recorded.first()]
    left = asyncio.Event()
    async with Vendor(PORT, plays(left)):
        talks = [await begin(place, key, case.recorded.request(case.name), case.recorded.path) for case in cases]
        for talk in talks:
            await talk.piece()
        connected = place.descriptors()
        for talk in talks:
            talk.leave()
        # Only when the gateway knows that they are gone may the vendor go on.
        assert await place.settles(lambda: place.descriptors() <= connected - len(talks))
        left.set()
        await quiet(place)
    return [(case, talk.request_id, None) for case, talk in zip(cases, talks, strict=True)]


@pytest.fixture(scope="module")
def played(place: Place) -> dict[str, list[Played]]:
    """All cases by recording; the books are read once."""
    key = place.key()
    seen = [*asyncio.run(stay(place, key)), *asyncio.run(leave(place, key))]
    books = closed(place)
    assert len(books) == len(seen)
    found: dict[str, list[Played]] = {}
    for case, request_id, answer in seen:
        found.setdefault(case.recorded.name, []).append(Played(case, answer, books[request_id]))
    return found


def check_charge(found: Closed, outlook: Outlook, left: bool = False) -> None:
    if outlook.failed or not outlook.begun:
        expected = "failed", 0
    elif not outlook.finished:
        expected = "vendor_truncated", 0
    elif outlook.cost is None:
        assert found.estimated
        assert 0 < found.cost <= found.hold
        expected = "client_left" if left else "no_usage", found.cost
    else:
        assert not found.estimated
        expected = "client_left" if left else "complete", outlook.cost
    assert (found.outcome, found.cost) == expected


def check_seen(answer: Answer, case: Case, outlook: Outlook) -> None:
    """What the client got: the vendor's bytes, with an end only where the answer has one."""
    if not outlook.begun:
        assert answer.status == (500 if outlook.failed else 502)
        assert not answer.cut
        return
    assert answer.status == 200
    assert answer.cut == (not outlook.finished or outlook.failed)
    if outlook.failed:
        return  # told in an event of the gateway's own
    assert case.recorded.body.startswith(answer.body)
    if outlook.finished:
        assert len(answer.body) >= max(end for end in case.recorded.ends if end <= case.at)


@each_recording
def test_a_client_that_stays(played: dict[str, list[Played]], recorded: Recorded) -> None:
    cases = [one for one in played[recorded.name] if one.answer is not None]
    assert len(cases) == len(WAYS) * len(recorded.offsets)
    for case, answer, charge in cases:
        assert answer is not None
        outlook = recorded.outlook(case.at)
        with told(f"{case.name}: {outlook}, {answer}"):
            check_seen(answer, case, outlook)
            check_charge(charge, outlook)


@each_recording
def test_a_client_that_leaves_after_the_first_event(played: dict[str, list[Played]], recorded: Recorded) -> None:
    cases = [one for one in played[recorded.name] if one.answer is None]
    assert bool(cases) == (recorded.first() < len(recorded.body))
    for case, _, charge in cases:
        outlook = recorded.outlook(case.at)
        with told(f"{case.name}: {outlook}"):
            check_charge(charge, outlook, left=True)


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Says which of the cases it was."""
    try:
        yield
    except AssertionError as exc:
        exc.add_note(what)
        raise


def test_the_oracle_agrees_with_the_manifest() -> None:
    """Else both could be wrong in the same way."""
    costs = {name: recorded.outlook(len(recorded.body)).cost for name, recorded in RECORDED.items()}
    assert {name: cost for name, cost in costs.items() if cost is not None} == WHOLE_COST
    assert len(WHOLE_COST) > 20
