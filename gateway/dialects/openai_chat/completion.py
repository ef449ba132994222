"""What a vendor's completion, or a chunk of one, looks like: only what is of use, and odd values taken in good part.

Vendors of this dialect differ in what they leave out and in what they add. Fields whose type varies are `Any` and
looked at by those who read them; a value of another type in any other field makes the whole thing unreadable.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.dialects import scan
from gateway.dialects.chat import form
from gateway.dialects.chat.form import Citation, Image, Logprob
from gateway.dialects.openai_chat import pictures
from gateway.dialects.usage import object_of, objects_of
from gateway.errors import BadRequest


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct):
    """A choice's `message` or `delta`."""

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: Any = None  # the same under another name; some say both
    refusal: str | None = None
    tool_calls: list[Call] | Call | None = None  # Spark: one, bare
    function_call: Function | None = None  # the old form
    annotations: Any = None
    images: Any = None  # as other gateways have them

    def thought(self) -> str:
        return self.reasoning_content or (self.reasoning if type(self.reasoning) is str else "")

    def calls(self) -> list[Call]:
        calls = self.tool_calls
        if calls is None:
            return [Call(function=self.function_call)] if self.function_call is not None else []
        return calls if type(calls) is list else [calls]  # type: ignore[list-item]

    def text(self) -> str:
        """Some vendors' content is in parts, thoughts and pictures among them."""
        if type(self.content) is str:
            return self.content
        texts = (part.get("text") for part in objects_of(self.content) if part.get("type", "text") == "text")
        return "".join([text for text in texts if isinstance(text, str)])

    def pictures(self) -> Iterator[Image]:
        for part in (*objects_of(self.images), *(objects_of(self.content) if type(self.content) is list else ())):
            where = part.get("image_url")
            url = object_of(where).get("url") or where
            if isinstance(url, str):
                try:
                    yield pictures.read(url, None, "image_url")
                except BadRequest:
                    continue  # no picture after all

    def citations(self) -> Iterator[Citation]:
        for note in objects_of(self.annotations):
            cited = object_of(note.get("url_citation"))
            url, title = cited.get("url"), cited.get("title")
            start, end = cited.get("start_index"), cited.get("end_index")
            if isinstance(url, str) and url:
                yield Citation(
                    url,
                    title if isinstance(title, str) else "",
                    start=start if type(start) is int and start >= 0 else None,
                    end=end if type(end) is int and end >= 0 else None,
                )


class Choice(msgspec.Struct):
    index: int | None = 0
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class Completion(msgspec.Struct):
    id: Any = None
    created: Any = None
    choices: list[Choice] | None = None

    def name(self) -> str:
        return self.id if type(self.id) is str else ""

    def time(self) -> int | None:
        return int(self.created) if type(self.created) in (int, float) and 0 < self.created < 2**53 else None

    def choice(self) -> Choice | None:
        """The one answer that was asked for."""
        choices = self.choices
        if not choices:
            return None
        return choices[0] if not choices[0].index else next((each for each in choices if not each.index), None)


decode = scan.lenient(Completion)


class _Token(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[_Token] | None = None


class _Tokens(msgspec.Struct):
    content: list[_Token] | None = None


def logprobs(value: Any) -> tuple[Logprob, ...]:
    """Those of the content; none where they do not look as they should."""
    if value is None:
        return ()
    try:
        found = msgspec.convert(value, _Tokens).content
    except scan.UNREADABLE:
        return ()
    return tuple([_logprob(token) for token in found or ()])


def _logprob(token: _Token) -> Logprob:
    top = tuple([Logprob(each.token, each.logprob, each.bytes) for each in token.top_logprobs or ()])
    return Logprob(token.token, token.logprob, token.bytes, top)


_FINISHES = {
    "stop": form.STOP,
    "eos": form.STOP,
    "length": form.LENGTH,
    "max_tokens": form.LENGTH,
    "model_context_window_exceeded": form.LENGTH,
    "tool_calls": form.TOOL_CALLS,
    "function_call": form.TOOL_CALLS,
    "content_filter": form.FILTERED,
    "sensitive": form.FILTERED,
}
UNFINISHED = (None, "", "null")


def finish(reason: str | None, called: bool) -> str:
    """Whether tools were called is what the answer shows, whatever the vendor calls its end."""
    known = _FINISHES.get(reason or "", form.STOP)
    if known in (form.STOP, form.TOOL_CALLS):
        return form.TOOL_CALLS if called else form.STOP
    return known


def arguments(function: Function) -> str:
    value = function.arguments
    if value is None or type(value) is str:
        return value or ""
    return msgspec.json.encode(value).decode()
