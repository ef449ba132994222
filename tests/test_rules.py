"""Rules: which name a request's facts choose, and where names lead in the end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UnknownModel
from gateway.models import Model, Rule, Target, When
from gateway.routing.router import Router
from gateway.routing.rules import COMPARED, Facts, chosen, fits

FACTS = Facts(model="auto", key="ci", task="coding", input_tokens=4000, images=True, tools=False)
HOLD: dict[str, Any] = {
    "task": "coding",
    "images": True,
    "tools": False,
    "key": "ci",
    "model": "auto",
    "input_tokens": ("<=", 4000),
}
FAIL: dict[str, Any] = {
    "task": "chat",
    "images": False,
    "tools": True,
    "key": "CI",
    "model": "gpt",
    "input_tokens": ("<", 4000),
}


@pytest.mark.parametrize("name", HOLD)
def test_each_condition(name: str) -> None:
    assert fits(When(**{name: HOLD[name]}), FACTS)
    assert not fits(When(**{name: FAIL[name]}), FACTS)


@given(st.sets(st.sampled_from(sorted(HOLD))), st.sets(st.sampled_from(sorted(FAIL))))
def test_all_conditions_must_hold(held: set[str], failed: set[str]) -> None:
    when = When(**{name: HOLD[name] for name in held} | {name: FAIL[name] for name in failed})
    assert fits(when, FACTS) is (not failed)


def test_no_task_is_not_a_task() -> None:
    assert not fits(When(task="coding"), Facts())
    assert fits(When(), Facts())


@pytest.mark.parametrize(
    ("sign", "below", "equal", "above"),
    [
        (">", False, False, True),
        (">=", False, True, True),
        ("<", True, False, False),
        ("<=", True, True, False),
        ("=", False, True, False),
    ],
)
def test_comparisons(sign: str, below: bool, equal: bool, above: bool) -> None:
    when = When(input_tokens=(sign, 32_000))
    assert [fits(when, Facts(input_tokens=count)) for count in (31_999, 32_000, 32_001)] == [below, equal, above]


def test_every_comparison_that_a_file_can_hold_is_known() -> None:
    assert set(COMPARED) == {">=", "<=", ">", "<", "="}


def test_tokens_are_counted_once_and_only_when_a_rule_asks() -> None:
    counted: list[int] = []

    def count() -> int:
        counted.append(1)
        return 50_000

    facts = Facts(task="chat", input_tokens=count)
    assert not fits(When(task="coding", input_tokens=(">", 1)), facts), "decided without counting"
    assert not counted
    long, longer = When(input_tokens=(">", 32_000)), When(input_tokens=(">", 64_000))
    assert [fits(longer, facts), fits(long, facts)] == [False, True]
    assert len(counted) == 1


def test_the_first_rule_that_fits_wins() -> None:
    auto = Model(
        "auto",
        rules=(
            Rule(When(task="coding", images=False), "coder"),
            Rule(When(input_tokens=(">", 32_000)), "long"),
            Rule(When(task="coding"), "looker"),
        ),
        use="plain",
    )
    assert chosen(auto, Facts(task="coding", input_tokens=99_999)) == "coder"
    assert chosen(auto, Facts(task="coding", input_tokens=99_999, images=True)) == "long"
    assert chosen(auto, Facts(task="coding", images=True)) == "looker"
    assert chosen(auto, Facts()) == "plain"


def test_a_model_with_targets_serves_what_no_rule_leads_away() -> None:
    model = Model("m", (Target("one", "m"),), rules=(Rule(When(images=True), "looker"),))
    assert chosen(model, Facts(images=True)) == "looker"
    assert chosen(model, Facts()) is None


NAMES = {
    "plain": Model("plain", (Target("a", "m"),)),
    "coder": Model("coder", (Target("a", "c"),), rules=(Rule(When(images=True), "plain"),)),
    "auto": Model("auto", rules=(Rule(When(task="coding"), "chain"), Rule(When(key="ghost"), "ghost")), use="plain"),
    "chain": Model("chain", rules=(Rule(When(model="auto", tools=True), "plain"),), use="coder"),
}


@pytest.mark.parametrize(
    ("name", "facts", "found"),
    [
        ("plain", Facts(task="coding"), "plain"),
        ("auto", Facts(), "plain"),
        ("auto", Facts(task="coding"), "coder"),
        ("auto", Facts(task="coding", model="auto", tools=True), "plain"),
        ("chain", Facts(task="coding", model="chain", tools=True), "coder"),
        ("auto", Facts(task="coding", images=True), "plain"),
        ("coder", Facts(), "coder"),
    ],
)
def test_rules_lead_to_a_model_with_targets(name: str, facts: Facts, found: str) -> None:
    assert Router(NAMES, {}, lambda: 0.0, lambda: 0.0).resolve(name, facts).name == found


@pytest.mark.parametrize("name", ["nothing", "Plain", "", "x" * 100_000, "a\r\nb\0"])
def test_unknown_names(name: str) -> None:
    router = Router(NAMES, {}, lambda: 0.0, lambda: 0.0)
    with pytest.raises(UnknownModel) as caught:
        router.resolve(name, Facts())
    assert len(caught.value.message) < 200
    assert caught.value.message.isprintable()
    assert (caught.value.status, caught.value.param) == (404, "model")
    assert not any(known in caught.value.message for known in NAMES)


def test_a_rule_that_leads_nowhere_does_not_tell_where() -> None:
    router = Router(NAMES, {}, lambda: 0.0, lambda: 0.0)
    with pytest.raises(UnknownModel, match="'auto'") as caught:
        router.resolve("auto", Facts(key="ghost"))
    assert "ghost" not in caught.value.message
