"""Words of the dialect that more than one of its halves needs."""

from __future__ import annotations

from gateway.dialects.chat import form

DIALECT = "anthropic.messages"

IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
EFFORTS = ("low", "medium", "high", "xhigh", "max")

FINISHES = {
    "end_turn": form.STOP,
    "stop_sequence": form.STOP,
    "pause_turn": form.STOP,
    "tool_use": form.TOOL_CALLS,
    "max_tokens": form.LENGTH,
    "model_context_window_exceeded": form.LENGTH,
    "compaction": form.LENGTH,
    "refusal": form.FILTERED,
}
_STOP_REASONS = {
    form.STOP: "end_turn",
    form.LENGTH: "max_tokens",
    form.TOOL_CALLS: "tool_use",
    form.FILTERED: "refusal",
}


def finish(reason: str | None, calls: int) -> str:
    """Why an answer ended, in the neutral form's words. Whoever calls tools waits for what they give, whatever the
    reason says.
    """
    said = FINISHES.get(reason or "", form.STOP)
    if said in (form.STOP, form.TOOL_CALLS):
        return form.TOOL_CALLS if calls else form.STOP
    return said


def stop_reason(finish: str, stop_sequence: str | None) -> str:
    """The same in this dialect's."""
    if finish == form.STOP and stop_sequence is not None:
        return "stop_sequence"
    return _STOP_REASONS[finish]
