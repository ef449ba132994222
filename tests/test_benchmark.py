"""The benchmark measures what it says: real processes, non-zero numbers, wrong bytes caught, everything ended."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from gateway import benchmark
from gateway.benchmark.calls import BURST, PACED, STREAM, UNARY, Call, Target, WrongAnswer
from gateway.benchmark.converted import (
    CHAT_BURST,
    CHAT_PACED,
    CHAT_UNARY,
    MESSAGE,
    MESSAGE_STREAM,
    MESSAGES_BURST,
    MESSAGES_PACED,
    MESSAGES_UNARY,
)  # fmt: skip
from gateway.benchmark.load import Caller, Load, MeaningClient, sample
from gateway.benchmark.processes import cpu_by_process, end, family
from gateway.benchmark.start import far_side, started

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def upstream() -> Iterator[Target]:
    with far_side() as target:
        yield target


@pytest.mark.parametrize("call", [UNARY, BURST, PACED], ids=["unary", "burst", "paced"])
def test_a_load_counts_units_and_cpu(upstream: Target, call: Call) -> None:
    found = uvloop.run(sample(upstream, call, connections=4, seconds=0.2))
    assert found.units > 4
    assert set(found.cpu) == {upstream.pid}
    assert 0 < sum(found.cpu.values()) <= found.elapsed
    assert found.per_unit == pytest.approx(found.cpu[upstream.pid] / found.units * 1e6)


@pytest.mark.parametrize("call", [UNARY, BURST], ids=["unary", "burst"])
def test_a_wrong_byte_ends_the_load_and_the_caller(upstream: Target, call: Call) -> None:
    expected = call._replace(answer=call.answer[:-10] + b"?" + call.answer[-9:])
    with pytest.raises(WrongAnswer, match="wrong bytes"):
        uvloop.run(sample(upstream, expected, connections=2, seconds=5))
    with Caller(upstream, expected) as caller, pytest.raises(WrongAnswer, match="200"):
        caller.once()


def test_an_answer_too_short_or_too_long_is_wrong(upstream: Target) -> None:
    for answer in (UNARY.answer + b"?", UNARY.answer[:-1]):
        with pytest.raises(WrongAnswer):
            uvloop.run(sample(upstream, UNARY._replace(answer=answer), connections=1, seconds=5))


def test_a_target_that_reencodes_is_judged_by_what_it_says(upstream: Target) -> None:
    spaced = json.dumps(json.loads(UNARY.answer), indent=1).encode()
    other = spaced.replace(b"word word", b"word sword")
    loose = upstream._replace(reencodes=True)
    assert spaced != UNARY.answer
    assert UNARY.answered(spaced, loose)
    assert not UNARY.answered(spaced, upstream)
    assert not UNARY.answered(other, loose)
    assert not UNARY.answered(b'{"error":{"message":"no"}}', loose)
    assert not UNARY.answered(b"word", loose)
    assert CHAT_UNARY.answered(MESSAGE, upstream), "loose calls are, whoever answers: both vendors say the same"
    assert CHAT_BURST.answered(b"".join(MESSAGE_STREAM), upstream)
    assert not CHAT_BURST.answered(b"".join(MESSAGE_STREAM[:2] + MESSAGE_STREAM[3:]), upstream)
    assert not CHAT_BURST.answered(b"".join(MESSAGE_STREAM[:-2]), upstream), "no usage"
    first, *events = STREAM
    assert BURST.answered(b": hello\n\n" + b"".join([first, *events]).replace(b", ", b","), loose)
    assert not BURST.answered(b"".join(events), loose)


@pytest.mark.parametrize("call", [UNARY, BURST, PACED], ids=["unary", "burst", "paced"])
def test_units_are_the_same_by_meaning_as_by_bytes(upstream: Target, call: Call) -> None:
    loose = upstream._replace(reencodes=True)

    async def units() -> float:
        load = Load(call, loose, MeaningClient)
        try:
            await load.open(upstream.port, 1)
            load.closed = True  # nothing more is asked after the first answer
            async with asyncio.timeout(10):
                while load.units < call.units:
                    await load.run(0.05)
        finally:
            await load.close()
        return load.units

    assert uvloop.run(units()) == call.units
    wrong = call._replace(answer=call.answer.replace(b"word", b"sword"))
    with pytest.raises(WrongAnswer, match="status 200"):
        uvloop.run(sample(loose, wrong, connections=1, seconds=5, client=MeaningClient))


CONVERTED = [CHAT_UNARY, CHAT_PACED, CHAT_BURST, MESSAGES_UNARY, MESSAGES_PACED, MESSAGES_BURST]


@pytest.mark.parametrize("call", CONVERTED)
def test_the_far_side_speaks_both_dialects_and_chooses_a_stream_by_the_models_name(
    upstream: Target, call: Call
) -> None:
    found = uvloop.run(sample(upstream, call._replace(loose=False), connections=4, seconds=0.2))
    assert found.units > 4, "byte for byte"
    found = uvloop.run(sample(upstream, call, connections=4, seconds=0.2, client=MeaningClient))
    assert found.units > 4, "by meaning"


def running(pid: int) -> bool:
    """Whether a process still does anything: one that was killed may stay listed until its parent asks for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_cpu_is_that_of_the_whole_family() -> None:
    burn = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with subprocess.Popen([sys.executable, "-c", burn]) as parent:
        try:
            while len(family(parent.pid)) < 2 or sum(cpu_by_process(parent.pid).values()) < 0.2:
                time.sleep(0.01)
            spent = cpu_by_process(parent.pid)
            [child] = set(spent) - {parent.pid}
            assert spent[child] > 0
        finally:
            end(parent)
    while running(child):
        time.sleep(0.01)


def test_a_process_that_does_not_serve_is_told_with_its_last_words(tmp_path: Path) -> None:
    silent = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    with pytest.raises(WrongAnswer, match="no such thing"), started(silent, 1, tmp_path / "log"):
        pass


def test_gateway_bench_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.run(seconds=0.5) == 0
    head, _rule, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[-3:] == ["direct", "through", "added"]
    assert len(lines) == 9
    assert all(float(line.split()[-2]) > 0 for line in lines)


def test_gateway_bench_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.run(seconds=0.25, as_json=True) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["unit"] for row in rows} == {"us", "us/request", "us/event"}
    assert all(row["through"] > 0 for row in rows)


def test_the_comparison_runs_against_the_gateway() -> None:
    rows = "POST$|OpenAI, SSE event, burst|^SSE event, burst|WebSocket|blob up|body"
    command = [sys.executable, "-m", "bench.compare", "--quick", "--json", "--only", "gateway", "--rows", rows]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=50)
    found = json.loads(run.stdout)
    assert found["faults"] == []
    assert run.returncode == 0, run.stderr.decode()
    values = {row["name"]: row["values"] for row in found["rows"]}
    assert len(values) == 10
    assert all(row["gateway"] > 0 for name, row in values.items() if "memory" not in name)
