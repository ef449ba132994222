"""Chat completions as vendors speak them: what is asked of them, and how their whole answers are read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.dialects.chat import form
from gateway.dialects.chat.conversion import ChatConversion, Read
from gateway.dialects.chat.dialect import Aim
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import (
    ChatRequest,
    Citation,
    Format,
    Image,
    Logprob,
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
from gateway.dialects.openai_chat import SURFACE, VENDOR
from gateway.dialects.scan import UNREADABLE
from gateway.errors import BadUpstreamReply, Unsupported
from gateway.types import Features
from tests.chat.openai_chat_recorded import WHOLE, Recorded, agrees
from tests.chat.openai_chat_requests import PNG, SCHEMA, requests
from tests.chat.openai_chat_schema import check

HELLO = Message(form.USER, (Text("hello"),))
PICTURE = Image(data=PNG, media_type="image/png")
LINK = Image(url="https://example.com/a.png", detail="low")
TIDE, TIME = Tool("tide", "When.", SCHEMA), Tool("time")
CONVERSION = ChatConversion(SURFACE, VENDOR, "openai.chat")


def sent(*messages: Message, features: Features | None = None, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(a legal body, the names of what was dropped)."""
    request = ChatRequest(model="mine", messages=messages or (HELLO,), **fields)
    found = CONVERSION.request(Read(request, ()), Aim("theirs", features or Features()))
    body = json.loads(found.body)
    check(body, request.stream)
    return body, found.dropped


def spoken(*messages: Message, **features: Any) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = sent(*messages, features=Features(**features))[0]["messages"]
    return entries


MOST = "max_completion_tokens"
FIELD = Features(max_tokens_field=MOST)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"max_output": 9}, {"max_tokens": 9}),
        ({"max_output": 9, "features": FIELD}, {MOST: 9}),
        ({"temperature": 0, "top_p": 0.5, "seed": 3}, {"temperature": 0, "top_p": 0.5, "seed": 3}),
        ({"presence_penalty": 0.5, "frequency_penalty": -1}, {"presence_penalty": 0.5, "frequency_penalty": -1}),
        ({"stop": ("a", "b")}, {"stop": ["a", "b"]}),
        ({"user": "u"}, {"user": "u"}),
        ({"logprobs": 0}, {"logprobs": True}),
        ({"logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"format": Format()}, {"response_format": {"type": "json_object"}}),
        (
            {"format": Format(SCHEMA)},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
        ),
        (
            {"format": Format(SCHEMA, "n", "d", True)},
            {"response_format": {"type": "json_schema", "json_schema": {
                "name": "n", "schema": SCHEMA, "description": "d", "strict": True}}},
        ),
        ({"extras": {"service_tier": "flex"}}, {"service_tier": "flex"}),
        ({"extras": {"prompt_cache_key": "k", "verbosity": "low"}}, {"prompt_cache_key": "k", "verbosity": "low"}),
        (
            {"system": (Text("be kind"), Text("be short"))},
            {"messages": [{"role": "system", "content": "be kind\n\nbe short"}, {"role": "user", "content": "hello"}]},
        ),
    ],
)  # fmt: skip
def test_settings_are_written(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    body, dropped = sent(**fields)
    assert body == {"model": "theirs", "messages": [{"role": "user", "content": "hello"}]} | expected
    assert dropped == ()


REASONS = Features(thinking="effort", max_tokens_field=MOST)
TUNED: dict[str, Any] = {"temperature": 0, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": 1}


def test_models_that_reason_are_not_tuned() -> None:
    """OpenAI's refuse all but the defaults, unless they are told not to reason."""
    body, dropped = sent(**TUNED, seed=3, features=REASONS)
    assert (body.keys() & TUNED.keys(), body["seed"], dropped) == (set(), 3, tuple(TUNED))
    body, dropped = sent(temperature=1, top_p=1, presence_penalty=0, features=REASONS)
    assert (body.keys() & TUNED.keys(), dropped) == (set(), ())
    for body, dropped in (
        sent(**TUNED, features=REASONS, reasoning=Reasoning(effort="none")),
        sent(**TUNED, features=Features(thinking="effort")),
        sent(**TUNED, features=Features(thinking="none", max_tokens_field=MOST)),
    ):
        assert body | TUNED == body
        assert dropped == ()


EMPTY = {"type": "object", "properties": {}}


def test_tools_are_written() -> None:
    body, _ = sent(tools=(TIDE, TIME, Tool("odd", strict=True)), parallel_tools=False)
    functions = [tool["function"] for tool in body["tools"]]
    assert functions == [
        {"name": "tide", "description": "When.", "parameters": SCHEMA},
        {"name": "time", "parameters": EMPTY},
        {"name": "odd", "strict": True},
    ]
    assert body["parallel_tool_calls"] is False
    assert "tool_choice" not in body


@pytest.mark.parametrize(
    ("choice", "written", "tools"),
    [
        (ToolChoice("auto"), "auto", ["tide", "time"]),
        (ToolChoice("none"), "none", ["tide", "time"]),
        (ToolChoice("required"), "required", ["tide", "time"]),
        (ToolChoice("required", ("time",)), {"type": "function", "function": {"name": "time"}}, ["tide", "time"]),
        (ToolChoice("auto", ("time",)), "auto", ["time"]),
        (ToolChoice("required", ("time", "tide")), "required", ["tide", "time"]),
    ],
)
def test_a_choice_of_tools(choice: ToolChoice, written: object, tools: list[str]) -> None:
    body, _ = sent(tools=(TIDE, TIME), tool_choice=choice)
    assert body["tool_choice"] == written
    assert [tool["function"]["name"] for tool in body["tools"]] == tools


def test_without_tools_nothing_is_said_about_them() -> None:
    body, dropped = sent(tool_choice=ToolChoice("auto"), parallel_tools=True)
    assert body.keys() == {"model", "messages"}
    assert dropped == ()


@pytest.mark.parametrize(
    ("thinking", "reasoning", "written"),
    [
        (None, Reasoning(effort="low"), {"reasoning_effort": "low"}),
        (None, Reasoning(on=False), {"reasoning_effort": "none"}),
        (None, Reasoning(budget=4000), {"reasoning_effort": "high"}),
        (None, Reasoning(), {}),
        ("effort", Reasoning(effort="max"), {"reasoning_effort": "max"}),
        ("adaptive", Reasoning(effort="max"), {"reasoning_effort": "max"}),
        ("switch", Reasoning(effort="low"), {"thinking": {"type": "enabled"}}),
        ("switch", Reasoning(), {"thinking": {"type": "enabled"}}),
        ("switch", Reasoning(budget=0), {"thinking": {"type": "disabled"}}),
        ("budget", Reasoning(), {"enable_thinking": True}),
        ("budget", Reasoning(effort="low"), {"enable_thinking": True, "thinking_budget": 1024}),
        ("budget", Reasoning(budget=7), {"enable_thinking": True, "thinking_budget": 7}),
        ("budget", Reasoning(effort="none"), {"enable_thinking": False}),
        ("none", Reasoning(on=False), {}),
    ],
)
def test_models_are_asked_to_think_in_their_own_way(
    thinking: str | None, reasoning: Reasoning, written: dict[str, Any]
) -> None:
    body, dropped = sent(reasoning=reasoning, features=Features(thinking=thinking))
    assert {name: body[name] for name in body.keys() - {"model", "messages"}} == written
    assert dropped == ()


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"top_k": 5}, ("top_k",)),
        ({"reasoning": Reasoning(effort="low"), "features": Features(thinking="none")}, ("reasoning_effort",)),
        ({"extras": {"metadata": {}, "service_tier": "standard_only"}}, ("metadata", "service_tier")),
    ],
)
def test_hints_are_dropped_and_named(fields: dict[str, Any], names: tuple[str, ...]) -> None:
    assert sent(**fields)[1] == names


ASKS = Message(form.ASSISTANT, (Text("Let me see."), ToolCall("c1", "tide", '{"port":1}'), ToolCall("c2", "time")))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": tuple("abcde")}, "stop"),
        ({"format": Format(SCHEMA), "features": Features(json_schema=False)}, "response_format"),
        ({"tool_choice": ToolChoice("required")}, "tool_choice"),
        ({"tools": (TIDE,), "tool_choice": ToolChoice("auto", ("other",))}, "tool_choice"),
        ({"messages": (Message(form.USER, (PICTURE,)),), "features": Features(images="none")}, "messages"),
        ({"messages": (Message(form.USER, (PICTURE,)),), "features": Features(images="url")}, "messages"),
        ({"messages": (Message(form.USER, (LINK,)),), "features": Features(images="base64")}, "messages"),
        ({"messages": (HELLO, ASKS)}, "messages"),
        ({"messages": (HELLO, ASKS, Message(form.USER, (ToolResult("c1"),)))}, "messages"),
        ({"messages": (HELLO, ASKS, HELLO)}, "messages"),
        ({"messages": (HELLO, Message(form.USER, (ToolResult("c1"),)))}, "messages"),
    ],
)
def test_what_the_vendor_would_not_take_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        sent(*fields.pop("messages", ()), **fields)
    assert caught.value.param == param


# -- messages ----------------------------------------------------------------------------------------------------------


def test_texts_of_one_message_are_one_string_and_pictures_keep_their_place() -> None:
    only_texts = Message(form.USER, (Text("a"), Text(""), Text("b")), "ann")
    mixed = Message(form.USER, (Text("a"), LINK, Text(""), PICTURE))
    assert spoken(only_texts, mixed) == [
        {"role": "user", "content": "a\n\nb", "name": "ann"},
        {"role": "user", "content": [
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": LINK.url, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ]},
    ]  # fmt: skip


def test_results_follow_their_calls_and_what_else_was_said_comes_after() -> None:
    heard = Message(form.USER, (
        Text("and then?"), ToolResult("c2", "time", (Text("noon"), Text("sharp"))),
        ToolResult("c1", "tide", (Text("no such port"),), failed=True),
    ))  # fmt: skip
    assert spoken(HELLO, ASKS, Message(form.SYSTEM, (Text("be short"),)), heard)[1:] == [
        {"role": "assistant", "content": "Let me see.", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"port":1}'}},
            {"id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "c2", "content": "noon\n\nsharp"},
        {"role": "tool", "tool_call_id": "c1", "content": "Error: no such port"},
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "and then?"},
    ]  # fmt: skip


def test_what_the_model_said_after_its_calls_joins_that_turn() -> None:
    call = Message(form.ASSISTANT, (Thought("t1"), ToolCall("c1", "tide")))
    more = Message(form.ASSISTANT, (Thought("t2"), Text("so."), ToolCall("c2", "tide")))
    heard = Message(form.USER, (ToolResult("c1"), ToolResult("c2")))
    _, said, *rest = spoken(HELLO, call, more, heard, reasoning_echo=True)
    assert (said["content"], said["reasoning_content"]) == ("so.", "t1\n\nt2")
    assert [each["id"] for each in said["tool_calls"]] == ["c1", "c2"]
    assert [each["role"] for each in rest] == ["tool", "tool"]


def test_two_answers_in_a_row_stay_two() -> None:
    assert [each["content"] for each in spoken(HELLO, *[Message(form.ASSISTANT, (Text(word),)) for word in "ab"])] == [
        "hello", "a", "b",
    ]  # fmt: skip


def test_pictures_that_have_no_place_lead_what_the_user_says_next() -> None:
    heard = Message(form.USER, (ToolResult("c1", "", (PICTURE,)), ToolResult("c2", "", (Text("see"), LINK))))
    entries = spoken(HELLO, ASKS, heard, Message(form.USER, (Text("well?"),)))
    assert [each["content"] for each in entries[2:4]] == ["The picture follows in the next message.", "see"]
    assert [part["type"] for part in entries[4]["content"]] == ["image_url", "image_url", "text"]
    drawn = Message(form.ASSISTANT, (Text("here"), PICTURE))
    assert [each["role"] for each in spoken(HELLO, drawn)] == ["user", "assistant", "user"]


def test_a_tools_picture_stands_behind_its_results_though_the_user_says_nothing() -> None:
    """An agent's loop: were it to wait for the user's next words, it would move with every turn."""
    results = [Message(form.USER, (ToolResult("c1", "", (PICTURE,)), ToolResult("c2")))]
    again = Message(form.ASSISTANT, (ToolCall("c3", "tide"),)), Message(form.USER, (ToolResult("c3"),))
    entries = spoken(HELLO, ASKS, *results, *again)
    assert [each["role"] for each in entries] == ["user", "assistant", "tool", "tool", "user", "assistant", "tool"]
    assert entries[:5] == spoken(HELLO, ASKS, *results)
    assert [part["type"] for part in entries[4]["content"]] == ["image_url"]


def test_thoughts_go_back_only_to_who_wants_them_and_only_unsigned() -> None:
    thoughts = (Thought("mine", origin="openai.chat"), Thought("theirs", "sig", origin="anthropic.messages"))
    turn = Message(form.ASSISTANT, (*thoughts, Text("a"), ToolCall("c1", "tide")))
    heard = Message(form.USER, (ToolResult("c1"),))
    plain = Message(form.ASSISTANT, (*thoughts, Text("a")))
    assert spoken(HELLO, turn, heard, plain, reasoning_echo=True)[1]["reasoning_content"] == "mine"
    assert "reasoning_content" not in spoken(HELLO, turn, heard, plain, reasoning_echo=True)[3]
    assert "reasoning_content" not in spoken(HELLO, turn, heard)[1]


def test_long_ids_of_calls_are_cut_alike_on_both_sides() -> None:
    long, other = "x" * 64, "x" * 63 + "y"
    turn = Message(form.ASSISTANT, (ToolCall(long, "tide"), ToolCall(other, "tide")))
    entries = spoken(HELLO, turn, Message(form.USER, (ToolResult(long), ToolResult(other))))
    ids = [call["id"] for call in entries[1]["tool_calls"]]
    assert ids == [each["tool_call_id"] for each in entries[2:]]
    assert len(set(ids)) == 2


def test_a_refusal_is_what_the_model_said() -> None:
    assert spoken(HELLO, Message(form.ASSISTANT, (Refusal("no"),)))[1] == {"role": "assistant", "content": "no"}


@settings(max_examples=100, deadline=None)
@given(requests())
def test_every_request_that_was_read_can_be_written(body: dict[str, Any]) -> None:
    request = SURFACE.read(body, "mine", Lost(SURFACE.LOSSES, SURFACE.NAMES))
    for thinking in (None, "switch", "budget", "none"):
        found = CONVERSION.request(Read(request, ()), Aim("theirs", Features(thinking=thinking, reasoning_echo=True)))
        check(json.loads(found.body), request.stream)


@pytest.mark.parametrize(
    "change",
    [
        {"odd": 1}, {"stream": True}, {"stop": list("abcde")}, {"tool_choice": "auto"}, {"temperature": 3},
        {"messages": []}, {"messages": [{"role": "user", "content": "x", "odd": 1}]},
        {"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "odd": 1}]}]},
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        {"max_tokens": 1, "max_completion_tokens": 1},
    ],
)  # fmt: skip
def test_the_check_itself_tells_what_is_wrong(change: dict[str, Any]) -> None:
    good = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    check(good)
    with pytest.raises((AssertionError, ValidationError)):
        check(good | change)


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorded", WHOLE, ids=lambda each: each.name)
def test_recorded_answers(recorded: Recorded) -> None:
    answer = VENDOR.read(recorded.body, "seed")
    agrees(answer, recorded.expect)
    assert answer.finish in form.FINISHES
    assert answer.parts or "audio" in recorded.name


def told(message: dict[str, Any], **choice: Any) -> form.Answer:
    body = {"id": "chatcmpl-1", "created": 5, "choices": [{"index": 0, "message": message, **choice}]}
    return VENDOR.read(json.dumps(body).encode(), "seed")


TAGGED = "\n<think>\nhm\n</think>\n\nHi"
OWN = "openai.chat"


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "Hi"}, (Text("Hi"),)),
        ({"content": ""}, ()),
        ({"content": None}, ()),
        ({"content": "Hi", "reasoning_content": "hm"}, (Thought("hm", origin=OWN), Text("Hi"))),
        ({"content": "Hi", "reasoning": "hm"}, (Thought("hm", origin=OWN), Text("Hi"))),
        ({"content": "Hi", "reasoning": "hm", "reasoning_content": "hm"}, (Thought("hm", origin=OWN), Text("Hi"))),
        ({"content": "Hi", "reasoning": {"odd": 1}}, (Text("Hi"),)),
        ({"content": TAGGED}, (Thought("hm\n", origin=OWN), Text("Hi"))),
        ({"content": "<think>hm"}, (Thought("hm", origin=OWN),)),
        ({"content": "I <think> so"}, (Text("I <think> so"),)),
        ({"content": [{"type": "text", "text": "Hi"}, {"type": "odd"}, 5]}, (Text("Hi"),)),
        ({"content": None, "refusal": "no"}, (Refusal("no"),)),
        (
            {"content": "Hi", "annotations": [{"type": "url_citation", "url_citation": {
                "url": "https://a.b", "title": "A", "start_index": 0, "end_index": 2}}, {"odd": 1}, None]},
            (Text("Hi", (Citation("https://a.b", "A", start=0, end=2),)),),
        ),
        (
            {"content": "", "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]},
            (PICTURE,),
        ),
        ({"content": "", "images": [{"image_url": {"url": "data:odd"}}, 5]}, ()),
        (
            {"tool_calls": [{"id": "", "function": {"name": "a"}}, {"function": {"name": "b", "arguments": {"x": 1}}}]},
            (ToolCall("call_seed_0", "a"), ToolCall("call_seed_1", "b", '{"x":1}')),
        ),
        ({"tool_calls": {"id": "c", "function": {"name": "a", "arguments": "{}"}}}, (ToolCall("c", "a", "{}"),)),
        ({"tool_calls": [{"id": "c", "type": "odd"}]}, ()),
        ({"function_call": {"name": "a", "arguments": "{}"}}, (ToolCall("call_seed_0", "a", "{}"),)),
    ],
)  # fmt: skip
def test_what_a_message_says(message: dict[str, Any], parts: tuple[form.Part, ...]) -> None:
    assert told({"role": "assistant"} | message).parts == parts


CALLS = {"tool_calls": [{"id": "c", "function": {"name": "a"}}]}


@pytest.mark.parametrize(
    ("reason", "message", "finish"),
    [
        ("stop", {}, form.STOP),
        ("eos", {}, form.STOP),
        (None, {}, form.STOP),
        ("anything", {}, form.STOP),
        ("length", {}, form.LENGTH),
        ("model_context_window_exceeded", {}, form.LENGTH),
        ("content_filter", {}, form.FILTERED),
        ("sensitive", {}, form.FILTERED),
        ("tool_calls", CALLS, form.TOOL_CALLS),
        ("stop", CALLS, form.TOOL_CALLS),
        ("length", CALLS, form.LENGTH),
        ("function_call", {}, form.STOP),
    ],
)
def test_why_an_answer_ended(reason: str | None, message: dict[str, Any], finish: str) -> None:
    assert told({"content": "x"} | message, finish_reason=reason).finish == finish


def test_logprobs_are_read_where_they_look_as_they_should() -> None:
    other = {"token": "J", "logprob": -2, "bytes": None}
    token = {"token": "H", "logprob": -0.5, "bytes": [72], "top_logprobs": [other]}
    answer = told({"content": "H"}, logprobs={"content": [token], "refusal": None})
    assert answer.logprobs == (Logprob("H", -0.5, [72], (Logprob("J", -2),)),)
    assert told({"content": "H"}, logprobs={"content": ["odd"]}).logprobs == ()


def test_numbers_that_are_none_do_no_harm() -> None:
    choice = b'{"index":"0","message":{"content":"Hi"},"logprobs":{"content":NaN}}'
    body = b'\n\n{"id":5,"created":1e400,"choices":[%s]}' % choice
    assert VENDOR.read(body, "s") == form.Answer(parts=(Text("Hi"),))


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b"{}", b'{"choices":[]}', b'{"choices":[{}]}', b'{"a":'])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises((BadUpstreamReply, *UNREADABLE)):
        VENDOR.read(body, "s")


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
_KEYS = ("id", "created", "index", "finish_reason", "logprobs", "content", "reasoning_content", "reasoning", "refusal",
         "tool_calls", "function_call", "annotations", "images")  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(_KEYS), _ODD), st.sampled_from(["message", "delta"]))
def test_whatever_a_vendor_says_is_an_answer_or_unreadable(fields: dict[str, Any], place: str) -> None:
    body = json.dumps({**fields, "choices": [{**fields, place: fields}]}).encode()
    for read in (VENDOR.read, lambda body, _: list(VENDOR.stream("s").read(body, b""))):
        try:
            read(body, "s")
        except (BadUpstreamReply, *UNREADABLE):
            continue
