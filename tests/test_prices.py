"""Price tables: exact integers, and every mistake refused where it stands."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import settings
from gateway.prices import ABSENT, MILLION, NANO, PER_MILLION, PER_ONE, Price, decimal, nano


def priced(tmp_path: Path, price: str) -> Price:
    file = tmp_path / "mine.yaml"
    file.write_text(f"models: {{m: {{targets: [{{provider: openai, model: m}}], price: {price}}}}}\n")
    return settings.load(str(file), {"OPENAI_API_KEY": "k"}).models["m"].price


def test_tokens_are_priced_by_the_million(tmp_path: Path) -> None:
    price = priced(tmp_path, "{input: 2, cached_input: 0.5, output: 8}")
    cost = (1000 * price.rates["input"] + 500 * price.rates["cached_input"] + 7 * price.rates["output"]) // MILLION
    assert Fraction(cost, NANO) == (1000 * Fraction(2) + 500 * Fraction(1, 2) + 7 * 8) / MILLION


def test_single_units_use_the_same_division(tmp_path: Path) -> None:
    price = priced(tmp_path, "{per_image: 0.25, per_character: 30, per_request: 0.000000001}")
    assert 3 * (price.rate("per_image") or 0) // MILLION == 750_000_000
    assert 1000 * (price.rate("per_character") or 0) // MILLION == 30_000_000
    assert (price.rate("per_request") or 0) // MILLION == 1


def test_smallest_price_of_a_million_is_not_lost(tmp_path: Path) -> None:
    price = priced(tmp_path, "{output: 0.000000001}")
    assert 999_999 * price.rates["output"] // MILLION == 0
    assert MILLION * price.rates["output"] // MILLION == 1


def test_tables(tmp_path: Path) -> None:
    price = priced(tmp_path, "{per_second: {480p: 0.2, 720p: 0.4}, per_image: {1024x1024: 0.04, high: 1}}")
    assert price.rate("per_second", "720p") == 400_000_000 * MILLION
    assert price.rate("per_image", "high") == NANO * MILLION
    assert price.rate("per_second", "1080p") is None, "an unknown row is not free"
    assert price.rate("per_second") is None


@pytest.mark.parametrize(("unit", "counted_as"), ABSENT.items())
def test_absent_prices_fall_back_and_zero_does_not(tmp_path: Path, unit: str, counted_as: str) -> None:
    assert priced(tmp_path, f"{{{counted_as}: 3}}").rate(unit) == 3 * NANO
    assert priced(tmp_path, f"{{{counted_as}: 3, {unit}: 0}}").rate(unit) == 0
    assert priced(tmp_path, "{per_request: 1}").rate(unit) == 0


def test_model_without_price_is_free(tmp_path: Path) -> None:
    price = priced(tmp_path, "null")
    assert price == Price()
    assert {price.rate(unit) for unit in PER_MILLION | PER_ONE} == {0}


def test_prices_are_written_as_they_were_read(tmp_path: Path) -> None:
    text = "{input: 0.15, output: 8, per_request: 0.000000001, per_second: {480p: 0.2, 1080p: 10}}"
    assert priced(tmp_path, text).written() == {
        "input": "0.15",
        "output": "8",
        "per_request": "0.000000001",
        "per_second": {"480p": "0.2", "1080p": "10"},
    }


ERRORS = {
    "input: -1": "not a price",
    "input: 1e-3": "not a price",
    "input: 0.0000000001": "not a price",
    "input: 1.": "not a price",
    "input: .5": "not a price",
    "input: '2'": "remove the quotes",
    "input: .nan": "not a price",
    "input: .inf": "not a price",
    "input: 0x10": "not a price",
    "input: 1_000": "not a price",
    "input: 10000000000": "not a price",
    "input: +1": "not a price",
    "input: ": "is empty",
    "input: free": "not a price",
    "input: {a: 1}": "is a map",
    "inptu: 1": "did you mean input?",
    "per_image: {}": "empty table",
    "per_image: {no: 1}": "quote it",
    "per_image: {high: x}": "not a price",
    "per_image: [1]": "is a list",
    "per_unit: {a: 1}": "is a map",
}


@pytest.mark.parametrize(("entry", "said"), ERRORS.items())
def test_bad_prices_are_refused_where_they_stand(tmp_path: Path, entry: str, said: str) -> None:
    file = tmp_path / "mine.yaml"
    body = f"{{{entry}}}"
    file.write_text(f"models:\n  m:\n    targets: [{{provider: openai, model: m}}]\n    price:\n      {body}\n")
    errors, _ = settings.check(str(file), {})
    assert errors
    assert errors[0].startswith(f"{file}:5: price: ")
    assert any(said in line for line in errors), errors


@given(st.decimals(0, 999_999_999, places=9))
def test_decimals_are_exact_both_ways(value: Decimal) -> None:
    text = f"{value:f}"
    assert Fraction(nano(text), NANO) == Fraction(value)
    assert nano(decimal(nano(text))) == nano(text)


@given(st.integers())
def test_any_amount_can_be_written(amount: int) -> None:
    assert Fraction(decimal(amount)) == Fraction(amount, NANO)
    assert not decimal(amount).endswith(".")


@given(st.text(max_size=12))
def test_any_text_is_an_amount_or_a_value_error(text: str) -> None:
    try:
        amount = nano(text)
    except ValueError:
        return
    assert amount == Decimal(text) * NANO
