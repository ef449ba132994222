"""The openspeech frame codec: recorded frames, made-up frames, and what is no frame."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.openspeech_frames import (
    EVENTS_WITHOUT_ID,
    Compression,
    Event,
    Flags,
    Frame,
    FrameError,
    Serialization,
    Type,
    decode,
    encode,
)

MEDIA = Path(__file__).parent.parent / "fixtures" / "media"
ASR = [bytes.fromhex(line) for line in (MEDIA / "asr_sauc_frames.hex").read_text().split()]
TTS = [
    bytes.fromhex(json.loads(line)["hex"])
    for line in (MEDIA / "tts_volc_v3_bidirection.jsonl").read_text("utf-8").splitlines()
]


def test_recorded_recognition_reads_as_the_documentation_tells() -> None:
    frames = [decode(message) for message in ASR]
    assert [frame.type for frame in frames] == [Type.FULL_REQUEST, Type.FULL_RESPONSE] + [
        Type.AUDIO_REQUEST,
        Type.FULL_RESPONSE,
    ] * 2
    assert [frame.sequence for frame in frames] == [None, 1, None, 2, None, -3]
    assert [frame.last for frame in frames] == [False, False, False, False, True, True]
    assert len(frames[2].payload) == 6400
    assert json.loads(frames[0].payload)["audio"]["rate"] == 16000
    assert json.loads(frames[5].payload)["result"]["utterances"][0]["definite"] is True


def test_recorded_synthesis_reads_as_the_documentation_tells() -> None:
    frames = [decode(message) for message in TTS]
    assert [frame.event for frame in frames] == [1, 50, 100, 150, 200, 200, 350, 352, 102, 352, 351, 152, 2, 52]
    assert {frame.id for frame in frames} == {None, "conn-7", "sess-inv-0001"}
    sound = [frame for frame in frames if frame.event == Event.TTS_RESPONSE]
    # The byte 2 of sound frames differs in the recording: raw once, "JSON" once.
    assert [(frame.type, frame.serialization, len(frame.payload)) for frame in sound] == [
        (Type.AUDIO_RESPONSE, Serialization.RAW, 2400),
        (Type.AUDIO_RESPONSE, Serialization.JSON, 2400),
    ]


@pytest.mark.parametrize("message", ASR + TTS)
def test_recorded_frames_survive_the_way_back(message: bytes) -> None:
    frame = decode(message)
    again = encode(frame)
    assert decode(again) == frame
    if frame.compression == Compression.NONE:
        assert again == message
    else:
        # gzip has many forms of the same bytes; all before the payload's size is the same.
        at = 4 if frame.sequence is None else 8
        assert again[:at] == message[:at]
        assert gzip.decompress(again[at + 4 :]) == frame.payload


@pytest.mark.parametrize("message", ASR + TTS)
def test_every_cut_of_a_recorded_frame_is_an_error(message: bytes) -> None:
    for size in range(0, len(message), max(len(message) // 200, 1)):
        with pytest.raises(FrameError):
            decode(message[:size])
    with pytest.raises(FrameError, match="behind the payload"):
        decode(message + b"x")


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    kind, flags = draw(st.sampled_from(Type)), draw(st.sampled_from(Flags))
    sequence = event = ident = code = None
    if flags in (Flags.SEQUENCE, Flags.LAST_SEQUENCE):
        sequence = draw(st.integers(-(1 << 31), (1 << 31) - 1))
    if flags == Flags.EVENT:
        event = draw(st.one_of(st.sampled_from(Event), st.integers(-(1 << 31), (1 << 31) - 1)))
        ident = None if event in EVENTS_WITHOUT_ID else draw(st.text())
    if kind == Type.ERROR:
        code = draw(st.integers(0, (1 << 32) - 1))
    return Frame(
        kind,
        flags,
        draw(st.sampled_from(Serialization)),
        draw(st.sampled_from(Compression)),
        draw(st.binary(max_size=300)),
        sequence,
        event,
        ident,
        code,
    )


@given(frames())
def test_any_frame_survives(frame: Frame) -> None:
    assert decode(encode(frame)) == frame
    assert encode(frame) == encode(frame)


@given(st.binary(max_size=64) | st.binary(max_size=60).map(lambda rest: b"\x11\x11\x10\x00" + rest))
def test_garbage_is_a_frame_or_the_named_error(message: bytes) -> None:
    try:
        frame = decode(message)
    except FrameError:
        return
    assert decode(encode(frame)) == frame


def test_a_longer_header_is_skipped() -> None:
    message = TTS[0]
    longer = bytes((message[0] + 2,)) + message[1:4] + b"12345678" + message[4:]
    assert decode(longer) == decode(message)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "header"),
        (bytes.fromhex("2110100000000000"), "version"),
        (bytes.fromhex("1010100000000000"), "header size"),
        (bytes.fromhex("1150100000000000"), "message type"),
        (bytes.fromhex("1115100000000000"), "flags"),
        (bytes.fromhex("1110500000000000"), "serialization"),
        (bytes.fromhex("1110120000000000"), "compression"),
        (bytes.fromhex("111010007fffffff") + b"{}", "payload"),
        (bytes.fromhex("11141000 00000064 7fffffff".replace(" ", "")), "id"),
        (bytes.fromhex("11141000 00000064 00000001 ff 00000000".replace(" ", "")), "UTF-8"),
        (bytes.fromhex("11101100 00000002".replace(" ", "")) + b"{}", "gunzip"),
        (bytes.fromhex("11101100 0000000a 1f8b0800000000000203".replace(" ", "")), "gunzip|payload"),
    ],
)
def test_named_nasties(message: bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        decode(message)


def test_the_last_packet_is_told_by_the_flag() -> None:
    """The vendor's own example ends with a positive sequence."""
    frame = Frame(Type.AUDIO_REQUEST, Flags.LAST_SEQUENCE, Serialization.RAW, sequence=3)
    assert decode(encode(frame)).last
    assert not decode(encode(Frame(Type.AUDIO_REQUEST, Flags.SEQUENCE, sequence=-3))).last
