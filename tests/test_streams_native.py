"""Streams of Anthropic, Gemini, DashScope and MiniMax: what is released when, and the verdict, however they are cut."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import reader_for
from gateway.dialects.estimate import estimate_text
from gateway.dialects.judging import gemini as gemini_judging
from gateway.dialects.streams import EVENT_LIMIT, Stream
from gateway.types import Usage
from tests.test_streams_judged import Outcome, every_cut
from tests.test_usage_fixtures import FIXTURES, body_of, cut

ANTHROPIC, GEMINI, DASHSCOPE, MINIMAX = (
    "anthropic.messages", "gemini.generate", "dashscope.generation", "minimax.chat",
)  # fmt: skip
DIALECTS = {"anthropic_messages": ANTHROPIC, "gemini": GEMINI, "dashscope_native": DASHSCOPE, "minimax": MINIMAX}
PAIRS = [
    (each["file"], dialect)
    for each in FIXTURES
    for name, dialect in DIALECTS.items()
    if each["file"].startswith(name + ".stream") and each["file"].endswith(".sse")
]
BY_FILE = {each["file"]: each for each in FIXTURES}


# -- events as the vendors write them ----------------------------------------------------------------------------------


def named(kind: str, end: bytes = b"\n\n", **more: Any) -> bytes:
    value = json.dumps({"type": kind} | more, separators=(",", ":")).encode()
    return b"event: " + kind.encode() + end[: len(end) // 2] + b"data: " + value + end


def delta(text: str, kind: str = "text", index: int = 0) -> bytes:
    return named("content_block_delta", index=index, delta={"type": f"{kind}_delta", kind: text})


START = named("message_start", message={
    "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "c", "stop_reason": None,
    "usage": {"input_tokens": 5, "output_tokens": 1},
})  # fmt: skip
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
OPEN = named("content_block_start", index=0, content_block={"type": "text", "text": ""})
CLOSE = named("content_block_stop", index=0)
TEXT = delta("Rain")
STOP = named("message_stop")
OVERLOADED = named("error", error={"type": "overloaded_error", "message": "Overloaded"})


def ends(reason: Any, **usage: int) -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return named("message_delta", delta=delta, usage={"output_tokens": 2} | usage)


def chunk(*parts: Any, finish: Any = None, index: int = 0, end: bytes = b"\r\n\r\n", **more: Any) -> bytes:
    return b"data: " + json.dumps(candidate(*parts, finish=finish, index=index, **more)).encode() + end


def candidate(*parts: Any, finish: Any = None, index: int = 0, **more: Any) -> dict[str, Any]:
    each: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": index}
    if finish is not None:
        each["finishReason"] = finish
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
    return {"candidates": [each], "usageMetadata": usage, "modelVersion": "g", "responseId": "r"} | more


RAIN, THOUGHT, NO_TEXT = {"text": "Rain"}, {"text": "Hm", "thought": True}, {"text": ""}
CALL = {"functionCall": {"name": "f", "args": {"a": 1}}}
GOOGLE_ERROR = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5}}


def result(text: Any = "Rain", finish: Any = "null", status: int = 200, name: str = "result", **more: Any) -> bytes:
    value = {
        "output": {"choices": [{"message": {"content": text, "role": "assistant"}, "finish_reason": finish}]},
        "usage": {"total_tokens": 7, "input_tokens": 5, "output_tokens": 2}, "request_id": "r",
    } | more  # fmt: skip
    return b"id:1\nevent:%b\n:HTTP_STATUS/%d\ndata:%b\n\n" % (
        name.encode(), status, json.dumps({key: each for key, each in value.items() if each is not None}).encode(),
    )  # fmt: skip


INSPECTED = result(output=None, usage=None, status=400, name="error", code="DataInspectionFailed", message="bad words")


# -- fixtures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "dialect"), PAIRS)
class TestEveryFixture:
    def test_the_verdict(self, file: str, dialect: str) -> None:
        fixture, body = BY_FILE[file], body_of(BY_FILE[file])
        found = Outcome([body], dialect)
        assert found.begun
        if fixture["kind"] == "error":
            assert found.error is not None
            assert fixture["expect"]["code"] in (found.error.code, found.error.type)
            assert body.startswith(found.bytes)
            return
        assert found.bytes == body
        assert (found.error, found.filtered, found.zero, found.finished) == (None, False, False, True)
        reader = reader_for(dialect, b"text/event-stream")
        reader.feed(body)
        assert found.usage == reader.finish()
        assert found.usage is not None
        assert found.estimate >= estimate_text(fixture["expect"].get("text", ""))

    def test_every_way_to_cut_it(self, file: str, dialect: str) -> None:
        body = body_of(BY_FILE[file])
        whole = Outcome([body], dialect)
        for pieces in every_cut(body):
            assert Outcome(pieces, dialect).key() == whole.key()

    @pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
    def test_every_line_end(self, file: str, dialect: str, line_end: bytes) -> None:
        body = body_of(BY_FILE[file]).replace(b"\r\n", b"\n")
        whole = Outcome([body], dialect)
        for pieces in ([body.replace(b"\n", line_end)], *every_cut(body.replace(b"\n", line_end))):
            found = Outcome(pieces, dialect)
            assert found.bytes == whole.bytes.replace(b"\n", line_end)
            assert found.key()[1:] == whole.key()[1:]

    def test_the_end_is_held_back(self, file: str, dialect: str) -> None:
        body = body_of(BY_FILE[file])
        if BY_FILE[file]["kind"] == "error":
            return
        for pieces in ([body], *every_cut(body)):
            found = Outcome(pieces, dialect)
            assert len(found.early) < len(found.bytes)
            assert not Outcome([found.early], dialect).finished

    def test_a_stream_that_was_cut_is_not_finished(self, file: str, dialect: str) -> None:
        body = body_of(BY_FILE[file])
        early = len(Outcome([body], dialect).early)
        for end in range(0, early + 1, 13):
            assert not Outcome([body[:end]], dialect).finished


# -- Anthropic ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "begun"), [
    (START, False), (START + PING, False), (START + OPEN, False), (START + OPEN + PING, False), (START + TEXT, True),
    (START + named("content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "input": {}}), True),
    (START + named("content_block_start", index=0, content_block={"type": "text", "text": "Already"}), True),
    (START + named("content_block_start", index=0, content_block={"type": "redacted_thinking", "data": "x"}), True),
    (START + OPEN + CLOSE, True), (START + named("some_new_event", message="x"), False), (START + TEXT[:-1], False),
])  # fmt: skip
def test_what_begins_a_message(data: bytes, begun: bool) -> None:
    stream = Stream(ANTHROPIC)
    stream.feed(data)
    assert (stream.begun, stream.error) == (begun, None)


@pytest.mark.parametrize("before", [
    b"", START, START + OPEN + PING, START + OPEN + TEXT, START + TEXT + ends("end_turn"),
])  # fmt: skip
@pytest.mark.parametrize(("failure", "status", "words"), [
    (OVERLOADED, 529, "Overloaded"),
    (b'data: {"type":"error","error":{"type":"api_error","message":"m"}}\n\n', 500, "m"),
    (b"event: error\ndata: {}\n\n", 502, "without a message"),
    (b'event: error\ndata: {"type":"error"}\n\n', 502, "without a message"),
    (b'data: {"base_resp":{"status_code":1002,"status_msg":"too many"}}\n\n', 429, "too many"),
    (b'data: {"error":{"type":"rate_limit_error","message":"slow"}}\n\n', 429, "slow"),
    (b"data: {nonsense}\n\n", 502, "not readable"), (b"data: 7\n\n", 502, "not readable"),
])  # fmt: skip
def test_a_message_that_fails(before: bytes, failure: bytes, status: int, words: str) -> None:
    body = before + failure + TEXT + ends("end_turn") + STOP
    for pieces in ([body], [before, failure, TEXT], *every_cut(body)):
        found = Outcome(pieces, ANTHROPIC)
        assert found.error is not None
        assert found.error.status == status
        assert words in found.error.message
        assert (before if b"stop_reason\":\"" not in before else START + TEXT) == found.bytes


def test_what_finishes_a_message() -> None:
    begin = START + OPEN + TEXT + CLOSE
    for reason in ("end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "something_new"):
        found = Outcome([begin, ends(reason), STOP], ANTHROPIC)
        assert (found.finished, found.ended, found.filtered, found.early) == (True, True, False, begin)
        assert found.usage == Usage(5, output=2)
    assert Outcome([begin, ends("end_turn")], ANTHROPIC).finished  # with or without the terminator
    for unfinished in (begin, begin + STOP, begin + ends(None), begin + ends(None) + STOP):
        assert not Outcome([unfinished], ANTHROPIC).finished
    later = begin + ends(None, input_tokens=9) + ends("end_turn") + STOP
    assert Outcome([later], ANTHROPIC).usage == Usage(9, output=2)
    assert Outcome([begin + ends(None)], ANTHROPIC).early == begin + ends(None)
    done = Outcome([begin, ends("end_turn"), b"data: [DONE]\n\n"], ANTHROPIC)
    assert (done.finished, done.ended, done.error) == (True, True, None)


def test_a_message_that_was_refused() -> None:
    for begin in (START, START + OPEN + TEXT):
        found = Outcome([begin, ends("refusal"), STOP], ANTHROPIC)
        assert (found.filtered, found.finished, found.error) == (True, True, None)
        assert found.bytes == begin + ends("refusal") + STOP


# -- Gemini ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n"])
def test_what_finishes_an_answer_of_geminis(end: bytes) -> None:
    begin = chunk(THOUGHT, end=end) + chunk(RAIN, end=end)
    for reason in ("STOP", "MAX_TOKENS", "CONTINUATION", "OTHER", "MALFORMED_FUNCTION_CALL"):
        last = chunk(NO_TEXT, finish=reason, end=end)
        for pieces in ([begin, last], [begin + last], *every_cut(begin + last)):
            found = Outcome(pieces, GEMINI)
            assert (found.finished, found.ended, found.filtered, found.error) == (True, False, False, None)
            assert (found.early, found.bytes) == (begin, begin + last)
            assert found.usage == Usage(5, output=2)
    assert Outcome([begin, chunk(NO_TEXT, finish="STOP"), chunk(NO_TEXT)], GEMINI).finished
    assert not Outcome([begin], GEMINI).finished
    assert not Outcome([begin, chunk(finish="FINISH_REASON_UNSPECIFIED")], GEMINI).finished
    more = [chunk(RAIN, finish="STOP"), chunk(RAIN, finish="STOP"), chunk(CALL, finish="STOP")]
    assert Outcome(more, GEMINI).bytes == b"".join(more)  # older models finish in each chunk


@pytest.mark.parametrize("reason", sorted(gemini_judging.FILTERS))
def test_an_answer_of_geminis_that_was_filtered(reason: str) -> None:
    found = Outcome([chunk(RAIN), chunk(finish=reason)], GEMINI)
    assert (found.filtered, found.finished, found.error) == (True, True, None)


def test_a_prompt_that_was_blocked() -> None:
    body = b"data: " + json.dumps(BLOCKED).encode() + b"\r\n\r\n"
    for choices in (1, 3):
        found = Outcome([body], GEMINI, choices=choices)
        assert (found.filtered, found.finished, found.error, found.bytes) == (True, True, None, body)
        assert found.usage == Usage(5)


@pytest.mark.parametrize("reason", sorted(gemini_judging.FAILURES))
def test_a_failure_without_content_is_an_error(reason: str) -> None:
    for begin in ([], [chunk(THOUGHT)], [chunk(NO_TEXT)], [chunk(NO_TEXT), chunk(THOUGHT), chunk(THOUGHT)]):
        for last in (chunk(finish=reason), chunk(NO_TEXT, finish=reason), chunk(THOUGHT, finish=reason)):
            for pieces in ([*begin, last], [b"".join([*begin, last])]):
                found = Outcome(pieces, GEMINI)
                assert found.error is not None
                assert (found.error.status, found.error.code, found.finished) == (502, reason, False)
                assert found.bytes == b"".join(begin)
    for begin in ([chunk(RAIN)], [chunk(NO_TEXT), chunk(RAIN)], [chunk(NO_TEXT)] * 3 + [chunk(RAIN)], [chunk(CALL)]):
        found = Outcome([*begin, chunk(finish=reason)], GEMINI)
        assert (found.error, found.finished) == (None, True)
    assert Outcome([chunk(RAIN, finish=reason)], GEMINI).finished


def test_what_is_learned_of_an_empty_text_is_not_said_of_others() -> None:
    """Chunks that differ in their text alone are recognised by what is around it."""
    events = [chunk(NO_TEXT), chunk(NO_TEXT), chunk(RAIN), chunk(finish="OTHER")]
    assert Outcome(events, GEMINI).finished
    assert Outcome([*[chunk(NO_TEXT)] * 12, chunk(finish="OTHER")], GEMINI).error is not None


@pytest.mark.parametrize("before", [b"", chunk(RAIN), chunk(RAIN) + chunk(NO_TEXT, finish="STOP")])
def test_errors_of_geminis_in_a_stream(before: bytes) -> None:
    pretty = json.dumps(GOOGLE_ERROR, indent=2).encode()
    shapes = [b"data: " + json.dumps(GOOGLE_ERROR).encode() + b"\r\n\r\n", pretty, pretty + b"\r\n\r\n",
              pretty.replace(b"\n", b"\r\n") + b"\r\n"]  # fmt: skip
    if not before:
        shapes.append(b"[" + pretty + b"]")
    for shape in shapes:
        for pieces in ([before + shape], [before, shape], *every_cut(before + shape)):
            found = Outcome(pieces, GEMINI)
            assert found.error is not None
            assert (found.error.status, found.error.message, found.finished) == (503, "overloaded", False)
            assert found.bytes == (chunk(RAIN) if before else b"")


def test_several_candidates() -> None:
    both = [chunk(RAIN), chunk(RAIN, index=1), chunk(finish="STOP", index=1), chunk(RAIN), chunk(finish="STOP")]
    assert Outcome(both, GEMINI, choices=2).finished
    assert not Outcome(both[:-1], GEMINI, choices=2).finished
    assert Outcome(both, GEMINI, choices=2).early == b"".join(both[:-1])


def test_odd_types_are_read_with_patience() -> None:
    odd = b'data: {"candidates": [{"index": "0", "content": {"parts": [{"text": "x", "thought": "no"}]}}]}\n\n'
    strange = b'data: {"candidates": [{"finishReason": 3}, 7], "usageMetadata": []}\n\n'
    found = Outcome([odd, strange, odd.replace(b'"index"', b'"finishReason": "STOP", "index"')], GEMINI)
    assert (found.error, found.finished, found.begun) == (None, True, True)
    assert Outcome([b"data: [1]\n\n"], GEMINI).error is not None
    assert Outcome([b"data: " + b"[" * 5000 + b"\n\n"], GEMINI).error is not None


def picture(size: int) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(bytes(size)).decode()}}


@pytest.mark.parametrize("size", [3 << 20, 12 << 20])
def test_a_picture_in_one_event_hides_no_finish(size: int) -> None:
    body = chunk(RAIN) + chunk(picture(size), finish="STOP")
    for pieces in ([body], cut(body, range(60_000, len(body), 60_000))):
        tracemalloc.start()
        found = Outcome(pieces, GEMINI)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (found.finished, found.error, found.early) == (True, None, chunk(RAIN))
        assert found.bytes == body
        assert peak < 8 * len(body)


def test_an_event_beyond_all_pictures_passes_unread() -> None:
    end = chunk(NO_TEXT, finish="STOP")
    body = chunk(RAIN) + chunk({"inlineData": {"data": "A" * (33 << 20)}}, finish="STOP") + end
    found = Outcome(cut(body, range(1 << 20, len(body), 1 << 20)), GEMINI)
    assert (found.error, found.finished, found.bytes == body) == (None, True, True)


# -- DashScope ---------------------------------------------------------------------------------------------------------


def test_what_finishes_a_result() -> None:
    begin = result("") + result()
    for reason in ("stop", "length", "tool_calls"):
        found = Outcome([begin, result("", reason)], DASHSCOPE)
        assert (found.finished, found.filtered, found.error, found.early) == (True, False, None, begin)
        assert found.usage == Usage(5, output=2)
    for unfinished in ("null", None, ""):
        assert not Outcome([begin, result("", unfinished)], DASHSCOPE).finished
    text = [result(output={"text": "R", "finish_reason": finish}) for finish in ("null", "stop")]
    assert Outcome(text, DASHSCOPE).finished
    assert not Outcome(text[:1], DASHSCOPE).finished
    parts = [result([{"text": "R"}]), result([], "stop")]
    assert Outcome(parts, DASHSCOPE).finished
    filtered = Outcome([begin, result("", "content_filter")], DASHSCOPE)
    assert (filtered.filtered, filtered.finished) == (True, True)


@pytest.mark.parametrize("before", [b"", result(), result() + result("", "stop")])
@pytest.mark.parametrize(("failure", "status", "filtered"), [
    (INSPECTED, 400, True),
    (result(output=None, usage=None, status=429, name="error", code="Throttling.RateQuota", message="m"), 429, False),
    (b'data:{"code":"InternalError","message":"m","request_id":"r"}\n\n', 500, False),
    (b'{"code":"InternalError","message":"m","request_id":"r"}', 500, False),
    (b"event:error\ndata:something odd\n\n", 502, False),
    (result(status=500, name="error", code="InternalError", message="m"), 500, False),
    (result("", "error"), 502, False), (b"data:7\n\n", 502, False), (b"data:{,}\n\n", 502, False),
])  # fmt: skip
def test_a_result_that_fails(before: bytes, failure: bytes, status: int, filtered: bool) -> None:
    for pieces in ([before + failure], [before, failure], *every_cut(before + failure)):
        found = Outcome(pieces, DASHSCOPE)
        assert found.error is not None
        assert (found.error.status, found.error.filtered, found.finished) == (status, filtered, False)
        assert found.bytes == (result() if before else b"")


# -- MiniMax -----------------------------------------------------------------------------------------------------------


def test_the_closing_frame_of_minimax() -> None:
    body = body_of(BY_FILE["minimax.stream.usage.sse"])
    events = [each + b"\n\n" for each in body.split(b"\n\n") if each]
    found = Outcome(events, MINIMAX)
    assert found.early == b"".join(events[:2])
    assert found.estimate == estimate_text("海浪")  # which is said twice
    broken = b'data: {"base_resp":{"status_code":1027,"status_msg":"output new_sensitive"},"choices":null}\n\n'
    failed = Outcome([*events[:2], broken], MINIMAX)
    assert failed.error is not None
    assert (failed.error.status, failed.error.filtered) == (400, True)
    before = Outcome([b'{"base_resp":{"status_code":1002,"status_msg":"rate"}}'], MINIMAX)
    assert before.error is not None
    assert (before.error.status, before.begun) == (429, False)


# -- all of them -------------------------------------------------------------------------------------------------------

PARTS = {
    ANTHROPIC: [
        START, OPEN, TEXT, TEXT, CLOSE, PING, ends("end_turn"), ends(None), ends("refusal"), STOP, OVERLOADED,
        delta('say "x"\n\\'), delta("é密"), delta("hm", "thinking"), delta('{"a', "partial_json"), b": keep\n\n",
        TEXT.replace(b"\n", b"\r\n"), TEXT.replace(b"\n", b"\r"), TEXT.split(b"\n", 1)[1], b"data: {\n\n", b"\n",
        b"event: error\n", b"\r\n", b"event: content_block_delta\n", named("new_event", x=1), b"data: [DONE]\n\n",
        named("content_block_delta", error={"message": "m"}), b'{"type":"error"}',
    ],
    GEMINI: [
        chunk(RAIN), chunk(RAIN), chunk(RAIN, end=b"\n\n"), chunk(THOUGHT), chunk(NO_TEXT), chunk(CALL), chunk(),
        chunk(finish="STOP"), chunk(RAIN, finish="OTHER"), chunk(finish="OTHER"), chunk(finish="SAFETY"),
        chunk(RAIN, index=1), chunk(finish="STOP", index=1), chunk(RAIN, usageMetadata=None),
        b"data: " + json.dumps(BLOCKED).encode() + b"\r\n\r\n", json.dumps(GOOGLE_ERROR, indent=1).encode(),
        b"data: " + json.dumps(GOOGLE_ERROR).encode() + b"\r\n\r\n", b'data: {"usageMetadata": {}}\r\n\r\n', b"\r\n",
        b"\n", b": keep\r\n\r\n", b"data: {\r\n\r\n", b"data: [1]\r\n\r\n", b"\r", chunk(RAIN, candidates=[]),
        chunk({"text": 'say "x"\n\\'}), chunk(RAIN, end=b"\r\r"), b"data: [DONE]\r\n\r\n",
    ],
    DASHSCOPE: [
        result(), result(), result(""), result("", "stop"), result("", "null"), result([{"text": "x"}]), INSPECTED,
        result(output={"text": "x", "finish_reason": "null"}), result(output={}), result(output=None),
        result("", "content_filter"), b"id:2\n", b"event:error\n", b":HTTP_STATUS/400\n", b"data:{\n\n", b"\n", b"\r\n",
        result().replace(b"\n", b"\r\n"), result(usage=None), b'{"code":"InternalError","message":"m"}',
    ],
}  # fmt: skip


@pytest.mark.parametrize("dialect", PARTS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_stream_at_any_cut(dialect: str, data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.sampled_from(PARTS[dialect]), max_size=12))
    body = b"".join(parts)
    whole = Outcome([body], dialect)
    pieces = cut(body, data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    assert Outcome(pieces, dialect).key() == whole.key()
    assert Outcome(parts, dialect).key() == whole.key()
    if whole.error is None:
        assert whole.bytes == body


@pytest.mark.parametrize("dialect", PARTS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_the_calm_path_sees_what_the_other_sees(dialect: str, data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.sampled_from(PARTS[dialect]), max_size=12))
    calm = Outcome(parts, dialect)
    careful = Stream(dialect, b"text/event-stream")
    careful._form = careful._form._replace(regular=lambda seen, event: False)
    careful._lessons = 0
    out = b"".join(map(careful.feed, parts))
    careful.end()
    assert out + careful.finish() == calm.bytes
    assert (careful.begun, careful.finished, careful.filtered, careful.error, careful.usage(), careful.zero) == (
        calm.begun, calm.finished, calm.filtered, calm.error, calm.usage, calm.zero)  # fmt: skip


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            """type delta content_block error usage stop_reason candidates content parts text thought finishReason index
            promptFeedback blockReason usageMetadata output choices finish_reason message code""".split()
        ), inner, max_size=5,
    ),
)  # fmt: skip


@pytest.mark.parametrize("dialect", PARTS)
@given(value=VALUES)
@settings(max_examples=150, deadline=None)
def test_any_event_gets_a_verdict(dialect: str, value: Any) -> None:
    kinds = "message_start content_block_start content_block_delta message_delta".split()
    for each in (value, *(({"type": kind} | value for kind in kinds) if isinstance(value, dict) else ())):
        event = b"data: " + json.dumps(each).encode() + b"\n\n"
        stream = Stream(dialect)
        stream.feed(event)
        stream.feed(event)
        stream.end()
        assert stream.error is None or 400 <= stream.error.status <= 599
        stream.finish()
        stream.usage()


@pytest.mark.parametrize("dialect", [ANTHROPIC, DASHSCOPE])
def test_memory_is_bounded(dialect: str) -> None:
    for pieces in ([b"data: " + b"x" * 50_000] * 400, [PARTS[dialect][1]] * 20_000, [STOP, *[b"z" * 50_000] * 400]):
        stream = Stream(dialect)
        tracemalloc.start()
        for piece in pieces:
            stream.feed(piece)
        stream.finish()
        assert tracemalloc.get_traced_memory()[1] < 20 * EVENT_LIMIT
        tracemalloc.stop()
