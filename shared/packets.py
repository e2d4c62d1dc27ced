"""Binary packets of the client protocol (docs/client-protocol.md, section Binary packets). Big-endian.

    v2  F8 02 signal  u32 body bytes  sub_signal  u16 message_id   10 bytes, then the body
    v1  F8 01 signal  u16 body bytes  sub_signal  u16 message_id    8 bytes
    v0        signal  u32 body bytes                                5 bytes

The top bit of signal says that the body is compressed, that of sub_signal that it is encrypted.
The codec takes both directions; what a client may say when is the session's business.
"""

from struct import Struct
from typing import NamedTuple

from shared.errors import ProtocolError, TooLargeError
from shared.signals import V0_SIGNALS, Signal

MAGIC = 0xF8
FLAG = 0x80
_NUMBER = 0x7F

HEADER_BYTES = {0: 5, 1: 8, 2: 10}
BODY_MAX = {0: 2**32 - 1, 1: 65_535, 2: 2**32 - 1}

_V0 = Struct(">BI")
_V1 = Struct(">BBBHBH")
_V2 = Struct(">BBBIBH")

#: Signal bytes, flag included, that a version allows.
_SIGNALS_V0 = frozenset({int(signal) | flag for signal in V0_SIGNALS for flag in (0, FLAG)})
_SIGNALS = frozenset({int(signal) | flag for signal in Signal if signal for flag in (0, FLAG)})


class Packet(NamedTuple):
    """One packet. `body` is as it was on the wire: still compressed and encrypted where the flags say so."""

    signal: int
    sub_signal: int = 0
    message_id: int = 0
    body: bytes = b""
    compressed: bool = False
    encrypted: bool = False


def sniff_version(head: bytes | bytearray | memoryview) -> int | None:
    """Version (0, 1, 2) by a connection's first bytes; None: more bytes are needed. Raises ProtocolError."""
    if not head:
        return None
    first = head[0]
    if Signal.NONE < first <= Signal.PUB_ACK:
        return 0
    if first != MAGIC:
        raise ProtocolError(f"first byte {first:02x} begins no known protocol")
    if len(head) < 2:
        return None
    if head[1] not in (1, 2):
        raise ProtocolError(f"packet version {head[1]} is unknown")
    return head[1]


def parse_packet(
    buffer: bytes | bytearray | memoryview, offset: int, version: int, limit: int
) -> tuple[Packet, int] | None:
    """The packet at `offset` and the next offset; None: more bytes are needed.

    Raises ProtocolError at the first wrong byte, and TooLargeError as soon as a whole header
    announces a body of more than `limit` bytes.
    """
    if version == 0:
        return _parse_v0(buffer, offset, limit)
    header = _V2 if version == 2 else _V1
    start = offset + header.size
    if len(buffer) < start:
        _check_start(buffer, offset, version)
        return None
    magic, said, signal, size, sub_signal, message_id = header.unpack_from(buffer, offset)
    if magic != MAGIC or said != version or signal not in _SIGNALS:
        _check_start(buffer, offset, version)
    if size > limit:
        raise TooLargeError("packet body", size, limit)
    end = start + size
    if len(buffer) < end:
        return None
    body = bytes(buffer[start:end])
    return Packet(signal & _NUMBER, sub_signal & _NUMBER, message_id, body, signal >= FLAG, sub_signal >= FLAG), end


def _parse_v0(buffer: bytes | bytearray | memoryview, offset: int, limit: int) -> tuple[Packet, int] | None:
    available = len(buffer) - offset
    if available > 0 and buffer[offset] not in _SIGNALS_V0:
        raise ProtocolError(f"signal byte {buffer[offset]:02x} is not allowed in version 0")
    if available < _V0.size:
        return None
    signal, size = _V0.unpack_from(buffer, offset)
    if size > limit:
        raise TooLargeError("packet body", size, limit)
    start = offset + _V0.size
    end = start + size
    if len(buffer) < end:
        return None
    return Packet(signal & _NUMBER, 0, 0, bytes(buffer[start:end]), signal >= FLAG), end


def _check_start(buffer: bytes | bytearray | memoryview, offset: int, version: int) -> None:
    """Raise ProtocolError if what is there of a v1 or v2 header is already wrong."""
    available = len(buffer) - offset
    if available > 0 and buffer[offset] != MAGIC:
        raise ProtocolError(f"packet begins with {buffer[offset]:02x} instead of {MAGIC:02x}")
    if available > 1 and buffer[offset + 1] != version:
        raise ProtocolError(f"packet of version {buffer[offset + 1]} on a connection of version {version}")
    if available > 2 and buffer[offset + 2] not in _SIGNALS:
        raise ProtocolError(f"signal {buffer[offset + 2] & _NUMBER} is unknown")


def encode_header(
    version: int,
    signal: int,
    sub_signal: int,
    message_id: int,
    body_bytes: int,
    compressed: bool = False,
    encrypted: bool = False,
) -> bytes:
    """Header for a body of `body_bytes`. Version 0 leaves sub_signal and message_id out.

    Raises TooLargeError if the body does not fit the version's length field.
    """
    if body_bytes > BODY_MAX[version]:
        raise TooLargeError("packet body", body_bytes, BODY_MAX[version])
    if compressed:
        signal |= FLAG
    if encrypted:
        sub_signal |= FLAG
    if version == 2:
        return _V2.pack(MAGIC, 2, signal, body_bytes, sub_signal, message_id)
    if version == 1:
        return _V1.pack(MAGIC, 1, signal, body_bytes, sub_signal, message_id)
    if encrypted:
        raise ValueError("version 0 has no flag for an encrypted body")
    return _V0.pack(signal, body_bytes)


def encode_packet(version: int, packet: Packet) -> bytes:
    """Header and body. Raises TooLargeError if the body does not fit the version's length field."""
    signal, sub_signal, message_id, body, compressed, encrypted = packet
    return encode_header(version, signal, sub_signal, message_id, len(body), compressed, encrypted) + body
