"""The sandbox: all simulated vendors on one port, each under `/{vendor_id}`.

A vendor module has `IDS`, the vendor ids it serves, and `routes(prefix)`, its routes below `/{vendor_id}`. Several
modules may serve one id (HTTP and WebSocket); a module that serves several ids is asked once for each.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from gateway.sandbox import (
    anthropic,
    ark,
    control,
    dashscope,
    deepseek,
    gemini,
    minimax,
    moonshot,
    openai,
    rerankers,
    siliconflow,
    smaller,
    tencent,
    ws_vendors,
    xunfei,
    zhipu,
)
from gateway.sandbox.call import CALLS, STORE


class VendorModule(Protocol):
    @property
    def IDS(self) -> Sequence[str]: ...  # noqa: N802

    def routes(self, prefix: str) -> list[web.RouteDef]: ...


VENDORS: list[VendorModule] = [
    openai,
    anthropic,
    gemini,
    dashscope,
    deepseek,
    moonshot,
    minimax,
    siliconflow,
    zhipu,
    ark,
    tencent,
    smaller,
    xunfei,
    rerankers,
    *ws_vendors.MODULES,
]


@dataclass(frozen=True)
class Running:
    """A started sandbox."""

    host: str
    port: int
    runner: web.AppRunner

    def base_url(self, vendor_id: str) -> str:
        return f"http://{self.host}:{self.port}/{vendor_id}"

    async def stop(self) -> None:
        await self.runner.cleanup()


def build_app() -> web.Application:
    """The application with the routes of every vendor."""
    app = web.Application(client_max_size=256 << 20)
    app[CALLS] = Counter()
    app[STORE] = {}
    app.add_routes(control.ROUTES)
    for module in VENDORS:
        for vendor_id in module.IDS:
            app.add_routes(module.routes(f"/{vendor_id}"))
    app.add_routes(control.LAST)
    return app


def vendor_ids() -> list[str]:
    """All ids but the sandbox's own (`_sandbox`)."""
    return sorted({vendor_id for module in VENDORS for vendor_id in module.IDS if vendor_id[0].isalpha()})


async def start(host: str = "127.0.0.1", port: int = 0) -> Running:
    """Listens and returns at once; port 0 takes a free one."""
    runner = web.AppRunner(build_app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return Running(host, runner.addresses[0][1], runner)


def run(host: str = "127.0.0.1", port: int = 9000) -> None:
    """Serves until interrupted, after printing where each vendor is."""

    async def serve() -> None:
        running = await start(host, port)
        for vendor_id in vendor_ids():
            print(f"{vendor_id:<14}{running.base_url(vendor_id)}", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await running.stop()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        return
