"""Chat completions of the OpenAI dialect: a plain way to answer, and the places where a vendor differs from it.

A `Style` is one vendor's deviation. The stream is made of `Step`s; `chunk` may change each one's JSON before it is sent
and `closing` adds what comes after the last. Where nothing is said, the wire is what most vendors agree upon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from gateway.sandbox import content
from gateway.sandbox.answer import Answer, by_turns, compose, fragments
from gateway.sandbox.call import Call, Handle
from gateway.sandbox.chat_request import COMMON, EFFORT, ROLES, read_messages, read_wish
from gateway.sandbox.check import Fields, check, known_model
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
DONE = b"data: [DONE]\n\n"
FINISH = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "filter": "content_filter"}


def sse(value: Any) -> bytes:
    return b"data: " + content.compact(value).encode() + b"\n\n"


@dataclass
class Turn:
    """One chat call while it is answered."""

    call: Call
    style: Style
    body: JSON
    answers: list[Answer]
    id: str

    @property
    def answer(self) -> Answer:
        return self.answers[0]

    @property
    def asks_usage(self) -> bool:
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def output(self) -> int:
        return sum(answer.output for answer in self.answers)

    def usage(self, spoken: int | None = None) -> JSON | None:
        """The vendor's usage after so many output tokens; None if the script leaves it out."""
        if self.call.script.no_usage:
            return None
        output = self.output if spoken is None else min(spoken, self.output)
        return self.style.usage(self, output)


@dataclass(frozen=True)
class Step:
    """One event: `kind` is role, reasoning, text, refusal, tool or finish; `spoken` counts the tokens up to here."""

    kind: str
    index: int
    delta: JSON
    spoken: int
    finish: str | None = None


def usage(turn: Turn, output: int) -> JSON:
    """Usage with the two details that nearly all vendors give."""
    answer = turn.answer
    return {
        "prompt_tokens": answer.input,
        "completion_tokens": output,
        "total_tokens": answer.input + output,
        "prompt_tokens_details": {"cached_tokens": answer.cached},
        "completion_tokens_details": {"reasoning_tokens": min(sum(a.reasoning_tokens for a in turn.answers), output)},
    }


def think_by_effort(body: JSON) -> int:
    """Reasoning tokens by `reasoning_effort`, `enable_thinking` or `thinking: {type}`."""
    thinking = body.get("thinking")
    if (
        isinstance(thinking, dict)
        and thinking.get("type") in ("enabled", "auto")
        or body.get("enable_thinking") is True
    ):
        return EFFORT["medium"]
    return EFFORT[body.get("reasoning_effort") or "none"]


def server_error(turn: Turn) -> Iterable[bytes]:
    """An error in the middle of a stream: an event with a top-level `error`, then the end."""
    refusal = Refusal("server", "The server had an error while processing your request. Sorry about that!")
    return [sse(turn.call.vendor.render(refusal, turn.call.request_id)[1])]


def _same_reply(turn: Turn, reply: JSON) -> JSON:
    return reply


def _same_chunk(turn: Turn, step: Step, chunk: JSON) -> JSON:
    return chunk


def usage_chunk(turn: Turn) -> Iterable[JSON]:
    """OpenAI's way: after the finish a chunk without choices, if it was asked for."""
    counted = turn.usage()
    return (
        [{**head(turn, "chat.completion.chunk"), "choices": [], "usage": counted}]
        if turn.asks_usage and counted
        else []
    )


@dataclass(frozen=True)
class Style:
    """Where a vendor differs. `think` gives the reasoning tokens; `shows_reasoning`: their text is on the wire."""

    fields: Fields = field(default_factory=lambda: COMMON)
    strict: bool = False
    roles: tuple[str, ...] = ROLES
    check: Callable[[Call], None] = lambda call: None
    think: Callable[[JSON], int] = think_by_effort
    shows_reasoning: bool = True
    refusals: bool = False  # the model's own refusal has a field
    whole_calls: bool = False
    keep_stop: bool = False
    usage: Callable[[Turn, int], JSON] = usage
    finish: JSON = field(default_factory=lambda: FINISH)
    reply: Callable[[Turn, JSON], JSON] = _same_reply
    chunk: Callable[[Turn, Step, JSON], JSON] = _same_chunk
    closing: Callable[[Turn], Iterable[JSON]] = usage_chunk
    done: bytes = DONE
    lead: bytes = b""
    id: Callable[[Call], str] = lambda call: call.id("chatcmpl-")
    tool_id: Callable[[Turn, int, str], str] = lambda turn, k, name: turn.call.id("call_", k, name)
    error_events: Callable[[Turn], Iterable[bytes]] = server_error
    # The vendor's error inside HTTP 200 outside of streams, where it has that.
    error_body: Callable[[Call, Refusal], JSON] | None = None


def handler(style: Style) -> Handle:
    """The endpoint of a vendor with this style."""

    async def handle(call: Call) -> web.StreamResponse:
        return await answer_chat(call, style)

    return handle


async def answer_chat(call: Call, style: Style) -> web.StreamResponse:
    turn = read(call, style)
    if call.body.get("stream"):
        return await call.events(_events(turn), tail=style.done)
    if call.script.error200 is not None and style.error_body:
        return await call.json(style.error_body(call, Refusal("server", "internal error")))
    return await call.json(style.reply(turn, reply(turn)), lead=style.lead and b"\n\n")


def read(call: Call, style: Style) -> Turn:
    """Checks the request as the vendor does and makes up the answers."""
    body = call.body
    check(body, style.fields, style.strict)
    known_model(call.base_model)
    style.check(call)
    prompt = read_messages(body["messages"], style.roles)
    wish = read_wish(body, style.think(body))
    wish.keep_stop = style.keep_stop
    if call.script.filter == "before":
        raise Refusal("filter", "Your request was rejected as a result of our safety system.")
    answers = [compose(prompt, wish, call.script) for _ in range(body.get("n") or 1)]
    for i, answer in enumerate(answers[1:], 2):
        answer.text += f" ({i})" * bool(answer.text)
    return Turn(call, style, body, answers, style.id(call))


def head(turn: Turn, kind: str) -> JSON:
    return {"id": turn.id, "object": kind, "created": turn.call.created, "model": turn.call.model}


def tool_calls(turn: Turn, answer: Answer) -> list[JSON]:
    return [
        {
            "id": turn.style.tool_id(turn, k, call.name),
            "type": "function",
            "function": {"name": call.name, "arguments": call.text()},
        }
        for k, call in enumerate(answer.calls)
    ]


def logprobs(turn: Turn, text: str) -> JSON | None:
    """Log probabilities of a text's tokens, if asked for."""
    if not turn.body.get("logprobs"):
        return None
    return {"content": token_logprobs(text, turn.body.get("top_logprobs") or 0), "refusal": None}


def token_logprobs(text: str, most: int) -> list[JSON]:
    """Log probabilities of a text's tokens, with so many alternatives each."""

    def one(token: str, rank: int) -> JSON:
        return {"token": token, "logprob": round(-0.01 - 0.5 * rank, 2), "bytes": list(token.encode())}

    return [{**one(p, 0), "top_logprobs": [one(p + "'" * k, k) for k in range(most)]} for p in content.pieces(text)]


def reply(turn: Turn) -> JSON:
    """The answer in one piece."""
    choices = []
    for i, answer in enumerate(turn.answers):
        message: JSON = {"role": "assistant", "content": answer.text or None if answer.calls else answer.text}
        if answer.refuses and turn.style.refusals:
            message |= {"content": None, "refusal": answer.text}
        if answer.reasoning and turn.style.shows_reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.calls:
            message["tool_calls"] = tool_calls(turn, answer)
        choices.append(
            {
                "index": i,
                "message": message,
                "logprobs": logprobs(turn, answer.text),
                "finish_reason": turn.style.finish[answer.finish],
            }
        )
    value = {**head(turn, "chat.completion"), "choices": choices}
    counted = turn.usage()
    return value if counted is None else value | {"usage": counted}


def steps(turn: Turn, index: int, answer: Answer, before: int = 0) -> Iterator[Step]:
    """The answer as it is streamed, its output tokens counted from `before`."""
    calls = tool_calls(turn, answer)
    spoken = before
    role: JSON = {"role": "assistant", "content": None if calls and not answer.text else ""}
    single = len(calls) == 1 and not answer.reasoning and not answer.text
    kind, name = ("refusal", "refusal") if answer.refuses and turn.style.refusals else ("text", "content")
    if not single:
        yield Step("role", index, role, spoken)
    for piece in content.pieces(answer.reasoning):
        spoken += 1
        if turn.style.shows_reasoning:
            yield Step("reasoning", index, {"reasoning_content": piece, "content": None}, spoken)
    for piece in content.pieces(answer.text):
        spoken += 1
        yield Step(kind, index, {name: piece}, spoken)
    pieces = [_call_pieces(turn, k, call) for k, call in enumerate(calls)]
    for _, part in by_turns(pieces, turn.call.script.interleave):
        spoken += "id" in part
        yield Step("tool", index, {**(role if single and "id" in part else {}), "tool_calls": [part]}, spoken)
    yield Step("finish", index, {}, before + answer.output, turn.style.finish[answer.finish])


def _call_pieces(turn: Turn, k: int, call: JSON) -> Iterator[JSON]:
    """A call as it is streamed: its name, then its arguments; or both at once."""
    function = call["function"]
    whole = turn.style.whole_calls
    yield {"index": k, **call, "function": {**function, "arguments": function["arguments"] if whole else ""}}
    for part in () if whole else fragments(function["arguments"]):
        yield {"index": k, "function": {"arguments": part}}


def _events(turn: Turn) -> Iterator[bytes]:
    if turn.style.lead:
        yield turn.style.lead
    for sent, event in enumerate(_chunks(turn)):
        if turn.call.script.error200 == sent:
            break
        yield sse(event)
    if turn.call.script.error200 is not None:
        yield from turn.style.error_events(turn)


def _chunks(turn: Turn) -> Iterator[JSON]:
    before = 0
    for index, answer in enumerate(turn.answers):
        for step in steps(turn, index, answer, before):
            choice: JSON = {"index": index, "delta": step.delta, "logprobs": None, "finish_reason": step.finish}
            if step.kind == "text":
                choice["logprobs"] = logprobs(turn, step.delta["content"])
            chunk = {**head(turn, "chat.completion.chunk"), "choices": [choice]}
            yield turn.style.chunk(turn, step, chunk)
        before += answer.output
    yield from turn.style.closing(turn)
