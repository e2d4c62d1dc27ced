"""Whose address a request came from, also behind proxies. Pure."""

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """Who asks: the peer or, while that is a trusted proxy, whom it names.

    `forwarded`: X-Forwarded-For, to which each proxy adds its own peer at the right; what stands left of the first
    address that is no trusted proxy may be anybody's invention. An IPv4 address in IPv6 (::ffff:10.0.0.1) is taken
    out of it.
    """
    named = [part.strip() for part in forwarded.split(",")] if forwarded else []
    address = unmapped(peer)
    while named and _is_trusted(address, trusted):
        said = unmapped(named.pop())
        if not _is_address(said):
            break
        address = said
    return address


def unmapped(address: str) -> str:
    """10.0.0.1 for ::ffff:10.0.0.1; anything else as it is."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(getattr(ip, "ipv4_mapped", None) or address)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in trusted)
