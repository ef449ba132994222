"""What OpenAI and the vendors of China refuse, and what they take: whole conversations, one rule a line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.asking import HI, JSON, OBJECT, PNG, STRICT, Asker, asking, text, user


@pytest.fixture
async def ask() -> AsyncIterator[Asker]:
    async with asking() as asker:
        yield asker


# -- OpenAI ------------------------------------------------------------------------------------------------------------

CHAT, RESPONSES = "/openai/v1/chat/completions", "/openai/v1/responses"


def chat(*messages: JSON, **more: Any) -> JSON:
    return {"model": "gpt-4o", "messages": list(messages) or [HI], **more}


def calls(*ids: str, **more: Any) -> JSON:
    functions = [{"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}} for one in ids]
    return {"role": "assistant", "content": None, "tool_calls": functions, **more}


def told(ident: str, content: Any = "r") -> JSON:
    return {"role": "tool", "tool_call_id": ident, "content": content}


def function(**more: Any) -> JSON:
    return {"tools": [{"type": "function", "function": {"name": "f", **more}}]}


def form(**more: Any) -> JSON:
    return {"response_format": {"type": "json_schema", "json_schema": more}}


def picture(url: str = f"data:image/png;base64,{PNG}", **more: Any) -> JSON:
    return {"type": "image_url", "image_url": {"url": url, **more}}


CHAT_BAD: list[tuple[JSON, str]] = [
    (chat(HI, calls("a", "b"), told("a")), "must be followed by tool messages"),
    (chat(HI, calls("a"), HI, told("a")), "must be followed by tool messages"),
    (chat(HI, told("a")), "must be a response to a preceeding"),
    (chat(HI, calls("a"), told("a"), told("a")), "must be a response to a preceeding"),
    (chat(HI, calls("a", "a"), told("a")), "Duplicate value"),
    (chat(HI, calls("a" * 41), told("a" * 41)), "string too long"),
    (chat(HI, calls("a"), told("a", [picture()])), "Image URLs are only allowed"),
    (chat({"role": "system", "content": [picture()]}, HI), "Image URLs are only allowed"),
    (chat(user({**text("x"), "cache_control": {}})), "Unknown parameter: 'messages[0].content[0].cache_control'"),
    (chat(user(picture("data:image/png;base64,!!"))), "base64"),
    (chat(user(picture("data:image/bmp;base64,Qk0="))), "unsupported image"),
    (chat(user(picture("ftp://x"))), "valid URL"),
    (chat(user(picture(detail="huge"))), "Supported values"),
    (chat(stop=["a", "b", "c", "d", "e"]), "'stop'"),
    (chat(model="gpt-5", max_tokens=5), "max_completion_tokens"),
    (chat(model="gpt-5", temperature=0.5), "does not support 0.5"),
    (chat(model="o4-mini", stop="x"), "'stop' is not supported"),
    (chat(model="o4-mini", logprobs=True), "'logprobs' is not supported"),
    (chat(reasoning_effort="low"), "'reasoning_effort' is not supported"),
    (chat(tool_choice="auto"), "only allowed when 'tools' are specified"),
    (chat(parallel_tool_calls=False), "only allowed when 'tools' are specified"),
    (chat(tools=[]), "empty array"),
    (chat(**function(name="a b")), "string does not match pattern"),
    (chat(**function(parameters={"type": "string"})), "Invalid schema for function 'f'"),
    (chat(**function(parameters=OBJECT, strict=True)), "'additionalProperties' is required"),
    (chat(tools=[{"type": "web_search"}]), "Supported values are: 'function'"),
    (chat(**form(schema=OBJECT)), "json_schema.name"),
    (chat(**form(name="a b", schema=OBJECT)), "string does not match pattern"),
    (chat(**form(name="s")), "json_schema.schema"),
    (chat(**form(name="s", schema={"type": "array"})), "schema must be a JSON Schema of 'type:"),
    (chat(**form(name="s", schema={**STRICT, "required": []}, strict=True)), "Missing 'n'"),
    (chat(response_format={"type": "json_object"}), "must contain the word 'json'"),
    (chat(stream_options={"include_usage": True}), "only allowed when 'stream' is enabled"),
    (chat(top_logprobs=2), "only allowed when 'logprobs'"),
]
CHAT_GOOD: list[JSON] = [
    chat(HI, calls("a", "b"), told("b"), told("a", [text("x")])),
    chat(HI, calls("a", annotations=[], refusal=None, reasoning_content="x"), told("a")),
    chat(user(text("x"), picture(detail="low"), picture("https://a.example/x.png"))),
    chat(model="gpt-5", max_completion_tokens=50, reasoning_effort="low", temperature=1),
    chat(model="gpt-5.2", temperature=0.2, reasoning_effort="none"),
    chat(**function(parameters=STRICT, strict=True), tool_choice="required", parallel_tool_calls=False),
    chat(**form(name="s", schema=OBJECT)),
    chat(stop=["a", "b", "c", "d"], seed=1, logit_bias={"1": 1}),
]


@pytest.mark.parametrize(("body", "message"), CHAT_BAD, ids=[message[:40] for _, message in CHAT_BAD])
async def test_openai_chat_refuses(ask: Asker, body: JSON, message: str) -> None:
    await ask.bad(CHAT, body, message)


@pytest.mark.parametrize("body", CHAT_GOOD)
async def test_openai_chat_takes(ask: Asker, body: JSON) -> None:
    await ask.good(CHAT, body)


def respond(*items: JSON, **more: Any) -> JSON:
    return {"model": "gpt-5", "input": [HI, *items], **more}


def item(kind: str, **more: Any) -> JSON:
    return {"type": kind, **more}


CALL: JSON = item("function_call", call_id="c", name="f", arguments="{}")
OUTPUT: JSON = item("function_call_output", call_id="c", output="r")
RESPONSES_BAD: list[tuple[JSON, str]] = [
    (respond(OUTPUT), "No tool call found"),
    (respond(OUTPUT, CALL), "No tool call found"),
    (respond(CALL), "No tool output found"),
    (respond({**CALL, "id": "call_1"}, OUTPUT), "Expected an ID that begins with 'fc'"),
    (respond(item("message", role="assistant", content=[item("input_text", text="x")])), "Supported values"),
    (respond(item("message", role="user", content=[item("output_text", text="x")])), "Supported values"),
    (respond(item("message", role="user", content=[text("x")])), "Supported values"),
    (respond(item("frob")), "Invalid value: 'frob'"),
    (respond({**CALL, "thought_signature": "x"}, OUTPUT), "Unknown parameter"),
    (respond(item("reasoning", id="rs_1", summary=[]), {"role": "assistant", "content": "x"}), "not found"),
    (respond(item("item_reference", id="msg_1")), "not found"),
    (respond(previous_response_id="resp_none"), "not found"),
    (respond(model="gpt-4o", reasoning={"effort": "low"}), "'reasoning.effort' is not supported"),
    (respond(temperature=0.5), "does not support 0.5"),
    (respond(tool_choice="required"), "must be specified with 'tools'"),
    (respond(tools=[{"type": "function", "function": {"name": "f"}}]), "tools[0].name"),
    (respond(tools=[{"type": "function", "name": "f", "parameters": OBJECT, "strict": True}]), "additionalProperties"),
    (respond(text={"format": {"type": "json_schema", "schema": OBJECT}}), "text.format.name"),
    (respond(text={"format": {"type": "json_object"}}), "word 'json'"),
    (respond(text={"format": {"type": "xml"}}), "Supported values"),
    (respond(stream_options={}, stream=None, max_output_tokens=15), "max_output_tokens"),
    (respond(stop="x"), "stop"),
]


@pytest.mark.parametrize(("body", "message"), RESPONSES_BAD, ids=[message[:40] for _, message in RESPONSES_BAD])
async def test_openai_responses_refuse(ask: Asker, body: JSON, message: str) -> None:
    await ask.bad(RESPONSES, body, message)


async def test_sealed_reasoning_is_good_for_one_account_only(ask: Asker) -> None:
    tools = [{"type": "function", "name": "f", "parameters": OBJECT}]
    wanted = {"tools": tools, "store": False, "include": ["reasoning.encrypted_content"]}
    first = await ask.good(RESPONSES, respond(reasoning={"effort": "low"}, **wanted), "key-a")
    thought, call = first["output"]
    output = {**OUTPUT, "call_id": call["call_id"]}
    after = respond(thought, call, output, **wanted)
    answer = await ask.good(RESPONSES, after, "key-a")
    assert answer["output"][0]["content"][0]["text"] == "The tool said: r"
    await ask.bad(RESPONSES, after, "could not be verified", "key-b")
    await ask.bad(RESPONSES, respond(thought, **wanted), "without its required following item", "key-a")
    bare = {key: value for key, value in thought.items() if key != "encrypted_content"}
    await ask.bad(RESPONSES, respond(bare, call, output), "Items are not persisted", "key-a")


async def test_stored_responses_are_remembered_for_their_account(ask: Asker) -> None:
    tools = [{"type": "function", "name": "f", "parameters": OBJECT}]
    first = await ask.good(RESPONSES, respond(tools=tools, reasoning={"effort": "low"}), "key-a")
    thought, call = first["output"]
    output = {**OUTPUT, "call_id": call["call_id"]}
    follow = {"model": "gpt-5", "previous_response_id": first["id"], "tools": tools}
    answer = await ask.good(RESPONSES, {**follow, "input": [output]}, "key-a")
    assert answer["output"][0]["content"][0]["text"] == "The tool said: r"
    await ask.bad(RESPONSES, {**follow, "input": "more"}, "No tool output found", "key-a")
    await ask.bad(RESPONSES, {**follow, "input": [OUTPUT]}, "No tool call found", "key-a")
    await ask.bad(RESPONSES, {**follow, "input": [output]}, "not found", "key-b")
    # what is stored may be named by its id
    bare = {key: value for key, value in thought.items() if key in ("type", "id", "summary")}
    await ask.good(RESPONSES, respond(bare, item("item_reference", id=call["id"]), output), "key-a")
    unkept = await ask.good(RESPONSES, respond(store=False), "key-a")
    await ask.bad(
        RESPONSES, {"model": "gpt-5", "previous_response_id": unkept["id"], "input": "x"}, "not found", "key-a"
    )


async def test_log_probabilities_of_responses(ask: Asker) -> None:
    wanted = {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "model": "gpt-4o"}
    part = (await ask.good(RESPONSES, respond(**wanted)))["output"][0]["content"][0]
    assert [one["token"] for one in part["logprobs"]] == ["You", " said:", " hi"]


# -- DashScope, MiniMax, DeepSeek, Kimi --------------------------------------------------------------------------------

TEXT = "/ali/api/v1/services/aigc/text-generation/generation"
MULTI = "/ali/api/v1/services/aigc/multimodal-generation/generation"
SEEN = user({"image": f"data:image/png;base64,{PNG}"}, {"text": "look"})
FUNCTION: JSON = {"type": "function", "function": {"name": "f", "parameters": OBJECT}}
NAMED: JSON = {"type": "function", "function": {"name": "f"}}


def native(model: str, message: JSON = HI, **parameters: Any) -> JSON:
    return {"model": model, "input": {"messages": [message]}, "parameters": parameters}


NATIVE_BAD: list[tuple[str, JSON, str]] = [
    (MULTI, native("qwen-plus"), "url error"),
    (TEXT, native("qwen3-vl-plus"), "url error"),
    (TEXT, native("qwen-plus", SEEN), "Input should be a valid string"),
    (TEXT, native("qwen-plus", tools=[FUNCTION], tool_choice="required"), "tool_choice is one of"),
    (TEXT, native("qwen-plus", tools=[FUNCTION], tool_choice={"function": {"name": "z"}}), "tool_choice"),
    (TEXT, native("qwen-plus", enable_thinking=True), "non-streaming calls"),
    (TEXT, native("qwen3-32b"), "non-streaming calls"),
    (TEXT, native("qwen3-235b-a22b-thinking-2507"), "only support stream mode"),
    (TEXT, native("qwq-32b", enable_thinking=False), "restricted to True"),
    (TEXT, native("qwen-plus", response_format={"type": "json_object"}), "word 'json'"),
    (TEXT, native("qwen-plus", response_format={"type": "json_schema"}), "response_format.json_schema"),
    (MULTI, native("qwen-vl-plus", user({"image": "data:image/png;base64,!"})), "image"),
]


@pytest.mark.parametrize(("path", "body", "message"), NATIVE_BAD, ids=[row[2] for row in NATIVE_BAD])
async def test_dashscope_refuses(ask: Asker, path: str, body: JSON, message: str) -> None:
    await ask.bad(path, body, message)


async def test_dashscope_takes(ask: Asker) -> None:
    await ask.good(MULTI, native("qwen3-vl-plus", SEEN))
    for path in (TEXT, MULTI):
        await ask.good(path, native("qwen3.5-plus"))
    await ask.good(TEXT, native("qwen3-32b", enable_thinking=False, tools=[FUNCTION], tool_choice=NAMED))
    stream = {"X-DashScope-SSE": "enable"}
    thinking: list[tuple[str, JSON]] = [("qwen-plus", {"enable_thinking": True}), ("qwen3-32b", {}), ("qwq-32b", {})]
    for model, more in thinking:
        status, said = await ask(
            TEXT, native(model, result_format="message", incremental_output=True, **more), **stream
        )
        assert (status, '"reasoning_content":"The"' in said) == (200, True), said
    forced = native("qwen-plus", enable_thinking=True, incremental_output=True, tools=[FUNCTION], tool_choice=NAMED)
    status, said = await ask(TEXT, forced, **stream)
    assert (status, "thinking mode" in said["message"]) == (400, True)
    status, said = await ask(TEXT, native("qwen-plus", enable_thinking=True), **stream)
    assert (status, "incremental_output must be" in said["message"]) == (400, True)


async def test_minimax_tells_errors_in_200_and_thoughts_twice(ask: Asker) -> None:
    path = "/minimax/v1/text/chatcompletion_v2"
    await ask.bad(path, {"model": "MiniMax-M2", "messages": [HI], "n": 2}, "invalid params")
    body = {"model": "MiniMax-M2+think=2", "messages": [HI], "reasoning_split": True}
    message = (await ask.good(path, body))["choices"][0]["message"]
    assert message["reasoning_content"] == message["reasoning_details"][0]["text"] == "The user"


@pytest.mark.parametrize(
    ("path", "model", "more"),
    [
        ("/deepseek/chat/completions", "deepseek-reasoner", {}),
        ("/deepseek/chat/completions", "deepseek-chat", {"thinking": {"type": "enabled"}}),
        ("/moonshot/v1/chat/completions", "kimi-k2.5", {}),
        ("/moonshot/v1/chat/completions", "kimi-k2-thinking", {}),
    ],
)
async def test_reasoning_is_wanted_back_with_its_calls(ask: Asker, path: str, model: str, more: JSON) -> None:
    body: JSON = {"model": model, "messages": [HI], "tools": [FUNCTION], **more}
    turn = (await ask.good(path, body))["choices"][0]["message"]
    assert turn["reasoning_content"]
    results = [told(call["id"]) for call in turn["tool_calls"]]
    await ask.good(path, {**body, "messages": [HI, turn, *results]})
    bare = {key: value for key, value in turn.items() if key != "reasoning_content"}
    await ask.bad(path, {**body, "messages": [HI, bare, *results]}, "reasoning_content")
    if "kimi-k2.5" in model:
        await ask.good(path, {**body, "messages": [HI, bare, *results], "thinking": {"type": "disabled"}})
