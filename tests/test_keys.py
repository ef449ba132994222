"""Keys in the database: what is kept, what is refused, and that the version follows every change."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest, Overloaded, UnknownPath
from gateway.store.keys import Keys, name_problem
from gateway.store.sqlite import FILE, connect

NOW = 1_700_000_000.0
HOSTILE = ["'; DROP TABLE keys; --", '"', "%", "\\", "名字 名字", "\U0001f511", "é", "-x", "$(id)", "<b>", "a\u3000b"]
UNUSABLE = ["", " ", " a", "a ", "a\nb", "a\x00b", "\x1b[2J", "a\u202eb", "\udc80", "x" * 129, "x" * 10_000, "a\u2028b"]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / FILE, power=False)) as opened:
        yield opened


@pytest.fixture
def keys(connection: sqlite3.Connection) -> Keys:
    return Keys(connection, lambda: NOW)


def hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def test_a_new_key_is_long_random_and_kept_as_a_hash(keys: Keys, tmp_path: Path) -> None:
    first, second = keys.create("alice"), keys.create("alice")
    assert first.text.startswith("gw-")
    assert len(first.text) >= 3 + 43
    assert len({first.text, second.text, first.callback_secret, second.callback_secret}) == 4
    assert first.key.id.startswith("key_")
    assert first.key.created == NOW
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert first.key.id.encode() in files, "or the next line would be in vain"
    assert first.text[3:].encode() not in files
    assert hashed(first.text) in files


def test_names_and_accounts_default(keys: Keys) -> None:
    nameless = keys.create().key
    assert nameless.name == nameless.account == nameless.id
    assert keys.create("a").key.account == "a"
    both = keys.create("a", "b").key
    assert (both.name, both.account) == ("a", "b")
    assert keys.uses("b")
    assert not keys.uses("c")
    assert keys.names()[both.id] == "a"


def test_what_is_given_is_found(keys: Keys) -> None:
    limits = {"rpm": 1, "tpm": 2, "concurrency": 3, "budget": 4, "period": "month", "expires": NOW + 0.5}
    key, text, secret = keys.create("a", "b", models=["m", "n", "m"], **limits)
    assert key.models == ("m", "n")
    caller = keys.find(hashed(text))
    assert caller is not None
    assert {name: getattr(caller, name) for name in limits} == limits
    assert (caller.key_id, caller.name, caller.account, caller.callback_secret) == (key.id, "a", "b", secret)
    assert caller.models == {"m", "n"}
    assert not caller.disabled
    assert keys.get(key.id) == key
    assert keys.all() == [key]
    assert keys.find(hashed("gw-other")) is None
    assert keys.find(b"") is None


def test_update_changes_what_is_given_only(keys: Keys) -> None:
    key = keys.create("a", models=["m"], rpm=1, budget=4, period="day").key
    keys.create("bystander", rpm=9)
    changed = keys.update(key.id, {"rpm": 5, "disabled": True})
    assert (changed.rpm, changed.disabled, changed.models, changed.budget) == (5, True, ("m",), 4)
    lifted = keys.update(key.id, {"rpm": None, "models": None, "budget": None, "disabled": False})
    assert (lifted.rpm, lifted.models, lifted.budget, lifted.period, lifted.disabled) == (None, None, None, None, False)
    assert keys.all()[1].rpm == 9


def test_a_disabled_key_can_come_back_and_a_revoked_one_cannot(keys: Keys) -> None:
    key, text, _ = keys.create("a")
    for disabled in (True, False):
        keys.update(key.id, {"disabled": disabled})
        caller = keys.find(hashed(text))
        assert caller is not None
        assert caller.disabled is disabled
    assert keys.revoke(key.id).revoked == NOW
    assert Keys(keys._connection, lambda: NOW + 1).revoke(key.id).revoked == NOW, "the first time counts"
    with pytest.raises(BadRequest, match="final"):
        keys.update(key.id, {"disabled": False})
    caller = keys.find(hashed(text))
    assert caller is not None
    assert caller.disabled


@pytest.mark.parametrize("name", HOSTILE)
def test_odd_names_are_kept_as_they_are(keys: Keys, name: str) -> None:
    key, text, _ = keys.create(name, models=[name])
    caller = keys.find(hashed(text))
    assert caller is not None
    assert (caller.name, caller.account, caller.models) == (name, name, {name})
    with pytest.raises(UnknownPath):
        keys.update(name, {"rpm": 1})
    assert keys.all() == [key]


@pytest.mark.parametrize("name", UNUSABLE)
def test_names_that_nobody_could_read_are_refused(keys: Keys, name: str) -> None:
    for values in ({"name": name}, {"account": name}, {"models": [name]}, {"models": ["m", name]}):
        with pytest.raises(BadRequest) as raised:
            keys.create(**{"name": "a", **values})  # type: ignore[arg-type]
        assert raised.value.param in values
        assert len(raised.value.message) < 200
    for act in (keys.get, keys.revoke, lambda it: keys.update(it, {"rpm": 1})):
        with pytest.raises(UnknownPath) as unknown:
            act(name)
        assert len(unknown.value.message) < 500
        assert unknown.value.message.isprintable()
    assert not keys.uses(name)
    assert keys.all() == []


@given(st.text())
def test_a_name_is_either_refused_or_fit_for_the_database(name: str) -> None:
    if name_problem(name) is None:
        assert sqlite3.connect(":memory:").execute("SELECT ?", (name,)).fetchone() == (name,)


WRONG = [
    *[(limit, value) for limit in ("rpm", "tpm", "concurrency") for value in (0, -1, 1.5, "1", True, 10**16)],
    ("budget", -1), ("budget", 1.5), ("budget", "1"), ("budget", 2**63), ("models", []), ("models", "m"),
    ("models", [1]), ("models", ["m"] * 1001), ("expires", -1), ("expires", float("nan")), ("expires", 1e300),
    ("expires", "2030"), ("disabled", 1), ("disabled", None), ("period", "day"), ("id", "key_mine"),
    ("revoked", None), ("digest", b""),
    ("rpm = 1; --", 1), ("", 1),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG, ids=str)
def test_wrong_values_are_refused_by_name_and_change_nothing(keys: Keys, field: str, value: object) -> None:
    key = keys.create("a", rpm=1).key
    version = keys.version()
    for act in (lambda: keys.create("b", **{field: value}), lambda: keys.update(key.id, {"name": "b", field: value})):
        with pytest.raises(BadRequest) as raised:
            act()
        assert raised.value.param == field
    assert keys.all() == [key]
    assert keys.version() == version


def test_a_period_needs_its_budget(keys: Keys) -> None:
    key = keys.create("a").key
    with pytest.raises(BadRequest):
        keys.update(key.id, {"budget": 1, "period": "year"})
    assert keys.update(key.id, {"budget": 1, "period": "day"}).period == "day"


def test_an_empty_change_is_a_mistake(keys: Keys) -> None:
    with pytest.raises(BadRequest, match="nothing to change"):
        keys.update(keys.create("a").key.id, {})


def test_a_key_given_for_an_id_is_not_repeated(keys: Keys) -> None:
    text = keys.create("a").text
    with pytest.raises(UnknownPath) as raised:
        keys.revoke(text)
    assert text not in raised.value.message


def test_every_change_by_whatever_connection_moves_the_version(keys: Keys, tmp_path: Path) -> None:
    with closing(connect(tmp_path / FILE, power=False)) as second:
        other = Keys(second)
        seen = [keys.version()]
        key = other.create("a").key
        for change in (lambda: other.update(key.id, {"rpm": 1}), lambda: other.revoke(key.id)):
            seen.append(keys.version())
            change()
        seen.append(keys.version())
        second.execute("DELETE FROM keys")
        second.commit()
        seen.append(keys.version())
    assert len(set(seen)) == 5
    assert keys.version() == seen[-1]


def test_a_reader_does_not_wait_for_a_writer(keys: Keys, tmp_path: Path) -> None:
    _, text, _ = keys.create("a")
    with closing(connect(tmp_path / FILE, power=False)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE keys SET name = 'b'")
        found = keys.find(hashed(text))
        assert found is not None
        assert found.name == "a"
        writer.rollback()


def test_a_file_that_stays_locked_is_called_busy(keys: Keys, tmp_path: Path) -> None:
    key = keys.create("a").key
    keys._connection.execute("PRAGMA busy_timeout = 10")
    with closing(connect(tmp_path / FILE, power=False)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(Overloaded, match="try again"):
            keys.revoke(key.id)
        writer.rollback()
    assert keys.revoke(key.id).revoked


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    with closing(connect(tmp_path / FILE, power=False)):
        pass

    def create() -> None:
        with closing(connect(tmp_path / FILE, power=False)) as mine:
            for _ in range(10):
                Keys(mine).create("a")

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(connect(tmp_path / FILE, power=False)) as opened:
        assert len(Keys(opened).all()) == 40
        assert Keys(opened).version() == 40
