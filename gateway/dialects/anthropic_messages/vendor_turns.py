"""The messages of a request as Anthropic takes them, which is strict about turns.

Turns of one role that follow each other are one; the first is the user's (if it is not, a "." is put before it); the
results of a turn of calls stand first in the next turn, one for each call; blank texts are refused, so they are left
out, and so is white space at the end of a last turn of the assistant's. A system message on the way becomes the user's
text. Ids of calls are renamed where they have characters that are not allowed, or are there twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gateway.dialects.anthropic_messages.words import DIALECT, IMAGE_TYPES
from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Aim
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import Image, Message, Part, Refusal, Text, Thought, ToolCall, ToolResult
from gateway.dialects.chat.transform import arguments
from gateway.errors import BadRequest

Block = dict[str, Any]
Turn = tuple[str, list[Part]]

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_THINKING = ("thinking", "redacted_thinking")
_IMAGE_WAYS = {"url": (True, False), "base64": (False, True), "none": (False, False)}


def turns(messages: Iterable[Message], aim: Aim, lost: Lost) -> list[Block]:
    """The turns, with at least one. BadRequest for calls without results, and results without calls."""
    writing = _Turns(aim, lost)
    for role, parts in _merged(messages, aim):
        writing.turn(role, parts)
    return writing.end()


def unsigned(written: list[Block]) -> bool:
    """Whether the model goes on behind something that it may only say after thinking, and its thoughts are missing: a
    turn of calls that has just got its results, or one that was begun for it.
    """
    last = written[-1]
    if last["role"] == form.ASSISTANT:
        return True
    if last["content"][0]["type"] != "tool_result":
        return False
    return written[-2]["content"][0]["type"] not in _THINKING


def text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def blank(text: str) -> bool:
    return not text or text.isspace()


def _merged(messages: Iterable[Message], aim: Aim) -> list[Turn]:
    """What can be said at all, by turns that alternate. A turn of nothing but thoughts is none."""
    said = _joined((message.role, [part for part in message.parts if _said(part, aim)]) for message in messages)
    return _joined((role, parts) for role, parts in said if not all(isinstance(part, Thought) for part in parts))


def _joined(said: Iterable[Turn]) -> list[Turn]:
    joined: list[Turn] = []
    for speaker, parts in said:
        if not parts:
            continue
        role = form.ASSISTANT if speaker == form.ASSISTANT else form.USER
        if joined and joined[-1][0] == role:
            joined[-1][1].extend(parts)
        else:
            joined.append((role, parts))
    return joined


def _said(part: Part, aim: Aim) -> bool:
    if isinstance(part, Text | Refusal):
        return not blank(part.text)
    if isinstance(part, Thought):
        return _signed(part, aim) or bool(part.text and aim.features.reasoning_echo)
    return True


def _signed(thought: Thought, aim: Aim) -> bool:
    """By the account that the request goes to."""
    own = thought.origin == DIALECT and thought.account in ("", aim.account)
    return own and bool(thought.signature or thought.redacted)


class _Turns:
    """The turns so far."""

    def __init__(self, aim: Aim, lost: Lost) -> None:
        self._aim = aim
        self._lost = lost
        self._by_url, self._by_data = _IMAGE_WAYS.get(aim.features.images or "", (True, True))
        self._turns: list[Block] = []
        self._ids: set[str] = set()
        self._next: dict[str, int] = {}  # the next number for ids that look alike
        # Calls that wait for their results: the client's id -> ours, in order (clients may use one id twice).
        self._waiting: dict[str, list[str]] = {}

    def turn(self, role: str, parts: list[Part]) -> None:
        if role == form.ASSISTANT:
            self._turns.append({"role": role, "content": _ordered([self._spoken(part) for part in parts])})
            return
        results: list[Block] = []
        others: list[Block] = []
        for part in parts:
            if isinstance(part, ToolResult):
                results.append(self._result(part, others))
            else:
                others.append(self._asked(part))
        self._all_answered()
        self._turns.append({"role": role, "content": results + others})

    def end(self) -> list[Block]:
        self._all_answered()
        turns = self._turns
        if not turns or turns[0]["role"] != form.USER:
            turns.insert(0, {"role": form.USER, "content": [text_block(".")]})
        last = turns[-1]["content"][-1]
        if turns[-1]["role"] == form.ASSISTANT and last["type"] == "text":
            last["text"] = last["text"].rstrip()
        return turns

    def _all_answered(self) -> None:
        missing = next((id for id, ours in self._waiting.items() if ours), None)
        if missing is not None:
            said = f"messages: the call {missing[:64]!r} has no result in the turn after it"
            raise BadRequest(said, param="messages")
        self._waiting.clear()

    def _spoken(self, part: Part) -> Block:
        """A block of the assistant's."""
        if isinstance(part, Text | Refusal):
            return text_block(part.text)
        if isinstance(part, ToolCall):
            id = self._id(part.id)
            self._waiting.setdefault(part.id, []).append(id)
            return {"type": "tool_use", "id": id, "name": part.name, "input": arguments(part.arguments)}
        if isinstance(part, Thought):
            signed = _signed(part, self._aim)
            if signed and part.redacted:
                return {"type": "redacted_thinking", "data": part.redacted}
            return {"type": "thinking", "thinking": part.text, "signature": part.signature if signed else ""}
        raise self._lost.refuse("messages", "the assistant's turns hold texts, thoughts and calls only")

    def _asked(self, part: Part) -> Block:
        """A block of the user's."""
        if isinstance(part, Text):
            return text_block(part.text)
        if isinstance(part, Image):
            return self._image(part)
        raise self._lost.refuse("messages", "the user's turns hold texts, pictures and results of tools only")

    def _result(self, result: ToolResult, others: list[Block]) -> Block:
        ours = self._waiting.get(result.id)
        if not ours:
            said = f"messages: there is no call {result.id[:64]!r} in the turn before its result"
            raise BadRequest(said, param="messages")
        block: Block = {"type": "tool_result", "tool_use_id": ours.pop(0)}
        given = [self._asked(part) for part in result.parts if not (isinstance(part, Text) and blank(part.text))]
        if result.failed:
            # A failure has words and nothing else: pictures go behind it.
            block["is_error"] = True
            others += [each for each in given if each["type"] == "image"]
            given = [each for each in given if each["type"] == "text"] or [text_block("failed")]
        if given:
            block["content"] = given
        return block

    def _id(self, id: str) -> str:
        name = base = _NOT_IN_IDS.sub("_", id) or "call"
        while name in self._ids:
            self._next[base] = number = self._next.get(base, 1) + 1
            name = f"{base}_{number}"
        self._ids.add(name)
        return name

    def _image(self, image: Image) -> Block:
        if image.detail in ("low", "high"):
            self._lost.drop("detail")
        if not (self._by_data if image.data else self._by_url):
            way = "pictures" if not (self._by_data or self._by_url) else f"pictures as {_way(image)}"
            raise self._lost.refuse("messages", f"the model does not take {way}")
        if not image.data:
            if not image.url.startswith("https://"):
                raise self._lost.refuse("messages", "pictures must have an https address")
            return {"type": "image", "source": {"type": "url", "url": image.url}}
        kind = "image/jpeg" if image.media_type == "image/jpg" else image.media_type
        if kind not in IMAGE_TYPES:
            raise self._lost.refuse("messages", f"pictures must be one of {', '.join(IMAGE_TYPES)}")
        return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": image.data}}


def _way(image: Image) -> str:
    return "base64" if image.data else "web addresses"


def _ordered(blocks: list[Block]) -> list[Block]:
    """Calls last, for nothing may stand between them and their results. Where there are thoughts one of them must come
    first: if none does, their places have been lost on the way, and all go to the front. None may come last.
    """
    begun = blocks[0]["type"] in _THINKING
    places = {"thinking": 0, "redacted_thinking": 0, "text": 0 if begun else 1, "tool_use": 2}
    ordered = sorted(blocks, key=lambda block: places[block["type"]])
    while ordered[-1]["type"] in _THINKING:
        ordered.pop()
    return ordered
