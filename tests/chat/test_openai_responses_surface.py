"""Responses as clients speak it: what is read of a request, and what is lost."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

from gateway.dialects.chat.conversion import Read, read
from gateway.dialects.chat.form import (
    ChatRequest,
    Citation,
    Format,
    Image,
    Message,
    Reasoning,
    Refusal,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.openai_responses import SURFACE
from gateway.errors import BadRequest, Unsupported
from tests.chat.openai_responses_requests import requests
from tests.chat.openai_responses_schema import legal

PIXEL = "iVBORw0KGgo="
FUNCTION = {"type": "function", "name": "weather"}


def reading(**fields: Any) -> Read:
    return read(SURFACE, {"model": "astra", "input": "hi", **fields}, "astra")


def items(*items: Any) -> ChatRequest:
    return reading(input=list(items)).request


def refusal(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        reading(**fields)
    return caught.value


# -- the conversation --------------------------------------------------------------------------------------------------


def test_a_string_is_a_turn_of_the_user() -> None:
    request = reading(instructions="be brief").request
    assert request == ChatRequest(model="astra", messages=(Message("user", (Text("hi"),)),), system=(Text("be brief"),))


def test_a_turn_of_the_model_is_joined_of_its_items() -> None:
    request = items(
        {"role": "user", "content": "weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "two"},
                                                        {"type": "summary_text", "text": "calls"}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": '{"city":"Lyon"}'},
        {"type": "function_call", "call_id": "c2", "name": "clock", "arguments": "", "status": "completed"},
        {"type": "function_call_output", "call_id": "c2", "output": "noon"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "sunny"}]},
        {"role": "user", "content": "thanks"},
    )  # fmt: skip
    assert request.messages == (
        Message("user", (Text("weather?"),)),
        Message(
            "assistant",
            (
                Thought("two\n\ncalls", id="rs_1", origin="openai.responses"),
                Text("Let me see."),
                ToolCall("c1", "weather", '{"city":"Lyon"}'),
                ToolCall("c2", "clock"),
            ),
        ),
        Message(
            "user", (ToolResult("c2", "clock", (Text("noon"),)), ToolResult("c1", "weather", (Text("sunny"),)))
        ),
        Message("user", (Text("thanks"),)),
    )  # fmt: skip


def test_calls_of_two_turns_stay_two_turns() -> None:
    call: dict[str, Any] = {"type": "function_call", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "output": "ok"}
    turns = items(
        {**call, "call_id": "1"}, {**result, "call_id": "1"}, {**call, "call_id": "2"}, {**result, "call_id": "2"}
    ).messages
    assert [turn.role for turn in turns] == ["assistant", "user", "assistant", "user"]


def test_each_message_of_a_user_is_a_turn() -> None:
    one, two = {"role": "user", "content": "one"}, {"role": "user", "content": "two"}
    assert items(one, two).messages == (Message("user", (Text("one"),)), Message("user", (Text("two"),)))


def test_encrypted_reasoning_is_kept_as_it_is() -> None:
    item = {"type": "reasoning", "id": "rs_7", "summary": [], "encrypted_content": "gAAA"}
    request = items(item, {"role": "assistant", "content": "42"})
    thought = Thought("", "gAAA", id="rs_7", origin="openai.responses")
    assert request.messages == (Message("assistant", (thought, Text("42"))),)


def test_an_empty_thought_is_nothing() -> None:
    assert items({"type": "reasoning", "id": "rs_7", "summary": []}).messages == ()


def test_thoughts_in_full_count_where_there_is_no_summary() -> None:
    content = [{"type": "reasoning_text", "text": "so"}]
    request = items({"type": "reasoning", "id": "rs_7", "summary": [], "content": content})
    assert request.messages[0].parts == (Thought("so", id="rs_7", origin="openai.responses"),)


def test_the_system_speaks_before_and_within_the_conversation() -> None:
    request = reading(
        instructions="first",
        input=[
            {"role": "developer", "content": "second"},
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "third"}]},
            {"role": "user", "content": "hi"},
            {"role": "developer", "content": "now this"},
        ],
    ).request
    assert request.system == (Text("first"), Text("second"), Text("third"))
    assert request.messages == (Message("user", (Text("hi"),)), Message("system", (Text("now this"),)))


def test_pictures() -> None:
    def picture(url: str) -> dict[str, Any]:
        return {"type": "input_image", "image_url": url, "detail": "low"}

    padded = picture(f"data:image/PNG;base64,{PIXEL}")
    bare = picture("data:image/png;base64,-_v")
    request = items({"role": "user", "content": [picture("https://x.org/a.png"), padded, bare]})
    assert request.messages[0].parts == (
        Image("https://x.org/a.png", detail="low"),
        Image(data=PIXEL, media_type="image/png", detail="low"),
        Image(data="+/v=", media_type="image/png", detail="low"),
    )


def test_a_picture_that_the_model_made() -> None:
    item = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PIXEL}
    assert items(item).messages == (Message("assistant", (Image(data=PIXEL, media_type="image/png"),)),)


def test_citations_and_refusals_of_earlier_turns() -> None:
    web = {"type": "url_citation", "url": "https://x.org", "title": "X", "start_index": 1, "end_index": 4}
    file = {"type": "file_citation", "file_id": "f", "filename": "a.txt", "index": 0}
    said = {"type": "output_text", "text": "said", "annotations": [web, file]}
    found = reading(input=[{"role": "assistant", "content": [said, {"type": "refusal", "refusal": "no"}]}])
    parts = (Text("said", (Citation("https://x.org", "X", start=1, end=4),)), Refusal("no"))
    assert found.request.messages == (Message("assistant", parts),)
    assert found.dropped == ("input.content.annotations",)


# -- the rest of the request -------------------------------------------------------------------------------------------


def test_all_that_is_carried() -> None:
    schema = {"type": "object"}
    request = reading(
        stream=True,
        tools=[{**FUNCTION, "description": "d", "parameters": schema, "strict": True}],
        tool_choice=FUNCTION,
        parallel_tool_calls=False,
        max_output_tokens=99,
        temperature=0.5,
        top_p=1,
        text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": False}},
        reasoning={"effort": "low", "summary": "concise"},
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=3,
        user="u",
    )
    assert request.dropped == ()
    assert request.request == ChatRequest(
        model="astra",
        messages=(Message("user", (Text("hi"),)),),
        stream=True,
        tools=(Tool("weather", "d", schema, True),),
        tool_choice=ToolChoice("required", ("weather",)),
        parallel_tools=False,
        max_output=99,
        temperature=0.5,
        top_p=1,
        format=Format(schema, "n", strict=False),
        reasoning=Reasoning(effort="low", shown=True, summary="concise"),
        logprobs=3,
        user="u",
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tool_choice": "required"}, {"tool_choice": ToolChoice("required")}),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [FUNCTION, {**FUNCTION, "name": "b"}]}},
            {"tool_choice": ToolChoice("auto", ("weather", "b"))},
        ),
        ({"text": {"format": {"type": "text"}}}, {"format": None}),
        ({"text": {"format": {"type": "json_object"}}}, {"format": Format()}),
        ({"reasoning": {}}, {"reasoning": None}),
        ({"reasoning": {"effort": None, "summary": None}}, {"reasoning": None}),
        ({"reasoning": {"effort": "none"}}, {"reasoning": Reasoning(effort="none")}),
        ({"thinking": {"type": "disabled"}}, {"reasoning": Reasoning(on=False)}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": 0}),
        ({"top_logprobs": 0}, {"logprobs": None}),
    ],
)
def test_variants(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    request = reading(**fields).request
    assert {name: getattr(request, name) for name in expected} == expected


def test_values_that_mean_nothing_are_no_loss() -> None:
    found = reading(
        store=False, background=False, truncation="disabled", service_tier="auto", previous_response_id=None,
        stream_options={"include_obfuscation": True}, conversation=None, include=[], text={}, prompt=None,
    )  # fmt: skip
    assert (found.dropped, found.request) == ((), reading().request)


def test_what_is_kept_between_calls_is_not_for_the_converter() -> None:
    assert reading(store=True, previous_response_id="resp_1").request == reading().request


def test_what_only_the_family_knows_goes_along_apart() -> None:
    extras = {"metadata": {"a": "b"}, "prompt_cache_key": "k", "service_tier": "flex", "safety_identifier": "s"}
    found = reading(**extras, text={"verbosity": "low"})
    assert found.request.extras == {**extras, "verbosity": "low"}


def test_hints_are_dropped_by_name() -> None:
    breakpoint = {"mode": "explicit"}
    found = reading(
        truncation="auto",
        reasoning={"effort": "low", "context": "auto"},
        tools=[{**FUNCTION, "parameters": None, "strict": None, "defer_loading": True}],
        input=[
            {"role": "assistant", "content": "a", "phase": "commentary"},
            {"role": "user", "content": [{"type": "input_text", "text": "b", "prompt_cache_breakpoint": breakpoint}]},
        ],
    )
    assert sorted(found.dropped) == [
        "input.content.prompt_cache_breakpoint", "input.phase", "reasoning.context", "tools.defer_loading",
        "truncation",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"include": ["web_search_call.results"]}, "include"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "custom", "name": "c"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "mcp", "server_label": "s"}}, "tool_choice.type"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}},
            "tool_choice.tools[0].type",
        ),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type"),
        ({"input": [{"role": "critic", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        (
            {"input": [{"role": "system", "content": [{"type": "input_image", "image_url": "https://x.org"}]}]},
            "input[0].content",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "n", "arguments": "", "namespace": "m"}]},
            "input[0].namespace",
        ),
    ],
)
def test_what_would_change_the_meaning_is_refused(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert isinstance(error, Unsupported)
    assert error.param == param


@pytest.mark.parametrize(
    "name", ["conversation", "prompt", "background", "context_management", "session", "moderation"]
)
def test_state_of_the_vendor_is_refused_where_it_cannot_be_carried(name: str) -> None:
    assert SURFACE.LOSSES[name].startswith("refused: ")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": [3]}, "input[0]"),
        ({"input": [{"role": "user", "content": None}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}]}, "input[0].content"),
        ({"input": [{"type": "function_call", "name": "n", "arguments": ""}]}, "input[0].call_id"),
        ({"input": [{"type": ["message"]}]}, "input[0].type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": 3}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto"}}, "tool_choice.tools"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"include": [{}]}, "include"),
        ({"stream": 1}, "stream"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert (type(error), error.param) == (BadRequest, param)


@pytest.mark.parametrize("url", ["ftp://x", "data:,x", "data:text/plain;base64,eA==", "data:;base64,eA==", "x", ""])
def test_what_is_no_picture_is_named(url: str) -> None:
    error = refusal(input=[{"role": "user", "content": [{"type": "input_image", "image_url": url}]}])
    assert error.param == "input[0].content[0].image_url"


@given(requests())
@settings(max_examples=200, deadline=None)
def test_any_legal_request_is_read(body: dict[str, Any]) -> None:
    legal(ResponseCreateParamsNonStreaming, {**body, "input": "", "tools": [], "stream": False})
    request = read(SURFACE, body, "astra").request
    assert request.messages
    for message in request.messages:
        assert message.parts


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_odd_values_anywhere_are_read_or_named(data: st.DataObject) -> None:
    body = data.draw(requests())
    place: Any = body
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(_json)
    with suppress(BadRequest):
        read(SURFACE, body, "astra")
