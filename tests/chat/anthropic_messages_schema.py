"""Whether Anthropic takes a body as a request: by the official SDK's types, and by rules that types do not show."""

from __future__ import annotations

import base64
import re
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

import typing_extensions
from anthropic.types import message_count_tokens_params, message_create_params
from typing_extensions import is_typeddict

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_THINKING = ("thinking", "redacted_thinking")
# Taken, though the newest SDK has left them out.
_SAMPLING: dict[str, Any] = {"temperature": float, "top_p": float, "top_k": int}
_WRAPPERS = (
    Required,
    NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    Annotated,
    typing_extensions.Annotated,
)
_UNLIMITED = {"minimum", "maximum", "minLength", "maxLength", "multipleOf", "maxItems", "uniqueItems"}


def check(body: dict[str, Any], stream: bool = False) -> None:
    """Raises AssertionError for what Anthropic would refuse."""
    sampling = {name: value for name, value in body.items() if name in _SAMPLING}
    rest = {name: value for name, value in body.items() if name not in _SAMPLING}
    kind = message_create_params.MessageCreateParamsStreaming if stream else _PLAIN
    _typed(rest, kind, "")
    assert all(_fits(value, _SAMPLING[name]) for name, value in sampling.items())
    assert body["max_tokens"] >= 1
    assert not (stream and body.get("stream") is not True)
    assert all(stop.strip() for stop in body.get("stop_sequences", ()))
    _prompt(body)
    _sampled(body, (body.get("thinking") or {}).get("type") in ("enabled", "adaptive"))


def check_count(body: dict[str, Any]) -> None:
    """The same for a question for the number of tokens."""
    _typed(body, message_count_tokens_params.MessageCountTokensParams, "")
    _prompt(body)


_PLAIN = message_create_params.MessageCreateParamsNonStreaming


# -- types -------------------------------------------------------------------------------------------------------------


def _typed(value: Any, kind: Any, place: str) -> None:
    """Holds a value against a TypedDict, naming what does not fit."""
    hints = get_type_hints(kind, include_extras=True)
    assert isinstance(value, dict), place
    assert value.keys() <= hints.keys(), f"{place}: unknown {value.keys() - hints.keys()}"
    needed = {name for name, hint in hints.items() if name in kind.__required_keys__}
    assert needed <= value.keys(), f"{place}: missing {needed - value.keys()}"
    for name, each in value.items():
        assert _fits(each, hints[name]), f"{place}.{name} does not fit: {each!r}"


def _fits(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if hint in (Any, object):
        return True
    if origin in _WRAPPERS:
        return _fits(value, args[0])
    if origin in (Union, types.UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin in (Literal, typing_extensions.Literal):
        return type(value) in (str, bool, int) and value in args
    if is_typeddict(hint):
        try:
            _typed(value, hint, "")
        except AssertionError:
            return False
        return True
    if origin is dict:
        return isinstance(value, dict) and all(_fits(each, args[1]) for each in value.values())
    if origin is not None:  # lists, iterables and sequences
        return isinstance(value, list) and all(_fits(each, args[0]) for each in value)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint or (hint is type(None) and value is None)


# -- rules -------------------------------------------------------------------------------------------------------------


def _prompt(body: dict[str, Any]) -> None:
    assert all(block["text"].strip() for block in _blocks(body.get("system") or [])), "a blank system text"
    _tools(body)
    turns = [(message["role"], _blocks(message["content"])) for message in body["messages"]]
    assert [role for role, _ in turns[:1]] == ["user"], "the first turn is the user's"
    joined: list[tuple[str, list[dict[str, Any]]]] = []
    for role, blocks in turns:
        assert blocks, "a turn without content"
        if joined and joined[-1][0] == role:
            joined[-1][1].extend(blocks)
        else:
            joined.append((role, list(blocks)))
    _turns(joined)
    _thinking(body, joined)
    if (form := (body.get("output_config") or {}).get("format")) is not None:
        _kept(form["schema"])


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _turns(turns: list[tuple[str, list[dict[str, Any]]]]) -> None:
    waiting: list[str] = []
    used: set[str] = set()
    for role, blocks in turns:
        kinds = [block["type"] for block in blocks]
        if role == "user":
            assert set(kinds) <= {"text", "image", "tool_result"}, kinds
            results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
            assert sorted(results) == sorted(waiting), (results, waiting)
            assert kinds[: len(results)] == ["tool_result"] * len(results), "results come first"
        else:
            assert not waiting, waiting
            assert set(kinds) <= {"text", "tool_use", *_THINKING}, kinds
            assert kinds[-1] not in _THINKING, "the last block is a thought"
            first_call = kinds.index("tool_use") if "tool_use" in kinds else len(kinds)
            assert set(kinds[first_call:]) <= {"tool_use"}, kinds
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        assert len(used | set(waiting)) == len(used) + len(waiting), "ids are unique"
        used |= set(waiting)
        for block in blocks:
            _block(block)
    assert not waiting, waiting
    role, blocks = turns[-1]
    if role == "assistant" and blocks[-1]["type"] == "text":
        assert blocks[-1]["text"] == blocks[-1]["text"].rstrip(), "white space at the end"


def _block(block: dict[str, Any]) -> None:
    if block["type"] == "text":
        assert block["text"].strip(), "a blank text"
    elif block["type"] == "tool_use":
        assert _ID.fullmatch(block["id"]), block
        assert _NAME.fullmatch(block["name"]), block
    elif block["type"] == "image":
        source = block["source"]
        if source["type"] == "base64":
            assert base64.b64decode(source["data"], validate=True)
        else:
            assert source["type"] == "url"
            assert source["url"].startswith("https://")
    elif block["type"] == "tool_result":
        given = _blocks(block.get("content") or [])
        assert not block.get("is_error") or (given and {each["type"] for each in given} == {"text"})
        for each in given:
            if not isinstance(block["content"], str):
                _block(each)


def _tools(body: dict[str, Any]) -> None:
    tools, choice = body.get("tools") or [], body.get("tool_choice")
    names = [tool["name"] for tool in tools]
    assert len(set(names)) == len(names), names
    assert all(map(_NAME.fullmatch, names)), names
    for tool in tools:
        assert tool["input_schema"].get("type") == "object", tool
        if tool.get("strict"):
            _kept(tool["input_schema"])
    assert choice is None or tools, "tool_choice needs tools"
    if choice is not None and choice["type"] == "tool":
        assert choice["name"] in names
    called = [block for message in body["messages"] for block in message["content"] if isinstance(block, dict)]
    assert tools or not any(block["type"] in ("tool_use", "tool_result") for block in called), "tools must be defined"


def _thinking(body: dict[str, Any], turns: list[tuple[str, list[dict[str, Any]]]]) -> None:
    thinking = body.get("thinking") or {"type": "disabled"}
    if thinking["type"] not in ("enabled", "adaptive"):
        return
    if thinking["type"] == "enabled":
        assert 1024 <= thinking["budget_tokens"] < body.get("max_tokens", 1 << 31)
    assert (body.get("tool_choice") or {}).get("type") not in ("any", "tool"), "a forced call with thinking"
    role, blocks = turns[-1]
    assert role == "user", "a begun answer with thinking"
    if blocks[0]["type"] == "tool_result":
        assert turns[-2][1][0]["type"] in _THINKING, "the turn of calls lacks its thoughts"


def _sampled(body: dict[str, Any], thinks: bool) -> None:
    temperature, top_p = body.get("temperature"), body.get("top_p")
    assert 0 <= (temperature or 0) <= 1
    assert temperature is None or top_p is None, "temperature and top_p"
    if thinks:
        assert temperature in (None, 1)
        assert body.get("top_k") is None
        assert (1 if top_p is None else top_p) >= 0.95


def _kept(schema: Any) -> None:
    """A schema that is promised to be kept."""
    for one in _inner(schema):
        kind = one.get("type")
        if kind == "object" or (isinstance(kind, list) and "object" in kind):
            assert one.get("additionalProperties") is False, one
        assert not _UNLIMITED & one.keys(), one
        assert one.get("minItems") in (None, 0, 1), one


def _inner(schema: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(schema, dict):
        return
    yield schema
    below: Iterable[Any] = [schema.get("items")]
    for name in ("anyOf", "allOf", "oneOf", "prefixItems"):
        below = [*below, *schema.get(name, ())]
    for name in ("properties", "$defs", "definitions"):
        below = [*below, *schema.get(name, {}).values()]
    for each in below:
        yield from _inner(each)
