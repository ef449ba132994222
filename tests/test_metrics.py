"""Counters: the exposition as Prometheus' own parser reads it, bounded names, several workers' sums."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway import metrics
from gateway.metrics import MAX_MODELS, OTHER, Histogram, Metrics, decode, encode, exposition, merge
from gateway.types import END_REASONS, Usage

USAGE = Usage(input=100, cached_input=40, cache_write=5, output=7, reasoning=3)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: bytes) -> Samples:
    families = text_string_to_metric_families(text.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def busy(seed: int = 1) -> Metrics:
    """One worker that has seen something of everything."""
    made = Metrics()
    made.connections = lambda: [("openai", "idle", 2 * seed), ("openai", "busy", seed)]
    series = made.series("passthrough", "openai")
    for number in range(10 * seed):
        series.time(0.001 * number, 0.0005 * number, 0.00002 if number % 2 else -1.0)
        series.ends["complete"] += 1
        series.attempts["ok"] = series.attempts.get("ok", 0) + 1
        model = series.model("gpt")
        model.requests[200] = model.requests.get(200, 0) + 1
        model.count(USAGE)
    series.usage["vendor"] += 10 * seed
    series.sessions += seed
    series.ws_up += 1000 * seed
    series.ws_down += 2000 * seed
    return made


def test_the_exposition_says_what_was_counted() -> None:
    found = samples(exposition(busy().snapshot()))
    openai = {"surface": "passthrough", "provider": "openai"}
    assert value(found, "gateway_requests_total", **openai, model="gpt", status="200") == 10
    assert value(found, "gateway_tokens_total", **openai, model="gpt", type="input", source="vendor") == 1000
    assert value(found, "gateway_tokens_total", **openai, model="gpt", type="cached_input", source="vendor") == 400
    assert value(found, "gateway_tokens_total", **openai, model="gpt", type="cache_write", source="vendor") == 50
    assert value(found, "gateway_tokens_total", **openai, model="gpt", type="output", source="vendor") == 70
    assert value(found, "gateway_tokens_total", **openai, model="gpt", type="reasoning", source="vendor") == 30
    assert value(found, "gateway_usage_total", **openai, source="vendor") == 10
    assert value(found, "gateway_usage_total", **openai, source="none") == 0
    assert {value(found, "gateway_stream_ends_total", **openai, reason=reason) for reason in END_REASONS} == {0, 10}
    assert value(found, "gateway_attempts_total", provider="openai", outcome="ok") == 10
    assert value(found, "gateway_upstream_connections", provider="openai", state="idle") == 2
    assert value(found, "gateway_websocket_sessions", provider="openai") == 1
    assert value(found, "gateway_websocket_bytes_total", provider="openai", direction="up") == 1000
    assert value(found, "gateway_websocket_bytes_total", provider="openai", direction="down") == 2000
    assert value(found, "gateway_request_duration_seconds_count", **openai) == 10
    assert value(found, "gateway_request_duration_seconds_sum", **openai) == pytest.approx(0.045)
    assert value(found, "gateway_request_duration_seconds_bucket", **openai, le="0.005") == 6
    assert value(found, "gateway_request_duration_seconds_bucket", **openai, le="+Inf") == 10
    assert value(found, "gateway_added_seconds_count", surface="passthrough") == 5
    tokens = {"gen_ai_provider_name": "openai", "gen_ai_request_model": "gpt", "gen_ai_token_type": "input"}
    assert value(found, "gen_ai_client_token_usage_sum", **tokens) == 1000


def test_nothing_counted_is_a_good_exposition() -> None:
    assert samples(exposition(Metrics().snapshot())) == {("gateway_holds_open", frozenset()): 0}


def test_the_number_of_models_is_bounded() -> None:
    made = Metrics()
    for provider in ("a", "b"):
        series = made.series("passthrough", provider)
        for number in range(MAX_MODELS + 50):
            series.model(f"model-{number}").count(USAGE)
        assert len(series.models) == MAX_MODELS + 1
        assert series.model("one more") is series.models[OTHER]
        assert series.model("model-0") is series.models["model-0"]
    found = samples(exposition(made.snapshot()))
    other = {"surface": "passthrough", "provider": "a", "model": OTHER, "type": "input", "source": "vendor"}
    assert value(found, "gateway_tokens_total", **other) == 50 * USAGE.input


def test_any_model_name_is_a_good_label() -> None:
    made = Metrics()
    names = ['a"b', "a\\b", "a\nb", "a{b}", "\U0001f600", "", "a,b=c"]
    for name in names:
        made.series("passthrough", "x").model(name).requests[200] = 1
    found = samples(exposition(made.snapshot()))
    assert {dict(labels)["model"] for name, labels in found if name == "gateway_requests_total"} == set(names)


def test_several_workers_are_added_up() -> None:
    snapshots = [busy(seed).snapshot() for seed in (1, 2, 3)]
    together = samples(exposition(merge([decode(encode(snapshot)) for snapshot in snapshots])))
    apart = [samples(exposition(snapshot)) for snapshot in snapshots]
    assert together.keys() == apart[0].keys()
    for key, number in together.items():
        assert number == pytest.approx(sum(one[key] for one in apart)), key


def test_workers_that_know_different_things() -> None:
    other = Metrics()
    other.series("passthrough", "gemini").attempts["ok"] = 4
    found = samples(exposition(merge([busy().snapshot(), other.snapshot(), []])))
    assert value(found, "gateway_attempts_total", provider="openai", outcome="ok") == 10
    assert value(found, "gateway_attempts_total", provider="gemini", outcome="ok") == 4


def test_a_sum_leaves_its_parts_alone() -> None:
    one = busy().snapshot()
    before = encode(one)
    merge([one, one])
    assert encode(one) == before


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'[["a"]]'])
def test_a_snapshot_that_is_none(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(data)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 100)))
def test_a_histogram_counts_each_value_once_in_its_bucket(values: list[float]) -> None:
    histogram = Histogram((0.5, 1.0, 50.0))
    histogram.take(values)
    assert sum(histogram.counts) == len(values)
    assert histogram.counts[0] == sum(one <= 0.5 for one in values)
    assert histogram.counts[3] == sum(one > 50 for one in values)
    assert histogram.sum == pytest.approx(sum(values))


def test_counts_do_not_wait_for_ever() -> None:
    made = Metrics()
    series = made.series("passthrough", "x")
    for _ in range(3 * metrics._WAITING):
        series.model("m").count(USAGE)
        series.time(1.0, -1.0, -1.0)
    assert len(series._waiting) < metrics._WAITING
    assert made.snapshot()
    found = samples(exposition(made.snapshot()))
    assert value(found, "gateway_request_duration_seconds_count", surface="passthrough", provider="x") == 12288
    assert value(found, "gateway_time_to_first_byte_seconds_count", surface="passthrough", provider="x") == 0


def test_no_sample_comes_twice_though_several_surfaces_count_it() -> None:
    metrics = Metrics()
    for surface in ("passthrough", "chat"):
        series = metrics.series(surface, "openai")
        series.time(1.0, 0.5, 0.1)
        series.model("gpt-4o").count(Usage(10, output=5))
    lines = [line.rpartition(" ")[0] for line in exposition(metrics.snapshot()).decode().splitlines() if line[0] != "#"]
    assert len(lines) == len(set(lines))
    text = exposition(metrics.snapshot()).decode()
    assert 'gen_ai_server_time_to_first_token_count{gen_ai_provider_name="openai"} 2.0' in text
    assert 'gen_ai_token_type="input"} 20.0' in text


def test_breakers_of_several_workers_are_not_added_up() -> None:
    one, other = Metrics(), Metrics()
    one.breakers = lambda: [("openai", 2)]
    other.breakers = lambda: [("openai", 1)]
    text = exposition(merge([one.snapshot(), other.snapshot()])).decode()
    assert 'gateway_breaker_state{provider="openai"} 2.0' in text
