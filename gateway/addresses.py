"""URLs, hosts, secrets and files as they may stand in the configuration."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.fields import Review, scalar
from gateway.yaml_lines import Node, Problem, shown

PORTS = {"http": 80, "https": 443}
# A WebSocket starts as an HTTP request on the same origin, so one origin serves both.
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*\.?")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_PATH = re.compile(r"(/([!$&-;=@-Z_a-z~]|%[0-9A-Fa-f]{2})*)?")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Origin(msgspec.Struct, frozen=True):
    """Where a connection goes: scheme, host without brackets, port."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """As it stands in `Host`: brackets around IPv6, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


class Secret:
    """A value that no message, log or repr ever shows. `reference` is how the file names it; `get()` gives it.

    Read once, when the configuration is read: a request never waits for a file, and a reload picks up a change.
    """

    __slots__ = ("_value", "reference")

    def __init__(self, reference: str, value: str | None) -> None:
        self.reference = reference
        self._value = value

    def get(self) -> str | None:
        """The value; None if it is missing."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.reference})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.reference, self._value) == (other.reference, other._value)

    def __hash__(self) -> int:
        return hash(self.reference)


def secret(node: Node, review: Review) -> Secret:
    """`env:NAME` or `file:PATH`. The message never repeats what stands there: it may be the secret itself."""
    text = scalar(node, "env:NAME or file:PATH")
    scheme, _, rest = text.partition(":")
    if scheme == "env" and _ENV.fullmatch(rest):
        value = review.environ.get(rest)
    elif scheme == "file" and rest:
        value = _content(located(node, rest))
    else:
        raise Problem(node, "a secret may not stand in this file", "write env:NAME or file:PATH")
    return Secret(text, _clean(value))


def text_or_secret(node: Node, review: Review) -> Secret:
    """The value of a header: a reference, or plain text, which is wrapped so that nobody has to tell them apart."""
    text = scalar(node, "text, env:NAME or file:PATH")
    if text.startswith(("env:", "file:")):
        return secret(node, review)
    if _clean(text) != text:
        raise Problem(node, "holds a character that no header may carry", "write printable ASCII")
    return Secret("text", text)


def _clean(value: str | None) -> str | None:
    """Without the line end of a file; None if nothing is left, or if it could not stand in a header."""
    value = (value or "").strip()
    return value if value.isascii() and value.isprintable() and value else None


def _content(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(1 << 16).decode("latin-1")
    except (OSError, ValueError):
        return None


def located(node: Node, path: str) -> Path:
    """A path of the file: relative ones start at the file's own folder, wherever the gateway is started."""
    return (Path(node.file).parent / path).absolute()


def readable(path: str) -> bool:
    try:
        with Path(path).open("rb"):
            return True
    except OSError:
        return False


def file(node: Node, _: Review) -> str:
    """`file:PATH`, as a path."""
    text = scalar(node, "file:PATH")
    if not text.startswith("file:") or len(text) == 5 or "\0" in text:
        raise Problem(node, "is not a file", "write file:PATH")
    return str(located(node, text[5:]))


def url(text: str, schemes: Mapping[str, str] = SCHEMES, private: bool = False) -> tuple[Origin, str]:
    """Origin and path (without trailing slash) of a URL; ValueError says what is wrong, without repeating it."""
    match = _URL.fullmatch(text)
    if not match:
        raise ValueError("is not a URL", f"write {next(iter(schemes))}://host/path")
    scheme, authority, path, query, fragment = match.groups()
    if scheme.lower() not in schemes:
        raise ValueError(f"has the scheme {shown(scheme)}", f"use one of {', '.join(schemes)}")
    if "@" in authority and not private:
        raise ValueError("holds a user or password", "remove it; secrets stand as env:NAME or file:PATH")
    if query is not None or fragment is not None:
        raise ValueError("has a query or fragment", "remove all from the ? or # on")
    if not _PATH.fullmatch(path):
        raise ValueError("has a path with characters that no URL may hold", "percent-encode them")
    if any(part.replace("%2e", ".").replace("%2E", ".") in (".", "..") for part in path.split("/")):
        raise ValueError("has . or .. in its path", "write the path that is meant")
    scheme = schemes[scheme.lower()]
    host, port = host_port(authority.rpartition("@")[2])
    return Origin(scheme, host, port or PORTS.get(scheme, 0)), path.rstrip("/")


def host_port(authority: str) -> tuple[str, int | None]:
    """Host (lower case, without brackets) and port of `host:port`."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(.*))?", authority, re.DOTALL)
    if not match:
        raise ValueError("has a bad host", "an IPv6 address stands in brackets: [::1]")
    host = hostname(match[1])
    if match[2] is None:
        return host, None
    if not re.fullmatch(r"[0-9]{1,5}", match[2]) or not 1 <= int(match[2]) <= 65535:
        raise ValueError("has a bad port", "write a port from 1 to 65535")
    return host, int(match[2])


def hostname(text: str) -> str:
    """A host name or address in lower case, IPv6 without brackets."""
    host = text.lower()
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError("has a bad IPv6 address", "write it as [::1]") from None
    if not host:
        raise ValueError("has no host", "write scheme://host")
    if not _HOST.fullmatch(host):
        remedy = "write its xn-- form" if not host.isascii() else "use letters, digits, hyphens and dots"
        raise ValueError("has a bad host", remedy)
    last = host.rstrip(".").rpartition(".")[2]
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):  # a name whose last part is a number is an address, or a mistake
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError("has a bad IPv4 address", "write four numbers from 0 to 255") from None
    return host


def network(node: Node, _: Review) -> str:
    """A host name, an address or a CIDR block, in its normal form."""
    text = scalar(node, "a host, an address or a CIDR block")
    try:
        if "/" in text:
            return str(ipaddress.ip_network(text))
        if ":" in text:
            return str(ipaddress.ip_address(text.strip("[]")))
        return hostname(text)
    except ValueError:
        pass
    try:
        remedy = f"did you mean {ipaddress.ip_network(text, strict=False)}?"
    except ValueError:
        remedy = "write a host, an address, or a block such as 10.0.0.0/8"
    raise Problem(node, f"{shown(text)} is neither a host nor a CIDR block", remedy)


def checked_url(node: Node, schemes: Mapping[str, str] = SCHEMES, private: bool = False) -> tuple[Origin, str]:
    """The same as `url` for a node."""
    try:
        return url(scalar(node, f"a URL: {next(iter(schemes))}://host"), schemes, private)
    except ValueError as exc:
        raise Problem(node, exc.args[0], exc.args[1]) from None


def url_path(node: Node, placeholder: bool = False) -> str:
    """A path that starts with a slash, without query; may hold `{model}` where that is said."""
    text = scalar(node, "a path such as /v1/chat/completions")
    bare = text.replace("{model}", "model") if placeholder else text
    if not text.startswith("/") or not _PATH.fullmatch(bare):
        raise Problem(node, f"{shown(text)} is not a path", "start with / and leave out ?, # and spaces")
    return text
