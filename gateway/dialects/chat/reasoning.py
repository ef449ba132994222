"""Efforts and budgets of thinking: what one dialect says in words another one says in tokens."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gateway.dialects.chat.fields import Lost
from gateway.dialects.chat.form import ChatRequest, Reasoning
from gateway.types import Features

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

# Tokens for each effort, as the vendors' own compatible doors and other gateways have them.
ANTHROPIC_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
GEMINI_BUDGETS = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}

# How sampling is tuned, with the values that hold anyway.
_TUNING = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
UNTUNED = "dropped: they take the defaults only, unless told not to reason"


def off(reasoning: Reasoning) -> bool:
    """Whether thinking is to be switched off."""
    return reasoning.on is False or reasoning.effort == "none" or reasoning.budget == 0


def effort(reasoning: Reasoning) -> str | None:
    """The effort, also where a budget was given: the least that reaches it. None: not said."""
    if off(reasoning):
        return "none"
    if reasoning.effort is not None:
        return reasoning.effort
    if reasoning.budget is None or reasoning.budget < 0:
        return None
    fitting = (name for name, tokens in ANTHROPIC_BUDGETS.items() if name != "minimal" and reasoning.budget <= tokens)
    return next(fitting, "max")


def budget(reasoning: Reasoning, budgets: Mapping[str, int]) -> int | None:
    """The budget, also where an effort was given. 0: off; None: not said."""
    if off(reasoning):
        return 0
    if reasoning.budget is not None:
        return reasoning.budget
    return budgets[reasoning.effort] if reasoning.effort is not None else None


def untuned(request: ChatRequest, features: Features, lost: Lost) -> Collection[str]:
    """The fields that the model cannot be sent, for it reasons; those with another value than the default are named.

    It is OpenAI's models that refuse them. Others that are asked by effort have not its name for the maximum.
    """
    if features.thinking != "effort" or features.max_tokens_field != "max_completion_tokens":
        return ()
    if request.reasoning is not None and off(request.reasoning):
        return ()
    for name, default in _TUNING.items():
        if getattr(request, name) not in (None, default):
            lost.drop(name)
    return _TUNING
