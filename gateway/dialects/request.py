"""What the gateway itself needs to know of a unified request: `peek`.

Only what the gateway relies on is checked (which model, whether it streams, how much it may cost, that there is
something to answer); the rest is the vendor's to judge, and unknown fields are nobody's business. A null counts as
absent, as vendors have it. A surface is one line of `_SHAPES`; what a dialect asks in several calls (an answer, or how
many tokens the question has) has a line for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

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
_OBJECT = re.compile(rb"\{")
_ANY_INPUT = re.compile(rb'[\["]')
_NUMBERS = re.compile(rb"\[\s*+(?:\[\s*+)?[\d-]")
_NULL = Raw(b"null")
_PICTURE = re.compile(rb'"(?<!\\")image\\?/[a-z]')  # a media type
# Those that nearly all clients send, so that they need no looking into.
_USUAL_OPTIONS = {b'{"include_usage":true}': True, b'{"include_usage": true}': True, b"null": False}
_FLAGS = {b"true": True, b"false": False, b"null": False}

_text = msgspec.json.Decoder(str).decode
_items = msgspec.json.Decoder(list[Raw]).decode


class _Named(msgspec.Struct):
    """Where the model is named in the path, it may be named again: here, and within."""

    model: str | None = None
    requests: list[_Named] | None = None
    generateContentRequest: _Named | None = None
    generate_content_request: _Named | None = None


_named = msgspec.json.Decoder(_Named).decode


class Shape(msgspec.Struct, frozen=True):
    """How a surface names what the gateway looks at."""

    content: str  # the field that is answered
    good: re.Pattern[bytes]
    remedy: str  # what the field must be
    instead: tuple[str, ...] = ()  # fields that may stand for it
    maximum: tuple[str, ...] = ()  # fields that limit the output of one choice
    least: int = 1  # that such a limit may be; Anthropic's 0 means: only fill the cache
    limited: bool = False  # whether there must be such a limit
    choices: tuple[str, ...] = ()  # fields that say how many choices there shall be
    config: tuple[str, ...] = ()  # objects that these fields are in, if not at the top
    image: re.Pattern[bytes] | None = None  # what the content of every request with images contains
    items: bool = False  # whether the items of the content are counted
    asks_usage: bool = False  # whether a stream's usage must be asked for by stream_options.include_usage
    in_path: bool = False  # whether it is the path that names the model
    inline: bool = False  # whether media are objects of a media type and base64 data


_IMAGE_URL, _INPUT_IMAGE = re.compile(rb'"image_url"'), re.compile(rb'"input_image"')
_IMAGE = re.compile(rb'"image"')
_MESSAGES = Shape("messages", _LIST, "a list with at least one message", least=0, image=_IMAGE, inline=True)
_CONTENTS = Shape(
    "contents", _LIST, "a list with at least one content", least=0, image=_PICTURE, in_path=True, inline=True
)
_SHAPES = {
    "openai.chat": Shape(
        "messages",
        _LIST,
        "a list with at least one message",
        maximum=("max_completion_tokens", "max_tokens"),
        choices=("n",),
        image=_IMAGE_URL,
        asks_usage=True,
    ),
    "openai.responses": Shape(
        "input",
        _ANY_INPUT,
        "a string or a list of items",
        instead=("prompt", "previous_response_id", "conversation"),
        maximum=("max_output_tokens",),
        image=_INPUT_IMAGE,
    ),
    "anthropic.messages": replace(_MESSAGES, maximum=("max_tokens",), limited=True),
    "anthropic.count": _MESSAGES,
    "gemini.generate": replace(
        _CONTENTS,
        config=("generationConfig", "generation_config"),
        maximum=("maxOutputTokens", "max_output_tokens"),
        choices=("candidateCount", "candidate_count"),
    ),
    "gemini.count": replace(_CONTENTS, instead=("generateContentRequest", "generate_content_request")),
    "gemini.embed": Shape("content", _OBJECT, "an object with parts", in_path=True, inline=True),
    "gemini.batch": Shape(
        "requests", _LIST, "a list with at least one request", items=True, in_path=True, inline=True
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
        return shape.image is not None and content is not None and shape.image.search(content) is not None

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
                self._input_tokens = estimate_tokens(self.body, inline=_SHAPES[self.surface].inline)
        return self._input_tokens


def asks_usage(surface: str) -> bool:
    return _SHAPES[surface].asks_usage


def names_in_path(surface: str) -> bool:
    return _SHAPES[surface].in_path


def peek(surface: str, body: bytes, model: str | None = None, stream: bool | None = None) -> Peek:
    """What the gateway needs to know of a request on one of its surfaces; BadRequest names what is wrong with it.

    `model` and `stream`: what the path says, where it is the path that does.
    """
    shape = _SHAPES[surface]
    found = members(body)
    get = found.fields.get
    if model is None:
        model = _model(get("model"))
    else:
        _check_name(model)
        _check_agreement(found, model)
    if stream is None:
        raw = get("stream")
        stream = raw is not None and _flag(raw, "stream")
    raw = get("stream_options")
    wants_usage = raw is not None and stream and shape.asks_usage and _wants_usage(raw)
    maximum, n = _limits(shape, found)
    content = get(shape.content)
    if content is None or _NONE.match(content):
        _check_absent(shape, get)
    elif not shape.good.match(content):
        raise BadRequest(f"`{shape.content}` must be {shape.remedy}", param=shape.content)
    count = _count(content, shape.content) if shape.items and content else 1
    return Peek(surface, found, model, stream, wants_usage, maximum, n, count)


def _limits(shape: Shape, found: Members) -> tuple[int | None, int]:
    """(the most tokens of one choice, if the request says so; how many choices)."""
    places = [("", found.fields)]
    if shape.config:
        places = [
            (name + ".", _members_of(raw, name).fields)
            for name in shape.config
            if (raw := found.fields.get(name)) is not None and not _NONE.match(raw)
        ]
    maximum, n = None, 1
    for place, fields in places:
        for name in shape.maximum:
            if (raw := fields.get(name)) is not None:
                value = _whole(raw, place + name, MAX_OUTPUT, shape.least)
                maximum = value if maximum is None else max(value or 0, maximum)
        for name in shape.choices:
            if (raw := fields.get(name)) is not None:
                n = max(n, _whole(raw, place + name, MAX_N, shape.least) or 1)
    if shape.limited and maximum is None:
        name = shape.maximum[0]
        raise BadRequest(f"`{name}` is missing: say how many tokens the answer may have at most", param=name)
    return maximum, n


def _members_of(raw: Raw, name: str) -> Members:
    try:
        return members(bytes(raw))
    except BadRequest:
        raise BadRequest(f"`{name}` must be an object with each field once", param=name) from None


def _model(raw: Raw | None) -> str:
    if raw is None:
        raise BadRequest("`model` is missing: name the model that is to answer", param="model")
    try:
        model = _text(raw)
    except msgspec.ValidationError:
        raise BadRequest("`model` must be a string: the name of a model", param="model") from None
    _check_name(model)
    return model


def _check_name(model: str) -> None:
    if not 0 < len(model) <= MODEL_LENGTH or not model.isprintable():
        raise BadRequest(
            f"`model` must be the name of a model: 1 to {MODEL_LENGTH} printable characters", param="model"
        )


def _check_agreement(found: Members, model: str) -> None:
    """Where the path names the model, the body may do so again, but not name another one."""
    if found.fields.keys().isdisjoint(_Named.__struct_fields__):
        return
    try:
        named = _named(found.body)
    except msgspec.ValidationError as exc:
        place = str(exc).partition("`$.")[2].rstrip("`") or "model"
        raise BadRequest(f"`{place}` is of a wrong type", param=place) from None
    inner = {"generateContentRequest": named.generateContentRequest or named.generate_content_request}
    inner |= {f"requests[{number}]": each for number, each in enumerate(named.requests or ())}
    for place, each in [("", named), *inner.items()]:
        if each is not None and each.model is not None and each.model.removeprefix("models/") != model:
            place = f"{place}.model".lstrip(".")
            raise BadRequest(f"`{place}` is not the model that the path names: leave it out", param=place)


def _flag(raw: Raw, name: str) -> bool:
    flag = _FLAGS.get(bytes(raw))
    if flag is None:
        raise BadRequest(f"`{name}` must be true or false", param=name)
    return flag


def _whole(raw: Raw, name: str, most: int, least: int = 1) -> int | None:
    """A whole number of `least` to `most`; None for null."""
    digits = bytes(raw)
    if digits.isdigit() and len(digits) <= 10 and least <= (value := int(digits)) <= most:
        return value
    if digits == b"null":
        return None
    raise BadRequest(f"`{name}` must be a whole number from {least} to {most}", param=name)


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
