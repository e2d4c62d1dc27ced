"""From signals to a client's bytes, in the protocol, version and style that it speaks."""

from binascii import b2a_base64
from collections.abc import Callable

import ujson

from gateway.connections import Connection, Granted, Protocol
from gateway.frames import Opcode, encode_close, encode_frame
from gateway.permessage_deflate import compress
from gateway.text_messages import Style, encode_text, pub_ack_content
from shared.bodies import NONCE_BYTES, deflate, encrypt
from shared.packets import Packet, encode_packet
from shared.protobufs.registries import Registry
from shared.protobufs.tables import PUSH
from shared.reasons import WEBSOCKET_CODES, CloseReason
from shared.signals import Signal, SubSignal

_STYLES = {
    bits: Style(camel=bool(bits & Granted.CAMEL), lower=bool(bits & Granted.LOWER))
    for bits in (0, Granted.CAMEL, Granted.LOWER, Granted.CAMEL | Granted.LOWER)
}
_STYLE_BITS = Granted.CAMEL | Granted.LOWER


def style_of(connection: Connection) -> Style:
    return _STYLES[connection.granted & _STYLE_BITS]


class Encoder:
    """Encodes what a worker says. Bodies of `deflate_min_bytes` and more are compressed where granted."""

    def __init__(
        self,
        deflate_min_bytes: int,
        registry: Registry | None = None,
        random_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        """`registry`: of topics whose payloads are JSON for text clients. `random_bytes(size)` makes nonces."""
        self._deflate_min = deflate_min_bytes
        self._registry = registry
        self._random_bytes = random_bytes

    def encode(
        self, connection: Connection, signal: int, sub_signal: int = 0, message_id: int = 0, body: bytes = b""
    ) -> bytes:
        """One message on the wire. Raises TooLargeError (version), BodyError (not text for a text client)."""
        if signal == Signal.PUB_ACK and connection.protocol in (Protocol.WS_TEXT, Protocol.WS):
            body = pub_ack_content(body)
        return self._message(connection, signal, sub_signal, message_id, body)

    def _message(self, connection: Connection, signal: int, sub_signal: int, message_id: int, body: bytes) -> bytes:
        if connection.protocol in (Protocol.WS_TEXT, Protocol.WS):
            text = encode_text(signal, sub_signal, message_id, body, style_of(connection))
            return self._frame(connection, Opcode.TEXT, text)
        return self.packet(connection, signal, sub_signal, message_id, body)

    def push(
        self, connection: Connection, signal: int, sub_signal: int, message_id: int, payload: bytes, push_id: str
    ) -> bytes:
        """A push, with its id if the client asked for ids. Raises as `encode` does."""
        granted = connection.granted
        shown_id = push_id if granted & Granted.IDS else None
        if connection.protocol in (Protocol.WS_TEXT, Protocol.WS):
            if self._registry and self._registry.has(signal, sub_signal, PUSH):
                payload = self._registry.to_json(signal, sub_signal, PUSH, payload)
            content = b2a_base64(payload, newline=False) if granted & Granted.BASE64 else payload
            text = encode_text(signal, sub_signal, message_id, content, style_of(connection), shown_id)
            return self._frame(connection, Opcode.TEXT, text)
        if shown_id:
            payload = bytes((len(shown_id),)) + shown_id.encode() + payload
        return self.packet(connection, signal, sub_signal, message_id, payload)

    def status(self, connection: Connection, signal: int, status: int, message: str = "", message_id: int = 0) -> bytes:
        """An answer `{"status": ...}` to a request of the same signal."""
        body: dict[str, object] = {"status": status}
        if message:
            body["message"] = message
        return self.json(connection, signal, body, message_id)

    def json(self, connection: Connection, signal: int, body: dict[str, object], message_id: int = 0) -> bytes:
        encoded = ujson.dumps(body, ensure_ascii=False, escape_forward_slashes=False).encode()
        return self._message(connection, signal, SubSignal.NONE, message_id, encoded)

    def last_words(self, connection: Connection, reason: CloseReason, retry_after_ms: int | None = None) -> bytes:
        """DISCONNECT with the reason and, on a WebSocket, the close frame; nothing before the protocol is known."""
        if connection.protocol == Protocol.UNKNOWN:
            return b""
        body: dict[str, object] = {"reason": reason.value}
        if retry_after_ms is not None:
            body["retry_after_ms"] = retry_after_ms
        return self.json(connection, Signal.DISCONNECT, body) + self.close_frame(connection, reason)

    def close_frame(self, connection: Connection, reason: CloseReason) -> bytes:
        """The WebSocket close frame for a reason; nothing for binary clients."""
        if connection.protocol not in (Protocol.WS, Protocol.WS_TEXT, Protocol.WS_BINARY):
            return b""
        return encode_frame(Opcode.CLOSE, encode_close(WEBSOCKET_CODES[reason], reason.value))

    def packet(self, connection: Connection, signal: int, sub_signal: int, message_id: int, body: bytes) -> bytes:
        """A binary packet, in a WebSocket frame where the client speaks WebSocket. Raises TooLargeError."""
        compressed = bool(connection.granted & Granted.DEFLATE) and len(body) >= self._deflate_min
        if compressed:
            body = deflate(body)
        encrypted = bool(body and connection.granted & Granted.AES_GCM)
        if encrypted:
            body = self._encrypted(connection, body)
        binary = connection.protocol == Protocol.WS_BINARY
        version = Protocol.V2 if binary else connection.protocol
        packet = encode_packet(version, Packet(signal, sub_signal, message_id, body, compressed, encrypted))
        return self._frame(connection, Opcode.BINARY, packet) if binary else packet

    def _encrypted(self, connection: Connection, body: bytes) -> bytes:
        login = connection.login
        assert login is not None
        assert login.key is not None
        assert self._random_bytes is not None
        return encrypt(body, login.key, self._random_bytes(NONCE_BYTES))

    def _frame(self, connection: Connection, opcode: int, data: bytes) -> bytes:
        if connection.window_bits and len(data) >= self._deflate_min:
            return encode_frame(opcode, compress(data, connection.window_bits), rsv1=True)
        return encode_frame(opcode, data)
