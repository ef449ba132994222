"""Gemini's door for the OpenAI dialect: usage in every chunk, and thinking missing from completion_tokens."""

from __future__ import annotations

from aiohttp import web

from gateway.sandbox.call import endpoint
from gateway.sandbox.chat import JSON, Step, Style, Turn, handler
from gateway.sandbox.openai import render
from gateway.sandbox.vectors import embeddings
from gateway.sandbox.vendor import Vendor, bearer


def _usage(turn: Turn, output: int) -> JSON:
    thought = min(turn.answer.reasoning_tokens, output)
    return {
        "prompt_tokens": turn.answer.input,
        "completion_tokens": output - thought,
        "total_tokens": turn.answer.input + output,
    }


def _chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    counted = turn.usage(step.spoken)
    return chunk if counted is None else chunk | {"usage": counted}


def routes(vendor_id: str, prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(vendor_id, bearer, render, lambda request_id: {"server-timing": "gfet4t7; dur=12"})
    style = Style(usage=_usage, chunk=_chunk, closing=lambda turn: [], shows_reasoning=False)
    return [
        web.post(f"{prefix}/v1beta/openai/chat/completions", endpoint(vendor, handler(style))),
        web.post(f"{prefix}/v1beta/openai/embeddings", endpoint(vendor, embeddings(768))),
    ]
