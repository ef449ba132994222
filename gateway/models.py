"""The `models:` section: names that clients send, and where each goes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import msgspec

from gateway import providers
from gateway.fields import (
    Check,
    Review,
    boolean,
    choice,
    fraction,
    listing,
    name,
    nearest,
    optional,
    record,
    scalar,
    seconds,
    whole,
)
from gateway.prices import Price, amount, price
from gateway.providers import Provider
from gateway.types import Features
from gateway.yaml_lines import Node, Problem, shown

KINDS = ("chat", "embedding", "rerank", "image", "video", "speech", "transcription", "realtime")
STRATEGIES = ("weighted", "least_busy", "lowest_latency")


class Target(msgspec.Struct, frozen=True):
    """One way to serve a model. Lower priorities first; the same priority is shared by weight."""

    provider: str
    model: str
    weight: int = 1
    priority: int = 1
    dialect: str | None = None


class Semantic(msgspec.Struct, frozen=True):
    """Answers to questions that mean the same. `shadow`: only count what would have been answered."""

    threshold: float = 0.95
    embed: str = "local"
    shadow: bool = False


class Cache(msgspec.Struct, frozen=True):
    """Kept answers. `price`: nano-credits of a hit."""

    exact: bool = True
    ttl: float = 3600
    shared: bool = False
    price: int = 0
    semantic: Semantic | None = None


class When(msgspec.Struct, frozen=True):
    """Conditions of a rule; all that are given must hold."""

    task: str | None = None
    input_tokens: tuple[str, int] | None = None  # comparison and number
    images: bool | None = None
    tools: bool | None = None
    key: str | None = None
    model: str | None = None


class Rule(msgspec.Struct, frozen=True):
    when: When
    use: str


class Model(msgspec.Struct, frozen=True):
    """One name that clients send: its targets, or the rules that choose another name."""

    name: str
    targets: tuple[Target, ...] = ()
    price: Price = Price()
    features: Features = Features()
    kind: str | None = None
    strategy: str = "weighted"
    cache: Cache | None = None
    rules: tuple[Rule, ...] = ()
    use: str | None = None

    @property
    def leads_to(self) -> tuple[str, ...]:
        """The names that its rules choose from, each once."""
        names = [rule.use for rule in self.rules] + ([self.use] if self.use else [])
        return tuple(dict.fromkeys(names))


def model(key: Node, node: Node, review: Review) -> Model | None:
    """The entry under a name; None if it has problems."""
    before = len(review.problems)
    found = record(node, _KEYS, review)
    if not found.get("targets") and "use" not in found and len(review.problems) == before:
        review.error(key, f"the model {shown(key.text)} goes nowhere", "add `targets:`, or `rules:` and `use:`")
    if "targets" in found and "use" in found:
        review.error(key, f"the model {shown(key.text)} has targets and use", "keep one of the two")
    return None if len(review.problems) > before else Model(name=key.text, **found)


def connected(models: Mapping[str, Model], by_name: Mapping[str, Provider]) -> dict[str, Model]:
    """The models with the aliases of providers resolved."""

    def resolved(target: Target) -> Target:
        entry = by_name.get(target.provider)
        return msgspec.structs.replace(target, provider=entry.id) if entry else target

    return {
        key: msgspec.structs.replace(entry, targets=tuple(resolved(target) for target in entry.targets))
        for key, entry in models.items()
    }


def check_names(nodes: Mapping[str, Node], by_name: Mapping[str, Provider], known: set[str], review: Review) -> None:
    """Whatever a model points to must exist. Works on nodes, so that a model with other problems is checked as well.

    `known` are the names of all providers in the files, broken ones too: those are reported once, where they stand.
    """
    for node in nodes.values():
        for target in _items(node, "targets"):
            _check_target(target, by_name, known, review)
        embed = _child(_child(_child(node, "cache"), "semantic"), "embed")
        if embed is not None and embed.kind == "scalar" and embed.text != "local" and embed.text not in nodes:
            review.error(embed, f"unknown model {shown(embed.text)}", nearest(embed.text, nodes))
        for at in [_child(rule, "use") for rule in _items(node, "rules")] + [_child(node, "use")]:
            if at is not None and at.kind == "scalar" and at.text not in nodes:
                # A name like none of ours may be of a model that is still to come: only calls that need it would fail.
                remedy = nearest(at.text, nodes)
                say = review.error if remedy.startswith("did you mean") else review.warn
                say(at, f"unknown model {shown(at.text)}", remedy)


def _check_target(node: Node, by_name: Mapping[str, Provider], known: set[str], review: Review) -> None:
    named, dialect = _child(node, "provider"), _child(node, "dialect")
    if named is None or named.kind != "scalar":
        return
    entry = by_name.get(named.text)
    if entry is None:
        if named.text not in known:
            review.error(named, f"unknown provider {shown(named.text)}", nearest(named.text, by_name))
    elif not entry.speaks:
        review.warn(named, f"the provider {entry.id} speaks no dialect, so this target is never used", "add `speaks:`")
    elif dialect is not None and dialect.text in providers.DIALECTS and dialect.text not in entry.speaks:
        remedy = f"add it to the provider's `speaks:`, which has {', '.join(entry.speaks)}"
        review.error(dialect, f"the provider {entry.id} does not speak {dialect.text}", remedy)


def _child(node: Node | None, key: str) -> Node | None:
    return node.get(key) if node is not None else None


def _items(node: Node, key: str) -> list[Node]:
    found = node.get(key)
    return found.items if found is not None else []


def check_circles(nodes: Mapping[str, Node], models: Mapping[str, Model], review: Review) -> None:
    """Rules must come to an end: no name may lead back to itself."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for key, entry in models.items():
        sorter.add(key, *entry.leads_to)
    try:
        sorter.prepare()
        return
    except CycleError:
        pass  # the sorter still gives all names that do not depend on a circle
    ended: set[str] = set()
    while ready := sorter.get_ready():
        sorter.done(*ready)
        ended.update(ready)
    for key in models:
        if key not in ended:
            what = f"the rules of {shown(key)} lead in a circle"
            review.error(nodes[key], what, "let `use:` end at a model with targets")


def _target(node: Node, review: Review) -> Target:
    found = record(node, _TARGET, review, required=("provider", "model"))
    # A broken target is in the review; the entry that stands in for it is never used.
    return Target(**{"provider": "", "model": "", **found})


def _compared(node: Node, _: Review) -> tuple[str, int]:
    text = scalar(node, 'a comparison such as ">32000"')
    match = re.fullmatch(r"(>=|<=|>|<|=) ?([0-9]{1,12})", text)
    if not match:
        raise Problem(node, f"{shown(text)} is not a comparison", 'write ">32000", "<=4000" or the like, in quotes')
    return match[1], int(match[2])


def _when(node: Node, review: Review) -> When:
    return When(**record(node, _WHEN, review))


def _rule(node: Node, review: Review) -> Rule:
    found = record(node, _RULE, review, required=("when", "use"))
    return Rule(**{"when": When(), "use": "", **found})


def _features(node: Node, review: Review) -> Features:
    return Features(**record(node, _FEATURES, review))


def _cache(node: Node, review: Review) -> Cache:
    return Cache(**record(node, _CACHE, review))


def _semantic(node: Node, review: Review) -> Semantic:
    return Semantic(**record(node, _SEMANTIC, review))


_TARGET: dict[str, Check] = {
    "provider": name,
    "model": name,
    "weight": whole(0, 1_000_000),
    "priority": whole(0, 1_000_000),
    "dialect": providers.dialect,
}
_FEATURES: dict[str, Check] = {
    "thinking": choice("effort", "budget", "adaptive", "switch", "none"),
    "images": choice("url", "base64", "url+base64", "none"),
    "json_schema": boolean,
    "max_output": whole(1, 100_000_000),
    "gemini_image_output": choice("inline", "text"),
    "max_tokens_field": choice("max_tokens", "max_completion_tokens"),
    "reasoning_echo": boolean,
}
_SEMANTIC: dict[str, Check] = {"threshold": fraction(0, 1), "embed": name, "shadow": boolean}
_CACHE: dict[str, Check] = {
    "exact": boolean,
    "ttl": seconds(),
    "shared": boolean,
    "price": amount,
    "semantic": optional(_semantic),
}
_WHEN: dict[str, Check] = {
    "task": name,
    "input_tokens": _compared,
    "images": boolean,
    "tools": boolean,
    "key": name,
    "model": name,
}
_RULE: dict[str, Check] = {"when": _when, "use": name}
_KEYS: dict[str, Check] = {
    "targets": listing(_target),
    "price": price,
    "features": _features,
    "kind": choice(*KINDS),
    "strategy": choice(*STRATEGIES),
    "cache": optional(_cache),
    "rules": listing(_rule),
    "use": name,
}

