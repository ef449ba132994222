"""A vendor's chunks -> neutral events.

How a fragment of a tool call is put to its call, for vendors differ: by `index`, where there is one, but a new id that
comes with a name begins a new call all the same (Gemini's door gives every call the index 0). Without an index, a known
id names its call, a new one begins a call; with neither, it belongs to the last call unless it begins one anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.dialects.chat import form
from gateway.dialects.chat.budget import Budget
from gateway.dialects.chat.form import Event
from gateway.dialects.openai_chat import completion
from gateway.dialects.openai_chat.completion import Call, Choice, Said
from gateway.dialects.openai_chat.thinking import Splitter

_MOST_HELD = 1 << 20  # characters of ids, and of arguments that came before their call's name
_CALL = 64  # what a call takes besides


class ChunkReader:
    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._began = False
        self._spoken = False
        self._finished = False
        self._tags: Splitter | None = Splitter()  # None: there are none, or no more
        self._last: _Call | None = None
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._told = 0  # calls that were told
        self._held = Budget(_MOST_HELD)

    def read(self, payload: bytes, name: bytes) -> Iterable[Event]:
        chunk = completion.decode(payload)
        choice = chunk.choice()
        if choice is None or self._finished:
            return ()  # usage, or what a vendor says again at the end
        events: list[Event] = []
        if not self._began:
            self._began = True
            events.append(form.Began(chunk.name(), chunk.time()))
        said = choice.delta
        if said is None and not self._spoken:
            said = choice.message  # the whole answer in one event
        if said is not None:
            self._read_said(said, choice, events)
        if choice.finish_reason not in completion.UNFINISHED:
            self._finish(choice.finish_reason, events)
        return events

    def _read_said(self, said: Said, choice: Choice, events: list[Event]) -> None:
        begin = len(events)
        if thought := said.thought():
            self._end_tags(events)
            events.append(form.ThoughtPiece(thought))
        text = said.content if type(said.content) is str else said.text()
        if text or choice.logprobs is not None:
            self._read_text(text, choice, events)
        if said.annotations is not None:
            events += map(form.Cited, said.citations())
        if said.refusal:
            events.append(form.RefusalPiece(said.refusal))
        if said.images is not None or type(said.content) is list:
            events += map(form.ImageGiven, said.pictures())
        if said.tool_calls is not None or said.function_call is not None:
            for call in said.calls():
                self._read_call(call, events)
        if len(events) > begin:
            self._spoken = True

    def _read_text(self, text: str, choice: Choice, events: list[Event]) -> None:
        if self._tags is not None:
            thought, text = self._tags.feed(text)
            if self._tags.done:
                self._tags = None
            if thought:
                events.append(form.ThoughtPiece(thought))
        logprobs = completion.logprobs(choice.logprobs)
        if text or logprobs:
            events.append(form.TextPiece(text, logprobs))

    def _finish(self, reason: str | None, events: list[Event]) -> None:
        self._finished = True
        self._end_tags(events)
        events.append(form.Finished(completion.finish(reason, self._told > 0)))

    def _end_tags(self, events: list[Event]) -> None:
        if self._tags is None:
            return
        thought, text = self._tags.finish()
        self._tags = None
        if thought:
            events.append(form.ThoughtPiece(thought))
        if text:
            events.append(form.TextPiece(text))

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _read_call(self, fragment: Call, events: list[Event]) -> None:
        function = fragment.function
        name = (function.name or "") if function is not None else ""
        arguments = completion.arguments(function) if function is not None else ""
        call = self._find(fragment, name, arguments)
        if not call.name and name:
            call.name = name
            call.number = self._told
            self._told += 1
            events.append(form.CallBegan(call.number, call.id or f"call_{self._seed}_{call.number}", name))
            arguments, call.waiting = call.waiting + arguments, ""
        if arguments:
            call.last = arguments[-1]
            if call.name:
                events.append(form.CallPiece(call.number, arguments))
            else:
                self._held.take(len(arguments))
                call.waiting += arguments

    def _find(self, fragment: Call, name: str, arguments: str) -> _Call:
        index, id = fragment.index, fragment.id or ""
        if index is not None:
            call = self._by_index.get(index)
            if call is not None and not (id and name and call.id and id != call.id):
                call.id = call.id or id
                return call
            call = self._by_index[index] = self._new(id)
            return call
        if id:
            return self._by_id.get(id) or self._new(id)
        last = self._last
        if last is None or (name and last.name and (name != last.name or (last.last == "}" and arguments[:1] == "{"))):
            return self._new("")
        return last

    def _new(self, id: str) -> _Call:
        self._held.take(len(id) + _CALL)
        self._last = self._by_id[id] = call = _Call(id)
        return call


class _Call:
    """A call while its fragments come."""

    __slots__ = ("id", "last", "name", "number", "waiting")

    def __init__(self, id: str) -> None:
        self.id = id
        self.name = ""
        self.number = -1
        self.last = ""  # character of its arguments
        self.waiting = ""
