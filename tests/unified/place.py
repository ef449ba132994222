"""The unified surfaces as a client meets them: a gateway before the simulated vendors, with keys, credits and books.

Everything is used from outside: HTTP for calls, the `gateway` command for keys and credits.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.clients.places import MORE_PROVIDERS, Sandbox, at_sandbox
from tests.wire.ends import PATIENCE
from tests.wire.serving import ADMIN_KEY, Gateway

VENDOR_KEY = "sk-vendor-key-of-the-tests"
PRICE = {"input": 2, "cached_input": 0.5, "output": 8}  # credits per million tokens
MODELS: dict[str, Any] = {
    "deepseek-chat": {
        "targets": [
            {"provider": "deepseek", "model": "deepseek-chat"},
            {"provider": "siliconflow", "model": "deepseek-ai/DeepSeek-V3", "priority": 2},
        ],
        "price": PRICE,
    },
    "gpt-4o": {"targets": [{"provider": "openai", "model": "gpt-4o"}], "price": PRICE},
    "free": {"targets": [{"provider": "openai", "model": "gpt-4o-mini"}]},
    "claude": {"targets": [{"provider": "anthropic", "model": "claude-sonnet-4-5"}], "price": PRICE},
    "embedder": {
        "kind": "embedding", "targets": [{"provider": "siliconflow", "model": "BAAI/bge-m3"}], "price": {"input": 1},
    },
    "reranker": {
        "kind": "rerank", "targets": [{"provider": "siliconflow", "model": "BAAI/bge-reranker-v2-m3"}],
        "price": {"input": 1},
    },
    "auto": {"rules": [{"when": {"task": "coding"}, "use": "gpt-4o"}], "use": "deepseek-chat"},
}  # fmt: skip


class Answer(NamedTuple):
    """A whole answer; `cut`: its body ended before its framing said so."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    cut: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The content of a chat, whole or streamed."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            chunks = (chunk for chunk in self.events() if chunk.get("choices"))
            return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        return str(self.json["choices"][0]["message"]["content"])

    def events(self) -> Iterator[Any]:
        """The JSON of a stream's data lines."""
        for line in self.body.decode().splitlines():
            if line.startswith("data:") and line[5:].strip() != "[DONE]":
                yield json.loads(line[5:])

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]


class Place(Gateway):
    """A gateway before a sandbox. `models` replaces MODELS, `providers` is laid over the sandbox's."""

    def __init__(
        self,
        directory: Path,
        sandbox: Sandbox,
        server: dict[str, Any] | None = None,
        providers: dict[str, Any] | None = None,
        workers: int = 1,
        models: dict[str, Any] | None = None,
    ) -> None:
        self.sandbox = sandbox
        simulated = {name: {**entry, "keys": ["env:VENDOR_KEY"]} for name, entry in at_sandbox(sandbox.port).items()}
        super().__init__(
            directory, server, {**simulated, **(providers or {})}, workers, models or MODELS, {"VENDOR_KEY": VENDOR_KEY}
        )

    # -- calls ---------------------------------------------------------------------------------------------------------

    def call(
        self,
        path: str,
        body: Any = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> Answer:
        """One request on a connection of its own. `body`: bytes as they are, else sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Content-Type": "application/json"} if data is not None else {}
        if key is not None:
            fields["Authorization"] = f"Bearer {key}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method or ("GET" if data is None else "POST"), path, data, fields | (headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            try:
                return Answer(response.status, names, response.read())
            except http.client.IncompleteRead as exc:
                return Answer(response.status, names, exc.partial, cut=True)
            except ConnectionResetError:
                return Answer(response.status, names, b"", cut=True)
        finally:
            connection.close()

    def chat(self, key: str | None, model: str = "gpt-4o", text: str = "Hello there", **more: Any) -> Answer:
        headers = more.pop("headers", None)
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.call("/v1/chat/completions", body, key, headers)

    # -- the operator's commands ---------------------------------------------------------------------------------------

    def run(self, *arguments: str, check: bool = True) -> Any:
        """`gateway ...` on this gateway's data, with --json; what it prints, amounts exact."""
        command = [sys.executable, "-m", "gateway", *arguments, "--json", "--data", str(self.data)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout, parse_float=Decimal) if done.stdout else None

    def key(self, *options: str, credits: str | None = "100", name: str = "alice") -> str:
        """A new key whose account (of the same name) has been granted credits."""
        if credits is not None:
            self.run("credits", "grant", name, credits)
        return str(self.run("keys", "create", "--name", name, *options)["key"])

    def balance(self, account: str = "alice") -> dict[str, Decimal]:
        found = self.run("credits", "balance", account)
        return {name: Decimal(found[name]) for name in ("balance", "held", "available")}

    def history(self, account: str = "alice") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run("credits", "history", account)
        return found

    def charged(self, answer: Answer, account: str = "alice") -> tuple[str, Decimal]:
        """(outcome, cost) of one call, from its entries."""
        entries = [entry for entry in self.history(account) if entry["request_id"] == answer.request_id]
        outcomes = {entry["outcome"] for entry in entries if entry["outcome"]}
        assert len(outcomes) == 1, entries
        return outcomes.pop(), -sum((Decimal(entry["amount"]) for entry in entries), Decimal(0))

    def verified(self) -> dict[str, Any]:
        """What `credits verify` says; the books must be right."""
        found: dict[str, Any] = self.run("credits", "verify")
        assert found["errors"] == [], found
        return found

    # -- what else tells -----------------------------------------------------------------------------------------------

    def calls(self) -> dict[str, Any]:
        """How often each vendor was called, by model."""
        connection = http.client.HTTPConnection("127.0.0.1", self.sandbox.port, timeout=PATIENCE)
        try:
            connection.request("GET", "/_sandbox/calls")
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return found

    def value_of(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        answer = self.call("/metrics", headers={"Authorization": f"Bearer {ADMIN_KEY}"}) if not self.metrics_port else (
            self._open_metrics()
        )
        return sum(
            sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def _open_metrics(self) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=PATIENCE)
        try:
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            return Answer(response.status, {}, response.read())
        finally:
            connection.close()

    def lines(self) -> list[dict[str, Any]]:
        """The access log so far."""
        return [json.loads(line) for line in self.stdout.splitlines() if line.startswith("{")]


def quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")


__all__ = ["MODELS", "MORE_PROVIDERS", "PRICE", "VENDOR_KEY", "Answer", "Place", "quoted"]
