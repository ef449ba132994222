"""Moonshot (Kimi): usage inside the finish choice, and at the top too with include_usage; token counting; balance."""

from __future__ import annotations

import re

from aiohttp import web

from gateway.sandbox import anthropic
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import JSON, Step, Style, Turn, handler, usage
from gateway.sandbox.chat_request import COMMON, read_messages
from gateway.sandbox.check import LIST, NUM, OBJ, STR, Field, check, known_model
from gateway.sandbox.openai import models_routes
from gateway.sandbox.vendor import Refusal, Vendor, bearer

IDS = ("moonshot",)
MODELS = ("kimi-k2.5", "kimi-k2-turbo-preview", "moonshot-v1-8k")
_THINKS = re.compile(r"kimi-k(?:2\.[5-9]|[3-9])")
ERRORS = {
    "invalid": (400, "invalid_request_error"),
    "filter": (400, "content_filter"),
    "auth": (401, "invalid_authentication_error"),
    "permission": (403, "permission_denied_error"),
    "model": (404, "resource_not_found_error"),
    "balance": (429, "exceeded_current_quota_error"),
    "rate": (429, "rate_limit_reached_error"),
    "server": (500, "server_error"),
    "overloaded": (429, "engine_overloaded_error"),
}


def render(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, kind = refusal.row(ERRORS)
    return refusal.status or status, {"error": {"message": refusal.message, "type": kind}}


def headers(request_id: str) -> dict[str, str]:
    return {"Msh-Request-Id": request_id, "X-Msh-Trace-Id": request_id}


def _thinks(body: JSON) -> bool:
    """K2.5 and later think unless told not to, the -thinking models always, others never."""
    model = str(body.get("model"))
    asked = (body.get("thinking") or {}).get("type")
    return "thinking" in model or _THINKS.match(model) is not None and asked != "disabled"


def _check(call: Call) -> None:
    body = call.body
    if body.get("tool_choice") == "required":
        raise Refusal("value", "tool_choice 'required' is not supported", "tool_choice")
    if not _thinks(body):
        return
    if isinstance(body.get("tool_choice"), dict):
        raise Refusal("value", "tool_choice 'specified' is incompatible with thinking enabled", "tool_choice")
    for i, message in enumerate(body["messages"]):
        if isinstance(message, dict) and message.get("tool_calls") and not message.get("reasoning_content"):
            raise Refusal(
                "history",
                f"thinking is enabled but reasoning_content is missing in assistant tool call message at index {i}",
                "messages",
            )


def _usage(turn: Turn, output: int) -> JSON:
    value = usage(turn, output)
    del value["completion_tokens_details"]
    value["prompt_tokens_details"]["cache_write_tokens"] = 0
    return value | {"cached_tokens": turn.answer.cached}


def _chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    choice = chunk["choices"][0]
    del choice["logprobs"]
    counted = turn.usage() if step.kind == "finish" else None
    if counted is not None:
        choice["usage"] = counted
    return chunk | {"system_fingerprint": "fpv0_sandbox"}


STYLE = Style(
    fields=COMMON
    | {
        "temperature": Field(NUM, least=0, most=1),
        "thinking": Field(OBJ),
        "n": Field((int,), least=1, most=5),
        "stop": Field((str, list), most=5),
    },
    check=_check,
    think=lambda body: 8 if _thinks(body) else 0,
    usage=_usage,
    chunk=_chunk,
    tool_id=lambda turn, k, name: f"{name}:{k}",
)


async def estimate(call: Call) -> web.StreamResponse:
    check(call.body, {"model": Field(STR, required=True), "messages": Field(LIST, required=True, least=1)})
    known_model(call.base_model)
    return await call.json(
        {
            "code": 0,
            "data": {"total_tokens": read_messages(call.body["messages"]).tokens},
            "scode": "0x0",
            "status": True,
        }
    )


async def balance(call: Call) -> web.StreamResponse:
    amounts = {"available_balance": 49.5, "voucher_balance": 46.5, "cash_balance": 3.0}
    return await call.json({"code": 0, "data": amounts, "scode": "0x0", "status": True})


def routes(prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(prefix[1:], bearer, render, headers)
    return [
        web.post(f"{prefix}/v1/chat/completions", endpoint(vendor, handler(STYLE))),
        web.post(f"{prefix}/v1/tokenizers/estimate-token-count", endpoint(vendor, estimate)),
        web.get(f"{prefix}/v1/users/me/balance", endpoint(vendor, balance)),
        *models_routes(vendor, f"{prefix}/v1/models", MODELS),
        *anthropic.door_routes(vendor.id, f"{prefix}/anthropic", anthropic.Door(signed=False, pads=False)),
    ]
