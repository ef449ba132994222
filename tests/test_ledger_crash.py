"""kill -9 at any moment: what was told to be charged is charged, once; nothing else is, and no hold stays open."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from gateway.store.ledger import Ledger, grant, history
from gateway.store.sqlite import FILE, connect
from gateway.store.verify import verify

ROUNDS = 30
GRANT = 10**17


async def test_kill_at_any_moment(tmp_path: Path) -> None:
    outside = connect(tmp_path / FILE)
    grant(outside, "acme", GRANT)
    command = [sys.executable, str(Path(__file__).with_name("crashing_ledger.py")), str(tmp_path)]
    told: dict[str, int] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(ROUNDS):
            for _ in range(random.randrange(200)):
                name, cost = process.stdout.readline().split()
                told[name] = int(cost)
            time.sleep(random.random() * 0.01)
            process.stdin.write("k")
            process.stdin.flush()
            for line in iter(process.stdout.readline, "killed\n"):
                name, cost = line.split()
                told[name] = int(cost)
            process.stdin.write("n")
            process.stdin.flush()
    ledger = Ledger.open(tmp_path)
    await ledger.stop()
    report = verify(outside)
    assert report["errors"] == []
    assert report["open_holds"] == 0
    sums: dict[str, int] = {}
    expired = 0
    for entry in history(outside, "acme"):
        sums[entry.request_id] = sums.get(entry.request_id, 0) - entry.amount
        expired += entry.outcome == "expired"
    assert {name: sums[name] for name in told} == told
    assert len(told) > ROUNDS
    assert expired > 0
    unheard = sums.keys() - told - {""}
    assert len(unheard) <= ROUNDS * 16  # committed just before the end; or given back
    outside.close()
