"""A client's Messages request -> the neutral form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.dialects.anthropic_messages.words import DIALECT, EFFORTS, IMAGE_TYPES
from gateway.dialects.chat import form
from gateway.dialects.chat.fields import Fields, Lost, unsupported
from gateway.dialects.chat.form import (
    ChatRequest,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.errors import BadRequest

LOSSES = {
    "cache_control": "dropped: other vendors cache by themselves",
    "diagnostics": "dropped: what it asks for is told by Anthropic alone",
    "fallbacks": "dropped: the gateway has fallbacks of its own",
    "inference_geo": "dropped: the operator chooses the vendor",
    "service_tier": "dropped: tiers have no twin",
    "speed": "dropped: speeds have no twin",
    "messages.content.caller": "dropped: how a call came about is told by Anthropic alone",
    "messages.content.citations": "dropped: where an earlier answer's text came from",
    "tools.defer_loading": "dropped: all tools are there from the start",
    "tools.eager_input_streaming": "dropped: arguments are streamed as the vendor does it",
    "tools.input_examples": "dropped: they have no place",
    "compaction": "refused: the conversation cannot be shortened on the way",
    "container": "refused: containers are Anthropic's own",
    "context_management": "refused: the conversation cannot be shortened on the way",
    "mcp_servers": "refused: MCP servers are called by Anthropic alone",
    "thread": "refused: conversations are kept by Anthropic alone",
    "messages.content (document)": "refused: documents are not carried",
    "messages.content (search_result)": "refused: search results with sources are not carried",
    "messages.content (server tools)": "refused: what Anthropic's own tools did and gave is for Anthropic alone",
    "messages.content.source (file)": "refused: files lie at Anthropic",
    "tools (server tools)": "refused: dated types of tools are Anthropic's own",
    "tools.allowed_callers (without direct)": "refused: only code that runs at Anthropic could call the tool",
    "*": "dropped: unknown fields mean nothing to other vendors",
}  # fmt: skip

NAMES = {
    "max_output": "max_tokens",
    "stop": "stop_sequences",
    "parallel_tools": "tool_choice.disable_parallel_tool_use",
    "reasoning": "thinking",
    "format": "output_config.format",
    "user": "metadata.user_id",
}

# Fields that mean something only when they are filled with something other than these.
_IDLE: Mapping[str, tuple[str, ...]] = {
    "compaction": (),
    "container": (),
    "fallbacks": (),
    "mcp_servers": (),
    "service_tier": ("auto",),
    "speed": ("standard",),
    "thread": (),
}

_REFUSED_BLOCKS = {"document": "documents are not carried", "search_result": "search results are not carried"}
_CHOICES = {"auto": "auto", "any": "required", "tool": "required", "none": "none"}

_encode = msgspec.json.Encoder().encode

# The names of calls that have been read, by their ids.
_Calls = dict[str, str]
_Reader = Callable[[Fields, _Calls], Part]


def read(body: Any, model: str, lost: Lost) -> ChatRequest:
    """A decoded request; also the question for its number of tokens, which lacks what only answers need."""
    fields = Fields(body, "", lost)
    fields.raw("model")
    _refuse(fields)
    _cached(fields)
    choice, parallel = _choice(fields.object("tool_choice"))
    effort, answers = _output_config(fields)
    request = ChatRequest(
        model=model,
        system=_texts(fields, "system"),
        messages=_messages(fields),
        stream=fields.flag("stream") or False,
        tools=tuple(map(_tool, fields.objects("tools"))),
        tool_choice=choice,
        parallel_tools=parallel,
        max_output=fields.whole("max_tokens", 1),
        temperature=fields.number("temperature", 0, 2),  # Anthropic's own end at 1, those of others with its API at 2
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.whole("top_k", 0),
        stop=_stop(fields),
        format=answers,
        reasoning=_reasoning(fields.object("thinking"), effort),
        user=_user(fields.object("metadata")),
    )
    fields.done()  # what is left fits no other vendor, not even by its name: there is nothing for the extras
    return request


def _refuse(fields: Fields) -> None:
    for name, idle in _IDLE.items():
        if fields.has(name) and (value := fields.raw(name)) and value not in idle:
            fields.lost.unread(name)
    if (management := fields.object("context_management")) is not None:
        for edit in management.objects("edits"):
            # Thinking of earlier turns is no other vendor's business: it is cleared as it is.
            if not edit.needed("type").startswith("clear_thinking"):
                fields.lost.unread("context_management")


def _cached(fields: Fields) -> None:
    """Breakpoints stand nearly everywhere; all are named as one."""
    if fields.raw("cache_control") is not None:
        fields.lost.unread("cache_control")


# -- messages ----------------------------------------------------------------------------------------------------------


def _messages(fields: Fields) -> tuple[Message, ...]:
    calls: _Calls = {}
    messages = tuple(_message(message, calls) for message in fields.objects("messages"))
    if not messages:
        raise fields.wrong("messages", "a list that is not empty")
    return messages


def _message(message: Fields, calls: _Calls) -> Message:
    role = message.needed("role")
    readers = _ROLES.get(role)
    if readers is None:
        raise unsupported(message.place("role"), f"there is no role {role[:40]!r}")
    if not message.has("content"):
        raise message.wrong("content", "a string or a list of blocks")
    parts = _parts(message, "content", readers, calls)
    message.done()
    return Message(role, parts)


def _parts(fields: Fields, name: str, readers: Mapping[str, _Reader], calls: _Calls) -> tuple[Part, ...]:
    value = fields.raw(name)
    if type(value) is str:
        return (Text(value),)
    return tuple([_part(block, readers, calls) for block in fields.objects(name)])


def _part(block: Fields, readers: Mapping[str, _Reader], calls: _Calls) -> Part:
    kind = block.needed("type")
    reader = readers.get(kind)
    if reader is None:
        raise _misplaced(block, kind)
    part = reader(block, calls)
    _cached(block)
    block.done()
    return part


def _misplaced(block: Fields, kind: str) -> BadRequest:
    if kind in _KNOWN_BLOCKS:
        return BadRequest(f"{block.at}: a block of type {kind} cannot stand here", param=block.at)
    why = _REFUSED_BLOCKS.get(kind, f"blocks of type {kind[:40]!r} are not known to others than Anthropic")
    return unsupported(block.at, why)


def _texts(fields: Fields, name: str) -> tuple[Text, ...]:
    parts = _parts(fields, name, _TEXTS, {})
    return tuple(part for part in parts if isinstance(part, Text))


def _text(block: Fields, calls: _Calls) -> Text:
    if not block.items("citations"):
        return Text(block.needed("text"))
    block.lost.unread(block.place("citations"))
    return Text(block.needed("text"))


def _image(block: Fields, calls: _Calls) -> Image:
    source = block.object("source")
    if source is None:
        raise block.wrong("source", "there, and an object")
    kind = source.one_of("type", ("base64", "url", "file"))
    if kind == "file":
        raise unsupported(source.at, "files lie at Anthropic; send the picture itself")
    if kind == "base64":
        image = Image(data=source.needed("data"), media_type=source.one_of("media_type", IMAGE_TYPES) or "")
        if not image.media_type:
            raise source.wrong("media_type", f"one of {', '.join(IMAGE_TYPES)}")
    else:
        image = Image(url=source.needed("url"))
        if kind is None or not image.url.startswith(("https://", "http://")):
            raise BadRequest(f"{source.at} must be of type base64, or url with a web address", param=source.at)
    source.done()
    return image


def _thought(block: Fields, calls: _Calls) -> Thought:
    text, signature = block.text("thinking") or "", block.text("signature") or ""
    return Thought(text, signature, origin=DIALECT if signature else "")


def _redacted(block: Fields, calls: _Calls) -> Thought:
    return Thought(redacted=block.needed("data"), origin=DIALECT)


def _call(block: Fields, calls: _Calls) -> ToolCall:
    call = ToolCall(block.needed("id"), block.needed("name"), _encode(block.schema("input") or {}).decode())
    calls[call.id] = call.name
    if (caller := block.object("caller")) is not None and caller.text("type") != "direct":
        block.lost.unread(block.place("caller"))
    return call


def _result(block: Fields, calls: _Calls) -> ToolResult:
    id = block.needed("tool_use_id")
    parts = _parts(block, "content", _GIVEN, {})
    shown = tuple(part for part in parts if isinstance(part, Text | Image))
    return ToolResult(id, calls.get(id, ""), shown, block.flag("is_error") or False)


_TEXTS: Mapping[str, _Reader] = {"text": _text}
_GIVEN: Mapping[str, _Reader] = {"text": _text, "image": _image}
_ROLES: Mapping[str, Mapping[str, _Reader]] = {
    form.USER: {**_GIVEN, "tool_result": _result},
    form.ASSISTANT: {"text": _text, "thinking": _thought, "redacted_thinking": _redacted, "tool_use": _call},
    form.SYSTEM: _TEXTS,
}
_KNOWN_BLOCKS = frozenset(kind for readers in _ROLES.values() for kind in readers)


# -- what stands beside them -------------------------------------------------------------------------------------------


def _tool(tool: Fields) -> Tool:
    kind = tool.text("type")
    if kind not in (None, "custom"):
        raise unsupported(tool.at, f"tools of type {str(kind)[:40]!r} are Anthropic's own")
    if (callers := tool.items("allowed_callers")) and "direct" not in callers:
        raise unsupported(tool.place("allowed_callers"), "only code that runs at Anthropic could call it")
    for hint in ("defer_loading", "eager_input_streaming"):
        if tool.flag(hint):
            tool.lost.unread(tool.place(hint))
    read = Tool(tool.needed("name"), tool.text("description"), tool.schema("input_schema"), tool.flag("strict"))
    _cached(tool)
    tool.done()
    return read


def _choice(choice: Fields | None) -> tuple[ToolChoice | None, bool | None]:
    """Which tools may be called, and whether several at once."""
    if choice is None:
        return None, None
    kind = choice.one_of("type", _CHOICES)
    if kind is None:
        raise choice.wrong("type", f"one of {', '.join(_CHOICES)}")
    names = (choice.needed("name"),) if kind == "tool" else ()
    parallel = False if choice.flag("disable_parallel_tool_use") else None
    choice.done()
    return ToolChoice(_CHOICES[kind], names), parallel


def _reasoning(thinking: Fields | None, effort: str | None) -> Reasoning | None:
    if thinking is None:
        return Reasoning(effort=effort) if effort is not None else None
    kind = thinking.one_of("type", ("enabled", "adaptive", "disabled", "between_tools"))
    if kind is None:
        raise thinking.wrong("type", "enabled, adaptive, disabled or between_tools")
    budget = thinking.whole("budget_tokens", 1024)
    if kind == "enabled" and budget is None:
        raise thinking.wrong("budget_tokens", "there, and a number of tokens")
    display = thinking.one_of("display", ("summarized", "omitted"))
    thinking.done()
    # `between_tools` is no thinking either: notes on the way that come as thoughts.
    on = kind in ("enabled", "adaptive")
    shown = None if display is None else display == "summarized"
    return Reasoning(on=on, effort=effort, budget=budget if kind == "enabled" else None, shown=shown)


def _output_config(fields: Fields) -> tuple[str | None, Format | None]:
    effort = answers = None
    if (config := fields.object("output_config")) is not None:
        effort = config.one_of("effort", EFFORTS)
        answers = _format(config.object("format"))
        config.done()
    # The place that it had first.
    return effort, answers or _format(fields.object("output_format"))


def _format(answers: Fields | None) -> Format | None:
    if answers is None:
        return None
    schema = answers.schema("schema")
    if answers.one_of("type", ("json_schema",)) is None or schema is None:
        raise BadRequest(f"{answers.at} must be of type json_schema, with a schema", param=answers.at)
    answers.done()
    return Format(schema)


def _stop(fields: Fields) -> tuple[str, ...]:
    stop = fields.items("stop_sequences")
    if not all(type(sequence) is str for sequence in stop):
        raise fields.wrong("stop_sequences", "a list of strings")
    return tuple(stop)


def _user(metadata: Fields | None) -> str | None:
    if metadata is None:
        return None
    user = metadata.text("user_id")
    metadata.done()
    return user
