"""Gemini's generateContent and streamGenerateContent, from both sides; `pictures` is apart from the conversion."""

from gateway.dialects.gemini_generate.surface import SURFACE
from gateway.dialects.gemini_generate.vendor import VENDOR

__all__ = ["SURFACE", "VENDOR"]
