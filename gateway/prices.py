"""Price tables -> exact integers. No float ever holds an amount."""

from __future__ import annotations

import re

import msgspec

from gateway.fields import Check, Review, key_name, pairs, record, scalar
from gateway.yaml_lines import Node, Problem

NANO = 10**9
MILLION = 10**6

# Price of a unit whose own price is absent. An explicit 0 is a price.
ABSENT = {
    "cached_input": "input",
    "cache_write": "input",
    "audio_input": "input",
    "image_input": "input",
    "audio_output": "output",
    "image_output": "output",
}
PER_MILLION = frozenset({"input", "output", "per_character", *ABSENT})
PER_ONE = frozenset({"per_image", "per_second", "per_request", "per_document", "per_search", "per_unit"})
TABLES = frozenset({"per_image", "per_second"})  # may be a table: by size, quality or resolution

_AMOUNT = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?")


class Price(msgspec.Struct, frozen=True):
    """What a model costs. All rates are nano-credits per million units, so that one division ends every sum:
    cost = sum(units x rate) // 1,000,000.
    """

    rates: dict[str, int] = {}
    tables: dict[str, dict[str, int]] = {}

    def rate(self, unit: str, row: str | None = None) -> int | None:
        """Nano-credits per million of a unit; 0 if it is free, None if a table has no such row."""
        if unit in self.tables:
            return self.tables[unit].get(row or "")
        found = self.rates.get(unit)
        return self.rates.get(ABSENT.get(unit, ""), 0) if found is None else found

    def written(self) -> dict[str, str | dict[str, str]]:
        """As the file has it: credits as plain decimals, per million or per one."""
        plain: dict[str, str | dict[str, str]] = {unit: _text(unit, rate) for unit, rate in self.rates.items()}
        for unit, rows in self.tables.items():
            plain[unit] = {row: _text(unit, rate) for row, rate in rows.items()}
        return plain


def nano(text: str) -> int:
    """Nano-credits of a plain decimal with at most nine places; ValueError for anything else."""
    match = _AMOUNT.fullmatch(text)
    if not match:
        raise ValueError("not a plain decimal")
    return int(match[1]) * NANO + int((match[2] or "").ljust(9, "0"))


def decimal(amount: int) -> str:
    """Nano-credits as a plain decimal without needless zeros."""
    whole, rest = divmod(abs(amount), NANO)
    digits = f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
    return f"-{digits}" if amount < 0 else digits


def _text(unit: str, rate: int) -> str:
    return decimal(rate if unit in PER_MILLION else rate // MILLION)


def amount(node: Node, _: Review) -> int:
    """Nano-credits of a price in the file."""
    text = scalar(node, "a price such as 0.25")
    if not node.plain:
        raise Problem(node, "is text, not a price", "remove the quotes")
    try:
        return nano(text)
    except ValueError:
        remedy = "write credits as a plain decimal, at most nine places, not negative"
        raise Problem(node, "is not a price", remedy) from None


def price(node: Node, review: Review) -> Price:
    """A model's `price:`."""
    rates: dict[str, int] = {}
    tables: dict[str, dict[str, int]] = {}
    for unit, found in record(node, _KEYS, review).items():
        (tables if isinstance(found, dict) else rates)[unit] = found
    return Price(rates, tables)


def _per_million(node: Node, review: Review) -> int:
    return amount(node, review)


def _per_one(node: Node, review: Review) -> int:
    return amount(node, review) * MILLION


def _by_row(node: Node, review: Review) -> int | dict[str, int]:
    """One price, or one for each size, quality or resolution."""
    if node.kind != "map":
        return _per_one(node, review)
    rows = {}
    for key, value in pairs(node):
        try:
            rows[key_name(key)] = _per_one(value, review)
        except Problem as problem:
            review.problems.append(problem)
    if not node.pairs:
        raise Problem(node, "is an empty table", "write one price for each size, or a single price")
    return rows


_KEYS: dict[str, Check] = {
    **dict.fromkeys(PER_MILLION, _per_million),
    **dict.fromkeys(PER_ONE, _per_one),
    **dict.fromkeys(TABLES, _by_row),
}
