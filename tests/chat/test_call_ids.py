"""Each call has an id of its own, whatever the vendor says."""

from __future__ import annotations

import pytest

from gateway.dialects.chat.call_ids import CallIds, distinct
from gateway.dialects.chat.form import Answer, Text, ToolCall
from gateway.errors import BadUpstreamReply
from tests.chat.hostile import exhaust


def test_an_id_that_stands_twice_becomes_another_one() -> None:
    ids = CallIds("seed")
    assert [ids.take(id) for id in ("a", "b", "a", "", "call_seed_2", "a")] == [
        "a", "b", "call_seed_2", "call_seed_3", "call_seed_4", "call_seed_5",
    ]  # fmt: skip


def test_a_whole_answer_gets_the_same_ids() -> None:
    said = Answer(parts=(ToolCall("a", "f"), Text("x"), ToolCall("a", "g", "{}", "sig", "gemini.generate")))
    assert distinct(said, "seed").parts == (
        ToolCall("a", "f"), Text("x"), ToolCall("call_seed_1", "g", "{}", "sig", "gemini.generate"),
    )  # fmt: skip
    plain = Answer(parts=(Text("x"),))
    assert distinct(plain, "seed") is plain


@pytest.mark.parametrize("id", ["", "x" * 1000])
def test_there_may_not_be_calls_for_ever(id: str) -> None:
    ids = CallIds("seed")
    with pytest.raises(BadUpstreamReply):
        exhaust(ids.take(id and f"{id}{number}") for number in range(50_000))
