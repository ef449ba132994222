"""OpenAI realtime: the official client, a plain one, strict types, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websocket
from openai import AsyncOpenAI, OpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from gateway.sandbox import app
from gateway.sandbox.ws_containers import text_in
from gateway.sandbox.ws_voice import speak

MEDIA = Path(__file__).parent.parent / "fixtures" / "media"
KEY = {"Authorization": "Bearer k"}
BETA = KEY | {"OpenAI-Beta": "realtime=v1"}
SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
Event = dict[str, Any]


@pytest.fixture
async def sandbox() -> AsyncIterator[app.Running]:
    running = await app.start()
    yield running
    await running.stop()


def url(sandbox: app.Running, query: str = "?model=gpt-realtime") -> str:
    return f"ws://127.0.0.1:{sandbox.port}/openai/v1/realtime{query}"


def user(text: str) -> Event:
    content = [{"type": "input_text", "text": text}]
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}


def append(pcm: bytes) -> Event:
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()}


def update(**session: Any) -> Event:
    return {"type": "session.update", "session": {"type": "realtime", **session}}


RESPOND: Event = {"type": "response.create"}
NO_VAD = update(audio={"input": {"turn_detection": None}})


async def talk(ws: ClientConnection, events: list[Event], last: str) -> list[Event]:
    for event in events:
        await ws.send(json.dumps(event))
    found: list[Event] = []
    while not found or found[-1]["type"] != last:
        found.append(json.loads(await ws.recv()))
    return found


async def session(
    sandbox: app.Running, events: list[Event], last: str, query: str = "?model=gpt-realtime", beta: bool = False
) -> list[Event]:
    async with connect(url(sandbox, query), additional_headers=BETA if beta else KEY) as ws:
        return await talk(ws, events, last)


def kinds(events: list[Event]) -> list[str]:
    """Event types in order, runs of the same as one."""
    return [e["type"] for e, before in zip(events, [{}, *events], strict=False) if e["type"] != before.get("type")]


def delta(events: list[Event], kind: str) -> str:
    return "".join(event["delta"] for event in events if event["type"] == kind)


def sound(events: list[Event], kind: str) -> bytes:
    return b"".join(base64.b64decode(event["delta"]) for event in events if event["type"] == kind)


# -- clients --


async def test_official_client_converses(sandbox: app.Running) -> None:
    client = AsyncOpenAI(api_key="k", base_url=f"{sandbox.base_url('openai')}/v1")
    async with client, client.realtime.connect(model="gpt-realtime") as connection:
        created = await connection.recv()
        assert created.type == "session.created"
        await connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello there."}]}
        )
        await connection.response.create()
        heard, transcript, usage = b"", "", None
        async for event in connection:
            if event.type == "response.output_audio.delta":
                heard += base64.b64decode(event.delta)
            elif event.type == "response.output_audio_transcript.delta":
                transcript += event.delta
            elif event.type == "response.done":
                usage = event.response.usage
                break
    assert transcript == text_in(heard, 24000) == "You said: Hello there."
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (4, 4 + 18)
    assert usage.output_token_details is not None
    assert usage.output_token_details.text_tokens == 4


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")  # the client's own
async def test_official_client_in_its_blocking_form(sandbox: app.Running) -> None:
    def talks() -> str:
        client = OpenAI(api_key="k", base_url=f"{sandbox.base_url('openai')}/v1")
        with client, client.realtime.connect(model="gpt-realtime") as connection:
            connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            connection.response.create(response={"instructions": "Say this."})
            for event in connection:
                if event.type == "response.output_text.done":
                    return event.text
        return ""

    assert await asyncio.to_thread(talks) == "Say this."


async def test_a_browser_puts_the_key_into_a_subprotocol(sandbox: app.Running) -> None:
    def talks(key: str) -> tuple[str | None, Event]:
        protocols = ["realtime", f"openai-insecure-api-key.{key}", "openai-beta.realtime-v1"]
        ws = websocket.create_connection(url(sandbox), subprotocols=protocols, timeout=10)
        first = json.loads(ws.recv())
        ws.close()
        return ws.getsubprotocol(), first

    protocol, first = await asyncio.to_thread(talks, "k")
    assert (protocol, first["type"]) == ("realtime", "session.created")
    assert first["session"]["output_audio_format"] == "pcm16"  # the beta form
    with pytest.raises(websocket.WebSocketBadStatusException, match="401"):
        await asyncio.to_thread(talks, "bad")


# -- a conversation --

GA_ORDER = [
    "session.created", "conversation.item.added", "conversation.item.done", "response.created", "rate_limits.updated",
    "response.output_item.added", "conversation.item.added", "response.content_part.added",
    "response.output_audio_transcript.delta", "response.output_audio.delta", "response.output_audio.done",
    "response.output_audio_transcript.done", "response.content_part.done", "conversation.item.done",
    "response.output_item.done", "response.done",
]  # fmt: skip
BETA_ORDER = [
    "session.created", "conversation.created", "conversation.item.created", "response.created", "rate_limits.updated",
    "response.output_item.added", "conversation.item.created", "response.content_part.added",
    "response.audio_transcript.delta", "response.audio.delta", "response.audio.done", "response.audio_transcript.done",
    "response.content_part.done", "response.output_item.done", "response.done",
]  # fmt: skip


@pytest.mark.parametrize(("beta", "order"), [(False, GA_ORDER), (True, BETA_ORDER)])
async def test_events_come_in_order(sandbox: app.Running, beta: bool, order: list[str]) -> None:
    events = await session(sandbox, [user("Hello."), RESPOND], "response.done", beta=beta)
    assert kinds(events) == order
    audio = "response.audio" if beta else "response.output_audio"
    assert delta(events, f"{audio}_transcript.delta") == "You said: Hello."
    assert text_in(sound(events, f"{audio}.delta"), 24000) == "You said: Hello."
    assert len({event["event_id"] for event in events}) == len(events)
    recorded = json.loads((MEDIA / "rt_openai_response_done.json").read_text())["response"]
    response = events[-1]["response"]
    assert recorded.keys() <= response.keys()
    assert shape(response["usage"]) == shape(recorded["usage"])


def shape(value: Any) -> Any:
    return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else type(value)


async def test_events_are_what_the_official_types_say(sandbox: app.Running) -> None:
    tools = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]
    said = [
        update(audio={"input": {"transcription": {"model": "whisper-1"}, "turn_detection": None}}, tools=tools),
        append(speak("Hello.", 24000)), {"type": "input_audio_buffer.commit"}, RESPOND,
    ]  # fmt: skip
    async with connect(url(sandbox), additional_headers=KEY) as ws:
        events = await talk(ws, said, "response.done")
        events += await talk(ws, [user("The weather?"), RESPOND], "response.done")
        item = events[-1]["response"]["output"][0]
        output = {"type": "function_call_output", "call_id": item["call_id"], "output": "Rain."}
        events += await talk(ws, [{"type": "conversation.item.create", "item": output}, RESPOND], "response.done")
        for verb in ("retrieve", "delete"):
            events += await talk(ws, [{"type": f"conversation.item.{verb}", "item_id": item["id"]}],
                                 f"conversation.item.{verb}d")  # fmt: skip
        clear: Event = {"type": "input_audio_buffer.clear"}
        events += await talk(ws, [append(bytes(9600)), clear], "input_audio_buffer.cleared")
        events += await talk(ws, [{"type": "nonsense", "event_id": "mine"}], "error")
    for event in events:
        SERVER_EVENT.validate_python(event)
    assert events[-1]["error"]["event_id"] == "mine"
    texts = [delta([e], "response.output_audio_transcript.delta") for e in events]
    assert "".join(texts) == "You said: Hello.The tool says: Rain."
    assert json.loads(delta(events, "response.function_call_arguments.delta")) == {"input": "The weather?"}
    completed = next(event for event in events if event["type"].endswith("transcription.completed"))
    assert completed["transcript"] == "Hello."
    assert completed["usage"] == {"type": "duration", "seconds": 0.24}


async def test_usage_adds_up_and_remembers_what_was_read(sandbox: app.Running) -> None:
    async with connect(url(sandbox), additional_headers=KEY) as ws:
        events = await talk(ws, [NO_VAD, append(speak("one two", 24000)), {"type": "input_audio_buffer.commit"}],
                            "conversation.item.done")  # fmt: skip
        image = {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}
        item: Event = {"type": "conversation.item.create", "item": image}
        events = await talk(ws, [user("three"), item, RESPOND], "response.done")
        first = events[-1]["response"]["usage"]
        second = (await talk(ws, [user("four five"), RESPOND], "response.done"))[-1]["response"]["usage"]
    assert first["input_token_details"]["cached_tokens"] == 0
    assert (first["input_token_details"]["text_tokens"], first["input_token_details"]["audio_tokens"]) == (1, 3)
    assert first["input_token_details"]["image_tokens"] == 85
    assert second["input_token_details"]["cached_tokens_details"] == {
        "text_tokens": 1, "audio_tokens": 3, "image_tokens": 85,
    }  # fmt: skip
    for usage in (first, second):
        given, out = usage["input_token_details"], usage["output_token_details"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        assert usage["input_tokens"] == given["text_tokens"] + given["audio_tokens"] + given["image_tokens"]
        assert usage["output_tokens"] == out["text_tokens"] + out["audio_tokens"]
    assert second["input_tokens"] == first["input_tokens"] + 2 + first["output_token_details"]["text_tokens"]


async def test_the_same_words_give_the_same_sound(sandbox: app.Running) -> None:
    runs = [await session(sandbox, [user("Hello."), RESPOND], "response.done") for _ in range(2)]
    first, second = (sound(events, "response.output_audio.delta") for events in runs)
    assert first == second != b""


async def test_voice_detection_commits_and_answers(sandbox: app.Running) -> None:
    said = [update(audio={"input": {"transcription": {"model": "gpt-4o-transcribe"}}})]
    said += [append(bytes(24000)), append(speak("Hello.", 24000)), append(bytes(26400))]
    events = await session(sandbox, said, "response.done")
    order = kinds(events)
    assert order[2:7] == [
        "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
        "conversation.item.added", "conversation.item.done",
    ]  # fmt: skip
    started, stopped = (e for e in events if ".speech_" in e["type"])
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (500, 740)
    assert delta(events, "conversation.item.input_audio_transcription.delta") == "Hello."
    completed = next(event for event in events if event["type"].endswith("transcription.completed"))
    assert completed["usage"]["type"] == "tokens"
    assert delta(events, "response.output_audio_transcript.delta") == "You said: Hello."


async def test_speaking_interrupts_a_response(sandbox: app.Running) -> None:
    long = user("word " * 500)
    async with connect(url(sandbox, "?model=gpt-realtime+pace=5"), additional_headers=KEY) as ws:
        await talk(ws, [long, RESPOND], "response.output_audio_transcript.delta")
        events = await talk(ws, [append(speak("Stop", 24000))], "response.done")
        response = events[-1]["response"]
        assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        assert response["usage"]["output_tokens"] > 0
        events = await talk(ws, [append(bytes(26400))], "response.created")
        events = await talk(ws, [{"type": "response.cancel"}], "response.done")
        assert events[-1]["response"]["status_details"]["reason"] == "client_cancelled"


async def test_limits_and_replies_out_of_band(sandbox: app.Running) -> None:
    few = {"type": "response.create", "response": {"max_output_tokens": 2, "output_modalities": ["text"]}}
    events = await session(sandbox, [user("one two three"), few], "response.done")
    assert delta(events, "response.output_text.delta") == "You said:"
    assert events[-1]["response"]["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    given = [user("Other.")["item"]]
    aside = {"type": "response.create", "response": {"conversation": "none", "input": given, "metadata": {"a": "b"}}}
    events = await session(sandbox, [user("Hello."), aside], "response.done")
    assert kinds(events).count("conversation.item.added") == 1
    assert delta(events, "response.output_audio_transcript.delta") == "You said: Other."
    assert events[-1]["response"]["metadata"] == {"a": "b"}


async def test_items_go_where_they_are_put(sandbox: app.Running) -> None:
    async with connect(url(sandbox), additional_headers=KEY) as ws:
        one = user("one")
        one["item"]["id"] = "item_one"
        events = await talk(ws, [one, {**user("zero"), "previous_item_id": "root"}], "conversation.item.done")
        events += await talk(ws, [{**user("half"), "previous_item_id": "item_one"}], "conversation.item.done")
        events += await talk(ws, [], "conversation.item.done")
    added = [event for event in events if event["type"] == "conversation.item.added"]
    assert [event["previous_item_id"] for event in added] == [None, None, "item_one"]


# -- transcription --


@pytest.mark.parametrize("beta", [False, True])
async def test_transcription_sessions(sandbox: app.Running, beta: bool) -> None:
    transcription = {"model": "gpt-4o-mini-transcribe", "language": "zh"}
    config: Event = {"type": "transcription", "audio": {"input": {"transcription": transcription}}}
    change: Event = {"type": "session.update", "session": config}
    if beta:
        change = {"type": "transcription_session.update", "session": {"input_audio_transcription": transcription}}
    said = [change, append(speak("纸船。", 24000)), append(bytes(26400))]
    last = "conversation.item.input_audio_transcription.completed"
    events = await session(sandbox, said, last, "?intent=transcription", beta)
    prefix = "transcription_session" if beta else "session"
    assert [event["type"] for event in events[:2]] == [f"{prefix}.created", f"{prefix}.updated"]
    assert events[0]["session"]["object"] == "realtime.transcription_session"
    assert events[-1]["transcript"] == "纸船。"
    assert events[-1]["usage"]["input_token_details"]["audio_tokens"] == 7
    assert not [event for event in events if event["type"].startswith("response.")]
    events = await session(sandbox, [RESPOND], "error", "?intent=transcription", beta)
    assert events[-1]["error"]["type"] == "invalid_request_error"


async def test_a_session_may_become_one_of_transcription(sandbox: app.Running) -> None:
    change: Event = {"type": "session.update", "session": {"type": "transcription"}}
    events = await session(sandbox, [change], "session.updated")
    assert events[-1]["session"]["object"] == "realtime.transcription_session"


# -- what is refused --


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("?model=gpt-realtime", {}, 401, "invalid_api_key"),
        ("?model=gpt-realtime", {"Authorization": "Bearer bad"}, 401, "invalid_api_key"),
        ("?model=gpt-realtime", {"Authorization": "Basic k"}, 401, "invalid_api_key"),
        ("?model=gpt-realtime", {"Sec-WebSocket-Protocol": "openai-insecure-api-key.k"}, 401, "invalid_api_key"),
        ("", KEY, 400, "missing_model"),
        ("?model=m&intent=sing", KEY, 400, "invalid_value"),
        ("?model=no-such", KEY, 404, "model_not_found"),
        ("?model=m+status=429", KEY, 429, "rate_limit_exceeded"),
    ],
)
async def test_refused_handshakes(
    sandbox: app.Running, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url(sandbox, query), additional_headers=headers):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == code


def made(**item: Any) -> Event:
    return {"type": "conversation.item.create", "item": item}


WRONG: list[tuple[str, str | Event, str]] = [
    ("no JSON", "{", "invalid_json"),
    ("an array", "[]", "invalid_json"),
    ("nested", '{"a":' * 100000, "invalid_json"),
    ("no type", {}, "invalid_value"),
    ("type", {"type": "sing"}, "invalid_value"),
    ("session type", {"type": "session.update", "session": {}}, "missing_required_parameter"),
    ("beta field", update(modalities=["text"]), "unknown_parameter"),
    ("deep field", update(audio={"input": {"colour": 1}}), "unknown_parameter"),
    ("rate", update(audio={"input": {"format": {"type": "audio/pcm", "rate": 16000}}}), "invalid_value"),
    ("wrong type", update(instructions=7), "invalid_type"),
    ("bool for a number", update(audio={"output": {"speed": True}}), "invalid_type"),
    ("tools", update(tools="hammer"), "invalid_type"),
    ("base64", {"type": "input_audio_buffer.append", "audio": "?"}, "invalid_value"),
    ("empty commit", {"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty"),
    ("cancel", {"type": "response.cancel"}, "response_cancel_not_active"),
    ("item type", made(type="poem"), "invalid_value"),
    ("role", made(type="message", role="judge", content=[]), "invalid_value"),
    ("part", made(type="message", role="system", content=[{"type": "input_audio"}]), "invalid_value"),
    ("call", made(type="function_call_output", call_id="none", output="x"), "invalid_tool_call_id"),
    ("place", {**user("x"), "previous_item_id": "none"}, "invalid_value"),
    ("retrieve", {"type": "conversation.item.retrieve", "item_id": "none"}, "item_retrieve_invalid_item_id"),
    ("delete", {"type": "conversation.item.delete", "item_id": "none"}, "item_delete_invalid_item_id"),
]


@pytest.mark.parametrize(("event", "code"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
async def test_wrong_events_are_errors_and_the_session_goes_on(
    sandbox: app.Running, event: str | Event, code: str
) -> None:
    async with connect(url(sandbox), additional_headers=KEY) as ws:
        await ws.send(event if isinstance(event, str) else json.dumps(event))
        found = await talk(ws, [], "error")
        assert found[-1]["error"]["type"] == "invalid_request_error"
        assert found[-1]["error"]["code"] == code
        SERVER_EVENT.validate_python(found[-1])
        await talk(ws, [update(instructions="still here")], "session.updated")


async def test_one_response_at_a_time_and_one_voice(sandbox: app.Running) -> None:
    async with connect(url(sandbox, "?model=m+pace=2"), additional_headers=KEY) as ws:
        events = await talk(ws, [user("Hello."), RESPOND, RESPOND], "error")
        assert events[-1]["error"]["code"] == "conversation_already_has_active_response"
        await talk(ws, [], "response.done")
        events = await talk(ws, [update(audio={"output": {"voice": "verse"}})], "error")
        assert events[-1]["error"]["code"] == "cannot_update_voice"
        await ws.send(b"binary")
        assert (await talk(ws, [], "error"))[-1]["error"]["code"] == "invalid_json"


async def test_scripted_failure_and_no_usage(sandbox: app.Running) -> None:
    async with connect(url(sandbox, "?model=m+fail=8"), additional_headers=KEY) as ws:
        events = await talk(ws, [user("Hello."), RESPOND], "error")
        assert len(events) == 9
        assert events[-1]["error"]["type"] == "server_error"
        await ws.wait_closed()
    assert ws.close_code == 1011
    events = await session(sandbox, [user("Hello."), RESPOND], "response.done", "?model=m+no_usage")
    assert events[-1]["response"]["usage"] is None
