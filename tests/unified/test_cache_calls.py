"""The response cache as clients meet it: what is answered from it, to whom, at what price, and what is never kept."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from tests.unified.entries import closed, nano, wait_until
from tests.unified.place import MODELS as USUAL
from tests.unified.place import PRICE, Answer, Place
from tests.wire.serving import free_port

CHAT = "/v1/chat/completions"
LARGE = 900_000


def kept(model: str = "gpt-4o", **cache: Any) -> dict[str, Any]:
    return {"targets": [{"provider": "openai", "model": model}], "price": PRICE, "cache": cache}


SEMANTIC = {"threshold": 0.9}
MODELS = {
    **USUAL,
    "kept": kept(),
    "priced": kept(price=0.25),
    "shared": kept(shared=True),
    "brief": kept(ttl=1),
    "alike": kept(semantic=SEMANTIC),
    "shadowed": kept(semantic={**SEMANTIC, "shadow": True}),
    "by-model": kept(semantic={"threshold": 0.9, "embed": "embedder"}),
    "by-broken-model": kept(semantic={"threshold": 0.9, "embed": "broken-embedder"}),
    "broken-embedder": {
        "kind": "embedding",
        "targets": [
            {"provider": "siliconflow", "model": "BAAI/bge-m3+status=500"},
            {"provider": "gone", "model": "x", "priority": 2},
        ],
    },
    "kept-vectors": {**USUAL["embedder"], "cache": {}},
    "kept-ranks": {**USUAL["reranker"], "cache": {}},
}
PROVIDERS = {"gone": {"base_url": f"http://127.0.0.1:{free_port()}", "speaks": {"openai.embeddings": "/v1/embeddings"}}}
_texts = (f"Question {number} of the cache's tests?" for number in range(10**6))


@pytest.fixture
def text() -> str:
    """A question that nobody else asks."""
    return next(_texts)


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


@pytest.fixture(scope="module")
def bob(place: Place) -> str:
    return place.key(name="bob")


def result(answer: Answer) -> str:
    return answer.headers["x-gateway-cache"]


def vendor_calls(place: Place) -> int:
    return int(place.calls()["total"])


def test_the_same_question_is_answered_once(place: Place, key: str, text: str) -> None:
    first = place.chat(key, "kept", text)
    before = vendor_calls(place)
    second = place.chat(key, "kept", text)
    assert vendor_calls(place) == before
    assert (result(first), result(second)) == ("miss", "hit")
    assert second.body == first.body
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.request_id != first.request_id
    assert second.headers["x-gateway-provider"] == "openai"
    assert second.headers["x-gateway-model"] == "gpt-4o"
    assert second.headers["x-gateway-attempts"] == "0"
    assert second.headers["x-gateway-cost"] == "0"
    found = closed(place)[second.request_id]
    assert (found.outcome, found.cost, found.hold) == ("cached", 0, 0)
    assert closed(place)[first.request_id].cost > 0


def test_a_model_without_a_cache_says_nothing_of_it(place: Place, key: str, text: str) -> None:
    before = vendor_calls(place)
    for _ in range(2):
        assert "x-gateway-cache" not in place.chat(key, "gpt-4o", text).headers
    assert vendor_calls(place) == before + 2


def body(text: str, *, reverse: bool = False, **dumps: Any) -> bytes:
    value = {"model": "kept", "temperature": 0.5, "messages": [{"role": "user", "content": text}], "top_p": 1}
    pairs = [*reversed(value.items())] if reverse else [*value.items()]
    return json.dumps(dict(pairs), **dumps).encode()


def test_order_and_spacing_do_not_matter(place: Place, key: str, text: str) -> None:
    text += " é"
    assert result(place.call(CHAT, body(text), key)) == "miss"
    same = [
        body(text, separators=(",", ":")), body(text, indent=3), body(text, reverse=True),
        body(text, ensure_ascii=False),
        body(text).replace(b'"model"', b'"\\u006dodel"'), body(text).replace(b"0.5", b"5e-1"),
    ]  # fmt: skip
    for one in same:
        assert result(place.call(CHAT, one, key)) == "hit"
    assert result(place.call("/chat/completions", body(text), key)) == "hit"


def test_everything_else_matters(place: Place, key: str, text: str) -> None:
    assert result(place.call(CHAT, body(text), key)) == "miss"
    value = json.loads(body(text))
    others: list[dict[str, Any]] = [
        {**value, "temperature": 0.6}, {**value, "user": "x"}, {**value, "unknown": 1}, {**value, "max_tokens": 7},
        {**value, "messages": [*value["messages"], {"role": "user", "content": "?"}]}, {**value, "stream": True},
        {**value, "model": "shared"},
    ]  # fmt: skip
    for other in others:
        assert result(place.call(CHAT, other, key)) == "miss", other


@pytest.mark.parametrize("asked", [False, True], ids=["usage hidden", "usage asked for"])
def test_a_stream_is_replayed_as_a_stream(place: Place, key: str, text: str, asked: bool) -> None:
    options: dict[str, Any] = {"stream": True, **({"stream_options": {"include_usage": True}} if asked else {})}
    first, second = (place.chat(key, "kept", text, **options) for _ in range(2))
    assert (result(first), result(second)) == ("miss", "hit")
    assert second.headers["content-type"].startswith("text/event-stream")
    assert second.headers["transfer-encoding"] == "chunked"
    assert second.body == first.body
    assert second.body.endswith(b"data: [DONE]\n\n")
    assert any(chunk.get("usage") for chunk in second.events()) == asked
    assert result(place.chat(key, "kept", text)) == "miss"
    other = {"stream": True, **({} if asked else {"stream_options": {"include_usage": True}})}
    assert result(place.chat(key, "kept", text, **other)) == "miss"


def test_keys_do_not_meet(place: Place, key: str, bob: str, text: str) -> None:
    assert result(place.chat(key, "kept", text)) == "miss"
    assert result(place.chat(bob, "kept", text)) == "miss"
    other = place.key(credits=None)  # of the same account
    assert result(place.chat(other, "kept", text)) == "miss"


def test_keys_share_where_the_operator_says_so(place: Place, key: str, bob: str, text: str) -> None:
    first, second = place.chat(key, "shared", text), place.chat(bob, "shared", text)
    assert (result(first), result(second)) == ("miss", "hit")
    assert second.body == first.body
    assert closed(place, "bob")[second.request_id].outcome == "cached"


def test_a_hit_has_its_price(place: Place, key: str, text: str) -> None:
    place.chat(key, "priced", text)
    before = place.balance()["available"], place.value_of("gateway_cost_nanocredits_total", model="priced")
    hit = place.chat(key, "priced", text)
    assert result(hit) == "hit"
    assert hit.headers["x-gateway-cost"] == "0.25"
    found = closed(place)[hit.request_id]
    assert (found.outcome, found.cost) == ("cached", nano("0.25"))
    assert before[0] - place.balance()["available"] == nano("0.25") / 10**9
    assert place.value_of("gateway_cost_nanocredits_total", model="priced") - before[1] == nano("0.25")


def test_who_cannot_pay_a_hit_does_not_get_it(place: Place, text: str) -> None:
    poor = place.key(name="carol", credits="1.1")
    assert place.chat(poor, "priced", text, max_tokens=10).status == 200
    hits = [place.chat(poor, "priced", text, max_tokens=10).status for _ in range(6)]
    assert hits == [200] * 4 + [402] * 2


def test_keys_are_asked_before_the_cache(place: Place, bob: str, text: str) -> None:
    assert place.chat(bob, "shared", text).status == 200
    narrow = place.key("--models", "gpt-4o", credits=None, name="bob")
    assert place.chat(narrow, "shared", text).status == 403
    assert place.chat("nobody", "shared", text).status == 401


def test_limits_count_hits(place: Place, text: str) -> None:
    limited = place.key("--rpm", "2", name="dave")
    assert [place.chat(limited, "kept", text).status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    ("path", "request_"),
    [("/v1/embeddings", {"model": "kept-vectors", "input": ["a", "b"]}),
     ("/v1/rerank", {"model": "kept-ranks", "query": "a", "documents": ["b", "c"]}),
     ("/v1/responses", {"model": "kept", "input": "Hello"})],
)  # fmt: skip
def test_other_surfaces_have_it_too(place: Place, key: str, path: str, request_: dict[str, Any]) -> None:
    first, second = place.call(path, request_, key), place.call(path, request_, key)
    assert (first.status, result(first), result(second)) == (200, "miss", "hit")
    assert second.body == first.body


WAYS = ["status=400", "status=500", "cut=3", "filter=after", "end=2", "filter=before"]


@pytest.mark.parametrize(
    ("way", "stream"), [*((way, stream) for way in WAYS for stream in (False, True)), ("error200", True)]
)
def test_what_is_no_good_answer_is_not_kept(place: Place, key: str, text: str, way: str, stream: bool) -> None:
    """The vendor would answer well the second time: it is asked."""
    name, _, value = way.partition("=")
    bad = place.chat(key, "kept", text, stream=stream, headers={f"x-sandbox-{name}": value})
    assert bad.headers.get("x-gateway-cache", "miss") == "miss"
    found = closed(place).get(bad.request_id)
    assert found is None or found.cost == 0
    good = place.chat(key, "kept", text, stream=stream)
    assert (good.status, result(good)) == (200, "miss")
    assert not good.cut
    assert result(place.chat(key, "kept", text, stream=stream)) == "hit"


def test_an_answer_grows_old(place: Place, key: str, text: str) -> None:
    assert result(place.chat(key, "brief", text)) == "miss"
    wait_until(lambda: result(place.chat(key, "brief", text)) == "miss", "the answer is used for ever")


def test_looks_are_counted(place: Place, key: str, text: str) -> None:
    def counted() -> dict[str, float]:
        results = ("hit", "miss", "semantic")
        return {name: place.value_of("gateway_cache_requests_total", result=name) for name in results}

    before = counted()
    for _ in range(3):
        place.chat(key, "kept", text)
    assert counted() == {**before, "hit": before["hit"] + 2, "miss": before["miss"] + 1}


def test_a_hit_is_no_use_of_the_vendor_s(place: Place, key: str, text: str) -> None:
    """Tokens are counted once, where they were made."""
    names = ("gateway_tokens_total", "gateway_usage_total", "gateway_attempts_total")
    place.chat(key, "kept", text)
    before = [place.value_of(name) for name in names]
    place.chat(key, "kept", text)
    assert [place.value_of(name) for name in names] == before


def test_large_questions_are_let_go(place: Place, key: str) -> None:
    """Whatever becomes of a call, nothing holds its body beyond it: with a cache or without, good or bad."""
    ways: list[tuple[str, bool, dict[str, str]]] = [
        ("gpt-4o", False, {}), ("gpt-4o", True, {}), ("kept", True, {}), ("nobody", False, {}),
        ("gpt-4o", False, {"x-sandbox-status": "400"}), ("gpt-4o", True, {"x-sandbox-cut": "3"}),
    ]  # fmt: skip

    def all_ways(number: int) -> None:
        for model, stream, headers in ways:
            place.chat(key, model, f"{number} " + "x" * LARGE, stream=stream, headers=headers, max_tokens=5)

    for number in range(5):  # until what is kept for good is there
        all_ways(number)
    before = place.memory()
    for number in range(15):
        all_ways(number)
    assert place.memory() - before < 15 * len(ways) * (LARGE >> 10) // 4


def test_answers_outlive_the_process(place: Place, key: str, text: str) -> None:
    first = place.chat(key, "kept", text)
    assert place.stop() == 0
    place.start()
    again = place.chat(key, "kept", text)
    assert (result(again), again.body) == ("hit", first.body)


# -- questions that mean the same --------------------------------------------------------------------------------------

LOCAL = pytest.mark.skipif(
    importlib.util.find_spec("wordllama") is None, reason="the extra `semantic` is not installed"
)
PAIR = "How do I bake bread without yeast at home?", "how do i bake bread without yeast at home"
OTHER = "How do I repair a bicycle without tools at home?"


@LOCAL
def test_a_question_that_means_the_same(place: Place, key: str, bob: str) -> None:
    first = place.chat(key, "alike", PAIR[0])
    again = place.chat(key, "alike", PAIR[1])
    assert (result(first), result(again)) == ("miss", "semantic")
    assert again.body == first.body
    assert result(place.chat(key, "alike", OTHER)) == "miss"
    assert result(place.chat(bob, "alike", PAIR[1])) == "miss"
    assert result(place.chat(key, "alike", PAIR[1] + " 2")) == "miss"
    assert closed(place)[again.request_id].outcome == "cached"


@LOCAL
def test_a_shadow_only_counts(place: Place, key: str) -> None:
    place.chat(key, "shadowed", PAIR[0])
    before = place.value_of("gateway_cache_requests_total", result="shadow"), vendor_calls(place)
    assert result(place.chat(key, "shadowed", PAIR[1])) == "miss"
    assert (place.value_of("gateway_cache_requests_total", result="shadow"), vendor_calls(place)) == (
        before[0] + 1,
        before[1] + 1,
    )


def test_an_embedding_model_tells_what_means_the_same(place: Place, key: str) -> None:
    """Its calls are the gateway's own: nobody is charged for them."""
    first = place.chat(key, "by-model", PAIR[0])
    again = place.chat(key, "by-model", PAIR[0] + " ")
    assert result(first) == "miss"
    assert result(again) in ("semantic", "miss")  # as the vectors are; the simulated ones know words only
    assert place.value_of("gateway_attempts_total", provider="siliconflow", outcome="ok") >= 2
    entries = [entry for entry in place.history() if entry["model"] == "embedder"]
    assert entries == []


def test_a_failing_embedding_model_is_a_miss(place: Place, key: str, text: str) -> None:
    got = place.chat(key, "by-model", text, headers={"x-sandbox-no-usage": "1"})
    assert (got.status, result(got)) == (200, "miss")


@LOCAL
def test_an_embedding_model_that_fails_costs_an_answer_nothing(place: Place, key: str, text: str) -> None:
    """The question is then one that nobody asked before; only its own answer may be kept, for the very same words."""
    for stream in (False, True):
        first = place.chat(key, "by-broken-model", text, stream=stream)
        alike = place.chat(key, "by-broken-model", text.replace("Question", "A question"), stream=stream)
        again = place.chat(key, "by-broken-model", text, stream=stream)
        assert [answer.status for answer in (first, alike, again)] == [200] * 3
        assert [result(answer) for answer in (first, alike, again)] == ["miss", "miss", "hit"]
    assert place.value_of("gateway_attempts_total", provider="siliconflow", outcome="500") > 0
    assert place.value_of("gateway_attempts_total", provider="gone", outcome="upstream_unreachable") > 0
    assert place.charged(first)[0] == "complete"
