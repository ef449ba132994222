"""Whether a body is a request that MiniMax takes: by its published description, and by the rules of its dialect."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tests.chat.openai_chat_schema import check_messages

_Above0 = Annotated[float, Field(gt=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _URL(_Strict):
    url: str
    detail: str | None = None


class _Part(_Strict):
    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: _URL | None = None


class _Called(_Strict):
    name: str
    arguments: str


class _Call(_Strict):
    id: str
    type: Literal["function"]
    function: _Called


class _Message(_Strict):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[_Part]
    name: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None


class _Function(_Strict):
    name: str
    description: str
    parameters: dict[str, Any]


class _Tool(_Strict):
    type: Literal["function"]
    function: _Function


class _Schema(_Strict):
    name: Annotated[str, Field(pattern=r"^\w{1,64}$")]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None


class _Format(_Strict):
    type: Literal["json_schema"]
    json_schema: _Schema


class _Options(_Strict):
    include_usage: Literal[True]


class _Body(_Strict):
    model: str
    messages: list[_Message]
    stream: Literal[True] | None = None
    stream_options: _Options | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: _Above0 | None = None
    top_p: _Above0 | None = None
    tools: list[_Tool] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    response_format: _Format | None = None


def check(body: dict[str, Any], stream: bool = False) -> None:
    """Raises AssertionError or pydantic's ValidationError for what MiniMax would refuse."""
    found = _Body.model_validate(body)
    assert (found.stream is True) is stream
    assert (found.stream_options is not None) is stream
    assert "tool_choice" not in body or found.tools
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool.function.name) for tool in found.tools or ())
    check_messages(body["messages"], silence="")
