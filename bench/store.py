"""What a charge costs: holds, settles and waits until that is durable, many calls at a time.

    python -m bench.store [--calls N] [--power] [--folder F]

The driver is a task for each call in flight, under uvloop; what it costs by itself is measured with futures that are
done at the next turn of the loop, and subtracted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from gateway.store.ledger import Ledger, grant
from gateway.store.sqlite import FILE, connect
from gateway.store.verify import verify
from gateway.types import OUTCOME_COMPLETE, Caller, Charge, Usage

CONCURRENCY = (1, 64, 512)
CALLER = Caller("key_0123456789", "bench", "bench")
USAGE = Usage(input=1200, cached_input=800, output=300)
PARTS = (("input", 400, 2 * 10**9), ("cached_input", 800, 5 * 10**8), ("output", 300, 8 * 10**9))
COST = sum(count * rate for _, count, rate in PARTS) // 10**6


async def drive(call: Callable[[str], Awaitable[None]], calls: int, concurrency: int) -> tuple[float, float]:
    """(seconds, seconds of this thread's CPU) of so many calls."""
    salt, numbers = secrets.token_hex(6), iter(range(calls))

    async def one_after_another() -> None:
        for number in numbers:
            await call(f"{salt}{number:x}")  # as the gateway numbers its requests

    wall, cpu = time.perf_counter(), time.thread_time()
    await asyncio.gather(*(one_after_another() for _ in range(concurrency)))
    return time.perf_counter() - wall, time.thread_time() - cpu


async def empty(_: str) -> None:
    """What the driver costs by itself."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(future.set_result, None)
    await future


async def measure(ledger: Ledger, calls: int, concurrency: int) -> None:
    async def charged(request_id: str) -> None:
        await ledger.hold(CALLER, request_id, 10 * COST)
        account, key = CALLER.account, CALLER.key_id
        charge = Charge(request_id, account, key, OUTCOME_COMPLETE, COST, "deepseek-chat", "deepseek", USAGE, PARTS)
        await ledger.close(charge)

    _, driver = await drive(empty, calls, concurrency)
    commits, thread = ledger.commits, ledger.writer_seconds()
    wall, cpu = await drive(charged, calls, concurrency)
    commits, thread = ledger.commits - commits, ledger.writer_seconds() - thread
    print(
        f"{concurrency:>11} {calls / wall:>13,.0f} {(cpu - driver) / calls * 1e6:>13.1f} {thread / calls * 1e6:>9.1f} "
        f"{calls / commits:>11.1f} {wall / commits * 1e3:>10.2f}"
    )


async def run(folder: Path, calls: int, power: bool) -> None:
    connection = connect(folder / FILE)
    grant(connection, CALLER.account, 10**18)
    ledger = Ledger.open(folder, power=power)
    print(f"{'':>11} {'':>13} {'µs of CPU a settlement':^23} {'settlements':>11} {'ms':>10}")
    print(
        f"{'concurrency':>11} {'settlements/s':>13} {'loop thread':>13} {'writer':>9} {'a commit':>11} {'a commit':>10}"
    )
    for concurrency in CONCURRENCY:
        await measure(ledger, calls if concurrency > 1 else calls // 20, concurrency)
    await ledger.stop()
    errors = list(itertools.islice(verify(connection)["errors"], 3))
    print("books: " + ("; ".join(errors) or "right"))


def main() -> None:
    parser = argparse.ArgumentParser(description="what a charge costs")
    parser.add_argument("--calls", type=int, default=60_000)
    parser.add_argument("--power", action="store_true", help="each commit survives power loss")
    parser.add_argument("--folder", help="where the database is made (default: the system's temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        uvloop.run(run(Path(folder), options.calls, options.power))


if __name__ == "__main__":
    main()
