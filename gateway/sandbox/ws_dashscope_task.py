"""DashScope tasks over WebSocket: speech synthesis (CosyVoice, Sambert) and recognition (Paraformer, Fun-ASR).

One socket serves task after task. Text messages have a header (`action` up, `event` down) and a payload; sound travels
in binary messages. Whatever is wrong is a `task-failed`, after which the socket is of no more use.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

from gateway.sandbox.ws_containers import Speaker, ear_for
from gateway.sandbox.ws_session import (
    BAD_FIELD,
    Connection,
    Endpoint,
    Fault,
    Json,
    Refused,
    Session,
    bearer,
    get,
    loads,
)
from gateway.sandbox.ws_voice import CHAR_MS, News, Progress, Sentences

IDS = ("ali",)
INVALID, NO_MODEL, INTERNAL = "InvalidParameter", "ModelNotFound", "InternalError"
_SPEECH_FORMS = {"mp3": "mp3", "wav": "wav", "pcm": "pcm", "opus": "opus", "Default": "mp3"}
_HEARING_FORMS = {"pcm": "pcm", "wav": "wav", "mp3": "mp3", "opus": "ogg", "speex": "ogg", "aac": "mp3", "amr": "mp3"}
_RATES = (8000, 16000, 22050, 24000, 44100, 48000)
_DEFAULT_RATE = 22050
_MAX_TEXT = 20000
_STATUS = {401: "InvalidApiKey", 403: "AccessDenied", 429: "Throttling.RateQuota"}
_TASK_ID = re.compile(r"[0-9A-Za-z-]{8,64}")


def authorize(request: web.Request) -> None:
    if not bearer(request):
        raise Refused(401, "Invalid API-key provided.")


def refusal(refused: Refused) -> Json:
    code = refused.code or _STATUS.get(refused.status, INVALID if refused.status < 500 else INTERNAL)
    return {"code": code, "message": refused.message, "request_id": ""}


def characters(text: str) -> int:
    """What is billed: a Chinese character counts twice."""
    return sum(2 if ord(char) > 0xFF else 1 for char in text)


class Task(Protocol):
    """What runs between `run-task` and `task-finished`."""

    async def more(self, payload: Json) -> None: ...
    async def sound(self, data: bytes) -> None: ...
    async def finish(self, payload: Json) -> None: ...


class TaskSession(Session):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.task: Task | None = None
        self.task_id = ""
        self.used: set[str] = set()

    async def on_text(self, text: str) -> None:
        try:
            body = loads(text)
        except ValueError as exc:
            raise Fault(INVALID, f"the message is not valid JSON: {exc}") from exc
        action = get(body, "header.action", str)
        task_id = get(body, "header.task_id", str)
        if not _TASK_ID.fullmatch(task_id):
            raise Fault(INVALID, "header.task_id must be a UUID")
        if action not in _ACTIONS:
            raise Fault(INVALID, f"unknown action {action!r}")
        if action != "run-task" and (self.task is None or task_id != self.task_id):
            raise Fault(INVALID, f"{action} for a task that does not run: {task_id}")
        await _ACTIONS[action](self, body)

    async def on_binary(self, data: bytes) -> None:
        if self.task is None:
            raise Fault(INVALID, "binary data without a running task")
        await self.task.sound(data)

    async def on_fault(self, fault: Fault) -> None:
        code = INTERNAL if fault.code is None else INVALID if fault.code == BAD_FIELD else str(fault.code)
        await self.tell("task-failed", {}, error_code=code, error_message=fault.message)
        await self.connection.close(1007, "task failed")

    async def tell(self, event: str, payload: Json, **header: str) -> None:
        head = {"task_id": self.task_id, "event": event, **header, "attributes": {}}
        await self.connection.send_json({"header": head, "payload": payload})

    async def result(self, output: Json | None, usage: Json | None, event: str = "result-generated") -> None:
        payload: Json = {"output": output}
        if usage and not self.connection.script.no_usage:
            payload["usage"] = usage
        await self.tell(event, payload)

    async def finished(self, output: Json | None, usage: Json) -> None:
        self.task = None
        await self.result(output, usage, "task-finished")

    async def _run(self, body: Json) -> None:
        if self.task:
            raise Fault(INVALID, "a task runs already")
        self.task_id = body["header"]["task_id"]
        if self.task_id in self.used:
            raise Fault(INVALID, f"task_id {self.task_id} was used before")
        self.used.add(self.task_id)
        payload = get(body, "payload", dict)
        streaming = get(body, "header.streaming", str, among=("duplex", "out"))
        get(payload, "task_group", str, among=("audio",))
        kind = get(payload, "task", str), get(payload, "function", str)
        if kind not in _TASKS:
            raise Fault(INVALID, f"unknown task and function {kind}")
        if "no-such" in get(payload, "model", str):
            raise Fault(NO_MODEL, f"Model not found ({payload['model']})!")
        get(payload, "input", dict)
        task = _TASKS[kind](self, payload, streaming)
        await self.tell("task-started", {})
        self.task = task
        if streaming == "out":
            await task.more(payload)
            await task.finish(payload)

    async def _continue(self, body: Json) -> None:
        assert self.task is not None
        await self.task.more(get(body, "payload", dict))

    async def _finish(self, body: Json) -> None:
        assert self.task is not None
        await self.task.finish(get(body, "payload", dict))


class Synthesis:
    """Speaks in the background while texts still arrive."""

    def __init__(self, session: TaskSession, payload: Json, streaming: str) -> None:
        self.session = session
        form = get(payload, "parameters.format", str, "mp3", among=_SPEECH_FORMS)
        rate = get(payload, "parameters.sample_rate", int, 0, among=(0, *_RATES)) or _DEFAULT_RATE
        voice = get(payload, "parameters.voice", str, "") or str(payload["model"])
        if "no-such" in voice:
            raise Fault(INVALID, f"[cosyvoice:]Engine return error code: 418, voice {voice!r} not found")
        get(payload, "parameters.volume", int, 50, among=range(101))
        for name in ("rate", "pitch"):
            if not 0.5 <= get(payload, f"parameters.{name}", float, 1.0) <= 2:
                raise Fault(INVALID, f"{name} is 0.5 to 2")
        get(payload, "parameters.text_type", str, "PlainText", among=("PlainText", "SSML"))
        self.timed = get(payload, "parameters.word_timestamp_enabled", bool, False)
        self.batch = streaming == "out"
        self.speaker = Speaker(voice, _SPEECH_FORMS[form], rate)
        self.billed = self.said = self.index = 0
        self.finishing = False
        self.sentences = Sentences()
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()
        session.spawn(self._speak())

    async def more(self, payload: Json) -> None:
        if self.finishing:
            raise Fault(INVALID, "continue-task after finish-task")
        flush = get(payload, "input.flush", bool, False)
        text = get(payload, "input.text", str, "") if flush else get(payload, "input.text", str)
        if self.said + len(text) > _MAX_TEXT:
            raise Fault(INVALID, "text exceeds the limit")
        self._put(self.sentences.push(text) + (self.sentences.flush() if flush else []))

    async def sound(self, data: bytes) -> None:
        raise Fault(INVALID, "binary data for a synthesis task")

    async def finish(self, payload: Json) -> None:
        if self.finishing:
            raise Fault(INVALID, "duplicate finish-task")
        get(payload, "input", dict)
        self.finishing = True
        self._put([*self.sentences.flush(), None])

    def _put(self, items: list[str] | list[str | None]) -> None:
        for item in items:
            self.queue.put_nowait(item)

    async def _speak(self) -> None:
        while (sentence := await self.queue.get()) is not None:
            begin, self.said = self.said * CHAR_MS, self.said + len(sentence)
            self.billed += characters(sentence)
            told = {
                "index": self.index,
                "begin_time": begin,
                "end_time": self.said * CHAR_MS,
                "words": self._words(sentence, begin) if self.timed else [],
            }
            await self.session.result({"sentence": told}, {"characters": self.billed})
            for piece in self.speaker.pieces(sentence):
                await self.session.connection.send_bytes(piece)
            self.index += 1
        # A client of the one-text form takes an output for another sentence.
        output: Json | None = None if self.batch else {"sentence": {"words": []}}
        await self.session.finished(output, {"characters": self.billed})

    def _words(self, sentence: str, begin: int) -> list[Json]:
        return [
            {"text": char, "begin_index": i, "end_index": i + 1,
             "begin_time": begin + i * CHAR_MS, "end_time": begin + (i + 1) * CHAR_MS}
            for i, char in enumerate(sentence)
        ]  # fmt: skip


class Recognition:
    """Answers each packet that brings news."""

    def __init__(self, session: TaskSession, payload: Json, streaming: str) -> None:
        self.session = session
        form = get(payload, "parameters.format", str, among=_HEARING_FORMS)
        rate = get(payload, "parameters.sample_rate", int, among=_RATES)
        if "8k" in payload["model"] and rate != 8000:
            raise Fault(INVALID, f"the model takes 8000 Hz, not {rate}")
        get(payload, "parameters.max_sentence_silence", int, 800, among=range(200, 6001))
        if streaming != "duplex":
            raise Fault(INVALID, "recognition is duplex")
        self.heartbeat = get(payload, "parameters.heartbeat", bool, False)
        self.ear = ear_for(_HEARING_FORMS[form], rate)
        self.progress = Progress(self.ear)

    async def more(self, payload: Json) -> None:
        raise Fault(INVALID, "continue-task for a recognition task")

    async def sound(self, data: bytes) -> None:
        self.ear.feed(data)
        news = self.progress.news()
        await self._tell(news)
        if not news and self.heartbeat:
            await self.session.result({"sentence": _heartbeat()}, None)

    async def finish(self, payload: Json) -> None:
        get(payload, "input", dict)
        self.ear.close()
        await self._tell(self.progress.news(closed=True))
        await self.session.finished({}, self._usage())

    async def _tell(self, news: list[News]) -> None:
        for item in news:
            usage = self._usage() if item.sentence.final else None
            await self.session.result({"sentence": _sentence(item)}, usage)

    def _usage(self) -> Json:
        return {"duration": -(-self.ear.duration_ms // 1000)}


def _sentence(news: News) -> Json:
    sentence = news.sentence
    words = [
        {"begin_time": word.begin_ms, "end_time": word.end_ms, "text": word.char, "punctuation": "", "fixed": True}
        for word in sentence.words
    ]
    return {
        "sentence_id": news.number + 1,
        "begin_time": sentence.begin_ms,
        "end_time": sentence.end_ms if sentence.final else None,
        "text": sentence.text,
        "heartbeat": False,
        "sentence_begin": news.first,
        "sentence_end": sentence.final,
        "words": words,
    }


def _heartbeat() -> Json:
    silent: Json = {"sentence_id": 0, "begin_time": 0, "end_time": None, "text": "", "heartbeat": True}
    return silent | {"sentence_end": False, "words": []}


_ACTIONS: dict[str, Callable[[TaskSession, Json], Awaitable[None]]] = {
    "run-task": TaskSession._run,
    "continue-task": TaskSession._continue,
    "finish-task": TaskSession._finish,
}
_TASKS: dict[tuple[str, str], Callable[[TaskSession, Json, str], Task]] = {
    ("tts", "SpeechSynthesizer"): Synthesis,
    ("asr", "recognition"): Recognition,
}


def routes(prefix: str) -> list[web.RouteDef]:
    handle = Endpoint(TaskSession, authorize, refusal).handle
    return [web.get(f"{prefix}/api-ws/v1/inference{end}", handle) for end in ("", "/")]
