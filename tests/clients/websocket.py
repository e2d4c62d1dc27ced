"""Clients of WebSocket: text with snake_case or camelCase names, and binary packets (version 2) in binary frames."""

import base64
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

from tests.clients import frames
from tests.clients.conversations import Conversation
from tests.clients.frames import Frame, close_code, encode_frame, read_frame
from tests.clients.packets import HEADERS, SIGNALS, SUB_SIGNALS, Packet, decode_header, encode
from tests.clients.wires import Wire

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: NONE heads the answer to a message that names no signal, or cannot be read.
_NUMBERS = {"NONE": 0} | {name: number for number, name in SIGNALS.items()}


class WebSocket:
    """The opening, frames, and messages put together from fragments. Answers nothing by itself."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.headers: dict[str, str] = {}

    def open(
        self, headers: dict[str, str] | None = None, *, path: str = "/", write: Callable[[bytes], None] | None = None
    ) -> None:
        """The opening handshake (RFC 6455, section 4); AssertionError unless the server accepts."""
        key = base64.b64encode(os.urandom(16))
        (write or self.wire.write)(upgrade_request(key, path, headers or {}))
        status, self.headers = read_response(self.wire)
        assert status == 101, f"upgrade answered with {status}"
        assert self.headers["upgrade"].lower() == "websocket"
        assert "upgrade" in self.headers["connection"].lower()
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        assert self.headers["sec-websocket-accept"] == accept

    def read_message(self) -> Frame:
        """The next message or control frame; a fragmented message comes as one frame."""
        frame = read_frame(self.wire)
        if frame.opcode >= frames.CLOSE or frame.fin:
            return frame
        parts, rsv1, opcode = [frame.payload], frame.rsv1, frame.opcode
        while not frame.fin:
            frame = read_frame(self.wire)
            assert frame.opcode == frames.CONTINUATION, "another message amid fragments"
            parts.append(frame.payload)
        return Frame(opcode, b"".join(parts), True, rsv1)

    def read_close(self) -> int:
        """The code of the close frame that must come next; then the connection must end."""
        code = close_code(read_frame(self.wire))
        rest = self.wire.read_to_end()
        assert not rest, f"the server sent more after its close frame: {rest[:200]!r}"
        return code


def upgrade_request(key: bytes, path: str = "/", headers: dict[str, str] | None = None) -> bytes:
    """The bytes of an opening handshake."""
    lines = [f"{name}: {value}\r\n" for name, value in (headers or {}).items()]
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n{''.join(lines)}\r\n"
    ).encode()


def read_response(wire: Wire) -> tuple[int, dict[str, str]]:
    """(status, headers with lower-case names) of an HTTP response; its body stays unread."""
    first, *lines = wire.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
    pairs = [line.split(":", 1) for line in lines if line]
    return int(first.split()[1]), {name.strip().lower(): value.strip() for name, value in pairs}


def as_json(body: bytes) -> bytes:
    """A body that is JSON as it is, however deep; anything else as a JSON string."""
    try:
        json.loads(body)
    except RecursionError:
        return body
    except ValueError:
        return json.dumps(body.decode()).encode()
    return body


class WebSocketClient(Conversation):
    """What the three styles share. A subclass says how a message looks."""

    opcode: int

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self.socket = WebSocket(wire)

    def open(self) -> None:
        self.socket.open(write=self.write)

    def encode(self, packet: Packet) -> bytes:
        return encode_frame(Frame(self.opcode, self.encode_message(packet)))

    def read(self) -> Packet:
        frame = self.socket.read_message()
        assert frame.opcode == self.opcode, f"opcode {frame.opcode} was not expected: {frame.payload[:200]!r}"
        return self.decode_message(frame.payload)

    def read_close(self) -> int:
        return self.socket.read_close()

    def encode_message(self, packet: Packet) -> bytes:
        raise NotImplementedError

    def decode_message(self, payload: bytes) -> Packet:
        raise NotImplementedError


class BinaryWebSocketClient(WebSocketClient):
    """Version 2 packets, one in each binary frame."""

    protocol = "ws_binary"
    opcode = frames.BINARY

    def encode_message(self, packet: Packet) -> bytes:
        return encode(2, packet)

    def decode_message(self, payload: bytes) -> Packet:
        size = HEADERS[2].size
        packet, length = decode_header(2, payload[:size])
        assert length == len(payload) - size, "the packet's length is not the frame's"
        return packet._replace(body=payload[size:])


class TextClient(WebSocketClient):
    """One JSON object in each text frame. The server must answer in the style that the client speaks."""

    protocol = "ws_text"
    opcode = frames.TEXT

    def __init__(self, wire: Wire, *, camel: bool = False, lower: bool = False) -> None:
        super().__init__(wire)
        self.sub_signal, self.message_id, self.push_id = (
            ("subSignal", "messageId", "pushId") if camel else ("sub_signal", "message_id", "push_id")
        )
        self._case = str.lower if lower else str.upper

    def encode_message(self, packet: Packet) -> bytes:
        """`content` goes as JSON, byte for byte, where the body is JSON, else as a string."""
        fields: dict[str, Any] = {
            "signal": self._case(SIGNALS[packet.signal]),
            self.sub_signal: self._topic(packet.sub_signal),
            self.message_id: packet.message_id,
        }
        text = json.dumps(fields).encode()
        if not packet.body:
            return text
        return b'%b, "content": %b}' % (text[:-1], as_json(packet.body))

    def decode_message(self, payload: bytes) -> Packet:
        fields = json.loads(payload.decode())
        names = {"signal", self.sub_signal, self.message_id, "content"}
        assert fields.keys() in (names, names | {self.push_id}), f"names of another style: {sorted(fields)}"
        assert isinstance(fields["content"], str), "content is not a string"
        assert fields["signal"] == self._case(fields["signal"]), "signal in the wrong case"
        number = _NUMBERS[fields["signal"].upper()]
        said = fields[self.sub_signal]
        topic = said if isinstance(said, int) else SUB_SIGNALS.index(said.upper())
        assert said == self._topic(topic), f"sub_signal {said!r} in the wrong form"
        body = fields["content"].encode("utf-8", "surrogatepass")
        return Packet(number, body, topic, fields[self.message_id], push_id=fields.get(self.push_id, ""))

    def _topic(self, number: int) -> str | int:
        """A sub_signal by name in the client's case, or by number where it has no name."""
        return self._case(SUB_SIGNALS[number]) if number < len(SUB_SIGNALS) else number
