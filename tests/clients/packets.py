"""Binary packets of the three versions, written down a second time so that the product's codec has a witness."""

import struct
from typing import NamedTuple

SUB, AUTH, PING, PUSH, CONTACT, CONNECT, CONNECT_ACK, DISCONNECT, PUBLISH, PUB_ACK = range(1, 11)

SIGNALS = {
    SUB: "SUB",
    AUTH: "AUTH",
    PING: "PING",
    PUSH: "PUSH",
    CONTACT: "CONTACT",
    CONNECT: "CONNECT",
    CONNECT_ACK: "CONNECT_ACK",
    DISCONNECT: "DISCONNECT",
    PUBLISH: "PUBLISH",
    PUB_ACK: "PUB_ACK",
}

_SUB_SIGNAL_NAMES = (
    "NONE CONNECTION_ACCEPTED CONNECTION_REFUSED_UNACCEPTABLE_PROTOCOL_VERSION "
    "CONNECTION_REFUSED_IDENTIFIER_REJECTED CONNECTION_REFUSED_SERVER_UNAVAILABLE "
    "CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD CONNECTION_REFUSED_NOT_AUTHORIZED "
    "CONNECTION_REFUSED_UNEXPECT_NODE CONNECTION_REFUSED_SESSION_NOT_EXIST "
    "US FAR UPUI FRN FRUS FRP FHR FP MN MS MP FN GC GPGI GPGM GAM GKM GQ GMI MMI GQNUT MR RMN LRM GD"
)
SUB_SIGNALS = _SUB_SIGNAL_NAMES.split()

_V0, _V1, _V2 = struct.Struct(">BI"), struct.Struct(">BBBHBH"), struct.Struct(">BBBIBH")
HEADERS = {0: _V0, 1: _V1, 2: _V2}


class Packet(NamedTuple):
    """One message, whatever it came in as. `push_id` only where it has a field of its own."""

    signal: int
    body: bytes = b""
    sub_signal: int = 0
    message_id: int = 0
    compressed: bool = False
    encrypted: bool = False
    push_id: str = ""


def encode(version: int, packet: Packet, body_length: int | None = None) -> bytes:
    """The bytes of a packet. `body_length` announces another length than the body has."""
    length = len(packet.body) if body_length is None else body_length
    signal = packet.signal | (0x80 if packet.compressed else 0)
    if version == 0:
        return _V0.pack(signal, length) + packet.body
    sub_signal = packet.sub_signal | (0x80 if packet.encrypted else 0)
    return HEADERS[version].pack(0xF8, version, signal, length, sub_signal, packet.message_id) + packet.body


def decode_header(version: int, header: bytes) -> tuple[Packet, int]:
    """(packet without its body, length of the body). AssertionError if it is of another version."""
    if version == 0:
        signal, length = _V0.unpack(header)
        sub_signal = message_id = 0
    else:
        magic, said, signal, length, sub_signal, message_id = HEADERS[version].unpack(header)
        assert (magic, said) == (0xF8, version), f"header {header.hex()} is not of version {version}"
    packet = Packet(signal & 0x7F, b"", sub_signal & 0x7F, message_id, bool(signal & 0x80), bool(sub_signal & 0x80))
    assert 1 <= packet.signal <= 10, f"header {header.hex()} has no signal"
    return packet, length
