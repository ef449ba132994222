"""What the README and docs/unified.md show a user to type, typed as it stands there, but for address and key."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.unified.place import Place

ROOT = Path(__file__).parent.parent.parent
PRICE = {"input": 2, "output": 8}
MODELS: dict[str, Any] = {
    name: {"targets": [{"provider": provider, "model": name}], "price": PRICE}
    for name, provider in (("claude-sonnet-4-5", "anthropic"), ("deepseek-chat", "deepseek"), ("gpt-4o", "openai"))
}


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for named, block in found if named == language]


def test_the_three_sdks_as_shown(place: Place) -> None:
    key = place.key(name="documented")
    (program,) = _blocks("docs/unified.md", "python")
    shown = 'base, key = "http://127.0.0.1:8080", "gw-..."'
    assert shown in program
    program = program.replace(shown, f'base, key = "http://127.0.0.1:{place.port}", {key!r}')
    called = re.findall(r'model="([^"]+)"', program)
    assert sorted(called) == sorted(MODELS), "one call for each"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert ran.returncode == 0, ran.stderr
    charged = [entry for entry in place.history("documented") if entry["kind"] == "settle"]
    assert [entry["model"] for entry in charged] == called
    assert {entry["outcome"] for entry in charged} == {"complete"}


@pytest.mark.parametrize("page", ["README.md", "docs/README.zh.md"])
def test_the_call_of_another_format_as_shown(place: Place, page: str) -> None:
    key = place.key()
    (block,) = (block for block in _blocks(page, "") if "/v1/messages" in block)
    command, answered = re.findall(r"^\$ (curl .*?)\n(\{.*)\.\.\.\n", block, re.DOTALL)[0]
    (body,) = re.findall(r"-d '(.*)'", command)
    answer = place.call("/v1/messages", json.loads(body), key=key)
    assert answer.status == 200, answer.body
    assert Decimal(answer.headers["x-gateway-cost"]) > 0
    without_id = re.sub(r'"id":"\w+"', '"id":""', answer.body.decode())
    assert without_id.startswith(re.sub(r'"id":"\w+"', '"id":""', answered))
