"""A client's input items, joined to the turns of a conversation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.dialects.chat.fields import Fields, Lost, unsupported
from gateway.dialects.chat.form import (
    ASSISTANT,
    SYSTEM,
    USER,
    Citation,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thought,
    ToolCall,
    ToolResult,
)
from gateway.errors import BadRequest

DIALECT = "openai.responses"

_RESULTS = "results"
# Neighbours of these kinds are one turn; each message of a user or of the system stands for itself.
_JOINED = frozenset({ASSISTANT, _RESULTS})
Readers = dict[str, Callable[[Fields], Part]]

_ROLES = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM, "developer": SYSTEM}
_DETAILS = ("low", "high", "auto", "original")
FORMATS = ("png", "jpeg", "webp", "gif")


def unknown(fields: Fields, name: str, kind: str, what: str) -> BadRequest:
    """The error for a type or role that only its own vendor knows, or nobody: raise it."""
    return unsupported(fields.place(name), f"{kind[:60]!r} is {what}")


class Turns:
    """Takes items one by one. What stands at the head for the system is collected apart."""

    def __init__(self) -> None:
        self.system: list[Text] = []
        self._messages: list[Message] = []
        self._kind = ""
        self._parts: list[Part] = []
        self._names: dict[str, str] = {}  # of calls

    def read(self, item: Fields) -> None:
        kind = item.text("type")
        if kind is None:
            kind = "message" if item.has("role") else "item_reference"
        reader = _ITEMS.get(kind)
        if reader is None:
            raise unknown(item, "type", kind, "an item of the vendor's own, or one that the gateway does not know")
        reader(self, item)
        item.done()

    def messages(self) -> tuple[Message, ...]:
        self._close()
        return tuple(self._messages)

    def _add(self, kind: str, parts: list[Part]) -> None:
        if not parts:
            return
        if kind != self._kind or kind not in _JOINED:
            self._close()
            self._kind = kind
        self._parts += parts

    def _close(self) -> None:
        if self._parts:
            role = USER if self._kind == _RESULTS else self._kind
            self._messages.append(Message(role, tuple(self._parts)))
            self._parts = []

    def _message(self, item: Fields) -> None:
        said = item.needed("role")
        role = _ROLES.get(said)
        if role is None:
            raise unknown(item, "role", said, "no role of a conversation")
        _read_marks(item)
        parts = _contents(item, "content", _PARTS)
        if role == ASSISTANT:
            parts = [part for part in parts if not isinstance(part, Text) or part.text]
        elif any(isinstance(part, Refusal) for part in parts):
            raise item.wrong("content", "without refusals: only the model refuses")
        if role == SYSTEM:
            texts = [part for part in parts if isinstance(part, Text)]
            if len(texts) < len(parts):
                raise unsupported(item.place("content"), "instructions can hold texts only")
            if not self._messages and not self._parts:
                self.system += texts
                return
        self._add(role, parts)

    def _call(self, item: Fields) -> None:
        _read_marks(item)
        call = ToolCall(item.needed("call_id"), item.needed("name"), item.needed("arguments"))
        self._names[call.id] = call.name
        self._add(ASSISTANT, [call])

    def _result(self, item: Fields) -> None:
        _read_marks(item)
        name = item.text("name")
        call = item.needed("call_id")
        parts = tuple(part for part in _contents(item, "output", _OUTPUTS) if isinstance(part, Text | Image))
        self._add(_RESULTS, [ToolResult(call, self._names.get(call) or name or "", parts)])

    def _thought(self, item: Fields) -> None:
        item.raw("status")
        id = item.text("id") or ""
        signature = item.text("encrypted_content") or ""
        summary, content = _texts(item, "summary"), _texts(item, "content")
        text = "\n\n".join(summary or content)
        if text or signature:
            self._add(ASSISTANT, [Thought(text, signature, id=id, origin=DIALECT)])

    def _picture(self, item: Fields) -> None:
        _read_marks(item)
        form = item.one_of("output_format", FORMATS) or "png"
        if data := item.text("result"):
            self._add(ASSISTANT, [Image(data=standard(data), media_type=f"image/{form}")])


def _read_marks(item: Fields) -> None:
    """What items bear since they were given out: it means nothing to other vendors."""
    item.raw("id")
    item.raw("status")


_ITEMS: dict[str, Callable[[Turns, Fields], None]] = {
    "message": Turns._message,
    "function_call": Turns._call,
    "function_call_output": Turns._result,
    "reasoning": Turns._thought,
    "image_generation_call": Turns._picture,
}

# -- contents ----------------------------------------------------------------------------------------------------------


def _contents(item: Fields, name: str, known: Readers) -> list[Part]:
    value = item.raw(name)
    if type(value) is str:
        return [Text(value)]
    if not isinstance(value, list):
        raise item.wrong(name, "a string or a list of parts")
    parts: list[Part] = []
    for part in item.objects(name):
        kind = part.needed("type")
        reader = known.get(kind)
        if reader is None:
            raise unknown(part, "type", kind, "a part that only its own vendor can read, or none at all")
        parts.append(reader(part))
        part.done()
    return parts


def _text(part: Fields) -> Text:
    return Text(part.needed("text"))


def _output_text(part: Fields) -> Text:
    part.raw("logprobs")  # of what was said long ago
    text = part.needed("text")
    citations = []
    for note in part.objects("annotations"):
        if note.text("type") != "url_citation":
            part.lost.unread(part.place("annotations"))
            continue
        start, end = note.whole("start_index", 0), note.whole("end_index", 0)
        citations.append(Citation(note.needed("url"), note.text("title") or "", start=start, end=end))
        note.done()
    return Text(text, tuple(citations))


def _refusal(part: Fields) -> Refusal:
    return Refusal(part.needed("refusal"))


def _image(part: Fields) -> Image:
    url = part.text("image_url")
    if url is None:
        if part.has("file_id"):
            part.lost.unread(part.place("file_id"))
        raise part.wrong("image_url", "there: a web address, or data:image/...;base64,...")
    detail = part.one_of("detail", _DETAILS)
    if url.startswith(("https://", "http://")):
        return Image(url, detail=detail)
    head, comma, data = url.partition(",") if url.startswith("data:") else ("", "", "")
    media_type, _, encoding = head[5:].partition(";")
    if not comma or not media_type.startswith("image/") or not encoding.endswith("base64"):
        raise part.wrong("image_url", "a web address, or data:image/...;base64,...")
    return Image(data=standard(data), media_type=media_type.lower(), detail=detail)


def standard(data: str) -> str:
    """Base64 in the standard alphabet, padded."""
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    return data + "=" * (-len(data) % 4)


_PARTS: Readers = {
    "input_text": _text,
    "output_text": _output_text,
    "refusal": _refusal,
    "input_image": _image,
}
_OUTPUTS: Readers = {"input_text": _text, "output_text": _output_text, "input_image": _image}


def _texts(item: Fields, name: str) -> list[str]:
    texts = []
    for part in item.objects(name):
        part.raw("type")  # summary_text, reasoning_text
        texts.append(part.needed("text"))
        part.done()
    return texts


def read_input(value: Any, lost: Lost) -> tuple[list[Text], tuple[Message, ...]]:
    """(what stood at the head for the system, the conversation)."""
    if type(value) is str:
        return [], (Message(USER, (Text(value),)),)
    if not isinstance(value, list):
        raise BadRequest("input must be a string or a list of items", param="input")
    turns = Turns()
    for index, item in enumerate(value):
        turns.read(Fields(item, f"input[{index}]", lost))
    return turns.system, turns.messages()
