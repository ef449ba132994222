"""A stream of neutral events as that of a Response.

Items begin in the order in which they are told. A message or a thought is over when something else begins. Calls stay
open until the end, for their pieces may come interleaved, which this dialect can say: each event names its item. So
nothing is held back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import Event
from gateway.dialects.openai_responses import output
from gateway.dialects.openai_responses.growing import Call, Growing, Message, Thought, Voice, give_picture
from gateway.dialects.openai_responses.output import COMPLETED, Item
from gateway.types import Usage

_encode = msgspec.json.Encoder().encode


class Writer:
    """See StreamWriter."""

    PING = b": keep-alive\n\n"

    def __init__(self, told: Told) -> None:
        self._told = told
        self._voice = Voice()
        self._response: dict[str, Any] = {}
        self._items: list[Item] = []  # by their index; those that still grow are empty
        self._open: Message | Thought | None = None
        self._calls: dict[int, Call] = {}
        self._finish = ""

    def write(self, event: Event) -> bytes:
        if not self._response:
            self._begin(event)
        _EVENTS[type(event)](self, event)
        return self._voice.take()

    def end(self, usage: Usage) -> bytes:
        begin = self.write(form.Began())
        if not self._finish or self._open is not None or self._calls:
            self._finished(form.Finished(self._finish or form.STOP))
        response = output.ended(self._response, self._items, self._finish, usage)
        self._voice.say(f"response.{response['status']}", {"response": response})
        return begin + self._voice.take()

    # -- the response --

    def _begin(self, event: Event) -> None:
        id, created = (event.id, event.created) if isinstance(event, form.Began) else ("", None)
        id = output.response_id(id, self._told)
        self._response = output.opened(id, created or self._told.created, self._told)
        response = msgspec.Raw(_encode(self._response))
        self._voice.say("response.created", {"response": response})
        self._voice.say("response.in_progress", {"response": response})

    def _began(self, event: form.Began) -> None:
        """A response begins with whatever event comes first."""

    def _finished(self, event: form.Finished) -> None:
        self._finish = event.reason
        growing: list[Growing] = [*self._calls.values()]
        if self._open is not None:
            growing.append(self._open)  # it began last: what begins closes it
        last = len(self._items) - 1  # where the answer was cut, if it was
        for item in growing:
            status = output.last_status(event.reason) if item.index == last else COMPLETED
            self._items[item.index] = item.close(status)
        self._open = None
        self._calls.clear()

    def _next(self, prefix: str) -> tuple[str, int]:
        """The id and index of the item that begins now; a message or thought before it is over."""
        if self._open is not None:
            self._items[self._open.index] = self._open.close(COMPLETED)
            self._open = None
        index = len(self._items)
        self._items.append({})
        return output.item_id(prefix, self._response["id"], index), index

    # -- messages and thoughts --

    def _message(self) -> Message:
        if not isinstance(self._open, Message):
            self._open = Message(self._voice, *self._next("msg"))
        return self._open

    def _text(self, event: form.TextPiece) -> None:
        if event.text or event.logprobs:
            self._message().text(event.text, event.logprobs)

    def _refusal(self, event: form.RefusalPiece) -> None:
        if event.text:
            self._message().refusal(event.text)

    def _cited(self, event: form.Cited) -> None:
        if isinstance(self._open, Message):
            self._open.cite(event.citation)

    def _thought(self, event: form.ThoughtPiece) -> None:
        if event.text:
            if not isinstance(self._open, Thought):
                self._open = Thought(self._voice, *self._next("rs"))
            self._open.text(event.text)

    def _thought_ended(self, event: form.ThoughtEnded) -> None:
        """What it is signed with is another dialect's: an answer of this one is not converted."""
        if isinstance(self._open, Thought):
            self._items[self._open.index] = self._open.close(COMPLETED)
            self._open = None

    def _left_out(self, event: Event) -> None:
        """Ciphers and signatures of other dialects."""

    # -- calls and pictures --

    def _call_began(self, event: form.CallBegan) -> None:
        if (before := self._calls.pop(event.index, None)) is not None:
            self._items[before.index] = before.close(COMPLETED)
        self._calls[event.index] = Call(self._voice, *self._next("fc"), event.id, event.name)

    def _call_piece(self, event: form.CallPiece) -> None:
        call = self._calls.get(event.index)
        if call is not None and event.arguments:
            call.arguments(event.arguments)

    def _image(self, event: form.ImageGiven) -> None:
        image = output.shown(event.image)
        if isinstance(image, form.Text):
            self._message().text(image.text, ())
            return
        id, index = self._next("ig")
        self._items[index] = output.picture(id, image)
        give_picture(self._voice, index, self._items[index])


_EVENTS: dict[type[Any], Callable[[Writer, Any], None]] = {
    form.Began: Writer._began,
    form.TextPiece: Writer._text,
    form.Cited: Writer._cited,
    form.RefusalPiece: Writer._refusal,
    form.ThoughtPiece: Writer._thought,
    form.ThoughtEnded: Writer._thought_ended,
    form.RedactedThought: Writer._left_out,
    form.CallBegan: Writer._call_began,
    form.CallPiece: Writer._call_piece,
    form.CallSigned: Writer._left_out,
    form.ImageGiven: Writer._image,
    form.Finished: Writer._finished,
}
