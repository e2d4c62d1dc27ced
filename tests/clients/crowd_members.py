"""One of the thousands of clients of a crowd: as little state and work as its protocol allows."""

import json
import socket
from array import array
from collections.abc import Callable

from tests.clients import frames
from tests.clients.frames import Frame, encode_frame
from tests.clients.packets import PUSH, SUB, Packet, decode_header, encode
from tests.clients.websocket import upgrade_request

TOKEN = "crowd-%d"
KINDS = ("v0", "v1", "v2", "ws_text", "ws_text", "ws_binary")


class Log:
    """What all members saw. `received` holds pairs: client, sequence."""

    def __init__(self) -> None:
        self.received = array("I")
        self.faults: list[str] = []
        self.bound = 0


class Member:
    """One client. `message` is called with each whole message that follows the opening."""

    __slots__ = ("buffer", "kind", "log", "number", "opened", "socket")

    def __init__(self, log: Log, number: int, sock: socket.socket) -> None:
        self.log, self.number, self.socket = log, number, sock
        self.kind = KINDS[number % len(KINDS)]
        self.buffer = b""
        self.opened = not self.kind.startswith("ws")

    def begin(self) -> None:
        """The connection stands: ask for the upgrade, or for the token at once."""
        if self.opened:
            self.subscribe()
        else:
            self.socket.send(upgrade_request(b"dGhlIHNhbXBsZSBub25jZQ=="))

    def subscribe(self) -> None:
        """SUB in the client's own form."""
        body = json.dumps({"token": TOKEN % self.number}).encode()
        if self.kind == "ws_text":
            text = b'{"signal":"SUB","sub_signal":"NONE","message_id":0,"content":%b}' % body
            self.socket.send(encode_frame(Frame(frames.TEXT, text)))
        elif self.kind == "ws_binary":
            self.socket.send(encode_frame(Frame(frames.BINARY, encode(2, Packet(SUB, body)))))
        else:
            self.socket.send(encode(int(self.kind[1]), Packet(SUB, body)))

    def receive(self, data: bytes) -> None:
        """Take input apart into messages."""
        self.buffer += data
        if not self.opened:
            head, mark, rest = self.buffer.partition(b"\r\n\r\n")
            if not mark:
                return
            assert head.startswith(b"HTTP/1.1 101 "), head
            self.opened, self.buffer = True, rest
            self.subscribe()
        position, buffer, split = 0, self.buffer, _SPLITTERS[self.kind]
        while (end := split(buffer, position)) > 0:
            self.message(buffer[position:end])
            position = end
        self.buffer = buffer[position:]

    def message(self, raw: bytes) -> None:
        """One whole message: the answer to SUB, or a push."""
        signal, body = _READERS[self.kind](raw)
        if signal == PUSH:
            self.log.received.extend((self.number, int(body[: body.index(b".")])))
        elif signal == SUB and json.loads(body)["status"] == 200:
            self.log.bound += 1
        else:
            self.log.faults.append(f"client {self.number}: {raw[:200]!r}")


def _packet_end(header_bytes: int, length_at: int, length_bytes: int) -> Callable[[bytes, int], int]:
    def end(buffer: bytes, start: int) -> int:
        if len(buffer) - start < header_bytes:
            return 0
        at = start + length_at
        whole = start + header_bytes + int.from_bytes(buffer[at : at + length_bytes], "big")
        return whole if len(buffer) >= whole else 0

    return end


def _frame_end(buffer: bytes, start: int) -> int:
    if len(buffer) - start < 10 and (len(buffer) - start < 2 or len(buffer) - start < _frame_head(buffer, start)):
        return 0
    size, head = buffer[start + 1], _frame_head(buffer, start)
    if size > 125:
        size = int.from_bytes(buffer[start + 2 : start + head], "big")
    whole = start + head + size
    return whole if len(buffer) >= whole else 0


def _frame_head(buffer: bytes, start: int) -> int:
    return {126: 4, 127: 10}.get(buffer[start + 1], 2)


def _read_packet(version: int, header_bytes: int) -> Callable[[bytes], tuple[int, bytes]]:
    def read(raw: bytes) -> tuple[int, bytes]:
        return decode_header(version, raw[:header_bytes])[0].signal, raw[header_bytes:]

    return read


def _read_text(raw: bytes) -> tuple[int, bytes]:
    assert raw[0] == 0x81, raw[:20]
    fields = json.loads(raw[_frame_head(raw, 0) :])
    return {"SUB": SUB, "PUSH": PUSH}.get(fields["signal"], 0), fields["content"].encode()


def _read_binary_frame(raw: bytes) -> tuple[int, bytes]:
    assert raw[0] == 0x82, raw[:20]
    return _READERS["v2"](raw[_frame_head(raw, 0) :])


_SPLITTERS = {
    "v0": _packet_end(5, 1, 4),
    "v1": _packet_end(8, 3, 2),
    "v2": _packet_end(10, 3, 4),
    "ws_text": _frame_end,
    "ws_binary": _frame_end,
}
_READERS = {
    "v0": _read_packet(0, 5),
    "v1": _read_packet(1, 8),
    "v2": _read_packet(2, 10),
    "ws_text": _read_text,
    "ws_binary": _read_binary_frame,
}
