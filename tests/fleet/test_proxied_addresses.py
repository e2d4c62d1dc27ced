"""PROXY protocol: over TCP from trusted addresses, and over the nginx sockets, where it is required."""

import socket
import stat
import struct
from collections.abc import Iterator

import pytest

from shared import places
from tests.clients.kinds import KINDS, connect
from tests.clients.packets import PING, Packet, encode
from tests.clients.senders import RawSender
from tests.clients.wires import Address, Wire
from tests.fleet.fleet_process import Fleet
from tests.fleet.observations import Closings

V2 = b"\r\n\r\n\0\r\nQUIT\n"
TLV = b"\x04\x00\x03abc"


def version_2(family: int, addresses: bytes, command: int = 0x21) -> bytes:
    """A PROXY header of version 2."""
    return V2 + bytes([command, family]) + struct.pack(">H", len(addresses)) + addresses


IPV4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.1") + struct.pack(">HH", 40_000, 6789)
IPV6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack(">HH", 40_000, 6789)
)

HEADERS = {
    # name: (header, address that FIND1 shows; None: the connection's own)
    "version 1, TCP4": (b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 6789\r\n", "192.0.2.7:40000"),
    "version 1, TCP6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 6789\r\n", "[2001:db8::7]:40000"),
    "version 1, UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "version 2, TCP4": (version_2(0x11, IPV4), "192.0.2.7:40000"),
    "version 2, TCP4 with more": (version_2(0x11, IPV4 + TLV), "192.0.2.7:40000"),
    "version 2, TCP6": (version_2(0x21, IPV6), "[2001:db8::7]:40000"),
    "version 2, LOCAL": (version_2(0x00, b"", 0x20), None),
    "version 2, UNSPEC": (version_2(0x00, b""), None),
}

BAD_HEADERS = {
    "none": b"",
    "version 1, no address": b"PROXY TCP4 here there 1 2\r\n",
    "version 1, family and address differ": b"PROXY TCP6 192.0.2.7 192.0.2.1 40000 6789\r\n",
    "version 1, port too large": b"PROXY TCP4 192.0.2.7 192.0.2.1 65536 6789\r\n",
    "version 1, too long": b"PROXY TCP4 " + b"1" * 120,
    "version 2, another version": version_2(0x11, IPV4, 0x31),
    "version 2, another family": version_2(0x51, IPV4),
    "version 2, too short": version_2(0x11, IPV4[:8]),
    "version 2, 64 KiB": version_2(0x11, bytes(65_535)),
}


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A fleet that believes headers from 127.0.0.1, and not from 127.0.0.2."""
    with Fleet(worker_heartbeat_ms=100, trusted_proxies="127.0.0.1/32, 10.0.0.0/8") as started:
        yield started


def entrances(fleet: Fleet) -> dict[str, Address]:
    """Where a header is believed."""
    return {"tcp": fleet.address, "nginx": str(places.nginx_path(fleet.settings, 0))}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("entrance", ["tcp", "nginx"])
@pytest.mark.parametrize("name", HEADERS)
def test_the_address_that_the_header_names(fleet: Fleet, name: str, entrance: str, bytewise: bool) -> None:
    header, address = HEADERS[name]
    with RawSender(fleet.endpoint) as sender:
        for kind in KINDS:
            token = f"proxied-{kind}"
            with connect(kind, entrances(fleet)[entrance], preface=header, bytewise=bytewise) as client:
                client.subscribe(token)
                own = "unix" if entrance == "nginx" else client.wire.local_address
                assert sender.find(token)["address"] == (address or own)


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_bad_headers_on_the_nginx_socket(fleet: Fleet, name: str) -> None:
    """Required there, so without a good one the connection is closed."""
    closings = Closings(fleet, "bad_protocol")
    with Wire(entrances(fleet)["nginx"]) as wire:
        wire.write(BAD_HEADERS[name] + encode(2, Packet(PING)))
        assert wire.read_to_end() == b""
    closings.expect(1)


@pytest.mark.parametrize("name", [name for name in BAD_HEADERS if name != "none"])
def test_bad_headers_from_a_trusted_address(fleet: Fleet, name: str) -> None:
    closings = Closings(fleet, "bad_protocol")
    with Wire(fleet.address) as wire:
        wire.write(BAD_HEADERS[name] + encode(2, Packet(PING)))
        assert wire.read_to_end() == b""
    closings.expect(1)


def test_header_is_optional_from_a_trusted_address(fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        assert client.ping(30) == 30


def test_header_from_an_address_that_is_not_trusted(fleet: Fleet) -> None:
    closings = Closings(fleet, "bad_protocol")
    for name in ("version 1, TCP4", "version 2, TCP4"):
        with Wire(fleet.address, source="127.0.0.2") as wire:
            wire.write(HEADERS[name][0] + encode(2, Packet(PING)))
            assert wire.read_to_end() == b""
    closings.expect(2)


def test_a_second_header_is_an_error(fleet: Fleet) -> None:
    closings = Closings(fleet, "bad_protocol")
    with Wire(fleet.address) as wire:
        wire.write(HEADERS["version 1, TCP4"][0] * 2)
        assert wire.read_to_end() == b""
    closings.expect(1)


def test_nginx_sockets_are_not_for_everybody(fleet: Fleet) -> None:
    """Their directory is closed to others; so is that of the hand-over sockets to all but the user."""
    nginx = places.nginx_path(fleet.settings, 0)
    assert stat.S_IMODE(nginx.parent.stat().st_mode) == 0o750
    assert stat.S_IMODE(places.run_dir(fleet.settings).stat().st_mode) == 0o700
    assert stat.S_IMODE(places.hand_over_path(fleet.settings, 0).parent.stat().st_mode) == 0o700
