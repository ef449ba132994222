"""Anthropic's Messages: as clients speak it (`SURFACE`), and as vendors do (`VENDOR`)."""

from gateway.dialects.anthropic_messages.surface import SURFACE
from gateway.dialects.anthropic_messages.vendor import VENDOR

__all__ = ["SURFACE", "VENDOR"]
