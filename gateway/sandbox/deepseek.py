"""DeepSeek: cache hits and misses, keep-alive comments, reasoning that must come back with its tool calls."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.sandbox import anthropic, content
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import JSON, Step, Style, Turn, handler, usage
from gateway.sandbox.chat_request import COMMON
from gateway.sandbox.check import OBJ, Field
from gateway.sandbox.openai import completions, models_routes
from gateway.sandbox.vendor import Refusal, Vendor, bearer

IDS = ("deepseek",)
MODELS = ("deepseek-chat", "deepseek-reasoner")
# kind: status, type, code
ERRORS = {
    "invalid": (400, "invalid_request_error", "invalid_request_error"),
    "type": (422, "invalid_request_error", "invalid_request_error"),
    "missing": (422, "invalid_request_error", "invalid_request_error"),
    "json": (400, "invalid_request_error", "invalid_request_error"),
    "filter": (400, "invalid_request_error", "content_filter"),
    "auth": (401, "authentication_error", "invalid_request_error"),
    "balance": (402, "unknown_error", "invalid_request_error"),
    "model": (400, "invalid_request_error", "invalid_request_error"),
    "rate": (429, "rate_limit_error", "rate_limit_reached"),
    "server": (500, "internal_error", "internal_error"),
    "overloaded": (503, "service_unavailable_error", "service_unavailable"),
}
KEEP_ALIVE = b": keep-alive\n\n"
CACHE_BLOCK = 64


def render(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, kind, code = refusal.row(ERRORS)
    message = "Model Not Exist" if refusal.kind == "model" else refusal.message
    return refusal.status or status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


def headers(request_id: str) -> dict[str, str]:
    return {"x-ds-trace-id": request_id}


def _think(body: JSON) -> int:
    enabled = (body.get("thinking") or {}).get("type") == "enabled"
    return 8 if enabled or "reasoner" in str(body.get("model")) else 0


def _check(call: Call) -> None:
    body = call.body
    form = body.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        raise Refusal("value", "This response_format type is unavailable now", "response_format")
    if not _think(body):
        return
    # Within one turn: the calls behind the last user message need their reasoning back.
    for message in reversed(body["messages"]):
        if not isinstance(message, dict) or message.get("role") == "user":
            return
        if message.get("tool_calls") and not isinstance(message.get("reasoning_content"), str):
            raise Refusal(
                "history",
                "Missing `reasoning_content` field in the assistant message at message index "
                f"{body['messages'].index(message)}.",
                "messages",
            )


def _usage(turn: Turn, output: int) -> JSON:
    value = usage(turn, output)
    # The script's number of cached tokens, else whole blocks of the prompt as the vendor caches them.
    hit = turn.answer.cached or turn.answer.input // CACHE_BLOCK * CACHE_BLOCK
    value["prompt_tokens_details"] = {"cached_tokens": hit}
    return value | {"prompt_cache_hit_tokens": hit, "prompt_cache_miss_tokens": turn.answer.input - hit}


def _chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    if step.kind == "text" and turn.answer.reasoning:
        step.delta["reasoning_content"] = None
    if step.kind == "finish":
        step.delta["content"] = ""
    counted = turn.usage() if step.kind == "finish" else None
    return chunk | {"system_fingerprint": "fp_sandbox", "usage": counted}


STYLE = Style(
    fields=COMMON | {"thinking": Field(OBJ)},
    check=_check,
    think=_think,
    usage=_usage,
    chunk=_chunk,
    closing=lambda turn: [],
    lead=KEEP_ALIVE,
    id=lambda call: content.digest(call.digest, "deepseek", length=32),
    reply=lambda turn, reply: reply | {"system_fingerprint": "fp_sandbox"},
    tool_id=lambda turn, k, name: f"call_{k:02}_{content.letters(turn.id, k, name)}",
)


def routes(prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(prefix[1:], bearer, render, headers)
    posts: dict[str, Any] = {"chat/completions": handler(STYLE), "completions": completions}
    found = anthropic.door_routes(vendor.id, f"{prefix}/anthropic", anthropic.Door(signed=False, pads=False))
    for base in (prefix, f"{prefix}/v1", f"{prefix}/beta"):
        found += [web.post(f"{base}/{path}", endpoint(vendor, handle)) for path, handle in posts.items()]
        found += models_routes(vendor, f"{base}/models", MODELS)
    return found
