"""The made-up content: deterministic, countable, and files that decoders accept."""

from __future__ import annotations

import io
import wave
import zlib

from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox import content, media
from gateway.sandbox.answer import Prompt, Tool, Wish, compose, fragments
from gateway.sandbox.script import Script


@given(st.text())
def test_pieces_join_to_the_text_and_count_as_tokens(text: str) -> None:
    assert "".join(content.pieces(text)) == text
    if content.tokens(text):
        assert len(content.pieces(text)) == content.tokens(text)


@given(st.text(max_size=40), st.integers(1, 200))
def test_resize_gives_exactly_so_many_tokens(text: str, size: int) -> None:
    assert content.tokens(content.resize(text, size)) == size


def test_cjk_characters_are_tokens_of_their_own() -> None:
    assert content.pieces("ab 你好c") == ["ab", " 你", "好", "c"]


@given(st.text(), st.integers(1, 64))
def test_vectors_are_unit_vectors_of_the_text(text: str, size: int) -> None:
    vector = content.vector(text, size)
    assert vector == content.vector(text, size)
    assert abs(sum(v * v for v in vector) - 1) < 1e-4


def test_samples_fit_their_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "n": {"type": "integer", "minimum": 5, "maximum": 9},
            "list": {"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": 2},
            "deep": {"anyOf": [{"type": "object", "properties": {"x": {"type": "string", "maxLength": 3}}}]},
        },
    }
    value = content.sample(schema, "hello there")
    assert value["kind"] == "a"
    assert 5 <= value["n"] <= 9
    assert len(value["list"]) == 2
    assert value["deep"] == {"x": "x d"}


@given(st.text(min_size=1), st.integers(1, 5))
def test_fragments_join(text: str, count: int) -> None:
    parts = list(fragments(text, count))
    assert "".join(parts) == text
    assert len(parts) <= count


def test_wav_is_a_wav_and_says_its_text() -> None:
    data = media.wav("good morning 世界", 4)
    with wave.open(io.BytesIO(data)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getnframes()) == (24000, 1, 19200)
    assert media.heard(data) == "good morning 世界"
    assert media.seconds(data) == 0.8
    assert media.heard(media.mp3("good morning 世界", 4)) == "good morning 世界"
    assert media.heard(b"noise" * 3200) == "A sound of 1.0 seconds."


def test_png_has_its_chunks_in_order_and_the_size_asked_for() -> None:
    data = media.png("cat", 30, 20, size=5000)
    assert len(data) == 5000
    at, kinds = 8, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        kinds.append(kind)
        assert zlib.crc32(data[at + 4 : at + 8 + length]) == int.from_bytes(
            data[at + 8 + length : at + 12 + length], "big"
        )
        at += 12 + length
    assert kinds == [b"IHDR", b"PLTE", b"IDAT", b"paDd", b"IEND"]


def test_tools_are_chosen_by_name_choice_and_script() -> None:
    tools = [Tool("red", {}), Tool("blue", {})]

    def chosen(said: str = "x", result: str | None = None, script: Script | None = None, **wish: object) -> list[str]:
        wanted = Wish(tools=tools)
        for name, value in wish.items():
            setattr(wanted, name, value)
        return [call.name for call in compose(Prompt(said, result), wanted, script or Script()).calls]

    assert chosen() == ["red"]
    assert chosen("go blue") == ["blue"]
    assert chosen("red and blue") == ["red", "blue"]
    assert chosen("red and blue", parallel=False) == ["red"]
    assert chosen(choice="blue") == ["blue"]
    assert chosen(choice="none") == []
    assert chosen(result="done") == []
    assert chosen(result="done", choice="required") == ["red"]
    assert chosen(script=Script(tools=3)) == ["red", "blue", "red"]
    assert chosen(script=Script(tools=0)) == []


def test_lengths_stops_and_zero_usage() -> None:
    prompt = Prompt("one two three", tokens=4)
    assert compose(prompt, Wish(most=3), Script()).text == "You said: one"
    answer = compose(prompt, Wish(most=5, think=4), Script())
    assert (answer.output, answer.finish) == (5, "length")
    assert compose(prompt, Wish(stops=["two"]), Script()).stopped == "two"
    assert compose(prompt, Wish(stops=["two"], keep_stop=True), Script()).text == "You said: one two"
    zero = compose(prompt, Wish(), Script(zero_usage=True))
    assert (zero.input, zero.output) == (0, 0)
