"""OpenAI's realtime sockets: the SDK's own client and three WebSocket libraries; usage comes in `response.done`."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
import websocket
from openai import AsyncOpenAI, OpenAI
from websockets.exceptions import InvalidStatus

from gateway.sandbox.ws_containers import text_in
from gateway.sandbox.ws_voice import speak
from tests.clients import seen
from tests.clients.conftest import LinkTo
from tests.clients.places import Link
from tests.clients.seen import Seen
from tests.clients.sockets import LIBRARIES, Message, Step, Talk, socket_url, with_websockets

MODEL = "gpt-realtime"
KEY = {"Authorization": "Bearer k"}
BETA = KEY | {"OpenAI-Beta": "realtime=v1"}
TEXT = "Hello there."
Event = dict[str, Any]


@pytest.fixture
def link(link_to: LinkTo) -> Link:
    return link_to("openai")


def user(text: str) -> Any:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content}


def usage_of(events: list[Event], model: str = MODEL) -> list[Seen]:
    return [seen.openai(model, event["response"]["usage"]) for event in events if event["type"] == "response.done"]


def told(events: list[Event]) -> list[Any]:
    """What does not change from session to session: ids do."""
    return [[event["type"], event.get("delta"), event.get("transcript"), event.get("usage")] for event in events]


# -- the SDK --


def test_the_sdk_s_asynchronous_client(link: Link) -> None:
    async def ask(base: str) -> list[Any]:
        heard, transcript = b"", ""
        sdk = AsyncOpenAI(api_key="k", base_url=f"{base}/v1")
        async with sdk, sdk.realtime.connect(model=MODEL) as connection:
            await connection.conversation.item.create(item=user(TEXT))
            await connection.response.create()
            async for event in connection:
                if event.type == "response.output_audio.delta":
                    heard += base64.b64decode(event.delta)
                elif event.type == "response.output_audio_transcript.delta":
                    transcript += event.delta
                elif event.type == "response.done":
                    return [heard, transcript, event.response.usage]
        raise AssertionError("the stream ended")

    heard, transcript, _ = link.metered(
        lambda base: asyncio.run(ask(base)), lambda found: seen.openai(MODEL, found[2])
    )
    assert transcript == text_in(heard, 24000) == f"You said: {TEXT}"


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")  # the SDK's own
def test_the_sdk_s_blocking_client(link: Link) -> None:
    def ask(base: str) -> list[Any]:
        sdk = OpenAI(api_key="k", base_url=f"{base}/v1")
        with sdk, sdk.realtime.connect(model=MODEL) as connection:
            connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            connection.conversation.item.create(item=user(TEXT))
            connection.response.create()
            found: list[Any] = []
            for event in connection:
                if event.type == "response.output_text.done":
                    found.append(event.text)
                elif event.type == "response.done":
                    return [*found, event.response.usage]
        raise AssertionError("the stream ended")

    found = link.metered(ask, lambda found: seen.openai(MODEL, found[-1]))
    assert found[0] == f"You said: {TEXT}"


# -- WebSocket libraries --


def ends(kind: str) -> Any:
    return lambda message: json.loads(message)["type"] == kind


def said(*events: Event, until: str = "response.done") -> Step:
    return Step([json.dumps(event) for event in events], ends(until))


def events_of(messages: list[Message]) -> list[Event]:
    return [json.loads(message) for message in messages]


RESPOND: Event = {"type": "response.create"}


# Of the three only `websockets` offers compression.
WAYS = [(name, how) for name in LIBRARIES for how in ("", "&x-sandbox-fragment=100")]
WAYS.append(("websockets", "&x-sandbox-deflate=on"))


@pytest.mark.parametrize("beta", [False, True])
@pytest.mark.parametrize(("library", "how"), WAYS)
def test_two_responses_in_a_session(link: Link, library: str, beta: bool, how: str) -> None:
    talk = LIBRARIES[library]
    items = [{"type": "conversation.item.create", "item": user(text)} for text in (TEXT, "And again.")]

    def ask(base: str) -> list[Event]:
        url = socket_url(base, f"/v1/realtime?model={MODEL}{how}")
        return events_of(talk(url, BETA if beta else KEY, [said(item, RESPOND) for item in items]).messages)

    found: list[list[Event]] = []

    def ask_and_tell(base: str) -> list[Any]:
        found.append(ask(base))
        return told(found[-1])

    link.metered(ask_and_tell, lambda _: usage_of(found[-1]))


@pytest.mark.parametrize("talk", LIBRARIES.values(), ids=LIBRARIES.keys())
def test_spoken_words_are_understood_and_counted(link: Link, talk: Talk) -> None:
    sound = base64.b64encode(speak(TEXT, 24000)).decode()
    session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    step = said(
        {"type": "session.update", "session": session},
        {"type": "input_audio_buffer.append", "audio": sound},
        {"type": "input_audio_buffer.commit"},
        RESPOND,
    )
    found: list[list[Event]] = []

    def ask(base: str) -> list[Any]:
        found.append(events_of(talk(socket_url(base, f"/v1/realtime?model={MODEL}"), KEY, [step]).messages))
        return told(found[-1])

    link.metered(ask, lambda _: usage_of(found[-1]))
    assert found[-1][-1]["response"]["usage"]["input_token_details"]["audio_tokens"] > 0


def test_transcription(link: Link) -> None:
    model = "gpt-4o-mini-transcribe"
    transcription = {"model": model}
    session = {"type": "transcription", "audio": {"input": {"transcription": transcription, "turn_detection": None}}}
    step = said(
        {"type": "session.update", "session": session},
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(speak(TEXT, 24000)).decode()},
        {"type": "input_audio_buffer.commit"},
        until="conversation.item.input_audio_transcription.completed",
    )

    def ask(base: str) -> list[Any]:
        url = socket_url(base, "/v1/realtime?intent=transcription")
        return told(events_of(with_websockets(url, KEY, [step]).messages))

    found = link.metered(ask, lambda found: seen.openai(model, found[-1][3]))
    assert found[-1][2] == TEXT


# -- refusals and ends --


def test_a_refused_handshake(link: Link) -> None:
    headers = {"Authorization": "Bearer bad"}

    def ask(base: str) -> list[Any]:
        try:
            return [with_websockets(socket_url(base, f"/v1/realtime?model={MODEL}"), headers, [])]
        except InvalidStatus as error:
            return [error.response.status_code, json.loads(error.response.body or b"")["error"]["code"]]

    assert link.same(ask) == [401, "invalid_api_key"]
    link.raises(
        lambda base: websocket.create_connection(socket_url(base, f"/v1/realtime?model={MODEL}"), header=headers),
        websocket.WebSocketBadStatusException,
        401,
    )


@pytest.mark.parametrize("talk", LIBRARIES.values(), ids=LIBRARIES.keys())
def test_the_vendor_s_close_code_arrives(link: Link, talk: Talk) -> None:
    def ask(base: str) -> int:
        url = socket_url(base, f"/v1/realtime?model={MODEL}&x-sandbox-end=1&x-sandbox-close=4001")
        return talk(url, KEY, [Step([], None)]).code

    assert link.unmetered(ask) == 4001
