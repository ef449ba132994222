"""From what was asked to what is answered, in a form that no vendor speaks: the dialects word it.

The model echoes the last thing the user said. With tools it calls those whose names the user wrote, else the first one;
after a tool's result it speaks about that. Maximum length, stop sequences and the script cut the text.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from gateway.sandbox import content
from gateway.sandbox.script import Script

T = TypeVar("T")
TOKENS_PER_MESSAGE = 1
TOKENS_PER_IMAGE = 85


@dataclass
class Prompt:
    """What a conversation says: the last user text, the last tool result if it comes after, pictures, tokens."""

    said: str = ""
    result: str | None = None
    images: int = 0
    tokens: int = 0

    def text(self, text: str) -> None:
        self.tokens += content.tokens(text)

    def image(self) -> None:
        self.images += 1
        self.tokens += TOKENS_PER_IMAGE


@dataclass(frozen=True)
class Tool:
    name: str
    schema: dict[str, Any]


@dataclass
class Wish:
    """What the caller wants of the answer. `choice`: auto, none, required, or a tool's name."""

    tools: list[Tool] = field(default_factory=list)
    choice: str = "auto"
    parallel: bool = True
    most: int | None = None
    stops: list[str] = field(default_factory=list)
    schema: dict[str, Any] | None = None
    think: int = 0
    # Some vendors end the text behind the stop sequence, not before it.
    keep_stop: bool = False


@dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: dict[str, Any]
    said: str | None = None  # in place of their JSON, for dialects where arguments are text

    def text(self, worded: Callable[[Any], str] = content.compact) -> str:
        return worded(self.arguments) if self.said is None else self.said


@dataclass
class Answer:
    """finish: stop, length, tool_calls, filter; `stopped` is the stop sequence that was hit; `refuses`: the text is a
    refusal.
    """

    text: str
    reasoning: str
    calls: list[ToolCall]
    finish: str
    stopped: str | None
    input: int
    cached: int
    zero: bool
    refuses: bool = False

    # Asked for at every event of a stream, and fixed once the answer is composed.
    @cached_property
    def reasoning_tokens(self) -> int:
        return 0 if self.zero else content.tokens(self.reasoning)

    @cached_property
    def output(self) -> int:
        if self.zero:
            return 0
        spoken = content.tokens(self.text) + content.tokens(self.reasoning)
        return spoken + sum(1 + content.tokens(content.spaced(call.arguments)) for call in self.calls)


def compose(prompt: Prompt, wish: Wish, script: Script) -> Answer:
    """The answer; filtering `before` any text is the dialects' matter."""
    asked = [{"name": tool.name, "schema": tool.schema} for tool in wish.tools]
    total = prompt.tokens + (content.tokens(content.spaced(asked)) if asked else 0)
    thinking = wish.think if script.think is None else script.think
    reasoning = content.resize(f"The user said: {prompt.said}", thinking) if thinking else ""
    calls = [] if script.refuse_text else _calls(prompt, wish, script)
    text = "" if calls and not script.talk else _text(prompt, wish, script)
    finish, stopped = ("tool_calls", None) if calls else ("stop", None)
    for stop in wish.stops:
        at = text.find(stop)
        if stop and at >= 0:
            text, stopped = text[: at + len(stop) * wish.keep_stop], stop
    if not calls and wish.most is not None:
        room = max(wish.most - content.tokens(reasoning), 0)
        if content.tokens(text) > room:
            text, finish, stopped = "".join(content.pieces(text)[:room]), "length", None
    if script.filter == "after":
        parts = content.pieces(text)
        text, finish, calls = "".join(parts[: (len(parts) + 1) // 2]), "filter", []
    zero = script.zero_usage
    return Answer(
        text, reasoning, calls, finish, stopped, 0 if zero else total, 0 if zero else min(script.cached, total), zero,
        script.refuse_text,
    )  # fmt: skip


def _text(prompt: Prompt, wish: Wish, script: Script) -> str:
    if script.refuse_text:
        return f"I'm sorry, I can't help with that: {prompt.said}"
    if wish.schema is not None:
        return content.spaced(content.sample(wish.schema, prompt.said))
    pictures = f" ({prompt.images} image{'s' * (prompt.images > 1)})" if prompt.images else ""
    text = f"The tool said: {prompt.result}" if prompt.result is not None else f"You said: {prompt.said}{pictures}"
    return text if script.size is None else content.resize(text, script.size)


def _calls(prompt: Prompt, wish: Wish, script: Script) -> list[ToolCall]:
    if not wish.tools or wish.choice == "none" or script.tools == 0:
        return []
    forced = wish.choice not in ("auto", "required")
    if prompt.result is not None and wish.choice == "auto" and script.tools is None:
        return []
    if forced:
        chosen = [tool for tool in wish.tools if tool.name == wish.choice]
    else:
        chosen = [tool for tool in wish.tools if tool.name in prompt.said] or wish.tools[:1]
    if script.tools is not None:
        chosen = [wish.tools[i % len(wish.tools)] for i in range(script.tools)]
    if not wish.parallel or forced:
        chosen = chosen[:1]
    if script.empty_args:
        return [ToolCall(tool.name, {}, "") for tool in chosen]
    said = '{"broken": ' if script.bad_args else None
    return [ToolCall(tool.name, _arguments(tool, prompt.said, i), said) for i, tool in enumerate(chosen)]


def _arguments(tool: Tool, said: str, number: int) -> dict[str, Any]:
    text = said if number == 0 else f"{said} {number + 1}"
    value = content.sample({**tool.schema, "type": "object"}, text)
    return value if isinstance(value, dict) else {}


def fragments(text: str, count: int = 3) -> Iterator[str]:
    """A text in a few parts, as tool arguments are streamed."""
    step = max(-(-len(text) // count), 1)
    return (text[i : i + step] for i in range(0, len(text), step))


def by_turns(parts: Sequence[Iterable[T]], interleaved: bool) -> Iterator[tuple[int, T]]:
    """(whose, part) of several sequences: one behind the other, or by turns."""
    if not interleaved:
        yield from ((k, part) for k, own in enumerate(parts) for part in own)
        return
    for row in itertools.zip_longest(*parts):
        yield from ((k, part) for k, part in enumerate(row) if part is not None)
