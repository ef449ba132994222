"""The operators' commands: the real program for the main flows, and beside a running gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.admin_key import open_data
from gateway.commands import arguments
from gateway.store.keys import Keys
from gateway.store.ledger import Ledger
from gateway.store.sqlite import FILE, connect
from gateway.types import Caller, Charge, Usage
from tests.commanding import ENVIRON, Run, folder, program, run, spent

__all__ = ["folder", "run"]  # fixtures

CONFIG = """\
models:
  fast:
    targets:
      - {provider: siliconflow, model: b, priority: 2}
      - {provider: deepseek, model: a, weight: 3}
    price: {input: 2, cached_input: 0.5, output: 8, per_request: 0.000000001}
  film: {kind: video, targets: [{provider: bytedance, model: c, dialect: ark.videos}], price: {per_second: {480p: 0.2}}}
  free: {targets: [{provider: deepseek, model: a}]}
  auto: {rules: [{when: {task: coding}, use: fast}], use: free}
"""


# -- main flows --------------------------------------------------------------------------------------------------------


def test_from_the_first_key_to_the_last_line_of_the_books(folder: Path) -> None:
    made = json.loads(program("keys", "create", "--name", "alice", "--data", "new/data", "--json").stdout)
    assert {"id", "key", "name", "account", "callback_secret"} <= set(made)
    assert (made["name"], made["account"]) == ("alice", "alice")
    assert stat.S_IMODE((folder / "new/data").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "new/data" / FILE).stat().st_mode) == 0o600
    environ = {"GATEWAY_DATA": "new/data"}
    granted = program("credits", "grant", "alice", "12.5", "--note", "first", "--json", **environ)
    assert json.loads(granted.stdout) == {"account": "alice", "balance": 12.5, "held": 0, "available": 12.5}
    assert granted.stderr == ""
    parts = (("input", 1200, 2 * 10**9), ("output", 300, 8 * 10**9), ("per_request", 1, 1 * 10**6))
    charge = Charge("req_1", "alice", made["id"], "complete", 4_800_001, "fast", "deepseek", Usage(1200, 0, 0, 300),
                    parts)  # fmt: skip
    spent("new/data", charge, 50_000_000)
    history = json.loads(program("credits", "history", "alice", "--json", **environ).stdout, parse_float=Decimal)
    assert [entry["kind"] for entry in history] == ["grant", "hold", "settle"]
    assert [entry["amount"] for entry in history] == [Decimal("12.5"), Decimal("-0.05"), Decimal("0.045199999")]
    grant, hold, settle = history
    assert grant["note"] == "first"
    assert {entry["request_id"] for entry in (hold, settle)} == {"req_1"}
    assert (settle["model"], settle["provider"], settle["outcome"]) == ("fast", "deepseek", "complete")
    assert settle["usage"]["input"] == 1200
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", settle["time"])
    table = program("credits", "history", "alice", **environ).stdout
    assert "cost 0.004800001 = 1,200 input x 2 per million (0.0024) + 300 output x 8 per million (0.0024) + " in table
    assert "1 per_request x 0.000000001 (0.000000001)" in table
    usage = json.loads(program("usage", "--by", "key", "--json", **environ).stdout, parse_float=Decimal)
    assert len(usage) == 1
    assert (usage[0]["key"], usage[0]["name"], usage[0]["requests"]) == (made["id"], "alice", 1)
    assert (usage[0]["input"], usage[0]["output"], usage[0]["cost"]) == (1200, 300, Decimal("0.004800001"))
    verified = json.loads(program("credits", "verify", "--json", **environ).stdout)
    assert verified == {"accounts": 1, "entries": 3, "open_holds": 0, "errors": []}


def test_keys_from_issue_to_revocation(run: Run) -> None:
    made = run.json("keys", "create", "--name", "a", "--account", "b", "--models", "m, n", "--rpm", "5", "--tpm", "6",
                    "--concurrency", "7", "--budget", "1.5/day", "--expires", "2999-01-31T12:00:00+02:00")  # fmt: skip
    assert {name: made[name] for name in ("account", "models", "rpm", "tpm", "concurrency", "budget", "period")} == {
        "account": "b", "models": ["m", "n"], "rpm": 5, "tpm": 6, "concurrency": 7, "budget": Decimal("1.5"),
        "period": "day",
    }  # fmt: skip
    assert made["expires"] == "2999-01-31T10:00:00.000Z"
    (listed,) = run.json("keys", "list")
    assert listed == {name: value for name, value in made.items() if name not in ("key", "callback_secret")}
    table = run("keys", "list")
    assert made["key"] not in table
    assert made["callback_secret"] not in table
    assert made["id"] in table
    lifted = run.json("keys", "update", made["id"], "--rpm", "none", "--models", "all", "--budget", "3", "--disable")
    assert (lifted["rpm"], lifted["tpm"], lifted["models"], lifted["disabled"]) == (None, 6, None, True)
    assert (lifted["budget"], lifted["period"]) == (3, None)
    assert "disabled" in run("keys", "list")
    assert run.json("keys", "update", "--enable", "--expires", "none", made["id"])["expires"] is None
    assert run.json("keys", "revoke", made["id"])["revoked"] is True
    assert "revoked" in run("keys", "list")
    run("keys", "update", made["id"], "--enable", code=1)
    assert "final" in run.err


def test_a_key_for_people_is_shown_once(run: Run) -> None:
    shown = run("keys", "create", "--name", "alice")
    key = re.search(r"^key +(gw-[\w-]{43})$", shown, re.MULTILINE)
    assert key is not None
    assert "shown only now" in shown
    with contextlib.closing(connect(Path(".gateway") / FILE, power=False)) as connection:
        (kept,) = Keys(connection).all()
    assert kept.name == "alice"


def test_an_expired_key_can_be_made_and_says_so(run: Run) -> None:
    assert run.json("keys", "create", "--expires", "2020-01-01")["expires"] == "2020-01-01T00:00:00.000Z"
    assert "expired already" in run.err
    assert "expired" in run("keys", "list")


@pytest.mark.parametrize(
    "argv",
    [
        ["--data", "d", "keys", "list", "--json"],
        ["keys", "--data", "d", "list", "--json"],
        ["keys", "--json", "--data=d", "list"],
        ["--data", "elsewhere", "keys", "list", "--data", "d", "--json"],
    ],
)
def test_options_stand_anywhere(run: Run, argv: list[str]) -> None:
    made = run.json("--data", "d", "keys", "create")
    assert [key["id"] for key in json.loads(run(*argv))] == [made["id"]]
    changed = run.json("keys", "update", "--rpm", "1", "--data", "d", made["id"], "--tpm", "2")
    assert (changed["rpm"], changed["tpm"]) == (1, 2)
    granted = run.json("credits", "grant", "--note", "n", "a", "--data", "d", "-5")
    assert granted["balance"] == -5


def test_data_and_config_come_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.yaml").write_text(CONFIG)
    monkeypatch.setenv("GATEWAY_CONFIG", "c.yaml")
    monkeypatch.setenv("GATEWAY_DATA", "from-environment")
    run("keys", "create")
    assert Path("from-environment", FILE).exists()
    assert [model["model"] for model in run.json("models")] == ["fast", "film", "free", "auto"]
    run("keys", "create", "--data", "given")
    assert Path("given", FILE).exists()


# -- credits -----------------------------------------------------------------------------------------------------------


def test_grants_and_corrections(run: Run) -> None:
    assert run.json("credits", "grant", "a", "0.000000001")["available"] == Decimal("0.000000001")
    assert "no key is charged to" in run.err
    assert run.json("credits", "grant", "a", "-2.5", "--note", "too much")["balance"] == Decimal("-2.499999999")
    assert run.json("credits", "balance", "a")["held"] == 0
    entries = run.json("credits", "history", "a")
    assert [(entry["kind"], entry["amount"]) for entry in entries] == [
        ("grant", Decimal("0.000000001")), ("adjust", Decimal("-2.5")),
    ]  # fmt: skip
    assert entries[1]["note"] == "too much"
    assert "too much" in run("credits", "history", "a")
    assert run.json("credits", "verify") == {"accounts": 1, "entries": 2, "open_holds": 0, "errors": []}
    assert "the books are right" in run("credits", "verify")


def test_amounts_are_exact_and_plain(run: Run) -> None:
    for amount in ("999999999.999999999", "0.000000001", "0.1", "7"):
        out = run("credits", "grant", f"a{amount}", amount, "--json")
        assert f'"available": {amount}' in out
    assert "999999999.999999999" in run("credits", "balance", "a999999999.999999999")


def test_a_new_keys_account_has_nothing_and_an_unheard_of_one_is_a_mistake(run: Run) -> None:
    run("keys", "create", "--name", "new")
    assert run.json("credits", "balance", "new") == {"account": "new", "balance": 0, "held": 0, "available": 0}
    assert run.json("credits", "history", "new") == []
    assert "nothing yet" in run("credits", "history", "new")
    for verb in ("balance", "history"):
        run("credits", verb, "mew", code=1)
        assert "mew" in run.err


def test_books_that_are_wrong_are_told_with_exit_code_1(run: Run) -> None:
    run("credits", "grant", "a", "5")
    with contextlib.closing(connect(Path(".gateway") / FILE, power=False)) as connection:
        connection.execute("UPDATE accounts SET available = available + 1")
        connection.commit()
    found = json.loads(run("credits", "verify", "--json", code=1))
    assert len(found["errors"]) == 1
    assert "a" in run("credits", "verify", code=1)


@pytest.mark.parametrize(("text", "ago"), [("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86400), ("1w", 604800)])
def test_how_long_ago(text: str, ago: int) -> None:
    assert arguments.since(text, lambda: 10**9) == 10**9 - ago


def test_since_leaves_out_what_is_older(run: Run) -> None:
    run("credits", "grant", "a", "5")
    for since, count in (("1h", 1), ("2000-01-01", 1), ("2999-01-01T00:00:00Z", 0), ("0s", 0)):
        assert len(run.json("credits", "history", "a", "--since", since)) == count
    spent(".gateway", Charge("req_1", "a", "key_x", "complete", 10**9, "fast", "p", Usage(1)), 2 * 10**9)
    for by in ("model", "provider", "key", "account", "day"):
        (row,) = run.json("usage", "--by", by)
        assert (row["requests"], row["cost"]) == (1, 1)
        assert by in row
        assert run.json("usage", "--by", by, "--since", "2999-01-01") == []
        assert run("usage", "--by", by)
    assert run.json("usage")[0]["model"] == "fast", "by model unless told"


# -- prices and models -------------------------------------------------------------------------------------------------


def test_prices_are_as_written(run: Run) -> None:
    Path("c.yaml").write_text(CONFIG)
    found = {row["model"]: row["price"] for row in run.json("prices", "--config", "c.yaml")}
    assert found["fast"] == {
        "input": 2, "cached_input": Decimal("0.5"), "output": 8, "per_request": Decimal("0.000000001"),
    }  # fmt: skip
    assert found["film"] == {"per_second": {"480p": Decimal("0.2")}}
    table = run("prices", "--config", "c.yaml")
    assert re.search(r"^fast +input +2 +million tokens$", table, re.MULTILINE)
    assert re.search(r"^film +per_second 480p +0.2 +second$", table, re.MULTILINE)
    assert re.search(r"^free +free +0$", table, re.MULTILINE)
    assert '"per_request":0.000000001' in run("prices", "--config", "c.yaml", "--json")


def test_models_show_where_they_go_and_what_lacks_a_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.yaml").write_text(CONFIG)
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-of-a-vendor")
    found = {row["model"]: row for row in run.json("models", "--config", "c.yaml")}
    assert [(target["provider"], target["key"]) for target in found["fast"]["targets"]] == [
        ("deepseek", True), ("siliconflow", False),
    ]  # fmt: skip
    assert found["film"]["targets"][0]["dialects"] == ["ark.videos"]
    assert found["auto"]["use"] == ["fast", "free"]
    table = run("models", "--config", "c.yaml")
    assert "set env:SILICONFLOW_API_KEY" in table
    assert "sk-of-a-vendor" not in table + run.err


def test_a_configuration_with_a_mistake_is_told_with_its_line(run: Run) -> None:
    Path("c.yaml").write_text("models:\n  a: {targets: [{provider: deepsek, model: a}]}\n")
    for command in ("prices", "models"):
        run(command, "--config", "c.yaml", code=1)
        assert "c.yaml:2: " in run.err
    run("keys", "list", "--config", "c.yaml")  # keys can be revoked whatever state the configuration is in


# -- beside others -----------------------------------------------------------------------------------------------------


def test_two_programs_at_once(folder: Path) -> None:
    command = [sys.executable, "-m", "gateway"]
    env = {**os.environ, **ENVIRON}
    each = [["keys", "create", "--name", f"n{number}"] for number in range(4)]
    each += [["credits", "grant", "shared", "1"] for _ in range(4)]
    running = [
        subprocess.Popen([*command, *argv], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for argv in each
    ]
    ended = [(process.communicate(timeout=50), process.returncode) for process in running]
    assert all(code == 0 for _, code in ended), ended
    assert len(json.loads(program("keys", "list", "--json").stdout)) == 4
    assert json.loads(program("credits", "balance", "shared", "--json").stdout)["balance"] == 4


async def test_beside_a_running_gateway(run: Run) -> None:
    """The books are open in this process, as a server has them, while another process grants and looks."""
    ledger = Ledger.open(open_data(".gateway"))
    try:
        granted = await asyncio.to_thread(program, "credits", "grant", "a", "5", "--json")
        assert granted.returncode == 0, granted.stderr
        await ledger.hold(Caller("key_x", "x", "a"), "req_1", 2 * 10**9)
        await ledger.close(Charge("req_1", "a", "key_x", "complete", 10**9, "m", "p"))
        shown = json.loads((await asyncio.to_thread(program, "credits", "balance", "a", "--json")).stdout)
        assert shown == {"account": "a", "balance": 4, "held": 0, "available": 4}
        await ledger.hold(Caller("key_x", "x", "a"), "req_2", 10**9)
        while not run.json("credits", "balance", "a")["held"]:  # a call that lasts is entered after a moment
            await asyncio.sleep(0.01)
        assert run.json("credits", "balance", "a") == {"account": "a", "balance": 4, "held": 1, "available": 3}
        assert json.loads((await asyncio.to_thread(program, "credits", "verify", "--json")).stdout)["errors"] == []
    finally:
        await ledger.stop()


def test_a_reader_that_had_enough(folder: Path) -> None:
    for _ in range(2):
        program("keys", "create")
    command = f"{sys.executable} -m gateway keys list --json"
    env = {**os.environ, **ENVIRON}
    # `false` reads nothing at all; the exit code is that of the command, by way of a file.
    subprocess.run(f"({command}; echo $? >code) 2>err | false", shell=True, env=env, timeout=30, check=False)
    assert Path("err").read_text() == ""
    assert int(Path("code").read_text()) in (0, -signal.SIGPIPE)


def test_a_terminal_without_unicode(folder: Path) -> None:
    program("keys", "create", "--name", "名字", PYTHONUTF8="1")
    shown = program("keys", "list", PYTHONIOENCODING="ascii")
    assert shown.returncode == 0
    assert "\\u540d" in shown.stdout
    assert json.loads(program("keys", "list", "--json", PYTHONIOENCODING="ascii").stdout)[0]["name"] == "名字"


# -- help --------------------------------------------------------------------------------------------------------------

COMMANDS = ["keys", "keys create", "keys list", "keys update", "keys revoke", "credits", "credits grant",
            "credits balance", "credits history", "credits verify", "usage", "prices", "models"]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(run: Run, command: str) -> None:
    shown = run(*command.split(), "--help")
    assert re.search(rf"^example.*:\n(?:.*\n)*?  gateway {command}", shown, re.MULTILINE)
    assert "--data" in shown


def test_light_commands_do_not_load_the_server(folder: Path) -> None:
    code = "import sys; from gateway.cli import main; main(['keys', 'list']); print('aiohttp' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30,
                           env={**os.environ, **ENVIRON})  # fmt: skip
    assert shown.stdout.splitlines()[-1] == "False", shown.stderr
