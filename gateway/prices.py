"""Price tables -> exact integers: what a call costs, and the most it can cost. No float ever holds an amount.

docs/prices.md says in plain words which unit is charged at which price; its examples are tests.
"""

from __future__ import annotations

import decimal as decimals
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import msgspec

from gateway.fields import Check, Review, key_name, pairs, record, scalar
from gateway.types import Usage
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

# The parts of a whole that may have prices of their own. Their order settles overlaps: each takes at most what those
# before it have left, the rest is charged as the whole.
_INPUT_PARTS = ("cached_input", "cache_write", "audio_input", "image_input")
_OUTPUT_PARTS = ("audio_output", "image_output")
_INPUT_KINDS = ("input", *_INPUT_PARTS)
_OUTPUT_KINDS = ("output", *_OUTPUT_PARTS)
# Prices of what is not tokens, and the names by which usages count it: the first that is there, or all together.
_COUNTED_AS = {
    "per_image": ("generated_images", "images"),
    "per_second": ("seconds",),
    "per_character": ("characters",),
    "per_unit": ("credits",),
}
_SEARCHES = ("search_units", "web_search")
_UNITS_A_SEARCH = 100  # documents
_TOKENS_A_DOCUMENT = 500  # rerank vendors count longer documents as several

# What a cost is made of: the unit as the price names it, how many, nano-credits per million of it. A count that is not
# whole stands for the number that its shortest text names, so 0.1 is a tenth.
Part = tuple[str, float, int]

_EXACT = decimals.Context(prec=100, traps=[decimals.Inexact, decimals.InvalidOperation, decimals.Overflow])

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

    def dearest(self, unit: str, row: str | None = None) -> int:
        """The rate of a unit; that of its dearest row where the table does not have this one."""
        found = self.rate(unit, row)
        return max(self.tables[unit].values(), default=0) if found is None else found

    def written(self) -> dict[str, str | dict[str, str]]:
        """As the file has it: credits as plain decimals, per million or per one."""
        plain: dict[str, str | dict[str, str]] = {unit: _text(unit, rate) for unit, rate in self.rates.items()}
        for unit, rows in self.tables.items():
            plain[unit] = {row: _text(unit, rate) for row, rate in rows.items()}
        return plain


def numbers(price: Price) -> dict[str, Any]:
    """A price as the file has it, its numbers exact in JSON: never through a float."""
    return {
        unit: {row: msgspec.Raw(text.encode()) for row, text in found.items()}
        if isinstance(found, dict)
        else msgspec.Raw(found.encode())
        for unit, found in price.written().items()
    }


def cost(
    price: Price, usage: Usage, *, requests: int = 1, documents: int = 0, row: Mapping[str, str] | None = None
) -> tuple[int, tuple[Part, ...]]:
    """Nano-credits, and what they are made of: the exact sum of all parts, rounded down once.

    `row` tells the row of a price that is a table, such as `{"per_second": "720p"}`; without it, or with one that the
    table does not have, the dearest row counts, as it did for the hold. Where a vendor says that it counted nothing at
    all, nothing is charged: the caller then gives `requests=0, documents=0`.
    """
    parts: list[Part] = []
    extra, rates = usage.extra_units, price.rates
    rest = usage.input
    for unit, count in (
        ("cached_input", usage.cached_input),
        ("cache_write", usage.cache_write),
        *(_modal(extra, _INPUT_PARTS[2:]) if extra else ()),
    ):
        if count and unit in rates and (count := min(count, rest)):
            parts.append((unit, count, rates[unit]))
            rest -= count
    if rest and "input" in rates:
        parts.append(("input", rest, rates["input"]))
    rest = usage.output
    for unit, count in _modal(extra, _OUTPUT_PARTS) if extra else ():
        if count and unit in rates and (count := min(count, rest)):
            parts.append((unit, count, rates[unit]))
            rest -= count
    if rest and "output" in rates:
        parts.append(("output", rest, rates["output"]))
    if extra:
        parts += _countable(price, extra, row or {})
    if requests and "per_request" in rates:
        parts.append(("per_request", requests, rates["per_request"]))
    if documents and "per_document" in rates:
        parts.append(("per_document", documents, rates["per_document"]))
    return _sum(parts), tuple(parts)


def _modal(extra: Mapping[str, float], units: tuple[str, ...]) -> list[tuple[str, int]]:
    return [(unit, int(extra.get(f"{unit}_tokens", 0))) for unit in units]


def _countable(price: Price, extra: Mapping[str, float], row: Mapping[str, str]) -> list[Part]:
    """The parts that are not tokens."""
    parts: list[Part] = []
    for unit, names in _COUNTED_AS.items():
        count = next((extra[name] for name in names if extra.get(name, 0) > 0), 0)
        if count and (unit in price.rates or unit in price.tables):
            parts.append((unit, _whole(count), price.dearest(unit, row.get(unit))))
    searches = sum(int(extra.get(name, 0)) for name in _SEARCHES)
    if searches > 0 and "per_search" in price.rates:
        parts.append(("per_search", searches, price.rates["per_search"]))
    return parts


def _whole(count: float) -> float:
    return int(count) if count == int(count) else count


def _sum(parts: list[Part]) -> int:
    total = 0
    broken: list[Part] = []
    for part in parts:
        if type(part[1]) is int:
            total += part[1] * part[2]
        else:
            broken.append(part)
    if broken:
        return int((total + sum(Fraction(repr(count)) * rate for _, count, rate in broken)) // MILLION)
    return total // MILLION


def most(
    price: Price,
    input_tokens: int,
    output_tokens: int,
    n: int = 1,
    *,
    requests: int = 1,
    documents: int = 0,
    images: int = 0,
    seconds: float = 0,
    characters: int = 0,
    searches: int = 0,
    units: int = 0,
    row: Mapping[str, str] | None = None,
) -> int:
    """The hold: nano-credits that a call within these bounds cannot exceed, rounded up.

    All tokens count at the dearest price of their side, `n` answers are `n` times the output, and a row that is not
    known yet is the dearest. Of documents, vendors count long ones as several and charge searches by the hundred.
    """
    rates = price.rates
    get = rates.get
    # A part without a price of its own costs what the whole costs, so the prices that are written are all there are.
    total = input_tokens * max([get(unit, 0) for unit in _INPUT_KINDS])
    total += output_tokens * n * max([get(unit, 0) for unit in _OUTPUT_KINDS])
    total += requests * get("per_request", 0)
    if documents:
        total += documents * get("per_document", 0)
        searches = max(searches, -(-(documents + input_tokens // _TOKENS_A_DOCUMENT) // _UNITS_A_SEARCH))
    total += searches * get("per_search", 0) + characters * get("per_character", 0) + units * get("per_unit", 0)
    if not (images or seconds):
        return -(-total // MILLION)
    row = row or {}
    total += images * price.dearest("per_image", row.get("per_image"))
    exact = total + Fraction(repr(seconds)) * price.dearest("per_second", row.get("per_second"))
    return -int(-exact // MILLION)


def explained(parts: Iterable[Part]) -> list[dict[str, int | float | str]]:
    """Each part for people: its unit and count, the price as written (`per` so many), and its exact share in credits.

    The shares sum to the cost but for the one rounding at the end.
    """
    found: list[dict[str, int | float | str]] = []
    for unit, count, rate in parts:
        per = MILLION if unit in PER_MILLION else 1
        share = _EXACT.multiply(decimals.Decimal(repr(count)), decimals.Decimal(rate)).scaleb(-15, _EXACT)
        text = f"{share:f}"
        cost = text.rstrip("0").rstrip(".") if "." in text else text
        found.append({"unit": unit, "count": count, "price": _text(unit, rate), "per": per, "cost": cost})
    return found


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
