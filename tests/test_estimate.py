"""The token estimate, held against what real tokenizers count.

The fixture's figures were counted once with the published vocabularies of cl100k_base, o200k_base and Qwen.
"""

from __future__ import annotations

import base64
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.estimate import PICTURE, estimate_items, estimate_text, estimate_tokens

SAMPLES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "fixtures" / "estimate" / "samples.json").read_text(encoding="utf-8")
)
TOKENIZERS = ("cl100k_base", "o200k_base", "qwen")
# Estimate by count: the least and the most over the three tokenizers. What is not named here: 0.75 to 1.6.
RANGES = {
    "chinese": (0.85, 1.7),
    "classical": (0.65, 1.1),
    "japanese": (0.9, 1.7),
    "arabic": (0.6, 1.4),
    "hindi": (0.8, 2.6),
    "thai": (0.9, 2.5),
    "emoji": (0.7, 1.2),
    "base64": (0.6, 0.7),
    "latex": (0.65, 0.75),
}


def chat(content: Any, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **more}).encode()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: str(sample["name"]))
def test_near_to_real_tokenizers(sample: dict[str, Any]) -> None:
    least, most = RANGES.get(sample["name"], (0.75, 1.6))
    estimate = estimate_text(sample["text"])
    ratios = [estimate / sample[name] for name in TOKENIZERS]
    assert least <= min(ratios)
    assert max(ratios) <= most


def test_near_to_real_tokenizers_in_all() -> None:
    estimate = sum(estimate_text(sample["text"]) for sample in SAMPLES)
    for name in TOKENIZERS:
        assert 0.95 <= estimate / sum(sample[name] for sample in SAMPLES) <= 1.25


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: str(sample["name"]))
def test_a_body_counts_about_as_its_text(sample: dict[str, Any]) -> None:
    """However the JSON spells it; escaped quotes and line ends may cost a quarter more."""
    text = estimate_text(sample["text"])
    for ascii_only in (True, False):
        body = json.dumps({"content": sample["text"]}, ensure_ascii=ascii_only).encode()
        assert text < estimate_tokens(body) <= 1.25 * text + 10


@given(st.text(), st.text())
def test_more_text_is_never_less(text: str, more: str) -> None:
    assert estimate_text(text) <= estimate_text(text + more) <= estimate_text(text) + estimate_text(more)
    assert (estimate_text(text) > 0) == bool(text)


def test_kinds_of_characters_by_hand() -> None:
    assert estimate_text("a" * 100) == 22
    assert estimate_text("A" * 100) == estimate_text("\n" * 100) == 47
    assert estimate_text("7" * 100) == 100
    assert estimate_text("ж" * 100) == 45
    assert estimate_text("图" * 100) == 100
    assert estimate_text("🚀" * 100) == 200
    assert estimate_text("\ud800" * 100) == 100  # a lone surrogate is a character of three bytes
    assert estimate_text("a" * 50 + "A" * 10 + "7" * 3 + "图" * 4) == 23  # 22.7, rounded up


def test_an_escaped_pair_is_an_emoji() -> None:
    assert estimate_tokens(b'"' + rb"\ud83d\ude80" * 100 + b'"') == estimate_tokens(('"' + "🚀" * 100 + '"').encode())


def test_a_backslash_before_u_need_be_no_escape() -> None:
    assert estimate_tokens(rb'"C:\\users\\x"') == estimate_text(r'"C:\\users\\x"')
    assert estimate_tokens(rb'"\u12"') > 0  # no JSON, but no traceback either


def test_escapes_among_other_characters_are_weighed_as_they_are() -> None:
    assert estimate_tokens(("图" * 1000 + r"\u0041").encode()) in range(1000, 1010)


PNG = "data:image/png;base64," + base64.b64encode(b"\xff\xfe" * 150_000).decode()  # full of slashes
BARE = estimate_tokens(chat([{"type": "image_url", "image_url": {"url": ""}}]))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": PNG},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"detail": "high", "url": "http://example.com/a.png"}},
        {"type": "input_image", "image_url": PNG},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
    ],
)
def test_a_picture_has_a_flat_figure(part: dict[str, Any]) -> None:
    once = estimate_tokens(chat([part]))
    assert PICTURE < once < PICTURE + BARE + 20
    assert 3 * PICTURE < estimate_tokens(chat([part] * 3)) < 3 * PICTURE + 3 * (BARE + 20)


def test_a_picture_in_json_with_escaped_slashes() -> None:
    body = chat([{"type": "image_url", "image_url": {"url": PNG}}]).replace(b"/", rb"\/")
    assert PICTURE < estimate_tokens(body) < PICTURE + BARE + 20


def test_sound_and_files_count_by_size() -> None:
    def sound(data: bytes) -> int:
        text = base64.b64encode(data).decode()
        return estimate_tokens(chat([{"type": "input_audio", "input_audio": {"data": text, "format": "wav"}}]))

    def file(kind: str) -> int:
        url = f"data:{kind};base64," + base64.b64encode(bytes(300_000)).decode()
        return estimate_tokens(chat([{"type": "file", "file": {"file_data": url}}]))

    assert 250 < sound(b"RIFF" + bytes(300_000)) < 350
    assert 2_000 < sound(bytes(300_000)) < 2_100
    assert 2_000 < file("video/mp4") < 2_100
    assert 8_000 < file("application/pdf") < 8_100
    assert 80_000 < file("text/plain;charset=utf-8") < 80_100


@pytest.mark.parametrize(
    "text",
    [
        "look: data:image/png;base64," + "A" * 9000,  # a string that only mentions one
        "data:image/png;base64," + "a lot of words " * 600,  # not base64
        '"data:image/png;base64,' + "A" * 9000 + '"',  # quotes of the text itself
        '"data:image/png;base64,' + "A" * 9000,
    ],
)
def test_text_does_not_hide_as_a_picture(text: str) -> None:
    assert estimate_tokens(chat(text)) >= estimate_text(text)


def test_many_pictures_are_text_at_last() -> None:
    body = b"[" + b'"data:image/png;base64,AAAA",' * 1_500 + b'""]'
    assert 1_000 * PICTURE < estimate_tokens(body) < 1_020 * PICTURE


def test_lists_of_tokens_are_counted() -> None:
    assert estimate_items(b"[1,2,3]") == 3
    assert estimate_items(b"[[1,2],[3, 4]]") == 4


@pytest.mark.parametrize(
    "body",
    [
        b'{"input":"' + b"lorem ipsum " * 1_400_000 + b'"}',
        b'{"input":"' + rb"\u56fe" * 2_800_000 + b'"}',
        b'{"input":"data:image/png;base64,' + b"A" * (16 << 20) + b'"}',
        b'{"input":[' + b'"data:a/b;base64,' * 100_000 + b'"]}',
        b'{"data":"' + rb"\u" * (1 << 20) + b'"}',
    ],
    ids=["text", "escapes", "picture", "no pictures", "broken escapes"],
)
def test_memory_of_a_large_body_is_bounded(body: bytes) -> None:
    tracemalloc.start()
    estimate_tokens(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(body) + (1 << 20)
