"""How the streams of each dialect are read: one `Form` a dialect."""

from __future__ import annotations

from gateway.dialects.judging import anthropic, chat, dashscope, gemini, responses
from gateway.dialects.judging.seen import Form

FORMS: dict[str, Form] = {
    "openai.chat": chat.FORM,
    "openai.completions": chat.COMPLETIONS,
    "openai.responses": responses.FORM,
    "anthropic.messages": anthropic.FORM,
    "gemini.generate": gemini.FORM,
    "dashscope.generation": dashscope.FORM,
    "minimax.chat": chat.FORM,
}
