"""Gemini's answers, whole and streamed, into the neutral form."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import scan
from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import Answer, ChatRequest, Citation, Image, Logprob, Reasoning, Text, Thought, ToolCall
from gateway.dialects.chat.transform import Transform
from gateway.dialects.gemini_generate import SURFACE, VENDOR
from gateway.errors import BadUpstreamReply
from gateway.types import Usage
from tests.chat.gemini_generate_requests import PNG

FIXTURES = Path(__file__).parent.parent / "fixtures" / "chat" / "gemini_generate"
STREAMS = sorted(FIXTURES.glob("stream.*"))
OWN = "gemini.generate"


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def answer(*parts: Any, finish: str | None = "STOP", **candidate: Any) -> Answer:
    content = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **candidate}
    if finish:
        content["finishReason"] = finish
    return VENDOR.read(json.dumps({"candidates": [content], "responseId": "r"}).encode(), "seed")


def events(*chunks: Any) -> list[form.Event]:
    reader = VENDOR.stream("seed")
    return [event for chunk in chunks for event in reader.read(json.dumps(chunk).encode(), b"")]


def chunk(*parts: Any, finish: str | None = None, **candidate: Any) -> dict[str, Any]:
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [{"content": {"parts": list(parts)}, **candidate}], "responseId": "r"}


# -- whole answers -----------------------------------------------------------------------------------------------------


def test_a_whole_answer() -> None:
    assert VENDOR.read(fixture("response.json"), "seed") == Answer(id="rEsPfx01", parts=(Text("Granite floats? No."),))


def test_thoughts_and_a_signature_that_belongs_to_the_text() -> None:
    read = VENDOR.read(fixture("response.thought.json"), "seed")
    assert read.parts == (Thought("thinking…", origin=OWN), Text("See page 3."))


def test_a_blocked_prompt_is_filtered() -> None:
    assert VENDOR.read(fixture("response.blocked.json"), "seed") == Answer(id="rEsPfx02", finish=form.FILTERED)
    assert VENDOR.read(fixture("picture.blocked.json"), "seed").finish == form.FILTERED


def test_an_array_is_one_answer() -> None:
    assert VENDOR.read(fixture("stream.array.json"), "seed").parts == (Text("Oslo is north."),)


def test_a_picture() -> None:
    read = VENDOR.read(fixture("picture.inline.json"), "seed")
    assert read.parts == (Text("Here is the icon."), Image(data=PNG, media_type="image/png"))
    loose = {"mimeType": "image/png", "data": PNG.translate(str.maketrans("+/", "-_")).rstrip("=")}
    assert answer({"inlineData": loose}).parts == (Image(data=PNG, media_type="image/png"),)
    sketch = {"inlineData": loose, "thought": True}
    assert answer(sketch, {"text": "x"}).parts == (Text("x"),)
    assert answer({"fileData": {"mimeType": "image/png", "fileUri": "https://x.example/a"}}).parts == (
        Image(url="https://x.example/a", media_type="image/png"),
    )


def test_citations_and_logprobs() -> None:
    read = VENDOR.read(fixture("response.grounded.json"), "seed")
    text = "Über Oslo regnet es. In Bergen auch."
    assert read.parts == (
        Text(
            text,
            (
                Citation("https://book.example/1", start=0, end=4),
                Citation("https://yr.example/oslo", "yr", start=0, end=20),
                Citation("https://yr.example/bergen", start=21, end=len(text)),
            ),
        ),
    )
    assert read.logprobs == (Logprob("Über", -0.25, top=(Logprob("Über", -0.25), Logprob("In", -1.5))),)


def test_citations_that_cannot_be_placed_or_read_cost_no_answer() -> None:
    places = {"citationSources": [{"startIndex": 3, "endIndex": 99, "uri": "https://a"}, {"uri": "gs://b"}]}
    (text,) = answer({"text": "hi"}, citationMetadata=places).parts
    assert text == Text("hi", (Citation("https://a"),))
    for broken in ({"citationSources": 7}, [], "x", {"citationSources": [{"uri": 1}]}):
        assert answer({"text": "hi"}, citationMetadata=broken, groundingMetadata=broken).parts == (Text("hi"),)
    assert answer({"text": "hi"}, logprobsResult={"chosenCandidates": "?"}).logprobs == ()


def test_calls() -> None:
    read = answer(
        {"functionCall": {"name": "f", "args": {"a": 1.50}, "id": "own"}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "g", "args": {}}},
        {"functionCall": {"name": "h"}},
        {"functionCall": {"name": "i", "args": None}},
    )
    assert read.parts == (
        ToolCall("own", "f", '{"a": 1.5}', "c2ln", OWN),
        ToolCall("call_seed_1", "g", "{}"),
        ToolCall("call_seed_2", "h", "{}"),
        ToolCall("call_seed_3", "i", "{}"),
    )
    assert read.finish == form.TOOL_CALLS
    assert len(VENDOR.read(fixture("response.json"), "s" * 100).id) < 40


def test_made_ids_are_short_and_differ() -> None:
    body = json.dumps(chunk(*[{"functionCall": {"name": "f"}}] * 12, finish="STOP")).encode()
    ids = [part.id for part in VENDOR.read(body, "req_" + "0" * 60).parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == 12
    assert all(len(id) <= 40 for id in ids)
    assert ids == [part.id for part in VENDOR.read(body, "req_" + "0" * 60).parts if isinstance(part, ToolCall)]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", form.STOP),
        ("MAX_TOKENS", form.LENGTH),
        ("CONTINUATION", form.LENGTH),
        ("SAFETY", form.FILTERED),
        ("RECITATION", form.FILTERED),
        ("LANGUAGE", form.FILTERED),
        ("BLOCKLIST", form.FILTERED),
        ("PROHIBITED_CONTENT", form.FILTERED),
        ("SPII", form.FILTERED),
        ("IMAGE_SAFETY", form.FILTERED),
        ("NO_IMAGE", form.FILTERED),
        ("MODEL_ARMOR", form.FILTERED),
        ("MALFORMED_FUNCTION_CALL", form.STOP),
        ("OTHER", form.STOP),
        ("SOMETHING_NEW", form.STOP),
        (None, form.STOP),
    ],
)
def test_why_an_answer_ended(reason: str | None, finish: str) -> None:
    assert answer({"text": "x"}, finish=reason).finish == finish
    call = {"functionCall": {"name": "f"}}
    assert answer(call, finish=reason).finish == (form.TOOL_CALLS if reason and finish == form.STOP else finish)


@pytest.mark.parametrize(
    "reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE", "OTHER"]
)
def test_a_model_that_failed_before_it_said_anything_is_an_error(reason: str) -> None:
    with pytest.raises(BadUpstreamReply, match=reason):
        answer(finish=reason)


def test_an_answer_without_content_is_one() -> None:
    body = {"candidates": [{"finishReason": "MAX_TOKENS", "index": 0}]}
    assert VENDOR.read(json.dumps(body).encode(), "s") == Answer(finish=form.LENGTH)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"7", b"[7]", b"{}", b"[]",
        b'{"candidates": {}}', b'{"candidates": [null]}', b'{"candidates": []}',
        b'{"candidates": [{"content": []}]}', b'{"candidates": [{"content": {"parts": [{"text": 7}]}}]}',
        b'{"candidates": [{"content": {"parts": [{"functionCall": {"args": {}}}]}}]}',
        b'{"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "YQ=="}}]}}]}',
        b'{"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "$"}}]}}]}',
        b'{"candidates": [{"content": {"parts": [{"text": "\xff"}]}}]}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error_of_the_vendor(body: bytes) -> None:
    with pytest.raises((BadUpstreamReply, *scan.UNREADABLE)):
        VENDOR.read(body, "seed")


# -- streams -----------------------------------------------------------------------------------------------------------


def test_pieces_of_a_stream() -> None:
    assert events(
        chunk({"text": "hm", "thought": True}),
        chunk({"text": "yes", "thought": True, "thoughtSignature": "c2ln"}),
        chunk({"text": "Oslo"}, index=0),
        {"usageMetadata": {}},
        chunk({"text": "no", "thought": False}, index=1),
        chunk({"text": " is"}, {"text": " north"}, finish="FINISH_REASON_UNSPECIFIED"),
        chunk({"text": ""}, finish="STOP"),
        chunk({"text": ""}, finish="STOP"),
    ) == [
        form.Began("r"),
        form.ThoughtPiece("hm"),
        form.ThoughtPiece("yes"),
        form.ThoughtEnded("c2ln"),
        form.TextPiece("Oslo"),
        form.TextPiece(" is"),
        form.TextPiece(" north"),
        form.Finished(form.STOP),
    ]


def test_late_signatures() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": [1]}}}
    late = {"text": "", "thoughtSignature": "bGF0ZQ=="}
    begun = [form.Began("r"), form.CallBegan(0, "call_seed_0", "f"), form.CallPiece(0, '{"a": [1]}')]
    second = [form.CallBegan(1, "call_seed_1", "f"), form.CallPiece(1, '{"a": [1]}')]
    end = form.Finished(form.TOOL_CALLS)
    again = {"text": "", "thoughtSignature": "b3RoZXI="}  # the first one counts
    assert events(chunk(call), chunk(call), chunk(late, again, finish="STOP")) == [
        *begun, *second, form.CallSigned(0, "bGF0ZQ=="), end,
    ]  # fmt: skip
    signed = call | {"thoughtSignature": "c2ln"}
    assert events(chunk(signed), chunk(late, finish="STOP")) == [
        form.Began("r"), form.CallBegan(0, "call_seed_0", "f", "c2ln"), begun[2], end,
    ]  # fmt: skip
    thought = {"text": "hm", "thought": True}
    assert events(chunk(thought), chunk(late), chunk(call, finish="STOP")) == [
        form.Began("r"), form.ThoughtPiece("hm"), form.ThoughtEnded("bGF0ZQ=="), *begun[1:], end,
    ]  # fmt: skip
    assert events(chunk({"text": "x"}), chunk(late, finish="STOP"))[1:] == [
        form.TextPiece("x"),
        form.Finished(form.STOP),
    ]


def test_a_stream_that_is_blocked_or_goes_on_behind_its_end() -> None:
    assert events({"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r"}, {"promptFeedback": {}}) == [
        form.Began("r"),
        form.Finished(form.FILTERED),
    ]
    with pytest.raises(BadUpstreamReply, match="behind its end"):
        events(chunk({"text": "x"}, finish="STOP"), chunk({"text": "y"}))
    with pytest.raises(BadUpstreamReply, match="MALFORMED"):
        events(chunk(finish="MALFORMED_FUNCTION_CALL"))


def test_sources_are_told_once() -> None:
    grounding = {"groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}]}
    got = events(chunk({"text": "x"}, groundingMetadata=grounding), chunk({"text": "y"}, groundingMetadata=grounding))
    assert [event for event in got if isinstance(event, form.Cited)] == [form.Cited(Citation("https://a", "A"))]


def test_places_are_told_only_where_all_the_text_is_known() -> None:
    places = {"citationSources": [{"startIndex": 0, "endIndex": 2, "uri": "https://a"}]}
    got = events(chunk({"text": "abc"}), chunk({"text": "def"}, citationMetadata=places))
    assert got[-1] == form.Cited(Citation("https://a"))
    both = events(chunk({"text": "abc"}, {"text": "def"}, citationMetadata=places))
    assert both[-1] == form.Cited(Citation("https://a"))


def told(array: bool = False) -> Told:
    request = ChatRequest(model="m", messages=(), reasoning=Reasoning(shown=True))
    return Told("client-name", "req_1", 1, request, array=array)


def run(pieces: list[bytes], array: bool = False) -> bytes:
    transform = Transform(VENDOR, SURFACE.stream(told(array)), "seed", OWN)
    out = b"".join(map(transform.feed, pieces))
    return out + transform.last(b"") + transform.finish(Usage(input=3, output=4))


EXPECTED = {
    "stream.thought.sse": [
        {"text": "Mapping", "thought": True},
        {"text": "Oslo"},
        {"text": " is north."},
        {"text": ""},
    ],
    "stream.array.json": [{"text": "Oslo is north."}, {"text": ""}],
    "stream.calls.sse": [
        {"functionCall": {"id": "call_seed_0", "name": "weather", "args": {"city": "Oslo"}}},
        {"functionCall": {"id": "call_seed_1", "name": "weather", "args": {"city": "Bergen"}}},
    ],
    "stream.late_signature.sse": [
        {"text": "Looking", "thought": True},
        {"text": "Let me see. "},
        {"functionCall": {"id": "fc-1", "name": "weather", "args": {"city": "Tromsø"}}},
        {"functionCall": {"id": "call_seed_1", "name": "clock", "args": {}}},
    ],
    "stream.picture.sse": [
        {"text": "Here it is: "},
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"text": "Äh, done."},
        {"text": ""},
    ],
}


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name)
def test_streams_however_they_are_cut(path: Path) -> None:
    data = path.read_bytes()
    whole = run([data], array=True)
    parts = [part for item in json.loads(whole) for part in item["candidates"][0]["content"]["parts"]]
    assert parts == EXPECTED[path.name]
    if path.suffix == ".json":
        return  # no stream: it comes in one piece
    assert run([data[i : i + 1] for i in range(len(data))], array=True) == whole
    source = random.Random(7)
    for _ in range(20):
        cuts = sorted(source.sample(range(1, len(data)), 9))
        assert run([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)], array=True) == whole
    assert run([data.rstrip()], array=True) == whole  # the last event lacks its blank line


def test_every_stream_is_expected_to_give_something() -> None:
    assert {path.name for path in STREAMS} == EXPECTED.keys()


def test_signatures_are_kept_for_the_next_turn() -> None:
    transform = Transform(VENDOR, SURFACE.stream(told()), "seed", OWN)
    transform.feed(fixture("stream.late_signature.sse"))
    kept = transform.collected()
    assert kept is not None
    calls = [part for part in kept.parts if isinstance(part, ToolCall)]
    assert [(call.id, call.signature, call.origin) for call in calls] == [
        ("fc-1", "bGF0ZQ==", OWN),
        ("call_seed_1", "", ""),
    ]


_WORDS = """
    candidates content parts text functionCall name args inlineData mimeType data index finishReason promptFeedback
    thoughtSignature groundingMetadata citationMetadata logprobsResult
""".split()
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(_JSON, max_size=4), st.binary(max_size=40))
def test_garbage_gives_events_or_the_errors_that_are_named(values: list[Any], garbage: bytes) -> None:
    reader = VENDOR.stream("seed")
    for payload in [*(json.dumps(value).encode() for value in values), garbage]:
        try:
            list(reader.read(payload, b""))
        except (BadUpstreamReply, *scan.UNREADABLE):
            pass
