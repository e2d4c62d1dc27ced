"""services/api/addresses.py."""

import ipaddress

import pytest

from services.api.addresses import client_address

TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.9", "", "10.0.0.9"),
        ("10.0.0.9", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.9", "9.9.9.9, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.9", "9.9.9.9, 1.2.3.4, 10.0.0.7", "1.2.3.4"),
        ("10.0.0.9", "9.9.9.9, 1.2.3.4, fd00::1,10.0.0.7", "1.2.3.4"),
        ("::ffff:10.0.0.9", "1.2.3.4", "1.2.3.4"),
        ("::ffff:10.0.0.9", "9.9.9.9, ::ffff:1.2.3.4, ::ffff:10.0.0.7", "1.2.3.4"),
        ("::ffff:7.7.7.7", "1.2.3.4", "7.7.7.7"),
        ("7.7.7.7", "1.2.3.4", "7.7.7.7"),
        ("10.0.0.9", "10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("10.0.0.9", "1.2.3.4, unknown", "10.0.0.9"),
        ("10.0.0.9", "1.2.3.4, unknown, 10.0.0.8", "10.0.0.8"),
        ("10.0.0.9", "1.2.3.4,", "10.0.0.9"),
        ("fd00::5", "2001:db8::1", "2001:db8::1"),
        ("", "1.2.3.4", ""),
    ],
)
def test_whom_the_last_trusted_proxy_names(peer: str, forwarded: str, address: str) -> None:
    assert client_address(peer, forwarded, TRUSTED) == address


def test_nobody_is_trusted_by_default() -> None:
    assert client_address("127.0.0.1", "1.2.3.4", []) == "127.0.0.1"
