"""The admin key: from the environment, else made at the first start and kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

_FILE = "admin-key.sha256"


class AdminKey:
    """Knows the key's hash only."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def fits(self, key: str) -> bool:
        """Whether this is the key; takes the same time whatever it is."""
        return hmac.compare_digest(_hash(key), self._digest)


def open_admin_key(data: Path, environ: Mapping[str, str]) -> tuple[AdminKey, str | None]:
    """The admin key of a data folder, and its text if it has been made just now."""
    given = environ.get("GATEWAY_ADMIN_KEY")
    if given:
        return AdminKey(_hash(given)), None
    path = data / _FILE
    try:
        digest = path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        digest = ""
    if len(digest) == 64:  # else there is none yet, or a crash left half of one: nobody could ever get in
        return AdminKey(digest), None
    key = "gw-admin-" + secrets.token_urlsafe(24)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(_hash(key) + "\n")
    return AdminKey(_hash(key)), key


def open_data(path: str) -> Path:
    """The data folder, made (0700) if it is missing. Raises OSError."""
    data = Path(path)
    if not data.is_dir():
        data.mkdir(parents=True, mode=0o700)
    return data


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
