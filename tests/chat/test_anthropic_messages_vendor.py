"""The neutral form as a request for Anthropic, held against its SDK's types and its rules."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.anthropic_messages import SURFACE, VENDOR
from gateway.dialects.chat import conversion, form
from gateway.dialects.chat.conversion import ChatConversion, Read
from gateway.dialects.chat.dialect import Aim
from gateway.dialects.chat.form import (
    ChatRequest,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.errors import BadRequest, Unsupported
from gateway.types import Features
from tests.chat.anthropic_messages_requests import PNG, questions, requests
from tests.chat.anthropic_messages_schema import check, check_count

OWN = "anthropic.messages"
CHAT = ChatConversion(SURFACE, VENDOR, OWN)
PLAIN = Aim("claude-1", account="acme")
HELLO = (Message(form.USER, (Text("hello"),)),)
WEATHER = Tool("weather", parameters={"type": "object"})
SIGNED = Thought("hm", "sig", origin=OWN, account="acme")
_EASY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def user(*parts: Part) -> Message:
    return Message(form.USER, parts)


def model(*parts: Part) -> Message:
    return Message(form.ASSISTANT, parts)


def sent(*messages: Message, aim: Aim = PLAIN, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body, which Anthropic would take, and what was dropped."""
    request = ChatRequest(model="alias", messages=messages or HELLO, **fields)
    written = CHAT.request(Read(request, ()), aim)
    body: dict[str, Any] = json.loads(written.body)
    check(body, request.stream)
    return body, written.dropped


def refused(*messages: Message, aim: Aim = PLAIN, **fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as wrong:
        sent(*messages, aim=aim, **fields)
    return wrong.value


def aimed(**features: Any) -> Aim:
    return Aim("claude-1", Features(**features), "acme")


def texts(body: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [
        (turn["role"], [block.get("text", block["type"]) for block in turn["content"]]) for turn in body["messages"]
    ]


def test_a_plain_request() -> None:
    body, dropped = sent(
        system=(Text("be"), Text(" "), Text("kind")), stream=True, temperature=0.5, top_k=5, stop=("END", " "), user="u"
    )
    assert body == {
        "model": "claude-1",
        "system": [{"type": "text", "text": "be"}, {"type": "text", "text": "kind"}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "max_tokens": 4096, "temperature": 0.5, "top_k": 5, "stop_sequences": ["END"],
        "metadata": {"user_id": "u"}, "stream": True,
    }  # fmt: skip
    assert dropped == ("stop_sequences",)


def test_the_limit_that_is_always_there() -> None:
    assert sent(max_output=7)[0]["max_tokens"] == 7
    assert sent(aim=aimed(max_output=9))[0]["max_tokens"] == 9
    assert sent(max_output=7, aim=aimed(max_output=9))[0]["max_tokens"] == 7


def test_penalties_and_seeds_are_named() -> None:
    assert set(sent(seed=0, presence_penalty=1, frequency_penalty=1)[1]) == {
        "seed", "presence_penalty", "frequency_penalty",
    }  # fmt: skip
    assert refused(logprobs=0).param == "logprobs"


# -- turns -------------------------------------------------------------------------------------------------------------


def test_turns_are_merged_and_blank_ones_left_out() -> None:
    body, _ = sent(
        user(Text("a")), user(Text(" "), Text("b")), model(Text("")), user(Text("c")), model(Refusal("no")),
        model(Text("d")), Message(form.SYSTEM, (Text("quick"),)), user(Text("e")), model(Thought("foreign", "s")),
    )  # fmt: skip
    assert texts(body) == [("user", ["a", "b", "c"]), ("assistant", ["no", "d"]), ("user", ["quick", "e"])]


def test_the_first_turn_is_the_users_and_the_last_has_no_white_space_behind_it() -> None:
    assert texts(sent(model(Text("I ")))[0]) == [("user", ["."]), ("assistant", ["I"])]
    assert texts(sent(user(Text(" ")))[0]) == [("user", ["."])]


def test_results_come_first_and_ids_are_made_legal() -> None:
    body, _ = sent(
        user(Text("go")),
        model(
            Text("a"), ToolCall("f:0", "weather", '{"x": 1}'), Text("b"), ToolCall("f.0", "weather"), ToolCall("", "w")
        ),
        user(Text("late"), ToolResult("f.0", parts=(Text("two"),)), ToolResult("")),
        user(ToolResult("f:0", parts=(Text(""),))),
        model(ToolCall("f:0", "weather", "{oops")),
        user(ToolResult("f:0", parts=(Text("again"), Image(data=PNG, media_type="image/jpg")))),
    )
    _, first, answered, second, last = body["messages"]
    calls = [(block.get("id"), block.get("input")) for block in first["content"]]
    assert calls == [(None, None), (None, None), ("f_0", {"x": 1}), ("f_0_2", {}), ("call", {})]
    assert answered["content"] == [
        {"type": "tool_result", "tool_use_id": "f_0_2", "content": [{"type": "text", "text": "two"}]},
        {"type": "tool_result", "tool_use_id": "call"},
        {"type": "tool_result", "tool_use_id": "f_0"},
        {"type": "text", "text": "late"},
    ]
    assert second["content"] == [{"type": "tool_use", "id": "f_0_3", "name": "weather", "input": {"_raw": "{oops"}}]
    source = {"type": "base64", "media_type": "image/jpeg", "data": PNG}
    assert last["content"][0]["content"][1] == {"type": "image", "source": source}


def test_a_failure_has_words_only() -> None:
    picture = Image(url="https://a.example/b")
    body, _ = sent(
        user(Text("go")), model(ToolCall("a", "f"), ToolCall("b", "f")),
        user(ToolResult("a", parts=(picture, Text("no")), failed=True), ToolResult("b", failed=True)),
    )  # fmt: skip
    first, second, shown = body["messages"][2]["content"]
    assert (first["is_error"], first["content"]) == (True, [{"type": "text", "text": "no"}])
    assert (second["is_error"], second["content"]) == (True, [{"type": "text", "text": "failed"}])
    assert shown["type"] == "image"


@pytest.mark.parametrize(
    "messages",
    [
        (model(ToolCall("a", "f")),),
        (model(ToolCall("a", "f")), user(Text("hm"))),
        (model(ToolCall("a", "f"), ToolCall("b", "f")), user(ToolResult("a"))),
        (user(ToolResult("a")),),
        (model(ToolCall("a", "f")), user(ToolResult("a"), ToolResult("a"))),
        (model(ToolCall("a", "f")), user(ToolResult("a")), model(Text("so")), user(ToolResult("a"))),
        (model(Image(url="https://a.example/b")),),
        (user(ToolCall("a", "f")),),
    ],
)
def test_turns_that_do_not_fit_are_refused(messages: tuple[Message, ...]) -> None:
    assert refused(user(Text("go")), *messages).param == "messages"


@pytest.mark.parametrize(
    ("images", "image", "taken"),
    [
        (None, Image(url="https://a.example/b"), True),
        (None, Image(url="http://a.example/b"), False),
        (None, Image(data="AA==", media_type="image/png"), True),
        (None, Image(data="AA==", media_type="image/tiff"), False),
        ("url", Image(url="https://a.example/b"), True),
        ("url", Image(data="AA==", media_type="image/png"), False),
        ("base64", Image(data="AA==", media_type="image/png"), True),
        ("base64", Image(url="https://a.example/b"), False),
        ("url+base64", Image(data="AA==", media_type="image/png"), True),
        ("none", Image(data="AA==", media_type="image/png"), False),
    ],
)
def test_pictures(images: str | None, image: Image, taken: bool) -> None:
    if taken:
        assert sent(user(image), aim=aimed(images=images))[0]["messages"][0]["content"][0]["type"] == "image"
    else:
        assert isinstance(refused(user(image), aim=aimed(images=images)), Unsupported)


def test_the_detail_of_a_picture_is_named() -> None:
    assert sent(user(Image(url="https://a.example/b", detail="high")))[1] == ("detail",)
    assert sent(user(Image(url="https://a.example/b", detail="auto")))[1] == ()


# -- thoughts ----------------------------------------------------------------------------------------------------------


def called(*thoughts: Part, first: Part | None = None) -> tuple[Message, ...]:
    said = ([first] if first else []) + list(thoughts)
    return user(Text("go")), model(*said, ToolCall("a", "weather")), user(ToolResult("a"))


@pytest.mark.parametrize(
    ("thought", "kept"),
    [
        (SIGNED, True),
        (Thought(redacted="cipher", origin=OWN), True),
        (Thought("hm", "sig", origin=OWN, account="other"), False),
        (Thought("hm", "sig", origin="openai.responses"), False),
        (Thought("hm"), False),
    ],
)
def test_only_thoughts_of_this_account_go_back_and_without_there_is_no_thinking(thought: Thought, kept: bool) -> None:
    body, dropped = sent(*called(thought), tools=(WEATHER,), reasoning=Reasoning(effort="high"))
    kinds = [block["type"] for block in body["messages"][1]["content"]]
    assert (len(kinds), dropped) == ((2, ()) if kept else (1, ("thinking",)))
    assert body["thinking"]["type"] == ("adaptive" if kept else "disabled")
    assert ("output_config" in body) is kept


def test_thoughts_keep_their_order_or_come_first() -> None:
    second = Thought(redacted="cipher", origin=OWN)

    def kinds(*parts: Part) -> list[str]:
        body, _ = sent(user(Text("go")), model(*parts, ToolCall("a", "f")), user(ToolResult("a")))
        return [block["type"] for block in body["messages"][1]["content"]]

    assert kinds(SIGNED, Text("x"), second) == ["thinking", "text", "redacted_thinking", "tool_use"]
    assert kinds(Text("x"), SIGNED, second) == ["thinking", "redacted_thinking", "text", "tool_use"]
    body, _ = sent(user(Text("go")), model(SIGNED, Text("x"), second), user(Text("on")))
    assert [block["type"] for block in body["messages"][1]["content"]] == ["thinking", "text"]


def test_vendors_that_want_to_see_their_thoughts() -> None:
    body, _ = sent(*called(Thought("hm", "foreign", origin="x")), tools=(WEATHER,), reasoning=Reasoning(),
                   aim=aimed(reasoning_echo=True, thinking="switch"))  # fmt: skip
    assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": ""}
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}


@pytest.mark.parametrize(
    ("style", "wanted", "written"),
    [
        (None, Reasoning(), {"thinking": {"type": "adaptive"}}),
        (None, Reasoning(effort="minimal"), {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ("adaptive", Reasoning(budget=3000, shown=True),
         {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}}),
        ("adaptive", Reasoning(on=True, shown=False), {"thinking": {"type": "adaptive", "display": "omitted"}}),
        ("adaptive", Reasoning(effort="none"), {"thinking": {"type": "disabled"}}),
        ("budget", Reasoning(effort="high"), {"thinking": {"type": "enabled", "budget_tokens": 4096}}),
        ("budget", Reasoning(effort="max"), {"thinking": {"type": "enabled", "budget_tokens": 5000}}),
        ("budget", Reasoning(on=True), {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("budget", Reasoning(budget=-1), {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("budget", Reasoning(budget=100), {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("budget", Reasoning(budget=0), {"thinking": {"type": "disabled"}}),
        ("none", Reasoning(on=False), {}),
    ],
)  # fmt: skip
def test_thinking_is_asked_for_as_the_model_wants_it(
    style: str | None, wanted: Reasoning, written: dict[str, Any]
) -> None:
    body, dropped = sent(max_output=10_000, reasoning=wanted, aim=aimed(thinking=style))
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == written
    assert dropped == ()


@pytest.mark.parametrize(
    ("fields", "style", "type_"),
    [
        ({"max_output": 1024}, "budget", "disabled"),
        ({"tools": (WEATHER,), "tool_choice": ToolChoice("required")}, None, "disabled"),
        ({"tools": (WEATHER,), "tool_choice": ToolChoice("required", ("weather",))}, "budget", "disabled"),
        ({}, "none", None),
    ],
)
def test_thinking_that_cannot_be_is_switched_off_and_named(
    fields: dict[str, Any], style: str | None, type_: str | None
) -> None:
    body, dropped = sent(reasoning=Reasoning(effort="high"), aim=aimed(thinking=style), **fields)
    assert dropped == ("thinking",)
    assert body.get("thinking", {}).get("type") == type_


def test_nothing_is_thought_in_the_middle_of_an_answer() -> None:
    body, dropped = sent(user(Text("go")), model(Text("I")), reasoning=Reasoning())
    assert (body["thinking"], dropped) == ({"type": "disabled"}, ("thinking",))


# -- sampling, tools, formats ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "thinks", "written", "dropped"),
    [
        ({"temperature": 1.7}, False, {"temperature": 1}, ()),
        ({"temperature": 0.2, "top_p": 0.9}, False, {"temperature": 0.2}, ("top_p",)),
        ({"temperature": 1, "top_p": 0.9}, False, {"top_p": 0.9}, ()),
        ({"temperature": 0.2, "top_p": 1}, False, {"temperature": 0.2}, ()),
        ({"temperature": 0.2, "top_k": 3}, True, {}, ("temperature", "top_k")),
        ({"temperature": 1, "top_p": 0.5}, True, {}, ("top_p",)),
        ({"top_p": 0.97}, True, {"top_p": 0.97}, ()),
        ({"top_k": 3}, False, {"top_k": 3}, ()),
    ],
)
def test_sampling(fields: dict[str, Any], thinks: bool, written: dict[str, Any], dropped: tuple[str, ...]) -> None:
    body, lost = sent(**fields, reasoning=Reasoning() if thinks else None)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == written
    assert lost == dropped


@pytest.mark.parametrize(
    ("choice", "parallel", "written"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("required"), None, {"type": "any"}),
        (ToolChoice("required", ("weather",)), False,
         {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}),
    ],
)  # fmt: skip
def test_tool_choices(choice: ToolChoice | None, parallel: bool | None, written: dict[str, Any] | None) -> None:
    body, _ = sent(tools=(Tool("clock"), WEATHER), tool_choice=choice, parallel_tools=parallel)
    assert body.get("tool_choice") == written
    assert body["tools"] == [
        {"name": "clock", "input_schema": {"type": "object", "properties": {}}},
        {"name": "weather", "input_schema": {"type": "object"}},
    ]


def test_a_choice_among_some_tools_leaves_the_others_out() -> None:
    tools = (Tool("a"), Tool("b"), Tool("c"))
    body, _ = sent(tools=tools, tool_choice=ToolChoice("required", ("a", "c")))
    assert [tool["name"] for tool in body["tools"]] == ["a", "c"]
    assert body["tool_choice"] == {"type": "any"}
    assert refused(tools=tools, tool_choice=ToolChoice("required", ("z",))).param == "tool_choice"
    assert refused(tools=tools, tool_choice=ToolChoice("auto", ("a", "z"))).param == "tool_choice"
    assert refused(tool_choice=ToolChoice("required")).param == "tools"
    assert "tool_choice" not in sent(tool_choice=ToolChoice("auto"))[0]


def test_tools_of_the_past_are_named_and_closed() -> None:
    body, _ = sent(*called())
    assert body["tools"] == [{"name": "weather", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}


def test_schemas_are_closed_and_their_limits_told() -> None:
    inner = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "description": "how many"}}}
    schema = {"anyOf": [inner, {"type": "array", "items": inner, "minItems": 3}], "$defs": {"x": inner}}
    body, _ = sent(format=Format(schema, name="n", description="the answer"))
    closed = {**inner, "additionalProperties": False,
              "properties": {"n": {"type": "integer", "description": "how many\n\n{minimum: 1}"}}}  # fmt: skip
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "description": "the answer",
            "anyOf": [closed, {"type": "array", "items": closed, "description": "{minItems: 3}"}],
            "$defs": {"x": closed},
        },
    }
    tools = sent(tools=(Tool("a", "does", inner, strict=True), Tool("b", parameters=inner, strict=False)))[0]["tools"]
    assert tools[0] == {"name": "a", "description": "does", "input_schema": closed, "strict": True}
    assert tools[1] == {"name": "b", "input_schema": inner, "strict": False}


def test_effort_and_format_stand_together() -> None:
    body, _ = sent(reasoning=Reasoning(effort="low"), format=Format({"type": "string"}))
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "string"}}}


def test_formats_that_cannot_be_promised_are_refused() -> None:
    free = {"type": "object", "additionalProperties": {"type": "string"}}
    assert refused(format=Format()).param == "output_config.format"
    assert refused(format=Format({"type": "object"}), aim=aimed(json_schema=False)).param == "output_config.format"
    assert refused(format=Format(free)).param == "output_config.format"
    assert refused(tools=(Tool("a", parameters=free, strict=True),)).param == "tools"
    assert sent(tools=(Tool("a", parameters=free),))[0]["tools"][0]["input_schema"] == free
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(2000):
        deep = {"items": deep}
    assert refused(format=Format(deep)).param == "output_config.format"
    with pytest.raises(BadRequest):
        CHAT.request(Read(ChatRequest(model="m", messages=HELLO, tools=(Tool("a", parameters=deep),)), ()), PLAIN)


# -- as a whole --------------------------------------------------------------------------------------------------------


@_EASY
@given(requests(), st.sampled_from([None, "effort", "budget", "adaptive", "switch", "none"]))
def test_what_a_client_of_the_dialect_may_send_can_be_sent_on(body: dict[str, Any], style: str | None) -> None:
    written = CHAT.request(conversion.read(SURFACE, body, "m"), aimed(thinking=style))
    check(json.loads(written.body), body.get("stream") is True)


@_EASY
@given(questions())
def test_so_can_questions_for_tokens(body: dict[str, Any]) -> None:
    question = CHAT.question(conversion.read(SURFACE, body, "m"), PLAIN)
    assert question is not None
    assert question.method == "/count_tokens"
    check_count(json.loads(question.body))


def test_the_number_of_tokens() -> None:
    assert VENDOR.counted(b'{"input_tokens": 2095}') == 2095


_ANY_PART = st.one_of(
    st.builds(Text, st.sampled_from(["", " ", "a", "b "])),
    st.sampled_from([SIGNED, Thought("x"), Thought(redacted="r", origin=OWN), Refusal("no")]),
    st.builds(ToolCall, st.sampled_from(["a", "b", "x:1"]), st.just("f"), st.sampled_from(["", "{}", "[", '{"a":1}'])),
    st.builds(ToolResult, st.sampled_from(["a", "b", "x:1"]), failed=st.booleans()),
    st.builds(Image, url=st.sampled_from(["https://a.example/b", "http://a.example"])),
)
_ANY_MESSAGE = st.builds(
    Message,
    st.sampled_from([form.USER, form.ASSISTANT, form.SYSTEM]),
    st.lists(_ANY_PART, max_size=4).map(tuple),
)


@settings(deadline=None)
@given(st.lists(_ANY_MESSAGE, max_size=5), st.booleans())
def test_any_conversation_is_made_legal_or_refused(messages: list[Message], thinks: bool) -> None:
    request = ChatRequest(model="m", messages=tuple(messages), reasoning=Reasoning() if thinks else None)
    try:
        written = CHAT.request(Read(request, ()), aimed(thinking="budget"))
    except BadRequest as exc:
        assert exc.param == "messages"  # noqa: PT017
    else:
        check(json.loads(written.body))
