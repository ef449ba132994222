"""Volcengine openspeech speech synthesis over WebSocket: `bidirection` (text as it comes) and `unidirectional/stream`.

What a client may send, and when (anything else is an error frame and the end):

    state        event              next
    new          StartConnection    open          answered by ConnectionStarted
    open         StartSession       speaking      SessionStarted, or SessionFailed and open
    speaking     TaskRequest        speaking      SentenceStart, TTSResponse*, SentenceEnd a sentence
    speaking     FinishSession      open          the rest, then SessionFinished
    speaking     CancelSession      open          SessionCanceled, at once
    open         FinishConnection   closed        ConnectionFinished

`unidirectional/stream` starts as open; there a full request without event is a whole session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.sandbox.openspeech_frames import Event, Flags, Frame, FrameError, Serialization, Type, decode
from gateway.sandbox.ws_openspeech import (
    BAD_REQUEST,
    OK,
    OpenspeechSession,
    answer_headers,
    authorize_tts,
    code_of,
    refusal,
)
from gateway.sandbox.ws_openspeech_speech import Speech, sentence_object, speech_of, text_of, usage_wanted, words
from gateway.sandbox.ws_session import Connection, Endpoint, Fault, Json, dumps, get, loads
from gateway.sandbox.ws_voice import Sentences

IDS = ("bytedance",)
_NAMESPACE = "BidirectionalTTS"


class SessionFault(Fault):
    """Ends the vendor's session, not the connection."""

    def __init__(self, session: str, cause: Fault) -> None:
        super().__init__(cause.code, cause.message, cause.param)
        self.session = session


class Voice:
    """One live session: text in by the sentence, frames out in the background."""

    def __init__(self, owner: TtsSession, ident: str, speech: Speech) -> None:
        self.owner, self.id, self.speech = owner, ident, speech
        self.words = 0
        self._finishing = False
        self._sentences = Sentences()
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.task = owner.spawn(self._speak())

    def push(self, text: str) -> None:
        if self._finishing:
            raise Fault(BAD_REQUEST, "the session was already finished")
        for sentence in self._sentences.push(text):
            self._queue.put_nowait(sentence)

    def finish(self) -> None:
        if self._finishing:
            raise Fault(BAD_REQUEST, "duplicate FinishSession")
        self._finishing = True
        for sentence in self._sentences.flush():
            self._queue.put_nowait(sentence)
        self._queue.put_nowait(None)

    async def _speak(self) -> None:
        while (sentence := await self._queue.get()) is not None:
            self.words += words(sentence)
            await self.owner.tell(Event.SENTENCE_START, self.id, {"res_params": {"text": sentence}})
            for piece in self.speech.pieces(sentence):
                await self.owner.send(_sound(piece, self.id))
            await self.owner.tell(Event.SENTENCE_END, self.id, sentence_object(sentence))
        await self.owner.finished(self)


class TtsSession(OpenspeechSession):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        headers = connection.request.headers
        self.resource = headers["X-Api-Resource-Id"]
        self.connection_id = headers.get("X-Api-Connect-Id") or f"conn-{connection.number}"
        self.usage = usage_wanted(headers, connection.script.no_usage)
        self.open = False
        self.voice: Voice | None = None
        self.used: set[str] = set()
        self.sessions = 0

    async def on_binary(self, data: bytes) -> None:
        try:
            frame = decode(data)
        except FrameError as exc:
            raise Fault(BAD_REQUEST, f"unable to decode V3 protocol message: {exc}") from exc
        await self.on_frame(frame)

    async def on_frame(self, frame: Frame) -> None:
        if frame.type != Type.FULL_REQUEST or frame.flags != Flags.EVENT:
            raise Fault(BAD_REQUEST, "a full client request with an event is expected")
        handler = _HANDLERS.get(frame.event or 0)
        if handler is None:
            raise Fault(BAD_REQUEST, f"unknown event {frame.event}")
        await handler(self, frame)

    async def on_fault(self, fault: Fault) -> None:
        """The script's failure and wrong parameters of a session fail the session; all else the connection."""
        voice, self.voice = self.voice, None
        ident = fault.session if isinstance(fault, SessionFault) else voice.id if voice and fault.code is None else None
        if ident is None:
            await super().on_fault(fault)
            return
        if voice and voice.task is not asyncio.current_task():
            voice.task.cancel()
        await self.tell(Event.SESSION_FAILED, ident, {"status_code": code_of(fault), "message": fault.message})

    async def tell(self, event: Event, ident: str, body: Json) -> None:
        payload = dumps(body).encode()
        await self.send(Frame(Type.FULL_RESPONSE, Flags.EVENT, Serialization.JSON, 0, payload, None, event, ident))

    async def finished(self, voice: Voice) -> None:
        self.voice = None
        usage = {"usage": {"text_words": voice.words}} if self.usage else {}
        await self.tell(Event.SESSION_FINISHED, voice.id, {"status_code": OK, "message": "ok"} | usage)

    async def _start_connection(self, frame: Frame) -> None:
        if self.open:
            raise Fault(BAD_REQUEST, "duplicate StartConnection")
        _body(frame)
        self.open = True
        await self.tell(Event.CONNECTION_STARTED, self.connection_id, {})

    async def _finish_connection(self, frame: Frame) -> None:
        if not self.open or self.voice:
            raise Fault(BAD_REQUEST, "FinishConnection without a connection, or before its session ended")
        await self.tell(Event.CONNECTION_FINISHED, self.connection_id, {"status_code": OK, "message": "ok"})
        await self.connection.close()

    async def _start_session(self, frame: Frame) -> None:
        ident = frame.id or ""
        if not self.open or self.voice:
            raise Fault(BAD_REQUEST, "StartSession before ConnectionStarted, or with a live session")
        if not ident or ident in self.used:
            raise Fault(BAD_REQUEST, f"session id {ident!r} is empty or was used before")
        self.used.add(ident)
        body = _body(frame)
        try:
            get(body, "namespace", str, among=(_NAMESPACE,))
            speech = speech_of(body, self.resource)
        except Fault as fault:
            raise SessionFault(ident, fault) from fault
        await self.tell(Event.SESSION_STARTED, ident, {})
        self.voice = Voice(self, ident, speech)

    async def _task_request(self, frame: Frame) -> None:
        voice = self._live(frame)
        try:
            voice.push(text_of(_body(frame)))
        except Fault as fault:
            raise SessionFault(voice.id, fault) from fault

    async def _finish_session(self, frame: Frame) -> None:
        self._live(frame).finish()

    async def _cancel_session(self, frame: Frame) -> None:
        voice = self._live(frame)
        voice.task.cancel()
        self.voice = None
        await self.tell(Event.SESSION_CANCELED, voice.id, {"status_code": OK, "message": "canceled"})

    def _live(self, frame: Frame) -> Voice:
        if self.voice is None or self.voice.id != frame.id:
            raise Fault(BAD_REQUEST, f"event {frame.event} for a session that is not live: {frame.id!r}")
        return self.voice


class UnidirectionalSession(TtsSession):
    """The connection is open from the start; a text is answered by a session that the vendor numbers."""

    async def begin(self) -> None:
        self.open = True

    async def on_frame(self, frame: Frame) -> None:
        if frame.type == Type.FULL_REQUEST and frame.flags == Flags.EVENT and frame.event == Event.FINISH_CONNECTION:
            await self._finish_connection(frame)
            return
        if frame.type != Type.FULL_REQUEST or frame.flags != Flags.NONE or self.voice:
            raise Fault(BAD_REQUEST, "one full client request without event at a time is expected")
        self.sessions += 1
        ident = f"{self.connection_id}-{self.sessions}"
        try:
            body = _body(frame)
            text, speech = text_of(body), speech_of(body, self.resource)
        except Fault as fault:
            raise SessionFault(ident, fault) from fault
        self.voice = Voice(self, ident, speech)
        self.voice.push(text)
        self.voice.finish()


_HANDLERS: dict[int, Callable[[TtsSession, Frame], Awaitable[None]]] = {
    Event.START_CONNECTION: TtsSession._start_connection,
    Event.FINISH_CONNECTION: TtsSession._finish_connection,
    Event.START_SESSION: TtsSession._start_session,
    Event.TASK_REQUEST: TtsSession._task_request,
    Event.FINISH_SESSION: TtsSession._finish_session,
    Event.CANCEL_SESSION: TtsSession._cancel_session,
}


def _sound(piece: bytes, ident: str) -> Frame:
    return Frame(Type.AUDIO_RESPONSE, Flags.EVENT, Serialization.RAW, 0, piece, event=Event.TTS_RESPONSE, id=ident)


def _body(frame: Frame) -> Json:
    """The payload; a body that names another event than its frame is refused."""
    if frame.serialization != Serialization.JSON:
        raise Fault(BAD_REQUEST, "unsupported serialization")
    try:
        body = loads(frame.payload)
    except ValueError as exc:
        raise Fault(BAD_REQUEST, f"unmarshal request: {exc}") from exc
    if frame.event is not None and get(body, "event", int, frame.event) != frame.event:
        raise Fault(BAD_REQUEST, f"event {body['event']} in the payload of event {frame.event}")
    return body


def routes(prefix: str) -> list[web.RouteDef]:
    paths = {"bidirection": TtsSession, "unidirectional/stream": UnidirectionalSession}
    return [
        web.get(f"{prefix}/api/v3/tts/{path}", Endpoint(kind, authorize_tts, refusal, headers=answer_headers).handle)
        for path, kind in paths.items()
    ]
