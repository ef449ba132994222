"""Usage events in WebSockets, from raw frames: cut anywhere, fragmented, compressed, masked, hostile."""

from __future__ import annotations

import json
import os
import tracemalloc
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import WebSocketUsage
from gateway.dialects.usage import combine
from gateway.types import Usage

TEXT, BINARY, CONTINUATION, CLOSE, PING = 1, 2, 0, 8, 9
DEFLATE = b"permessage-deflate; server_max_window_bits=10"
NO_TAKEOVER = b"x-other, permessage-deflate; client_no_context_takeover; server_no_context_takeover"
MASK = b"\x12\x34\x00\xff"

DONE = {
    "type": "response.done",
    "response": {
        "id": "resp_1",
        "status": "completed",
        "output": [{"content": [{"transcript": '{"usage": {"input_tokens": 999}}'}]}],
        "usage": {
            "total_tokens": 253,
            "input_tokens": 132,
            "output_tokens": 121,
            "input_token_details": {"text_tokens": 119, "audio_tokens": 13, "cached_tokens": 64},
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
        },
    },
}
DONE_USAGE = Usage(132, 64, 0, 121, 0, {"audio_input_tokens": 13, "audio_output_tokens": 91})
DELTA = {"type": "response.audio.delta", "response_id": "resp_1", "delta": "AAAA" * 100}


def frame(
    payload: bytes, opcode: int = TEXT, *, last: bool = True, compressed: bool = False, mask: bytes = b""
) -> bytes:
    size, masked = len(payload), 0x80 if mask else 0
    head = bytes([opcode | (0x80 if last else 0) | (0x40 if compressed else 0)])
    if size < 126:
        head += bytes([size | masked])
    elif size < 1 << 16:
        head += bytes([126 | masked]) + size.to_bytes(2, "big")
    else:
        head += bytes([127 | masked]) + size.to_bytes(8, "big")
    if mask:
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return head + mask + payload


def encoded(event: Any) -> bytes:
    return json.dumps(event).encode()


class Deflater:
    """A sender's side of permessage-deflate."""

    def __init__(self, *, keep: bool = True, bits: int = -15) -> None:
        self.keep, self.bits = keep, bits
        self.encoder = zlib.compressobj(wbits=bits)

    def __call__(self, payload: bytes) -> bytes:
        if not self.keep:
            self.encoder = zlib.compressobj(wbits=self.bits)
        data = self.encoder.compress(payload) + self.encoder.flush(zlib.Z_SYNC_FLUSH)
        return data.removesuffix(b"\x00\x00\xff\xff")


def read(wire: bytes, extensions: bytes = b"", cuts: Iterable[int] = ()) -> list[Usage]:
    reader = WebSocketUsage(extensions)
    places = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    pieces = [wire[start:end] for start, end in zip(places, places[1:], strict=False)]
    return [usage for piece in pieces for usage in reader.feed_down(piece)]


def read_events(*events: Any) -> list[Usage]:
    wire = b"".join(frame(encoded(event)) for event in events)
    found = read(wire)
    assert read(wire, cuts=range(len(wire))) == found
    return found


def conversation(extensions: bytes, mask: bytes) -> bytes:
    """Deltas, binary, a ping amid a fragmented `response.done`, then a whole one of another response."""
    deflate = None
    if extensions:
        deflate = Deflater(keep=b"server_no_context" not in extensions, bits=-10 if b"=10" in extensions else -15)

    def sent(payload: bytes, opcode: int = TEXT) -> bytes:
        return deflate(payload) if deflate and opcode in (TEXT, BINARY) else payload

    done, squeezed = sent(encoded(DONE)), bool(deflate)
    # The parts are compressed in the order in which they are sent, for they share a window.
    parts = [
        frame(done[:50], TEXT, last=False, compressed=squeezed, mask=mask),
        frame(b"ping", PING, mask=mask),
        frame(b"", CONTINUATION, last=False, mask=mask),
        frame(done[50:], CONTINUATION, mask=mask),
        frame(sent(encoded(DELTA)), compressed=squeezed, mask=mask),
        frame(sent(bytes(range(256)) * 300, BINARY), BINARY, compressed=squeezed, mask=mask),
        frame(sent(b""), compressed=squeezed, mask=mask),
        frame(encoded(DELTA), mask=mask),
    ]
    other = {**DONE, "response": {**DONE["response"], "id": "resp_2"}}  # type: ignore[dict-item]
    return b"".join(parts) + frame(sent(encoded(other)), compressed=squeezed, mask=mask) + frame(b"\x03\xe8", CLOSE)


@pytest.mark.parametrize("extensions", [b"", DEFLATE, NO_TAKEOVER])
@pytest.mark.parametrize("mask", [b"", MASK])
def test_frames_of_all_kinds(extensions: bytes, mask: bytes) -> None:
    wire = conversation(extensions, mask)
    assert read(wire, extensions) == [DONE_USAGE, DONE_USAGE]
    assert read(wire, extensions, range(len(wire))) == [DONE_USAGE, DONE_USAGE]


@given(
    st.sampled_from([b"", DEFLATE, NO_TAKEOVER]),
    st.sampled_from([b"", MASK]),
    st.lists(st.integers(0, 80_000), max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_frames_at_random_cuts(extensions: bytes, mask: bytes, cuts: list[int]) -> None:
    assert read(conversation(extensions, mask), extensions, cuts) == [DONE_USAGE, DONE_USAGE]


def test_plural_details_and_failed_responses() -> None:
    usage = {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 3}}
    for kind in ("response.done", "response.failed", "response.incomplete"):
        assert read_events({"type": kind, "response": {"usage": usage}}) == [Usage(9, 3, 0, 4, 0)]


def test_transcriptions_count_beside_responses() -> None:
    name = "conversation.item.input_audio_transcription.completed"
    tokens = {"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17}
    seconds = {"type": "duration", "seconds": 2.5}
    assert read_events(
        {"type": name, "item_id": "a", "usage": tokens},
        {"type": name, "item_id": "b", "usage": seconds},
        {"type": name, "item_id": "b", "usage": seconds},
        DONE,
    ) == [Usage(14, 0, 0, 3, 0), Usage(extra_units={"seconds": 2.5}), DONE_USAGE]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.created", "response": {"usage": {"input_tokens": 5}}},
        {"type": "response.done", "usage": {"input_tokens": 5}, "response": {"usage": None}},
        {"type": "response.output_item.done", "item": {"response": {"usage": {"input_tokens": 5}}}},
        {"type": "rate_limits.updated", "usage": {"input_tokens": 5}},
        {"type": ["response.done"], "response": {"usage": {"input_tokens": 5}}, "header": {"event": ["task-finished"]}},
        {"header": {"event": "run-task"}, "payload": {"usage": {"characters": 5}}},
        {"usage": {"input_tokens": 5}},
        [{"type": "response.done", "response": {"usage": {"input_tokens": 5}}}],
        "response.done usage",
    ],
)
def test_what_only_looks_like_usage(event: Any) -> None:
    assert read_events(event, DONE) == [DONE_USAGE]


def task(event: str, usage: Any, task_id: str = "t1", *, nested: bool = False) -> dict[str, Any]:
    payload = {"output": {"usage": usage}} if nested else {"output": {}, "usage": usage}
    return {"header": {"event": event, "task_id": task_id, "attributes": {}}, "payload": payload}


def test_a_task_counts_on_and_is_not_added_up() -> None:
    found = read_events(
        task("task-started", None),
        task("result-generated", {"characters": 5}),
        task("result-generated", {"characters": 5}),
        task("result-generated", {"characters": 12}),
        task("task-finished", {"characters": 12}),
        task("result-generated", {"duration": 3}, "t2", nested=True),
        task("task-finished", {"duration": 8}, "t2", nested=True),
    )
    assert combine(found) == Usage(extra_units={"characters": 12, "seconds": 8})


def test_a_restated_response_counts_once() -> None:
    early = {"type": "response.audio.done", "response_id": "resp_1", "usage": {"input_tokens": 60, "total_tokens": 60}}
    assert combine(read_events(early, DONE, DONE)) == DONE_USAGE


def test_qwen_speech_minimax_and_spark() -> None:
    assert read_events({"type": "response.done", "response": {"id": "r", "usage": {"characters": 7}}}) == [
        Usage(extra_units={"characters": 7})
    ]
    minimax = [{"event": "task_continued", "extra_info": {"usage_characters": count}} for count in (4, 9)]
    assert combine(read_events(*minimax)) == Usage(extra_units={"characters": 9})
    texts = [{"session_id": "s", "is_final": True, "extra_info": {"usage_characters": count}} for count in (12, 6)]
    assert combine(read_events(*texts)) == Usage(extra_units={"characters": 18})
    text = {"question_tokens": 4, "prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
    spark = {"header": {"sid": "s", "status": 2}, "payload": {"usage": {"text": text}}}
    assert read_events(spark) == [Usage(5, 0, 0, 9)]


@pytest.mark.parametrize(
    ("up", "down", "model"),
    [
        ({"type": "session.update", "session": {"model": "gpt-realtime"}}, None, "gpt-realtime"),
        ({"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "w"}}}}}, None, "w"),
        ({"header": {"action": "run-task"}, "payload": {"model": "cosyvoice-v3", "input": {}}}, None, "cosyvoice-v3"),
        ({"event": "task_start", "model": "speech-2.8-hd"}, None, "speech-2.8-hd"),
        (None, {"type": "session.created", "session": {"model": "qwen3-omni"}}, "qwen3-omni"),
        (None, {"type": "response.done", "response": {"model": "m", "usage": {"input_tokens": 1}}}, "m"),
        ({"type": "response.create", "item": {"model": "no"}}, {"type": "x", "item": {"model": "no"}}, None),
    ],
)
@pytest.mark.parametrize("extensions", [b"", DEFLATE])
def test_the_sessions_model(up: Any, down: Any, model: str | None, extensions: bytes) -> None:
    reader, deflate = WebSocketUsage(extensions), Deflater()
    if up is not None:
        payload = deflate(encoded(up)) if extensions else encoded(up)
        wire = frame(b"\x00" * 300, BINARY, mask=MASK) + frame(payload, compressed=bool(extensions), mask=MASK)
        for start in range(0, len(wire), 3):
            reader.feed_up(wire[start : start + 3])
    if down is not None:
        reader.feed_down(frame(encoded(down)))
    assert reader.model == model


def test_the_model_is_not_looked_for_without_end() -> None:
    reader = WebSocketUsage()
    reader.feed_up(frame(b"A" * 300_000, mask=MASK))
    reader.feed_up(frame(encoded({"session": {"model": "late"}}), mask=MASK))
    assert reader.model is None


@pytest.mark.parametrize(
    "nonsense",
    [
        frame(b"x", CONTINUATION),
        frame(b"x", TEXT, last=False) + frame(b"y", TEXT),
        frame(b"x", 3),
        frame(b"x", 11),
        frame(b"x" * 126, PING),
        frame(b"x", PING, last=False),
        frame(b"x", compressed=True),
        b"\xf1\x00",
        b"\x81\x7f" + b"\xff" * 8,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_nonsense_ends_the_reading_quietly(nonsense: bytes) -> None:
    assert read(frame(encoded(DONE)) + nonsense + frame(encoded(DONE))) == [DONE_USAGE]


def test_corrupt_compression_ends_the_reading_quietly() -> None:
    good = frame(Deflater()(encoded(DONE)), compressed=True)
    assert read(good + frame(b"\xff" * 50, compressed=True) + good, DEFLATE) == [DONE_USAGE]


@pytest.mark.parametrize("extensions", [b"", DEFLATE])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_long_messages_are_not_kept(extensions: bytes, opcode: int) -> None:
    event = encoded(DONE)[:-1] + b',"audio":"' + os.urandom(4 << 20).hex().encode() + b'"}'
    deflate = Deflater()
    wire = frame(deflate(event) if extensions else event, opcode, compressed=bool(extensions))
    wire += frame(deflate(encoded(DONE)) if extensions else encoded(DONE), compressed=bool(extensions))
    reader = WebSocketUsage(extensions)
    pieces = [wire[start : start + 65536] for start in range(0, len(wire), 65536)]
    tracemalloc.start()
    try:
        found = [usage for piece in pieces for usage in reader.feed_down(piece)]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert combine(found) == DONE_USAGE


def test_a_compressed_bomb_is_given_up() -> None:
    bomb = frame(Deflater()(bytes(64 << 20)), compressed=True)
    tracemalloc.start()
    try:
        assert read(bomb + frame(encoded(DONE)), DEFLATE) == []
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_many_responses_are_counted_and_few_remembered() -> None:
    reader = WebSocketUsage()
    count = 0
    for number in range(500):
        event = {"type": "response.done", "response": {"id": f"r{number}", "usage": {"input_tokens": 1}}}
        count += len(reader.feed_down(frame(encoded(event))))
    assert count == 500
    assert len(reader._counted) <= 16


PIECES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([frame(encoded(DONE)), frame(encoded(DELTA), mask=MASK), frame(b"", PING), b"\xc1\x02\xff\xff"]),
    st.builds(
        lambda payload, opcode, last, compressed: frame(payload, opcode, last=last, compressed=compressed),
        st.binary(max_size=40), st.integers(0, 15), st.booleans(), st.booleans(),
    ),
)  # fmt: skip


@given(st.sampled_from([b"", DEFLATE, NO_TAKEOVER, b"\xff;;,", b"permessage-deflate"]), st.lists(PIECES, max_size=8))
@settings(max_examples=400, deadline=None)
def test_nothing_is_raised_on_any_input(extensions: bytes, pieces: list[bytes]) -> None:
    reader = WebSocketUsage(extensions)
    for piece in pieces:
        for usage in reader.feed_down(piece):
            assert usage.tokens() or usage.extra_units
        reader.feed_up(piece)
    whole = WebSocketUsage(extensions)
    parted = WebSocketUsage(extensions)
    assert combine(whole.feed_down(b"".join(pieces))) == combine(
        usage for piece in pieces for usage in parted.feed_down(piece)
    )
