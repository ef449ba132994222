"""Answers as clients see them: the output's items, and the Response object around them."""

from __future__ import annotations

from typing import Any

from gateway.dialects.chat import form
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import Answer, ChatRequest, Citation, Image, Logprob, Refusal, Text, Thought, ToolCall
from gateway.dialects.openai_responses.items import DIALECT
from gateway.types import Usage

Item = dict[str, Any]

IN_PROGRESS, COMPLETED, INCOMPLETE = "in_progress", "completed", "incomplete"

_REASONS = {form.LENGTH: "max_output_tokens", form.FILTERED: "content_filter"}
# Of the client's fields that mean something here only, those that OpenAI repeats in the answer.
_ECHOED = ("metadata", "previous_response_id", "prompt_cache_key", "safety_identifier")


def response_id(id: str, told: Told) -> str:
    """The vendor's own if it is one of this dialect."""
    return id if id.startswith("resp_") else f"resp_{told.request_id}"


def item_id(kind: str, response: str, index: int) -> str:
    """`kind`: msg, rs, fc or ig."""
    return f"{kind}_{response.removeprefix('resp_')}_{index}"


def whole(answer: Answer, usage: Usage, told: Told) -> dict[str, Any]:
    id = response_id(answer.id, told)
    response = opened(id, answer.created or told.created, told)
    return ended(response, _output(answer, id), answer.finish, usage)


# -- the response ------------------------------------------------------------------------------------------------------


def opened(id: str, created: int, told: Told) -> dict[str, Any]:
    """The response as it begins: what was asked for is repeated in it. What was left open is null, for the defaults are
    the vendor's.
    """
    request = told.request
    extras = request.extras
    return {
        "id": id,
        "object": "response",
        "created_at": created,
        "status": IN_PROGRESS,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": "\n\n".join(text.text for text in request.system) or None,
        "max_output_tokens": request.max_output,
        "model": told.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tools is not False,
        "reasoning": _reasoning(request),
        "store": bool(extras.get("store")),
        "temperature": request.temperature,
        "text": _text(request),
        "tool_choice": tool_choice(request.tool_choice) if request.tool_choice else "auto",
        "tools": [_tool(tool) for tool in request.tools],
        "top_logprobs": request.logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
        "previous_response_id": None,
        "metadata": {},
        **{name: extras[name] for name in _ECHOED if name in extras},
    }


def ended(response: dict[str, Any], output: list[Item], finish: str, usage: Usage) -> dict[str, Any]:
    """The same response when it is over."""
    reason = _REASONS.get(finish)
    return {
        **response,
        "status": COMPLETED if reason is None else INCOMPLETE,
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": output,
        "usage": {
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": usage.cached_input, "cache_write_tokens": usage.cache_write},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.total,
        },
    }


def last_status(finish: str) -> str:
    """That of the last item: it is where an answer was cut."""
    return INCOMPLETE if finish in _REASONS else COMPLETED


def _reasoning(request: ChatRequest) -> dict[str, Any]:
    asked = request.reasoning or form.Reasoning()
    return {"effort": "none" if asked.on is False else asked.effort, "summary": asked.summary}


def _text(request: ChatRequest) -> dict[str, Any]:
    text: dict[str, Any] = {"format": _format(request.format)}
    if "verbosity" in request.extras:
        text["verbosity"] = request.extras["verbosity"]
    return text


def _format(format: form.Format | None) -> dict[str, Any]:
    if format is None:
        return {"type": "text"}
    if format.schema is None:
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "name": format.name or "",
        "description": format.description,
        "schema": format.schema,
        "strict": format.strict,
    }


def _tool(tool: form.Tool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def tool_choice(choice: form.ToolChoice) -> Any:
    if not choice.names:
        return choice.mode
    functions = [{"type": "function", "name": name} for name in choice.names]
    if choice.mode == "required" and len(functions) == 1:
        return functions[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": functions}


# -- the items ---------------------------------------------------------------------------------------------------------


def _output(answer: Answer, id: str) -> list[Item]:
    """Neighbouring texts and refusals are the parts of one message."""
    items: list[Item] = []
    contents: list[Item] | None = None
    logprobs = answer.logprobs  # nothing says which of several texts they belong to
    for part in answer.parts:
        index = len(items)
        if isinstance(part, Image):
            part = shown(part)
        if isinstance(part, Text | Refusal):
            if contents is None:
                contents = []
                items.append(message(item_id("msg", id, index), contents, COMPLETED))
            if isinstance(part, Refusal):
                contents.append(refusal(part.text))
            else:
                notes = [annotation(citation, len(part.text)) for citation in part.citations]
                contents.append(output_text(part.text, notes, logprobs))
                logprobs = ()
            continue
        if isinstance(part, Thought):
            if not part.text and part.origin != DIALECT:
                continue  # what only its own vendor can read
            items.append(_thought(part, id, index))
        elif isinstance(part, ToolCall):
            items.append(call(item_id("fc", id, index), part.id, part.name, part.arguments or "{}", COMPLETED))
        elif isinstance(part, Image):
            items.append(picture(item_id("ig", id, index), part))
        contents = None
    if items and items[-1]["type"] in ("message", "function_call"):
        items[-1]["status"] = last_status(answer.finish)
    return items


def _thought(thought: Thought, id: str, index: int) -> Item:
    item = reasoning(thought.id if thought.id.startswith("rs_") else item_id("rs", id, index), thought.text)
    if thought.signature and thought.origin == DIALECT:
        item["encrypted_content"] = thought.signature
    return item


def message(id: str, contents: list[Item], status: str) -> Item:
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": contents}


def output_text(text: str, annotations: list[Item], logprobs: tuple[Logprob, ...] | list[Logprob]) -> Item:
    return {
        "type": "output_text",
        "text": text,
        "annotations": annotations,
        "logprobs": [logprob(one) for one in logprobs],
    }


def refusal(text: str) -> Item:
    return {"type": "refusal", "refusal": text}


def annotation(citation: Citation, end: int) -> Item:
    """`end`: that of the text so far, for a source that does not say where it belongs."""
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title,
        "start_index": citation.start or 0,
        "end_index": end if citation.end is None else citation.end,
    }


def logprob(one: Logprob) -> Item:
    return {**_token(one), "top_logprobs": [_token(other) for other in one.top]}


def _token(one: Logprob) -> Item:
    known = one.bytes if one.bytes is not None else list(one.token.encode(errors="replace"))
    return {"token": one.token, "bytes": known, "logprob": one.logprob}


def reasoning(id: str, text: str) -> Item:
    return {"id": id, "type": "reasoning", "summary": [summary(text)] if text else []}


def summary(text: str) -> Item:
    return {"type": "summary_text", "text": text}


def call(id: str, call: str, name: str, arguments: str, status: str) -> Item:
    return {
        "id": id,
        "type": "function_call",
        "status": status,
        "call_id": call,
        "name": name,
        "arguments": arguments,
    }


def shown(image: Image) -> Image | Text:
    """The item of a picture holds data: a mere address is told as a text."""
    return image if image.data else Text(f"![]({image.url})")


def picture(id: str, image: Image) -> Item:
    form = image.media_type.removeprefix("image/") or "png"
    return {
        "id": id,
        "type": "image_generation_call",
        "status": COMPLETED,
        "result": image.data,
        "output_format": form,
    }
