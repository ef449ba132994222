"""The configuration: the user's providers.yaml laid over the shipped one, checked as a whole, frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway import models, providers
from gateway.addresses import Origin, Secret, readable
from gateway.errors import ConfigError
from gateway.fields import Review, key_name, nearest, pairs, record
from gateway.models import Model
from gateway.providers import Provider
from gateway.server_settings import ServerSettings, Tls, server_values
from gateway.yaml_lines import Node, Problem, parse, shown

__all__ = ["Model", "Origin", "Provider", "Secret", "ServerSettings", "Settings", "Tls", "check", "load"]

SHIPPED = Path(__file__).with_name("providers.yaml")
DEFAULT = "providers.yaml"


class Settings(msgspec.Struct, frozen=True):
    """Everything that the files say."""

    server: ServerSettings
    providers: dict[str, Provider]
    models: dict[str, Model]
    warnings: tuple[str, ...] = ()


def load(path: str | None, environ: Mapping[str, str]) -> Settings:
    """The settings; raises ConfigError with every problem found."""
    settings, review = _read(path, environ)
    if review.problems:
        raise ConfigError(_lines(review.problems))
    return settings


def check(path: str | None, environ: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """All errors and all warnings, as lines."""
    settings, review = _read(path, environ)
    return _lines(review.problems), list(settings.warnings)


def _read(path: str | None, environ: Mapping[str, str]) -> tuple[Settings, Review]:
    review = Review(environ)
    layers = [_sections(str(SHIPPED), review)]
    if path is None and Path(DEFAULT).exists():
        path = DEFAULT
    # In a checkout the default is the shipped file itself; laid over itself it would only repeat its own problems.
    if path is not None and not _same(path, SHIPPED):
        layers.append(_sections(path, review))
    server = _server(layers, review)
    provider_nodes = _laid_over(layers, "providers", providers.provider_id, review)
    model_nodes = _laid_over(layers, "models", key_name, review)
    table = _named(provider_nodes, providers.provider, review)
    table = _without_clashes(table, provider_nodes, review)
    named = _named(model_nodes, models.model, review)
    values = {key: value for key, (_, value) in model_nodes.items()}
    known = set(provider_nodes) | {word for node in provider_nodes.values() for word in _alias_texts(node[1])}
    by_name = {word: entry for entry in table.values() for word in (entry.id, *entry.aliases)}
    models.check_names(values, by_name, known, review)
    models.check_circles(values, named, review)
    named = models.connected(named, by_name)
    _warn_of_missing(table, named, provider_nodes, review)
    return Settings(server, table, named, tuple(_lines(review.warnings))), review


def _same(path: str, other: Path) -> bool:
    try:
        return Path(path).samefile(other)
    except (OSError, ValueError):
        return False


def _lines(problems: list[Problem]) -> list[str]:
    """Sorted as one reads: the user's file first, top to bottom; nothing twice."""
    ordered = sorted(problems, key=lambda problem: (problem.node.file == str(SHIPPED), problem.node.line))
    return list(dict.fromkeys(map(str, ordered)))


def _sections(path: str, review: Review) -> dict[str, Node]:
    """The sections of one file; none if it cannot be read."""
    try:
        root = parse(path, review.problems)
    except Problem as problem:
        review.problems.append(problem)
        return {}
    return record(root, dict.fromkeys(("server", "providers", "models"), _section), review)


def _section(node: Node, _: Review) -> Node:
    pairs(node)
    return node


def _server(layers: list[dict[str, Node]], review: Review) -> ServerSettings:
    found: dict[str, Any] = {}
    for layer in layers:
        if "server" in layer:
            found |= server_values(layer["server"], review)
    return ServerSettings(**found)


Entries = dict[str, tuple[Node, Node]]


def _laid_over(layers: list[dict[str, Node]], section: str, named: Callable[[Node], str], review: Review) -> Entries:
    """The entries of a section by name, later files over earlier ones; null removes."""
    entries: Entries = {}
    for layer in layers:
        for key, value in pairs(layer[section]) if section in layer else ():
            try:
                text = named(key)
            except Problem as problem:
                review.problems.append(problem)
                continue
            if not value.empty:
                entries[text] = key, value
            elif entries.pop(text, None) is None:
                remedy = nearest(text, entries)
                review.error(key, f"there is no shipped entry {shown(text)} to remove", remedy)
    return entries


def _named(entries: Entries, build: Callable[[Node, Node, Review], Any], review: Review) -> dict[str, Any]:
    """What `build` makes of the entries; broken ones are in the review."""
    found = {}
    for name, (key, value) in entries.items():
        try:
            entry = build(key, value, review)
        except Problem as problem:
            review.problems.append(problem)
            continue
        if entry is not None:
            found[name] = entry
    return found


def _alias_texts(node: Node) -> list[str]:
    aliases = node.get("aliases")
    return [item.text for item in aliases.items] if aliases else []


def _without_clashes(table: dict[str, Provider], entries: Entries, review: Review) -> dict[str, Provider]:
    """Every name stands for one provider. A name that the user gives is taken from a shipped entry's aliases."""
    shipped = str(SHIPPED)
    owners = {name: (name, key) for name, (key, _) in entries.items()}
    kept: dict[str, list[str]] = {name: [] for name in entries}
    for name in sorted(entries, key=lambda name: entries[name][0].file == shipped):  # the user's entries choose first
        aliases = entries[name][1].get("aliases")
        for item in aliases.items if aliases else ():
            owner, at = owners.setdefault(item.text, (name, item))
            if at is item:
                kept[name].append(item.text)
            elif item.file != shipped or at.file == shipped:
                what = f"the name {shown(item.text)} already belongs to {shown(owner)} ({at.file}:{at.line})"
                review.error(item, what, "choose another, or remove that entry with `name: null`")
    return {name: msgspec.structs.replace(entry, aliases=tuple(kept[name])) for name, entry in table.items()}


def _warn_of_missing(table: dict[str, Provider], named: dict[str, Model], entries: Entries, review: Review) -> None:
    """Missing secrets and files, where they matter: shipped providers that no model uses need no key."""
    used = {target.provider for entry in named.values() for target in entry.targets}
    for name, entry in table.items():
        node = entries[name][1]
        if node.file == str(SHIPPED) and name not in used:
            continue
        for needed in entry.secrets:
            if needed.get() is None:
                at = _place(node, needed.reference)
                what = f"the provider {name} needs {needed.reference}, which is missing, unreadable or not plain ASCII"
                review.warn(at, what, "set it before unified calls go there")
        if entry.ca is not None and not readable(entry.ca):
            review.warn(node.get("ca") or node, f"the trust anchor of {name} is not readable", "put the file there")


def _place(node: Node, text: str) -> Node:
    """The node below that holds a text; the node itself if there is none."""
    stack = [node]
    while stack:
        here = stack.pop()
        if here.text == text:
            return here
        stack += here.items + [value for _, value in here.pairs]
    return node
