"""Answers and streams as Gemini's clients expect them: the official SDK reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types

from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import Answer, ChatRequest, Citation, Image, Logprob, Reasoning, Text, Thought, ToolCall
from gateway.dialects.gemini_generate import SURFACE
from gateway.errors import BadUpstreamReply
from gateway.types import Usage
from tests.chat.gemini_generate_requests import PNG

USAGE = Usage(input=100, cached_input=40, output=30, reasoning=10)


def told(shown: bool = False, array: bool = False) -> Told:
    request = ChatRequest(model="m", messages=(), reasoning=Reasoning(shown=True) if shown else None)
    return Told("client-name", "req_1", 1, request, array=array)


def sdk(body: bytes | str) -> types.GenerateContentResponse:
    """As the SDK reads it, to the field."""
    value = json.loads(body)
    for candidate in value["candidates"]:
        if "citationMetadata" in candidate:  # the SDK's own renaming for this wire
            candidate["citationMetadata"]["citations"] = candidate["citationMetadata"].pop("citationSources")
    return types.GenerateContentResponse.model_validate_json(json.dumps(value))


ANSWER = Answer(
    id="resp_7",
    parts=(
        Thought("let me think"),
        Thought(redacted="xxx"),
        Text("Über Oslo.", (Citation("https://a.example", "A", start=5, end=9),)),
        Text(" And more.", (Citation("https://b.example"), Citation("https://c.example", start=1, end=4))),
        ToolCall("c1", "f", '{"a": 1}'),
        ToolCall("c2", "g", ""),
        ToolCall("c3", "h", "{broken"),
        Image(data=PNG, media_type="image/png"),
    ),
    finish=form.TOOL_CALLS,
    logprobs=(Logprob("Ü", -0.5, top=(Logprob("Ü", -0.5), Logprob("U", -1.0))), Logprob("ber", -0.25)),
)


def test_an_answer() -> None:
    response = sdk(SURFACE.write(ANSWER, USAGE, told(shown=True)))
    assert response.response_id == "resp_7"
    assert response.model_version == "client-name"
    (candidate,) = response.candidates or ()
    assert candidate.finish_reason == types.FinishReason.STOP
    parts = [part.model_dump(exclude_none=True) for part in (candidate.content and candidate.content.parts) or ()]
    assert parts[:3] == [{"text": "let me think", "thought": True}, {"text": "Über Oslo."}, {"text": " And more."}]
    assert [part["function_call"] for part in parts[3:6]] == [
        {"id": "c1", "name": "f", "args": {"a": 1}},
        {"id": "c2", "name": "g", "args": {}},
        {"id": "c3", "name": "h", "args": {"_raw": "{broken"}},
    ]
    assert parts[6]["inline_data"]["mime_type"] == "image/png"
    usage = response.usage_metadata
    assert usage is not None
    assert usage.model_dump(exclude_none=True) == {
        "prompt_token_count": 100, "cached_content_token_count": 40, "candidates_token_count": 20,
        "thoughts_token_count": 10, "total_token_count": 130,
    }  # fmt: skip
    citations = (candidate.citation_metadata and candidate.citation_metadata.citations) or ()
    assert [(each.uri, each.title, each.start_index, each.end_index) for each in citations] == [
        ("https://a.example", "A", 6, 10),  # bytes
        ("https://b.example", None, None, None),
        ("https://c.example", None, 12, 15),  # over all texts
    ]
    assert candidate.avg_logprobs == pytest.approx(-0.375)
    result = candidate.logprobs_result
    assert result is not None
    assert [each.token for each in result.chosen_candidates or ()] == ["Ü", "ber"]
    assert [len(each.candidates or ()) for each in result.top_candidates or ()] == [2, 0]


def test_thoughts_are_shown_to_who_asks_for_them() -> None:
    response = sdk(SURFACE.write(ANSWER, USAGE, told()))
    assert not any(part.thought for part in response.parts or ())
    assert response.text == "Über Oslo. And more."


@pytest.mark.parametrize(
    ("finish", "reason"),
    [(form.STOP, "STOP"), (form.TOOL_CALLS, "STOP"), (form.LENGTH, "MAX_TOKENS"), (form.FILTERED, "SAFETY")],
)
def test_why_an_answer_ended(finish: str, reason: str) -> None:
    response = sdk(SURFACE.write(Answer(finish=finish), USAGE, told()))
    assert response.response_id == "req_1"
    assert response.candidates is not None
    assert response.candidates[0].finish_reason == reason


EVENTS = (
    form.Began("resp_7"),
    form.ThoughtPiece("hm"),
    form.ThoughtEnded("c2ln"),
    form.TextPiece("Os", (Logprob("Os", -0.5),)),
    form.TextPiece(""),
    form.TextPiece('lo "x"\n'),
    form.Cited(Citation("https://a.example", "A", start=0, end=4)),
    form.CallBegan(0, "c1", "f"),
    form.CallBegan(1, "c2", "g"),
    form.CallPiece(1, '{"b"'),
    form.CallPiece(0, '{"a": '),
    form.CallPiece(1, ": 2}"),
    form.TextPiece(" after"),
    form.CallPiece(0, "1}"),
    form.CallPiece(9, "lost"),
    form.ImageGiven(Image(data=PNG, media_type="image/png")),
    form.RefusalPiece("no"),
    form.Finished(form.TOOL_CALLS),
)


def chunks(data: bytes) -> list[types.GenerateContentResponse]:
    assert data.endswith(b"\r\n\r\n")
    return [sdk(event.removeprefix("data: ")) for event in data.decode().split("\r\n\r\n")[:-1]]


def test_a_stream() -> None:
    writer = SURFACE.stream(told(shown=True))
    pieces = [writer.write(event) for event in EVENTS]
    assert [bool(piece) for piece in pieces] == [
        False, True, False, True, False, True, False, False, False,
        False, False, False, True, False, False, True, True, False,
    ]  # fmt: skip
    got = chunks(b"".join(pieces) + writer.end(USAGE))
    assert all(chunk.response_id == "resp_7" and chunk.model_version == "client-name" for chunk in got)
    parts = [part for chunk in got for part in chunk.parts or ()]
    assert [part.text for part in parts if part.thought] == ["hm"]
    assert "".join(part.text or "" for part in parts if not part.thought) == 'Oslo "x"\n afterno'
    last = got[-1]
    assert [(call.id, call.name, call.args) for call in last.function_calls or ()] == [
        ("c1", "f", {"a": 1}),
        ("c2", "g", {"b": 2}),
    ]
    assert last.candidates is not None
    assert last.candidates[0].finish_reason == "STOP"
    assert last.candidates[0].citation_metadata is not None
    assert [chunk.usage_metadata is not None for chunk in got] == [False] * (len(got) - 1) + [True]
    first_text = next(chunk for chunk in got if chunk.text)
    assert first_text.candidates is not None
    assert first_text.candidates[0].logprobs_result is not None


def test_a_stream_of_text_ends_with_a_part_as_chats_of_the_sdk_need_it() -> None:
    writer = SURFACE.stream(told())
    data = writer.write(form.ThoughtPiece("hm")) + writer.write(form.TextPiece("hi")) + writer.end(USAGE)
    assert [[part.text for part in chunk.parts or ()] for chunk in chunks(data)] == [["hi"], [""]]


@pytest.mark.parametrize("events", [EVENTS, ()])
def test_a_stream_as_an_array_is_one_document_and_has_the_same_items(events: Any) -> None:
    array, plain = SURFACE.stream(told(shown=True, array=True)), SURFACE.stream(told(shown=True))
    pieces = [array.write(event) for event in events] + [array.end(USAGE)]
    items = json.loads(b"".join(pieces))
    data = b"".join(map(plain.write, events)) + plain.end(USAGE)
    assert items == [json.loads(event.removeprefix(b"data: ")) for event in data.split(b"\r\n\r\n")[:-1]]
    assert b"".join(pieces).startswith(b"[{")
    assert all(piece.startswith((b"[{", b",\r\n{")) for piece in pieces if piece)


def test_arguments_nested_however_deep_are_no_fault() -> None:
    for depth in (50, *range(900, 1000, 3), 100_000):
        text = '{"a": ' + "[" * depth + "]" * depth + "}"
        answer = Answer(parts=(ToolCall("c", "f", text),))
        assert b'"functionCall"' in SURFACE.write(answer, USAGE, told())
        writer = SURFACE.stream(told())
        for event in (form.CallBegan(0, "c", "f"), form.CallPiece(0, text)):
            writer.write(event)
        assert writer.end(USAGE).endswith(b"}\r\n\r\n")


def test_calls_without_end_are_an_error() -> None:
    writer = SURFACE.stream(told())
    writer.write(form.CallBegan(0, "c", "f"))
    for _ in range(31):
        writer.write(form.CallPiece(0, "x" * (1 << 20)))
    with pytest.raises(BadUpstreamReply):
        writer.write(form.CallPiece(0, "x" * (1 << 20)))
