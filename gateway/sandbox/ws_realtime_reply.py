"""One response of a realtime session: its events in order, and its end, however it comes.

    response.created, rate_limits.updated
    response.output_item.added, conversation.item.added
    a message: content_part.added, deltas of text (and sound), their done events, content_part.done
    a call:    function_call_arguments.delta and done
    conversation.item.done, response.output_item.done
    response.done           always the last, once, with the usage
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.sandbox import content
from gateway.sandbox.ws_containers import Speaker
from gateway.sandbox.ws_events import base64_of
from gateway.sandbox.ws_realtime_talk import OUT_PER_SECOND, Item, Tokens, answer, sound_tokens, tool_call, usage
from gateway.sandbox.ws_session import Json, dumps
from gateway.sandbox.ws_voice import sentences

if TYPE_CHECKING:
    from gateway.sandbox.ws_realtime import RealtimeSession


class Reply:
    def __init__(self, session: RealtimeSession, options: Json, items: list[Item]) -> None:
        self.session = session
        self.form = session.form
        self.items = items
        self.id = session.new_id("resp")
        self.options = options
        self.instructions = str(self._option("instructions") or "")
        self.modalities: list[str] = self._option("modalities") or ["audio"]
        self.in_conversation = options.get("conversation") != "none"
        self.out = Tokens()
        self.output: list[Json] = []
        self.task: asyncio.Task[None] | None = None
        self.closed = False

    def _option(self, name: str) -> Any:
        found = self.form.get(self.options, name)
        return self.form.get(self.session.config, name) if found is None else found

    async def run(self) -> None:
        await self._say("response.created", response=self._body("in_progress"))
        if self.form.limits:
            await self._limits()
        tool = tool_call(self.items, self._option("tools"), self._option("tool_choice"))
        if tool:
            await self._call(tool)
            await self.close("completed")
        else:
            await self._speak()

    async def close(self, status: str, reason: str | None = None) -> None:
        """`response.done`; a second call does nothing."""
        if self.closed:
            return
        self.closed = True
        self.session.reply = None
        body = self._body(status, {"type": status, "reason": reason} if reason else None)
        for item in self.items:
            item.read = True
        await self._say("response.done", response=body)

    async def cancel(self, reason: str) -> None:
        if self.task:
            self.task.cancel()
        await self.close("cancelled", reason)

    async def _speak(self) -> None:
        text, limit = answer(self.items, self.instructions), self._option("max_output")
        pieces = content.pieces(text)
        cut = isinstance(limit, int) and len(pieces) > limit
        if cut:
            text = "".join(pieces[:limit])
        spoken = "audio" in self.modalities
        text_part, audio_part = self.form.output_parts
        kind = audio_part if spoken else text_part
        body: Json = {"type": "message", "role": "assistant", "content": []}
        item = await self._open(body)
        ids = {"response_id": self.id, "item_id": item.id, "output_index": 0, "content_index": 0}
        part: Json = {"type": "audio", "transcript": ""} if spoken else {"type": "text", "text": ""}
        await self._say("response.content_part.added", **ids, part=part)
        speaker = Speaker(str(self._option("voice") or "alloy"), "pcm", self.form.rates[1])
        field = "transcript" if spoken else "text"
        for sentence in sentences(text):
            await self._deltas(sentence, ids, speaker if spoken else None)
            item.said += sentence
            item.body["content"] = [{"type": kind, field: item.said}]
        item.tokens = Tokens(text=self.out.text)
        if spoken:
            await self._say(f"{self.form.audio}.done", **ids)
        await self._say(f"{self.form.transcript if spoken else self.form.text}.done", **ids, **{field: text})
        await self._say("response.content_part.done", **ids, part={**part, field: text})
        await self._done(item, "incomplete" if cut else "completed")
        await self.close(*(("incomplete", "max_output_tokens") if cut else ("completed",)))

    async def _deltas(self, sentence: str, ids: Json, speaker: Speaker | None) -> None:
        name = f"{self.form.transcript if speaker else self.form.text}.delta"
        for piece in content.pieces(sentence):
            self.out.text += 1
            await self._say(name, **ids, delta=piece)
        for sound in speaker.pieces(sentence) if speaker else ():
            self.out.audio += sound_tokens(len(sound), self.form.rates[1], OUT_PER_SECOND)
            await self._say(f"{self.form.audio}.delta", **ids, delta=base64_of(sound))

    async def _call(self, tool: Json) -> None:
        arguments = dumps({"input": self.items[-1].said})
        body: Json = {"type": "function_call", "name": tool["name"], "call_id": self.session.new_id("call")}
        item = await self._open({**body, "arguments": ""})
        ids = {"response_id": self.id, "item_id": item.id, "output_index": 0, "call_id": body["call_id"]}
        for piece in content.pieces(arguments):
            self.out.text += 1
            await self._say("response.function_call_arguments.delta", **ids, delta=piece)
        await self._say(
            "response.function_call_arguments.done", **ids, name=tool["name"], arguments=arguments
        )
        item.body["arguments"], item.said = arguments, str(tool["name"])
        item.tokens = Tokens(text=self.out.text)
        await self._done(item, "completed")

    async def _open(self, body: Json) -> Item:
        base = {"id": self.session.new_id("item"), "object": "realtime.item", "status": "in_progress"}
        item = Item({**base, **body})
        self.output.append(item.body)
        await self._say("response.output_item.added", response_id=self.id, output_index=0, item=item.body)
        if self.in_conversation:
            await self.session.add(item)
        return item

    async def _done(self, item: Item, status: str) -> None:
        item.body["status"] = status
        if self.in_conversation:
            await self.session.complete(item)
        await self._say("response.output_item.done", response_id=self.id, output_index=0, item=item.body)

    def _body(self, status: str, details: Json | None = None) -> Json:
        final = status != "in_progress"
        body: Json = {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": self.output if final else [],
            "conversation_id": self.session.conversation_id if self.in_conversation else None,
            "metadata": self.options.get("metadata"),
            "usage": None,
        }
        if self.form.output_parts[1] == "output_audio":
            body["output_modalities"] = self.modalities
            body["max_output_tokens"] = self._option("max_output")
        else:
            body["modalities"] = self.modalities
        if final and not self.session.connection.script.no_usage:
            body["usage"] = usage(
                self.items, self.instructions, self.out, self.form.details, read_before=self.session.replied
            )
        return body

    async def _limits(self) -> None:
        rows = (("requests", 5000), ("tokens", 400000))
        limits = [{"name": name, "limit": limit, "remaining": limit - 1, "reset_seconds": 0.1} for name, limit in rows]
        await self._say("rate_limits.updated", rate_limits=limits)

    async def _say(self, kind: str, **fields: object) -> None:
        await self.session.say(kind, **fields)
