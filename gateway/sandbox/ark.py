"""Volcengine Ark and BytePlus ModelArk: chat, contexts, bots, embeddings, Responses, Seedream pictures."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from gateway.sandbox import anthropic, ark_images, content, responses, vectors
from gateway.sandbox.answer import TOKENS_PER_IMAGE, Answer
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import DONE, JSON, Step, Style, Turn, handler, usage
from gateway.sandbox.chat_request import COMMON, read_messages
from gateway.sandbox.check import INT, LIST, OBJ, STR, Field, an_object, check, known_model
from gateway.sandbox.responses_request import ARK
from gateway.sandbox.vendor import Refusal, Vendor, bearer

IDS = ("bytedance", "byteplus")
# kind: status, code, type
ERRORS = {
    "invalid": (400, "InvalidParameter", "BadRequest"),
    "missing": (400, "MissingParameter", "BadRequest"),
    "filter": (400, "InputTextSensitiveContentDetected", "BadRequest"),
    "auth": (401, "AuthenticationError", "Unauthorized"),
    "balance": (403, "AccountOverdueError", "Forbidden"),
    "permission": (403, "OperationDenied.ServiceNotOpen", "Forbidden"),
    "model": (404, "InvalidEndpointOrModel.NotFound", "NotFound"),
    "rate": (429, "RateLimitExceeded.EndpointTPMExceeded", "TooManyRequests"),
    "server": (500, "InternalServiceError", "InternalServerError"),
    "overloaded": (429, "ServerOverloaded", "TooManyRequests"),
}
STORED_SECONDS = 3 * 86400
_VERSIONED = re.compile(r"(ep|bot)-.+|.+-\d{6}")


def render(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, code, kind = refusal.row(ERRORS)
    message = f"{refusal.message} Request id: 021{request_id}"
    error = {"code": code, "message": message, "param": refusal.param or "", "type": kind}
    return refusal.status or status, {"error": error}


def headers(request_id: str) -> dict[str, str]:
    return {"X-Request-Id": f"021{request_id}"}


def versioned(call: Call) -> None:
    """Bare family names do not exist here: a model is a dated id or an endpoint."""
    known_model(call.base_model)
    if not _VERSIONED.fullmatch(call.base_model):
        raise Refusal(
            "model", f"The model or endpoint {call.base_model} does not exist or you do not have access to it."
        )


def _check(call: Call) -> None:
    versioned(call)
    if call.body.get("max_tokens") is not None and call.body.get("max_completion_tokens") is not None:
        raise Refusal("value", "max_tokens and max_completion_tokens can not be set at the same time.", "max_tokens")


def _usage(turn: Turn, output: int) -> JSON:
    value = usage(turn, output)
    if "/context/" in turn.call.request.path:
        value["prompt_tokens_details"]["cached_tokens"] = turn.call.kept(turn.body["context_id"])["tokens"]
    return value


def _chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    options = turn.body.get("stream_options") or {}
    step.delta.setdefault("role", "assistant")
    if step.kind == "finish":
        step.delta["content"] = ""
    del chunk["choices"][0]["logprobs"]
    counted = turn.usage(step.spoken) if options.get("chunk_include_usage") else None
    return chunk | {"service_tier": "default"} | ({} if counted is None else {"usage": counted})


def _reply(turn: Turn, reply: JSON) -> JSON:
    return reply | {"service_tier": "default"}


STYLE = Style(
    fields=COMMON | {"n": Field(INT, least=1, most=1), "thinking": Field(OBJ)},
    check=_check,
    usage=_usage,
    chunk=_chunk,
    reply=_reply,
    id=lambda call: f"021{content.digest(call.digest, length=30)}",
)


# -- contexts --


async def create_context(call: Call) -> web.StreamResponse:
    body = call.body
    check(
        body,
        {
            "model": Field(STR, required=True),
            "messages": Field(LIST, required=True, least=1),
            "mode": Field(STR, choices=("session", "common_prefix")),
            "ttl": Field(INT, least=3600, most=604800),
            "truncation_strategy": Field(OBJ),
        },
    )
    versioned(call)
    total = read_messages(body["messages"]).tokens
    key = call.id("ctx-")
    call.keep(key, {"tokens": total, "model": call.model})
    total = 0 if call.script.zero_usage else total
    counted = {
        "prompt_tokens": total,
        "completion_tokens": 0,
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    strategy = body.get("truncation_strategy") or {"type": "last_history_tokens", "last_history_tokens": 4096}
    return await call.json(
        {
            "id": key,
            "model": call.model,
            "ttl": body.get("ttl", 86400),
            "mode": body.get("mode", "session"),
            "truncation_strategy": strategy,
            **({} if call.script.no_usage else {"usage": counted}),
        }
    )


def _context(call: Call) -> None:
    _check(call)
    if call.kept(call.body["context_id"]) is None:
        raise Refusal("value", f"The context {call.body['context_id']} does not exist or has expired.", "context_id")


CONTEXT = Style(
    fields=STYLE.fields | {"context_id": Field(STR, required=True)},
    check=_context,
    usage=_usage,
    chunk=_chunk,
    reply=_reply,
    id=STYLE.id,
)


# -- bots: the usage is in bot_usage, one entry a model, and nowhere else --


def _bot_usage(turn: Turn) -> JSON:
    if turn.call.script.no_usage:
        return {}
    counted = usage(turn, turn.output)
    entry = {
        "name": "doubao-seed-1-6-250615",
        **{key: counted[key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")},
        "first_token_latency": 0,
    }
    action = {"name": "content_plugin", "action_name": "content_plugin", "count": 1}
    return {"bot_usage": {"model_usage": [entry], "action_usage": [action], "action_details": []}}


def _bot_check(call: Call) -> None:
    if not call.base_model.startswith("bot-"):
        raise Refusal("model", f"The bot {call.base_model} does not exist.")


def _bot_reply(turn: Turn, reply: JSON) -> JSON:
    reply.pop("usage", None)
    return reply | _bot_usage(turn) | {"references": []}


def _bot_chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    step.delta.setdefault("role", "assistant")
    return chunk | (_bot_usage(turn) if step.kind == "finish" else {})


BOTS = Style(fields=COMMON, check=_bot_check, reply=_bot_reply, chunk=_bot_chunk, closing=lambda turn: [], id=STYLE.id)


# -- embeddings --


async def multimodal(call: Call) -> web.StreamResponse:
    body = call.body
    check(
        body,
        {
            "model": Field(STR, required=True),
            "input": Field(LIST, required=True, least=1),
            "dimensions": Field(INT, least=1, most=2048),
            "encoding_format": Field(STR, choices=("float", "base64")),
        },
    )
    versioned(call)
    texts, pictures = [], 0
    for i, part in enumerate(body["input"]):
        kind = an_object(part, f"input[{i}]").get("type")
        if kind == "text":
            texts.append(str(part.get("text", "")))
        elif kind in ("image_url", "video_url") and isinstance(part.get(kind), dict):
            pictures += 1
            texts.append(str(part[kind].get("url", "")))
        else:
            raise Refusal("value", f"input[{i}].type: one of text, image_url, video_url", f"input[{i}].type")
    words = sum(map(content.tokens, texts)) - pictures
    seen = TOKENS_PER_IMAGE * pictures
    if call.script.zero_usage:
        words = seen = 0
    counted = {
        "prompt_tokens": words + seen,
        "total_tokens": words + seen,
        "prompt_tokens_details": {"text_tokens": words, "image_tokens": seen},
    }
    vector = content.vector(" ".join(texts), body.get("dimensions") or 1024)
    # All parts make one vector: `data` is an object, not a list.
    return await call.json(
        {
            "id": call.id("021"),
            "created": call.created,
            "object": "list",
            "model": call.model,
            "data": {"object": "embedding", "embedding": vectors.encode(vector, body.get("encoding_format"))},
            **({} if call.script.no_usage else {"usage": counted}),
        }
    )


_plain = vectors.embeddings(1024, most=256)


async def embeddings(call: Call) -> web.StreamResponse:
    given = call.body.get("input")
    if isinstance(given, list) and given and not all(isinstance(item, str) for item in given):
        raise Refusal("type", "input: expected a string or an array of strings", "input")
    if isinstance(call.body.get("model"), str):
        versioned(call)
    return await _plain(call)


async def tokenization(call: Call) -> web.StreamResponse:
    check(call.body, {"model": Field(STR, required=True), "text": Field((str, list), required=True)})
    texts = vectors.inputs(call.body["text"], "text")
    data = [
        {
            "object": "tokenization",
            "index": i,
            "total_tokens": content.tokens(text),
            "token_ids": list(range(content.tokens(text))),
            "offset_mapping": [],
        }
        for i, text in enumerate(texts)
    ]
    return await call.json(
        {"id": call.id("021"), "object": "list", "created": call.created, "model": call.model, "data": data}
    )


# -- Responses --


def _responses_usage(call: Call, answer: Answer) -> JSON:
    value = responses.usage(call, answer)
    value["input_tokens_details"] = {"cached_tokens": answer.cached}
    return value


def _extra(call: Call) -> JSON:
    body = call.body
    expires = body.get("expire_at") or call.created + STORED_SECONDS
    found: JSON = {"caching": body.get("caching") or {"type": "disabled"}, "expire_at": expires}
    return found | ({"thinking": body["thinking"]} if body.get("thinking") else {})


VARIANT = responses.Variant(ARK, usage=_responses_usage, extra=_extra, done=DONE)


def routes(prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(prefix[1:], bearer, render, headers)
    posts: dict[str, Any] = {
        "chat/completions": handler(STYLE),
        "batch/chat/completions": handler(STYLE),
        "context/create": create_context,
        "context/chat/completions": handler(CONTEXT),
        "bots/chat/completions": handler(BOTS),
        "embeddings": embeddings,
        "embeddings/multimodal": multimodal,
        "tokenization": tokenization,
        "images/generations": ark_images.generations,
    }
    return [
        *(web.post(f"{prefix}/api/v3/{path}", endpoint(vendor, handle)) for path, handle in posts.items()),
        *responses.routes(vendor, f"{prefix}/api/v3/responses", VARIANT),
        *anthropic.door_routes(vendor.id, f"{prefix}/api/coding", anthropic.Door(signed=False, pads=False)),
    ]
