"""The access log: batches, a slow reader, rotation; real files and pipes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway import access_log
from gateway.access_log import AccessLog


def test_lines_go_to_the_file_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    log = AccessLog(f"file:{path}")
    assert log.enabled
    for number in range(20_000):
        log.write(b'{"n":%d}' % number)
    log.close()
    assert path.read_bytes() == b"before\n" + b"".join(b'{"n":%d}\n' % number for number in range(20_000))


def test_off_writes_nothing_and_has_no_thread() -> None:
    log = AccessLog("off")
    assert not log.enabled
    log.flush()
    log.close()


def test_lines_are_gathered(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(f"file:{path}")
    log.write(b"one")
    assert path.read_bytes() == b""
    log.flush()
    log.close()
    assert path.read_bytes() == b"one\n"


def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(f"file:{path}")
    for round_ in (b"1", b"2", b"3"):
        log.write(round_)
        log.close() if round_ == b"3" else log.flush()
        while round_ != b"3" and not (path.exists() and path.read_bytes() == round_ + b"\n"):
            os.sched_yield()
        if round_ != b"3":
            path.rename(path.with_suffix("." + round_.decode()))
            log.reopen()
    found = [file.read_bytes() for file in (path.with_suffix(".1"), path.with_suffix(".2"), path)]
    assert found == [b"1\n", b"2\n", b"3\n"]


def test_rotation_into_nowhere_keeps_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    log = AccessLog(f"file:{folder / 'log'}")
    moved = folder.rename(tmp_path / "moved")
    log.reopen()
    log.write(b"still")
    log.close()
    assert (moved / "log").read_bytes() == b"still\n"


def test_a_closed_log_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        log = AccessLog(f"file:{tmp_path / 'log'}")
        log.write(b"x")
        log.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_reader_that_does_not_read_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pipe takes 64 KiB; the rest waits, and past the bound is dropped and counted."""
    monkeypatch.setattr(access_log, "MAX_WAITING", 1 << 20)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(f"file:{pipe}")
    line = b"x" * 999
    for _ in range(5000):
        log.write(line)
    log.flush()
    read = 0
    os.set_blocking(reader, True)
    while read < 1 << 20:
        read += len(os.read(reader, 1 << 20))
    while log._queued - log._written > 0:
        os.set_blocking(reader, False)
        try:
            read += len(os.read(reader, 1 << 20))
        except BlockingIOError:
            os.sched_yield()
    log.write(b"last")
    log.close()
    rest = os.read(reader, 1 << 20)
    os.close(reader)
    assert rest.endswith(b"last\n")
    assert (read + len(rest) - 5) % 1000 == 0
    dropped = 5000 - (read + len(rest) - 5) // 1000
    assert 0 < dropped < 5000
    assert f"{dropped} lines dropped" in capsys.readouterr().err


def test_a_reader_that_leaves_ends_nothing(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(f"file:{pipe}")
    os.close(reader)
    for _ in range(300):
        log.write(b"x" * 999)
    log.close()
    assert log._written == log._queued
