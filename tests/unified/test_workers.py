"""Two workers: what is promised of limits, credits and keys holds over both, exactly."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.clients.places import Sandbox
from tests.unified.caller import ask, chat_body, raw_provider, send
from tests.unified.entries import closed, nano, nothing_held, price_of, quiet, wait_until
from tests.unified.place import MODELS as USUAL
from tests.unified.place import PRICE, Answer, Place
from tests.wire.ends import End
from tests.wire.messages import answer, read_answer
from tests.wire.serving import free_port
from tests.wire.vendor import Vendor

PORT = free_port()
WORKERS = 2
PROVIDERS = {"raw": raw_provider(PORT)}
MODELS = {
    **USUAL,
    "raw": {"targets": [{"provider": "raw", "model": "raw"}], "price": PRICE},
    "kept": {**USUAL["gpt-4o"], "cache": {}},
}
DOCUMENT = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
)
_numbers = iter(range(10**6))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Place]:
    """A gateway of two workers; it must end as well as that of one does."""
    serving = Place(tmp_path_factory.mktemp("workers"), sandbox, None, PROVIDERS, WORKERS, MODELS)
    serving.start()
    yield serving
    assert serving.stop() == 0, serving.stderr[-3000:]
    assert "Traceback" not in serving.stderr, serving.stderr[-3000:]
    assert serving.verified()["open_holds"] == 0


@pytest.fixture
def account() -> str:
    return f"shared{next(_numbers)}"


async def many(place: Place, key: str, count: int, model: str = "gpt-4o", **more: object) -> list[Answer]:
    """Calls at the same time, each on a connection of its own: the system spreads them over the workers."""
    return await asyncio.gather(*(ask(place, key, chat_body(model, **more)) for _ in range(count)))


def test_there_are_two_workers_and_the_books(place: Place) -> None:
    assert len(place.pids()) >= WORKERS + 2


async def test_requests_a_minute_are_shared_exactly(place: Place, account: str) -> None:
    key = await asyncio.to_thread(place.key, "--rpm", "10", name=account)
    answers = await many(place, key, 40)
    assert Counter(answer.status for answer in answers) == {200: 10, 429: 30}
    good = {int(answer.headers["x-ratelimit-remaining-requests"]) for answer in answers if answer.status == 200}
    assert good == set(range(10))


async def test_the_last_credit_is_spent_once(place: Place, account: str) -> None:
    """Enough is granted for three holds; of many calls at once never more than three are let in."""
    key = await asyncio.to_thread(place.key, name=account)
    hold_of_one = await asyncio.to_thread(_hold, place, key, account)
    poor = account + "p"
    poor_key = await asyncio.to_thread(place.key, name=poor, credits=str(Decimal(hold_of_one * 3) / 10**9))
    go = asyncio.Event()

    async def script(vendor: Vendor, end: End) -> None:
        while await vendor.next_request(end) is not None:
            await go.wait()
            await end.send(answer(DOCUMENT, fields=[(b"Content-Type", b"application/json")]))

    async with Vendor(PORT, script) as vendor:
        ends = [await send(place, poor_key, chat_body("raw", max_tokens=50)) for _ in range(20)]
        refused = [asyncio.ensure_future(read_answer(end)) for end in ends]
        await vendor.wait_for(lambda: len(vendor.requests) == 3)
        await place.settles(lambda: sum(task.done() for task in refused) == 17)
        go.set()
        statuses = Counter([(await task).status for task in refused])
        for end in ends:
            end.close()
            await end.wait_lost()
    assert statuses == {200: 3, 402: 17}
    await quiet(place)
    calls = await asyncio.to_thread(closed, place, poor)
    assert len(calls) == 3
    left = await asyncio.to_thread(place.balance, poor)
    assert nano(left["available"]) == 3 * hold_of_one - sum(call.cost for call in calls.values())
    assert left["held"] == 0


def _hold(place: Place, key: str, account: str) -> int:
    """What one such call holds."""
    got = place.call("/v1/chat/completions", chat_body("raw", max_tokens=50), key)
    assert got.status == 502  # nobody listens
    return closed(place, account)[got.request_id].hold


async def test_calls_at_a_time_are_shared(place: Place, account: str) -> None:
    key = await asyncio.to_thread(place.key, "--concurrency", "3", name=account)
    answers = await many(place, key, 30, stream=True)
    counted = Counter(answer.status for answer in answers)
    assert counted[200] >= 3
    assert set(counted) <= {200, 429}
    await quiet(place)
    assert Counter(answer.status for answer in await many(place, key, 3)) == {200: 3}


async def test_budgets_are_shared(place: Place, account: str) -> None:
    key = await asyncio.to_thread(place.key, "--budget", "0.002/day", name=account)
    answers = [got for _ in range(5) for got in await many(place, key, 10, max_tokens=40)]
    good = [got for got in answers if got.status == 200]
    assert {got.status for got in answers} == {200, 402}
    assert sum(nano(got.headers["x-gateway-cost"]) for got in good) <= nano("0.002")
    assert sum(price_of(got.json["usage"]) for got in good) == sum(nano(got.headers["x-gateway-cost"]) for got in good)


async def test_changes_act_in_all_workers(place: Place, account: str) -> None:
    await asyncio.to_thread(place.run, "credits", "grant", account, "100")
    made = await asyncio.to_thread(place.run, "keys", "create", "--name", account)
    assert {got.status for got in await many(place, made["key"], 12)} == {200}
    await asyncio.to_thread(place.run, "keys", "update", made["id"], "--disable")
    for _ in range(100):
        if {got.status for got in await many(place, made["key"], 12)} == {401}:
            break
        await asyncio.sleep(0.05)
    assert {got.status for got in await many(place, made["key"], 12)} == {401}


async def test_counters_and_books_agree(place: Place, account: str) -> None:
    key = await asyncio.to_thread(place.key, name=account)
    before = await asyncio.to_thread(place.value_of, "gateway_settlements_total", outcome="complete")
    answers = await many(place, key, 30)
    assert {got.status for got in answers} == {200}
    assert len({got.request_id for got in answers}) == 30
    calls = await asyncio.to_thread(closed, place, account)
    assert calls.keys() == {got.request_id for got in answers}
    assert sum(call.cost for call in calls.values()) == sum(price_of(got.json["usage"]) for got in answers)
    after = await asyncio.to_thread(place.value_of, "gateway_settlements_total", outcome="complete")
    assert after - before == 30
    await asyncio.to_thread(nothing_held, place)


async def test_an_answer_in_the_cache_of_one_is_found_by_the_other(place: Place, account: str) -> None:
    key = await asyncio.to_thread(place.key, name=account)
    body = {"cached": True}
    first = await ask(place, key, chat_body("kept", metadata=body))
    assert first.headers["x-gateway-cache"] == "miss"

    def all_hit() -> bool:
        return all(
            place.chat(key, "kept", "Hello there", metadata=body).headers["x-gateway-cache"] == "hit" for _ in range(6)
        )

    await asyncio.to_thread(wait_until, all_hit, "a worker does not see the other's answers")
