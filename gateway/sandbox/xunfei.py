"""iFlytek Spark: answers with `code` and `sid`, without model or finish; errors in HTTP 200."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import JSON, Step, Style, Turn, handler, sse, usage
from gateway.sandbox.chat_request import COMMON
from gateway.sandbox.check import BOOL, NUM, Field
from gateway.sandbox.vendor import Refusal, Vendor, bearer

IDS = ("xunfei",)
# kind: status, code. Most of it comes in HTTP 200; a wrong key is told by the gate before.
ERRORS = {
    "invalid": (200, 10007),
    "filter": (200, 10013),
    "model": (200, 11200),
    "auth": (401, 11200),
    "rate": (200, 11202),
    "balance": (200, 11201),
    "server": (200, 10012),
    "overloaded": (200, 10110),
}


def render(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, code = refusal.row(ERRORS)
    if (refusal.status or status) == 401:
        error = {
            "message": "HMAC signature cannot be verified: fail to retrieve credential",
            "type": "api_error",
            "param": None,
            "code": None,
        }
        return 401, {"error": error}
    return refusal.status or status, {"code": code, "message": refusal.message, "sid": f"cha{request_id[:8]}@dx1"}


def _usage(turn: Turn, output: int) -> JSON:
    return {key: value for key, value in usage(turn, output).items() if not key.endswith("_details")}


def _calls(turn: Turn, message: JSON) -> None:
    """Without the switch, one call comes as an object, not as a list."""
    if message.get("tool_calls") and not turn.body.get("tool_calls_switch"):
        message["tool_calls"] = message["tool_calls"][0]


def _reply(turn: Turn, reply: JSON) -> JSON:
    for choice in reply["choices"]:
        _calls(turn, choice["message"])
    choices = [{"message": choice["message"], "index": choice["index"]} for choice in reply["choices"]]
    value = {"code": 0, "message": "Success", "sid": turn.id, "choices": choices}
    return value | {"usage": reply["usage"]} if "usage" in reply else value


def _chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    delta = {"role": "assistant", "content": "", **step.delta}
    delta["content"] = delta["content"] or ""
    _calls(turn, delta)
    value = {
        "code": 0,
        "message": "Success",
        "sid": turn.id,
        "id": turn.id,
        "created": turn.call.created,
        "choices": [{"delta": delta, "index": step.index}],
    }
    counted = turn.usage() if step.kind == "finish" else None
    return value if counted is None else value | {"usage": counted}


def _broken(turn: Turn) -> Iterable[bytes]:
    return [sse(_error_body(turn.call, Refusal("server", "internal error")))]


def _error_body(call: Call, refusal: Refusal) -> JSON:
    return {
        "code": ERRORS["server"][1],
        "message": "EngineInternalError:internal error",
        "sid": f"cha{call.request_id[:8]}@dx1",
    }


STYLE = Style(
    fields=COMMON | {"temperature": Field(NUM, least=0, most=2), "tool_calls_switch": Field(BOOL)},
    usage=_usage,
    whole_calls=True,
    reply=_reply,
    chunk=_chunk,
    closing=lambda turn: [],
    error_events=_broken,
    error_body=_error_body,
    id=lambda call: f"cha{call.id('', length=8)}@dx1",
)


def routes(prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(prefix[1:], bearer, render, lambda request_id: {})
    return [
        web.post(f"{prefix}/{version}/chat/completions", endpoint(vendor, handler(STYLE)))
        for version in ("v1", "v2", "x2", "agent/v1")
    ]
