"""The rules by which usage objects count: exact paths, replace, zeros, totals, tolerant numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.dialects import DIALECTS, reader_for
from gateway.dialects.readers import UsageReader
from gateway.types import Usage

JSON, SSE = b"application/json", b"text/event-stream"
CHAT = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def events(*documents: Any) -> bytes:
    return b"".join(b"data: " + encoded(document) + b"\n\n" for document in documents)


def reader_of(dialect: str, body: bytes, *, stream: bool = False, piece: int = 0) -> UsageReader:
    reader = reader_for(dialect, SSE if stream else JSON)
    for start in range(0, len(body), piece or len(body) or 1):
        reader.feed(body[start : start + (piece or len(body))])
    return reader


def read(dialect: str, body: bytes, *, stream: bool = False) -> Usage | None:
    """The usage, the same whether the body comes whole or in the smallest pieces."""
    found = reader_of(dialect, body, stream=stream).finish()
    assert reader_of(dialect, body, stream=stream, piece=1).finish() == found
    assert reader_of(dialect, body + b" " * 70_000, stream=stream).finish() == found  # through the scanner
    return found


def tokens(usage: Usage | None) -> tuple[int, int, int, int, int] | None:
    if usage is None:
        return None
    return usage.input, usage.cached_input, usage.cache_write, usage.output, usage.reasoning


DIALECT_IDS = [
    "openai.chat", "openai.completions", "openai.responses", "openai.embeddings", "openai.images", "openai.speech",
    "openai.transcriptions", "openai.realtime", "openai.videos", "anthropic.messages", "gemini.generate",
    "gemini.embed", "gemini.videos", "dashscope.generation", "dashscope.embeddings", "dashscope.rerank",
    "dashscope.images", "dashscope.videos", "dashscope.speech", "minimax.chat", "minimax.speech", "minimax.videos",
    "minimax.images", "ark.images", "ark.videos", "openspeech.asr", "openspeech.tts", "jina.rerank",
    "cohere.rerank", "kling.videos", "vidu.videos", "zhipu.images", "zhipu.videos", "gemini.interactions",
    "ark.embeddings", "cohere.embed", "hunyuan.chat", "ark.context", "ark.bots",
]  # fmt: skip


def test_every_dialect_is_known_and_no_other() -> None:
    assert sorted(DIALECTS) == sorted(DIALECT_IDS)


@pytest.mark.parametrize("dialect", DIALECT_IDS)
@pytest.mark.parametrize("content_type", [b"application/json; charset=utf-8", SSE, b"", b"audio/mpeg"])
def test_every_reader_ends_without_usage_on_an_error(dialect: str, content_type: bytes) -> None:
    reader = reader_for(dialect, content_type)
    reader.feed(b'{"error": {"message": "no", "type": "invalid_request_error"}}')
    assert reader.finish() is None
    assert not reader.zero


# Each row: dialect, document, (input, cached, written, output, reasoning), extra units.
NORMAL_FORMS: list[tuple[str, dict[str, Any], tuple[int, int, int, int, int], dict[str, float]]] = [
    ("openai.chat", {"usage": {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 101}}, (8, 0, 0, 93, 0), {}),
    ("openai.chat", {"usage": {"total_tokens": 7}}, (7, 0, 0, 0, 0), {}),
    ("openai.chat", {"usage": {"output_tokens": 3, "total_tokens": 7}}, (4, 0, 0, 3, 0), {}),
    (
        "openai.chat",
        {"usage": {"prompt_tokens": 0, "completion_tokens": 3, "total_tokens": 7}},
        (0, 0, 0, 7, 0),
        {},
    ),
    ("openai.chat", {"usage": {**CHAT, "prompt_cache_hit_tokens": 4}}, (10, 4, 0, 5, 0), {}),
    ("openai.chat", {"usage": {**CHAT, "cached_tokens": 99}}, (10, 10, 0, 5, 0), {}),
    (
        "openai.chat",
        {"usage": {**CHAT, "prompt_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 7}}},
        (10, 7, 3, 5, 0),
        {},
    ),
    ("openai.chat", {"usage": {**CHAT, "completion_tokens_details": {"reasoning_tokens": 9}}}, (10, 0, 0, 5, 5), {}),
    ("ark.bots", {"usage": CHAT, "bot_usage": {"model_usage": [CHAT, CHAT, 3]}}, (20, 0, 0, 10, 0), {}),
    ("ark.bots", {"usage": CHAT, "bot_usage": {"model_usage": []}}, (10, 0, 0, 5, 0), {}),
    ("openai.embeddings", {"usage": {"prompt_tokens": 5, "total_tokens": 9}}, (5, 0, 0, 0, 0), {}),
    ("openai.embeddings", {"usage": {"total_tokens": 9}}, (9, 0, 0, 0, 0), {}),
    ("openai.embeddings", {"vectors": [[1]], "total_tokens": 6}, (6, 0, 0, 0, 0), {}),
    ("cohere.embed", {"meta": {"billed_units": {"input_tokens": 4, "images": 2}}}, (4, 0, 0, 0, 0), {"images": 2}),
    ("jina.rerank", {"usage": {"total_tokens": 9, "prompt_tokens": 9}}, (9, 0, 0, 0, 0), {}),
    ("jina.rerank", {"tokens": {"input_tokens": 4, "output_tokens": 1}}, (4, 0, 0, 1, 0), {}),
    ("cohere.rerank", {"meta": {"billed_units": {"search_units": 2}}}, (0, 0, 0, 0, 0), {"search_units": 2}),
    ("openai.images", {"data": [{"url": "a"}, {"url": "b"}]}, (0, 0, 0, 0, 0), {"images": 2}),
    ("openai.images", {"data": [], "usage": {"generated_images": 3}}, (0, 0, 0, 0, 0), {"generated_images": 3}),
    ("minimax.images", {"metadata": {"success_count": "2"}, "data": {}}, (0, 0, 0, 0, 0), {"images": 2}),
    ("dashscope.images", {"output": {}, "usage": {"image_count": 1, "width": 9}}, (0, 0, 0, 0, 0), {"images": 1}),
    (
        "openai.transcriptions",
        {"text": "a", "usage": {"type": "duration", "seconds": 2.5}},
        (0, 0, 0, 0, 0),
        {"seconds": 2.5},
    ),
    ("openai.transcriptions", {"text": "a", "duration": "2.5"}, (0, 0, 0, 0, 0), {"seconds": 2.5}),
    (
        "openai.transcriptions",
        {
            "usage": {
                "type": "tokens",
                "input_tokens": 14,
                "output_tokens": 5,
                "total_tokens": 19,
                "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
            }
        },
        (14, 0, 0, 5, 0),
        {"audio_input_tokens": 10},
    ),
    ("dashscope.speech", {"usage": {"characters": 12}}, (0, 0, 0, 0, 0), {"characters": 12}),
    ("minimax.speech", {"extra_info": {"usage_characters": 26}}, (0, 0, 0, 0, 0), {"characters": 26}),
    ("openspeech.tts", {"code": 20000000, "usage": {"text_words": 11}}, (0, 0, 0, 0, 0), {"characters": 11}),
    ("openspeech.asr", {"audio_info": {"duration": 3696}}, (0, 0, 0, 0, 0), {"seconds": 3.696}),
    (
        "dashscope.generation",
        {"usage": {"models": [{"input_tokens": 3, "output_tokens": 1}, {"input_tokens": 4}]}},
        (7, 0, 0, 1, 0),
        {},
    ),
    (
        "dashscope.generation",
        {"usage": {"input_tokens": 3, "output_tokens": 1, "plugins": {"search": {"count": 2}}}},
        (3, 0, 0, 1, 0),
        {"web_search": 2},
    ),
    (
        "openai.responses",
        {"usage": {"input_tokens": 3, "output_tokens": 1}, "tool_usage": {"web_search": {"num_requests": 2}}},
        (3, 0, 0, 1, 0),
        {"web_search": 2},
    ),
    (
        "openai.responses",
        {
            "usage": {
                "input_tokens": 30,
                "output_tokens": 1,
                "x_details": [{"input_tokens": 30, "prompt_tokens_details": {"cache_creation_input_tokens": 20}}],
            }
        },
        (30, 0, 20, 1, 0),
        {},
    ),
    (
        "gemini.generate",
        {
            "usageMetadata": {
                "promptTokenCount": 5,
                "candidatesTokenCount": 9,
                "thoughtsTokenCount": 4,
                "totalTokenCount": 14,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 7}],
            }
        },
        (5, 0, 0, 9, 4),
        {"image_output_tokens": 7},
    ),
    ("gemini.embed", {"usageMetadata": {"promptTokenCount": 5}}, (5, 0, 0, 0, 0), {}),
    (
        "gemini.interactions",
        {"usage": {"total_input_tokens": 5, "total_output_tokens": 2, "total_thought_tokens": 3, "total_tokens": 10}},
        (5, 0, 0, 5, 3),
        {},
    ),
    ("ark.videos", {"usage": {"completion_tokens": 108900, "total_tokens": 108900}}, (0, 0, 0, 108900, 0), {}),
    (
        "anthropic.messages",
        {
            "usage": {
                "input_tokens": 1,
                "output_tokens": 2,
                "iterations": [
                    {"type": "compaction", "input_tokens": 50, "output_tokens": 7},
                    {"type": "message", "input_tokens": 1, "output_tokens": 2},
                ],
                "server_tool_use": {"web_search_requests": 3},
            }
        },
        (51, 0, 0, 9, 0),
        {"web_search": 3},
    ),
    (
        "anthropic.messages",
        {
            "usage": {
                "input_tokens": 1,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5},
            }
        },
        (10, 0, 9, 0, 0),
        {},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "document", "expected", "extra"), NORMAL_FORMS)
def test_normal_form(
    dialect: str, document: dict[str, Any], expected: tuple[int, ...], extra: dict[str, float]
) -> None:
    found = read(dialect, encoded(document))
    assert found is not None
    assert tokens(found) == expected
    assert found.extra_units == extra


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("29", 29), ("29.0", 29), ("2.9e1", 29), ('"29"', 29), ('" 29.0 "', 29), ("null", 0), ("-3", 0), ('"-3"', 0),
        ("true", 0), ('"many"', 0), ("[]", 0), ("{}", 0), ("NaN", 0), ("Infinity", 0), ("-Infinity", 0), ("1e999", 0),
        ("1" * 5000, 0), ('"' + "9" * 5000 + '"', 0), ("99999999999999999999999", 0), ('"1_000"', 0), ('"0x10"', 0),
    ],
)  # fmt: skip
def test_numbers_are_tolerated(number: str, expected: int) -> None:
    body = f'{{"usage": {{"prompt_tokens": {number}, "completion_tokens": 2}}}}'.encode()
    assert tokens(read("openai.chat", body)) == (expected, 0, 0, 2, 0)


NO_USAGE = [
    b"", b" ", b"null", b"[]", b"{}", b'"usage"', b"{", b"}", b'{"usage', b'{"usage":', b'{"usage":{"prompt_tokens":',
    b'{"usage":null}', b'{"usage":{}}', b'{"usage":[]}', b'{"usage":"x"}', b'{"usage":7}',
    b'{"usage":[{"total_tokens":1}]}',
    b'{"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}',
    b'{"x":{"usage":{"total_tokens":9}}}', b'[{"usage":{"total_tokens":9}}]', b'{"x":[{"usage":{"total_tokens":9}}]}',
    b'{"choices":[{"message":{"usage":{"total_tokens":9}}}]}', b'{"choices":{"usage":{"total_tokens":9}}}',
    b'{"x":"{\\"usage\\":{\\"total_tokens\\":9}}"}', b'{"x":"\\",\\"usage\\":{\\"total_tokens\\":9}"}',
    b'{"response":{"usage":{"total_tokens":9}}}', b'{"Usage":{"total_tokens":9}}', b'{"usage ":{"total_tokens":9}}',
    b'{"tool_usage":{"total_tokens":9}}', b'{"usage":{"total_tokens":9},"usage":null}',
    b'{"usage":{"total_tokens":9},"usage":{}}',
]  # fmt: skip


@pytest.mark.parametrize("body", NO_USAGE)
def test_only_the_exact_path_counts(body: bytes) -> None:
    assert read("openai.chat", body) is None
    assert read("openai.chat", b"data: " + body + b"\n\n", stream=True) is None


def test_usage_of_every_dialect_is_its_own() -> None:
    gemini, hunyuan = {"promptTokenCount": 3}, {"PromptTokens": 4}
    body = encoded({"usageMetadata": gemini, "Usage": hunyuan, "response": {"usage": CHAT}})
    assert tokens(read("gemini.generate", body)) == (3, 0, 0, 0, 0)
    assert tokens(read("hunyuan.chat", body)) == (4, 0, 0, 0, 0)
    assert tokens(read("openai.responses", body)) == (10, 0, 0, 5, 0)
    assert read("anthropic.messages", body) is None


def test_the_last_of_equal_keys_counts_and_escapes_are_understood() -> None:
    body = b'{"usage":{"total_tokens":1},"\\u0075sage":{"total_tokens":2,"total_tokens":3}}'
    assert tokens(read("openai.chat", body)) == (3, 0, 0, 0, 0)


def test_restatements_replace_and_zeros_do_not() -> None:
    small, zero = {**CHAT, "completion_tokens": 1, "total_tokens": 11}, dict.fromkeys(CHAT, 0)
    stream = events({"usage": zero}, {"usage": small}, {"usage": CHAT}, {"usage": zero}, {"usage": {}}, {"usage": None})
    assert tokens(read("openai.chat", stream, stream=True)) == (10, 0, 0, 5, 0)


def test_usage_in_a_choice_counts_unless_a_better_one_follows() -> None:
    null = {"usage": None}
    choice = {"choices": [{"delta": {}, "usage": CHAT}, null]}
    better = {"prompt_tokens": 10, "completion_tokens": 6}
    for stream, output in (
        (events(null, choice, null), 5),
        (events(choice, {"choices": [], "usage": better}), 6),
        (events({**choice, "usage": better}), 6),
    ):
        assert tokens(read("openai.chat", stream, stream=True)) == (10, 0, 0, output, 0)


def test_anthropic_counters_are_merged_by_their_maximum() -> None:
    stream = events(
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}},
        {"type": "content_block_delta", "delta": {"partial_json": '{"usage":{"input_tokens":999}}'}},
        {"type": "message_delta", "usage": {"output_tokens": 40, "input_tokens": 0}},
        {"type": "message_delta", "usage": {"output_tokens": 0, "input_tokens": 12, "cache_read_input_tokens": None}},
    )
    assert tokens(read("anthropic.messages", stream, stream=True)) == (12, 0, 0, 40, 0)


def test_fake_usage_in_text_arguments_and_echoes_is_left_alone() -> None:
    fake = {"usage": {"total_tokens": 999}, "usageMetadata": {"promptTokenCount": 999}}
    call = {"function": {"name": "f", "arguments": json.dumps(fake)}}
    delta = {"tool_calls": [call], "content": json.dumps(fake), **fake}
    stream = events({"choices": [{"delta": delta}]}, {"usage": CHAT})
    assert tokens(read("openai.chat", stream, stream=True)) == (10, 0, 0, 5, 0)
    part = {"functionCall": {"name": "f", "args": fake}}
    real = {"usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 1}}
    stream = events(real, {"candidates": [{"content": {"parts": [part]}}]})
    assert tokens(read("gemini.generate", stream, stream=True)) == (4, 0, 0, 1, 0)
    echo = {"instructions": json.dumps(fake), "tools": [fake], "metadata": fake, "output": [fake], "usage": CHAT}
    stream = events({"type": "response.completed", "response": echo})
    assert tokens(read("openai.responses", stream, stream=True)) == (10, 0, 0, 5, 0)


def test_a_broken_event_is_given_up_alone() -> None:
    stream = b'data: {"usage": {"total_tokens": \n\ndata: \xff\xfe"usage":\n\n' + events({"usage": CHAT})
    stream += b'data: {"usage":{"total_tokens":99\n\n'
    assert tokens(read("openai.chat", stream, stream=True)) == (10, 0, 0, 5, 0)


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n\n", b" \r\n", b"\xef\xbb\xbf\n"])
def test_a_bom_or_blank_lines_may_come_first(before: bytes) -> None:
    for body in (events({"usage": CHAT}), encoded({"usage": CHAT})):
        for piece in (0, 1, 2):
            usage = reader_of("openai.chat", before + body, stream=True, piece=piece).finish()
            assert tokens(usage) == (10, 0, 0, 5, 0)


def test_a_cut_body_keeps_what_was_complete() -> None:
    body = encoded({"model": "m", "usage": CHAT, "choices": [{"message": {"content": "a" * 100}}]})
    assert tokens(read("openai.chat", body[:-50])) == (10, 0, 0, 5, 0)


def test_json_objects_behind_each_other() -> None:
    body = b'{"code":0,"data":"QUJD"}\n{"code":0,"data":null}\n{"code":20000000,"usage":{"text_words":11}}\n'
    found = read("openspeech.tts", body)
    assert found is not None
    assert found.extra_units == {"characters": 11}


@pytest.mark.parametrize("nesting", [b"[" * 9000, b'{"a":' * 9000, b'[{"a":' * 5000])
def test_deep_nesting_beside_the_usage(nesting: bytes) -> None:
    close = bytes(reversed(nesting)).translate(bytes.maketrans(b"[{", b"]}"), b'"a:')
    for body in (
        b'{"x":' + nesting + b"1" + close + b',"usage":{"total_tokens":3}}',
        b'{"usage":{"total_tokens":3},"x":' + nesting + b"1" + close + b"}",
    ):
        assert tokens(reader_of("openai.chat", body).finish()) == (3, 0, 0, 0, 0)
        assert tokens(reader_of("openai.chat", b"data:" + body, stream=True, piece=1000).finish()) == (3, 0, 0, 0, 0)
    deep_usage = b'{"usage":' + nesting + b"1" + close + b"}"
    assert reader_of("openai.chat", deep_usage).finish() is None


def test_bad_utf8_nul_and_lone_surrogates() -> None:
    body = b'{"model":"a\\ud800b","x":"\xff\x00\xc3","usage":{"total_tokens":3,"\xff":1}}'
    for usage in (read("openai.chat", body), read("openai.chat", b"data: " + body + b"\n\n", stream=True)):
        assert usage is None or tokens(usage) == (3, 0, 0, 0, 0)
    assert tokens(read("openai.chat", b'{"x":"\xff\x00\xc3","usage":{"total_tokens":3}}')) == (3, 0, 0, 0, 0)


def test_model_labels_are_printable_and_bounded() -> None:
    reader = reader_of("openai.chat", encoded({"model": "a\nb" + "c" * 500}))
    reader.finish()
    assert reader.model == "ab" + "c" * 197
