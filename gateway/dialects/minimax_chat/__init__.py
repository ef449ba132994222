"""MiniMax's own chat interface, as vendors speak it: OpenAI's with fewer fields, and all of them narrower."""

from gateway.dialects.minimax_chat.vendor import VENDOR

__all__ = ["VENDOR"]
