"""A ZeroMQ peer by hand (ZMTP 3.0, NULL mechanism), for what libzmq would never send: messages without an end."""

import struct

from tests.clients.wires import Address, Wire

_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
_MORE, _LONG, _COMMAND = 1, 2, 4


class ZmtpDealer:
    """A DEALER up to its handshake; afterwards any frame."""

    def __init__(self, address: Address) -> None:
        self.wire = Wire(address)
        greeting = _SIGNATURE + bytes([3, 0]) + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
        self.wire.write(greeting)
        answer = self.wire.read_exactly(64)
        assert answer[:1] == b"\xff"
        assert answer[12:16] == b"NULL"
        ready = b"\x05READY" + _property("Socket-Type", b"DEALER") + _property("Identity", b"")
        self.wire.write(_frame(_COMMAND, ready))
        flags, size = self.wire.read_exactly(2)
        assert flags == _COMMAND
        assert self.wire.read_exactly(size).startswith(b"\x05READY")

    def send(self, body: bytes, *, more: bool) -> None:
        """One frame of a message; `more` follow."""
        self.wire.write(_frame(_MORE if more else 0, body))

    def announce(self, size: int) -> None:
        """The header of a frame of `size` bytes that never come."""
        self.wire.write(struct.pack(">BQ", _LONG, size))


def _frame(flags: int, body: bytes) -> bytes:
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return struct.pack(">BQ", flags | _LONG, len(body)) + body


def _property(name: str, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + struct.pack(">I", len(value)) + value
