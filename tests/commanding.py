"""Running the `gateway` command: the real program, or `main(argv)` in this process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.store.ledger import Ledger
from gateway.types import Caller, Charge

# Unbuffered output would never be lost at the end, nor be late for a reader that has gone.
ENVIRON = {"PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONUNBUFFERED": ""}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, and nothing set that the commands would read."""
    for name in [name for name in os.environ if name.startswith("GATEWAY_") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Run:
    """One command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def __call__(self, *argv: str, code: int = 0) -> str:
        try:
            found = main(argv)
        except SystemExit as exc:
            found = exc.code if isinstance(exc.code, int) else 1
        out, self.err = self._capsys.readouterr()
        assert found == code, (argv, out, self.err)
        assert "Traceback" not in self.err
        return out

    def json(self, *argv: str) -> Any:
        return json.loads(self(*argv, "--json"), parse_float=Decimal, parse_int=Decimal)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


def program(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "gateway", *argv]
    env = {**os.environ, **ENVIRON, **environ}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=30)


def spent(data: str, charge: Charge, hold: int) -> None:
    """Lets a call come to its end in the books."""

    async def call() -> None:
        ledger = Ledger.open(Path(data))
        await ledger.hold(Caller(charge.key_id, "", charge.account), charge.request_id, hold)
        await ledger.close(charge)
        await ledger.stop()

    asyncio.run(call())
