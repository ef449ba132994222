"""No way leads round the books: every path that the gateway serves itself is public by intention, or asks who calls."""

from __future__ import annotations

import re

import pytest

from gateway.admin import pages
from gateway.admin.public import PublicPages
from gateway.unified.surfaces import BY_PATH
from tests.unified.place import Answer, Place

# What anybody may see. To add a path, think about who may know it first.
PUBLIC = {"/healthz", "/readyz", "/pricing", "/pricing.html"}
BODY = {
    "chat": {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]},
    "responses": {"model": "gpt-4o", "input": "x"},
    "embeddings": {"model": "embedder", "input": ["x"]},
    "rerank": {"model": "reranker", "query": "x", "documents": ["y"]},
}


def _paths() -> list[str]:
    """Every path of the aiohttp application, its placeholders filled in."""
    public = PublicPages(lambda *_: {}, dict, lambda *_: (0, b""), lambda _: (), frozenset())
    app = pages.build(_Nobody(), lambda: True, _nothing, str, public.add_to)
    resources = (resource.canonical for resource in app.router.resources())
    return sorted({re.sub(r"\{[^}]*\}", "x", path) for path in resources})


class _Nobody:
    def fits(self, key: str) -> bool:
        return False


async def _nothing() -> bytes:
    return b""


def test_the_applications_paths_are_found() -> None:
    assert set(_paths()) >= PUBLIC
    assert "/v1/models" in _paths()


@pytest.mark.parametrize("path", sorted(set(_paths()) - PUBLIC))
def test_what_is_not_public_asks_who_calls(place: Place, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = place.call(path, b"{}" if method in ("POST", "PUT") else None, method=method)
        assert answer.status in (401, 404, 405), (method, path, answer)


@pytest.mark.parametrize("path", sorted(path.decode() for path in BY_PATH))
def test_no_call_without_a_key_with_a_wrong_one_or_without_credit(place: Place, path: str) -> None:
    body = BODY[BY_PATH[path.encode()].name]
    before = place.calls()
    poor = place.key(credits=None, name="poor" + path.strip("/").replace("/", "-"))
    refused: list[tuple[Answer, int]] = [
        (place.call(path, body), 401),
        (place.call(path, body, "gw-wrong"), 401),
        (place.call(path, body, poor), 402),
    ]
    for answer, status in refused:
        assert answer.status == status, answer
    assert place.calls() == before, "no vendor is called for nobody"


@pytest.mark.parametrize("path", sorted(path.decode() for path in BY_PATH))
def test_every_call_is_held_settled_limited_and_logged(place: Place, path: str) -> None:
    """The same four marks on each of them, whatever it converts."""
    surface = BY_PATH[path.encode()]
    name = "rich" + path.strip("/").replace("/", "-")
    key = place.key("--rpm", "1", name=name)
    answer = place.call(path, BODY[surface.name], key)
    assert answer.status == 200, answer
    assert answer.headers["x-ratelimit-limit-requests"] == "1"
    outcome, cost = place.charged(answer, name)
    assert (outcome, f"{cost:f}") == ("complete", answer.headers["x-gateway-cost"])
    assert cost > 0
    kinds = [entry["kind"] for entry in place.history(name)]
    assert kinds == ["grant", "hold", "settle"]
    assert place.call(path, BODY[surface.name], key).status == 429
    assert place.balance(name)["held"] == 0
