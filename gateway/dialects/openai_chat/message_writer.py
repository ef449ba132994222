"""The neutral form's messages -> those of a vendor's chat completion request.

Vendors want the results of a turn's calls right behind that turn, one message each, and none missing. So the
conversation is written by turns: what the model said at one go, then what it was told: results first. Pictures that
stand where the dialect has no place for them (results, the model's own answers) lead what the user says next, before
the model's next turn.
"""

from __future__ import annotations

import hashlib
from itertools import groupby
from typing import Any

from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Aim
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import ChatRequest, Image, Message, Refusal, Text, Thought, ToolCall, ToolResult
from gateway.dialects.openai_chat import pictures

Entry = dict[str, Any]

_LONGEST_ID = 40  # of a call, at OpenAI
_BETWEEN = "\n\n"  # texts that were parts of their own: many vendors take but one string
_FAILED = "Error: "
_PICTURED = "The picture follows in the next message."


def write(request: ChatRequest, aim: Aim, lost: Lost, silence: str | None = None) -> list[Entry]:
    """`silence`: the content of a turn that has calls only."""
    writer = _Writer(aim, lost, silence)
    if request.system:
        writer.entries.append({"role": "system", "content": _BETWEEN.join([text.text for text in request.system])})
    for spoken, turn in groupby(request.messages, _spoken):
        (writer.say if spoken else writer.hear)(list(turn))
    writer.end()
    return writer.entries


def _spoken(message: Message) -> bool:
    return message.role == form.ASSISTANT


class _Writer:
    def __init__(self, aim: Aim, lost: Lost, silence: str | None) -> None:
        self.entries: list[Entry] = []
        self._aim = aim
        self._lost = lost
        self._silence = silence
        self._open: set[str] = set()  # calls of the turn before
        self._pictures: list[Entry] = []  # waiting for a message of the user's

    # -- what the model said -------------------------------------------------------------------------------------------

    def say(self, turn: list[Message]) -> None:
        begin = len(self.entries)
        for message in turn:
            entry = self._said(message)
            last = self.entries[-1] if len(self.entries) > begin else None
            if last is not None and "tool_calls" in last:
                _join(last, entry)  # calls must stand at the end of their turn
            else:
                self.entries.append(entry)

    def _said(self, message: Message) -> Entry:
        words: list[str] = []
        thoughts: list[str] = []
        calls: list[Entry] = []
        for part in message.parts:
            if isinstance(part, Text | Refusal):
                words.append(part.text)
            elif isinstance(part, ToolCall):
                calls.append(_call(part))
                self._open.add(part.id)
            elif isinstance(part, Thought):
                if not (part.signature or part.redacted):
                    thoughts.append(part.text)
            elif isinstance(part, Image):
                self._pictures.append(pictures.write(part, self._aim, self._lost))
        text = "".join(words)
        entry: Entry = {"role": "assistant", "content": text or (self._silence if calls else "")}
        if message.name is not None:
            entry["name"] = message.name
        if calls:
            entry["tool_calls"] = calls
            if self._aim.features.reasoning_echo:  # a turn without the field is refused
                entry["reasoning_content"] = _BETWEEN.join(thoughts)
        return entry

    # -- what it was told ----------------------------------------------------------------------------------------------

    def hear(self, turn: list[Message]) -> None:
        for message in turn:
            for part in message.parts:
                if isinstance(part, ToolResult):
                    self._add_result(part)
        self._check_answered()
        for message in turn:
            self._add_message(message)
        self._show()

    def _add_result(self, result: ToolResult) -> None:
        if result.id not in self._open:
            raise self._lost.refuse("messages", "a result of a tool has no call in the turn before it")
        texts = [part.text for part in result.parts if isinstance(part, Text) and part.text]
        shown = [part for part in result.parts if isinstance(part, Image)]
        self._pictures += [pictures.write(image, self._aim, self._lost) for image in shown]
        text = _BETWEEN.join(texts) or (_PICTURED if shown else "")
        content = _FAILED + text if result.failed else text
        self.entries.append({"role": "tool", "tool_call_id": _fitting(result.id), "content": content})

    def _add_message(self, message: Message) -> None:
        texts = [part.text for part in message.parts if isinstance(part, Text)]
        shown = [part for part in message.parts if isinstance(part, Image)]
        if message.parts and not (texts or shown):
            return  # results only
        if message.role == form.SYSTEM:
            self._pictures += [pictures.write(image, self._aim, self._lost) for image in shown]
            self.entries.append({"role": "system", "content": _BETWEEN.join(texts)})
            return
        content: str | list[Entry] = _BETWEEN.join([text for text in texts if text])
        if shown or self._pictures:
            content = [*self._pictures, *[part for part in map(self._part, message.parts) if part]]
            self._pictures.clear()
        entry: Entry = {"role": "user", "content": content}
        if message.name is not None:
            entry["name"] = message.name
        self.entries.append(entry)

    def _part(self, part: form.Part) -> Entry | None:
        if isinstance(part, Image):
            return pictures.write(part, self._aim, self._lost)
        return {"type": "text", "text": part.text} if isinstance(part, Text) and part.text else None

    def _check_answered(self) -> None:
        answered = set()
        for entry in reversed(self.entries):
            if entry["role"] != "tool":
                break
            answered.add(entry["tool_call_id"])
        if not answered.issuperset(map(_fitting, self._open)):
            raise self._lost.refuse("messages", "a tool was called, but there is no result behind that turn")
        self._open.clear()

    def _show(self) -> None:
        """Pictures for which the user had no message get one."""
        if self._pictures:
            self.entries.append({"role": "user", "content": self._pictures})
            self._pictures = []

    def end(self) -> None:
        self._check_answered()
        self._show()


def _call(call: ToolCall) -> Entry:
    function = {"name": call.name, "arguments": call.arguments if call.arguments.strip() else "{}"}
    return {"id": _fitting(call.id), "type": "function", "function": function}


def _fitting(call: str) -> str:
    """A call's id; one that is too long, as other dialects may have them, becomes a short one, always the same."""
    if len(call) <= _LONGEST_ID:
        return call
    return "call_" + hashlib.blake2b(call.encode(errors="replace"), digest_size=16).hexdigest()


def _join(entry: Entry, later: Entry) -> None:
    entry["content"] = (entry["content"] or "") + (later["content"] or "") or entry["content"]
    entry["tool_calls"] += later.get("tool_calls", [])
    if "reasoning_content" in later:
        thoughts = (entry["reasoning_content"], later["reasoning_content"])
        entry["reasoning_content"] = _BETWEEN.join(filter(None, thoughts))
