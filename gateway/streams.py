"""From a connection's bytes to its events: one at a time, so that the caller can stop between two.

Pure: keeps what it must remember in the record. The first bytes tell the protocol
(docs/client-protocol.md, section One port, every protocol).
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from gateway.connections import Connection, Protocol, address_text
from gateway.frames import parse_frame
from gateway.handshakes import HttpRequest, parse_request
from gateway.messages import Message, add_frame
from gateway.proxy_headers import is_proxy_start, parse_proxy_header
from shared.errors import ProtocolError
from shared.packets import Packet, parse_packet, sniff_version

#: `Connection.proxied`: may a PROXY protocol header come first?
PROXY_DONE, PROXY_REQUIRED, PROXY_ALLOWED = 1, 2, 3

_GET = b"GET "
_HEAD_BYTES = 16

Event = Packet | Message | HttpRequest
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What a stream may hold."""

    body_bytes: int
    head_bytes: int = 8192


def next_event(
    connection: Connection, buffer: bytes | bytearray, offset: int, limits: StreamLimits
) -> tuple[Event | None, int]:
    """The event at `offset` and the offset behind it.

    No event but a greater offset: a fragment or PROXY header was used up, call again. The same offset: more bytes
    are needed.
    Raises RemoteError (ProtocolError, BodyError, TooLargeError): the connection must be closed for its `reason`.
    """
    protocol = connection.protocol
    if protocol <= Protocol.V2:
        found = parse_packet(buffer, offset, protocol, limits.body_bytes)
        return found if found else (None, offset)
    if protocol != Protocol.UNKNOWN:
        return _next_message(connection, buffer, offset, limits)
    return _first_event(connection, buffer, offset, limits)


def _next_message(
    connection: Connection, buffer: bytes | bytearray, offset: int, limits: StreamLimits
) -> tuple[Event | None, int]:
    found = parse_frame(buffer, offset, limits.body_bytes)
    if found is None:
        return None, offset
    frame, offset = found
    deflate = connection.window_bits > 0
    compressed = frame.rsv1 or (connection.partial is not None and connection.partial.compressed)
    connection.partial, message = add_frame(connection.partial, frame, limits.body_bytes, deflate)
    if message and compressed:
        connection.rate_bytes += len(message.data)
    return message, offset


def _first_event(
    connection: Connection, buffer: bytes | bytearray, offset: int, limits: StreamLimits
) -> tuple[Event | None, int]:
    if connection.proxied in (PROXY_REQUIRED, PROXY_ALLOWED):
        behind = _pass_proxy_header(connection, buffer, offset)
        if behind is None or behind > offset:
            return None, behind or offset
    head = bytes(buffer[offset : offset + _HEAD_BYTES])
    if not head:
        return None, offset
    if head[: len(_GET)] == _GET[: len(head)]:
        found = parse_request(buffer, offset, limits.head_bytes)
        return found if found else (None, offset)
    version = sniff_version(head)
    if version is None:
        return None, offset
    connection.protocol = version
    return next_event(connection, buffer, offset, limits)


def _pass_proxy_header(connection: Connection, buffer: bytes | bytearray, offset: int) -> int | None:
    """Offset behind the PROXY header (or where none stands and none must), None if it is not complete."""
    starts = is_proxy_start(bytes(buffer[offset : offset + _HEAD_BYTES]))
    if starts is False and connection.proxied == PROXY_REQUIRED:
        raise ProtocolError("no PROXY header where one is required")
    if starts is False:
        connection.proxied = PROXY_DONE
        return offset
    found = parse_proxy_header(buffer, offset) if starts else None
    if found is None:
        return None
    header, offset = found
    if header.address:
        connection.address = address_text(header.address, header.port)
    connection.proxied = PROXY_DONE
    return offset


def is_trusted(address: str, networks: list[Network]) -> bool:
    """Whether a peer address lies in one of the trusted proxies' networks."""
    if not networks:
        return False
    peer = ip_address(address.partition("%")[0])
    if isinstance(peer, IPv6Address):  # an IPv4 client of a listener for both
        peer = peer.ipv4_mapped or peer
    return any(peer in network for network in networks)
