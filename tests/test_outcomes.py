"""How a call ended -> what it is charged by: the table, and that no combination is left out or charged wrongly."""

from __future__ import annotations

import itertools

import pytest

from gateway.types import CHARGED, OUTCOMES, Usage
from gateway.unified.outcomes import ESTIMATE, NOTHING, VENDOR, Ending, outcome

USAGE = Usage(10, output=5)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Ending(finished=True, usage=USAGE), ("complete", VENDOR)),
        (Ending(finished=True), ("no_usage", ESTIMATE)),
        (Ending(finished=True, zero=True), ("complete", NOTHING)),
        (Ending(finished=True, filtered=True, usage=USAGE), ("filtered", NOTHING)),
        (Ending(filtered=True), ("filtered", NOTHING)),
        (Ending(usage=USAGE), ("vendor_truncated", NOTHING)),
        (Ending(), ("vendor_truncated", NOTHING)),
        (Ending(error=True, finished=True, usage=USAGE), ("failed", NOTHING)),
        (Ending(error=True, left=True), ("failed", NOTHING)),
        (Ending(left=True, finished=True, usage=USAGE), ("client_left", VENDOR)),
        (Ending(left=True, finished=True), ("client_left", ESTIMATE)),
        (Ending(left=True, finished=True, zero=True), ("client_left", NOTHING)),
        (Ending(left=True, given_up=True, usage=USAGE), ("client_left", VENDOR)),
        (Ending(left=True, given_up=True), ("client_left", ESTIMATE)),
        (Ending(left=True, usage=USAGE), ("vendor_truncated", NOTHING)),
        (Ending(left=True, filtered=True, finished=True, usage=USAGE), ("filtered", NOTHING)),
        (Ending(given_up=True, usage=USAGE), ("failed", NOTHING)),
    ],
)
def test_the_table(ending: Ending, expected: tuple[str, str]) -> None:
    assert outcome(ending) == expected


def test_every_combination_has_one_outcome_and_only_good_ones_cost() -> None:
    for finished, filtered, error, left, given_up, zero in itertools.product((False, True), repeat=6):
        for usage in (None, USAGE):
            ending = Ending(finished, filtered, error, left, given_up, usage, zero)
            found, basis = outcome(ending)
            assert found in OUTCOMES
            if basis != NOTHING:
                assert found in CHARGED
                assert (error, filtered) == (False, False)
                assert finished or (left and given_up)
            if basis == VENDOR:
                assert usage is not None
