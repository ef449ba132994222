"""What vendors answer: whole Response objects, and the items of their streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from gateway.dialects.chat import form
from gateway.dialects.chat.form import Answer, Image, Part, Refusal, Text, Thought, ToolCall
from gateway.dialects.openai_responses.items import DIALECT, FORMATS, standard

_Index = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class Note(msgspec.Struct):
    type: str | None = None
    url: str | None = None
    title: str | None = None
    start_index: _Index | None = None
    end_index: _Index | None = None


class Token(msgspec.Struct):
    token: str | None = None
    logprob: float | None = None
    bytes: list[Annotated[int, msgspec.Meta(ge=0, lt=256)]] | None = None
    top_logprobs: list[Token] | None = None


class Content(msgspec.Struct):
    """A part of a message or of a thought."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    annotations: list[Note] | None = None
    logprobs: list[Token] | None = None


class OutputItem(msgspec.Struct):
    """Any item of the output. `content` is undecoded, for hosted tools have what they want there."""

    type: str | None = None
    id: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"null")
    summary: list[Content] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    output_format: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class Response(msgspec.Struct):
    id: str | None = None
    created_at: float | None = None
    status: str | None = None
    output: list[OutputItem] | None = None
    incomplete_details: _Incomplete | None = None


class _Counted(msgspec.Struct):
    input_tokens: int


_decode_response = msgspec.json.Decoder(Response).decode
_decode_contents = msgspec.json.Decoder(list[Content] | None).decode
_decode_result = msgspec.json.Decoder(str | None).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode


def counted(body: bytes) -> int:
    return _decode_counted(body).input_tokens


def read(body: bytes, seed: str) -> Answer:
    response = _decode_response(body)
    parts: list[Part] = []
    logprobs: list[form.Logprob] = []
    calls = 0
    for item in response.output or ():
        if item.type == "message":
            parts += _message(item, logprobs)
        elif item.type == "function_call":
            parts.append(ToolCall(call_id(item, seed, calls), item.name or "", item.arguments or ""))
            calls += 1
        elif item.type == "reasoning":
            thought = Thought(thoughts(item), item.encrypted_content or "", id=item.id or "", origin=DIALECT)
            if thought.text or thought.signature:
                parts.append(thought)
        elif item.type == "image_generation_call" and (image := picture(item)) is not None:
            parts.append(image)
    return Answer(
        id=response.id or "",
        created=seconds(response),
        parts=tuple(parts),
        finish=finish(response, calls > 0),
        logprobs=tuple(logprobs),
    )


# -- pieces of an answer -----------------------------------------------------------------------------------------------


def seconds(response: Response) -> int | None:
    said = response.created_at
    return int(said) if said is not None and 0 <= said < 2**53 else None


def finish(response: Response, called: bool) -> str:
    reason = response.incomplete_details.reason if response.incomplete_details is not None else None
    if reason == "content_filter":
        return form.FILTERED
    if reason is not None or response.status == "incomplete":
        return form.LENGTH  # of one kind or another
    return form.TOOL_CALLS if called else form.STOP


def call_id(item: OutputItem, seed: str, number: int) -> str:
    return item.call_id or item.id or f"call_{seed}_{number}"


def contents(item: OutputItem) -> list[Content]:
    return _decode_contents(item.content) or []


def _message(item: OutputItem, logprobs: list[form.Logprob]) -> Iterator[Part]:
    for content in contents(item):
        if content.type == "refusal":
            yield Refusal(content.refusal or "")
        elif content.text:
            logprobs += logprobs_of(content.logprobs)
            yield Text(content.text, tuple(citations(content)) if content.annotations else ())


def thoughts(item: OutputItem) -> str:
    """The summary, else the thoughts themselves: few vendors give those."""
    return "\n\n".join(content.text for content in item.summary or contents(item) if content.text)


def picture(item: OutputItem) -> Image | None:
    data = _decode_result(item.result)
    form = item.output_format if item.output_format in FORMATS else "png"
    return Image(data=standard(data), media_type=f"image/{form}") if data else None


def citations(content: Content) -> list[form.Citation]:
    return [citation for note in content.annotations or () if (citation := citation_of(note)) is not None]


def citation_of(note: Note | None) -> form.Citation | None:
    if note is None or note.type != "url_citation" or not note.url:
        return None
    return form.Citation(note.url, note.title or "", start=note.start_index, end=note.end_index)


def logprobs_of(tokens: list[Token] | None) -> tuple[form.Logprob, ...]:
    return tuple([_logprob(token) for token in tokens]) if tokens else ()


def _logprob(token: Token) -> form.Logprob:
    return form.Logprob(token.token or "", token.logprob or 0.0, token.bytes, logprobs_of(token.top_logprobs))
