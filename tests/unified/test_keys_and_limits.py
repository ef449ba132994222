"""Keys: who is refused and how, what a key may use, and how fast a change of it acts."""

from __future__ import annotations

import asyncio
import datetime
import re
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from tests.unified.caller import CHAT, RESPONSES, Talk, ask, chat_body, raw_provider, send
from tests.unified.entries import nano, nothing_held, price, quiet, wait_until
from tests.unified.place import MODELS as USUAL
from tests.unified.place import PRICE, Answer, Place
from tests.wire.ends import End
from tests.wire.messages import CHUNKED_HEAD, answer, chunks, read_answer_head
from tests.wire.serving import free_port
from tests.wire.vendor import Vendor

PORT = free_port()
PROVIDERS = {"raw": raw_provider(PORT)}
MODELS = {**USUAL, "slow": {"targets": [{"provider": "raw", "model": "slow"}], "price": PRICE}}
DURATION = re.compile(r"\d+ms|(\d+m)?\d+s")
_numbers = iter(range(10**6))


@pytest.fixture
def account() -> str:
    """One that nobody else uses."""
    return f"account{next(_numbers)}"


def issue(place: Place, account: str, *options: str, credits: str | None = "100") -> tuple[str, str]:
    """(a key's id, the key)."""
    if credits is not None:
        place.run("credits", "grant", account, credits)
    made = place.run("keys", "create", "--name", account, *options)
    return made["id"], made["key"]


def answers(place: Place, key: str, status: int) -> bool:
    return place.chat(key).status == status


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.error["code"]) == (status, code), answer.body
    assert answer.headers["x-gateway-error"] == code
    assert answer.request_id


# -- who ---------------------------------------------------------------------------------------------------------------


def test_a_key_works_at_once_and_without_it_nothing_does(place: Place, account: str) -> None:
    refused(place.chat(None), 401, "missing_api_key")
    refused(place.chat("gw-nobody"), 401, "invalid_api_key")
    _, key = issue(place, account)
    assert place.chat(key).status == 200
    refused(place.chat(key.lower() if key != key.lower() else key.upper()), 401, "invalid_api_key")


def test_a_key_that_was_asked_for_before_it_was_issued_works_soon(place: Place, account: str) -> None:
    """That nobody has it is remembered, but not for long."""
    _, other = issue(place, account)
    for _ in range(3):
        refused(place.chat(other + "x"), 401, "invalid_api_key")
    _, key = issue(place, account + "b")
    assert place.chat(key).status == 200


def test_an_expired_key_is_refused(place: Place, account: str) -> None:
    _, key = issue(place, account, "--expires", "2020-01-01")
    refused(place.chat(key), 401, "api_key_expired")


def test_a_key_expires_while_the_gateway_runs(place: Place, account: str) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    _, key = issue(place, account, "--expires", soon.isoformat())
    wait_until(lambda: place.chat(key).status == 401, "the key does not expire")
    refused(place.chat(key), 401, "api_key_expired")


CHANGES: dict[str, tuple[list[str], int, str, list[str]]] = {
    "disabled": (["--disable"], 401, "api_key_disabled", ["--enable"]),
    "expired": (["--expires", "2020-01-01"], 401, "api_key_expired", ["--expires", "none"]),
    "models": (["--models", "deepseek-chat"], 403, "model_not_allowed", ["--models", "all"]),
    "rpm": (["--rpm", "1"], 429, "rate_limit_exceeded", ["--rpm", "none"]),
    "tpm": (["--tpm", "1"], 429, "rate_limit_exceeded", ["--tpm", "none"]),
    "budget": (["--budget", "0.000000001"], 402, "budget_exceeded", ["--budget", "none"]),
}


def test_changes_act_while_the_gateway_runs(place: Place, account: str) -> None:
    issued = {name: issue(place, account, credits="100" if name == "disabled" else None) for name in CHANGES}
    revoked_id, revoked = issue(place, account, credits=None)
    for _, key in [*issued.values(), (revoked_id, revoked)]:
        assert place.chat(key).status == 200
    for name, (options, *_) in CHANGES.items():
        place.run("keys", "update", issued[name][0], *options)
    for name, (_, status, code, _) in CHANGES.items():
        key = issued[name][1]
        wait_until(partial(answers, place, key, status), f"{name} does not act")
        refused(place.chat(key), status, code)
    for name, (*_, back) in CHANGES.items():
        place.run("keys", "update", issued[name][0], *back)
    place.run("keys", "revoke", revoked_id)
    for name, (_, key) in issued.items():
        wait_until(partial(answers, place, key, 200), f"{name} is not taken back")
    wait_until(lambda: place.chat(revoked).status == 401, "the key is not revoked")
    refused(place.chat(revoked), 401, "api_key_disabled")


def test_of_two_keys_the_first_place_counts(place: Place, account: str) -> None:
    """Authorization, then x-api-key, x-goog-api-key, query; whatever the others hold."""
    _, good = issue(place, account)
    places = [("Authorization", "Bearer "), ("x-api-key", ""), ("x-goog-api-key", ""), ("query", "")]
    for first in range(len(places)):
        for valid in (True, False):
            values = [good if (number == first) == valid else "gw-wrong" for number in range(first, len(places))]
            pairs = list(zip(places[first:], values, strict=True))
            headers = {name: before + value for (name, before), value in pairs if name != "query"}
            path = f"{CHAT}?key={values[-1]}"
            got = place.call(path, chat_body("gpt-4o"), headers=headers)
            assert got.status == (200 if valid else 401), (first, valid)


def test_an_empty_place_is_no_place(place: Place, account: str) -> None:
    _, good = issue(place, account)
    got = place.call(f"{CHAT}?key={good}", chat_body("gpt-4o"), headers={"Authorization": "Bearer ", "x-api-key": ""})
    assert got.status == 200


# -- what --------------------------------------------------------------------------------------------------------------


def test_models_of_a_key(place: Place, account: str) -> None:
    _, key = issue(place, account, "--models", "deepseek-chat,auto")
    assert place.chat(key, "deepseek-chat").status == 200
    refused(place.chat(key, "gpt-4o"), 403, "model_not_allowed")
    refused(place.chat(key, "no-such-model"), 404, "model_not_found")
    # Whoever may use a rule's model may use what it chooses.
    assert place.chat(key, "auto", headers={"x-gateway-task": "coding"}).headers["x-gateway-model"] == "gpt-4o"
    listed = place.call("/v1/models", key=key).json["data"]
    assert [model["id"] for model in listed] == ["auto", "deepseek-chat"]


# -- credit ------------------------------------------------------------------------------------------------------------


def test_without_credit_nothing_starts_and_a_grant_acts_at_once(place: Place, account: str) -> None:
    _, key = issue(place, account, credits=None)
    refused(place.chat(key), 402, "insufficient_credit")
    free = place.chat(key, "free")
    assert free.status == 200
    place.run("credits", "grant", account, "0.000000001")
    refused(place.chat(key), 402, "insufficient_credit")
    place.run("credits", "grant", account, "10")
    assert place.chat(key).status == 200
    place.run("credits", "grant", account, "-10")
    wait_until(lambda: place.chat(key).status == 402, "what was taken away can still be spent")
    kinds = [entry["kind"] for entry in place.history(account) if entry["request_id"] != free.request_id]
    assert kinds[:4] == ["grant", "grant", "hold", "settle"]
    assert "adjust" in kinds


def test_a_hold_is_what_the_call_can_cost_at_most(place: Place, account: str) -> None:
    """Just enough is enough, and a nano-credit less is not."""
    _, key = issue(place, account)
    place.chat(key, max_tokens=50, n=2)
    held = -next(entry["amount"] for entry in place.history(account) if entry["kind"] == "hold")
    input_tokens, rest = divmod(nano(held) - price(0, 100), price(1, 0))
    assert rest == 0
    assert input_tokens > 0
    _, poor = issue(place, account + "b", credits=str(held - Decimal("0.000000001")))
    refused(place.chat(poor, max_tokens=50, n=2), 402, "insufficient_credit")
    place.run("credits", "grant", account + "b", "0.000000001")
    assert place.chat(poor, max_tokens=50, n=2).status == 200


@pytest.mark.parametrize("period", ["", "/day", "/month"])
def test_a_budget_is_used_up(place: Place, account: str, period: str) -> None:
    _, key = issue(place, account, "--budget", f"0.001{period}")
    _, other = issue(place, account, credits=None)
    costs = 0
    for _ in range(100):
        got = place.chat(key, max_tokens=60)
        if got.status != 200:
            break
        costs += nano(got.headers["x-gateway-cost"])
    refused(got, 402, "budget_exceeded")
    assert 0 < costs <= nano("0.001")
    assert place.chat(other).status == 200  # the same account's other key
    assert place.chat(key, "free").status == 200


# -- rates -------------------------------------------------------------------------------------------------------------


def check_limits(got: Answer, kind: str, limit: int, remaining: int) -> None:
    assert got.headers[f"x-ratelimit-limit-{kind}"] == str(limit)
    assert got.headers[f"x-ratelimit-remaining-{kind}"] == str(remaining)
    assert DURATION.fullmatch(got.headers[f"x-ratelimit-reset-{kind}"])


def test_requests_a_minute(place: Place, account: str) -> None:
    _, key = issue(place, account, "--rpm", "3")
    for remaining in (2, 1, 0):
        got = place.chat(key)
        assert got.status == 200
        check_limits(got, "requests", 3, remaining)
    got = place.chat(key)
    refused(got, 429, "rate_limit_exceeded")
    check_limits(got, "requests", 3, 0)
    assert 1 <= int(got.headers["retry-after"]) <= 60
    assert got.error["type"] == "requests"
    assert "x-ratelimit-limit-tokens" not in got.headers


def test_refusals_show_the_limits_and_take_nothing(place: Place, account: str) -> None:
    _, key = issue(place, account, "--rpm", "5", "--tpm", "100000")
    bad = [place.call(CHAT, b"{", key), place.chat(key, "nobody"), place.call(CHAT, {"model": "gpt-4o"}, key)]
    for got in bad:
        check_limits(got, "requests", 5, 5)
        check_limits(got, "tokens", 100_000, 100_000)
    failed = place.chat(key, "gpt-4o", headers={"x-sandbox-status": "400"})
    assert failed.status == 400
    check_limits(failed, "requests", 5, 4)  # it did go to the vendor


def test_a_key_without_limits_shows_none(place: Place, account: str) -> None:
    _, key = issue(place, account)
    for got in (place.chat(key), place.call(CHAT, b"{", key)):
        assert not [name for name in got.headers if "ratelimit" in name]


def test_tokens_a_minute_are_corrected_by_what_was_used(place: Place, account: str) -> None:
    """A call takes the most that it can need; once it is over, what it did need."""
    _, key = issue(place, account, "--tpm", "5000")
    used = 0
    for _ in range(3):
        got = place.chat(key, max_tokens=1000)
        assert got.status == 200
        assert int(got.headers["x-ratelimit-remaining-tokens"]) < 4000
        used += got.json["usage"]["total_tokens"]
    seen = place.call(CHAT, b"{", key)
    check_limits(seen, "tokens", 5000, 5000 - used)


def test_a_call_that_can_never_fit_is_told_so(place: Place, account: str) -> None:
    _, key = issue(place, account, "--tpm", "100")
    got = place.chat(key, max_tokens=1000)
    refused(got, 429, "rate_limit_exceeded")
    assert "max_tokens" in got.error["message"]
    assert place.chat(key, max_tokens=20).status == 200


def test_streams_and_other_surfaces_count_alike(place: Place, account: str) -> None:
    _, key = issue(place, account, "--rpm", "4")
    calls = [
        place.chat(key, stream=True), place.call(RESPONSES, {"model": "gpt-4o", "input": "Hi"}, key),
        place.call("/v1/embeddings", {"model": "embedder", "input": "Hi"}, key),
        place.call("/rerank", {"model": "reranker", "query": "a", "documents": ["b"]}, key),
    ]  # fmt: skip
    for remaining, got in zip((3, 2, 1, 0), calls, strict=True):
        assert got.status == 200
        check_limits(got, "requests", 4, remaining)
    refused(place.chat(key), 429, "rate_limit_exceeded")


# -- concurrency -------------------------------------------------------------------------------------------------------


class Slow:
    """A vendor that answers when the test says so."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.status = 200

    async def script(self, vendor: Vendor, end: End) -> None:
        while (message := await vendor.next_request(end)) is not None:
            stream = b'"stream": true' in message.body
            if stream:
                await end.send(CHUNKED_HEAD.removesuffix(b"\r\n") + b"Content-Type: text/event-stream\r\n\r\n")
                await end.send(chunks([event("Hi", None)]).removesuffix(chunks([])))
            await self.go.wait()
            if stream:
                await end.send(chunks([event(None, "stop"), USAGE, b"data: [DONE]\n\n"]))
            else:
                await end.send(answer(DOCUMENT, b"%d Done" % self.status, [(b"Content-Type", b"application/json")]))


def event(content: str | None, finish: str | None) -> bytes:
    delta = f'{{"content":"{content}"}}' if content else "{}"
    reason = f'"{finish}"' if finish else "null"
    return f'data: {{"choices":[{{"index":0,"delta":{delta},"finish_reason":{reason}}}]}}\n\n'.encode()


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
DOCUMENT = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
)


@pytest.mark.parametrize("way", ["document", "stream", "error", "client leaves"])
async def test_calls_at_a_time(place: Place, account: str, way: str) -> None:
    """The one too many is refused at once; whatever ends a call makes room."""
    _, key = await asyncio.to_thread(issue, place, account, "--concurrency", "2")
    slow = Slow()
    slow.status = 500 if way == "error" else 200
    body: dict[str, Any] = chat_body("slow", stream=way == "stream")
    async with Vendor(PORT, slow.script) as vendor:
        running = [await send(place, key, body) for _ in range(2)]
        await vendor.wait_for(lambda: len(vendor.requests) == 2)
        third = await ask(place, key, body)
        refused(third, 429, "rate_limit_exceeded")
        assert int(third.headers["retry-after"]) >= 1
        if way == "client leaves":
            for end in running:
                end.reset()
        slow.go.set()
        if way != "client leaves":
            for end in running:
                assert (await Talk(end, await read_answer_head(end)).rest()).status == slow.status
        await quiet(place)
        await asyncio.to_thread(wait_until, lambda: place.chat(key, max_tokens=5).status == 200, "no room is made")
    await asyncio.to_thread(nothing_held, place)
