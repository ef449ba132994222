"""The `server:` section."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.addresses import checked_url, file, located, network, readable, secret
from gateway.fields import (
    Check,
    Review,
    boolean,
    choice,
    fraction,
    listing,
    optional,
    record,
    scalar,
    seconds,
    size,
    whole,
)
from gateway.yaml_lines import FALSE, Node, Problem, shown


class Tls(msgspec.Struct, frozen=True):
    """Paths of the certificate chain and its key."""

    cert: str
    key: str


class ServerSettings(msgspec.Struct, frozen=True):
    """The `server:` section. Times are in seconds, sizes in bytes."""

    database: str = "sqlite"
    redis: str | None = None
    access_log: str = "stdout"  # stdout, off, or file:PATH with the path made absolute
    metrics_port: int | None = None
    credits: bool = True
    passthrough_key: bool = False
    tls: Tls | None = None
    durability: str = "process"
    missing_usage: str = "estimate"
    store_responses: float = 0  # hours
    fetch_media: bool = False
    cors: tuple[str, ...] = ()
    max_connections: int = 20000
    idle_timeout: float = 600
    connect_timeout: float = 10
    head_timeout: float = 30
    drain_seconds: float = 600
    drain_on_disconnect: float = 30
    max_body: int = 64 << 20
    public_url: str | None = None
    assets: str | None = None
    assets_expire: float = 7 * 86400
    poll_interval: float = 3
    answer_timeout: float = 600
    private_hosts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "ServerSettings(...)"  # a database URL may hold a password


def server_values(node: Node, review: Review) -> dict[str, Any]:
    """The values that a `server:` section gives, by name."""
    return record(node, _KEYS, review)


def _database(node: Node, review: Review) -> str:
    return _service(node, review, ("postgresql", "postgres"), "sqlite")


def _redis(node: Node, review: Review) -> str:
    return _service(node, review, ("redis", "rediss"))


def _service(node: Node, review: Review, schemes: tuple[str, ...], word: str = "") -> str:
    """The URL of a database, given or by reference; it may hold a password, so no message repeats it."""
    wanted = f"{schemes[0]}://host:port, or env:NAME"
    text: str | None = scalar(node, wanted)
    if word and text == word:
        return word
    if text and text.startswith(("env:", "file:")):
        text = secret(node, review).get()
        if text is None:
            raise Problem(node, "what it refers to is missing or unreadable", "set it, or write the URL")
    if not re.fullmatch(rf"({'|'.join(schemes)})://[!-~]+", text or ""):
        raise Problem(node, "is not a URL of this kind", f"write {wanted}" + (f", or {word}" if word else ""))
    return text or ""


def _access_log(node: Node, _: Review) -> str:
    text = scalar(node, "stdout, off or file:PATH")
    if node.plain and text.lower() in FALSE or text == "off":  # YAML's own reading of an unquoted off
        return "off"
    if text == "stdout":
        return text
    if text.startswith("file:") and len(text) > 5:
        return f"file:{located(node, text[5:]).absolute()}"
    raise Problem(node, f"{shown(text)} is no place for the log", "write stdout, off or file:PATH")


def _tls(node: Node, review: Review) -> Tls | None:
    before = len(review.problems)
    found = record(node, {"cert": _existing, "key": _existing}, review, required=("cert", "key"))
    return Tls(**found) if len(review.problems) == before else None


def _existing(node: Node, review: Review) -> str:
    path = file(node, review)
    if not readable(path):
        raise Problem(node, "the file cannot be read", "put it there, or correct the path")
    return path


def _cors(node: Node, review: Review) -> tuple[str, ...]:
    if node.kind == "scalar" and node.text == "*":
        return ("*",)
    found: tuple[str, ...] = listing(_browser_origin)(node, review)
    return found


def _browser_origin(node: Node, _: Review) -> str:
    if node.text == "*":
        return "*"
    origin, path = checked_url(node, {"http": "http", "https": "https"})
    if path or node.text.endswith("/"):
        raise Problem(node, "is a URL, not an origin", f"write {origin.scheme}://{origin.authority}")
    return f"{origin.scheme}://{origin.authority}"


def _public_url(node: Node, _: Review) -> str:
    origin, path = checked_url(node, {"https": "https", "http": "http"})
    return f"{origin.scheme}://{origin.authority}{path}"


def _assets(node: Node, _: Review) -> str:
    text = scalar(node, "file:///path or s3://bucket/prefix")
    if not re.fullmatch(r"file:///[!-~]+|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[!-~]*)?", text):
        raise Problem(node, f"{shown(text)} is no store", "write file:///path or s3://bucket/prefix")
    return text


_KEYS: dict[str, Check] = {
    "database": _database,
    "redis": optional(_redis),
    "access_log": _access_log,
    "metrics_port": optional(whole(1, 65535)),
    "credits": boolean,
    "passthrough_key": boolean,
    "tls": optional(_tls),
    "durability": choice("process", "power"),
    "missing_usage": choice("estimate", "free"),
    "store_responses": fraction(0, 24 * 366),
    "fetch_media": boolean,
    "cors": _cors,
    "max_connections": whole(1, 10_000_000),
    "idle_timeout": seconds(),
    "connect_timeout": seconds(),
    "head_timeout": seconds(),
    "drain_seconds": seconds(0),
    "drain_on_disconnect": seconds(0),
    "max_body": size,
    "public_url": optional(_public_url),
    "assets": optional(_assets),
    "assets_expire": seconds(1, 10 * 366 * 86400),
    "poll_interval": seconds(),
    "answer_timeout": seconds(),
    "private_hosts": listing(network),
}
