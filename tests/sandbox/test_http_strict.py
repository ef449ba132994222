"""What Anthropic and Gemini refuse, and what they take: whole conversations, one rule a line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.asking import HI, JSON, OBJECT, PNG, STRICT, Asker, asking, text, user


@pytest.fixture
async def ask() -> AsyncIterator[Asker]:
    async with asking() as asker:
        yield asker


# -- Anthropic ---------------------------------------------------------------------------------------------------------

MESSAGES = "/anthropic/v1/messages"
SONNET, ADAPTIVE, OLD = "claude-sonnet-4-6", "claude-opus-4-8", "claude-3-5-haiku-latest"
TOOL: JSON = {"name": "f", "input_schema": OBJECT}


def uses(*ids: str, before: tuple[JSON, ...] = ()) -> JSON:
    blocks = [{"type": "tool_use", "id": one, "name": "f", "input": {}} for one in ids]
    return {"role": "assistant", "content": [*before, *blocks]}


def result(ident: str, content: Any = "r") -> JSON:
    return {"type": "tool_result", "tool_use_id": ident, "content": content}


def image(**source: str) -> JSON:
    return {"type": "image", "source": source}


def talk(*messages: JSON, **more: Any) -> JSON:
    return {"model": SONNET, "max_tokens": 2000, "messages": list(messages), **more}


THINK: JSON = {"type": "enabled", "budget_tokens": 1024}
ANTHROPIC_BAD: list[tuple[JSON, str]] = [
    # the order of calls and results
    (talk(HI, uses("a", "b"), user(result("a"))), "without `tool_result` blocks immediately after: b"),
    (talk(HI, uses("a"), user(text("x"), result("a"))), "without `tool_result` blocks immediately after: a"),
    (talk(HI, uses("a"), HI, user(result("a"))), "immediately after"),
    (talk(HI, uses("a")), "immediately after"),
    (talk(HI, uses("a"), user(result("a"), result("a"))), "must have a single result"),
    (talk(HI, uses("a"), user(result("a"), result("z"))), "unexpected `tool_use_id`"),
    (talk(HI, uses("a", "a"), user(result("a"))), "ids must be unique"),
    (talk(HI, uses("functions.f:0"), user(result("functions.f:0"))), "should match pattern"),
    (talk(HI, uses("a"), user(result("a", [text("")]))), "text content blocks must be non-empty"),
    (talk(HI, uses("a"), user(result("a", [{"type": "tool_use"}]))), "does not match any of the expected tags"),
    # texts and ends
    (talk(user(text(" \n"))), "must contain non-whitespace text"),
    (talk(HI, system=[text("")]), "system: text content blocks must be non-empty"),
    (talk(HI, {"role": "assistant", "content": "So "}), "cannot end with trailing whitespace"),
    (talk(HI, {"role": "assistant", "content": ""}, HI), "text content blocks must be non-empty"),
    (talk({**HI, "name": "bob"}), "messages.0.name: Extra inputs are not permitted"),
    (talk(user({**text("x"), "cache": 1})), "text.cache: Extra inputs are not permitted"),
    # pictures and documents
    (talk(user(image(type="base64", media_type="image/bmp", data=PNG))), "media_type: Input should be"),
    (talk(user(image(type="base64", media_type="image/jpeg", data=PNG))), "does not match the provided media type"),
    (talk(user(image(type="base64", media_type="image/png", data="!"))), "Invalid base64 data"),
    (talk(user(image(type="base64", data=PNG))), "media_type: Field required"),
    (talk(user(image(type="url", url="http://a.example/x.png"))), "Only HTTPS URLs"),
    (talk(user(image(type="url", url=f"data:image/png;base64,{PNG}"))), "Only HTTPS URLs"),
    (talk(user({"type": "document", "source": {"type": "base64", "media_type": "text/csv", "data": PNG}})), "pdf"),
    # thinking
    (talk(HI, thinking=THINK, tools=[TOOL], tool_choice={"type": "any"}), "forces tool use"),
    (talk(HI, thinking={"type": "adaptive"}, temperature=0.5), "may only be set to 1"),
    (talk(HI, thinking=THINK, top_k=5), "`top_k` must be unset"),
    (talk(HI, thinking=THINK, top_p=0.5), "`top_p` must be greater"),
    (talk(HI, thinking={"type": "enabled"}), "budget_tokens: Field required"),
    (talk(HI, thinking={"type": "adaptive", "budget_tokens": 1024}), "Extra inputs"),
    (talk(HI, thinking=THINK, model=ADAPTIVE), "enabled thinking is not supported"),
    (talk(HI, thinking=THINK, model=OLD), "does not support thinking"),
    (talk(HI, thinking={"type": "adaptive"}, model="claude-sonnet-4-5"), "adaptive thinking is not supported"),
    (talk(HI, output_config={"effort": "low"}, model="claude-sonnet-4-5"), "effort parameter"),
    (talk(HI, output_config={"effort": "some"}), "output_config.effort"),
    (talk(HI, model=OLD, max_tokens=9000), "9000 > 8192"),
    # tools and forms
    (talk(HI, tools=[{**TOOL, "name": "a b"}]), "should match pattern"),
    (talk(HI, tools=[TOOL, TOOL]), "Tool names must be unique"),
    (talk(HI, tools=[{**TOOL, "parameters": {}}]), "parameters: Extra inputs"),
    (talk(HI, tools=[{"name": "f", "input_schema": {**OBJECT, "anyOf": []}}]), "at the top level"),
    (talk(HI, tools=[{**TOOL, "strict": True}]), "must be explicitly set to false"),
    (talk(HI, tools=[TOOL], tool_choice={"type": "none", "disable_parallel_tool_use": True}), "Extra inputs"),
    (talk(HI, tool_choice={"type": "auto"}), "while providing tools"),
    (talk(HI, output_config={"format": {"type": "json_schema", "schema": OBJECT}}), "explicitly set to false"),
    (
        talk(HI, output_config={"format": {"type": "json_schema", "schema": {"type": "integer", "minimum": 1}}}),
        "properties minimum are not supported",
    ),
    (talk(HI, output_config={"format": {"type": "json_object"}}), "Input should be 'json_schema'"),
    (talk(HI, model=OLD, output_config={"format": {"type": "json_schema", "schema": STRICT}}), "structured outputs"),
    (talk(HI, metadata={"team": "x"}), "metadata.team: Extra inputs"),
    (talk(HI, service_tier="flex"), "service_tier: Input should be"),
]
ANTHROPIC_GOOD: list[JSON] = [
    talk(HI, uses("a", "b"), user(result("b"), result("a"), text("go on")), tools=[TOOL]),
    # neighbours are one turn
    talk(HI, uses("a"), user(result("a")), user(text("go on"))),
    talk(HI, uses("a"), uses("b"), user(result("a")), user(result("b"))),
    talk(HI, {"role": "assistant", "content": "one"}, uses("a"), user(result("a", ""))),
    talk(HI, uses("a"), user(result("a", [text("x"), image(type="url", url="https://a.example/x.png")]))),
    talk(HI, {"role": "assistant", "content": "So"}),
    talk(HI, {"role": "assistant", "content": ""}),
    talk(HI, thinking={"type": "adaptive"}, model=ADAPTIVE, output_config={"effort": "max"}),
    talk(HI, thinking={"type": "disabled"}, model=OLD, temperature=0.2),
    talk(HI, output_config={"format": {"type": "json_schema", "schema": STRICT}}),
    talk(HI, tools=[{**TOOL, "description": "d", "type": "custom", "cache_control": {"type": "ephemeral"}}]),
]


@pytest.mark.parametrize(("body", "message"), ANTHROPIC_BAD, ids=[message[:40] for _, message in ANTHROPIC_BAD])
async def test_anthropic_refuses(ask: Asker, body: JSON, message: str) -> None:
    await ask.bad(MESSAGES, body, message)


@pytest.mark.parametrize("body", ANTHROPIC_GOOD)
async def test_anthropic_takes(ask: Asker, body: JSON) -> None:
    await ask.good(MESSAGES, body)


async def test_counting_takes_the_conversation_and_no_more(ask: Asker) -> None:
    body = {"model": SONNET, "messages": [HI], "tools": [TOOL], "thinking": THINK}
    assert (await ask.good(f"{MESSAGES}/count_tokens", body))["input_tokens"] > 2
    for name, value in (("max_tokens", 10), ("temperature", 1), ("stream", True)):
        await ask.bad(f"{MESSAGES}/count_tokens", {**body, name: value}, f"{name}: Extra inputs")


@pytest.mark.parametrize("directives", ["", "+redacted", "+redacted+think=0"])
async def test_thinking_is_good_for_one_account_only(ask: Asker, directives: str) -> None:
    model = f"{SONNET}{directives}"
    first = talk(HI, thinking=THINK, tools=[TOOL], model=model)
    answer = await ask.good(MESSAGES, first, "key-a")
    kinds = [block["type"] for block in answer["content"]]
    assert kinds[-1] == "tool_use"
    assert ("redacted_thinking" in kinds) == ("redacted" in directives)
    turn = {"role": "assistant", "content": answer["content"]}
    after = {**first, "messages": [HI, turn, user(result(answer["content"][-1]["id"]))]}
    assert (await ask.good(MESSAGES, after, "key-a"))["content"][-1]["text"] == "The tool said: r"
    await ask.bad(MESSAGES, after, "_thinking` block" if "redacted" in directives else "Invalid `signature`", "key-b")
    bare = {**turn, "content": answer["content"][-1:]}
    without = {**after, "messages": [HI, bare, after["messages"][2]]}
    await ask.bad(MESSAGES, without, "Expected `thinking` or `redacted_thinking`", "key-a")
    await ask.good(MESSAGES, {**without, "thinking": {"type": "adaptive"}}, "key-a")


async def test_thinking_cannot_be_the_last_word(ask: Asker) -> None:
    answer = await ask.good(MESSAGES, talk(HI, thinking=THINK))
    turn = {"role": "assistant", "content": answer["content"][:1]}
    await ask.bad(MESSAGES, talk(HI, turn, HI), "final block in an assistant message cannot be `thinking`")


# -- Gemini ------------------------------------------------------------------------------------------------------------

TWO, PRO, THREE, LAST = "gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash", "gemini-2.0-flash"


def generate(model: str, method: str = "generateContent") -> str:
    return f"/gemini/v1beta/models/{model.replace('+', '%2B')}:{method}"


def said(*parts: JSON, role: str = "user") -> JSON:
    return {"role": role, "parts": list(parts)}


def config(**more: Any) -> JSON:
    return {"contents": [said({"text": "hi"})], "generationConfig": more}


def called(*names: str) -> JSON:
    return said(*({"functionCall": {"name": name, "args": {}}} for name in names), role="model")


def answered(*names: str) -> JSON:
    return said(*({"functionResponse": {"name": name, "response": {"result": "r"}}} for name in names))


def declared(**more: Any) -> JSON:
    return {"contents": [said({"text": "hi"})], "tools": [{"functionDeclarations": [{"name": "f", **more}]}]}


def contents(*turns: JSON) -> JSON:
    return {"contents": list(turns)}


GO: JSON = said({"text": "go"})
GEMINI_BAD: list[tuple[str, JSON, str]] = [
    (TWO, contents(GO, called("f", "g"), answered("f")), "number of function response parts"),
    (TWO, contents(GO, called("f"), answered("g")), "number of function response parts"),
    (TWO, contents(GO, called("f"), GO), "number of function response parts"),
    (TWO, contents(called("f"), answered("f")), "function call turn comes immediately after a user turn"),
    (TWO, contents(GO, said({"text": "x"}, role="model"), called("f"), answered("f")), "function call turn"),
    (TWO, contents(GO, answered("f")), "immediately after a function call turn"),
    (TWO, contents(said({"text": ""})), "required oneof field"),
    (TWO, contents(said({"text": "x", "inlineData": {}})), "oneof"),
    (TWO, contents(said({"text": "x", "cacheControl": {}})), "Unknown name"),
    (TWO, contents(said({"functionResponse": {"name": "f", "output": "x"}})), "Unknown name"),
    (TWO, contents(said({"inlineData": {"mimeType": "image/gif", "data": PNG}})), "Unsupported MIME type"),
    (TWO, contents(said({"fileData": {"fileUri": "ftp://x"}})), "file uri"),
    (LAST, contents(said({"fileData": {"fileUri": "https://a.example/x.png"}})), "file uri"),
    (LAST, config(thinkingConfig={"includeThoughts": True}), "Thinking is not enabled"),
    (TWO, config(thinkingConfig={"thinkingLevel": "LOW"}), "Thinking level is not supported"),
    (TWO, config(thinkingConfig={"thinkingBudget": 30000}), "thinking budget 30000 is invalid"),
    (PRO, config(thinkingConfig={"thinkingBudget": 0}), "only works in thinking mode"),
    (THREE, config(thinkingConfig={"thinkingBudget": 1, "thinkingLevel": "LOW"}), "only set only one"),
    ("gemini-3-pro-preview", config(thinkingConfig={"thinkingLevel": "minimal"}), "level MINIMAL is not supported"),
    (TWO, config(responseJsonSchema=OBJECT), "only allowed when response_mime_type"),
    (TWO, config(responseMimeType="text/html"), "response_mime_type"),
    (TWO, config(responseMimeType="application/json", responseSchema={"type": "OBJECT", "$ref": "x"}), "$ref"),
    (TWO, config(responseMimeType="application/json", responseSchema=OBJECT, responseJsonSchema=OBJECT), "exclusive"),
    (TWO, config(logprobs=2), "requires response_logprobs"),
    (TWO, {**declared(), "generationConfig": {"responseMimeType": "application/json"}}, "response mime type"),
    (TWO, declared(name="1f"), "Invalid function name"),
    (TWO, declared(parameters={"type": "OBJECT", "$schema": "x"}), "$schema"),
    (TWO, declared(parameters=OBJECT, parametersJsonSchema=OBJECT), "exclusive"),
    (TWO, declared(strict=True), "Unknown name"),
    (
        TWO,
        {**declared(), "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["z"]}}},
        "not declared",
    ),
]
GEMINI_GOOD: list[tuple[str, JSON]] = [
    (TWO, contents(GO, called("f", "g"), answered("g", "f"))),
    (THREE, contents(GO, called("f"), answered("f"), said({"text": "x"}, role="model"), GO)),  # an older turn
    (TWO, contents(said({"inline_data": {"mime_type": "image/png", "data": PNG.replace("+", "-").replace("/", "_")}}))),
    (TWO, contents(said({"fileData": {"fileUri": "https://a.example/x.png"}}))),
    (TWO, config(thinkingConfig={"thinkingBudget": -1})),
    (THREE, config(thinkingConfig={"thinkingLevel": "minimal"})),
    (THREE, {**declared(parametersJsonSchema=STRICT), "generationConfig": {"responseMimeType": "application/json"}}),
]


@pytest.mark.parametrize(("model", "body", "message"), GEMINI_BAD, ids=[row[2][:40] for row in GEMINI_BAD])
async def test_gemini_refuses(ask: Asker, model: str, body: JSON, message: str) -> None:
    await ask.bad(generate(model), body, message)


@pytest.mark.parametrize(("model", "body"), GEMINI_GOOD)
async def test_gemini_takes(ask: Asker, model: str, body: JSON) -> None:
    await ask.good(generate(model), body)


@pytest.mark.parametrize("directives", ["", "+late_signature"])
async def test_thought_signatures_are_good_for_one_account_only(ask: Asker, directives: str) -> None:
    path = generate(THREE + directives)
    body = declared(parametersJsonSchema=OBJECT)
    turn = (await ask.good(path, body, "key-a"))["candidates"][0]["content"]
    signed = [part for part in turn["parts"] if "thoughtSignature" in part]
    assert [("functionCall" in part) for part in signed] == [not directives]
    after = {**body, "contents": [*body["contents"], turn, answered("f")]}
    await ask.good(path, after, "key-a")
    await ask.bad(path, after, "Thought signature is not valid", "key-b")
    bare = said({"functionCall": turn["parts"][0]["functionCall"]}, role="model")
    unsigned = {**body, "contents": [*body["contents"], bare, answered("f")]}
    await ask.bad(path, unsigned, "missing a thought_signature", "key-a")
    await ask.good(generate(TWO), unsigned)


async def test_pictures_in_answers_and_in_disguise(ask: Asker) -> None:
    body = contents(said({"text": "a cat"}))
    found = (await ask.good(generate("gemini-2.5-flash-image"), body))["candidates"][0]["content"]["parts"]
    hidden = (await ask.good(generate("gemini-2.5-flash-image+text_image"), body))["candidates"][0]["content"]["parts"]
    assert [list(part) for part in found] == [["text"], ["inlineData"]]
    assert [part.get("text") for part in hidden] == ["You said: a cat", found[1]["inlineData"]["data"]]
    answer = await ask.good(generate(TWO), config(responseLogprobs=True, logprobs=2))
    result = answer["candidates"][0]["logprobsResult"]
    assert [one["token"] for one in result["chosenCandidates"]] == ["You", " said:", " hi"]
    assert [len(one["candidates"]) for one in result["topCandidates"]] == [2, 2, 2]
