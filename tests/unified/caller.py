"""A client that sees every byte, and can leave at any of them; and a gateway whose vendor is the test itself."""

from __future__ import annotations

import json
from typing import Any

from tests.unified.place import VENDOR_KEY, Answer, Place
from tests.wire.ends import End, Ended, connect
from tests.wire.messages import Message, body_length, is_chunked, read_answer_head, request

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
SPEAKS = {"openai.chat": CHAT, "openai.responses": RESPONSES}


def raw_provider(port: int, **more: Any) -> dict[str, Any]:
    """A provider at a port of the test's own."""
    return {"base_url": f"http://127.0.0.1:{port}", "keys": ["env:VENDOR_KEY"], "speaks": SPEAKS, **more}


def chat_body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello there"}], **more}


class Talk:
    """One call on a connection of its own."""

    def __init__(self, end: End, head: Message) -> None:
        self.end = end
        self.head = head
        self.body = b""

    @property
    def request_id(self) -> str:
        return self.head.value(b"x-request-id").decode()

    async def piece(self) -> bytes:
        """The next chunk; empty at the proper end. Raises Ended where the answer is cut."""
        line = await self.end.read_until(b"\r\n")
        data = await self.end.read_exactly(int(line, 16) + 2)
        self.body += data[:-2]
        return data[:-2]

    async def rest(self) -> Answer:
        """Everything to the end, however that comes."""
        cut = False
        try:
            if is_chunked(self.head):
                while await self.piece():
                    pass
            else:
                self.body = await self.end.read_exactly(body_length(self.head) or 0)
        except Ended:
            cut = True
        self.end.close()
        names = {name.decode().lower(): value.decode() for name, value in self.head.fields}
        return Answer(self.head.status, names, self.body, cut)

    def leave(self) -> None:
        self.end.reset()


async def begin(place: Place, key: str, body: dict[str, Any], path: str = CHAT, **fields: str) -> Talk:
    """A call up to the head of its answer. `fields`: more of the request's, underscores for hyphens."""
    end = await send(place, key, body, path, **fields)
    try:
        return Talk(end, await read_answer_head(end))
    except Ended:
        end.close()
        raise


async def send(place: Place, key: str, body: dict[str, Any], path: str = CHAT, **fields: str) -> End:
    """The request only."""
    lines = [(b"Authorization", b"Bearer " + key.encode()), (b"Content-Type", b"application/json")]
    lines += [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    end = await connect(place.port)
    try:
        await end.send(request(path.encode(), b"POST", json.dumps(body).encode(), lines))
    except Ended:
        end.close()
        raise
    return end


async def ask(place: Place, key: str, body: dict[str, Any], path: str = CHAT, **fields: str) -> Answer:
    """A whole call."""
    return await (await begin(place, key, body, path, **fields)).rest()


def model_of(message: Message) -> str:
    """The model that a vendor is asked for."""
    return str(json.loads(message.body)["model"])


def key_of(message: Message) -> str:
    """The key that a vendor is given."""
    return message.value(b"authorization").decode().removeprefix("Bearer ")


__all__ = ["VENDOR_KEY", "Talk", "ask", "begin", "chat_body", "key_of", "model_of", "raw_provider", "send"]
