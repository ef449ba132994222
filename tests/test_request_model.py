"""The model that a request asks for: JSON bodies, forms, targets."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import RequestModel, model_from_target
from gateway.dialects.request_model import REACH

FORM = b'multipart/form-data; boundary="xYz"'


def part(name: str, value: bytes, extra: str = "") -> bytes:
    return f'--xYz\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n"


def read(body: bytes, content_type: bytes = b"application/json", step: int = 0) -> str | None:
    peek = RequestModel(content_type)
    for start in range(0, len(body), step or len(body) or 1):
        peek.feed(body[start : start + (step or len(body))])
    return peek.model


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model":"gpt-x","messages":[]}', "gpt-x"),
        (b'{"messages":[{"model":"no"}],"stream":true,"model":"gpt-x"}\n', "gpt-x"),
        (b'{"messages":[{"content":"\\",\\"model\\":\\"no\\""}],"model":"gpt-x"}', "gpt-x"),
        (b'{"model":"deepseek-ai\\/V3 \\u00e9"}', "deepseek-ai/V3 é"),
        (b'{"model":"first","model":"last"}', "last"),
        (b'{"model":5}', None),
        (b'{"model":""}', None),
        (b'{"x":{"model":"no"}}', None),
        (b'[{"model":"no"}]', None),
        (b'"model"', None),
        (b"", None),
        (b"{", None),
        (b'{"model":"a\\nb\\u200b"}', "ab"),
        (b'{"model":"' + b"m" * 300 + b'"}', "m" * 200),
        (b'{"x":' + b"[" * 5000 + b"]" * 5000 + b',"model":"m"}', "m"),
        (b'{"x":"' + b"A" * (REACH - 100) + b'","model":"m"}', "m"),
        (b'{"x":"' + b"A" * REACH + b'","model":"m"}', None),
        (b'{"model":"m","x":"' + b"A" * REACH + b'"}', "m"),
    ],
)
def test_json_bodies(body: bytes, model: str | None) -> None:
    assert read(body) == read(body, step=1) == read(body, step=1000) == model


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (part("model", b"whisper-x") + part("file", b"RIFF", '; filename="a.wav"') + b"--xYz--\r\n", "whisper-x"),
        (part("prompt", b'name="model"') + part("model", b"whisper-x") + b"--xYz--\r\n", "whisper-x"),
        (b"preamble\r\n" + part("file", bytes(30_000), '; filename="model"') + part("model", b"w") + b"--xYz--", "w"),
        (part("model_name", b"no") + b"--xYz--", None),
        (part("file", b"no", '; filename="x"; name="y"') + b"--xYz--", None),
        (part("file", bytes(REACH)) + part("model", b"late") + b"--xYz--", None),
        (b'--xYz\r\ncontent-type: text/plain\r\ncontent-disposition: form-data;name=model\r\n\r\nw\r\n--xYz--', "w"),
        (part("model", b"unfinished"), None),
    ],
)
def test_forms(body: bytes, model: str | None) -> None:
    assert read(body, FORM) == read(body, FORM, 1) == read(body, FORM, 500) == model


def test_done_tells_when_to_stop_feeding() -> None:
    for body, content_type in ((b'{"model":"m"}', b""), (b"x" * REACH, b""), (part("model", b"m") + b"--xYz", FORM)):
        peek = RequestModel(content_type)
        assert not peek.done
        peek.feed(body)
        assert peek.done
    assert RequestModel(b"multipart/form-data").done


def test_bodies_are_not_kept() -> None:
    pieces = [b'{"x":"', *[b"A" * 65536] * 100, b'","model":"m"}']
    for content_type in (b"application/json", FORM):
        peek = RequestModel(content_type)
        tracemalloc.start()
        try:
            for piece in pieces:
                peek.feed(piece)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("path", "query", "model"),
    [
        (b"/v1beta/models/gemini-4-flash:generateContent", b"", "gemini-4-flash"),
        (b"/v1beta/models/gemini-4-flash:streamGenerateContent", b"alt=sse&key=k&model=no", "gemini-4-flash"),
        (b"/v1/tunedModels/my-1%3AembedContent", b"", "my-1"),
        (b"/gemini/v1beta/models/a%2Fb%20c%3agenerateContent", b"", "a/b c"),
        (b"/v1beta/models/m:beta:generateContent", b"", "m:beta"),
        (b"/v1beta/models/gemini-4-flash", b"", None),
        (b"/v1/realtime", b"intent=x&model=qwen%2Fomni+1", "qwen/omni 1"),
        (b"/v1/realtime", b"model=&model=b", "b"),
        (b"/v1/realtime", b"submodel=b", None),
        (b"/v1/realtime", b"", None),
        (b"/x", b"model=%ff%00a", "\ufffda"),
        (b"/x", b"&".join([b"model=m"] * 100_000), "m"),
    ],
)
def test_targets(path: bytes, query: bytes, model: str | None) -> None:
    assert model_from_target(path, query) == model


@given(st.binary(max_size=80), st.binary(max_size=80), st.booleans())
@settings(max_examples=500)
def test_any_target(path: bytes, query: bytes, by_path: bool) -> None:
    model = model_from_target(b"/models/" + path + b":x" if by_path else path, b"model=" + query)
    assert model is None or (model.isprintable() and 0 < len(model) <= 200)


PIECES = st.one_of(st.binary(max_size=30), st.sampled_from([b'{"model":"m"', b"}", part("model", b"m")]))


@given(st.sampled_from([b"", FORM, b"multipart/form-data; boundary=", b"\xff"]), st.lists(PIECES, max_size=6))
@settings(max_examples=500)
def test_any_body(content_type: bytes, pieces: list[bytes]) -> None:
    peek = RequestModel(content_type)
    for piece in pieces:
        peek.feed(piece)
    assert peek.model is None or peek.model.isprintable()


@given(
    st.dictionaries(st.sampled_from(["model", "x"]), st.one_of(st.text(max_size=9), st.integers())), st.integers(1, 9)
)
def test_a_body_says_the_same_however_it_is_cut(document: dict[str, object], step: int) -> None:
    body = json.dumps(document).encode()
    assert read(body, step=step) == read(body)
