"""The six chat dialects side by side: each directive shows in each of them, plain and streamed.

A `Wire` is how one dialect asks and how its answer is read; what is said is the same for all.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from yarl import URL

from gateway.sandbox import media
from gateway.sandbox.app import Running, start

JSON = dict[str, Any]
PIXEL = base64.b64encode(media.png("x", 1, 1)).decode()
SCHEMA: JSON = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
CITY: JSON = {"type": "object", "properties": {"city": {"type": "string"}}}
NAMES = ("weather", "clock")


@dataclass
class Seen:
    """An answer in no dialect's words."""

    text: str = ""
    thought: str = ""
    refusal: str = ""
    calls: dict[Any, tuple[str, str]] = field(default_factory=dict)  # name and arguments, in order
    finish: str | None = None
    usage: JSON | None = None
    order: list[Any] = field(default_factory=list)  # whose fragment came, of calls

    def call(self, key: Any, name: str | None, arguments: str) -> None:
        old_name, old = self.calls.get(key, ("", ""))
        self.calls[key] = (name or old_name, old + arguments)
        self.order.append(key)


# -- reading answers ---------------------------------------------------------------------------------------------------


def chat(events: list[JSON], seen: Seen) -> None:
    for event in events:
        for choice in event["choices"] or []:
            # A closing frame that holds the whole answer again is read for its usage only.
            part = choice.get("delta") or (choice["message"] if len(events) == 1 else {})
            seen.text += part.get("content") or ""
            seen.thought += part.get("reasoning_content") or ""
            seen.refusal += part.get("refusal") or ""
            for k, call in enumerate(part.get("tool_calls") or []):
                function = call["function"]
                seen.call(call.get("index", k), function.get("name"), function.get("arguments") or "")
            seen.finish = choice.get("finish_reason") or seen.finish
        seen.usage = event.get("usage") or seen.usage


def responses(events: list[JSON], seen: Seen) -> None:
    for event in events:
        kind = event.get("type", "")
        if kind == "response.function_call_arguments.delta":
            seen.order.append(event["output_index"])
        elif kind.endswith(".delta") and "summary" not in kind:
            seen.finish = "streamed"
    final = events[-1].get("response", events[-1])
    for index, item in enumerate(final["output"]):
        if item["type"] == "function_call":
            seen.calls[index] = (item["name"], item["arguments"])
        elif item["type"] == "reasoning":
            seen.thought += item["summary"][0]["text"]
        else:
            seen.text += item["content"][0].get("text", "")
            seen.refusal += item["content"][0].get("refusal", "")
    seen.finish = (final["incomplete_details"] or {}).get("reason", final["status"])
    seen.usage = final["usage"] or None


def messages(events: list[JSON], seen: Seen) -> None:
    if events[0]["type"] == "message":
        for k, block in enumerate(events[0]["content"]):
            seen.text += block.get("text", "")
            seen.thought += block.get("thinking", "")
            if block["type"] == "tool_use":
                seen.call(k, block["name"], json.dumps(block["input"]))
        seen.finish, seen.usage = events[0]["stop_reason"], events[0].get("usage")
    for event in events:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            seen.call(event["index"], event["content_block"]["name"], "")
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            seen.text += delta.get("text", "")
            seen.thought += delta.get("thinking", "")
            if "partial_json" in delta:
                seen.call(event["index"], None, delta["partial_json"])
        elif event["type"] == "message_delta":
            seen.finish, seen.usage = event["delta"]["stop_reason"], event.get("usage")


def gemini(events: list[JSON], seen: Seen) -> None:
    for event in events:
        for candidate in event.get("candidates", []):
            for part in candidate["content"].get("parts", []):
                if "functionCall" in part:
                    call = part["functionCall"]
                    seen.call(len(seen.calls), call["name"], json.dumps(call.get("args", {})))
                elif part.get("thought"):
                    seen.thought += part["text"]
                else:
                    seen.text += part["text"]
            seen.finish = candidate.get("finishReason") or seen.finish
        seen.usage = event.get("usageMetadata") or seen.usage


def native(events: list[JSON], seen: Seen) -> None:
    for event in events:
        choice = event["output"]["choices"][0]
        message = choice["message"]
        said = message["content"]
        seen.text += said if isinstance(said, str) else "".join(part["text"] for part in said)
        seen.thought += message.get("reasoning_content", "")
        for call in message.get("tool_calls", []):
            seen.call(call["index"], call["function"].get("name"), call["function"]["arguments"])
        seen.finish = choice["finish_reason"]
        seen.usage = event.get("usage") or seen.usage


# -- asking ------------------------------------------------------------------------------------------------------------


def _functions(nested: bool) -> list[JSON]:
    tools = [{"name": name, "parameters": CITY} for name in NAMES]
    return [{"type": "function", "function": tool} if nested else {"type": "function", **tool} for tool in tools]


def ask_chat(text: str, image: bool, tools: bool, schema: bool) -> JSON:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    body: JSON = {"messages": [{"role": "user", "content": [{"type": "text", "text": text}] + [picture] * image}]}
    if tools:
        body["tools"] = _functions(True)
    if schema:
        form = {"name": "s", "schema": SCHEMA, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return body


def ask_responses(text: str, image: bool, tools: bool, schema: bool) -> JSON:
    picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}
    body: JSON = {"input": [{"role": "user", "content": [{"type": "input_text", "text": text}] + [picture] * image}]}
    if tools:
        body["tools"] = _functions(False)
    if schema:
        body["text"] = {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA, "strict": True}}
    return body


def ask_messages(text: str, image: bool, tools: bool, schema: bool) -> JSON:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    content = [{"type": "text", "text": text}] + [picture] * image
    body: JSON = {"max_tokens": 1000, "messages": [{"role": "user", "content": content}]}
    if tools:
        body["tools"] = [{"name": name, "input_schema": CITY} for name in NAMES]
    if schema:
        body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    return body


def ask_gemini(text: str, image: bool, tools: bool, schema: bool) -> JSON:
    picture = {"inlineData": {"mimeType": "image/png", "data": PIXEL}}
    body: JSON = {"contents": [{"role": "user", "parts": [{"text": text}] + [picture] * image}]}
    config: JSON = {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 0}}
    if tools:
        body["tools"] = [{"functionDeclarations": [{"name": n, "parametersJsonSchema": CITY} for n in NAMES]}]
    if schema:
        config |= {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    return body | {"generationConfig": config}


def ask_native(text: str, image: bool, tools: bool, schema: bool) -> JSON:
    content: Any = [{"text": text}, {"image": f"data:image/png;base64,{PIXEL}"}] if image else text
    parameters: JSON = {"result_format": "message", "incremental_output": True}
    if tools:
        parameters["tools"] = _functions(True)
    if schema:
        parameters["response_format"] = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}
    return {"input": {"messages": [{"role": "user", "content": content}]}, "parameters": parameters}


@dataclass(frozen=True)
class Wire:
    """One dialect: where and how it is asked, how it is read, and its words for why an answer ended."""

    path: str
    model: str
    ask: Callable[[str, bool, bool, bool], JSON]
    read: Callable[[list[JSON], Seen], None]
    ends: dict[str, str]
    input: Callable[[JSON], int]
    output: Callable[[JSON], int]
    cached: Callable[[JSON], int]
    stream: JSON = field(default_factory=lambda: {"stream": True})
    streamed_path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    shows_thought: bool = True
    refuses: bool = False  # has a field for refusals
    texts: bool = True  # arguments are text
    interleaves: bool = True
    error: Callable[[JSON], Any] = lambda value: value["error"]["message"]
    image_model: str = ""
    image_path: str = ""


CHAT_ENDS = {"stop": "stop", "length": "length", "tools": "tool_calls", "filter": "content_filter"}
ASKED: JSON = {"stream": True, "stream_options": {"include_usage": True}}


def details(usage: JSON, *path: str) -> int:
    value: Any = usage
    for name in path:
        value = value.get(name, {})
    return value or 0


WIRES = {
    "openai.chat": Wire(
        "/openai/v1/chat/completions", "gpt-4o", ask_chat, chat, CHAT_ENDS, lambda u: u["prompt_tokens"],
        lambda u: u["completion_tokens"], lambda u: details(u, "prompt_tokens_details", "cached_tokens"),
        stream=ASKED, shows_thought=False, refuses=True,
    ),
    "openai.responses": Wire(
        "/openai/v1/responses", "gpt-5", ask_responses, responses,
        {"stop": "completed", "length": "max_output_tokens", "tools": "completed", "filter": "content_filter"},
        lambda u: u["input_tokens"], lambda u: u["output_tokens"],
        lambda u: details(u, "input_tokens_details", "cached_tokens"), refuses=True,
    ),
    "anthropic.messages": Wire(
        "/anthropic/v1/messages", "claude-sonnet-4-6", ask_messages, messages,
        {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "filter": "refusal"},
        lambda u: u["input_tokens"] + u["cache_read_input_tokens"], lambda u: u["output_tokens"],
        lambda u: u["cache_read_input_tokens"],
        headers={"x-api-key": "k", "anthropic-version": "2023-06-01"}, texts=False, interleaves=False,
    ),
    "gemini.generate": Wire(
        "/gemini/v1beta/models/{model}:generateContent", "gemini-3-flash", ask_gemini, gemini,
        {"stop": "STOP", "length": "MAX_TOKENS", "tools": "STOP", "filter": "SAFETY"},
        lambda u: u["promptTokenCount"],
        lambda u: u.get("candidatesTokenCount", 0) + u.get("thoughtsTokenCount", 0),
        lambda u: u.get("cachedContentTokenCount", 0), stream={},
        streamed_path="/gemini/v1beta/models/{model}:streamGenerateContent?alt=sse",
        headers={"x-goog-api-key": "k"}, texts=False, interleaves=False,
    ),
    "dashscope.generation": Wire(
        "/ali/api/v1/services/aigc/text-generation/generation", "qwen-plus", ask_native, native, CHAT_ENDS,
        lambda u: u["input_tokens"], lambda u: u["output_tokens"],
        lambda u: details(u, "prompt_tokens_details", "cached_tokens"), stream={},
        error=lambda value: value["message"], image_model="qwen-vl-plus",
        image_path="/ali/api/v1/services/aigc/multimodal-generation/generation",
    ),
    "minimax.chat": Wire(
        "/minimax/v1/text/chatcompletion_v2", "MiniMax-M2", ask_chat, chat, CHAT_ENDS,
        lambda u: u["prompt_tokens"], lambda u: u["completion_tokens"],
        lambda u: details(u, "prompt_tokens_details", "cached_tokens"),
        error=lambda value: value["base_resp"]["status_msg"],
    ),
}  # fmt: skip


def events_of(body: str) -> Iterator[JSON]:
    for line in body.splitlines():
        if line.startswith("data:") and line[5:].strip() != "[DONE]":
            yield json.loads(line[5:])


class Asker:
    """Asks one dialect, plain or streamed."""

    def __init__(self, session: aiohttp.ClientSession, sandbox: Running, wire: Wire, stream: bool) -> None:
        self._session = session
        self._origin = f"http://127.0.0.1:{sandbox.port}"
        self.wire = wire
        self.stream = stream

    async def raw(
        self, directives: str, text: str = "hello there", image: bool = False, tools: bool = False,
        schema: bool = False, limit: int | None = None,
    ) -> tuple[int, str]:  # fmt: skip
        wire = self.wire
        path = wire.streamed_path if self.stream and wire.streamed_path else wire.path
        path = wire.image_path if image and wire.image_path else path
        model = (image and wire.image_model or wire.model) + directives
        body = {"model": model, **wire.ask(text, image, tools, schema), **(wire.stream if self.stream else {})}
        headers = {"Authorization": "Bearer k", **wire.headers}
        if "{model}" in path:
            body.pop("model")
        if wire.ask is ask_native and self.stream:
            headers["X-DashScope-SSE"] = "enable"
        if limit is not None:
            _limit(wire, body, limit)
        url = self._origin + path.replace("{model}", model.replace("+", "%2B"))
        async with self._session.post(URL(url, encoded=True), json=body, headers=headers) as answer:
            return answer.status, (await answer.read()).decode()

    async def __call__(self, directives: str = "", **more: Any) -> Seen:
        status, body = await self.raw(directives, **more)
        assert status == 200, body
        seen = Seen()
        self.wire.read(list(events_of(body)) if self.stream else [json.loads(body)], seen)
        return seen


def _limit(wire: Wire, body: JSON, limit: int) -> None:
    if wire.ask is ask_gemini:
        body["generationConfig"]["maxOutputTokens"] = limit
    elif wire.ask is ask_native:
        body["parameters"]["max_tokens"] = limit
    else:
        names = {"openai.responses": "max_output_tokens", "anthropic.messages": "max_tokens"}
        body[next((name for id, name in names.items() if WIRES[id] is wire), "max_completion_tokens")] = limit


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()


@pytest.fixture(params=[False, True], ids=["plain", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=WIRES)
async def ask(request: pytest.FixtureRequest, sandbox: Running, stream: bool) -> AsyncIterator[Asker]:
    async with aiohttp.ClientSession() as session:
        yield Asker(session, sandbox, WIRES[request.param], stream)


async def test_text_its_end_and_its_usage(ask: Asker) -> None:
    seen = await ask()
    assert (seen.text, seen.finish) == ("You said: hello there", ask.wire.ends["stop"])
    assert seen.usage is not None
    assert (ask.wire.input(seen.usage), ask.wire.output(seen.usage)) == (3, 4)


async def test_two_parallel_calls(ask: Asker) -> None:
    seen = await ask(text="weather and clock", tools=True)
    assert [name for name, _ in seen.calls.values()] == list(NAMES)
    cities = ["city weather and clock", "city weather and clock 2"]
    assert [json.loads(arguments)["city"] for _, arguments in seen.calls.values()] == cities
    assert (seen.text, seen.finish) == ("", ask.wire.ends["tools"])
    said = await ask("+talk", text="weather and clock", tools=True)
    assert (said.text, len(said.calls)) == ("You said: weather and clock", 2)
    assert len((await ask("+tools=3", tools=True)).calls) == 3


async def test_calls_that_interleave_are_the_same_calls(ask: Asker) -> None:
    plain = await ask(text="weather and clock", tools=True)
    mixed = await ask("+interleave", text="weather and clock", tools=True)
    assert mixed.calls == plain.calls
    if ask.stream and ask.wire.interleaves:
        assert mixed.order != sorted(mixed.order) == plain.order


async def test_arguments_that_are_empty_or_broken(ask: Asker) -> None:
    empty = (await ask("+empty_args", tools=True)).calls
    broken = (await ask("+bad_args", tools=True)).calls
    if ask.wire.texts:
        assert list(empty.values()) == [("weather", "")]
        assert list(broken.values()) == [("weather", '{"broken": ')]
    else:
        # where arguments are an object, no text at all is streamed for none
        assert [arguments for _, arguments in empty.values()] in ([""], ["{}"])
        assert json.loads(next(iter(broken.values()))[1])["city"]


async def test_thinking(ask: Asker) -> None:
    seen = await ask("+think=5")
    assert seen.thought == ("The user said: hello there" if ask.wire.shows_thought else "")
    assert seen.text == "You said: hello there"
    assert seen.usage is not None
    assert ask.wire.output(seen.usage) == 9


async def test_json_by_a_schema(ask: Asker) -> None:
    assert json.loads((await ask(schema=True)).text) == {"n": 3}


async def test_pictures_are_counted(ask: Asker) -> None:
    seen = await ask(image=True)
    assert seen.text == "You said: hello there (1 image)"
    assert seen.usage is not None
    assert ask.wire.input(seen.usage) == 88


async def test_length(ask: Asker) -> None:
    seen = await ask("+size=40", limit=20)
    assert (len(seen.text.split()), seen.finish) == (20, ask.wire.ends["length"])


async def test_filter(ask: Asker) -> None:
    status, body = await ask.raw("+filter=after")
    if "DataInspectionFailed" in body:  # DashScope tells it by an error, wherever it comes
        assert (status, "event:error" in body) == (200 if ask.stream else 400, ask.stream)
        return
    seen = Seen()
    ask.wire.read(list(events_of(body)) if ask.stream else [json.loads(body)], seen)
    assert (seen.text, seen.finish) == ("You said:", ask.wire.ends["filter"])
    assert "hello" not in (await ask.raw("+filter"))[1]


async def test_refusals_in_the_models_own_words(ask: Asker) -> None:
    seen = await ask("+refuse_text", tools=True)
    words = "I'm sorry, I can't help with that: hello there"
    assert (seen.refusal, seen.text) == ((words, "") if ask.wire.refuses else ("", words))
    assert (seen.finish, seen.calls) == (ask.wire.ends["stop"], {})


async def test_usage_left_out_zero_or_cached(ask: Asker) -> None:
    assert (await ask("+cached=2")).usage is not None
    assert ask.wire.cached((await ask("+cached=2")).usage or {}) == 2
    none = (await ask("+no_usage")).usage
    assert none is None or none == {"total_tokens": 0, "total_characters": 0}  # MiniMax's placeholder
    zero = (await ask("+zero_usage")).usage
    assert zero is not None
    assert (ask.wire.input(zero), ask.wire.output(zero)) == (0, 0)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 429, 500, 503])
async def test_statuses_have_the_vendors_body(ask: Asker, status: int) -> None:
    got, body = await ask.raw(f"+status={status}")
    assert got == status
    assert ask.wire.error(json.loads(body))


async def test_an_error_inside_200_has_no_finish(ask: Asker) -> None:
    if not ask.stream:
        return
    status, body = await ask.raw("+error200=2")
    assert status == 200
    assert ask.wire.ends["stop"].encode() not in body.encode().replace(b"stop_", b"")


async def test_a_cut_shows(ask: Asker) -> None:
    with pytest.raises(aiohttp.ClientError):
        await ask.raw("+cut=2" if ask.stream else "+cut=20")
