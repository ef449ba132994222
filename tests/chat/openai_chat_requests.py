"""Requests as clients of chat completions send them, of all that the converters know."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGPg4joBAAD+AN36k7cYAAAAAElFTkSuQmCC"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=12)
_NAMES = ("weather", "get_time", "look-up")
_ARGUMENTS = st.sampled_from(["", "{}", '{"city":"Brest"}', '{"n": 1.50, "deep": {"a": []}}', "not json", "[1]"])
_FLAGS = st.booleans()


def requests() -> st.SearchStrategy[dict[str, Any]]:
    """Bodies with their model."""
    return _bodies()


@st.composite
def _bodies(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=3))
    body: dict[str, Any] = {"model": "some-model", "messages": draw(_messages(names))}
    if names:
        body["tools"] = [draw(_tools(name)) for name in names]
        body |= draw(
            st.fixed_dictionaries({}, optional={"tool_choice": _choices(names), "parallel_tool_calls": _FLAGS})
        )
    body |= draw(st.fixed_dictionaries({}, optional=_SETTINGS))
    if draw(_FLAGS):
        body |= {"stream": True} | draw(
            st.fixed_dictionaries({}, optional={"stream_options": st.fixed_dictionaries({"include_usage": _FLAGS})})
        )
    if draw(st.integers(0, 5)) == 0:
        body |= {"logprobs": True, "top_logprobs": draw(st.integers(0, 20))}
    return body


# -- messages ----------------------------------------------------------------------------------------------------------


@st.composite
def _messages(draw: st.DrawFn, names: list[str]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [
        {"role": role, "content": draw(_texts())}
        for role in draw(st.lists(st.sampled_from(("system", "developer")), max_size=2))
    ]
    messages.append(draw(_users()))
    for turn in range(draw(st.integers(0, 2))):
        answer = draw(_answers())
        messages.append(answer)
        calls = draw(st.lists(st.sampled_from(names), max_size=3)) if names else []
        if calls:
            answer["tool_calls"] = [_call(f"call_{turn}_{k}", name, draw(_ARGUMENTS)) for k, name in enumerate(calls)]
            if draw(_FLAGS):
                answer["content"] = None
        results = [{"role": "tool", "tool_call_id": f"call_{turn}_{k}"} for k in range(len(calls))]
        messages += [result | {"content": draw(_texts())} for result in results]
        if draw(st.integers(0, 4)) == 0:
            messages.append({"role": "system", "content": draw(_WORDS)})
        if not results or draw(_FLAGS):
            messages.append(draw(_users()))
    return messages


def _texts() -> st.SearchStrategy[str | list[dict[str, Any]]]:
    return st.one_of(_WORDS, st.lists(_text_parts(), min_size=1, max_size=2))


def _text_parts() -> st.SearchStrategy[dict[str, Any]]:
    marks = {"prompt_cache_breakpoint": st.just({"mode": "explicit"})}
    return st.fixed_dictionaries({"type": st.just("text"), "text": _WORDS}, optional=marks)


def _pictures() -> st.SearchStrategy[dict[str, Any]]:
    url = st.sampled_from(["https://example.com/a.png", f"data:image/png;base64,{PNG}"])
    where = st.fixed_dictionaries({"url": url}, optional={"detail": st.sampled_from(["auto", "low", "high"])})
    return st.fixed_dictionaries({"type": st.just("image_url"), "image_url": where})


def _users() -> st.SearchStrategy[dict[str, Any]]:
    content = st.one_of(_WORDS, st.lists(st.one_of(_text_parts(), _pictures()), min_size=1, max_size=3))
    return st.fixed_dictionaries(
        {"role": st.just("user"), "content": content}, optional={"name": st.sampled_from(["ann", "bob"])}
    )


@st.composite
def _answers(draw: st.DrawFn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": draw(_texts())}
    kind = draw(st.integers(0, 5))
    if kind == 0:
        message |= {"content": None, "refusal": draw(_WORDS)}
    elif kind == 1:
        message["content"] = [{"type": "refusal", "refusal": draw(_WORDS)}]
    elif kind == 2:
        message |= {"refusal": None, "name": "helper"}
    return message


def _call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


# -- tools, settings ---------------------------------------------------------------------------------------------------


def _tools(name: str) -> st.SearchStrategy[dict[str, Any]]:
    rest = {"description": _WORDS, "parameters": st.just(SCHEMA), "strict": _FLAGS}
    function = st.fixed_dictionaries({"name": st.just(name)}, optional=rest)
    return st.fixed_dictionaries({"type": st.just("function"), "function": function})


def _choices(names: list[str]) -> st.SearchStrategy[Any]:
    named = [{"type": "function", "function": {"name": name}} for name in names]
    allowed = st.fixed_dictionaries({
        "type": st.just("allowed_tools"),
        "allowed_tools": st.fixed_dictionaries({
            "mode": st.sampled_from(["auto", "required"]),
            "tools": st.lists(st.sampled_from(named), min_size=1, max_size=2),
        }),
    })  # fmt: skip
    return st.one_of(st.sampled_from(["none", "auto", "required", *named]), allowed)


_FORMATS = st.one_of(
    st.just({"type": "text"}),
    st.just({"type": "json_object"}),
    st.fixed_dictionaries({
        "type": st.just("json_schema"),
        "json_schema": st.fixed_dictionaries(
            {"name": st.just("place"), "schema": st.just(SCHEMA)},
            optional={"strict": _FLAGS, "description": _WORDS},
        ),
    }),
)  # fmt: skip

_SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.one_of(st.integers(0, 2), st.floats(0, 2)),
    "top_p": st.floats(0, 1),
    "max_tokens": st.integers(1, 4096),
    "max_completion_tokens": st.integers(1, 4096),
    "presence_penalty": st.floats(-2, 2),
    "frequency_penalty": st.floats(-2, 2),
    "seed": st.integers(-(2**31), 2**31),
    "stop": st.one_of(_WORDS, st.lists(_WORDS, min_size=1, max_size=4), st.none()),
    "n": st.just(1),
    "user": _WORDS,
    "response_format": _FORMATS,
    "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
    "store": _FLAGS,
    "metadata": st.just({"team": "a"}),
    "service_tier": st.just("auto"),
    "prompt_cache_key": _WORDS,
    "safety_identifier": _WORDS,
    "verbosity": st.just("low"),
    "modalities": st.just(["text"]),
    "logit_bias": st.just({"50256": -100}),
    "prediction": st.just({"type": "content", "content": "so"}),
}
