"""What vendors of each dialect say, in small: a stream's begin, texts, calls, finish and errors; whole answers."""

from __future__ import annotations

import json
from typing import Any

Value = dict[str, Any]
TEXT = "From the raw vendor."
INPUT, OUTPUT = 7, 3


def event(value: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


class Speech:
    """One dialect. Streams are lists of events, `data` and name as bytes."""

    begin: bytes = b""
    terminator: bytes = b""

    def text(self, text: str = TEXT) -> bytes:
        raise NotImplementedError

    def call(self, number: int, name: str = "weather", arguments: str = '{"city":"Rome"}') -> bytes:
        raise NotImplementedError

    def finish(self, usage: bool = True) -> bytes:
        raise NotImplementedError

    def error(self) -> bytes:
        raise NotImplementedError

    def document(self, usage: bool = True, **message: Any) -> Value:
        """Members of `message` replace the answer's text."""
        raise NotImplementedError


class Chat(Speech):
    terminator = b"data: [DONE]\n\n"
    _USAGE = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}

    def chunk(self, delta: Value, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})

    def text(self, text: str = TEXT) -> bytes:
        return self.chunk({"content": text})

    def call(self, number: int, name: str = "weather", arguments: str = '{"city":"Rome"}') -> bytes:
        function = {"name": name, "arguments": arguments}
        return self.chunk(
            {"tool_calls": [{"index": number, "id": f"c{number}", "type": "function", "function": function}]}
        )

    def finish(self, usage: bool = True) -> bytes:
        counted = event({"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": self._USAGE})
        return self.chunk({}, "stop") + (counted if usage else b"")

    def error(self) -> bytes:
        return event({"error": {"message": "scripted failure", "type": "server_error", "code": "scripted"}})

    def document(self, usage: bool = True, **message: Any) -> Value:
        said = {"role": "assistant", "content": TEXT, **message}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        whole = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return whole | ({"usage": self._USAGE} if usage else {})


class Responses(Speech):
    _RESPONSE: Value = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "in_progress",
        "output": [],
    }
    _USAGE = {"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
    begin = event({"type": "response.created", "response": _RESPONSE}, "response.created")

    def say(self, kind: str, **fields: Any) -> bytes:
        return event({"type": kind, **fields}, kind)

    def text(self, text: str = TEXT) -> bytes:
        return self.say("response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=text)

    def call(self, number: int, name: str = "weather", arguments: str = '{"city":"Rome"}') -> bytes:
        item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"c{number}", "name": name, "arguments": ""}
        place = {"output_index": number + 1}
        return (
            self.say("response.output_item.added", **place, item=item)
            + self.say("response.function_call_arguments.delta", **place, item_id=f"fc_{number}", delta=arguments)
            + self.say("response.output_item.done", **place, item={**item, "arguments": arguments})
        )

    def finish(self, usage: bool = True) -> bytes:
        return self.say("response.completed", response={
            **self._RESPONSE, "status": "completed", "usage": self._USAGE if usage else None,
        })  # fmt: skip

    def error(self) -> bytes:
        return self.say("error", code="server_error", message="scripted failure", param=None)

    def document(self, usage: bool = True, **message: Any) -> Value:
        content = [{"type": "output_text", "text": TEXT, "annotations": []}]
        item = {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": content,
            **message,
        }
        return {**self._RESPONSE, "status": "completed", "output": [item], "usage": self._USAGE if usage else None}


class Messages(Speech):
    _MESSAGE: Value = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
        "stop_sequence": None,
    }  # fmt: skip
    _TEXT = {"type": "text", "text": ""}
    terminator = event({"type": "message_stop"}, "message_stop")

    @property
    def begin(self) -> bytes:  # type: ignore[override]
        block = event({"type": "content_block_start", "index": 0, "content_block": self._TEXT}, "content_block_start")
        return event({"type": "message_start", "message": self._MESSAGE}, "message_start") + block

    def delta(self, index: int, **delta: Any) -> bytes:
        return event({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")

    def text(self, text: str = TEXT) -> bytes:
        return self.delta(0, type="text_delta", text=text)

    def call(self, number: int, name: str = "weather", arguments: str = '{"city":"Rome"}') -> bytes:
        block = {"type": "tool_use", "id": f"c{number}", "name": name, "input": {}}
        begin = {"type": "content_block_start", "index": number + 1, "content_block": block}
        stop = event({"type": "content_block_stop", "index": number + 1}, "content_block_stop")
        return (
            event(begin, "content_block_start")
            + self.delta(number + 1, type="input_json_delta", partial_json=arguments)
            + stop
        )

    def finish(self, usage: bool = True) -> bytes:
        value: Value = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
        if usage:
            value["usage"] = {"input_tokens": INPUT, "output_tokens": OUTPUT}
        return event(value, "message_delta")

    def error(self) -> bytes:
        return event({"type": "error", "error": {"type": "api_error", "message": "scripted failure"}}, "error")

    def document(self, usage: bool = True, **message: Any) -> Value:
        whole = {**self._MESSAGE, "content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn", **message}
        return whole | ({"usage": {"input_tokens": INPUT, "output_tokens": OUTPUT}} if usage else {})


class Gemini(Speech):
    _USAGE = {"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT, "totalTokenCount": INPUT + OUTPUT}

    def chunk(self, *parts: Value, **more: Any) -> bytes:
        return event(self._value(parts, **more))

    def _value(self, parts: Any, usage: bool = False, **more: Any) -> Value:
        candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **more}
        return {"candidates": [candidate], "responseId": "r1"} | ({"usageMetadata": self._USAGE} if usage else {})

    def text(self, text: str = TEXT) -> bytes:
        return self.chunk({"text": text})

    def call(self, number: int, name: str = "weather", arguments: str = '{"city":"Rome"}') -> bytes:
        try:
            args = json.loads(arguments)
        except (ValueError, RecursionError):
            args = {}
        return self.chunk({"functionCall": {"name": name, "args": args}})

    def finish(self, usage: bool = True) -> bytes:
        return self.chunk(usage=usage, finishReason="STOP")

    def error(self) -> bytes:
        return event({"error": {"code": 500, "message": "scripted failure", "status": "INTERNAL"}})

    def document(self, usage: bool = True, **message: Any) -> Value:
        return self._value([{"text": TEXT}], usage, finishReason="STOP", **message)


class DashScope(Speech):
    _USAGE = {"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}

    def result(self, finish: str = "null", usage: bool = False, **message: Any) -> Value:
        choice = {"message": {"role": "assistant", "content": "", **message}, "finish_reason": finish}
        return {"output": {"choices": [choice]}, "request_id": "d1"} | ({"usage": self._USAGE} if usage else {})

    def text(self, text: str = TEXT) -> bytes:
        return event(self.result(content=text), "result")

    def call(self, number: int, name: str = "weather", arguments: str = '{"city":"Rome"}') -> bytes:
        function = {"name": name, "arguments": arguments}
        call = {"index": number, "id": f"c{number}", "type": "function", "function": function}
        return event(self.result(tool_calls=[call]), "result")

    def finish(self, usage: bool = True) -> bytes:
        return event(self.result("stop", usage), "result")

    def error(self) -> bytes:
        return event({"code": "InternalError", "message": "scripted failure", "request_id": "d1"}, "error")

    def document(self, usage: bool = True, **message: Any) -> Value:
        return self.result("stop", usage, **{"content": TEXT, **message})


class MiniMax(Chat):
    """No terminator: the finish is all there is."""

    terminator = b""


SPEECHES: dict[str, Speech] = {
    "openai.chat": Chat(),
    "openai.responses": Responses(),
    "anthropic.messages": Messages(),
    "gemini.generate": Gemini(),
    "dashscope.generation": DashScope(),
    "minimax.chat": MiniMax(),
}
