"""Pictures as text: answers of Gemini's image models where a client, or a vendor, has base64 in a part's `text`.

This is no conversion of a dialect but a rewrite within it, chosen for a model by `features.gemini_image_output`:

    text    each inlineData of the answer becomes a text that is its base64
    inline  each text that is a picture becomes inlineData

Everything else stays as it is, in value and order: of an object that holds a picture the parts are taken apart as far
as needed, and what is not looked into is carried as it was written. What holds none is not even that, but goes on byte
for byte. Text is a picture if it is long enough, base64 and nothing else (a data URL's head aside), and begins as PNG,
JPEG, WebP and GIF files begin.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import msgspec
from msgspec import Raw

from gateway.dialects import scan, sse
from gateway.dialects.gemini_generate.names import standard_base64
from gateway.errors import BadUpstreamReply
from gateway.types import Usage

TEXT, INLINE = "text", "inline"

_LIMIT = 32 << 20  # of one event or item: a picture comes whole
_SHORTEST = 64  # characters
_DATA_URL = re.compile(r"data:image/[\w.+-]{1,40};base64,")
# How a picture begins in base64, in either alphabet, and in JSON that escapes slashes.
_BEGINS = re.compile(rb'"(?:data:image|iVBORw|(?:\\?/|_)9j|UklGR|R0lGO)')
_NEEDLES = {TEXT: re.compile(rb'"inline(?:Data|_data)"'), INLINE: _BEGINS}
_BLANK = re.compile(r"\s")
_MAGIC = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))

_Object = dict[str, Raw]
_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(_Object).decode
_objects = msgspec.json.Decoder(list[_Object]).decode
_text = msgspec.json.Decoder(str).decode


def document(body: bytes, form: str) -> bytes:
    """A whole answer; also one that is an array of them."""
    needle = _NEEDLES.get(form)
    if needle is None or needle.search(body) is None:
        return body
    try:
        if body.lstrip(sse.BLANK).startswith(b"["):
            items = _objects(body)
            changed = [_answer(item, form) for item in items]  # all of them
            return _encode(items) if any(changed) else body
        answer = _object(body)
        return _encode(answer) if _answer(answer, form) else body
    except scan.UNREADABLE:
        return body  # it is nothing that could hold a picture


def _answer(answer: _Object, form: str) -> bool:
    """Rewrites what is below an answer; whether there was anything to do."""
    changed = False
    candidates = _objects(answer.get("candidates") or b"[]")
    for candidate in candidates:
        if bytes(candidate.get("content") or b"")[:1] != b"{":
            continue
        content = _object(candidate["content"])
        if bytes(content.get("parts") or b"")[:1] != b"[":
            continue
        old = _objects(content["parts"])
        if (new := [_PARTS[form](part) for part in old]) != old:
            content["parts"] = _raw(new)
            candidate["content"] = _raw(content)
            changed = True
    if changed:
        answer["candidates"] = _raw(candidates)
    return changed


def _raw(value: object) -> Raw:
    return Raw(_encode(value))


def _to_text(part: _Object) -> _Object:
    return _instead(part, ("inlineData", "inline_data"), _data_of)


def _to_inline(part: _Object) -> _Object:
    return _instead(part, ("text",), _picture_of)


_PARTS: dict[str, Callable[[_Object], _Object]] = {TEXT: _to_text, INLINE: _to_inline}


def _instead(part: _Object, names: tuple[str, ...], replace: Callable[[Raw], tuple[str, Raw] | None]) -> _Object:
    """The part with one of its fields replaced where it stands."""
    new: _Object = {}
    for name, value in part.items():
        found = replace(value) if name in names else None
        new.update([found if found is not None else (name, value)])
    return new


def _data_of(blob: Raw) -> tuple[str, Raw] | None:
    data = _object(blob).get("data")
    return None if data is None or bytes(data)[:1] != b'"' else ("text", data)


def _picture_of(text: Raw) -> tuple[str, Raw] | None:
    if len(memoryview(text)) < _SHORTEST or bytes(text)[:1] != b'"':
        return None
    data = _text(text)
    if (head := _DATA_URL.match(data)) is not None:
        data = data[head.end() :]
    media_type = _media_type(data[:16])
    if len(data) < _SHORTEST or media_type is None or _BLANK.search(data) is not None:
        return None
    standard = standard_base64(data)
    return None if standard is None else ("inlineData", _raw({"mimeType": media_type, "data": standard}))


def _media_type(begin: str) -> str | None:
    """By the first twelve bytes."""
    if (standard := standard_base64(begin)) is None:
        return None
    magic = base64.b64decode(standard)
    if magic.startswith(b"RIFF") and magic[8:] == b"WEBP":
        return "image/webp"
    return next((media_type for sign, media_type in _MAGIC if magic.startswith(sign)), None)


class PictureStream:
    """The same for a stream, in the place of a transform: of events, or of one array's items."""

    def __init__(self, form: str, array: bool) -> None:
        self._form = form
        self._needle = _NEEDLES.get(form)
        self._array = array
        self._items = _Items()
        self._carry = bytearray()
        self._started = False

    def feed(self, data: bytes) -> bytes:
        """Raises BadUpstreamReply for an event that is too large."""
        if self._needle is None:
            return data
        if not self._started:
            begin = (bytes(self._carry) + data).lstrip(sse.BLANK)
            if not begin:
                self._carry += data
                return b""
            self._started = True
            self._array = self._array or begin.startswith((b"[", b"{"))  # whatever was asked for
        return self._pieces(data, self._items.end if self._array else sse.event_end)

    def last(self, data: bytes) -> bytes:
        """The vendor's last bytes: an event may lack its blank line."""
        out = self.feed(data) if data else b""
        rest, self._carry = bytes(self._carry), bytearray()
        return out + self._piece(rest) if rest else out

    def finish(self, usage: Usage) -> bytes:
        return b""

    def collected(self) -> None:
        """Nothing is to be kept: the client has the vendor's own answer."""

    def _pieces(self, data: bytes, end_of: Callable[[bytes | bytearray, int], int]) -> bytes:
        carry = self._carry
        known = len(carry)
        if carry:
            carry += data
            whole: bytes | bytearray = carry
        else:
            whole = data
        out: list[bytes] = []
        start = 0
        at = known if self._array else max(known - 3, 0)
        while (end := end_of(whole, at)) >= 0:
            out.append(self._piece(bytes(whole[start:end])))
            start = at = end
        if self._array and not self._items.open:  # what stands between items, and the closing bracket
            out.append(bytes(whole[start:]))
            start = len(whole)
        self._carry = bytearray(whole[start:]) if start or not known else carry
        if len(self._carry) > _LIMIT:
            raise BadUpstreamReply("the vendor's stream holds an event that is larger than the gateway accepts")
        return b"".join(out)

    def _piece(self, piece: bytes) -> bytes:
        """A whole event, or an item with what stands before it."""
        assert self._needle is not None
        if self._needle.search(piece) is None:
            return piece
        if self._array:
            begin = piece.find(b"{")
            return piece if begin < 0 else piece[:begin] + document(piece[begin:], self._form)
        payload, _ = sse.read_event(piece)
        new = document(payload, self._form)
        if new is payload:
            return piece
        blank = b"\r\n\r\n" if piece.endswith(b"\r\n\r\n") else b"\n\n"
        return b"data: " + new.replace(b"\r", b" ").replace(b"\n", b" ") + blank


class _Items:
    """Finds where the objects of an outermost array, or one that stands alone, end."""

    _STRUCTURE = re.compile(rb'["{}]')
    _STRING = re.compile(rb'[^"\\]*+')

    def __init__(self) -> None:
        self._depth = 0
        self._string = False
        self._escaped = False

    @property
    def open(self) -> bool:
        return self._depth > 0

    def end(self, data: bytes | bytearray, start: int) -> int:
        """The position behind the next item, -1 if there is none yet; to be given each byte once."""
        size = len(data)
        while start < size:
            if self._string:
                start = self._string_end(data, start)
                continue
            found = self._STRUCTURE.search(data, start)
            if found is None:
                return -1
            start = found.end()
            mark = found[0]
            if mark == b'"':
                self._string = True
            elif mark == b"{":
                self._depth += 1
            else:
                self._depth = max(self._depth - 1, 0)
                if not self._depth:
                    return start
        return -1

    def _string_end(self, data: bytes | bytearray, start: int) -> int:
        if self._escaped:
            self._escaped = False
            return start + 1
        found = self._STRING.match(data, start)
        end = found.end() if found is not None else start
        if end < len(data):
            if data[end] == 0x22:
                self._string = False
            else:
                self._escaped = True
            end += 1
        return end
