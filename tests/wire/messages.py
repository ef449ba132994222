"""HTTP/1.1 messages read strictly from an `End`: whatever is ambiguous is `Garbled`, never guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.wire.ends import End, Ended

Fields = list[tuple[bytes, bytes]]

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) (HTTP/1\.[01])\Z")
STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) (\d\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?\Z")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\Z")

NO_BODY = "none"
LENGTH = "length"
CHUNKED = "chunked"
UNTIL_CLOSE = "until close"


class Garbled(ValueError):
    """Bytes that no careful reader would accept as HTTP/1.1."""


@dataclass
class Message:
    """One request or answer. `line` is the start line split in three."""

    line: tuple[bytes, bytes, bytes]
    fields: Fields
    framing: str = NO_BODY
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    interim: list[Message] = field(default_factory=list)  # the 1xx answers before this one

    @property
    def method(self) -> bytes:
        return self.line[0]

    @property
    def target(self) -> bytes:
        return self.line[1]

    @property
    def status(self) -> int:
        return int(self.line[1])

    def values(self, name: bytes) -> list[bytes]:
        """All values of the field with this lower-case name, in order."""
        return [value for key, value in self.fields if key.lower() == name]

    def value(self, name: bytes) -> bytes:
        """The only value of the field, or empty."""
        values = self.values(name)
        assert len(values) <= 1, f"repeated {name!r}: {values}"
        return values[0] if values else b""


def parse_fields(lines: list[bytes]) -> Fields:
    fields: Fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.match(name) or not FIELD_VALUE.match(value):
            raise Garbled(f"field line {line!r}")
        fields.append((name, value.strip(b" \t")))
    return fields


def split_head(raw: bytes) -> tuple[bytes, Fields]:
    lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    return lines[0], parse_fields(lines[1:])


def parse_request_head(raw: bytes) -> Message:
    first, fields = split_head(raw)
    match = REQUEST_LINE.match(first)
    if not match:
        raise Garbled(f"request line {first!r}")
    method, target, version = match.groups()
    return Message((method, target, version), fields)


def parse_answer_head(raw: bytes) -> Message:
    first, fields = split_head(raw)
    match = STATUS_LINE.match(first)
    if not match:
        raise Garbled(f"status line {first!r}")
    version, status, reason = match.groups()
    return Message((version, status, reason or b""), fields)


def body_length(message: Message) -> int | None:
    """The declared Content-Length, None without one."""
    values = message.values(b"content-length")
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit():
        raise Garbled(f"content-length {values}")
    return int(values[0])


def is_chunked(message: Message) -> bool:
    codings = message.values(b"transfer-encoding")
    if not codings:
        return False
    if [coding.lower() for coding in codings] != [b"chunked"] or message.values(b"content-length"):
        raise Garbled(f"transfer-encoding {codings} and content-length {message.values(b'content-length')}")
    return True


async def read_chunked(end: End) -> tuple[bytes, Fields]:
    """Body and trailers."""
    body = bytearray()
    while True:
        line = (await end.read_until(b"\r\n"))[:-2]
        match = CHUNK_LINE.match(line)
        if not match:
            raise Garbled(f"chunk line {line[:100]!r}")
        size = int(match.group(1), 16)
        if size == 0:
            break
        body += await end.read_exactly(size)
        if await end.read_exactly(2) != b"\r\n":
            raise Garbled("no CRLF after a chunk")
    lines = []
    while line := (await end.read_until(b"\r\n"))[:-2]:
        lines.append(line)
    return bytes(body), parse_fields(lines)


async def read_request_head(end: End) -> Message | None:
    """The next request's head; None if the connection ended between requests."""
    try:
        raw = await end.read_until(b"\r\n\r\n")
    except Ended:
        if end.buffer:
            raise
        return None
    return parse_request_head(raw)


async def read_body(end: End, message: Message) -> Message:
    """Complete `message` with the body that its head announces, as a request frames it."""
    if is_chunked(message):
        message.framing = CHUNKED
        message.body, message.trailers = await read_chunked(end)
    elif (length := body_length(message)) is not None:
        message.framing = LENGTH
        message.body = await end.read_exactly(length)
    return message


async def read_request(end: End) -> Message | None:
    message = await read_request_head(end)
    return None if message is None else await read_body(end, message)


async def read_answer_head(end: End) -> Message:
    return parse_answer_head(await end.read_until(b"\r\n\r\n"))


async def read_answer(end: End, method: bytes = b"GET") -> Message:
    """The final answer with its interim ones; an answer that ends by close must end cleanly."""
    interim = []
    message = await read_answer_head(end)
    while 100 <= message.status < 200 and message.status != 101:
        interim.append(message)
        message = await read_answer_head(end)
    message.interim = interim
    if method == b"HEAD" or message.status in (101, 204, 304):
        return message
    if is_chunked(message) or body_length(message) is not None:
        return await read_body(end, message)
    message.framing = UNTIL_CLOSE
    message.body = await end.read_to_end()
    if end.ended != "eof":
        raise Ended(f"cut after {message.body[-100:]!r}")
    return message


def head(first: bytes, fields: Fields) -> bytes:
    """The bytes of a head, written down as given."""
    return b"".join([first, b"\r\n", *(name + b": " + value + b"\r\n" for name, value in fields), b"\r\n"])


def chunks(pieces: list[bytes], trailers: Fields | None = None, extensions: list[bytes] | None = None) -> bytes:
    """A chunked body; `extensions` (with their semicolon) go to the first chunks, one each."""
    out = bytearray()
    for number, piece in enumerate(pieces):
        extension = extensions[number] if extensions and number < len(extensions) else b""
        out += b"%x%s\r\n%s\r\n" % (len(piece), extension, piece)
    out += b"0\r\n"
    for name, value in trailers or []:
        out += name + b": " + value + b"\r\n"
    return bytes(out + b"\r\n")


def request(
    target: bytes = b"/echo/x", method: bytes = b"GET", body: bytes | None = None, fields: Fields | None = None
) -> bytes:
    """A plain request, with Content-Length if there is a body."""
    lines = [(b"Host", b"gateway.test"), *(fields or [])]
    if body is not None:
        lines.append((b"Content-Length", b"%d" % len(body)))
    return head(method + b" " + target + b" HTTP/1.1", lines) + (body or b"")


def answer(body: bytes = b"ok", status: bytes = b"200 OK", fields: Fields | None = None) -> bytes:
    """A plain answer with Content-Length."""
    lines = [*(fields or []), (b"Content-Length", b"%d" % len(body))]
    return head(b"HTTP/1.1 " + status, lines) + body


# the usual beginnings of an answer whose body the test sends itself
CHUNKED_HEAD = head(b"HTTP/1.1 200 OK", [(b"Transfer-Encoding", b"chunked")])
LENGTH_HEAD = head(b"HTTP/1.1 200 OK", [(b"Content-Length", b"100")])
OPEN_HEAD = head(b"HTTP/1.1 200 OK", [])
