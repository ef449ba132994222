"""Where clients go: the sandbox and the gateway before it, each as a process of its own, and what both tell.

A client gets a base URL and nothing else. `Link.same` calls it twice, directly and through the gateway, and wants equal
results; `Link.metered` also wants `/metrics` to grow by exactly what the client itself saw.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from prometheus_client.parser import text_string_to_metric_families

import gateway
from tests.clients.seen import Seen, shown
from tests.wire.ends import PATIENCE
from tests.wire.serving import Gateway, free_port

# What is not shipped, and what a user would write for it. VENDORS: the sandbox's name where it differs.
MORE_PROVIDERS: dict[str, dict[str, Any]] = {
    "stepfun": {"speaks": {"openai.chat": "/v1/chat/completions"}},
    "jina": {"speaks": {"jina.rerank": "/v1/rerank", "openai.embeddings": "/v1/embeddings"}},
    "cohere": {"speaks": {"cohere.rerank": "/v2/rerank", "cohere.embed": "/v2/embed"}},
    "openai-audio": {
        "meter": {"/v1/audio/speech": "openai.speech", "/v1/audio/transcriptions": "openai.transcriptions"}
    },
}
VENDORS = {"openai-audio": "openai"}
_SHIPPED = Path(gateway.__file__).with_name("providers.yaml")

T = TypeVar("T")
Growth = dict[tuple[str, ...], float]


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return bytes(answer.read())


class Sandbox:
    """The simulated vendors as a process."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._log = directory / "sandbox"
        command = [sys.executable, "-m", "gateway", "sandbox", "--port", str(self.port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait_ready()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                fetch(f"http://127.0.0.1:{self.port}/_sandbox")
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.stop()
        raise AssertionError(f"the sandbox does not answer: {self.log}")

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)


def at_sandbox(port: int) -> dict[str, Any]:
    """The shipped providers, with the sandbox for their hosts: nothing else differs from what users run."""
    shipped: dict[str, dict[str, Any]] = yaml.safe_load(_SHIPPED.read_text())["providers"]
    return {
        name: {key: value for key, value in entry.items() if key not in ("hosts", "keys")}
        | {"base_url": f"http://127.0.0.1:{port}/{VENDORS.get(name, name)}"}
        for name, entry in {**shipped, **MORE_PROVIDERS}.items()
    }


class Places:
    """A sandbox with a gateway before it."""

    def __init__(self, sandbox: Sandbox, gateway: Gateway) -> None:
        self.sandbox = sandbox
        self.gateway = gateway

    def link(self, provider: str) -> Link:
        return Link(self, provider)

    def samples(self, provider: str) -> list[tuple[str, dict[str, str], float]]:
        """A provider's counters; its histograms are many lines that nobody here looks at."""
        page = fetch(f"http://127.0.0.1:{self.gateway.metrics_port}/metrics").decode()
        label = f'provider="{provider}"'
        lines = [line for line in page.splitlines() if label in line and "_total{" in line]
        return [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families("\n".join(lines) + "\n")
            for sample in family.samples
        ]


class Link:
    """One provider, directly and through the gateway: two base URLs for the same thing."""

    def __init__(self, places: Places, provider: str) -> None:
        self._places = places
        self.provider = provider
        self.direct = f"http://127.0.0.1:{places.sandbox.port}/{VENDORS.get(provider, provider)}"
        self.through = f"http://127.0.0.1:{places.gateway.port}/{provider}"

    def same(self, call: Callable[[str], T]) -> T:
        """What the call gives for either base URL; the same for both."""
        direct = call(self.direct)
        through = call(self.through)
        agree(through, direct)
        return through

    def metered(self, call: Callable[[str], T], seen: Callable[[T], Seen | list[Seen]]) -> T:
        """As `same`, for calls whose usage the client sees: the metrics grow by that and by nothing else."""
        direct = call(self.direct)
        before = self.counted()
        through = call(self.through)
        agree(through, direct)
        found = seen(through)
        self.grows(before, found if isinstance(found, list) else [found])
        return through

    def unmetered(self, call: Callable[[str], T], **usage: float) -> T:
        """As `same`, for calls that use nothing that could be counted; `usage` is the growth by source, if any."""
        direct = call(self.direct)
        before, answers = self.counted(), sum(self.answers().values())
        through = call(self.through)
        agree(through, direct)
        wait_for(lambda: sum(self.answers().values()) > answers, True)
        self._grows(before, {("usage", source): number for source, number in usage.items()})
        return through

    def raises(self, call: Callable[[str], object], kind: type[Exception], status: int = 0) -> Exception:
        """The exception that the call raises for either base URL; the vendor's status arrived at the gateway, too."""
        direct = _raised(call, self.direct, kind)
        before = self.answers()
        through = _raised(call, self.through, kind)
        agree(through, direct)
        if status:
            wait_for(lambda: self.answers().get(str(status), 0), before.get(str(status), 0) + 1)
        return through

    # what the gateway counted

    def counted(self) -> Growth:
        """Tokens by model and type, metered answers by source; and what is not tokens, off the access log."""
        found: Growth = {}
        for line in map(json.loads, self._places.gateway.stdout.splitlines()):
            if line["provider"] == self.provider:
                for name, number in (line.get("usage") or {}).items():
                    key = ("units", line["model"], name)
                    found[key] = found.get(key, 0) + number
        for name, labels, value in self.samples():
            if name == "gateway_tokens_total" and value:
                found["tokens", labels["model"], labels["type"], labels["source"]] = value
            elif name == "gateway_usage_total" and value:
                found["usage", labels["source"]] = value
        return found

    def answers(self) -> dict[str, float]:
        """How many answers of each status."""
        found: dict[str, float] = {}
        for name, labels, value in self.samples():
            if name == "gateway_requests_total":
                found[labels["status"]] = found.get(labels["status"], 0) + value
        return found

    def grows(self, before: Growth, seen: list[Seen]) -> None:
        """Waits until the counters have grown by just these usages."""
        wanted: Growth = {}
        for usage in seen:
            for key, number in usage.counters().items():
                wanted[key] = wanted.get(key, 0) + number
        self._grows(before, wanted)

    def _grows(self, before: Growth, by: Growth) -> None:
        def grown() -> Growth:
            after = self.counted()
            # Of the units only those are compared that are asked for: the log names the tokens once more.
            found = {key: value - before.get(key, 0) for key, value in after.items() if key[0] != "units" or key in by}
            return {key: value for key, value in found.items() if value}

        wait_for(grown, by)

    def samples(self) -> list[tuple[str, dict[str, str], float]]:
        return [
            sample
            for sample in self._places.samples(self.provider)
            if sample[1].get("surface", "passthrough") == "passthrough"
        ]


def agree(through: object, direct: object) -> None:
    """Asserts that a client got the same through the gateway as directly."""
    got, wanted = repr(shown(through)), repr(shown(direct))
    if got != wanted:
        start = max(len(os.path.commonprefix([got, wanted])) - 200, 0)
        raise AssertionError(f"through the gateway:\n{got[start:][:500]}\ndirectly:\n{wanted[start:][:500]}")


def wait_for(look: Callable[[], object], wanted: object) -> None:
    """Asserts that `look` gives this in good time: the gateway counts after the client has got its last byte."""
    deadline = time.monotonic() + PATIENCE
    while (found := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found == wanted, f"{found} instead of {wanted}"


def _raised(call: Callable[[str], object], base: str, kind: type[Exception]) -> Exception:
    try:
        call(base)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} from {base}")
