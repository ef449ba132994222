"""Embeddings and rerank: the shapes of OpenAI, Jina, SiliconFlow and Cohere over the same vectors and scores."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gateway.sandbox import content
from gateway.sandbox.call import Call, Handle
from gateway.sandbox.check import ANY, BOOL, INT, LIST, STR, Field, Fields, check, fits, known_model
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
EMBEDDINGS: Fields = {
    "model": Field(STR, required=True),
    "input": Field((str, list), required=True, least=1),
    "encoding_format": Field(STR, choices=("float", "base64")),
    "dimensions": Field(INT, least=1, most=4096),
    "user": Field(STR),
}
RERANK: Fields = {
    "model": Field(STR, required=True),
    "query": Field(STR, required=True, least=1),
    "documents": Field(LIST, required=True, least=1, most=1000),
    "top_n": Field(INT, least=1),
    "return_documents": Field(BOOL),
}


def inputs(value: Any, path: str = "input", most: int = 2048) -> list[str]:
    """The texts of an `input`: strings, or token arrays as their text."""
    if isinstance(value, str):
        return [value]
    if value and all(fits(item, INT) for item in value):
        return [" ".join(map(str, value))]
    texts = [
        " ".join(map(str, item)) if isinstance(item, list) and all(fits(n, INT) for n in item) else item
        for item in value
    ]
    if not all(isinstance(text, str) and text for text in texts) or not texts:
        raise Refusal("value", f"'$.{path}' is invalid. Please check the API reference.", path)
    if len(texts) > most:
        raise Refusal("value", f"'$.{path}' is invalid: at most {most} items, got {len(texts)}.", path)
    return texts


def encode(values: Sequence[float], form: str | None) -> Any:
    """A vector as numbers, or as base64 of little-endian float32."""
    if form == "base64":
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    return list(values)


def counted(call: Call, total: int) -> JSON:
    """OpenAI's usage of calls without output, as the script wants it."""
    if call.script.no_usage:
        return {}
    total = 0 if call.script.zero_usage else total
    return {"usage": {"prompt_tokens": total, "total_tokens": total}}


def embeddings(dimensions: int, strict: bool = False, most: int = 2048) -> Handle:
    """OpenAI's embeddings with a vendor's default size and its largest batch."""

    async def handle(call: Call) -> web.StreamResponse:
        body = call.body
        check(body, EMBEDDINGS, strict)
        known_model(call.base_model)
        texts = inputs(body["input"], most=most)
        size = body.get("dimensions") or dimensions
        data = [
            {
                "object": "embedding",
                "index": i,
                "embedding": encode(content.vector(text, size), body.get("encoding_format")),
            }
            for i, text in enumerate(texts)
        ]
        total = sum(map(content.tokens, texts))
        return await call.json({"object": "list", "data": data, "model": call.model, **counted(call, total)})

    return handle


def ranked(query: str, documents: list[Any], most: int | None) -> tuple[list[tuple[int, float, str]], int]:
    """Index, score and text of each document, best first; and the tokens read."""
    texts = [document if isinstance(document, str) else str((document or {}).get("text", "")) for document in documents]
    scored = [(i, content.similarity(query, text), text) for i, text in enumerate(texts)]
    scored.sort(key=lambda row: (-row[1], row[0]))
    return scored[:most], content.tokens(query) * len(texts) + sum(map(content.tokens, texts))


def _read(call: Call, shows: bool = False) -> tuple[list[JSON], int, JSON]:
    body = call.body
    check(body, RERANK)
    known_model(call.base_model)
    for i, document in enumerate(body["documents"]):
        if not isinstance(document, (str, dict)):
            raise Refusal("type", f"Invalid type for 'documents[{i}]': expected a string.", f"documents[{i}]")
    rows, total = ranked(body["query"], body["documents"], body.get("top_n"))
    results: list[JSON] = [{"index": i, "relevance_score": score} for i, score, _ in rows]
    if body.get("return_documents", shows):
        for result, (_, _, text) in zip(results, rows, strict=True):
            result["document"] = {"text": text}
    return results, 0 if call.script.zero_usage else total, body


async def rerank_jina(call: Call) -> web.StreamResponse:
    results, total, _ = _read(call, shows=True)
    usage = {} if call.script.no_usage else {"usage": {"total_tokens": total}}
    return await call.json({"model": call.model, "object": "list", **usage, "results": results})


async def rerank_siliconflow(call: Call) -> web.StreamResponse:
    results, total, _ = _read(call)
    units = {"input_tokens": total, "output_tokens": 0}
    meta = (
        {}
        if call.script.no_usage
        else {"meta": {"billed_units": {**units, "search_units": 0, "classifications": 0}, "tokens": units}}
    )
    return await call.json({"id": call.id("rr_"), "results": results, **meta})


async def rerank_cohere(call: Call) -> web.StreamResponse:
    if not all(isinstance(document, str) for document in call.body.get("documents") or []):
        raise Refusal("type", "invalid type: parameter documents is of type object but should be of type string.")
    results, _, body = _read(call)
    units = 0 if call.script.zero_usage else -(-len(body["documents"]) // 100)
    version = {"api_version": {"version": "2" if "/v2/" in call.request.path else "1"}}
    billed = {} if call.script.no_usage else {"billed_units": {"search_units": units}}
    return await call.json({"id": call.id("", length=8), "results": results, "meta": {**version, **billed}})


COHERE_EMBED: Fields = {
    "model": Field(STR, required=True),
    "input_type": Field(
        STR, required=True, choices=("search_document", "search_query", "classification", "clustering", "image")
    ),
    "texts": Field(LIST, required=True, least=1, most=96),
    "embedding_types": Field(LIST),
    "output_dimension": Field(INT, least=1, most=1536),
    "truncate": ANY,
}


async def embed_cohere(call: Call) -> web.StreamResponse:
    body = call.body
    check(body, COHERE_EMBED)
    known_model(call.base_model)
    texts = inputs(body["texts"], "texts", 96)
    forms = body.get("embedding_types") or ["float"]
    if not set(forms) <= {"float", "base64"}:
        raise Refusal("value", "embedding_types: the simulated vendor knows float and base64.", "embedding_types")
    vectors = [content.vector(text, body.get("output_dimension") or 1024) for text in texts]
    total = 0 if call.script.zero_usage else sum(map(content.tokens, texts))
    meta: JSON = {"api_version": {"version": "2"}}
    if not call.script.no_usage:
        meta["billed_units"] = {"input_tokens": total}
    found = {form: [encode(vector, form) for vector in vectors] for form in forms}
    return await call.json(
        {
            "id": call.id("", length=8),
            "embeddings": found,
            "texts": texts,
            "meta": meta,
            "response_type": "embeddings_by_type",
        }
    )


async def rerank_zhipu(call: Call) -> web.StreamResponse:
    results, total, _ = _read(call)
    usage = {} if call.script.no_usage else {"usage": {"prompt_tokens": total, "total_tokens": total}}
    return await call.json(
        {
            "id": call.id("", length=28),
            "created": call.created,
            "request_id": call.request_id,
            "results": results,
            **usage,
        }
    )
