"""Vendors of the OpenAI dialect with a few words of their own: Baidu Qianfan, Lingyi, StepFun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.sandbox import content, images, vectors
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import JSON, Step, Style, Turn, handler, usage
from gateway.sandbox.chat_request import COMMON
from gateway.sandbox.check import INT, NUM, STR, Field, check, known_model
from gateway.sandbox.openai import ERRORS as OPENAI_ERRORS
from gateway.sandbox.openai import models_routes
from gateway.sandbox.openai import render as render_openai
from gateway.sandbox.vendor import Refusal, Vendor, bearer

IDS = ("baidu", "lingyi", "stepfun")

# kind: status, code
QIANFAN = {
    "invalid": (400, "invalid_argument"),
    "json": (400, "malformed_json"),
    "model": (404, "invalid_model"),
    "filter": (400, "sensitive_content"),
    "auth": (401, "invalid_iam_token"),
    "balance": (403, "account_overdue"),
    "permission": (403, "permission_denied"),
    "rate": (429, "rpm_rate_limit_exceeded"),
    "server": (500, "internal_error"),
    "overloaded": (503, "server_overloaded"),
}


def render_baidu(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, code = refusal.row(QIANFAN)
    kind = OPENAI_ERRORS.get(refusal.kind, OPENAI_ERRORS["invalid"])[1]
    error = {"code": code, "message": refusal.message, "type": kind}
    return refusal.status or status, {"error": error, "id": f"as-{request_id[:10]}"}


def render_stepfun(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, value = render_openai(refusal, request_id)
    return status, {
        "error": {"message": value["error"]["message"], "type": value["error"]["code"] or "request_params_invalid"}
    }


def _short(turn: Turn, output: int) -> JSON:
    """The three counters alone."""
    return {key: value for key, value in usage(turn, output).items() if not key.endswith("_details")}


def _baidu_chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    choice = chunk["choices"][0] | {"flag": 0}
    del choice["logprobs"]
    every = bool((turn.body.get("stream_options") or {}).get("chunk_include_usage"))
    if step.finish is None:
        del choice["finish_reason"]
    counted = turn.usage(step.spoken) if every or step.finish and turn.asks_usage else None
    return chunk | {"choices": [choice]} | ({} if counted is None else {"usage": counted})


def _baidu_reply(turn: Turn, reply: JSON) -> JSON:
    for choice in reply["choices"]:
        choice |= {"flag": 0, "ban_round": 0, "need_clear_history": turn.answer.finish == "filter"}
        del choice["logprobs"]
    return reply


def _lingyi_chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    """The finish chunk has the whole text at the top, earlier ones their piece."""
    choice = chunk["choices"][0]
    del choice["logprobs"]
    if step.finish is None:
        del choice["finish_reason"]
        return chunk | {"content": step.delta.get("content") or "", "lastOne": False}
    counted = turn.usage()
    return chunk | {"content": turn.answer.text, **({} if counted is None else {"usage": counted}), "lastOne": True}


def _stepfun_chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    choice = chunk["choices"][0]
    del choice["logprobs"]
    choice["finish_reason"] = step.finish or ""
    step.delta["role"] = "assistant" if step.kind == "role" else ""
    if step.kind == "reasoning":
        step.delta.update({"reasoning": step.delta["reasoning_content"], "content": ""})
    counted = turn.usage(step.spoken)
    return chunk if counted is None else chunk | {"usage": counted}


def _stepfun_reply(turn: Turn, reply: JSON) -> JSON:
    for choice in reply["choices"]:
        if "reasoning_content" in choice["message"]:
            choice["message"]["reasoning"] = choice["message"]["reasoning_content"]
    return reply


def _stepfun_usage(turn: Turn, output: int) -> JSON:
    return usage(turn, output) | {"cached_tokens": turn.answer.cached}


@dataclass(frozen=True)
class Small:
    """A vendor's paths, errors and style."""

    base: str
    models: tuple[str, ...]
    style: Style
    render: Callable[[Refusal, str], tuple[int, Any]]
    header: str
    more: tuple[str, ...] = ()


async def pictures(call: Call) -> web.StreamResponse:
    body = call.body
    check(
        body,
        {
            "model": Field(STR, required=True),
            "prompt": Field(STR, required=True, least=1),
            "size": Field(STR),
            "n": Field(INT, least=1, most=4),
        },
    )
    known_model(call.base_model)
    if call.script.filter:
        raise Refusal("filter", "the prompt or the picture is sensitive")
    width, height = images.sides(body.get("size") or "1024x1024")
    data = [{"url": images.url(call, str(i), width, height)} for i in range(body.get("n") or 1)]
    return await call.json({"id": call.id("as-", length=10), "created": call.created, "data": data})


MORE: dict[str, Any] = {
    "embeddings": vectors.embeddings(1024, most=16),
    "rerank": vectors.rerank_jina,
    "images/generations": pictures,
}
SMALL = {
    "baidu": Small(
        "/v2",
        ("ernie-5.0", "ernie-4.5-turbo-128k", "bge-large-zh"),
        Style(
            fields=COMMON | {"temperature": Field(NUM, least=0.01, most=1), "n": Field(INT, least=1, most=1)},
            usage=usage,
            chunk=_baidu_chunk,
            reply=_baidu_reply,
            closing=lambda turn: [],
            id=lambda call: call.id("as-", length=10),
        ),
        render_baidu,
        "x-bce-request-id",
        tuple(MORE),
    ),
    "lingyi": Small(
        "/v1",
        ("yi-lightning", "yi-large"),
        Style(usage=_short, chunk=_lingyi_chunk, closing=lambda turn: [], id=lambda call: call.id("cmpl-", length=8)),
        render_openai,
        "x-request-id",
    ),
    "stepfun": Small(
        "/v1",
        ("step-3.5-flash", "step-2-mini"),
        Style(
            usage=_stepfun_usage,
            chunk=_stepfun_chunk,
            reply=_stepfun_reply,
            closing=lambda turn: [],
            id=lambda call: content.digest(call.digest, "stepfun", length=32),
        ),
        render_stepfun,
        "X-Trace-Id",
    ),
}


def routes(prefix: str) -> list[web.RouteDef]:
    small = SMALL[prefix[1:]]
    vendor = Vendor(prefix[1:], bearer, small.render, lambda request_id: {small.header: request_id})
    base = prefix + small.base
    return [
        web.post(f"{base}/chat/completions", endpoint(vendor, handler(small.style))),
        *(web.post(f"{base}/{path}", endpoint(vendor, MORE[path])) for path in small.more),
        *models_routes(vendor, f"{base}/models", small.models),
    ]
