"""What is shipped for known names of models, and that the configuration's word counts more."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.features import _ROWS, features
from gateway.types import Features

# Name, and what must be said of it.
KNOWN: list[tuple[str, dict[str, Any]]] = [
    ("claude-3-opus-20240229", {"thinking": "none", "max_output": 4096, "json_schema": False}),
    ("claude-3-5-haiku-latest", {"thinking": "none", "max_output": 8192, "json_schema": False}),
    ("claude-3-7-sonnet-20250219", {"thinking": "budget", "max_output": 64_000, "json_schema": False}),
    ("claude-opus-4-20250514", {"thinking": "budget", "max_output": 32_000, "json_schema": False}),
    ("claude-sonnet-4-0", {"thinking": "budget", "max_output": 64_000, "json_schema": False}),
    ("claude-opus-4-1-20250805", {"thinking": "budget", "max_output": 32_000, "json_schema": True}),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", {"thinking": "budget", "json_schema": True}),
    ("claude-haiku-4-5", {"thinking": "budget", "max_output": 64_000, "json_schema": True}),
    ("anthropic/claude-opus-4.6", {"thinking": "adaptive", "max_output": 128_000}),
    ("anthropic/claude-4.6-opus", {"thinking": "adaptive", "max_output": 128_000}),
    ("claude-sonnet-4-6", {"thinking": "adaptive", "json_schema": True}),
    ("claude-opus-4-20250514@x", {"thinking": "budget"}),
    ("claude-sonnet-5", {"thinking": "adaptive", "max_output": 128_000}),
    ("claude-opus-5-5+tools=2", {"thinking": "adaptive"}),
    ("claude-fable-5-1", {"thinking": "adaptive"}),
    ("gpt-5", {"thinking": "effort", "max_tokens_field": "max_completion_tokens"}),
    ("gpt-5.3-codex", {"thinking": "effort", "max_tokens_field": "max_completion_tokens"}),
    ("gpt-5-chat-latest", {"thinking": "none", "max_tokens_field": "max_completion_tokens"}),
    ("o4-mini", {"thinking": "effort"}),
    ("openai/o3", {"thinking": "effort"}),
    ("gpt-4o-mini", {"thinking": "none", "json_schema": True}),
    ("gpt-4.1", {"thinking": "none", "json_schema": True}),
    ("gpt-4-turbo", {"json_schema": False, "max_tokens_field": None}),
    ("openai/gpt-oss-120b", {"thinking": "effort", "max_tokens_field": None}),
    ("gemini-2.0-flash", {"thinking": "none"}),
    ("gemini-2.5-flash", {"thinking": "budget", "images": "base64"}),
    ("gemini-3-pro-preview", {"thinking": "effort", "images": "base64"}),
    ("deepseek-chat", {"thinking": "switch", "reasoning_echo": True, "json_schema": False}),
    ("deepseek-reasoner", {"thinking": "switch", "reasoning_echo": True}),
    ("deepseek-v4-pro", {"thinking": "switch", "reasoning_echo": True}),
    ("deepseek-v3-2-251201", {"thinking": "switch"}),
    ("deepseek-v3.2", {"thinking": "budget"}),
    ("Pro/deepseek-ai/DeepSeek-V3.2", {"thinking": "budget", "reasoning_echo": True}),
    ("deepseek-ai/DeepSeek-R1", {"thinking": "none"}),
    ("kimi-k2.5", {"thinking": "switch", "reasoning_echo": True, "images": "base64"}),
    ("kimi-k2-thinking-turbo", {"thinking": "none", "reasoning_echo": True}),
    ("kimi-k2-turbo-preview", {"thinking": "none", "reasoning_echo": None}),
    ("glm-4.7", {"thinking": "switch", "json_schema": False}),
    ("zai-org/GLM-5", {"thinking": "switch"}),
    ("glm-4-plus", {"thinking": "none"}),
    ("Qwen/Qwen3-32B", {"thinking": "budget"}),
    ("qwen-plus", {"thinking": "budget"}),
    ("qwen3-coder-plus", {"thinking": "none"}),
    ("qwen2.5-72b-instruct", {"thinking": "none"}),
    ("qwq-32b", {"thinking": "none"}),
    ("MiniMax-M2", {"thinking": "none", "reasoning_echo": True}),
    ("doubao-seed-1-6-250615", {"thinking": "switch"}),
    ("doubao-1-5-pro-32k-250115", {"thinking": "none"}),
    ("hunyuan-turbos-latest", {"thinking": "none"}),
    ("ernie-5.0", {"thinking": "budget"}),
]


@pytest.mark.parametrize(("name", "said"), KNOWN, ids=[name for name, _ in KNOWN])
def test_known_names(name: str, said: dict[str, Any]) -> None:
    found = features(name)
    assert {field: getattr(found, field) for field in said} == said


def test_the_configuration_counts_more() -> None:
    own = Features(thinking="budget", json_schema=False, max_output=100)
    found = features("claude-sonnet-5", own)
    assert (found.thinking, found.json_schema, found.max_output) == ("budget", False, 100)
    assert features("gpt-5", Features(images="none")).max_tokens_field == "max_completion_tokens"


@pytest.mark.parametrize("name", ["", "my-own-model", "llama-3", "foo1", "proto3", "ep-20250101-abcde"])
def test_of_others_nothing_is_said(name: str) -> None:
    own = Features(images="url")
    assert features(name, own) == own


def test_every_row_is_reached() -> None:
    """A row that no name in this file is decided by stands behind a wider one, or is not tested."""
    names = [name for name, _ in KNOWN] + ["claude-haiku-5-5", "hunyuan-a13b", "ernie-4.0-8k"]
    first = {next(i for i, (pattern, _) in enumerate(_ROWS) if re.search(pattern, name.lower())) for name in names}
    assert first == set(range(len(_ROWS)))


def test_only_words_that_the_configuration_knows() -> None:
    for _, row in _ROWS:
        assert row.thinking in ("effort", "budget", "adaptive", "switch", "none")
        assert row.images in (None, "url", "base64", "url+base64", "none")
        assert row.max_tokens_field in (None, "max_tokens", "max_completion_tokens")
