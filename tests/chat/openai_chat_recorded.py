"""Recorded answers of vendors that speak chat completions, and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from gateway.dialects.chat.form import Answer, Text, Thought, ToolCall

_FOLDER = Path(__file__).parents[1] / "fixtures" / "usage"


class Recorded(NamedTuple):
    name: str
    body: bytes
    stream: bool
    expect: dict[str, Any]


def recorded() -> list[Recorded]:
    """All that are answers; with an empty `expect` where nothing is known but that they are."""
    rows = json.loads((_FOLDER / "MANIFEST.json").read_bytes())["fixtures"]
    return [
        Recorded(row["file"], (_FOLDER / row["file"]).read_bytes(), row["file"].endswith(".sse"), expect)
        for row in rows
        if row["protocol"] == "openai_chat" and not (expect := row.get("expect") or {}).get("is_error")
    ]


RECORDED = recorded()
STREAMS = [each for each in RECORDED if each.stream]
WHOLE = [each for each in RECORDED if not each.stream]


def said(answer: Answer) -> dict[str, Any]:
    """An answer in the words of the recordings."""
    calls = [part for part in answer.parts if isinstance(part, ToolCall)]
    found: dict[str, Any] = {
        "text": "".join(part.text for part in answer.parts if isinstance(part, Text)),
        "reasoning": "".join(part.text for part in answer.parts if isinstance(part, Thought)),
        "tool_calls": [{"id": call.id, "name": call.name, "arguments": json.loads(call.arguments)} for call in calls],
        "finish_reason": answer.finish,
    }
    return {name: value for name, value in found.items() if value}


def agrees(answer: Answer, expect: dict[str, Any]) -> None:
    found = said(answer)
    assert {name: found.get(name) for name in expect} == expect
