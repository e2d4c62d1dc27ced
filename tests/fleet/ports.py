"""Free TCP ports for servers of tests."""

import random
import socket
from collections.abc import Collection

#: Below the range that the kernel gives to outgoing connections, of which some tests have 10,000.
_RANGE = range(10_000, 32_000)


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different ports that nobody listens on now."""
    found: list[int] = []
    for port in random.sample(_RANGE, len(_RANGE)):
        if not _is_free(port, host):
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError("no free port")


def _is_free(port: int, host: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port_range(count: int, host: str = "127.0.0.1", *, but: Collection[int] = ()) -> int:
    """The first of `count` (at least 1) ports in a row that nobody listens on now, none of them one of `but`."""
    while True:
        first = free_ports(1, host)[0]
        if set(but).isdisjoint(range(first, first + count)) and all(
            _is_free(port, host) for port in range(first + 1, first + count)
        ):
            return first
