"""A vendor that fails in every way there is, with another behind it: who answers, how often was called, who pays.

Each failure has a provider and a standby model of its own, so that no key rests and no breaker opens for the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.unified.bad_vendors import AFTER, AT_ONCE, BEFORE, TEXT, USAGE, Bad, Playing, by_key, status
from tests.unified.caller import ask, begin, chat_body, key_of, model_of, raw_provider
from tests.unified.entries import Closed, closed, counted, price_of, wait_until
from tests.unified.place import PRICE, Answer, Place
from tests.wire.serving import free_port
from tests.wire.vendor import Vendor

PORT, NOBODY = free_port(), free_port()
FORMS = ("plain", "stream")
SERVER = {"answer_timeout": 2, "idle_timeout": 3}
UNREACHABLE = {
    "refused": f"http://127.0.0.1:{NOBODY}",
    "refused over ipv6": f"http://[::1]:{NOBODY}",
    "unknown host": "http://no-such-host.invalid",
}
UNREACHED: dict[str, Bad] = {name: Bad("upstream_unreachable", b"", b"") for name in UNREACHABLE}
MOVE_ON = {**UNREACHED, **BEFORE, **AT_ONCE}
STRAIGHT = {str(code): Bad(str(code), status(code), status(code)) for code in (400, 404, 413, 422)}
# What a client is told of a vendor's status where there is no other vendor.
ALONE = {401: 502, 402: 502, 429: 429, 500: 500, 502: 502, 503: 503, 529: 503}
KEYS = {"KEY_A": "sk-refused", "KEY_B": "sk-limited", "KEY_C": "sk-welcome"}
BREAKER_TIMES = 5


def slug(name: str, form: str = "") -> str:
    return f"{name} {form}".strip().replace(" ", "-")


def cases() -> Iterator[tuple[str, str, Bad]]:
    for name, bad in {**MOVE_ON, **AFTER}.items():
        for form in FORMS:
            yield name, form, bad


PROVIDERS: dict[str, Any] = {
    **{
        slug(name, form): raw_provider(PORT) | ({"base_url": UNREACHABLE[name]} if name in UNREACHABLE else {})
        for name, form, _ in cases()
    },
    **{f"alone-{code}": raw_provider(PORT) for code in ALONE},
    **{name: raw_provider(PORT) for name in ("straight", "breaker", "first", "second")},
    "keyed": raw_provider(PORT, keys=[f"env:{name}" for name in KEYS]),
    "refusing": raw_provider(PORT, keys=["env:KEY_A"]),
}
MODELS: dict[str, Any] = {
    **{
        slug(name, form): {
            "targets": [
                {"provider": slug(name, form), "model": name},
                {"provider": "openai", "model": f"standby-{slug(name, form)}", "priority": 2},
            ],
            "price": PRICE,
        }
        for name, form, _ in cases()
    },
    **{f"straight-{name}": {"targets": [{"provider": "straight", "model": name}]} for name in STRAIGHT},
    **{f"alone-{code}": {"targets": [{"provider": f"alone-{code}", "model": str(code)}]} for code in ALONE},
    "both": {
        "targets": [
            {"provider": "first", "model": "500"},
            {"provider": "second", "model": "429 for an hour", "priority": 2},
        ]
    },
    **{name: {"targets": [{"provider": name, "model": name}]} for name in ("breaker", "keyed", "refusing")},
}
for model in MODELS.values():
    model["price"] = PRICE


class Seen(NamedTuple):
    """What came of all calls with a standby, by failure and form; how often each standby was called; the attempts by
    provider and outcome.
    """

    answers: dict[tuple[str, str], Answer]
    books: dict[str, Closed]
    standby: dict[str, int]
    attempts: dict[str, dict[str, float]]


@pytest.fixture(scope="module", autouse=True)
def vendor_keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


@pytest.fixture(scope="module")
def seen(place: Place, key: str) -> Seen:
    """All at once: some take until their vendor's time is up."""

    async def one(playing: Playing, name: str, form: str) -> Answer:
        more = {"stream": True, "stream_options": {"include_usage": True}} if form == "stream" else {}
        talk = await begin(place, key, chat_body(slug(name, form), **more))
        if form == "stream" and name in AFTER:
            await talk.piece()
            playing.seen(name).set()
        return await talk.rest()

    async def every() -> list[Answer]:
        async with Vendor(PORT, playing := Playing(BEFORE, AFTER, AT_ONCE)):
            return await asyncio.gather(*(one(playing, name, form) for name, form, _ in cases()))

    answers = dict(zip([(name, form) for name, form, _ in cases()], asyncio.run(every()), strict=True))
    calls = {row["model"]: row["calls"] for row in place.calls()["calls"] if row["model"].startswith("standby-")}
    attempts = asyncio.run(counted(place, "gateway_attempts_total", "provider", "outcome"))
    return Seen(answers, closed(place), calls, attempts)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MOVE_ON)
def test_the_next_target_answers(seen: Seen, name: str, form: str) -> None:
    answer = seen.answers[name, form]
    assert answer.status == 200, answer
    assert not answer.cut
    assert answer.text == "You said: Hello there"
    assert answer.headers["x-gateway-provider"] == "openai"
    assert answer.headers["x-gateway-model"] == f"standby-{slug(name, form)}"
    assert answer.headers["x-gateway-attempts"] == "2"
    usage = answer.json["usage"] if form == "plain" else list(answer.events())[-1]["usage"]
    charge = seen.books[answer.request_id]
    assert (charge.outcome, charge.cost, charge.provider) == ("complete", price_of(usage), "openai")
    assert seen.standby[f"standby-{slug(name, form)}"] == 1
    assert seen.attempts[slug(name, form)] == {MOVE_ON[name].counted: 1}


@pytest.mark.parametrize("name", AFTER)
def test_nothing_is_tried_again_after_the_first_byte(seen: Seen, name: str) -> None:
    answer = seen.answers[name, "stream"]
    assert answer.status == 200
    assert answer.cut
    assert b'"Hi"' in answer.body
    assert b"[DONE]" not in answer.body
    assert ("scripted failure" in answer.body.decode()) == ("error" in name)
    assert answer.headers["x-gateway-attempts"] == "1"
    charge = seen.books[answer.request_id]
    assert charge.outcome in ("vendor_truncated", "failed")
    assert charge.cost == 0
    assert f"standby-{slug(name, 'stream')}" not in seen.standby
    assert seen.attempts[slug(name, "stream")] == {AFTER[name].counted: 1}


@pytest.mark.parametrize("name", AFTER)
def test_a_good_plain_answer_needs_no_standby(seen: Seen, name: str) -> None:
    """So the cuts above are not for another reason."""
    answer = seen.answers[name, "plain"]
    assert answer.text == TEXT
    assert answer.headers["x-gateway-attempts"] == "1"
    assert seen.books[answer.request_id].cost == price_of(USAGE)
    assert f"standby-{slug(name, 'plain')}" not in seen.standby


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", STRAIGHT)
async def test_the_requests_own_fault_goes_straight_back(place: Place, key: str, name: str, stream: bool) -> None:
    """More often than would open a breaker: the target is none the worse."""
    times = 6
    async with Vendor(PORT, Playing(STRAIGHT, times={name: times})) as vendor:
        refused = [await ask(place, key, chat_body(f"straight-{name}", stream=stream)) for _ in range(times)]
        served = await ask(place, key, chat_body(f"straight-{name}", stream=stream))
        assert len(vendor.requests) == times + 1
    books = closed(place)
    for answer in refused:
        assert answer.status == int(name)
        assert answer.error["message"] == "scripted failure"
        assert answer.headers["x-gateway-attempts"] == "1"
        assert (books[answer.request_id].outcome, books[answer.request_id].cost) == ("failed", 0)
    assert served.text == TEXT


@pytest.mark.parametrize("code", ALONE)
async def test_what_the_client_is_told_when_nobody_else_is_there(place: Place, key: str, code: int) -> None:
    table = {str(code): Bad("", status(code, (b"Retry-After", b"77")), b"")}
    async with Vendor(PORT, Playing(table)) as vendor:
        answer = await ask(place, key, chat_body(f"alone-{code}"))
        assert len(vendor.requests) == 1
    assert answer.status == ALONE[code]
    assert "scripted failure" in answer.error["message"]
    assert code != 429 or answer.headers["retry-after"] == "77"


async def test_when_all_fail_the_last_ones_error_is_told(place: Place, key: str) -> None:
    async with Vendor(PORT, Playing(BEFORE)) as vendor:
        answer = await ask(place, key, chat_body("both"))
        assert [model_of(message) for message in vendor.requests] == ["500", "429 for an hour"]
    assert (answer.status, answer.headers["retry-after"]) == (429, "3600")
    assert answer.headers["x-gateway-attempts"] == "2"
    charge = closed(place)[answer.request_id]
    assert (charge.outcome, charge.cost) == ("failed", 0)


async def test_keys_that_are_refused_or_limited_rest(place: Place, key: str) -> None:
    refusals = {KEYS["KEY_A"]: status(401), KEYS["KEY_B"]: status(429, (b"Retry-After", b"3600"))}
    async with Vendor(PORT, by_key(refusals)) as vendor:
        answers = [await ask(place, key, chat_body("keyed")) for _ in range(3)]
        assert [key_of(message) for message in vendor.requests] == [*KEYS.values(), KEYS["KEY_C"], KEYS["KEY_C"]]
    assert [answer.headers["x-gateway-attempts"] for answer in answers] == ["3", "1", "1"]
    assert [answer.text for answer in answers] == [TEXT] * 3
    books = closed(place)
    assert [books[answer.request_id].cost for answer in answers] == [price_of(USAGE)] * 3
    assert not any(secret in str(answers) + place.stdout for secret in KEYS.values())


async def test_when_every_key_rests_no_vendor_is_called(place: Place, key: str) -> None:
    async with Vendor(PORT, by_key({KEYS["KEY_A"]: status(401)})) as vendor:
        refused, resting = [await ask(place, key, chat_body("refusing")) for _ in range(2)]
        assert len(vendor.requests) == 1
    assert refused.status == 502
    assert (resting.status, resting.error["code"]) == (503, "no_target_available")
    assert 0 < int(resting.headers["retry-after"]) <= 60
    assert resting.headers["x-gateway-attempts"] == "0"
    charge = closed(place)[resting.request_id]
    assert (charge.outcome, charge.cost) == ("failed", 0)


async def test_a_breaker_opens_lets_one_probe_through_and_closes(place: Place, key: str) -> None:
    def state() -> float:
        return place.value_of("gateway_breaker_state", provider="breaker")

    table = {"breaker": Bad("500", status(500), b"")}
    async with Vendor(PORT, Playing(table, times={"breaker": BREAKER_TIMES})) as vendor:
        failed = [await ask(place, key, chat_body("breaker")) for _ in range(BREAKER_TIMES)]
        assert [answer.status for answer in failed] == [500] * BREAKER_TIMES
        assert state() == 2
        resting = await ask(place, key, chat_body("breaker"))
        assert (resting.status, resting.error["code"]) == (503, "no_target_available")
        assert 0 < int(resting.headers["retry-after"]) <= 10
        assert len(vendor.requests) == BREAKER_TIMES
        await asyncio.to_thread(wait_until, lambda: state() == 1, "the breaker stays open", 30)
        probe = await ask(place, key, chat_body("breaker"))
        assert probe.text == TEXT
        assert state() == 0
        assert len(vendor.requests) == BREAKER_TIMES + 1
    books = closed(place)
    assert [books[answer.request_id].cost for answer in [*failed, resting, probe]] == [0] * 6 + [price_of(USAGE)]
