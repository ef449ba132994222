"""DashScope as a vendor: what it is asked, and what is read of its answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from pydantic import ValidationError

from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Aim, Sent
from gateway.dialects.chat.events import Collector
from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import (
    Answer,
    ChatRequest,
    Format,
    Image,
    Message,
    Reasoning,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.chat.transform import Transform
from gateway.dialects.dashscope_generation import VENDOR
from gateway.dialects.losses import UNKNOWN
from gateway.errors import BadUpstreamReply, Unsupported
from gateway.sandbox.app import start
from gateway.types import Features
from tests.chat.dashscope_generation_schema import check
from tests.chat.test_dashscope_generation_streams import Writer

FOLDER = Path(__file__).parent.parent / "fixtures" / "usage"
USER = Message("user", (Text("hi"),))
TOOL = Tool("lookup", "Looks up", {"type": "object", "properties": {"k": {"type": "string"}}})
PNG = Image(data="iVBORw0KGgo=", media_type="image/png")
WEB = Image(url="https://example.com/a.png")
CALLED = Message("assistant", (Text("let me"), ToolCall("c1", "lookup", '{"k": "a"}'), ToolCall("c2", "lookup")))
FIRST = ToolResult("c1", "lookup", (Text("one"),))
RESULTS = Message("user", (FIRST, ToolResult("c2", "lookup", (), True), Text("go")))


def asked(*messages: Message, **more: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=messages or (USER,), **more)


def sent(request: ChatRequest, model: str = "qwen-plus", **features: Any) -> tuple[dict[str, Any], Sent, Lost]:
    lost = Lost(UNKNOWN, {})
    found = VENDOR.write(request, Aim(model, Features(**features)), lost)
    body = json.loads(found.body)
    check(body, request.stream)
    return body, found, lost


def parameters(request: ChatRequest, **features: Any) -> dict[str, Any]:
    body, _, lost = sent(request, **features)
    assert not lost.dropped
    return {name: value for name, value in body["parameters"].items() if name not in ("result_format",)}


# -- requests ----------------------------------------------------------------------------------------------------------


def test_the_least_request() -> None:
    body, found, lost = sent(asked())
    assert body == {"model": "qwen-plus", "input": {"messages": [{"role": "user", "content": "hi"}]},
                    "parameters": {"result_format": "message"}}  # fmt: skip
    assert (found.method, found.swap, found.lines, lost.dropped) == ("", ("", ""), (), [])


def test_a_stream_is_asked_for_by_a_header() -> None:
    body, found, _ = sent(asked(stream=True))
    assert found.lines == ((b"x-dashscope-sse", b"X-DashScope-SSE: enable\r\n"),)
    assert body["parameters"]["incremental_output"] is True
    assert "stream" not in body


def test_what_is_carried() -> None:
    request = asked(
        max_output=50, temperature=0.5, top_p=0.9, top_k=40, seed=7, presence_penalty=-1, stop=("a", "b"), logprobs=3,
        tools=(TOOL,), tool_choice=ToolChoice("auto"), parallel_tools=False, extras={"repetition_penalty": 1.1},
    )  # fmt: skip
    function = {"name": "lookup", "description": "Looks up", "parameters": TOOL.parameters}
    assert parameters(request) == {
        "max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7, "presence_penalty": -1,
        "stop": ["a", "b"], "logprobs": True, "top_logprobs": 3, "tools": [{"type": "function", "function": function}],
        "tool_choice": "auto", "parallel_tool_calls": False, "repetition_penalty": 1.1,
    }  # fmt: skip
    clamped = parameters(asked(temperature=2, top_p=0, logprobs=0))
    assert clamped == {"temperature": 1.99, "top_p": 0.01, "logprobs": True}


def test_what_is_dropped_is_named() -> None:
    for request, name in (
        (asked(seed=-1), "seed"), (asked(seed=2**40), "seed"),
        (asked(Message("user", (Text("hi"),), "Ann")), "messages.name"),
        (asked(extras={"repetition_penalty": "x"}), "repetition_penalty"),
        (asked(extras={"repetition_penalty": True}), "repetition_penalty"),
    ):  # fmt: skip
        body, _, lost = sent(request)
        assert lost.dropped == [name]
        assert list(body["parameters"]) == ["result_format"]
    losses = {name for name, why in VENDOR.LOSSES.items() if why.startswith("dropped") and "(" not in name}
    assert losses == {"frequency_penalty", "user", "messages.name"}


@pytest.mark.parametrize(("request_", "features", "field"), [
    (asked(tools=(TOOL,), tool_choice=ToolChoice("required")), {}, "tool_choice"),
    (asked(tools=(TOOL, Tool("b"), Tool("c")), tool_choice=ToolChoice("required", ("b", "c"))), {}, "tool_choice"),
    (asked(tool_choice=ToolChoice("required")), {}, "tool_choice"),
    (asked(tools=(TOOL,), tool_choice=ToolChoice("required", ("other",))), {}, "tool_choice"),
    (asked(logprobs=6), {}, "logprobs"), (asked(format=Format({"type": "object"})), {"json_schema": False}, "format"),
    (asked(CALLED), {}, "messages"), (asked(RESULTS), {}, "messages"), (asked(CALLED, USER), {}, "messages"),
    (asked(Message("user", (PNG,))), {"images": "none"}, "messages"),
    (asked(Message("user", (PNG,))), {"images": "url"}, "messages"),
    (asked(Message("user", (WEB,))), {"images": "base64"}, "messages"),
])  # fmt: skip
def test_what_is_refused_is_named(request_: ChatRequest, features: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as caught:
        sent(request_, **features)
    assert caught.value.param == field


def test_tools_that_may_be_chosen() -> None:
    tools = (TOOL, Tool("b"))
    named = parameters(asked(tools=tools, tool_choice=ToolChoice("required", ("b",))))
    assert named["tool_choice"] == {"type": "function", "function": {"name": "b"}}
    assert len(named["tools"]) == 2
    allowed = parameters(asked(tools=tools, tool_choice=ToolChoice("auto", ("b",))))
    assert [tool["function"]["name"] for tool in allowed["tools"]] == ["b"]
    assert parameters(asked(tools=tools, tool_choice=ToolChoice("none")))["tool_choice"] == "none"
    assert parameters(asked(tool_choice=ToolChoice("none"))) == {}
    assert "tool_choice" not in parameters(asked(tools=tools))


def test_formats() -> None:
    assert parameters(asked(format=Format()))["response_format"] == {"type": "json_object"}
    schema = {"type": "object", "properties": {}}
    assert parameters(asked(format=Format(schema, "n", strict=True)))["response_format"] == {
        "type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True},
    }  # fmt: skip


@pytest.mark.parametrize(("wanted", "thinking", "written"), [
    (Reasoning(effort="high"), None, {"enable_thinking": True, "thinking_budget": 4096}),
    (Reasoning(budget=700), "budget", {"enable_thinking": True, "thinking_budget": 700}),
    (Reasoning(budget=-1), "budget", {"enable_thinking": True}),
    (Reasoning(on=True), "budget", {"enable_thinking": True}),
    (Reasoning(effort="high"), "switch", {"enable_thinking": True}),
    (Reasoning(on=False), "budget", {"enable_thinking": False}),
    (Reasoning(effort="none"), None, {"enable_thinking": False}),
    (Reasoning(budget=0), "switch", {"enable_thinking": False}), (Reasoning(on=False), "none", {}),
    (None, "budget", {}), (None, None, {}),
])  # fmt: skip
def test_thinking_in_streams(wanted: Reasoning | None, thinking: str | None, written: dict[str, Any]) -> None:
    found = parameters(asked(stream=True, reasoning=wanted), thinking=thinking)
    assert found == {"incremental_output": True} | written


def test_thinking_without_a_stream_is_switched_off() -> None:
    off = {"result_format": "message", "enable_thinking": False}
    for wanted, thinking, written, dropped in (
        (Reasoning(effort="high"), "budget", off, ["reasoning"]), (Reasoning(effort="high"), None, off, ["reasoning"]),
        (Reasoning(on=False), None, off, []), (None, "budget", off, []), (None, "switch", off, []),
        (None, None, {"result_format": "message"}, []), (None, "none", {"result_format": "message"}, []),
        (Reasoning(effort="low"), "none", {"result_format": "message"}, ["reasoning"]),
    ):  # fmt: skip
        body, _, lost = sent(asked(reasoning=wanted), thinking=thinking)
        assert (body["parameters"], lost.dropped) == (written, dropped)
    _, _, lost = sent(asked(reasoning=Reasoning(effort="low"), stream=True), thinking="none")
    assert lost.dropped == ["reasoning"]


def test_a_conversation_with_calls() -> None:
    request = asked(USER, CALLED, RESULTS, system=(Text("be"), Text("brief")), tools=(TOOL,))
    messages = sent(request)[0]["input"]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "user"]
    assert messages[0]["content"] == "be\n\nbrief"
    assert [call["function"]["arguments"] for call in messages[2]["tool_calls"]] == ['{"k": "a"}', "{}"]
    assert [(each["tool_call_id"], each["content"]) for each in messages[3:5]] == [("c1", "one"), ("c2", "Error: ")]
    silent = Message("assistant", (Thought("hm"), ToolCall("c1", "lookup")))
    answered = Message("user", (ToolResult("c1", "lookup", (Text("one"),)),))
    assert sent(asked(USER, silent, answered, tools=(TOOL,)))[0]["input"]["messages"][1]["content"] == ""
    echoed = sent(asked(USER, silent, answered, tools=(TOOL,)), reasoning_echo=True)[0]["input"]["messages"]
    assert echoed[1]["reasoning_content"] == "hm"


@pytest.mark.parametrize(("model", "other"), [
    ("qwen-plus", False), ("qwen-max", False), ("qwen3-max", False), ("qwen3-235b-a22b", False), ("qwen-turbo", False),
    ("deepseek-v3.2", False), ("qwen3-coder-plus", False), ("qwen3.5-max", False), ("glm-4.6", False),
    ("qwq-plus", False), ("qwen2.5-7b-instruct", False), ("qwen3-vl-plus", True), ("qwen-vl-max", True),
    ("qwen2.5-vl-72b-instruct", True), ("qvq-max", True), ("qwen3-omni-flash", True), ("qwen-vl-ocr", True),
    ("qwen3.5-plus", True), ("qwen3.6-flash", True), ("qwen3.5-397b-a17b", True), ("Qwen-VL-Max", True),
])  # fmt: skip
def test_which_of_the_two_paths(model: str, other: bool) -> None:
    body, found, _ = sent(asked(USER, CALLED, RESULTS, system=(Text("s"),), tools=(TOOL,)), model)
    assert found.swap == (("/text-generation/", "/multimodal-generation/") if other else ("", ""))
    for message in body["input"]["messages"]:
        assert isinstance(message["content"], list) == other


def test_pictures() -> None:
    shown = asked(Message("user", (Text("what"), PNG, WEB)), Message("assistant", (Text("a cat"),)), USER)
    body, found, _ = sent(shown)
    assert found.swap[1] == "/multimodal-generation/"
    assert [message["content"] for message in body["input"]["messages"]] == [
        [{"text": "what"}, {"image": "data:image/png;base64,iVBORw0KGgo="}, {"image": WEB.url}],
        [{"text": "a cat"}], [{"text": "hi"}],
    ]  # fmt: skip
    result = Message("user", (ToolResult("c1", "lookup", (PNG,)),))
    called = Message("assistant", (ToolCall("c1", "lookup"),))
    body, found, _ = sent(asked(USER, called, result, tools=(TOOL,)))
    assert found.swap[1] == "/multimodal-generation/"
    assert body["input"]["messages"][-1]["content"] == [{"image": "data:image/png;base64,iVBORw0KGgo="}]


def test_what_the_schema_refuses() -> None:
    good = sent(asked(USER, CALLED, RESULTS, tools=(TOOL,)))[0]
    messages = good["input"]["messages"]
    for bad in (
        good | {"stream": True}, good | {"parameters": good["parameters"] | {"incremental_output": True}},
        good | {"parameters": good["parameters"] | {"enable_thinking": True}},
        good | {"parameters": good["parameters"] | {"temperature": 2}},
        good | {"input": {"messages": messages[:3]}}, good | {"input": {"messages": [messages[0], messages[2]]}},
        good | {"input": {"messages": [messages[0], messages[0] | {"content": [{"text": "x"}]}]}},
    ):  # fmt: skip
        with pytest.raises((AssertionError, ValidationError)):
            check(bad, False)


# -- answers -----------------------------------------------------------------------------------------------------------


def answered(message: dict[str, Any], finish: str = "stop", **more: Any) -> bytes:
    choice = {"finish_reason": finish, "message": {"role": "assistant"} | message}
    return json.dumps({"output": {"choices": [choice | more]}, "usage": {}, "request_id": "r"}).encode()


def test_whole_answers() -> None:
    assert VENDOR.read((FOLDER / "dashscope_native.response.json").read_bytes(), "s") == Answer(
        id="dn-0", parts=(Text("断桥残雪。"),)
    )
    calls = [
        {"function": {"name": "f", "arguments": '{"a": 1}'}, "id": "c", "type": "function", "index": 0},
        {"function": {"name": "g", "arguments": ""}, "id": "", "type": "function", "index": 1},
    ]
    body = answered({"content": [{"text": "a"}, {"text": "b"}], "reasoning_content": "hm", "tool_calls": calls}, "stop")
    assert VENDOR.read(body, "s").parts == (
        Thought("hm", origin="dashscope.generation"), Text("ab"), ToolCall("c", "f", '{"a": 1}'),
        ToolCall("call_s_1", "g"),
    )  # fmt: skip
    assert VENDOR.read(body, "s").finish == form.TOOL_CALLS
    bare = b'{"output":{"text":"hi","finish_reason":"length"},"request_id":5}'
    assert VENDOR.read(bare, "s") == Answer(parts=(Text("hi"),), finish=form.LENGTH)
    logprobs = {"content": [{"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": []}]}
    found = VENDOR.read(answered({"content": "a"}, logprobs=logprobs), "s").logprobs
    assert [(each.token, each.logprob) for each in found] == [("a", -0.5)]
    for finish, meant in (("content_filter", form.FILTERED), ("length", form.LENGTH), ("tool_calls", form.STOP)):
        assert VENDOR.read(answered({"content": "x"}, finish), "s").finish == meant
    empty = b'{"output": {"choices": [{"finish_reason": "stop", "message": {"content": null, "tool_calls": null}}]}}'
    assert VENDOR.read(empty, "s") == Answer()


@pytest.mark.parametrize("body", [
    b"", b"{}", b"[]", b"7", b'{"output":null}', b'{"output":{}}', b'{"output":{"choices":[]}}', b"{" * 9000,
    b'{"output":{"choices":[7]}}', b'{"output":{"choices":[{"message":"x"}]}}', b'{"output":{"choices":[{"index":1}]}}',
])  # fmt: skip
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises((BadUpstreamReply, msgspec.DecodeError, msgspec.ValidationError, RecursionError)):
        VENDOR.read(body, "s")


# -- over a socket -----------------------------------------------------------------------------------------------------

PATH = "/api/v1/services/aigc/text-generation/generation"


async def test_the_sandboxs_dashscope() -> None:
    running = await start()
    try:
        for model, request in (
            ("qwen-plus", asked()), ("qwen-plus", asked(tools=(TOOL,))),
            ("qwen-vl-max", asked(Message("user", (Text("x"), PNG)))),
            ("qwen-plus", asked(reasoning=Reasoning(effort="low"))),
            ("qwen-plus", asked(Message("user", (Text("as json"),)), format=Format(), max_output=4)),
        ):  # fmt: skip
            whole = await _ask(running.base_url("ali"), model, request)
            streamed = await _ask(running.base_url("ali"), model, msgspec.structs.replace(request, stream=True))
            spoken = _spoken(whole)
            assert _spoken(streamed) == spoken
            assert spoken
            assert whole.finish == streamed.finish
            assert any(isinstance(part, Thought) for part in streamed.parts) == (request.reasoning is not None)
    finally:
        await running.stop()


def _spoken(answer: Answer) -> list[form.Part]:
    """All but thoughts; the ids of calls are new each time."""
    parts = [part for part in answer.parts if not isinstance(part, Thought)]
    return [msgspec.structs.replace(part, id="") if isinstance(part, ToolCall) else part for part in parts]


async def _ask(base: str, model: str, request: ChatRequest) -> Answer:
    body, found, _ = sent(request, model)
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    headers |= {line.partition(b":")[0].decode(): line.partition(b":")[2].strip().decode() for _, line in found.lines}
    path = PATH.replace(*found.swap) if found.swap[0] else PATH
    async with (
        aiohttp.ClientSession() as session,
        session.post(base + path, data=found.body, headers=headers) as answer,
    ):
        raw = await answer.read()
        assert answer.status == 200, raw
    if not request.stream:
        return VENDOR.read(raw, "s")
    writer = Writer()
    Transform(VENDOR, writer, "s").feed(raw)
    collector = Collector()
    collector.take(writer.events)
    return collector.answer()


def test_there_is_no_question_for_the_number_of_tokens() -> None:
    assert VENDOR.count(asked(), Aim("m"), Lost(UNKNOWN, {})) is None
    with pytest.raises(BadUpstreamReply):
        VENDOR.counted(b"{}")
