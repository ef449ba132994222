"""Responses that one may come back to, by OpenAI's SDK: the gateway's where the vendor has none, else the vendor's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from tests.clients.places import Sandbox, at_sandbox
from tests.unified.matrix.cells import TARGETS
from tests.unified.place import PRICE, Place

OTHERS = tuple(dialect for dialect in TARGETS if dialect != "openai.responses")
KEYS = {"FIRST_KEY": "sk-first-account", "SECOND_KEY": "sk-second-account"}
MODELS: dict[str, Any] = {
    dialect: {"targets": [{"provider": provider, "model": model, "dialect": dialect}], "price": PRICE}
    for dialect, (provider, model) in TARGETS.items()
} | {"two accounts": {"targets": [{"provider": "twice", "model": "gpt-5.1"}], "price": PRICE}}
TOOLS: list[Any] = [
    {
        "type": "function", "name": "weather", "description": "The weather", "strict": False,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]  # fmt: skip
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
EVERY_OTHER = pytest.mark.parametrize("dialect", OTHERS)


def made(directory: Path, sandbox: Sandbox, hours: float, workers: int = 1) -> Place:
    twice = at_sandbox(sandbox.port)["openai"] | {
        "keys": [f"env:{name}" for name in KEYS], "speaks": {"openai.responses": "/v1/responses"},
    }  # fmt: skip
    place = Place(directory, sandbox, {"store_responses": hours}, {"twice": twice}, workers, MODELS)
    place.environment |= KEYS
    place.start()
    return place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Place]:
    """Two workers: what one has stored the other finds."""
    running = made(tmp_path_factory.mktemp("stored"), sandbox, 1, workers=2)
    yield running
    assert running.stop() == 0, running.stderr[-3000:]
    assert "Traceback" not in running.stderr, running.stderr[-3000:]
    assert running.verified()["open_holds"] == 0


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Place]:
    running = made(tmp_path_factory.mktemp("forgetful"), sandbox, 0)
    yield running
    assert running.stop() == 0, running.stderr[-3000:]


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    return place.key()


@contextmanager
def opened(place: Place, key: str) -> Iterator[openai.OpenAI]:
    """A connection of its own, so that any worker may get it."""
    with openai.OpenAI(base_url=f"http://127.0.0.1:{place.port}/v1", api_key=key, max_retries=0) as sdk:
        yield sdk


class Talk:
    """Asks, each time on a new connection."""

    def __init__(self, place: Place, key: str, model: str, stream: bool = False, **always: Any) -> None:
        self.place, self.key, self.model, self.stream, self.always = place, key, model, stream, always

    def ask(self, input: Any, **more: Any) -> Response:
        calls = isinstance(input, list) or "weather" in input
        choice = "auto" if calls else "none"
        wish = {"model": self.model, "input": input, "tools": TOOLS, "tool_choice": choice, **self.always, **more}
        with opened(self.place, self.key) as sdk:
            if not self.stream:
                answer: Response = sdk.responses.create(**wish)
                return answer
            with sdk.responses.stream(**wish) as stream:
                return stream.get_final_response()


def results(response: Response, text: str) -> list[Any]:
    found = [item for item in response.output if item.type == "function_call"]
    assert found, response.output
    return [{"type": "function_call_output", "call_id": call.call_id, "output": text} for call in found]


def items(response: Response) -> list[Any]:
    return [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in response.output]


def input_of(response: Response) -> int:
    assert response.usage is not None
    return response.usage.input_tokens


def chain(talk: Talk) -> list[Response]:
    """A question, the result of the tool that it leads to, and one more."""
    first = talk.ask("the weather, please", instructions="Be kind.")
    second = talk.ask(results(first, "sunny"), previous_response_id=first.id)
    third = talk.ask("thank you", previous_response_id=second.id)
    assert second.output_text == "The tool said: sunny"
    assert third.output_text == "You said: thank you"
    assert [one.previous_response_id for one in (first, second, third)] == [None, first.id, second.id]
    return [first, second, third]


@EVERY_OTHER
@BOTH_WAYS
def test_three_turns(place: Place, key: str, dialect: str, stream: bool) -> None:
    talk = Talk(place, key, dialect, stream)
    first, second, third = chain(talk)
    assert [one.model_dump()["store"] for one in (first, second, third)] == [True, True, True]
    # The vendor sees what it would see of a client that sends everything itself.
    before = [{"role": "user", "content": "the weather, please"}, *items(first), *results(first, "sunny")]
    before += [*items(second), {"role": "user", "content": "thank you"}]
    whole = talk.ask(before, store=False, tool_choice="none")
    assert whole.output_text == "You said: thank you"
    assert input_of(whole) == input_of(third)
    assert whole.model_dump()["store"] is False


@EVERY_OTHER
@BOTH_WAYS
def test_thinking_goes_on_with_what_was_thought(place: Place, key: str, dialect: str, stream: bool) -> None:
    talk = Talk(place, key, dialect, stream, reasoning={"effort": "low", "summary": "auto"})
    thought = [one.usage.output_tokens_details.reasoning_tokens for one in chain(talk) if one.usage is not None]
    if dialect not in ("minimax.chat", "dashscope.generation"):  # one thinks when it wants to, one in streams only
        assert min(thought) > 0


def test_what_is_stored_can_be_had_again(place: Place, key: str) -> None:
    first, second, third = chain(Talk(place, key, "anthropic.messages"))
    with opened(place, key) as sdk:
        for one in (first, second, third):
            found = sdk.responses.retrieve(one.id)
            assert (found.id, found.previous_response_id) == (one.id, one.previous_response_id)
            assert (found.output_text, found.status, found.model) == (one.output_text, "completed", one.model)
            assert found.usage == one.usage
        listed = list(sdk.responses.input_items.list(third.id, order="asc", limit=2))  # page after page
        assert [item.type for item in listed] == [
            "message", "function_call", "function_call_output", "message", "message",
        ]  # fmt: skip
        assert [item.id for item in sdk.responses.input_items.list(third.id)] == [item.id for item in listed][::-1]


def test_what_is_deleted_is_gone(place: Place, key: str) -> None:
    talk = Talk(place, key, "openai.chat")
    first, second, _ = chain(talk)
    with opened(place, key) as sdk:
        sdk.responses.delete(first.id)
        for gone in (sdk.responses.retrieve, sdk.responses.delete, sdk.responses.input_items.list):
            with pytest.raises(openai.NotFoundError):
                gone(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        talk.ask("more", previous_response_id=first.id)
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"
    # The later ones hold the whole conversation.
    assert talk.ask("more", previous_response_id=second.id).output_text == "You said: more"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_an_unknown_one(place: Place, key: str, stream: bool) -> None:
    with opened(place, key) as sdk, pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve("resp_nobody")
    with pytest.raises(openai.BadRequestError, match="'resp_nobody' not found") as caught:
        Talk(place, key, "gemini.generate", stream).ask("hello", previous_response_id="resp_nobody")
    assert caught.value.code == "previous_response_not_found"


def test_another_key_sees_nothing(place: Place, key: str) -> None:
    """Also one of the same account."""
    other = str(place.run("keys", "create", "--name", "second", "--account", "alice")["key"])
    first = Talk(place, key, "openai.chat").ask("hello")
    with opened(place, other) as sdk:
        for wanted in (sdk.responses.retrieve, sdk.responses.delete, sdk.responses.input_items.list):
            with pytest.raises(openai.NotFoundError):
                wanted(first.id)
    with pytest.raises(openai.BadRequestError):
        Talk(place, other, "openai.chat").ask("more", previous_response_id=first.id)
    with opened(place, "sk-of-nobody") as sdk, pytest.raises(openai.AuthenticationError):
        sdk.responses.retrieve(first.id)
    assert Talk(place, key, "openai.chat").ask("more", previous_response_id=first.id).output_text == "You said: more"


def test_it_is_left_to_the_client(place: Place, key: str) -> None:
    talk = Talk(place, key, "anthropic.messages")
    first = talk.ask("hello", store=False)
    assert first.model_dump()["store"] is False
    with opened(place, key) as sdk, pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError):
        talk.ask("more", previous_response_id=first.id)


def test_answers_that_failed_are_not_stored(place: Place, key: str) -> None:
    with opened(place, key) as sdk, sdk.responses.create(
        model="openai.chat", input="hello there, all of you", stream=True, extra_headers={"x-sandbox-cut": "3"}
    ) as stream:
        first = next(iter(stream))
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the SDK calls a stream that broke
            list(stream)
    with opened(place, key) as sdk, pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(first.response.id)  # type: ignore[union-attr]


def test_they_outlive_the_gateway(sandbox: Sandbox, tmp_path: Path) -> None:
    running = made(tmp_path, sandbox, 1)
    try:
        key = running.key()
        talks = {dialect: Talk(running, key, dialect) for dialect in OTHERS}
        asked = {dialect: talk.ask("the weather, please") for dialect, talk in talks.items()}
        assert running.stop() == 0
        running.start()
        for dialect, first in asked.items():
            second = talks[dialect].ask(results(first, "sunny"), previous_response_id=first.id)
            assert second.output_text == "The tool said: sunny"
        running.kill()  # what a client has got is stored
        running.start()
        third = talks["openai.chat"].ask("thank you", previous_response_id=second.id)
        assert third.output_text == "You said: thank you"
    finally:
        running.kill()


# -- nothing is stored -------------------------------------------------------------------------------------------------


@EVERY_OTHER
@BOTH_WAYS
def test_where_nothing_is_stored_it_is_refused(forgetful: Place, dialect: str, stream: bool) -> None:
    talk = Talk(forgetful, forgetful.key(name=f"{dialect} {stream}"), dialect, stream)
    plain = talk.ask("hello")
    assert plain.output_text == "You said: hello"
    assert plain.model_dump()["store"] is False
    for field, value in {"store": True, "previous_response_id": plain.id}.items():
        with pytest.raises(openai.BadRequestError, match=field) as caught:
            talk.ask("hello", **{field: value})
        assert caught.value.param == field
    assert talk.ask("hello", store=False).output_text == "You said: hello"


def test_where_nothing_is_stored_there_is_nothing(forgetful: Place) -> None:
    key = forgetful.key(name="looking")
    first = Talk(forgetful, key, "openai.chat").ask("hello")
    with opened(forgetful, key) as sdk, pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(first.id)


# -- vendors that have them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [0, 1], ids=["store nothing", "store"])
@BOTH_WAYS
def test_a_vendors_own_stay_with_the_account(
    forgetful: Place, place: Place, key: str, hours: int, stream: bool
) -> None:
    """A provider with two keys, whose accounts know their own responses only; several conversations at once."""
    where = place if hours else forgetful
    owner = key if hours else forgetful.key(name=f"native {stream}")
    talks = [Talk(where, owner, "two accounts", stream) for _ in range(3)]
    last = [talk.ask(f"hello {number}") for number, talk in enumerate(talks)]
    for turn in range(3):
        inputs = [input_of(one) for one in last]
        last = [
            talk.ask(f"turn {turn}", previous_response_id=one.id) for talk, one in zip(talks, last, strict=True)
        ]
        assert {one.output_text for one in last} == {f"You said: turn {turn}"}
        assert all(input_of(one) > before for one, before in zip(last, inputs, strict=True))


@BOTH_WAYS
def test_a_vendors_reasoning_stays_with_the_account(place: Place, key: str, stream: bool) -> None:
    """Nothing is stored there either: the ciphers go to and fro."""
    more = {"store": False, "reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}
    talks = [Talk(place, key, "two accounts", stream, **more) for _ in range(3)]
    histories: list[list[Any]] = [[{"role": "user", "content": f"the weather, please, {n}"}] for n in range(3)]
    for _ in range(2):
        for talk, history in zip(talks, histories, strict=True):
            answer = talk.ask(history)
            assert answer.usage is not None
            assert answer.usage.output_tokens_details.reasoning_tokens > 0
            history += items(answer)
            if any(item["type"] == "function_call" for item in history[-len(answer.output) :]):
                history += results(answer, "sunny")
                answer = talk.ask(history)
                assert answer.output_text == "The tool said: sunny"
                history += items(answer)
            history.append({"role": "user", "content": "the weather once more"})
