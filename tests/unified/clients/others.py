"""Models of one vendor dialect each, under the names that their users call them by.

The clients of these tests speak another dialect than the vendor that they reach: nothing passes as it came.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from tests.unified.place import PRICE


def at(provider: str, model: str, dialect: str) -> dict[str, Any]:
    """A model that one vendor's model serves, in one of the dialects that the vendor speaks."""
    return {"targets": [{"provider": provider, "model": model, "dialect": dialect}], "price": PRICE}


MODELS = {
    "gpt": at("openai", "gpt-5.1", "openai.chat"),
    "gpt-responses": at("openai", "gpt-5.1", "openai.responses"),
    "claude": at("anthropic", "claude-sonnet-4-5", "anthropic.messages"),
    "gemini": at("gemini", "gemini-3-pro", "gemini.generate"),
    "deepseek": at("deepseek", "deepseek-chat", "openai.chat"),
    "qwen": at("ali", "qwen3-max", "dashscope.generation"),
    "qwen-sees": at("ali", "qwen3-vl-plus", "dashscope.generation"),
    "embedder": {
        "kind": "embedding", "targets": [{"provider": "siliconflow", "model": "BAAI/bge-m3"}], "price": {"input": 1},
    },
}  # fmt: skip
QUESTION = "the weather and the clock, please"


class Trip(BaseModel):
    """Where to, and for how long."""

    city: str
    days: int
