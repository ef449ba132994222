"""Zhipu (GLM): usage on the finish chunk, numeric error codes as strings, failures told by finish_reason."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from gateway.sandbox import anthropic, images, responses, vectors
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import DONE, FINISH, JSON, Step, Style, Turn, handler, head, sse, usage
from gateway.sandbox.chat_request import COMMON
from gateway.sandbox.check import LIST, NUM, STR, Field, check, known_model
from gateway.sandbox.responses_request import FIELDS
from gateway.sandbox.vendor import Refusal, Vendor, is_bad

IDS = ("zhipu",)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
# kind: status, code
ERRORS = {
    "invalid": (400, "1213"),
    "value": (400, "1214"),
    "json": (400, "1210"),
    "model": (400, "1211"),
    "filter": (400, "1301"),
    "auth": (401, "1000"),
    "no_key": (401, "1001"),
    "balance": (429, "1113"),
    "permission": (403, "1220"),
    "rate": (429, "1302"),
    "server": (500, "500"),
    "overloaded": (429, "1305"),
}


def render(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, code = refusal.row(ERRORS)
    error: JSON = {"error": {"code": code, "message": refusal.message}}
    if code == "1301":
        error["contentFilter"] = [{"level": 1, "role": "user"}]
    return refusal.status or status, error


def headers(request_id: str) -> dict[str, str]:
    return {"x-log-id": request_id}


def auth(request: web.Request) -> None:
    """A Bearer key, or the raw key or token without the word."""
    key = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    if not key:
        raise Refusal("no_key", "Header中未收到Authorization参数，无法进行身份验证。")
    if is_bad(key):
        raise Refusal("auth", "身份验证失败。")


def _check(call: Call) -> None:
    _accept_bare_pictures(call.body["messages"])
    if call.body.get("tool_choice") not in (None, "auto"):
        raise Refusal("value", "tool_choice 参数非法，仅支持 auto", "tool_choice")
    form = call.body.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        raise Refusal("value", "response_format 参数非法", "response_format")


def _accept_bare_pictures(messages: Any) -> None:
    """Here a picture may be base64 without the words of a data URL; the vendor's own SDK takes them off."""
    parts = [part for message in messages if isinstance(message, dict) for part in _list(message.get("content"))]
    for part in parts:
        picture = part.get("image_url") if isinstance(part, dict) else None
        url = picture.get("url") if isinstance(picture, dict) else None
        if isinstance(url, str) and _BASE64.fullmatch(url):
            part["image_url"] = {"url": f"data:image/png;base64,{url}"}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _usage(turn: Turn, output: int) -> JSON:
    value = usage(turn, output)
    del value["completion_tokens_details"]
    return value


def _chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    del chunk["object"]
    choice = chunk["choices"][0]
    del choice["logprobs"]
    step.delta["role"] = "assistant"
    if step.finish is None:
        del choice["finish_reason"]
        return chunk
    step.delta["content"] = ""
    counted = turn.usage()
    return chunk if counted is None else chunk | {"usage": counted}


def _failed(turn: Turn) -> Iterable[bytes]:
    """A failure in a stream: there is no error object, only this finish_reason."""
    choice = {"index": 0, "finish_reason": "network_error", "delta": {"role": "assistant", "content": ""}}
    chunk = {**head(turn, ""), "choices": [choice]}
    del chunk["object"]
    return [sse(chunk), DONE]


STYLE = Style(
    fields=COMMON | {"temperature": Field(NUM, least=0, most=1), "stop": Field(LIST, most=1)},
    check=_check,
    usage=_usage,
    finish=FINISH | {"filter": "sensitive"},
    chunk=_chunk,
    closing=lambda turn: [],
    whole_calls=True,
    id=lambda call: call.id("2026", length=28),
    error_events=_failed,
    reply=lambda turn, reply: reply | {"request_id": turn.id},
)


async def pictures(call: Call) -> web.StreamResponse:
    body = call.body
    check(
        body,
        {
            "model": Field(STR, required=True),
            "prompt": Field(STR, required=True, least=1),
            "size": Field(STR),
            "quality": Field(STR, choices=("hd", "standard")),
        },
    )
    known_model(call.base_model)
    width, height = images.sides(body.get("size") or "1024x1024", (0, 0))
    if not all(512 <= side <= 2048 and side % 16 == 0 for side in (width, height)):
        raise Refusal("value", "size 参数非法", "size")
    if call.script.filter:
        raise Refusal(
            "filter",
            "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语，感谢您的配合。",
        )
    return await call.json(
        {
            "created": call.created,
            "data": [{"url": images.url(call, "0", width, height)}],
            "content_filter": [{"role": "user", "level": 3}],
        }
    )


def routes(prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(prefix[1:], auth, render, headers)
    posts: dict[str, Any] = {
        "chat/completions": handler(STYLE),
        "embeddings": vectors.embeddings(2048, most=64),
        "rerank": vectors.rerank_zhipu,
        "images/generations": pictures,
    }
    found = [web.post(f"{prefix}/api/paas/v4/{path}", endpoint(vendor, handle)) for path, handle in posts.items()]
    found.append(web.post(f"{prefix}/api/coding/paas/v4/chat/completions", endpoint(vendor, handler(STYLE))))
    found += anthropic.door_routes(
        vendor.id, f"{prefix}/api/anthropic", anthropic.Door(signed=False, late=True, pads=False)
    )
    return found + responses.routes(vendor, f"{prefix}/api/v1/responses", responses.Variant(FIELDS))
