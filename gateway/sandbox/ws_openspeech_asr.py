"""Volcengine openspeech speech recognition (`sauc`): one reply a packet, on change, or at the end."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from gateway.sandbox.openspeech_frames import Flags, Frame, FrameError, Serialization, Type, decode
from gateway.sandbox.ws_containers import ear_for
from gateway.sandbox.ws_openspeech import BAD_REQUEST, OpenspeechSession, answer_headers, authorize_asr, refusal
from gateway.sandbox.ws_session import Connection, Endpoint, Fault, Json, dumps, get, loads
from gateway.sandbox.ws_voice import Ear, Sentence

IDS = ("bytedance",)
EMPTY_AUDIO = 45000002
PACKET_TIMEOUT = 45000081
BAD_FORMAT = 45000151
_NOSTREAM_MS = 15000
# What the first bytes of a sound must be, by its declared form.
_MAGIC: dict[str, tuple[bytes, ...]] = {"wav": (b"RIFF",), "ogg": (b"OggS",), "mp3": (b"ID3", b"\xff"), "pcm": (b"",)}


class AsrSession(OpenspeechSession):
    """`mode` decides whether a packet that is not the last gets an answer."""

    def __init__(self, connection: Connection, mode: str) -> None:
        super().__init__(connection)
        self.mode = mode
        self.patience = connection.script.timeout / 1000
        self.ear: Ear | None = None
        self.form = "pcm"
        self.request: Json = {}
        self.serialization: int = Serialization.JSON
        self.received = 0
        self.packets = 0
        self.replies = 0
        self.shown = ""

    async def on_silence(self) -> None:
        raise Fault(PACKET_TIMEOUT, "timeout waiting next packet")

    async def on_binary(self, data: bytes) -> None:
        try:
            frame = decode(data)
        except FrameError as exc:
            raise Fault(BAD_REQUEST, f"decode ws request failed: unable to decode V1 protocol message: {exc}") from exc
        self.packets += 1
        self._check_sequence(frame)
        if self.ear is None:
            await self._configure(frame)
        else:
            await self._hear(frame, self.ear)

    def _check_sequence(self, frame: Frame) -> None:
        """Numbered packets count from 1; the last may be negative, or not."""
        if frame.sequence is None:
            return
        number = abs(frame.sequence) if frame.last else frame.sequence
        if number != self.packets:
            told = f"autoAssignedSequence ({self.packets}) mismatch sequence in request ({frame.sequence})"
            raise Fault(BAD_REQUEST, f"decode ws request failed: {told}")

    async def _configure(self, frame: Frame) -> None:
        if frame.type != Type.FULL_REQUEST or frame.last or frame.flags == Flags.EVENT:
            raise Fault(BAD_REQUEST, "the first packet must be a full client request")
        if frame.serialization != Serialization.JSON:
            raise Fault(BAD_REQUEST, "full client request: unsupported serialization")
        try:
            body = loads(frame.payload)
        except ValueError as exc:
            raise Fault(BAD_REQUEST, f"unmarshal request: {exc}") from exc
        self.form = get(body, "audio.format", str, among=_MAGIC)
        get(body, "audio.codec", str, "raw", among=("raw", "opus"))
        get(body, "audio.bits", int, 16, among=(16,))
        get(body, "audio.channel", int, 1, among=(1,))
        rate = get(body, "audio.rate", int, 16000, among=(16000,))
        get(body, "request.model_name", str, among=("bigmodel",))
        get(body, "request.result_type", str, "full", among=("full", "single"))
        for switch in ("show_utterances", "enable_itn", "enable_punc", "enable_ddc"):
            get(body, f"request.{switch}", bool, False)
        if self.mode != "nostream" and "language" in get(body, "audio", dict):
            raise Fault(BAD_REQUEST, "audio.language is for bigmodel_nostream only")
        if self.mode != "async" and get(body, "request.enable_nonstream", bool, False):
            raise Fault(BAD_REQUEST, "enable_nonstream is for bigmodel_async only")
        self.request = body["request"]
        self.compression, self.serialization = frame.compression, frame.serialization
        self.ear = ear_for(self.form, rate)
        await self._reply(self.ear)

    async def _hear(self, frame: Frame, ear: Ear) -> None:
        if frame.type != Type.AUDIO_REQUEST:
            raise Fault(BAD_REQUEST, "duplicate request, audio expected")
        if frame.serialization != Serialization.RAW or frame.flags == Flags.EVENT:
            raise Fault(BAD_REQUEST, "audio packet: unsupported serialization or flags")
        if not self.received and frame.payload and not frame.payload.startswith(_MAGIC[self.form]):
            raise Fault(BAD_FORMAT, f"the audio is not {self.form}")
        before = ear.duration_ms
        self.received += len(frame.payload)
        ear.feed(frame.payload)
        if not frame.last:
            if _DUE[self.mode](self, before, ear):
                await self._reply(ear)
            return
        if not self.received:
            raise Fault(EMPTY_AUDIO, "empty audio")
        ear.close()
        await self._reply(ear, last=True)
        await self.connection.close()

    async def _reply(self, ear: Ear, last: bool = False) -> None:
        self.replies += 1
        self.shown = ear.text
        result = self._result(ear, closed=last)
        usage = {} if self.connection.script.no_usage else {"audio_info": {"duration": ear.duration_ms}}
        flags, number = (Flags.LAST_SEQUENCE, -self.replies) if last else (Flags.SEQUENCE, self.replies)
        payload = dumps(usage | {"result": result}).encode()
        await self.send(Frame(Type.FULL_RESPONSE, flags, self.serialization, self.compression, payload, number))

    def _result(self, ear: Ear, closed: bool) -> Json:
        spoken = ear.sentences(closed)
        if self.request.get("result_type") == "single":
            spoken = spoken[-1:]
        result: Json = {"text": "".join(sentence.text for sentence in spoken)}
        if self.request.get("show_utterances") and spoken:
            result["utterances"] = [_utterance(sentence) for sentence in spoken]
        return result


def _every_packet(session: AsrSession, before: int, ear: Ear) -> bool:
    return True


def _on_change(session: AsrSession, before: int, ear: Ear) -> bool:
    return session.shown != ear.text


def _every_15_seconds(session: AsrSession, before: int, ear: Ear) -> bool:
    return before // _NOSTREAM_MS != ear.duration_ms // _NOSTREAM_MS


_DUE: dict[str, Callable[[AsrSession, int, Ear], bool]] = {
    "packet": _every_packet,
    "async": _on_change,
    "nostream": _every_15_seconds,
}
_PATHS = {"bigmodel": "packet", "bigmodel_async": "async", "bigmodel_nostream": "nostream"}


def _utterance(sentence: Sentence) -> Json:
    words = [
        {"text": word.char, "start_time": word.begin_ms, "end_time": word.end_ms, "blank_duration": 0}
        for word in sentence.words
    ]
    return {
        "text": sentence.text,
        "start_time": sentence.begin_ms,
        "end_time": sentence.end_ms,
        "definite": sentence.final,
        "words": words,
    }


def routes(prefix: str) -> list[web.RouteDef]:
    return [web.get(f"{prefix}/api/v3/sauc/{name}", _endpoint(mode).handle) for name, mode in _PATHS.items()]


def _endpoint(mode: str) -> Endpoint:
    return Endpoint(lambda connection: AsrSession(connection, mode), authorize_asr, refusal, headers=answer_headers)
