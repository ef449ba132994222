"""Requests as Anthropic's clients send them, of all that the converters carry, and of hints that get lost."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGPg4joBAAD+AN36k7cYAAAAAElFTkSuQmCC"

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=12)
_TOOLS = ("weather", "get_time", "look-up")
_VALUES = st.one_of(_WORDS, st.integers(-1000, 1000), st.booleans(), st.none(), st.lists(_WORDS, max_size=2))
_INPUTS = st.dictionaries(_WORDS, _VALUES, max_size=2)
_CACHE = st.just({"type": "ephemeral", "ttl": "1h"})
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


def requests() -> st.SearchStrategy[dict[str, Any]]:
    """Bodies of /v1/messages."""
    return _bodies()


def questions() -> st.SearchStrategy[dict[str, Any]]:
    """Bodies of /v1/messages/count_tokens."""
    known = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control")
    return _bodies().map(lambda body: {name: value for name, value in body.items() if name in known})


@st.composite
def _bodies(draw: st.DrawFn) -> dict[str, Any]:
    tools = draw(st.lists(st.sampled_from(_TOOLS), unique=True, max_size=3))
    body: dict[str, Any] = {"model": "m", "max_tokens": draw(st.integers(3000, 60000))}
    body["messages"], thinks = draw(_messages(tools))
    if draw(st.booleans()):
        body["system"] = draw(st.one_of(_WORDS, st.lists(_texts(), min_size=1, max_size=2)))
    forced = False
    if tools:
        body["tools"] = [draw(_tool(name)) for name in tools]
        if draw(st.booleans()):
            body["tool_choice"] = choice = draw(_choice(tools))
            forced = choice["type"] in ("any", "tool")
    thinks = thinks and not forced and draw(st.booleans())
    if thinks:
        body["thinking"] = draw(_THINKING)
    elif draw(st.booleans()):
        body["thinking"] = draw(st.sampled_from([{"type": "disabled"}, {"type": "between_tools"}]))
    if not thinks:
        body |= draw(st.fixed_dictionaries({}, optional={"top_k": st.integers(1, 500)}))
        body |= draw(st.sampled_from([{}, {"temperature": 0.5}, {"temperature": 1}, {"top_p": 0.9}]))
    if config := draw(st.fixed_dictionaries({}, optional={"effort": _EFFORTS, "format": _FORMATS})):
        body["output_config"] = config
    return body | draw(st.fixed_dictionaries({}, optional=_REST))


_THINKING = st.one_of(
    st.builds(lambda n: {"type": "enabled", "budget_tokens": n}, st.integers(1024, 2999)),
    st.sampled_from([{"type": "adaptive"}, {"type": "adaptive", "display": "summarized"}]),
    st.just({"type": "enabled", "budget_tokens": 1024, "display": "omitted"}),
)
_EFFORTS = st.sampled_from(["low", "medium", "high", "xhigh", "max"])
_FORMATS = st.just({"type": "json_schema", "schema": _SCHEMA})
_REST: dict[str, st.SearchStrategy[Any]] = {
    "stream": st.booleans(),
    "stop_sequences": st.lists(_WORDS, max_size=3),
    "metadata": st.builds(lambda user: {"user_id": user}, _WORDS),
    "cache_control": _CACHE,
    "service_tier": st.sampled_from(["auto", "standard_only"]),
    "speed": st.sampled_from(["standard", "fast"]),
    "inference_geo": st.just("eu"),
    "container": st.none(),
}


@st.composite
def _messages(draw: st.DrawFn, tools: list[str]) -> tuple[list[dict[str, Any]], bool]:
    """The turns, and whether the model may go on with thinking."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": draw(_asked())}]
    thought = True
    for number in range(draw(st.integers(0, 3))):
        said = draw(_said())
        calls = draw(st.lists(st.sampled_from(tools), max_size=3)) if tools else []
        ids = [f"toolu_{number}_{k}" for k in range(len(calls))]
        said += [_maybe(draw, {"type": "tool_use", "id": id, "name": name, "input": draw(_INPUTS)})
                 for id, name in zip(ids, calls, strict=True)]  # fmt: skip
        if not calls and not any(block["type"] == "text" for block in said):
            said.append({"type": "text", "text": draw(_WORDS)})
        messages.append({"role": "assistant", "content": said})
        results = [draw(_result(id)) for id in draw(st.permutations(ids))]
        rest = draw(st.one_of(st.just([]), st.lists(_asks(), min_size=1, max_size=2)))
        messages.append({"role": "user", "content": results + rest or draw(_asked())})
        thought = not calls or said[0]["type"] in ("thinking", "redacted_thinking")
    return messages, thought


def _maybe(draw: st.DrawFn, block: dict[str, Any]) -> dict[str, Any]:
    """With a breakpoint or without."""
    return block | draw(st.fixed_dictionaries({}, optional={"cache_control": _CACHE}))


@st.composite
def _texts(draw: st.DrawFn) -> dict[str, Any]:
    return _maybe(draw, {"type": "text", "text": draw(_WORDS)})


@st.composite
def _images(draw: st.DrawFn) -> dict[str, Any]:
    sources = [
        {"type": "base64", "media_type": "image/png", "data": PNG},
        {"type": "url", "url": "https://pictures.example/a.png"},
    ]
    return _maybe(draw, {"type": "image", "source": draw(st.sampled_from(sources))})


def _asks() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(_texts(), _images())


def _asked() -> st.SearchStrategy[Any]:
    return st.one_of(_WORDS, st.lists(_asks(), min_size=1, max_size=3))


@st.composite
def _said(draw: st.DrawFn) -> list[dict[str, Any]]:
    thoughts = draw(st.sampled_from([[], ["thinking"], ["redacted_thinking"], ["thinking", "redacted_thinking"]]))
    blocks = [
        {"type": "thinking", "thinking": draw(_WORDS), "signature": "c2lnbmVk"}
        if kind == "thinking"
        else {"type": kind, "data": "b3BhcXVl"}
        for kind in thoughts
    ]
    return blocks + draw(st.lists(_texts(), max_size=2))


@st.composite
def _result(draw: st.DrawFn, id: str) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": id}
    if draw(st.booleans()):
        block |= {"is_error": True, "content": draw(_WORDS)}
    else:
        block |= draw(st.fixed_dictionaries({}, optional={"content": _asked(), "is_error": st.just(False)}))
    return _maybe(draw, block)


@st.composite
def _tool(draw: st.DrawFn, name: str) -> dict[str, Any]:
    hints: dict[str, st.SearchStrategy[Any]] = {
        "type": st.just("custom"),
        "description": _WORDS,
        "strict": st.booleans(),
        "cache_control": _CACHE,
        "defer_loading": st.booleans(),
        "eager_input_streaming": st.booleans(),
        "input_examples": st.just([{"city": "Rome"}]),
        "allowed_callers": st.just(["direct"]),
    }
    schema = draw(st.sampled_from([_SCHEMA, {"type": "object", "properties": {}, "additionalProperties": False}]))
    return {"name": name, "input_schema": schema} | draw(st.fixed_dictionaries({}, optional=hints))


@st.composite
def _choice(draw: st.DrawFn, tools: list[str]) -> dict[str, Any]:
    kind = draw(st.sampled_from(["auto", "any", "tool", "none"]))
    choice: dict[str, Any] = {"type": kind}
    if kind == "tool":
        choice["name"] = draw(st.sampled_from(tools))
    if kind != "none" and draw(st.booleans()):
        choice["disable_parallel_tool_use"] = draw(st.booleans())
    return choice
