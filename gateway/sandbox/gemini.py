"""Gemini as Google AI Studio serves it: generate and stream (SSE or a JSON array), count, embed, models."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from gateway.sandbox import content, gemini_openai, media
from gateway.sandbox.answer import Answer, compose
from gateway.sandbox.call import Call, Handle, endpoint
from gateway.sandbox.check import an_object
from gateway.sandbox.gemini_models import model_of
from gateway.sandbox.gemini_request import camel, invalid, signature
from gateway.sandbox.gemini_rules import read
from gateway.sandbox.vendor import Refusal, Vendor, is_bad

IDS = ("gemini",)
JSON = dict[str, Any]
MODELS = (
    "gemini-2.5-flash",
    "gemini-2.5-pro",
    "gemini-3-pro-preview",
    "gemini-2.5-flash-image",
    "gemini-embedding-001",
)
ERRORS = {
    "invalid": (400, "INVALID_ARGUMENT"),
    "auth": (400, "INVALID_ARGUMENT"),
    "no_key": (403, "PERMISSION_DENIED"),
    "permission": (403, "PERMISSION_DENIED"),
    "model": (404, "NOT_FOUND"),
    "rate": (429, "RESOURCE_EXHAUSTED"),
    "conflict": (409, "ABORTED"),
    "balance": (402, "FAILED_PRECONDITION"),
    "timeout": (504, "DEADLINE_EXCEEDED"),
    "server": (500, "INTERNAL"),
    "overloaded": (503, "UNAVAILABLE"),
}
FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "filter": "SAFETY"}
IMAGE_TOKENS = 1290
_INFO = "type.googleapis.com/google.rpc."


def render(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, name = refusal.row(ERRORS)
    status = refusal.status or status
    error: JSON = {"code": status, "message": refusal.message, "status": name}
    if name == "RESOURCE_EXHAUSTED":
        error["details"] = [{"@type": f"{_INFO}RetryInfo", "retryDelay": "1s"}]
    elif refusal.kind == "auth" and status == 400:
        error["details"] = [{"@type": f"{_INFO}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
    return status, {"error": error}


def render_in_array(refusal: Refusal, request_id: str) -> tuple[int, list[JSON]]:
    """Errors of the stream that is a JSON array are in an array too."""
    status, value = render(refusal, request_id)
    return status, [value]


def headers(request_id: str) -> dict[str, str]:
    return {
        "server-timing": "gfet4t7; dur=12",
        "x-content-type-options": "nosniff",
        "vary": "Origin, X-Origin, Referer",
    }


def auth(request: web.Request) -> None:
    """`x-goog-api-key`, `?key=` or an OAuth token."""
    key = request.headers.get("x-goog-api-key") or request.query.get("key") or ""
    token = request.headers.get("Authorization", "")
    if not key and token.startswith("Bearer "):
        if is_bad(token[7:]):
            raise Refusal("permission", "Request had invalid authentication credentials.", status=401)
        return
    if not key:
        raise Refusal(
            "no_key",
            "Method doesn't allow unregistered callers (callers without established identity). Please use "
            "API Key or other form of API consumer identity to call this API.",
        )
    if is_bad(key):
        raise Refusal("auth", "API key not valid. Please pass a valid API key.")


def _model(call: Call) -> str:
    if "no-such" in call.base_model:
        raise Refusal(
            "model",
            f"models/{call.base_model} is not found for API version v1beta, or is not supported for "
            "generateContent. Call ListModels to see the list of available models and their supported "
            "methods.",
        )
    return call.base_model


def _owner(call: Call) -> str:
    return f"{call.vendor.id}|{call.account}"


def _usage(answer: Answer, spoken: int, thought: int, image: bool) -> JSON:
    said = 0 if answer.zero else spoken + IMAGE_TOKENS * image
    thought = 0 if answer.zero else thought
    usage: JSON = {
        "promptTokenCount": answer.input,
        "candidatesTokenCount": said,
        "totalTokenCount": answer.input + said + thought,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": answer.input}],
    }
    if image:
        usage["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": said}]
    if thought:
        usage["thoughtsTokenCount"] = thought
    if answer.cached:
        usage["cachedContentTokenCount"] = answer.cached
        usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": answer.cached}]
    if not said:
        del usage["candidatesTokenCount"]
    return usage


class Turn:
    """One call while it is answered: its parts in order, and chunks around them."""

    def __init__(self, call: Call) -> None:
        self.call = call
        model = _model(call)
        body = camel(call.body)
        facts = model_of(model)
        prompt, wish, config, self.shown = read(body, _owner(call), facts)
        self.answer = compose(prompt, wish, call.script)
        self.said = prompt.said
        self.image = "IMAGE" in (config.get("responseModalities") or []) or "image" in model
        self.signs = bool(facts.levels)
        self.logprobs = config.get("logprobs") or 0 if config.get("responseLogprobs") else None
        self.count = config.get("candidateCount") or 1
        self.blocked = call.script.filter == "before"

    def parts(self) -> Iterator[tuple[JSON, int, int]]:
        """Each part, with the tokens spoken and thought up to it."""
        spoken = thought = 0
        for piece in content.pieces(self.answer.reasoning):
            thought += 1
            if self.shown:
                yield {"text": piece, "thought": True}, spoken, thought
        for piece in content.pieces(self.answer.text):
            spoken += 1
            yield {"text": piece}, spoken, thought
        if self.image and self.answer.finish == "stop":
            data = base64.b64encode(media.png(self.said, 1024, 1024, self.call.script.size or 0)).decode()
            inline = {"inlineData": {"mimeType": "image/png", "data": data}}
            yield {"text": data} if self.call.script.text_image else inline, spoken, thought
        if self.answer.calls:
            spoken = self.answer.output - content.tokens(self.answer.reasoning) if not self.answer.zero else 0
        for k in range(len(self.answer.calls)):
            yield self._call(k), spoken, thought
        if self.call.script.late_signature:
            name = self.answer.calls[0].name if self.answer.calls else ""
            yield {"text": "", "thoughtSignature": signature(name, _owner(self.call))}, spoken, thought

    def _call(self, k: int) -> JSON:
        one = self.answer.calls[k]
        part: JSON = {"functionCall": {"name": one.name, "args": one.arguments}}
        if one.said == "":
            del part["functionCall"]["args"]
        if self.signs:
            part["functionCall"]["id"] = self.call.id("", k, length=8)
            if k == 0 and not self.call.script.late_signature:
                part["thoughtSignature"] = signature(one.name, _owner(self.call))
        return part

    def _logprobs(self, parts: list[JSON]) -> JSON:
        """The tokens of the texts in these parts, and how likely they were."""
        words = [p for part in parts if not part.get("thought") for p in content.pieces(part.get("text", ""))]
        chosen = [{"token": word, "tokenId": i, "logProbability": -0.01} for i, word in enumerate(words)]
        others = [
            {"candidates": [{"token": word + "'" * k, "tokenId": k, "logProbability": round(-0.01 - 0.5 * k, 2)}
                            for k in range(self.logprobs or 0)]}
            for word in words
        ]  # fmt: skip
        result = {"chosenCandidates": chosen, **({"topCandidates": others} if self.logprobs else {})}
        return {"avgLogprobs": -0.01, "logprobsResult": result}

    def chunk(self, parts: list[JSON], spoken: int, thought: int, last: bool) -> JSON:
        candidate: JSON = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if not parts:
            del candidate["content"]["parts"]
        if self.logprobs is not None:
            candidate |= self._logprobs(parts)
        if last:
            candidate["finishReason"] = FINISH[self.answer.finish]
            if self.answer.calls:
                candidate["finishMessage"] = "Model generated function call(s)."
        value: JSON = {"candidates": [candidate]}
        if not self.call.script.no_usage:
            value["usageMetadata"] = _usage(self.answer, spoken, thought, self.image and last)
        return value | {"modelVersion": self.call.model, "responseId": self.call.id("", length=22)}

    def refused(self) -> JSON:
        """The prompt was blocked: no candidates."""
        value: JSON = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        if not self.call.script.no_usage:
            value["usageMetadata"] = {"promptTokenCount": self.answer.input, "totalTokenCount": self.answer.input}
        return value | {"modelVersion": self.call.model, "responseId": self.call.id("", length=22)}

    def whole(self) -> JSON:
        if self.blocked:
            return self.refused()
        found = list(self.parts())
        texts: dict[bool, str] = {}
        others = []
        for part, _, _ in found:
            if "text" in part and "thoughtSignature" not in part and not self._shows(part):
                thought = part.get("thought", False)
                texts[thought] = texts.get(thought, "") + part["text"]
            else:
                others.append(part)
        parts = [{"text": text, **({"thought": True} if thought else {})} for thought, text in texts.items()] + others
        _, spoken, _ = found[-1] if found else ({}, 0, 0)
        value = self.chunk(parts, spoken, self.answer.reasoning_tokens, True)
        first = value["candidates"][0]
        value["candidates"] = [{**first, "index": i} for i in range(self.count)]
        return value

    def _shows(self, part: JSON) -> bool:
        """Whether a text part is a picture in disguise: that is a part of its own."""
        return self.call.script.text_image and part["text"].startswith("iVBOR")

    def chunks(self) -> Iterator[JSON]:
        if self.blocked:
            yield self.refused()
            return
        found = list(self.parts())
        for i, (part, spoken, thought) in enumerate(found):
            yield self.chunk([part], spoken, thought, i == len(found) - 1)
        if not found:
            yield self.chunk([], 0, self.answer.reasoning_tokens, True)

    def broken(self) -> Iterator[JSON]:
        """The chunks, or as many as the script wants and then the vendor's error."""
        for i, chunk in enumerate(self.chunks()):
            if self.call.script.error200 == i:
                break
            yield chunk
        if self.call.script.error200 is not None:
            yield render(Refusal("overloaded", "The model is overloaded. Please try again later."), "")[1]


async def generate(call: Call) -> web.StreamResponse:
    return await call.json(Turn(call).whole())


async def stream_sse(call: Call) -> web.StreamResponse:
    turn = Turn(call)
    events = (b"data: " + content.spaced(chunk).encode() + b"\r\n\r\n" for chunk in turn.broken())
    return await call.events(events)


def _array(chunks: Iterator[JSON]) -> Iterator[bytes]:
    mark = b"["
    for chunk in chunks:
        yield mark + json.dumps(chunk, indent=2, ensure_ascii=False).encode()
        mark = b"\n,\r\n"


async def stream_array(call: Call) -> web.StreamResponse:
    turn = Turn(call)
    return await call.events(_array(turn.broken()), "application/json; charset=UTF-8", tail=b"\n]")


async def count(call: Call) -> web.StreamResponse:
    _model(call)
    body = camel(call.body)
    inner = body.get("generateContentRequest") or body
    prompt, wish, _, _ = read(inner, _owner(call), model_of(call.base_model))
    total = compose(prompt, wish, call.script).input
    return await call.json({"totalTokens": total, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": total}]})


def _embedding(request: JSON, path: str) -> tuple[JSON, int]:
    parts = an_object(an_object(request, path).get("content") or {}, f"{path}.content").get("parts")
    if not parts:
        raise invalid(f"* {path}.content: content is required\n", "missing")
    text = "".join(part.get("text", "") for part in parts)
    size = (
        request.get("outputDimensionality")
        or (request.get("embedContentConfig") or {}).get("outputDimensionality")
        or 768
    )
    if not isinstance(size, int) or not 1 <= size <= 3072:
        raise invalid(f"* {path}.output_dimensionality: must be in [1, 3072]\n", "value")
    return {"values": content.vector(text, size)}, content.tokens(text)


async def embed(call: Call) -> web.StreamResponse:
    _model(call)
    found, total = _embedding(camel(call.body), "EmbedContentRequest")
    return await call.json({"embedding": found, **_embed_usage(call, total)})


def _embed_usage(call: Call, total: int) -> JSON:
    if call.script.no_usage:
        return {}
    return {"usageMetadata": {"promptTokenCount": 0 if call.script.zero_usage else total}}


async def batch_embed(call: Call) -> web.StreamResponse:
    model = _model(call)
    requests = camel(call.body).get("requests")
    if not isinstance(requests, list) or not requests:
        raise invalid("* BatchEmbedContentsRequest.requests: requests is required\n", "missing")
    if len(requests) > 100:
        raise invalid("* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch\n")
    found = []
    for i, request in enumerate(requests):
        if (
            str(an_object(request, f"requests[{i}]").get("model", "")).removeprefix("models/").partition("+")[0]
            != model
        ):
            raise invalid(f"* BatchEmbedContentsRequest.requests[{i}].model: model must match the one of the batch\n")
        found.append(_embedding(request, f"BatchEmbedContentsRequest.requests[{i}]"))
    total = sum(tokens for _, tokens in found)
    return await call.json({"embeddings": [values for values, _ in found], **_embed_usage(call, total)})


def _model_object(name: str) -> JSON:
    methods = ["embedContent", "countTokens"] if "embedding" in name else ["generateContent", "countTokens"]
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "description": "Simulated",
        "inputTokenLimit": 1048576,
        "outputTokenLimit": 65536,
        "supportedGenerationMethods": methods,
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "maxTemperature": 2,
        "thinking": "embedding" not in name,
    }


async def models(call: Call) -> web.StreamResponse:
    return await call.json({"models": [_model_object(name) for name in MODELS]})


async def model(call: Call) -> web.StreamResponse:
    return await call.json(_model_object(_model(call)))


METHODS: dict[str, Handle] = {
    "generateContent": generate,
    "streamGenerateContent": stream_array,
    "countTokens": count,
    "embedContent": embed,
    "batchEmbedContents": batch_embed,
}


def routes(prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(prefix[1:], auth, render, headers)
    arrays = Vendor(prefix[1:], auth, render_in_array, headers)
    methods = {name: endpoint(vendor, handle) for name, handle in METHODS.items()}
    methods["streamGenerateContent"] = endpoint(arrays, stream_array)
    sse = endpoint(vendor, stream_sse)

    async def dispatch(request: web.Request) -> web.StreamResponse:
        """The model and the method share a segment; the colon may come percent-encoded."""
        name = request.match_info["method"]
        if name not in methods:
            raise web.HTTPNotFound
        chosen = sse if name == "streamGenerateContent" and request.query.get("alt") == "sse" else methods[name]
        return await chosen(request)

    found = gemini_openai.routes(vendor.id, prefix)
    for version in ("v1beta", "v1", "v1alpha"):
        base = f"{prefix}/{version}/{{kind:models|tunedModels}}"
        found += [
            web.get(f"{prefix}/{version}/models", endpoint(vendor, models)),
            web.get(f"{base}/{{model:[^:]+}}", endpoint(vendor, model)),
            web.post(f"{base}/{{model:[^:]+}}:{{method:[A-Za-z]+}}", dispatch),
        ]
    return found
