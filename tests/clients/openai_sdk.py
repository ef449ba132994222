"""The `openai` SDK, pointed at a base URL, and what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from openai import OpenAI

HELLO: list[Any] = [{"role": "user", "content": "hello there, how are you today"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK: Any = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
T = TypeVar("T")


def asking(do: Callable[[OpenAI], T], key: str = "sk-1", path: str = "/v1") -> Callable[[str], T]:
    """A call by the vendor's base URL; `path` is what the vendor's own documentation puts behind its host."""

    def call(base: str) -> T:
        with OpenAI(base_url=base + path, api_key=key, max_retries=0) as sdk:
            return do(sdk)

    return call
