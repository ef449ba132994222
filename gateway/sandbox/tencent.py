"""Tencent Hunyuan: the compatible door, and the native one (PascalCase, TC3 signature, errors always in HTTP 200)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web

from gateway.sandbox import content, vectors
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import JSON, Step, Style, Turn, handler, read, sse, steps, tool_calls, usage
from gateway.sandbox.chat_request import COMMON
from gateway.sandbox.check import BOOL, LIST, NUM, STR, Field, check, known_model
from gateway.sandbox.openai import models_routes
from gateway.sandbox.openai import render as render_openai
from gateway.sandbox.vendor import Refusal, Vendor, bearer, is_bad

IDS = ("tencent",)
MODELS = ("hunyuan-turbos-latest", "hunyuan-lite", "hunyuan-embedding")
NOTE = "以上内容为AI生成，不代表开发者立场，请勿删除或修改本标记"
FINISH = {"stop": "stop", "length": "stop", "tool_calls": "tool_calls", "filter": "sensitive"}
ERRORS = {
    "invalid": "InvalidParameter",
    "value": "InvalidParameterValue",
    "missing": "MissingParameter",
    "unknown": "UnknownParameter",
    "model": "InvalidParameterValue.Model",
    "auth": "AuthFailure.SignatureFailure",
    "no_key": "AuthFailure.InvalidAuthorization",
    "permission": "UnauthorizedOperation",
    "rate": "RequestLimitExceeded",
    "balance": "FailedOperation.ResourcePackExhausted",
    "server": "InternalError",
    "overloaded": "ResourceUnavailable",
    "action": "InvalidAction",
    "filter": "OperationDenied.TextIllegalDetected",
    "version": "NoSuchVersion",
}
TC3 = re.compile(
    r"TC3-HMAC-SHA256 Credential=(?P<id>[^/\s]+)/\d{4}-\d\d-\d\d/hunyuan/tc3_request, "
    r"SignedHeaders=[a-z0-9;-]+, Signature=[0-9a-f]{64}"
)
_CAMEL = re.compile(r"(?<!^)(?=[A-Z])")


def render_native(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    error = {"Code": refusal.row(ERRORS), "Message": refusal.message}
    return refusal.status or 200, {"Response": {"Error": error, "RequestId": request_id}}


def headers(request_id: str) -> dict[str, str]:
    return {"X-TC-RequestId": request_id}


def auth_native(request: web.Request) -> None:
    """The form of the TC3 signature and its headers; the signature itself is not recomputed."""
    for name in ("X-TC-Action", "X-TC-Version", "X-TC-Timestamp"):
        if not request.headers.get(name):
            raise Refusal("missing", f"The request is missing the required header `{name}`.")
    if request.headers["X-TC-Action"] not in ACTIONS:
        raise Refusal(
            "action", f"The specified action `{request.headers['X-TC-Action']}` is invalid or does not exist."
        )
    if request.headers["X-TC-Version"] != "2023-09-01":
        raise Refusal("version", "The specified version of the interface does not exist.")
    if not request.headers["X-TC-Timestamp"].isdigit():
        raise Refusal("value", "The header `X-TC-Timestamp` is not a Unix time.")
    found = TC3.fullmatch(request.headers.get("Authorization", ""))
    if not found:
        raise Refusal("no_key", "Authorization in the request header does not comply with the TC3-HMAC-SHA256 form.")
    if is_bad(found["id"]):
        raise Refusal(
            "auth", "The provided credentials could not be validated. Please check your signature is correct."
        )


def _limit(call: Call) -> None:
    if len(call.body["messages"]) > 40:
        raise Refusal("value", "messages: at most 40 messages", "messages")
    if call.body.get("tool_choice") == "required":
        raise Refusal("value", "tool_choice: one of none, auto, custom", "tool_choice")


def _chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    choice = chunk["choices"][0]
    del choice["logprobs"]
    step.delta.setdefault("role", "assistant")
    step.delta.setdefault("content", "")
    counted = turn.usage(step.spoken)
    return chunk | {"system_fingerprint": "", "note": NOTE} | ({} if counted is None else {"usage": counted})


STYLE = Style(
    fields=COMMON | {"enable_enhancement": Field(BOOL)},
    check=_limit,
    chunk=_chunk,
    keep_stop=True,
    finish=FINISH | {"length": "length"},
    closing=lambda turn: [],
    reply=lambda turn, r: r | {"note": NOTE},
    id=lambda call: content.digest(call.digest, "hunyuan", length=32),
)
# The native request under the names of the OpenAI dialect.
NATIVE = Style(
    fields={
        "model": Field(STR, required=True),
        "messages": Field(LIST, required=True, least=1),
        "temperature": Field(NUM, least=0, most=2),
        "top_p": Field(NUM, least=0, most=1),
        "stream": Field(BOOL),
        "tools": Field(LIST),
        "stop": Field(LIST, most=4),
    },
    check=_limit,
    finish=FINISH,
    keep_stop=True,
    id=lambda call: content.digest(call.digest, length=32),
)


def _snake(value: Any) -> Any:
    """A PascalCase request in snake_case; the values below a message's or tool's arguments are strings already."""
    if isinstance(value, list):
        return [_snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {_CAMEL.sub("_", key).lower(): _snake(item) for key, item in value.items()}
    if "contents" in found:
        found["content"] = found.pop("contents")
    if isinstance(found.get("parameters"), str):
        found["parameters"] = _schema(found["parameters"])
    return found


def _schema(text: str) -> JSON:
    try:
        value = json.loads(text)
    except ValueError:
        raise Refusal("value", "Tools.Function.Parameters is not JSON") from None
    return value if isinstance(value, dict) else {}


def _pascal(value: Any) -> Any:
    """A reply's object in PascalCase."""
    if isinstance(value, list):
        return [_pascal(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {"".join(word.capitalize() for word in key.split("_")): _pascal(item) for key, item in value.items()}


def _usage(turn: Turn, spoken: int) -> JSON:
    if turn.call.script.no_usage:
        return {}
    counted = usage(turn, min(spoken, turn.output))
    value = {
        "PromptTokens": counted["prompt_tokens"],
        "CompletionTokens": counted["completion_tokens"],
        "TotalTokens": counted["total_tokens"],
    }
    if turn.answer.cached:
        # The vendor's own type of this count is a string.
        value["PromptTokensDetails"] = {"CachedTokens": str(turn.answer.cached)}
    return {"Usage": value}


async def _chat(call: Call) -> web.StreamResponse:
    call.body = _snake(call.body)
    turn = read(call, NATIVE)
    if call.body.get("stream"):
        return await call.events(_events(turn))
    if call.script.error200 is not None:
        return await call.json(render_native(Refusal("server", "An internal error has occurred."), call.request_id)[1])
    answer = turn.answer
    message: JSON = {"Role": "assistant", "Content": answer.text}
    if answer.calls:
        message["ToolCalls"] = _pascal([{**one, "index": k} for k, one in enumerate(tool_calls(turn, answer))])
    if answer.reasoning:
        message["ReasoningContent"] = answer.reasoning
    choice = {"Index": 0, "FinishReason": NATIVE.finish[answer.finish], "Message": message}
    return await call.json(
        {
            "Response": {
                "RequestId": call.request_id,
                "Note": NOTE,
                "Choices": [choice],
                "Created": call.created,
                "Id": turn.id,
                **_usage(turn, turn.output),
            }
        }
    )


def _events(turn: Turn) -> Iterator[bytes]:
    """Without the Response around them, and without [DONE]."""
    for number, step in enumerate(steps(turn, 0, turn.answer)):
        if turn.call.script.error200 == number:
            break
        delta = _pascal({"role": "assistant", "content": "", **{k: v for k, v in step.delta.items() if v is not None}})
        choice = {"Index": 0, "FinishReason": step.finish or "", "Delta": delta}
        yield sse(
            {
                "Note": NOTE,
                "Choices": [choice],
                "Created": turn.call.created,
                "Id": turn.id,
                **_usage(turn, step.spoken),
            }
        )
    if turn.call.script.error200 is not None:
        yield from _broken(turn)


def _broken(turn: Turn) -> Iterable[bytes]:
    error = {"Msg": "internal error", "Code": 4001}
    return [sse({"Note": NOTE, "Choices": [], "Created": turn.call.created, "Id": turn.id, "ErrorMsg": error})]


async def _embedding(call: Call) -> web.StreamResponse:
    check(call.body, {"Input": Field(STR), "InputList": Field(LIST, most=200)})
    texts = call.body.get("InputList") or [call.body.get("Input") or ""]
    data = [
        {"Embedding": content.vector(str(text), 1024), "Index": i, "Object": "embedding"}
        for i, text in enumerate(texts)
    ]
    total = 0 if call.script.zero_usage else sum(content.tokens(str(text)) for text in texts)
    counted = {} if call.script.no_usage else {"Usage": {"PromptTokens": total, "TotalTokens": total}}
    return await call.json({"Response": {"Data": data, **counted, "RequestId": call.request_id}})


ACTIONS = {"ChatCompletions": _chat, "GetEmbedding": _embedding}


async def native(call: Call) -> web.StreamResponse:
    if call.model:
        known_model(call.base_model)
    return await ACTIONS[call.request.headers["X-TC-Action"]](call)


def routes(prefix: str) -> list[web.RouteDef]:
    compat = Vendor(prefix[1:], bearer, render_openai, headers)
    native_vendor = Vendor(prefix[1:], auth_native, render_native, headers)
    return [
        web.post(f"{prefix}/v1/chat/completions", endpoint(compat, handler(STYLE))),
        web.post(f"{prefix}/v1/embeddings", endpoint(compat, vectors.embeddings(1024, most=50))),
        *models_routes(compat, f"{prefix}/v1/models", MODELS),
        web.post(f"{prefix}/", endpoint(native_vendor, native)),
        web.post(prefix, endpoint(native_vendor, native)),
    ]
