"""Reads a Messages request as strictly as Anthropic does; signatures of thinking are verified against their text."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from gateway.sandbox import content
from gateway.sandbox.answer import Prompt, Tool, Wish
from gateway.sandbox.check import ANY, BOOL, INT, LIST, NUM, OBJ, STR, Field, Fields, fits
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
FIELDS: Fields = {
    "model": Field(STR, required=True),
    "max_tokens": Field(INT, required=True, least=1),
    "messages": Field(LIST, required=True),
    "system": Field((str, list)),
    "stream": Field(BOOL),
    "stop_sequences": Field(LIST),
    "temperature": Field(NUM, least=0, most=1),
    "top_p": Field(NUM, least=0, most=1),
    "top_k": Field(INT, least=0),
    "tools": Field(LIST),
    "tool_choice": Field(OBJ),
    "thinking": Field(OBJ),
    "metadata": Field(OBJ),
} | dict.fromkeys(
    (
        "output_config",
        "cache_control",
        "service_tier",
        "speed",
        "inference_geo",
        "container",
        "mcp_servers",
        "context_management",
        "diagnostics",
        "betas",
        "fallbacks",
    ),
    ANY,
)
BLOCKS = {
    "user": ("text", "image", "document", "tool_result", "search_result", "container_upload"),
    "assistant": ("text", "tool_use", "thinking", "redacted_thinking", "server_tool_use", "web_search_tool_result"),
}
EFFORT = {"low": 4, "medium": 8, "high": 16, "xhigh": 24, "max": 32}
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


def signature(text: str, vendor: str) -> str:
    """What a thinking block is signed with."""
    return base64.b64encode(b"sandbox" + hashlib.sha256(f"{vendor}|{text}".encode()).digest()).decode()


class Reader:
    """The prompt of a request. `marked` is how many of its tokens stand before the last cache breakpoint."""

    def __init__(self, vendor: str, signed: bool) -> None:
        self.vendor = vendor
        self.signed = signed
        self.prompt = Prompt()
        self.marked = 0
        self.marks = 0

    def read(self, body: JSON) -> Prompt:
        system = body.get("system") or []
        for i, block in enumerate([{"type": "text", "text": system}] if isinstance(system, str) else system):
            if block.get("type") != "text":
                raise invalid(f"system.{i}: Input tag should be 'text'")
            self._text(block, f"system.{i}")
            self._mark(block)
        if not body["messages"]:
            raise invalid("messages: at least one message is required")
        waiting: list[str] = []
        for i, message in enumerate(body["messages"]):
            waiting = self._message(message, i, waiting)
        if waiting:
            self._unanswered(waiting, len(body["messages"]) - 1)
        if self.marks > 4:
            raise invalid(f"{TOO_MANY_BREAKPOINTS} Found {self.marks}.")
        return self.prompt

    def _message(self, message: Any, i: int, waiting: list[str]) -> list[str]:
        path = f"messages.{i}"
        if not isinstance(message, dict):
            raise invalid(f"{path}: Input should be a valid dictionary")
        role = message.get("role")
        if role not in BLOCKS:
            raise invalid(f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant"')
        if i == 0 and role != "user":
            raise invalid('messages: first message must use the "user" role')
        self.prompt.tokens += 1
        blocks = message.get("content")
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        if not isinstance(blocks, list):
            raise invalid(
                f"{path}.content: Input should be a valid list"
                if "content" in message
                else f"{path}.content: Field required"
            )
        if not blocks and i:
            raise invalid(
                f"{path}: all messages must have non-empty content except for the optional final assistant message"
            )
        given = [b.get("tool_use_id") for b in blocks if isinstance(b, dict) and b.get("type") == "tool_result"]
        missing = [one for one in waiting if one not in given]
        if missing:
            self._unanswered(missing, i - 1)
        said: list[str] = []
        for k, block in enumerate(blocks):
            self._block(block, role, f"{path}.content.{k}", said, waiting, k)
        if role == "user":
            if given:
                self.prompt.said = "".join(said) or self.prompt.said
            else:
                self.prompt.said, self.prompt.result = "".join(said), None
        return [b["id"] for b in blocks if b["type"] == "tool_use"]

    def _unanswered(self, ids: list[str], i: int) -> None:
        raise invalid(
            f"messages.{i}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
            "message.",
            "history",
        )

    def _block(self, block: Any, role: str, path: str, said: list[str], waiting: list[str], place: int) -> None:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in BLOCKS[role]:
            tags = ", ".join(f"'{tag}'" for tag in BLOCKS[role])
            raise invalid(
                f"{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}"
            )
        if kind == "text":
            said.append(self._text(block, path))
        elif kind == "tool_result":
            self._result(block, path, waiting)
        elif kind == "thinking":
            self._thinking(block, path, place)
        elif kind == "tool_use":
            self._tool_use(block, path)
        elif kind in ("image", "document"):
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
        if not text:
            raise invalid("messages: text content blocks must be non-empty")
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
        value = block.get("content") or ""
        if isinstance(value, list):
            for part in value:
                if isinstance(part, dict) and part.get("type") == "image":
                    self._source(part, "image", path)
            value = "".join(part.get("text", "") for part in value if isinstance(part, dict))
        self.prompt.text(value)
        self.prompt.result = value

    def _thinking(self, block: JSON, path: str, place: int) -> None:
        if not isinstance(block.get("thinking"), str):
            raise invalid(f"{path}.thinking.thinking: Field required")
        if not self.signed:
            return
        if not isinstance(block.get("signature"), str):
            raise invalid(f"{path}.thinking.signature: Field required")
        if block["signature"] != signature(block["thinking"], self.vendor):
            raise invalid(f"{path}: Invalid `signature` in `thinking` block")

    def _tool_use(self, block: JSON, path: str) -> None:
        for name, kind in (("id", str), ("name", str), ("input", dict)):
            if not isinstance(block.get(name), kind):
                raise invalid(
                    f"{path}.tool_use.{name}: "
                    + ("Input should be a valid " + _WORDS[kind] if name in block else "Field required")
                )
        if not all(c.isascii() and (c.isalnum() or c in "_-") for c in block["id"]):
            raise invalid(f"{path}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        self.prompt.text(content.spaced(block["input"]))

    def _source(self, block: JSON, kind: str, path: str) -> None:
        source = block.get("source")
        if not isinstance(source, dict) or source.get("type") not in ("base64", "url", "file", "text", "content"):
            raise invalid(f"{path}.{kind}.source: Field required")
        if source["type"] == "base64":
            try:
                base64.b64decode(source.get("data") or "", validate=True)
            except ValueError:
                raise invalid(f"{path}.{kind}.source.base64.data: Invalid base64 data") from None
        if kind == "image":
            self.prompt.image()


def expect_thinking(body: JSON) -> None:
    """With thinking on, the assistant turn that called the tools must come back with its thinking in front."""
    if (body.get("thinking") or {}).get("type") != "enabled":
        return
    turns = [
        (i, m) for i, m in enumerate(body["messages"]) if m["role"] == "assistant" and isinstance(m["content"], list)
    ]
    if not turns or turns[-1][0] != len(body["messages"]) - 2:
        return
    i, message = turns[-1]
    first = message["content"][0]["type"]
    if any(block["type"] == "tool_use" for block in message["content"]) and "thinking" not in first:
        raise invalid(
            f"messages.{i}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When "
            "`thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the "
            "lastmost set of `tool_use` and `tool_result` blocks).",
            "history",
        )


def read_thinking(body: JSON) -> int:
    """How many tokens to think, checked against the rules of `thinking`."""
    thinking = body.get("thinking") or {"type": "disabled"}
    kind = thinking.get("type")
    if kind not in ("enabled", "adaptive", "disabled", "between_tools"):
        raise invalid(
            f"thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'disabled', "
            "'enabled', 'adaptive'"
        )
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int):
            raise invalid("thinking.enabled.budget_tokens: Field required")
        if budget < 1024:
            raise invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if "max_tokens" in body and budget >= body["max_tokens"]:
            raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
        if body.get("temperature") not in (None, 1):
            raise invalid("`temperature` may only be set to 1 when thinking is enabled.")
        if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
            raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    effort = (body.get("output_config") or {}).get("effort", "medium")
    if effort not in EFFORT:
        raise invalid("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
    return EFFORT[effort] if kind in ("enabled", "adaptive") else 0


def read_wish(body: JSON) -> Wish:
    tools: list[Tool] = []
    for i, tool in enumerate(body.get("tools") or []):
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise invalid(f"tools.{i}.name: Field required")
        if tool.get("type", "custom") != "custom":
            continue
        if not isinstance(tool.get("input_schema"), dict):
            raise invalid(f"tools.{i}.custom.input_schema: Field required")
        if tool["input_schema"].get("type") != "object":
            raise invalid(f"tools.{i}.custom.input_schema.type: Input should be 'object'")
        tools.append(Tool(tool["name"], tool["input_schema"]))
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = {"auto": "auto", "any": "required", "none": "none", "tool": choice.get("name")}.get(str(choice.get("type")))
    if kind is None:
        raise invalid(
            f"tool_choice: Input tag '{choice.get('type')}' found using 'type' does not match any of the expected "
            "tags: 'auto', 'any', 'tool', 'none'"
        )
    if choice["type"] == "tool" and kind not in [tool.name for tool in tools]:
        raise invalid(f"Tool '{kind}' not found in provided tools")
    if body.get("tool_choice") and not body.get("tools"):
        raise invalid("tool_choice may only be specified while providing tools.")
    stops = body.get("stop_sequences") or []
    if any(not isinstance(stop, str) or not stop.strip() for stop in stops):
        raise invalid("stop_sequences: each stop sequence must contain non-whitespace")
    form = (body.get("output_config") or {}).get("format") or {}
    return Wish(
        tools=tools,
        choice=str(kind),
        parallel=not choice.get("disable_parallel_tool_use"),
        most=body.get("max_tokens"),
        stops=list(stops),
        schema=form.get("schema"),
        think=read_thinking(body),
    )
