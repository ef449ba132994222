"""SiliconFlow: usage in every chunk, and errors that are flat objects or bare strings."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.sandbox import anthropic, images, vectors
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import JSON, Step, Style, Turn, handler, usage
from gateway.sandbox.chat_request import COMMON
from gateway.sandbox.check import INT, STR, Field, check, known_model
from gateway.sandbox.openai import models_routes
from gateway.sandbox.vendor import Refusal, Vendor, bearer

IDS = ("siliconflow",)
MODELS = ("deepseek-ai/DeepSeek-V3", "Qwen/Qwen3-8B", "BAAI/bge-m3", "BAAI/bge-reranker-v2-m3")
# kind: status, code
ERRORS = {
    "invalid": (400, 20015),
    "filter": (400, 20050),
    "model": (400, 20012),
    "auth": (401, 20001),
    "balance": (403, 30001),
    "permission": (403, 20003),
    "path": (404, 20004),
    "rate": (429, 20006),
    "server": (500, 50000),
    "overloaded": (503, 50505),
    "timeout": (504, 50504),
}
BARE = {401: "Invalid token", 404: "404 page not found", 504: "Gateway Timeout"}


def render(refusal: Refusal, request_id: str) -> tuple[int, Any]:
    status, code = refusal.row(ERRORS)
    status = refusal.status or status
    if status in BARE:
        return status, BARE[status]
    message = "Model does not exist. Please check it carefully." if refusal.kind == "model" else refusal.message
    if status == 429:
        return status, {"message": message, "data": None}
    return status, {"code": code, "message": message, "data": None}


def headers(request_id: str) -> dict[str, str]:
    return {"x-siliconcloud-trace-id": f"ti_{request_id}"}


def _usage(turn: Turn, output: int) -> JSON:
    value = usage(turn, output)
    if "deepseek" in turn.call.model.lower():
        hit = turn.answer.cached
        value |= {"prompt_cache_hit_tokens": hit, "prompt_cache_miss_tokens": turn.answer.input - hit}
    return value


def _chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    del chunk["choices"][0]["logprobs"]
    step.delta.setdefault("role", "assistant")
    step.delta.setdefault("reasoning_content", None)
    step.delta.setdefault("content", "" if step.kind == "finish" else None)
    counted = turn.usage(step.spoken)
    return chunk | {"system_fingerprint": ""} | ({} if counted is None else {"usage": counted})


STYLE = Style(
    fields=COMMON | {"stop": Field((str, list), most=4), "n": Field(INT, least=1, most=1)},
    usage=_usage,
    chunk=_chunk,
    closing=lambda turn: [],
    id=lambda call: call.id("", length=32),
)


async def pictures(call: Call) -> web.StreamResponse:
    body = call.body
    check(
        body,
        {
            "model": Field(STR, required=True),
            "prompt": Field(STR, required=True, least=1),
            "image_size": Field(STR),
            "batch_size": Field(INT, least=1, most=4),
            "seed": Field(INT),
        },
    )
    known_model(call.base_model)
    if call.script.filter:
        raise Refusal("filter", "The prompt contains sensitive content.")
    width, height = images.sides(body.get("image_size") or "1024x1024")
    found = [{"url": images.url(call, str(i), width, height)} for i in range(body.get("batch_size") or 1)]
    return await call.json(
        {
            "images": found,
            "data": found,
            "created": call.created,
            "timings": {"inference": 0.5},
            "seed": body.get("seed", 1),
        }
    )


def routes(prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(prefix[1:], bearer, render, headers)
    posts: dict[str, Any] = {
        "chat/completions": handler(STYLE),
        "embeddings": vectors.embeddings(1024, most=32),
        "rerank": vectors.rerank_siliconflow,
        "images/generations": pictures,
    }
    return [
        *(web.post(f"{prefix}/v1/{path}", endpoint(vendor, handle)) for path, handle in posts.items()),
        *models_routes(vendor, f"{prefix}/v1/models", MODELS),
        *anthropic.door_routes(vendor.id, prefix, anthropic.Door(signed=False, pads=False)),
    ]
