"""The head of a unified call's request to a vendor: what of the client's goes along, and what never does."""

from __future__ import annotations

from gateway.providers import Provider, Table
from gateway.relay import Pools
from gateway.settings import load
from gateway.unified.requests import Heads, forwardable, request
from gateway.wire.head import parse_request

CLIENT = (
    b"POST /v1/chat/completions?key=gw-secret4 HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n"
    b"Authorization: Bearer gw-secret1\r\nX-Api-Key: gw-secret2\r\nx-goog-api-key: gw-secret3\r\nCookie: session=1\r\n"
    b"Content-Type: application/json\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\nUser-Agent: client/1\r\n"
    b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nExpect: 100-continue\r\nVia: 1.1 a\r\n"
    b"X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\nX-Gateway-Task: coding\r\n"
    b"Origin: https://page\r\nSec-Fetch-Mode: cors\r\nX-Stainless-Lang: python\r\nX-Own: kept\r\n\r\n"
)


def provider(tmp_path_text: str = "") -> tuple[Table, Provider]:
    found = load(None, {}).providers["openai"]
    return Table({"openai": found}), found


def test_what_goes_along() -> None:
    lines = forwardable(parse_request(CLIENT))
    assert b"".join(line for _, line in lines) == (
        b"Content-Type: application/json\r\nAccept: */*\r\nUser-Agent: client/1\r\nX-Stainless-Lang: python\r\n"
        b"X-Own: kept\r\n"
    )


def test_the_head_has_the_vendors_address_and_key_and_none_of_ours() -> None:
    table, openai = provider()
    heads = Heads(table, Pools(), 10)
    pool, begin = heads.head(openai, "openai.chat", "gpt-4o", "sk-vendor", forwardable(parse_request(CLIENT)))
    assert pool.destination.host == "api.openai.com"
    whole = request(begin, b"{}")
    assert whole.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n")
    assert b"Authorization: Bearer sk-vendor\r\n" in whole
    assert b"Accept-Encoding: identity\r\n" in whole
    assert whole.endswith(b"Content-Length: 2\r\n\r\n{}")
    assert b"gw-secret" not in whole
    parsed = parse_request(whole[:-2])
    assert parsed.length == 2
    names = [lower for _, _, lower in parsed.headers]
    assert len(names) == len(set(names))


def test_without_a_key_none_is_sent() -> None:
    table, openai = provider()
    _, begin = Heads(table, Pools(), 10).head(openai, "openai.chat", "gpt-4o", "", ())
    assert b"Authorization" not in begin


def test_paths_may_hold_the_model() -> None:
    found = load(None, {}).providers["gemini"]
    heads = Heads(Table({"gemini": found}), Pools(), 10)
    _, begin = heads.head(found, "gemini.embed", "text embedding/1?", "k", (), ":batchEmbedContents")
    assert begin.startswith(b"POST /v1beta/models/text%20embedding/1%3F:batchEmbedContents HTTP/1.1\r\n")
    assert b"x-goog-api-key: k\r\n" in begin


def test_one_pool_for_all_models_of_a_host() -> None:
    table, openai = provider()
    heads = Heads(table, Pools(), 10)
    pools = {heads.head(openai, dialect, model, "k", ())[0] for dialect in ("openai.chat", "openai.embeddings")
             for model in ("a", "b")}  # fmt: skip
    assert len(pools) == 1
