"""A funded key before one gateway a file, and the bill of what its clients do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unified.clients.billing import Bill
from tests.unified.place import Place


@pytest.fixture(scope="module")
def account(place: Place) -> Iterator[Bill]:
    """At the end of the file every call whose cost was checked is in the books, once and at that cost."""
    opened = Bill(place)
    yield opened
    opened.closed()


@pytest.fixture
def bill(account: Bill) -> Bill:
    """The calls of one test."""
    account.begin()
    return account


@pytest.fixture(params=["/v1", ""], ids=["with-v1", "without-v1"])
def base_url(request: pytest.FixtureRequest, place: Place) -> str:
    """Every path answers with and without /v1."""
    return f"http://127.0.0.1:{place.port}{request.param}"
