"""How a vendor's key goes into a request's head."""

from __future__ import annotations

import pytest

from gateway.wire.signing import required, signed


@pytest.mark.parametrize(
    ("auth", "dialect", "path", "lines"),
    [
        (None, "openai.chat", b"/v1/x", b"Authorization: Bearer k/1\r\n"),
        (None, "anthropic.messages", b"/v1/x", b"x-api-key: k/1\r\n"),
        (None, "gemini.embed", b"/v1/x", b"x-goog-api-key: k/1\r\n"),
        ("bearer", "gemini.embed", b"/v1/x", b"Authorization: Bearer k/1\r\n"),
        ("x-api-key", "openai.chat", b"/v1/x", b"x-api-key: k/1\r\n"),
        ("query:key", "openai.chat", b"/v1/x?key=k%2F1", b""),
    ],
)
def test_kinds(auth: str | None, dialect: str, path: bytes, lines: bytes) -> None:
    assert signed(auth, dialect, "k/1", b"/v1/x") == (path, lines)


def test_a_query_that_is_there_is_kept() -> None:
    assert signed("query:token", "openai.chat", "a b", b"/x?y=1") == (b"/x?y=1&token=a%20b", b"")


def test_anthropic_wants_a_version_of_everybody() -> None:
    assert required("anthropic.messages") == ((b"anthropic-version", b"anthropic-version: 2023-06-01\r\n"),)
    assert required("openai.chat") == ()


def test_without_a_key_nothing_is_added() -> None:
    assert signed(None, "anthropic.messages", "", b"/x") == (b"/x", b"")
