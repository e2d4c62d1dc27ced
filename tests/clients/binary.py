"""Clients of binary packets: versions 0, 1 and 2."""

from tests.clients.conversations import Conversation
from tests.clients.packets import HEADERS, Packet, decode_header, encode
from tests.clients.wires import Wire


class BinaryClient(Conversation):
    """A client of one binary version."""

    def __init__(self, wire: Wire, version: int) -> None:
        super().__init__(wire)
        self.version = version
        self.protocol = f"v{version}"
        if version == 1:
            self.payload_max = 65_535

    def encode(self, packet: Packet) -> bytes:
        return encode(self.version, packet)

    def read(self) -> Packet:
        packet, length = decode_header(self.version, self.wire.read_exactly(HEADERS[self.version].size))
        return packet._replace(body=self.wire.read_exactly(length))

    def read_close(self) -> int:
        rest = self.wire.read_to_end()
        assert not rest, f"the server sent more before it closed: {rest[:200]!r}"
        return 0
