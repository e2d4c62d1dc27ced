"""WebSocket frames as a client sees them (RFC 6455, section 5.2), written down a second time."""

import os
import struct
from typing import NamedTuple

from tests.clients.wires import Wire

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Frame(NamedTuple):
    """One frame; `rsv1` marks a compressed message (RFC 7692)."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv1: bool = False


def encode_frame(frame: Frame, *, masked: bool = True, length: int | None = None, reserved: int = 0) -> bytes:
    """The bytes of a client's frame. `length` announces another length; `reserved` are bits for RSV2 and RSV3."""
    size = len(frame.payload) if length is None else length
    first = frame.opcode | (0x80 if frame.fin else 0) | (0x40 if frame.rsv1 else 0) | reserved
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head = struct.pack(">BB", first, mask_bit | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", first, mask_bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, mask_bit | 127, size)
    if not masked:
        return head + frame.payload
    key = os.urandom(4)
    return head + key + mask(frame.payload, key)


def mask(payload: bytes, key: bytes) -> bytes:
    """Payload XOR the repeated key."""
    if not payload:
        return b""
    size = len(payload)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def read_frame(wire: Wire) -> Frame:
    """The next frame of a server: unmasked, in the shortest form, without RSV2 and RSV3."""
    first, second = wire.read_exactly(2)
    assert not first & 0x30, "the server set RSV2 or RSV3"
    assert not second & 0x80, "the server masked a frame"
    size = second
    if size == 126:
        size = struct.unpack(">H", wire.read_exactly(2))[0]
        assert size >= 126, "the length is not in its shortest form"
    elif size == 127:
        size = struct.unpack(">Q", wire.read_exactly(8))[0]
        assert size >= 1 << 16, "the length is not in its shortest form"
    return Frame(first & 15, wire.read_exactly(size), bool(first & 0x80), bool(first & 0x40))


def close_payload(code: int, text: str = "") -> bytes:
    """The payload of a close frame."""
    return struct.pack(">H", code) + text.encode()


def close_code(frame: Frame) -> int:
    """The code of a close frame; 1005 when it has none."""
    assert frame.opcode == CLOSE, f"a close frame was expected, got opcode {frame.opcode}: {frame.payload[:200]!r}"
    return struct.unpack(">H", frame.payload[:2])[0] if frame.payload else 1005
