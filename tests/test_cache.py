"""The response cache: who shares what, for how long, within which bounds, and what damage to the file can do."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.caching.cache import HIT, MAX_ENTRY, MISS, AnswerCache, Entry, Lookup, Question, Recent, pieces
from gateway.models import Cache
from gateway.store import answers
from gateway.store.answers import Answers
from gateway.types import Usage

NOW = 1_700_000_000.0
POLICY = Cache(ttl=60)
SHARED = Cache(ttl=60, shared=True)


def question(key_id: str = "key-1", canonical: bytes = b'{"model":"m"}', stream: bool = False) -> Question:
    return Question(key_id, "openai.chat", "m", stream, canonical)


def entry(body: bytes = b'{"choices":[]}', created: float = NOW, streamed: bool = False) -> Entry:
    return Entry(b"application/json", body, streamed, Usage(input=3, output=4), "vendor-m", "deepseek", created)


async def keep(cache: AnswerCache, asked: Question, kept: Entry, policy: Cache = POLICY) -> Lookup:
    lookup = await cache.find(policy, asked, kept.created)
    cache.put(lookup, kept)
    return lookup


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


async def test_a_kept_answer_is_found_as_it_was() -> None:
    cache = AnswerCache()
    first = await keep(cache, question(), entry())
    assert (first.result, first.header, first.entry) == (MISS, "miss", None)
    again = await cache.find(POLICY, question(), NOW + 59)
    assert (again.result, again.header, again.entry) == (HIT, "hit", entry())
    assert cache.results == {"hit": 1, "semantic": 0, "miss": 1, "shadow": 0}
    await cache.close()


async def test_a_hit_in_memory_does_not_suspend() -> None:
    cache = AnswerCache()
    await keep(cache, question(), entry())
    with pytest.raises(StopIteration) as ended:
        cache.find(POLICY, question(), NOW).send(None)
    assert ended.value.value.entry == entry()
    await cache.close()


DIFFERENT = [
    question(key_id="key-2"),
    question(key_id=""),
    question(canonical=b'{"model":"m" }'),
    question(stream=True),
    Question("key-1", "openai.responses", "m", False, b'{"model":"m"}'),
    Question("key-1", "openai.chat", "n", False, b'{"model":"m"}'),
]


@pytest.mark.parametrize("other", DIFFERENT, ids=str)
async def test_any_difference_is_a_miss(other: Question) -> None:
    cache = AnswerCache()
    await keep(cache, question(), entry())
    assert (await cache.find(POLICY, other, NOW)).entry is None
    await cache.close()


async def test_a_stream_with_usage_and_one_without_are_kept_apart() -> None:
    """Their bytes differ by the usage chunk; a plain answer has its usage in any case."""
    cache = AnswerCache()
    for stream in (True, False):
        quiet = question(stream=stream)
        await keep(cache, quiet, entry(STREAM, streamed=stream))
        asks = msgspec.structs.replace(quiet, wants_usage=True)
        assert ((await cache.find(POLICY, asks, NOW)).entry is None) is stream
    await cache.close()


async def test_shared_answers_are_shared_and_private_ones_never() -> None:
    cache = AnswerCache()
    await keep(cache, question("key-1"), entry(b"shared"), SHARED)
    found = await cache.find(SHARED, question("key-2"), NOW)
    assert found.entry is not None
    assert found.entry.body == b"shared"
    for private in ("key-1", "", "null", "None"):
        assert (await cache.find(POLICY, question(private), NOW)).entry is None
    await cache.close()


NAMES = st.text(st.characters(codec="utf-8"), max_size=6)
QUESTIONS = st.builds(Question, NAMES, NAMES, NAMES, st.booleans(), st.binary(max_size=8))


@settings(deadline=None)
@given(asked=st.lists(st.tuples(QUESTIONS, st.booleans()), min_size=2, max_size=8))
def test_no_two_scopes_ever_meet(asked: list[tuple[Question, bool]]) -> None:
    def scope(one: Question, shared: bool) -> tuple[object, ...]:
        return (None if shared else one.key_id, one.surface, one.model, one.stream, one.canonical)

    async def run() -> None:
        cache = AnswerCache()
        kept: dict[tuple[object, ...], Entry] = {}
        for number, (one, shared) in enumerate(asked):
            lookup = await cache.find(SHARED if shared else POLICY, one, NOW)
            assert lookup.entry == kept.get(scope(one, shared))
            fresh = entry(str(number).encode())
            cache.put(lookup, fresh)
            kept[scope(one, shared)] = fresh
        for one, shared in asked:
            assert (await cache.find(SHARED if shared else POLICY, one, NOW)).entry == kept[scope(one, shared)]

    asyncio.run(run())


AGES = [(0, True), (59.9, True), (60, False), (1e9, False), (-1, True), (-60, False)]


@pytest.mark.parametrize(("age", "alive"), AGES)
async def test_the_age_is_judged_by_the_policy_of_now(tmp_path: Path, age: float, alive: bool) -> None:
    """A clock that was set back (a negative age) keeps an answer no longer than one that goes right."""
    cache = AnswerCache(Answers(tmp_path / "cache.db"))
    await keep(cache, question(), entry(), Cache(ttl=3600))
    assert ((await cache.find(POLICY, question(), NOW + age)).entry is not None) is alive
    await cache.close()


async def test_without_exact_nothing_exact_is_found() -> None:
    cache = AnswerCache()
    await keep(cache, question(), entry())
    assert (await cache.find(Cache(exact=False, ttl=60), question(), NOW)).entry is None
    await cache.close()


async def test_large_answers_are_not_kept_and_the_largest_allowed_is(tmp_path: Path) -> None:
    cache = AnswerCache(Answers(tmp_path / "cache.db"))
    await keep(cache, question(), entry(bytes(MAX_ENTRY + 1)))
    assert (await cache.find(POLICY, question(), NOW)).entry is None
    await keep(cache, question(), entry(bytes(MAX_ENTRY)))
    await cache.close()
    cache = AnswerCache(Answers(tmp_path / "cache.db"))
    assert (await cache.find(POLICY, question(), NOW)).entry == entry(bytes(MAX_ENTRY))
    await cache.close()


@settings(deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4000)), max_size=60))
def test_memory_holds_the_latest_within_its_bound(sizes: list[tuple[int, int]]) -> None:
    recent = Recent(12_000)
    order: list[int] = []
    lengths: dict[int, int] = {}
    for number, size in sizes:
        recent.put(digest(number), entry(bytes(size)))
        order = [one for one in order if one != number] + [number]
        lengths[number] = size + 1024
        assert recent.size <= 12_000
    kept = [number for number in range(10) if recent.get(digest(number)) is not None]
    assert recent.size == sum(lengths[number] for number in kept)
    assert set(order[len(order) - len(kept) :]) == set(kept)


async def test_after_close_nothing_is_found_or_kept(tmp_path: Path) -> None:
    cache = AnswerCache(Answers(tmp_path / "cache.db"))
    lookup = await keep(cache, question(), entry())
    await cache.close()
    cache.put(lookup, entry())
    cache.purge(NOW)
    assert (await cache.find(POLICY, question(), NOW)).result == MISS


# Replays.

STREAM = b'data: {"a":1}\n\ndata: {"b":2}\r\n\r\n: note\n\nevent: x\ndata: y\r\rdata: [DONE]\n\n'


def test_streams_are_replayed_event_by_event() -> None:
    assert list(pieces(entry(STREAM, streamed=True))) == [
        b'data: {"a":1}\n\n',
        b'data: {"b":2}\r\n\r\n',
        b": note\n\n",
        b"event: x\ndata: y\r\r",
        b"data: [DONE]\n\n",
    ]
    assert list(pieces(entry(b"data: 1\r\ndata: 2\r\n\r\n", streamed=True))) == [b"data: 1\r\ndata: 2\r\n\r\n"]
    assert list(pieces(entry(b"a\n\nb"))) == [b"a\n\nb"]


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"data: x", b"\n", b"\r", b"\r\n", b"\n\n", b":"])).map(b"".join))
def test_pieces_add_up_to_the_body(body: bytes) -> None:
    cut = list(pieces(entry(body, streamed=True)))
    assert b"".join(cut) == body
    assert all(cut)


# The file.


async def test_answers_outlive_the_process_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    cache = AnswerCache(Answers(path))
    await keep(cache, question(), entry(STREAM, streamed=True))
    await cache.close()
    os.chmod(path, 0o644)  # as an older version might have left it
    cache = AnswerCache(Answers(path))
    found = await cache.find(POLICY, question(), NOW)
    assert (found.result, found.entry) == (HIT, entry(STREAM, streamed=True))
    assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) >= 3
    await cache.close()


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from gateway.store.answers import Answers
async def main(path, name, count):
    store = Answers(path, 1 << 20)
    for number in range(count):
        store.put(number.to_bytes(32, "big"), f"{name}-{number}-".encode() * 200, 2e9, 1e9)
        got = await store.get((number // 2).to_bytes(32, "big"))
        assert got is None or got.split(b"-")[1] == str(number // 2).encode(), got[:50]
    await store.close()
asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
"""


async def test_several_processes_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    command = [sys.executable, "-W", "error", "-c", OTHER_PROCESS, str(path)]
    running = [
        subprocess.Popen([*command, name, "300"], stderr=subprocess.PIPE, cwd=Path(__file__).parent.parent)
        for name in ("one", "two")
    ]
    told = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert told == [b"", b""]
    store = Answers(path, 1 << 20)
    found = await store.get(digest(299))
    assert found in (b"one-299-" * 200, b"two-299-" * 200)
    await store.close()
    assert path.stat().st_size <= (1 << 20) + 65536


@pytest.mark.parametrize("size", [100, 3000, 70_000])
async def test_the_file_is_bounded_and_the_oldest_go_first(tmp_path: Path, size: int) -> None:
    limit, path = 1 << 20, tmp_path / "cache.db"
    store = Answers(path, limit)
    count = 3 * limit // (size + 200)
    for number in range(count):
        store.put(digest(number), number.to_bytes(4, "big") * (size // 4), NOW + 60, NOW)
    kept = [await store.get(digest(number)) is not None for number in range(count)]
    await store.close()
    assert sum(path.with_name(name).stat().st_size for name in os.listdir(tmp_path)) <= limit + 2 * size + 65536
    assert kept == sorted(kept), "an older answer outlived a younger one"
    assert kept[-1]
    assert sum(kept) * (size + 100) > limit / 3, "far less is kept than there is room for"


async def test_what_has_expired_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    store = Answers(path)
    for number in range(300):
        store.put(digest(number), b"x", NOW + number, NOW)
    store.purge(NOW + 250)
    await store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*), min(expires) FROM answers").fetchone() == (49, NOW + 251)
    db.close()
    store = Answers(path)
    store.put(digest(1000), b"x", NOW + 9999, NOW + 9998)  # every write clears a little
    await store.close()
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM answers").fetchone() == (1,)
    db.close()


async def test_writes_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_WAITING", 10_000)
    store = Answers(tmp_path / "cache.db")
    for number in range(100):
        store.put(digest(number), bytes(1000), NOW + 60, NOW)
        assert store.waiting <= 10_000
    await store.get(digest(0))  # answered after all that was written before
    assert store.waiting == 0
    store.put(digest(200), b"again", NOW + 60, NOW)
    assert await store.get(digest(200)) == b"again"
    await store.close()


def other_version(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.commit()
    db.close()


def other_tables(path: Path) -> None:
    path.unlink()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE answers (something TEXT)")
    db.commit()
    db.close()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(random.Random(1).randbytes(20_000)),
    "text": lambda path: path.write_bytes(b"not a database" * 1000),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:10_000]),
    "half a page": lambda path: path.write_bytes(path.read_bytes()[:2000]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "middle": lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)),
    "gone": lambda path: path.unlink(),
    "other version": other_version,
    "other tables": other_tables,
}


# A store that runs does not look at the version again.
DAMAGED = [(damage, False) for damage in DAMAGE] + [(damage, True) for damage in DAMAGE if damage != "other version"]


@pytest.mark.parametrize(("damage", "running"), DAMAGED)
async def test_a_damaged_file_is_made_anew(
    tmp_path: Path, damage: str, running: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cache.db"
    store = Answers(path)
    for number in range(200):
        store.put(digest(number), str(number).encode() * 100, NOW + 60, NOW)
    if running:
        await store.get(digest(0))
    else:
        await store.close()
        store = Answers(path)
    DAMAGE[damage](path)
    for number in range(200):  # a running store may still see its own pages: right answers or none
        assert await store.get(digest(number)) in (None, str(number).encode() * 100)
    for _ in range(2):  # the first may be the one that notices
        store.put(digest(500), b"fresh", NOW + 60, NOW)
    assert await store.get(digest(500)) == b"fresh"
    await store.close()
    store = Answers(path)
    assert await store.get(digest(500)) == b"fresh"
    await store.close()
    assert "cannot be used" not in capsys.readouterr().err


async def test_flipped_bits_give_misses_never_other_answers(tmp_path: Path) -> None:
    path, rng = tmp_path / "cache.db", random.Random(7)
    store = Answers(path)
    for number in range(50):
        store.put(digest(number), str(number).encode() * 300, NOW + 60, NOW)
    await store.close()
    whole, lost = path.read_bytes(), 0
    for _ in range(60):
        hurt = bytearray(whole)
        for _ in range(20):
            hurt[rng.randrange(100, len(hurt))] ^= 1 << rng.randrange(8)
        path.write_bytes(hurt)
        store = Answers(path)
        for number in range(50):
            got = await store.get(digest(number))
            assert got in (None, str(number).encode() * 300)
            lost += got is None
        await store.close()
    assert lost > 100, "the damage was never felt"


async def test_an_answer_under_another_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    store = Answers(path)
    store.put(digest(1), b"one", NOW + 60, NOW)
    await store.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE answers SET digest = ?", (digest(2),))
    db.commit()
    db.close()
    store = Answers(path)
    assert await store.get(digest(2)) is None
    await store.close()


async def test_a_replaced_file_is_noticed_by_the_others(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    one, two = Answers(path), Answers(path)
    one.put(digest(1), b"old", NOW + 60, NOW)
    assert await one.get(digest(1)) == b"old"
    assert await two.get(digest(1)) == b"old"
    path.write_bytes(b"no longer a database at all" * 400)
    for store in (one, two):
        await store.get(digest(1))
    one.put(digest(2), b"new", NOW + 60, NOW)
    assert await one.get(digest(2)) == b"new"
    assert await two.get(digest(2)) == b"new"
    await one.close()
    await two.close()


async def test_a_folder_that_cannot_be_used_leaves_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = AnswerCache(Answers(tmp_path / "missing" / "cache.db"))
    for number in range(3):
        await keep(cache, question(str(number)), entry())
        assert (await cache.find(POLICY, question(str(number)), NOW)).result == HIT
    await cache.close()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "answers are kept in memory only" in told[0]


async def test_an_entry_of_another_form_is_a_miss(tmp_path: Path) -> None:
    store = Answers(tmp_path / "cache.db")
    cache = AnswerCache(store)
    lookup = await cache.find(POLICY, question(), NOW)
    for strange in (b"", b"\xc1", b"\x93\x01\x02\x03", b"\x91" * 50_000):
        store.put(lookup.digest, strange, NOW + 60, NOW)
        assert (await cache.find(POLICY, question(), NOW)).result == MISS
    await cache.close()
