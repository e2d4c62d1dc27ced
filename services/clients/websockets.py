"""WebSocket wires, over the websocket-client package."""

from types import TracebackType
from typing import Self

import websocket

from services.clients.texts import decode_text, encode_text
from services.clients.wires import BODY_LIMIT_BYTES, ended, open_socket
from shared.errors import ClientError, RemoteError
from shared.packets import Packet, encode_packet, parse_packet

_PATH = "/"


class TextWire:
    """JSON texts."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.base64 = False
        self._timeout = timeout
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        tcp = open_socket(host, port, timeout)
        try:
            self._socket = websocket.create_connection(
                f"ws://{where}{_PATH}", socket=tcp, timeout=timeout, skip_utf8_validation=True
            )
        except (websocket.WebSocketException, OSError) as error:
            tcp.close()
            raise ClientError("unreachable", f"no gateway answers at {where}: {error}") from None

    def encode(self, packet: Packet) -> tuple[int, bytes]:
        """(opcode, payload) of a frame."""
        return websocket.ABNF.OPCODE_TEXT, encode_text(packet).encode()

    def decode(self, payload: bytes) -> Packet:
        """The packet in a frame. Raises RemoteError."""
        return decode_text(payload, self.base64)

    def send(self, packet: Packet) -> None:
        opcode, payload = self.encode(packet)
        try:
            self._socket.settimeout(self._timeout)
            self._socket.send(payload, opcode)
        except (websocket.WebSocketException, OSError) as error:
            raise ClientError("peer_closed", f"the gateway closed the connection: {error}") from None

    def receive(self, timeout: float) -> Packet | None:
        try:
            self._socket.settimeout(max(timeout, 1e-4))
            opcode, payload = self._socket.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                raise _closed(payload)
            if opcode in (websocket.ABNF.OPCODE_PING, websocket.ABNF.OPCODE_PONG):
                return None
            return self.decode(payload)
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, RemoteError) as error:
            raise ClientError("bad_protocol", f"the gateway sent no message: {error}") from None
        except OSError as error:
            raise ended(error) from None

    def close(self) -> None:
        self._socket.close(timeout=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FrameWire(TextWire):
    """Binary packets of version 2, one in each binary frame."""

    def encode(self, packet: Packet) -> tuple[int, bytes]:
        return websocket.ABNF.OPCODE_BINARY, encode_packet(2, packet)

    def decode(self, payload: bytes) -> Packet:
        parsed = parse_packet(payload, 0, 2, BODY_LIMIT_BYTES)
        if parsed is None or parsed[1] != len(payload):
            raise ClientError("bad_protocol", f"a binary frame of {len(payload)} bytes is not one packet")
        return parsed[0]


def _closed(payload: bytes) -> ClientError:
    code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
    reason = payload[2:].decode("utf-8", "replace")
    return ClientError(reason or "peer_closed", f"the gateway closed the WebSocket: {code} {reason}".rstrip())
