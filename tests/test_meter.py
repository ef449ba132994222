"""The record of one exchange: counters, the access line, the usage, whatever it is fed."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.access_log import AccessLog
from gateway.app import _TOOLS as TOOLS
from gateway.errors import UnknownProvider
from gateway.meter import Journal, PassRecord, Watch, added
from gateway.metrics import Metrics
from gateway.types import END_CLIENT_LEFT, END_COMPLETE, END_VENDOR_TRUNCATED, Usage
from gateway.wire.head import parse_response

BODY = b'{"model":"gpt-answer","usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}'
QUESTION = b'{"model":"gpt-asked","messages":[]}'


class Desk:
    """A journal that writes to a file, and what it has written and counted."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log"
        self.metrics = Metrics()
        self.journal = Journal(self.metrics, AccessLog(f"file:{self.path}"), TOOLS, "req_")
        self.series = self.metrics.series("passthrough", "openai")

    def record(self, dialect: str | None = "openai.chat", model: str | None = None, reads: bool = True) -> PassRecord:
        return PassRecord(Watch(self.journal, self.series, dialect, model, b"application/json", reads))

    def lines(self) -> list[dict[str, Any]]:
        self.journal.log.close()
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]

    def tokens(self, model: str) -> list[int]:
        self.metrics.snapshot()  # brings the counters up to date
        return self.series.models[model].vendor


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def answered(fields: bytes = b"", status: bytes = b"200 OK") -> Any:
    return parse_response(b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\n" + fields + b"\r\n")


def test_a_whole_exchange(desk: Desk) -> None:
    record = desk.record()
    assert record.wants_body
    record.body(QUESTION)
    assert not record.wants_body
    record.handed()
    record.sent(300)
    record.whole(answered(), BODY, 400)
    record.end(END_COMPLETE, 200, "")
    assert desk.tokens("gpt-asked") == [10, 0, 0, 5, 0]
    assert desk.series.usage == {"vendor": 1, "estimated": 0, "none": 0}
    assert desk.series.ends[END_COMPLETE] == 1
    assert desk.series.attempts == {"ok": 1}
    assert desk.series.models["gpt-asked"].requests == {200: 1}
    assert sum(desk.series.added.counts) == sum(desk.series.first_byte.counts) == sum(desk.series.duration.counts) == 1
    (line,) = desk.lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert 0 <= line.pop("ttfb") <= line.pop("duration")
    assert line.pop("request_id").startswith("req_")
    assert line.pop("usage")["input"] == 10
    assert line == {
        "surface": "passthrough", "provider": "openai", "model": "gpt-asked", "status": 200, "bytes_up": 300,
        "bytes_down": 400, "end": "complete",
    }  # fmt: skip


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("packed", [False, True])
def test_a_stream_in_pieces(desk: Desk, step: int, packed: bool) -> None:
    record = desk.record()
    for at in range(0, len(QUESTION), step):
        if record.wants_body:
            record.body(QUESTION[at : at + step])
    data = gzip.compress(BODY) if packed else BODY
    record.head(answered(b"Content-Encoding: gzip\r\n" if packed else b""))
    for at in range(0, len(data), step):
        record.feed(data[at : at + step], len(data[at : at + step]) + 5)
    record.end(END_COMPLETE, 200, "")
    assert desk.tokens("gpt-asked") == [10, 0, 0, 5, 0]


def test_the_models_name_is_the_requests_then_the_paths_then_the_answers(desk: Desk) -> None:
    for model, question in (("from-path", b""), (None, QUESTION), (None, b'{"messages":[]}')):
        record = desk.record(model=model, reads=model is None)
        if record.wants_body:
            record.body(question)
        record.whole(answered(), BODY, 1)
        record.end(END_COMPLETE, 200, "")
    assert set(desk.series.models) == {"from-path", "gpt-asked", "gpt-answer"}


@pytest.mark.parametrize(
    ("fields", "body", "reason", "source"),
    [
        (b"", b'{"model":"m"}', END_COMPLETE, "none"),
        (b"Content-Encoding: unheard-of\r\n", BODY, END_COMPLETE, "none"),
        (b"Content-Encoding: gzip\r\n", BODY, END_COMPLETE, "none"),
        (b"", b"\xff\x00{[", END_COMPLETE, "none"),
        (b"", BODY[:20], END_VENDOR_TRUNCATED, ""),
        (b"", BODY, END_CLIENT_LEFT, "vendor"),
    ],
)
def test_where_the_usage_comes_from(desk: Desk, fields: bytes, body: bytes, reason: str, source: str) -> None:
    record = desk.record()
    record.whole(answered(fields), body, len(body))
    record.end(reason, 200, "")
    assert {name for name, number in desk.series.usage.items() if number} == ({source} if source else set())


@pytest.mark.parametrize(("dialect", "status"), [(None, b"200 OK"), ("openai.chat", b"429 Slow Down")])
def test_what_is_not_metered(desk: Desk, dialect: str | None, status: bytes) -> None:
    record = desk.record(dialect)
    record.whole(answered(status=status), BODY, len(BODY))
    record.end(END_COMPLETE, int(status[:3]), "")
    assert not any(desk.series.usage.values())
    assert "usage" not in desk.lines()[0]


@pytest.mark.parametrize(
    ("reason", "status", "error", "outcome"),
    [
        ("", 502, "upstream_unreachable", "upstream_unreachable"),
        (END_CLIENT_LEFT, 499, "", END_CLIENT_LEFT),
    ],
)
def test_ends_without_an_answer(desk: Desk, reason: str, status: int, error: str, outcome: str) -> None:
    record = desk.record()
    record.handed()
    record.end(reason, status, error)
    assert desk.series.attempts == {outcome: 1}
    assert sum(desk.series.ends.values()) == bool(reason)
    desk.metrics.snapshot()
    assert sum(desk.series.first_byte.counts) == 0
    (line,) = desk.lines()
    assert (line["status"], line["ttfb"], line.get("error", "")) == (status, None, error)


def test_a_websocket(desk: Desk) -> None:
    record = desk.record(None, "rt", reads=False)
    record.head(answered(status=b"101 Switching"))
    record.opened(b"")
    assert desk.series.sessions == 1
    record.frames_up(b"\x81\x85\0\0\0\0hello")
    event = b'{"type":"response.done","response":{"usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7}}}'
    frame = bytes((0x81, len(event))) + event
    record.frames_down(frame[:10])
    record.frames_down(frame[10:] + frame)
    record.end(END_COMPLETE, 101, "")
    assert desk.series.sessions == 0
    assert (desk.series.ws_up, desk.series.ws_down) == (11, 2 * len(frame))
    assert desk.tokens("rt") == [6, 0, 0, 8, 0]
    assert desk.series.usage["vendor"] == 2
    assert desk.lines()[0]["usage"]["output"] == 8


def test_a_refusal_has_an_id_a_line_and_a_count(desk: Desk) -> None:
    first, second = (desk.journal.refused("", UnknownProvider("no")) for _ in range(2))
    assert first != second
    lines = desk.lines()
    assert [line["request_id"] for line in lines] == [first, second]
    assert {line["error"] for line in lines} == {"unknown_provider"}
    assert desk.metrics.series("passthrough", "").models[""].requests == {404: 2}


@pytest.mark.parametrize("name", [r"\ud800", r"\u0000", "x" * 5000, r"a\nb", "\U0001f600"])
def test_any_model_name_can_be_counted_and_logged(desk: Desk, name: str) -> None:
    record = desk.record()
    record.body(b'{"model":"%b"}' % name.encode())
    record.whole(answered(), BODY.replace(b"gpt-answer", name.encode()), 1)
    record.end(END_COMPLETE, 200, "")
    assert desk.metrics.snapshot()
    assert len(desk.lines()) == 1


def test_usages_add_up() -> None:
    one = Usage(1, 2, 3, 4, 5, {"seconds": 1.5})
    other = Usage(10, 20, 30, 40, 50, {"seconds": 1.0, "images": 2})
    assert added(one, other) == Usage(11, 22, 33, 44, 55, {"seconds": 2.5, "images": 2})
    assert one.extra_units == {"seconds": 1.5}
