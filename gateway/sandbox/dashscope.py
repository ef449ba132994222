"""Alibaba DashScope's native protocol: chat, embeddings, rerank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from gateway.sandbox import content, dashscope_compatible, dashscope_media, vectors
from gateway.sandbox.answer import TOKENS_PER_IMAGE, Answer, by_turns, compose, fragments
from gateway.sandbox.call import Call, Handle, endpoint
from gateway.sandbox.check import BOOL, INT, LIST, STR, Field, an_object, check
from gateway.sandbox.dashscope_request import (
    PARAMETERS,
    TOP,
    check_path,
    check_thinking,
    read_prompt,
    read_wish,
    thinks_by_switch,
)
from gateway.sandbox.vendor import Refusal, Vendor, bearer

IDS = ("ali",)
JSON = dict[str, Any]
# kind: status, code
ERRORS = {
    "invalid": (400, "InvalidParameter"),
    "auth": (401, "InvalidApiKey"),
    "filter": (400, "DataInspectionFailed"),
    "balance": (400, "Arrearage"),
    "permission": (403, "AccessDenied"),
    "model": (404, "ModelNotFound"),
    "rate": (429, "Throttling.RateQuota"),
    "timeout": (504, "RequestTimeOut"),
    "server": (500, "InternalError"),
    "overloaded": (503, "ServiceUnavailable"),
}
FINISH = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "filter": "content_filter"}


def render(refusal: Refusal, request_id: str) -> tuple[int, JSON]:
    status, code = refusal.row(ERRORS)
    message = (
        "Input or output data may contain inappropriate content." if code == "DataInspectionFailed" else refusal.message
    )
    if code == "ModelNotFound":
        message = "Model can not be found."
    return refusal.status or status, {"code": code, "message": message, "request_id": request_id}


def headers(request_id: str) -> dict[str, str]:
    return {"x-request-id": request_id, "x-dashscope-call-gateway": "true"}


def streams(call: Call) -> bool:
    """A header asks for a stream; the body has no say in it."""
    given = call.request.headers
    return given.get("X-DashScope-SSE", "").lower() == "enable" or given.get("Accept") == "text/event-stream"


def sse(number: int, value: JSON, status: int = 200) -> bytes:
    """The vendor's events: an id, a name, the status as a comment; no space after the colons."""
    name = "result" if status == 200 else "error"
    return f"id:{number}\nevent:{name}\n:HTTP_STATUS/{status}\ndata:{content.compact(value)}\n\n".encode()


class Turn:
    """One native call while it is answered."""

    def __init__(self, call: Call, multimodal: bool) -> None:
        body = call.body
        check(body, TOP)
        parameters = body.get("parameters") or {}
        check(parameters, PARAMETERS)
        if "no-such" in call.base_model:
            raise Refusal("model", "Model can not be found.")
        model = call.base_model
        check_path(model, multimodal)
        thinking = check_thinking(model, parameters.get("enable_thinking"), streams(call))
        if thinks_by_switch(model, thinking) and not parameters.get("incremental_output"):
            raise Refusal("value", 'parameter.incremental_output must be "true" when enable_thinking is true')
        self.call = call
        self.multimodal = multimodal
        prompt = read_prompt(body, multimodal)
        self.pictures = prompt.images
        if call.script.filter == "before":
            raise Refusal("filter", "Input data may contain inappropriate content.")
        self.answer: Answer = compose(prompt, read_wish(body, thinking), call.script)
        self.grows = not parameters.get("incremental_output")
        default = "message" if multimodal else "text"
        self.as_text = parameters.get("result_format", default) == "text" and not multimodal and not self.answer.calls

    def usage(self, spoken: int) -> JSON:
        if self.call.script.no_usage:
            return {}
        answer = self.answer
        output = min(spoken, answer.output)
        value: JSON = {
            "input_tokens": answer.input,
            "output_tokens": output,
            "total_tokens": answer.input + output,
            "prompt_tokens_details": {"cached_tokens": answer.cached},
        }
        if answer.reasoning:
            value["output_tokens_details"] = {"reasoning_tokens": min(answer.reasoning_tokens, output)}
        if self.multimodal:
            seen = 0 if answer.zero else self.pictures * TOKENS_PER_IMAGE
            value |= {
                "image_tokens": seen,
                "input_tokens_details": {"image_tokens": seen, "text_tokens": answer.input - seen},
            }
        return {"usage": value}

    def value(self, text: str, reasoning: str, calls: list[JSON], finish: str, spoken: int) -> JSON:
        """One event, or the whole answer."""
        if self.as_text:
            output: JSON = {"text": text, "finish_reason": finish}
        else:
            message: JSON = {
                "role": "assistant",
                "content": ([{"text": text}] if text else []) if self.multimodal else text,
            }
            if self.answer.reasoning:
                message["reasoning_content"] = reasoning
            if calls:
                message["tool_calls"] = calls
            output = {"choices": [{"message": message, "finish_reason": finish}]}
        return {"output": output, **self.usage(spoken), "request_id": self.call.request_id}

    def tool_calls(self) -> list[JSON]:
        return [
            {
                "index": k,
                "id": self.call.id("call_", k),
                "type": "function",
                "function": {"name": one.name, "arguments": one.text(content.spaced)},
            }
            for k, one in enumerate(self.answer.calls)
        ]

    def whole(self) -> JSON:
        finish = FINISH[self.answer.finish]
        return self.value(self.answer.text, self.answer.reasoning, self.tool_calls(), finish, self.answer.output)

    def steps(self) -> Iterator[tuple[str, str, list[JSON], int]]:
        """Text, reasoning and tool calls of each event, new ones only; and the tokens so far."""
        spoken = 0
        for piece in content.pieces(self.answer.reasoning):
            spoken += 1
            yield "", piece, [], spoken
        for piece in content.pieces(self.answer.text):
            spoken += 1
            yield piece, "", [], spoken
        pieces = [_call_pieces(call) for call in self.tool_calls()]
        for _, call in by_turns(pieces, self.call.script.interleave):
            spoken += bool(call["id"])
            yield "", "", [call], spoken

    def values(self) -> Iterator[JSON]:
        text = reasoning = ""
        calls: dict[int, JSON] = {}
        for new_text, new_reasoning, new_calls, spoken in self.steps():
            text, reasoning = text + new_text, reasoning + new_reasoning
            for call in new_calls:
                before = calls.get(call["index"], {"function": {"arguments": ""}})
                joined = before["function"]["arguments"] + call["function"]["arguments"]
                calls[call["index"]] = {
                    **call,
                    **before,
                    "function": {**call["function"], **before["function"], "arguments": joined},
                }
            if self.grows:
                yield self.value(text, reasoning, list(calls.values()), "null", spoken)
            else:
                yield self.value(new_text, new_reasoning, new_calls, "null", spoken)
        last = (text, reasoning, list(calls.values())) if self.grows else ("", "", [])
        yield self.value(*last, FINISH[self.answer.finish], self.answer.output)

    def events(self) -> Iterator[bytes]:
        script = self.call.script
        number = 0
        for number, value in enumerate(self.values(), 1):  # noqa: B007
            last = (value["output"].get("choices") or [value["output"]])[0]["finish_reason"] != "null"
            if script.error200 == number - 1 or script.filter == "after" and last:
                break
            yield sse(number, value)
        if script.error200 is not None or script.filter == "after":
            kind = "filter" if script.filter == "after" else "server"
            status, error = render(
                Refusal(kind, "An internal error has occured, please try again later."), self.call.request_id
            )
            yield sse(number, error, status)


def _call_pieces(call: JSON) -> Iterator[JSON]:
    """A call in fragments: the later ones have no name, and an empty id."""
    function = call["function"]
    for k, part in enumerate(list(fragments(function["arguments"])) or [""]):
        if k == 0:
            yield {**call, "function": {**function, "arguments": part}}
        else:
            yield {**call, "id": "", "function": {"arguments": part}}


def generation(multimodal: bool) -> Handle:
    async def handle(call: Call) -> web.StreamResponse:
        given = call.body.get("input")
        media = dashscope_media.of(call, given) if multimodal and isinstance(given, dict) else None
        if media is not None:
            return await media(call, streams(call))
        turn = Turn(call, multimodal)
        if streams(call):
            return await call.events(turn.events(), kind="text/event-stream;charset=UTF-8")
        if call.script.filter == "after":
            raise Refusal("filter", "Output data may contain inappropriate content.")
        return await call.json(turn.whole())

    return handle


def _total(call: Call, total: int) -> JSON:
    if call.script.no_usage:
        return {}
    return {"usage": {"total_tokens": 0 if call.script.zero_usage else total}}


async def embeddings(call: Call) -> web.StreamResponse:
    check(call.body, TOP)
    if "no-such" in call.base_model:
        raise Refusal("model", "Model can not be found.")
    parameters = call.body.get("parameters") or {}
    check(
        parameters,
        {
            "text_type": Field(STR, choices=("query", "document")),
            "dimension": Field(INT, least=1, most=2048),
            "output_type": Field(STR, choices=("dense", "sparse", "dense&sparse")),
        },
    )
    texts = call.body["input"].get("texts")
    most = 25 if call.base_model.endswith(("-v1", "-v2")) else 10
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refusal(
            "missing", "Required parameter(s) missing or invalid, please check the request parameters.", "texts"
        )
    if len(texts) > most:
        raise Refusal("value", f"batch size is invalid, it should not be larger than {most}.: input.contents", "texts")
    size = parameters.get("dimension") or 1024
    found = [{"embedding": content.vector(text, size), "text_index": i} for i, text in enumerate(texts)]
    return await call.json(
        {
            "output": {"embeddings": found},
            **_total(call, sum(map(content.tokens, texts))),
            "request_id": call.request_id,
        }
    )


async def multimodal_embeddings(call: Call) -> web.StreamResponse:
    check(call.body, TOP)
    contents = call.body["input"].get("contents")
    if not isinstance(contents, list) or not contents:
        raise Refusal(
            "missing", "Required parameter(s) missing or invalid, please check the request parameters.", "contents"
        )
    size = (call.body.get("parameters") or {}).get("dimension") or 1024
    found, words, seen = [], 0, 0
    for i, part in enumerate(contents):
        kind = next(iter(an_object(part, f"contents[{i}]")), "text")
        found.append({"index": i, "embedding": content.vector(str(part.get(kind)), size), "type": kind})
        words += content.tokens(str(part[kind])) if kind == "text" else 0
        seen += TOKENS_PER_IMAGE * (kind == "image")
    counted = {} if call.script.no_usage else {"usage": {"input_tokens": words, "image_tokens": seen}}
    return await call.json({"output": {"embeddings": found}, **counted, "request_id": call.request_id})


async def rerank(call: Call) -> web.StreamResponse:
    check(call.body, TOP)
    if "no-such" in call.base_model:
        raise Refusal("model", "Model can not be found.")
    given, parameters = call.body["input"], call.body.get("parameters") or {}
    check(
        given,
        {"query": Field(STR, required=True), "documents": Field(LIST, required=True, least=1, most=500)},
        path="input.",
    )
    check(parameters, {"top_n": Field(INT, least=1), "return_documents": Field(BOOL)}, path="parameters.")
    rows, total = vectors.ranked(given["query"], given["documents"], parameters.get("top_n"))
    shows = parameters.get("return_documents")
    results = [
        {"index": i, "relevance_score": score, **({"document": {"text": text}} if shows else {})}
        for i, score, text in rows
    ]
    return await call.json({"output": {"results": results}, **_total(call, total), "request_id": call.request_id})


def routes(prefix: str) -> list[web.RouteDef]:
    vendor = Vendor(prefix[1:], bearer, render, headers)
    services = f"{prefix}/api/v1/services"
    posts = {
        "aigc/text-generation/generation": generation(False),
        "aigc/multimodal-generation/generation": generation(True),
        "embeddings/text-embedding/text-embedding": embeddings,
        "embeddings/multimodal-embedding/multimodal-embedding": multimodal_embeddings,
        "rerank/text-rerank/text-rerank": rerank,
    }
    found = [web.post(f"{services}/{path}", endpoint(vendor, handle)) for path, handle in posts.items()]
    return found + dashscope_compatible.routes(prefix)
