"""Whether a body is a request that DashScope takes. Its SDK has no types to hold it against: they are written here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

_DATA = re.compile(r"data:image/[a-z+.-]+;base64,[A-Za-z0-9+/]+={0,2}|https?://.+", re.DOTALL)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Called(_Strict):
    name: Annotated[str, Field(min_length=1)]
    arguments: str


class _Call(_Strict):
    id: Annotated[str, Field(min_length=1)]
    type: Literal["function"]
    function: _Called


class _TextPart(_Strict):
    text: str


class _ImagePart(_Strict):
    image: str


_Content = str | list[_TextPart | _ImagePart]


class _Heard(_Strict):
    role: Literal["system", "user"]
    content: _Content


class _Spoken(_Strict):
    role: Literal["assistant"]
    content: _Content
    reasoning_content: str | None = None
    tool_calls: Annotated[list[_Call], Field(min_length=1)] | None = None


class _Result(_Strict):
    role: Literal["tool"]
    content: _Content
    tool_call_id: str


class _Function(_Strict):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(_Strict):
    type: Literal["function"]
    function: _Function


class _Name(_Strict):
    name: str


class _Named(_Strict):
    type: Literal["function"]
    function: _Name


class _Schema(_Strict):
    name: str
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class _SchemaFormat(_Strict):
    type: Literal["json_schema"]
    json_schema: _Schema


class _Format(_Strict):
    type: Literal["json_object", "text"]


class _Parameters(_Strict):
    result_format: Literal["message"]
    incremental_output: bool | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, lt=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    stop: Annotated[list[str], Field(min_length=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    tools: Annotated[list[_Tool], Field(min_length=1)] | None = None
    tool_choice: Literal["auto", "none"] | _Named | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | _SchemaFormat | None = None
    enable_thinking: bool | None = None
    thinking_budget: Annotated[int, Field(ge=1)] | None = None


class _Input(_Strict):
    messages: Annotated[list[_Heard | _Spoken | _Result], Field(min_length=1)]


class _Request(_Strict):
    model: Annotated[str, Field(min_length=1)]
    input: _Input
    parameters: _Parameters


_adapter = TypeAdapter(_Request)


def check(body: dict[str, Any], stream: bool) -> None:
    """Raises ValidationError or AssertionError for what DashScope would refuse."""
    request = _adapter.validate_python(body)
    parameters = request.parameters
    assert bool(parameters.incremental_output) == stream
    assert stream or not parameters.enable_thinking, "it thinks in streams only"
    assert parameters.enable_thinking or parameters.thinking_budget is None
    if parameters.tools is None:
        assert parameters.tool_choice is None
        assert parameters.parallel_tool_calls is None
    elif isinstance(parameters.tool_choice, _Named):
        assert parameters.tool_choice.function.name in {tool.function.name for tool in parameters.tools}
    _check_contents([message.content for message in request.input.messages])
    _check_order(request.input.messages)


def _check_contents(contents: list[_Content]) -> None:
    """All strings on the path of text alone, all lists on the other one."""
    assert len({type(content) for content in contents}) == 1
    for content in contents:
        for part in content if isinstance(content, list) else ():
            assert isinstance(part, _TextPart) or _DATA.fullmatch(part.image)


def _check_order(messages: list[_Heard | _Spoken | _Result]) -> None:
    """Each call is answered, right behind the turn that made it; only what was called is answered."""
    due: list[str] = []
    for message in messages:
        if isinstance(message, _Result):
            assert message.tool_call_id in due
            due.remove(message.tool_call_id)
            continue
        assert not due, "a call has no result"
        if isinstance(message, _Spoken):
            due = [call.id for call in message.tool_calls or ()]
    assert not due, "a call has no result"
