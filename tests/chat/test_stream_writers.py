"""Writers of streams, fed with any neutral events in any order: always output that the official client accepts."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects import conversion
from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.events import Collector, events_of
from gateway.dialects.chat.form import ChatRequest, Citation, Event, Image, Logprob, Reasoning
from gateway.errors import BadUpstreamReply
from gateway.types import Usage
from tests.chat.accepting import DOCUMENTS, STREAMS
from tests.chat.gemini_generate_requests import PNG
from tests.chat.hostile import exhaust

_MANY = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
USAGE = Usage(input=100, cached_input=30, output=9, reasoning=4)
each_surface = pytest.mark.parametrize("surface", STREAMS)

# -- any event ---------------------------------------------------------------------------------------------------------

_WORDS = st.one_of(
    st.text(max_size=8), st.sampled_from(["", "Hello", "\n\n", "\x00", '"', "\\", "\u2028", "😀", "data: x"])
)
_PLACES = st.none() | st.integers(0, 2**53 - 1)
_TOKENS = st.builds(
    Logprob, _WORDS, st.floats(-1e6, 0), st.none() | st.lists(st.integers(0, 255), max_size=3),
    st.lists(st.builds(Logprob, _WORDS, st.floats(-9, 0)), max_size=2).map(tuple),
)  # fmt: skip
_INDEXES = st.integers(0, 3)
_PIECES = ["", "{", "}", "{}", '{"city":', '"Rome"}', '{"city":"Rome"}', "[", "]", "1", "null", "not json", '"']
_IMAGES = st.sampled_from([Image(data=PNG, media_type="image/png"), Image(url="https://a.example/b"),
                           Image(url="https://a.example/b", media_type="image/webp")])  # fmt: skip

_EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(form.Began, _WORDS, st.none() | st.integers(0, 2**40)),
    st.builds(form.TextPiece, _WORDS, st.lists(_TOKENS, max_size=2).map(tuple)),
    st.builds(form.TextPiece, _WORDS),
    st.builds(form.Cited, st.builds(Citation, _WORDS, _WORDS, _WORDS, _PLACES, _PLACES)),
    st.builds(form.RefusalPiece, _WORDS),
    st.builds(form.ThoughtPiece, _WORDS),
    st.builds(form.ThoughtEnded, _WORDS, _WORDS),
    st.builds(form.RedactedThought, _WORDS),
    st.builds(form.CallBegan, _INDEXES, st.uuids().map(str), _WORDS, _WORDS),
    st.builds(form.CallPiece, _INDEXES, st.sampled_from(_PIECES)),
    st.builds(form.CallSigned, _INDEXES, _WORDS),
    st.builds(form.ImageGiven, _IMAGES),
)
_ENDS = st.builds(form.Finished, st.sampled_from(form.FINISHES), st.none() | _WORDS)


def counted(events: list[Event]) -> list[Event]:
    """Calls are counted in the order in which they begin."""
    numbers = itertools.count()
    return [
        form.CallBegan(next(numbers), event.id, event.name) if isinstance(event, form.CallBegan) else event
        for event in events
    ]


_SEQUENCES = st.lists(_EVENTS, max_size=20).map(counted)


def told(shown: bool, array: bool = False) -> Told:
    request = ChatRequest(model="alias", messages=(), stream=True, reasoning=Reasoning(on=True, shown=shown))
    return Told("alias", "req1", 1, request, input_tokens=7, wants_usage=shown, array=array)


def written(surface: str, events: list[Event], shown: bool) -> bytes:
    writer = conversion.SURFACES[surface].stream(told(shown))
    return b"".join([*map(writer.write, events), writer.end(USAGE)])


@each_surface
@_MANY
@given(events=_SEQUENCES, end=st.lists(_ENDS, max_size=1), shown=st.booleans())
def test_whatever_comes_before_the_finish(surface: str, events: list[Event], end: list[Event], shown: bool) -> None:
    STREAMS[surface](written(surface, events + end, shown))


@each_surface
@_MANY
@given(events=st.lists(_EVENTS | _ENDS, max_size=15), shown=st.booleans())
def test_finishes_anywhere(surface: str, events: list[Event], shown: bool) -> None:
    """No reader tells more behind a finish; if one did, each event would still be JSON."""
    for line in written(surface, events, shown).splitlines():
        if line.startswith(b"data: ") and line != b"data: [DONE]":
            assert isinstance(json.loads(line[6:]), dict)


@_MANY
@given(events=_SEQUENCES, end=_ENDS)
def test_an_array_is_one(events: list[Event], end: Event) -> None:
    writer = conversion.SURFACES["gemini.generate"].stream(told(True, array=True))
    found = json.loads(b"".join([*map(writer.write, [*events, end]), writer.end(USAGE)]))
    assert all("candidates" in each for each in found)


def kept(value: Any) -> Any:
    """What a stream and the answer collected from it must have in common."""
    if hasattr(value, "choices"):
        message = value.choices[0].message
        return message.content or "", [(call.id, call.function.name) for call in message.tool_calls or []]
    if hasattr(value, "output"):
        calls = [(item.call_id, item.name) for item in value.output if item.type == "function_call"]
        return value.output_text, calls
    calls = [(block.id, block.name) for block in value.content if block.type == "tool_use"]
    return "".join(block.text for block in value.content if block.type == "text"), calls


@pytest.mark.parametrize("surface", ["openai.chat", "openai.responses", "anthropic.messages"])
@_MANY
@given(events=_SEQUENCES, end=_ENDS)
def test_a_stream_says_what_the_whole_answer_says(surface: str, events: list[Event], end: Event) -> None:
    """The same events put together first, and written as a document: texts and calls agree."""
    collector = Collector()
    collector.take([*events, end])
    answer = collector.answer()
    document = DOCUMENTS[surface](json.loads(conversion.SURFACES[surface].write(answer, USAGE, told(True))))
    assert kept(STREAMS[surface](written(surface, [*events, end], True))) == kept(document)
    again = [*events_of(answer)]
    assert kept(STREAMS[surface](written(surface, again, True))) == kept(document)


# -- much of everything ------------------------------------------------------------------------------------------------

_MUCH: dict[str, list[Event]] = {
    "calls": [form.CallBegan(number, f"c{number}", "f") for number in range(3000)],
    "pieces of calls that take turns": [
        *(form.CallBegan(number, f"c{number}", "f") for number in range(50)),
        *(
            form.CallPiece(number % 50, '{"a":' if number < 50 else "1" if number < 4950 else "}")
            for number in range(5000)
        ),
    ],
    "a huge argument": [form.CallBegan(0, "c", "f"), form.CallPiece(0, '{"a":"' + "x" * 4_000_000 + '"}')],
    "thoughts and texts by turns": [
        event for _ in range(2000) for event in (form.ThoughtPiece("t"), form.TextPiece("x"))
    ],
    "sources": [form.TextPiece("x"), *(form.Cited(Citation(f"https://a.example/{number}")) for number in range(3000))],
    "one text": [form.TextPiece("word ")] * 20_000,
}

# Where the official client itself takes quadratic time.
_SLOW = {("openai.chat", "sources"), ("anthropic.messages", "pieces of calls that take turns")}


@each_surface
@pytest.mark.parametrize("name", _MUCH)
def test_much_of_everything(surface: str, name: str) -> None:
    out = written(surface, [*_MUCH[name], form.Finished("stop")], True)
    assert out
    if len(out) < 1_000_000 and (surface, name) not in _SLOW:
        STREAMS[surface](out)


@pytest.mark.parametrize("surface", ["openai.responses", "anthropic.messages", "gemini.generate"])
def test_what_is_held_back_is_bounded(surface: str) -> None:
    """A call that never ends, and behind it another one for ever."""
    writer = conversion.SURFACES[surface].stream(told(True))
    piece = "x" * (1 << 20)
    events: list[Event] = [form.CallBegan(0, "a", "f"), form.CallBegan(1, "b", "f"), *[form.CallPiece(1, piece)] * 80]
    with pytest.raises(BadUpstreamReply):
        exhaust(map(writer.write, events))
