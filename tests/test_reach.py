"""Which addresses a client may make the gateway connect to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.reach import Reach

PUBLIC = "8.8.8.8 1.1.1.1 93.184.216.34 2606:4700:4700::1111 2a00:1450:4001:80b::200e ::ffff:8.8.8.8 64:ff9b::808:808"
PRIVATE = """
127.0.0.1 127.8.9.1 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
100.127.255.254 192.0.0.8 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250
240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:10.1.2.3 ::127.0.0.1 fe80::1 fe80::1%eth0 fec0::1 fc00::1
fd12:3456::1 ff02::1 2001:db8::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2002:7f00:1::1 2002:808:808::1
64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::1 100::1 4000::1
"""


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_are_reached(address: str) -> None:
    assert Reach().allows("host.example", address)


@pytest.mark.parametrize("address", PRIVATE.split())
def test_all_others_are_not(address: str) -> None:
    assert not Reach().allows("host.example", address)


@pytest.mark.parametrize("text", ["", "localhost", "example.com", "127.1", "0x7f.1", "1.2.3.4:80", "[::1]", "%"])
def test_what_is_no_address_is_not_reached(text: str) -> None:
    assert not Reach(["10.0.0.0/8"]).allows("host.example", text)


@given(st.ip_addresses(v=4))
def test_an_address_in_another_coat_is_the_same_address(address: ipaddress.IPv4Address) -> None:
    reach = Reach()
    plain = reach.allows("h", str(address))
    assert reach.allows("h", f"::ffff:{address}") is plain
    translated = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + int(address))
    assert reach.allows("h", str(translated)) is plain


def test_private_hosts_add_blocks_addresses_and_names() -> None:
    reach = Reach(["10.0.0.0/8", "192.168.1.5", "fd00::/8", "Files.Internal.", "localhost"])
    assert reach.allows("any.example", "10.9.8.7")
    assert reach.allows("any.example", "::ffff:10.9.8.7")
    assert reach.allows("any.example", "192.168.1.5")
    assert not reach.allows("any.example", "192.168.1.6")
    assert reach.allows("any.example", "fd00::9")
    # A name opens whatever it leads to; no other name shares that.
    assert reach.allows("files.internal", "172.16.3.4")
    assert reach.allows("FILES.internal.", "172.16.3.4")
    assert not reach.allows("other.internal", "172.16.3.4")
    assert not reach.allows("x.files.internal", "172.16.3.4")
