"""Streams: what is released when, and what the verdict is, however the bytes are cut."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import reader_for
from gateway.dialects.estimate import estimate_text
from gateway.dialects.streams import Stream
from gateway.types import Usage
from tests.test_usage_fixtures import FIXTURES, body_of, cut

CHAT, RESPONSES = "openai.chat", "openai.responses"
DIALECTS = {"openai_chat": CHAT, "openai_responses": RESPONSES}
STREAMS = [each for each in FIXTURES if each["stream"] and each["protocol"] in DIALECTS]
DONE = b"data: [DONE]\n\n"


def chunk(delta: Any = None, finish: Any = None, index: int = 0, end: bytes = b"\n\n", **more: Any) -> bytes:
    """A chunk as OpenAI writes it; `choices=...` replaces the choice."""
    delta = {"content": "hi"} if delta is None else delta
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    value = {"id": "c", "object": "chat.completion.chunk", "choices": [choice], "usage": None} | more
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + end


def event(kind: str, end: bytes = b"\n\n", **more: Any) -> bytes:
    value = json.dumps({"type": kind} | more, separators=(",", ":")).encode()
    return b"event: " + kind.encode() + end[: len(end) // 2] + b"data: " + value + end


ROLE = chunk({"role": "assistant", "content": "", "refusal": None})
TEXT = chunk({"content": "Rain"})
FINISH = chunk({}, "stop")
COUNTS = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
USAGE = chunk(choices=[], usage=COUNTS)
FAILED = b'data: {"error":{"message":"it broke","type":"server_error","param":null,"code":null}}\n\n'
CREATED = event("response.created", response={"status": "in_progress", "error": None, "output": [], "usage": None})
DELTA = event("response.output_text.delta", item_id="i", delta="Half", sequence_number=1)


def completed(kind: str = "response.completed", **more: Any) -> bytes:
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    return event(kind, response={"status": kind[9:], "error": None, "incomplete_details": None, "output": [],
                                 "usage": usage} | more)  # fmt: skip


class Outcome:
    """All there is to see of a stream that was fed in pieces and ended."""

    def __init__(self, pieces: Iterable[bytes], dialect: str = CHAT, **options: Any) -> None:
        stream = Stream(dialect, b"text/event-stream", **options)
        self.early = b"".join(map(stream.feed, pieces))  # what came out before the end
        stream.end()
        self.bytes = self.early + stream.finish()
        self.begun, self.ended, self.finished = stream.begun, stream.ended, stream.finished
        self.filtered, self.error = stream.filtered, stream.error
        self.usage, self.zero = stream.usage(), stream.zero
        self.estimate = stream.output_tokens_estimate()

    def key(self) -> tuple[Any, ...]:
        return (self.bytes, self.begun, self.ended, self.finished, self.filtered, self.error, self.usage, self.zero,
                self.estimate)  # fmt: skip


def every_cut(body: bytes) -> list[list[bytes]]:
    return [cut(body, range(size, len(body), size)) for size in (1, 2, 7, 97)]


# -- fixtures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", STREAMS, ids=lambda each: each["file"])
class TestEveryFixture:
    def outcome(self, fixture: dict[str, Any], **options: Any) -> Outcome:
        return Outcome([body_of(fixture)], DIALECTS[fixture["protocol"]], **options)

    def test_the_verdict(self, fixture: dict[str, Any]) -> None:
        found = self.outcome(fixture)
        if fixture["kind"] == "error":
            assert found.error is not None
            assert fixture["expect"]["code"] == found.error.code
            return
        assert found.bytes == body_of(fixture)
        assert (found.error, found.filtered, found.zero) == (None, False, False)
        assert found.begun
        assert found.finished
        reader = reader_for(DIALECTS[fixture["protocol"]], b"text/event-stream")
        reader.feed(body_of(fixture))
        assert found.usage == reader.finish()
        text = fixture.get("expect", {}).get("text")
        assert found.estimate >= estimate_text(text or "")

    def test_every_way_to_cut_it(self, fixture: dict[str, Any]) -> None:
        whole = self.outcome(fixture, hide_usage=True)
        for pieces in every_cut(body_of(fixture)):
            assert Outcome(pieces, DIALECTS[fixture["protocol"]], hide_usage=True).key() == whole.key()

    @pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
    def test_every_line_end(self, fixture: dict[str, Any], line_end: bytes) -> None:
        whole = self.outcome(fixture, hide_usage=True)
        body = body_of(fixture).replace(b"\n", line_end)
        for pieces in ([body], *every_cut(body)):
            found = Outcome(pieces, DIALECTS[fixture["protocol"]], hide_usage=True)
            assert found.bytes == whole.bytes.replace(b"\n", line_end)
            assert found.key()[1:] == whole.key()[1:]

    def test_the_end_is_held_back(self, fixture: dict[str, Any]) -> None:
        if fixture["kind"] == "error":
            return
        for pieces in ([body_of(fixture)], *every_cut(body_of(fixture))):
            found = Outcome(pieces, DIALECTS[fixture["protocol"]])
            early = Outcome([found.early], DIALECTS[fixture["protocol"]])
            assert len(found.early) < len(found.bytes)
            assert not early.finished

    def test_a_stream_that_was_cut_is_not_finished(self, fixture: dict[str, Any]) -> None:
        whole = self.outcome(fixture)
        for end in range(0, len(whole.early) + 1, 13):
            assert not Outcome([body_of(fixture)[:end]], DIALECTS[fixture["protocol"]]).finished

    def test_what_is_hidden(self, fixture: dict[str, Any]) -> None:
        shown, hidden = self.outcome(fixture), self.outcome(fixture, hide_usage=True)
        events = [each for each in body_of(fixture).split(b"\n\n") if each]
        kept = [each for each in events if not (b'"choices":[]' in each and b'"usage":{' in each)]
        if shown.error is None:
            assert hidden.bytes == b"".join(each + b"\n\n" for each in kept)
        assert hidden.usage == shown.usage


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_at_random_cuts(data: st.DataObject) -> None:
    fixture = data.draw(st.sampled_from(STREAMS))
    dialect, body, hide = DIALECTS[fixture["protocol"]], body_of(fixture), data.draw(st.booleans())
    pieces = cut(body, data.draw(st.lists(st.integers(0, len(body)), max_size=30)))
    assert Outcome(pieces, dialect, hide_usage=hide).key() == Outcome([body], dialect, hide_usage=hide).key()


# Everything that may stand in a stream, in any order.
PARTS = [
    ROLE, TEXT, TEXT, chunk({"content": 'say "x"\n\\'}), chunk({"content": "é密\\"}), FINISH, USAGE, DONE,
    chunk({"reasoning_content": "hm", "content": None}), chunk({"tool_calls": [{"function": {"arguments": '{"a'}}]}),
    chunk(finish=""), chunk({}, "content_filter"), chunk({"refusal": "no"}), chunk(usage=COUNTS), chunk(index=1),
    chunk({}, "stop", 1), chunk(choices=[], prompt_filter_results=[]), b": keep-alive\n\n", b"\n", b"\r\n", b"\r",
    b": note\r\n", b"event: message\n", b"id: 7\ndata:\n\n", b'data: {\ndata: "choices":[]}\n\n', FAILED,
    b"data: {\n\n",
    b'{"base_resp":{"status_code":1013}}', TEXT.replace(b"\n\n", b"\r\n\r\n"), TEXT.replace(b"\n\n", b"\r\r"),
    b'data:{"code":0,"sid":"s","choices":[{"delta":{"content":"x"},"index":0}]}\n\n', b"\xef\xbb\xbf", b'{"error":',
    b"event: error\ndata: {}\n\n", CREATED, DELTA, completed(), b"retry: 3\n\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=12), st.data(), st.booleans(), st.sampled_from([CHAT, RESPONSES]))
@settings(max_examples=400, deadline=None)
def test_any_stream_at_any_cut(parts: list[bytes], data: st.DataObject, hide: bool, dialect: str) -> None:
    body = b"".join(parts)
    whole = Outcome([body], dialect, hide_usage=hide)
    pieces = cut(body, data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    assert Outcome(pieces, dialect, hide_usage=hide).key() == whole.key()
    assert Outcome(parts, dialect, hide_usage=hide).key() == whole.key()
    if not hide and whole.error is None:
        assert whole.bytes == body


@given(st.lists(st.sampled_from(PARTS), max_size=12))
@settings(max_examples=300, deadline=None)
def test_the_calm_path_sees_what_the_other_sees(parts: list[bytes]) -> None:
    calm = Outcome(parts)
    careful = Stream(CHAT, b"text/event-stream")
    careful._form = careful._form._replace(regular=lambda seen, event: False)
    careful._lessons = 0
    out = b"".join(map(careful.feed, parts))
    careful.end()
    assert out + careful.finish() == calm.bytes
    assert (careful.begun, careful.finished, careful.filtered, careful.error, careful.usage(), careful.zero) == (
        calm.begun, calm.finished, calm.filtered, calm.error, calm.usage, calm.zero)  # fmt: skip


@given(st.lists(st.text(max_size=8), max_size=8), st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_estimate_is_that_of_the_text(texts: list[str], raw: bool) -> None:
    """Whether an event was recognised by its frame, searched or decoded."""
    events = [
        b'data: {"choices":[{"index":0,"delta":{"content":'
        + json.dumps(text, ensure_ascii=not raw).encode(errors="replace")
        + b'},"finish_reason":null}]}\n\n'
        for text in texts
    ]
    assert Outcome(events).estimate == Outcome([b"".join(events)]).estimate == Outcome(
        cut(b"".join(events), range(5, 5000, 5))
    ).estimate  # fmt: skip


# -- the beginning -----------------------------------------------------------------------------------------------------

PROMPT_FILTER = chunk(choices=[], prompt_filter_results=[{"prompt_index": 0}])


@pytest.mark.parametrize(("dialect", "data", "begun"), [
    (CHAT, b"", False), (CHAT, b"\n\n", False), (CHAT, b": keep-alive\n\n", False), (CHAT, b"retry: 3\n\n", False),
    (CHAT, PROMPT_FILTER, False), (CHAT, ROLE, True), (CHAT, TEXT, True), (CHAT, TEXT[:-1], False),
    (CHAT, b": keep-alive\n\n" + TEXT, True), (CHAT, chunk(choices=[{"delta": "odd", "index": "0"}]), True),
    (RESPONSES, CREATED, False), (RESPONSES, event("response.in_progress"), False),
    (RESPONSES, event("response.queued"), True), (RESPONSES, event("response.output_item.added"), True),
    (RESPONSES, CREATED + DELTA, True),
])  # fmt: skip
def test_what_begins_an_answer(dialect: str, data: bytes, begun: bool) -> None:
    stream = Stream(dialect)
    out = stream.feed(data)
    assert (stream.begun, stream.error) == (begun, None)
    # An event that is not whole waits, and so do blank lines before anything: what follows may be no stream.
    assert out == (b"" if data.endswith(b"}\n") or not data.strip() else data)


@pytest.mark.parametrize(("dialect", "data", "status", "words"), [
    (CHAT, FAILED, 500, "it broke"),
    (CHAT, b": keep-alive\n\n" + FAILED, 500, "it broke"),
    (CHAT, b'{"base_resp":{"status_code":1002,"status_msg":"rate limit"}}', 429, "rate limit"),
    (CHAT, b'{"error":{"message":"m","code":"model_not_found"}}', 404, "m"),
    (CHAT, b'"Invalid token"', 502, "Invalid token"),
    (CHAT, b'[{"error":{"message":"m","code":429}}]', 429, "m"),
    (CHAT, b"<html>sorry</html>", 502, "ended before it began"),
    (CHAT, b"", 502, "ended before it began"),
    (CHAT, b"\n\n: hello\n\n", 502, "ended before it began"),
    (CHAT, DONE, 502, "ended before it began"),
    (CHAT, PROMPT_FILTER, 502, "ended before it began"),
    (CHAT, b'data: {"code":10012,"message":"engine","sid":"s"}\n\n', 500, "engine"),
    (CHAT, b'data: {"choices":null,"base_resp":{"status_code":1008,"status_msg":"no money"}}\n\n', 402, "no money"),
    (CHAT, b'id:1\nevent:error\n:HTTP_STATUS/400\ndata:{"code":"InvalidParameter","message":"m"}\n\n', 400, "m"),
    (CHAT, b"event: error\ndata: something odd\n\n", 502, "not readable"),
    (CHAT, b'data: "Invalid token"\n\n', 502, "Invalid token"),
    (CHAT, b"data: {nonsense}\n\n", 502, "not readable"),
    (CHAT, b"data: 7\n\n", 502, "not readable"),
    (CHAT, b"data: " + b"[" * 5000 + b"\n\n", 502, "not readable"),
    (CHAT, chunk({}, "network_error"), 502, "network_error"),
    (CHAT, b'{"choices":[{"message":{"content":"x"},"finish_reason":"network_error"}]}', 502, "network_error"),
    (RESPONSES, b'event: error\ndata: {"type":"error","code":"server_error","message":"m","param":null}\n\n', 500, "m"),
    (RESPONSES, b'data: {"type":"error","message":"m"}\n\n', 502, "m"),
    (RESPONSES, b'data: {"type":"error"}\n\n', 502, "without a message"),
    (RESPONSES, b'data: {"type":"session.error","error":{"type":"rate_limit_error","message":"m"}}\n\n', 429, "m"),
    (RESPONSES, CREATED + FAILED, 500, "it broke"),
    (RESPONSES, CREATED + completed("response.failed", error={"code": "server_error", "message": "m"}), 500, "m"),
    (RESPONSES, CREATED + completed("response.failed"), 502, "failed"),
    (RESPONSES, CREATED, 502, "ended before it began"),
    (RESPONSES, b'{"error":{"message":"m","code":"model_not_found"}}', 404, "m"),
])  # fmt: skip
def test_what_is_an_error_before_anything_began(dialect: str, data: bytes, status: int, words: str) -> None:
    for pieces in ([data], *every_cut(data)):
        found = Outcome(pieces, dialect)
        assert found.error is not None
        assert (found.error.status, found.begun, found.finished) == (status, False, False)
        assert words in found.error.message


# -- the middle --------------------------------------------------------------------------------------------------------


def test_regular_events_go_out_as_they_are() -> None:
    stream = Stream(CHAT)
    pieces = [
        ROLE,
        TEXT,
        TEXT + TEXT,
        chunk({"content": '"quoted"'}),
        b": keep-alive\n\n",
        chunk({"content": "密"}),
        TEXT,
    ]
    for piece in pieces:
        assert stream.feed(piece) == piece
    assert stream.feed(TEXT[:10]) == b""
    assert stream.feed(TEXT[10:] + TEXT[:5]) == TEXT
    assert stream.feed(TEXT[5:]) == TEXT


# What looks like the event before, but for its text, and is something else.
@pytest.mark.parametrize("text", [
    b'\n\ndata: [DONE]\n\ndata: {"x":"', b"\\", b'","a":"b', b"\r\rdata: [DONE]\r\r", b"\\x", b"\\n",
    b'"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\ndata: {"choices":[{"index":0,"delta":{"content":"',
])  # fmt: skip
def test_the_frame_of_an_event_hides_nothing(text: bytes) -> None:
    before, behind = b'data: {"choices":[{"index":0,"delta":{"content":"', b'"},"finish_reason":null}]}\n\n'
    body = [before + b"one" + behind, before + b"two" + behind, before + text + behind]
    found, careful = Outcome(body), Outcome(cut(b"".join(body), range(1, 2000)))
    assert found.key() == careful.key()
    assert found.error is not None or found.finished or text in (b'","a":"b', b"\\n")


def test_the_frame_of_an_event_has_room_for_its_text() -> None:
    before, behind = b'data: {"choices":[{"index":0,"delta":{"content":"', b'"},"finish_reason":null}]}\n\n'
    found = Outcome([before + b"one" + behind, before + b"two" + behind, before[:-1] + behind])
    assert found.error is not None


@pytest.mark.parametrize(("data", "status", "words"), [
    (FAILED, 500, "it broke"),
    (b'{"base_resp":{"status_code":1013,"status_msg":"unknown error"}}\n\n', 502, "unknown error"),
    (b'data: {"code":10012,"message":"engine","sid":"s"}\n\n', 500, "engine"),
    (chunk({"content": ""}, "error", error={"code": 502, "message": "m"}), 502, "m"),
    (chunk({}, "network_error"), 502, "network_error"),
    (chunk({}, "insufficient_system_resource"), 503, "insufficient"),
    (b"data: {{,\n\n", 502, "not readable"),
    (b'event: error\ndata: {"code":"InternalError","message":"m"}\n\n', 500, "m"),
    (FINISH + FAILED, 500, "it broke"),
])  # fmt: skip
def test_an_error_in_the_middle_stops_the_stream(data: bytes, status: int, words: str) -> None:
    body = ROLE + TEXT + data + TEXT + FINISH + DONE
    for pieces in ([ROLE, TEXT, data, TEXT, FINISH + DONE], [body], *every_cut(body)):
        found = Outcome(pieces)
        assert found.bytes == ROLE + TEXT
        assert found.error is not None
        assert found.error.status == status
        assert words in found.error.message


def test_an_error_at_the_very_end_may_be_bare() -> None:
    body = ROLE + TEXT + b'{"base_resp":{"status_code":1013,"status_msg":"unknown error"}}'
    for pieces in ([body], *every_cut(body)):
        found = Outcome(pieces)
        assert (found.bytes, found.finished) == (ROLE + TEXT, False)
        assert found.error is not None


def test_an_error_in_the_middle_of_responses() -> None:
    failed = b'event: error\ndata: {"type":"error","code":"server_error","message":"m"}\n\n'
    found = Outcome([CREATED, DELTA, DELTA + failed, DELTA, completed()], RESPONSES)
    assert (found.bytes, found.finished) == (CREATED + DELTA + DELTA, False)
    assert found.error is not None


@pytest.mark.parametrize("end", [
    chunk({}, "content_filter"), chunk({}, "sensitive"), chunk({"refusal": "I"}) + FINISH,
    chunk({"content": ""}, "content_filter") + chunk({}, "content_filter", base_resp={"status_code": 1027}),
])  # fmt: skip
def test_a_filtered_stream_is_passed_and_marked(end: bytes) -> None:
    found = Outcome([ROLE, TEXT, TEXT, end, DONE])
    assert (found.filtered, found.error, found.finished) == (True, None, True)
    assert found.bytes == ROLE + TEXT + TEXT + end + DONE


@pytest.mark.parametrize("parts", [
    [DELTA, completed("response.incomplete", incomplete_details={"reason": "content_filter"})],
    [event("response.refusal.delta", delta="I cannot"), completed()],
    [DELTA, completed(output=[{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}])],
])  # fmt: skip
def test_filtered_responses(parts: list[bytes]) -> None:
    found = Outcome([CREATED, *parts], RESPONSES)
    assert (found.filtered, found.error, found.finished) == (True, None, True)
    assert not Outcome([CREATED, DELTA, completed()], RESPONSES).filtered


# -- the end -----------------------------------------------------------------------------------------------------------


def test_the_finish_and_all_behind_it_wait() -> None:
    stream = Stream(CHAT)
    assert stream.feed(ROLE + TEXT + FINISH) == ROLE + TEXT
    assert (stream.finished, stream.ended) == (True, False)
    assert stream.feed(USAGE) == stream.feed(b": bye\n\n") == stream.feed(DONE) == b""
    assert (stream.finished, stream.ended) == (True, True)
    assert stream.usage() == Usage(5, output=2)
    assert stream.finish() == FINISH + USAGE + b": bye\n\n" + DONE
    assert stream.finish() == b""


def test_what_seemed_to_be_the_end_and_was_not_is_let_go() -> None:
    parts = [TEXT, FINISH, chunk(index=1), chunk({}, "stop", 1), DONE]
    outs = []
    stream = Stream(CHAT)
    for part in parts:
        outs.append((stream.feed(part), stream.finished))
    second = FINISH + chunk(index=1)
    assert outs == [(TEXT, False), (b"", True), (second, False), (b"", True), (b"", True)]
    assert stream.finish() == parts[3] + DONE


@pytest.mark.parametrize(("parts", "choices", "finished"), [
    ([TEXT, FINISH], 1, True), ([TEXT, FINISH], 2, False), ([TEXT, FINISH, DONE], 2, True),
    ([TEXT, TEXT, chunk(index=1), FINISH], 1, False), ([TEXT, FINISH, chunk(index=1)], 2, False),
    ([TEXT, FINISH, chunk(index=1), DONE], 2, False),
    ([chunk(index=1), TEXT, FINISH, DONE], 2, False), ([chunk(index=1), TEXT, FINISH, chunk({}, "stop", 1)], 2, True),
])  # fmt: skip
def test_several_choices_must_all_finish(parts: list[bytes], choices: int, finished: bool) -> None:
    assert Outcome(parts, choices=choices).finished is finished


@pytest.mark.parametrize(("parts", "finished"), [
    ([ROLE, TEXT, FINISH, DONE], True), ([ROLE, TEXT, FINISH], True), ([ROLE, TEXT], False),
    ([ROLE, TEXT, DONE], False),
    ([ROLE, TEXT, FINISH[:-2]], True), ([ROLE, TEXT, FINISH[:-9]], False), ([ROLE, TEXT, USAGE], False),
    ([chunk(finish=""), chunk(finish="null"), DONE], False), ([TEXT, chunk({}, "length")], True),
    ([TEXT, FINISH, chunk({}, None, usage=COUNTS)], True),
])  # fmt: skip
def test_only_a_finish_completes_a_stream(parts: list[bytes], finished: bool) -> None:
    body = b"".join(parts)
    for pieces in (parts, [body], *every_cut(body)):
        found = Outcome(pieces)
        assert (found.finished, found.error, found.bytes) == (finished, None, body)


def test_spark_has_no_finish_but_its_terminator() -> None:
    spark = b'data: {"code":0,"message":"Success","sid":"s","choices":[{"delta":{"content":"x"},"index":0}]}\n\n'
    assert Outcome([spark, spark, DONE]).finished
    assert not Outcome([spark, spark]).finished


@pytest.mark.parametrize(("last", "finished", "ended"), [
    (completed(), True, True), (completed("response.incomplete"), True, True), (DELTA, False, False),
    (completed()[:-2], True, True), (completed()[:-9], False, False), (completed() + DONE, True, True),
    (completed(incomplete_details="odd"), True, True), (DONE, False, True),
    (b"data: " + json.dumps({"response": {"status": "completed"}, "type": "response.completed"}).encode(), True, True),
])  # fmt: skip
def test_how_responses_end(last: bytes, finished: bool, ended: bool) -> None:
    body = CREATED + DELTA + last
    for pieces in ([CREATED, DELTA, last], [body], *every_cut(body)):
        found = Outcome(pieces, RESPONSES)
        assert (found.finished, found.ended, found.error, found.bytes) == (finished, ended, None, body)
        assert found.early in (CREATED + DELTA, body)
        assert (found.early == CREATED + DELTA) is ended or not last.endswith(b"\n\n")


def test_bytes_behind_the_terminator_are_not_judged() -> None:
    found = Outcome([TEXT, FINISH, DONE, FAILED, b"garbage", b"{nonsense\n\n"])
    assert (found.error, found.finished) == (None, True)
    assert found.bytes.endswith(DONE + FAILED + b"garbage{nonsense\n\n")


# -- usage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "dropped"), [
    (USAGE, True), (USAGE.replace(b"\n\n", b"\r\n\r\n"), True), (b"id: 3\n" + USAGE, True),
    (PROMPT_FILTER, False), (chunk(choices=[]), False), (chunk({}, "stop", usage=COUNTS), False),
    (chunk(usage=COUNTS), False), (chunk({}, "stop", object="chat.completion", usage=COUNTS), False),
    (chunk(choices=[], usage=dict.fromkeys(COUNTS, 0)), True), (chunk(choices=None, usage=COUNTS), False),
])  # fmt: skip
def test_only_the_extra_chunk_is_hidden(part: bytes, dropped: bool) -> None:
    body = [ROLE, TEXT, part, FINISH, part, DONE]
    assert Outcome(body).bytes == b"".join(body)
    for pieces in (body, [b"".join(body)], *every_cut(b"".join(body))):
        kept = [each for each in body if each is not part] if dropped else body
        assert Outcome(pieces, hide_usage=True).bytes == b"".join(kept)


def test_zero_never_replaces_better_numbers_and_alone_means_zero() -> None:
    zero = chunk(usage=dict.fromkeys(COUNTS, 0))
    found = Outcome([TEXT, chunk(usage=COUNTS), zero, FINISH, DONE])
    assert (found.usage, found.zero) == (Usage(5, output=2), False)
    found = Outcome([TEXT, zero, FINISH, DONE])
    assert (found.usage, found.zero) == (None, True)
    found = Outcome([TEXT, FINISH, DONE])
    assert (found.usage, found.zero) == (None, False)
    found = Outcome([DELTA, completed(usage={"input_tokens": 0, "output_tokens": 0, "total_tokens": 0})], RESPONSES)
    assert (found.usage, found.zero) == (None, True)


def test_usage_is_known_while_the_stream_goes_on() -> None:
    stream = Stream(CHAT)
    stream.feed(chunk(usage=COUNTS))
    assert stream.usage() == Usage(5, output=2)
    stream.feed(chunk(usage=COUNTS | {"completion_tokens": 9, "total_tokens": 14}))
    assert stream.usage() == Usage(5, output=9)


def test_the_estimate_leaves_out_what_is_said_twice() -> None:
    text = "It rains in Rome. " * 400
    events = [chunk({"content": text[i : i + 9]}) for i in range(0, len(text), 9)]
    closing = chunk(choices=[{"index": 0, "finish_reason": "stop", "message": {"content": text}}])
    assert abs(Outcome([*events, FINISH, closing]).estimate - estimate_text(text)) <= 3
    deltas = [event("response.output_text.delta", delta=text[i : i + 9]) for i in range(0, len(text), 9)]
    done = event("response.output_text.done", text=text)
    output = [{"type": "message", "content": [{"type": "output_text", "text": text}]}]
    assert abs(Outcome([*deltas, done, completed(output=output)], RESPONSES).estimate - estimate_text(text)) <= 3
