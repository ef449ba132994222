"""Holds and charges until it is killed, and tells each charge once that is durable. For test_ledger_crash."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

from gateway.store.ledger import Ledger
from gateway.types import Caller, Charge, Usage

TASKS = 16
CALLER = Caller("key_1", "someone", "acme", budget=10**17)
PARTS = (("input", 1000, 3_000_000), ("output", 7, 1_000_000))
COST = 3007


async def charge_for_ever(data: Path, name: str) -> None:
    """Some calls fail, some last longer than others; a few stay open until the end."""
    start = time.time()
    # Time flies, so that some holds are entered by themselves.
    ledger = Ledger.open(data, clock=lambda: start + (time.time() - start) * 50)
    numbers = itertools.count()

    async def calls() -> None:
        while True:
            request_id = f"{name}-{next(numbers)}"
            await ledger.hold(CALLER, request_id, 10_000)
            if random.random() < 0.02:
                await asyncio.sleep(random.random())
            failed = random.random() < 0.2
            charge = Charge(
                request_id, CALLER.account, CALLER.key_id, "failed" if failed else "complete", COST, "m", "p",
                Usage(input=1000, output=7), PARTS,
            )  # fmt: skip
            await ledger.close(charge)
            os.write(1, f"{request_id} {0 if failed else COST}\n".encode())

    async def flush() -> None:
        while True:
            await asyncio.sleep(0.01)
            ledger._flush()

    await asyncio.gather(flush(), *(calls() for _ in range(TASKS)))


def main() -> None:
    """One child a round; a byte on stdin kills it. Forked: starting Python anew would take the longest."""
    data = Path(sys.argv[1])
    for number in itertools.count():
        child = os.fork()
        if child == 0:
            asyncio.run(charge_for_ever(data, f"round{number}"))
        if not os.read(0, 1):
            os.kill(child, signal.SIGKILL)
            return
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.write(1, b"killed\n")
        os.read(0, 1)


if __name__ == "__main__":
    main()
