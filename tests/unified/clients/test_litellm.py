"""LiteLLM as a client. It wants an older `openai` than the other tests: it runs in an environment of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unified.clients import programs
from tests.unified.clients.billing import Bill
from tests.unified.clients.programs import HERE, Flow
from tests.unified.place import MODELS as USUAL

PROGRAM = HERE / "python" / "litellm_flows.py"
FLOWS = (
    "plain", "without_v1", "stream", "stream_without_usage", "asynchronous", "tools", "embedding", "rerank",
    "responses", "errors", "unknown_key",
)  # fmt: skip
MODELS = USUAL | {"ranker": {"targets": [{"provider": "jina", "model": "jina-reranker-v3"}], "price": {"input": 1}}}
# The first test of a machine installs the packages, which takes as long as the network does.
pytestmark = pytest.mark.timeout(programs.INSTALL_PATIENCE + 60)


def _install(folder: Path) -> list[list[str]]:
    return [
        [sys.executable, "-m", "venv", "venv"],
        ["venv/bin/python", "-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"],
    ]


@pytest.fixture(scope="module")
def flows(account: Bill, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Flow]:
    """How each flow went."""
    environment = programs.installed("litellm", HERE / "python" / "requirements.txt", _install)
    account.begin()
    command = [str(environment / "venv/bin/python"), str(PROGRAM)]
    # Else it asks a server for its price list as soon as it is imported.
    return programs.run(command, tmp_path_factory.mktemp("litellm"), account, LITELLM_LOCAL_MODEL_COST_MAP="True")


@pytest.mark.parametrize("name", FLOWS)
def test_flow(flows: dict[str, Flow], name: str) -> None:
    assert flows[name].error is None, flows[name].error


def test_the_bill(flows: dict[str, Flow], account: Bill) -> None:
    assert tuple(flows) == FLOWS
    programs.charged(flows, account)
