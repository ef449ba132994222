"""`gateway models`: the names that callers may send, and where each goes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from gateway.commands.configured import configured, spoken
from gateway.commands.printing import print_json_list, print_table
from gateway.models import Model, Target
from gateway.settings import Settings

_HEADS = ("MODEL", "PRIORITY", "WEIGHT", "PROVIDER", "ITS NAME THERE", "SPEAKS", "KEY")


def models(options: argparse.Namespace) -> int:
    """Shows the models."""
    settings = configured(options.config)
    if options.json:
        print_json_list(_plain(settings, model) for model in settings.models.values())
    else:
        rows = (row for model in settings.models.values() for row in _rows(settings, model))
        print_table(_HEADS, rows, right=("PRIORITY", "WEIGHT"), empty="no models are configured")
    return 0


def _plain(settings: Settings, model: Model) -> dict[str, object]:
    return {
        "model": model.name, "kind": model.kind, "strategy": model.strategy, "use": model.leads_to,
        "targets": [
            {
                "provider": target.provider, "model": target.model, "weight": target.weight,
                "priority": target.priority, "dialects": spoken(settings, target), "key": _has_key(settings, target),
            }
            for target in _ordered(model)
        ],
    }  # fmt: skip


def _rows(settings: Settings, model: Model) -> Iterator[tuple[str, ...]]:
    name = model.name
    if names := model.leads_to:
        yield name, "", "", "chooses", ", ".join(names), "", ""
    for target in _ordered(model):
        speaks = ", ".join(spoken(settings, target)) or "no dialect: never used"
        key = "yes" if _has_key(settings, target) else _remedy(settings, target)
        yield name, str(target.priority), str(target.weight), target.provider, target.model, speaks, key
        name = ""  # said once


def _ordered(model: Model) -> list[Target]:
    return sorted(model.targets, key=lambda target: target.priority)


def _has_key(settings: Settings, target: Target) -> bool:
    return any(key.get() is not None for key in settings.providers[target.provider].keys)


def _remedy(settings: Settings, target: Target) -> str:
    """References are no secrets: the file has them."""
    keys = settings.providers[target.provider].keys
    return f"MISSING: set {' or '.join(key.reference for key in keys)}" if keys else "none configured"
