"""Who a request comes from: where a key may stand, and how long what is known of it counts."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import auth
from gateway.auth import Auth, digest, key_of, stripped
from gateway.errors import DisabledKey, ExpiredKey, InvalidKey, Overloaded, Unauthorized
from gateway.store.keys import Keys
from gateway.store.sqlite import connect
from gateway.types import Caller
from gateway.wire.head import Request, parse_request


def request(*fields: str, target: str = "/v1/chat/completions", websocket: bool = False) -> Request:
    lines = [f"{'GET' if websocket else 'POST'} {target} HTTP/1.1", "Host: h", *fields]
    if websocket:
        lines += ["Connection: Upgrade", "Upgrade: websocket"]
    return parse_request("\r\n".join([*lines, "", ""]).encode("latin-1"))


PLACES = {
    "bearer": ("Authorization: Bearer KEY", ""),
    "any case": ("AUTHORIZATION: bEARER KEY", ""),
    "more blanks": ("Authorization:  Bearer \t KEY \t ", ""),
    "x-api-key": ("X-Api-Key: KEY", ""),
    "x-goog-api-key": ("x-goog-api-key: KEY", ""),
    "query": ("A: b", "?key=KEY"),
    "query among others": ("A: b", "?alt=sse&key=KEY&key=second"),
    "query, encoded": ("A: b", "?key=%4BE%59"),
    "query, name encoded": ("A: b", "?k%65y=KEY"),
    "query, empty first": ("A: b", "?key=&key=KEY"),
}


@pytest.mark.parametrize(("field", "query"), PLACES.values(), ids=PLACES)
def test_where_a_key_may_stand(field: str, query: str) -> None:
    assert key_of(request(field, target=f"/v1/models{query}")) == b"KEY"


NOWHERE = {
    "nothing": ("A: b", ""),
    "another scheme": ("Authorization: Basic S0VZ", ""),
    "no scheme": ("Authorization: KEY", ""),
    "only the scheme": ("Authorization: Bearer", ""),
    "only blanks": ("Authorization: Bearer  ", ""),
    "empty": ("x-api-key:", ""),
    "empty query": ("A: b", "?key="),
    "no value": ("A: b", "?key"),
    "another name": ("A: b", "?Key=KEY&apikey=KEY&keys=KEY"),
    "a fragment of the path": ("A: b", "/key=KEY"),
    "subprotocol without a WebSocket": ("Sec-WebSocket-Protocol: openai-insecure-api-key.KEY", ""),
}


@pytest.mark.parametrize(("field", "query"), NOWHERE.values(), ids=NOWHERE)
def test_where_no_key_is(field: str, query: str) -> None:
    assert key_of(request(field, target=f"/v1/models{query}")) is None


def test_the_first_place_counts_and_empty_ones_are_passed_over() -> None:
    fields = ["Authorization: Bearer 1", "x-api-key: 2", "x-goog-api-key: 3", "Sec-WebSocket-Protocol: realtime, "
              "openai-insecure-api-key.5"]  # fmt: skip
    for first in "12345":
        found = key_of(request(*reversed(fields), target="/v1/realtime?key=4" if first < "5" else "/", websocket=True))
        assert found == first.encode()
        if first < "4":
            fields[int(first) - 1] = fields[int(first) - 1].rstrip("123")
    assert key_of(request("Authorization: Basic eA==", "x-api-key: KEY")) == b"KEY"


def test_a_subprotocol_may_stand_in_any_line() -> None:
    lines = ["Sec-WebSocket-Protocol: realtime", "Sec-WebSocket-Protocol: openai-insecure-api-key., "
             "openai-insecure-api-key.KEY ,openai-beta.realtime-v1"]  # fmt: skip
    assert key_of(request(*lines, target="/v1/realtime", websocket=True)) == b"KEY"


def test_what_says_who_the_client_is_goes_to_no_vendor() -> None:
    shown = request(
        "Authorization: Bearer K1", "X-API-Key: K2", "x-goog-api-key: K3", "api-key: K4", "Cookie: K5",
        "Proxy-Authorization: K6", "X-Gateway-Key: K7", "X-Forwarded-For: K8", "Forwarded: K9", "User-Agent: sdk",
        "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.K0,v1", "anthropic-version: 2023-06-01",
    )  # fmt: skip
    kept = stripped(shown.headers)
    assert [(name, value) for name, value, _ in kept] == [
        (b"Host", b"h"), (b"User-Agent", b"sdk"), (b"Sec-WebSocket-Protocol", b"realtime, v1"),
        (b"anthropic-version", b"2023-06-01"),
    ]  # fmt: skip
    assert not stripped(request("sec-websocket-protocol: openai-insecure-api-key.K").headers[1:])


@given(st.text("Bearer kK=&?%41,. -", max_size=30), st.text("openai-secur.KEY, ", max_size=40))
def test_what_is_kept_shows_no_key(value: str, protocols: str) -> None:
    found = request(
        f"Authorization: {value}", f"x-api-key: {value}", f"X-Goog-Api-Key: {value}",
        f"Sec-WebSocket-Protocol: openai-insecure-api-key.{protocols}", websocket=True,
    )  # fmt: skip
    found.headers = stripped(found.headers)
    assert key_of(found) is None


class Store:
    """A store of two methods, on a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.callers: dict[bytes, Caller] = {}
        self.version = 0
        self.asked: list[bytes] = []
        self.looks = 0
        self.away = False
        self.time = 1000.0
        self.date = 1_700_000_000.0
        self.auth = Auth(self.find, self.changed, lambda: self.time, lambda: self.date)

    def find(self, digest: bytes) -> Caller | None:
        self.asked.append(digest)
        return self.callers.get(digest)

    def changed(self) -> int:
        self.looks += 1
        if self.away:
            raise Overloaded("away")
        return self.version

    def set(self, caller: Caller, key: bytes = b"key") -> None:
        self.callers[digest(key)] = caller
        self.version += 1

    def call(self, key: bytes = b"key") -> Caller:
        return self.auth.caller(digest(key))


ALICE = Caller("key_1", "alice", "alice")


def test_a_key_is_looked_up_once() -> None:
    store = Store()
    store.set(ALICE)
    assert [store.call() for _ in range(3)] == [ALICE] * 3
    store.time += 3600
    assert store.call() is ALICE
    assert store.asked == [digest(b"key")]


def test_a_change_acts_within_a_second() -> None:
    store = Store()
    store.set(ALICE)
    store.call()
    store.set(Caller("key_1", "alice", "alice", disabled=True))
    store.time += 0.999
    assert store.call() is ALICE
    store.time += 0.001
    with pytest.raises(DisabledKey):
        store.call()
    store.set(ALICE)
    store.time += 1
    assert store.call() is ALICE


def test_an_unknown_key_is_asked_for_once_a_second_and_known_at_once() -> None:
    store = Store()
    for _ in range(3):
        with pytest.raises(InvalidKey):
            store.call(b"new")
    assert len(store.asked) == 1
    store.callers[digest(b"new")] = ALICE  # a change whose version is not seen yet
    store.auth._look_again = store.time + 100
    store.time += 1.001
    assert store.call(b"new") is ALICE
    store.callers[digest(b"newer")] = ALICE
    assert store.call(b"newer") is ALICE, "a fresh key was never asked for before"


def test_an_expiry_is_held_against_the_time_of_day() -> None:
    store = Store()
    store.set(Caller("key_1", "alice", "alice", expires=store.date + 10))
    store.date += 9.9
    assert store.call()
    store.date += 0.1
    with pytest.raises(ExpiredKey):
        store.call()


def test_each_refusal_has_its_code_and_no_message_repeats_a_key() -> None:
    store = Store()
    store.set(Caller("key_1", "alice", "alice", disabled=True), b"off")
    store.set(Caller("key_2", "alice", "alice", expires=1), b"old")
    raised: list[Unauthorized] = []
    for key in (b"gw-secret", b"off", b"old"):
        with pytest.raises(Unauthorized) as found:
            store.call(key)
        raised.append(found.value)
    assert [exc.code for exc in raised] == ["invalid_api_key", "api_key_disabled", "api_key_expired"]
    assert all(exc.status == 401 and "gw-secret" not in exc.message for exc in raised)


def test_a_flood_of_wrong_keys_takes_bounded_memory_and_pushes_nobody_out() -> None:
    store = Store()
    store.set(ALICE)
    store.call()
    for number in range(3 * auth._REFUSED):
        with pytest.raises(InvalidKey):
            store.auth.caller(digest(str(number).encode()))
    assert len(store.auth._unknown) + len(store.auth._unknown_before) <= 2 * auth._REFUSED
    del store.asked[:]
    assert store.call() is ALICE
    assert not store.asked


def test_keys_in_use_are_bounded_and_the_used_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_REMEMBERED", 10)
    store = Store()
    for number in range(100):
        store.set(ALICE, b"%d" % number)
    store.set(ALICE)
    for number in range(100):
        store.call(b"%d" % number)
        store.call()
    assert len(store.auth._young) + len(store.auth._old) <= 20
    assert store.asked.count(digest(b"key")) == 1
    assert len(store.asked) == 101


def test_a_store_that_is_away_is_borne_for_seconds_then_refused_but_never_called_a_wrong_key() -> None:
    store = Store()
    store.away = True
    with pytest.raises(Overloaded):
        store.call()
    store.away = False
    store.set(ALICE)
    store.call()
    store.away = True
    store.set(Caller("key_1", "alice", "alice", disabled=True))
    borne = 0.0
    with pytest.raises(Overloaded):  # noqa: PT012
        while borne < 10:
            store.time += 0.5
            store.call()
            borne += 0.5
    assert 2 <= borne < 5, "changes act within five seconds, even then"
    assert store.looks < 8, "a store that is away is left alone meanwhile"
    store.away = False
    with pytest.raises(DisabledKey):
        store.call()


def test_a_real_store_changed_by_another_connection(tmp_path: Path) -> None:
    ours = Keys(connect(tmp_path / "gateway.db", power=False, readonly=False))
    theirs = Keys(connect(tmp_path / "gateway.db", power=False, readonly=False))
    time = 0.0
    known = Auth(ours.find, ours.version, lambda: time, lambda: 0.0)
    with pytest.raises(InvalidKey):
        known.caller(digest(b"gw-none"))
    key, text, secret = theirs.create("alice", models=["m"], budget=5, period="day")
    caller = known.caller(digest(text.encode()))
    assert caller == Caller(key.id, "alice", "alice", frozenset(["m"]), budget=5, period="day", callback_secret=secret)
    theirs.update(key.id, {"models": None, "rpm": 7})
    time += 1
    assert known.caller(digest(text.encode())).rpm == 7
    theirs.revoke(key.id)
    time += 1
    with pytest.raises(DisabledKey):
        known.caller(digest(text.encode()))


def test_a_locked_or_broken_file_is_no_wrong_key(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "empty.db")
    keys = Keys(connection)
    known = Auth(keys.find, lambda: 0, lambda: 0.0, lambda: 0.0)
    with pytest.raises(Overloaded):
        known.caller(digest(b"gw-any"))
    with pytest.raises(Overloaded):
        keys.version()
    connection.close()
