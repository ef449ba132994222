"""Every fixture of the manifest: however it is cut, encoded or announced, exactly the expected usage comes out."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import reader_for
from gateway.types import Usage
from gateway.wire.decompress import decompressor

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FOLDER = Path(__file__).parent / "fixtures" / "usage"
MANIFEST = json.loads((FOLDER / "MANIFEST.json").read_bytes())
FIXTURES: list[dict[str, Any]] = MANIFEST["fixtures"]
NAMES = [fixture["file"] for fixture in FIXTURES]

# The reader that the gateway would use; calls that only count get the nearest one, which must see no usage in them.
DIALECTS = {
    "anthropic_count_tokens": "anthropic.messages",
    "anthropic_messages": "anthropic.messages",
    "ark_context": "ark.context",
    "dashscope_native": "dashscope.generation",
    "dashscope_native_embedding": "dashscope.embeddings",
    "gemini": "gemini.generate",
    "gemini_count_tokens": "gemini.generate",
    "gemini_embed": "gemini.embed",
    "hunyuan_native": "hunyuan.chat",
    "openai_chat": "openai.chat",
    "openai_embeddings": "openai.embeddings",
    "openai_images": "openai.images",
    "openai_models": "openai.chat",
    "openai_responses": "openai.responses",
    "rerank": "jina.rerank",
}
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}
MODELS = {
    "openai_chat.response.json": "gpt-6-astra",
    "openai_chat.stream.no_usage.sse": "gpt-6-astra",
    "anthropic_messages.stream.usage.sse": "claude-fable-9",
    "openai_responses.stream.failed.sse": "gpt-6-astra",
    "gemini.stream.json_array.json": "gemini-4-flash",
    "ark_bots.response.json": "bot-2026",
    "dashscope_native.response.json": None,
}


def body_of(fixture: dict[str, Any]) -> bytes:
    return FOLDER.joinpath(fixture["file"]).read_bytes()


def read(fixture: dict[str, Any], pieces: Iterable[bytes], content_type: str | None = None) -> Usage | None:
    kind = fixture["content_type"] if content_type is None else content_type
    reader = reader_for(DIALECTS[fixture["protocol"]], kind.encode())
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def check(fixture: dict[str, Any], found: Usage | None) -> None:
    tokens = None
    if found is not None and found.tokens():
        tokens = {name: getattr(found, name) for name in MANIFEST["normal_form"]}
    assert tokens == fixture["expected_usage"]
    if "extra_units" in fixture:
        assert found is not None
        assert found.extra_units == fixture["extra_units"]
    elif fixture["expected_usage"] is None:
        assert found is None


def cut(body: bytes, offsets: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(offsets), len(body)]
    return [body[start:end] for start, end in zip(places, places[1:], strict=False)]


def as_chunked(fixture: dict[str, Any], body: bytes) -> list[bytes]:
    chunking = fixture.get("chunking", {"mode": "fixed", "size": 100})
    if chunking["mode"] == "fixed":
        return cut(body, range(chunking["size"], len(body), chunking["size"]))
    return cut(body, chunking["offsets"])


def test_the_manifest_is_the_folder() -> None:
    assert sorted(NAMES) == sorted(path.name for path in FOLDER.iterdir() if path.name != "MANIFEST.json")


@pytest.mark.parametrize("fixture", FIXTURES, ids=NAMES)
class TestEveryFixture:
    def test_whole(self, fixture: dict[str, Any]) -> None:
        check(fixture, read(fixture, [body_of(fixture)]))

    def test_byte_by_byte(self, fixture: dict[str, Any]) -> None:
        check(fixture, read(fixture, cut(body_of(fixture), range(1, len(body_of(fixture))))))

    def test_as_the_manifest_cuts(self, fixture: dict[str, Any]) -> None:
        check(fixture, read(fixture, as_chunked(fixture, body_of(fixture))))

    @pytest.mark.parametrize("content_type", ["", "application/json", "text/event-stream", "text/plain"])
    def test_with_a_content_type_that_is_missing_or_wrong(self, fixture: dict[str, Any], content_type: str) -> None:
        check(fixture, read(fixture, [body_of(fixture)], content_type))
        check(fixture, read(fixture, as_chunked(fixture, body_of(fixture)), content_type))

    @pytest.mark.parametrize("encoding", ENCODERS)
    def test_compressed(self, fixture: dict[str, Any], encoding: str) -> None:
        decoder = decompressor(encoding.encode())
        assert decoder is not None
        encoded = ENCODERS[encoding](body_of(fixture))
        pieces = cut(encoded, range(37, len(encoded), 37))
        check(fixture, read(fixture, [piece for part in pieces for piece in decoder.feed(part)]))
        assert not decoder.broken


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_at_random_cuts(data: st.DataObject) -> None:
    fixture = data.draw(st.sampled_from(FIXTURES))
    body = body_of(fixture)
    check(fixture, read(fixture, cut(body, data.draw(st.lists(st.integers(0, len(body)), max_size=30)))))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_other_line_ends_say_the_same(data: st.DataObject) -> None:
    fixture = data.draw(st.sampled_from([fixture for fixture in FIXTURES if fixture["file"].endswith(".sse")]))
    ending = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    body = body_of(fixture).replace(b"\r\n", b"\n").replace(b"\n", ending)
    body = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf", ending * 2])) + body
    body = body.rstrip(ending) if data.draw(st.booleans()) else body
    check(fixture, read(fixture, cut(body, data.draw(st.lists(st.integers(0, len(body)), max_size=10)))))


@pytest.mark.parametrize("name", MODELS)
def test_the_answers_own_model(name: str) -> None:
    fixture = FIXTURES[NAMES.index(name)]
    for pieces in ([body_of(fixture)], cut(body_of(fixture), range(1, len(body_of(fixture))))):
        reader = reader_for(DIALECTS[fixture["protocol"]], fixture["content_type"].encode())
        for piece in pieces:
            reader.feed(piece)
        reader.finish()
        assert reader.model == MODELS[name]


def test_zero_is_told_apart_from_missing() -> None:
    zero = {}
    for name in ("minimax.error.with_body.json", "minimax.error.json", "openai_chat.stream.no_usage.sse"):
        reader = reader_for("openai.chat", b"")
        reader.feed(body_of(FIXTURES[NAMES.index(name)]))
        assert reader.finish() is None
        zero[name] = reader.zero
    assert list(zero.values()) == [True, False, False]
