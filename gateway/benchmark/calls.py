"""The exchanges that are measured: what is asked, and byte for byte what must come back."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

HOST = "127.0.0.1"
EVENTS = 64

# The heads are as long as those of real clients and vendors: reading them is a good part of a proxy's work.
REQUEST_HEAD = (
    "Host: api.example.com\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n"
    "User-Agent: OpenAI/Python 2.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Runtime: CPython\r\n"
    "X-Stainless-Async: async:asyncio\r\nContent-Type: application/json\r\n"
)
KEY = "sk-bench-0123456789abcdef0123456789abcdef"
ANSWER_HEAD = (
    "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nX-Request-Id: req_0123456789abcdef\r\n"
    "Openai-Processing-Ms: 42\r\nOpenai-Version: 2020-10-01\r\nX-Ratelimit-Remaining-Requests: 9999\r\n"
)
BODY = b'{"model":"bench","messages":[{"role":"user","content":"Say something of the usual length."}],"max_tokens":64}'
COMPLETION = json.dumps({
    "id": "chatcmpl-bench", "object": "chat.completion", "created": 1704067200, "model": "bench",
    "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None,
                 "message": {"role": "assistant", "content": "word " * 72, "refusal": None}}],
    "usage": {"prompt_tokens": 17, "completion_tokens": 72, "total_tokens": 89,
              "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}},
}).encode()  # fmt: skip


def _event(choices: list[Any], **more: Any) -> bytes:
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1704067200, "model": "bench"}
    return b"data: %b\n\n" % json.dumps({**head, "choices": choices, **more}).encode()


_DELTA = _event([{"index": 0, "delta": {"content": " word"}, "finish_reason": None}])
_FINISH = _event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
_USAGE = _event([], usage={"prompt_tokens": 17, "completion_tokens": 61, "total_tokens": 78})
STREAM = [*[_DELTA] * (EVENTS - 3), _FINISH, _USAGE, b"data: [DONE]\n\n"]


def chunked(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


class WrongAnswer(Exception):
    """The answer was not byte for byte the expected one, or did not come: no number is worth anything then."""


class Call(NamedTuple):
    """One exchange and what must come back. `units`: what one answer counts for (a request, 64 events ...). `loose`:
    whoever answers it makes ids and times of his own, so that only what it says can be checked.
    """

    target: str
    answer: bytes
    units: int = 1
    body: bytes = BODY
    method: str = "POST"
    head: str = REQUEST_HEAD
    loose: bool = False

    def request(self, to: Target) -> bytes:
        length = f"Content-Length: {len(self.body)}\r\n" if self.body else ""
        head = f"{self.head}Authorization: Bearer {to.key}\r\n{to.head}{length}\r\n"
        return f"{self.method} {to.prefix}{self.target} HTTP/1.1\r\n{head}".encode() + self.body

    def answered(self, body: bytes, of: Target) -> bool:
        """Whether this is the answer: byte for byte, or by what it says where bytes cannot be expected."""
        return meaning(body) == meaning(self.answer) if self.loose or of.reencodes else body == self.answer


class Target(NamedTuple):
    """Where to send: `prefix` goes before the path, `head` are more header lines, `pid` is the process whose family's
    CPU is counted. `reencodes`: its answers say what the vendor said, in other bytes.
    """

    port: int
    pid: int
    prefix: str = ""
    key: str = KEY
    head: str = ""
    reencodes: bool = False


def meaning(answer: bytes) -> tuple[str, int]:
    """The text of a chat answer, whole or as events, and the tokens that it says to be its output; -1: says none."""
    text, tokens = "", -1
    pieces = [line[6:] for line in answer.splitlines() if line.startswith(b"data: {")] or [answer]
    for piece in pieces:
        try:
            found = json.loads(piece)
            text += _said(found)
            usage = found.get("usage") or {}
            tokens = usage.get("completion_tokens", usage.get("output_tokens", tokens))
        except (ValueError, AttributeError):
            return "no chat answer", -1
    return text, tokens


def _said(found: dict[str, Any]) -> str:
    """The text in an answer or event of OpenAI's or Anthropic's."""
    texts = [(choice.get("delta") or choice.get("message") or {}).get("content") for choice in found.get("choices", ())]
    texts += [block.get("text") for block in found.get("content", ())]
    texts.append((found.get("delta") or {}).get("text"))
    return "".join(text or "" for text in texts)


CHAT = "/v1/chat/completions"
UNARY = Call(CHAT, COMPLETION)
BURST = Call(CHAT + "?sse=burst", b"".join(STREAM), EVENTS)
PACED = Call(CHAT + "?sse=paced", b"".join(STREAM), EVENTS)


_USAGE_TOO = b',"stream_options":{"include_usage":true}'


def streamed(call: Call, kind: str, stream: Call, more: bytes = _USAGE_TOO) -> Call:
    """The call for such a stream, asked for by the model's name, where the path must be the surface's own."""
    body = call.body.replace(b'"model":"bench', b'"model":"%b' % kind.encode())[:-1] + b',"stream":true' + more + b"}"
    return call._replace(body=body, answer=stream.answer, units=stream.units)


UNIFIED_BURST = streamed(UNARY, "burst", BURST)
UNIFIED_PACED = streamed(UNARY, "paced", PACED)
