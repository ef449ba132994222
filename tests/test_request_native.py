"""What the gateway reads of requests in Anthropic's and Gemini's words, and the edits of their bytes."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.edit import rewritten
from gateway.dialects.estimate import PICTURE, estimate_tokens
from gateway.dialects.request import Peek, peek
from gateway.errors import BadRequest
from gateway.providers import Quirks

TURN = {"role": "user", "parts": [{"text": "hi"}]}
MESSAGE: dict[str, Any] = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
LEAST: dict[str, dict[str, Any]] = {
    "anthropic.messages": MESSAGE,
    "anthropic.count": {"model": "claude", "messages": MESSAGE["messages"]},
    "gemini.generate": {"contents": [TURN]},
    "gemini.count": {"contents": [TURN]},
    "gemini.embed": {"content": TURN},
    "gemini.batch": {"requests": [{"model": "models/m", "content": TURN}, {"content": TURN}]},
}
PATHS = ("gemini.generate", "gemini.count", "gemini.embed", "gemini.batch")


def asked(surface: str, body: Any, model: str = "m", stream: bool = False) -> Peek:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return peek(surface, body, model, stream) if surface in PATHS else peek(surface, body)


def refusal(surface: str, body: Any, model: str = "m") -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        asked(surface, body, model)
    return caught.value


@pytest.mark.parametrize("surface", LEAST)
def test_the_least_request(surface: str) -> None:
    found = asked(surface, LEAST[surface])
    assert (found.surface, found.model) == (surface, "claude" if surface.startswith("anthropic") else "m")
    assert (found.stream, found.wants_usage, found.n) == (False, False, 1)
    assert found.max_output == (9 if surface == "anthropic.messages" else None)
    assert (found.images, found.tools) == (False, False)
    assert found.count == (2 if surface == "gemini.batch" else 1)
    assert 5 < found.input_tokens < 60


def test_all_that_is_read_of_a_message() -> None:
    body = MESSAGE | {"stream": True, "max_tokens": 500, "tools": [{"name": "f"}], "n": "x"}
    found = asked("anthropic.messages", body)
    assert (found.stream, found.max_output, found.tools, found.n) == (True, 500, True, 1)
    assert asked("anthropic.messages", MESSAGE | {"max_tokens": 0}).max_output == 0  # fills the cache
    assert not asked("anthropic.messages", MESSAGE | {"stream": None}).stream
    assert asked("anthropic.count", MESSAGE).max_output is None


@pytest.mark.parametrize(("config", "most", "count"), [
    ("generationConfig", "maxOutputTokens", "candidateCount"),
    ("generation_config", "max_output_tokens", "candidate_count"),
    ("generationConfig", "max_output_tokens", "candidate_count"),
])  # fmt: skip
def test_all_that_is_read_of_geminis(config: str, most: str, count: str) -> None:
    body = {"contents": [TURN], config: {most: 70, count: 3, "topK": "odd"}, "tools": [{"functionDeclarations": []}]}
    for printed in (json.dumps(body).encode(), json.dumps(body, indent=1).encode()):
        for stream in (True, False):
            found = asked("gemini.generate", printed, stream=stream)
            assert (found.max_output, found.n, found.stream, found.tools) == (70, 3, stream, True)
    absent = asked("gemini.generate", body | {config: {most: None, count: None}})
    assert (absent.max_output, absent.n) == (None, 1)
    assert asked("gemini.generate", body | {config: None}).max_output is None
    assert asked("gemini.generate", body | {config: {count: 0}}).n == 1


def test_of_two_spellings_the_larger_limit_counts() -> None:
    body = {"contents": [TURN], "generationConfig": {"maxOutputTokens": 5, "candidateCount": 1},
            "generation_config": {"maxOutputTokens": 50, "max_output_tokens": 500, "candidate_count": 4}}  # fmt: skip
    found = asked("gemini.generate", body)
    assert (found.max_output, found.n) == (500, 4)
    found = asked("gemini.generate", {name: body[name] for name in reversed(body)})
    assert (found.max_output, found.n) == (500, 4)
    both = {"maxOutputTokens": 500, "max_output_tokens": 5}
    assert asked("gemini.generate", body | {"generationConfig": both, "generation_config": {}}).max_output == 500


@pytest.mark.parametrize(("surface", "change", "param"), [
    ("anthropic.messages", {"max_tokens": None}, "max_tokens"),
    ("anthropic.messages", {"max_tokens": -1}, "max_tokens"),
    ("anthropic.messages", {"max_tokens": "9"}, "max_tokens"), ("anthropic.messages", {"messages": []}, "messages"),
    ("anthropic.messages", {"messages": "hi"}, "messages"), ("anthropic.messages", {"model": ""}, "model"),
    ("anthropic.messages", {"stream": "yes"}, "stream"), ("anthropic.count", {"messages": None}, "messages"),
    ("gemini.generate", {"contents": []}, "contents"), ("gemini.generate", {"contents": TURN}, "contents"),
    ("gemini.generate", {"generationConfig": []}, "generationConfig"),
    ("gemini.generate", {"generation_config": 5}, "generation_config"),
    ("gemini.generate", {"generationConfig": {"maxOutputTokens": 1.5}}, "generationConfig.maxOutputTokens"),
    ("gemini.generate", {"generationConfig": {"candidateCount": 129}}, "generationConfig.candidateCount"),
    ("gemini.generate", {"model": "models/other"}, "model"), ("gemini.generate", {"model": 7}, "model"),
    ("gemini.count", {"contents": None}, "contents"), ("gemini.embed", {"content": "hi"}, "content"),
    ("gemini.embed", {"content": None}, "content"), ("gemini.batch", {"requests": []}, "requests"),
    ("gemini.batch", {"requests": [{"model": "m"}, {"model": "models/x"}]}, "requests[1].model"),
    ("gemini.count", {"generateContentRequest": {"model": "x"}}, "generateContentRequest.model"),
])  # fmt: skip
def test_refused_with_the_field_named(surface: str, change: dict[str, Any], param: str) -> None:
    error = refusal(surface, LEAST[surface] | change)
    assert error.param == param
    assert f"`{param}`" in error.message


def test_what_is_missing_is_named() -> None:
    for surface in LEAST:
        for name in LEAST[surface]:
            error = refusal(surface, {key: value for key, value in LEAST[surface].items() if key != name})
            assert (error.param, "missing" in error.message) == (name, True)
    assert refusal("gemini.generate", b'{"contents":[1],"generationConfig":{"a":1,"a":2}}').param == "generationConfig"
    assert asked("gemini.count", {"generateContentRequest": {"model": "models/m", "contents": [TURN]}}).model == "m"
    for name in ("", "x" * 257, "a\nb"):
        assert refusal("gemini.generate", LEAST["gemini.generate"], name).param == "model"


DATA = base64.b64encode(bytes(range(256)) * 100).decode()
SOURCE = {"type": "base64", "media_type": "image/png", "data": DATA}
INLINE = {"mimeType": "image/png", "data": DATA}


def message(*blocks: Any) -> dict[str, Any]:
    return MESSAGE | {"messages": [{"role": "user", "content": list(blocks)}]}


def contents(*parts: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts)}]}


@pytest.mark.parametrize(("surface", "body", "pictures"), [
    ("anthropic.messages", message({"type": "image", "source": SOURCE}), 1),
    ("anthropic.messages", message({"type": "image", "source": dict(reversed(SOURCE.items()))}), 1),
    ("anthropic.messages", message({"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}), 1),
    ("anthropic.messages", message({"type": "tool_result", "content": [{"type": "image", "source": SOURCE}] * 3}), 3),
    ("gemini.generate", contents({"inlineData": INLINE}), 1),
    ("gemini.generate", contents({"inlineData": dict(reversed(INLINE.items()))}, {"text": "x"}), 1),
    ("gemini.generate", contents({"inline_data": {"mime_type": "image/webp", "data": DATA.replace("/", "_")}}), 1),
    ("gemini.generate", contents({"fileData": {"mimeType": "image/png", "fileUri": "gs://a/b"}}), 1),
    ("gemini.count", contents({"inlineData": INLINE}, {"inlineData": INLINE}), 2),
])  # fmt: skip
def test_pictures_are_seen_and_counted_as_such(surface: str, body: dict[str, Any], pictures: int) -> None:
    for options in ({}, {"indent": 1}, {"separators": (",", ":")}):
        found = asked(surface, json.dumps(body, **options).encode())  # type: ignore[arg-type]
        assert found.images
        assert pictures * PICTURE < found.input_tokens < pictures * PICTURE + 250


def test_what_only_looks_like_a_picture() -> None:
    for part in ({"inlineData": INLINE}, {"type": "image", "source": SOURCE}):
        said = json.dumps(part)
        for surface, body in (("gemini.generate", contents({"text": said})), ("anthropic.messages", message(said))):
            found = asked(surface, body)
            assert not found.images
            assert found.input_tokens > 10_000  # it is text
    assert asked("gemini.generate", contents({"functionCall": {"args": {"data": DATA}}})).input_tokens > 10_000


def test_other_media_by_their_kind() -> None:
    size = len(DATA)
    for kind, per_token in (("audio/mp3", 200), ("video/mp4", 200), ("application/pdf", 50), ("text/plain", 5)):
        body = json.dumps(contents({"inlineData": {"mimeType": kind, "data": DATA}})).encode()
        assert size // per_token < estimate_tokens(body, inline=True) < size // per_token + 60


# -- edits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [
    b'{"contents":[{"role":"model","parts":[{"text":"hi"}]}]}', b'{ "contents" : [ {"model":"m"} ]\n}',
    b'{"contents":[1],"tools":[{"model":"m"}],"requests":null}', b'{"contents":[1],"generateContentRequest":null}',
])  # fmt: skip
def test_a_body_of_geminis_stays_as_it_is(body: bytes) -> None:
    assert rewritten(asked("gemini.generate", body), "other", ask_usage=True) is body


@pytest.mark.parametrize(("surface", "body", "swapped"), [
    ("gemini.generate", b'{"model": "models/m", "contents": [1]}', b'{"model": "models/big", "contents": [1]}'),
    ("gemini.generate", b'{"contents":[{"model":"m"}],"model":"m"}', b'{"contents":[{"model":"m"}],"model":"big"}'),
    ("gemini.embed", b'{\n"content": {"x":1},\n"model" :"models/m"}\n',
     b'{\n"content": {"x":1},\n"model" :"models/big"}\n'),
    ("gemini.batch", b'{"requests":[ {"model":"models/m","content":{}} ,\n{"content":{},"model":"m"},{"model":null}]}',
     b'{"requests":[ {"model":"models/big","content":{}} ,\n{"content":{},"model":"big"},{"model":null}]}'),
    ("gemini.batch", b'{"requests":[{"content":{"model":"m"}},{"content":{"model":"m"}},{"model":"models/m"}]}',
     b'{"requests":[{"content":{"model":"m"}},{"content":{"model":"m"}},{"model":"models/big"}]}'),
    ("gemini.count", b'{"generateContentRequest":{"model":"models/m","contents":[1]}}',
     b'{"generateContentRequest":{"model":"models/big","contents":[1]}}'),
])  # fmt: skip
def test_the_models_name_is_swapped_wherever_it_stands(surface: str, body: bytes, swapped: bytes) -> None:
    assert rewritten(asked(surface, body), "big") == swapped
    assert rewritten(asked(surface, body), "m") is body


def test_a_message_is_edited_as_a_chat_is() -> None:
    body = json.dumps(MESSAGE | {"stream": True}).encode()
    assert rewritten(asked("anthropic.messages", body), "b", ask_usage=True) == body.replace(b"claude", b"b")
    labelled = asked("gemini.generate", contents({"text": "x"}) | {"labels": {}})
    assert json.loads(rewritten(labelled, "b", quirks=Quirks(drop=("labels",)))) == contents({"text": "x"})


@given(st.lists(st.fixed_dictionaries({}, optional={"model": st.sampled_from(["m", "models/m", None]),
                                                    "content": st.just({"model": "m"})}), min_size=1, max_size=5),
       st.sampled_from([None, 1]))  # fmt: skip
def test_any_batch_is_swapped_and_nothing_else(requests: list[dict[str, Any]], indent: int | None) -> None:
    body = json.dumps({"requests": requests}, indent=indent).encode()
    swapped = rewritten(asked("gemini.batch", body), "zz")
    expected = [
        each | {"model": each["model"].replace("m", "zz") if each["model"] == "m" else "models/zz"} if each.get("model")
        else each for each in requests
    ]  # fmt: skip
    assert json.loads(swapped) == {"requests": expected}
    assert len(swapped) - len(body) == sum(1 for each in requests if each.get("model"))


@given(st.binary(max_size=60) | st.text('{}[]",:\\ab1 \n', max_size=40).map(str.encode))
def test_garbage_is_taken_or_refused(body: bytes) -> None:
    for surface in LEAST:
        for each in (body, b'{"requests":[%s],"contents":[1],"content":{},"model":"m"}' % body):
            with suppress(BadRequest):
                rewritten(asked(surface, each), "other")


def test_what_may_be_large() -> None:
    big = {"text": "x" * (2 << 20)}
    for surface, body in (
        ("gemini.generate", contents(big)), ("gemini.generate", contents({}) | {"systemInstruction": {"parts": [big]}}),
        ("gemini.generate", contents({}) | {"system_instruction": {"parts": [big]}}),
        ("gemini.embed", {"content": {"parts": [big]}}),
        ("gemini.batch", {"requests": [{"content": {"parts": [big]}}]}),
        ("gemini.count", {"generateContentRequest": contents(big)}),
        ("anthropic.messages", MESSAGE | {"system": big["text"]}),
    ):  # fmt: skip
        assert asked(surface, body).input_tokens > 400_000
    assert "1 MiB" in refusal("gemini.generate", contents({}) | {"labels": big}).message
