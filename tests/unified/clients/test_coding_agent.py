"""An agent in the style of Claude Code over vendors that do not speak its dialect: what it sends, for ten turns.

Its requests are full of what is Anthropic's own: marks for the cache everywhere, beta headers, thinking, edits of the
context; its tools answer with pictures, errors and nothing at all, and reminders stand behind the results.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic

from tests.clients.media import PIXEL
from tests.clients.seen import Seen
from tests.clients.seen import anthropic as seen
from tests.unified.clients import others
from tests.unified.clients.billing import Bill
from tests.unified.place import Place

MODELS = others.MODELS
CACHED = {"type": "ephemeral"}
PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PIXEL).decode()},
}
BETAS = [
    "claude-code-20250219", "interleaved-thinking-2025-05-14", "fine-grained-tool-streaming-2025-05-14",
    "context-management-2025-06-27",
]  # fmt: skip
SYSTEM: Any = [
    {"type": "text", "text": "You are an agent that writes programs."},
    {"type": "text", "text": "Be careful.\n# Environment\nYou are in /home/me.", "cache_control": CACHED},
]


def tool(name: str, required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "name": name,
        "description": f"{name}s a file.\n\nUsage:\n- always with care",
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": properties,
            "required": required, "additionalProperties": False,
        },
    }  # fmt: skip


TEXT, NUMBER = {"type": "string", "description": "a text"}, {"type": "integer", "exclusiveMinimum": 0}
TODO = {
    "type": "object", "properties": {"what": {"type": "string", "minLength": 1}, "state": {"enum": ["open", "done"]}},
    "required": ["what", "state"], "additionalProperties": False,
}  # fmt: skip
TOOLS: Any = [
    tool("read", ["path"], path=TEXT, limit=NUMBER),
    tool("edit", ["path", "old", "new"], path=TEXT, old=TEXT, new=TEXT, all={"type": "boolean", "default": False}),
    tool("shell", ["command"], command=TEXT, timeout={"type": ["number", "null"]}),
    {**tool("plan", ["todos"], todos={"type": "array", "items": TODO}), "cache_control": CACHED},
]
# What the user says, the tools that are called then, and what each of them answers.
TURNS: list[tuple[str, dict[str, Any]]] = [
    ("please read it", {"read": "1\tprint()"}),
    ("now read and edit and shell", {"read": "1\tprint()", "edit": "done", "shell": "ok"}),
    ("look, read the picture", {"read": [PICTURE]}),
    ("read two of them and shell", {"read": [{"type": "text", "text": "it shows"}, PICTURE], "shell": "exit 0"}),
    ("shell something that fails", {"shell": RuntimeError("exit 1")}),
    ("shell something silent", {"shell": ""}),
    ("shell something else that is silent", {"shell": []}),
    ("make a plan", {"plan": [{"type": "text", "text": "noted", "cache_control": CACHED}]}),
    ("edit then shell", {"edit": "done", "shell": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
    ("read the last one", {"read": "the end"}),
]


class Agent:
    """Holds the conversation, marks its last block for the cache, streams, and answers the calls."""

    def __init__(self, sdk: Anthropic, model: str) -> None:
        self._sdk, self._model = sdk, model
        self._messages: list[Any] = []
        self.usages: list[Seen] = []
        self.dropped: set[str] = set()

    def turn(self) -> Any:
        with self._sdk.beta.messages.stream(
            model=self._model, max_tokens=32_000, system=SYSTEM, tools=TOOLS, messages=self._marked(),
            thinking={"type": "enabled", "budget_tokens": 31_999}, betas=BETAS,
            metadata={"user_id": json.dumps({"device_id": "d", "session_id": "s"})},
            context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            extra_body={"temperature": 1},
        ) as stream:  # fmt: skip
            answer = stream.get_final_message()
            self.dropped |= set(stream.response.headers.get("x-gateway-dropped", "").split(", ")) - {""}
        self.usages.append(seen("", answer.usage))
        self._messages.append({"role": "assistant", "content": [block.to_dict() for block in answer.content]})
        return answer

    def _marked(self) -> list[Any]:
        """The last two messages are marked, as for a cache that grows."""
        marked = [dict(message) for message in self._messages]
        for message in marked[-2:]:
            *others, last = message["content"]
            marks = {} if last["type"] in ("thinking", "redacted_thinking") else {"cache_control": CACHED}
            message["content"] = [*others, {**last, **marks}]
        return marked

    def say(self, *blocks: Any) -> Any:
        self._messages.append({"role": "user", "content": list(blocks)})
        return self.turn()


def text(words: str) -> Any:
    return {"type": "text", "text": words}


def result(call: Any, content: Any) -> Any:
    found: Any = {"type": "tool_result", "tool_use_id": call.id}
    if isinstance(content, Exception):
        return {**found, "content": str(content), "is_error": True}
    return {**found, "content": content}


@pytest.fixture
def sdk(place: Place, bill: Bill) -> Iterator[Anthropic]:
    base = f"http://127.0.0.1:{place.port}"
    with Anthropic(base_url=base, auth_token=bill.key, max_retries=0) as client:
        yield client


def pictures(results: dict[str, Any]) -> bool:
    return any(isinstance(content, list) and PICTURE in content for content in results.values())


@pytest.mark.parametrize("model", ["claude", "gpt", "gpt-responses", "gemini", "deepseek"])
def test_ten_turns(sdk: Anthropic, bill: Bill, model: str) -> None:
    """Claude's own vendor is the measure for the others."""
    agent = Agent(sdk, model)
    for number, (words, results) in enumerate(TURNS):
        if model == "deepseek" and pictures(results):
            continue  # it sees nothing
        answer = agent.say(text("<system-reminder>\nToday is a day.\n</system-reminder>"), text(words))
        calls = [block for block in answer.content if block.type == "tool_use"]
        assert {call.name for call in calls} == set(results), (number, answer)
        assert answer.stop_reason == "tool_use"
        reminder = [text("<system-reminder>\nNow shell.\n</system-reminder>")] if number % 3 == 1 else []
        answer = agent.say(*(result(call, results[call.name]) for call in calls), *reminder)
        # Whether a simulated vendor takes words or a picture behind a result for a new wish differs; a second is none.
        if again := [block for block in answer.content if block.type == "tool_use"]:
            answer = agent.say(*(result(call, "exit 0") for call in again))
        assert answer.stop_reason == "end_turn"
        assert answer.content[-1].text.startswith("The tool said:"), (number, answer)
    carried = {"claude": set(), "gemini": {"cache_control", "metadata.user_id"}}
    assert agent.dropped == carried.get(model, {"cache_control"})
    bill.charged(*agent.usages)


@pytest.mark.parametrize("model", ["gpt", "gpt-responses", "gemini"])
def test_what_stands_around_the_conversation(sdk: Anthropic, bill: Bill, model: str) -> None:
    """A trial of the key, a title that is begun for the model, a count before the context is full."""
    trial = sdk.beta.messages.create(model=model, max_tokens=1, messages=[{"role": "user", "content": "quota"}])
    begun: Any = [{"role": "user", "content": "a title"}, {"role": "assistant", "content": "{"}]
    title = sdk.beta.messages.create(model=model, max_tokens=100, messages=begun)
    counted = sdk.beta.messages.count_tokens(
        model=model, system=SYSTEM, tools=TOOLS, betas=BETAS, messages=[{"role": "user", "content": [text("hello")]}],
        thinking={"type": "enabled", "budget_tokens": 2000},
    )  # fmt: skip
    # Responses take no maximum below 16.
    assert trial.stop_reason == ("end_turn" if model == "gpt-responses" else "max_tokens")
    assert title.stop_reason == "end_turn"
    assert counted.input_tokens > 100
    assert [outcome for outcome, _ in bill.outcomes(3)] == ["complete"] * 3
