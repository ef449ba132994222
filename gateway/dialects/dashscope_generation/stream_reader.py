"""DashScope's events -> neutral ones.

We ask for pieces (`incremental_output`), but the old way is to say all of the text so far in each event, and not every
model knows the other. Which one it is shows at the second text: where texts grow, it begins with the first. That may be
chance, so it waits for the event behind it.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.dialects.chat import form
from gateway.dialects.chat.budget import Budget
from gateway.dialects.chat.form import Event
from gateway.dialects.dashscope_generation.result import Choice, decode
from gateway.dialects.openai_chat import completion
from gateway.dialects.openai_chat.completion import UNFINISHED, Call

_MOST_HELD = 32 << 20  # characters of what calls said last, and of arguments that came before their call's name
_CALL = 4096  # a call counts as so many more: there are never many


class ResultReader:
    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._began = False
        self._finished = False
        self._texts = Texts()
        self._calls: dict[object, _Call] = {}
        self._last: _Call | None = None
        self._told = 0  # calls that were told
        self._held = Budget(_MOST_HELD)

    def read(self, payload: bytes, name: bytes) -> Iterable[Event]:
        result = decode(payload)
        choice = result.choice
        if choice is None or self._finished:
            return ()
        events: list[Event] = []
        if not self._began:
            self._began = True
            events.append(form.Began(result.id))
        self._read_said(choice, events)
        if choice.finish_reason not in UNFINISHED:
            self._finished = True
            events.append(form.Finished(completion.finish(choice.finish_reason, self._told > 0)))
        return events

    def _read_said(self, choice: Choice, events: list[Event]) -> None:
        message = choice.message
        last = choice.finish_reason not in UNFINISHED
        thought, text = self._texts.take(message.reasoning_content or "", message.text, bool(message.tool_calls), last)
        if thought:
            events.append(form.ThoughtPiece(thought))
        logprobs = completion.logprobs(choice.logprobs)
        if text or logprobs:
            events.append(form.TextPiece(text, logprobs))
        for call in message.tool_calls or ():
            self._read_call(call, events)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _read_call(self, fragment: Call, events: list[Event]) -> None:
        function = fragment.function
        name = (function.name or "") if function is not None else ""
        said = completion.arguments(function) if function is not None else ""
        call = self._last = self._find(fragment)
        call.id = call.id or fragment.id or ""
        self._held.take(len(said) - len(call.said))
        piece = call.piece(said, bool(name))
        if not call.name and name:
            call.name, call.number = name, self._told
            self._told += 1
            events.append(form.CallBegan(call.number, call.id or f"call_{self._seed}_{call.number}", name))
            piece, call.waiting = call.waiting + piece, ""
        if piece and call.name:
            events.append(form.CallPiece(call.number, piece))
        else:
            self._held.take(len(piece))
            call.waiting += piece

    def _find(self, fragment: Call) -> _Call:
        """By index, else by id; a fragment that has neither goes on with the last call."""
        key: object = fragment.index if fragment.index is not None else fragment.id
        if not key and fragment.index is None and self._last is not None:
            return self._last
        if (call := self._calls.get(key)) is None:
            self._held.take(_CALL + len(fragment.id or ""))
            call = self._calls[key] = _Call()
        return call


class _Call:
    """A call while its fragments come."""

    __slots__ = ("id", "name", "number", "said", "waiting")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.number = -1
        self.said = ""  # by the last fragment
        self.waiting = ""

    def piece(self, said: str, named: bool) -> str:
        """The new part of the arguments: a fragment that names the call again may say all of it again."""
        before, self.said = self.said, said
        return said[len(before) :] if named and self.name and said.startswith(before) else said


# -- pieces, or all of it each time ------------------------------------------------------------------------------------


class _Text:
    __slots__ = ("held", "known")

    def __init__(self) -> None:
        self.known = ""  # what was given: its first piece, or all of it where it grows
        self.held = ""  # begins with that: a piece by chance, or the text as it grows


class Texts:
    """The thought and the text of a stream: what is new of them in each event."""

    __slots__ = ("_grow", "_text", "_thought")

    def __init__(self) -> None:
        self._grow: bool | None = None  # None: not known yet
        self._thought = _Text()
        self._text = _Text()

    def take(self, thought: str, text: str, calls: bool, last: bool) -> tuple[str, str]:
        """`calls`: whether the event holds calls; `last`: whether the answer ends with it."""
        if self._grow is None:
            self._grow = self._tell(self._thought, thought, bool(text) or calls, last)
        if self._grow is None:
            self._grow = self._tell(self._text, text, calls, last)
        return self._new(self._thought, thought), self._new(self._text, text)

    def _tell(self, text: _Text, said: str, beside: bool, last: bool) -> bool | None:
        """Whether texts grow, as far as this one shows. `beside`: whether the answer has come to what follows it."""
        if text.held:
            return said.startswith(text.held)
        if not text.known:
            return None
        if not said:
            return False if beside else None  # what grows is said again with what follows
        if not said.startswith(text.known):
            return False
        if beside or last:
            return True  # pieces of what came before do not stand beside what follows, nor at the end
        if said == text.known:
            return False
        text.held = said
        return None

    def _new(self, text: _Text, said: str) -> str:
        if self._grow:
            piece = said[len(text.known) :]
            text.known = said or text.known
            return piece
        if self._grow is None:
            if text.held:
                return ""
            text.known = text.known or said
            return said
        held, text.held = text.held, ""
        return held + said
