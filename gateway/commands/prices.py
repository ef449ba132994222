"""`gateway prices`: what each configured model costs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from gateway.commands.configured import configured, dialects
from gateway.commands.printing import print_json_list, print_table
from gateway.prices import PER_MILLION, numbers
from gateway.settings import Settings

_HEADS = ("MODEL", "UNIT", "CREDITS", "PER")
# What `per_character` and its like are counted in; the others are named after what they are a price of.
_PER = {"per_character": "million characters", **dict.fromkeys(PER_MILLION - {"per_character"}, "million tokens")}


def prices(options: argparse.Namespace) -> int:
    """Shows the prices."""
    settings = configured(options.config)
    if options.json:
        print_json_list(_plain(settings))
    else:
        print_table(_HEADS, _rows(settings), right=("CREDITS",), empty="no models are configured")
    return 0


def _plain(settings: Settings) -> Iterator[dict[str, object]]:
    for model in settings.models.values():
        yield {
            "model": model.name, "dialects": dialects(settings, model), "use": model.leads_to,
            "price": numbers(model.price),
        }  # fmt: skip


def _rows(settings: Settings) -> Iterator[tuple[str, ...]]:
    for model in settings.models.values():
        name = model.name
        if names := model.leads_to:
            yield name, "as charged by", "", ", ".join(names)
            continue
        units = model.price.written()
        if not units:
            yield name, "free", "0", ""
        for unit, found in units.items():
            per = _PER.get(unit, unit.removeprefix("per_"))
            rows = found if isinstance(found, dict) else {"": found}
            for row, text in rows.items():
                yield name, f"{unit} {row}".rstrip(), text, per
                name = ""  # said once
