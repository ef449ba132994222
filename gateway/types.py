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
