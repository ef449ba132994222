"""What the official client makes of a stream: it is fed with bytes instead of a connection."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, get_args

import httpx2
from openai import OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel


def accumulated(stream: bytes) -> Response:
    """The final response, after the client has accepted each event in its order; the events' types are checked too."""
    _check(stream)
    head = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=head, content=stream))
    with (
        httpx2.Client(transport=transport) as http,
        OpenAI(api_key="k", base_url="http://test/v1", http_client=http) as client,
        client.responses.stream(model="astra", input="hi") as events,
    ):
        last = [*events][-1]
        found: Response = last.response if last.type == "response.incomplete" else events.get_final_response()
        return found


def payloads(stream: bytes) -> list[dict[str, Any]]:
    """The data of the events, whose names must be those of their types."""
    events = []
    for event in stream.decode().removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        payload = json.loads(data.removeprefix("data: "))
        assert name == f"event: {payload['type']}"
        events.append(payload)
    return events


def _check(stream: bytes) -> None:
    """Each event is one by its official type; indexes and numbers rise; each thing that begins is done, once."""
    events = payloads(stream)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        _types()[event["type"]].model_validate(event)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] in ("response.completed", "response.incomplete")
    for what in ("output_item", "content_part", "reasoning_summary_part"):
        begun = [_place(event) for event in events if event["type"] == f"response.{what}.added"]
        done = [_place(event) for event in events if event["type"] == f"response.{what}.done"]
        assert len(set(begun)) == len(begun)
        assert sorted(begun) == sorted(done)
        assert begun == sorted(begun)
    items = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    assert [items[index] for index in range(len(items))] == events[-1]["response"]["output"]


def _place(event: dict[str, Any]) -> tuple[int, int]:
    return event["output_index"], event.get("content_index", event.get("summary_index", 0))


@cache
def _types() -> dict[str, type[BaseModel]]:
    kinds = get_args(get_args(ResponseStreamEvent)[0])
    return {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in kinds}
