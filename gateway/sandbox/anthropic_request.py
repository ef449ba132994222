"""Reads the conversation of a Messages request as strictly as Anthropic does.

Neighbours of one role are one turn. Thinking must come back as it was signed, from the account it was signed for.
"""

from __future__ import annotations

import base64
import re
from typing import Any, NamedTuple

from gateway.sandbox import content, media
from gateway.sandbox.answer import Prompt
from gateway.sandbox.check import ANY, BOOL, INT, LIST, NUM, OBJ, STR, Field, Fields, fits
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
# The conversation and what is counted with it; the rest is for answers only.
COUNTED: Fields = {
    "model": Field(STR, required=True),
    "messages": Field(LIST, required=True),
    "system": Field((str, list)),
    "tools": Field(LIST),
    "tool_choice": Field(OBJ),
    "thinking": Field(OBJ),
    "output_config": Field(OBJ),
} | dict.fromkeys(("cache_control", "speed", "context_management", "mcp_servers", "betas"), ANY)
FIELDS: Fields = (
    COUNTED
    | {
        "max_tokens": Field(INT, required=True, least=1),
        "stream": Field(BOOL),
        "stop_sequences": Field(LIST),
        "temperature": Field(NUM, least=0, most=1),
        "top_p": Field(NUM, least=0, most=1),
        "top_k": Field(INT, least=0),
        "metadata": Field(OBJ),
        "service_tier": Field(STR, choices=("auto", "standard_only")),
    }
    | dict.fromkeys(("inference_geo", "container", "diagnostics", "fallbacks"), ANY)
)
# What may stand in a block beside its type; None: what a hosted tool made, taken as it is.
BLOCKS: dict[str, dict[str, tuple[str, ...] | None]] = {
    "user": {
        "text": ("text", "cache_control", "citations"),
        "image": ("source", "cache_control", "transformations"),
        "document": ("source", "cache_control", "citations", "context", "title"),
        "tool_result": ("tool_use_id", "content", "is_error", "cache_control", "toolset_name"),
        "search_result": None,
        "container_upload": None,
    },
    "assistant": {
        "text": ("text", "cache_control", "citations"),
        "tool_use": ("id", "name", "input", "cache_control", "caller", "toolset_name"),
        "thinking": ("thinking", "signature"),
        "redacted_thinking": ("data",),
        "server_tool_use": None,
        "web_search_tool_result": None,
    },
}
RESULT_PARTS = ("text", "image", "document", "search_result")
PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
# Fields of each source, all of them required.
SOURCES = {
    "image": {"base64": ("media_type", "data"), "url": ("url",), "file": ("file_id",)},
    "document": {
        "base64": ("media_type", "data"), "text": ("media_type", "data"), "url": ("url",), "file": ("file_id",),
        "content": ("content",),
    },
}  # fmt: skip
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", list: "list", dict: "dictionary"}
TOO_MANY_BREAKPOINTS = "A maximum of 4 blocks with cache_control may be provided."


def invalid(message: str, kind: str = "invalid") -> Refusal:
    return Refusal(kind, message)


def check(body: JSON, table: Fields, path: str = "") -> None:
    """Like the table check of the other vendors, in this vendor's words."""
    for name in body:
        if name not in table:
            raise invalid(f"{path}{name}: Extra inputs are not permitted", "unknown")
    for name, field in table.items():
        if name not in body:
            if field.required:
                raise invalid(f"{path}{name}: Field required", "missing")
            continue
        value = body[name]
        if value is None and not field.required:
            continue
        if not fits(value, field.types):
            raise invalid(f"{path}{name}: Input should be a valid {_WORDS[field.types[0]]}", "type")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if field.least is not None and value < field.least:
                raise invalid(f"{path}{name}: Input should be greater than or equal to {field.least}", "value")
            if field.most is not None and value > field.most:
                raise invalid(f"{path}{name}: Input should be less than or equal to {field.most}", "value")
        if field.choices is not None and value not in field.choices:
            raise invalid(f"{path}{name}: Input should be {' or '.join(map(repr, field.choices))}", "value")


def signature(text: str, owner: str) -> str:
    """What a thinking block is signed with, for one account."""
    return content.sealed(content.digest("thinking", text), owner)


class Turn(NamedTuple):
    """What one side said without the other in between; `first`: the number of its first message."""

    role: str
    first: int
    blocks: list[tuple[JSON, str]]  # with their places


class Reader:
    """The prompt of a request. `marked` is how many of its tokens stand before the last cache breakpoint."""

    def __init__(self, owner: str, signed: bool) -> None:
        self.owner = owner
        self.signed = signed
        self.prompt = Prompt()
        self.marked = 0
        self.marks = 0
        self.turns: list[Turn] = []
        self._ids: set[str] = set()

    def read(self, body: JSON) -> Prompt:
        system = body.get("system") or []
        for i, block in enumerate([{"type": "text", "text": system}] if isinstance(system, str) else system):
            if not isinstance(block, dict) or block.get("type") != "text":
                raise invalid(f"system.{i}: Input tag should be 'text'")
            self._text(block, f"system.{i}")
            self._mark(block)
        messages = body["messages"]
        if not messages:
            raise invalid("messages: at least one message is required")
        for i, message in enumerate(messages):
            self._message(message, i, i == len(messages) - 1)
        waiting: list[str] = []
        for turn in self.turns:
            waiting = self._turn(turn, waiting)
        if waiting:
            self._unanswered(waiting, len(messages) - 1)
        self._ending()
        if self.marks > 4:
            raise invalid(f"{TOO_MANY_BREAKPOINTS} Found {self.marks}.")
        return self.prompt

    def _message(self, message: Any, i: int, last: bool) -> None:
        path = f"messages.{i}"
        if not isinstance(message, dict):
            raise invalid(f"{path}: Input should be a valid dictionary")
        for name in message:
            if name not in ("role", "content"):
                raise invalid(f"{path}.{name}: Extra inputs are not permitted", "unknown")
        role = message.get("role")
        if role not in BLOCKS:
            raise invalid(f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant"')
        if i == 0 and role != "user":
            raise invalid('messages: first message must use the "user" role')
        blocks = message.get("content")
        if isinstance(blocks, str) and (blocks or not (last and role == "assistant")):
            blocks = [{"type": "text", "text": blocks}]
        if not isinstance(blocks, list | str):
            raise invalid(
                f"{path}.content: Input should be a valid list"
                if "content" in message
                else f"{path}.content: Field required"
            )
        if not blocks and not (last and role == "assistant"):
            raise invalid(
                f"{path}: all messages must have non-empty content except for the optional final assistant message"
            )
        self.prompt.tokens += 1
        if not self.turns or self.turns[-1].role != role:
            self.turns.append(Turn(role, i, []))
        self.turns[-1].blocks.extend((block, f"{path}.content.{k}") for k, block in enumerate(blocks))

    def _turn(self, turn: Turn, waiting: list[str]) -> list[str]:
        for block, path in turn.blocks:
            self._known(block, turn.role, path)
        kinds = [block["type"] for block, _ in turn.blocks]
        results = kinds.count("tool_result")
        given = [block.get("tool_use_id") for block, _ in turn.blocks if block["type"] == "tool_result"]
        missing = [one for one in waiting if one not in given]
        # Results stand before all else: others behind a text are not seen as the answer.
        if missing or waiting and kinds[:results] != ["tool_result"] * results:
            self._unanswered(missing or waiting, turn.first - 1)
        if len(set(map(str, given))) < len(given):
            raise invalid(
                f"messages.{turn.first}: each tool_use must have a single result. Found multiple `tool_result` blocks "
                "with the same id",
                "history",
            )
        said: list[str] = []
        for block, path in turn.blocks:
            self._block(block, path, said, waiting)
        if turn.role == "user":
            if given:
                self.prompt.said = "".join(said) or self.prompt.said
            else:
                self.prompt.said, self.prompt.result = "".join(said), None
        elif kinds and kinds[-1] in ("thinking", "redacted_thinking"):
            raise invalid(f"messages.{turn.first}: The final block in an assistant message cannot be `thinking`.")
        return [block["id"] for block, _ in turn.blocks if block["type"] == "tool_use"]

    def _ending(self) -> None:
        """An answer that is begun in the request must not end in white space."""
        role, _, blocks = self.turns[-1]
        if role == "assistant" and blocks and blocks[-1][0]["type"] == "text":
            text = blocks[-1][0]["text"]
            if text != text.rstrip():
                raise invalid("messages: final assistant content cannot end with trailing whitespace")

    def _unanswered(self, ids: list[str], i: int) -> None:
        raise invalid(
            f"messages.{i}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
            "message.",
            "history",
        )

    def _known(self, block: Any, role: str, path: str) -> None:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in BLOCKS[role]:
            tags = ", ".join(f"'{tag}'" for tag in BLOCKS[role])
            raise invalid(
                f"{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}"
            )
        known = BLOCKS[role][kind]
        for name in block:
            if known is not None and name not in ("type", *known):
                raise invalid(f"{path}.{kind}.{name}: Extra inputs are not permitted", "unknown")

    def _block(self, block: JSON, path: str, said: list[str], waiting: list[str]) -> None:
        kind = block["type"]
        if kind == "text":
            said.append(self._text(block, path))
        elif kind == "tool_result":
            self._result(block, path, waiting)
        elif kind == "thinking":
            self._thinking(block, path)
        elif kind == "redacted_thinking":
            self._redacted(block, path)
        elif kind == "tool_use":
            self._tool_use(block, path)
        elif kind in SOURCES:
            self._source(block, kind, path)
        self._mark(block)

    def _text(self, block: JSON, path: str) -> str:
        text = block.get("text")
        if not isinstance(text, str):
            raise invalid(
                f"{path}.text: Field required"
                if "text" not in block
                else f"{path}.text: Input should be a valid string"
            )
        where = path.partition(".")[0]
        if not text:
            raise invalid(f"{where}: text content blocks must be non-empty")
        if not text.strip():
            raise invalid(f"{where}: text content blocks must contain non-whitespace text")
        self.prompt.text(text)
        return text

    def _mark(self, block: JSON) -> None:
        if block.get("cache_control"):
            self.marks += 1
            self.marked = self.prompt.tokens

    def _result(self, block: JSON, path: str, waiting: list[str]) -> None:
        name = block.get("tool_use_id")
        if not isinstance(name, str):
            raise invalid(f"{path}.tool_use_id: Field required")
        if name not in waiting:
            raise invalid(
                f"{path}: unexpected `tool_use_id` found in `tool_result` blocks: {name}. Each `tool_result` block "
                "must have a corresponding `tool_use` block in the previous message.",
                "history",
            )
        if not isinstance(block.get("is_error"), bool | None):
            raise invalid(f"{path}.tool_result.is_error: Input should be a valid boolean")
        value = block.get("content") or ""
        if not isinstance(value, str | list):
            raise invalid(f"{path}.tool_result.content: Input should be a valid list")
        said = [value] if isinstance(value, str) else []
        if isinstance(value, str):
            self.prompt.text(value)
        for k, part in enumerate(value if isinstance(value, list) else []):
            where = f"{path}.tool_result.content.{k}"
            self._known(part, "user", where)
            if part["type"] not in RESULT_PARTS:
                raise invalid(f"{where}: Input tag '{part['type']}' does not match any of the expected tags")
            if part["type"] == "text":
                said.append(self._text(part, where))
            elif part["type"] in SOURCES:
                self._source(part, part["type"], where)
        self.prompt.result = "".join(said)

    def _thinking(self, block: JSON, path: str) -> None:
        if not isinstance(block.get("thinking"), str):
            raise invalid(f"{path}.thinking.thinking: Field required")
        if not self.signed:
            return
        if not isinstance(block.get("signature"), str):
            raise invalid(f"{path}.thinking.signature: Field required")
        if block["signature"] != signature(block["thinking"], self.owner):
            raise invalid(f"{path}: Invalid `signature` in `thinking` block")

    def _redacted(self, block: JSON, path: str) -> None:
        if not isinstance(block.get("data"), str):
            raise invalid(f"{path}.redacted_thinking.data: Field required")
        if self.signed and content.unsealed(block["data"], self.owner) is None:
            raise invalid(f"{path}: Invalid `data` in `redacted_thinking` block")

    def _tool_use(self, block: JSON, path: str) -> None:
        for name, kind in (("id", str), ("name", str), ("input", dict)):
            if not isinstance(block.get(name), kind):
                raise invalid(
                    f"{path}.tool_use.{name}: "
                    + ("Input should be a valid " + _WORDS[kind] if name in block else "Field required")
                )
        if not _ID.fullmatch(block["id"]):
            raise invalid(f"{path}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        if not _ID.fullmatch(block["name"]) or len(block["name"]) > 200:
            raise invalid(f"{path}.tool_use.name: String should have at most 200 characters")
        if block["id"] in self._ids:
            raise invalid("messages: `tool_use` ids must be unique", "history")
        self._ids.add(block["id"])
        self.prompt.text(content.spaced(block["input"]))

    def _source(self, block: JSON, kind: str, path: str) -> None:
        source = block.get("source")
        if not isinstance(source, dict):
            raise invalid(f"{path}.{kind}.source: Field required")
        form = source.get("type")
        if form not in SOURCES[kind]:
            tags = ", ".join(f"'{tag}'" for tag in SOURCES[kind])
            raise invalid(f"{path}.{kind}.source: Input tag '{form}' does not match any of the expected tags: {tags}")
        wanted: Fields = {name: Field((str, list) if name == "content" else STR, True) for name in SOURCES[kind][form]}
        check(source, {"type": Field(STR)} | wanted, f"{path}.{kind}.source.{form}.")
        if form == "url" and not source["url"].startswith("https://"):
            raise invalid(f"{path}.{kind}.source.url.url: Only HTTPS URLs are supported.")
        if form == "base64":
            _base64(source, kind, f"{path}.{kind}.source.base64")
        if kind == "image":
            self.prompt.image()


def _base64(source: JSON, kind: str, path: str) -> None:
    allowed = PICTURES if kind == "image" else ("application/pdf",)
    if source["media_type"] not in allowed:
        raise invalid(f"{path}.media_type: Input should be {' or '.join(map(repr, allowed))}")
    try:
        data = base64.b64decode(source["data"], validate=True)
    except ValueError:
        raise invalid(f"{path}.data: Invalid base64 data") from None
    if not data:
        raise invalid(f"{path}: {kind} cannot be empty")
    found = media.kind_of(data)
    if kind == "image" and found not in (None, source["media_type"]):
        raise invalid(
            f"{path}.data: Image does not match the provided media type {source['media_type']}, it is {found}"
        )
