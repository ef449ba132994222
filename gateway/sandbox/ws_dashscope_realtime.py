"""DashScope realtime, `/api-ws/v1/realtime?model=M`: qwen speech synthesis, speech recognition, and omni conversation.

The model's name says which: `tts`, `asr` or `omni`. Omni is OpenAI's beta conversation with a few other names.
"""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from gateway.sandbox import content
from gateway.sandbox.ws_containers import Speaker, ear_for
from gateway.sandbox.ws_dashscope_task import authorize as authorize_key
from gateway.sandbox.ws_dashscope_task import characters, refusal
from gateway.sandbox.ws_events import EventSession, base64_of, decoded
from gateway.sandbox.ws_realtime import BUFFER, CONVERSATION, RealtimeSession
from gateway.sandbox.ws_realtime_form import OMNI
from gateway.sandbox.ws_script import split_model
from gateway.sandbox.ws_session import Connection, Endpoint, Fault, Json, Refused, Session, get
from gateway.sandbox.ws_voice import Ear, News, Progress, Sentences

IDS = ("ali",)
_LIFETIME = 1800
_RATES = (8000, 16000, 22050, 24000, 44100, 48000)
_OUT_PER_SECOND = 12.5
_VAD: Json = {"type": "server_vad", "threshold": 0.2, "silence_duration_ms": 800}


def _model(request: web.Request) -> str:
    return split_model(request.query.get("model", ""))[0]


def _authorize(request: web.Request) -> None:
    authorize_key(request)
    model = _model(request)
    if not model:
        raise Refused(400, "Required parameter model missing.", "InvalidParameter")
    if "no-such" in model or not _kind(model):
        raise Refused(404, f"Model not found ({model})!", "ModelNotFound")


class _RealtimeBase(EventSession):
    """`session.created`, `session.update`, `session.finish`: what synthesis and recognition share."""

    defaults: Json = {}

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.model = _model(connection.request)
        head = {"object": "realtime.session", "id": self.new_id("sess"), "model": self.model}
        self.config: Json = head | self.defaults
        self.finishing = False

    async def begin(self) -> None:
        await self.say("session.created", session=self.config)

    async def update(self, body: Json) -> None:
        change = get(body, "session", dict)
        for name in change:
            if name not in self.config:
                raise Fault("unknown_parameter", f"Unknown parameter: 'session.{name}'.", f"session.{name}")
        merged = self.config | change
        self.check(merged)
        self.config = merged
        await self.say("session.updated", session=self.config)

    def check(self, config: Json) -> None:
        raise NotImplementedError

    def refuse_after_finish(self) -> None:
        if self.finishing:
            raise Fault("invalid_value", "The session was already finished.", "type")


class SynthesisSession(_RealtimeBase):
    """Text in by pieces. `server_commit`: spoken by the sentence, at once; `commit`: only what was committed.

    A response ends with a commit or the session. The queue holds sentences, and None where a response ends.
    """

    defaults = {
        "voice": "Cherry", "mode": "server_commit", "response_format": "pcm", "sample_rate": 24000,
        "language_type": "Auto", "speech_rate": 1.0, "pitch_rate": 1.0, "volume": 50, "bit_rate": 128,
        "instructions": None, "enable_tn": None, "optimize_instructions": None,
    }  # fmt: skip

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.sentences = Sentences()
        self.waiting = ""  # of commit mode
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None
        self.open = False  # a response that may get more text
        self.response_id = ""
        self.handlers = {
            "session.update": SynthesisSession.update,
            "session.finish": SynthesisSession.finish,
            "input_text_buffer.append": SynthesisSession.append,
            "input_text_buffer.commit": SynthesisSession.commit,
            "input_text_buffer.clear": SynthesisSession.clear,
            "response.cancel": SynthesisSession.cancel,
        }

    def check(self, config: Json) -> None:
        get(config, "mode", str, among=("server_commit", "commit"))
        get(config, "response_format", str, among=("pcm", "mp3", "wav", "opus"))
        get(config, "sample_rate", int, among=_RATES)
        if "no-such" in get(config, "voice", str):
            raise Fault("invalid_value", f"Voice '{config['voice']}' is not supported.", "session.voice")
        for name in ("speech_rate", "pitch_rate"):
            if not 0.5 <= get(config, name, float) <= 2:
                raise Fault("invalid_value", f"{name} is 0.5 to 2", f"session.{name}")
        get(config, "volume", int, among=range(101))

    async def append(self, body: Json) -> None:
        self.refuse_after_finish()
        text = get(body, "text", str)
        if self.config["mode"] == "commit":
            self.waiting += text
            return
        self._put(*self.sentences.push(text))

    async def commit(self, body: Json) -> None:
        self.refuse_after_finish()
        rest = [self.waiting] if self.config["mode"] == "commit" else self.sentences.flush()
        self.waiting = ""
        if not any(rest) and not self.open:
            raise Fault("input_text_buffer_commit_empty", "Error committing input text buffer: buffer is empty.")
        await self.say("input_text_buffer.committed", item_id=self.new_id("item"))
        self._put(*rest, None)

    async def clear(self, body: Json) -> None:
        self.waiting, self.sentences = "", Sentences()
        await self.say("input_text_buffer.cleared")

    async def cancel(self, body: Json) -> None:
        if self.task is None:
            raise Fault("response_cancel_not_active", "Cancellation failed: no active response found")
        self.task.cancel()
        self.task, self.open, self.queue = None, False, asyncio.Queue()
        await self.say("response.done", response=self._response(self.response_id, "cancelled", []))

    async def finish(self, body: Json) -> None:
        self.refuse_after_finish()
        self.finishing = True
        rest = [text for text in (self.waiting, *self.sentences.flush()) if text]
        if rest or self.open:
            self._put(*rest, None)
        while self.task and not self.task.done():
            await self.task
        await self.say("session.finished")
        await self.connection.close()

    def _put(self, *items: str | None) -> None:
        for item in items:
            self.open = item is not None
            self.queue.put_nowait(item)
        self._go_on()

    def _go_on(self) -> None:
        if self.task is None and not self.queue.empty():
            self.task = self.spawn(self._respond(self.queue))

    async def _respond(self, queue: asyncio.Queue[str | None]) -> None:
        response, item = self.new_id("resp"), self.new_id("item")
        self.response_id = response
        ids = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        await self.say("response.created", response=self._response(response, "in_progress", []))
        shown: Json = {"id": item, "object": "realtime.item", "type": "message", "role": "assistant", "content": []}
        await self.say("response.output_item.added", response_id=response, output_index=0, item=shown)
        await self.say("response.content_part.added", **ids, part={"type": "audio", "text": ""})
        speaker = Speaker(self.config["voice"], self.config["response_format"], self.config["sample_rate"])
        text = ""
        while (sentence := await queue.get()) is not None:
            text += sentence
            for piece in speaker.pieces(sentence):
                await self.say("response.audio.delta", **ids, delta=base64_of(piece))
        await self.say("response.audio.done", **ids)
        await self.say("response.content_part.done", **ids, part={"type": "audio", "text": ""})
        await self.say("response.output_item.done", response_id=response, output_index=0, item=shown)
        await self.say("response.done", response=self._response(response, "completed", [shown], text))
        self.task = None
        self._go_on()

    def _response(self, ident: str, status: str, output: list[Json], text: str = "") -> Json:
        body = {"id": ident, "object": "realtime.response", "status": status, "output": output, "usage": None,
                "voice": self.config["voice"], "modalities": ["text", "audio"]}  # fmt: skip
        if status == "completed" and not self.connection.script.no_usage:
            body["usage"] = self._usage(text)
        return body

    def _usage(self, text: str) -> Json:
        """qwen3 counts characters, its predecessors tokens."""
        if self.model.startswith("qwen3"):
            return {"characters": characters(text)}
        given, out = content.tokens(text), int(len(text) * 0.04 * _OUT_PER_SECOND) + 1
        return {
            "total_tokens": given + out,
            "input_tokens": given,
            "output_tokens": out,
            "input_tokens_details": {"text_tokens": given},
            "output_tokens_details": {"audio_tokens": out},
        }


class RecognitionSession(_RealtimeBase):
    """Sound in. With voice detection each sentence is an item of its own, else what was committed is one."""

    defaults = {
        "modalities": ["text"], "input_audio_format": "pcm", "sample_rate": 16000, "voice": None,
        "output_audio_format": None, "input_audio_transcription": {}, "turn_detection": _VAD,
    }  # fmt: skip

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.ear: Ear | None = None
        self.progress: Progress | None = None
        self.item = ""
        self.last: str | None = None
        self.handlers = {
            "session.update": RecognitionSession.update,
            "session.finish": RecognitionSession.finish,
            "input_audio_buffer.append": RecognitionSession.append,
            "input_audio_buffer.commit": RecognitionSession.commit,
        }

    def check(self, config: Json) -> None:
        get(config, "input_audio_format", str, among=("pcm", "opus", "wav"))
        get(config, "sample_rate", int, among=(8000, 16000))
        get(config, "modalities", list)
        get(config, "input_audio_transcription", dict, {})
        get(config, "turn_detection.type", str, "server_vad", among=("server_vad",))
        if self.ear:
            raise Fault("invalid_value", "The session cannot be changed once audio was sent.", "session")

    async def append(self, body: Json) -> None:
        self.refuse_after_finish()
        sound = decoded(body, "audio")
        ear, progress = self._listening()
        ear.feed(sound)
        await self._tell(progress.news())

    async def commit(self, body: Json) -> None:
        if self.config["turn_detection"]:
            raise Fault("invalid_value", "input_audio_buffer.commit is for sessions without turn_detection.", "type")
        if self.ear is None:
            raise Fault("input_audio_buffer_commit_empty", "Error committing input audio buffer: buffer is empty.")
        await self._end()

    async def finish(self, body: Json) -> None:
        self.refuse_after_finish()
        self.finishing = True
        if self.ear:
            await self._end()
        await self.say("session.finished")
        await self.connection.close()

    def _listening(self) -> tuple[Ear, Progress]:
        if self.ear is None or self.progress is None:
            self.ear = ear_for(self.config["input_audio_format"], self.config["sample_rate"])
            self.progress = Progress(self.ear)
        return self.ear, self.progress

    async def _end(self) -> None:
        ear, progress = self._listening()
        ear.close()
        await self._tell(progress.news(closed=True))
        if not self.config["turn_detection"]:
            await self._commit()
            await self._completed(ear.text, ear.duration_ms)
        self.ear = self.progress = None

    async def _tell(self, news: list[News]) -> None:
        assert self.ear is not None
        if not self.config["turn_detection"]:
            if news:
                await self._text(self.ear.text)
            return
        for item in news:
            sentence = item.sentence
            if item.first:
                self.item = self.new_id("item")
                await self.say("input_audio_buffer.speech_started", audio_start_ms=sentence.begin_ms, item_id=self.item)
            await self._text(sentence.text)
            if sentence.final:
                await self.say("input_audio_buffer.speech_stopped", audio_end_ms=sentence.end_ms, item_id=self.item)
                await self._commit()
                await self._completed(sentence.text, sentence.end_ms - sentence.begin_ms)

    async def _text(self, text: str) -> None:
        """A stable prefix, and a tail that may still change: here the last two characters."""
        self.item = self.item or self.new_id("item")
        name = "conversation.item.input_audio_transcription.text"
        await self.say(name, **self._place(), text=text[:-2], stash=text[-2:])

    async def _commit(self) -> None:
        self.item = self.item or self.new_id("item")
        await self.say("input_audio_buffer.committed", previous_item_id=self.last, item_id=self.item)
        body = {"id": self.item, "object": "realtime.item", "type": "message", "status": "in_progress",
                "role": "user", "content": [{"type": "input_audio"}]}  # fmt: skip
        await self.say("conversation.item.created", previous_item_id=self.last, item=body)

    async def _completed(self, text: str, spoken_ms: int) -> None:
        name = "conversation.item.input_audio_transcription.completed"
        usage = {} if self.connection.script.no_usage else {"usage": {"duration": -(-spoken_ms // 1000)}}
        await self.say(name, **self._place(), transcript=text, **usage)
        self.last, self.item = self.item, ""

    def _place(self) -> Json:
        language = self.config["input_audio_transcription"] or {}
        return {"item_id": self.item, "content_index": 0, "language": language.get("language", "zh"),
                "emotion": "neutral"}  # fmt: skip


def _omni(connection: Connection) -> Session:
    session = RealtimeSession(connection, OMNI, _model(connection.request), int(time.time()) + _LIFETIME)
    session.handlers = {
        "session.update": RealtimeSession.update,
        "session.finish": RealtimeSession.finish,
        "input_image_buffer.append": RealtimeSession.image,
        **BUFFER,
        **CONVERSATION,
    }
    return session


_KINDS = {"tts": SynthesisSession, "asr": RecognitionSession, "omni": _omni}


def _kind(model: str) -> str:
    return next((kind for kind in _KINDS if kind in model), "")


def _session(connection: Connection) -> Session:
    return _KINDS[_kind(_model(connection.request))](connection)


def routes(prefix: str) -> list[web.RouteDef]:
    return [web.get(f"{prefix}/api-ws/v1/realtime", Endpoint(_session, _authorize, refusal).handle)]
