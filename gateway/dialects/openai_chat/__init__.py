"""OpenAI's chat completions: the surface, and the dialect of most vendors."""

from gateway.dialects.openai_chat.surface import SURFACE
from gateway.dialects.openai_chat.vendor import VENDOR

__all__ = ["SURFACE", "VENDOR"]
