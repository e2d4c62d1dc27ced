"""PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt, section 2): a load balancer names the real client."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import NamedTuple

from shared.errors import ProtocolError

#: First bytes of version 1 and version 2.
SIGNATURES = (b"PROXY ", b"\r\n\r\n\x00\r\nQUIT\n")
_V1, _V2 = SIGNATURES
_V1_MAX_BYTES = 107
#: Addresses and TLVs of a version 2 header, as far as we read them.
_V2_MAX_BYTES = 4096
_HEADER = Struct(">12sBBH")
_PORTS = Struct(">HH")
_LOCAL, _PROXY = 0x20, 0x21
#: Bytes of the addresses of each family: AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX.
_ADDRESS_BYTES = {0: 0, 1: 12, 2: 36, 3: 216}


class ProxyHeader(NamedTuple):
    """The real client. `address` None, port 0: the header does not say (LOCAL, UNKNOWN, a Unix socket)."""

    address: str | None
    port: int


_UNSAID = ProxyHeader(None, 0)


def is_proxy_start(head: bytes | bytearray) -> bool | None:
    """Whether a connection's first bytes begin a PROXY header; None: more bytes are needed."""
    for signature in SIGNATURES:
        if head.startswith(signature):
            return True
    return None if any(signature.startswith(head) for signature in SIGNATURES) else False


def parse_proxy_header(buffer: bytes | bytearray, offset: int) -> tuple[ProxyHeader, int] | None:
    """The header at `offset` and the offset behind it; None: more bytes are needed. Raises ProtocolError."""
    head = bytes(buffer[offset : offset + len(_V2)])
    if head.startswith(_V1):
        return _parse_v1(buffer, offset)
    if head == _V2:
        return _parse_v2(buffer, offset)
    if is_proxy_start(head) is None:
        return None
    raise ProtocolError("no PROXY header where one is required")


def _parse_v1(buffer: bytes | bytearray, offset: int) -> tuple[ProxyHeader, int] | None:
    end = buffer.find(b"\r\n", offset, offset + _V1_MAX_BYTES)
    if end < 0:
        if len(buffer) - offset >= _V1_MAX_BYTES:
            raise ProtocolError(f"PROXY line of more than {_V1_MAX_BYTES} bytes")
        return None
    words = bytes(buffer[offset:end]).split(b" ")
    if words[1] == b"UNKNOWN":
        return _UNSAID, end + 2
    try:
        _, family, source, destination, source_port, destination_port = [word.decode("ascii") for word in words]
        if "%" in source:  # a zone: any text, which would go into log lines
            raise ValueError(source)
        client, server = ip_address(source), ip_address(destination)
        port, _ = _port(source_port), _port(destination_port)
    except ValueError:
        raise ProtocolError("malformed PROXY line") from None
    if (family, client.version, server.version) not in (("TCP4", 4, 4), ("TCP6", 6, 6)):
        raise ProtocolError("PROXY line whose family does not fit its addresses")
    return ProxyHeader(str(client), port), end + 2


def _port(text: str) -> int:
    """A decimal port number. Raises ValueError."""
    if not text.isdigit() or len(text) > 5 or int(text) > 65_535:
        raise ValueError(text)
    return int(text)


def _parse_v2(buffer: bytes | bytearray, offset: int) -> tuple[ProxyHeader, int] | None:
    if len(buffer) - offset < _HEADER.size:
        return None
    _, command, family, size = _HEADER.unpack_from(buffer, offset)
    if command not in (_LOCAL, _PROXY):
        raise ProtocolError(f"PROXY header with version and command {command:02x}")
    if size > _V2_MAX_BYTES:
        raise ProtocolError(f"PROXY header of {size} bytes exceeds the limit of {_V2_MAX_BYTES}")
    start = offset + _HEADER.size
    end = start + size
    if len(buffer) < end:
        return None
    if command == _LOCAL:
        return _UNSAID, end
    return _v2_address(family, bytes(buffer[start:end])), end


def _v2_address(family: int, block: bytes) -> ProxyHeader:
    """Source address of a PROXY command; TLVs behind the addresses are skipped."""
    kind = family >> 4
    if kind not in _ADDRESS_BYTES or family & 0x0F > 2:
        raise ProtocolError(f"PROXY header with family {family:02x}")
    if len(block) < _ADDRESS_BYTES[kind]:
        raise ProtocolError(f"PROXY header of {len(block)} bytes is too short for its addresses")
    if kind == 1:
        return ProxyHeader(str(IPv4Address(block[:4])), _PORTS.unpack_from(block, 8)[0])
    if kind == 2:
        return ProxyHeader(str(IPv6Address(block[:16])), _PORTS.unpack_from(block, 32)[0])
    return _UNSAID
