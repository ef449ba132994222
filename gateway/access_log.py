"""The access log: one JSON line a request, formatted once, written in batches by a thread of its own.

The event loop never waits for a disk or a pipe. If the writer falls behind by more than `MAX_WAITING` bytes, lines are
dropped and their number is told on stderr: a log that nobody reads must not stop or fill the gateway.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import sys
import threading
import time

_FLUSH_BYTES = 65536
MAX_WAITING = 64 << 20


class AccessLog:
    """`target`: "stdout", "off" or "file:PATH"."""

    def __init__(self, target: str) -> None:
        self.enabled = target != "off"
        self._path = target.removeprefix("file:") if target.startswith("file:") else None
        self._lines: list[bytes] = []
        self._size = 0
        self._queued = 0  # bytes, counted by the loop
        self._written = 0  # bytes, counted by the thread
        self._dropped = 0
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reopen = threading.Event()
        self._thread: threading.Thread | None = None
        if self.enabled:
            self._fd = self._open()
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()

    def write(self, line: bytes) -> None:
        """Takes one line without its end."""
        self._lines.append(line)
        self._size += len(line) + 1
        if self._size >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hands what has gathered to the writer; called a few times a second."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        size, self._size = self._size, 0
        if self._queued - self._written > MAX_WAITING:
            self._dropped += len(lines)
            return
        if self._dropped:
            print(f"access log: {self._dropped} lines dropped, the writer was too slow", file=sys.stderr)
            self._dropped = 0
        self._queued += size
        self._queue.put(b"\n".join(lines) + b"\n")

    def reopen(self) -> None:
        """Opens the file anew (after rotation)."""
        if self._path is not None:
            self._reopen.set()

    def close(self) -> None:
        self.flush()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(5)
            if self._path is not None and not self._thread.is_alive():
                os.close(self._fd)
            self._thread = None

    def _open(self) -> int:
        if self._path is None:
            return 1
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            if self._reopen.is_set():
                self._reopen.clear()
                with contextlib.suppress(OSError):
                    fresh = self._open()
                    os.close(self._fd)
                    self._fd = fresh
            with contextlib.suppress(OSError):  # nobody reads any more (a closed pipe, a full disk): serving goes on
                self._put(batch)
            self._written += len(batch)

    def _put(self, batch: bytes) -> None:
        """Writes whole lines at a time: pieces of up to PIPE_BUF bytes never mix with another worker's on a pipe."""
        at = 0
        while at < len(batch):
            end = len(batch) if len(batch) - at <= select.PIPE_BUF else batch.rfind(b"\n", at, at + select.PIPE_BUF) + 1
            piece = batch[at:end] if end > at else batch[at : at + select.PIPE_BUF]
            try:
                at += os.write(self._fd, piece)
            except BlockingIOError:
                time.sleep(0.01)
