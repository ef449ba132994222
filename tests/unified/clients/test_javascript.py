"""Clients in JavaScript: the packages of OpenAI, Anthropic and Google, and Vercel's `ai` over its providers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unified.clients import others, programs
from tests.unified.clients.billing import Bill
from tests.unified.clients.programs import HERE, Flow
from tests.unified.place import MODELS as USUAL

JS = HERE / "js"
OLDEST = 20
# The first test of a machine installs the packages, which takes as long as the network does.
pytestmark = pytest.mark.timeout(programs.INSTALL_PATIENCE + 60)

OPENAI = (
    "plain", "withoutV1", "stream", "tools", "accumulatingStream", "parse", "embeddings", "responses", "responsesTools",
    "models", "errors",
)  # fmt: skip
VERCEL = ("embedOpenai", "embedCompatible", "unknownModel", "thinking") + tuple(
    f"{kind} over {model}"
    for model in (
        "chat", "responses", "compatible", "compatibleWithoutV1", "chat to claude", "responses to gemini",
        "anthropic to gpt", "anthropic to gemini", "google to gpt", "google to claude",
    )
    for kind in ("generate", "stream", "tools", "streamedTools", "object")
)  # fmt: skip
ANTHROPIC = ("errors",) + tuple(
    f"{kind} over {model}"
    for model in ("gpt", "gemini", "qwen")
    for kind in ("plain", "stream", "toolRunner", "parse")
)
GOOGLE = ("errors",) + tuple(
    f"{kind} over {model}" for model in ("gpt", "claude", "qwen") for kind in ("generate", "stream", "chat", "object")
)
PROGRAMS = {"openai": OPENAI, "vercel": VERCEL, "anthropic": ANTHROPIC, "google": GOOGLE}
FLOWS = [f"{program}: {name}" for program, names in PROGRAMS.items() for name in names]
MODELS = USUAL | others.MODELS


@pytest.fixture(scope="module")
def packages() -> Path:
    """A folder with `node_modules`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node or npm is not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int((re.findall(r"\d+", version) or ["0"])[0]) < OLDEST:
        pytest.skip(f"the clients need Node.js {OLDEST} or newer, here is {version.strip()}")

    def install(folder: Path) -> list[list[str]]:
        shutil.copy(JS / ".npmrc", folder)
        return [[npm, "install", "--ignore-scripts"]]

    return programs.installed("node", JS / "package.json", install)


@pytest.fixture(scope="module")
def flows(packages: Path, tmp_path_factory: pytest.TempPathFactory, account: Bill) -> dict[str, Flow]:
    """How each flow went."""
    # Packages are looked up from where a script lies.
    folder = tmp_path_factory.mktemp("js")
    shutil.copytree(JS, folder, dirs_exist_ok=True)
    (folder / "node_modules").symlink_to(packages / "node_modules")
    restricted = account.place.key("--models", "free", "--rpm", "1", credits=None, name="restricted")
    account.begin()
    return programs.run(["node", "run.js", *PROGRAMS], folder, account, RESTRICTED_KEY=restricted)


@pytest.mark.parametrize("name", FLOWS)
def test_flow(flows: dict[str, Flow], name: str) -> None:
    assert flows[name].error is None, flows[name].error


def test_the_bill(flows: dict[str, Flow], account: Bill) -> None:
    assert list(flows) == FLOWS
    programs.charged(flows, account)
