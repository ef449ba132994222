"""The model that a request asks for: read from a copy of its body, or from its target."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from gateway.dialects import scan
from gateway.dialects.readers import label
from gateway.dialects.scan import Fields, PathScanner

REACH = 64 * 1024  # how far into a body the model is looked for

_ROOT = scan.tree(("model",))
_BOUNDARY = re.compile(rb'boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NAMED_MODEL = re.compile(rb'(?:^|\r\n)content-disposition:[^\r\n]*;\s*name="?model"?\s*(?:;|\r\n|$)', re.IGNORECASE)
_PATH_MODEL = re.compile(rb"/(?:models|tunedModels)/([^/?]+?)(?::|%3[aA])[A-Za-z]+$")


class _Top(msgspec.Struct):
    model: object = None


_decoder = msgspec.json.Decoder(_Top)


def model_of(body: bytes) -> str | None:
    """The top-level model of a body that is in hand as a whole; None if it is not whole, not JSON, or names none."""
    if len(body) > REACH or not body.endswith((b"}", b"}\n")):
        return None
    try:
        return label(_decoder.decode(body).model)
    except scan.UNREADABLE:
        return None


class RequestModel:
    """Finds the top-level `model` of a JSON body, or the form field of that name, without keeping the body."""

    __slots__ = ("_form", "_scanner", "_seen", "done", "model")

    def __init__(self, content_type: bytes = b"") -> None:
        self.model: str | None = None
        self.done = False  # nothing more will be found
        self._seen = 0
        self._scanner: PathScanner | None = None
        self._form: _Form | None = None
        if content_type[:10].lower() == b"multipart/":
            found = _BOUNDARY.search(content_type)
            if found is None:
                self.done = True
            else:
                self._form = _Form(found[1] or found[2])

    def feed(self, data: bytes) -> None:
        if self.done:
            return
        if self._form is not None:
            found = self._form.feed(data[: REACH - self._seen])
            if found is not None:
                self.model, self.done = label(found.decode(errors="replace")), True
        elif self._seen or len(data) > REACH or not self._whole(data):
            self._scan(data[: REACH - self._seen])
        self._seen += len(data)
        if self._seen >= REACH:
            self.done = True
        if self.done:
            self._scanner = self._form = None

    def _whole(self, data: bytes) -> bool:
        """Most bodies are in hand at once and complete."""
        if not data.endswith((b"}", b"}\n")):
            return False
        try:
            self.model = label(_decoder.decode(data).model)
        except scan.UNREADABLE:
            return False
        self.done = True
        return True

    def _scan(self, data: bytes) -> None:
        if self._scanner is None:
            self._scanner = PathScanner(_ROOT, self._take)
        self._scanner.feed(data)
        if self._seen + len(data) >= REACH and not self.done:
            self._scanner.finish()

    def _take(self, fields: Fields) -> None:
        self.model = label(fields.get("model"))
        self.done = True


class _Form:
    """The parts of a multipart body as they come; it holds what is not yet told apart."""

    __slots__ = ("_buffer", "_delimiter", "_searched")

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter looks like the others
        self._searched = 0

    def feed(self, data: bytes) -> bytes | None:
        """The value of the field `model` once its part is complete."""
        buffer = self._buffer
        buffer += data
        while True:
            end = buffer.find(self._delimiter, self._searched)
            if end < 0:
                self._searched = max(len(buffer) - len(self._delimiter), 0)
                return None
            part = bytes(buffer[:end])
            del buffer[: end + len(self._delimiter)]
            self._searched = 0
            head, separator, value = part.partition(b"\r\n\r\n")
            if separator and _NAMED_MODEL.search(head):
                return value


def model_from_target(path: bytes, query: bytes) -> str | None:
    """The model named by the target: Gemini's `/models/{model}:method`, else `?model=`."""
    found = _PATH_MODEL.search(path)
    if found is not None:
        return label(unquote_to_bytes(found[1]).decode(errors="replace"))
    if b"model=" not in query:
        return None
    try:
        pairs = parse_qsl(query.decode("latin-1"), encoding="utf-8", errors="replace")
    except ValueError:  # more fields than anybody needs
        return None
    return next((label(value) for name, value in pairs if name == "model"), None)
