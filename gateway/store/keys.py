"""Gateway keys: issued, changed, revoked, found. What is kept of a key is its SHA-256; the migration says why."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.errors import BadRequest, Overloaded, UnknownPath
from gateway.types import Caller

PERIODS = ("day", "month")

_NAME_LENGTH = 128
_MODELS = 1000
_MOST = 10**15
# Characters that would break a table or a log line, or make two names look alike: controls, bidirectional marks,
# halves of surrogate pairs, line separators.
_UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a key; None for a limit: there is none. Times are seconds since 1970."""

    id: str
    name: str
    account: str
    models: tuple[str, ...] | None = None
    rpm: int | None = None  # requests per minute
    tpm: int | None = None  # tokens per minute
    concurrency: int | None = None
    budget: int | None = None  # nano-credits
    period: str | None = None  # of the budget; None: all time
    expires: float | None = None
    disabled: bool = False
    revoked: float | None = None
    created: float


class Issued(NamedTuple):
    """A new key with its two secrets, which cannot be shown again."""

    key: Key
    text: str
    callback_secret: str


class Keys:
    """The keys of one database."""

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._now = now

    def create(self, name: str | None = None, account: str | None = None, **limits: object) -> Issued:
        """A new key; its name defaults to its id, its account to its name. Raises BadRequest for a value that is none.

        `limits` are fields of Key: models, rpm, tpm, concurrency, budget, period, expires.
        """
        identity = f"key_{secrets.token_hex(8)}"
        name = identity if name is None else name
        values = {**limits, "name": name, "account": name if account is None else account}
        text = f"gw-{secrets.token_urlsafe(32)}"
        callback_secret = secrets.token_urlsafe(32)
        row = {
            **_checked(values), "id": identity, "digest": hashlib.sha256(text.encode()).digest(),
            "created": self._now(), "callback_secret": callback_secret,
        }  # fmt: skip
        marks = ", ".join("?" * len(row))
        (found,) = self._write(
            f"INSERT INTO keys ({', '.join(row)}) VALUES ({marks}) RETURNING {_COLUMNS}", tuple(row.values())
        )
        return Issued(_key(found), text, callback_secret)

    def update(self, identity: str, changes: Mapping[str, object]) -> Key:
        """The key with these fields changed. Raises UnknownPath, or BadRequest for a value that is none."""
        values = _checked(changes)
        if not values:
            raise BadRequest("nothing to change: give at least one value")
        sets = ", ".join(f"{column} = ?" for column in values)
        found = self._write(
            f"UPDATE keys SET {sets} WHERE id = ? AND revoked IS NULL RETURNING {_COLUMNS}",
            (*values.values(), _bindable(identity)),
        )
        if not found:
            self.get(identity)
            raise BadRequest("this key was revoked, and that is final: create another")
        return _key(found[0])

    def revoke(self, identity: str) -> Key:
        """The key, which no longer opens anything; for good. Raises UnknownPath."""
        found = self._write(
            f"UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ? RETURNING {_COLUMNS}",
            (self._now(), _bindable(identity)),
        )
        return _key(found[0]) if found else self.get(identity)

    def get(self, identity: str) -> Key:
        """The key of an id. Raises UnknownPath."""
        rows = self._read(f"SELECT {_COLUMNS} FROM keys WHERE id = ?", (_bindable(identity),))
        if not rows:
            if identity.startswith("gw-"):  # never repeated: it opens doors
                raise UnknownPath("this is a key, not the id of one: ids start with key_, list the keys to see them")
            raise UnknownPath(f"there is no key {shown(identity)}: list the keys to see their ids")
        return _key(rows[0])

    def all(self) -> list[Key]:
        """All keys, oldest first, revoked ones too."""
        return [_key(row) for row in self._read(f"SELECT {_COLUMNS} FROM keys ORDER BY rowid")]

    def names(self) -> dict[str, str]:
        """The name of each id."""
        return dict(self._read("SELECT id, name FROM keys"))

    def uses(self, account: str) -> bool:
        """Whether any key is charged to this account."""
        return bool(self._read("SELECT 1 FROM keys WHERE account = ? LIMIT 1", (_bindable(account),)))

    def find(self, digest: bytes) -> Caller | None:
        """Who a key stands for, by its hash. Raises Overloaded, for a busy file must never look like a wrong key."""
        rows = self._read(_FIND, (digest,))
        if not rows:
            return None
        (identity, name, account, models, rpm, tpm, concurrency, budget, period, expires, disabled, secret) = rows[0]
        allowed = None if models is None else frozenset(_MODEL_LIST.decode(models))
        return Caller(identity, name, account, allowed, rpm, tpm, concurrency, budget, period, expires, bool(disabled),
                      secret)  # fmt: skip

    def version(self) -> int:
        """Another number after every change of any key, by whatever process. Raises Overloaded."""
        return int(self._read("SELECT version FROM keys_version")[0][0])

    def _read(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            # All rows at once: a statement left half-read would keep its old view of the file.
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as exc:
            raise _unavailable(exc) from exc

    def _write(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            with self._connection:
                return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as exc:
            raise _unavailable(exc) from exc


def name_problem(text: object) -> str | None:
    """What keeps a text from being the name of a key, account or model; None if nothing does."""
    if not isinstance(text, str) or not text.strip():
        return "is empty"
    if len(text) > _NAME_LENGTH:
        return f"is longer than {_NAME_LENGTH} characters"
    if text != text.strip():
        return "begins or ends with a blank"
    if any(unicodedata.category(character) in _UNPRINTABLE for character in text):
        return "holds a character that cannot be printed"
    return None


def shown(text: str) -> str:
    """A foreign text as a message may repeat it: on one line and short."""
    return ascii(text if len(text) <= 64 else text[:61] + "...")


def _unavailable(exc: sqlite3.Error) -> Overloaded:
    return Overloaded(f"the keys cannot be reached ({exc}): try again", retry_after=1)


def _bindable(text: str) -> str:
    """The same text, or one that no row has if SQLite could not take it (halves of surrogate pairs)."""
    return text if text.isascii() or name_problem(text) is None else ""


def _key(row: tuple[Any, ...]) -> Key:
    values = dict(zip(Key.__struct_fields__, row, strict=True))
    models = values["models"]
    values["models"] = None if models is None else _MODEL_LIST.decode(models)
    values["disabled"] = bool(values["disabled"])
    return Key(**values)


def _checked(values: Mapping[str, object]) -> dict[str, object]:
    """The columns of these fields. Raises BadRequest that names the field."""
    found = {}
    for field, value in values.items():
        if field not in _CHECKS:
            raise BadRequest(f"a key has no {shown(field)} that could be set", param=field)
        try:
            found[field] = _CHECKS[field](value)
        except ValueError as exc:
            raise BadRequest(f"{field}: {exc}", param=field) from exc
    if found.get("period") is not None and found.get("budget") is None:
        raise BadRequest("period: give the budget that it is of as well", param="period")
    if "budget" in found and found["budget"] is None:
        found["period"] = None
    return found


def _name(value: object) -> object:
    problem = name_problem(value)
    if problem:
        raise ValueError(f"this name {problem}; give 1 to {_NAME_LENGTH} printable characters")
    return value


def _models(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= _MODELS:
        raise ValueError(f"give 1 to {_MODELS} models; to stop a key altogether, disable it")
    for model in value:
        if problem := name_problem(model):
            raise ValueError(f"the name of a model {problem}")
    return msgspec.json.encode(list(dict.fromkeys(value))).decode()


def _whole(least: int) -> Callable[[object], object]:
    def check(value: object) -> object:
        if value is not None and (type(value) is not int or not least <= value <= _MOST):
            # 0 could be meant as "nothing" or as "no limit": neither is guessed.
            raise ValueError(f"give a whole number from {least} to {_MOST}, or none for no limit")
        return value

    return check


def _budget(value: object) -> object:
    if value is not None and (type(value) is not int or not 0 <= value < 2**63):
        raise ValueError("give an amount of credits that is not negative")
    return value


def _period(value: object) -> object:
    if value is not None and value not in PERIODS:
        raise ValueError(f"give {' or '.join(PERIODS)}")
    return value


def _expires(value: object) -> object:
    if value is not None and (not isinstance(value, int | float) or not 0 <= value < 2**38):
        raise ValueError("give a time between 1970 and 9999")
    return value if value is None else float(value)


def _disabled(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError("give true or false")
    return int(value)


_CHECKS: dict[str, Callable[[object], object]] = {
    "name": _name,
    "account": _name,
    "models": _models,
    "rpm": _whole(1),
    "tpm": _whole(1),
    "concurrency": _whole(1),
    "budget": _budget,
    "period": _period,
    "expires": _expires,
    "disabled": _disabled,
}
_MODEL_LIST = msgspec.json.Decoder(tuple[str, ...])
_COLUMNS = ", ".join(Key.__struct_fields__)
_FIND = """SELECT id, name, account, models, rpm, tpm, concurrency, budget, period, expires,
    disabled OR revoked IS NOT NULL, callback_secret FROM keys WHERE digest = ?"""
