"""Answers to questions that mean the same: real vectors, and everything that must keep two questions apart."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="the extra `semantic` is not installed")
pytest.importorskip("tokenizers", reason="the extra `semantic` is not installed")
pytest.importorskip("safetensors", reason="the extra `semantic` is not installed")

import numpy as np

from gateway.caching import semantic, vectors
from gateway.caching.cache import HIT, MISS, SEMANTIC, SHADOW, AnswerCache, Entry, Question
from gateway.caching.semantic import MAX_TEXT, Asked, asked, literals, problems
from gateway.caching.vectors import Partition, Vectors, in_order
from gateway.errors import UpstreamTimeout
from gateway.models import Cache, Model, Semantic
from gateway.types import Usage

NOW = 1_700_000_000.0
LOCAL = Cache(ttl=60, semantic=Semantic())
ANSWER = Entry(b"application/json", b'{"answer":1}', False, Usage(1, 0, 0, 1), "m", "p", NOW)


def request(text: Any, **fields: Any) -> bytes:
    """A canonical request whose last turn is `text`."""
    before = fields.pop("before", [])
    body = {"model": "m", "messages": [*before, {"role": "user", "content": text}], **fields}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def question(canonical: bytes, key_id: str = "key-1", surface: str = "openai.chat", stream: bool = False) -> Question:
    return Question(key_id, surface, "m", stream, canonical)


async def result(kept: Question, then: Question, policy: Cache = LOCAL, later: Cache | None = None) -> str:
    """What `then` finds after `kept` was answered."""
    cache = AnswerCache()
    cache.put(await cache.find(policy, kept, NOW), ANSWER)
    found = await cache.find(later or policy, then, NOW)
    assert (found.entry is None) is (found.result in (MISS, SHADOW))
    await cache.close()
    return found.result


SAME = [
    ("How do I reset my password?", "How can I reset my password?"),
    ("how do i reset my password", "How do I reset my password?"),
    ("what are your opening hours", "What are the opening hours?"),
    ("Who wrote Hamlet?", "who wrote  hamlet"),
    ("What is 12 times 12?", "what is 12 times 12"),
    ("我的订单什么时候发货？", "我的订单什么时候发货"),
    (
        "I bought a laptop from your online store last week and it arrived damaged, how do I return it?",
        "I bought a laptop from your online store last week and it arrived damaged; how can I return it?",
    ),
]
DIFFERENT = [
    ("What is the capital of France?", "What is the capital of Germany?"),
    ("How do I reset my password?", "How do I change my password?"),
    ("the dog bites the man", "the man bites the dog"),
    ("Convert 5 USD to EUR", "Convert 5 EUR to USD"),
    ("convert five dollars to euros", "convert five euros to dollars"),
    ("Convert 5 USD to EUR", "Convert 6 USD to EUR"),
    ("What is 12 + 13?", "What is 12 - 13?"),
    ("What is 3.5 percent of 200?", "What is 35 percent of 200?"),
    ("Is it safe to eat raw eggs?", "Is it not safe to eat raw eggs?"),
    ("Is it safe to eat raw eggs?", "Isn't it safe to eat raw eggs?"),
    ("Write a function that sorts a list in ascending order", "Write a function that sorts a list in descending order"),
    ("How do I enable two-factor authentication?", "How do I disable two-factor authentication?"),
    ('Translate "good morning" to French', 'Translate "good evening" to French'),
    ("What does `ls -a` do?", "What does `ls -l` do?"),
    ("法国的首都是哪里？", "德国的首都是哪里？"),
    ("今天能吃药吗？", "今天不能吃药吗？"),
    ("第三章讲了什么？", "第四章讲了什么？"),
    (
        "I bought a laptop from your online store last week and it arrived damaged, how do I return it?",
        "I bought a laptop from your online store last week and it arrived damaged, how do I insure it?",
    ),
    (
        "我上周在你们网店买了一台笔记本电脑，收到时已经损坏，请问怎么退货？",
        "我上周在你们网店买了一台笔记本电脑，收到时已经损坏，请问怎么换货？",
    ),
    (
        "Please summarise the third chapter of the book that we talked about yesterday in the meeting",
        "Please summarise the fourth chapter of the book that we talked about yesterday in the meeting",
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME)
async def test_the_same_question_in_other_words_hits(one: str, other: str) -> None:
    assert await result(question(request(one)), question(request(other))) == SEMANTIC
    assert await result(question(request(other)), question(request(one))) == SEMANTIC


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
async def test_a_question_that_is_only_like_it_misses(one: str, other: str) -> None:
    assert await result(question(request(one)), question(request(other))) == MISS
    assert await result(question(request(other)), question(request(one))) == MISS


ONE, OTHER = "How do I reset my password?", "How can I reset my password?"
SYSTEM = {"role": "system", "content": "You are kind."}
TURNS = [{"role": "user", "content": "I use Linux"}, {"role": "assistant", "content": "Noted."}]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"before": [SYSTEM]}),
        ({"before": [SYSTEM]}, {"before": [{**SYSTEM, "content": "You are kind!"}]}),
        ({"before": [SYSTEM]}, {"before": [{**SYSTEM, "role": "developer"}]}),
        ({"before": TURNS}, {"before": [{"role": "user", "content": "I use Windows"}, TURNS[1]]}),
        ({"before": TURNS}, {"before": [TURNS[0], {"role": "assistant", "content": "noted."}]}),
        ({"before": TURNS}, {}),
        ({}, {"temperature": 0}),
        ({"max_tokens": 5}, {"max_tokens": 6}),
        ({"user": "ann"}, {"user": "bob"}),
        ({"response_format": {"type": "json_object"}}, {}),
    ],
)
async def test_everything_but_the_last_turn_must_be_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    kept = question(request(ONE, **one))
    assert await result(kept, question(request(OTHER, **one))) == SEMANTIC
    assert await result(kept, question(request(OTHER, **other))) == MISS


async def test_scopes_models_forms_and_surfaces_never_meet() -> None:
    kept, then = question(request(ONE)), request(OTHER)
    assert await result(kept, question(then, key_id="key-2")) == MISS
    assert await result(kept, question(then, stream=True)) == MISS
    assert await result(kept, Question("key-1", "openai.chat", "n", False, then)) == MISS
    responses = question(request(ONE), surface="openai.responses")
    assert await result(responses, question(then, surface="openai.responses")) == MISS
    shared = Cache(ttl=60, shared=True, semantic=Semantic())
    assert await result(kept, question(then, key_id="key-2"), shared) == SEMANTIC
    assert await result(kept, question(then), shared, later=LOCAL) == MISS


IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}
TEXT = {"type": "text", "text": OTHER}
NOT_COMPARED: list[bytes] = [
    request(OTHER, tools=[]),
    request(OTHER, functions=[]),
    request(OTHER, modalities=["text", "audio"]),
    request([TEXT, IMAGE]),
    request([{**TEXT, "cache_control": {}}]),
    request([{"type": "text", "text": 5}]),
    request(["text"]),
    request(OTHER, before=[{"role": "user", "content": [IMAGE]}]),
    request(OTHER, before=[{"role": "assistant", "content": None, "tool_calls": []}]),
    request(OTHER, before=[{"role": "tool", "content": "x"}]),
    request(OTHER, before=[{"role": ["user"], "content": "x"}]),
    request(OTHER, before=["x"]),
    request("   "),
    request(None),
    request("a" * (MAX_TEXT + 1)),
    b'{"messages":[{"role":"assistant","content":"x"}]}',
    b'{"messages":[]}',
    b'{"messages":{}}',
    b"{}",
    b"[]",
    b"",
    b"\xff",
    b"[" * 100_000,
    b'{"messages":[{"role":"user","content":"x"}],"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
]


@pytest.mark.parametrize("canonical", NOT_COMPARED, ids=lambda canonical: canonical[:60].decode(errors="replace"))
def test_what_is_not_plain_conversation_is_not_compared(canonical: bytes) -> None:
    assert asked(Semantic(), b"", canonical) is None


def test_parts_are_read_and_large_numbers_borne() -> None:
    about = asked(Semantic(), b"", request([TEXT, {"type": "text", "text": "now"}]))
    assert about is not None
    assert about.text == f"{OTHER}\nnow"
    big = asked(Semantic(), b"", b'{"messages":[{"role":"user","content":"x"}],"seed":123456789012345678901234567890}')
    assert big is None or big.text == "x"


async def test_a_request_that_is_not_compared_is_still_found_exactly() -> None:
    same = question(request(ONE, tools=[]))
    assert await result(same, same) == HIT


async def test_shadow_only_counts() -> None:
    policy = Cache(ttl=60, semantic=Semantic(shadow=True))
    cache = AnswerCache()
    cache.put(await cache.find(policy, question(request(ONE)), NOW), ANSWER)
    found = await cache.find(policy, question(request(OTHER)), NOW)
    assert (found.result, found.header, found.entry) == (SHADOW, "miss", None)
    assert (await cache.find(policy, question(request(ONE)), NOW)).result == HIT
    assert cache.results == {"hit": 1, "semantic": 0, "miss": 1, "shadow": 1}
    await cache.close()


async def test_semantic_alone_and_expiry() -> None:
    policy = Cache(exact=False, ttl=60, semantic=Semantic(threshold=1.0))
    cache = AnswerCache()
    cache.put(await cache.find(policy, question(request(ONE)), NOW), ANSWER)
    assert (await cache.find(policy, question(request(ONE)), NOW + 59)).result == SEMANTIC
    assert (await cache.find(policy, question(request(OTHER)), NOW)).result == MISS
    assert (await cache.find(policy, question(request(ONE)), NOW + 60)).result == MISS
    # The vector of the expired answer is gone, not only passed over.
    assert (await cache.find(policy, question(request(ONE)), NOW)).result == MISS
    await cache.close()


# Vectors of a configured model.


class Embedder:
    """Gives each text the vector that the test chose, and counts its calls."""

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.texts: list[str] = []

    async def __call__(self, text: str) -> Sequence[float]:
        self.texts.append(text)
        found: Sequence[float] = self.given[text]
        if isinstance(found, Exception):
            raise found
        return found


async def embedded(embed: Embedder, *texts: str, threshold: float = 0.95) -> list[str]:
    policy = Cache(ttl=60, semantic=Semantic(threshold=threshold, embed="vectors-1"))
    cache = AnswerCache()
    results = []
    for text in texts:
        lookup = await cache.find(policy, question(request(text)), NOW, embed)
        results.append(lookup.result)
        if lookup.entry is None:
            cache.put(lookup, ANSWER)
    await cache.close()
    return results


async def test_a_configured_model_gives_the_vectors() -> None:
    embed = Embedder(a=[3.0, 4.0], b=[3.1, 4.0], c=[4.0, -3.0], d=[1e300, 1.4e300])
    assert await embedded(embed, "a", "b", "c", "d", "a") == [MISS, SEMANTIC, MISS, SEMANTIC, HIT]
    assert embed.texts == ["a", "b", "c", "d"], "an exact hit needs no vector"


@pytest.mark.parametrize(
    "bad",
    [[], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], [[3.0]], ["x"], None, [1.0] * 10_000, UpstreamTimeout("late")],
    ids=lambda bad: repr(bad)[:30],
)
async def test_a_model_that_fails_gives_misses(bad: Any) -> None:
    assert await embedded(Embedder(a=[3.0, 4.0], b=bad), "a", "b", "b", threshold=0.0) == [MISS, MISS, HIT]


async def test_vectors_of_another_length_replace_the_old_ones() -> None:
    embed = Embedder(a=[3.0, 4.0], b=[3.0, 4.0, 0.0], c=[3.0, 4.0, 0.1])
    assert await embedded(embed, "a", "b", "c") == [MISS, MISS, SEMANTIC]


async def test_without_an_embedder_nothing_is_compared() -> None:
    policy = Cache(ttl=60, semantic=Semantic(embed="vectors-1"))
    assert await result(question(request(ONE)), question(request(OTHER)), policy) == MISS


# Texts.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Pay 5 USD, not 1,000.50!", ["5", "USD", "not", "1,000.50"]),
        ("Do NOT use python3 or my_name", ["NOT", "3", "_"]),
        ("it's -5 °C, don't worry", ["-5", "°", "don't"]),
        ('say "Hi There" and `ls -l`', ['"hi there"', "`ls -l`"]),
        ("我不要两个", ["不", "两"]),
        ("a+b = c", ["+", "="]),
        ("plain words; (and) marks - no more... ok?", ["no"]),
    ],
)
def test_literals(text: str, found: list[str]) -> None:
    assert literals(text) == found


@settings(deadline=None)
@given(st.text(max_size=400))
def test_any_text_can_be_asked_and_embedded(text: str) -> None:
    about = asked(Semantic(), b"", request(text.encode("utf-8", "replace").decode()))
    if about is not None:
        vector = MODEL.local(about.text)
        assert vector is None or (vector.shape == (256,) and bool(np.isfinite(vector).all()))
        assert in_order(text, text)


MODEL = Vectors()


def test_unclosed_quotations_cost_little() -> None:
    for sign in '"`“「':
        assert len(literals(sign * 2000)) <= 2000


def test_order() -> None:
    assert in_order("how do i reset my password", "how can i reset the password")
    assert not in_order("a to b", "b to a")
    assert not in_order("用甲换乙", "用乙换甲")
    assert in_order("", "x")


# Bounds.


def unit(*values: float) -> vectors.Vector:
    found = MODEL.unit(values)
    assert found is not None
    return found


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), max_size=80))
def test_a_partition_finds_what_a_plain_list_would(steps: list[tuple[int, int]]) -> None:
    partition = Partition(2)
    partition._max_rows = 5
    kept: dict[int, vectors.Vector] = {}
    for forget, number in steps:
        digest = bytes([number])
        if forget:
            partition.forget(digest)
        else:
            partition.add(unit(math.cos(number / 4), math.sin(number / 4)), digest, "text")
    for number in range(13):
        vector = unit(math.cos(number / 4), math.sin(number / 4))
        if partition.nearest(vector, 0.999, None) == bytes([number]):
            kept[number] = vector
    assert len(kept) == len(partition) <= 5
    assert partition.size == partition._rows.nbytes + 1024 * (1 + len(kept)) + 16 * len(kept)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(0, 900)), max_size=60))
def test_all_partitions_stay_within_the_bound(steps: list[tuple[int, int, int]]) -> None:
    found = Vectors(20_000)
    for partition, number, length in steps:
        if length % 7 == 0:
            found.forget(bytes([partition]), bytes([number]))
        else:
            found.add(bytes([partition]), unit(1.0, float(number)), bytes([number]), "x" * length)
            last = found.nearest(bytes([partition]), unit(1.0, float(number)), 0.9999)
            assert last is not None
        assert found.size == sum(one.size for one in found._partitions.values()) <= 20_000


async def test_the_vectors_of_a_busy_cache_stay_within_the_bound() -> None:
    neighbours = semantic.Neighbours(max_bytes=100_000)
    for number in range(300):
        about = Asked(bytes([number % 256, number // 256]), f"question {number}")
        found = await neighbours.find(Semantic(), about, None)
        assert found.vector is not None
        neighbours.add(about, found.vector, number.to_bytes(32, "big"))
    await neighbours.close()
    assert neighbours._vectors is not None
    assert 50_000 < neighbours._vectors.size <= 100_000


# What is not installed.


def test_problems_name_models_packages_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    models = {
        "a": Model("a", cache=LOCAL),
        "b": Model("b", cache=Cache(semantic=Semantic(embed="vectors-1"))),
        "c": Model("c", cache=Cache()),
        "d": Model("d"),
    }
    assert problems(models) == []
    monkeypatch.setattr(semantic, "missing", lambda policy: ("wordllama",) if policy.embed == "local" else ())
    (told,) = problems(models)
    assert "of a is off: wordllama" in told
    assert "[semantic]" in told


async def test_without_the_packages_it_is_off_and_the_exact_cache_works() -> None:
    program = """
import asyncio, importlib.util, sys
hidden = ("numpy", "tokenizers", "safetensors", "wordllama")
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in hidden else real(name, package)
for name in hidden:
    sys.modules[name] = None
from gateway.caching.cache import AnswerCache, Entry, Question
from gateway.models import Cache, Model, Semantic
from gateway.caching.semantic import problems
from gateway.types import Usage
policy = Cache(semantic=Semantic())
one, other = (Question("k", "openai.chat", "m", False, b'{"messages":[{"role":"user","content":"%s"}]}' % text)
              for text in (b"what is it", b"What is it?"))
async def main():
    cache = AnswerCache()
    cache.put(await cache.find(policy, one, 1.0), Entry(b"", b"x", False, Usage(), "", "", 1.0))
    print((await cache.find(policy, one, 1.0)).result, (await cache.find(policy, other, 1.0)).result)
    await cache.close()
print(len(problems({"a": Model("a", cache=policy)})))
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("1\nhit miss\n", "")


async def test_the_local_model_needs_no_network_and_leaves_logging_alone() -> None:
    program = """
import logging, socket, sys
def refuse(*args, **kwargs):
    raise OSError("no network here")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from gateway.caching.vectors import Vectors
vector = Vectors().local("hello")
print(vector.shape, logging.getLogger().handlers, "wordllama" in sys.modules, "requests" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False
    )
    assert (done.stdout, done.stderr) == ("(256,) [] False False\n", "")


async def test_weights_that_cannot_be_read_turn_it_off_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vectors, "_WEIGHTS", "weights/no-such-file")
    cache = AnswerCache()
    for text in (ONE, OTHER, ONE + " now"):
        lookup = await cache.find(LOCAL, question(request(text)), NOW)
        assert lookup.result == MISS
        cache.put(lookup, ANSWER)
    await cache.close()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "install wordllama" in told[0]
