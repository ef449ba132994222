"""Alibaba DashScope's native chat, as vendors speak it: `input.messages`, `parameters`, `output.choices`.

Messages and tools are OpenAI's but for their parts: `{text}` and `{image}`. Which of two paths a request goes to is up
to the model: those that see have another one than those of text alone. A header asks for a stream.

The vendor thinks in streams only: without one, thinking is switched off, which it demands.
"""

from gateway.dialects.dashscope_generation.vendor import VENDOR

__all__ = ["VENDOR"]
