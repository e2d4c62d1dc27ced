"""Clients of a load test: WebSocket text and binary packets v2, with the same four verbs."""

import json
import socket
from struct import Struct
from typing import Any, NamedTuple

import websocket

from shared.packets import encode_header
from shared.signals import Signal

_HEADER = Struct(">BBBIBH")
_CONNECT_TIMEOUT_S = 10


class Message(NamedTuple):
    """What a client received: the signal's name and the body as text."""

    signal: str
    body: str


class ClientFault(Exception):
    """The server said something that a client cannot go on with."""


class WebSocketClient:
    """JSON in text frames."""

    name = "websocket"

    def __init__(self, host: str, port: int) -> None:
        self._socket = websocket.create_connection(
            f"ws://{host}:{port}/", timeout=_CONNECT_TIMEOUT_S, skip_utf8_validation=True, enable_multithread=False
        )
        self._socket.settimeout(None)

    def send(self, signal: Signal, content: dict[str, Any]) -> None:
        """One message."""
        message = {"signal": signal.name, "sub_signal": "NONE", "message_id": 0, "content": content}
        self._socket.send(json.dumps(message))

    def receive(self) -> Message:
        """The next message. Raises ClientFault or OSError when the connection ended."""
        text = self._socket.recv()
        if not text:
            raise ClientFault("closed by the server")
        message = json.loads(text)
        return Message(message["signal"], message["content"])

    def close(self) -> None:
        self._socket.shutdown()  # type: ignore[no-untyped-call]


class PacketClient:
    """Binary packets, version 2, over TCP."""

    name = "tcp"

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")

    def send(self, signal: Signal, content: dict[str, Any]) -> None:
        """One packet."""
        body = json.dumps(content).encode()
        self._socket.sendall(encode_header(2, signal, 0, 0, len(body)) + body)

    def receive(self) -> Message:
        """The next packet. Raises ClientFault or OSError when the connection ended."""
        header = self._reader.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise ClientFault("closed by the server")
        _, _, signal, size, _, _ = _HEADER.unpack(header)
        return Message(Signal(signal).name, self._reader.read(size).decode())

    def close(self) -> None:
        self._socket.close()
