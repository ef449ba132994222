"""What the `server:` section says about money, from outside: credits off, power-proof commits, prices that change."""

from __future__ import annotations

import signal
import threading
from decimal import Decimal
from typing import Any

from tests.unified.conftest import Start
from tests.unified.place import MODELS, Answer, Place


def cost_of(usage: dict[str, int]) -> Decimal:
    return Decimal(usage["prompt_tokens"] * 2 + usage["completion_tokens"] * 8) / 10**6


def reloaded(place: Place) -> None:
    seen = place.stderr.count("configuration reloaded")
    place.write_config()
    place.signal(signal.SIGHUP)
    while place.stderr.count("configuration reloaded") == seen:
        assert place.healthy()


def test_without_credits_nobody_is_refused_and_costs_are_known(start: Start) -> None:
    place = start(server={"credits": False})
    key = place.key("--budget", "0.000000001", credits=None)
    answer = place.chat(key)
    assert answer.status == 200
    cost = cost_of(answer.json["usage"])
    assert cost > 0
    assert place.charged(answer) == ("complete", cost)
    assert [entry["kind"] for entry in place.history()] == ["settle"]
    assert place.balance() == {"balance": -cost, "held": 0, "available": -cost}
    (row,) = place.run("usage", "--by", "model")
    assert (row["requests"], Decimal(row["cost"])) == (1, cost)
    failed = place.chat(key, headers={"x-sandbox-status": "500"})
    assert failed.status >= 500
    assert place.balance()["available"] == -cost
    assert place.stop() == 0
    place.verified()


def test_commits_that_survive_a_power_failure_charge_the_same(start: Start) -> None:
    place = start(server={"durability": "power"})
    key = place.key()
    for stream in (False, True):
        answer = place.chat(key, stream=stream, stream_options={"include_usage": True} if stream else None)
        usage = answer.json["usage"] if not stream else next(e["usage"] for e in answer.events() if e.get("usage"))
        assert place.charged(answer) == ("complete", cost_of(usage))
    place.kill()
    assert place.verified()["open_holds"] == 0


def test_a_new_price_counts_from_the_reload_on(start: Start) -> None:
    models: dict[str, Any] = {"m": {**MODELS["gpt-4o"], "price": {"per_request": 1}}}
    place = start(models=models)
    key = place.key(credits="10")
    assert place.charged(place.chat(key, "m")) == ("complete", Decimal(1))
    models["m"]["price"] = {"per_request": 2.5}
    reloaded(place)
    assert place.charged(place.chat(key, "m")) == ("complete", Decimal("2.5"))
    models["m"]["price"] = {"per_request": 7}
    reloaded(place)
    assert place.chat(key, "m").status == 402
    assert place.balance()["available"] == Decimal("6.5")
    (row,) = place.run("prices", "--config", str(place.config))
    assert (row["model"], row["price"]) == ("m", {"per_request": 7})


def test_calls_under_way_keep_the_configuration_they_began_with(start: Start) -> None:
    models: dict[str, Any] = {"m": {**MODELS["gpt-4o"], "price": {"per_request": 1}}}
    place = start(models=models)
    key = place.key(credits="10")
    answers: list[Answer] = []

    def stream() -> None:
        answers.append(place.chat(key, "m", "one two three", stream=True, headers={"x-sandbox-pace": "200"}))

    thread = threading.Thread(target=stream)
    thread.start()
    while not place.value_of("gateway_holds_open"):
        assert thread.is_alive()
    models["m"]["price"] = {"per_request": 5}
    reloaded(place)
    thread.join()
    (answer,) = answers
    assert not answer.cut
    assert place.charged(answer) == ("complete", Decimal(1))
