"""Opaque values found in bytes: those that are there, in any way of writing JSON, and at no great cost."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.opaque import in_answer, in_request

RESPONSES, MESSAGES, GEMINI, CHAT = "openai.responses", "anthropic.messages", "gemini.generate", "openai.chat"


def body(value: Any) -> bytes:
    return msgspec.json.encode(value)


def test_responses() -> None:
    reasoning = {"type": "reasoning", "id": "rs_0123456789ab", "encrypted_content": "gAAAA+/=="}
    answer = {"id": "resp_1", "object": "response", "output": [reasoning], "previous_response_id": None}
    assert in_answer(RESPONSES, body(answer)) == [b"resp_1", b"rs_0123456789ab", b"gAAAA+/=="]
    event = b'event: response.completed\ndata: {"type":"response.completed","response":%b}\n\n' % body(answer)
    assert in_answer(RESPONSES, event) == [b"resp_1", b"rs_0123456789ab", b"gAAAA+/=="]
    more = dict(reasoning, id="rs_second_one", encrypted_content="gBBB")
    both = [b"rs_0123456789ab", b"gAAAA+/==", b"rs_second_one", b"gBBB"]
    assert in_request(RESPONSES, body({"input": [reasoning, more]})) == both
    delta = b'data: {"type":"response.output_text.delta","item_id":"msg_0123456789","delta":"\\"id\\":\\"x\\""}\n\n'
    assert in_answer(RESPONSES, delta) == []
    # What was said last decides, and nothing more than the response that is gone on from, wherever it stands.
    asked = {"previous_response_id": "resp_1", "input": [{"id": "short"}, reasoning], "tools": []}
    assert in_request(RESPONSES, body(asked)) == [b"rs_0123456789ab", b"gAAAA+/==", b"resp_1"]
    assert in_request(RESPONSES, body({"input": "hello", "store": True})) == []


def test_messages() -> None:
    cipher = "EmwKAhgBEgy3va3pzix/" * 5
    turn = [
        {"type": "thinking", "thinking": 'I say "signature": "x"', "signature": "Eo+/1=="},
        {"type": "redacted_thinking", "data": cipher},
        {"data": cipher + "2", "type": "redacted_thinking"},
        {"type": "text", "text": json.dumps({"signature": "not this", "data": cipher})},
    ]
    assert in_request(MESSAGES, body({"messages": [{"role": "assistant", "content": turn}]})) == [
        b"Eo+/1==", cipher.encode(), cipher.encode() + b"2",
    ]  # fmt: skip
    assert in_answer(MESSAGES, body({"content": turn[:1]})) == [b"Eo+/1=="]
    picture = {"type": "image", "source": {"type": "base64", "data": "A" * 1000}}
    assert in_request(MESSAGES, body({"messages": [{"role": "user", "content": [picture]}]})) == []
    events = (
        b'data: {"type":"content_block_start","content_block":{"type":"thinking","thinking":"","signature":""}}\n\n'
        b'data: {"type":"content_block_delta","delta":{"type":"signature_delta","signature":"Eo=="}}\n\n'
        b'data: {"type":"content_block_start","content_block":{"type":"redacted_thinking","data":"%b"}}\n\n'
    ) % cipher.encode()
    assert in_answer(MESSAGES, events) == [b"Eo==", cipher.encode()]


def test_gemini_signatures_are_the_same_in_every_writing() -> None:
    raw = bytes(range(256))
    standard, url_safe = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("=")
    content = {"parts": [{"text": "a", "thoughtSignature": standard}]}
    told = in_answer(GEMINI, body({"candidates": [{"content": content}]}))
    # As Google's servers escape it, as its SDK for Python sends it, and in the names that some clients use.
    escaped = '{"thoughtSignature" : \n "' + standard.replace("=", "\\u003d").replace("/", "\\/") + '"}'
    for written in (escaped, json.dumps({"thought_signature": url_safe}), json.dumps({"thoughtSignature": url_safe})):
        assert in_request(GEMINI, written.encode()) == told
    assert in_request(CHAT, body({"extra_content": {"google": {"thought_signature": standard}}})) == told
    assert len(told) == 1


def test_only_the_last_ones_count_and_an_answers_own_id() -> None:
    signed = [{"type": "thinking", "signature": f"s{number:03d}"} for number in range(100)]
    assert in_request(MESSAGES, body(signed)) == [b"s%03d" % number for number in range(84, 100)]
    items = [{"id": f"msg_{number:09d}"} for number in range(100)]
    found = in_answer(RESPONSES, body({"id": "resp_1", "output": items}))
    assert found[0] == b"resp_1"
    assert found[1:] == [b"msg_%09d" % number for number in range(85, 100)]


def test_a_large_request_is_searched_at_both_ends_only() -> None:
    filler = "x" * (5 << 20)
    first = {"previous_response_id": "resp_1", "encrypted_content": "lost", "input": filler}
    assert in_request(RESPONSES, body(first)) == [b"resp_1"]
    last = {"input": filler, "encrypted_content": "found", "previous_response_id": "resp_1"}
    assert in_request(RESPONSES, body(last)) == [b"found", b"resp_1"]


def test_values_that_cannot_be_any() -> None:
    long = b'"%b"' % (b"x" * (2 << 20))
    for value in (b"null", b"1", b"{}", b'""', b'"open', b'"a\\', b'"\\ud800"', b'"\\x"', long):
        assert in_request(MESSAGES, b'{"signature":%b}' % value) == []
    assert in_request(MESSAGES, b'{"signature"') == in_request(MESSAGES, b"") == []
    assert in_request(MESSAGES, b'{"signature":"good"}' + b'"signature"' * 30) == [b"good"]
    assert in_request(MESSAGES, b'{"signature":"far"}' + b'"signature"' * 1000) == []  # tries are bounded


@pytest.mark.parametrize("dialect", ["minimax.chat", "openai.embeddings", ""])
def test_dialects_without_any(dialect: str) -> None:
    assert in_request(dialect, b'{"signature":"s"}') == in_answer(dialect, b'{"id":"resp_1"}') == []


@given(st.sampled_from([RESPONSES, MESSAGES, GEMINI, CHAT]), st.binary(max_size=300))
def test_any_bytes_give_some_list(dialect: str, data: bytes) -> None:
    data = data.replace(b"A", b'"signature":"').replace(b"B", b'"id":"').replace(b"C", b'"thoughtSignature":"')
    assert all(isinstance(value, bytes) for value in in_request(dialect, data) + in_answer(dialect, data))


@given(st.text(min_size=1, max_size=50))
def test_what_an_answer_had_a_request_has(value: str) -> None:
    told = in_answer(MESSAGES, json.dumps({"signature": value}).encode())
    assert told == [value.encode()]
    assert in_request(MESSAGES, body({"signature": value})) == told
