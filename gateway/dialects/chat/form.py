"""The neutral form of a chat: what a request asks, what an answer says, and the events of a stream.

```
 client's request ── surface.read ──► ChatRequest ── vendor.write ──► vendor's request
 client's answer  ◄─ surface.write ── Answer      ◄─ vendor.read  ─── vendor's answer
 client's events  ◄─ writer.write ─── Event ...   ◄─ reader.read  ─── vendor's events
```

Values are frozen or treated so: a request is written once for each vendor that is tried. Usage is no part of an answer:
it is read beside it, in the normal form, for all dialects alike (`dialects/usage.py`).

To add something that two dialects share: give it a field here, a name in each surface's NAMES, and let each vendor
carry it or list it in its LOSSES. What only one family knows stays in `extras`.
"""

from __future__ import annotations

from typing import Any

import msgspec

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"

# Why an answer ended.
STOP, LENGTH, TOOL_CALLS, FILTERED = "stop", "length", "tool_calls", "filtered"
FINISHES = (STOP, LENGTH, TOOL_CALLS, FILTERED)

# -- parts -------------------------------------------------------------------------------------------------------------


class Citation(msgspec.Struct, frozen=True):
    """Where a statement comes from. `start` and `end`: characters of the text that it stands behind."""

    url: str
    title: str = ""
    quote: str = ""
    start: int | None = None
    end: int | None = None


class Text(msgspec.Struct, frozen=True, tag=True):
    text: str
    citations: tuple[Citation, ...] = ()


class Image(msgspec.Struct, frozen=True, tag=True):
    """A picture: a `url` (http or https), or `data` (base64 of the standard alphabet, padded) and its media type."""

    url: str = ""
    data: str = ""
    media_type: str = ""
    detail: str | None = None  # low, high, auto: OpenAI's


class Thought(msgspec.Struct, frozen=True, tag=True):
    """Reasoning. What a vendor signed goes back to the same vendor account untouched, or not at all.

    `signature` and `redacted` are opaque; `origin` is the dialect that made them, `account` whose they are.
    """

    text: str = ""
    signature: str = ""
    redacted: str = ""  # the vendor's own cipher, in place of text
    id: str = ""  # Responses: the item's
    origin: str = ""
    account: str = ""


class ToolCall(msgspec.Struct, frozen=True, tag=True):
    """`arguments` is JSON text as the model wrote it: it need not be valid, and may be empty for none."""

    id: str
    name: str
    arguments: str = ""
    signature: str = ""  # Gemini signs calls
    origin: str = ""  # of the signature, as in Thought
    account: str = ""


class ToolResult(msgspec.Struct, frozen=True, tag=True):
    """What a tool gave. `name` is that of the call, where it is known."""

    id: str
    name: str = ""
    parts: tuple[Text | Image, ...] = ()
    failed: bool = False


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """The model's own words for why it does not answer."""

    text: str


Part = Text | Image | Thought | ToolCall | ToolResult | Refusal


class Message(msgspec.Struct, frozen=True):
    """One turn. Results of tools are parts of a user's turn, those of one turn of calls together; a `system` message is
    one that came after the conversation had begun.
    """

    role: str
    parts: tuple[Part, ...]
    name: str | None = None


# -- a request ---------------------------------------------------------------------------------------------------------


class Tool(msgspec.Struct, frozen=True):
    """A function. `parameters` is its JSON schema; None: it takes none."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """`mode`: auto, none or required; `names`: only these tools may be called (one name and required: just that)."""

    mode: str
    names: tuple[str, ...] = ()


class Format(msgspec.Struct, frozen=True):
    """JSON as the answer's form; `schema` None: any object."""

    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Reasoning(msgspec.Struct, frozen=True):
    """How much the model shall think. All None: the client asked for thinking, and said no more.

    `on`: False switches it off. `effort`: one of EFFORTS. `budget`: tokens. `shown`: whether the client wants to see
    it. `summary`: Responses: auto, concise, detailed.
    """

    on: bool | None = None
    effort: str | None = None
    budget: int | None = None
    shown: bool | None = None
    summary: str | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks. None and empty: not said, the vendor's default holds."""

    model: str  # as the client wrote it
    messages: tuple[Message, ...]
    system: tuple[Text, ...] = ()  # what stood before the conversation
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    max_output: int | None = None
    temperature: float | None = None  # 0 to 2
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = ()
    format: Format | None = None
    reasoning: Reasoning | None = None
    logprobs: int | None = None  # alternatives for each token; 0: those chosen only
    user: str | None = None
    extras: dict[str, Any] = {}  # the client's other top-level fields, decoded, under their own names


# -- an answer ---------------------------------------------------------------------------------------------------------


class Logprob(msgspec.Struct, frozen=True):
    """One token of the answer and how likely it was, with the likeliest others."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top: tuple[Logprob, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer: texts, thoughts, calls and pictures in the order in which the vendor gave them."""

    id: str = ""
    created: int | None = None  # seconds since 1970
    parts: tuple[Part, ...] = ()
    finish: str = STOP
    stop_sequence: str | None = None  # which one, where the vendor says so
    logprobs: tuple[Logprob, ...] = ()


# -- events of a stream ------------------------------------------------------------------------------------------------


class Began(msgspec.Struct, frozen=True):
    """The first event; there may be others before the first piece, they change nothing."""

    id: str = ""
    created: int | None = None


class TextPiece(msgspec.Struct, frozen=True):
    text: str
    logprobs: tuple[Logprob, ...] = ()


class Cited(msgspec.Struct, frozen=True):
    """A source of the text so far."""

    citation: Citation


class RefusalPiece(msgspec.Struct, frozen=True):
    text: str


class ThoughtPiece(msgspec.Struct, frozen=True):
    text: str


class ThoughtEnded(msgspec.Struct, frozen=True):
    """The current thought is whole; a following piece begins another. `signature`: see Thought. Where a vendor does not
    tell the end of a thought, there is no such event: whatever else comes ends it.
    """

    signature: str = ""
    id: str = ""


class RedactedThought(msgspec.Struct, frozen=True):
    data: str


class CallBegan(msgspec.Struct, frozen=True):
    """A call; `index` counts calls from 0. Calls may be told interleaved: their pieces name the index."""

    index: int
    id: str
    name: str
    signature: str = ""


class CallPiece(msgspec.Struct, frozen=True):
    index: int
    arguments: str


class CallSigned(msgspec.Struct, frozen=True):
    """A signature that came later than its call."""

    index: int
    signature: str


class ImageGiven(msgspec.Struct, frozen=True):
    image: Image


class Finished(msgspec.Struct, frozen=True):
    """Why the answer ended; told at most once, after all pieces."""

    reason: str
    stop_sequence: str | None = None


Event = (
    Began | TextPiece | Cited | RefusalPiece | ThoughtPiece | ThoughtEnded | RedactedThought
    | CallBegan | CallPiece | CallSigned | ImageGiven | Finished
)  # fmt: skip
