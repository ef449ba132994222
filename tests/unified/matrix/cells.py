"""The cells: models that reach one vendor dialect each, and the conversations that are held over them."""

from __future__ import annotations

import json
from typing import Any

from tests.unified.matrix.drivers import Ask, Driver, Got

PRICE = {"input": 2, "cached_input": 0.5, "output": 8}
# Vendor dialect -> provider and its model. Nothing else is said of the models: what converters count on is shipped.
TARGETS = {
    "openai.chat": ("openai", "gpt-5.1"),
    "openai.responses": ("openai", "gpt-5.1"),
    "anthropic.messages": ("anthropic", "claude-sonnet-4-5"),
    "gemini.generate": ("gemini", "gemini-3-pro"),
    "dashscope.generation": ("ali", "qwen3-max"),
    "minimax.chat": ("minimax", "MiniMax-M2"),
}
MODELS: dict[str, Any] = {
    dialect: {"targets": [{"provider": provider, "model": model, "dialect": dialect}], "price": PRICE}
    for dialect, (provider, model) in TARGETS.items()
}
# Pictures go to models that see.
MODELS["dashscope.generation+see"] = {
    "targets": [{"provider": "ali", "model": "qwen3-vl-plus", "dialect": "dashscope.generation"}], "price": PRICE,
}  # fmt: skip
STATUSES = (400, 404, 422, 429, 500, 503)


FAILURES = [*(f"status={status}" for status in STATUSES), "cut=12+size=60+pace=5"]


def failing(dialect: str, surface: str, stream: bool, directive: str) -> str:
    """A model whose vendor always fails so, a provider of its own each: failures open breakers and let keys rest."""
    return f"{dialect} {surface} {stream:d} {directive}"


def providers(simulated: dict[str, Any]) -> dict[str, Any]:
    """A provider for each of the failing models."""
    found = {}
    for dialect, (provider, model) in TARGETS.items():
        for surface in ("chat", "responses", "messages", "gemini"):
            for stream in (False, True):
                for directive in FAILURES:
                    name = failing(dialect, surface, stream, directive)
                    id = name.replace(" ", "-").replace("=", "-").replace("+", "-")
                    target = {"provider": id, "model": f"{model}+{directive}", "dialect": dialect}
                    MODELS[name] = {"targets": [target], "price": PRICE}
                    found[id] = {**simulated[provider], "keys": ["env:VENDOR_KEY"]}
    return found


def text(driver: Driver, ask: Ask) -> Got:
    driver.user("hello there, how are you today")
    got = driver.turn(ask)
    assert got.text == "You said: hello there, how are you today"
    assert got.finish == "stop"
    assert not got.calls
    # What the vendor counts: the words and the message; the words of the answer.
    assert (got.usage.input, got.usage.output, got.usage.reasoning) == (7, 8, 0)
    return got


def tools(driver: Driver, ask: Ask) -> list[Got]:
    """Two parallel calls, and the answer to their results."""
    driver.user("the weather and the clock, please")
    ask.tools = True
    first = driver.turn(ask)
    assert [name for _, name, _ in first.calls] == ["weather", "clock"]
    assert all(isinstance(arguments, dict) for _, _, arguments in first.calls)
    assert first.finish == "tools"
    driver.results(first.calls, ["sunny", "noon"])
    second = driver.turn(ask)
    assert second.text == "The tool said: noon"
    assert second.finish == "stop"
    return [first, second]


def schema(driver: Driver, ask: Ask) -> Got:
    driver.user("a trip to Paris")
    ask.schema = True
    got = driver.turn(ask)
    found = json.loads(got.text)
    assert set(found) == {"city", "days"}
    assert isinstance(found["days"], int)
    return got
