"""What DashScope's results look like: only what is of use. A result is a whole answer, or an event of a stream."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.dialects import scan
from gateway.dialects.openai_chat.completion import Call
from gateway.dialects.usage import objects_of


class Message(msgspec.Struct):
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    tool_calls: list[Call] | None = None

    @property
    def text(self) -> str:
        content = self.content
        if content is None or type(content) is str:
            return content or ""
        return "".join([text for part in objects_of(content) if isinstance(text := part.get("text"), str)])


class Choice(msgspec.Struct):
    message: Message = msgspec.field(default_factory=Message)
    finish_reason: str | None = None
    index: int | None = 0
    logprobs: Any = None


class Output(msgspec.Struct):
    choices: list[Choice] | None = None
    text: str | None = None
    finish_reason: str | None = None


class Result(msgspec.Struct):
    output: Output | None = None
    request_id: Any = None

    @property
    def id(self) -> str:
        return self.request_id if type(self.request_id) is str else ""

    @property
    def choice(self) -> Choice | None:
        """The one answer that was asked for, also where it is a bare text."""
        output = self.output
        if output is None:
            return None
        if output.choices:
            return next((each for each in output.choices if not each.index), None)
        return None if output.text is None else Choice(Message(output.text), output.finish_reason)


decode = scan.lenient(Result)
