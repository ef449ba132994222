"""What metering costs: microseconds per unit for the readers on the hot path. `python -m bench.meter`"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable

from gateway.dialects import RequestModel, WebSocketUsage, reader_for

USAGE = (
    b'{"prompt_tokens":1420,"completion_tokens":212,"total_tokens":1632,"prompt_tokens_details":{"cached_tokens":1280,'
    b'"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":192,"audio_tokens":0}}'
)
ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1793000000,"model":"gpt-x","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"The owl is on the left. " * 12 + b'","refusal":null},'
    b'"logprobs":null,"finish_reason":"stop"}],"usage":' + USAGE + b"}"
)
CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1793000000,"model":"gpt-x","choices":'
    b'[{"index":0,"delta":{"content":" owl"},"logprobs":null,"finish_reason":null}]%s}\n\n'
)
PLAIN = CHUNK % b""
NULL = CHUNK % b',"usage":null'
EVERY = CHUNK % (b',"usage":' + USAGE)
GEMINI = (
    b'data: {"candidates": [{"content": {"parts": [{"text": " owl"}],"role": "model"},"index": 0}],"usageMetadata": '
    b'{"promptTokenCount": 11,"candidatesTokenCount": 4,"totalTokenCount": 15},"modelVersion": "gemini-x"}\r\n\r\n'
)
BLOB = b'{"data":[{"b64_json":"' + b"A" * (8 << 20) + b'"}],"usage":' + USAGE + b"}"
TEXT = b'{"type":"response.audio.delta","event_id":"e1","response_id":"r1","delta":"' + b"A" * 4000 + b'"}'

DEFLATE = b"permessage-deflate; server_no_context_takeover"


def frame(payload: bytes, first: int = 0x81) -> bytes:
    return bytes([first, 126]) + len(payload).to_bytes(2, "big") + payload


def compressed(payload: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return (encoder.compress(payload) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]


def whole(dialect: str, content_type: bytes, data: bytes) -> Callable[[], object]:
    def once() -> object:
        reader = reader_for(dialect, content_type)
        reader.feed(data)
        return reader.finish()

    return once


def each(dialect: str, data: bytes, piece: int = 0) -> Callable[[], object]:
    """One feed of a stream that is under way; with `piece`, all feeds of the data cut that way."""
    reader = reader_for(dialect, b"text/event-stream")
    reader.feed(data)
    if not piece:
        return lambda: reader.feed(data)
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]

    def all_pieces() -> None:
        for part in pieces:
            reader.feed(part)

    return all_pieces


def websocket(data: bytes, extensions: bytes = b"") -> Callable[[], object]:
    reader = WebSocketUsage(extensions)
    reader.model = "known"
    return lambda: reader.feed_down(data)


def peek(body: bytes) -> Callable[[], object]:
    return lambda: RequestModel(b"application/json").feed(body)


def measure(action: Callable[[], object], seconds: float = 0.3) -> float:
    """The best of several rounds: a busy machine makes a round slower, never faster."""
    rounds, best = 1, float("inf")
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.process_time()
        for _ in range(rounds):
            action()
        spent = time.process_time() - start
        if spent < 0.01:
            rounds *= 2
        else:
            best = min(best, spent / rounds)
    return best * 1e6


ROWS: tuple[tuple[str, Callable[[], object]], ...] = (
    (f"JSON answer of {len(ANSWER)} B, whole, with construction", whole("openai.chat", b"application/json", ANSWER)),
    ("Anthropic reader made and finished, nothing fed", whole("anthropic.messages", b"text/event-stream", b"")),
    (f"SSE event of {len(PLAIN)} B without usage", each("openai.chat", PLAIN)),
    ("SSE feed of 8 such events", each("openai.chat", PLAIN * 8)),
    ("SSE event with usage null", each("openai.chat", NULL)),
    ("SSE event with usage (vendors that count in every chunk)", each("openai.chat", EVERY)),
    ("Gemini SSE event (always with usage)", each("gemini.generate", GEMINI)),
    ("100 events cut every 1000 B, per event", each("openai.chat", PLAIN * 100, 1000)),
    ("8 MiB base64 before the usage, in 64 KiB pieces", whole("openai.images", b"application/json", BLOB)),
    ("WebSocket text message of 4 KB", websocket(frame(TEXT))),
    ("the same, compressed", websocket(frame(compressed(TEXT), 0xC1), DEFLATE)),
    (f"request's model, {len(ANSWER)} B body", peek(ANSWER)),
)


def main() -> None:
    print(f"{os.cpu_count()} cores; best of 0.3 s each")
    for name, action in ROWS:
        spent = measure(action)
        print(f"{spent / 100 if 'per event' in name else spent:10.2f} us  {name}")


if __name__ == "__main__":
    main()
