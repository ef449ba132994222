"""A realtime conversation as OpenAI defined it, in any of its forms.

Sound goes into a buffer, a commit (the client's, or the voice detection's at a silence) makes it a user item, a
response reads all items. One response at a time.
"""

from __future__ import annotations

from gateway.sandbox import content
from gateway.sandbox.ws_events import EventSession, Handlers, decoded
from gateway.sandbox.ws_realtime_form import Form
from gateway.sandbox.ws_realtime_reply import Reply
from gateway.sandbox.ws_realtime_talk import PER_IMAGE, Item, Tokens, item_of, sound_tokens
from gateway.sandbox.ws_session import Connection, Fault, Json, get
from gateway.sandbox.ws_voice import Ear

_LEAST_MS = 100
_SILENCE_MS = 500


class RealtimeSession(EventSession):
    def __init__(self, connection: Connection, form: Form, model: str, expires_at: int) -> None:
        super().__init__(connection)
        self.form = form
        self.model = model
        self.conversation_id = self.new_id("conv")
        self.config = {"id": self.new_id("sess"), "expires_at": expires_at, **form.defaults(model)}
        self.items: list[Item] = []
        self.reply: Reply | None = None
        self.replied = False
        self.rate = form.rates[0]
        self.ear = Ear(self.rate)
        self.sound = bytearray()
        self.before_ms = 0  # of sound in earlier buffers
        self.speech_item: str | None = None  # announced by the voice detection

    async def begin(self) -> None:
        await self.say(self.form.created, session=self.config)
        if self.form.converses and self.form.item_events[1] is None:
            await self.say("conversation.created", conversation={"id": self.conversation_id,
                                                                 "object": "realtime.conversation"})  # fmt: skip

    async def update(self, body: Json) -> None:
        change = get(body, "session", dict)
        if self.replied and self.form.get(change, "voice") not in (None, self.form.get(self.config, "voice")):
            raise Fault("cannot_update_voice", "Cannot update a conversation's voice if assistant audio is present.",
                        "session.voice")  # fmt: skip
        self.config = self.form.merge(self.config, change)
        await self.say(self.form.updated, session=self.config)

    # -- the sound that comes in --

    async def append(self, body: Json) -> None:
        sound = decoded(body, "audio")
        self.sound += sound
        self.ear.feed(sound)
        detection = self.form.get(self.config, "turn_detection")
        if not detection:
            return
        if self.ear.loud_from_ms is not None and self.speech_item is None:
            start = self.before_ms + self.ear.loud_from_ms
            await self._speech_started(start, bool(detection.get("interrupt_response", True)))
        if self.speech_item and self.ear.silence_ms >= detection.get("silence_duration_ms", _SILENCE_MS):
            await self._speech_stopped()
            await self._commit()
            if detection.get("create_response", True) and self.form.converses:
                await self._respond({})

    async def commit(self, body: Json) -> None:
        held = self.ear.duration_ms
        if held < _LEAST_MS:
            message = f"Expected at least {_LEAST_MS}ms of audio, but buffer only has {held:.2f}ms of audio."
            raise Fault("input_audio_buffer_commit_empty",
                        f"Error committing input audio buffer: buffer too small. {message}")  # fmt: skip
        await self._commit()

    async def clear(self, body: Json) -> None:
        self._empty()
        await self.say("input_audio_buffer.cleared")

    async def image(self, body: Json) -> None:
        """DashScope's: a picture beside the sound."""
        decoded(body, "image")
        if not self.sound:
            raise Fault("invalid_value", "Error appending image: append audio before image.", "image")
        self.items.append(Item({"id": self.new_id("item"), "type": "image"}, Tokens(image=PER_IMAGE)))

    async def _speech_started(self, start: int, interrupts: bool) -> None:
        self.speech_item = self.new_id("item")
        await self.say("input_audio_buffer.speech_started", audio_start_ms=start, item_id=self.speech_item)
        if self.reply and interrupts:
            await self.reply.cancel("turn_detected")

    async def _speech_stopped(self) -> None:
        end = self.before_ms + self.ear.duration_ms - self.ear.silence_ms
        await self.say("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=self.speech_item)

    async def _commit(self) -> None:
        self.ear.close()
        heard, size = self.ear.text, len(self.sound)
        transcription = self.form.get(self.config, "transcription")
        part = {"type": "input_audio", "transcript": None}
        ident = self.speech_item or self.new_id("item")
        body = {"id": ident, "object": "realtime.item", "type": "message", "status": "completed", "role": "user"}
        item = Item({**body, "content": [part]}, Tokens(audio=sound_tokens(size, self.rate)), heard)
        self._empty()
        await self.say("input_audio_buffer.committed", previous_item_id=self._last_id(), item_id=ident)
        await self.add(item)
        await self.complete(item)
        if transcription:
            await self._transcribe(item, str(transcription.get("model", "")), size / 2 / self.rate)
            part["transcript"] = heard

    async def _transcribe(self, item: Item, model: str, seconds: float) -> None:
        name = "conversation.item.input_audio_transcription"
        place = {"item_id": item.id, "content_index": 0}
        whisper = model.startswith("whisper")
        for piece in [item.said] if whisper else content.pieces(item.said):
            await self.say(f"{name}.delta", **place, delta=piece)
        out = content.tokens(item.said)
        counted: Json = {
            "type": "tokens",
            "total_tokens": item.tokens.audio + out,
            "input_tokens": item.tokens.audio,
            "output_tokens": out,
            "input_token_details": {"text_tokens": 0, "audio_tokens": item.tokens.audio},
        }
        if whisper:
            counted = {"type": "duration", "seconds": seconds}
        more = {} if self.connection.script.no_usage else {"usage": counted}
        await self.say(f"{name}.completed", **place, transcript=item.said, **more)

    def _empty(self) -> None:
        self.before_ms += self.ear.duration_ms
        self.ear, self.sound, self.speech_item = Ear(self.rate), bytearray(), None

    # -- items --

    async def add(self, item: Item, place: int | None = None) -> None:
        """Into the conversation; `place` is where, else the end."""
        place = len(self.items) if place is None else place
        previous = self.items[place - 1].id if place else None
        self.items.insert(place, item)
        await self.say(self.form.item_events[0], previous_item_id=previous, item=item.body)

    async def complete(self, item: Item) -> None:
        if self.form.item_events[1]:
            place = self.items.index(item)
            previous = self.items[place - 1].id if place else None
            await self.say(self.form.item_events[1], previous_item_id=previous, item=item.body)

    async def create(self, body: Json) -> None:
        item = item_of(get(body, "item", dict), self.rate)
        known = [other.id for other in self.items]
        ident = get(item.body, "id", str, "") or self.new_id("item")
        if ident in known or len(ident) > 32:
            raise Fault("invalid_value", f"Item id {ident!r} exists already or is too long.", "item.id")
        item.body = {"id": ident, **{name: value for name, value in item.body.items() if name != "id"}}
        if item.body["type"] == "function_call_output":
            calls = [other.body.get("call_id") for other in self.items if other.body["type"] == "function_call"]
            if item.body["call_id"] not in calls:
                raise Fault("invalid_tool_call_id", f"Tool call ID {item.body['call_id']!r} not found in conversation.",
                            "item.call_id")  # fmt: skip
        after = get(body, "previous_item_id", str, known[-1] if known else "root")
        if after != "root" and after not in known:
            raise Fault("invalid_value", f"Previous item with id {after!r} not found.", "previous_item_id")
        await self.add(item, 0 if after == "root" else known.index(after) + 1)
        await self.complete(item)

    async def retrieve(self, body: Json) -> None:
        await self.say("conversation.item.retrieved", item=self._find(body, "retrieve").body)

    async def delete(self, body: Json) -> None:
        item = self._find(body, "delete")
        self.items.remove(item)
        await self.say("conversation.item.deleted", item_id=item.id)

    async def truncate(self, body: Json) -> None:
        item = self._find(body, "truncate")
        end, part = get(body, "audio_end_ms", int), get(body, "content_index", int)
        if item.body.get("role") != "assistant":
            raise Fault("invalid_value", "Only model output audio messages can be truncated.", "item_id")
        await self.say("conversation.item.truncated", item_id=item.id, content_index=part, audio_end_ms=end)

    def _find(self, body: Json, verb: str) -> Item:
        ident = get(body, "item_id", str)
        for item in self.items:
            if item.id == ident:
                return item
        raise Fault(f"item_{verb}_invalid_item_id", f"Error: the item with id {ident!r} does not exist.", "item_id")

    def _last_id(self) -> str | None:
        return self.items[-1].id if self.items else None

    # -- responses --

    async def respond(self, body: Json) -> None:
        if not self.form.converses:
            raise Fault("invalid_value", "A transcription session makes no responses.", "type")
        await self._respond(get(body, "response", dict, {}))

    async def _respond(self, options: Json) -> None:
        if self.reply:
            raise Fault("conversation_already_has_active_response",
                        f"Conversation already has an active response in progress: {self.reply.id}.")  # fmt: skip
        items = list(self.items)
        if "input" in options:
            items = [item_of(item, self.rate) for item in get(options, "input", list)]
        self.reply = Reply(self, options, items)
        self.reply.task = self.spawn(self._run(self.reply))

    async def _run(self, reply: Reply) -> None:
        try:
            await reply.run()
        finally:
            self.replied = True
            if self.reply is reply:
                self.reply = None

    async def cancel(self, body: Json) -> None:
        if not self.reply:
            raise Fault("response_cancel_not_active", "Cancellation failed: no active response found")
        await self.reply.cancel("client_cancelled")

    async def finish(self, body: Json) -> None:
        """DashScope's: what runs is finished, then the session."""
        if self.reply and self.reply.task:
            await self.reply.task
        await self.say("session.finished")
        await self.connection.close()


BUFFER: Handlers = {
    "input_audio_buffer.append": RealtimeSession.append,
    "input_audio_buffer.commit": RealtimeSession.commit,
    "input_audio_buffer.clear": RealtimeSession.clear,
}
CONVERSATION: Handlers = {
    "conversation.item.create": RealtimeSession.create,
    "conversation.item.retrieve": RealtimeSession.retrieve,
    "conversation.item.delete": RealtimeSession.delete,
    "conversation.item.truncate": RealtimeSession.truncate,
    "response.create": RealtimeSession.respond,
    "response.cancel": RealtimeSession.cancel,
}
