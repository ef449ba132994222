"""What is kept between turns: put back where it was, never across keys, within bounds, shared by processes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.dialects.chat import form
from gateway.dialects.chat.form import Answer, ChatRequest, Message, Text, Thought, ToolCall, ToolResult
from gateway.routing.health import Key
from gateway.store.answers import Answers
from gateway.unified import kept
from gateway.unified.kept import MAKER_SECONDS, MAX_ENTRIES, MAX_ENTRY, TURN_SECONDS, Entry, Kept, Recent

ANTHROPIC, GEMINI = "anthropic.messages", "gemini.generate"
OURS = "claude|0123456789abcdef"
SIGNED = Thought("I should look.", "sig-1", origin=ANTHROPIC)
REDACTED = Thought(redacted="cipher", origin=ANTHROPIC)


class Clock:
    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


class Counting(Answers):
    """Counts visits to the file, and what was asked for."""

    visits = asked = 0

    def get_all(self, digests: list[bytes]) -> asyncio.Future[list[bytes | None]]:
        self.visits += 1
        self.asked += len(digests)
        return super().get_all(digests)


def ours(thought: Thought) -> Thought:
    return msgspec.structs.replace(thought, account=OURS)


def call(id: str, arguments: str = '{"city": "Paris"}', name: str = "weather", **more: str) -> ToolCall:
    return ToolCall(id, name, arguments, **more)


def asking(*parts: form.Part, role: str = form.ASSISTANT) -> ChatRequest:
    calls = [part for part in parts if isinstance(part, ToolCall)]
    return ChatRequest(model="m", messages=(
        Message(form.USER, (Text("How is the weather?"),)),
        Message(role, parts),
        Message(form.USER, tuple(ToolResult(call.id, call.name, (Text("fine"),)) for call in calls)),
    ))  # fmt: skip


def turn(request: ChatRequest, place: int = 1) -> tuple[form.Part, ...]:
    return request.messages[place].parts


def unsuspended(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that must not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("it suspended")


def in_memory(clock: Clock | None = None) -> Kept:
    return Kept(None, clock or Clock())


# -- turns -------------------------------------------------------------------------------------------------------------


def test_thoughts_come_back_before_their_call() -> None:
    kept = in_memory()
    kept.keep("key", Answer(parts=(SIGNED, REDACTED, Text("Let me see."), call("c1"), call("c2"))), OURS)
    found = unsuspended(kept.recall("key", asking(Text("Let me see."), call("c1"), call("c2"))))
    assert turn(found) == (ours(SIGNED), ours(REDACTED), Text("Let me see."), call("c1"), call("c2"))
    # The client may have left out the text, or one of the calls.
    assert turn(unsuspended(kept.recall("key", asking(call("c2"))))) == (ours(SIGNED), ours(REDACTED), call("c2"))
    assert turn(found, 0) == (Text("How is the weather?"),)


def test_thoughts_between_texts_and_calls_keep_their_places() -> None:
    kept = in_memory()
    second, third = Thought("2", "s2"), Thought("3", "s3")
    late = Thought("behind all", "s4")
    kept.keep("key", Answer(parts=(SIGNED, Text("a"), second, call("c1"), third, call("c2"), late)), OURS)
    found = unsuspended(kept.recall("key", asking(Text("a"), call("c1"), call("c2"))))
    assert turn(found) == (ours(SIGNED), Text("a"), ours(second), call("c1"), ours(third), call("c2"))


def test_signatures_of_calls_come_back() -> None:
    kept = in_memory()
    signed = call("c1", signature="sig", origin=GEMINI)
    kept.keep("key", Answer(parts=(signed, call("c2"))), OURS)
    found = unsuspended(kept.recall("key", asking(call("c1"), call("c2"))))
    assert turn(found) == (call("c1", signature="sig", origin=GEMINI, account=OURS), call("c2"))


def test_what_the_client_brings_itself_stays() -> None:
    kept = in_memory()
    kept.keep("key", Answer(parts=(SIGNED, call("c1", signature="sig", origin=GEMINI))), OURS)
    own = asking(call("c1", signature="mine", origin=GEMINI))
    assert unsuspended(kept.recall("key", own)) is own
    own = asking(Thought("t", "its own", origin=ANTHROPIC), call("c1"))
    found = turn(unsuspended(kept.recall("key", own)))
    assert found == (turn(own)[0], call("c1", signature="sig", origin=GEMINI, account=OURS))
    # A thought without its signature is the same one, less what makes it valid.
    found = turn(unsuspended(kept.recall("key", asking(Thought("I should look."), Text("a"), call("c1")))))
    assert [part for part in found if isinstance(part, Thought)] == [ours(SIGNED)]


def test_two_turns_that_a_client_has_merged() -> None:
    kept = in_memory()
    other = Thought("another", "sig-2", origin=ANTHROPIC)
    kept.keep("key", Answer(parts=(SIGNED, call("c1"))), OURS)
    kept.keep("key", Answer(parts=(other, Text("b"), call("c2"), call("c3"))), OURS)
    found = turn(unsuspended(kept.recall("key", asking(call("c1"), Text("b"), call("c2"), call("c3")))))
    assert found == (ours(SIGNED), call("c1"), ours(other), Text("b"), call("c2"), call("c3"))


@pytest.mark.parametrize(
    ("told", "brought"),
    [
        ('{"a":1,"b":[2.0]}', '{ "b": [2], "a": 1 }'), ("", "{}"), ("{}", " "), ('{"a":', '{"_raw":"{\\"a\\":"}'),
        ("[1]", "[1]"), ('{"a":1e400}', '{"a":1e400}'), ('{"a":' * 3000, '{"a":' * 3000),
    ],
)  # fmt: skip
def test_arguments_may_be_written_anew(told: str, brought: str) -> None:
    kept = in_memory()
    kept.keep("key", Answer(parts=(SIGNED, call("c1", told))), OURS)
    assert turn(unsuspended(kept.recall("key", asking(call("c1", brought)))))[0] == ours(SIGNED)


def test_calls_with_the_same_id_are_told_apart() -> None:
    """Some vendors number the calls of each conversation, or of each turn, from 0."""
    kept = in_memory()
    paris, rome = call("f:0", '{"city":"Paris"}'), call("f:0", '{"city":"Rome"}')
    kept.keep("key", Answer(parts=(Thought("P", "p"), paris)), OURS)
    kept.keep("key", Answer(parts=(Thought("R", "r"), rome)), OURS)
    request = ChatRequest(model="m", messages=(Message(form.ASSISTANT, (paris,)), Message(form.ASSISTANT, (rome,))))
    found = unsuspended(kept.recall("key", request))
    assert [message.parts[0].text for message in found.messages] == ["P", "R"]
    other = asking(call("f:0", '{"city":"Oslo"}'))
    assert unsuspended(kept.recall("key", other)) is other


def test_nothing_crosses_keys() -> None:
    kept = in_memory()
    kept.keep("key", Answer(parts=(SIGNED, call("c1"))), OURS)
    kept.made("key", [b"resp_1"], OURS)
    request = asking(call("c1"))
    assert unsuspended(kept.recall("other", request)) is request
    assert unsuspended(kept.maker("other", [b"resp_1"])) is None


@pytest.mark.parametrize(
    "parts", [(), (Text("a"),), (SIGNED,), (call("c1"),), (Thought(), call("c1")), (call("c1"), SIGNED)]
)
def test_answers_with_nothing_to_keep(parts: tuple[form.Part, ...]) -> None:
    kept = in_memory()
    kept.keep("key", Answer(parts=parts), OURS)
    request = asking(call("c1"))
    assert unsuspended(kept.recall("key", request)) is request


def test_only_the_assistants_calls_are_looked_up() -> None:
    kept = in_memory()
    kept.keep("key", Answer(parts=(SIGNED, call("c1"))), OURS)
    request = asking(call("c1"), role=form.USER)
    assert unsuspended(kept.recall("key", request)) is request


def test_an_hour_since_it_was_last_used() -> None:
    clock = Clock()
    kept = in_memory(clock)
    kept.keep("key", Answer(parts=(SIGNED, call("c1"))), OURS)
    request = asking(call("c1"))
    for _ in range(5):
        clock.time += TURN_SECONDS - 1
        assert len(turn(unsuspended(kept.recall("key", request)))) == 2
    clock.time += TURN_SECONDS
    assert unsuspended(kept.recall("key", request)) is request


def test_a_turn_that_is_too_large_is_not_kept() -> None:
    kept = in_memory()
    kept.keep("key", Answer(parts=(Thought("x" * MAX_ENTRY, "s"), call("c1"))), OURS)
    request = asking(call("c1"))
    assert unsuspended(kept.recall("key", request)) is request
    # Many calls after a large thought: a copy for some of them is enough.
    calls = [call(f"c{number}") for number in range(50)]
    kept.keep("key", Answer(parts=(Thought("x" * (MAX_ENTRY // 2), "s"), *calls)), OURS)
    assert kept._recent.size < 8 * MAX_ENTRY
    assert turn(unsuspended(kept.recall("key", asking(*calls))))[0].signature == "s"  # type: ignore[union-attr]


# -- makers ------------------------------------------------------------------------------------------------------------


def test_the_last_known_maker_wins() -> None:
    kept = in_memory()
    kept.made("key", [b"a", b"b"], "one|1")
    kept.made("key", [b"c"], "two|2")
    for values, maker in (([b"a"], "one|1"), ([b"a", b"c"], "two|2"), ([b"c", b"b", b"?"], "one|1"), ([b"?"], None)):
        assert unsuspended(kept.maker("key", values)) == maker
    assert unsuspended(kept.maker("key", [])) is None
    kept.made("key", [b"a"], "two|2")
    assert unsuspended(kept.maker("key", iter([b"a"]))) == "two|2"


def test_makers_and_turns_are_different_things() -> None:
    clock = Clock()
    kept = in_memory(clock)
    kept.made("key", [b"c1"], OURS)
    request = asking(call("c1"))
    assert unsuspended(kept.recall("key", request)) is request
    clock.time += MAKER_SECONDS - 1
    assert unsuspended(kept.maker("key", [b"c1"])) == OURS
    clock.time += MAKER_SECONDS
    assert unsuspended(kept.maker("key", [b"c1"])) is None


def test_an_account_is_named_without_its_key() -> None:
    one, two = Key("sk-secret-1", "deepseek").account, Key("sk-secret-2", "deepseek").account
    assert one.startswith("deepseek|")
    assert len(one) == len("deepseek|") + 16
    assert "secret" not in one + two
    assert len({one, two, Key(None, "deepseek").account, Key("sk-secret-1", "other").account}) == 4


# -- memory ------------------------------------------------------------------------------------------------------------


def test_memory_is_bounded_for_a_key_and_for_all() -> None:
    entry = Entry(100, "a")
    recent = Recent(max_bytes=100_000, max_entries=10)
    for number in range(50):
        recent.put("loud", b"%d" % number, entry, 100)
    assert [number for number in range(50) if recent.get("loud", b"%d" % number, 0)] == list(range(40, 50))
    recent.put("quiet", b"mine", entry, 100)
    recent.put("often", b"used", entry, 100)
    assert recent.get("loud", b"40", 0) is not None  # used: 41 is now the oldest
    recent.put("loud", b"new", entry, 100)
    assert recent.get("loud", b"40", 0) is not None
    assert recent.get("loud", b"41", 0) is None
    # Where room for all is short, the key that was silent for longest gives.
    for number in range(8):
        assert recent.get("often", b"used", 0) is not None
        recent.put("greedy", b"%d" % number, entry, 11_400)
    assert recent.size <= 100_000
    assert recent.get("quiet", b"mine", 0) is None
    assert recent.get("often", b"used", 0) is not None
    for number in range(8):
        recent.put("greedy", b"%d" % number, entry, 0)
    assert recent.size == sum(size for entries in recent._keys.values() for _, size in entries.values())
    assert recent.get("greedy", b"1", 100) is None  # expired


def test_an_entry_beyond_all_memory_leaves_nothing_behind() -> None:
    recent = Recent(max_bytes=1000)
    recent.put("key", b"a", Entry(100, "a"), 5000)
    assert (recent.size, recent.get("key", b"a", 0)) == (0, None)


# -- the file ----------------------------------------------------------------------------------------------------------


async def test_another_process_finds_what_was_kept(tmp_path: Path) -> None:
    clock = Clock()
    here, there = Kept(Answers(tmp_path / "kept.db"), clock), Kept(Counting(tmp_path / "kept.db"), clock)
    here.keep("key", Answer(parts=(SIGNED, call("c1", signature="s", origin=GEMINI), call("c2"))), OURS)
    here.made("key", [b"resp_1"], OURS)
    await here.close()
    request = asking(call("c1"), call("c2"), call("unknown"))
    signed = call("c1", signature="s", origin=GEMINI, account=OURS)
    assert turn(await there.recall("key", request)) == (ours(SIGNED), signed, call("c2"), call("unknown"))
    assert await there.maker("key", [b"unknown", b"resp_1"]) == OURS
    assert there._store.visits == 2  # type: ignore[union-attr]
    # From now on it is known here, and so is what is not there.
    assert turn(unsuspended(there.recall("key", request)))[0] == ours(SIGNED)
    assert unsuspended(there.maker("key", [b"unknown", b"resp_1"])) == OURS
    await there.close()


async def test_what_is_written_others_find_at_once(tmp_path: Path) -> None:
    here, there = Kept(Answers(tmp_path / "kept.db"), Clock()), Kept(Answers(tmp_path / "kept.db"), Clock())
    for number in range(50):
        here.keep("key", Answer(parts=(SIGNED, call(f"c{number}"))), OURS)
        here.made("key", [b"%d" % number], OURS)
        await here.written()
        assert turn(await there.recall("key", asking(call(f"c{number}"))))[0] == ours(SIGNED)
        assert await there.maker("key", [b"%d" % number]) == OURS
    assert unsuspended(here.written()) is None  # there is nothing to wait for
    await here.close()
    assert unsuspended(here.written()) is None
    await there.close()


async def test_nothing_crosses_keys_or_kinds_in_the_file(tmp_path: Path) -> None:
    here, there = Kept(Answers(tmp_path / "kept.db"), Clock()), Kept(Answers(tmp_path / "kept.db"), Clock())
    here.keep("key", Answer(parts=(SIGNED, call("c1", "{}"))), OURS)
    here.made("key", [b"resp_1"], OURS)
    await here.close()
    request = asking(call("c1", "{}"))
    assert await there.recall("other", request) is request
    assert await there.maker("other", [b"resp_1"]) is None
    assert await there.maker("key", [b"c1\0weather\0{}"]) is None
    assert len(turn(await there.recall("key", request))) == 2
    await there.close()


async def test_the_file_is_not_touched_for_requests_without_calls(tmp_path: Path) -> None:
    store = Counting(tmp_path / "kept.db")
    found = Kept(store, Clock())
    request = asking(Text("a"))
    assert unsuspended(found.recall("key", request)) is request
    assert unsuspended(found.maker("key", [])) is None
    assert store.visits == 0
    assert not (tmp_path / "kept.db").exists()
    await found.close()


async def test_what_is_not_there_is_asked_for_again_after_a_while(tmp_path: Path) -> None:
    clock = Clock()
    store = Counting(tmp_path / "kept.db")
    here, there = Kept(Answers(tmp_path / "kept.db"), clock), Kept(store, clock)
    assert await there.maker("key", [b"v"]) is None
    here.made("key", [b"v"], OURS)
    await here.close()
    assert unsuspended(there.maker("key", [b"v"])) is None
    clock.time += kept._ABSENT_SECONDS
    assert await there.maker("key", [b"v"]) == OURS
    assert store.visits == 2
    await there.close()


async def test_use_is_told_to_the_file_and_it_forgets_what_has_expired(tmp_path: Path) -> None:
    clock = Clock()
    first = Kept(Answers(tmp_path / "kept.db"), clock)
    first.made("key", [b"used", b"unused"], OURS)
    clock.time += MAKER_SECONDS * 0.6
    assert await first.maker("key", [b"used"]) == OURS
    clock.time += MAKER_SECONDS * 0.6
    first.purge(clock.time)
    await first.close()
    clock.time -= MAKER_SECONDS * 0.6  # only so that nothing but the purge can have removed it
    second = Kept(Answers(tmp_path / "kept.db"), clock)
    assert await second.maker("key", [b"used"]) == OURS
    assert await second.maker("key", [b"unused"]) is None
    await second.close()


async def test_a_closed_or_foreign_store_is_only_a_miss(tmp_path: Path) -> None:
    store = Answers(tmp_path / "kept.db")
    found = Kept(store, Clock())
    store.put(kept._digest("key", b"maker", b"v"), b"\xc1 not ours", 2e9, 1.7e9)
    assert await found.maker("key", [b"v"]) is None
    await found.close()
    found.made("key", [b"w"], OURS)
    found.purge(0)
    assert await found.maker("key", [b"w", b"x"]) == OURS


async def test_very_many_calls_of_one_request(tmp_path: Path) -> None:
    store = Counting(tmp_path / "kept.db")
    found = Kept(store, Clock())
    calls = [call(f"c{number}") for number in range(MAX_ENTRIES + 10)]
    found.keep("key", Answer(parts=(SIGNED, calls[-1])), OURS)
    parts = turn(await found.recall("key", asking(*calls)))
    assert parts[-2:] == (ours(SIGNED), calls[-1])
    assert store.asked < MAX_ENTRIES
    await found.close()


async def test_where_nothing_was_kept_there_is_no_file(tmp_path: Path) -> None:
    store = Answers(tmp_path / "kept.db")
    store.purge(1.0)
    await store.close()
    assert not list(tmp_path.iterdir())
