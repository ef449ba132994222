"""Fifty callers of different kinds at once, three models, five vendors, one of them flapping: no client sees an error,
and each is charged once, by what its answer says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, NamedTuple

from tests.unified.caller import ask, chat_body
from tests.unified.entries import closed, counted, price_of
from tests.unified.place import PRICE, Answer, Place

CALLERS = 50
FLAPS = 7  # how often the flapping vendor fails before it is well
FLAPPING = f"gpt-4o+status=503+times={FLAPS}"
VENDORS = ("openai", "deepseek", "moonshot", "siliconflow", "zhipu")


def targets(*names: tuple[str, str, int]) -> dict[str, Any]:
    rows = [{"provider": provider, "model": model, "priority": priority} for provider, model, priority in names]
    return {"targets": rows, "price": PRICE}


MODELS: dict[str, Any] = {
    "coder": targets(("openai", FLAPPING, 1), ("deepseek", "deepseek-chat", 1), ("zhipu", "glm-4.6", 2)),
    "writer": targets(("deepseek", "deepseek-chat", 1), ("siliconflow", "deepseek-ai/DeepSeek-V3", 1)),
    "reader": targets(("moonshot", "kimi-k2", 1), ("openai", FLAPPING, 1), ("siliconflow", "Qwen/Qwen3-8B", 2)),
    "auto": {
        "rules": [{"when": {"task": "coding"}, "use": "coder"}, {"when": {"input_tokens": ">2000"}, "use": "reader"}],
        "use": "writer",
    },
}
LONG = "word " * 3000


class Work(NamedTuple):
    """One kind of request, and who may answer it."""

    text: str
    fields: dict[str, str]
    vendors: set[str]
    model: str = "auto"
    more: dict[str, Any] = {}


KINDS = (
    Work("Write a function", {"x_gateway_task": "coding"}, {"openai", "deepseek", "zhipu"}),
    Work("Write a poem", {}, {"deepseek", "siliconflow"}),
    Work(LONG, {}, {"moonshot", "openai", "siliconflow"}),
    Work("Write a letter", {}, {"deepseek", "siliconflow"}, "writer", {"max_tokens": 200, "temperature": 0.5}),
    Work("Read this", {}, {"moonshot", "openai", "siliconflow"}, "reader"),
)


def work(number: int) -> tuple[Work, bool]:
    """What the caller of this number does, and whether it wants a stream."""
    return KINDS[number % len(KINDS)], number // len(KINDS) % 2 == 1


async def call(place: Place, key: str, number: int) -> Answer:
    kind, stream = work(number)
    more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    body = chat_body(kind.model, **kind.more, **more) | {"messages": [{"role": "user", "content": kind.text}]}
    return await ask(place, key, body, **kind.fields)


async def test_fifty_at_once_with_a_vendor_that_flaps(place: Place) -> None:
    key = place.key()
    answers = await asyncio.gather(*(call(place, key, number) for number in range(CALLERS)))
    books = closed(place)
    assert len(books) == len({one.request_id for one in answers}) == CALLERS
    for number, seen in enumerate(answers):
        kind, stream = work(number)
        assert (seen.status, seen.cut) == (200, False), seen
        assert seen.text.split() == f"You said: {kind.text}".split()
        assert seen.headers["x-gateway-provider"] in kind.vendors
        usage = _usage(seen) if stream else seen.json["usage"]
        found = books[seen.request_id]
        assert (found.outcome, found.cost, found.estimated) == ("complete", price_of(usage), False)
        assert found.provider == seen.headers["x-gateway-provider"]
    attempts = await counted(place, "gateway_attempts_total", "provider", "outcome")
    assert sum(kinds.get("ok", 0) for kinds in attempts.values()) == CALLERS
    assert attempts["openai"]["503"] == FLAPS
    assert sum(int(one.headers["x-gateway-attempts"]) for one in answers) == CALLERS + FLAPS
    served = Counter(one.headers["x-gateway-provider"] for one in answers)
    assert set(served) <= set(VENDORS)
    assert len(served) >= 3, served


def _usage(seen: Answer) -> dict[str, Any]:
    """The last that the stream tells; one vendor tells it within the choice."""
    told = [event.get("usage") or event["choices"][0].get("usage") for event in seen.events() if _tells(event)]
    return dict(told[-1])


def _tells(event: dict[str, Any]) -> bool:
    return bool(event.get("usage") or any(choice.get("usage") for choice in event.get("choices", ())))
