"""Anthropic Messages, and the same door at vendors that offer it (Bearer keys, unsigned thinking)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.sandbox import content
from gateway.sandbox.answer import Answer, compose, fragments
from gateway.sandbox.anthropic_request import COUNTED, FIELDS, Reader, check, signature
from gateway.sandbox.anthropic_rules import expect_thinking, read_wish
from gateway.sandbox.call import Call, Handle, endpoint
from gateway.sandbox.check import known_model
from gateway.sandbox.vendor import Refusal, Vendor, is_bad

IDS = ("anthropic",)
JSON = dict[str, Any]
MODELS = ("claude-opus-5", "claude-sonnet-5", "claude-haiku-4-5")
# The last one is what the SDK of autumn 2026 sends.
VERSIONS = ("2023-01-01", "2023-06-01", "2026-10-21")
ERRORS = {
    "invalid": (400, "invalid_request_error"),
    "auth": (401, "authentication_error"),
    "balance": (402, "billing_error"),
    "permission": (403, "permission_error"),
    "model": (404, "not_found_error"),
    "too_large": (413, "request_too_large"),
    "rate": (429, "rate_limit_error"),
    "server": (500, "api_error"),
    "timeout": (504, "timeout_error"),
    "overloaded": (529, "overloaded_error"),
}
STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "filter": "refusal"}
STARTING_OUTPUT = 1


def render(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, kind = refusal.row(ERRORS)
    message = "Overloaded" if kind == "overloaded_error" else refusal.message
    # 503 is not in the vendor's list; its overload is 529.
    return refusal.status or status, {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": f"req_{request_id}",
    }


def headers(request_id: str) -> dict[str, str]:
    reset = "2030-01-01T00:00:00Z"
    limits = {
        f"anthropic-ratelimit-{unit}-{what}": value
        for unit, most in (
            ("requests", "4000"),
            ("tokens", "500000"),
            ("input-tokens", "400000"),
            ("output-tokens", "80000"),
        )
        for what, value in (("limit", most), ("remaining", most), ("reset", reset))
    }
    return {"request-id": f"req_{request_id}", "anthropic-organization-id": "sandbox", **limits}


def auth(request: web.Request) -> None:
    """`x-api-key`, or a Bearer token; then `anthropic-version`."""
    bearer = request.headers.get("Authorization", "")
    key = request.headers.get("x-api-key") or (bearer[7:] if bearer.startswith("Bearer ") else "")
    if not key:
        raise Refusal("no_key", "x-api-key header is required")
    if is_bad(key):
        raise Refusal("auth", "invalid x-api-key" if not bearer else "invalid bearer token")
    version = request.headers.get("anthropic-version")
    if not version:
        raise Refusal("version", "anthropic-version: header is required")
    if version not in VERSIONS:
        raise Refusal("version", f'anthropic-version: "{version}" is not a valid version')


def compatible_auth(request: web.Request) -> None:
    """The door of other vendors asks for the key only."""
    key = request.headers.get("x-api-key") or request.headers.get("Authorization", "").removeprefix("Bearer ")
    if is_bad(key):
        raise Refusal("auth", "invalid x-api-key")


@dataclass(frozen=True)
class Door:
    """`signed`: thinking carries signatures and must come back with them; `late`: true input counts only at the end."""

    signed: bool = True
    late: bool = False
    pads: bool = True


def _usage(call: Call, answer: Answer, reader: Reader) -> JSON:
    written = 0 if answer.zero else max(reader.marked - answer.cached, 0)
    return {
        "input_tokens": max(answer.input - answer.cached - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": answer.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": answer.output,
        "service_tier": "standard",
        **({"output_tokens_details": {"thinking_tokens": answer.reasoning_tokens}} if answer.reasoning else {}),
    }


def _owner(call: Call) -> str:
    """Whose signatures are good: those of this vendor for this account."""
    return f"{call.vendor.id}|{call.account}"


def _blocks(call: Call, answer: Answer, door: Door) -> list[JSON]:
    blocks: list[JSON] = []
    if call.script.redacted:
        blocks.append({"type": "redacted_thinking", "data": content.sealed(answer.reasoning or "hidden", _owner(call))})
    if answer.reasoning:
        sign = signature(answer.reasoning, _owner(call)) if door.signed else ""
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": sign})
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    for k, one in enumerate(answer.calls):
        blocks.append(
            {"type": "tool_use", "id": call.id("toolu_01", k, length=22), "name": one.name, "input": one.arguments}
        )
    return blocks


def handler(door: Door) -> Handle:
    async def handle(call: Call) -> web.StreamResponse:
        body = call.body
        check(body, FIELDS)
        if "no-such" in call.base_model:
            raise Refusal("model", f"model: {call.base_model}")
        reader = Reader(_owner(call), door.signed)
        prompt = reader.read(body)
        wish = read_wish(body, call.base_model)
        if door.signed:
            expect_thinking(body, reader.turns)
        answer = compose(prompt, wish, call.script)
        if call.script.filter == "before":
            answer.text, answer.calls, answer.finish = "", [], "filter"
        stop = "stop_sequence" if answer.stopped is not None else STOPS[answer.finish]
        usage = {} if call.script.no_usage else {"usage": _usage(call, answer, reader)}
        message = {
            "id": call.id("msg_01", length=22),
            "type": "message",
            "role": "assistant",
            "model": call.model,
            "content": _blocks(call, answer, door),
            "stop_reason": stop,
            "stop_sequence": answer.stopped,
            **usage,
        }
        if body.get("stream"):
            return await call.events(_stream(call, message, door), kind="text/event-stream; charset=utf-8")
        return await call.json(message)

    return handle


def _stream(call: Call, message: JSON, door: Door) -> Iterator[bytes]:
    for number, value in enumerate(_events(message, door)):
        if call.script.error200 == number:
            break
        last = value["type"] == "message_stop"
        if last and (call.script.end or call.script.cut):
            break
        yield _event(value, 3 * number % 16 if door.pads else 0)
    if call.script.error200 is not None:
        yield _event(
            {
                "type": "error",
                "error": {"type": "overloaded_error", "message": "Overloaded"},
                "request_id": f"req_{call.request_id}",
            },
            0,
        )


def _event(value: JSON, padding: int) -> bytes:
    """The vendor pads the JSON with spaces before the last brace, and writes its pings with a space."""
    data = content.spaced(value) if value["type"] == "ping" else content.compact(value)
    return f"event: {value['type']}\ndata: {data[:-1]}{' ' * padding}}}\n\n".encode()


def _events(message: JSON, door: Door) -> Iterator[JSON]:
    usage = message.get("usage")
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    if usage is not None:
        start["usage"] = {**usage, "output_tokens": min(STARTING_OUTPUT, usage["output_tokens"])}
        start["usage"].pop("output_tokens_details", None)
        if door.late:
            start["usage"] |= {"input_tokens": 0, "cache_read_input_tokens": 0}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(message["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": _EMPTY[block["type"]](block)}
        if index == 0:
            yield {"type": "ping"}
        for delta in _DELTAS[block["type"]](block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    final: JSON = {"type": "message_delta", "delta": {key: message[key] for key in ("stop_reason", "stop_sequence")}}
    if usage is not None:
        kept = (
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
            "output_tokens",
            "output_tokens_details",
        )
        final["usage"] = {key: usage[key] for key in kept if key in usage}
    yield final
    yield {"type": "message_stop"}


def _thinking_deltas(block: JSON) -> Iterator[JSON]:
    for piece in content.pieces(block["thinking"]):
        yield {"type": "thinking_delta", "thinking": piece}
    if block["signature"]:
        yield {"type": "signature_delta", "signature": block["signature"]}


def _tool_deltas(block: JSON) -> Iterator[JSON]:
    arguments = content.spaced(block["input"]) if block["input"] else ""
    for part in itertools.chain([""], fragments(arguments)) if arguments else ():
        yield {"type": "input_json_delta", "partial_json": part}


_EMPTY: dict[str, Callable[[JSON], JSON]] = {
    "text": lambda block: {"type": "text", "text": ""},
    "thinking": lambda block: {"type": "thinking", "thinking": "", "signature": ""},
    "redacted_thinking": lambda block: block,
    "tool_use": lambda block: {**block, "input": {}},
}
_DELTAS: dict[str, Callable[[JSON], Iterator[JSON]]] = {
    "text": lambda block: ({"type": "text_delta", "text": piece} for piece in content.pieces(block["text"])),
    "thinking": _thinking_deltas,
    "redacted_thinking": lambda block: iter(()),
    "tool_use": _tool_deltas,
}


async def count_tokens(call: Call) -> web.StreamResponse:
    body = call.body
    check(body, COUNTED)
    if "no-such" in call.base_model:
        raise Refusal("model", f"model: {call.base_model}")
    prompt = Reader(_owner(call), False).read(body)
    wish = read_wish(body, call.base_model)
    return await call.json({"input_tokens": compose(prompt, wish, call.script).input})


def _model(name: str) -> JSON:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "lifecycle": "active",
        "created_at": "2025-01-01T00:00:00Z",
    }


async def models(call: Call) -> web.StreamResponse:
    return await call.json(
        {"data": [_model(name) for name in MODELS], "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
    )


async def model(call: Call) -> web.StreamResponse:
    known_model(call.base_model)
    return await call.json(_model(call.base_model))


def door_routes(vendor_id: str, path: str, door: Door) -> list[web.RouteDef]:
    """Messages at another vendor, below its path."""
    vendor = Vendor(vendor_id, compatible_auth, render, headers)
    return [
        web.post(f"{path}/v1/messages", endpoint(vendor, handler(door))),
        web.post(f"{path}/v1/messages/count_tokens", endpoint(vendor, count_tokens)),
    ]


def routes(prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(prefix[1:], auth, render, headers)
    return [
        web.post(f"{prefix}/v1/messages", endpoint(vendor, handler(Door()))),
        web.post(f"{prefix}/v1/messages/count_tokens", endpoint(vendor, count_tokens)),
        web.get(f"{prefix}/v1/models", endpoint(vendor, models)),
        web.get(f"{prefix}/v1/models/{{model:.+}}", endpoint(vendor, model)),
    ]
