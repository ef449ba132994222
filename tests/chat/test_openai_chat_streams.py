"""Streamed chat completions: vendors' chunks into neutral events, and events into chunks that OpenAI's SDK takes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.events import Collector, events_of
from gateway.dialects.chat.form import Answer, Event
from gateway.dialects.chat.transform import Transform
from gateway.dialects.openai_chat import SURFACE, VENDOR
from gateway.dialects.openai_chat.thinking import Splitter, split
from gateway.errors import BadUpstreamReply
from gateway.types import Usage
from tests.chat.openai_chat_recorded import STREAMS, Recorded, agrees
from tests.chat.openai_chat_requests import PNG

ASKED = form.ChatRequest(model="mine", messages=())
USAGE = Usage(input=7, cached_input=3, output=5, reasoning=2)


def told(wants_usage: bool = True) -> Told:
    return Told("mine", "req1", 1700000000, ASKED, wants_usage=wants_usage)


def converted(pieces: Iterable[bytes]) -> bytes:
    transform = Transform(VENDOR, SURFACE.stream(told()), "seed")
    out = b"".join([transform.feed(piece) for piece in pieces])
    return out + transform.last(b"") + transform.finish(USAGE)


def events(*chunks: dict[str, Any]) -> list[Event]:
    reader = VENDOR.stream("seed")
    return [event for chunk in chunks for event in reader.read(json.dumps(chunk).encode(), b"")]


def collected(found: Iterable[Event]) -> Answer:
    collector = Collector("openai.chat")
    collector.take(found)
    return collector.answer()


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-7", "created": 5, "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


# -- recorded ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorded", STREAMS, ids=lambda each: each.name)
def test_recorded_streams_are_the_same_however_they_are_cut(recorded: Recorded) -> None:
    body, dice = recorded.body, random.Random(recorded.name)
    whole = converted([body])
    assert converted([body[at : at + 1] for at in range(len(body))]) == whole
    for _ in range(10):
        cuts = [0, *sorted(dice.sample(range(len(body)), 5)), len(body)]
        assert converted([body[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]) == whole
    check_sdk(whole)


@pytest.mark.parametrize("recorded", STREAMS, ids=lambda each: each.name)
def test_recorded_streams_say_what_they_say(recorded: Recorded) -> None:
    chunks = [json.loads(line[5:]) for line in recorded.body.decode().splitlines() if line.startswith("data: {")]
    found = events(*chunks)
    agrees(collected(found), recorded.expect)
    assert sum(isinstance(event, form.Finished) for event in found) == ("spark" not in recorded.name)


def check_sdk(stream: bytes, wants_usage: bool = True) -> Any:
    """The completion that OpenAI's SDK puts together."""
    *lines, end, last = stream.decode().split("\n\n")
    assert (end, last) == ("data: [DONE]", "")
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    values = [json.loads(line.removeprefix("data: ")) for line in lines if line != ": keep-alive"]
    for value in values:
        state.handle_chunk(ChatCompletionChunk.model_validate(value, strict=True))
    assert values[0]["choices"][0]["delta"]["role"] == "assistant"
    assert len({(value["id"], value["created"], value["model"], value["object"]) for value in values}) == 1
    content = values[:-1] if wants_usage else values
    assert [each["choices"][0]["finish_reason"] is not None for each in content].index(True) == len(content) - 1
    if wants_usage:
        assert values[-1]["choices"] == []
        assert all(value["usage"] is None for value in content)
    else:
        assert not any("usage" in value for value in values)
    return state.current_completion_snapshot


# -- fragments of calls ------------------------------------------------------------------------------------------------


def fragment(arguments: str | None = None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


ONE = [("c1", "f", '{"a":1}')]
MADE = ("call_seed_0", "f", "{}")
TWO = [*ONE, ("c2", "g", '{"b":2}')]


@pytest.mark.parametrize(
    ("deltas", "calls"),
    [
        ([[fragment('{"a":', "f", index=0, id="c1")], [fragment("1}", index=0)]], ONE),
        ([[fragment('{"a":', "f", index=0, id="c1")], [fragment("1}", index=0, id="")]], ONE),
        ([[fragment('{"a":', "f", index=0, id="c1")], [fragment("1}", "f", index=0, id="c1")]], ONE),
        ([[fragment('{"a":', "f", index=0, id="c1")], [fragment("1}", index=0, id="another")]], ONE),
        ([[fragment('{"a":', "f", index=None, id="c1")], [fragment("1}", id="")]], ONE),
        ([[fragment('{"a":', "f", id="c1")], [fragment("1}", id="c1")]], ONE),
        ([[fragment('{"a":', "f", id="c1")], [fragment("1}")], [fragment('{"b":2}', "g", id="c2")]], TWO),
        ([[fragment('{"a":1}', "f", id="c1", index=0), fragment('{"b":2}', "g", id="c2", index=0)]], TWO),
        ([[fragment('{"a":1}', "f", id="c1", index=0)], [fragment('{"b":2}', "g", id="c2", index=0)]], TWO),
        (
            [[fragment("", "f", index=0, id="c1"), fragment("", "g", index=1, id="c2")], [fragment('{"b":', index=1)],
             [fragment('{"a":', index=0)], [fragment("2}", index=1), fragment("1}", index=0)]],
            TWO,
        ),
        ([[fragment(index=0, id="c1")], [fragment('{"a":', index=0)], [fragment("1}", "f", index=0)]], ONE),
        ([[fragment(name="f")], [fragment("{}")], [fragment("{}", "f")]], [MADE, ("call_seed_1", "f", "{}")]),
        ([[fragment(name="f")], [fragment("{}", "f")]], [MADE]),
        ([[fragment("{}", "f"), fragment("{}", "g")]], [MADE, ("call_seed_1", "g", "{}")]),
        ([fragment('{"a":1}', "f", id="c1")], ONE),
        ([[fragment(None, "f", index=0, id="c1")]], [("c1", "f", "")]),
        ([[fragment("x", index=0)], [fragment("y", index=3)]], []),
    ],
)  # fmt: skip
def test_fragments_come_to_their_calls(deltas: list[Any], calls: list[tuple[str, str, str]]) -> None:
    found = events(*[delta(tool_calls=each) for each in deltas], delta("stop"))
    answer = collected(found)
    assert [(c.id, c.name, c.arguments) for c in answer.parts if isinstance(c, form.ToolCall)] == calls
    assert answer.finish == (form.TOOL_CALLS if calls else form.STOP)


def test_arguments_do_not_wait_for_a_name_for_ever() -> None:
    with pytest.raises(BadUpstreamReply):
        events(*[delta(tool_calls=[fragment("x" * 1000, index=0)])] * 1100)


def test_the_old_form_of_calls() -> None:
    found = events(delta(function_call={"name": "f", "arguments": "{"}), delta(function_call={"arguments": "}"}))
    assert collected(found).parts == (form.ToolCall("call_seed_0", "f", "{}"),)


# -- other oddities ----------------------------------------------------------------------------------------------------


def test_what_is_said_again_at_the_end_is_not_told_twice() -> None:
    again = {"id": "x", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    answer = collected(events(delta(content="Hi"), again))
    assert (answer.parts, answer.finish) == ((form.Text("Hi"),), form.STOP)
    found = events(delta(content="Hi"), delta("stop"), again, delta(content="late"), delta("length"))
    assert found[-1] == form.Finished(form.STOP)
    assert collected(found).parts == (form.Text("Hi"),)


def test_a_whole_answer_in_one_event() -> None:
    whole = {"id": "x", "choices": [{"message": {"content": "Hi", "reasoning": "hm"}, "finish_reason": "stop"}]}
    assert collected(events(whole)).parts == (form.Thought("hm", origin="openai.chat"), form.Text("Hi"))


def test_chunks_that_say_nothing() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "b"}}]}
    assert events({"choices": []}, {"choices": None}, {"usage": {}}, other) == []
    assert events(delta(role="", content=""), delta(content=None), delta("")) == [form.Began("chatcmpl-7", 5)]


def test_thoughts_may_come_anywhere() -> None:
    pieces = [{"content": "a"}, {"reasoning_content": "t"}, {"content": "b"}, {"reasoning": "u"}]
    found = events(*[delta(**piece) for piece in pieces])
    assert [type(event) for event in found[1:]] == [
        form.TextPiece, form.ThoughtPiece, form.TextPiece, form.ThoughtPiece,
    ]  # fmt: skip


def test_citations_pictures_logprobs() -> None:
    where = {"url": "https://a.b", "title": "A", "start_index": 0, "end_index": 1}
    note = {"type": "url_citation", "url_citation": where}
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    token = {"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": []}
    chunk = delta(content="a", annotations=[note], images=[picture])
    chunk["choices"][0]["logprobs"] = {"content": [token]}
    assert events(chunk)[1:] == [
        form.TextPiece("a", (form.Logprob("a", -1.0),)),
        form.Cited(form.Citation("https://a.b", "A", start=0, end=1)),
        form.ImageGiven(form.Image(data=PNG, media_type="image/png")),
    ]


_TAGS = ("<think>", "</think>", "<", "a", "\n", " ", "</thi", "nk>")


@given(st.lists(st.sampled_from(_TAGS), max_size=8), st.randoms())
def test_tags_are_found_however_they_are_cut(words: list[str], dice: random.Random) -> None:
    text = "".join(words)
    whole = split(text)
    splitter, thought, rest, at = Splitter(), "", "", 0
    while at < len(text):
        size = dice.randint(1, 4)
        more = splitter.feed(text[at : at + size])
        thought, rest, at = thought + more[0], rest + more[1], at + size
    last = splitter.finish()
    assert (thought + last[0], rest + last[1]) == whole
    if not text.lstrip().startswith("<think>"):
        assert whole == ("", text)


def test_thoughts_in_tags_are_thoughts() -> None:
    text = "<think>a</think>b"
    for cut in range(len(text)):
        found = collected(events(delta(content=text[:cut]), delta(content=text[cut:]), delta("stop")))
        assert found.parts == (form.Thought("a", origin="openai.chat"), form.Text("b"))
    pieces = ["<th", "ink>\nI ", "see</", "thi", "nk>\n\n", "Hi", " <think>"]
    answer = collected(events(*[delta(content=piece) for piece in pieces], delta("stop")))
    assert answer.parts == (form.Thought("I see", origin="openai.chat"), form.Text("Hi <think>"))
    assert collected(events(delta(content="<"), delta("stop"))).parts == (form.Text("<"),)


@pytest.mark.parametrize(
    "payload", [b"5", b'"x"', b"[]", b'{"choices":5}', b'{"choices":[5]}', b'{"choices":[{"delta":7}]}']
)
def test_what_is_no_chunk_breaks_the_stream(payload: bytes) -> None:
    transform = Transform(VENDOR, SURFACE.stream(told()), "seed")
    with pytest.raises(BadUpstreamReply):
        transform.feed(b"data: " + payload + b"\n\n")


# -- written -----------------------------------------------------------------------------------------------------------

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=5)
_PARTS = st.one_of(
    st.builds(form.Text, _WORDS, st.lists(st.just(form.Citation("https://a.b", "A")), max_size=1).map(tuple)),
    st.builds(form.Thought, _WORDS, st.sampled_from(["", "sig"])),
    st.builds(form.Thought, redacted=_WORDS),
    st.builds(form.ToolCall, st.just("c"), st.just("f"), st.sampled_from(["", '{"a":1}', "not json"])),
    st.builds(form.Refusal, _WORDS),
    st.builds(form.Image, data=st.just(PNG), media_type=st.just("image/png")),
)
_ANSWERS = st.builds(
    Answer, id=st.sampled_from(["", "msg_1", "chatcmpl-1"]), created=st.none() | st.just(5),
    parts=st.lists(_PARTS, max_size=6).map(tuple), finish=st.sampled_from(form.FINISHES),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(_ANSWERS, st.booleans())
def test_a_stream_says_what_the_whole_answer_says(answer: Answer, wants_usage: bool) -> None:
    whole = json.loads(SURFACE.write(answer, USAGE, told()))
    writer = SURFACE.stream(told(wants_usage))
    stream = b"".join(map(writer.write, events_of(answer))) + writer.end(USAGE)
    found = json.loads(check_sdk(stream, wants_usage).model_dump_json(exclude_unset=True))
    assert (found["id"], found["created"], found["model"]) == (whole["id"], whole["created"], "mine")
    if wants_usage:
        assert found["usage"] == whole["usage"]
    (streamed,), (choice,) = found["choices"], whole["choices"]
    assert streamed["finish_reason"] == choice["finish_reason"]
    assert _plain(streamed["message"]) == _plain(choice["message"])


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing, and without the places that the SDK leaves in the parts of a list."""
    lists = ("tool_calls", "annotations", "images")
    found = {name: message.get(name) or None for name in ("content", "refusal", "reasoning_content", *lists)}
    for name in lists:
        found[name] = [{k: v for k, v in each.items() if k != "index"} for each in found[name] or ()]
    for each in found["annotations"]:  # a stream does not tell where one text ends and the next begins
        each["url_citation"] = {"url": each["url_citation"]["url"], "title": each["url_citation"]["title"]}
    for call in found["tool_calls"]:
        call["function"] = {k: call["function"][k] for k in ("name", "arguments")}
    return found


def test_usage_is_written_in_openais_arithmetic() -> None:
    whole = json.loads(SURFACE.write(Answer(), Usage(10, 4, 3, 6, 2), told()))["usage"]
    assert whole == {
        "prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }  # fmt: skip
    assert json.loads(SURFACE.write(Answer(), Usage(10), told()))["usage"]["prompt_tokens_details"] == {
        "cached_tokens": 0
    }


def test_whole_answers_are_what_the_sdk_takes() -> None:
    token = form.Logprob("a", -0.5, [97], (form.Logprob("b", -1.5),))
    call = form.ToolCall("c1", "f")
    answer = Answer(id="msg_1", parts=(call,), finish=form.TOOL_CALLS, logprobs=(token,))
    found = ChatCompletion.model_validate_json(SURFACE.write(answer, USAGE, told()), strict=True)
    message = found.choices[0].message
    assert (found.id, found.created, message.content) == ("chatcmpl-req1", 1700000000, None)
    assert message.tool_calls is not None
    assert message.tool_calls[0].to_dict()["function"] == {"name": "f", "arguments": "{}"}
    assert found.choices[0].logprobs is not None
    assert json.loads(SURFACE.write(Answer(), USAGE, told()))["choices"][0]["message"]["content"] == ""


def test_places_of_citations_count_in_the_whole_text() -> None:
    writer = SURFACE.stream(told())
    cited = form.Cited(form.Citation("https://a.b", "A", start=1, end=2))
    pieces = [form.TextPiece("abc"), form.ThoughtPiece("t"), form.TextPiece("defg"), cited]
    *_, last = [writer.write(event) for event in pieces]
    note = json.loads(last[6:])["choices"][0]["delta"]["annotations"][0]["url_citation"]
    assert (note["start_index"], note["end_index"]) == (4, 5)


def test_without_a_reason_the_end_gives_one() -> None:
    for event, reason in ((form.TextPiece("a"), "stop"), (form.CallBegan(0, "c", "f"), "tool_calls")):
        writer = SURFACE.stream(told(wants_usage=False))
        completion = check_sdk(writer.write(event) + writer.end(USAGE), wants_usage=False)
        assert completion.choices[0].finish_reason == reason


def test_interleaved_calls_and_empty_ones() -> None:
    writer = SURFACE.stream(told())
    calls = [
        form.CallBegan(0, "c1", "f"), form.CallBegan(1, "c2", "g"), form.CallPiece(1, '{"b":'),
        form.CallBegan(2, "c3", "h"), form.CallPiece(0, '{"a":1}'), form.CallPiece(1, "2}"), form.CallPiece(2, ""),
        form.Finished(form.TOOL_CALLS),
    ]  # fmt: skip
    stream = b"".join(map(writer.write, calls)) + writer.end(USAGE)
    found = check_sdk(stream).choices[0].message.tool_calls
    arguments = {call.id: call.function.arguments for call in found}
    assert arguments == {"c1": '{"a":1}', "c2": '{"b":2}', "c3": "{}"}
