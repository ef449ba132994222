"""The recorded streams of the OpenAI dialects, and what their events up to some offset say.

Read by events here, not by the gateway's judge of streams; only the numbers are counted by the meter of pass-through,
which has its own fixtures' tests.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from gateway.dialects import reader_for
from tests.unified.caller import CHAT, RESPONSES, chat_body
from tests.unified.entries import price

FOLDER = Path(__file__).parents[1] / "fixtures" / "usage"
DIALECTS = {"openai_chat": "openai.chat", "openai_responses": "openai.responses"}
TERMINAL = ("response.completed", "response.incomplete")
BEFORE_THE_ANSWER = ("response.created", "response.in_progress")


class Outlook(NamedTuple):
    """What the whole events up to an offset say. `cost`: of the usage they tell, None if they tell none."""

    begun: bool
    finished: bool
    failed: bool
    cost: int | None


class Recorded:
    """One stream."""

    def __init__(self, fixture: dict[str, Any]) -> None:
        self.name: str = fixture["file"]
        self.dialect = DIALECTS[fixture["protocol"]]
        self.path = {"openai.chat": CHAT, "openai.responses": RESPONSES}[self.dialect]
        self.body = FOLDER.joinpath(self.name).read_bytes()
        self.ends = [found.end() for found in re.finditer(rb"\n\n", self.body)]
        starts = [0, *self.ends]
        self.offsets = sorted({*starts, *((start + end) // 2 for start, end in zip(starts, self.ends, strict=False))})

    def request(self, model: str) -> dict[str, Any]:
        if self.path == CHAT:
            return chat_body(model, stream=True, stream_options={"include_usage": True})
        return {"model": model, "input": "Hello there", "stream": True}

    def outlook(self, at: int) -> Outlook:
        whole = self.body[: max([0, *(end for end in self.ends if end <= at)])]
        lines = [line[5:].strip() for line in whole.splitlines() if line.startswith(b"data:")]
        events = [None if line == b"[DONE]" else json.loads(line) for line in lines]
        return Outlook(
            begun=any(map(_of_the_answer, events)),
            finished=any(map(_finish, events)),
            failed=any(event is not None and event.get("type") == "response.failed" for event in events),
            cost=self._cost(whole, events),
        )

    def first(self) -> int:
        """The offset behind the first event of the answer; the length if there is none."""
        return next((end for end in self.ends if self.outlook(end).begun), len(self.body))

    def _cost(self, whole: bytes, events: list[Any]) -> int | None:
        reader = reader_for(self.dialect, b"text/event-stream")
        reader.feed(whole)
        usage = reader.finish()
        if usage is not None and usage.tokens():
            return price(usage.input, usage.output, usage.cached_input)
        # Zeros are a number, too, as long as nothing better comes.
        return 0 if any(event is not None and isinstance(event.get("usage"), dict) for event in events) else None


def _of_the_answer(event: Any) -> bool:
    if event is None or event.get("type", "") in (*BEFORE_THE_ANSWER, "response.failed"):
        return False
    return bool(event.get("choices")) or "type" in event


def _finish(event: Any) -> bool:
    if event is None:
        return True  # one vendor has no other finish, all others have finished before
    choices = event.get("choices") or []
    return any(choice.get("finish_reason") for choice in choices) or event.get("type") in TERMINAL


_MANIFEST = json.loads(FOLDER.joinpath("MANIFEST.json").read_bytes())["fixtures"]
_STREAMS = [one for one in _MANIFEST if one["protocol"] in DIALECTS and one["file"].endswith(".sse")]
RECORDED = {one["file"]: Recorded(one) for one in _STREAMS}
WHOLE_COST = {
    one["file"]: price(*(one["expected_usage"][unit] for unit in ("input", "output", "cached_input")))
    for one in _STREAMS
    if one["expected_usage"] is not None
}
