"""Conversations of several turns over vendors with two accounts each, which know their own signatures only.

A conversation stays with the account that began it, whatever the surface's dialect, whichever worker gets its turns,
and over a restart. Where that account rests, it goes on with the other one as far as that is possible.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google.genai import errors

from tests.clients.places import Sandbox, at_sandbox, wait_for
from tests.unified.matrix.drivers import DRIVERS, Ask, Chat, Driver, Got, Messages
from tests.unified.place import PRICE, Place

# Vendors that sign: provider, model, dialect.
VENDORS = {
    "claude": ("anthropic", "claude-sonnet-4-5", "anthropic.messages"),
    "gemini": ("gemini", "gemini-3-pro", "gemini.generate"),
    "gpt": ("openai", "gpt-5.1", "openai.responses"),
}
OWN = {"claude": "messages", "gemini": "gemini", "gpt": "responses"}  # the surface of the vendor's own dialect
EVERY_SURFACE = pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
EVERY_VENDOR = pytest.mark.parametrize("vendor", VENDORS)
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
CONVERTED = [(driver, vendor) for driver in DRIVERS for vendor in VENDORS if OWN[vendor] != driver.name]
SAME = [(driver, vendor) for driver in DRIVERS for vendor in VENDORS if OWN[vendor] == driver.name]
# What an SDK raises for a vendor that limits us, and for an account that rests.
BUSY = (openai.RateLimitError, anthropic.RateLimitError, errors.ClientError)
RESTS = (openai.InternalServerError, anthropic.InternalServerError, errors.ServerError)


def both(*pairs: tuple[type[Driver], str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("driver", "vendor"), pairs, ids=lambda value: getattr(value, "name", value))


class Configuration:
    """Each vendor with two keys of one provider (`claude keys`), and for each case as two providers, with a model by
    which the account that is asked first is limited for long (`NAME limited`).

    No two cases share an account: the sandbox signs equal calls equally, whichever conversation they are of.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._simulated = at_sandbox(sandbox.port)
        self.providers: dict[str, Any] = {}
        self.models: dict[str, Any] = {}
        self.keys: dict[str, str] = {}
        for vendor, (provider, model, dialect) in VENDORS.items():
            self.providers[f"{vendor}-keys"] = self._simulated[provider] | {"keys": [self._key(), self._key()]}
            target = {"provider": f"{vendor}-keys", "model": model, "dialect": dialect}
            self.models[f"{vendor} keys"] = {"targets": [target], "price": PRICE}
        for number, case in enumerate(cases()):
            provider, model, dialect = VENDORS[case[1]]
            name = named(*case)
            ids = [f"{name} {account}".replace(" ", "-") for account in "ab"]
            self.providers |= {id: self._simulated[provider] | {"keys": [self._key()]} for id in ids}
            for more, directives in (("", ""), (" limited", f"+status=429+retry_after={600 + number}+times=1")):
                targets = [{"provider": id, "model": model + directives, "dialect": dialect} for id in ids]
                self.models[name + more] = {"targets": targets, "price": PRICE}

    def _key(self) -> str:
        name = f"VENDOR_KEY_{len(self.keys)}"
        self.keys[name] = f"sk-of-account-{len(self.keys)}"
        return f"env:{name}"


def cases() -> Iterator[tuple[type[Driver], str, bool]]:
    for driver in DRIVERS:
        for vendor in VENDORS:
            for stream in (False, True):
                yield driver, vendor, stream


def named(driver: type[Driver], vendor: str, stream: bool) -> str:
    return f"{vendor} {driver.name} {stream:d}"


def made(directory: Path, sandbox: Sandbox, workers: int = 1) -> Place:
    wanted = Configuration(sandbox)
    place = Place(directory, sandbox, None, wanted.providers, workers, wanted.models)
    place.environment |= wanted.keys
    place.start()
    return place


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Place]:
    """Of workers: each turn comes on a connection of its own, and so to any of them."""
    running = made(tmp_path_factory.mktemp("pair"), sandbox, workers=2)
    yield running
    assert running.stop() == 0, running.stderr[-3000:]
    assert "Traceback" not in running.stderr, running.stderr[-3000:]
    assert running.verified()["open_holds"] == 0


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Place]:
    running = made(tmp_path_factory.mktemp("single"), sandbox)
    yield running
    assert running.stop() == 0, running.stderr[-3000:]
    assert "Traceback" not in running.stderr, running.stderr[-3000:]


@pytest.fixture(scope="module")
def key(pair: Place) -> str:
    return pair.key()


@pytest.fixture(scope="module")
def single_key(single: Place) -> str:
    return single.key()


class Conversation:
    """Each says something of its own: the sandbox gives equal questions equal ids, whoever asks."""

    _count = itertools.count()

    def __init__(self, place: Place, key: str, driver: type[Driver], model: str, stream: bool) -> None:
        self.driver = driver(f"http://127.0.0.1:{place.port}", key, model, {})
        self.stream = stream
        self.calls: list[tuple[str, str, Any]] = []
        self._number = next(self._count)

    def asks(self) -> Got:
        """The user's turn: it leads to two calls."""
        self.driver.user(f"{self._number}: the weather and the clock, please, thanks")
        got = self._turn()
        assert [name for _, name, _ in got.calls] == ["weather", "clock"]
        self.calls = got.calls
        return got

    def told(self) -> Got:
        """The results of the calls."""
        self.driver.results(self.calls, ["sunny", "noon"])
        got = self._turn()
        assert got.text == "The tool said: noon"
        return got

    def _turn(self) -> Got:
        return self.driver.turn(Ask(self.stream, tools=True, effort="low"))


def answered_by(place: Place, model: str, count: int) -> list[str]:
    """Which providers answered the calls for a model, the earliest first; no other test may use it."""

    def found() -> list[dict[str, Any]]:
        whole = place.stdout.rpartition("\n")[0]  # the last line may be half written
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if line["model"] == model or line["model"] == f"{model} limited"]

    wait_for(lambda: len(found()), count)
    return [line["provider"] for line in sorted(found(), key=lambda line: str(line["time"]))]


# -- all accounts are well ---------------------------------------------------------------------------------------------


@EVERY_SURFACE
@EVERY_VENDOR
@BOTH_WAYS
def test_a_conversation_stays_with_its_account(
    pair: Place, key: str, driver: type[Driver], vendor: str, stream: bool
) -> None:
    """Two workers, two providers; without that, each turn would be drawn by lot."""
    name = named(driver, vendor, stream)
    talk = Conversation(pair, key, driver, name, stream)
    turns = [step() for _ in range(2) for step in (talk.asks, talk.told)]
    assert min(got.usage.reasoning for got in turns) > 0
    assert len(set(answered_by(pair, name, len(turns)))) == 1


@both(*SAME, (Chat, "claude"))
@BOTH_WAYS
def test_keys_of_one_provider_are_accounts_too(
    single: Place, single_key: str, driver: type[Driver], vendor: str, stream: bool
) -> None:
    """Conversations by turns, so that the keys' own turn never is the one that is needed."""
    talks = [Conversation(single, single_key, driver, f"{vendor} keys", stream) for _ in range(3)]
    assert all(talk.asks().usage.reasoning > 0 for talk in talks)
    assert all(talk.told().usage.reasoning > 0 for talk in talks)


@pytest.mark.timeout(120)
def test_over_a_restart(sandbox: Sandbox, tmp_path: Path) -> None:
    running = made(tmp_path, sandbox, workers=2)
    try:
        key = running.key()
        talks = {named(*case): Conversation(running, key, case[0], named(*case), case[2]) for case in cases()}
        for talk in talks.values():
            talk.asks()
        before = {name: answered_by(running, name, 1) for name in talks}
        assert running.stop() == 0
        running.start()
        for name, talk in talks.items():
            assert talk.told().usage.reasoning > 0, name
        assert {name: answered_by(running, name, 1) for name in talks} == before
    finally:
        running.kill()


# -- an account rests --------------------------------------------------------------------------------------------------


@both(*CONVERTED)
@BOTH_WAYS
def test_another_account_goes_on_where_turns_are_converted(
    single: Place, single_key: str, driver: type[Driver], vendor: str, stream: bool
) -> None:
    """Without what the first has signed: the sandbox would refuse that."""
    name = named(driver, vendor, stream)
    talk = Conversation(single, single_key, driver, name, stream)
    talk.asks()
    talk.driver.model = f"{name} limited"
    moved = talk.told()
    if vendor == "claude":
        assert moved.usage.reasoning == 0  # it cannot think where what it thought before is missing
    talk.driver.model = name
    assert talk.asks().usage.reasoning > 0
    assert talk.told().usage.reasoning > 0
    first, *others = answered_by(single, name, 4)
    assert len(set(others)) == 1
    assert first not in others


@both(*SAME)
@BOTH_WAYS
def test_bytes_that_only_one_account_takes_wait_for_it(
    single: Place, single_key: str, driver: type[Driver], vendor: str, stream: bool
) -> None:
    """They pass as they are, signatures and all: the client is told to come again, not that it made a mistake."""
    name = named(driver, vendor, stream)
    talk = Conversation(single, single_key, driver, name, stream)
    talk.asks()
    before = list(talk.driver.turns)
    talk.driver.model = f"{name} limited"
    with pytest.raises(BUSY) as limited:
        talk.told()
    assert getattr(limited.value, "status_code", 0) or getattr(limited.value, "code", 0) == 429
    talk.driver.model, talk.driver.turns = name, before
    with pytest.raises(RESTS) as rests:
        talk.told()
    answer: Any = rests.value.response  # type: ignore[attr-defined]
    assert answer.headers["x-gateway-error"] == "no_target_available"
    assert 500 < int(answer.headers["retry-after"]) <= 700
    # Another conversation has nothing to do with that.
    assert Conversation(single, single_key, driver, name, stream).asks().usage.reasoning > 0


def test_a_mistake_is_told_as_one(single: Place, single_key: str) -> None:
    """The account that made the conversation is well: what it says counts."""
    talk = Conversation(single, single_key, Messages, "claude keys", False)
    talk.asks()
    talk.calls = talk.calls[:1]  # one of two results
    talk.driver.results(talk.calls, ["sunny"])
    with pytest.raises(anthropic.BadRequestError):
        talk.driver.turn(Ask(tools=True, effort="low"))
