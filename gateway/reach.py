"""Where the gateway may connect to because a client says so: public addresses, and what `private_hosts` adds."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What Python calls global and is nobody's public host: old relays, documentation, tunnels to anywhere.
_NOT_PUBLIC: tuple[_Network, ...] = tuple(
    ipaddress.ip_network(block)
    for block in "192.0.0.0/24 192.88.99.0/24 2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16".split()
)
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all of IPv6 that is given out
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # IPv4 behind a translator


class Reach:
    """`private_hosts`: host names, addresses and blocks, as the settings hold them."""

    def __init__(self, private_hosts: Iterable[str] = ()) -> None:
        networks: list[_Network] = []
        names: set[str] = set()
        for host in private_hosts:
            try:
                networks.append(ipaddress.ip_network(host))
            except ValueError:
                names.add(_plain(host))
        self._networks = tuple(networks)
        self._names = frozenset(names)

    def allows(self, host: str, address: str) -> bool:
        """Whether to connect to an address that a host's name led to: the address decides, not how it was written."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        inner = _inner(parsed)
        return (
            _public(inner)
            or _plain(host) in self._names
            or any(inner in network or parsed in network for network in self._networks)
        )


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _inner(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for, where a connection goes there."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _public(address: _Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return False
    return not any(address in network for network in _NOT_PUBLIC)
