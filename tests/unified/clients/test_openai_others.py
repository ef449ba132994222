"""The `openai` SDK and LangChain with a gateway key, over vendors that do not speak the dialect they are called in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI, pydantic_function_tool

from tests.clients.openai_sdk import CLOCK, WEATHER
from tests.clients.seen import openai as seen
from tests.unified.clients import others
from tests.unified.clients.billing import Bill
from tests.unified.clients.others import QUESTION, Trip
from tests.unified.place import Place

MODELS = others.MODELS
VENDORS = ["claude", "gemini", "qwen"]
SAID = "You said: hello there"
HELLO: list[Any] = [{"role": "user", "content": "hello there"}]
ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
COUNTED: Any = {"include_usage": True}
FLAT: list[Any] = [{"type": "function", "strict": False, **tool["function"]} for tool in (WEATHER, CLOCK)]
every_vendor = pytest.mark.parametrize("model", VENDORS)


class Booking(Trip):
    """Books a trip."""


@pytest.fixture
def sdk(place: Place, bill: Bill) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{place.port}/v1", api_key=bill.key, max_retries=0) as client:
        yield client


@every_vendor
@pytest.mark.parametrize("streamed", [False, True])
def test_parsed_answers_and_calls(sdk: OpenAI, bill: Bill, model: str, streamed: bool) -> None:
    tools = [pydantic_function_tool(Booking)]
    formed: Any = {"model": model, "messages": HELLO, "response_format": Trip}
    called: Any = {"model": model, "messages": [{"role": "user", "content": "Booking, please"}], "tools": tools}
    finals: list[Any] = []
    for ask in (formed, called):
        if streamed:
            with sdk.chat.completions.stream(**ask, stream_options=COUNTED) as stream:
                finals.append(stream.get_final_completion())
        else:
            finals.append(sdk.chat.completions.parse(**ask))
    assert isinstance(finals[0].choices[0].message.parsed, Trip)
    (call,) = finals[1].choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Booking)
    bill.charged(*(seen("", final.usage) for final in finals))


@every_vendor
def test_responses_parsed(sdk: OpenAI, bill: Bill, model: str) -> None:
    found = sdk.responses.parse(model=model, input="hello there", text_format=Trip, store=False)
    assert isinstance(found.output_parsed, Trip)
    with sdk.responses.stream(model=model, input="hello there", text_format=Trip, store=False) as stream:
        streamed = stream.get_final_response()
    assert isinstance(streamed.output_parsed, Trip)
    bill.charged(seen("", found.usage), seen("", streamed.usage))


@pytest.mark.parametrize("model", [*VENDORS, "deepseek"])
def test_responses_streamed_with_tools_and_reasoning(sdk: OpenAI, bill: Bill, model: str) -> None:
    """The turn goes back as the items that came: reasoning with what was encrypted in it, calls, and their outputs."""
    items: list[Any] = list(ASKED)
    finals: list[Any] = []
    for _ in range(2):
        with sdk.responses.stream(
            model=model, input=items, tools=FLAT, store=False, max_output_tokens=3000,
            reasoning={"effort": "low", "summary": "auto"}, include=["reasoning.encrypted_content"],
        ) as stream:  # fmt: skip
            events = list(stream)
            final = stream.get_final_response()
        finals.append(final)
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert {"response.created", "response.completed"} <= {event.type for event in events}
        assert final.output[0].type == "reasoning"
        assert final.output[0].summary[0].text
        items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in final.output]
        calls = [item for item in final.output if item.type == "function_call"]
        items += [{"type": "function_call_output", "call_id": c.call_id, "output": f"did {c.name}"} for c in calls]
    assert [item.name for item in finals[0].output if item.type == "function_call"] == ["weather", "clock"]
    assert finals[1].output_text == "The tool said: did clock"
    assert all(final.usage.output_tokens_details.reasoning_tokens > 0 for final in finals)
    bill.charged(*(seen("", final.usage) for final in finals))


@every_vendor
async def test_the_asynchronous_client(place: Place, bill: Bill, model: str) -> None:
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{place.port}/v1", api_key=bill.key, max_retries=0) as sdk:
        whole = await sdk.chat.completions.create(model=model, messages=HELLO)
        async with sdk.chat.completions.stream(model=model, messages=HELLO, stream_options=COUNTED) as stream:
            final = await stream.get_final_completion()
        response = await sdk.responses.create(model=model, input="hello there", store=False)
        async with sdk.responses.stream(model=model, input="hello there", store=False) as events:
            streamed = await events.get_final_response()
    assert whole.choices[0].message.content == final.choices[0].message.content == SAID
    assert response.output_text == streamed.output_text == SAID
    assert {whole.model, final.model, response.model, streamed.model} == {model}
    bill.charged(*(seen("", answer.usage) for answer in (whole, final, response, streamed)))


@every_vendor
def test_what_cannot_be_carried(sdk: OpenAI, bill: Bill, model: str) -> None:
    search: Any = {"type": "web_search"}
    for name, ask in (
        ("n", lambda: sdk.chat.completions.create(model=model, messages=HELLO, n=2)),
        ("tools", lambda: sdk.responses.create(model=model, input="x", store=False, tools=[search])),
        ("store", lambda: sdk.responses.create(model=model, input="x", store=True)),
        ("previous_response_id", lambda: sdk.responses.create(model=model, input="x", previous_response_id="resp_1")),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask()  # type: ignore[no-untyped-call]
        assert (caught.value.param or "").startswith(name), caught.value
    assert bill.ended(4) == ["failed"] * 4


# -- LangChain ---------------------------------------------------------------------------------------------------------

langchain_openai = pytest.importorskip("langchain_openai", reason="the extra `clients` is not installed")
langchain_anthropic = pytest.importorskip("langchain_anthropic", reason="the extra `clients` is not installed")

from langchain_core.messages import HumanMessage, SystemMessage  # noqa: E402

from tests.unified.clients.test_langchain import clock, told, weather  # noqa: E402

Chat = Callable[..., Any]


@pytest.fixture
def by_openai(place: Place, bill: Bill) -> Iterator[Chat]:
    base = f"http://127.0.0.1:{place.port}/v1"
    with openai.DefaultHttpxClient() as http:
        known: Any = {"base_url": base, "api_key": bill.key, "max_retries": 0, "http_client": http}
        yield lambda model, **more: langchain_openai.ChatOpenAI(model=model, **known, **more)


@pytest.fixture
def by_anthropic(place: Place, bill: Bill) -> Chat:
    known: Any = {"base_url": f"http://127.0.0.1:{place.port}", "api_key": bill.key, "max_retries": 0}
    return lambda model, **more: langchain_anthropic.ChatAnthropic(model=model, max_tokens=2000, **known, **more)


def both_ways(chat: Any, messages: list[Any]) -> list[Any]:
    """The whole answer, and the streamed one put together."""
    pieces = list(chat.stream(messages))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return [chat.invoke(messages), whole]


def with_tools(chat: Any, bill: Bill, thinks: bool = False) -> None:
    """Two calls, their results, and the answer; whole and streamed."""
    question = [SystemMessage("Be brief."), HumanMessage(QUESTION)]
    known = {"weather": weather, "clock": clock}
    told_all = []
    for first in both_ways(chat.bind_tools(list(known.values())), question):
        assert [call["name"] for call in first.tool_calls] == ["weather", "clock"]
        results = [known[call["name"]].invoke(call) for call in first.tool_calls]
        told_all.append(told(first))
        second = chat.bind_tools(list(known.values())).invoke([*question, first, *results])
        assert second.text == "The tool said: 12:00:00"
        told_all.append(told(second))
        if thinks:
            kinds = [block["type"] for block in first.content_blocks]
            assert "reasoning" in kinds, kinds
    # The two first answers come before their follow-ups.
    bill.charged(told_all[2], told_all[0], told_all[1], told_all[3])


@pytest.mark.parametrize("model", ["claude", "gemini"])
@pytest.mark.parametrize("over", ["chat", "responses"])
def test_langchain_openai_with_tools(by_openai: Chat, bill: Bill, model: str, over: str) -> None:
    more = {"use_responses_api": True, "store": False} if over == "responses" else {"stream_usage": True}
    with_tools(by_openai(model, **more), bill)


@pytest.mark.parametrize("model", ["claude", "gemini"])
def test_langchain_openai_structured(by_openai: Chat, bill: Bill, model: str) -> None:
    for method in ("json_schema", "function_calling"):
        chat = by_openai(model).with_structured_output(Trip, method=method, include_raw=True)
        found = chat.invoke("three days in Rome")
        assert isinstance(found["parsed"], Trip), found
    assert [outcome for outcome, _ in bill.outcomes(2)] == ["complete"] * 2


@pytest.mark.parametrize("model", ["deepseek", "qwen", "gpt"])
def test_langchain_anthropic_with_tools(by_anthropic: Chat, bill: Bill, model: str) -> None:
    with_tools(by_anthropic(model), bill)


@pytest.mark.parametrize("model", ["deepseek", "gpt-responses"])
def test_langchain_anthropic_thinking(by_anthropic: Chat, bill: Bill, model: str) -> None:
    with_tools(by_anthropic(model, thinking={"type": "enabled", "budget_tokens": 1024}), bill, thinks=True)


@pytest.mark.parametrize("model", ["qwen", "gpt"])
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_anthropic_structured(by_anthropic: Chat, bill: Bill, model: str, method: str) -> None:
    chat = by_anthropic(model).with_structured_output(Trip, method=method, include_raw=True)
    found = chat.invoke("three days in Rome")
    assert isinstance(found["parsed"], Trip), found
    bill.charged(told(found["raw"]))
