"""Answers and streams as Messages, read by the official SDK."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.anthropic_messages import SURFACE, surface_stream
from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.events import events_of
from gateway.dialects.chat.form import (
    Answer,
    CallBegan,
    CallPiece,
    ChatRequest,
    Citation,
    Event,
    Finished,
    Image,
    Reasoning,
    Refusal,
    Text,
    TextPiece,
    Thought,
    ThoughtEnded,
    ThoughtPiece,
    ToolCall,
)
from gateway.errors import BadUpstreamReply
from gateway.types import Usage

OWN = "anthropic.messages"
USAGE = Usage(input=100, cached_input=30, cache_write=20, output=9, reasoning=4)


def told(reasoning: Reasoning | None = None) -> Told:
    request = ChatRequest(model="alias", messages=(), reasoning=reasoning)
    return Told(model="alias", request_id="req1", created=1, request=request, input_tokens=77)


def plain(answer: Answer, reasoning: Reasoning | None = None) -> dict[str, Any]:
    body = SURFACE.write(answer, USAGE, told(reasoning))
    message: dict[str, Any] = json.loads(body)
    Message.model_validate(message)
    return message


def streamed(events: list[Event], reasoning: Reasoning | None = None) -> bytes:
    writer = SURFACE.stream(told(reasoning))
    return b"".join(map(writer.write, events)) + writer.end(USAGE)


def accumulated(body: bytes) -> Message:
    """What the SDK's own streaming gives for these bytes."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        client = anthropic.Anthropic(api_key="k", base_url="http://gateway.test", http_client=http, max_retries=0)
        hello: list[Any] = [{"role": "user", "content": "a"}]
        with client.messages.stream(model="alias", max_tokens=5, messages=hello) as stream:
            return stream.get_final_message()


def blocks(events: list[Event], reasoning: Reasoning | None = None) -> list[dict[str, Any]]:
    message = accumulated(streamed(events, reasoning))
    return [block.model_dump(exclude_none=True) for block in message.content]


def frames(body: bytes) -> list[dict[str, Any]]:
    found = []
    for event in body.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        found.append(value)
    return found


def in_order(body: bytes) -> None:
    """Blocks one after the other, each begun, filled and ended; the message around them."""
    events = frames(body)
    assert [events[0]["type"], events[-2]["type"], events[-1]["type"]] == [
        "message_start", "message_delta", "message_stop",
    ]  # fmt: skip
    number, open_ = -1, False
    for event in events[1:-2]:
        kind = event["type"]
        if kind == "content_block_start":
            assert not open_
            number, open_ = number + 1, True
        elif kind == "content_block_stop":
            assert open_
            open_ = False
        else:
            assert kind == "content_block_delta"
            assert open_
        assert event["index"] == number
    assert not open_


# -- whole answers -----------------------------------------------------------------------------------------------------


def test_a_message() -> None:
    message = plain(Answer(id="chatcmpl-1", parts=(Text("Hi"),)))
    assert message == {
        "id": "msg_req1", "type": "message", "role": "assistant", "model": "alias",
        "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {
            "input_tokens": 50, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 30, "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 4},
        },
    }  # fmt: skip
    assert plain(Answer(id="msg_1"))["id"] == "msg_1"


@pytest.mark.parametrize(
    ("finish", "sequence", "reason"),
    [
        (form.STOP, None, "end_turn"),
        (form.STOP, "END", "stop_sequence"),
        (form.LENGTH, None, "max_tokens"),
        (form.TOOL_CALLS, None, "tool_use"),
        (form.FILTERED, None, "refusal"),
    ],
)
def test_why_it_ended(finish: str, sequence: str | None, reason: str) -> None:
    message = plain(Answer(finish=finish, stop_sequence=sequence))
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)
    stream = accumulated(streamed([form.Began(), Finished(finish, sequence)]))
    assert (stream.stop_reason, stream.stop_sequence) == (reason, sequence)


def test_only_anthropics_signatures_are_shown() -> None:
    parts = (
        Thought("a", "own", origin=OWN), Thought(redacted="own", origin=OWN),
        Thought("b", "other", origin="openai.responses"), Thought(redacted="other", origin="gemini.generate"),
        Thought("", "other", origin="openai.responses"), Thought("c"),
    )  # fmt: skip
    assert plain(Answer(parts=parts))["content"] == [
        {"type": "thinking", "thinking": "a", "signature": "own"},
        {"type": "redacted_thinking", "data": "own"},
        {"type": "thinking", "thinking": "b", "signature": ""},
        {"type": "thinking", "thinking": "c", "signature": ""},
    ]
    assert b"other" not in streamed(list(events_of(Answer(parts=parts[2:]))))


def test_thoughts_that_the_client_does_not_want_to_see() -> None:
    answer = Answer(parts=(Thought("secret"), Text("Hi")))
    assert plain(answer, Reasoning(shown=False))["content"] == [{"type": "text", "text": "Hi"}]
    assert blocks(list(events_of(answer)), Reasoning(shown=False)) == [{"type": "text", "text": "Hi"}]


def test_calls_whose_arguments_are_no_object() -> None:
    calls = (ToolCall("a", "f", '{"x": 1}'), ToolCall("b", "f"), ToolCall("c", "f", "{oops"))
    inputs = [block["input"] for block in plain(Answer(parts=calls, finish=form.TOOL_CALLS))["content"]]
    assert inputs == [{"x": 1}, {}, {"_raw": "{oops"}]


def test_sources_and_pictures() -> None:
    cited = Text("blue", (Citation("https://a.example", "A", "it is blue"),))
    answer = Answer(parts=(cited, Image(data="AAAA", media_type="image/png"), Text("end"), Refusal("no")))
    location = {"type": "web_search_result_location", "url": "https://a.example", "title": "A",
                "cited_text": "it is blue", "encrypted_index": ""}  # fmt: skip
    expected = [
        {"type": "text", "text": "blue", "citations": [location]},
        {"type": "text", "text": "![image](data:image/png;base64,AAAA)"},
        {"type": "text", "text": "endno"},
    ]
    assert plain(answer)["content"] == expected
    assert blocks(list(events_of(answer))) == expected


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_of_text() -> None:
    body = streamed([form.Began("msg_7"), TextPiece("Hel"), TextPiece("lo"), Finished(form.STOP)])
    in_order(body)
    start, *_, last, _ = frames(body)
    assert start["message"]["usage"] == {
        "input_tokens": 77, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1,
    }  # fmt: skip
    assert last["usage"] == plain(Answer())["usage"]
    message = accumulated(body)
    assert (message.id, message.model, message.content[0].type) == ("msg_7", "alias", "text")
    assert message.usage.input_tokens == 50
    assert message.usage.cache_read_input_tokens == 30
    assert message.usage.output_tokens == 9


@pytest.mark.parametrize("events", [[], [form.Began()], [Finished(form.STOP)], [ThoughtEnded("x")], [TextPiece("")]])
def test_a_stream_of_nothing(events: list[Event]) -> None:
    body = streamed(events)
    in_order(body)
    assert accumulated(body).content == []


def test_pieces_go_out_at_once() -> None:
    writer = SURFACE.stream(told())
    assert b'"text":"one"' in writer.write(TextPiece("one"))
    assert b'"thinking":"two"' in writer.write(ThoughtPiece("two"))
    assert b'"name":"f"' in writer.write(CallBegan(0, "a", "f"))
    assert b'\\"x\\":1' in writer.write(CallPiece(0, '{"x":1}'))
    # What it has is whole: it is over when another one begins.
    begun = writer.write(CallBegan(1, "b", "g"))
    assert [event["type"] for event in frames(begun)] == [
        "content_block_stop", "content_block_start", "content_block_delta",
    ]  # fmt: skip
    assert b'\\"y\\":2' in writer.write(CallPiece(1, '{"y":2}'))
    assert b'"text":"three"' in writer.write(TextPiece("three"))


def test_interleaved_calls_come_one_after_the_other() -> None:
    body = streamed(
        [
            CallBegan(0, "a", "f"), CallPiece(0, '{"x":'), CallBegan(1, "b", "g"), CallPiece(1, '{"y"'),
            CallPiece(0, "1}"), CallBegan(2, "c", "h"), TextPiece("by the way"), CallPiece(1, ":2}"),
            CallPiece(2, ""), CallPiece(9, "nobody's"), Finished(form.TOOL_CALLS),
        ]
    )  # fmt: skip
    in_order(body)
    message = accumulated(body)
    assert [block.model_dump(include={"id", "name", "input", "text"}) for block in message.content] == [
        {"id": "a", "name": "f", "input": {"x": 1}},
        {"id": "b", "name": "g", "input": {"y": 2}},
        {"id": "c", "name": "h", "input": {}},
        {"text": "by the way"},
    ]
    assert message.stop_reason == "tool_use"


def test_several_thoughts_and_thoughts_behind_text() -> None:
    events: list[Event] = [
        ThoughtPiece("a"), ThoughtEnded("sig"), ThoughtPiece("b"), TextPiece("t"), ThoughtPiece("c"), TextPiece("u"),
    ]  # fmt: skip
    assert [block.get("thinking") or block.get("text") for block in blocks(events)] == ["a", "b", "t", "c", "u"]


def test_a_stream_that_holds_back_too_much_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface_stream, "_MOST_HELD", 1000)
    writer = SURFACE.stream(told())
    writer.write(CallBegan(0, "a", "f"))
    writer.write(CallPiece(0, '{"x":'))
    writer.write(CallBegan(1, "b", "g"))
    with pytest.raises(BadUpstreamReply):
        writer.write(CallPiece(1, "x" * 1000))


_WORDS = st.text(max_size=6)
_PIECES = st.lists(
    st.one_of(
        st.builds(TextPiece, _WORDS),
        st.builds(ThoughtPiece, _WORDS),
        st.builds(ThoughtEnded, _WORDS),
        st.builds(form.RedactedThought, _WORDS),
        st.builds(form.RefusalPiece, _WORDS),
        st.builds(form.CallSigned, st.integers(0, 3), _WORDS),
        st.builds(CallBegan, st.integers(0, 3), st.just("id"), st.just("f")),
        st.builds(CallPiece, st.integers(0, 3), st.sampled_from(["", "{", "}", "{}", '"a"', ":1", ","])),
        st.builds(form.Cited, st.just(Citation("https://a.example"))),
        st.builds(form.ImageGiven, st.just(Image(url="https://a.example/b"))),
        st.just(Finished(form.STOP)),
        st.just(form.Began("x")),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(_PIECES)
def test_events_in_any_order_give_a_stream_in_order(events: list[Event]) -> None:
    body = streamed(events)
    in_order(body)
    shown = "".join(event.text for event in events if isinstance(event, TextPiece | form.RefusalPiece))
    texts = [each["delta"]["text"] for each in frames(body) if each.get("delta", {}).get("type") == "text_delta"]
    assert "".join(text for text in texts if not text.startswith("![image]")) == shown


_PARTS = st.lists(
    st.one_of(
        st.builds(Text, _WORDS),
        st.builds(Thought, st.text(min_size=1, max_size=6)),
        st.builds(ToolCall, st.just("id"), st.just("f"), st.sampled_from(["", "{}", '{"a": 1}'])),
        st.just(Image(url="https://a.example/b")),
        st.builds(Refusal, _WORDS),
    ),
    max_size=6,
)


@settings(deadline=None)
@given(_PARTS)
def test_a_stream_says_the_same_as_a_whole_answer(parts: list[form.Part]) -> None:
    answer = Answer(parts=tuple(parts))
    shown = [{**block, "input": {}} if "input" in block else block for block in plain(answer)["content"]]
    begun: list[dict[str, Any]] = []
    for event in frames(streamed(list(events_of(answer)))):
        if event["type"] == "content_block_start":
            begun.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            for name in ("text", "thinking"):
                if name in event["delta"]:
                    begun[-1][name] += event["delta"][name]
    assert begun == shown
