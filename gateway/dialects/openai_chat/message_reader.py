"""The messages of a client's chat completion request -> the neutral form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.dialects.chat import form
from gateway.dialects.chat.fields import Fields, unsupported
from gateway.dialects.chat.form import Image, Message, Part, Refusal, Text, Thought, ToolCall, ToolResult
from gateway.dialects.openai_chat import pictures
from gateway.errors import BadRequest

# Fields of messages whose value says nothing. All others of these fields are told as lost.
_DEFAULTS: tuple[tuple[str, object], ...] = (("annotations", []), ("partial", False), ("prefix", False))


def read(fields: Fields) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """(the system's texts before the conversation, the conversation)."""
    reader = _Reader()
    for message in fields.objects("messages"):
        role = message.needed("role")
        read_one = _ROLES.get(role)
        if read_one is None:
            why = _UNCARRIED.get(role) or f"messages of role {role[:40]} are unknown"
            raise unsupported(message.place("role"), why)
        read_one(reader, message)
        message.done()
    if not (reader.begun() or fields.raw("messages")):
        raise BadRequest("messages must be a list with at least one message", param="messages")
    return tuple(reader.system), reader.messages()


class _Reader:
    """What has been read so far."""

    __slots__ = ("_messages", "_results", "called", "system")

    def __init__(self) -> None:
        self.system: list[Text] = []
        self.called: dict[str, str] = {}  # call id -> name of the tool
        self._messages: list[Message] = []
        self._results: list[ToolResult] = []  # such as follow each other are one turn

    def begun(self) -> bool:
        return bool(self._messages or self._results)

    def add(self, message: Message) -> None:
        self._end_turn()
        self._messages.append(message)

    def add_result(self, result: ToolResult) -> None:
        self._results.append(result)

    def _end_turn(self) -> None:
        if self._results:
            self._messages.append(Message(form.USER, tuple(self._results)))
            self._results = []

    def messages(self) -> tuple[Message, ...]:
        self._end_turn()
        return tuple(self._messages)


def _system(reader: _Reader, message: Fields) -> None:
    texts = _content(message, _TEXTS)
    if not reader.begun():
        reader.system += [part for part in texts if isinstance(part, Text) and part.text]
    else:
        reader.add(Message(form.SYSTEM, tuple(texts)))


def _user(reader: _Reader, message: Fields) -> None:
    reader.add(Message(form.USER, tuple(_content(message, _USERS)), message.text("name")))


def _tool(reader: _Reader, message: Fields) -> None:
    call = message.needed("tool_call_id")
    name = message.text("name") or reader.called.get(call, "")
    parts = tuple(part for part in _content(message, _USERS) if isinstance(part, Text | Image))
    reader.add_result(ToolResult(call, name, parts))


def _assistant(reader: _Reader, message: Fields) -> None:
    for name, nothing in _DEFAULTS:
        if message.has(name) and message.raw(name) != nothing:
            message.lost.unread(message.place(name))
    parts: list[Part] = []
    thought, other = message.text("reasoning_content"), message.text("reasoning")
    if thought or other:  # some vendors say the same under both names
        parts.append(Thought(thought or other or ""))
    if message.has("content"):
        parts += _content(message, _ASSISTANTS)
    if refusal := message.text("refusal"):
        parts.append(Refusal(refusal))
    parts += [_given(image) for image in message.objects("images")]
    for call in message.objects("tool_calls"):
        read_call = _call(call)
        reader.called[read_call.id] = read_call.name
        parts.append(read_call)
    if not parts:
        raise message.wrong("content", "there, unless there are tool_calls")
    if len(parts) > 1:
        parts = [part for part in parts if not (isinstance(part, Text) and not part.text)]
    reader.add(Message(form.ASSISTANT, tuple(parts), message.text("name")))


def _call(fields: Fields) -> ToolCall:
    kind = fields.text("type")
    if kind not in ("function", None):
        raise unsupported(fields.place("type"), f"only functions are carried, not tools of type {kind[:40]}")
    function = fields.object("function")
    if function is None:
        raise fields.wrong("function", "an object")
    call = ToolCall(fields.needed("id"), function.needed("name"), function.text("arguments") or "")
    function.done()
    fields.raw("index")  # clients that put a stream together leave it there
    fields.done()
    return call


# -- content -----------------------------------------------------------------------------------------------------------

_PartReader = Callable[[Fields], Part]


def _content(message: Fields, kinds: dict[str, _PartReader]) -> list[Part]:
    if type(message.raw("content")) is not list:
        return [Text(message.needed("content"))]
    parts: list[Part] = []
    for part in message.objects("content"):
        kind = part.needed("type")
        read_part = kinds.get(kind)
        if read_part is None:
            raise unsupported(part.place("type"), f"parts of type {kind[:40]} have no place there")
        parts.append(read_part(part))
        part.done()
    return parts


def _text(part: Fields) -> Part:
    return Text(part.needed("text"))


def _refusal(part: Fields) -> Part:
    return Refusal(part.needed("refusal"))


def _image(part: Fields) -> Part:
    """Some vendors' clients send the URL bare."""
    if type(part.raw("image_url")) is str:
        return pictures.read(part.needed("image_url"), None, part.place("image_url"))
    inner = part.object("image_url")
    if inner is None:
        raise part.wrong("image_url", "there, and an object with a url")
    image = pictures.read(inner.needed("url"), inner.text("detail"), inner.place("url"))
    inner.done()
    return image


def _given(fields: Fields) -> Part:
    """A picture of an earlier answer, as this gateway and others give them."""
    image = _image(fields)
    fields.raw("type")
    fields.raw("index")
    fields.done()
    return image


_TEXTS: dict[str, _PartReader] = {"text": _text}
_ASSISTANTS: dict[str, _PartReader] = {"text": _text, "refusal": _refusal}
_USERS: dict[str, _PartReader] = {"text": _text, "image_url": _image}

_ROLES: dict[str, Callable[[_Reader, Fields], Any]] = {
    "system": _system,
    "developer": _system,
    "user": _user,
    "assistant": _assistant,
    "tool": _tool,
}
_UNCARRIED = {"function": "the old form of tools, send role tool"}
