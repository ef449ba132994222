"""What a realtime conversation holds: items, what they cost, and what the simulated model answers to them.

Counting rule: text by the sandbox's token rule, sound ten tokens a second in and twenty out, a picture 85. Cached is
what an earlier response of the session has read already.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass, field

from gateway.sandbox import content
from gateway.sandbox.ws_containers import text_in
from gateway.sandbox.ws_session import Fault, Json, get
from gateway.sandbox.ws_voice import duration_ms

IN_PER_SECOND, OUT_PER_SECOND, PER_IMAGE = 10, 20, 85
_PARTS = {
    "user": ("input_text", "input_audio", "input_image"),
    "system": ("input_text",),
    "assistant": ("output_text", "text", "output_audio"),
}


@dataclass
class Tokens:
    text: int = 0
    audio: int = 0
    image: int = 0

    @property
    def total(self) -> int:
        return self.text + self.audio + self.image

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.text + other.text, self.audio + other.audio, self.image + other.image)


@dataclass
class Item:
    """A conversation item with what is not shown of it."""

    body: Json
    tokens: Tokens = field(default_factory=Tokens)
    said: str = ""
    read: bool = False  # by a response

    @property
    def id(self) -> str:
        return str(self.body["id"])


def sound_tokens(samples: int, rate: int, per_second: int = IN_PER_SECOND) -> int:
    return -(-duration_ms(samples, rate) * per_second // 1000)


def item_of(body: Json, rate: int) -> Item:
    """A client's item, checked; its id may be missing."""
    kind = get(body, "type", str, among=_KINDS)
    item = Item({**body, "object": "realtime.item", "status": "completed"})
    if kind == "function_call":
        item.said = get(body, "name", str)
        get(body, "call_id", str)
        item.tokens.text = content.tokens(item.said + " " + get(body, "arguments", str))
    elif kind == "function_call_output":
        item.said = get(body, "output", str)
        get(body, "call_id", str)
        item.tokens.text = content.tokens(item.said)
    else:
        role = get(body, "role", str, among=_PARTS)
        for part in get(body, "content", list):
            _add_part(item, part, role, rate)
    return item


_KINDS = ("message", "function_call", "function_call_output")


def _add_part(item: Item, part: object, role: str, rate: int) -> None:
    if not isinstance(part, dict) or part.get("type") not in _PARTS[role]:
        known = ", ".join(repr(name) for name in _PARTS[role])
        raise Fault("invalid_value", f"Invalid content part for {role!r}. Supported are: {known}.", "item.content")
    kind = part["type"]
    if kind == "input_image":
        get(part, "image_url", str)
        item.tokens.image += PER_IMAGE
    elif kind == "input_audio":
        try:
            sound = b64decode(get(part, "audio", str), validate=True)
        except binascii.Error as exc:
            raise Fault("invalid_value", "Invalid 'audio'. Expected base64.", "item.content") from exc
        item.said += text_in(sound, rate)
        item.tokens.audio += sound_tokens(len(sound), rate)
    else:
        text = get(part, "transcript" if kind == "output_audio" else "text", str)
        item.said += text
        item.tokens.text += content.tokens(text)


def answer(items: list[Item], instructions: str) -> str:
    """What the simulated model says next."""
    last = items[-1] if items else None
    if last is None:
        return instructions or "Hello."
    if last.body["type"] == "function_call_output":
        return f"The tool says: {last.said}"
    return f"You said: {last.said}" if last.said else "I heard nothing."


def tool_call(items: list[Item], tools: list[Json], choice: object) -> Json | None:
    """The declared function to call: a named or required one, or one that the user's last words name."""
    functions = [tool for tool in tools or [] if tool.get("type") == "function"]
    last = items[-1] if items else None
    if not functions or choice == "none" or last is None or last.body["type"] != "message":
        return None
    if isinstance(choice, dict):
        functions = [tool for tool in functions if tool.get("name") == choice.get("name")]
    elif choice != "required":
        functions = [tool for tool in functions if str(tool.get("name")) in last.said]
    return functions[0] if functions else None


def usage(items: list[Item], instructions: str, out: Tokens, details: str, read_before: bool) -> Json:
    """The `usage` of a response to these items; `details` is `token_details` or `tokens_details`."""
    cached = sum((item.tokens for item in items if item.read), Tokens())
    fixed = Tokens(text=content.tokens(instructions))
    if read_before:
        cached += fixed
    given = sum((item.tokens for item in items), fixed)
    return {
        "total_tokens": given.total + out.total,
        "input_tokens": given.total,
        "output_tokens": out.total,
        f"input_{details}": {
            "text_tokens": given.text,
            "audio_tokens": given.audio,
            "image_tokens": given.image,
            "cached_tokens": cached.total,
            "cached_tokens_details": {
                "text_tokens": cached.text,
                "audio_tokens": cached.audio,
                "image_tokens": cached.image,
            },
        },
        f"output_{details}": {"text_tokens": out.text, "audio_tokens": out.audio},
    }
