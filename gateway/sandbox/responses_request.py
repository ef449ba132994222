"""Reads a request of the Responses API strictly: fields, input items, tools.

What only OpenAI refuses is checked for its own variant only (`strict`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.sandbox import content
from gateway.sandbox.answer import Prompt, Tool, Wish
from gateway.sandbox.chat_request import EFFORT, check_picture
from gateway.sandbox.check import (
    ANY,
    BOOL,
    INT,
    LIST,
    NUM,
    OBJ,
    STR,
    Field,
    Fields,
    an_object,
    check,
)
from gateway.sandbox.openai_rules import check_form, check_function, check_model, known
from gateway.sandbox.vendor import Refusal

JSON = dict[str, Any]
FIELDS: Fields = {
    "model": Field(STR, required=True),
    "input": Field((str, list), required=True),
    "instructions": Field(STR),
    "previous_response_id": Field(STR),
    "store": Field(BOOL),
    "stream": Field(BOOL),
    "stream_options": Field(OBJ),
    "max_output_tokens": Field(INT, least=16),
    "max_tool_calls": Field(INT, least=1),
    "temperature": Field(NUM, least=0, most=2),
    "top_p": Field(NUM, least=0, most=1),
    "top_logprobs": Field(INT, least=0, most=20),
    "truncation": Field(STR, choices=("auto", "disabled")),
    "reasoning": Field(OBJ),
    "text": Field(OBJ),
    "tools": Field(LIST, most=128),
    "tool_choice": Field((str, dict)),
    "parallel_tool_calls": Field(BOOL),
    "include": Field(LIST),
    "metadata": Field(OBJ),
    "user": Field(STR),
} | dict.fromkeys(
    (
        "conversation",
        "service_tier",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "background",
        "safety_identifier",
        "context_management",
        "moderation",
        "background_options",
        "access_programs",
        "image",
    ),
    ANY,
)
# Ark's own, on top.
ARK = FIELDS | dict.fromkeys(("thinking", "caching", "expire_at", "session"), ANY)
PARTS = {"input_text": "text", "output_text": "text", "refusal": "refusal", "summary_text": "text", "text": "text"}
MEDIA = ("input_image", "input_file", "input_audio", "input_video")
# Who may say what, at OpenAI.
SPOKEN = ("output_text", "refusal")
HEARD = ("input_text", "input_image", "input_file", "input_audio")
ITEMS: dict[str, tuple[str, ...] | None] = {
    "message": ("type", "id", "role", "content", "status", "phase"),
    "function_call": (
        "type", "id", "call_id", "name", "arguments", "status", "caller", "namespace", "async",
    ),
    "function_call_output": ("type", "id", "call_id", "output", "status", "name", "caller", "namespace"),
    "reasoning": ("type", "id", "summary", "content", "encrypted_content", "status"),
    "item_reference": ("type", "id"),
} | dict.fromkeys(
    (
        "file_search_call", "computer_call", "computer_call_output", "web_search_call", "tool_search_call",
        "tool_search_output", "compaction", "image_generation_call", "code_interpreter_call", "local_shell_call",
        "local_shell_call_output", "shell_call", "shell_call_output", "apply_patch_call", "apply_patch_call_output",
        "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "mcp_call", "custom_tool_call",
        "custom_tool_call_output",
    )
)  # fmt: skip
PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
_CALL: Fields = {
    "call_id": Field(STR, required=True, least=1, most=64),
    "name": Field(STR, required=True),
    "arguments": Field(STR, required=True),
}
_OUTPUT: Fields = {"call_id": Field(STR, required=True), "output": Field((str, list), required=True)}


def owner(vendor: str, account: str) -> str:
    """Whose reasoning it is: what was sealed for one account cannot be used by another."""
    return f"{vendor}|{account}"


class Reader:
    """The prompt of a conversation: `before` are the items of earlier turns that the vendor remembers.

    `stored` gives an item by its id, if this account has one.
    """

    def __init__(self, owner: str, strict: bool, stored: Callable[[str], JSON | None]) -> None:
        self.owner = owner
        self.strict = strict
        self.stored = stored
        self.prompt = Prompt()
        self._called: list[str] = []
        self._answered: set[str] = set()

    def read(self, body: JSON, before: list[JSON]) -> Prompt:
        self.prompt.text(body.get("instructions") or "")
        given = items_of(body)
        for i, item in enumerate([*before, *given], -len(before)):
            self._item(item, f"input[{i}]", is_new=i >= 0)
        open_calls = [one for one in self._called if one not in self._answered]
        if open_calls:
            raise Refusal("history", f"No tool output found for function call {open_calls[0]}.", "input")
        if self.strict:
            _followed(given)
        return self.prompt

    def _item(self, item: Any, path: str, is_new: bool) -> None:
        kind = an_object(item, path).get("type", "message")
        if not isinstance(kind, str):
            raise Refusal("type", f"Invalid type for '{path}.type': expected a string.", f"{path}.type")
        if self.strict and is_new:
            self._allowed(item, kind, path)
        if kind == "item_reference":
            found = self.stored(str(item.get("id")))
            if found is None:
                raise Refusal("model", f"Item with id '{item.get('id')}' not found.", "input")
            self._item(found, path, False)
        elif kind == "message":
            self._message(item, path)
        elif kind == "function_call":
            check(item, _CALL, path=f"{path}.")
            self._called.append(item["call_id"])
            self.prompt.text(item["arguments"])
        elif kind == "function_call_output":
            self._output(item, path)
        elif kind == "reasoning":
            check(item, {"summary": Field(LIST, required=True)}, path=f"{path}.")
            if self.strict and is_new:
                self._reasoning(item, path)

    def _allowed(self, item: JSON, kind: str, path: str) -> None:
        if kind not in ITEMS:
            words = ", ".join(f"'{name}'" for name in ITEMS)
            raise Refusal("value", f"Invalid value: '{kind}'. Supported values are: {words}.", path)
        known(item, ITEMS[kind], path)
        prefix, ident = PREFIXES.get(kind), item.get("id")
        if prefix and isinstance(ident, str) and not ident.startswith(prefix):
            raise Refusal(
                "value",
                f"Invalid '{path}.id': '{ident}'. Expected an ID that begins with '{prefix}'.",
                f"{path}.id",
            )

    def _output(self, item: JSON, path: str) -> None:
        check(item, _OUTPUT, path=f"{path}.")
        if item["call_id"] not in self._called:
            raise Refusal(
                "history", f"No tool call found for function call output with call_id {item['call_id']}.", "input"
            )
        self._answered.add(item["call_id"])
        output = item["output"]
        self.prompt.result = output if isinstance(output, str) else self._parts(output, f"{path}.output", HEARD)
        self.prompt.text(self.prompt.result if isinstance(output, str) else "")

    def _reasoning(self, item: JSON, path: str) -> None:
        """Reasoning is known by its cipher, else by its id if it was stored."""
        check(item, {"id": Field(STR, required=True)}, path=f"{path}.")
        cipher = item.get("encrypted_content")
        if cipher is None:
            if self.stored(item["id"]) is None:
                raise Refusal(
                    "model",
                    f"Item with id '{item['id']}' not found. Items are not persisted when `store` is set to false. Try "
                    "again with `store` set to true, or remove this item from your input.",
                    "input",
                )
        elif not isinstance(cipher, str) or content.unsealed(cipher, self.owner) is None:
            raise Refusal(
                "sealed",
                f"The encrypted content for item {item['id']} could not be verified. Reason: Encrypted content could "
                "not be decrypted or parsed.",
            )

    def _message(self, item: JSON, path: str) -> None:
        roles = ("user", "system", "developer", "assistant")
        check(
            item,
            {"role": Field(STR, required=True, choices=roles), "content": Field((str, list), required=True)},
            path=f"{path}.",
        )
        self.prompt.tokens += 1
        text = item["content"]
        if isinstance(text, str):
            self.prompt.text(text)
        else:
            text = self._parts(text, f"{path}.content", SPOKEN if item["role"] == "assistant" else HEARD)
        if item["role"] == "user":
            self.prompt.said, self.prompt.result = text, None

    def _parts(self, parts: list[Any], path: str, allowed: tuple[str, ...]) -> str:
        text = ""
        choices = allowed if self.strict else (*PARTS, *MEDIA)
        for k, part in enumerate(parts):
            where = f"{path}[{k}]"
            check(an_object(part, where), {"type": Field(STR, required=True, choices=choices)}, path=f"{where}.")
            kind = part["type"]
            if kind in PARTS:
                check(part, {PARTS[kind]: Field(STR, required=True)}, path=f"{where}.")
                self.prompt.text(part[PARTS[kind]])
                text += part[PARTS[kind]]
            elif kind == "input_image":
                self._picture(part, where)
        return text

    def _picture(self, part: JSON, path: str) -> None:
        url = part.get("image_url")
        if not isinstance(url or part.get("file_id"), str):
            raise Refusal("missing", f"Missing required parameter: '{path}.image_url'.", f"{path}.image_url")
        if url is not None:
            check_picture(url, f"{path}.image_url")
        details = ("auto", "low", "high", "original")
        check(part, {"detail": Field(STR, choices=details)}, path=f"{path}.")
        self.prompt.image()


def items_of(body: JSON) -> list[Any]:
    """The items of a request; a string is one user message."""
    given = body["input"]
    return [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else list(given)


def _followed(items: list[Any]) -> None:
    """Reasoning belongs to what came of it."""
    for item, after in zip(items, [*items[1:], {}], strict=True):
        if item.get("type") != "reasoning" or after.get("type") == "reasoning":
            continue
        role = after.get("role")
        if not after or role not in (None, "assistant") or after.get("type") == "function_call_output":
            raise Refusal(
                "history",
                f"Item '{item['id']}' of type 'reasoning' was provided without its required following item.",
                "input",
            )


def check_openai(body: JSON, model: str) -> None:
    """What OpenAI refuses beyond the table, the conversation apart."""
    check_model(body, model, (body.get("reasoning") or {}).get("effort"), "reasoning.effort")
    if body.get("stream_options") and not body.get("stream"):
        raise Refusal(
            "value", "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
        )
    if body.get("tool_choice") == "required" and not body.get("tools"):
        raise Refusal("value", "Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice")
    for i, tool in enumerate(body.get("tools") or []):
        if isinstance(tool, dict) and tool.get("type") == "function":
            check_function(tool, f"tools[{i}]")
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema":
        check_form(form, "text.format")
    if form.get("type") == "json_object" and "json" not in str([body["input"], body.get("instructions")]).lower():
        raise Refusal(
            "value",
            "Response input messages must contain the word 'json' in some form to use 'text.format' of type "
            "'json_object'.",
            "input",
        )


def read_wish(body: JSON) -> Wish:
    tools: list[Tool] = []
    for i, tool in enumerate(body.get("tools") or []):
        path = f"tools[{i}]"
        check(an_object(tool, path), {"type": Field(STR, required=True)}, path=f"{path}.")
        if tool["type"] == "function":
            check(tool, {"name": Field(STR, required=True), "parameters": Field(OBJ)}, path=f"{path}.")
            tools.append(Tool(tool["name"], tool.get("parameters") or {}))
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        choice = choice.get("name") or choice.get("mode") or "auto"
    if choice not in ("auto", "none", "required") and choice not in [tool.name for tool in tools]:
        raise Refusal("value", f"Tool choice '{choice}' not found in 'tools' parameter.", "tool_choice")
    form = (body.get("text") or {}).get("format") or {"type": "text"}
    check(form, {"type": Field(STR, True, choices=("text", "json_object", "json_schema"))}, path="text.format.")
    schema = None
    if form.get("type") == "json_schema":
        check(form, {"name": Field(STR, required=True), "schema": Field(OBJ, required=True)}, path="text.format.")
        schema = form["schema"]
    elif form.get("type") == "json_object":
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    reasoning = body.get("reasoning") or {}
    check(reasoning, {"effort": Field(STR, choices=tuple(EFFORT))}, path="reasoning.")
    thinking = (body.get("thinking") or {}).get("type") == "enabled"
    return Wish(
        tools=tools,
        choice=choice,
        parallel=body.get("parallel_tool_calls") is not False,
        most=body.get("max_output_tokens"),
        schema=schema,
        think=EFFORT[reasoning.get("effort") or ("medium" if thinking else "none")],
    )
