"""The `openai` SDK's vectors, pictures and speech: uploads, downloads, and streams of them."""

from __future__ import annotations

import io
import json
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.clients import seen
from tests.clients.conftest import LinkTo
from tests.clients.media import LARGE_SOUND, PIXEL, SOUND, SPOKEN
from tests.clients.openai_sdk import asking
from tests.clients.places import Link
from tests.clients.seen import Seen


@pytest.fixture
def link(link_to: LinkTo) -> Link:
    return link_to("openai")


@pytest.fixture
def audio(link_to: LinkTo) -> Link:
    """Speech is metered where the operator says so: this provider has a `meter` entry for its two paths."""
    return link_to("openai-audio")


@pytest.mark.parametrize("form", ["float", "base64", None])
def test_embeddings(link: Link, form: Any) -> None:
    """Without a format the SDK asks for base64 and decodes it."""
    more = {} if form is None else {"encoding_format": form}

    def ask(sdk: OpenAI) -> Any:
        return sdk.embeddings.create(
            model="text-embedding-3-small", input=["one two", "three"], dimensions=16, **more
        )

    reply = link.metered(asking(ask), lambda reply: seen.openai("text-embedding-3-small", reply.usage))
    assert len(reply.data) == 2


def test_pictures(link: Link) -> None:
    def ask(sdk: OpenAI) -> Any:
        return sdk.images.generate(model="gpt-image-1.5", prompt="a red cat", n=2, size="1024x1024")

    reply = link.metered(asking(ask), lambda reply: seen.openai("gpt-image-1.5", reply.usage))
    assert len(reply.data) == 2


def test_streamed_pictures(link: Link) -> None:
    def ask(sdk: OpenAI) -> list[Any]:
        return list(sdk.images.generate(model="gpt-image-1.5", prompt="a red cat", stream=True, partial_images=2))

    events = link.metered(asking(ask), lambda events: seen.openai("gpt-image-1.5", events[-1].usage))
    assert [event.type.rpartition(".")[2] for event in events] == ["partial_image", "partial_image", "completed"]


@pytest.mark.parametrize("stream", [False, True])
def test_edits_upload_their_pictures(link: Link, stream: bool) -> None:
    def ask(sdk: OpenAI) -> list[Any]:
        pictures: Any = [("a.png", PIXEL, "image/png"), ("b.png", PIXEL, "image/png")]
        reply: Any = sdk.images.edit(model="gpt-image-1.5", prompt="merge them", image=pictures, stream=stream)
        return list(reply) if stream else [reply]

    link.metered(asking(ask), lambda found: seen.openai("gpt-image-1.5", found[-1].usage))


@pytest.mark.parametrize("form", ["mp3", "wav", "pcm"])
def test_speech_is_downloaded_byte_for_byte(audio: Link, form: Any) -> None:
    def ask(sdk: OpenAI) -> bytes:
        with sdk.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts", input="good morning everybody", voice="alloy", response_format=form
        ) as reply:
            return b"".join(reply.iter_bytes())

    assert len(audio.unmetered(asking(ask), none=1)) > 1000  # sound alone tells no usage


def test_speech_is_not_metered_unless_the_operator_says_so(link: Link) -> None:
    def ask(sdk: OpenAI) -> list[Any]:
        sound = sdk.audio.speech.create(model="gpt-4o-mini-tts", input="good morning", voice="alloy").content
        return [sound, sdk.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=("a.mp3", sound))]

    assert link.unmetered(asking(ask))[1].text == "good morning"


def test_speech_as_events_tells_its_usage(audio: Link) -> None:
    def ask(sdk: OpenAI) -> list[Any]:
        with sdk.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts", input="good morning", voice="alloy", stream_format="sse"
        ) as reply:
            return list(reply.iter_lines())

    def usage(lines: list[str]) -> Seen:
        last = [json.loads(line[6:]) for line in lines if line.startswith("data: ")][-1]
        return seen.openai("gpt-4o-mini-tts", last["usage"])

    audio.metered(asking(ask), usage)


def test_a_large_download(audio: Link) -> None:
    def ask(sdk: OpenAI) -> bytes:
        reply = sdk.audio.speech.create(
            model="gpt-4o-mini-tts+size=8000000", input="long", voice="alloy", response_format="pcm"
        )
        return bytes(reply.content)

    assert len(audio.unmetered(asking(ask), none=1)) == 8_000_000


@pytest.mark.parametrize("sound", [SOUND, LARGE_SOUND], ids=["small", "large"])
def test_transcriptions_upload_their_sound(audio: Link, sound: bytes) -> None:
    def ask(sdk: OpenAI) -> Any:
        return sdk.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=("a.wav", io.BytesIO(sound)))

    reply = audio.metered(asking(ask), lambda reply: seen.openai("gpt-4o-mini-transcribe", reply.usage))
    assert reply.text in (SPOKEN, "a long talk")


def test_a_streamed_transcription(audio: Link) -> None:
    def ask(sdk: OpenAI) -> list[Any]:
        return list(
            sdk.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=("a.wav", SOUND), stream=True)
        )

    events = audio.metered(asking(ask), lambda events: seen.openai("gpt-4o-mini-transcribe", events[-1].usage))
    assert events[-1].text == SPOKEN


@pytest.mark.parametrize(("model", "form"), [("whisper-1", "json"), ("whisper-2", "verbose_json")])
def test_a_transcription_by_seconds(audio: Link, model: str, form: Any) -> None:
    def ask(sdk: OpenAI) -> Any:
        return sdk.audio.transcriptions.create(model=model, file=("a.wav", SOUND), response_format=form)

    audio.metered(asking(ask), lambda reply: Seen(model, units={"seconds": reply.usage.seconds}))


def test_a_transcription_as_plain_text_tells_nothing(audio: Link) -> None:
    def ask(sdk: OpenAI) -> Any:
        return sdk.audio.transcriptions.create(model="whisper-1", file=("a.wav", SOUND), response_format="srt")

    assert SPOKEN in audio.unmetered(asking(ask), none=1)


def test_errors(audio: Link) -> None:
    def upload(sdk: OpenAI) -> object:
        return sdk.audio.transcriptions.create(model="no-such", file=("a.wav", SOUND))

    def embed(sdk: OpenAI) -> object:
        return sdk.embeddings.create(model="text-embedding-3-small", input="", dimensions=9999)

    def speak(sdk: OpenAI) -> object:
        return sdk.audio.speech.create(model="gpt-4o-mini-tts", input="", voice="alloy")

    def paint(sdk: OpenAI) -> object:
        return sdk.images.generate(model="gpt-image-1.5+filter", prompt="x")

    audio.raises(asking(upload), openai.NotFoundError, 404)
    for call in (embed, speak, paint):
        audio.raises(asking(call), openai.BadRequestError, 400)
