"""Pictures in a text field, and back: what is rewritten, and that nothing else is."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.gemini_generate.pictures import INLINE, TEXT, PictureStream, document
from gateway.errors import BadUpstreamReply
from gateway.types import Usage

FIXTURES = Path(__file__).parent.parent / "fixtures" / "chat" / "gemini_generate"


def picture(begin: bytes) -> str:
    return base64.b64encode(begin + b"\x00\x01\xfe\xff" * 20).decode()


PNG = picture(b"\x89PNG\r\n\x1a\n")
KINDS = {
    "image/png": PNG,
    "image/jpeg": picture(b"\xff\xd8\xff\xe0"),
    "image/gif": picture(b"GIF89a"),
    "image/webp": picture(b"RIFF\x10\x00\x00\x00WEBPVP8 "),
}


def parts_of(body: bytes) -> Any:
    return json.loads(body)["candidates"][0]["content"]["parts"]


def with_parts(*parts: Any) -> bytes:
    return json.dumps({"candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": 0}]}).encode()


# -- documents ---------------------------------------------------------------------------------------------------------


def test_a_picture_becomes_text_and_text_a_picture() -> None:
    inline = (FIXTURES / "picture.inline.json").read_bytes()
    text = document(inline, TEXT)
    data = json.loads(inline)["candidates"][0]["content"]["parts"][1]["inlineData"]["data"]
    assert parts_of(text) == [{"text": "Here is the icon."}, {"text": data}]
    assert json.loads(document(text, INLINE)) == json.loads(inline)
    variant = document((FIXTURES / "picture.text.json").read_bytes(), INLINE)
    assert parts_of(variant)[0]["inlineData"]["mimeType"] == "image/png"
    assert "text" not in parts_of(variant)[0]


def test_everything_else_stays_in_value_and_order() -> None:
    body = (
        b'{ "b": 1.50, "candidates": [ {"x": 1e2, "content": {"z": 123456789012345678901, "parts": ['
        b'{"text": "caf\\u00e9"}, {"thought": true, "inlineData": {"data": "%s", "mimeType": "image/png"}, "y": [ 1 ]},'
        b'{"inline_data": {"data": "QQ=="}}, {"functionCall": {"args": {"inlineData": {"data": "QQ=="}}}}],'
        b' "role": "model"}, "index": 0}, {"content": {"role": "model"}}, {"finishReason": "SAFETY"}], '
        b'"a": {"c": [ ] } }'
    ) % PNG.encode()
    expected = (
        b'{"b":1.50,"candidates":[{"x":1e2,"content":{"z":123456789012345678901,"parts":['
        b'{"text":"caf\\u00e9"},{"thought":true,"text":"%s","y":[ 1 ]},'
        b'{"text":"QQ=="},{"functionCall":{"args": {"inlineData": {"data": "QQ=="}}}}],'
        b'"role":"model"},"index":0},{"content":{"role": "model"}},{"finishReason":"SAFETY"}],"a":{"c": [ ] }}'
    )
    assert document(body, TEXT) == expected % PNG.encode()


@pytest.mark.parametrize("media_type", KINDS)
def test_pictures_are_known_by_their_first_bytes(media_type: str) -> None:
    data = KINDS[media_type]
    expected = [{"inlineData": {"mimeType": media_type, "data": data}, "thought": False}]
    loose = data.translate(str.maketrans("+/", "-_")).rstrip("=")
    for text in (data, f"data:image/whatever;base64,{data}", loose):
        assert parts_of(document(with_parts({"text": text, "thought": False}), INLINE)) == expected
    escaped = with_parts({"text": data, "thought": False}).replace(b"/", b"\\/")
    assert parts_of(document(escaped, INLINE)) == expected


@pytest.mark.parametrize(
    "text",
    [
        PNG[:60],
        PNG + "!",
        PNG + " and more",
        PNG[:40] + "\n" + PNG[40:],
        PNG[1:],
        "A" * 100,
        "iVBORw is how pictures begin, and this is not one of them, for it is words, words, words",
        "data:image/png;base64,",
        "data:text/plain;base64," + PNG,
        picture(b"RIFF\x10\x00\x00\x00WAVEfmt "),
        "/9j" + "A" * 100 + "é",
    ],
)
def test_what_is_no_picture_stays_text(text: str) -> None:
    body = with_parts({"text": text}, {"text": PNG})
    assert parts_of(document(body, INLINE))[0] == {"text": text}
    assert document(with_parts({"text": text}), "") == with_parts({"text": text})


@pytest.mark.parametrize("name", ["response.json", "response.grounded.json", "picture.blocked.json"])
@pytest.mark.parametrize("form", [TEXT, INLINE])
def test_answers_without_pictures_are_not_touched(name: str, form: str) -> None:
    body = (FIXTURES / name).read_bytes()
    assert document(body, form) is body


@pytest.mark.parametrize(
    "body",
    [
        b'"inlineData"',
        b'{"inlineData":',
        b'{"candidates": [{"content": {"parts": [{"inlineData": 7}]}}]}',
        b'{"candidates": [7, {"inlineData": 1}]}',
        b'{"candidates": [{"content": {"parts": [["inlineData"]]}}]}',
        b'{"candidates": [{"content": "inlineData", "x": {"inlineData": {}}}]}',
        b'{"error": {"inlineData": {"data": 7}}}',
        b'{"candidates": [{"content": {"parts": [{"inlineData": {"data": 7}}]}}]}',
        b"[" * 50_000 + b'"inlineData"',
    ],
)
def test_hostile_answers_stay_what_they_are(body: bytes) -> None:
    found = document(body, TEXT)
    assert found == body or json.loads(found) == json.loads(body)


# -- streams -----------------------------------------------------------------------------------------------------------


def rewritten(pieces: list[bytes], form: str, array: bool = False) -> bytes:
    stream = PictureStream(form, array)
    out = b"".join(map(stream.feed, pieces))
    return out + stream.last(b"") + stream.finish(Usage())


ARRAY = (
    b'\xef\xbb\xbf[{"a": "}\\"{"}\n,\r\n' + with_parts({"text": "q\\", "inlineData": {"data": PNG}}) + b"\n,\r\n{}\n]\n"
)
STREAMS = {
    "events": ((FIXTURES / "stream.picture.sse").read_bytes(), False),
    "line feeds": ((FIXTURES / "stream.picture.sse").read_bytes().replace(b"\r", b""), False),
    "more lines": (b': hi\r\n\r\ndata: {"candidates": [{"content":\r\ndata: {"parts": [{"inlineData":\r\n'
                   b'data: {"data": "QQ=="}}, {"x": [1,\r\ndata: 2]}]}}]}\r\n\r\n', False),
    "array": (ARRAY, True),
    "array that is events": ((FIXTURES / "stream.picture.sse").read_bytes(), True),
    "document": ((FIXTURES / "picture.inline.json").read_bytes(), False),
    "no pictures": ((FIXTURES / "stream.thought.sse").read_bytes(), False),
    "array without pictures": ((FIXTURES / "stream.array.json").read_bytes(), True),
}  # fmt: skip


def cuts(data: bytes) -> list[list[bytes]]:
    source = random.Random(3)
    found = [[data], [data[i : i + 1] for i in range(len(data))], [b"", data, b""]]
    for _ in range(30):
        places = sorted(source.sample(range(1, len(data)), 6))
        found.append([data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)])
    return found


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("form", [TEXT, INLINE, ""])
def test_streams_however_they_are_cut(name: str, form: str) -> None:
    data, array = STREAMS[name]
    whole = rewritten([data], form, array)
    for pieces in cuts(data):
        assert rewritten(pieces, form, array) == whole
    if form != TEXT or "no pictures" in name or "without" in name:
        assert whole == data


def test_events_with_pictures_are_rewritten_and_the_others_are_as_they_were() -> None:
    data, _ = STREAMS["events"]
    events, before = rewritten([data], TEXT).split(b"\r\n\r\n"), data.split(b"\r\n\r\n")
    assert [new == old for new, old in zip(events, before, strict=True)] == [True, False, True, True]
    (part,) = parts_of(events[1].removeprefix(b"data: "))
    assert part == {"text": parts_of(before[1].removeprefix(b"data: "))[0]["inlineData"]["data"]}
    assert (
        rewritten([rewritten([data], TEXT)], INLINE)
        .split(b"\r\n\r\n")[1]
        .startswith(b'data: {"candidates":[{"content"')
    )


def test_data_in_several_lines_becomes_one() -> None:
    data, _ = STREAMS["more lines"]
    assert rewritten([data], TEXT) == (
        b': hi\r\n\r\ndata: {"candidates":[{"content":{"parts":[{"text":"QQ=="},{"x":[1,  2]}]}}]}\r\n\r\n'
    )


def test_items_of_an_array() -> None:
    out = rewritten([ARRAY], TEXT, array=True)
    assert out.startswith(b'\xef\xbb\xbf[{"a": "}\\"{"}\n,\r\n{"candidates"')
    items = json.loads(out.removeprefix(b"\xef\xbb\xbf"))
    assert items[0] == {"a": '}"{'}
    assert items[1]["candidates"][0]["content"]["parts"] == [{"text": PNG}]
    assert out.endswith(b"\n,\r\n{}\n]\n")


def test_what_is_whole_goes_on_at_once() -> None:
    stream = PictureStream(TEXT, array=True)
    assert stream.feed(b"[{}") == b"[{}"
    assert stream.feed(b"\n,\r\n{") == b""
    assert stream.feed(b"}") == b"\n,\r\n{}"
    assert stream.feed(b"\n]") == b"\n]"
    events = PictureStream(TEXT, array=False)
    assert events.feed(b"data: {}\r\n\r\n") == b"data: {}\r\n\r\n"
    assert events.last(b'data: {"candidates":[]}') == b'data: {"candidates":[]}'
    assert events.collected() is None


@pytest.mark.parametrize("array", [False, True])
def test_an_event_without_end_is_an_error(array: bool) -> None:
    stream = PictureStream(TEXT, array)
    stream.feed(b'[{"a": "' if array else b"data: {")
    for _ in range(31):
        assert stream.feed(b"A" * (1 << 20)) == b""
    with pytest.raises(BadUpstreamReply, match="larger"):
        stream.feed(b"A" * (1 << 20))


@given(
    st.lists(st.binary(max_size=20) | st.sampled_from([b"{", b"}", b'"', b"\\", b"[", b"]", b"\r\n\r\n"])),
    st.booleans(),
)
def test_whatever_comes_goes_on(pieces: list[bytes], array: bool) -> None:
    for form in (TEXT, INLINE):
        assert rewritten(pieces, form, array) == b"".join(pieces)
