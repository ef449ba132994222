"""kill -9 at any moment, again and again on the same data: no charge that a client has received is lost, none is made
twice, and nothing else is charged.

GATEWAY_TEST_KILLS is the number of kills; each test does its share of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from typing import Any, NamedTuple

import pytest

from tests.unified.caller import Talk, begin, chat_body
from tests.unified.conftest import Start
from tests.unified.entries import Closed, closed, nano, price, wait_until
from tests.unified.place import PRICE, Place
from tests.wire.ends import Ended

KILLS = int(os.environ.get("GATEWAY_TEST_KILLS", "20"))
SHARES = {1: 0.9, 2: 0.1}  # by the number of workers
CALLERS = 8
LATEST = 0.4  # seconds under load before a kill
COST = price(3, 4)  # what the sandbox counts for "Hello there" and its answer
MODELS: dict[str, Any] = {
    "gpt-4o": {"targets": [{"provider": "openai", "model": "gpt-4o"}], "price": PRICE},
    "claude": {"targets": [{"provider": "anthropic", "model": "claude-sonnet-4-5"}], "price": PRICE},  # is converted
}
GRANT = 10_000


class Kind(NamedTuple):
    """One way to call. `costs`: what its charge may be, once it is closed by a living gateway."""

    stream: bool
    fields: dict[str, str]
    leaves: bool = False
    costs: tuple[int, ...] = (COST,)
    whole: bool = True  # whether its client can see a proper end
    model: str = "gpt-4o"


KINDS = (
    Kind(False, {}),
    Kind(True, {}),
    Kind(True, {"x_sandbox_pace": "20"}),
    Kind(False, {"x_sandbox_stall": "0.05"}),
    Kind(True, {"x_sandbox_cut": "3"}, costs=(0,), whole=False),
    Kind(True, {"x_sandbox_end": "2"}, costs=(0,), whole=False),
    Kind(False, {"x_sandbox_status": "500"}, costs=(0,)),
    Kind(True, {"x_sandbox_pace": "10"}, leaves=True),
    Kind(False, {}, model="claude"),
    Kind(True, {}, model="claude"),
    Kind(True, {"x_sandbox_pace": "20"}, model="claude"),
)


class Seen(NamedTuple):
    """What a client got of one call; `whole`: to its proper end."""

    kind: Kind
    request_id: str | None  # None: not even the head
    whole: bool
    status: int


async def caller(place: Place, key: str, seen: list[Seen], turn: int) -> None:
    """Calls until the gateway is gone."""
    while True:
        kind = KINDS[turn % len(KINDS)]
        turn += 1
        talk: Talk | None = None
        try:
            more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if kind.stream else {}
            talk = await begin(place, key, chat_body(kind.model, **more), **kind.fields)
            if kind.leaves:
                await talk.piece()
                talk.leave()
                seen.append(Seen(kind, talk.request_id, False, talk.head.status))
                continue
            answer = await talk.rest()
            seen.append(Seen(kind, talk.request_id, not answer.cut, answer.status))
        except (Ended, OSError):
            known = talk.request_id if talk is not None else None
            seen.append(Seen(kind, known, False, talk.head.status if talk is not None else 0))
            if talk is not None:
                talk.leave()
            if place.process.poll() is not None:
                return
            await asyncio.sleep(0.002)  # it is dying, or one of its workers has died


async def under_load(place: Place, key: str, seen: list[Seen], moment: float, first: int) -> None:
    """Many callers, and a kill in the midst of them."""
    callers = [asyncio.create_task(caller(place, key, seen, first + number)) for number in range(CALLERS)]
    await asyncio.sleep(moment)
    place.kill()
    await asyncio.gather(*callers)
    await asyncio.sleep(0)  # closed connections are let go of in the loop's next turn


def check(seen: list[Seen], books: dict[str, Closed]) -> int:
    """Every call against its entries; returns the sum of all charges. That each has one end `closed` has checked."""
    known = {one.request_id for one in seen if one.request_id is not None}
    assert len(known) == sum(one.request_id is not None for one in seen)
    for one in seen:
        found = books.get(one.request_id or "")
        assert one.kind.whole or not one.whole or one.status != 200, one
        if one.whole and one.status == 200:
            assert found is not None, one
            assert (found.outcome, found.cost) == ("complete", COST), (one, found)
        elif found is not None:
            # Cut by the kill or by the vendor: charged in full before its end could be seen, or not at all.
            assert found.cost in (0, *one.kind.costs), (one, found)
            assert (found.cost > 0) == (found.outcome in ("complete", "client_left")), (one, found)
            assert found.cost == 0 or not one.whole, (one, found)  # it was told of an error
    unknown = {request_id: found for request_id, found in books.items() if request_id not in known}
    assert len(unknown) <= sum(one.request_id is None for one in seen)
    assert {found.cost for found in unknown.values()} <= {0, COST}
    return sum(found.cost for found in books.values())


def nothing_is_held(place: Place) -> None:
    wait_until(lambda: place.verified()["open_holds"] == 0, "what a dead gateway held stays held")


@pytest.mark.parametrize("workers", SHARES)
@pytest.mark.timeout(60 + 6 * KILLS)
def test_kill_at_any_moment(start: Start, workers: int) -> None:
    place = start(models=MODELS, workers=workers)
    key = place.key(credits=str(GRANT))
    moments, seen = random.Random(workers), list[Seen]()
    for number in range(max(1, round(KILLS * SHARES[workers]))):
        if number:
            place.start()
            nothing_is_held(place)
        asyncio.run(under_load(place, key, seen, moments.uniform(0, LATEST), number))
    place.start()
    nothing_is_held(place)
    charged = check(seen, closed(place))
    assert nano(place.balance()["balance"]) == nano(GRANT) - charged
    ends = Counter("whole" if one.whole else "cut" if one.request_id else "nothing" for one in seen)
    assert min(ends["whole"], ends["cut"], ends["nothing"]) > 0, ends  # else the moments tell nothing
    assert place.stop() == 0


@pytest.mark.parametrize("victim", ["books", "worker"])
def test_one_process_of_several_is_killed(start: Start, victim: str) -> None:
    """The others go on; those who were under way are closed within the same life of the gateway."""
    place = start(models=MODELS, workers=2)
    key = place.key(credits=str(GRANT))
    seen: list[Seen] = []

    async def load() -> None:
        callers = [asyncio.create_task(caller(place, key, seen, number)) for number in range(CALLERS)]
        for _ in range(3):
            await asyncio.sleep(LATEST)
            while (pid := process(place, victim)) is None:
                await asyncio.sleep(0.01)  # it was killed before, and is not back yet
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(LATEST)
        place.signal(signal.SIGTERM)
        await asyncio.gather(*callers)
        await asyncio.sleep(0)

    asyncio.run(load())
    assert place.wait() == 0, place.stderr[-2000:]
    assert place.verified()["open_holds"] == 0
    charged = check(seen, closed(place))
    assert charged > 0
    assert nano(place.balance()["balance"]) == nano(GRANT) - charged


def process(place: Place, victim: str) -> int | None:
    """The process that holds the ledger's lock, or the first that does not."""
    for pid in place.pids()[1:]:
        with contextlib.suppress(OSError):  # gone meanwhile, or one of its files is
            if _has_ledger(pid) == (victim == "books"):
                return pid
    return None


def _has_ledger(pid: int) -> bool:
    folder = f"/proc/{pid}/fd"
    return any(os.readlink(f"{folder}/{name}").endswith("ledger.lock") for name in os.listdir(folder))
