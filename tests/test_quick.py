"""The quick reader of plain chat answers may only ever be faster than the tolerant one, never different."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import quick_for, reader_for
from gateway.dialects.quick import quick_chat

FIXTURES = sorted((Path(__file__).parent / "fixtures" / "usage").glob("*.json"))
COUNT = st.integers(-1, 40) | st.none() | st.just("7") | st.just(2.5)
DETAILS = st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_tokens", "new"]), COUNT
)
USAGE = st.dictionaries(
    st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "search_units"]), COUNT
)


def agrees(body: bytes) -> bool:
    """Whether the quick reader took the body; it must then say what the tolerant one says."""
    found = quick_chat(body)
    if found is None:
        return False
    reader = reader_for("openai.chat", b"application/json")
    reader.feed(body)
    assert (found[1], found[0]) == (reader.finish(), reader.model)
    return True


def test_the_recorded_answers() -> None:
    taken = [path.name for path in FIXTURES if agrees(path.read_bytes())]
    assert "openai_chat.response.json" in taken


@given(USAGE, st.none() | DETAILS, st.none() | DETAILS, st.none() | st.text(max_size=5))
def test_any_usage(usage: dict[str, Any], input: Any, output: Any, model: str | None) -> None:
    usage = usage | {"prompt_tokens_details": input, "completion_tokens_details": output}
    agrees(msgspec.json.encode({"model": model, "usage": usage}))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 5000, b'{"usage":null}', b'{"usage":{}}', b"\xff\x00"])
def test_nonsense_is_left_to_the_other(body: bytes) -> None:
    assert quick_chat(body) is None


def test_only_chat_has_one() -> None:
    assert quick_for("openai.chat") is quick_chat
    assert quick_for("anthropic.messages") is None
