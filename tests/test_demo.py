"""`gateway demo` as a newcomer uses it: the real command, and the lines that it prints run by a shell as they are."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the demo's lines call curl")


class Demo(NamedTuple):
    process: subprocess.Popen[str]
    base_url: str
    admin_key: str
    lines: list[str]

    def call(self, path: str, headers: dict[str, str], body: bytes | None = None) -> str:
        request = urllib.request.Request(self.base_url + path, body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def tokens(self, provider: str, kind: str) -> float:
        """What `/metrics` says that a provider used."""
        metrics = self.call("/metrics", {"Authorization": f"Bearer {self.admin_key}"})
        row = rf'^gateway_tokens_total{{[^}}]*provider="{provider}"[^}}]*type="{kind}"[^}}]*}} (\S+)$'
        return sum(map(float, re.findall(row, metrics, re.MULTILINE)))


def _start(folder: Path, port: int = 0) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    python = [sys.executable, "-W", "error"]
    command = [*python, "-m", "gateway", "demo", "--port", str(port), "--data", "data"]
    return subprocess.Popen(command, cwd=folder, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextlib.contextmanager
def _demo(folder: Path) -> Iterator[Demo]:
    with _start(folder) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            # The last thing that it prints is what the calls have cost.
            while not any(line.startswith("gateway credits") for line in lines):
                line = process.stdout.readline()
                assert line, (lines, process.stderr and process.stderr.read())
                lines.append(line.rstrip("\n"))
            told = dict(re.findall(r"^  (base URL|admin key) +(\S+)$", "\n".join(lines), re.MULTILINE))
            yield Demo(process, told["base URL"], told["admin key"], lines)
        finally:
            process.kill()


def _run(line: str) -> str:
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30, check=True).stdout


def test_the_printed_lines_work_and_are_metered_and_charged(tmp_path: Path) -> None:
    with _demo(tmp_path) as demo:
        chat, stream, native = (_run(line) for line in demo.lines if line.startswith("curl "))
        head, _, body = chat.partition("\n\n")
        answer = json.loads(body)
        assert "edge gateway" in answer["choices"][0]["message"]["content"]
        assert json.loads(native)["content"][0]["text"]
        events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
        assert len(events) > 3
        assert stream.endswith("data: [DONE]\n\n")
        for provider, kind, tokens in (
            ("deepseek", "input", answer["usage"]["prompt_tokens"]),
            ("moonshot", "output", events[-1]["choices"][0]["usage"]["completion_tokens"]),
            ("anthropic", "output", json.loads(native)["usage"]["output_tokens"]),
        ):
            assert tokens > 0
            assert demo.tokens(provider, kind) == tokens
        usage = answer["usage"]
        cost = Decimal(usage["prompt_tokens"] * 2 + usage["completion_tokens"] * 8) / 10**6
        assert f"x-gateway-cost: {cost:f}" in head
        (asked,) = (line for line in demo.lines if line.startswith("gateway credits history"))
        command = [sys.executable, "-m", *asked.split(), "--json"]
        told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True).stdout
        entries = json.loads(told, parse_float=Decimal)
        assert [entry["outcome"] for entry in entries if entry["kind"] == "settle"] == ["complete"] * 2
        charged = next(entry["request_id"] for entry in entries if entry["model"] == "deepseek-chat")
        assert -sum(entry["amount"] for entry in entries if entry["request_id"] == charged) == cost


def test_every_provider_is_simulated_or_gone(tmp_path: Path) -> None:
    """A demo must not reach a true vendor: every host in its configuration is this machine."""
    with _demo(tmp_path):
        text = (tmp_path / "data" / "demo.yaml").read_text(encoding="utf-8")
        providers = json.loads(text.partition("\n")[2])["providers"]
        assert len(providers) >= 15
        urls = [entry["base_url"] for entry in providers.values() if entry is not None]
        assert len(urls) >= 3
        assert all(url.startswith("http://127.0.0.1:") for url in urls), urls
        assert not any("hosts" in entry for entry in providers.values() if entry is not None)


def test_a_native_interface_at_the_root_is_metered(tmp_path: Path) -> None:
    """Hunyuan's is a POST to `/`, which in the sandbox is not the root."""
    with _demo(tmp_path) as demo:
        signed = "TC3-HMAC-SHA256 Credential=AKID/2026-01-01/hunyuan/tc3_request, SignedHeaders=host, Signature="
        headers = {
            "Authorization": signed + "0" * 64, "Content-Type": "application/json", "X-TC-Action": "ChatCompletions",
            "X-TC-Version": "2023-09-01", "X-TC-Timestamp": "1767225600",
        }  # fmt: skip
        body = b'{"Model": "hunyuan-turbo", "Messages": [{"Role": "user", "Content": "hello"}]}'
        usage = json.loads(demo.call("/tencent/", headers, body))["Response"]["Usage"]
        assert usage["CompletionTokens"] > 0
        assert demo.tokens("tencent", "output") == usage["CompletionTokens"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with _demo(tmp_path) as demo:
        demo.process.send_signal(number)
        _, errors = demo.process.communicate(timeout=30)
        assert demo.process.returncode == 0, errors
        assert errors.splitlines() == [f"serving on {demo.base_url}"]


def test_every_start_has_a_new_admin_key_and_keeps_none(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        with _demo(tmp_path) as demo:
            keys.append(demo.admin_key)
    assert keys[0] != keys[1]
    for path in (tmp_path / "data").iterdir():
        assert not any(key.encode() in path.read_bytes() for key in keys), path


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with _start(tmp_path, port) as process:
            out, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert out == ""
    assert len(errors.splitlines()) == 1, errors
    assert f"127.0.0.1:{port}" in errors
    assert "already in use" in errors
