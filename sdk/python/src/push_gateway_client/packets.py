"""Binary packets of version 2 (docs/client-protocol.md, section Binary packets): the bytes. Pure.

F8 02 signal  u32 body bytes  sub_signal  u16 message_id   10 bytes, then the body; big-endian
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple

from push_gateway_client.exceptions import ProtocolError

_HEADER = Struct(">BBBIBH")
_MAGIC, _VERSION, _FLAG = 0xF8, 2, 0x80


class Signal(IntEnum):
    """What a packet is."""

    SUB = 1
    AUTH = 2
    PING = 3
    PUSH = 4
    CONTACT = 5
    DISCONNECT = 8
    PUBLISH = 9
    PUB_ACK = 10


class Packet(NamedTuple):
    """One packet; `signal` may be one that this client does not know."""

    signal: int
    sub_signal: int = 0
    message_id: int = 0
    body: bytes = b""


def encode_packet(packet: Packet) -> bytes:
    """Header and body."""
    signal, sub_signal, message_id, body = packet
    return _HEADER.pack(_MAGIC, _VERSION, signal, len(body), sub_signal, message_id) + body


def encode_json(value: Any) -> bytes:
    """A body of JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def decode_object(body: bytes) -> dict[str, Any]:
    """A JSON object; {} for anything else."""
    try:
        value = json.loads(body) if body else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class PacketReader:
    """Puts packets together from bytes in any split. A body has at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The packets that are complete now. Raises ProtocolError; the connection is of no use then."""
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= _HEADER.size:
                packet = self._packet_at(start)
                if packet is None:
                    break
                start += _HEADER.size + len(packet.body)
                yield packet
        finally:
            del self._buffer[:start]

    def _packet_at(self, start: int) -> Packet | None:
        magic, version, signal, size, sub_signal, message_id = _HEADER.unpack_from(self._buffer, start)
        if magic != _MAGIC or version != _VERSION:
            raise ProtocolError(f"packet begins with {magic:02x} {version:02x}")
        if (signal | sub_signal) & _FLAG:
            raise ProtocolError("a compressed or encrypted body, which was not asked for")
        if size > self._limit:
            raise ProtocolError(f"body of {size} bytes exceeds the limit of {self._limit}")
        end = start + _HEADER.size + size
        if len(self._buffer) < end:
            return None
        return Packet(signal, sub_signal, message_id, bytes(self._buffer[end - size : end]))
