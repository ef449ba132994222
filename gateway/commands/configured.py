"""The configured models, for the commands that show them."""

from __future__ import annotations

import os
import sys

from gateway.commands import CannotDo
from gateway.errors import ConfigError
from gateway.models import Model, Target
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


def spoken(settings: Settings, target: Target) -> list[str]:
    """What a target can be spoken to in."""
    return [target.dialect] if target.dialect else list(settings.providers[target.provider].speaks)


def dialects(settings: Settings, model: Model) -> list[str]:
    """What its targets can be spoken to in."""
    return list(dict.fromkeys(dialect for target in model.targets for dialect in spoken(settings, target)))
