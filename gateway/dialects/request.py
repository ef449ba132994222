"""What the gateway itself needs to know of a unified request: `peek`.

Only what the gateway relies on is checked (which model, whether it streams, how much it may cost, that there is
something to answer); the rest is the vendor's to judge, and unknown fields are nobody's business. A null counts as
absent, as vendors have it. A surface is one line of `_SHAPES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from gateway.dialects.estimate import estimate_items, estimate_tokens
from gateway.dialects.members import Members, members
from gateway.errors import BadRequest

MODEL_LENGTH = 256  # characters
MAX_OUTPUT = 2**31 - 1
MAX_N = 128
_MAX_COMMAS = 1_000_000  # in a list whose items are counted: each item takes seventy bytes once decoded

_NONE = re.compile(rb"null")
_LIST = re.compile(rb"\[\s*+[^\]\s]")
_LIST_OR_TEXT = re.compile(rb'\[\s*+[^\]\s]|"(?!")')
_ANY_INPUT = re.compile(rb'[\["]')
_NUMBERS = re.compile(rb"\[\s*+(?:\[\s*+)?[\d-]")
_NULL = Raw(b"null")
# Those that nearly all clients send, so that they need no looking into.
_USUAL_OPTIONS = {b'{"include_usage":true}': True, b'{"include_usage": true}': True, b"null": False}
_FLAGS = {b"true": True, b"false": False, b"null": False}

_text = msgspec.json.Decoder(str).decode
_items = msgspec.json.Decoder(list[Raw]).decode


class Shape(msgspec.Struct, frozen=True):
    """How a surface names what the gateway looks at."""

    content: str  # the field that is answered
    good: re.Pattern[bytes]
    remedy: str  # what the field must be
    instead: tuple[str, ...] = ()  # fields that may stand for it
    maximum: tuple[str, ...] = ()  # fields that limit the output of one choice
    choices: bool = False  # has `n`
    image: bytes = b""  # a string that every request with images contains
    items: bool = False  # whether the items of the content are counted
    asks_usage: bool = False  # whether a stream's usage must be asked for by stream_options.include_usage


_SHAPES = {
    "openai.chat": Shape(
        "messages",
        _LIST,
        "a list with at least one message",
        maximum=("max_completion_tokens", "max_tokens"),
        choices=True,
        image=b'"image_url"',
        asks_usage=True,
    ),
    "openai.responses": Shape(
        "input",
        _ANY_INPUT,
        "a string or a list of items",
        instead=("prompt", "previous_response_id", "conversation"),
        maximum=("max_output_tokens",),
        image=b'"input_image"',
    ),
    "openai.embeddings": Shape("input", _LIST_OR_TEXT, "a string or a list with at least one item", items=True),
    "jina.rerank": Shape("documents", _LIST, "a list with at least one document", items=True),
}


class Peek(msgspec.Struct):
    """What is known of a request before it is sent anywhere."""

    surface: str
    members: Members
    model: str
    stream: bool
    wants_usage: bool  # the client asked for the usage of a stream itself
    max_output: int | None  # tokens of one choice, if the request limits them; of two limits the larger
    n: int
    count: int  # documents or inputs
    _input_tokens: int = -1

    @property
    def body(self) -> bytes:
        return self.members.body

    @property
    def fields(self) -> dict[str, Raw]:
        """The raw value of each top-level field, in the body's order."""
        return self.members.fields

    @property
    def images(self) -> bool:
        """Whether there is a picture among what is to be answered."""
        shape = _SHAPES[self.surface]
        content = self.fields.get(shape.content)
        return bool(shape.image) and content is not None and shape.image in bytes(content)

    @property
    def tools(self) -> bool:
        return any(_LIST.match(self.fields[name]) for name in ("tools", "functions") if name in self.fields)

    @property
    def input_tokens(self) -> int:
        """The estimate, made when first asked for."""
        if self._input_tokens < 0:
            content = self.fields.get("input")
            if self.surface == "openai.embeddings" and content is not None and _NUMBERS.match(content):
                self._input_tokens = estimate_items(bytes(content))
            else:
                self._input_tokens = estimate_tokens(self.body)
        return self._input_tokens


def asks_usage(surface: str) -> bool:
    return _SHAPES[surface].asks_usage


def peek(surface: str, body: bytes) -> Peek:
    """What the gateway needs to know of a request on one of its surfaces; BadRequest names what is wrong with it."""
    shape = _SHAPES[surface]
    found = members(body)
    get = found.fields.get
    model = _model(get("model"))
    raw = get("stream")
    stream = raw is not None and _flag(raw, "stream")
    raw = get("stream_options")
    wants_usage = raw is not None and stream and shape.asks_usage and _wants_usage(raw)
    maximum = None
    for name in shape.maximum:
        if (raw := get(name)) is not None and (value := _whole(raw, name, MAX_OUTPUT)) is not None:
            maximum = value if maximum is None else max(value, maximum)
    n = 1
    if shape.choices and (raw := get("n")) is not None:
        n = _whole(raw, "n", MAX_N) or 1
    content = get(shape.content)
    if content is None or _NONE.match(content):
        _check_absent(shape, get)
    elif not shape.good.match(content):
        raise BadRequest(f"`{shape.content}` must be {shape.remedy}", param=shape.content)
    count = _count(content, shape.content) if shape.items and content else 1
    return Peek(surface, found, model, stream, wants_usage, maximum, n, count)


def _model(raw: Raw | None) -> str:
    if raw is None:
        raise BadRequest("`model` is missing: name the model that is to answer", param="model")
    try:
        model = _text(raw)
    except msgspec.ValidationError:
        raise BadRequest("`model` must be a string: the name of a model", param="model") from None
    if not 0 < len(model) <= MODEL_LENGTH or not model.isprintable():
        raise BadRequest(
            f"`model` must be the name of a model: 1 to {MODEL_LENGTH} printable characters", param="model"
        )
    return model


def _flag(raw: Raw, name: str) -> bool:
    flag = _FLAGS.get(bytes(raw))
    if flag is None:
        raise BadRequest(f"`{name}` must be true or false", param=name)
    return flag


def _whole(raw: Raw, name: str, most: int) -> int | None:
    """A whole number of 1 to `most`; None for null."""
    digits = bytes(raw)
    if digits.isdigit() and len(digits) <= 10 and 0 < (value := int(digits)) <= most:
        return value
    if digits == b"null":
        return None
    raise BadRequest(f"`{name}` must be a whole number from 1 to {most}", param=name)


def _wants_usage(raw: Raw) -> bool:
    text = bytes(raw)
    wants = _USUAL_OPTIONS.get(text)
    if wants is None:
        try:
            wants = _flag(members(text).fields.get("include_usage", _NULL), "stream_options.include_usage")
        except BadRequest as exc:
            if exc.param == "stream_options.include_usage":
                raise
            remedy = 'must be an object with each field once, as {"include_usage": true}'
            raise BadRequest(f"`stream_options` {remedy}", param="stream_options") from None
    return wants


def _check_absent(shape: Shape, get: Callable[[str], Any]) -> None:
    if not any((raw := get(name)) is not None and not _NONE.match(raw) for name in shape.instead):
        raise BadRequest(f"`{shape.content}` is missing: send {shape.remedy}", param=shape.content)


def _count(raw: Raw, name: str) -> int:
    """How many texts or documents there are; one text, or the tokens of one text, are one."""
    text = bytes(raw)
    if text.startswith(b'"'):
        return 1
    if text.count(b",") > _MAX_COMMAS:
        raise BadRequest(f"`{name}` is too long: send it in several requests", param=name)
    items = _items(text)
    return 1 if bytes(items[0])[:1] in b"-0123456789" else len(items)
