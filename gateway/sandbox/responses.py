"""The Responses API: OpenAI's, and with small differences Ark's and DashScope's; answers are kept for later calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.sandbox import content
from gateway.sandbox.answer import Answer, by_turns, compose, fragments
from gateway.sandbox.call import Call, endpoint
from gateway.sandbox.chat import token_logprobs
from gateway.sandbox.check import Fields, check, known_model
from gateway.sandbox.responses_request import FIELDS, Reader, check_openai, items_of, owner, read_wish
from gateway.sandbox.vendor import Refusal, Vendor

JSON = dict[str, Any]
ENDS = {
    "stop": ("completed", None),
    "tool_calls": ("completed", None),
    "length": ("incomplete", "max_output_tokens"),
    "filter": ("incomplete", "content_filter"),
}


def usage(call: Call, answer: Answer) -> JSON:
    return {
        "input_tokens": answer.input,
        "output_tokens": answer.output,
        "total_tokens": answer.input + answer.output,
        "input_tokens_details": {"cached_tokens": answer.cached, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
    }


def _openai_event(name: str, value: JSON) -> bytes:
    return f"event: {name}\ndata: {content.compact(value)}\n\n".encode()


@dataclass(frozen=True)
class Variant:
    """Where a vendor's Responses differ from OpenAI's. `extra` are fields of the response object."""

    fields: Fields
    strict: bool = False
    usage: Callable[[Call, Answer], JSON] = usage
    event: Callable[[str, JSON], bytes] = _openai_event
    extra: Callable[[Call], JSON] = lambda call: {}
    obfuscates: bool = False
    done: bytes = b""


class Memory:
    """What one account's responses were made of: responses by their id, and single items by theirs."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self._prefix = f"{owner(call.vendor.id, call.account)}|"

    def keep(self, response: JSON, before: list[JSON]) -> None:
        items = [*before, *items_of(self.call.body)]
        self.call.keep(self._prefix + response["id"], {"response": response, "input": items})
        for item in response["output"]:
            self.call.keep(self._prefix + item["id"], item)

    def kept(self, ident: str) -> Any:
        return self.call.kept(self._prefix + ident)

    def forget(self, ident: str) -> None:
        self.call.keep(self._prefix + ident, None)

    def before(self) -> list[JSON]:
        """The conversation up to the response that this one follows."""
        previous = self.call.body.get("previous_response_id")
        if not previous:
            return []
        found = self.kept(previous)
        if found is None:
            raise Refusal("previous", f"Previous response with id '{previous}' not found.", "previous_response_id")
        return [*found["input"], *found["response"]["output"]]


def _reader(call: Call, strict: bool) -> Reader:
    return Reader(owner(call.vendor.id, call.account), strict, Memory(call).kept)


OPENAI = Variant(FIELDS, strict=True, obfuscates=True)


def _items(call: Call, answer: Answer) -> list[JSON]:
    items: list[JSON] = []
    if answer.reasoning:
        items.append(
            {
                "id": call.id("rs_"),
                "type": "reasoning",
                "status": "completed",
                "summary": [{"type": "summary_text", "text": answer.reasoning}],
            }
        )
        if "reasoning.encrypted_content" in (call.body.get("include") or []):
            items[0]["encrypted_content"] = content.sealed(answer.reasoning, owner(call.vendor.id, call.account))
    if answer.text or not answer.calls:
        part: JSON = {
            "type": "output_text",
            "text": answer.text,
            "annotations": [],
            "logprobs": _logprobs(call, answer),
        }
        if answer.refuses:
            part = {"type": "refusal", "refusal": answer.text}
        items.append(
            {
                "id": call.id("msg_"),
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [part],
            }
        )
    for k, one in enumerate(answer.calls):
        items.append(
            {
                "id": call.id("fc_", k),
                "type": "function_call",
                "status": "completed",
                "call_id": call.id("call_", k),
                "name": one.name,
                "arguments": one.text(),
            }
        )
    return items


def _logprobs(call: Call, answer: Answer) -> list[JSON]:
    if "message.output_text.logprobs" not in (call.body.get("include") or []):
        return []
    return token_logprobs(answer.text, call.body.get("top_logprobs") or 0)


def _envelope(call: Call, variant: Variant) -> JSON:
    """The response object before there is an answer."""
    body = call.body
    reasoning = body.get("reasoning") or {}
    return {
        "id": call.id("resp_"),
        "object": "response",
        "created_at": call.created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "background": False,
        "max_output_tokens": body.get("max_output_tokens"),
        "model": call.model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": body.get("store") is not False,
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation") or "disabled",
        "usage": None,
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
        **variant.extra(call),
    }


def _finished(call: Call, variant: Variant, answer: Answer) -> JSON:
    status, reason = ENDS[answer.finish]
    response = _envelope(call, variant) | {"status": status, "output": _items(call, answer)}
    if reason:
        response["incomplete_details"] = {"reason": reason}
    if not call.script.no_usage:
        response["usage"] = variant.usage(call, answer)
    return response


def handler(variant: Variant) -> Callable[[Call], Any]:
    """`POST /responses` of a variant."""

    async def handle(call: Call) -> web.StreamResponse:
        body = call.body
        check(body, variant.fields, variant.strict)
        known_model(call.base_model)
        if variant.strict:
            check_openai(body, call.base_model)
        memory = Memory(call)
        before = memory.before()
        prompt = _reader(call, variant.strict).read(body, before)
        if call.script.filter == "before":
            raise Refusal("filter", "Your request was rejected as a result of our safety system.")
        answer = compose(prompt, read_wish(body), call.script)
        response = _finished(call, variant, answer)
        if response["store"]:
            memory.keep(response, before)
        if not body.get("stream"):
            return await call.json(response)
        return await call.events(_events(call, variant, response), tail=variant.done)

    return handle


def _events(call: Call, variant: Variant, response: JSON) -> Iterator[bytes]:
    options = call.body.get("stream_options") or {}
    obfuscated = variant.obfuscates and options.get("include_obfuscation") is not False
    for number, (name, value) in enumerate(_named(call, variant, response)):
        if call.script.error200 == number:
            break
        padding = {"obfuscation": content.letters(call.digest, number, length=1 + number % 8)} if obfuscated else {}
        padded = padding if name.endswith(".delta") else {}
        yield variant.event(name, {"type": name, **value, **padded, "sequence_number": number})
    if call.script.error200 is not None:
        yield variant.event(
            "error",
            {
                "type": "error",
                "code": "server_error",
                "message": "The server had an error processing your request.",
                "param": None,
                "sequence_number": call.script.error200,
            },
        )


def _named(call: Call, variant: Variant, response: JSON) -> Iterator[tuple[str, JSON]]:
    start = _envelope(call, variant)
    yield "response.created", {"response": start}
    yield "response.in_progress", {"response": start}
    calls: list[Iterator[tuple[str, JSON]]] = []
    for index, item in enumerate(response["output"]):
        events = _ITEMS[item["type"]](index, item)
        if item["type"] == "function_call":
            calls.append(events)
        else:
            yield from events
    yield from (event for _, event in by_turns(calls, call.script.interleave))
    yield f"response.{response['status']}", {"response": response}


def _item(index: int, item: JSON, empty: JSON, inner: Iterator[tuple[str, JSON]]) -> Iterator[tuple[str, JSON]]:
    yield "response.output_item.added", {"output_index": index, "item": {**item, **empty, "status": "in_progress"}}
    yield from inner
    yield "response.output_item.done", {"output_index": index, "item": item}


def _message(index: int, item: JSON) -> Iterator[tuple[str, JSON]]:
    part = item["content"][0]
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    if part["type"] == "refusal":
        return _item(index, item, {"content": []}, _refusal(at, part))

    def inner() -> Iterator[tuple[str, JSON]]:
        yield "response.content_part.added", {**at, "part": {**part, "text": "", "logprobs": []}}
        for k, piece in enumerate(content.pieces(part["text"])):
            yield "response.output_text.delta", {**at, "delta": piece, "logprobs": part["logprobs"][k : k + 1]}
        yield "response.output_text.done", {**at, "text": part["text"], "logprobs": part["logprobs"]}
        yield "response.content_part.done", {**at, "part": part}

    return _item(index, item, {"content": []}, inner())


def _refusal(at: JSON, part: JSON) -> Iterator[tuple[str, JSON]]:
    yield "response.content_part.added", {**at, "part": {**part, "refusal": ""}}
    for piece in content.pieces(part["refusal"]):
        yield "response.refusal.delta", {**at, "delta": piece}
    yield "response.refusal.done", {**at, "refusal": part["refusal"]}
    yield "response.content_part.done", {**at, "part": part}


def _reasoning(index: int, item: JSON) -> Iterator[tuple[str, JSON]]:
    part = item["summary"][0]
    at = {"item_id": item["id"], "output_index": index, "summary_index": 0}

    def inner() -> Iterator[tuple[str, JSON]]:
        yield "response.reasoning_summary_part.added", {**at, "part": {**part, "text": ""}}
        for piece in content.pieces(part["text"]):
            yield "response.reasoning_summary_text.delta", {**at, "delta": piece}
        yield "response.reasoning_summary_text.done", {**at, "text": part["text"]}
        yield "response.reasoning_summary_part.done", {**at, "part": part}

    return _item(index, item, {"summary": []}, inner())


def _function(index: int, item: JSON) -> Iterator[tuple[str, JSON]]:
    at = {"item_id": item["id"], "output_index": index}

    def inner() -> Iterator[tuple[str, JSON]]:
        for part in fragments(item["arguments"]):
            yield "response.function_call_arguments.delta", {**at, "delta": part}
        yield "response.function_call_arguments.done", {**at, "name": item["name"], "arguments": item["arguments"]}

    return _item(index, item, {"arguments": ""}, inner())


_ITEMS: dict[str, Callable[[int, JSON], Iterator[tuple[str, JSON]]]] = {
    "message": _message,
    "reasoning": _reasoning,
    "function_call": _function,
}


def _stored(call: Call) -> JSON:
    key = call.request.match_info["id"]
    found = Memory(call).kept(key)
    if found is None or "response" not in found:
        raise Refusal("model", f"Response with id '{key}' not found.", "id", 404)
    return dict(found)


async def _get(call: Call) -> web.StreamResponse:
    return await call.json(_stored(call)["response"])


def _told(item: JSON) -> JSON:
    """An input item as it is listed: a text is a part, too."""
    said = item.get("content")
    if not isinstance(said, str):
        return item
    part: JSON = {"type": "input_text", "text": said}
    if item.get("role") == "assistant":
        part = {"type": "output_text", "text": said, "annotations": [], "logprobs": []}
    return {"type": "message", **item, "status": "completed", "content": [part]}


async def _input_items(call: Call) -> web.StreamResponse:
    items = [{"id": call.id("msg_", k), **_told(item)} for k, item in enumerate(_stored(call)["input"])]
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {"first_id": None, "last_id": None}
    return await call.json({"object": "list", "data": items[::-1], "has_more": False, **ends})


async def _delete(call: Call) -> web.StreamResponse:
    found = _stored(call)["response"]
    Memory(call).forget(found["id"])
    return await call.json({"id": found["id"], "object": "response", "deleted": True})


async def _input_tokens(call: Call) -> web.StreamResponse:
    check(call.body, {name: field for name, field in FIELDS.items() if name in ("input", "model")})
    prompt = _reader(call, call.vendor.id == "openai").read(call.body, Memory(call).before())
    answer = compose(prompt, read_wish(call.body), call.script)
    return await call.json({"object": "response.input_tokens", "input_tokens": answer.input})


def routes(vendor: Vendor, path: str, variant: Variant = OPENAI) -> list[web.RouteDef]:
    return [
        web.post(path, endpoint(vendor, handler(variant))),
        web.post(path + "/input_tokens", endpoint(vendor, _input_tokens)),
        web.get(path + "/{id}", endpoint(vendor, _get)),
        web.get(path + "/{id}/input_items", endpoint(vendor, _input_items)),
        web.delete(path + "/{id}", endpoint(vendor, _delete)),
    ]
