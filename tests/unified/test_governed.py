"""No way leads round the books: every path that the gateway serves itself is public by intention, or asks who calls."""

from __future__ import annotations

import re

import pytest
from aiohttp import web

from gateway.admin import pages
from gateway.admin.public import PublicPages
from gateway.admin.responses import ResponsePages
from gateway.unified.surfaces import SURFACES, Surface
from tests.unified.place import Answer, Place

# What anybody may see. To add a path, think about who may know it first.
PUBLIC = {"/healthz", "/readyz", "/pricing", "/pricing.html"}
_HELLO = {"role": "user", "content": "x"}
_PART = {"parts": [{"text": "x"}]}
# By how a surface's body is read.
BODY = {
    "openai.chat": {"model": "gpt-4o", "messages": [_HELLO]},
    "openai.responses": {"model": "gpt-4o", "input": "x"},
    "anthropic.messages": {"model": "claude", "max_tokens": 9, "messages": [_HELLO]},
    "anthropic.count": {"model": "claude", "messages": [_HELLO]},
    "gemini.generate": {"contents": [_PART]},
    "gemini.count": {"contents": [_PART]},
    "gemini.embed": {"content": _PART},
    "gemini.batch": {"requests": [{"model": "models/embedder", "content": _PART}]},
    "openai.embeddings": {"model": "embedder", "input": ["x"]},
    "jina.rerank": {"model": "reranker", "query": "x", "documents": ["y"]},
}


def _calls() -> list[tuple[str, Surface]]:
    """Every path of a call, with and without /v1."""
    found: dict[str, Surface] = {}
    for surface in SURFACES:
        model = "embedder" if surface.dialect == "gemini.embed" else "gpt-4o"
        path = surface.path.replace("{model}", model)
        found |= dict.fromkeys((path, path.removeprefix("/v1"), path.replace("/v1beta", "/v1")), surface)
    return sorted((path, surface) for path, surface in found.items() if not path.startswith("beta"))


CALLS = pytest.mark.parametrize(("path", "surface"), _calls(), ids=lambda value: value if type(value) is str else "")


def _paths() -> list[str]:
    """Every path of the aiohttp application, its placeholders filled in."""
    public = PublicPages(lambda *_: {}, dict, lambda *_: (0, b""), lambda _: (), frozenset())
    stored = ResponsePages(lambda: _Nobody(), lambda _: "", lambda *_: (0, b""), lambda _: ())  # type: ignore[arg-type, return-value]

    def add_to(app: web.Application) -> None:
        stored.add_to(app)
        public.add_to(app)

    app = pages.build(_Nobody(), lambda: True, _nothing, str, add_to)
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


@CALLS
def test_no_call_without_a_key_with_a_wrong_one_or_without_credit(place: Place, path: str, surface: Surface) -> None:
    body = BODY[surface.read_as]
    before = place.calls()
    poor = place.key(credits=None, name="poor" + _word(path))
    refused: list[tuple[Answer, int]] = [(place.call(path, body), 401), (place.call(path, body, "gw-wrong"), 401)]
    if not surface.counts:  # that is free
        refused.append((place.call(path, body, poor), 402))
    for answer, status in refused:
        assert answer.status == status, answer
    assert place.calls() == before, "no vendor is called for nobody"


@CALLS
def test_every_call_is_held_settled_limited_and_logged(place: Place, path: str, surface: Surface) -> None:
    """The same four marks on each of them, whatever it converts."""
    name = "rich" + _word(path)
    key = place.key("--rpm", "1", name=name)
    answer = place.call(path, BODY[surface.read_as], key)
    assert answer.status == 200, answer
    if surface.form == "openai":
        assert answer.headers["x-ratelimit-limit-requests"] == "1"
    kinds = ["grant", "hold", "settle"]
    if surface.counts:
        kinds = ["grant"]
    elif surface.stream:
        assert place.charged(answer, name)[0] == "complete"
    else:
        outcome, cost = place.charged(answer, name)
        assert (outcome, f"{cost:f}") == ("complete", answer.headers["x-gateway-cost"])
        assert cost > 0
    assert [entry["kind"] for entry in place.history(name)] == kinds
    assert place.call(path, BODY[surface.read_as], key).status == 429
    assert place.balance(name)["held"] == 0


def _word(path: str) -> str:
    return re.sub(r"\W+", "-", path)
