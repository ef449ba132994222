"""Fifty callers race for the last credit: holds never exceed what is there, losers are told 402, the books are exact.

The vendor answers only when every loser has been told, so all winners hold at the same time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from tests.unified.bad_vendors import JSON_TYPE, USAGE, document, good
from tests.unified.caller import ask, begin, chat_body, raw_provider
from tests.unified.conftest import Start
from tests.unified.entries import NANO, closed, nano, price_of
from tests.unified.place import PRICE, Answer, Place
from tests.wire.ends import End
from tests.wire.messages import answer
from tests.wire.serving import free_port
from tests.wire.vendor import Script, Vendor

PORT = free_port()
CALLERS = 50
WINNERS = 3
PROVIDERS = {"raw": raw_provider(PORT)}
MODELS: dict[str, Any] = {
    "raw": {"targets": [{"provider": "raw", "model": "raw"}], "price": PRICE},
    "free": {"targets": [{"provider": "raw", "model": "raw"}]},
}
BODY = chat_body("raw", max_tokens=100)


def credits(amount: int) -> str:
    return f"{Decimal(amount) / NANO:f}"


async def hold_of_one(place: Place, key: str) -> tuple[int, int]:
    """(hold, cost) of the call that all will make."""
    async with Vendor(PORT, answering()):
        seen = await ask(place, key, BODY)
    found = closed(place, "probe")[seen.request_id]
    return found.hold, found.cost


def answering(when: asyncio.Event | None = None) -> Script:
    """A vendor that answers well, once it may."""

    async def script(vendor: Vendor, end: End) -> None:
        while (message := await vendor.next_request(end)) is not None:
            if when is not None:
                await when.wait()
            await end.send(good(message))

    return script


async def race(place: Place, key: str, winners: int) -> tuple[list[Answer], list[Answer]]:
    """All call at once; (who got through, who did not)."""
    told, over = 0, asyncio.Event()

    async def one(number: int) -> Answer:
        nonlocal told
        talk = await begin(place, key, BODY | {"stream": bool(number % 2)})
        if talk.head.status != 200:
            told += 1
            if told == CALLERS - winners:
                over.set()
        return await talk.rest()

    async with Vendor(PORT, answering(over)) as vendor:
        answers = await asyncio.gather(*map(one, range(CALLERS)))
        assert len(vendor.requests) == winners
    through = [one for one in answers if one.status == 200]
    return through, [one for one in answers if one.status != 200]


@pytest.mark.parametrize("limit", ["credit", "budget"])
@pytest.mark.parametrize("workers", [1, 2])
async def test_the_last_credit(start: Start, workers: int, limit: str) -> None:
    place = start(providers=PROVIDERS, models=MODELS, workers=workers)
    hold, cost = await hold_of_one(place, place.key(name="probe"))
    there = WINNERS * hold + hold - 1  # one more would be a nano-credit too much
    if limit == "credit":
        key, granted = place.key(credits=credits(there)), there
    else:
        key, granted = place.key("--budget", credits(there)), 100 * NANO
    through, refused = await race(place, key, WINNERS)
    assert len(through) == WINNERS
    code = "insufficient_credit" if limit == "credit" else "budget_exceeded"
    assert {(one.status, one.error["code"]) for one in refused} == {(402, code)}
    books = closed(place)
    assert Counter((found.outcome, found.cost) for found in books.values()) == {("complete", cost): WINNERS}
    assert set(books) == {one.request_id for one in through}  # a refusal leaves no entry
    assert cost == price_of(USAGE)
    left = nano(place.balance()["available"])
    assert left == granted - WINNERS * cost
    assert place.balance()["held"] == 0
    # What was given back can be held again, to the last nano-credit.
    again = (there - WINNERS * cost) // hold
    through, refused = await race(place, key, again)
    assert len(through) == again
    assert {one.status for one in refused} == {402}
    assert nano(place.balance()["balance"]) == granted - (WINNERS + again) * cost
    assert place.stop() == 0
    assert place.verified()["open_holds"] == 0


async def test_holds_cover_what_runs_while_it_runs(start: Start) -> None:
    """What operators see meanwhile: the winners' holds, and no more than there was."""
    place = start(providers=PROVIDERS, models=MODELS)
    hold, cost = await hold_of_one(place, place.key(name="probe"))
    key = place.key(credits=credits(2 * hold))
    go = asyncio.Event()
    async with Vendor(PORT, answering(go)) as vendor:
        running = [asyncio.create_task(ask(place, key, BODY)) for _ in range(2)]
        await vendor.wait_for(lambda: len(vendor.requests) == 2)
        assert (await ask(place, key, BODY)).status == 402
        # A hold that lives longer than a moment is entered.
        assert await place.settles(lambda: nano(place.balance()["held"]) == 2 * hold)
        assert place.balance()["available"] == 0
        go.set()
        assert [(await one).status for one in running] == [200, 200]
    assert nano(place.balance()["available"]) == 2 * hold - 2 * cost


async def test_a_settle_may_overdraw_and_then_nothing_starts(start: Start) -> None:
    """The cost exists already; not even a free call begins below zero."""
    place = start(providers=PROVIDERS, models=MODELS)
    key = place.key(credits="0.001")
    dear = {"prompt_tokens": 7, "completion_tokens": 1_000_000, "total_tokens": 1_000_007}

    async def script(vendor: Vendor, end: End) -> None:
        while await vendor.next_request(end) is not None:
            await end.send(answer(document(dear), fields=JSON_TYPE))

    async with Vendor(PORT, script) as vendor:
        seen = await ask(place, key, BODY)
        assert closed(place)[seen.request_id].cost == price_of(dear)
        assert nano(place.balance()["available"]) == nano("0.001") - price_of(dear) < 0
        for model in ("raw", "free"):
            assert (await ask(place, key, chat_body(model, max_tokens=1))).status == 402
        assert len(vendor.requests) == 1
        place.run("credits", "grant", "alice", "100")
        assert (await ask(place, key, chat_body("free"))).status == 200
