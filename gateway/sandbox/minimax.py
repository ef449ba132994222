"""MiniMax: errors in HTTP 200 with `base_resp`, placeholders for usage, and the whole answer again at the end."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from gateway.sandbox import anthropic, content, images, media
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import JSON, Step, Style, Turn, handler, head, reply, usage_chunk
from gateway.sandbox.chat_request import COMMON
from gateway.sandbox.check import BOOL, INT, LIST, NUM, STR, Field, check, known_model
from gateway.sandbox.openai import models_routes
from gateway.sandbox.vendor import Refusal, Vendor, bearer

IDS = ("minimax",)
MODELS = ("MiniMax-M2", "MiniMax-M2-Stable")
# kind: base_resp.status_code, and the true status where the door uses those (/v1/chat/completions)
ERRORS = {
    "invalid": (2013, 400),
    "auth": (1004, 401),
    "balance": (1008, 402),
    "filter": (1026, 400),
    "model": (2013, 400),
    "rate": (1002, 429),
    "timeout": (1001, 504),
    "server": (1013, 500),
    "overloaded": (1041, 503),
    "permission": (2049, 403),
}
WORDS = {
    1001: "timeout",
    1002: "rate limit",
    1004: "login fail: Please carry the API secret key in the 'Authorization' field of the request header",
    1008: "insufficient balance",
    1013: "unknown error",
    1026: "input new_sensitive",
    1027: "output new_sensitive",
    1041: "conn limit",
    2049: "invalid api key",
}
FLAGS = {
    "input_sensitive": False,
    "output_sensitive": False,
    "input_sensitive_type": 0,
    "output_sensitive_type": 0,
    "output_sensitive_int": 0,
}
NO_USAGE = {"total_tokens": 0, "total_characters": 0}
GOOD = {"status_code": 0, "status_msg": ""}


def _base(code: int, message: str) -> JSON:
    return {"status_code": code, "status_msg": WORDS.get(code, f"invalid params, {message}")}


def render(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    """Errors of the native paths: HTTP 200, told by `base_resp` only."""
    code, _ = refusal.row(ERRORS)
    value: JSON = {"base_resp": _base(code, refusal.message)}
    if code in (1026, 1027):
        value = {
            "id": request_id,
            "choices": None,
            "created": 0,
            "model": "",
            "object": "chat.completion",
            "usage": {**NO_USAGE, "prompt_tokens": 0, "completion_tokens": 0},
            "input_sensitive": True,
            "input_sensitive_type": 1,
            **value,
        }
    return refusal.status or 200, value


def render_openai(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    """Errors of the OpenAI door: a true status."""
    code, status = refusal.row(ERRORS)
    kind = "authorized_error" if status == 401 else "bad_request_error" if status == 400 else "server_error"
    error = {
        "type": kind,
        "message": f"{_base(code, refusal.message)['status_msg']} ({code})",
        "http_code": str(status),
    }
    return refusal.status or status, {"type": "error", "error": error, "request_id": request_id}


def headers(request_id: str) -> dict[str, str]:
    return {"Trace-Id": request_id, "Minimax-Request-Id": request_id}


def _usage(turn: Turn, output: int) -> JSON:
    answer = turn.answer
    return {
        "total_tokens": answer.input + output,
        "total_characters": 0,
        "prompt_tokens": answer.input,
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": answer.cached},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
    }


def _split(turn: Turn) -> bool:
    """Whether reasoning has a field of its own; else it stands in the text, in <think> tags."""
    return turn.body.get("reasoning_split") is True or "chatcompletion_v2" in turn.call.request.path


def _details(text: str) -> list[JSON]:
    """The same reasoning once more, in the form of other vendors."""
    return [
        {"type": "reasoning.text", "id": "reasoning-text-1", "format": "MiniMax-response-v1", "index": 0, "text": text}
    ]


def _finished(turn: Turn, value: JSON) -> JSON:
    for choice in value["choices"]:
        message = choice["message"]
        del choice["logprobs"]
        message |= {"name": "MiniMax AI", "audio_content": ""}
        if message.get("reasoning_content") and turn.body.get("reasoning_split"):
            message["reasoning_details"] = _details(message["reasoning_content"])
        if message.get("reasoning_content") and not _split(turn):
            message["content"] = f"<think>\n{message.pop('reasoning_content')}\n</think>\n\n{message['content'] or ''}"
    flags = FLAGS | ({"output_sensitive": True, "output_sensitive_type": 1} if turn.answer.finish == "filter" else {})
    base = _base(1027, "") if turn.answer.finish == "filter" else GOOD
    return value | {**flags, "base_resp": base}


def _chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    choice = chunk["choices"][0]
    del choice["logprobs"]
    if step.finish is None:
        del choice["finish_reason"]
    delta = {**step.delta, "role": "assistant" if step.kind == "role" else ""}
    if step.kind == "role":
        delta["name"] = "MiniMax AI"
    if not _split(turn) and turn.answer.reasoning:
        first = step.spoken == 1
        last = step.spoken == content.tokens(turn.answer.reasoning)
        if step.kind == "reasoning":
            text = delta.pop("reasoning_content")
            delta["content"] = "<think>\n" * first + text + "\n</think>\n\n" * last
    elif step.kind == "reasoning":
        delta["content"] = ""
        if turn.body.get("reasoning_split"):
            delta["reasoning_details"] = _details(delta["reasoning_content"])
    choice["delta"] = delta
    return chunk | {"usage": NO_USAGE, **FLAGS}


def _closing(turn: Turn) -> Iterable[JSON]:
    """The whole answer once more, with the only real usage; where asked, then a usage chunk too."""
    yield _finished(turn, reply(turn) | head(turn, "chat.completion"))
    if turn.call.request.path.endswith("/chat/completions"):
        yield from usage_chunk(turn)


def _broken(turn: Turn) -> Iterable[bytes]:
    """The error as plain JSON, though the header said event stream."""
    return [content.compact({"base_resp": _base(1013, "")}).encode()]


def _error_body(call: Call, refusal: Refusal) -> JSON:
    return {"base_resp": _base(1013, "")}


STYLE = Style(
    fields=COMMON
    | {"n": Field(INT, least=1, most=1), "temperature": Field(NUM, least=0.01, most=1), "reasoning_split": Field(BOOL)},
    usage=_usage,
    reply=_finished,
    chunk=_chunk,
    closing=_closing,
    done=b"",
    error_events=_broken,
    error_body=_error_body,
    id=lambda call: content.digest(call.digest, length=32),
    tool_id=lambda turn, k, name: f"call_function_{content.letters(turn.id, k, length=12)}_{k + 1}",
)


async def embeddings(call: Call) -> web.StreamResponse:
    check(
        call.body,
        {
            "model": Field(STR, required=True),
            "texts": Field(LIST, required=True, least=1),
            "type": Field(STR, required=True, choices=("db", "query")),
        },
    )
    known_model(call.base_model)
    texts = [str(text) for text in call.body["texts"]]
    total = 0 if call.script.zero_usage else sum(map(content.tokens, texts))
    return await call.json(
        {
            "vectors": [content.vector(text, 1536) for text in texts],
            **({} if call.script.no_usage else {"total_tokens": total}),
            "base_resp": GOOD,
        }
    )


async def pictures(call: Call) -> web.StreamResponse:
    body = call.body
    check(
        body,
        {
            "model": Field(STR, required=True),
            "prompt": Field(STR, required=True, least=1, most=1500),
            "n": Field(INT, least=1, most=9),
            "response_format": Field(STR, choices=("url", "base64")),
            "aspect_ratio": Field(STR, choices=("1:1", "16:9", "4:3", "3:2", "2:3", "3:4", "9:16", "21:9")),
        },
    )
    known_model(call.base_model)
    if call.script.filter:
        raise Refusal("filter", "input new_sensitive")
    count = body.get("n") or 1
    data: dict[str, Any]
    if body.get("response_format") == "base64":
        made = (media.png(f"{body['prompt']} {i}", 1024, 1024, call.script.size or 0) for i in range(count))
        data = {"image_base64": [base64.b64encode(picture).decode() for picture in made]}
    else:
        data = {"image_urls": [images.url(call, str(i), 1024, 1024) for i in range(count)]}
    return await call.json(
        {
            "id": content.digest(call.digest, length=32),
            "data": data,
            "metadata": {"success_count": str(count), "failed_count": "0"},
            "base_resp": {"status_code": 0, "status_msg": "success"},
        }
    )


def routes(prefix: str) -> list[web.RouteDef]:
    native = Vendor(prefix[1:], bearer, render, headers)
    door = Vendor(prefix[1:], bearer, render_openai, headers)
    return [
        web.post(f"{prefix}/v1/text/chatcompletion_v2", endpoint(native, handler(STYLE))),
        web.post(f"{prefix}/v1/chat/completions", endpoint(door, handler(STYLE))),
        web.post(f"{prefix}/v1/embeddings", endpoint(native, embeddings)),
        web.post(f"{prefix}/v1/image_generation", endpoint(native, pictures)),
        *models_routes(door, f"{prefix}/v1/models", MODELS),
        *anthropic.door_routes(native.id, f"{prefix}/anthropic", anthropic.Door(signed=False, pads=False)),
    ]
