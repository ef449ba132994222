"""DashScope's compatible doors: chat, embeddings, rerank, Responses, Messages."""

from __future__ import annotations

from aiohttp import web

from gateway.sandbox import anthropic, content, responses, vectors
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import JSON, Step, Style, Turn, handler, usage
from gateway.sandbox.chat_request import COMMON
from gateway.sandbox.check import BOOL, INT, NUM, Field
from gateway.sandbox.dashscope_request import check_choice, check_thinking
from gateway.sandbox.openai import models_routes
from gateway.sandbox.openai import render as render_openai
from gateway.sandbox.responses_request import FIELDS
from gateway.sandbox.script import split_model
from gateway.sandbox.vendor import Refusal, Vendor, bearer

MODELS = ("qwen-plus", "qwen-max", "qwen3-32b", "text-embedding-v4")
# What OpenAI calls otherwise: kind: status, type, code
OWN = {
    "filter": (400, "data_inspection_failed", "data_inspection_failed"),
    "balance": (400, "Arrearage", "Arrearage"),
    "rate": (429, "limit_requests", "limit_requests"),
    "server": (500, "internal_error", "internal_error"),
}


def render(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, value = render_openai(refusal, request_id)
    if refusal.kind in OWN:
        status, kind, code = OWN[refusal.kind]
        value["error"] |= {"type": kind, "code": code}
    return refusal.status or status, {**value, "request_id": request_id}


def headers(request_id: str) -> dict[str, str]:
    return {"x-request-id": request_id, "x-dashscope-call-gateway": "true"}


def _check(call: Call) -> None:
    body = call.body
    thinking = check_thinking(call.base_model, body.get("enable_thinking"), bool(body.get("stream")))
    check_choice(body.get("tool_choice"), thinking)


def _think(body: JSON) -> int:
    """By `enable_thinking`, or by the model."""
    return 8 if check_thinking(split_model(body["model"])[0], body.get("enable_thinking"), True) else 0


def _chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    if step.kind == "finish":
        step.delta["content"] = ""
    return chunk | {"usage": None, "system_fingerprint": None}


def _usage(turn: Turn, output: int) -> JSON:
    value = usage(turn, output)
    if not turn.answer.reasoning:
        del value["completion_tokens_details"]
    return value


STYLE = Style(
    fields=COMMON
    | {
        "temperature": Field(NUM, least=0, most=1.99),
        "n": Field(INT, least=1, most=4),
        "enable_thinking": Field(BOOL),
        "thinking_budget": Field(INT, least=1),
    },
    check=_check,
    think=_think,
    chunk=_chunk,
    usage=_usage,
    reply=lambda turn, reply: reply | {"system_fingerprint": None},
)


def _event(name: str, value: JSON) -> bytes:
    """As everywhere at this vendor: no space after the colons."""
    return f"event:{name}\n:HTTP_STATUS/200\ndata:{content.compact(value)}\n\n".encode()


def routes(prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(prefix[1:], bearer, render, headers)
    base = f"{prefix}/compatible-mode/v1"
    variant = responses.Variant(FIELDS, event=_event)
    return [
        web.post(f"{base}/chat/completions", endpoint(vendor, handler(STYLE))),
        web.post(f"{base}/embeddings", endpoint(vendor, vectors.embeddings(1024, most=10))),
        web.post(f"{prefix}/compatible-api/v1/reranks", endpoint(vendor, vectors.rerank_jina)),
        *models_routes(vendor, f"{base}/models", MODELS),
        *responses.routes(vendor, f"{prefix}/api/v2/apps/protocols/compatible-mode/v1/responses", variant),
        *responses.routes(vendor, f"{base}/responses", variant),
        *anthropic.door_routes(vendor.id, f"{prefix}/apps/anthropic", anthropic.Door(signed=False, pads=False)),
    ]
