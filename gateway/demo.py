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
from gateway.prices import NANO
from gateway.providers import Provider
from gateway.sandbox.app import Running, start, vendor_ids
from gateway.settings import SHIPPED, load
from gateway.store import ledger
from gateway.store.keys import Keys
from gateway.store.sqlite import FILE, Unusable, connect, opening

_HOST = "127.0.0.1"
_CONFIG = "demo.yaml"
_LOG = "access.log"  # beside it
# Somebody who presses Ctrl-C in front of a demo does not want to wait for its streams.
_DRAIN_SECONDS = 2

_VENDOR_KEY = "demo-vendor.key"  # the file with the key that the gateway shows to the vendors, who take any
_ACCOUNT = "demo"
_CREDITS = 100

_MODELS = {
    "deepseek-chat": {
        "kind": "chat",
        "targets": [
            {"provider": "deepseek", "model": "deepseek-chat", "weight": 3},
            {"provider": "siliconflow", "model": "deepseek-ai/DeepSeek-V3", "priority": 2},
        ],
        "price": {"input": 2, "cached_input": 0.5, "output": 8},
    },
    "kimi-k2": {
        "kind": "chat", "targets": [{"provider": "moonshot", "model": "kimi-k2"}], "price": {"input": 4, "output": 16},
    },
    "gpt-4o": {
        "kind": "chat", "targets": [{"provider": "openai", "model": "gpt-4o"}], "price": {"input": 18, "output": 72},
    },
    "claude-sonnet-4-5": {
        "kind": "chat", "targets": [{"provider": "anthropic", "model": "claude-sonnet-4-5"}],
        "price": {"input": 22, "cached_input": 2.2, "cache_write": 27.5, "output": 110},
    },
    "gemini-2.5-flash": {
        "kind": "chat", "targets": [{"provider": "gemini", "model": "gemini-2.5-flash"}],
        "price": {"input": 2.2, "output": 18},
    },
    "bge-m3": {
        "kind": "embedding", "targets": [{"provider": "siliconflow", "model": "BAAI/bge-m3"}], "price": {"input": 0.5},
    },
    "bge-reranker-v2-m3": {
        "kind": "rerank", "targets": [{"provider": "siliconflow", "model": "BAAI/bge-reranker-v2-m3"}],
        "price": {"input": 0.5},
    },
    "auto": {"rules": [{"when": {"input_tokens": ">32000"}, "use": "kimi-k2"}], "use": "deepseek-chat"},
}  # fmt: skip

_JSON = "-H 'Content-Type: application/json'"
_SLOWLY = "-H 'x-sandbox-pace: 150'"  # the simulated vendor waits so many milliseconds between events
_KEY = "-H 'Authorization: Bearer USER_KEY'"
# What to try: a title, curl's options, the path below the base URL, the headers, the body.
_CALLS = (
    (
        "one key for every model: a chat, charged to the demo account (see x-gateway-cost)",
        "-sS -D -", "/v1/chat/completions", f"{_KEY} {_JSON}",
        {"model": "deepseek-chat", "messages": [{"role": "user", "content": "What is an edge gateway?"}]},
    ),
    (
        "a stream",
        "-sSN", "/v1/chat/completions", f"{_KEY} {_JSON} {_SLOWLY}",
        {"model": "kimi-k2", "stream": True, "messages": [{"role": "user", "content": "Count to ten."}]},
    ),
    (
        "pass-through: Anthropic's own API with the vendor's own key (any will do here)",
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
        user_key = _issue_key(Path(data))

        def started(bound: int) -> None:
            print(_welcome(f"http://{_HOST}:{bound}", admin_key, user_key, simulated, Path(data)), flush=True)

        return serve.run(serve.load(config), config, key, None, _HOST, port, listening, data, started)


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
    text = msgspec.json.format(msgspec.json.encode({"server": server, "providers": providers, "models": _MODELS}))
    try:
        (data / _VENDOR_KEY).write_text("sk-demo\n", encoding="ascii")
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
    return {
        "base_url": base_url + path, "aliases": provider.aliases, "speaks": provider.speaks, "meter": meter,
        "keys": [f"file:{_VENDOR_KEY}"],
    }  # fmt: skip


def _issue_key(data: Path) -> str:
    """A fresh key of the demo account, which gets credits to spend."""
    try:
        with opening(data), contextlib.closing(connect(data / FILE)) as connection:
            ledger.grant(connection, _ACCOUNT, _CREDITS * NANO, "for the demo")
            return Keys(connection).create(name="demo", account=_ACCOUNT).text
    except Unusable as exc:
        raise serve.CannotStart(str(exc)) from exc


def _welcome(base_url: str, admin_key: str, user_key: str, simulated: list[str], data: Path) -> str:
    rows = {
        "base URL": base_url,
        "SDKs": f"{base_url}/v1 for OpenAI's, {base_url} for Anthropic's and Google's",
        "user key": user_key,
        "admin key": admin_key,
        "metrics": f"{base_url}/metrics (there is no dashboard yet; send the admin key as a Bearer token)",
        "prices": f"{base_url}/pricing.html",
        "access log": str(data / _LOG),
        "vendors": " ".join(sorted(simulated)),
    }
    lines = [
        "",
        f"The gateway is in front of {len(simulated)} simulated vendors; nothing leaves this machine. Ctrl-C ends it.",
        "",
        *(f"  {name:<10}  {value}" for name, value in rows.items()),
        "",
        "Try it:",
    ]
    for title, options, path, headers, body in _CALLS:
        text = msgspec.json.encode(body).decode()
        shown = headers.replace("USER_KEY", user_key)
        lines += ["", f"# {title}", f"curl {options} {base_url}{path} {shown} -d '{text}'"]
    lines += ["", "# what it cost", f"gateway credits history {_ACCOUNT} --data {data}"]
    return "\n".join([*lines, ""])
