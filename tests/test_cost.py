"""Costs and holds: exact sums, rounded once, held against plain arithmetic with fractions."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway import settings
from gateway.prices import (
    ABSENT,
    MILLION,
    NANO,
    PER_MILLION,
    PER_ONE,
    TABLES,
    Part,
    Price,
    cost,
    decimal,
    explained,
    most,
    nano,
)
from gateway.types import Usage

EXAMPLE = re.compile(r"^\| `(\{.*\})` \| `(\{.*\})` \| ([0-9.]+) \|$", re.MULTILINE)
EXAMPLES = EXAMPLE.findall((Path(__file__).parent.parent / "docs" / "prices.md").read_text())
TOKENS = ("input", "cached_input", "cache_write", "output", "reasoning")


def rate(unit: str, credits: str) -> int:
    return nano(credits) * (1 if unit in PER_MILLION else MILLION)


def price_of(**credits: str) -> Price:
    return Price({unit: rate(unit, text) for unit, text in credits.items()})


def units(parts: tuple[Part, ...]) -> dict[str, float]:
    return {unit: count for unit, count, _ in parts}


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) == 15


@pytest.mark.parametrize(("price", "used", "expected"), EXAMPLES)
def test_examples_of_the_page(tmp_path: Path, price: str, used: str, expected: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"models: {{m: {{targets: [{{provider: openai, model: m}}], price: {price}}}}}\n")
    loaded = settings.load(str(file), {"OPENAI_API_KEY": "k"}).models["m"].price
    counts: dict[str, Any] = yaml.safe_load(used)
    row = counts.pop("row", None)
    documents = counts.pop("documents", 0)
    usage = Usage(**{name: counts.pop(name) for name in TOKENS if name in counts}, extra_units=counts)
    amount, parts = cost(loaded, usage, documents=documents, row=dict.fromkeys(TABLES, row) if row else None)
    assert decimal(amount) == expected
    assert amount == sum(Fraction(str(count)) * each for _, count, each in parts) // MILLION


# -- parts of input and output --

FULL = Usage(100, 30, 20, 80, 10, {"audio_input_tokens": 25, "image_input_tokens": 5, "audio_output_tokens": 50})


def test_parts_are_priced_apart_and_the_rest_is_the_whole() -> None:
    price = price_of(input="1", cached_input="2", cache_write="3", audio_input="4", image_input="5", audio_output="6")
    assert units(cost(price, FULL)[1]) == {
        "cached_input": 30,
        "cache_write": 20,
        "audio_input": 25,
        "image_input": 5,
        "input": 20,
        "audio_output": 50,
    }


@pytest.mark.parametrize(("part", "whole"), ABSENT.items())
def test_a_part_without_a_price_is_charged_as_the_whole_and_zero_is_a_price(part: str, whole: str) -> None:
    usage = Usage(100, 100, 0, 100, 0)
    if part != "cached_input":
        usage = Usage(100, 0, 100 if part == "cache_write" else 0, 100, 0, {f"{part}_tokens": 100})
    assert cost(price_of(**{whole: "3"}), usage) == (100 * 3000, ((whole, 100, 3 * NANO),))
    assert cost(price_of(**{whole: "3", part: "0"}), usage) == (0, ((part, 100, 0),))


def test_a_whole_without_a_price_is_free() -> None:
    assert units(cost(price_of(cached_input="2"), FULL)[1]) == {"cached_input": 30}


def test_overlapping_parts_clamp_in_order() -> None:
    price = price_of(input="1", cached_input="2", audio_input="4", image_input="5", audio_output="6", image_output="7")
    usage = Usage(
        100, 60, 0, 10, 0, {f"{kind}_{side}_tokens": 70 for kind in ("audio", "image") for side in ("input", "output")}
    )
    assert units(cost(price, usage)[1]) == {"cached_input": 60, "audio_input": 40, "audio_output": 10}


def test_a_part_that_is_not_priced_apart_takes_nothing_from_the_others() -> None:
    usage = Usage(100, 60, 0, 0, 0, {"audio_input_tokens": 70})
    assert units(cost(price_of(input="1", audio_input="4"), usage)[1]) == {"audio_input": 70, "input": 30}


def test_nothing_counted_is_nothing_charged() -> None:
    everything = price_of(**dict.fromkeys(PER_MILLION | PER_ONE, "1"))
    assert cost(everything, Usage(), requests=0) == (0, ())
    assert cost(everything, Usage()) == (NANO, (("per_request", 1, NANO * MILLION),))
    assert cost(Price(), FULL, documents=9) == (0, ())


# -- what is not tokens --


def test_other_units() -> None:
    price = price_of(per_search="1", per_unit="2", per_image="3", per_character="4", per_document="5")
    extra: dict[str, float] = {
        "search_units": 2,
        "web_search": 3,
        "credits": 4,
        "images": 5,
        "characters": 6,
        "mcp": 7,
        "seconds": 8,
    }
    assert units(cost(price, Usage(extra_units=extra), documents=9)[1]) == {
        "per_search": 5,
        "per_unit": 4,
        "per_image": 5,
        "per_character": 6,
        "per_document": 9,
    }


def test_generated_images_count_instead_of_images() -> None:
    usage = Usage(extra_units={"images": 5, "generated_images": 2})
    assert cost(price_of(per_image="1"), usage)[0] == 2 * NANO


def test_tables_by_row_and_the_dearest_while_it_is_not_known() -> None:
    price = Price(tables={"per_second": {"480p": 2 * NANO * MILLION, "720p": 4 * NANO * MILLION}})
    usage = Usage(extra_units={"seconds": 3})
    assert cost(price, usage, row={"per_second": "480p"})[0] == 6 * NANO
    for row in (None, {}, {"per_second": "1080p"}, {"per_image": "480p"}):
        assert cost(price, usage, row=row)[0] == 12 * NANO
        assert most(price, 0, 0, seconds=3, row=row) == 12 * NANO


@pytest.mark.parametrize(("seconds", "expected"), [(0.1, 1), (0.3, 3), (0.7, 7), (1.1, 11), (5.0, 50), (1e-9, 0)])
def test_seconds_are_the_decimals_they_are_written_as(seconds: float, expected: int) -> None:
    """0.3 is 0.299999... as a float: cut down, it would have cost one less."""
    price = Price({"per_second": 10 * MILLION})
    amount, parts = cost(price, Usage(extra_units={"seconds": seconds}))
    assert amount == expected
    assert parts[0][1] == seconds


# -- against plain arithmetic --

RATES = st.integers(0, 10**18)
COUNTS = st.integers(0, 2**53)
SECONDS = st.floats(0, 2**53, allow_nan=False) | COUNTS
PRICES = st.builds(
    Price,
    st.dictionaries(st.sampled_from(sorted((PER_MILLION | PER_ONE) - TABLES)), RATES),
    st.dictionaries(st.sampled_from(sorted(TABLES)), st.dictionaries(st.sampled_from("ab"), RATES, min_size=1)),
)
EXTRA = st.dictionaries(
    st.sampled_from(
        "audio_input_tokens image_input_tokens audio_output_tokens image_output_tokens images generated_images "
        "characters search_units credits web_search other".split()
    ),
    COUNTS,
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    cached, write, rest, output = draw(COUNTS), draw(COUNTS), draw(COUNTS), draw(COUNTS)
    return Usage(cached + write + rest, cached, write, output, 0, draw(EXTRA) | {"seconds": draw(SECONDS)})


@given(PRICES, usages(), st.integers(0, 9), st.integers(0, 9))
def test_the_cost_is_the_exact_sum_of_its_parts_rounded_down_once(
    price: Price, usage: Usage, requests: int, documents: int
) -> None:
    amount, parts = cost(price, usage, requests=requests, documents=documents)
    exact = sum((Fraction(repr(count)) * each for _, count, each in parts), Fraction(0)) / MILLION
    assert amount == math.floor(exact)
    assert all(count for _, count, _ in parts)
    counted = units(parts)
    assert len(counted) == len(parts)
    for whole, total in (("input", usage.input), ("output", usage.output)):
        found = sum(counted.get(unit, 0) for unit in {whole} | {part for part in ABSENT if ABSENT[part] == whole})
        assert found == total if whole in price.rates else found <= total
    shares = sum(Fraction(str(each["cost"])) for each in explained(parts))
    assert shares * NANO == exact


@given(PRICES, usages(), st.integers(0, 200))
def test_what_stays_within_its_bounds_never_costs_more_than_the_hold(
    price: Price, usage: Usage, documents: int
) -> None:
    extra = usage.extra_units
    held = most(
        price,
        usage.input,
        usage.output,
        documents=documents,
        images=int(extra.get("generated_images") or extra.get("images", 0)),
        seconds=extra["seconds"],
        characters=int(extra.get("characters", 0)),
        searches=int(extra.get("search_units", 0) + extra.get("web_search", 0)),
        units=int(extra.get("credits", 0)),
    )
    assert cost(price, usage, documents=documents)[0] <= held


# -- the hold --


def test_the_hold_is_rounded_up_and_counts_n_answers_at_the_dearest_prices() -> None:
    price = price_of(input="2", cache_write="2.5", cached_input="0.5", output="8", per_request="1")
    assert most(price, 1000, 100, 3) == 1000 * 2500 + 3 * 100 * 8000 + NANO
    assert most(price, 1000, 100, 3, requests=0) == 1000 * 2500 + 3 * 100 * 8000
    assert most(price_of(output="8", audio_output="20"), 5, 10) == 10 * 20_000
    assert most(price_of(input="0.000000001"), 1, 0) == 1
    assert most(price_of(per_second="0.000000001"), 0, 0, seconds=0.1) == 1
    assert most(Price(), 1000, 1000, 5, documents=3, images=2) == 0


def test_the_hold_counts_searches_as_rerank_vendors_do() -> None:
    price = price_of(per_search="1", per_document="0.1")
    assert most(price, 0, 0, documents=100) == NANO + 100 * NANO // 10
    assert most(price, 499, 0, documents=100) == NANO + 10 * NANO
    assert most(price, 500, 0, documents=100) == 2 * NANO + 10 * NANO, "one of them may count as two"
    assert most(price, 0, 0, documents=101) == 2 * NANO + 101 * NANO // 10
    assert most(price, 0, 0, documents=1, searches=7) == 7 * NANO + NANO // 10


# -- explained --


def test_parts_are_explained_in_the_words_of_the_price() -> None:
    price = price_of(input="2.5", output="0", per_second="0.4", per_request="0.000000001")
    usage = Usage(3, 0, 0, 7, 0, {"seconds": 12.3})
    amount, parts = cost(price, usage)
    assert explained(parts) == [
        {"unit": "input", "count": 3, "price": "2.5", "per": MILLION, "cost": "0.0000075"},
        {"unit": "output", "count": 7, "price": "0", "per": MILLION, "cost": "0"},
        {"unit": "per_second", "count": 12.3, "price": "0.4", "per": 1, "cost": "4.92"},
        {"unit": "per_request", "count": 1, "price": "0.000000001", "per": 1, "cost": "0.000000001"},
    ]
    assert decimal(amount) == "4.920007501"


def test_the_smallest_share_is_told_exactly() -> None:
    assert explained([("input", 1, 1)])[0]["cost"] == "0.000000000000001"
    assert explained([("per_second", 5e-324, 1)])[0]["cost"] == "0." + "0" * 338 + "5"
    assert explained([]) == []
