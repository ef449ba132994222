"""Several workers: sums over real Unix sockets; a supervisor as a real process with workers of a few lines."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import workers
from gateway.metrics import Metrics, exposition
from gateway.workers import Siblings

WORKER = """
import os, pathlib, signal, sys, time
folder, index = os.environ["GATEWAY_WORKER_FOLDER"], os.environ.get("GATEWAY_WORKER_INDEX", "books")
notes = pathlib.Path(sys.argv[1])
with (notes / f"started-{index}").open("a") as file:
    file.write(f"{os.getpid()}\\n")
def note(number, _):
    with (notes / f"signal-{index}").open("a") as file:
        file.write(f"{number}\\n")
    if number == signal.SIGTERM:
        (notes / f"before-{index}").write_text(" ".join(sorted(path.name for path in notes.glob("ended-*"))))
        (notes / f"ended-{index}").touch()
        sys.exit(int(sys.argv[2]))
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, note)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP, signal.SIGINT})
if sys.argv[3] != "0":
    sys.exit(int(sys.argv[3]))
(notes / f"expects-{index}").write_text(os.environ.get("GATEWAY_BOOKS_EXPECT", ""))
if index != "books":
    pathlib.Path(folder, f"{index}.sock").touch()
while True:
    time.sleep(10)
"""
PARENT = """
import sys
from gateway.workers import Supervisor
sys.exit(Supervisor([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], 2, None).run())
"""


def counted(number: int) -> Metrics:
    metrics = Metrics()
    metrics.series("passthrough", "x").attempts["ok"] = number
    return metrics


async def test_each_worker_tells_the_sum(tmp_path: Path) -> None:
    family = [Siblings(tmp_path, index) for index in range(3)]
    for number, sibling in enumerate(family):
        await sibling.serve(counted(10**number).snapshot)
    for number, sibling in enumerate(family):
        text = exposition(await sibling.sum(counted(10**number).snapshot()))
        assert b'gateway_attempts_total{outcome="ok",provider="x"} 111.0' in text
    for sibling in family:
        await sibling.close()
    assert not list(tmp_path.iterdir())


async def test_dead_and_babbling_siblings_are_left_out(tmp_path: Path) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no snapshot")
        writer.close()
        await writer.wait_closed()

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "7.sock"))
    server = await asyncio.start_unix_server(babble, tmp_path / "8.sock")
    sibling = Siblings(tmp_path, 0)
    text = exposition(await sibling.sum(counted(5).snapshot()))
    assert b'gateway_attempts_total{outcome="ok",provider="x"} 5.0' in text
    server.close()
    await server.wait_closed()


def test_who_has_siblings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert workers.siblings() is None
    assert workers.inherited_socket() is None
    monkeypatch.setenv("GATEWAY_WORKER_FOLDER", str(tmp_path))
    monkeypatch.setenv("GATEWAY_WORKER_INDEX", "3")
    assert isinstance(workers.siblings(), Siblings)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("GATEWAY_WORKER_SOCKET", str(os.dup(listening.fileno())))
        inherited = workers.inherited_socket()
        assert inherited is not None
        with inherited:
            assert inherited.getsockname() == listening.getsockname()


class Parent:
    """A supervisor of two workers, perhaps with books, and what those noted."""

    def __init__(self, notes: Path, exits: int = 0, starts: int = 0, books: bool = False) -> None:
        self.notes = notes
        code = PARENT.replace("None)", f"None, books={books})")
        command = [sys.executable, "-c", code, WORKER, str(notes), str(exits), str(starts)]
        environment = {**os.environ, "PYTHONPATH": str(Path(workers.__file__).parent.parent)}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)

    def lines(self, name: str) -> list[str]:
        path = self.notes / name
        return path.read_text().split() if path.exists() else []

    async def until(self, name: str, count: int) -> list[str]:
        async with asyncio.timeout(20):
            while len(self.lines(name)) < count:
                await asyncio.sleep(0.01)
        return self.lines(name)

    def end(self) -> tuple[int, str]:
        """The exit code and what was said on stderr."""
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_is_passed_on_and_waited_for(tmp_path: Path, number: int) -> None:
    parent = Parent(tmp_path)
    for index in range(2):
        await parent.until(f"started-{index}", 1)
    parent.process.send_signal(number)
    assert parent.end() == (0, "")
    assert [parent.lines(f"signal-{index}") for index in range(2)] == [["15"], ["15"]]


async def test_a_worker_that_ends_badly_shows_in_the_exit_code(tmp_path: Path) -> None:
    parent = Parent(tmp_path, exits=3)
    for index in range(2):
        await parent.until(f"started-{index}", 1)
    parent.process.terminate()
    assert parent.end()[0] == 1


async def test_a_reload_is_passed_on(tmp_path: Path) -> None:
    parent = Parent(tmp_path)
    for index in range(2):
        await parent.until(f"started-{index}", 1)
    parent.process.send_signal(signal.SIGHUP)
    for index in range(2):
        assert await parent.until(f"signal-{index}", 1) == ["1"]
    parent.process.terminate()
    assert parent.end()[0] == 0


async def test_a_dead_worker_is_replaced(tmp_path: Path) -> None:
    parent = Parent(tmp_path)
    for index in range(2):
        await parent.until(f"started-{index}", 1)
    os.kill(int(parent.lines("started-1")[0]), signal.SIGKILL)
    first, second = await parent.until("started-1", 2)
    assert first != second
    parent.process.terminate()
    code, said = parent.end()
    assert (code, "worker 1 ended" in said) == (0, True)
    assert len(parent.lines("started-0")) == 1


async def test_a_stop_just_before_a_replacement_leaves_nobody_behind(tmp_path: Path) -> None:
    parent = Parent(tmp_path)
    for index in range(2):
        await parent.until(f"started-{index}", 1)
    os.kill(int(parent.lines("started-1")[0]), signal.SIGKILL)
    assert parent.process.stderr is not None
    while b"worker 1 ended" not in await asyncio.to_thread(parent.process.stderr.readline):
        pass
    parent.process.terminate()
    assert parent.end()[0] == 0
    assert len(parent.lines("started-1")) == 1


async def test_workers_that_cannot_start_end_the_parent(tmp_path: Path) -> None:
    assert Parent(tmp_path, starts=2).end()[0] == 2


def test_who_keeps_the_books(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert workers.books_place() is None
    assert workers.books_socket() is None
    monkeypatch.setenv("GATEWAY_WORKER_FOLDER", str(tmp_path))
    assert workers.books_place() is None  # a worker
    assert workers.books_socket() == tmp_path / "books.socket"
    monkeypatch.setenv("GATEWAY_BOOKS_EXPECT", "3")
    assert workers.books_place() == (tmp_path / "books.socket", 3)


async def test_the_books_begin_before_the_workers_and_end_after_them(tmp_path: Path) -> None:
    parent = Parent(tmp_path, books=True)
    for name in ("0", "1", "books"):
        await parent.until(f"started-{name}", 1)
        await parent.until(f"expects-{name}", int(name == "books"))
    parent.process.terminate()
    assert parent.end() == (0, "")
    assert parent.lines("expects-books") == ["0"]
    assert parent.lines("before-books") == ["ended-0", "ended-1"]


async def test_dead_books_are_replaced_and_told_who_was_there(tmp_path: Path) -> None:
    parent = Parent(tmp_path, books=True)
    for name in ("0", "1", "books"):
        await parent.until(f"started-{name}", 1)
    os.kill(int(parent.lines("started-books")[0]), signal.SIGKILL)
    first, second = await parent.until("started-books", 2)
    assert first != second
    (tmp_path / "expects-books").unlink(missing_ok=True)
    os.kill(int(second), signal.SIGKILL)  # young when it died: not at once, but again
    assert await parent.until("expects-books", 1) == ["2"]
    parent.process.terminate()
    code, said = parent.end()
    assert (code, said.count("the books ended with -9")) == (0, 2)
    assert [len(parent.lines(f"started-{index}")) for index in range(2)] == [1, 1]


async def test_books_that_cannot_start_end_all(tmp_path: Path) -> None:
    assert Parent(tmp_path, starts=2, books=True).end()[0] == 2


async def test_books_that_end_badly_show_in_the_exit_code(tmp_path: Path) -> None:
    parent = Parent(tmp_path, exits=3, books=True)
    for name in ("0", "1", "books"):
        await parent.until(f"started-{name}", 1)
    parent.process.terminate()
    assert parent.end()[0] == 1
