"""Every surface over every vendor dialect: a legal request gives a legal request, or a refusal that names its field."""

from __future__ import annotations

import importlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects import conversion
from gateway.dialects.chat.conversion import ChatConversion, Read, decoded, read
from gateway.dialects.chat.dialect import Aim, Sent
from gateway.dialects.chat.form import ChatRequest, Image, Part, Refusal, Text, Tool, ToolCall, ToolResult
from gateway.dialects.chat.transform import arguments
from gateway.errors import Unsupported
from gateway.features import features
from gateway.types import Features

MODELS = {
    "openai.chat": "gpt-5.1",
    "openai.responses": "gpt-5.1",
    "anthropic.messages": "claude-sonnet-4-5",
    "gemini.generate": "gemini-3-pro",
    "dashscope.generation": "qwen3-max",
    "minimax.chat": "MiniMax-M2",
}
PAIRS = [
    (surface, vendor) for surface in conversion.SURFACES for vendor in conversion.VENDORS if surface != vendor
]
BACK = [(surface, vendor) for surface, vendor in PAIRS if vendor in conversion.SURFACES]


def module(dialect: str, what: str) -> Any:
    return importlib.import_module(f"tests.chat.{dialect.replace('.', '_')}_{what}")


def pair(surface: str, vendor: str) -> ChatConversion:
    found = conversion.chats(surface, vendor)
    assert found is not None
    return found


def aim(vendor: str) -> Aim:
    name = MODELS[vendor]
    known = features(name, Features())
    return Aim(name, msgspec.structs.replace(known, max_output=None, images="url+base64", json_schema=True), "account")


def drawn(data: st.DataObject, surface: str) -> dict[str, Any]:
    body: dict[str, Any] = data.draw(module(surface, "requests").requests())
    return body


def converted(surface: str, vendor: str, body: dict[str, Any]) -> tuple[Read, Sent] | Unsupported:
    conv = pair(surface, vendor)
    try:
        asked = read(conv.surface, decoded(json.dumps(body).encode()), body.get("model", "gemini-3-pro"))
        return asked, conv.request(asked, aim(vendor))
    except Unsupported as error:
        refused = error
    assert refused.param, refused
    return refused


@pytest.mark.parametrize(("surface", "vendor"), PAIRS, ids=str)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_legal_request_stays_one(surface: str, vendor: str, data: st.DataObject) -> None:
    body = drawn(data, surface)
    found = converted(surface, vendor, body)
    if isinstance(found, Unsupported):
        return
    asked, sent = found
    module(vendor, "schema").check(json.loads(sent.body), asked.request.stream)


@pytest.mark.parametrize("surface", conversion.SURFACES)
def test_most_requests_are_carried(surface: str) -> None:
    """A converter that refused everything would pass the test above."""
    carried = refused = 0

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def count(data: st.DataObject) -> None:
        nonlocal carried, refused
        body = drawn(data, surface)
        for vendor in conversion.VENDORS:
            if vendor != surface:
                if isinstance(converted(surface, vendor, body), Unsupported):
                    refused += 1
                else:
                    carried += 1

    count()
    assert carried > refused / 4, (carried, refused)


@pytest.mark.parametrize(("surface", "vendor"), BACK, ids=str)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_there_and_back_keeps_what_is_not_listed_as_lost(surface: str, vendor: str, data: st.DataObject) -> None:
    """The vendor's request, read as a client's, says the same but for what both sides tell that they lose."""
    body = drawn(data, surface)
    found = converted(surface, vendor, body)
    if isinstance(found, Unsupported):
        return
    asked, sent = found
    there = conversion.SURFACES[vendor]
    again = read(there, json.loads(sent.body), MODELS[vendor]).request
    lost = {name.partition(" ")[0] for name in pair(surface, vendor).vendor.LOSSES}
    for name in ("tools", "tool_choice", "max_output", "temperature", "top_p", "stop", "user"):
        if name in lost or _named(asked, sent, pair(surface, vendor), name):
            continue
        before = getattr(asked.request, name)
        if before in (None, ()):
            continue
        choice = asked.request.tool_choice
        if choice is not None and choice.names and name in ("tools", "tool_choice"):
            continue  # where a choice of several cannot be said, only those are declared
        assert _plain(getattr(again, name)) == _plain(before), name
    assert _said(again) == _said(asked.request)


def _plain(value: Any) -> Any:
    """Tools alike but for what a dialect must say where another one leaves it out."""
    if isinstance(value, tuple) and value and isinstance(value[0], Tool):
        empty = {"type": "object", "properties": {}}
        schemas = [{**empty, **(tool.parameters or {})} for tool in value]
        for schema in schemas:
            if schema.get("additionalProperties") is False:
                del schema["additionalProperties"]  # strict functions are closed, said or not
        return [(tool.name, tool.description, schema) for tool, schema in zip(value, schemas, strict=True)]
    return value


def _named(asked: Read, sent: Sent, conv: ChatConversion, name: str) -> bool:
    return conv.surface.NAMES.get(name, name) in sent.dropped


def _said(request: ChatRequest) -> dict[str, Any]:
    """What was said, called, answered and shown, in this order. Where turns begin and end may change, words of several
    parts may become one, pictures of results may move behind them, ids may be renamed; thoughts may be left out.
    """
    words: list[str] = [part.text for part in request.system]
    found: dict[str, Any] = {"calls": [], "results": [], "pictures": []}

    def hear(part: Part) -> None:
        if isinstance(part, Text | Refusal):
            words.append(part.text)
        elif isinstance(part, Image):
            found["pictures"].append(part.url or (part.media_type, part.data))
        elif isinstance(part, ToolCall):
            found["calls"].append((part.name, arguments(part.arguments)))
        elif isinstance(part, ToolResult):
            text = " ".join(each.text for each in part.parts if isinstance(each, Text))
            text = text.removeprefix("Error: ").removesuffix("The picture follows in the next message.")
            found["results"].append("".join(text.split()))
            found["pictures"] += [each for each in part.parts if isinstance(each, Image) and hear(each)]

    for message in request.messages:
        for part in message.parts:
            hear(part)
    found["pictures"].sort(key=str)
    found["results"].sort()  # in the order of their calls, where a dialect has no other way
    # Anthropic wants a user to begin, with words: a full stop stands for none.
    return found | {"words": "".join("".join(words).split()).replace(".", "")}
