"""Whether a body is a request that OpenAI takes: by the official SDK's types, and by rules that types do not show."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from openai.types.chat import completion_create_params
from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import is_typeddict

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_ID = 40
# What vendors of the dialect have beside OpenAI's own.
_SWITCHES = ({"type": "enabled"}, {"type": "disabled"})


def _types(hint: Any, seen: set[Any]) -> Iterator[type]:
    """All typed dicts that a type is made of."""
    if hint in seen:
        return
    seen.add(hint)
    if is_typeddict(hint):
        yield hint
        for inner in typing.get_type_hints(hint, include_extras=True).values():
            yield from _types(inner, seen)
    for inner in typing.get_args(hint):
        if isinstance(inner, type) or typing.get_args(inner):
            yield from _types(inner, seen)


def strict(*roots: Any) -> TypeAdapter[Any]:
    """Checks the union of typed dicts, and allows no other keys anywhere."""
    seen: set[Any] = set()
    for root in roots:
        for each in _types(root, seen):
            with_config(ConfigDict(extra="forbid"))(each)
    return TypeAdapter(typing.Union[roots])  # noqa: UP007


_PLAIN = strict(completion_create_params.CompletionCreateParamsNonStreaming)
_STREAM = strict(completion_create_params.CompletionCreateParamsStreaming)


def check(body: dict[str, Any], stream: bool = False) -> None:
    """Raises AssertionError or pydantic's ValidationError for what OpenAI would refuse."""
    rest = dict(body)
    assert rest.pop("thinking", None) in (None, *_SWITCHES)
    assert type(rest.pop("enable_thinking", True)) is bool
    assert rest.pop("thinking_budget", 1) > 0
    rest["messages"] = [_plain(message) for message in body["messages"]]
    exhaust((_STREAM if stream else _PLAIN).validate_python(rest))
    assert (body.get("stream") is True) is stream
    assert body.get("stream_options") == ({"include_usage": True} if stream else None)
    check_messages(body["messages"])
    _check_tools(body)
    _check_settings(body)


def exhaust(value: Any) -> None:
    """Iterables are validated as they are read."""
    if isinstance(value, dict):
        for each in value.values():
            exhaust(each)
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for each in value:
            exhaust(each)


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    rest = dict(message)
    if "reasoning_content" in rest:
        assert type(rest.pop("reasoning_content")) is str
        assert rest["role"] == "assistant"
        assert rest["tool_calls"]
    return rest


def check_messages(messages: list[dict[str, Any]], silence: object = None) -> None:
    """`silence`: the content of a turn that has calls only."""
    assert messages
    waiting: set[str] = set()
    for message in messages:
        content = message["content"]
        if message["role"] == "tool":
            assert message["tool_call_id"] in waiting, "a result that nobody asked for"
            waiting.discard(message["tool_call_id"])
            assert type(content) is str
            continue
        assert not waiting, "calls without results"
        if message["role"] == "assistant":
            calls = message.get("tool_calls")
            assert type(content) is str or (content is silence and calls)
            assert calls is None or calls
            ids = [call["id"] for call in calls or ()]
            assert len(set(ids)) == len(ids)
            assert all(0 < len(id) <= _LONGEST_ID for id in ids)
            waiting.update(ids)
        elif type(content) is list:
            assert content
            assert message["role"] == "user"
            assert all(part["type"] == "image_url" or part["text"] for part in content)
    assert not waiting, "calls without results"


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools")
    if tools is None:
        assert not body.keys() & {"tool_choice", "parallel_tool_calls"}
        return
    names = [tool["function"]["name"] for tool in tools]
    assert names
    assert len(names) <= 128
    assert all(_NAME.fullmatch(name) for name in names)
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        assert choice["function"]["name"] in names


def _check_settings(body: dict[str, Any]) -> None:
    assert not body.keys() >= {"max_tokens", "max_completion_tokens"}
    assert body.get("max_tokens", body.get("max_completion_tokens", 1)) >= 1
    assert 1 <= len(body.get("stop", ["one"])) <= 4
    assert 0 <= body.get("temperature", 0) <= 2
    assert 0 <= body.get("top_p", 0) <= 1
    if "top_logprobs" in body:
        assert body["logprobs"] is True
        assert 0 <= body["top_logprobs"] <= 20
    wanted = body.get("response_format")
    if wanted is not None and wanted["type"] == "json_schema":
        assert _NAME.fullmatch(wanted["json_schema"]["name"])
