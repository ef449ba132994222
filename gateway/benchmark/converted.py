"""The exchanges between dialects: OpenAI's chat with a vendor that speaks Anthropic's, and Anthropic's with one that
speaks OpenAI's. Both vendors say the same, so that plain proxies, which forward, have as much to carry.
"""

from __future__ import annotations

import json
from typing import Any

from gateway.benchmark.calls import BODY, BURST, EVENTS, PACED, REQUEST_HEAD, UNARY, Call, streamed

MESSAGES = "/v1/messages"
ANTHROPIC = "-claude"  # in the names of models whose vendor speaks Anthropic's
MESSAGE = json.dumps({
    "id": "msg_bench", "type": "message", "role": "assistant", "model": "bench",
    "content": [{"type": "text", "text": "word " * 72}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 17, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 72},
}).encode()  # fmt: skip


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode())


_START = {**json.loads(MESSAGE), "content": [], "stop_reason": None, "usage": {"input_tokens": 17, "output_tokens": 1}}
_WORD = {"type": "text_delta", "text": " word"}
_END = {"stop_reason": "end_turn", "stop_sequence": None}
MESSAGE_STREAM = [
    _event("message_start", message=_START),
    _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    *[_event("content_block_delta", index=0, delta=_WORD)] * (EVENTS - 3),
    _event("content_block_stop", index=0),
    _event("message_delta", delta=_END, usage={"output_tokens": 61}),
    _event("message_stop"),
]

_HEAD = REQUEST_HEAD + "anthropic-version: 2023-06-01\r\n"
_STREAM = Call(MESSAGES, b"".join(MESSAGE_STREAM), EVENTS)

# A client of OpenAI's chat, a vendor of Anthropic's messages.
CHAT_UNARY = UNARY._replace(body=BODY.replace(b'"bench"', b'"bench%b"' % ANTHROPIC.encode()), loose=True)
CHAT_PACED = streamed(CHAT_UNARY, "paced", PACED)
CHAT_BURST = streamed(CHAT_UNARY, "burst", BURST)
# And the other way round.
MESSAGES_UNARY = Call(MESSAGES, MESSAGE, head=_HEAD, loose=True)
MESSAGES_PACED = streamed(MESSAGES_UNARY, "paced", _STREAM, b"")
MESSAGES_BURST = streamed(MESSAGES_UNARY, "burst", _STREAM, b"")
