"""The configured models, for the commands that show them."""

from __future__ import annotations

import os
import sys

from gateway.commands import CannotDo
from gateway.errors import ConfigError
from gateway.models import Model
from gateway.settings import Settings, load


def configured(config: str | None) -> Settings:
    """The configuration. Raises CannotDo with all that is wrong with it."""
    try:
        settings = load(config, os.environ)
    except ConfigError as exc:
        raise CannotDo("\n".join(exc.problems)) from exc
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return settings


def leads_to(model: Model) -> list[str]:
    """The names that a model chooses from; none if it has targets of its own."""
    names = [rule.use for rule in model.rules] + ([model.use] if model.use else [])
    return list(dict.fromkeys(names))


def dialects(settings: Settings, model: Model) -> list[str]:
    """What its targets can be spoken to in."""
    found: dict[str, None] = {}
    for target in model.targets:
        speaks = settings.providers[target.provider].speaks
        found.update(dict.fromkeys([target.dialect] if target.dialect else speaks))
    return list(found)
