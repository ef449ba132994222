"""The official SDKs behind one face: a driver holds a conversation in its own SDK's words and tells what it got.

What a driver sends is what that SDK's documentation shows; what comes back is kept for the next turn exactly as the SDK
returns it, as any agent does.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from tests.clients import seen
from tests.clients.media import PIXEL
from tests.clients.seen import Seen

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOCK: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = {"weather": ("The weather of a city", WEATHER), "clock": ("The time of day", CLOCK)}
PICTURE = base64.b64encode(PIXEL).decode()


@dataclasses.dataclass
class Ask:
    """What a turn wants besides its words."""

    stream: bool = False
    tools: bool = False
    picture: bool = False
    effort: str | None = None
    schema: bool = False
    most: int = 2000


@dataclasses.dataclass
class Got:
    """A turn's answer. `finish` in one set of words for all: stop, length, tools, filtered."""

    text: str
    calls: list[tuple[str, str, Any]]  # id, name, arguments
    thought: str
    finish: str
    usage: Seen


class Driver:
    """One conversation; `headers` go along with every request."""

    name = ""
    refused: dict[int, type[Exception]]  # status -> the class that the SDK raises for it
    broken: tuple[type[Exception], ...]  # what it raises for a stream that was cut or failed

    def __init__(self, base: str, key: str, model: str, headers: dict[str, str]) -> None:
        self.base, self.key, self.model, self.headers = base, key, model, headers
        self.turns: list[Any] = []

    def user(self, text: str, picture: bool = False) -> None:
        raise NotImplementedError

    def results(self, calls: list[tuple[str, str, Any]], texts: list[str]) -> None:
        raise NotImplementedError

    def turn(self, ask: Ask) -> Got:
        """The model's next turn, put behind the conversation."""
        raise NotImplementedError


class Chat(Driver):
    name = "chat"
    refused = {
        400: openai.BadRequestError, 404: openai.NotFoundError, 422: openai.UnprocessableEntityError,
        429: openai.RateLimitError, 500: openai.InternalServerError, 502: openai.InternalServerError,
        503: openai.InternalServerError,
    }  # fmt: skip
    broken = (openai.OpenAIError,)
    _FINISH = {"stop": "stop", "length": "length", "tool_calls": "tools", "content_filter": "filtered"}

    def user(self, text: str, picture: bool = False) -> None:
        content: Any = text
        if picture:
            url = f"data:image/png;base64,{PICTURE}"
            content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
        self.turns.append({"role": "user", "content": content})

    def results(self, calls: list[tuple[str, str, Any]], texts: list[str]) -> None:
        for (call, _, _), text in zip(calls, texts, strict=True):
            self.turns.append({"role": "tool", "tool_call_id": call, "content": text})

    def turn(self, ask: Ask) -> Got:
        wish: dict[str, Any] = {"max_completion_tokens": ask.most}
        if ask.tools:
            wish["tools"] = [
                {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}
                for name, (about, schema) in TOOLS.items()
            ]
        if ask.effort:
            wish["reasoning_effort"] = ask.effort
        if ask.schema:
            named = {"name": "trip", "schema": SCHEMA, "strict": True}
            wish["response_format"] = {"type": "json_schema", "json_schema": named}
        with openai.OpenAI(base_url=self.base + "/v1", api_key=self.key, max_retries=0) as sdk:
            if ask.stream:
                with sdk.chat.completions.stream(
                    model=self.model, messages=self.turns, stream_options={"include_usage": True},
                    extra_headers=self.headers, **wish,
                ) as stream:  # fmt: skip
                    thought = "".join(_reasoning(event) for event in stream)
                    done: Any = stream.get_final_completion()
            else:
                done = sdk.chat.completions.create(
                    model=self.model, messages=self.turns, extra_headers=self.headers, **wish
                )
                thought = getattr(done.choices[0].message, "reasoning_content", None) or ""
        choice = done.choices[0]
        turn = choice.message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in turn.get("tool_calls") or []:
            call["function"].pop("parsed_arguments", None)
        self.turns.append(turn)
        calls = [
            (call.id, call.function.name, json.loads(call.function.arguments or "{}"))
            for call in choice.message.tool_calls or []
        ]
        return Got(choice.message.content or "", calls, thought, self._FINISH[choice.finish_reason],
                   seen.openai("", done.usage))  # fmt: skip


def _reasoning(event: Any) -> str:
    if event.type != "chunk" or not event.chunk.choices:
        return ""
    return getattr(event.chunk.choices[0].delta, "reasoning_content", None) or ""


class Responses(Driver):
    name = "responses"
    refused = Chat.refused
    broken = (openai.OpenAIError,)

    def user(self, text: str, picture: bool = False) -> None:
        parts: list[Any] = [{"type": "input_text", "text": text}]
        if picture:
            url = f"data:image/png;base64,{PICTURE}"
            parts.append({"type": "input_image", "image_url": url, "detail": "auto"})
        self.turns.append({"role": "user", "content": parts})

    def results(self, calls: list[tuple[str, str, Any]], texts: list[str]) -> None:
        for (call, _, _), text in zip(calls, texts, strict=True):
            self.turns.append({"type": "function_call_output", "call_id": call, "output": text})

    def turn(self, ask: Ask) -> Got:
        wish: dict[str, Any] = {"max_output_tokens": ask.most, "store": False}
        if ask.tools:
            wish["tools"] = [
                {"type": "function", "name": name, "description": about, "parameters": schema, "strict": False}
                for name, (about, schema) in TOOLS.items()
            ]
        if ask.effort:
            wish["reasoning"] = {"effort": ask.effort, "summary": "auto"}
            wish["include"] = ["reasoning.encrypted_content"]
        if ask.schema:
            wish["text"] = {"format": {"type": "json_schema", "name": "trip", "schema": SCHEMA, "strict": True}}
        with openai.OpenAI(base_url=self.base + "/v1", api_key=self.key, max_retries=0) as sdk:
            if ask.stream:
                with sdk.responses.stream(
                    model=self.model, input=self.turns, extra_headers=self.headers, **wish
                ) as stream:
                    *_, last = stream
                    done: Any = last.response  # type: ignore[union-attr]
            else:
                done = sdk.responses.create(
                    model=self.model, input=self.turns, extra_headers=self.headers, **wish
                )
        text, thought, calls = "", "", []
        for item in done.output:
            kept = item.model_dump(exclude_none=True)
            kept.pop("parsed_arguments", None)
            for part in kept.get("content") or []:
                part.pop("parsed", None)
            self.turns.append(kept)
            if item.type == "message":
                text += "".join(getattr(part, "text", "") for part in item.content)
            elif item.type == "reasoning":
                thought += "".join(part.text for part in item.summary or [])
            elif item.type == "function_call":
                calls.append((item.call_id, item.name, json.loads(item.arguments or "{}")))
        reason = done.incomplete_details.reason if done.incomplete_details else None
        finish = {"max_output_tokens": "length", "content_filter": "filtered"}.get(reason or "")
        return Got(text, calls, thought, finish or ("tools" if calls else "stop"), seen.openai("", done.usage))


class Messages(Driver):
    name = "messages"
    refused = {
        400: anthropic.BadRequestError, 404: anthropic.NotFoundError, 422: anthropic.UnprocessableEntityError,
        429: anthropic.RateLimitError, 500: anthropic.InternalServerError, 502: anthropic.InternalServerError,
        503: anthropic.InternalServerError,
    }  # fmt: skip
    broken = (anthropic.APIError,)
    _FINISH = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tools", "refusal": "filtered"}
    _BUDGETS = {"low": 1024, "medium": 1500}

    def user(self, text: str, picture: bool = False) -> None:
        content: list[Any] = [{"type": "text", "text": text}]
        if picture:
            source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
            content.append({"type": "image", "source": source})
        self.turns.append({"role": "user", "content": content})

    def results(self, calls: list[tuple[str, str, Any]], texts: list[str]) -> None:
        content = [
            {"type": "tool_result", "tool_use_id": call, "content": text}
            for (call, _, _), text in zip(calls, texts, strict=True)
        ]
        self.turns.append({"role": "user", "content": content})

    def turn(self, ask: Ask) -> Got:
        wish: dict[str, Any] = {"max_tokens": ask.most}
        if ask.tools:
            wish["tools"] = [
                {"name": name, "description": about, "input_schema": schema} for name, (about, schema) in TOOLS.items()
            ]
        if ask.effort:
            wish["thinking"] = {"type": "enabled", "budget_tokens": self._BUDGETS[ask.effort]}
        if ask.schema:
            wish["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        with anthropic.Anthropic(base_url=self.base, api_key=self.key, max_retries=0) as sdk:
            if ask.stream:
                with sdk.messages.stream(
                    model=self.model, messages=self.turns, extra_headers=self.headers, **wish
                ) as stream:
                    done: Any = stream.get_final_message()
            else:
                done = sdk.messages.create(
                    model=self.model, messages=self.turns, extra_headers=self.headers, **wish
                )
        blocks = [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in done.content]
        self.turns.append({"role": "assistant", "content": blocks})
        text = "".join(block.text for block in done.content if block.type == "text")
        thought = "".join(block.thinking for block in done.content if block.type == "thinking")
        calls = [(block.id, block.name, block.input) for block in done.content if block.type == "tool_use"]
        return Got(text, calls, thought, self._FINISH[done.stop_reason], seen.anthropic("", done.usage))


class Gemini(Driver):
    name = "gemini"
    refused = dict.fromkeys((400, 404, 422, 429), genai_errors.ClientError) | dict.fromkeys(
        (500, 502, 503), genai_errors.ServerError
    )
    broken = (genai_errors.APIError,)
    _FINISH = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "filtered", "PROHIBITED_CONTENT": "filtered"}
    _BUDGETS = {"low": 1024, "medium": 1500}

    def user(self, text: str, picture: bool = False) -> None:
        parts = [types.Part(text=text)]
        if picture:
            parts.append(types.Part(inline_data=types.Blob(mime_type="image/png", data=PIXEL)))
        self.turns.append(types.Content(role="user", parts=parts))

    def results(self, calls: list[tuple[str, str, Any]], texts: list[str]) -> None:
        parts = [
            types.Part(function_response=types.FunctionResponse(id=call or None, name=name, response={"result": text}))
            for (call, name, _), text in zip(calls, texts, strict=True)
        ]
        self.turns.append(types.Content(role="user", parts=parts))

    def turn(self, ask: Ask) -> Got:
        config = types.GenerateContentConfig(max_output_tokens=ask.most)
        config.http_options = types.HttpOptions(headers=self.headers)
        if ask.tools:
            declared = [
                types.FunctionDeclaration(name=name, description=about, parameters_json_schema=schema)
                for name, (about, schema) in TOOLS.items()
            ]
            config.tools = [types.Tool(function_declarations=declared)]
        if ask.effort:
            budget = self._BUDGETS[ask.effort]
            config.thinking_config = types.ThinkingConfig(include_thoughts=True, thinking_budget=budget)
        if ask.schema:
            config.response_mime_type, config.response_json_schema = "application/json", SCHEMA
        options = types.HttpOptions(base_url=self.base, retry_options=types.HttpRetryOptions(attempts=1))
        sdk = genai.Client(api_key=self.key, http_options=options)
        try:
            if ask.stream:
                chunks = list(
                    sdk.models.generate_content_stream(model=self.model, contents=self.turns, config=config)
                )
            else:
                chunks = [sdk.models.generate_content(model=self.model, contents=self.turns, config=config)]
        finally:
            sdk.close()
        return self._got(chunks)

    def _got(self, chunks: list[Any]) -> Got:
        parts: list[Any] = []
        finish = "filtered" if not chunks[-1].candidates else ""
        for chunk in chunks:
            for candidate in chunk.candidates or []:
                parts += (candidate.content.parts if candidate.content else None) or []
                if candidate.finish_reason:
                    finish = self._FINISH[candidate.finish_reason.name]
        self.turns.append(types.Content(role="model", parts=parts))
        text = "".join(part.text for part in parts if part.text and not part.thought)
        thought = "".join(part.text for part in parts if part.text and part.thought)
        calls = [
            (part.function_call.id or "", part.function_call.name, part.function_call.args or {})
            for part in parts
            if part.function_call
        ]
        usage = seen.gemini("", chunks[-1].usage_metadata)
        return Got(text, calls, thought, "tools" if calls and finish == "stop" else finish, usage)


DRIVERS: tuple[type[Driver], ...] = (Chat, Responses, Messages, Gemini)


@contextmanager
def status_of(driver: Driver, caught: Callable[[int], None]) -> Iterator[None]:
    """Runs a call that is refused; tells the status that the SDK raised, in the class that it has for it."""
    try:
        yield
    except (openai.APIStatusError, anthropic.APIStatusError, genai_errors.APIError) as exc:
        error = exc
    else:
        raise AssertionError("the call was not refused")
    status = error.code if isinstance(error, genai_errors.APIError) else error.status_code
    assert isinstance(error, driver.refused[status]), (status, error)
    caught(status)
