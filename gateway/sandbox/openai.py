"""OpenAI: chat, legacy completions, models; responses, vectors and media have files of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from gateway.sandbox import audio, content, images, responses, vectors
from gateway.sandbox.answer import Prompt, Wish, compose
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import DONE, JSON, Step, Style, Turn, handler, sse
from gateway.sandbox.chat import usage as common_usage
from gateway.sandbox.chat_request import COMMON, EFFORT, OPENAI, read_stops
from gateway.sandbox.check import ANY, INT, STR, Field, Fields, check, known_model
from gateway.sandbox.openai_rules import check_chat
from gateway.sandbox.vendor import Refusal, Vendor, bearer

IDS = ("openai",)
MODELS = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-5",
    "gpt-5-mini",
    "o4-mini",
    "text-embedding-3-small",
    "text-embedding-3-large",
    "gpt-image-1.5",
    "gpt-4o-mini-tts",
    "gpt-4o-mini-transcribe",
    "whisper-1",
)
# kind: status, type, code
ERRORS: dict[str, tuple[int, str, str | None]] = {
    "invalid": (400, "invalid_request_error", None),
    "json": (400, "invalid_request_error", None),
    "missing": (400, "invalid_request_error", "missing_required_parameter"),
    "type": (400, "invalid_request_error", "invalid_type"),
    "value": (400, "invalid_request_error", "invalid_value"),
    "unknown": (400, "invalid_request_error", "unknown_parameter"),
    "unsupported": (400, "invalid_request_error", "unsupported_parameter"),
    "filter": (400, "invalid_request_error", "content_policy_violation"),
    "auth": (401, "invalid_request_error", "invalid_api_key"),
    "no_key": (401, "invalid_request_error", None),
    "balance": (402, "insufficient_quota", "insufficient_quota"),
    "permission": (403, "invalid_request_error", "unsupported_country_region_territory"),
    "model": (404, "invalid_request_error", "model_not_found"),
    "path": (404, "invalid_request_error", None),
    "sealed": (400, "invalid_request_error", "invalid_encrypted_content"),
    "previous": (400, "invalid_request_error", "previous_response_not_found"),
    "conflict": (409, "invalid_request_error", "conflict"),
    "rate": (429, "requests", "rate_limit_exceeded"),
    "quota": (429, "insufficient_quota", "insufficient_quota"),
    "server": (500, "server_error", None),
    "overloaded": (503, "server_error", "overloaded"),
}


def render(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, kind, code = refusal.row(ERRORS)
    error = {"message": refusal.message, "type": kind, "param": refusal.param, "code": code}
    return refusal.status or status, {"error": error}


def headers(request_id: str) -> dict[str, str]:
    limits = {
        f"x-ratelimit-{what}-{unit}": value
        for unit, values in (("requests", ("10000", "9999", "6ms")), ("tokens", ("2000000", "1999000", "30ms")))
        for what, value in zip(("limit", "remaining", "reset"), values, strict=True)
    }
    return {
        "x-request-id": f"req_{request_id}",
        "openai-processing-ms": "12",
        "openai-version": "2020-10-01",
        "openai-organization": "sandbox",
        **limits,
    }


def _usage(turn: Turn, output: int) -> JSON:
    value = common_usage(turn, output)
    value["prompt_tokens_details"] |= {"audio_tokens": 0, "cache_write_tokens": 0}
    value["completion_tokens_details"] |= {
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }
    return value


def _reply(turn: Turn, reply: JSON) -> JSON:
    for choice in reply["choices"]:
        choice["message"] = {"refusal": None, **choice["message"], "annotations": []}
    return reply | {"service_tier": "default", "system_fingerprint": "fp_sandbox"}


def _chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    if step.kind == "role":
        step.delta["refusal"] = None
    chunk |= {"service_tier": "default", "system_fingerprint": "fp_sandbox"}
    if turn.asks_usage:
        chunk["usage"] = None
    if (turn.body.get("stream_options") or {}).get("include_obfuscation") is not False:
        chunk["obfuscation"] = content.letters(turn.id, step.spoken, length=1 + step.spoken % 8)
    return chunk


STYLE = Style(
    fields=OPENAI,
    strict=True,
    check=lambda call: check_chat(call.body, call.base_model),
    refusals=True,
    usage=_usage,
    reply=_reply,
    chunk=_chunk,
    shows_reasoning=False,
    think=lambda body: EFFORT[body.get("reasoning_effort") or "none"],
)

COMPLETIONS: Fields = {
    name: COMMON[name]
    for name in (
        "model",
        "temperature",
        "top_p",
        "n",
        "stream",
        "stream_options",
        "stop",
        "max_tokens",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "seed",
        "user",
    )
} | {
    "prompt": Field((str, list), required=True),
    "suffix": Field(STR),
    "echo": ANY,
    "best_of": Field(INT, least=1),
    "logprobs": Field(INT, least=0, most=5),
}


async def completions(call: Call) -> web.StreamResponse:
    body = call.body
    check(body, COMPLETIONS, strict=call.vendor.id in IDS)
    known_model(call.base_model)
    said = body["prompt"] if isinstance(body["prompt"], str) else " ".join(map(str, body["prompt"]))
    answer = compose(
        Prompt(said=said, tokens=content.tokens(said)),
        Wish(most=body.get("max_tokens"), stops=read_stops(body)),
        call.script,
    )
    base = {"id": call.id("cmpl-"), "object": "text_completion", "created": call.created, "model": call.model}
    finish = {"filter": "content_filter"}.get(answer.finish, answer.finish)
    usage = (
        None
        if call.script.no_usage
        else {
            "prompt_tokens": answer.input,
            "completion_tokens": answer.output,
            "total_tokens": answer.input + answer.output,
        }
    )
    choices = [
        {"text": answer.text, "index": i, "logprobs": None, "finish_reason": finish} for i in range(body.get("n") or 1)
    ]
    if not body.get("stream"):
        return await call.json({**base, "choices": choices, **({"usage": usage} if usage else {})})
    asks = bool((body.get("stream_options") or {}).get("include_usage"))

    def events() -> Iterator[bytes]:
        none: JSON = {"usage": None} if asks else {}
        for piece in content.pieces(answer.text):
            yield sse(
                {**base, "choices": [{"text": piece, "index": 0, "logprobs": None, "finish_reason": None}], **none}
            )
        yield sse({**base, "choices": [{"text": "", "index": 0, "logprobs": None, "finish_reason": finish}], **none})
        if asks and usage:
            yield sse({**base, "choices": [], "usage": usage})

    return await call.events(events(), tail=DONE)


def model_object(name: str, owner: str) -> JSON:
    return {"id": name, "object": "model", "created": 1700000000, "owned_by": owner}


def models_routes(vendor: Vendor, path: str, names: tuple[str, ...]) -> list[web.RouteDef]:
    """The list of models and each one of them."""

    async def listed(call: Call) -> web.StreamResponse:
        return await call.json({"object": "list", "data": [model_object(name, vendor.id) for name in names]})

    async def one(call: Call) -> web.StreamResponse:
        known_model(call.base_model)
        return await call.json(model_object(call.base_model, vendor.id))

    return [web.get(path, endpoint(vendor, listed)), web.get(path + "/{model:.+}", endpoint(vendor, one))]


def routes(prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(prefix[1:], bearer, render, headers)
    posts: dict[str, Any] = {
        "chat/completions": handler(STYLE),
        "completions": completions,
        "embeddings": vectors.embeddings(1536, strict=True),
        "images/generations": images.generations,
        "images/edits": images.edits,
        "audio/speech": audio.speech,
        "audio/transcriptions": audio.transcriptions,
    }
    return [
        *(web.post(f"{prefix}/v1/{path}", endpoint(vendor, handle)) for path, handle in posts.items()),
        *models_routes(vendor, f"{prefix}/v1/models", MODELS),
        *responses.routes(vendor, f"{prefix}/v1/responses"),
    ]
