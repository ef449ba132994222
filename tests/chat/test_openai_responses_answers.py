"""Whole answers, written as Responses: the official type accepts them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from openai.types.responses import Response

from gateway.dialects.chat import form
from gateway.dialects.chat.conversion import Read, read
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import (
    Answer,
    Citation,
    Image,
    Logprob,
    Refusal,
    Text,
    Thought,
    ToolCall,
)
from gateway.dialects.openai_responses import SURFACE
from gateway.types import Usage
from tests.chat.openai_responses_requests import requests

PIXEL = "iVBORw0KGgo="
FUNCTION = {"type": "function", "name": "weather"}


def reading(**fields: Any) -> Read:
    return read(SURFACE, {"model": "astra", "input": "hi", **fields}, "astra")


def written(answer: Answer, usage: Usage | None = None, **fields: Any) -> dict[str, Any]:
    """The answer, which the official type accepts."""
    told = Told("astra", "r1", 1_790_000_000, reading(**fields).request)
    body: dict[str, Any] = msgspec.json.decode(SURFACE.write(answer, usage or Usage(), told))
    Response.model_validate(body, strict=False)
    return body


def test_the_items_of_an_answer() -> None:
    answer = Answer(
        id="chatcmpl-1",
        parts=(
            Thought("hm", "signed", origin="anthropic.messages"),
            Text("Look: ", (Citation("https://x.org", "X", start=1, end=3),)),
            Text("there", (Citation("https://y.org"),)),
            Refusal("not that"),
            ToolCall("c1", "f", '{"a":1}'),
            ToolCall("c2", "g"),
            Image(data=PIXEL, media_type="image/jpeg"),
        ),
        finish=form.TOOL_CALLS,
    )
    body = written(answer)
    assert (body["id"], body["status"], body["incomplete_details"]) == ("resp_r1", "completed", None)

    def web(url: str, title: str, start: int, end: int) -> dict[str, Any]:
        return {"type": "url_citation", "url": url, "title": title, "start_index": start, "end_index": end}

    def text(text: str, note: dict[str, Any]) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [note], "logprobs": []}

    def call(index: int, id: str, name: str, arguments: str) -> dict[str, Any]:
        known = {"id": f"fc_r1_{index}", "type": "function_call", "status": "completed"}
        return {**known, "call_id": id, "name": name, "arguments": arguments}

    picture = {"id": "ig_r1_4", "type": "image_generation_call", "status": "completed", "output_format": "jpeg"}
    assert body["output"] == [
        {"id": "rs_r1_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {
            "id": "msg_r1_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [
                text("Look: ", web("https://x.org", "X", 1, 3)),
                text("there", web("https://y.org", "", 0, 5)),
                {"type": "refusal", "refusal": "not that"},
            ],
        },
        call(2, "c1", "f", '{"a":1}'),
        call(3, "c2", "g", "{}"),
        {**picture, "result": PIXEL},
    ]


@pytest.mark.parametrize(("finish", "reason"), [(form.LENGTH, "max_output_tokens"), (form.FILTERED, "content_filter")])
def test_an_answer_that_was_cut(finish: str, reason: str) -> None:
    body = written(Answer(parts=(Text("ha"), ToolCall("c", "f", "{")), finish=finish))
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert [item["status"] for item in body["output"]] == ["completed", "incomplete"]


def test_ciphers_of_others_are_not_shown() -> None:
    body = written(Answer(parts=(Thought("", "signed", origin="gemini.generate"), Thought(redacted="x"), Text("a"))))
    assert [item["type"] for item in body["output"]] == ["message"]


def test_a_picture_at_an_address_is_a_text() -> None:
    body = written(Answer(parts=(Image("https://x.org/a.png"),)))
    assert body["output"][0]["content"][0]["text"] == "![](https://x.org/a.png)"


def test_logprobs() -> None:
    logprobs = (Logprob("é", -0.5, None, (Logprob("e", -1.0, [101]),)),)
    content = written(Answer(parts=(Text("é"),), logprobs=logprobs))["output"][0]["content"][0]
    other = {"token": "e", "bytes": [101], "logprob": -1.0}
    assert content["logprobs"] == [{"token": "é", "bytes": [195, 169], "logprob": -0.5, "top_logprobs": [other]}]


def test_usage_and_ids_of_the_own_dialect() -> None:
    usage = Usage(input=100, cached_input=60, cache_write=10, output=30, reasoning=20)
    body = written(Answer(id="resp_abc", created=5, parts=(Text("a"),)), usage)
    assert (body["id"], body["created_at"], body["output"][0]["id"]) == ("resp_abc", 5, "msg_abc_0")
    assert body["usage"] == {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 130,
    }


def test_the_request_is_repeated_in_the_answer() -> None:
    tool = {**FUNCTION, "description": "d", "parameters": {"type": "object"}, "strict": True}
    asked: dict[str, Any] = {
        "instructions": "be brief",
        "tools": [tool],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [FUNCTION, {**FUNCTION, "name": "b"}]},
        "parallel_tool_calls": False,
        "max_output_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "reasoning": {"effort": "low", "summary": "auto"},
        "metadata": {"a": "b"},
        "user": "u",
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
    }
    body = written(Answer(parts=(Text("a"),)), **asked)
    assert {name: body[name] for name in asked} == asked
    assert (body["store"], body["model"]) == (False, "astra")


def test_a_stored_answer_says_so() -> None:
    request = msgspec.structs.replace(reading().request, extras={"store": True, "previous_response_id": "resp_0"})
    body = msgspec.json.decode(SURFACE.write(Answer(), Usage(), Told("astra", "r1", 1, request)))
    assert (body["store"], body["previous_response_id"]) == (True, "resp_0")


@given(requests())
@settings(max_examples=50, deadline=None)
def test_any_request_can_be_repeated(body: dict[str, Any]) -> None:
    told = Told("astra", "r1", 1_790_000_000, read(SURFACE, body, "astra").request)
    Response.model_validate_json(SURFACE.write(Answer(parts=(Text("a"),)), Usage(), told))


def test_a_count_of_tokens() -> None:
    assert msgspec.json.decode(SURFACE.count(7)) == {"object": "response.input_tokens", "input_tokens": 7}
