"""Jina and Cohere: rerank and embeddings, each in its own shape."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.sandbox import vectors
from gateway.sandbox.call import endpoint
from gateway.sandbox.chat import JSON
from gateway.sandbox.vendor import Refusal, Vendor, bearer

IDS = ("jina", "cohere")
STATUS = {
    "invalid": 400,
    "auth": 401,
    "balance": 402,
    "permission": 403,
    "model": 404,
    "rate": 429,
    "server": 500,
    "overloaded": 503,
    "timeout": 504,
}


def render_jina(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status = 422 if refusal.kind in ("missing", "type", "value") else refusal.row(STATUS)
    return refusal.status or status, {"detail": refusal.message}


def render_cohere(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    return refusal.status or refusal.row(STATUS), {"id": request_id, "message": refusal.message}


PATHS: dict[str, dict[str, Any]] = {
    "jina": {"v1/rerank": vectors.rerank_jina, "v1/embeddings": vectors.embeddings(1024)},
    "cohere": {
        "v1/rerank": vectors.rerank_cohere,
        "v2/rerank": vectors.rerank_cohere,
        "v2/embed": vectors.embed_cohere,
    },
}
RENDER = {"jina": render_jina, "cohere": render_cohere}


def routes(prefix: str) -> list[web.RouteDef]:
    name = prefix[1:]
    vendor = Vendor(name, bearer, RENDER[name], lambda request_id: {"x-request-id": request_id})
    return [web.post(f"{prefix}/{path}", endpoint(vendor, handle)) for path, handle in PATHS[name].items()]
