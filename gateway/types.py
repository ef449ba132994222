"""The vocabulary: values that every layer shares. No I/O, no clock."""

from __future__ import annotations

import msgspec

SURFACE_PASSTHROUGH = "passthrough"

# How an exchange can end; exactly one per exchange (`gateway_stream_ends_total{reason}`).
END_COMPLETE = "complete"
END_CLIENT_LEFT = "client_left"
END_VENDOR_TRUNCATED = "vendor_truncated"
END_IDLE_TIMEOUT = "idle_timeout"
END_LIMIT = "limit"
END_REASONS = (END_COMPLETE, END_CLIENT_LEFT, END_VENDOR_TRUNCATED, END_IDLE_TIMEOUT, END_LIMIT)

# What an admitted call came to; exactly one per call, docs/money.md says what each is charged.
OUTCOME_COMPLETE = "complete"
OUTCOME_NO_USAGE = "no_usage"
OUTCOME_FILTERED = "filtered"
OUTCOME_VENDOR_TRUNCATED = "vendor_truncated"
OUTCOME_CLIENT_LEFT = "client_left"
OUTCOME_FAILED = "failed"
OUTCOME_CACHED = "cached"
OUTCOME_EXPIRED = "expired"
OUTCOME_CANCELLED = "cancelled"
OUTCOMES = (
    OUTCOME_COMPLETE, OUTCOME_NO_USAGE, OUTCOME_FILTERED, OUTCOME_VENDOR_TRUNCATED, OUTCOME_CLIENT_LEFT, OUTCOME_FAILED,
    OUTCOME_CACHED, OUTCOME_EXPIRED, OUTCOME_CANCELLED,
)  # fmt: skip
# Those that are charged: their entry is a `settle`, that of all others a `release`.
CHARGED = frozenset({OUTCOME_COMPLETE, OUTCOME_NO_USAGE, OUTCOME_CLIENT_LEFT, OUTCOME_CACHED})


class Usage(msgspec.Struct, frozen=True):
    """Counted units of one exchange in the normal form; all integers >= 0.

    `input` includes `cached_input` and `cache_write`; `output` includes `reasoning`. `extra_units` counts what is not
    tokens (images, searches, seconds, characters).
    """

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    extra_units: dict[str, float] = {}

    @property
    def total(self) -> int:
        return self.input + self.output

    def tokens(self) -> bool:
        """Whether any token counter is above zero."""
        return bool(self.input or self.output or self.cached_input or self.cache_write or self.reasoning)


class Features(msgspec.Struct, frozen=True):
    """What converters may count on at a model; None: not said.

    `thinking`: how it is asked to think: by `effort`, by `budget` of tokens, `adaptive` (Anthropic's), by a `switch`,
    or `none`. `images`: url, base64, url+base64 or none. `reasoning_echo`: its reasoning must be sent back on tool
    turns.
    """

    thinking: str | None = None
    images: str | None = None
    json_schema: bool | None = None
    max_output: int | None = None
    gemini_image_output: str | None = None
    max_tokens_field: str | None = None
    reasoning_echo: bool | None = None


class Caller(msgspec.Struct, frozen=True):
    """Who a gateway key stands for, and what it may do. None: no limit of this kind."""

    key_id: str
    name: str
    account: str
    models: frozenset[str] | None = None
    rpm: int | None = None  # requests per minute
    tpm: int | None = None  # tokens per minute
    concurrency: int | None = None
    budget: int | None = None  # nano-credits
    period: str | None = None  # of the budget: "day" or "month" (UTC); None: all time
    expires: float | None = None  # seconds since 1970
    disabled: bool = False
    callback_secret: str = ""


class Charge(msgspec.Struct, frozen=True):
    """What closes a hold: the outcome of a call and, where that is charged, its cost in nano-credits.

    `parts` explain the cost: (unit, count, nano-credits per million of the unit); cost = sum(count x rate) // 10**6.
    """

    request_id: str
    account: str
    key_id: str
    outcome: str
    cost: int = 0
    model: str = ""  # the name that the client sent
    provider: str = ""
    usage: Usage | None = None
    parts: tuple[tuple[str, float, int], ...] = ()
    estimated: bool = False  # counted by us, not reported by the vendor
    note: str = ""
