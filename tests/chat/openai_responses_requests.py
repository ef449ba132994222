"""Legal requests of the Responses API, as the official SDK's types define them: all that is carried to other dialects,
and hints that may be dropped.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

Body = dict[str, Any]

_WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_PICTURES = st.sampled_from(["https://example.com/cat.png", f"data:image/png;base64,{_PICTURE}"])
_TOOL_NAMES = ("weather", "search_files", "add-up")
_SCHEMA: Body = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}

_input_text = st.fixed_dictionaries({"type": st.just("input_text"), "text": _WORDS})
_input_image = st.fixed_dictionaries(
    {"type": st.just("input_image"), "image_url": _PICTURES, "detail": st.sampled_from(["low", "high", "auto"])}
)
_message_type = {"type": st.just("message")}


def _contents(*parts: st.SearchStrategy[Body]) -> st.SearchStrategy[Any]:
    return _WORDS | st.lists(st.one_of(*parts), min_size=1, max_size=3)


_user = st.fixed_dictionaries(
    {"role": st.just("user"), "content": _contents(_input_text, _input_image)}, optional=_message_type
)
_system = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer"]), "content": _contents(_input_text)}, optional=_message_type
)
_citation = st.fixed_dictionaries(
    {
        "type": st.just("url_citation"),
        "url": st.just("https://example.com/page"),
        "title": _WORDS,
        "start_index": st.integers(0, 5),
        "end_index": st.integers(5, 9),
    }
)
_output_text = st.fixed_dictionaries(
    {"type": st.just("output_text"), "text": _WORDS, "annotations": st.lists(_citation, max_size=1)}
)
_refusal = st.fixed_dictionaries({"type": st.just("refusal"), "refusal": _WORDS})
_said = st.fixed_dictionaries(
    {
        "type": st.just("message"),
        "role": st.just("assistant"),
        "id": st.just("msg_1"),
        "status": st.just("completed"),
        "content": st.lists(_output_text | _refusal, min_size=1, max_size=2),
    },
    optional={"phase": st.just("final_answer")},
) | st.fixed_dictionaries({"role": st.just("assistant"), "content": _WORDS}, optional=_message_type)
_thought = st.fixed_dictionaries(
    {
        "type": st.just("reasoning"),
        "id": st.just("rs_1"),
        "summary": st.lists(st.fixed_dictionaries({"type": st.just("summary_text"), "text": _WORDS}), max_size=2),
    },
    optional={"encrypted_content": st.just("gAAAAABo")},
)


@st.composite
def _calls(draw: st.DrawFn, turn: int) -> list[Body]:
    """A turn of calls, and what they gave, in any order."""
    calls, results = [], []
    for number in range(draw(st.integers(1, 3))):
        id = f"call_{turn}_{number}"
        name = draw(st.sampled_from(_TOOL_NAMES))
        arguments = draw(st.sampled_from(['{"city": "Lyon"}', "{}", '{"n": [1, 2.5, null]}']))
        call = {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}
        calls.append(call | draw(st.sampled_from([{}, {"id": f"fc_{number}", "status": "completed"}])))
        output = draw(_contents(_input_text, _input_image))
        results.append({"type": "function_call_output", "call_id": id, "output": output})
    return calls + draw(st.permutations(results))


@st.composite
def _conversations(draw: st.DrawFn) -> list[Body]:
    items = draw(st.lists(_system, max_size=2))
    items.append(draw(_user))
    for turn in range(draw(st.integers(0, 3))):
        thoughts = draw(st.lists(_thought, max_size=1))
        kind = draw(st.sampled_from(["said", "calls", "both"]))
        items += thoughts
        if kind != "calls":
            items.append(draw(_said))
        if kind != "said":
            items += draw(_calls(turn))
        items += draw(st.lists(_user | _system, max_size=1)) if kind != "said" else [draw(_user)]
    return items


_tools = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("function"), "parameters": st.just(_SCHEMA) | st.none(), "strict": st.booleans() | st.none()},
        optional={"description": _WORDS},
    ),
    min_size=1,
    max_size=3,
).map(lambda tools: [{**tool, "name": name} for tool, name in zip(tools, _TOOL_NAMES, strict=False)])
_function = {"type": "function", "name": "weather"}
_tool_choices = st.sampled_from(
    ["auto", "none", "required", _function, {"type": "allowed_tools", "mode": "auto", "tools": [_function]}]
)
_formats = st.sampled_from([
    {"type": "text"},
    {"type": "json_object"},
    {"type": "json_schema", "name": "city", "schema": _SCHEMA, "strict": True},
    {"type": "json_schema", "name": "city", "schema": _SCHEMA, "description": "a city"},
])  # fmt: skip
_tuning: dict[str, st.SearchStrategy[Any]] = {
    "instructions": _WORDS,
    "max_output_tokens": st.integers(16, 4096),
    "temperature": st.sampled_from([0, 0.7, 1]),
    "top_p": st.sampled_from([0.1, 1]),
    "stream": st.booleans(),
    "store": st.just(False),
    "background": st.just(False),
    "truncation": st.sampled_from(["auto", "disabled"]),
    "parallel_tool_calls": st.booleans(),
    "max_tool_calls": st.integers(1, 9),
    "include": st.just(["reasoning.encrypted_content"]),
    "user": _WORDS,
    "safety_identifier": _WORDS,
    "metadata": st.dictionaries(_WORDS, _WORDS, max_size=2),
    "service_tier": st.sampled_from(["auto", "default"]),
    "prompt_cache_key": _WORDS,
    "reasoning": st.fixed_dictionaries(
        {},
        optional={
            "effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max", None]),
            "summary": st.sampled_from(["auto", "concise", "detailed", None]),
        },
    ),
    "text": st.fixed_dictionaries({}, optional={"format": _formats, "verbosity": st.sampled_from(["low", "high"])}),
}


@st.composite
def requests(draw: st.DrawFn) -> Body:
    body: Body = {"model": "astra", "input": draw(_WORDS | _conversations())}
    body |= draw(st.fixed_dictionaries({}, optional=_tuning))
    if draw(st.booleans()):
        body["tools"] = draw(_tools)
        body |= draw(st.fixed_dictionaries({}, optional={"tool_choice": _tool_choices}))
    return deepcopy(body)  # constants are shared between examples, and a test may change its own
