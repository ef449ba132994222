"""A client's `contents` as messages.

Neighbours of one role become one message, and in the model's turns texts that follow each other become one text: SDKs
keep each piece of a streamed answer as a content of its own and send them all back.

Results of functions may lack the id of their call. Then they answer the calls of that name in the order in which these
stand in the turn before; calls without an id get one that depends on nothing but where they stand.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.chat.fields import unsupported
from gateway.dialects.chat.form import ASSISTANT, USER, Image, Message, Part, Text, Thought, ToolCall, ToolResult
from gateway.dialects.gemini_generate.names import DIALECT, Proto, encoded, standard_base64
from gateway.errors import BadRequest

_ROLES = {"user": USER, "function": USER, "model": ASSISTANT}
_WEB = ("http://", "https://")
_FILES = "://generativelanguage.googleapis.com/"
MEDIA_TYPES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "heic": "image/heic", "heif": "image/heif", "bmp": "image/bmp", "avif": "image/avif",
}  # fmt: skip
# What a part can be; of any other kind it is refused by its name.
_KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_BESIDE = frozenset({"videoMetadata", "mediaResolution", "partMetadata"})
# A result that is one text under one of these names is just that text.
_PLAIN = ("result", "output", "error")


def media_type_of(url: str) -> str:
    """By the extension, empty if that tells nothing."""
    path = url.partition("?")[0].partition("#")[0]
    return MEDIA_TYPES.get(path.rpartition(".")[2].lower(), "")


class Turns:
    """Reads contents one after the other."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, list[Part]]] = []
        self._open: list[ToolCall] = []  # calls of the last turn that no result has answered yet
        self._made: set[str] = set()  # ids that the client does not know

    def messages(self) -> tuple[Message, ...]:
        return tuple(Message(role, tuple(parts)) for role, parts in self._messages if parts)

    def read(self, content: Proto, index: int) -> None:
        role = content.text("role") or "user"
        if role not in _ROLES:
            raise unsupported(content.place("role"), "only the roles user, model and function are known")
        if not content.has("parts") or content.raw("parts") == []:
            raise content.wrong("parts", "a list with at least one part")
        parts = self._turn(_ROLES[role])
        for place, part in enumerate(content.objects("parts")):
            self._part(parts, part, _ROLES[role], f"call_{index}_{place}")
        content.done()

    def _turn(self, role: str) -> list[Part]:
        if not self._messages or self._messages[-1][0] != role:
            self._messages.append((role, []))
            if role == ASSISTANT:
                self._open.clear()
        return self._messages[-1][1]

    def _part(self, parts: list[Part], part: Proto, role: str, made: str) -> None:
        kinds = [kind for kind in _KINDS if part.has(kind)]
        if len(kinds) > 1:
            raise BadRequest(f"{part.at} must be one of {' and '.join(kinds)}, not both", param=part.at)
        thought = part.flag("thought")
        signature = part.text("thoughtSignature") or ""
        if not kinds:
            self._no_kind(part, bool(signature))
        elif kinds[0] == "functionCall":
            parts.append(self._call(_object(part, "functionCall"), role, made, signature))
        elif kinds[0] == "functionResponse":
            parts.append(self._result(_object(part, "functionResponse"), role))
        elif kinds[0] == "text":
            self._text(parts, part.needed("text"), role, bool(thought), signature)
        elif not thought:  # pictures of a thought are no part of the conversation
            parts.append(picture(part, kinds[0]))
        else:
            part.raw(kinds[0])
        part.done()

    def _no_kind(self, part: Proto, signed: bool) -> None:
        """A signature may stand alone; whatever else there is, is of a kind that nobody else has."""
        for name in part.rest():
            if name not in _BESIDE:
                raise unsupported(part.place(name), "parts of this kind are Gemini's own")
        if not signed:
            raise BadRequest(f"{part.at} must hold one of {', '.join(_KINDS)}", param=part.at)

    def _text(self, parts: list[Part], text: str, role: str, thought: bool, signature: str) -> None:
        last = parts[-1] if parts else None
        if thought:
            if isinstance(last, Thought) and not last.signature:
                text = parts.pop().text + text  # type: ignore[union-attr]
            parts.append(Thought(text, signature, origin=DIALECT))
        elif text and role == ASSISTANT and isinstance(last, Text):
            parts[-1] = Text(last.text + text)
        elif text:
            parts.append(Text(text))

    def _call(self, call: Proto, role: str, made: str, signature: str) -> ToolCall:
        if role != ASSISTANT:
            raise BadRequest(f"{call.at} must stand in a content of the role model", param=call.at)
        if call.raw("willContinue") or call.raw("partialArgs"):
            raise unsupported(call.at, "calls must be whole")
        id = call.text("id") or ""
        if not id:
            self._made.add(id := made)
        origin = DIALECT if signature else ""
        read = ToolCall(id, _name(call), encoded(call.schema("args") or {}).decode(), signature, origin)
        call.done()
        self._open.append(read)
        return read

    def _result(self, result: Proto, role: str) -> ToolResult:
        if role != USER:
            raise BadRequest(f"{result.at} must stand in a content of the role user", param=result.at)
        if result.flag("willContinue"):
            raise unsupported(result.place("willContinue"), "a result must be whole")
        name, id = _name(result), result.text("id")
        call = next((each for each in self._open if each.id == id), None) or next(
            (each for each in self._open if each.name == name and (not id or each.id in self._made)), None
        )
        if call is None:
            raise BadRequest(f"{result.at} answers no call of the turn before it", param=result.at)
        self._open.remove(call)
        text, failed = _said(name, result.schema("response") or {})
        pictures = [_media(part) for part in result.objects("parts")]
        result.done()
        return ToolResult(call.id, call.name, (Text(text), *pictures), failed)


def _object(part: Proto, name: str) -> Proto:
    found = part.object(name)
    assert found is not None  # it was there when it was asked for
    return found


def _name(fields: Proto) -> str:
    if name := fields.text("name"):
        return name
    raise fields.wrong("name", "there, and a string that is not empty")


def _said(function: str, response: dict[str, Any]) -> tuple[str, bool]:
    """A result's text, and whether it tells of a failure."""
    if len(response) == 2 and response.get("name") == function and isinstance(content := response.get("content"), str):
        return content, False  # what Vercel's SDK makes of a text
    if len(response) == 1:
        ((name, value),) = response.items()
        if name in _PLAIN and isinstance(value, str):
            return value, name == "error"
    return encoded(response).decode(), False


def _media(part: Proto) -> Image:
    for kind in ("inlineData", "fileData"):
        if part.has(kind):
            found = picture(part, kind)
            part.done()
            return found
    raise BadRequest(f"{part.at} must hold inlineData or fileData", param=part.at)


def picture(part: Proto, kind: str) -> Image:
    """Of `inlineData` or `fileData`; what is no picture is refused."""
    blob = _object(part, kind)
    media_type = (blob.text("mimeType") or "").lower()
    blob.raw("displayName")
    if kind == "fileData":
        url = blob.needed("fileUri")
        if not url.lower().startswith(_WEB) or _FILES in url:
            raise unsupported(blob.place("fileUri"), "files of an account stay with their vendor")
        media_type = media_type or media_type_of(url)
    if not media_type.startswith("image/"):
        raise unsupported(blob.place("mimeType"), "of media only pictures are carried")
    if kind == "fileData":
        image = Image(url=url, media_type=media_type)
    else:
        data = standard_base64(blob.needed("data"))
        if data is None:
            raise blob.wrong("data", "base64")
        image = Image(data=data, media_type=media_type)
    blob.done()
    return image
