"""`gateway demo`: simulated vendors and a gateway in front of them, in one process and without the network."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway import serve
from gateway.metered import METERED
from gateway.providers import Provider
from gateway.sandbox.app import Running, start, vendor_ids
from gateway.settings import SHIPPED, load

_HOST = "127.0.0.1"
_CONFIG = "demo.yaml"
_LOG = "access.log"  # beside it
# Somebody who presses Ctrl-C in front of a demo does not want to wait for its streams.
_DRAIN_SECONDS = 2

_JSON = "-H 'Content-Type: application/json'"
_SLOWLY = "-H 'x-sandbox-pace: 150'"  # the simulated vendor waits so many milliseconds between events
# What to try: a title, curl's options, the path below the base URL, the headers, the body.
_CALLS = (
    (
        "a chat with OpenAI",
        "-sS", "/openai/v1/chat/completions", f"-H 'Authorization: Bearer sk-any' {_JSON}",
        {"model": "gpt-4o", "messages": [{"role": "user", "content": "What is an edge gateway?"}]},
    ),
    (
        "a stream from DeepSeek",
        "-sSN", "/deepseek/chat/completions", f"-H 'Authorization: Bearer sk-any' {_JSON} {_SLOWLY}",
        {"model": "deepseek-chat", "stream": True, "messages": [{"role": "user", "content": "Count to ten."}]},
    ),
    (
        "Anthropic's own API",
        "-sS", "/anthropic/v1/messages", f"-H 'x-api-key: sk-any' -H 'anthropic-version: 2023-06-01' {_JSON}",
        {"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Say hello."}]},
    ),
)  # fmt: skip


def demo(port: int, data: str) -> int:
    """Serves until SIGTERM or Ctrl-C; the exit code. Raises CannotStart."""
    listening = serve.bind(_HOST, port)
    admin_key = os.environ.get("GATEWAY_ADMIN_KEY") or "gw-admin-" + secrets.token_urlsafe(24)
    os.environ["GATEWAY_ADMIN_KEY"] = admin_key  # so that none is made, and kept, in the data folder
    with listening, _sandbox() as vendors:
        key = serve.admin_key(data)
        config, simulated = _write_config(Path(data), vendors)

        def started(bound: int) -> None:
            print(_welcome(f"http://{_HOST}:{bound}", admin_key, simulated, Path(data)), flush=True)

        return serve.run(serve.load(config), config, key, None, _HOST, port, listening, started)


@contextlib.contextmanager
def _sandbox() -> Iterator[Running]:
    """The simulated vendors on a free port, in a thread of their own: they must not share the gateway's loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sandbox", daemon=True)
    thread.start()
    try:
        running = asyncio.run_coroutine_threadsafe(start(_HOST), loop).result()
        try:
            yield running
        finally:
            asyncio.run_coroutine_threadsafe(running.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _write_config(data: Path, vendors: Running) -> tuple[str, list[str]]:
    """A configuration with every shipped provider at its simulated vendor; its path, and the providers' names."""
    shipped = load(str(SHIPPED), {}).providers
    simulated = [name for name in shipped if name in vendor_ids()]
    # A provider that nobody simulates is taken out: a demo never calls a true vendor.
    providers: dict[str, Any] = dict.fromkeys(shipped)
    providers |= {name: _entry(shipped[name], vendors.base_url(name)) for name in simulated}
    server = {"access_log": f"file:{_LOG}", "drain_seconds": _DRAIN_SECONDS}
    path = data / _CONFIG
    text = msgspec.json.format(msgspec.json.encode({"server": server, "providers": providers}))
    try:
        path.write_bytes(b"# Written anew by every `gateway demo`. (JSON is YAML.)\n" + text + b"\n")
    except OSError as exc:
        raise serve.CannotStart(f"{path} cannot be written: {exc.strerror}; give another folder with --data") from exc
    return str(path), simulated


def _entry(provider: Provider, base_url: str) -> dict[str, Any]:
    """The provider's entry with all its hosts at one simulated vendor."""
    # The default patterns without `*` name a vendor's whole path, which here has the vendor's name in front.
    meter = {pattern.decode(): dialects[-1] for pattern, dialects in METERED if b"*" not in pattern}
    meter |= {pattern.decode(): dialect for pattern, dialect in provider.meter}
    path = provider.base_path.decode()
    return {"base_url": base_url + path, "aliases": provider.aliases, "speaks": provider.speaks, "meter": meter}


def _welcome(base_url: str, admin_key: str, simulated: list[str], data: Path) -> str:
    # A key for the unified surfaces belongs into this table once the gateway issues keys.
    rows = {
        "base URL": base_url,
        "metrics": f"{base_url}/metrics (there is no dashboard yet; send the admin key as a Bearer token)",
        "admin key": admin_key,
        "access log": str(data / _LOG),
        "vendors": " ".join(sorted(simulated)),
    }
    lines = [
        "",
        f"The gateway is in front of {len(simulated)} simulated vendors; nothing leaves this machine. Ctrl-C ends it.",
        "",
        *(f"  {name:<10}  {value}" for name, value in rows.items()),
        "",
        "Try it; any vendor key will do here:",
    ]
    for title, options, path, headers, body in _CALLS:
        text = msgspec.json.encode(body).decode()
        lines += ["", f"# {title}", f"curl {options} {base_url}{path} {headers} -d '{text}'"]
    return "\n".join([*lines, ""])
