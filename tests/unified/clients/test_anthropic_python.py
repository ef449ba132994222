"""The `anthropic` SDK with a gateway key, over vendors that do not speak its dialect."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_async_tool, beta_tool

from tests.clients.media import PIXEL
from tests.clients.seen import anthropic as seen
from tests.unified.clients import others
from tests.unified.clients.billing import Bill, cost
from tests.unified.clients.others import QUESTION, Trip
from tests.unified.place import PRICE, VENDOR_KEY, Place

# Vendors that fail are each their own: a key that was limited, and a target that failed often, rest for a while.
MODELS = others.MODELS | {
    "failing": others.at("lingyi", "yi-large+status=500", "openai.chat"),
    "overloaded": others.at("stepfun", "step-1+status=503", "openai.chat"),
    "busy": others.at("moonshot", "kimi-k2+status=429+retry_after=7", "openai.chat"),
    "refusing-our-key": others.at("zhipu", "glm-4.6+status=401", "openai.chat"),
    "filtered": others.at("openai", "gpt-4o+filter=after", "openai.chat"),
    "cut": others.at("openai", "gpt-4o+cut=3", "openai.chat"),
    "broken": others.at("gemini", "gemini-3-pro+error200=2", "gemini.generate"),
    # Limited the first time, then well.
    "soon": others.at("xunfei", "generalv3.5+status=429+retry_after=1+times=1", "openai.chat"),
}
VENDORS = ["gpt", "gpt-responses", "gemini", "deepseek", "qwen"]
SAID = "You said: hello there"
HELLO: Any = [{"role": "user", "content": "hello there"}]
ASKED: Any = [{"role": "user", "content": QUESTION}]
WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK: Any = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
PICTURE: Any = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PIXEL).decode()},
}
every_vendor = pytest.mark.parametrize("model", VENDORS)
some_vendors = pytest.mark.parametrize("model", ["gpt", "gemini", "qwen"])


@beta_tool
def weather(city: str) -> str:
    """The weather of a city

    Args:
        city: Its name.
    """
    return f"rain in {city}"


@beta_tool
def clock() -> str:
    """The time of day"""
    return "noon"


@beta_async_tool(name="clock")
async def clock_later() -> str:
    """The time of day"""
    return "midnight"


@pytest.fixture
def sdk(place: Place, bill: Bill) -> Iterator[Anthropic]:
    with Anthropic(base_url=f"http://127.0.0.1:{place.port}", api_key=bill.key, max_retries=0) as client:
        yield client


def told(*messages: Any) -> list[Any]:
    return [seen("", message.usage) for message in messages]


@some_vendors
def test_create_and_stream(sdk: Anthropic, bill: Bill, model: str) -> None:
    raw = sdk.messages.with_raw_response.create(model=model, max_tokens=100, messages=HELLO, system="Be brief.")
    whole = raw.parse()
    with sdk.messages.stream(model=model, max_tokens=100, messages=HELLO, system="Be brief.") as stream:
        texts = list(stream.text_stream)
        streamed = stream.get_final_message()
    assert [block.text for block in whole.content if block.type == "text"] == [SAID]
    assert "".join(texts) == SAID
    assert len(texts) > 1
    for message in (whole, streamed):
        assert (message.model, message.role, message.type) == (model, "assistant", "message")
        assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
        assert message.id.startswith("msg_")
    assert raw.headers["x-gateway-provider"] == MODELS[model]["targets"][0]["provider"]
    assert whole._request_id == raw.headers["x-request-id"]
    costs = bill.charged(*told(whole, streamed))
    assert costs[0] == raw.headers["x-gateway-cost"]


@some_vendors
async def test_the_asynchronous_client(place: Place, bill: Bill, model: str) -> None:
    base = f"http://127.0.0.1:{place.port}"
    async with AsyncAnthropic(base_url=base, api_key=bill.key, max_retries=0) as sdk:
        whole = await sdk.messages.create(model=model, max_tokens=100, messages=HELLO)
        async with sdk.messages.stream(model=model, max_tokens=100, messages=HELLO) as stream:
            text = "".join([text async for text in stream.text_stream])
            streamed = await stream.get_final_message()
        runner = sdk.beta.messages.tool_runner(
            model=model, max_tokens=200, tools=[clock_later], messages=[{"role": "user", "content": "the clock"}],
            thread=False,
        )  # fmt: skip
        turns = [turn async for turn in runner]
    assert whole.content[-1].text == text == SAID  # type: ignore[union-attr]
    assert [turn.stop_reason for turn in turns] == ["tool_use", "end_turn"]
    assert turns[-1].content[-1].text == "The tool said: midnight"  # type: ignore[union-attr]
    bill.charged(*told(whole, streamed, *turns))


@every_vendor
def test_a_stream_of_thinking_event_by_event(sdk: Anthropic, bill: Bill, model: str) -> None:
    with sdk.messages.stream(model=model, max_tokens=2000, messages=HELLO, thinking=THINKING) as stream:
        events = list(stream)
        final = stream.get_final_message()
    kinds = [block.type for block in final.content]
    # OpenAI's chats tell how much was thought, not what.
    assert kinds == (["text"] if model == "gpt" else ["thinking", "text"])
    assert "".join(event.text for event in events if event.type == "text") == SAID
    starts = [event.index for event in events if event.type == "content_block_start"]
    stops = [event.index for event in events if event.type == "content_block_stop"]
    assert starts == stops == list(range(len(kinds)))
    if "thinking" in kinds:
        thought = "".join(event.thinking for event in events if event.type == "thinking")
        assert thought == final.content[0].thinking != ""  # type: ignore[union-attr]
    assert [event.type for event in events if event.type.startswith("message")] == [
        "message_start", "message_delta", "message_stop",
    ]  # fmt: skip
    usage = seen("", final.usage)
    assert usage.reasoning > 0
    bill.charged(usage)


@every_vendor
@pytest.mark.parametrize("stream", [False, True])
def test_thinking_with_tools_goes_on_after_their_results(sdk: Anthropic, bill: Bill, model: str, stream: bool) -> None:
    """What was thought goes back as agents send it; vendors that want it (DeepSeek, Gemini) complain if it is gone."""
    messages = list(ASKED)
    usages = []
    for _ in range(2):
        more: Any = {
            "model": model, "max_tokens": 2000, "tools": [WEATHER, CLOCK], "thinking": THINKING, "messages": messages,
        }  # fmt: skip
        if stream:
            with sdk.messages.stream(**more) as events:
                answer: Any = events.get_final_message()
        else:
            answer = sdk.messages.create(**more)
        usages.append(answer)
        calls = [block for block in answer.content if block.type == "tool_use"]
        messages.append({"role": "assistant", "content": [block.model_dump(mode="json") for block in answer.content]})
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"done {call.name}"} for call in calls]
        messages.append({"role": "user", "content": results})
        if calls:
            assert answer.stop_reason == "tool_use"
            assert [call.name for call in calls] == ["weather", "clock"]
    assert answer.content[-1].text == "The tool said: done clock"
    bill.charged(*told(*usages))


@every_vendor
@pytest.mark.parametrize("stream", [False, True])
def test_the_tool_runner(sdk: Anthropic, bill: Bill, model: str, stream: bool) -> None:
    """It calls the functions itself. It asks for a thread at the server first, and does without when told to."""
    more: Any = {"model": model, "max_tokens": 2000, "tools": [weather, clock], "messages": ASKED}
    runner: Any = sdk.beta.messages.tool_runner(**more, stream=stream, thinking=THINKING)
    turns = [turn.get_final_message() if stream else turn for turn in runner]
    assert [turn.stop_reason for turn in turns] == ["tool_use", "end_turn"]
    assert turns[-1].content[-1].text == "The tool said: noon"
    assert bill.outcomes(3) == [("failed", 0), *((("complete", cost(PRICE, usage))) for usage in told(*turns))]


def test_a_thread_is_refused(sdk: Anthropic, bill: Bill) -> None:
    with pytest.raises(anthropic.BadRequestError, match="thread"):
        sdk.beta.messages.thread(model="gpt", max_tokens=100).send({"role": "user", "content": "hello there"})
    assert bill.outcomes(1) == [("failed", 0)]


@pytest.mark.parametrize("model", ["gpt", "gpt-responses", "gemini", "qwen"])
@pytest.mark.parametrize("way", ["messages", "beta", "stream"])
def test_structured_output(sdk: Anthropic, bill: Bill, model: str, way: str) -> None:
    more: Any = {"model": model, "max_tokens": 200, "messages": HELLO, "output_format": Trip}
    if way == "stream":
        with sdk.messages.stream(**more) as stream:
            answer: Any = stream.get_final_message()
    else:
        answer = (sdk.messages if way == "messages" else sdk.beta.messages).parse(**more)
    assert isinstance(answer.parsed_output, Trip)
    bill.charged(*told(answer))


def test_a_schema_that_the_model_does_not_take(sdk: Anthropic, bill: Bill) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        sdk.messages.parse(model="deepseek", max_tokens=200, messages=HELLO, output_format=Trip)
    assert caught.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
    assert "output_config.format" in str(caught.value)
    assert bill.ended(1) == ["failed"]


@pytest.mark.parametrize("model", ["gpt", "gpt-responses", "gemini", "qwen-sees"])
def test_pictures_of_users_and_of_tools(sdk: Anthropic, bill: Bill, model: str) -> None:
    look: Any = [{"role": "user", "content": [{"type": "text", "text": "look"}, PICTURE]}]
    seeing = sdk.messages.create(model=model, max_tokens=100, messages=look)
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sky"}, PICTURE]}
    turns: Any = [
        {"role": "user", "content": "the weather"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
        ]},
        {"role": "user", "content": [result]},
    ]  # fmt: skip
    shown = sdk.messages.create(model=model, max_tokens=100, messages=turns, tools=[WEATHER])
    result["content"] = "sky"
    blind = sdk.messages.create(model=model, max_tokens=100, messages=turns, tools=[WEATHER])
    assert seeing.content[-1].text == "You said: look (1 image)"  # type: ignore[union-attr]
    assert seen("", shown.usage).input >= seen("", blind.usage).input + 85
    bill.charged(*told(seeing, shown, blind))


def test_what_a_tool_choice_means(sdk: Anthropic, bill: Bill) -> None:
    more: Any = {"model": "gpt", "max_tokens": 200, "messages": HELLO, "tools": [WEATHER, CLOCK]}
    one = sdk.messages.create(**more, tool_choice={"type": "tool", "name": "clock"})
    some = sdk.messages.create(**more, tool_choice={"type": "any", "disable_parallel_tool_use": True})
    none = sdk.messages.create(**more, tool_choice={"type": "none"})
    assert [block.name for block in one.content if block.type == "tool_use"] == ["clock"]
    assert len([block for block in some.content if block.type == "tool_use"]) == 1
    assert none.content[-1].text == SAID  # type: ignore[union-attr]
    bill.charged(*told(one, some, none))


@every_vendor
def test_counting_tokens_is_free(sdk: Anthropic, bill: Bill, model: str) -> None:
    raw = sdk.messages.with_raw_response.count_tokens(model=model, messages=HELLO, tools=[WEATHER], system="Be brief.")
    beta = sdk.beta.messages.count_tokens(model=model, messages=HELLO, tools=[WEATHER], system="Be brief.")
    few = sdk.messages.count_tokens(model=model, messages=HELLO)
    assert raw.parse().input_tokens == beta.input_tokens > few.input_tokens > 0
    counts = model in ("gemini", "gpt-responses")
    assert raw.headers.get("x-gateway-estimated") == (None if counts else "true")
    assert bill.outcomes(3) == [("complete", 0)] * 3


def test_models(sdk: Anthropic) -> None:
    names = {model.id for model in sdk.models.list()}
    assert names == set(MODELS)
    one = sdk.models.retrieve("gpt")
    assert (one.id, one.type) == ("gpt", "model")
    with pytest.raises(anthropic.NotFoundError):
        sdk.models.retrieve("no-such-model")


def test_hints_are_dropped_by_name(sdk: Anthropic, bill: Bill) -> None:
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    raw = sdk.beta.messages.with_raw_response.create(
        model="gemini", max_tokens=100, messages=HELLO, system=system, metadata={"user_id": "u1"},
        service_tier="standard_only", betas=["prompt-caching-2024-07-31", "interleaved-thinking-2025-05-14"],
        extra_body={"top_k": 3},
    )  # fmt: skip
    dropped = set(raw.headers["x-gateway-dropped"].split(", "))
    assert dropped == {"cache_control", "metadata.user_id", "service_tier"}
    bill.charged(*told(raw.parse()))


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "kind", "status", "name"),
    [
        ("no-such-model", anthropic.NotFoundError, 404, "not_found_error"),
        ("embedder", anthropic.BadRequestError, 400, "invalid_request_error"),
        ("failing", anthropic.InternalServerError, 500, "api_error"),
        ("overloaded", anthropic.InternalServerError, 503, "api_error"),
        ("busy", anthropic.RateLimitError, 429, "rate_limit_error"),
        ("refusing-our-key", anthropic.InternalServerError, 502, "api_error"),
    ],
)
def test_errors(
    sdk: Anthropic, bill: Bill, model: str, kind: type[anthropic.APIStatusError], status: int, name: str
) -> None:
    with pytest.raises(kind) as caught:
        sdk.messages.create(model=model, max_tokens=100, messages=HELLO)
    error = caught.value
    assert error.status_code == status
    body: Any = error.body
    assert (body["type"], body["error"]["type"]) == ("error", name), body
    assert error.type == name
    assert error.request_id == body["request_id"] == error.response.headers["x-request-id"]
    assert VENDOR_KEY not in str(error)
    if status == 429:
        assert 1 <= int(error.response.headers["retry-after"]) <= 7
    assert len(bill.ended(1)) == 1


def test_an_unknown_key(place: Place) -> None:
    with Anthropic(base_url=f"http://127.0.0.1:{place.port}", api_key="gw-of-somebody-else", max_retries=0) as sdk:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            sdk.messages.create(model="gpt", max_tokens=100, messages=HELLO)
        with pytest.raises(anthropic.AuthenticationError):
            sdk.messages.count_tokens(model="gpt", messages=HELLO)
        with pytest.raises(anthropic.AuthenticationError):
            sdk.models.list()
    assert caught.value.type == "authentication_error"


def test_the_sdk_tries_again(place: Place, bill: Bill) -> None:
    """Its own retries, after as long as `Retry-After` says: only the good call is charged."""
    with Anthropic(base_url=f"http://127.0.0.1:{place.port}", api_key=bill.key, max_retries=2) as sdk:
        raw = sdk.messages.with_raw_response.create(model="soon", max_tokens=100, messages=HELLO)
    answer = raw.parse()
    assert raw.retries_taken == 1
    assert answer.content[-1].text == SAID  # type: ignore[union-attr]
    assert bill.outcomes(2) == [("failed", 0), ("complete", cost(MODELS["soon"]["price"], *told(answer)))]


def test_refused_fields_are_named(sdk: Anthropic, bill: Bill) -> None:
    document: Any = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    for more, name in (
        ({"messages": [{"role": "user", "content": [document]}]}, "messages"),
        ({"messages": HELLO, "tools": [search]}, "tools"),
        ({"messages": HELLO, "extra_body": {"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]}},
         "mcp_servers"),
    ):  # fmt: skip
        with pytest.raises(anthropic.BadRequestError, match=name):
            sdk.messages.create(model="gpt", max_tokens=100, **more)  # type: ignore[arg-type]
    assert bill.ended(3) == ["failed"] * 3


def test_a_filtered_answer_is_a_refusal(sdk: Anthropic, bill: Bill) -> None:
    whole = sdk.messages.create(model="filtered", max_tokens=100, messages=HELLO)
    with sdk.messages.stream(model="filtered", max_tokens=100, messages=HELLO) as stream:
        streamed = stream.get_final_message()
    assert whole.stop_reason == streamed.stop_reason == "refusal"
    assert bill.ended(2) == ["filtered", "filtered"]


@pytest.mark.parametrize(("model", "outcome"), [("cut", "vendor_truncated"), ("broken", "failed")])
def test_a_stream_that_breaks(sdk: Anthropic, bill: Bill, model: str, outcome: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011 - see below
        list(sdk.messages.create(model=model, max_tokens=100, messages=HELLO, stream=True))
    if model == "broken":
        # The error came as an event of the stream: it has a type and a message of its own.
        assert isinstance(caught.value, anthropic.APIStatusError)
        assert json.dumps(caught.value.body)
        assert caught.value.type
    bill.free(outcome)
