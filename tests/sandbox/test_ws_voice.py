"""The sandbox's voice and ear, and the files around them."""

from __future__ import annotations

import array
import io
import math
import random
import wave

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sandbox.ws_containers import Speaker, ear_for, encode, text_in, wav_header
from gateway.sandbox.ws_voice import CHAR_MS, FOREIGN, Ear, Progress, Sentences, duration_ms, sentences, speak

RATES = (8000, 16000, 22050, 24000, 44100, 48000)
TEXT = "你好, hello 世界🎉。Second one!"
FORMS = ("pcm", "wav", "mp3", "ogg_opus", "opus", "flac")
speech = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=12)


def heard(pcm: bytes, rate: int) -> str:
    ear = Ear(rate)
    ear.feed(pcm)
    ear.close()
    return ear.text


def resampled(pcm: bytes, old: int, new: int) -> bytes:
    """Straight lines between the samples."""
    given = array.array("h", pcm)
    out = array.array("h")
    for i in range(len(given) * new // old):
        at, rest = divmod(i * old, new)
        after = given[min(at + 1, len(given) - 1)]
        out.append(given[at] + (after - given[at]) * rest // new)
    return out.tobytes()


@settings(max_examples=40)
@given(speech, st.sampled_from(RATES), speech)
def test_what_is_spoken_is_heard(text: str, rate: int, voice: str) -> None:
    pcm = speak(text, rate, voice)
    assert heard(pcm, rate) == text
    assert duration_ms(len(pcm), rate) == len(text) * CHAR_MS
    assert speak(text, rate, voice) == pcm


@pytest.mark.parametrize("rate", RATES)
def test_sound_is_heard_however_it_is_cut(rate: int) -> None:
    pcm = bytes(2 * 777) + speak(TEXT, rate) + bytes(rate)
    for seed in range(3):
        cuts, ear, at = random.Random(seed), Ear(rate), 0
        while at < len(pcm):
            step = cuts.choice((1, 2, 3, 640, 6400))
            ear.feed(pcm[at : at + step])
            at += step
        assert ear.text == TEXT
        assert ear.duration_ms == len(pcm) // 2 * 1000 // rate
        assert ear.silence_ms >= 450


@pytest.mark.parametrize(("old", "new"), [(24000, 16000), (16000, 24000), (44100, 16000), (22050, 16000)])
def test_a_change_of_the_rate_is_survived(old: int, new: int) -> None:
    assert heard(resampled(speak(TEXT, old, "any"), old, new), new) == TEXT


def test_voices_and_texts_differ() -> None:
    assert len({speak(TEXT, 16000, name) for name in ("Cherry", "Ethan", "alloy", "nova", "shimmer")}) > 1
    assert speak("a", 16000) != speak("b", 16000)


def test_silence_is_nothing_and_foreign_sound_is_counted() -> None:
    assert heard(bytes(32000), 16000) == ""
    sine = array.array("h", (int(9000 * math.sin(i * 0.07)) for i in range(32000))).tobytes()
    assert heard(sine, 16000) == FOREIGN * 4
    assert heard(sine[:4000], 16000) == FOREIGN
    noise = random.Random(1).randbytes(32000)
    assert set(heard(noise, 16000)) == {FOREIGN}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100])
def test_every_form_carries_its_text(form: str, rate: int) -> None:
    data = encode(TEXT, "voice", form, rate)
    assert data == encode(TEXT, "voice", form, rate)
    assert data != encode(TEXT + "x", "voice", form, rate)
    if form != "flac":
        assert text_in(data, rate) == TEXT
    magic = {"wav": b"RIFF", "mp3": b"\xff", "ogg_opus": b"OggS", "opus": b"OggS", "flac": b"fLaC", "pcm": b""}
    assert data.startswith(magic[form])


@pytest.mark.parametrize("form", ["mp3", "ogg_opus"])
@pytest.mark.parametrize("rate", [8000, 24000, 32000])
def test_long_texts_and_texts_that_look_like_the_marks(form: str, rate: int) -> None:
    text = "TEXT OpusTags 纸船🎉 DESCRIPTION= " * 40
    assert text_in(encode(text, "", form, rate)) == text
    assert text_in(encode(text, "", form, rate) * 2) == text * 2


def test_wav_is_a_wav_file() -> None:
    with wave.open(io.BytesIO(encode(TEXT, "", "wav", 24000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24000)
        assert heard(file.readframes(file.getnframes()), 24000) == TEXT


def test_mp3_frames_follow_each_other() -> None:
    """Each header is where the frame before ends: 64 kbit/s at 24 kHz is 192 bytes a frame."""
    data = encode(TEXT, "", "mp3", 24000)
    assert len(data) % 192 == 0
    assert {data[at : at + 4] for at in range(0, len(data), 192)} == {data[:4]}


def test_flac_holds_the_samples() -> None:
    data, pcm = encode("ab", "", "flac", 16000), speak("ab", 16000)
    swapped = bytes(byte for pair in zip(pcm[1::2], pcm[::2], strict=True) for byte in pair)
    assert swapped in data


def test_a_speaker_sends_one_header() -> None:
    speaker = Speaker("v", "wav", 16000)
    first, second = b"".join(speaker.pieces("ab。")), b"".join(speaker.pieces("cd。"))
    assert first.startswith(wav_header(16000))
    assert not second.startswith(b"RIFF")
    assert text_in(first + second) == "ab。cd。"


@pytest.mark.parametrize("form", ["wav", "mp3", "ogg"])
def test_ears_for_files(form: str) -> None:
    data = encode(TEXT, "", "ogg_opus" if form == "ogg" else form, 16000)
    ear = ear_for(form, 16000)
    for at in range(0, len(data), 13):
        ear.feed(data[at : at + 13])
    ear.close()
    assert ear.text == TEXT
    assert ear.duration_ms > 0


@given(st.text("ab。. !？\n", max_size=20), st.integers(0, 1000))
def test_sentences_lose_nothing(text: str, seed: int) -> None:
    assert "".join(sentences(text)) == text
    cuts, found, by_piece = random.Random(seed), [], Sentences()
    rest = text
    while rest:
        size = cuts.randint(1, 4)
        found += by_piece.push(rest[:size])
        rest = rest[size:]
    assert "".join(found + by_piece.flush()) == text


def test_sentences_end_where_they_should() -> None:
    assert sentences("Hi there. 3.5 is fine! 好。再见") == ["Hi there.", " 3.5 is fine!", " 好。", "再见"]
    by_piece = Sentences()
    assert by_piece.push("纸船") == []
    assert by_piece.push("漂走了。再") == ["纸船漂走了。"]
    assert by_piece.flush() == ["再"]


def test_progress_tells_only_news() -> None:
    ear = Ear(16000)
    progress = Progress(ear)
    told = []
    for text in ("纸", "船", "。", "再"):
        ear.feed(speak(text, 16000))
        told += [(news.number, news.sentence.text, news.sentence.final, news.first) for news in progress.news()]
        assert progress.news() == []
    told += [(news.number, news.sentence.text, news.sentence.final, news.first) for news in progress.news(closed=True)]
    assert told == [
        (0, "纸", False, True), (0, "纸船", False, False), (0, "纸船。", True, False),
        (1, "再", False, True), (1, "再", True, False),
    ]  # fmt: skip
