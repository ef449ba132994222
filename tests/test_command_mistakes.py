"""Mistakes at the operators' commands: a clear line, an exit code, and nothing changed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.store.sqlite import FILE
from gateway.types import Charge
from tests.commanding import Run, folder, run, spent

__all__ = ["folder", "run"]  # fixtures

MISTAKES = {
    "no verb": ["keys"],
    "unknown verb": ["keys", "delete", "key_x"],
    "unknown id": ["keys", "revoke", "key_x"],
    "no id": ["keys", "update", "--rpm", "1"],
    "nothing to change": ["keys", "update", "ID"],
    "on and off": ["keys", "update", "ID", "--disable", "--enable"],
    "disable at creation": ["keys", "create", "--disable"],
    "rpm 0": ["keys", "create", "--rpm", "0"],
    "rpm negative": ["keys", "create", "--rpm", "-1"],
    "rpm broken": ["keys", "create", "--rpm", "1.5"],
    "rpm huge": ["keys", "create", "--rpm", "9" * 5000],
    "rpm in Thai digits": ["keys", "create", "--rpm", "\u0e55"],
    "concurrency word": ["keys", "create", "--concurrency", "many"],
    "no model": ["keys", "create", "--models", ""],
    "empty model": ["keys", "create", "--models", "a,,b"],
    "models none": ["keys", "update", "ID", "--models", "none"],
    "budget negative": ["keys", "create", "--budget", "-1"],
    "budget period": ["keys", "create", "--budget", "1/week"],
    "budget empty period": ["keys", "create", "--budget", "1/"],
    "budget exponent": ["keys", "create", "--budget", "1e3"],
    "date": ["keys", "create", "--expires", "tomorrow"],
    "date that is none": ["keys", "create", "--expires", "2030-02-30"],
    "date of the past millennia": ["keys", "create", "--expires", "0001-01-01T00:00:00+23:59"],
    "date before 1970": ["keys", "create", "--expires", "1950-01-01"],
    "name of 10 KB": ["keys", "create", "--name", "x" * 10_000],
    "name with NUL": ["keys", "create", "--name", "a\0b"],
    "name with a line end": ["keys", "create", "--name", "a\nb"],
    "name not Unicode": ["keys", "create", "--name", "\udcff"],
    "empty name": ["keys", "create", "--name", ""],
    "empty account": ["keys", "create", "--account", " "],
    "SQL for an id": ["keys", "revoke", "' OR 1=1; DROP TABLE keys; --"],
    "id with NUL": ["keys", "update", "a\0", "--rpm", "1"],
    "id not Unicode": ["keys", "revoke", "\udcff"],
    "amount": ["credits", "grant", "a", "much"],
    "amount with ten places": ["credits", "grant", "a", "0.0000000001"],
    "amount with an exponent": ["credits", "grant", "a", "1e3"],
    "amount not a number": ["credits", "grant", "a", "nan"],
    "amount too large": ["credits", "grant", "a", "1000000000"],
    "amount of 10 KB": ["credits", "grant", "a", "1" * 10_000],
    "two minus signs": ["credits", "grant", "a", "--5"],
    "no amount": ["credits", "grant", "a"],
    "grant to nobody": ["credits", "grant", "", "5"],
    "grant to a control character": ["credits", "grant", "a\x1b[2J", "5"],
    "grant to what is not Unicode": ["credits", "grant", "\udcff", "5"],
    "note not Unicode": ["credits", "grant", "a", "5", "--note", "\udcff"],
    "note of 10 KB": ["credits", "grant", "a", "5", "--note", "x" * 10_000],
    "unknown account": ["credits", "balance", "nobody"],
    "account with NUL": ["credits", "history", "a\0"],
    "account not Unicode": ["credits", "balance", "\udcff"],
    "since": ["credits", "history", "a", "--since", "yesterday"],
    "since a year of days": ["usage", "--since", "5y"],
    "since for ever": ["usage", "--since", "9999999d"],
    "by": ["usage", "--by", "moon"],
    "by SQL": ["usage", "--by", "model; DROP TABLE keys"],
    "no such configuration": ["prices", "--config", "missing.yaml"],
}  # fmt: skip


@pytest.mark.parametrize("argv", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_in_a_line_and_change_nothing(run: Run, argv: list[str]) -> None:
    made = run.json("keys", "create", "--name", "bystander")
    before = run("keys", "list", "--json")
    arguments = [made["id"] if argument == "ID" else argument for argument in argv]
    try:
        code = main(arguments)
    except SystemExit as exc:
        code = int(exc.code or 0)
    out, err = run._capsys.readouterr()
    assert code in (1, 2)
    assert out == ""
    assert err
    assert "Traceback" not in err
    assert max(map(len, err.splitlines())) < 500
    assert run("keys", "list", "--json") == before
    assert run.json("credits", "verify")["entries"] == 0


def test_a_key_given_for_an_id_is_not_printed_again(run: Run) -> None:
    made = run.json("keys", "create")
    run("keys", "revoke", made["key"], code=1)
    assert made["key"] not in run.err
    assert "keys list" in run.err or "ids start with key_" in run.err


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE keys; --", '"', "\\", "%s", "名字 名字", "\U0001f511", "-", "$(id)", "a b"]
)
def test_odd_names_come_back_as_they_went(run: Run, name: str) -> None:
    made = run.json("keys", "create", f"--name={name}")
    assert made["name"] == made["account"] == name
    assert run.json("credits", "grant", "--note", name, name, "1")["account"] == name
    assert run.json("credits", "history", name)[0]["note"] == name
    assert name in run("keys", "list")
    assert name in run("credits", "balance", name)


def test_what_others_wrote_moves_no_cursor(run: Run) -> None:
    run("credits", "grant", "a", "5")
    charge = Charge("req\x1b[2J", "a", "key_x", "failed", 0, "evil\x1b]0;title\x07\n", "p", note="line\nline")
    spent(".gateway", charge, 10)
    out = run("credits", "history", "a") + run("usage")
    assert "evil\\x1b" in out
    assert not re.search(r"[^\n\x20-\x7e]", out)


@pytest.mark.parametrize("data", ["file", "file/below", "x" * 300, "a\0b"])
def test_a_data_folder_that_cannot_be_one(run: Run, data: str) -> None:
    Path("file").write_text("")
    for argv in (["keys", "list"], ["credits", "verify"], ["usage"]):
        run(*argv, "--data", data, code=1)
        assert "--data" in run.err
        assert len(run.err.splitlines()) == 1


def test_a_file_that_is_no_database(run: Run) -> None:
    Path("d").mkdir()
    Path("d", FILE).write_bytes(b"not a database, but long enough to be taken for one" * 100)
    run("keys", "list", "--data", "d", code=1)
    assert "not a database" in run.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_of_somebody_else(run: Run) -> None:
    Path("d").mkdir(mode=0o500)
    run("keys", "create", "--data", "d", code=1)
    assert "yours to write" in run.err
